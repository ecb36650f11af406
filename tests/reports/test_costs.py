"""Tokens and their cost, the rate limits of the service, incidents, and network paths."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import rtbench
from bench.catalogue.columns import token_column
from bench.catalogue.pricing import Prices, cost_usd
from bench.record.recorder import SIMULATOR_OVERLOADED
from reports.analysis.summary.cost import KINDS, RunCost, money_of
from reports.analysis.summary.summary import Summary, summarise
from reports.data.runs import RunFrames, load_for_report
from reports.data.turns import target_labels
from reports.pages.run_report.sections import arrivals, health, network
from reports.pages.run_report.sections.arrivals import limits_in_all
from reports.pages.run_report.sections.cost import cost_notes, cost_texts, costs
from reports.pages.run_report.sections.health import incident_lines
from reports.pages.run_report.sections.network import round_trips
from reports.results.json_entries import to_json_data
from tests.reports import synthetic
from tests.reports.edited import edit, edited
from tests.reports.forms import run_forms, run_text, section_html, section_markdown
from tests.reports.shared import summary_in, summary_of
from tests.reports.synthetic import PRICES, Plan

NBSP = "\u00a0"
TWO = Plan(
    sessions=40, turns=5, targets=("sweden", "eastus2"), failed=0.2, usage=True, simulated=False
)
OWN = {
    f"{kind}{part}": 1
    for kind in ("text", "audio")
    for part in ("_input", "_cached_input", "_output")
}


@dataclass(frozen=True)
class Priced:
    """A run that is loaded when it is first used. If a test does not use the summary, only the
    cost is computed.
    """

    folder: Path

    @cached_property
    def run(self) -> RunFrames:
        return load_for_report(self.folder)

    @cached_property
    def cost(self) -> RunCost:
        return money_of(self.run, target_labels(self.run))

    @cached_property
    def summary(self) -> Summary:
        return summarise(self.run)

    @property
    def simulated(self) -> bool:
        return self.run.simulated


def build(folder: Path, plan: Plan = TWO, **changes: Any) -> Priced:
    document = synthetic.target_keys(plan) | changes
    return Priced(synthetic.write(folder, plan, **document))


def summary_with_prices(plan: Plan = TWO, **changes: Any) -> Summary:
    """Return the summary of a run that has prices. Tests share the folder of the run, so they
    must not change it.
    """
    return summary_of(plan, **(synthetic.target_keys(plan) | changes))


def rewrite(folder: Path, name: str, change: Any) -> Priced:
    """Change the rows of a table of a run, and return the run."""
    return Priced(edit(folder, name, change))


def said(summary: Summary | Priced) -> str:
    notes = cost_notes(summary.cost, simulated=summary.simulated)
    return " ".join([*cost_texts(summary.cost), *notes]).replace(NBSP, " ")


def test_the_cost_equals_that_of_the_rows(tmp_path: Path) -> None:
    """The test computes the expected cost turn by turn, not from the sums of columns."""
    found = build(tmp_path).cost
    prices = Prices(**PRICES["models"]["gpt-realtime"])  # type: ignore[index]
    rows = [
        row
        for row in pq.read_table(tmp_path / "turns.parquet").to_pylist()
        if row["input_text_tokens"] is not None
    ]
    usd = sum(
        cost_usd(prices, {name: row[token_column(name)] or 0 for name in KINDS}) for row in rows
    )

    assert found.usd == pytest.approx(usd)
    assert (found.turns, found.turns_priced, found.turns_without_usage) == (
        len(rows),
        len(rows),
        200 - len(rows),
    )
    assert found.turns_without_usage > 0
    assert sum(one.usd for one in found.targets) == pytest.approx(usd)
    assert found.per_turn == pytest.approx(usd / len(rows))


STRAY = {
    "text_in": 700,
    "audio_in": 900,
    "cached_in": 500,
    "cached_text_in": 200,
    "cached_audio_in": 300,
    "text_out": 40,
    "audio_out": 800,
}
STRAY_USD = (500 * 4 + 600 * 32 + 500 * 0.4 + 40 * 16 + 800 * 64) / 1e6


def astray(folder: Path, of: Callable[[int, Any], bool], **changes: Any) -> Priced:
    """Give tokens that belong to no turn to some sessions. `of` selects these sessions.

    Reverse the order of the rows of sessions, so that it differs from the order of the turns.
    """
    tokens = {token_column(kind): number for kind, number in STRAY.items()} | changes
    edit(folder, "sessions", lambda index, row: row | (tokens if of(index, row) else {}))
    table = pq.read_table(folder / "sessions.parquet")
    pq.write_table(table.take(list(range(len(table)))[::-1]), folder / "sessions.parquet")
    return Priced(folder)


def test_tokens_without_a_kind_make_the_cost_a_lower_bound(tmp_path: Path) -> None:
    before = build(tmp_path).cost
    kindless = {"output_kindless_tokens": 12, "input_kindless_tokens": 0}
    edit(tmp_path, "turns", lambda index, row: row | (kindless if index < 40 else {}))
    summary = Priced(tmp_path)
    targets = {
        row["target"] for row in pq.read_table(tmp_path / "turns.parquet").slice(0, 40).to_pylist()
    }

    assert summary.cost.usd == pytest.approx(before.usd)
    assert summary.cost.turns_without_kinds == 40
    assert {one.target for one in summary.cost.targets if one.is_lower_bound} == targets
    assert "at least" in said(summary)
    assert "tokens of 40 turns without a kind count as text" in said(summary)
    assert "so the amount is a lower bound" in said(summary)


def test_responses_that_belong_to_no_turn_are_included_in_the_cost(tmp_path: Path) -> None:
    before = build(tmp_path).cost
    summary = astray(tmp_path, lambda index, _: index in (1, 2, 3))
    sweden, eastus2 = summary.cost.targets

    assert (sweden.unattributed_sessions, eastus2.unattributed_sessions) == (1, 2)
    assert sweden.usd == pytest.approx(before.targets[0].usd + STRAY_USD)
    assert eastus2.usd == pytest.approx(before.targets[1].usd + 2 * STRAY_USD)
    assert eastus2.unattributed_usd == pytest.approx(2 * STRAY_USD)
    assert sweden.tokens("audio_out") == before.targets[0].tokens("audio_out") + 800
    assert (sweden.turns, sweden.turns_without_usage, sweden.minutes) == pytest.approx(
        (before.targets[0].turns, before.targets[0].turns_without_usage, before.targets[0].minutes)
    )
    assert "0.22 USD of it for responses that belong to no turn (3 sessions)" in said(summary)
    assert "belongs to no turn but is billed" in said(summary)
    document = to_json_data(summary.cost)
    assert (document["unattributed_usd"], document["unattributed_sessions"]) == (
        pytest.approx(3 * STRAY_USD),
        3,
    )
    assert document["targets"][0]["models"][0]["unattributed_tokens"] == {
        kind: STRAY.get(kind, 0) for kind in KINDS
    }


def test_a_run_with_only_unattributed_responses_has_their_cost(tmp_path: Path) -> None:
    build(tmp_path, Plan())
    summary = astray(tmp_path, lambda index, _: index == 0)
    found = summary.cost

    assert (found.turns, found.turns_without_usage, found.unattributed_sessions) == (0, 40, 1)
    assert found.usd == pytest.approx(STRAY_USD)
    assert math.isnan(found.per_turn)
    assert found.targets[0].usd_per_session == pytest.approx(STRAY_USD)
    assert "0.07 USD for 0 turns, 0.07 USD of it for responses" in ", ".join(
        cost_texts(found)
    ).replace(NBSP, " ")
    assert "nan" not in said(summary)


def test_unattributed_responses_without_a_price_are_in_no_amount(tmp_path: Path) -> None:
    before = build(tmp_path).cost
    summary = astray(tmp_path, lambda index, _: index == 0, model="gpt-x")
    one = summary.cost.targets[0]

    assert summary.cost.models_without_price == ("gpt-x",)
    assert (one.unattributed_usd, one.unattributed_sessions) == (0, 0)
    assert one.usd < before.targets[0].usd
    assert "belong to no turn" not in said(summary)


PLAYED = {
    "unplayed_audio_ns": 3_000_000_000,
    "received_audio_ns": 4_000_000_000,
    "output_audio_tokens": 80,
}
WASTED_USD = 60 * 64 / 1e6
"""The cost in USD of the audio that was not played. In each interrupted turn, this is three
quarters of 80 tokens."""


def interrupted(folder: Path, plan: Plan, of: Callable[[int], bool], **changes: Any) -> Priced:
    """Interrupt the reply of some turns after a quarter of its audio. `of` selects the turns."""
    build(folder, plan)
    return rewrite(
        folder, "turns", lambda index, row: row | (PLAYED | changes if of(index) else {})
    )


def test_the_cost_of_unplayed_audio_is_its_share_of_the_audio_tokens(tmp_path: Path) -> None:
    summary = interrupted(tmp_path, Plan(usage=True), lambda index: index < 3).summary
    waste = summary.cost.unplayed_audio

    assert waste is not None
    assert (waste.replies, waste.replies_with_usage, waste.replies_priced) == (3, 3, 3)
    assert (waste.seconds, waste.audio_tokens) == (9.0, 180)
    assert waste.usd == pytest.approx(3 * WASTED_USD)
    assert waste.usd_per_reply == pytest.approx(WASTED_USD)
    unpriced = rewrite(
        tmp_path, "sessions", lambda _, row: row | {"model": "gpt-x"}
    ).cost.unplayed_audio
    assert unpriced is not None
    assert (unpriced.audio_tokens, unpriced.replies_priced, unpriced.usd) == (180, 0, 0)


def test_the_cost_per_minute_counts_minutes_of_open_sessions(tmp_path: Path) -> None:
    """The minutes are those of all sessions that have a priced turn.

    A session counts from its open connection to its end.
    """
    one = build(tmp_path, Plan(usage=True, refused=3)).cost.targets[0]
    sessions = rtbench.load(tmp_path).sessions.iloc[:10]
    minutes = (sessions["ended_at_ns"] - sessions["opened_at_ns"]).sum() / 60e9

    assert one.sessions == 10
    assert one.minutes == pytest.approx(minutes)
    assert one.usd_per_minute == pytest.approx(one.usd / minutes)
    assert one.usd_per_session == pytest.approx(one.usd / 10)


BY_MINUTE = dict.fromkeys(OWN, 0) | {"usd_per_minute": 0.05}


def cost_text(folder: Path, target: str) -> float:
    sessions = rtbench.load(folder).sessions
    mine = sessions[(sessions["target"] == target) & sessions["session_updated_at_ns"].notna()]
    return float((mine["ended_at_ns"] - mine["opened_at_ns"]).sum()) / 60e9


def test_a_target_with_a_price_per_minute_pays_for_every_open_session(tmp_path: Path) -> None:
    """The turns of this target report no tokens.

    Their cost is still known, because the price per minute covers them.
    """
    plan = Plan(sessions=20, refused=3, targets=("live",))
    targets = [synthetic.target_keys(plan)["targets"][0] | {"prices": BY_MINUTE}]
    summary = build(tmp_path, plan, targets=targets).summary
    one = summary.cost.targets[0]

    assert one.usd == pytest.approx(0.05 * cost_text(tmp_path, "live"))
    assert (one.usd_per_minute, one.turns_without_usage) == (pytest.approx(0.05), 0)
    assert one.sessions == 20
    assert one.turns == one.turns_priced == summary.endings.started
    assert "no readable token counts" not in said(summary)
    assert to_json_data(summary.cost)["targets"][0]["models"][0]["prices"]["usd_per_minute"] == 0.05


LIVE_PLAN = Plan(sessions=10, turns=4, targets=("live",), simulated=False)
LUNA = {"text_input": 1, "text_cached_input": 0.1, "text_output": 5, "text_cache_write": 1.25}
LUNA |= {f"audio_{part}": 0 for part in ("input", "cached_input", "output")}
STANDBY = {"usd_per_standby_minute": 0.02}
LIVE_PRICES = {
    "as_of": "2026-11-26",
    "name": "p",
    "models": {"gpt-live-1": BY_MINUTE | STANDBY, "gpt-6-luna": LUNA},
}
BACKEND_TOKENS = {
    "input_text_tokens": 1_000_000,
    "input_cached_tokens": 100_000,
    "input_cached_text_tokens": 100_000,
    "input_cache_write_tokens": 200_000,
    "output_text_tokens": 10_000,
}
BACKEND_USD = 0.9 + 0.01 + 0.2 * 0.25 + 0.05
MINUTE_NS = 60 * 10**9


def live(
    folder: Path, backend: str | None = "gpt-6-luna", own: Any = None, **session: Any
) -> Priced:
    """Build a run of GPT-Live. The first turn of each session delegates a task to the backend,
    the others do not.
    """
    keys = synthetic.target_keys(LIVE_PLAN, dialect="gpt-live", model=None, prices=own)
    build(folder, LIVE_PLAN, **(keys | {"prices": LIVE_PRICES}))
    edit(
        folder,
        "sessions",
        lambda _, row: row | {"model": "gpt-live-1", "backend_model": backend} | session,
    )

    def delegated(_: int, row: Any) -> Any:
        task = row["turn"] == 1
        return row | {"delegations": int(task)} | (BACKEND_TOKENS if task and backend else {})

    return rewrite(folder, "turns", delegated)


def test_the_tokens_of_a_backend_cost_by_its_model_in_addition_to_the_minutes(
    tmp_path: Path,
) -> None:
    found = live(tmp_path).cost
    minutes, luna = sorted(found.targets[0].models, key=lambda charge: charge.is_backend)

    assert (minutes.model, minutes.is_backend, minutes.turns) == ("gpt-live-1", False, 40)
    assert (luna.model, luna.is_backend, luna.turns, luna.minutes) == ("gpt-6-luna", True, 10, 0)
    assert luna.usd == pytest.approx(10 * BACKEND_USD)
    assert minutes.usd == pytest.approx(0.05 * cost_text(tmp_path, "live"))
    assert found.usd == pytest.approx(luna.usd + minutes.usd)
    assert (found.turns, found.turns_priced, found.turns_without_usage) == (40, 40, 0)
    assert (found.per_turn, found.is_lower_bound) == (pytest.approx(found.usd / 40), False)


def test_a_backend_without_a_price_makes_the_cost_a_lower_bound(tmp_path: Path) -> None:
    summary = live(tmp_path, backend="gpt-next")
    found, one = summary.cost, summary.cost.targets[0]

    assert found.usd == pytest.approx(0.05 * cost_text(tmp_path, "live"))
    assert (found.models_without_price, found.turns, found.turns_priced) == (("gpt-next",), 40, 30)
    assert one.is_lower_bound
    assert all(
        math.isnan(rate)
        for rate in (one.usd_per_turn, one.usd_per_session, one.usd_per_minute, found.per_turn)
    )
    assert (
        f"at least {found.usd:.2f} USD for 40 turns, no price for gpt-next (10 turns)"
        in ", ".join(cost_texts(found)).replace(NBSP, " ")
    )
    assert f"≥ {found.usd:.2f}" in section_markdown(costs(summary.summary))


@pytest.mark.parametrize(
    ("own", "usd_of_task", "usd_per_minute"),
    [
        (BY_MINUTE | {"text_input": 2, "text_output": 0}, 2 * 0.9, 0.05),
        (BY_MINUTE | {"usd_per_minute": 1}, BACKEND_USD, 1),
    ],
    ids=["own prices of both", "own prices of minutes"],
)
def test_own_prices_of_a_target_that_delegates_may_be_of_minutes_of_tokens_or_of_both(
    own: dict[str, float], usd_of_task: float, usd_per_minute: float, tmp_path: Path
) -> None:
    found = live(tmp_path, own=own).cost

    assert found.usd == pytest.approx(
        10 * usd_of_task + usd_per_minute * cost_text(tmp_path, "live")
    )
    assert found.models_without_price == ()


def test_a_session_whose_client_does_the_tasks_costs_only_its_minutes(tmp_path: Path) -> None:
    found = live(tmp_path, backend=None).cost

    assert [charge.model for charge in found.targets[0].models] == ["gpt-live-1"]
    assert (found.turns, found.turns_priced, found.turns_without_usage) == (40, 40, 0)
    assert found.usd == pytest.approx(0.05 * cost_text(tmp_path, "live"))


def test_minutes_are_those_that_the_service_confirmed_and_others_are_counted(
    tmp_path: Path,
) -> None:
    live(tmp_path, backend=None, billed_ns=3 * MINUTE_NS, paused_ns=MINUTE_NS)
    confirmed = Priced(tmp_path).cost
    half = rewrite(
        tmp_path,
        "sessions",
        lambda index, row: row | ({"billed_ns": None, "paused_ns": None} if index < 5 else {}),
    )
    sessions = rtbench.load(tmp_path).sessions.iloc[:5]
    open_minutes = float((sessions["ended_at_ns"] - sessions["opened_at_ns"]).sum()) / MINUTE_NS

    assert confirmed.usd == pytest.approx(10 * (2 * 0.05 + 0.02))
    assert (confirmed.sessions_unconfirmed, half.cost.sessions_unconfirmed) == (0, 5)
    assert half.cost.usd == pytest.approx(5 * (2 * 0.05 + 0.02) + 0.05 * open_minutes)
    assert "minutes of 5 sessions unconfirmed" in said(half)
    assert "The service did not report the billable duration of 5 sessions" in said(half)
    assert "| in standby |" in section_markdown(costs(half.summary))


def test_a_target_s_own_prices_override_the_table() -> None:
    targets = synthetic.target_keys(TWO)["targets"]
    found = summary_with_prices(targets=[targets[0] | {"prices": OWN}, targets[1]]).cost

    assert [cost.models[0].source for cost in found.targets] == ["own", "table"]
    tokens = found.targets[0].tokens("text_in", "audio_in", "text_out", "audio_out")
    assert found.targets[0].usd == pytest.approx(tokens / 1e6)


def test_a_model_without_a_price_is_never_counted_as_free(tmp_path: Path) -> None:
    build(tmp_path)
    summary = rewrite(
        tmp_path,
        "sessions",
        lambda _, row: row | ({"model": "gpt-x"} if row["target"] == "eastus2" else {}),
    )
    found = summary.cost

    assert math.isnan(found.targets[1].usd)
    assert found.usd == found.targets[0].usd
    assert found.models_without_price == ("gpt-x",)
    assert f"no price for gpt-x ({found.targets[1].turns} turns)" in said(summary)
    assert "not included in amounts" in said(summary)
    assert to_json_data(summary.cost)["targets"][1]["usd"] is None


def test_cached_tokens_without_a_kind_count_as_text_first(tmp_path: Path) -> None:
    build(tmp_path, Plan(sessions=1, turns=1, usage=True))
    kindless = {
        "input_cached_text_tokens": None,
        "input_cached_audio_tokens": None,
        "input_cached_tokens": 45,
    }
    summary = rewrite(tmp_path, "turns", lambda _, row: row | kindless)
    one = summary.cost.targets[0]

    assert (one.tokens("text_in"), one.tokens("cached_text_in"), one.tokens("cached_audio_in")) == (
        40,
        40,
        5,
    )


def test_transcription_is_noted_as_billed_separately_if_there_was_any() -> None:
    spoken, typed = summary_with_prices(), summary_with_prices(Plan(text=True, usage=True))

    assert "Input transcription is billed separately and is not included in this amount." in said(
        spoken
    )
    assert "transcription" not in said(typed)


LIMITED = Plan(sessions=60, turns=5, targets=("a", "b"), failed=0.1, seconds=150, limited=True)


def test_throttled_turns_and_the_requested_waits_are_counted(tmp_path: Path) -> None:
    summary = summary_in(tmp_path, LIMITED, start_delays_s={"a": 48.2, "b": 0})
    turns = rtbench.load(tmp_path).turns
    mine = turns[(turns["target"] == "a") & (turns["outcome"] == "throttled:response")]
    one = summary.throttling.targets[0]

    assert (one.throttled_turns, one.throttled_sessions, one.start_delay_s) == (len(mine), 0, 48.2)
    assert len(one.waits_s) == len(mine) > 1
    assert one.waits_s[-1] == mine["retry_after_ns"].max() / 1e9
    both = sum(one.throttled_turns for one in summary.throttling.targets)
    printed = limits_in_all(summary.throttling).replace(NBSP, " ")
    assert printed.startswith(f"{both} turns throttled, Retry-After received {both} times")
    assert f">{len(mine)}</td>" in section_html(arrivals.rate_limits(summary))
    assert "starts delayed by 48 s in total" in printed


def test_calls_delayed_after_refused_ones_are_counted(tmp_path: Path) -> None:
    folder = synthetic.write(tmp_path, Plan(sessions=20, turns=2, seconds=50))
    none = edited(folder, lambda _, row: row | {"calls_backed_off": 0}, "seconds").throttling
    assert (none.targets[0].calls_backed_off, none.any) == (0, False)
    delayed = edited(
        folder, lambda at, row: row | {"calls_backed_off": int(at < 3)}, "seconds"
    ).throttling

    assert (delayed.targets[0].calls_backed_off, delayed.any) == (3, True)
    assert limits_in_all(delayed).replace(NBSP, " ") == "3 calls delayed after failed calls"


def test_the_remaining_rate_limit_is_the_minimum_of_each_bin(tmp_path: Path) -> None:
    summary = summary_in(tmp_path, LIMITED)
    one = summary.throttling.targets[0]
    tokens = next(part for part in one.remaining if part.limit == "tokens")
    seconds = rtbench.load(tmp_path).seconds
    share = seconds["tokens_remaining"] / seconds["tokens_limit"]

    assert {part.limit for part in one.remaining} == {"tokens", "requests"}
    assert tokens.share.min() == pytest.approx(share.min())
    assert np.all(np.diff(tokens.at_s) > 0)
    assert one.counts.sum() == seconds.loc[seconds["target"] == "a", "throttled"].sum()


def test_behind_a_proxy_there_is_no_ttfa_minus_rtt() -> None:
    summary = summary_of(Plan(sessions=20, targets=("a", "b"), proxied=("b",)))
    reported = {(f.metric, f.target) for f in summary.turn_metrics}

    assert ("ttfa_minus_rtt", "a") in reported
    assert ("ttfa_minus_rtt", "b") not in reported
    assert ("network_rtt", "b") in reported
    assert "on b to the proxy" in round_trips(summary)
    assert "on b to the proxy" in section_html(network.network(summary))
    assert "only to the proxy" in round_trips(summary_of(Plan(proxied=("sim",))))


LATE = {"at_utc_ns": synthetic.BEGAN_NS, "worker": 0, "kind": "simulator_late"}


@pytest.mark.parametrize(("late_ms", "shown"), [(5.1, False), (6.3, True)])
def test_a_late_simulator_is_noted_if_the_delay_matters(late_ms: float, shown: bool) -> None:
    """The limit is 1 % of the shortest median. This median is 540 ms here."""
    summary = summary_of(
        Plan(),
        incidents=[
            LATE | {"text": SIMULATOR_OVERLOADED.format("sim", late_ms), "late_ms": late_ms}
        ],
    )
    median = min(answer.at(0.5).value for answer in summary.results)

    assert 0.01 * median == pytest.approx(5.7, abs=0.5)
    for form in (run_text(summary), *run_forms(summary)):
        printed = " ".join(form.replace("\u00a0", " ").split())
        assert ("6.3 ms" in printed) == shown
        assert ("of the shortest median" in printed) == shown
        assert "do not trust" not in printed
        assert ("simulator late" in printed) == shown
    assert len(summary.incidents) == 1


def test_of_several_delays_of_a_simulator_only_the_largest_is_noted() -> None:
    late = [
        LATE | {"text": SIMULATOR_OVERLOADED.format("sim", late_ms), "late_ms": late_ms}
        for late_ms in (6.3, 13.1, 27.9, 27.9)
    ]
    printed = run_text(summary_of(Plan(), incidents=late))

    assert printed.count("simulator late") == 1
    assert "27.9 ms" in printed


def test_a_late_simulator_is_not_noted_in_a_run_without_a_median() -> None:
    late = LATE | {"text": SIMULATOR_OVERLOADED.format("sim", 90.0), "late_ms": 90.0}

    assert "simulator late" not in run_text(summary_of(Plan(sessions=1), incidents=[late]))


def test_incidents_without_recorded_text_are_counted() -> None:
    recorded = {
        "at_utc_ns": 0,
        "worker": 1,
        "kind": "auth_refresh",
        "text": "<b>identity endpoint: 500</b>",
    }
    summary = summary_of(
        Plan(), incidents=[recorded], totals={"incident_counts": {"auth_refresh": 240}}
    )

    assert incident_lines(summary, 3)[-1] == "in total: auth refresh × 240"
    assert "auth refresh × 240. The texts of 1 were recorded." in section_html(
        health.incidents(summary)
    )
