"""Runs that use up limits, both the limits of the service and the user's own: waits that are
requested, and budgets.
"""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pandas as pd

from bench.catalogue.causes import encoded, in_words
from bench.record import folder as files
from tests.simulator_process import Ready, quick_simulator
from tests.system.end_to_end.locust_process import (
    GUARD_S,
    locust,
    only_run,
    run_locust,
    wait_for_rows,
    write_scenario,
)


def rows(folder: Path, table: files.TableName) -> pd.DataFrame:
    return files.read_table(folder, table).to_pandas().sort_values("start_ns", ignore_index=True)


def ended_ns(table: pd.DataFrame) -> pd.Series:
    return table["start_ns"] + table["ended_at_ns"]


TAKEN, CALLERS = 20, 24
"""The number of connections that the service accepts at the same time, and the number of users.
Each user needs one connection until the run ends.
"""


def test_after_a_throttled_handshake_no_session_starts_before_the_retry_after(
    tmp_path: Path,
) -> None:
    runs, script = (
        tmp_path / "runs",
        "session: {output: text}\nsteps:\n  - text: Hello\n  - pause: 600\n  - text: Bye\n",
    )
    with quick_simulator(tmp_path, more=f"quota: {{connections_per_minute: {TAKEN}}}\n") as ready:
        load = ("-u", str(CALLERS), "-r", str(CALLERS), "-t", "10m", "--url", ready.urls["ga"])
        with locust(write_scenario(tmp_path, script=script), runs, *load) as process:
            folder = wait_for_rows(runs, "turns", TAKEN + 2)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=GUARD_S)

    sessions = rows(folder, "sessions")
    throttled = sessions[sessions["outcome"] == "throttled:handshake"]
    assert len(throttled) > 0
    assert throttled["retry_after_ns"].min() > 0
    assert set(sessions["outcome"]) <= {"ok", "unfinished", "throttled:handshake"}
    assert sum(files.read_document(folder)["start_delays_s"].values()) > 0
    assert "starts were delayed at the request of the service: 127.0.0.1 " in errors

    for at_ns, asked_ns in zip(ended_ns(throttled), throttled["retry_after_ns"], strict=True):
        begun = sessions["start_ns"].between(at_ns + 1, at_ns + asked_ns - 1)
        assert begun.sum() < CALLERS - TAKEN, (
            "only calls on the way may start until the answer is read"
        )


ENDLESS = """
session: {output: text, tool_choice: required}
tools: {find_parcel: {returns: depot, delay: 0.5}}
steps:
  - text: Hello
  - text: Bye
"""
"""A session whose model must call a function in every response."""


def test_a_budget_spent_by_two_processes_ends_turns_and_the_run(
    tmp_path: Path, simulator: Ready
) -> None:
    load = (
        "-u",
        "2",
        "-r",
        "2",
        "-t",
        "10m",
        "--budget",
        "0.01",
        "--processes",
        "2",
        "--url",
        simulator.urls["ga"],
    )
    ended = run_locust(write_scenario(tmp_path, script=ENDLESS), tmp_path / "runs", *load)

    folder = only_run(tmp_path / "runs")
    turns, money = rows(folder, "turns"), json.loads((folder / "summary.json").read_text())["cost"]
    document = files.read_document(folder)
    assert ended.returncode in (1, 4), ended.stderr
    assert document["stop_reason"].startswith("the budget of 0.01 USD is spent: ")
    assert document["budget_usd"] == 0.01
    assert "the run ends early: the budget of 0.01 USD is spent" in ended.stderr
    assert "the budget of 0.01 USD is spent" in (folder / "report.html").read_text()
    assert set(turns["outcome"]) == {"unfinished"}
    assert set(turns["cause"]) == {encoded([in_words("the run's budget is spent")])}
    each_usd = money["usd"] / turns["function_calls"].sum()
    assert 0.01 <= money["usd"] < 0.01 + 8 * each_usd
