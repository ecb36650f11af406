"""A history as `rtbench trend --json` prints it, on a terminal, and its page as a file."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from bench.errors import UsageError
from bench.run.document import ValidityStatus
from bench.untrusted.safe_io import replace_text
from reports.question import AskedFigure
from reports.records import Count, Known, Record, Rounded, about, data_of
from reports.render.blocks import MARKS, Cell, Fact, Line, Paragraph, make_row
from reports.render.terminal import Badges, Grid, Part, render_lines
from reports.statistics.changes import LEVEL
from reports.trends.course import Course, Moved, Series
from reports.trends.entry import Entry
from reports.trends.page import trend_html
from reports.trends.trend import (
    Scenario,
    Trend,
    begun,
    change_with_interval,
    day,
    doubtful,
    figure_text,
    lacking_notes,
    place,
    series_notes,
    trend_headline,
    unfit,
    weekdays_notes,
)
from reports.wording.verdicts import figure

TREND_VERSION: Literal[2] = 2


class TrendFigure(Record, frozen=True):
    """What a run tells of a figure, with its 95 % interval; null where it is not told."""

    title: str
    value: Annotated[Rounded, about("null also where it lies among failed turns (censored)")]
    low: Rounded
    high: Rounded
    in_failures: bool
    missing_because: Annotated[Known, about("why there is no figure")]


class TrendRun(Record, frozen=True):
    """A run of a series."""

    run_id: str
    name: Annotated[str, about("of its folder; of a stored baseline its id")]
    started_utc_ns: int
    validity: ValidityStatus
    excluded_because: Annotated[Known, about("why it is not compared")]
    labels: dict[str, str]
    conditions: Annotated[dict[str, str], about("what it was made under")]
    values: list[TrendFigure]


class TrendChange(Record, frozen=True):
    """A change between two runs: after against before, as a share; of rates in shares of turns."""

    last_run: Annotated[str, about("the last one before")]
    first_run: Annotated[str, about("the first one after")]
    first_started_utc_ns: int
    change: Rounded
    low: Rounded
    high: Rounded
    runs_before: Annotated[Count, about("that were compared")]
    runs_after: Count
    worse: Annotated[bool | None, about("null where neither more nor less is better")]
    also_changed: Annotated[list[str], about("what else changed there")]


class TrendLevel(Record, frozen=True):
    """The mean of the runs between two changes."""

    value: Rounded
    first_run: str
    last_run: str


class TrendCourse(AskedFigure, frozen=True):
    """A figure in the course of a series."""

    title: str
    unit: str
    runs: Annotated[Count, about("that were compared")]
    comparisons: Count
    no_change_because: Annotated[Known, about("why no change could be found")]
    autocorrelation: Annotated[Rounded, about("neighbouring runs, from 0 to 0.9; 0 where nothing stands out")]
    weekdays: Annotated[
        list[Rounded],
        about("Monday to Sunday relative to their mean, which is subtracted; empty if they do not differ"),
    ]
    levels: list[TrendLevel]
    unmarked_changes: Annotated[list[TrendChange], about("what would be changes if neighbouring runs were independent")]
    changes: list[TrendChange]


class TrendSeries(Record, frozen=True):
    """Comparable runs of a target, the oldest first."""

    scenario: str
    target: str
    name: str
    simulated: bool
    runs: list[TrendRun]
    metrics: list[TrendCourse]


class TrendDocument(Record, frozen=True):
    """What `rtbench trend --json` prints."""

    schema: Literal[2]
    alpha: Annotated[Rounded, about("the share of unchanged histories in which anything may ever be marked")]
    comparisons: Annotated[Count, about("that these runs made; each run of a year has the same share of the level")]
    series: list[TrendSeries]
    notices: list[str]


def trend_data(trend: Trend) -> dict[str, Any]:
    """The history as lists, dictionaries, strings and numbers."""
    return data_of(
        TrendDocument(
            schema=TREND_VERSION,
            alpha=LEVEL,
            comparisons=trend.comparisons,
            series=[_series(one, trend) for one in trend.series],
            notices=list(trend.notices),
        )
    )


def _series(series: Series, trend: Trend) -> TrendSeries:
    courses = [course for course in trend.courses if course.series is series]
    return TrendSeries(
        scenario=series.scenario,
        target=series.target,
        name=series.name,
        simulated=series.simulated,
        runs=[_run(entry, courses, place) for place, entry in enumerate(series.entries)],
        metrics=[
            TrendCourse(
                *course.question.asked,
                title=figure(course.question),
                unit=course.question.unit,
                runs=len(course.used),
                comparisons=course.comparisons,
                no_change_because=course.lacking,
                autocorrelation=course.alike,
                weekdays=list(course.weekdays),
                levels=[TrendLevel(one.value, one.first.run_id, one.last.run_id) for one in course.levels],
                unmarked_changes=[_change(moved) for moved in course.doubtful],
                changes=[_change(moved) for moved in course.moved],
            )
            for course in courses
        ],
    )


def _run(entry: Entry, courses: Iterable[Course], place: int) -> TrendRun:
    told = [(figure(course.question), course.told[place]) for course in courses]
    return TrendRun(
        run_id=entry.run_id,
        name=entry.name,
        started_utc_ns=entry.started_utc_ns,
        validity=entry.validity,
        excluded_because=entry.unfit,
        labels=dict(entry.labels),
        conditions=dict(entry.conditions),
        values=[
            TrendFigure(
                name, one.value, one.low, one.high, in_failures=math.isinf(one.value), missing_because=one.lacks
            )
            for name, one in told
        ],
    )


def _change(moved: Moved) -> TrendChange:
    return TrendChange(
        last_run=moved.last.run_id,
        first_run=moved.first.run_id,
        first_started_utc_ns=moved.first.started_utc_ns,
        change=moved.share,
        low=moved.low,
        high=moved.high,
        runs_before=moved.before,
        runs_after=moved.after,
        worse=moved.worse,
        also_changed=list(moved.beside),
    )


def write_trend(trend: Trend, path: Path) -> Path:
    """Write the page in one step. Raises UsageError where it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_text(path, trend_html(trend, path.parent))
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
    return path


RUN_LEAST = 16


def trend_text(trend: Trend, width: int = 100, colour: bool = False) -> str:
    """The history in at most so many columns; of as many figures as there is room for."""
    tables = ([*_series_table(scenario, one)] for scenario in trend.scenarios for one in scenario.series)
    return render_lines((_opening(trend), *tables, _closing(trend)), width, colour)


def _opening(trend: Trend) -> Iterable[Part]:
    yield Paragraph(trend_headline(trend), "bold")
    simulated = [("◇ SIMULATED", "sim")] if any(one.simulated for one in trend.series) else []
    yield Badges(simulated, f"{trend.runs} runs, {begun(trend)}")
    for found in trend.places:
        yield Fact("changed", [place(found)])


def _series_table(scenario: Scenario, series: Series) -> Iterable[Part]:
    courses = [course for _, mine in scenario.figures for course in mine if course.series is series]
    simulated = "  ◇ SIMULATED" if series.simulated else ""
    yield Paragraph(f"{scenario.name} · {series.name}{simulated}", "bold")
    units = [f", {one.question.shown_unit}" if one.question.kind != "rate" else "" for one in courses]
    figures = [f"{figure(one.question)}{unit}" for one, unit in zip(courses, units, strict=True)]
    heads = ["run", "began, UTC", "verdict", *figures, ""]
    last = len(heads) - 1
    dated = [(0, 1, 2, *range(3, most), last) for most in range(last, 3, -1)]
    undated = [(0, 2, 3, 4, last)] if len(courses) > 1 else []  # a run's name tells when it began, and p95 nothing else
    layouts = [*dated[:-1], *undated, dated[-1], (0, 2, 3, last), (0, 3, last)] if courses else []
    rows = [make_row([*heads], "soft")]
    for at, entry in enumerate(series.entries):
        moved = [
            f"{figure(course.question)} {change_with_interval(one, course.question)}"
            for course in courses
            for one in course.moved
            if one.first is entry
        ]
        told = (figure_text(course.told[at], course.question) for course in courses)
        cells: Line = [
            Cell(entry.name, f"changed here: {', '.join(moved)}" if moved else ""),
            day(entry),
            Cell(entry.mark, style=MARKS[entry.use].ink),
            *(Cell(text, style="soft" if entry.unfit else "") for text in told),
            Cell("↕" if moved else "", style="warn"),
        ]
        rows.append(make_row(cells))
    yield Grid(rows, (0, 1, 2, last), layouts, indent="  ", least=RUN_LEAST, ending=RUN_LEAST // 2)


def _closing(trend: Trend) -> Iterable[Part]:
    held = [*weekdays_notes(trend), *doubtful(trend)]
    for line in filter(None, [*held, unfit(trend), *series_notes(trend)]):
        yield Fact("note", [line])
    for line in lacking_notes(trend):
        yield Fact("note", [line])
    for notice in trend.notices:
        yield Fact("left out", [notice], "warn")
