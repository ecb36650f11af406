"""A history for programs: what `rtbench history --json` prints."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from bench.errors import UsageError
from bench.run.disk import write_text
from reports.histories import text
from reports.histories.course import Course, Moved, Series
from reports.histories.history import History
from reports.histories.page import html
from reports.schemas.document import Count, Figure, Known, Record, Values, about, data_of
from reports.statistics.changes import LEVEL
from reports.wording.differences import figure

HISTORY_VERSION = 1


class HistoryFigure(Record):
    """What a run tells of a figure, with its 95 % interval; null where it is not told."""

    figure: str
    value: Annotated[Figure, about("null also where it lies among failed turns (censored)")]
    low: Figure
    high: Figure
    censored: bool
    lacks: Annotated[Known, about("why there is no figure")]


class HistoryRun(Record):
    """A run of a series."""

    run_id: str
    name: Annotated[str, about("of its folder; of a stored baseline its id")]
    began_utc_ns: int
    valid: Annotated[bool | None, about("null: not judged")]
    unfit: Annotated[Known, about("why it is not compared")]
    labels: dict[str, str]
    conditions: Annotated[dict[str, str], about("what it was made under")]
    figures: list[HistoryFigure]


class HistoryChange(Record):
    """A change between two runs: after against before, as a share; of rates in shares of turns."""

    last_run: Annotated[str, about("the last one before")]
    first_run: Annotated[str, about("the first one after")]
    first_began_utc_ns: int
    change: Figure
    low: Figure
    high: Figure
    runs_before: Annotated[Count, about("that were compared")]
    runs_after: Count
    worse: Annotated[bool | None, about("null where neither more nor less is better")]
    beside: Annotated[list[str], about("what else changed there")]


class HistoryLevel(Record):
    """The mean of the runs between two changes."""

    value: Figure
    first_run: str
    last_run: str


class HistoryCourse(Record):
    """A figure in the course of a series."""

    figure: str
    measure: str
    kind: Literal["quantile", "rate"]
    p: float | None
    origin: Known
    traits: Known
    unit: str
    runs: Annotated[Count, about("that were compared")]
    comparisons: Count
    lacking: Annotated[Known, about("why no change could be found")]
    alike: Annotated[Figure, about("neighbouring runs, from 0 to 0.9; 0 where nothing stands out")]
    weekdays: Annotated[list[Figure], about("Monday to Sunday above their mean, which is taken off; empty: alike")]
    levels: list[HistoryLevel]
    doubtful: Annotated[list[HistoryChange], about("what would be changes, were neighbours not alike")]
    changes: list[HistoryChange]


class HistorySeries(Record):
    """Comparable runs of a target, the oldest first."""

    scenario: str
    target: str
    name: str
    simulated: bool
    runs: list[HistoryRun]
    figures: list[HistoryCourse]


class HistoryDocument(Record):
    """What `rtbench history --json` prints."""

    schema: Literal[1]
    level: Annotated[Figure, about("the share of unchanged histories in which anything may ever be marked")]
    comparisons: Annotated[Count, about("that these runs made; each run of a year has the same share of the level")]
    series: list[HistorySeries]
    notices: list[str]


def as_data(history: History) -> dict[str, Any]:
    """The history as lists, dictionaries, strings and numbers."""
    values = Values(
        history, schema=HISTORY_VERSION, level=LEVEL, series=[_series(one, history) for one in history.series]
    )
    return data_of(HistoryDocument, values)


def _series(series: Series, history: History) -> Values:
    courses = [course for course in history.courses if course.series is series]
    runs = [
        Values(
            entry,
            valid={"VALID": True, "INVALID": False}.get(entry.word),
            labels=dict(entry.labels),
            conditions=dict(entry.conditions),
            figures=[*_figures(courses, place)],
        )
        for place, entry in enumerate(series.entries)
    ]
    return Values(series, runs=runs, figures=[_course(course) for course in courses])


def _figures(courses: Iterable[Course], place: int) -> Iterable[Values]:
    for course in courses:
        told = course.told[place]
        yield Values(told, figure=figure(course.question), censored=math.isinf(told.value))


def _course(course: Course) -> Values:
    question = course.question
    levels = [Values(one, first_run=one.first.run_id, last_run=one.last.run_id) for one in course.levels]
    return Values(
        question,
        course,
        figure=figure(question),
        unit="share" if question.kind == "rate" else text.unit_of(question),
        origin=question.stratum.origin if question.stratum else "",
        traits=question.stratum.traits if question.stratum else "",
        runs=len(course.used),
        levels=levels,
        changes=[_change(moved) for moved in course.moved],
        doubtful=[_change(moved) for moved in course.doubtful],
    )


def _change(moved: Moved) -> Values:
    return Values(
        moved,
        last_run=moved.last.run_id,
        first_run=moved.first.run_id,
        first_began_utc_ns=moved.first.began_utc_ns,
        change=moved.share,
        runs_before=moved.before,
        runs_after=moved.after,
        beside=list(moved.beside),
    )


def write(history: History, path: Path) -> Path:
    """Write the page in one step. Raises UsageError where it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, html(history, path.parent))
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
    return path
