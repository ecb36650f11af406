"""The page trend.html, and the JSON that `rtbench trend --json` prints. This module computes no
values.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.files.safe_io import save_text
from reports.analysis.trends.metric_trend import (
    MetricTrend,
    RunSeries,
    TrendMetric,
)
from reports.analysis.trends.trend import TREND_VERSION, Trend, TrendDocument, TrendSeries
from reports.analysis.trends.trend_point import TrendPoint, TrendRun
from reports.formatting import NBSP, NONE, join_present, plural
from reports.metrics.rate_metrics import RATES
from reports.pages.trends.plot import plot_over_time
from reports.render import blocks as b
from reports.render.html import render_html
from reports.render.svg import plot_figure
from reports.results.json_entries import narrowed
from reports.statistics.change_points import ENOUGH, LEVEL, MIN_SIDE_RUNS, YEAR
from reports.text import trend_sentences as sentences
from reports.text.definitions import definitions
from reports.text.reasons import document_data, reasons_text

METHOD = {
    "change": (
        "A point between two runs at which the level changed: the runs before and after it differ"
        f" by more than runs of one level do, and by more than 5{NBSP}% (rates: one percentage"
        f" point). It requires at least {MIN_SIDE_RUNS} runs before and after it."
    ),
    "correction": (
        f"{YEAR} runs, and all metrics and series of the page, share one error probability: if"
        f" nothing changes, and the page is generated after each of these runs, at most 5{NBSP}% of"
        " pages ever have a mark, if the autocorrelation of neighbouring runs is at most 0.5. The"
        " intervals of changes are widened accordingly."
    ),
    "level": (
        "The mean of the runs between two changes, without the effect of hours and weekdays; for"
        " latencies, the geometric mean. During a slow change it is a sloping line. It is shown if"
        " there are at least ten runs."
    ),
    "interval": (
        f"The 95{NBSP}% interval of a single run, as in its report. It does not include the"
        " differences between runs."
    ),
    "series": (
        "Comparable runs of a target: with the same scenario, scripts, load, warm-up and settings."
    ),
}
"""The terms that the page defines, and their definitions."""


def trend_data(trend: Trend) -> dict[str, Any]:
    """Return the trend as data for JSON: dictionaries, lists, strings, and numbers."""
    series = [
        TrendSeries(
            of.scenario,
            of.target,
            sentences.series_name(of),
            of.simulated,
            [narrowed(TrendRun, point) for point in of.points],
            [narrowed(TrendMetric, metric) for metric in metrics],
        )
        for of, metrics in trend.by_series
    ]
    return document_data(
        TrendDocument(
            TREND_VERSION, LEVEL, trend.comparisons, series, sentences.notice_texts(trend)
        )
    )


def write_trend(page: b.Page, path: Path) -> Path:
    """Write the page to a file, atomically. Raise UsageError if the file cannot be written."""
    save_text(path, render_html(page))
    return path


def trend_page(trend: Trend, folder: Path) -> b.Page:
    """Return the page with all changes, each metric over time, and every run. Links are relative
    to `folder`.
    """
    numbers = {
        name: number
        for number, name in enumerate(dict.fromkeys(map(sentences.series_name, trend.series)))
    }
    names = dict.fromkeys(metric.metric for metric in trend.metrics)
    defined = definitions(names) | METHOD
    scenarios = list(dict.fromkeys(series.scenario for series in trend.series))
    title = f"{', '.join(scenarios)} · {plural(trend.runs, 'run')}"
    notes = sentences.notes(trend)
    notices = sentences.notice_texts(trend)
    more = f"See {plural(len(notices), 'notice')} at the end." if notices else ""
    left_out = b.Section(
        "left-out",
        "Excluded runs",
        "What is not shown?",
        [b.Bullets(notices)],
        brief=[b.Fact("excluded", [notice], "warn") for notice in notices],
    )
    return b.Page(
        title=f"{title} over time",
        badges=list(_badges(trend)),
        notes=f"{title}, {sentences.period(trend)}",
        headline=sentences.headline(trend),
        lead=[*b.note(more), *([b.Bullets(notes)] if notes else [])],
        answer=[_changes(trend, numbers)] if trend.changes or trend.slow_changes else None,
        sections=[
            *(
                _section(trend, scenario, index, numbers, folder)
                for index, scenario in enumerate(scenarios)
            ),
            *([left_out] if notices else []),
            b.Section(
                "how",
                "Definitions",
                "What do the words mean?",
                [b.Definitions(list(defined.items()))],
            ),
        ],
        definitions=defined,
        footer=(
            b.MEASURED_AGAINST if all(series.simulated for series in trend.series) else "",
            "The same values are printed by ",
            b.Code("rtbench trend --json"),
            ". All times UTC.",
        ),
    )


def _badges(trend: Trend) -> Iterable[b.Badge]:
    changes = [change.direction for _, change in (*trend.changes, *trend.slow_changes)]
    if changes:
        worse = changes.count("worse")
        counts = f"{worse} of {plural(len(changes), 'metric')} worse"
        found = len(trend.changes_by_run) + len(trend.slow_changes)
        yield b.Badge("no" if worse else "in", "↕", plural(found, "CHANGE", "CHANGES"), counts)
    elif trend.comparisons:
        yield b.Badge("eq", "≈", "NO CHANGE", f"in {plural(trend.runs, 'run')}")
    else:
        yield b.Badge("hm", "?", "TOO FEW RUNS", f"a change requires {ENOUGH}")
    simulated = {(point.run_id, point.started_utc_ns) for point in trend.points if point.simulated}
    if len(simulated) == trend.runs:
        yield b.SIMULATED
    elif simulated:
        yield b.Badge("sim", "◇", "SIMULATED", f"{len(simulated)} of {plural(trend.runs, 'run')}")


INKS = {"worse": "bad-ink", "better": "good-ink", None: ""}


def _changes(trend: Trend, numbers: Mapping[str, int]) -> b.Block:
    """Return a table of all changes, the newest first. `numbers` is the number of each series on
    the page.
    """
    heads: b.Heads = [
        b.TextColumn("what changed"),
        b.Column("before", leave_out=3),
        b.Column("after", leave_out=3),
        "change",
        b.TextColumn("since, UTC", shorten=1, leave_out=4),
        b.TextColumn("conditions that changed with it", leave_out=2),
    ]
    several = len({series.scenario for series in trend.series}) > 1
    rows = []
    for metric, change in (*trend.slow_changes, *trend.changes):
        spec = metric.spec
        series = metric.series
        name = sentences.series_name(series)
        runs = f"{change.against.n} runs before, {change.value.n} after"
        conditions = sentences.also_changed(change)
        if change.is_slow:
            runs = f"slowly, over {plural(change.value.n, 'run')}"
            conditions = NONE
        size = sentences.change_size(change, spec)
        ends = sentences.change_interval(change, spec)
        cells: b.Line = [
            b.Cell(_title(metric), f"{series.scenario} · {name}" if several else name),
            *(
                b.Cell(sentences.number_text(level.value, spec), sentences.unit_text(spec))
                for level in (change.against, change.value)
            ),
            b.Cell(size, ends, style=INKS[change.direction]),
            b.Cell(sentences.day(change.first_started_utc_ns), runs),
            conditions,
        ]
        rows.append(b.make_row(cells, target=numbers[name]))
    return b.table(heads, rows, "facts", stacked=True)


def _title(metric: MetricTrend) -> b.Inline:
    """Return the name of a metric, with a link to its definition."""
    if metric.metric in RATES:
        return metric.title
    return b.Term(metric.metric), metric.title.removeprefix(metric.metric)


def _section(
    trend: Trend, scenario: str, index: int, numbers: Mapping[str, int], folder: Path
) -> b.Section:
    of_scenario = [metric for metric in trend.metrics if metric.series.scenario == scenario]
    plots: b.Blocks = []
    for spec in dict.fromkeys(metric.spec for metric in of_scenario):
        metrics = [metric for metric in of_scenario if metric.spec == spec]
        unit = sentences.unit_text(spec)
        caption = (
            _title(metrics[0]),
            (", with the ", b.Term("interval"), f" of each run{f', in {unit}' if unit else ''}"),
            (
                ""
                if all(metric.not_searched for metric in metrics)
                else (". Lines: ", b.Term("level"), "s")
            ),
            (
                (". Dashed: a ", b.Term("change"), ".")
                if any(metric.changes for metric in metrics)
                else "."
            ),
        )
        plots.append(plot_figure(plot_over_time(metrics, numbers), caption, stops=()))
    tables = [
        _runs(series, metrics, folder)
        for series, metrics in trend.by_series
        if series.scenario == scenario
    ]
    nothing = b.Paragraph("None of these runs has any of these values.")
    return b.Section(
        f"scenario-{index + 1}",
        f"{scenario}: metrics over time",
        "How did the metrics change from run to run?",
        [*(plots or [nothing]), b.Details("Every run", tables, open=True)],
        brief=tables,
    )


def _runs(series: RunSeries, metrics: list[MetricTrend], folder: Path) -> b.Block:
    """Return a table of one series, the oldest run first. On a narrow terminal, the last metrics
    are omitted.
    """
    order = [*range(len(metrics) + 2, 4, -1), 1, 4, 2]  # the start is already in the name of a run
    titles = (
        join_present(", ", metric.title, sentences.unit_text(metric.spec)) for metric in metrics
    )
    heads = [
        b.Column("run", inline=True),
        b.TextColumn("began, UTC"),
        b.TextColumn("verdict"),
        *map(b.Column, titles),
    ]
    columns = [
        replace(head, leave_out=order.index(index) + 1 if index in order else 0)
        for index, head in enumerate(heads)
    ]
    rows = []
    for index, point in enumerate(series.points):
        found = [(metric, change) for metric in metrics for change in metric.changes_at(point)]
        changed = ", ".join(
            f"{metric.title} {sentences.change_text(change, metric.spec)}"
            for metric, change in found
        )
        more = [b.Paragraph(f"↕ changed here: {changed}")] if changed else []
        for metric in metrics:
            slow = metric.slow_change
            if slow and slow.first_started_utc_ns == point.started_utc_ns:
                text = f"{metric.title} {sentences.change_text(slow, metric.spec)}"
                more.append(b.Paragraph(f"↕ changes slowly from here: {text}"))
        verdict = sentences.marker(point)
        style = f"{b.MARKS[point.validity_title].colour}-ink"
        cells: b.Line = [
            _name(point, folder),
            sentences.day(point.started_utc_ns),
            b.Cell(verdict, reasons_text(point.excluded), brief="", style=style),
            *(_value(metric, index) for metric in metrics),
        ]
        rows.append(b.make_row(cells, more=more))
    simulated = f"  {b.SIMULATED.marker} {b.SIMULATED.text}" if series.simulated else ""
    return b.table(
        columns,
        rows,
        stacked=True,
        caption=f"{series.scenario} · {sentences.series_name(series)}{simulated}",
    )


def _name(point: TrendPoint, folder: Path) -> b.Cell:
    """Return the name of a run, with a link to its report and with its labels."""
    labels = " · ".join(f"{key} {value}" for key, value in point.labels.items())
    name = b.Link(point.name, os.path.relpath(point.report, folder)) if point.report else point.name
    return b.Cell(name, labels, brief="")


def _value(metric: MetricTrend, index: int) -> b.Cell:
    """Return a cell with the value of a metric in one run, with its interval. `index` is that of
    the run.
    """
    run = metric.values[index]
    style = "soft-ink" if metric.series.points[index].excluded else ""
    ends = sentences.interval_text(run, metric.spec)
    return b.Cell(sentences.number_text(run.value, metric.spec), ends, style=style)
