"""A run that ends once it is decided: its plan, and the looks at it."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import gevent
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import UsageError
from bench.load.decision import Looks, Plan, asked_sessions, decision_plan, is_due, plan_words
from bench.load.options import Options
from tests.load.test_options import parsed

SPOKEN = {"output": "audio", "turns": 10}
LOOKS = [50, 100, 150]


def made(*arguments: str, pairs: int = 500, scripts: tuple[dict[str, Any], ...] = (SPOKEN,)) -> Plan:
    return decision_plan(Options.of(parsed("--until-decided", *arguments)), pairs, scripts)


# The plan.


def test_by_default_the_wait_for_a_reply_and_failures_are_decided() -> None:
    assert made() == {
        "pairs": 500,
        "looks": list(range(50, 501, 50)),
        "gates": {"ttfa": ["p(50)<+10%", "p(95)<+20%"], "failures": ["rate<+1pt"]},
        "level": 0.05,
        "spending": "a t^2",
        "draws": 2000,
    }


def test_where_all_replies_are_text_the_wait_is_for_text() -> None:
    text = {"output": "text", "turns": 10}

    assert list(made(scripts=(text,))["gates"]) == ["ttft", "failures"]
    assert list(made(scripts=(text, SPOKEN))["gates"]) == ["ttfa", "failures"]


def test_the_first_look_waits_for_enough_turns_of_the_shortest_script() -> None:
    short = {"output": "audio", "turns": 3}  # 400 turns for p95 are 134 pairs

    assert made(scripts=(SPOKEN, short))["looks"] == list(range(150, 501, 50))
    assert made("--look-every", "100", pairs=200)["looks"] == [100, 200]
    assert made(pairs=20)["looks"] == [20]


def test_the_relative_thresholds_of_a_file_are_decided_and_its_limits_are_left(tmp_path: Path) -> None:
    file = tmp_path / "ci.yaml"
    file.write_text('ttfa: ["p(90)<+15%", "p(95)<800"]\nttfa{step:greeting}: "med<+10%"\nfailures: ["rate<0.01"]\n')

    assert made("--thresholds", str(file))["gates"] == {"ttfa": ["p(90)<+15%"], "ttfa{step:greeting}": ["med<+10%"]}


@pytest.mark.parametrize("text", ['ttfa: ["p(95)<800"]\n', 'ttfa: ["p95 is fine"]\n', "ttfb: med<1\n"])
def test_thresholds_that_decide_nothing_are_refused_in_one_line(text: str, tmp_path: Path) -> None:
    file = tmp_path / "ci.yaml"
    file.write_text(text)

    with pytest.raises(UsageError, match=r"ci\.yaml") as refused:
        made("--thresholds", str(file))
    assert "\n" not in str(refused.value)
    assert not str(refused.value).startswith("rtbench")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.yaml"):
        made("--thresholds", str(tmp_path / "nowhere.yaml"))


def test_what_decides_is_told_in_one_line() -> None:
    plan = {"gates": {"ttfa": ["p(50)<+10%", "p(95)<+20%"], "failures": ["rate<+1pt"]}, "looks": [50, 100, 150]}

    assert plan_words(plan) == (
        "the run ends once it is decided: ttfa p(50)<+10%, p(95)<+20%; failures rate<+1pt; looks at 50, 100 … 150 pairs"
    )
    assert plan_words(plan | {"looks": [20]}).endswith("looks at 20 pairs")


# When a look is due.


@given(st.lists(st.integers(1, 999), min_size=1, unique=True), st.integers(0, 20), st.integers(0, 999))
def test_a_look_is_due_once_its_pairs_are_complete_and_the_last_never(sizes: list[int], held: int, pairs: int) -> None:
    looks = sorted(sizes)
    due = is_due(looks, held, pairs, 0)

    assert due == (held < len(looks) - 1 and pairs >= looks[held])
    assert not is_due(looks, held, pairs, pairs)


# Looks that are held. A child is what a file of Python says.


def child(folder: Path, program: str) -> tuple[str, ...]:
    (folder / "child.py").write_text(f"import sys\n{program}\n")
    return (sys.executable, str(folder / "child.py"))


def saying(**said: Any) -> str:
    return f"print({json.dumps(said)!r})"


class Held:
    """Looks at a folder, and what came of them."""

    def __init__(self, folder: Path, program: str) -> None:
        self.stopped: list[str] = []
        self.said: list[str] = []
        self.looks = Looks(
            folder, {"looks": LOOKS}, stop=self.stopped.append, say=self.said.append, command=child(folder, program)
        )

    def consider(self, *pairs: int) -> None:
        """Second after second, each time until a look that was started is over."""
        for each in pairs:
            self.looks.consider(each)
            looking = self.looks._looking
            if looking is not None:
                looking.join()


def test_a_look_that_decides_ends_the_run_with_its_sentence(tmp_path: Path) -> None:
    held = Held(tmp_path, saying(stopped=True, sentence="not regressed", look=1, pairs=50))
    held.consider(50, 50)

    assert (held.stopped, held.said) == (["not regressed"], [])
    assert held.looks.standing == (1, 3)


def test_a_look_that_does_not_is_followed_by_the_next(tmp_path: Path) -> None:
    count = "open(sys.argv[1] + '/count', 'a').write('x'); n = len(open(sys.argv[1] + '/count').read())\n"
    says = 'print(\'{"stopped": false, "sentence": "", "look": %d, "pairs": 50}\' % n)'
    held = Held(tmp_path, count + says)
    held.consider(49, 50, 51, 60, 99, 100, 101, 150, 151)

    assert held.stopped == []
    assert held.looks.standing == (2, 3)
    assert (tmp_path / "count").read_text() == "xx"


def test_rows_are_on_the_disk_before_a_look_reads_them(tmp_path: Path) -> None:
    held = Held(tmp_path, saying(stopped=True, sentence="done", look=1, pairs=50))
    held.consider(50)
    assert held.stopped == []
    held.consider(50)

    assert held.stopped == ["done"]


def test_a_look_that_waits_for_a_slow_pair_is_tried_again_when_another_is_complete(tmp_path: Path) -> None:
    counts = "open(sys.argv[1] + '/count', 'a').write('x')\n"
    held = Held(tmp_path, counts + saying(stopped=False, sentence="", look=0, pairs=0))
    held.consider(50, 50, 50, 50)
    assert (tmp_path / "count").read_text() == "x"
    held.consider(51, 51)

    assert (tmp_path / "count").read_text() == "xx"
    assert held.looks.standing == (0, 3)


@pytest.mark.parametrize(
    ("program", "trouble"),
    [
        ("sys.exit('no such thing')", "no such thing"),
        ("sys.exit(3)", "status 3"),
        ("print('hm')", "Expecting value"),
        ("pass", "Expecting value"),
        ("print('{}')", "look"),
    ],
)
def test_a_look_that_fails_is_told_once_and_the_run_goes_on(program: str, trouble: str, tmp_path: Path) -> None:
    held = Held(tmp_path, program)
    held.consider(50, 51, 52, 53)

    assert held.stopped == []
    assert len(held.said) == 1
    assert trouble in held.said[0]


def test_the_end_of_the_run_cuts_a_look_and_leaves_no_child(tmp_path: Path) -> None:
    held = Held(tmp_path, "import os, time; os.mkdir(f'{sys.argv[1]}/{os.getpid()}'); time.sleep(600)")
    held.looks.consider(50)
    held.looks.consider(50)
    while not (found := [int(path.name) for path in tmp_path.iterdir() if path.name.isdigit()]):
        gevent.sleep(0.01)
    held.looks.end()
    held.consider(200, 200)

    with pytest.raises(ProcessLookupError):
        os.kill(found[0], 0)
    assert (held.stopped, held.said) == ([], [])


def test_a_look_yields_to_the_load(tmp_path: Path) -> None:
    waits = "import os, time\nfor _ in range(6_000):\n    if os.nice(0) < 10: time.sleep(0.01)\n"
    says = 'print(\'{"stopped": true, "sentence": "%d", "look": 1}\' % os.nice(0))'
    held = Held(tmp_path, waits + says)
    held.consider(50, 50)

    assert int(held.stopped[0]) >= 10


def test_a_run_that_is_to_be_decided_has_a_most_of_pairs() -> None:
    options = Options.of(parsed())
    assert asked_sessions(options) is None
    assert asked_sessions(replace(options, until_decided=True)) == 500
    assert asked_sessions(replace(options, until_decided=True, sessions=80)) == 80
