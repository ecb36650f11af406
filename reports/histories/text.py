"""A history for a terminal: what changed, then a row for each run and series, the oldest first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from reports.blocks import Cell, Paragraph, Row, row_of
from reports.histories import phrases
from reports.histories.course import Course
from reports.histories.history import History, Scenario
from reports.histories.series import Series
from reports.text.lines import Badges, Grid, Named, Part, pour
from reports.wording.differences import figure

RUN_LEAST = 16
STYLES = {"✓": "good", "✕": "bad", "?": "warn"}


def terminal(history: History, width: int = 100, colour: bool = False) -> str:
    """The history in at most so many columns; of as many figures as there is room for."""
    tables = ([*_series(scenario, one)] for scenario in history.scenarios for one in scenario.series)
    return pour((_opening(history), *tables, _closing(history)), width, colour)


def _opening(history: History) -> Iterable[Part]:
    yield Paragraph(phrases.headline(history), "bold")
    simulated = [("◇ SIMULATED", "sim")] if any(one.simulated for one in history.series) else []
    yield Badges(simulated, f"{history.runs} runs, {phrases.begun(history)}")
    for place in history.places:
        yield Named("changed", [phrases.place(place)])


def _series(scenario: Scenario, series: Series) -> Iterable[Part]:
    courses = [course for _, mine in scenario.figures for course in mine if course.series is series]
    simulated = "  ◇ SIMULATED" if series.simulated else ""
    yield Paragraph(f"{scenario.name} · {series.name}{simulated}", "bold")
    heads = ["run", "began, UTC", "verdict", *map(_head, courses), ""]
    last = len(heads) - 1
    shown = [(0, 1, 2, *range(3, most), last) for most in range(last, 3, -1)]
    layouts = [*shown, (0, 2, 3, last), (0, 3, last)]
    rows = [row_of([*heads], "soft"), *(_row(series, courses, place) for place in range(len(series.entries)))]
    yield Grid(rows, (0, 1, 2, last), layouts if courses else (), indent="  ", least=RUN_LEAST, ending=RUN_LEAST // 2)


def _head(course: Course) -> str:
    unit = phrases.unit_of(course.question)
    return f"{figure(course.question)}{f', {unit}' if course.question.kind != 'rate' else ''}"


def _row(series: Series, courses: Sequence[Course], place: int) -> Row:
    entry = series.entries[place]
    style = "soft" if entry.unfit else ""
    moved = [
        f"{figure(course.question)} {phrases.change_with_interval(one, course.question)}"
        for course in courses
        for one in course.moved
        if one.first is entry
    ]
    return row_of(
        [
            Cell(entry.name, f"changed here: {', '.join(moved)}" if moved else ""),
            phrases.day(entry),
            Cell(entry.mark, style=STYLES[entry.mark[0]]),
            *(Cell(phrases.inline(course.told[place], course.question), style=style) for course in courses),
            Cell("↕" if moved else "", style="warn"),
        ]
    )


def _closing(history: History) -> Iterable[Part]:
    held = [*phrases.weekdays(history), *phrases.doubtful(history)]
    for line in filter(None, [*held, phrases.unfit(history), *phrases.apart(history)]):
        yield Named("note", [line])
    for line in phrases.lacking(history):
        yield Named("too few", [line])
    for notice in history.notices:
        yield Named("left out", [notice], "warn")
