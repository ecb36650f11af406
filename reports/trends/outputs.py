"""A trend as `rtbench trend --json` prints it, on a terminal, and its page as a file."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from bench.errors import UsageError
from bench.run.document import ValidityStatus
from bench.untrusted.safe_io import replace_text
from reports.numbers import moment
from reports.question import AskedFigure
from reports.records import Count, Known, Record, Rounded, about, data_of
from reports.render.blocks import MARKS, Cell, Fact, Line, Paragraph, make_row
from reports.render.terminal import Badges, Grid, Part, render_lines
from reports.statistics.change_points import LEVEL
from reports.trends.metric_trend import MetricTrend, RunSeries, TrendChange, TrendSegment
from reports.trends.page import trend_html
from reports.trends.sentences import changes_text, day, headline, notes, period, unit_text, value_text
from reports.trends.trend import Trend
from reports.trends.trend_point import RunValue
from reports.wording.verdicts import figure

TREND_VERSION: Literal[2] = 2


class TrendValue(Record, frozen=True):
    """A value of a run, with its 95 % interval; null if it is missing."""

    title: str
    value: Annotated[Rounded, about("null also if it lies among failed turns")]
    low: Rounded
    high: Rounded
    in_failures: bool
    missing_because: Annotated[Known, about("why there is no value")]


class TrendRun(Record, frozen=True):
    """A run of a series."""

    run_id: str
    name: Annotated[str, about("of its folder; of a stored baseline its id")]
    started_utc_ns: int
    validity: ValidityStatus
    excluded_because: Annotated[Known, about("why it is not compared")]
    labels: dict[str, str]
    conditions: Annotated[dict[str, str], about("what it was measured under")]
    values: list[TrendValue]


class TrendMetric(AskedFigure, frozen=True):
    """A metric over the runs of a series."""

    title: str
    unit: str
    runs: Annotated[Count, about("that were compared")]
    comparisons: Count
    no_change_because: Annotated[Known, about("why no change could be found")]
    autocorrelation: Annotated[Rounded, about("of neighbouring runs, 0 to 0.9; 0 without any change, marked or not")]
    weekdays: Annotated[
        list[Rounded],
        about("Monday to Sunday relative to their mean, which is subtracted; empty if they do not differ"),
    ]
    levels: list[TrendSegment]
    unmarked_changes: Annotated[list[TrendChange], about("what would be changes if neighbouring runs were independent")]
    changes: list[TrendChange]


class TrendSeries(Record, frozen=True):
    """Comparable runs of a target, the oldest first."""

    scenario: str
    target: str
    name: str
    simulated: bool
    runs: list[TrendRun]
    metrics: list[TrendMetric]


class TrendDocument(Record, frozen=True):
    """What `rtbench trend --json` prints."""

    schema: Literal[2]
    alpha: Annotated[Rounded, about("the share of unchanged histories in which anything may ever be marked")]
    comparisons: Annotated[Count, about("that these runs made; each run of a year has the same share of the level")]
    series: list[TrendSeries]
    notices: list[str]


def trend_data(trend: Trend) -> dict[str, Any]:
    """Return the trend as lists, dictionaries, strings and numbers."""
    series = [_series(one, metrics) for one, metrics in trend.by_series]
    return data_of(TrendDocument(TREND_VERSION, LEVEL, trend.comparisons, series, list(trend.notices)))


def _series(series: RunSeries, metrics: list[MetricTrend]) -> TrendSeries:
    return TrendSeries(
        scenario=series.scenario,
        target=series.target,
        name=series.name,
        simulated=series.simulated,
        runs=[
            TrendRun(
                run_id=point.run_id,
                name=point.name,
                started_utc_ns=point.started_utc_ns,
                validity=point.validity,
                excluded_because=point.excluded_because,
                labels=dict(point.labels),
                conditions=dict(point.conditions),
                values=[_value(figure(metric.spec), metric.values[place]) for metric in metrics],
            )
            for place, point in enumerate(series.points)
        ],
        metrics=[
            TrendMetric(
                *metric.spec.asked,
                title=figure(metric.spec),
                unit=metric.spec.unit,
                runs=len(metric.compared),
                comparisons=metric.comparisons,
                no_change_because=metric.no_change_because,
                autocorrelation=metric.autocorrelation,
                weekdays=list(metric.weekdays),
                levels=list(metric.segments),
                unmarked_changes=list(metric.unmarked_changes),
                changes=list(metric.changes),
            )
            for metric in metrics
        ],
    )


def _value(title: str, run: RunValue) -> TrendValue:
    return TrendValue(title, run.value, run.low, run.high, math.isinf(run.value), run.missing_because)


def write_trend(trend: Trend, path: Path) -> Path:
    """Write the page in one step. Raises UsageError if it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_text(path, trend_html(trend, path.parent))
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
    return path


RUN_NAME_MIN = 16
"""Letters that are left of a run's name."""


def trend_text(trend: Trend, width: int = 100, colour: bool = False) -> str:
    """Return the trend in at most this many columns, with as many metrics as there is room for."""
    simulated = [("◇ SIMULATED", "sim")] if any(series.simulated for series in trend.series) else []
    opening: list[Part] = [
        Paragraph(headline(trend), "bold"),
        Badges(simulated, f"{trend.runs} runs, {period(trend)}"),
    ]
    for found in trend.changes_by_run:
        metric, change = found[0]
        since = f"{metric.series.name} since {moment(change.first_started_utc_ns)}"
        opening.append(Fact("changed", [f"{since}: {changes_text(found)}"]))
    tables = (_table(series, metrics) for series, metrics in trend.by_series)
    closing: list[Part] = [
        *(Fact("note", [note]) for note in notes(trend)),
        *(Fact("left out", [notice], "warn") for notice in trend.notices),
    ]
    return render_lines((opening, *tables, closing), width, colour)


def _table(series: RunSeries, metrics: list[MetricTrend]) -> Iterable[Part]:
    simulated = "  ◇ SIMULATED" if series.simulated else ""
    yield Paragraph(f"{series.scenario} · {series.name}{simulated}", "bold")
    titles = [", ".join(filter(None, [figure(metric.spec), unit_text(metric.spec)])) for metric in metrics]
    heads = ["run", "began, UTC", "verdict", *titles, ""]
    last = len(heads) - 1
    dated = [(0, 1, 2, *range(3, end), last) for end in range(last, 3, -1)]
    undated = [(0, 2, 3, 4, last)] if len(metrics) > 1 else []  # the name of a run says when it began
    layouts = [*dated[:-1], *undated, dated[-1], (0, 2, 3, last), (0, 3, last)] if metrics else []
    rows = [make_row([*heads], "soft")]
    for place, point in enumerate(series.points):
        changes = changes_text([(metric, change) for metric in metrics for change in metric.changes_at(point)])
        values = (value_text(metric.values[place], metric.spec) for metric in metrics)
        cells: Line = [
            Cell(point.name, f"changed here: {changes}" if changes else ""),
            day(point.started_utc_ns),
            Cell(point.mark, style=MARKS[point.validity_word].ink),
            *(Cell(text, style="soft" if point.excluded_because else "") for text in values),
            Cell("↕" if changes else "", style="warn"),
        ]
        rows.append(make_row(cells))
    yield Grid(rows, (0, 1, 2, last), layouts, indent="  ", least=RUN_NAME_MIN, ending=RUN_NAME_MIN // 2)
