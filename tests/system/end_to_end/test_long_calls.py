"""Calls that begin deep in a conversation, and calls that outlive their session. Both use real sockets."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from bench.base.units import NS_PER_MS
from bench.catalogue.metrics import CATALOGUE
from bench.record import folder as files
from bench.record.replay import replay_log
from bench.simulator.ground_truth_log import read_truth
from tests.simulator_process import quick_simulator
from tests.system.end_to_end.locust_process import only_run, run_locust, write_scenario

SCRIPT = """
renew_after: 3600
steps:
  - text: One
  - text: Two
  - pause: 4
  - text: Three
  - text: Four
"""
HISTORY = '{"role": "user", "text": "Good morning."}\n{"role": "assistant", "text": "Good morning."}\n'
CAP_S = 3
CALLS = 2


def measured(folder: Path, name: str) -> dict[str, float]:
    """Return the values of a session metric in ms by session, without the sessions that have no value."""
    metric, sessions = CATALOGUE[name], files.read_table(folder, "sessions").to_pylist()
    values = {row["session_id"]: metric.value_ns(_instants(row), row.get) for row in sessions}
    return {session: value / NS_PER_MS for session, value in values.items() if value is not None}


def _instants(row: dict[str, Any]) -> dict[str, int]:
    ends = "_at_ns"
    return {name.removesuffix(ends): at for name, at in row.items() if name.endswith(ends) and at is not None}


def test_calls_begin_with_a_history_and_continue_after_the_service_ends_their_session(tmp_path: Path) -> None:
    (tmp_path / "before.jsonl").write_text(HISTORY)
    truth = tmp_path / "truth.jsonl"
    profile = f"max_session_s: {CAP_S}\n"
    with quick_simulator(tmp_path, "--ground-truth", str(truth), more=profile) as simulator:
        load = ("-u", "2", "-r", "2", "--sessions", str(CALLS), "--url", simulator.urls["ga"])
        logs = ("--record-events", "100%", "--history", str(tmp_path / "before.jsonl"))
        run_locust(write_scenario(tmp_path, script=SCRIPT), tmp_path / "runs", *load, *logs)

    folder = only_run(tmp_path / "runs")
    sessions = files.read_table(folder, "sessions").to_pylist()
    turns = files.read_table(folder, "turns").to_pylist()
    assert {row["session_id"]: row["outcome"] for row in sessions} == {
        "w0-000000": "renewed", "w0-000000.2": "ok", "w0-000001": "renewed", "w0-000001.2": "ok",
    }, [row["detail"] for row in sessions]  # fmt: skip
    assert {turn["outcome"] for turn in turns} == {"ok"}
    assert sorted(turn["turn"] for turn in turns) == sorted([1, 2, 3, 4] * CALLS)
    assert not any(row["turns_not_started"] for row in sessions)
    summary = json.loads((folder / "summary.json").read_text())
    (outcomes,) = summary["outcomes"].values()
    assert (outcomes["sessions_with_failure"], outcomes["failure_rate"]) == (0, 0)
    money = summary["cost"]
    least, most = money["estimate_usd"]
    assert least <= money["usd"] <= most

    gaps, cold, history = (
        measured(folder, name) for name in ("renewal_gap", "connect_to_first_audible", "history_load")
    )
    assert gaps.keys() == {"w0-000000.2", "w0-000001.2"}
    assert len(cold) == len(history) == 2 * CALLS
    message_counts = Counter(line["session"] for line in read_truth(truth) if line.get("event_id") == "session-message")
    assert {row["session_id"]: message_counts[row["service_session_id"]] for row in sessions} == {
        "w0-000000": 2, "w0-000000.2": 6, "w0-000001": 2, "w0-000001.2": 6,
    }  # fmt: skip
    for session in gaps:
        again = replay_log(folder / "events" / f"{session}.jsonl").session
        assert again.metrics_ns()["renewal_gap"] / NS_PER_MS == gaps[session]
