"""A trend: its series, the runs that are comparable, the changes, its texts, and its page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from bench.base.units import NS_PER_S
from reports.analysis.trends.metric_trend import MetricTrend, series_of
from reports.analysis.trends.trend import Trend, trend_of_points, trend_spec
from reports.analysis.trends.trend_point import MetricKey, RunValue, TrendPoint
from reports.metrics.strata import NO_STRATUM, Stratum
from reports.pages.trends.page import trend_page
from reports.render.terminal import render_page
from reports.text.trend_sentences import (
    also_changed,
    change_sentence,
    cycle_notes,
    headline,
    notice_texts,
    series_name,
    unmarked_notes,
)
from tests.reports.forms import trend_html
from tests.reports.synthetic import BEGAN_NS
from tests.reports.trends.examples import DAY_NS, TYPED, entry, invalid, nights, run_value, stepped


def first(entries: Sequence[TrendPoint], metric: str = "ttfa:p50") -> MetricTrend:
    return trend_of_points(entries, [trend_spec(metric)]).metrics[0]


def p50_of(of: TrendPoint) -> float:
    return of.quantiles[MetricKey("ttfa", NO_STRATUM)][0.5].value


def marks(trend: Trend) -> list[str]:
    return [change.first_run for _, change in trend.changes]


def test_a_change_point_is_between_two_runs_and_lists_changed_conditions() -> None:
    runs = [*stepped(15, 0), *stepped(15, 15, conditions={"model": "gpt-realtime-2"})[15:]]
    ((metric, change),) = trend_of_points(runs, [trend_spec("ttfa:p50")]).changes

    assert (change.last_run, change.first_run) == ("run-014", "run-015")
    assert 0 < change.low < change.difference < change.high
    assert change.difference == pytest.approx(0.4, abs=0.06)
    assert (change.against.n, change.value.n, change.direction) == (15, 14, "worse")
    assert change.also_changed == {"model": ("gpt-realtime", "gpt-realtime-2")}
    assert also_changed(change) == "model: gpt-realtime → gpt-realtime-2"
    assert [level.value for level in metric.levels] == pytest.approx([600, 840], rel=0.05)
    assert change_sentence(metric, change).startswith("ttfa p50 of gateway: +")


def test_an_invalid_run_is_shown_and_not_compared() -> None:
    runs = [*stepped(6, 6), *(invalid(number, 5000.0) for number in range(20, 40))]
    metric = first(runs)

    assert len(metric.values) == 32
    assert metric.compared == tuple(range(12))
    assert metric.values[-1].value == 5000.0
    assert len(metric.changes) == 1 == len(first(runs[:12]).changes)


def test_slower_weekends_do_not_hide_a_change_and_are_noted_once() -> None:
    runs = stepped(42, 14, 1.1)
    weekend = [
        datetime.fromtimestamp(one.started_utc_ns / NS_PER_S, UTC).weekday() >= 5 for one in runs
    ]
    slower = [
        entry(n, p50_of(one) * 1.3**late)
        for n, (one, late) in enumerate(zip(runs, weekend, strict=True))
    ]
    trend = trend_of_points(slower)
    (note,) = cycle_notes(trend)

    assert "run-042" in marks(trend)
    assert [0.1 < own < 0.3 for own in first(slower).weekdays] == [False] * 5 + [True] * 2
    assert (
        note.count("Weekdays differ") == note.count("; ") == 1 == note.count("ttfa p95 of gateway")
    )


def test_a_slow_rise_is_stated_with_its_slope_and_drawn_as_a_sloping_level() -> None:
    rng = np.random.default_rng(1)
    rising = nights([600.0 * 1.01**night * float(rng.lognormal(0, 0.02)) for night in range(40)])
    trend = trend_of_points(rising, [trend_spec("ttfa:p50")])
    (metric,) = trend.metrics
    text = render_page(trend_page(trend, Path()), 100).replace("\u00a0", " ")

    slow = metric.slow_change
    assert slow is not None
    assert not metric.changes
    assert 0 < slow.low < slow.difference < slow.high
    assert slow.direction == "worse"
    assert (slow.against.value, slow.value.value) == pytest.approx((600, 885), rel=0.05)
    assert headline(trend).startswith("ttfa p50 of gateway changes slowly: +")
    assert "1 CHANGE" in text
    assert "↕ changes slowly from here: ttfa p50 +" in text


def test_runs_at_several_hours_of_the_day_are_noted() -> None:
    by_day = [600.0 * (1.2 if number % 2 else 1.0) for number in range(60)]
    runs = [
        entry(n, p50, started_utc_ns=BEGAN_NS + n * DAY_NS // 2) for n, p50 in enumerate(by_day)
    ]
    trend = trend_of_points(runs, [trend_spec("ttfa:p50")])
    (note,) = cycle_notes(trend)

    assert "Hours of the day (UTC) differ" in note
    assert not trend.changes


def test_without_a_change_the_headline_has_the_number_of_runs() -> None:
    assert headline(trend_of_points(nights([600.0] * 20))) == "No change found in 20\u00a0runs."


def test_turns_of_several_types_are_not_pooled_and_the_most_common_are_shown() -> None:
    mixed = {
        MetricKey("ttfa", NO_STRATUM): {0.5: run_value(600.0)},
        MetricKey("ttfa", TYPED): {0.5: RunValue(900.0, n=10)},
    }
    metric = first([entry(0, quantiles=mixed), entry(1, quantiles=mixed)])

    assert [one.value for one in metric.values] == [600.0, 600.0]
    assert metric.spec.stratum == NO_STRATUM


def test_a_duplicated_run_is_shown_once_with_a_notice() -> None:
    trend = trend_of_points([entry(0), entry(1), entry(0)])

    assert [run.run_id for run in trend.points] == ["run-000", "run-001"]
    assert "1\u00a0target of runs found more than once" in notice_texts(trend)[0]


def test_a_change_suppressed_by_autocorrelation_causes_a_notice() -> None:
    rng = np.random.default_rng(3)
    found: list[str] = []
    for _ in range(40):
        level = np.zeros(40)
        for at in range(1, 40):
            level[at] = 0.75 * level[at - 1] + rng.normal(0, 0.07)
        runs = [entry(n, 600 * math.exp(by)) for n, by in enumerate(level)]
        found += unmarked_notes(trend_of_points(runs, [trend_spec("ttfa:p50")]))

    assert found
    assert all(
        "is not marked: neighbouring runs are autocorrelated" in one
        and "40\u00a0runs count as" in one
        for one in found
    )


def of(number: int, **conditions: str) -> TrendPoint:
    return entry(number, conditions=conditions)


def started(a_second: str) -> dict[str, str]:
    return {"spawn_rate": a_second}


def names(entries: list[TrendPoint]) -> list[str]:
    return [*map(series_name, series_of(entries))]


UPGRADED = {
    "model": "m2",
    "region": "eastus2",
    "voice": "cedar",
    "client_version": "0.2.0",
    "api_version": "v2",
}


NAMES: dict[str, tuple[list[TrendPoint], list[str]]] = {
    "another load begins another series with the load in its name": (
        [entry(0), entry(1, conditions={"num_users": "50"})],
        ["gateway (10 users)", "gateway (50 users)"],
    ),
    "another script begins another series": (
        [entry(0), entry(1, conditions={"digest": "abc"}), entry(2)],
        ["gateway (script and audio 0f1e2d)", "gateway (script and audio abc)"],
    ),
    "another model, region, voice or tool continues the series": (
        [entry(0), entry(1, conditions=UPGRADED)],
        ["gateway"],
    ),
    "a condition that an older run lacks begins no series": (
        [entry(0, conditions={"num_users": ""}), entry(1)],
        ["gateway"],
    ),
    "the first target of the runs is first and has the baseline's colour": (
        [entry(n, target=target) for n in (0, 1) for target in ("old", "new")],
        ["old", "new"],
    ),
    "a run that never connected is neither simulated nor a real service": (
        [
            entry(0),
            of(1, simulated="yes"),
            entry(2, conditions={"simulated": "", "num_users": "1"}),
        ],
        [
            "gateway (a real service, 10 users)",
            "gateway (simulated, 10 users)",
            "gateway (never connected, 1 user)",
        ],
    ),
    "a run that never connected continues the series with its settings": (
        [of(0, simulated="yes"), of(1, simulated="")],
        ["gateway"],
    ),
    "the spawn rate is not in the name of a series": (
        [entry(0, conditions=started("4")), entry(1, conditions={"num_users": "1"} | started("1"))],
        ["gateway (10 users)", "gateway (1 user)"],
    ),
    "the spawn rate is in the name if nothing else differs": (
        [entry(0, conditions=started("4")), entry(2, conditions=started("2"))],
        ["gateway (4 users started a second)", "gateway (2 users started a second)"],
    ),
}


@pytest.mark.parametrize(("entries", "called"), NAMES.values(), ids=NAMES)
def test_the_name_of_a_series_is_its_target_and_what_distinguishes_it(
    entries: list[TrendPoint], called: list[str]
) -> None:
    assert names(entries) == called


def test_simulated_and_measured_runs_are_in_different_series() -> None:
    found = series_of([entry(0), entry(1, conditions={"simulated": "yes"})])

    assert [one.simulated for one in found] == [False, True]


HERE = Path("/somewhere/runs")


def page(entries: list[TrendPoint]) -> str:
    return trend_html(trend_of_points(entries), HERE)


@pytest.mark.parametrize("width", [60, 80, 100, 140])
@pytest.mark.parametrize(
    "strata",
    [
        [Stratum()],
        [Stratum("request_sent"), Stratum("speech_end"), Stratum("request_sent", "function_calls")],
    ],
)
@pytest.mark.parametrize(
    "scenario", ["text_turns", "bench", "a_scenario_of_our_own_with_a_long_name"]
)
def test_every_row_of_a_terminal_has_a_distinct_name(
    scenario: str, strata: list[Stratum], width: int
) -> None:
    """The names of the two runs begin with the same day and end with the same text."""
    runs = []
    waits = {
        MetricKey("ttfa", stratum): {0.5: run_value(1_600.0), 0.95: run_value(3_200.0)}
        for stratum in strata
    }
    for one in nights([1_600.0] * 4, quantiles=waits):
        began_ns = BEGAN_NS + (one.started_utc_ns - BEGAN_NS) // 4320  # 20 s apart
        start = f"{datetime.fromtimestamp(began_ns / 1e9, UTC):%Y%m%dT%H%M%SZ}"
        runs.append(replace(one, name=f"{start}-{scenario}", started_utc_ns=began_ns))
    lines = render_page(trend_page(trend_of_points(runs), HERE), width).splitlines()
    named = [line.split()[0] for line in lines if line.startswith("  2026")]

    assert len(named) == len(set(named)) == 4
    assert max(map(len, lines)) <= width
