"""The texts of a trend: values, changes, the headline, and notes. They are the same on a
terminal and on the page.
"""

import math
from calendar import day_abbr
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import partial

from bench.base.units import NS_PER_S
from reports.analysis.trends.metric_trend import (
    NS_PER_HOUR,
    MetricTrend,
    RunSeries,
    TrendChange,
)
from reports.analysis.trends.trend import Trend
from reports.analysis.trends.trend_point import RunValue, TrendPoint
from reports.formatting import (
    NBSP,
    NONE,
    excerpt,
    format_number,
    format_utc,
    join_words,
    percent,
    plural,
)
from reports.metrics.metric_spec import MetricSpec
from reports.render.blocks import with_marker
from reports.statistics.change_points import DAY, ENOUGH, MIN_SIDE_RUNS
from reports.text.phrases import INFINITE, interval
from reports.text.reasons import reason_text
from reports.text.settings import condition_name
from reports.text.verdicts import NOT_SHOWN, difference_interval, signed

CONDITIONS_MAX = 2
CONDITION_LENGTH_MAX = 40
"""The maximum number of conditions in the name of a series, and the maximum number of characters
of each condition."""


def marker(point: TrendPoint) -> str:
    """Return the verdict on a run with its symbol, such as `✓ VALID`."""
    return with_marker(point.validity_title).replace(" ", NBSP, 1)


def unit_text(spec: MetricSpec) -> str:
    """Return the unit that is printed next to the values of a metric; "" for a rate, whose
    values include the unit.
    """
    return "" if spec.unit == "share" else spec.shown_unit


def number_text(number: float, spec: MetricSpec) -> str:
    """Return a value as a text without its unit, such as `612`, `∞`, or `n/a`. A rate has its
    unit: `0.8 %`.
    """
    if math.isnan(number):
        return NOT_SHOWN
    if math.isinf(number):
        return INFINITE
    return percent(number, 1) if spec.unit == "share" else format_number(number)


def interval_text(run: RunValue, spec: MetricSpec) -> str:
    """Return the interval of a value, such as `590 – 640`. If there is no value, return the reason.

    Return "" if there is a value, but no interval.
    """
    if run.missing:
        return reason_text(run.missing)
    if math.isnan(run.low) or math.isinf(run.value):
        return ""
    return interval(run.low, run.high, partial(number_text, spec=spec), " – ")


def value_text(run: RunValue, spec: MetricSpec) -> str:
    """Return a value with its interval, such as `612 (590 – 640)` or `n/a (needs 40 sessions)`."""
    below = interval_text(run, spec)
    return f"{number_text(run.value, spec)} ({below})" if below else number_text(run.value, spec)


def change_size(change: TrendChange, spec: MetricSpec) -> str:
    """Return the size of a change, such as `+12 %` or `+1.5 points`."""
    return signed(change.difference, spec.scale)


def change_interval(change: TrendChange, spec: MetricSpec) -> str:
    """Return the interval of a change, such as `+4 to +21 %`."""
    return difference_interval(change.low, change.high, spec.scale)


def change_text(change: TrendChange, spec: MetricSpec) -> str:
    """Return the size of a change with its interval, such as `+12 % (+4 to +21 %)`.

    A slow change has its duration, too: `+40 % (+22 to +61 %) in 32 days`.
    """
    text = f"{change_size(change, spec)} ({change_interval(change, spec)})"
    if not change.is_slow:
        return text
    duration_ns = change.last_started_utc_ns - change.first_started_utc_ns
    return f"{text} in {plural(max(1, round(duration_ns / (DAY.size * NS_PER_HOUR))), 'day')}"


def also_changed(change: TrendChange) -> str:
    """Return the conditions that changed with the values, such as `model: gpt-realtime →
    gpt-realtime-2`.
    """
    texts = [
        f"{condition_name(code)}: {was or NONE} → {now or NONE}"
        for code, (was, now) in change.also_changed.items()
    ]
    return "; ".join(texts) or "no recorded condition"


def change_sentence(metric: MetricTrend, change: TrendChange) -> str:
    """Return a change as a text such as `ttfa p50 of sim: +12 % (+4 to +21 %) since 12 Nov 2026,
    02:00 UTC`.

    A slow change begins with `ttfa p50 of sim changes slowly: `.
    """
    slowly = " changes slowly" if change.is_slow else ""
    since = format_utc(change.first_started_utc_ns)
    return f"{metric_name(metric)}{slowly}: {change_text(change, metric.spec)} since {since}"


def series_name(series: RunSeries) -> str:
    """Return the name of a series: its target, and what distinguishes the series from others of the
    target.

    Examples: `sim` for the only series of a target; `sim (8 users)` and `sim (50 users)` for two
    series.
    """
    name, *earlier = (
        _distinguished(series.target, differs) for differs in (series.differs, *series.earlier)
    )
    return f"{name}, series {len(earlier) + 1}" if name in earlier else name


def _distinguished(target: str, differs: Mapping[str, str]) -> str:
    parts = [_phrase(code, text) for code, text in differs.items()]
    if len(parts) > CONDITIONS_MAX:
        parts[CONDITIONS_MAX:] = [f"{len(parts) - CONDITIONS_MAX} more"]
    return f"{target} ({', '.join(parts)})" if parts else target


def _phrase(code: str, text: str) -> str:
    """Return a condition as a text, such as `simulated`, `8 users`, or `voice marin`."""
    if code == "simulated":
        return {"yes": "simulated", "no": "a real service"}.get(text, "never connected")
    name = condition_name(code)
    if text == "1":
        name = name.replace("users", "user", 1).replace("processes", "process", 1)
    return f"{text} {name}" if text.isdecimal() else f"{name} {excerpt(text, CONDITION_LENGTH_MAX)}"


def metric_name(metric: MetricTrend) -> str:
    """Return the name of a metric and its series, such as `ttfa p50 of sim`."""
    return f"{metric.title} of {series_name(metric.series)}"


def headline(trend: Trend) -> str:
    """Return the result of a trend as a sentence.

    It contains the newest change. If there is none, it states that no change was found, or that
    there are too few runs to find one.
    """
    if slow := trend.slow_changes:
        steps = len(trend.changes_by_run)
        further = [f"{len(slow) - 1} more slow"] if slow[1:] else []
        further += [plural(steps, "sudden change")] if steps else []
        return f"{change_sentence(*slow[0])}{f'; also {join_words(further)}' if further else ''}."
    if groups := trend.changes_by_run:
        newest, *more = groups[0]
        others = f", with {plural(len(more), 'more change')}" if more else ""
        sentence = f"{change_sentence(*newest)}{others}."
        return (
            sentence
            if len(groups) == 1
            else f"{plural(len(groups), 'change')}; the newest: {sentence}"
        )
    if trend.comparisons:
        return f"No change found in {plural(trend.runs, 'run')}."
    both_sides = f"{MIN_SIDE_RUNS} before and {MIN_SIDE_RUNS} after it"
    return f"Too few runs to find a change: {ENOUGH} comparable runs are required, {both_sides}."


def day(utc_ns: int) -> str:
    """Return a start time as a text that sorts by time, such as `2026-11-12 02:00` (UTC)."""
    return f"{datetime.fromtimestamp(utc_ns / NS_PER_S, UTC):%Y-%m-%d %H:%M}"


def period(trend: Trend) -> str:
    """Return the start of the first and of the last run, such as `3 Oct 2026, 02:00 UTC to 22
    Nov 2026, 02:00 UTC`.
    """
    points = trend.points
    return " to ".join(
        dict.fromkeys(format_utc(point.started_utc_ns) for point in (points[0], points[-1]))
    )


def notice_texts(trend: Trend) -> list[str]:
    return [*map(reason_text, trend.notices)]


def notes(trend: Trend) -> list[str]:
    """Return all notes on a trend, as sentences."""
    kinds = (cycle_notes, unmarked_notes, few_runs_notes, separate_series_notes)
    return [note for kind in kinds for note in kind(trend)]


def cycle_notes(trend: Trend) -> Iterator[str]:
    """Yield a note with the metrics that differ between weekdays, and one with those that differ
    between hours.

    For each metric, it has the weekdays or hours with the lowest and highest value.
    """
    hours = [f"{hour:02}:00" for hour in range(DAY.size)]
    for what, names, cycle in (
        ("Weekdays", list(day_abbr), "weekdays"),
        ("Hours of the day (UTC)", hours, "hours"),
    ):
        differing = list[str]()
        for metric in trend.metrics:
            if effects := getattr(metric, cycle):
                ends = (effects.index(end(effects)) for end in (min, max))
                low, high = (f"{names[at]} {signed(effects[at], metric.spec.scale)}" for at in ends)
                differing.append(f"{metric_name(metric)} ({low}, {high})")
        if differing:
            yield (
                f"{what} differ, so their effect is subtracted before the search for changes:"
                f" {'; '.join(differing)}."
            )


def unmarked_notes(trend: Trend) -> Iterator[str]:
    """Yield a note for each change that is not marked, because neighbouring runs are
    autocorrelated.
    """
    for metric in trend.metrics:
        for change in metric.unmarked_changes:
            yield (
                f"{metric_name(metric)} may have changed by {change_size(change, metric.spec)} by"
                f" {format_utc(change.first_started_utc_ns)}, but is not marked: neighbouring runs"
                f" are autocorrelated ({metric.autocorrelation:.2f}), so"
                f" {plural(len(metric.compared), 'run')} count as {metric.effective_runs}."
            )


def few_runs_notes(trend: Trend) -> Iterator[str]:
    """Yield a note with the series, or metrics of a series, that have too few comparable runs to
    find a change.
    """
    shortages = []
    for series, metrics in trend.by_series:
        name = f"{series.scenario}, {series_name(series)}"
        runs = plural(len(series.points), "run")
        max_compared = max((len(metric.compared) for metric in metrics), default=0)
        if max_compared < ENOUGH:
            shortages.append(f"{name}: {max_compared} of {runs}")
            continue
        for metric in metrics:
            if metric.not_searched and metric.compared:
                shortages.append(f"{metric.title} of {name}: {len(metric.compared)} of {runs}")
    if shortages:
        yield (
            f"Finding a change requires {ENOUGH} comparable runs. There are only:"
            f" {'; '.join(shortages)}."
        )


def separate_series_notes(trend: Trend) -> Iterator[str]:
    """Yield a note if a target has several series."""
    if len(trend.series) > len({(series.scenario, series.target) for series in trend.series}):
        yield (
            "Runs of one target with different scripts, loads, warm-ups or settings are separate"
            " series: these differences change the values, although the service is the same."
        )
