"""Pauses that are drawn: what the simulator saw of them, in two processes and at two targets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median

import pytest

from bench.plan.prepared import PreparedPause
from bench.plan.repertoire import Repertoire
from bench.plan.script import load_script
from bench.protocol.openai_ga import GA
from bench.run import folder as files
from bench.simulator.truth import read_truth
from tests.simulator_process import Ready, quick_simulator
from tests.system.end_to_end.locust_process import only_run, run_locust, write_scenario

SCRIPT = """
session: {output: text}
steps:
  - say: One
  - pause: {median: 0.2, sigma: 1, most: 0.8}
  - say: Two
  - pause: {file: think_times.txt}
  - say: Three
"""
PYTHON = """
from locust import task
from rtbench import RealtimeUser

class Caller(RealtimeUser):
    session = {"output": "text"}

    @task
    def talk(self):
        self.say("One")
        self.pause(median=0.2, sigma=1, most=0.8)
        self.say("Two")
        self.pause(file="think_times.txt")
        self.say("Three")
"""
TIMES_S = (0.05, 0.3, 0.6)
SEED, PAIRS = 5, 8


def drawn_ns(script: Path) -> list[tuple[int, ...]]:
    """The pauses of each session of a script, by its number."""
    repertoire = Repertoire(load_script(script), GA)
    sessions = (repertoire.session(number, SEED) for number in range(PAIRS))
    return [tuple(step.duration_ns for step in each.steps if isinstance(step, PreparedPause)) for each in sessions]


def silences_ns(truth: Path) -> dict[str, tuple[int, ...]]:
    """By session: from the end of each reply to when the service got the next turn's words."""
    seen: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for line in read_truth(truth):
        if line.get("t") == "response.done":
            seen[line["s"]].append(("done", line["handed"]))
        elif line.get("t") == "conversation.item.create":
            seen[line["s"]].append(("words", line["at"]))
    return {session: tuple(_silences(events)) for session, events in seen.items()}


def _silences(events: list[tuple[str, int]]) -> Iterator[int]:
    for (earlier, from_ns), (later, to_ns) in pairwise(sorted(events, key=lambda event: event[1])):
        if (earlier, later) == ("done", "words"):
            yield to_ns - from_ns


@pytest.fixture
def truthful(tmp_path: Path) -> Iterator[Ready]:
    with quick_simulator(tmp_path, "--truth", str(tmp_path / "truth.jsonl")) as ready:
        yield ready


def test_both_sessions_of_a_pair_are_silent_for_as_long_as_its_number_says(tmp_path: Path, truthful: Ready) -> None:
    """Callers are in Python; that this plays what a script plays, tests/plan/test_python_script.py shows."""
    (tmp_path / "think_times.txt").write_text("".join(f"{seconds}\n" for seconds in TIMES_S))
    path = write_scenario(tmp_path, script=SCRIPT)
    path.write_text(PYTHON)
    targets = "".join(f"  {name}: {{url: '{truthful.urls[name]}', dialect: {name}}}\n" for name in ("ga", "preview"))
    (tmp_path / "targets.yaml").write_text(f"targets:\n{targets}")
    load = ("-u", "4", "-r", "4", "--processes", "2", "--sessions", str(PAIRS), "--seed", str(SEED))
    ended = run_locust(
        path, tmp_path / "runs", *load, "--targets", "ga,preview", "--target-file", str(tmp_path / "targets.yaml")
    )
    truthful.stop()

    sessions = files.read_table(only_run(tmp_path / "runs"), "sessions").to_pandas()
    seen, drawn = silences_ns(tmp_path / "truth.jsonl"), drawn_ns(tmp_path / "script.yaml")
    assert ended.returncode in (0, 4), ended.stderr
    assert sorted(sessions["pair"]) == sorted([*range(PAIRS)] * 2)
    played = [(seen[row.service_session_id], drawn[row.pair]) for row in sessions.itertuples()]
    assert all(len(silences) == len(pauses) == 2 for silences, pauses in played)
    assert all(silence >= pause for both in played for silence, pause in zip(*both, strict=True))

    by_time: dict[int, list[int]] = defaultdict(list)
    for (_, silence), (_, pause) in played:
        by_time[pause].append(silence)
    medians = [median(by_time[pause]) for pause in sorted(by_time)]
    assert len(medians) == len(TIMES_S)
    assert medians == sorted(medians)
