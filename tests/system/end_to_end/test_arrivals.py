"""Calls that arrive at a real run: by a schedule, distributed over processes, with a maximum of
concurrent calls.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.record import folder as files
from tests.simulator_process import Ready
from tests.system.end_to_end.locust_process import (
    ENDS_WELL,
    only_run,
    run_locust,
    write_scenario,
)


def called_ns(folder: Path) -> list[int]:
    """Return the arrival times, on CLOCK_MONOTONIC and in order, of the calls that were started."""
    sessions = files.read_table(folder, "sessions").to_pandas()
    return sorted((sessions["start_ns"] + sessions["call_arrival_at_ns"]).tolist())


def counts(folder: Path) -> pd.Series:  # type: ignore[type-arg]  # pandas has this type
    return (
        files.read_table(folder, "seconds")
        .to_pandas()[["calls_offered", "calls_blocked", "calls_delayed"]]
        .sum()
    )


def test_recorded_calls_arrive_at_their_times_in_two_processes(
    tmp_path: Path, simulator: Ready
) -> None:
    after_s = [0.0, 0.2, 0.2, 0.25, 0.7, 1.1, 1.3]
    (tmp_path / "calls.txt").write_text("\n".join(map(str, after_s)))
    calls = (
        "--arrival-pattern",
        str(tmp_path / "calls.txt"),
        "--max-concurrent",
        "10",
        "--processes",
        "2",
    )
    ended = run_locust(
        write_scenario(tmp_path), tmp_path / "runs", "--url", simulator.urls["ga"], *calls
    )

    folder = only_run(tmp_path / "runs")
    assert ended.returncode in ENDS_WELL, ended.stderr
    gaps_s = np.diff(called_ns(folder)) / 1e9
    assert gaps_s == pytest.approx(np.diff(after_s), abs=1e-6)
    sessions = files.read_table(folder, "sessions").to_pandas()
    assert (sessions["outcome"] == "ok").all()
    assert (sessions["call_arrival_at_ns"] <= sessions["connect_start_at_ns"]).all()
    assert counts(folder).tolist() == [7, 0, 0]
    document = files.read_document(folder)
    assert document["stop_reason"] == "all sessions are done"
    assert document["arrivals"]["pattern"] == "calls.txt"
    assert "7 calls arrived, 7 started, 7 completed" in " ".join(ended.stdout.split())
