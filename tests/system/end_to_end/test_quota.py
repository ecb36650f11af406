"""Runs against limits that run down, the service's and the user's own: waits that are asked for, budgets."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pandas as pd
import pytest

from bench.columns import token_column
from bench.money import cost_usd, prices_of
from bench.run import folder as files
from bench.target.target_settings import load_price_table
from tests.simulator_process import Ready, quick_simulator
from tests.system.end_to_end.locust_process import GUARD_S, locust, only_run, run_locust, wait_for_rows, write_scenario

KINDS = (
    *("text_in", "audio_in", "image_in", "cached_text_in", "cached_audio_in", "cached_image_in"),
    *("text_out", "audio_out"),
)


def rows(folder: Path, table: files.TableName) -> pd.DataFrame:
    return files.read_table(folder, table).to_pandas().sort_values("start_ns", ignore_index=True)


def ended_ns(table: pd.DataFrame) -> pd.Series:
    return table["start_ns"] + table["ended_at_ns"]


def opened_ns(sessions: pd.DataFrame) -> pd.Series:
    return sessions["start_ns"] + sessions["session_updated_at_ns"]


TAKEN, CALLERS = 20, 24
"""Connections that the service takes at once, and users who want one for as long as the run lasts."""


def test_after_a_throttled_handshake_nothing_starts_before_the_wait_that_was_asked_for_and_then_one_session_alone(
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
    assert "starts were delayed, as the service asked: 127.0.0.1 " in errors

    settled_ns = ended_ns(sessions).where(sessions["session_updated_at_ns"].isna(), opened_ns(sessions))
    trials = set()
    for at_ns, asked_ns in zip(ended_ns(throttled), throttled["retry_after_ns"], strict=True):
        begun = sessions["start_ns"].between(at_ns + 1, at_ns + asked_ns - 1)
        assert begun.sum() < CALLERS - TAKEN, "who was on the way may begin until the answer is read, and nobody again"
        trials |= set(sessions.index[sessions["start_ns"] >= at_ns + asked_ns][:1])
    assert trials
    for trial in trials:
        assert not sessions["start_ns"].between(sessions["start_ns"][trial] + 1, settled_ns[trial] - 1).any()


def test_a_budget_that_is_spent_ends_the_run_in_order(tmp_path: Path, simulator: Ready) -> None:
    load = ("-u", "1", "-t", "10m", "--budget", "0.02", "--url", simulator.urls["ga"])
    ended = run_locust(write_scenario(tmp_path, turns=50), tmp_path / "runs", *load)

    folder = only_run(tmp_path / "runs")
    document, turns = files.read_document(folder), rows(folder, "turns")
    prices = prices_of(load_price_table(None).models, str(rows(folder, "sessions")["model"].dropna().iloc[0]))
    assert prices is not None
    spent = cost_usd(prices, {kind: turns[token_column(kind)] for kind in KINDS}).cumsum().tolist()
    assert ended.returncode in (0, 4), ended.stderr
    assert document["stop_reason"].startswith("the budget of 0.02 USD is spent: ")
    assert document["budget_usd"] == 0.02
    assert spent[-1] >= 0.02 > spent[-2]
    assert set(turns["outcome"]) == {"ok"}
    assert "the run ends early: the budget of 0.02 USD is spent" in ended.stderr
    assert "the budget of 0.02 USD is spent" in (folder / "report.html").read_text()


ENDLESS = """
session: {output: text, tool_choice: required}
tools: {find_parcel: {returns: depot, delay: DELAY}}
steps:
  - text: Hello
  - text: Bye
"""
"""A session whose model has to call a function in every response."""


@pytest.mark.parametrize("processes", [(), ("--processes", "2")])
def test_a_budget_stops_turns_that_go_on_calling_functions_within_a_response(
    processes: tuple[str, ...], tmp_path: Path, simulator: Ready
) -> None:
    load = ("-u", "2", "-r", "2", "-t", "10m", "--budget", "0.01", "--url", simulator.urls["ga"])
    scenario = write_scenario(tmp_path, script=ENDLESS.replace("DELAY", "0.5"))
    ended = run_locust(scenario, tmp_path / "runs", *load, *processes)

    folder = only_run(tmp_path / "runs")
    turns, money = rows(folder, "turns"), json.loads((folder / "summary.json").read_text())["cost"]
    assert files.read_document(folder)["stop_reason"].startswith("the budget of 0.01 USD is spent: "), ended.stderr
    assert set(turns["outcome"]) == {"unfinished"}
    assert set(turns["detail"]) == {"the run's money is spent"}
    each_usd = money["usd"] / turns["function_calls"].sum()
    assert 0.01 <= money["usd"] < 0.01 + (2 if not processes else 8) * each_usd


def test_minutes_spend_a_budget_while_nobody_speaks(tmp_path: Path, simulator: Ready) -> None:
    """A dollar a second: the silence after the first turn is too dear, and no turn ends in it."""
    (tmp_path / "prices.yaml").write_text("as_of: 2026-01-01\nmodels:\n  gpt-realtime: {usd_per_minute: 60}\n")
    script = "session: {output: text}\nsteps:\n  - text: Hello\n  - pause: 600\n  - text: Bye\n"
    load = ("-t", "10m", "--budget", "1.5", "--prices", str(tmp_path / "prices.yaml"), "--url", simulator.urls["ga"])
    ended = run_locust(write_scenario(tmp_path, script=script), tmp_path / "runs", *load, "-u", "2", "--processes", "2")

    folder = only_run(tmp_path / "runs")
    sessions, money = rows(folder, "sessions"), json.loads((folder / "summary.json").read_text())["cost"]
    seconds = float((sessions["ended_at_ns"] - sessions["upgrade_done_at_ns"]).sum()) / 1e9
    assert ended.returncode in (0, 4), ended.stderr
    assert files.read_document(folder)["stop_reason"].startswith("the budget of 1.50 USD is spent: ")
    assert set(rows(folder, "turns")["turn"]) == {1}
    assert money["usd"] == pytest.approx(seconds, rel=1e-4)
    assert money["usd"] >= 1.5
