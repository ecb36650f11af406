"""Helpers of several benchmarks: a headless Locust run, and its rows joined with the simulator's
ground truth.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.record import folder as files
from bench.simulator.ground_truth_log import read_truth


def run_locust(scenario: Path, runs: Path, *options: str) -> Path:
    """Run a scenario headless; return the run folder."""
    command = [
        sys.executable,
        "-m",
        "locust",
        "-f",
        str(scenario),
        "--headless",
        "--runs-dir",
        str(runs),
        *options,
    ]
    quiet = ["--only-summary", "--loglevel", "WARNING", "--json-file", str(runs.parent / "locust")]
    subprocess.run(
        [*command, *quiet],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"NO_COLOR": "1"},
    )
    return max(runs.iterdir(), key=lambda path: path.stat().st_mtime)


def turns_of(folder: Path) -> pd.DataFrame:
    rows: pd.DataFrame = files.read_table(folder, "turns").to_pandas()
    return rows


def truth_of(path: Path) -> pd.DataFrame:
    """Return a row per response.

    A row has the arrival of the request and the instant at which the first audio was sent.
    """
    requested: dict[str, int] = {}
    first: dict[str, int] = {}
    for event in read_truth(path):
        if event.get("direction") == "in" and event["type"] == "response.create":
            if event["response"]:
                requested[event["response"]] = event["at_ns"]
        elif (
            event.get("direction") == "out"
            and event["audio_bytes"] > 0
            and event["response"] not in first
        ):
            first[event["response"]] = event["send_start_ns"]
    rows = [
        {"response_id": r, "true_requested_ns": at, "true_first_ns": first.get(r)}
        for r, at in requested.items()
    ]
    return pd.DataFrame(rows)


def with_truth(turns: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    """Return successful turns with `ttfa_ms`, `true_ttfa_ms` and their difference."""
    joined = turns[turns["outcome"] == "ok"].merge(
        truth, on="response_id", how="left", validate="one_to_one"
    )
    joined["ttfa_ms"] = (joined["first_audio_at_ns"] - joined["request_sent_at_ns"]) / 1e6
    joined["true_ttfa_ms"] = (joined["true_first_ns"] - joined["true_requested_ns"]) / 1e6
    joined["error_ms"] = joined["ttfa_ms"] - joined["true_ttfa_ms"]
    return joined


def quantiles(values: Any, *ps: float) -> str:
    """Format quantiles as "p50 0.012 · p99 0.34", in the unit of the values."""
    array = np.asarray(values, dtype=float)
    return " · ".join(
        f"p{p * 100:g} {np.quantile(array, p, method='inverted_cdf'):.3f}" for p in ps
    )
