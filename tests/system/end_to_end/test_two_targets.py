"""Runs that compare several targets, or variants of one target, in pairs of sessions that start
at the same time.
"""

from __future__ import annotations

from pathlib import Path

from tests.simulator_process import quick_simulator
from tests.system.end_to_end.locust_process import only_run, run_locust, write_scenario
from tests.system.end_to_end.two_targets import ahead, sessions_of, write_targets

PYTHON = """
from locust import task
from rtbench import RealtimeUser

class Caller(RealtimeUser):
    session = {"output": "text"}

    @task
    def talk(self):
        self.text("One")
        self.pause(0.2)
        self.text("Two")
"""
BOTH = ["ga", "preview"]
PAIRS = 8


def test_two_processes_run_python_tasks_in_pairs_with_event_logs_of_whole_pairs(
    tmp_path: Path,
) -> None:
    scenario = write_scenario(tmp_path)
    scenario.write_text(PYTHON)
    load = ("-u", "4", "-r", "4", "--processes", "2", "--sessions", str(PAIRS))
    with quick_simulator(tmp_path) as ready:
        names = write_targets(
            tmp_path,
            "".join(f"  {dialect}: {{url: '{ready.urls[dialect]}'}}\n" for dialect in BOTH),
        )
        options = ("--targets", "ga,preview", "--target-file", names, "--record-events", "50%")
        ended = run_locust(scenario, tmp_path / "runs", *load, *options)

    folder = only_run(tmp_path / "runs")
    sessions = sessions_of(folder)
    assert ended.returncode in (0, 4), ended.stderr
    assert sessions["outcome"].tolist() == ["ok"] * 2 * PAIRS
    assert sessions.groupby("pair")["target"].apply(sorted).to_dict() == dict.fromkeys(
        range(PAIRS), BOTH
    )
    for _, own in sessions.groupby("worker"):
        assert ahead(own, "ga") <= {-1, 0, 1}
    logged = sessions[sessions["event_log"]]
    assert logged.groupby("pair")["target"].apply(sorted).tolist() == [BOTH] * (PAIRS // 2)
    assert {path.stem for path in (folder / "events").iterdir()} == set(logged["session_id"])
