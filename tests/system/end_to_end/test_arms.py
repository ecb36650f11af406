"""Runs that compare: several targets, and variants of one, in pairs of sessions that begin together."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pandas as pd

from bench.run import folder as files
from tests.simulator_process import QUICK, Ready, running_simulator
from tests.system.end_to_end.locust_process import only_run, run_locust, write_scenario

QUICK_AUDIO = "first_audio: {p50: 20, p95: 40}"
PYTHON = """
from locust import task
from rtbench import RealtimeUser

class Caller(RealtimeUser):
    session = {"output": "text"}
    calls = 0

    @task
    def talk(self):
        self.calls += 1
        self.say(f"Call {self.calls}.", label="hello")
"""


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
    return set((sessions["arm"] == arm).map({True: 1, False: -1}).cumsum())


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
    terse = sessions["arm"] == "west.terse"
    assert ended.returncode in (0, 4), ended.stderr
    assert sessions["outcome"].tolist() == ["ok"] * 4
    assert all("Be terse." in json.dumps(settings) and "verse" in json.dumps(settings) for settings in said[terse])
    assert not any("Be terse." in json.dumps(settings) for settings in said[~terse])
    targets = {target["label"]: target for target in files.read_document(folder)["targets"]}
    assert targets["west.terse"]["variant_of"] == "west"
    assert targets["west.terse"]["session"] == {"instructions": "Be terse.", "voice": "verse"}


def test_processes_and_tasks_in_python_play_pairs_too(tmp_path: Path, simulator: Ready) -> None:
    text = f"  west: {{url: '{simulator.urls['ga']}'}}\n  east: {{url: '{simulator.urls['preview']}'}}\n"
    scenario = tmp_path / "scenario.py"
    scenario.write_text(PYTHON)
    load = ("-u", "4", "-r", "4", "--processes", "2", "--sessions", "6", "--targets", "west,east")
    ended = run_locust(scenario, tmp_path / "runs", *load, "--target-file", write_targets(tmp_path, text))

    sessions = sessions_of(only_run(tmp_path / "runs"))
    assert ended.returncode in (0, 4), ended.stderr
    assert sessions["outcome"].tolist() == ["ok"] * 12
    assert sessions.groupby("pair")["arm"].apply(sorted).tolist() == [["east", "west"]] * 6
    for _, own in sessions.groupby("worker"):
        assert ahead(own, "west") <= {-1, 0, 1}


def test_event_logs_are_kept_of_both_sessions_of_a_pair(tmp_path: Path, simulator: Ready) -> None:
    text = f"  west: {{url: '{simulator.urls['ga']}'}}\n  east: {{url: '{simulator.urls['preview']}'}}\n"
    names = write_targets(tmp_path, text)
    load = ("--sessions", "4", "--targets", "west,east", "--target-file", names, "--record-events", "50%")
    run_locust(write_scenario(tmp_path), tmp_path / "runs", *load)

    folder = only_run(tmp_path / "runs")
    sessions = sessions_of(folder)
    logged = sessions[sessions["event_log"]]
    assert logged.groupby("pair")["arm"].apply(sorted).tolist() == [["east", "west"]] * 2
    assert {path.stem for path in (folder / "events").iterdir()} == set(logged["session_id"])
