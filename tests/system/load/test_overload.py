"""The shape of a load with a peak, and its probe callers. They run in their own process, because
importing Locust patches the standard library.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.base.units import NS_PER_S
from tests import forked

ROOT = Path(__file__).parents[3]
SCRIPT = """
session: {instructions: Be brief.}
steps:
  - message: {role: user, text: Before}
  - pause: 2
  - text: Hello
    name: greeting
  - text: Bye
"""
BEGIN = """
import json, sys
from pathlib import Path
from types import SimpleNamespace
from rtbench.overload import callers
from rtbench.overload.callers import OverloadShape, ProbeCaller
class Clock:
    at_s = 100.0
    def __call__(self):
        return round(self.at_s * 1_000_000_000)
clock = Clock()
callers.monotonic_ns = callers.utc_ns = clock
class Probe(ProbeCaller):
    asks = sys.argv[1]
    fixed_count = 3
    spacing_s = 2
"""


def run_of(program: str, script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = script.with_name("program.py")
    path.write_text(BEGIN + program)
    command = [sys.executable, str(path), str(script), *arguments]
    return forked.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def output_of(program: str, script: Path, *arguments: str) -> Any:
    ended = run_of(program, script, *arguments)

    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(SCRIPT)
    return path


def test_the_load_rises_and_falls_and_the_instants_of_its_parts_are_recorded(
    tmp_path: Path, script: Path
) -> None:
    found = output_of(
        """
class Peak(OverloadShape):
    load, peak, before_s, peak_s, after_s = 4, 12, 10, 5, 20
run = SimpleNamespace(folder=None, document={})
options = SimpleNamespace(num_users=1)
environment = SimpleNamespace(
    rtbench=SimpleNamespace(run=run), user_classes=[Probe], parsed_options=options
)
shape = Peak()
shape.runner = SimpleNamespace(environment=environment, user_count=0)
users = [shape.tick()[0]]
run.folder = Path(sys.argv[2])
users.append(shape.tick()[0])
shape.runner.user_count = 7
for second in (0, 9, 10, 11, 15, 34, 35):
    clock.at_s = 200.0 + second
    tick = shape.tick()
    users.append(tick and tick[0])
    shape.runner.user_count = users[-1]
shape.reset_time()  # Locust calls it when a visitor of the web UI starts the next run
shape.runner.user_count = 0
users.append(shape.tick()[0])
print(json.dumps([users, shape.stages, options.num_users]))
""",
        script,
        str(tmp_path),
    )

    assert found == [[7, 7, 7, 7, 15, 15, 7, 7, None, 7], [{"users": 15}], 15]
    assert json.loads((tmp_path / "run.json").read_text())["overload"] == {
        "margin": 0.1,
        "load": 4,
        "peak": 12,
        "spacing_s": 2,
        "probes": ["Probe"],
        "begun_utc_ns": 200 * NS_PER_S,
        "peak_utc_ns": 210 * NS_PER_S,
        "reached_utc_ns": 211 * NS_PER_S,
        "after_utc_ns": 215 * NS_PER_S,
    }


def test_a_probe_caller_has_the_settings_of_the_script_and_asks_its_first_turn(
    script: Path,
) -> None:
    settings, steps = output_of("print(json.dumps([Probe.settings(), Probe.steps]))", script)

    assert settings == {"session": {"instructions": "Be brief."}}
    assert steps == [
        {"verb": "message", "role": "user", "text": "Before"},
        {"verb": "text", "text": "Hello", "name": "probe"},
    ]


def test_probe_turns_are_evenly_spaced_whatever_their_latency(script: Path) -> None:
    asked = output_of(
        """
asked, latencies_s = [], iter([0.5, 1.5, 0.1, 0.3])
class Turn:
    @property
    def outcome(self):
        clock.at_s += next(latencies_s)
        return "ok"
class Call(Probe):
    def __init__(self):
        pass
    def _take(self, verb, **options):
        clock.at_s += options.get("pause", 0)
        if verb == "text":
            asked.append(clock.at_s)
            return Turn()
Call.settings()
try:
    Call.tasks[0].does(Call())
except StopIteration:
    print(json.dumps(asked))
""",
        script,
    )

    first = asked[0]
    assert 100 < first < 102  # so that probe callers do not ask together
    assert asked == pytest.approx([first + each for each in (0, 2, 4, 6, 8)], abs=0.01)


def test_files_of_the_script_are_found_next_to_the_script(tmp_path: Path) -> None:
    path = tmp_path / "wav.yaml"
    path.write_text("history: h.jsonl\nbackground_noise: {file: n.wav}\nsteps: [{audio: [a.wav]}]")
    program = "print(json.dumps([Probe.settings(), Probe.steps]))"
    settings, (step,) = output_of(program, path)

    assert settings["history"] == str(tmp_path / "h.jsonl")
    assert settings["background_noise"]["file"] == str(tmp_path / "n.wav")
    assert step["audio"] == [str(tmp_path / "a.wav")]


def test_a_script_without_a_question_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "wait.yaml"
    path.write_text("steps:\n  - wait_for: greeting\n")
    ended = run_of("Probe.settings()", path)

    assert "has no text and no audio that a probe caller can ask" in ended.stderr
