"""The outputs of a trend: the JSON that `rtbench trend --json` prints, and the file of the page."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

from bench.files.safe_io import save_text
from bench.record.document import ValidityStatus
from reports.analysis.trends.metric_trend import SlowTrendChange, TrendChange, TrendSegment
from reports.analysis.trends.trend import Trend
from reports.metrics.metric_spec import MetricSpecEntry
from reports.render.blocks import Page
from reports.render.html import render_html
from reports.results.json_entries import Count, JsonEntry, Rounded, described
from reports.results.reason import Reason
from reports.statistics.change_points import LEVEL
from reports.text.reasons import document_data
from reports.text.verdicts import metric_text

TREND_VERSION: Literal[3] = 3


class TrendValue(JsonEntry, frozen=True):
    """The value of a metric in one run, with its 95 % interval; null if it is missing."""

    title: str
    value: Annotated[Rounded, described("null also if infinite because too many turns failed")]
    low: Rounded
    high: Rounded
    in_failures: bool
    missing: Annotated[Reason | None, described("why there is no value")]


class TrendRun(JsonEntry, frozen=True):
    """A run of a series."""

    run_id: str
    name: Annotated[str, described("name of its folder; for a stored baseline, its id")]
    started_utc_ns: int
    validity: ValidityStatus
    excluded: Annotated[list[Reason], described("why it is not compared; empty if it is")]
    labels: dict[str, str]
    conditions: Annotated[dict[str, str], described("conditions of the measurement")]
    values: list[TrendValue]


class TrendMetric(MetricSpecEntry, frozen=True):
    """A metric over the runs of a series."""

    title: str
    unit: str
    runs: Annotated[Count, described("that were compared")]
    comparisons: Count
    not_searched: Annotated[Reason | None, described("why changes could not be searched for")]
    autocorrelation: Annotated[
        Rounded, described("of neighbouring runs, 0 to 0.9; 0 if there is no change, marked or not")
    ]
    weekdays: Annotated[
        list[Rounded],
        described("Monday to Sunday relative to their mean, which is subtracted; empty if they do not differ"),
    ]
    hours: Annotated[list[Rounded], described("the same for the 24 hours of a day, UTC")]
    slow_change: Annotated[SlowTrendChange | None, described("a steady rise or fall; null if none was found")]
    levels: list[TrendSegment]
    unmarked_changes: Annotated[
        list[TrendChange], described("changes that would be marked if neighbouring runs were independent")
    ]
    changes: list[TrendChange]


class TrendSeries(JsonEntry, frozen=True):
    """Comparable runs of a target, the oldest first."""

    scenario: str
    target: str
    name: str
    simulated: bool
    runs: list[TrendRun]
    metrics: list[TrendMetric]


class TrendDocument(JsonEntry, frozen=True):
    """The output of `rtbench trend --json`."""

    schema: Literal[3]
    alpha: Annotated[Rounded, described("the maximum share of unchanged histories in which a change is ever marked")]
    comparisons: Annotated[
        Count, described("made with these runs; each run of a year has the same share of the error level")
    ]
    series: list[TrendSeries]
    notices: list[str]


def trend_data(trend: Trend) -> dict[str, Any]:
    """Return the trend as data for JSON: dictionaries, lists, strings, and numbers."""
    series_entries = []
    for series, metrics in trend.by_series:
        runs = [
            TrendRun(
                run_id=point.run_id,
                name=point.name,
                started_utc_ns=point.started_utc_ns,
                validity=point.validity,
                excluded=list(point.excluded),
                labels=dict(point.labels),
                conditions=dict(point.conditions),
                values=[
                    TrendValue(
                        metric_text(spec),
                        run_value.value,
                        run_value.low,
                        run_value.high,
                        math.isinf(run_value.value),
                        run_value.missing,
                    )
                    for spec, run_value in ((metric.spec, metric.values[index]) for metric in metrics)
                ],
            )
            for index, point in enumerate(series.points)
        ]
        metric_entries = [
            TrendMetric(
                **metric.spec.entry_fields,
                title=metric_text(metric.spec),
                unit=metric.spec.unit,
                runs=len(metric.compared),
                comparisons=metric.comparisons,
                not_searched=metric.not_searched,
                autocorrelation=metric.autocorrelation,
                weekdays=list(metric.weekdays),
                hours=list(metric.hours),
                slow_change=metric.slow,
                levels=list(metric.segments),
                unmarked_changes=list(metric.unmarked_changes),
                changes=list(metric.changes),
            )
            for metric in metrics
        ]
        series_entries.append(
            TrendSeries(series.scenario, series.target, series.name, series.simulated, runs, metric_entries)
        )
    return document_data(TrendDocument(TREND_VERSION, LEVEL, trend.comparisons, series_entries, list(trend.notices)))


def write_trend(page: Page, path: Path) -> Path:
    """Write the page to a file, atomically. Raise UsageError if the file cannot be written."""
    save_text(path, render_html(page))
    return path
