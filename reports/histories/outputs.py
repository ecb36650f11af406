"""A history as `rtbench trend --json` prints it, on a terminal, and its page as a file."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from bench.errors import UsageError
from bench.foreign import write_text
from reports.blocks import MARKS, Cell, Line, Paragraph, row_of
from reports.histories.course import Course, Moved, Series
from reports.histories.entry import Entry
from reports.histories.history import (
    History,
    Scenario,
    begun,
    change_with_interval,
    day,
    doubtful,
    figure_text,
    history_headline,
    lacking_notes,
    place,
    series_notes,
    unfit,
    weekdays_notes,
)
from reports.histories.page import history_html
from reports.question import AskedFigure
from reports.records import Count, Known, Record, Rounded, about, data_of
from reports.statistics.changes import LEVEL
from reports.text.lines import Badges, Grid, Named, Part, lines_of
from reports.wording.verdicts import figure

HISTORY_VERSION: Literal[1] = 1


class HistoryFigure(Record, frozen=True):
    """What a run tells of a figure, with its 95 % interval; null where it is not told."""

    figure: str
    value: Annotated[Rounded, about("null also where it lies among failed turns (censored)")]
    low: Rounded
    high: Rounded
    censored: bool
    lacks: Annotated[Known, about("why there is no figure")]


class HistoryRun(Record, frozen=True):
    """A run of a series."""

    run_id: str
    name: Annotated[str, about("of its folder; of a stored baseline its id")]
    began_utc_ns: int
    valid: Annotated[bool | None, about("null: not judged")]
    unfit: Annotated[Known, about("why it is not compared")]
    labels: dict[str, str]
    conditions: Annotated[dict[str, str], about("what it was made under")]
    figures: list[HistoryFigure]


class HistoryChange(Record, frozen=True):
    """A change between two runs: after against before, as a share; of rates in shares of turns."""

    last_run: Annotated[str, about("the last one before")]
    first_run: Annotated[str, about("the first one after")]
    first_began_utc_ns: int
    change: Rounded
    low: Rounded
    high: Rounded
    runs_before: Annotated[Count, about("that were compared")]
    runs_after: Count
    worse: Annotated[bool | None, about("null where neither more nor less is better")]
    beside: Annotated[list[str], about("what else changed there")]


class HistoryLevel(Record, frozen=True):
    """The mean of the runs between two changes."""

    value: Rounded
    first_run: str
    last_run: str


class HistoryCourse(AskedFigure, frozen=True):
    """A figure in the course of a series."""

    figure: str
    unit: str
    runs: Annotated[Count, about("that were compared")]
    comparisons: Count
    lacking: Annotated[Known, about("why no change could be found")]
    alike: Annotated[Rounded, about("neighbouring runs, from 0 to 0.9; 0 where nothing stands out")]
    weekdays: Annotated[list[Rounded], about("Monday to Sunday above their mean, which is taken off; empty: alike")]
    levels: list[HistoryLevel]
    doubtful: Annotated[list[HistoryChange], about("what would be changes, were neighbours not alike")]
    changes: list[HistoryChange]


class HistorySeries(Record, frozen=True):
    """Comparable runs of a target, the oldest first."""

    scenario: str
    target: str
    name: str
    simulated: bool
    runs: list[HistoryRun]
    figures: list[HistoryCourse]


class HistoryDocument(Record, frozen=True):
    """What `rtbench trend --json` prints."""

    schema: Literal[1]
    level: Annotated[Rounded, about("the share of unchanged histories in which anything may ever be marked")]
    comparisons: Annotated[Count, about("that these runs made; each run of a year has the same share of the level")]
    series: list[HistorySeries]
    notices: list[str]


def history_data(history: History) -> dict[str, Any]:
    """The history as lists, dictionaries, strings and numbers."""
    return data_of(
        HistoryDocument(
            schema=HISTORY_VERSION,
            level=LEVEL,
            comparisons=history.comparisons,
            series=[_series(one, history) for one in history.series],
            notices=list(history.notices),
        )
    )


def _series(series: Series, history: History) -> HistorySeries:
    courses = [course for course in history.courses if course.series is series]
    return HistorySeries(
        scenario=series.scenario,
        target=series.target,
        name=series.name,
        simulated=series.simulated,
        runs=[_run(entry, courses, place) for place, entry in enumerate(series.entries)],
        figures=[
            HistoryCourse(
                *course.question.asked,
                figure=figure(course.question),
                unit=course.question.unit,
                runs=len(course.used),
                comparisons=course.comparisons,
                lacking=course.lacking,
                alike=course.alike,
                weekdays=list(course.weekdays),
                levels=[HistoryLevel(one.value, one.first.run_id, one.last.run_id) for one in course.levels],
                doubtful=[_change(moved) for moved in course.doubtful],
                changes=[_change(moved) for moved in course.moved],
            )
            for course in courses
        ],
    )


def _run(entry: Entry, courses: Iterable[Course], place: int) -> HistoryRun:
    told = [(figure(course.question), course.told[place]) for course in courses]
    return HistoryRun(
        run_id=entry.run_id,
        name=entry.name,
        began_utc_ns=entry.began_utc_ns,
        valid={"VALID": True, "INVALID": False}.get(entry.word),
        unfit=entry.unfit,
        labels=dict(entry.labels),
        conditions=dict(entry.conditions),
        figures=[
            HistoryFigure(name, one.value, one.low, one.high, censored=math.isinf(one.value), lacks=one.lacks)
            for name, one in told
        ],
    )


def _change(moved: Moved) -> HistoryChange:
    return HistoryChange(
        last_run=moved.last.run_id,
        first_run=moved.first.run_id,
        first_began_utc_ns=moved.first.began_utc_ns,
        change=moved.share,
        low=moved.low,
        high=moved.high,
        runs_before=moved.before,
        runs_after=moved.after,
        worse=moved.worse,
        beside=list(moved.beside),
    )


def write_history(history: History, path: Path) -> Path:
    """Write the page in one step. Raises UsageError where it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, history_html(history, path.parent))
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
    return path


RUN_LEAST = 16


def history_text(history: History, width: int = 100, colour: bool = False) -> str:
    """The history in at most so many columns; of as many figures as there is room for."""
    tables = ([*_series_table(scenario, one)] for scenario in history.scenarios for one in scenario.series)
    return lines_of((_opening(history), *tables, _closing(history)), width, colour)


def _opening(history: History) -> Iterable[Part]:
    yield Paragraph(history_headline(history), "bold")
    simulated = [("◇ SIMULATED", "sim")] if any(one.simulated for one in history.series) else []
    yield Badges(simulated, f"{history.runs} runs, {begun(history)}")
    for found in history.places:
        yield Named("changed", [place(found)])


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
    rows = [row_of([*heads], "soft")]
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
        rows.append(row_of(cells))
    yield Grid(rows, (0, 1, 2, last), layouts, indent="  ", least=RUN_LEAST, ending=RUN_LEAST // 2)


def _closing(history: History) -> Iterable[Part]:
    held = [*weekdays_notes(history), *doubtful(history)]
    for line in filter(None, [*held, unfit(history), *series_notes(history)]):
        yield Named("note", [line])
    for line in lacking_notes(history):
        yield Named("note", [line])
    for notice in history.notices:
        yield Named("left out", [notice], "warn")
