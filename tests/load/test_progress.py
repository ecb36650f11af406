"""The progress of a run: the reports of each process, and their sum over processes and seconds."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.catalogue.pricing import Prices, PricingTerms
from bench.load.execution.progress import (
    BOUND,
    TARGET_COUNTS,
    VALUE,
    WAIT,
    CostMeter,
    Failures,
    LiveMetricKey,
    ProgressCounter,
    ProgressReport,
    Times,
    unknown_price,
)
from bench.load.runners.live_totals import LiveLatency, LiveTotals
from bench.record.histograms import HistogramKey, Histograms
from bench.record.recorder import Traffic
from bench.wire.events import UNREAD, TokenUsage
from reports.statistics.quantiles import quantiles, sample
from tests.helpers import at, build_observation, designs

NOTHING = Histograms()
S = 10**9
STEP = "talk.greeting"
PRICES = Prices(4, 0.4, 16, 32, 0.4, 64)
TTFA, TTFT = (
    LiveMetricKey(WAIT, "ttfa", "request_sent"),
    LiveMetricKey(WAIT, "ttft", "request_sent"),
)
VALUE_OF_TTFA, BOUND_OF_TTFA = (
    LiveMetricKey(VALUE, "ttfa", "request_sent"),
    LiveMetricKey(BOUND, "ttfa", "request_sent"),
)
Kept = dict[str, dict[LiveMetricKey, list[int]]]
"""Times in µs. The first key is the target, and the second is the metric."""


def progress() -> ProgressCounter:
    return ProgressCounter(CostMeter({"gpt-realtime": PRICES}, {}))


def of_step(times_us: Kept) -> Times:
    """Return these times of each target as times of one step."""
    return {target: {STEP: list(times.items())} for target, times in times_us.items()}


def times_of(
    report: ProgressReport, target: str = "sweden", step: str = STEP
) -> dict[LiveMetricKey, list[int]]:
    return dict(report.times_us[target][step])


def failures_of(report: ProgressReport) -> dict[str, dict[LiveMetricKey | None, int]]:
    return {target: dict(counts) for target, counts in report.failures.items()}


def reported(*turns: Any, target: str = "sweden") -> ProgressReport:
    made = progress()
    for turn in turns:
        made.turn_ended(target, "talk", turn)
    return made.report(NOTHING)


def waited(ms: float, **changes: Any) -> Any:
    """Return a successful turn whose first audio arrives `ms` after its request."""
    return build_observation(
        instants={"request_sent": at(0), "first_audio": at(ms), "ended": at(ms + 1)}, **changes
    )


# One process.


def test_turns_are_successful_failed_or_neither() -> None:
    outcomes = (
        "ok",
        "interrupted",
        "timeout:first_delta",
        "throttled:rate_limit_exceeded",
        "unfinished",
    )
    standing = reported(*(build_observation(outcome=outcome) for outcome in outcomes))

    assert (standing.turns_succeeded, standing.turns_failed, standing.throttled) == (2, 2, 1)


def test_a_report_has_the_latencies_of_successful_turns_since_the_last_report() -> None:
    made = progress()
    made.turn_ended("sweden", "talk", waited(500))
    first = made.report(NOTHING)
    made.turn_ended("sweden", "talk", waited(700))
    made.turn_ended("sweden", "talk", waited(900, outcome="failed:server_error"))
    second = made.report(NOTHING)

    assert times_of(first)[TTFA] == [500_000]
    assert times_of(second)[TTFA] == [700_000]
    assert times_of(second)[BOUND_OF_TTFA] == [30]


def test_turns_with_user_space_timestamps_are_counted() -> None:
    standing = reported(
        build_observation(),
        build_observation(kernel_stamps=0, user_stamps=3),
        build_observation(kernel_stamps=0, user_stamps=0),
    )

    assert (standing.turns_stamped, standing.turns_user_stamped) == (2, 1)


def test_the_delay_of_a_process_is_the_maximum_over_its_targets() -> None:
    histograms = Histograms()
    for target, lag_us in (("sweden", 200), ("east", 9_000)):
        histograms.record(HistogramKey("send_delay", target), lag_us)
    histograms.record(HistogramKey("event_loop_delay", "all"), 400)

    standing = progress().report(histograms)
    assert standing.send_delay_p99_ms == pytest.approx(9.0, rel=0.01)
    assert standing.event_loop_delay_p99_ms == pytest.approx(0.4, rel=0.01)


def test_a_report_is_unchanged_by_json() -> None:
    failed = build_observation(outcome="timeout:first_delta")
    standing = replace(reported(waited(500), waited(650), failed), waiting_s=2.5, tokenless=3)

    assert msgspec.convert(json.loads(json.dumps(asdict(standing))), ProgressReport) == standing


def test_turns_are_counted_by_step_and_the_first_part_of_their_outcome() -> None:
    turns = [
        waited(500),
        waited(600),
        waited(700, turn_type="function_calls"),
        waited(800, outcome="failed:server_error"),
    ]
    standing = reported(*turns)

    assert standing.outcomes == {
        "sweden": {STEP: {"ok": 2, "failed": 1}, f"{STEP}.function_calls": {"ok": 1}}
    }
    assert times_of(standing, step=f"{STEP}.function_calls")[TTFA] == [700_000]


# All processes.


times = st.dictionaries(
    st.sampled_from(["sweden", "east"]),
    st.dictionaries(
        st.sampled_from([TTFA, TTFT, BOUND_OF_TTFA]), st.lists(st.integers(0, 10**7), max_size=5)
    ),
).map(of_step)
REPORT = st.tuples(st.integers(0, 5), st.floats(0, 1), times)


def cumulative(reports: list[tuple[int, float, Times]]) -> list[ProgressReport]:
    """Return the progress reports of one process, whose counts are cumulative.

    The number of failed turns equals the number of successful turns.
    """
    made, turns, usd = [], 0, 0.0
    for more, cost, waits in reports:
        turns, usd = turns + more, usd + cost
        failures: Failures = {"east": [(TTFA, turns)]} if turns else {}
        made.append(
            ProgressReport(turns_succeeded=turns, usd=usd, failures=failures, times_us=waits)
        )
    return made


@given(
    st.lists(st.lists(REPORT, max_size=5), min_size=1, max_size=4),
    st.randoms(use_true_random=False),
)
def test_any_split_over_processes_and_seconds_gives_the_same_totals(
    workers: list[list[tuple[int, float, Times]]], order: Any
) -> None:
    alone, split = LiveTotals(), LiveTotals()
    for standing in cumulative([report for reports in workers for report in reports]):
        alone.add(0, standing)
    # The reports of one worker arrive in order; those of different workers in any order, some of
    # them late.
    left = {worker: cumulative(reports) for worker, reports in enumerate(workers) if reports}
    while left:
        worker = order.choice(sorted(left))
        split.add(worker, left[worker].pop(0))
        left = {worker: reports for worker, reports in left.items() if reports}

    assert split.latencies() == alone.latencies()
    assert split.total.turns_succeeded == alone.total.turns_succeeded
    assert split.total.usd == pytest.approx(alone.total.usd)


def waits(good: int, failed: int, key: LiveMetricKey | None = TTFA) -> list[LiveLatency]:
    """Return the live latencies of `good` successful turns (1, 2, 3 … ms) and `failed` failed
    turns.
    """
    times = {TTFA: [ms * 1000 for ms in range(1, good + 1)]} if good else {}
    tally, failures = LiveTotals(), {"sweden": [(key, failed)]} if failed else {}
    designed = designs({"sweden": times}, failures)
    tally.add(
        0, ProgressReport(times_us=of_step({"sweden": times}), failures=failures, targets=designed)
    )
    return tally.latencies()


def rounded(value_ms: float | None) -> float | None:
    """Return the value, rounded to 1 ms because histograms are exact only to three digits."""
    return None if value_ms is None else round(value_ms, 0)


@pytest.mark.parametrize(
    ("good", "failed", "p50_ms", "p95_ms"),
    [
        (8, 1, 5, None),
        (99, 1, 50, 95),
        (95, 5, 50, 95),
        (94, 6, 50, math.inf),
        (49, 51, math.inf, math.inf),
        (0, 9, math.inf, None),
    ],
)
def test_a_failed_turn_has_infinite_latency_and_few_turns_have_no_percentile(
    good: int, failed: int, p50_ms: float | None, p95_ms: float | None
) -> None:
    (wait,) = waits(good, failed)

    assert wait.turns == good + failed
    assert rounded(wait.p50_ms) == p50_ms
    assert rounded(wait.p95_ms) == p95_ms


@pytest.mark.parametrize(
    ("sessions", "turns", "expected"),
    [(9, 1, True), (8, 1, False), (7, 3, True), (6, 20, True), (5, 20, False), (2, 4, False)],
)
def test_a_median_needs_as_many_sessions_as_in_a_report(
    sessions: int, turns: int, expected: bool
) -> None:
    """An earlier version showed a median of 8 turns in 2 sessions on the status line, but not in
    the report.
    """
    made = progress()
    for _ in range(sessions):
        for turn in range(1, turns + 1):
            made.turn_ended("sweden", "talk", waited(500, turn=turn))
    tally = LiveTotals()
    tally.add(0, made.report(NOTHING))
    wait, *_ = tally.latencies()
    values = np.full(sessions * turns, 500.0)
    (report,) = quantiles(sample(values, np.repeat(np.arange(sessions), turns)), [0.5])

    assert (wait.p50_ms is not None) == report.has_interval == expected
    assert wait.lacking[0] == (0 if expected else report.required)


def test_a_failed_turn_counts_for_the_metrics_of_other_turns_of_its_step() -> None:
    lost = {"outcome": "timeout:first_delta", "instants": {"request_sent": at(0), "ended": at(900)}}
    made = progress()
    made.turn_ended("east", "talk", build_observation(**lost))
    made.turn_ended("east", "text", build_observation(**lost))
    unknown = made.report(NOTHING)
    made.turn_ended("sweden", "talk", waited(500))

    assert failures_of(unknown) == {"east": {None: 2}}
    assert failures_of(made.report(NOTHING)) == {"east": {TTFA: 1, VALUE_OF_TTFA: 1, None: 1}}


def test_latencies_are_by_start_instant_and_a_failed_turn_counts_in_each() -> None:
    spoken = {
        "speech_end": at(0),
        "first_transcript": at(300),
        "first_audio": at(800),
        "first_audible": at(900),
        "ended": at(950),
    }
    exact = dict.fromkeys(("first_transcript", "first_audio", "first_audible"), 0)
    good = build_observation(instants=spoken, uncertainties_ns=exact, widths_ns={"speech_end": 0})
    lost = build_observation(
        outcome="timeout:first_delta", instants={"speech_end": at(0), "ended": at(999)}
    )
    tally = LiveTotals()
    tally.add(0, reported(*[good] * 9, lost))
    tally.add(1, reported(*[waited(200, step="ask")] * 9))

    figures = tally.values("sweden")
    found_values = {wait.name: (wait.turns, wait.failed, rounded(wait.p50_ms)) for wait in figures}
    assert found_values == {
        "ttfa": (9, 0, 200),
        "ttfa from end of speech": (10, 1, 800),
        "transcript_first from end of speech": (10, 1, 300),
        "voice_to_voice from end of speech": (10, 1, 900),
    }


def failed(count: int) -> Failures:
    return {"sweden": [(TTFA, count), (VALUE_OF_TTFA, count)]}


def traffic(events: int) -> ProgressReport:
    counts = dict.fromkeys(TARGET_COUNTS, 0.0) | {
        "events_received": events,
        "bytes_sent": 10 * events,
        "usd": 0.5,
    }
    return ProgressReport(targets={"sweden": counts})


def test_rates_cover_the_last_seconds_of_all_reporting_processes() -> None:
    tally = LiveTotals()
    for second in range(20):
        tally.add(0, traffic(100 * second if second < 10 else 1_000 * second), second * S)
        tally.add(1, traffic(0 if second < 3 else 7), second * S)
    for second in range(12):
        tally.add(2, traffic(5_000 * second), second * S)

    (sweden,) = tally.targets(19 * S)
    assert (sweden.rates.events_received, sweden.rates.bytes_sent) == (1_000, 10_000)
    assert sweden.usd == 1.5
    assert tally.targets(25 * S)[0].rates == Traffic()


def test_an_unknown_cost_is_none() -> None:
    tally = LiveTotals()
    tally.add(
        0, ProgressReport(targets={"sweden": dict.fromkeys(TARGET_COUNTS, 0.0) | {"unpriced": 3}})
    )

    assert (tally.targets(0)[0].usd, tally.targets(0)[0].unpriced) == (None, 3)


# Health.


def healthy(**changes: Any) -> ProgressReport:
    times = {"sweden": {TTFA: [90_000], VALUE_OF_TTFA: [90_000], BOUND_OF_TTFA: [20]}}
    return ProgressReport(
        **{"turns_stamped": 1, **changes, "times_us": of_step(changes.get("times_us", times))}
    )


LATE = {VALUE_OF_TTFA: [90_000], BOUND_OF_TTFA: [3_100]}
LATE_TRANSCRIPT = {
    LiveMetricKey(VALUE, "transcript_first", "request_sent"): [90_000],
    LiveMetricKey(BOUND, "transcript_first", "request_sent"): [3_100],
}
SPOKEN = {
    VALUE_OF_TTFA: [90_000] * 3,
    VALUE_OF_TTFA._replace(measured_from="speech_end"): [900_000] * 9,
    BOUND_OF_TTFA._replace(measured_from="speech_end"): [8_000] * 9,
}
HEALTH: dict[str, tuple[list[ProgressReport], str]] = {
    "a load generator within its limits is ok": (
        [healthy(send_delay_p99_ms=9.0, event_loop_delay_p99_ms=50.0)],
        "OK",
    ),
    "uncertain timestamps fail the validity check": (
        [healthy(times_us={"sweden": LATE_TRANSCRIPT})],
        "delayed: timestamp_uncertainty 3.1 ms > 1 ms",
    ),
    "a failing target is not hidden by a passing one": (
        [*[healthy()] * 3, healthy(times_us={"east": LATE})],
        "delayed: timestamp_uncertainty 3.1 ms > 1 ms",
    ),
    "turns measured from another instant have their own limit": (
        [healthy(times_us={"sweden": SPOKEN})],
        "OK",
    ),
    "their limit does not apply to other turns": (
        [healthy(times_us={"sweden": SPOKEN | {BOUND_OF_TTFA: [8_000] * 3}})],
        "delayed: timestamp_uncertainty 8 ms > 1 ms",
    ),
    "a send delay in one process counts": (
        [healthy(send_delay_p99_ms=1.0), healthy(send_delay_p99_ms=51.0)],
        "overloaded: send_delay 51 ms > 50 ms",
    ),
    "late audio delays the replies of a service that detects the end of speech": (
        [healthy(send_delay_p99_ms=12.0, times_us={"sweden": SPOKEN})],
        "overloaded: send_delay 12 ms > 9 ms",
    ),
    "the event loop delay is ignored with kernel timestamps": (
        [healthy(event_loop_delay_p99_ms=9.0)],
        "OK",
    ),
    "the event loop delay counts with user-space timestamps": (
        [healthy(event_loop_delay_p99_ms=9.0, turns_user_stamped=1)],
        "overloaded: event_loop_delay 9 ms > 5 ms",
    ),
}


@pytest.mark.parametrize(("standings", "expected"), HEALTH.values(), ids=HEALTH)
def test_a_load_generator_is_ok_or_overloaded_by_the_validity_limits(
    standings: list[ProgressReport], expected: str
) -> None:
    tally = LiveTotals(100.0)
    for worker, standing in enumerate(standings):
        tally.add(worker, standing)

    assert tally.health() == expected


# The cost so far of the responses of a process.


FLAT = Prices(1, 1, 1, 1, 1, 1)
BY_MINUTE = Prices(0, 0, 0, 0, 0, 0, usd_per_minute=0.05)
BOTH = replace(FLAT, usd_per_minute=0.02)
MINUTE_NS = 60 * 10**9
USED = TokenUsage(
    text_in=100, audio_in=1000, cached_in=500, cached_audio_in=500, text_out=100, audio_out=1000
)
USED_USD = (400 + 500 * 32 + 500 * 0.4 + 1600 + 64_000) / 1e6
TABLE = {"gpt-realtime": PRICES}


SPENT: dict[
    str, tuple[dict[str, Prices], dict[str, PricingTerms], str | None, list[TokenUsage], float]
] = {
    # (the price table, terms of targets, the model of the responses, the usage of its turns, their
    # cost)
    "a turn costs by the model that answered": (
        TABLE,
        {"sweden": PricingTerms()},
        "gpt-realtime-2025-08-28",
        [USED, USED],
        2 * USED_USD,
    ),
    "a target with prices needs no model": (
        {},
        {"sweden": PricingTerms(own=FLAT)},
        None,
        [USED],
        2200 / 1e6,
    ),
    "tokens without a kind cost as text, as in the report": (
        TABLE,
        {},
        "gpt-realtime",
        [TokenUsage(text_in=20, text_out=40, kindless_in=20, kindless_out=40)],
        (20 * 4 + 40 * 16) / 1e6,
    ),
    "prices per minute need no token counts": (
        {"live": BY_MINUTE},
        {},
        "live",
        [USED, UNREAD],
        0.0,
    ),
}


@pytest.mark.parametrize(("table", "terms", "model", "usages", "usd"), SPENT.values(), ids=SPENT)
def test_the_cost_of_a_turn_follows_from_its_prices(
    table: dict[str, Prices],
    terms: dict[str, PricingTerms],
    model: str | None,
    usages: list[TokenUsage],
    usd: float,
) -> None:
    spending = CostMeter(table, terms)
    for usage in usages:
        spending.add("sweden", model, usage)

    assert (spending.unpriced, spending.usd_at(0)) == (0, pytest.approx(usd))


@given(
    st.lists(
        st.tuples(st.integers(0, 10**12), st.integers(0, 10**12), st.sampled_from(["live", "both"]))
    )
)
def test_prices_per_minute_accrue_until_a_session_ends(
    sessions: list[tuple[int, int, str]],
) -> None:
    """Some sessions end before the cost is requested, others later. The target `both` is also
    billed by tokens.
    """
    spending = CostMeter({"live": BY_MINUTE, "both": BOTH}, {})
    now_ns, minutes = 10**12, {"live": 0.0, "both": 0.0}
    for opened_ns, length_ns, model in sessions:
        spending.open("sweden", model, opened_ns)
        if opened_ns + length_ns <= now_ns:
            spending.close("sweden", model, opened_ns, opened_ns + length_ns)
        minutes[model] += min(length_ns, now_ns - opened_ns) / MINUTE_NS

    assert spending.usd_at(now_ns) == pytest.approx(
        0.05 * minutes["live"] + 0.02 * minutes["both"], abs=1e-9
    )
    spending.add("sweden", "both", USED)
    assert spending.usd_at(now_ns) >= 2200 / 1e6


def test_an_ended_session_costs_the_minutes_that_the_service_confirmed() -> None:
    table = {"live": replace(BY_MINUTE, usd_per_standby_minute=0.02)}
    costs = []
    for confirmed in ((), (3 * MINUTE_NS, None), (3 * MINUTE_NS, MINUTE_NS)):
        spending = CostMeter(table, {})
        spending.open("sweden", "live", 0)
        spending.close("sweden", "live", 0, 2 * MINUTE_NS, *confirmed)
        costs.append(spending.usd_at(9 * MINUTE_NS))

    assert costs == pytest.approx([0.10, 0.15, 0.12])


def test_a_session_costs_at_least_what_its_creation_bills() -> None:
    spending = CostMeter({"live": BY_MINUTE}, {"calls": PricingTerms(prepaid_s=15.0)})
    for target in ("calls", "sockets"):
        spending.open(target, "live", 0)
    second_ns = MINUTE_NS // 60
    assert spending.usd_of_targets(3 * second_ns) == pytest.approx(
        {"calls": 0.05 / 4, "sockets": 0.05 / 20}
    )
    spending.close("calls", "live", 0, 3 * second_ns)
    assert spending.usd_of_targets(MINUTE_NS)["calls"] == pytest.approx(0.05 / 4)


def after(*models: str | None) -> CostMeter:
    """Return the cost meter after one turn of each of these models."""
    spending = CostMeter(TABLE, {})
    for model in models:
        spending.add("sweden", model, USED)
    return spending


def test_an_unknown_price_without_a_model_is_reported() -> None:
    assert "because the service names no model" in unknown_price(after(None))


def test_unreadable_token_counts_make_a_budget_unenforceable() -> None:
    spending = CostMeter(TABLE, {"sweden": PricingTerms("gpt-realtime")})
    spending.add("sweden", None, UNREAD)

    assert spending.unpriced == 1
    assert (
        unknown_price(spending)
        == "--budget cannot be enforced, because the service's token counts cannot be read: omit"
        " --budget"
    )
