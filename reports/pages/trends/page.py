"""The page trend.html: a trend as blocks of a page. This module computes no values."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from bench.catalogue.metrics import CATALOGUE
from reports.analysis.trends.metric_trend import MetricTrend, RunSeries, SlowTrendChange, TrendChange
from reports.analysis.trends.trend import ScenarioTrend, Trend
from reports.analysis.trends.trend_point import TrendPoint
from reports.formatting import NBSP, NONE, plural
from reports.metrics.metric_spec import MetricSpec
from reports.metrics.rate_metrics import RATES
from reports.pages.trends.plot import plot_over_time
from reports.render import blocks as b
from reports.render.svg import plot_figure
from reports.statistics.change_points import ENOUGH, MIN_SIDE_RUNS, YEAR
from reports.text import trend_sentences as sentences
from reports.text.reasons import reasons_text
from reports.text.verdicts import metric_text

RUN_NAME_MIN = 16
"""The minimum width of the column with the names of runs on a terminal, in characters."""


METHOD = {
    "change": "A point between two runs at which the level changed: the runs before and after it differ by more than "
    f"runs of one level do, and by more than 5{NBSP}% (rates: one percentage point). It requires at least "
    f"{MIN_SIDE_RUNS} runs before and after it.",
    "correction": f"{YEAR} runs, and all metrics and series of the page, share one error probability: if nothing "
    f"changes, and the page is generated after each of these runs, at most 5{NBSP}% of pages ever have a mark, if the "
    "autocorrelation of neighbouring runs is at most 0.5. The intervals of changes are widened accordingly.",
    "level": "The mean of the runs between two changes, without the effect of hours and weekdays; for latencies, the "
    "geometric mean. During a slow change it is a sloping line. It is shown if there are at least ten runs.",
    "interval": f"The 95{NBSP}% interval of a single run, as in its report. It does not include the differences "
    "between runs.",
    "series": "Comparable runs of a target: with the same scenario, scripts, load, warm-up and settings.",
}
"""The terms that the page defines, and their definitions."""


def trend_page(trend: Trend, folder: Path) -> b.Page:
    """Return the page with all changes, each metric over time, and every run. Links are relative to `folder`."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys(series.name for series in trend.series))}
    names = list(dict.fromkeys(metric.spec.metric for metric in trend.metrics))
    rates = {name: RATES[name].sentence for name in names if name in RATES}
    defined = {name: CATALOGUE[name].sentence for name in names if name not in RATES} | rates | METHOD
    scenarios = ", ".join(scenario.name for scenario in trend.scenarios)
    notes = sentences.notes(trend)
    more = f"See {plural(len(trend.notices), 'notice')} at the end." if trend.notices else ""
    left_out = b.Section(
        "left-out",
        "Excluded runs",
        "What is not shown?",
        [b.Bullets(trend.notices)],
        brief=[b.Fact("excluded", [notice], "warn") for notice in trend.notices],
    )
    return b.Page(
        title=f"{scenarios} · {plural(trend.runs, 'run')} over time",
        badges=list(_badges(trend)),
        notes=f"{scenarios} · {plural(trend.runs, 'run')}, {sentences.period(trend)}",
        headline=sentences.headline(trend),
        lead=[*b.note(more), *([b.Bullets(notes)] if notes else [])],
        answer=[_changes(trend, numbers)] if trend.changes or trend.slow_changes else None,
        sections=[
            *(_section(scenario, index, numbers, folder) for index, scenario in enumerate(trend.scenarios)),
            *([left_out] if trend.notices else []),
            b.Section("how", "Definitions", "What do the words mean?", [b.Definitions(list(defined.items()))]),
        ],
        definitions=defined,
        footer=(
            b.MEASURED_AGAINST if all(series.simulated for series in trend.series) else "",
            "The same values are printed by ",
            b.Code("rtbench trend --json"),
            ". All times UTC.",
        ),
        targets=list(numbers) if len(numbers) > 1 else (),
    )


def _badges(trend: Trend) -> Iterable[b.Badge]:
    changes = [change.worse for _, change in trend.changes] + [slow.worse for _, slow in trend.slow_changes]
    if changes:
        worse = sum(is_worse is True for is_worse in changes)
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


def _changes(trend: Trend, numbers: Mapping[str, int]) -> b.Block:
    """Return a table of all changes, the newest first. `numbers` is the number of each series on the page."""
    heads: list[b.Head] = [
        b.Column("what changed", left=True),
        b.Column("before", leave_out=3),
        b.Column("after", leave_out=3),
        "change",
        b.Column("since, UTC", left=True, shorten=1, leave_out=4),
        b.Column("conditions that changed with it", left=True, leave_out=2),
    ]
    inks = {True: "bad-ink", False: "good-ink", None: ""}

    def row(
        metric: MetricTrend,
        change: TrendChange | SlowTrendChange,
        levels: tuple[float, float],
        runs: str,
        conditions: str,
    ) -> b.Row:
        spec, series = metric.spec, metric.series
        cells: b.Line = [
            b.Cell(_title(spec), f"{series.scenario} · {series.name}" if len(trend.scenarios) > 1 else series.name),
            *(b.Cell(sentences.number_text(level, spec), sentences.unit_text(spec)) for level in levels),
            b.Cell(
                sentences.change_size(change, spec), sentences.change_interval(change, spec), style=inks[change.worse]
            ),
            b.Cell(sentences.day(change.first_started_utc_ns), runs),
            conditions,
        ]
        return b.make_row(cells, target=numbers[series.name])

    rows = [
        row(metric, slow, metric.ends_of_slow_change, f"slowly, over {plural(slow.runs, 'run')}", NONE)
        for metric, slow in trend.slow_changes
    ]
    for metric, change in trend.changes:
        runs = f"{change.runs_before} runs before, {change.runs_after} after"
        conditions = "; ".join(change.also_changed) or "no recorded condition"
        rows.append(row(metric, change, metric.levels_at(change), runs, conditions))
    return b.table(heads, rows, "facts", stacked=True)


def _title(spec: MetricSpec) -> b.Inline:
    """Return the name of a metric, with a link to its definition."""
    name = metric_text(spec)
    return name if spec.metric in RATES else (b.Term(spec.metric), name.removeprefix(spec.metric))


def _section(scenario: ScenarioTrend, index: int, numbers: Mapping[str, int], folder: Path) -> b.Section:
    plots: list[b.Block] = []
    for spec, metrics in scenario.metrics:
        unit = sentences.unit_text(spec)
        caption: b.Inline = (
            _title(spec),
            (", with the ", b.Term("interval"), f" of each run{f', in {unit}' if unit else ''}"),
            "" if all(metric.not_searched for metric in metrics) else (". Lines: ", b.Term("level"), "s"),
            (". Dashed: a ", b.Term("change"), ".") if any(metric.changes for metric in metrics) else ".",
        )
        plots.append(plot_figure(plot_over_time(metrics, numbers), caption, stops=()))
    nothing = b.Paragraph("None of these runs has any of these values.")
    return b.Section(
        f"scenario-{index + 1}",
        f"{scenario.name}: metrics over time",
        "How did the metrics change from run to run?",
        [*(plots or [nothing]), b.Details("Every run", [_runs(scenario, numbers, folder)], open=True)],
        brief=[_runs_of(scenario, series) for series in scenario.series],
    )


def _runs(scenario: ScenarioTrend, numbers: Mapping[str, int], folder: Path) -> b.Block:
    """Return a table with a row for each run of each series, the newest first."""
    heads: list[b.Head] = [
        "run", b.Column("series", left=True), b.Column("began, UTC", left=True), b.Column("verdict", left=True),
        *(b.Column(metric_text(spec), below=sentences.unit_text(spec)) for spec, _ in scenario.metrics),
    ]  # fmt: skip
    run_rows = sorted(
        ((series, index, point) for series in scenario.series for index, point in enumerate(series.points)),
        key=lambda run_row: -run_row[2].started_utc_ns,
    )
    rows = []
    for series, index, point in run_rows:
        number, report = numbers[series.name], os.path.relpath(point.report, folder) if point.report else ""
        by_spec = {metric.spec: metric for metric in scenario.of_series(series)}
        labels = " · ".join(f"{key} {value}" for key, value in point.labels.items())
        cells: b.Line = [
            b.Cell(b.Link(point.name, report) if report else point.name, labels),
            b.Cell(series.name, target=number, marked=True),
            *_facts(point),
            *(_value(by_spec[spec], index) if spec in by_spec else b.Cell(NONE) for spec, _ in scenario.metrics),
        ]
        rows.append(b.make_row(cells, target=number))
    return b.table(heads, rows, stacked=True)


def _runs_of(scenario: ScenarioTrend, series: RunSeries) -> b.Block:
    """Return a table of one series for a terminal, the oldest run first.

    On a narrow terminal, the last metrics are omitted.
    """
    metrics = scenario.of_series(series)
    order = [*range(len(metrics) + 2, 4, -1), 1, 4, 2]  # the start is already in the name of a run
    titles = (
        ", ".join(filter(None, [metric_text(metric.spec), sentences.unit_text(metric.spec)])) for metric in metrics
    )
    heads = [
        b.Column("run", min_width=RUN_NAME_MIN),
        b.Column("began, UTC", left=True),
        b.Column("verdict", left=True),
        *map(b.Column, titles),
    ]
    columns = [
        replace(head, leave_out=order.index(index) + 1 if index in order else 0) for index, head in enumerate(heads)
    ]
    rows = []
    for index, point in enumerate(series.points):
        changes = [(metric, change) for metric in metrics for change in metric.changes_at(point)]
        more = [b.Paragraph(f"↕ changed here: {sentences.changes_text(changes)}")] if changes else []
        more += [
            b.Paragraph(
                f"↕ changes slowly from here: {metric_text(metric.spec)} "
                f"{sentences.slow_change_text(metric.slow, metric.spec)}"
            )
            for metric in metrics
            if metric.slow and metric.slow.first_started_utc_ns == point.started_utc_ns
        ]
        cells = [point.name, *_facts(point), *(_value(metric, index) for metric in metrics)]
        rows.append(b.make_row(cells, more=more))
    simulated = f"  {b.SIMULATED.marker} {b.SIMULATED.text}" if series.simulated else ""
    return b.table(columns, rows, caption=f"{series.scenario} · {series.name}{simulated}")


def _facts(point: TrendPoint) -> b.Line:
    """Return two cells for a run: its start, and its verdict. On a page, the verdict includes the reason."""
    verdict = b.Cell(
        point.marker, reasons_text(point.excluded), brief="", style=f"{b.MARKS[point.validity_title].colour}-ink"
    )
    return [sentences.day(point.started_utc_ns), verdict]


def _value(metric: MetricTrend, index: int) -> b.Cell:
    """Return a cell with the value of a metric in one run, its interval, and the change that begins with this run.

    `index` is the index of the run in the series.
    """
    point, run, spec = metric.series.points[index], metric.values[index], metric.spec
    changes = [f"↕ {sentences.change_size(change, spec)}" for change in metric.changes_at(point)]
    interval = sentences.interval_text(run, spec)
    below = " ".join(filter(None, [interval, *changes]))
    style = "soft-ink" if point.excluded else ""
    return b.Cell(sentences.number_text(run.value, spec), below, brief=interval, style=style)
