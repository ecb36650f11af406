"""Runs that compare: several targets, and variants of one, in pairs of sessions that begin together."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median

import pandas as pd
import pytest

from bench.plan.prepared import PreparedPause
from bench.plan.repertoire import Repertoire
from bench.plan.script import load_script
from bench.protocol.openai_ga import GA
from bench.run import folder as files
from bench.simulator.truth import read_truth
from tests.simulator_process import QUICK, Ready, quick_simulator, running_simulator
from tests.system.end_to_end.locust_process import only_run, run_locust, write_scenario

QUICK_AUDIO = "first_audio: {p50: 20, p95: 40}"
SCRIPT = """
session: {output: text}
steps:
  - text: One
  - pause: {median: 0.2, sigma: 1, max: 0.8}
  - text: Two
  - pause: {file: think_times.txt}
  - text: Three
"""
PYTHON = """
from locust import task
from rtbench import RealtimeUser

class Caller(RealtimeUser):
    session = {"output": "text"}

    @task
    def talk(self):
        self.text("One")
        self.pause(median=0.2, sigma=1, max=0.8)
        self.text("Two")
        self.pause(file="think_times.txt")
        self.text("Three")
"""
TIMES_S = (0.05, 0.3, 0.6)
BOTH = ["ga", "preview"]
SEED, PAIRS = 5, 8


@contextmanager
def slower_and_faster(folder: Path, more: str = "") -> Iterator[dict[str, Ready]]:
    """Two simulators that hardly vary; of `slow` first audio comes 30 % later. `more` is appended to the profiles."""
    with ExitStack() as stack:
        ready = {}
        for name, p50_ms in (("fast", 200), ("slow", 260)):
            first_audio = f"first_audio: {{p50: {p50_ms}, p95: {1.1 * p50_ms:.0f}}}"
            (folder / f"{name}.yaml").write_text(QUICK.replace(QUICK_AUDIO, first_audio) + more)
            ready[name] = stack.enter_context(running_simulator("--profile", str(folder / f"{name}.yaml")))
        yield ready


def write_targets(folder: Path, text: str) -> str:
    (folder / "targets.yaml").write_text(f"targets:\n{text}")
    return str(folder / "targets.yaml")


def sessions_of(folder: Path) -> pd.DataFrame:
    sessions = files.read_table(folder, "sessions").to_pandas()
    return sessions.sort_values("start_ns", ignore_index=True)


def ahead(sessions: pd.DataFrame, arm: str) -> set[int]:
    """By how many sessions an arm was ahead of its partner after each start."""
    return set((sessions["target"] == arm).map({True: 1, False: -1}).cumsum())


def test_a_variant_differs_from_its_target_in_what_it_says_and_in_nothing_else(
    tmp_path: Path, simulator: Ready
) -> None:
    text = (
        f"  west:\n    url: '{simulator.urls['ga']}'\n    variants:\n"
        "      terse: {session: {instructions: 'Be terse.', voice: verse}}\n"
    )
    load = ("--sessions", "2", "--targets", "west,west.terse", "--target-file", write_targets(tmp_path, text))
    ended = run_locust(write_scenario(tmp_path), tmp_path / "runs", *load)

    folder = only_run(tmp_path / "runs")
    sessions = sessions_of(folder)
    said = sessions["effective_settings"].map(json.loads)
    terse = sessions["target"] == "west.terse"
    assert ended.returncode in (0, 4), ended.stderr
    assert sessions["outcome"].tolist() == ["ok"] * 4
    assert all("Be terse." in json.dumps(settings) and "verse" in json.dumps(settings) for settings in said[terse])
    assert not any("Be terse." in json.dumps(settings) for settings in said[~terse])
    targets = {target["name"]: target for target in files.read_document(folder)["targets"]}
    assert targets["west.terse"]["variant_of"] == "west"
    assert targets["west.terse"]["session"] == {"instructions": "Be terse.", "voice": "verse"}


# Pairs that two processes play, of tasks in Python that pause for as long as is drawn.


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of such a run, beside the `truth.jsonl` of its simulator and a `script.yaml` that says the same."""
    folder = tmp_path_factory.mktemp("pairs")
    (folder / "think_times.txt").write_text("".join(f"{seconds}\n" for seconds in TIMES_S))
    scenario = write_scenario(folder, script=SCRIPT)
    scenario.write_text(PYTHON)
    load = ("-u", "4", "-r", "4", "--processes", "2", "--sessions", str(PAIRS), "--seed", str(SEED))
    with quick_simulator(folder, "--ground-truth", str(folder / "truth.jsonl")) as ready:
        names = write_targets(folder, "".join(f"  {dialect}: {{url: '{ready.urls[dialect]}'}}\n" for dialect in BOTH))
        arms = ("--targets", "ga,preview", "--target-file", names, "--record-events", "50%")
        ended = run_locust(scenario, folder / "runs", *load, *arms)
    assert ended.returncode in (0, 4), ended.stderr
    return only_run(folder / "runs")


def test_processes_and_tasks_in_python_play_pairs_too(pairs: Path) -> None:
    sessions = sessions_of(pairs)

    assert sessions["outcome"].tolist() == ["ok"] * 2 * PAIRS
    assert sessions.groupby("pair")["target"].apply(sorted).to_dict() == dict.fromkeys(range(PAIRS), BOTH)
    for _, own in sessions.groupby("worker"):
        assert ahead(own, "ga") <= {-1, 0, 1}


def test_event_logs_are_kept_of_both_sessions_of_a_pair(pairs: Path) -> None:
    sessions = sessions_of(pairs)
    logged = sessions[sessions["event_log"]]

    assert logged.groupby("pair")["target"].apply(sorted).tolist() == [BOTH] * (PAIRS // 2)
    assert {path.stem for path in (pairs / "events").iterdir()} == set(logged["session_id"])


def test_both_sessions_of_a_pair_are_silent_for_as_long_as_its_number_says(pairs: Path) -> None:
    """Callers are in Python; that this plays what a script plays, tests/plan/test_python_script.py shows."""
    beside = pairs.parents[1]
    seen, drawn = silences_ns(beside / "truth.jsonl"), drawn_ns(beside / "script.yaml")
    played = [(seen[row.service_session_id], drawn[row.pair]) for row in sessions_of(pairs).itertuples()]
    assert all(len(silences) == len(pauses) == 2 for silences, pauses in played)
    assert all(silence >= pause for both in played for silence, pause in zip(*both, strict=True))

    by_time: dict[int, list[int]] = defaultdict(list)
    for (_, silence), (_, pause) in played:
        by_time[pause].append(silence)
    medians = [median(by_time[pause]) for pause in sorted(by_time)]
    assert len(medians) == len(TIMES_S)
    assert medians == sorted(medians)


def drawn_ns(script: Path) -> list[tuple[int, ...]]:
    """The pauses of each session of a script, by its number."""
    repertoire = Repertoire(load_script(script), GA)
    sessions = (repertoire.session(number, SEED) for number in range(PAIRS))
    return [tuple(step.duration_ns for step in each.steps if isinstance(step, PreparedPause)) for each in sessions]


def silences_ns(truth: Path) -> dict[str, tuple[int, ...]]:
    """By session: from the end of each reply to when the service got the next turn's words."""
    seen: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for line in read_truth(truth):
        if line.get("type") == "response.done":
            seen[line["session"]].append(("done", line["send_start_ns"]))
        elif line.get("type") == "conversation.item.create":
            seen[line["session"]].append(("words", line["at_ns"]))
    return {session: tuple(_silences(events)) for session, events in seen.items()}


def _silences(events: list[tuple[str, int]]) -> Iterator[int]:
    for (earlier, from_ns), (later, to_ns) in pairwise(sorted(events, key=lambda event: event[1])):
        if (earlier, later) == ("done", "words"):
            yield to_ns - from_ns
