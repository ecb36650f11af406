"""Users as Locust sees them. They run in their own process, because importing Locust patches the
standard library.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.catalogue.reference_workload import SCRIPT_NAMES
from tests import forked

ROOT = Path(__file__).parents[3]
OUTSIDE = (
    "there is no session here: call text, audio, request_response, wait_for, interrupt, sound,"
    " pause, expect, message, send inside a @task"
)
BEGIN = """
import json, sys
from locust import User, tag, task
from locust.user.task import filter_tasks_by_tags
from bench.load.user import RealtimeUser, script
def names(user):
    return [task.__name__ for task in user.tasks]
"""


def json_output_of(program: str, *arguments: str) -> Any:
    """Run a program that has imported Locust and our user; return the JSON that it prints."""
    command = [sys.executable, "-c", BEGIN + program, *arguments]
    ended = forked.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


def test_tasks_have_the_weights_and_tags_of_locust() -> None:
    printed = json_output_of("""
class Mixed(RealtimeUser):
    tasks = {script("text.yaml"): 3, script("voice.yaml"): 1}

class Shopper(RealtimeUser):
    @tag("a")
    @task(2)
    def order(self): ...

    @tag("b")
    @task
    def pay(self): ...

before = names(Shopper)
filter_tasks_by_tags(Shopper, {"b"})
print(json.dumps([names(Mixed), before, names(Shopper), [task.__name__ for task in Shopper.declared_tasks]]))
""")

    mixed, before, after, declared = printed
    assert mixed == ["text", "text", "text", "voice"]
    assert before == ["order", "order", "pay"]
    assert after == ["pay"]
    assert declared == before


ENDING = """
import contextlib, io
import gevent
from types import SimpleNamespace
from gevent import GreenletExit
from locust.exception import RescheduleTask
from locust.util.load_locustfile import load_locustfile
from bench.base.errors import UsageError

def unsupported_reason(user_class, live=None):
    problems = []
    runs = SimpleNamespace(apply=lambda refused: problems.append(refused.problem), live=live)
    gevent.spawn(user_class(SimpleNamespace(rtbench=runs)).run).join()
    return problems
"""


CALLERS = """import gevent
from locust import task
from locust.exception import StopUser
from rtbench import RealtimeUser

class Caller(RealtimeUser):
    @task
    def order(self): ...

class Early(Caller):
    def on_start(self):
        self.text("Hello")

class Late(Caller):
    def on_start(self):
        raise gevent.GreenletExit

    def on_stop(self):
        self.pause(1)

class Clumsy(Caller):
    def on_start(self):
        1 / 0

class Untidy(Caller):
    def on_start(self):
        raise gevent.GreenletExit

    def on_stop(self):
        raise KeyError("till")

class Leaving(Caller):
    def on_start(self):
        raise StopUser
"""


PAUSES = """
import bench.load.user as module
from locust import task
now_s, began_s = 0.0, []
def sleep(seconds):
    global now_s
    now_s += seconds
module.monotonic_ns = lambda: round(now_s * 1e9)
module.gevent = SimpleNamespace(**vars(gevent) | {"sleep": sleep})
def run_pair(*_):
    began_s.append(round(now_s, 3))
    if len(began_s) == 4:
        raise GreenletExit
    return len(began_s) != 2  # there was no place for the second session
class Caller(RealtimeUser):
    @task
    def order(self): ...
live = SimpleNamespace(run_pair=run_pair, session_pause_s=2.5, sessions=SimpleNamespace(ending=False))
runs = SimpleNamespace(live=live)
gevent.spawn(Caller(SimpleNamespace(rtbench=runs)).run).join()
print(json.dumps(began_s))
"""


def test_a_user_pauses_after_a_session_and_retries_soon_without_one() -> None:
    assert json_output_of(ENDING + PAUSES) == [0.0, 2.5, 2.6, 5.1]


@pytest.fixture
def callers(tmp_path: Path) -> Path:
    """Write a file of users in the form that Locust loads."""
    (tmp_path / "callers.py").write_text(CALLERS)
    return tmp_path / "callers.py"


@pytest.mark.parametrize(
    ("name", "line", "problem"),
    [
        ("Early", 12, OUTSIDE),
        ("Late", 19, OUTSIDE),
        ("Clumsy", 23, "on_start fails: ZeroDivisionError: division by zero"),
        ("Untidy", 30, "on_stop fails: KeyError: 'till'"),
    ],
)
def test_an_error_in_on_start_or_on_stop_ends_the_run_with_its_line(
    callers: Path, name: str, line: int, problem: str
) -> None:
    program = "print(json.dumps(unsupported_reason(load_locustfile(sys.argv[1])[0][sys.argv[2]])))"
    printed = json_output_of(ENDING + program, str(callers), name)

    assert printed == [f"{callers}:{line}: {name}: {problem}"]


def test_each_further_target_has_a_persistent_copy_of_the_user(callers: Path) -> None:
    printed = json_output_of(
        f"""{ENDING}
class Live:
    session_pause_s = 0
    ending = False

    def run_pair(self, user, task, caller):
        seen.append(caller.doubles(3))
        for double in seen[-1]:
            double.count += 1
        raise GreenletExit if len(seen) == 2 else RescheduleTask

class Caller(load_locustfile(sys.argv[1])[0]["Caller"]):
    def on_start(self):
        self.count = 5

seen = []
unsupported_reason(Caller, Live())
first, second = seen
print(json.dumps([[a is b for a, b in zip(first, second)], len(set(map(id, first))), [d.count for d in second]]))
""",
        str(callers),
    )

    assert printed == [[True, True, True], 3, [7, 7, 7]]


@pytest.mark.parametrize(
    ("file", "played"),
    [
        ("quickstart.QuickstartCaller", ["barge_in", "voice_turns", "text_turns"] * 2),
        ("reference.ReferenceCaller", [*SCRIPT_NAMES, SCRIPT_NAMES[0]]),
        ("reference_typed.TypingReferenceCaller", [*SCRIPT_NAMES, SCRIPT_NAMES[0]]),
    ],
)
def test_callers_run_their_tasks_in_turn(file: str, played: list[str]) -> None:
    """Any free caller runs the next task. If each caller chose one, there would be more short
    calls than long ones.
    """
    module, _, name = file.partition(".")
    printed = json_output_of(f"""
from types import SimpleNamespace
from locust.env import Environment
from scenarios.{module} import {name} as Caller
played = []
run_pair = lambda user_class, task, user: played.append(task.__name__) or True
environment = Environment()
environment.rtbench = SimpleNamespace(live=SimpleNamespace(run_pair=run_pair, session_pause_s=0))
callers = [Caller(environment) for _ in range(3)]
for at in (0, 0, 1, 2, 0, 1):
    callers[at].run_session(Caller.tasks[0])
print(json.dumps(played))
""")

    assert printed == played


def test_the_page_of_the_web_ui_does_not_contain_the_proxy_password() -> None:
    printed = json_output_of("""
from locust import events
from locust.argument_parser import ui_extra_args_dict
from bench.load.planning.run_options import add_options
events.init_command_line_parser.add_listener(add_options)
print(json.dumps(ui_extra_args_dict(["--proxy", "http://ann:her-password@proxy:1", "--seed", "77"])))
""")

    assert printed["seed"]["default_value"] == "77"
    assert "her-password" not in json.dumps(printed)
