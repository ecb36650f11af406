"""A figure over weeks: (courses, what each entry is hidden by) → Plot, computing nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from bench.units import NS_PER_S
from reports.numbers import log_range, moment, ms, percent, plural
from reports.render.markers import COLOURS, colour_class, marker_shape
from reports.render.svg import WIDE, PixelScale, Plot, empty_plot, identity, linear_ticks, log_scale, log_ticks
from reports.trends.course import Course, Moved
from reports.trends.entry import Entry
from reports.trends.trend import change_sentence, figure_text, moved_by, shown_number
from reports.wording.verdicts import figure

MINUTES = (1, 5, 15, 30, 60, 180, 360, 720)
DAYS = (1, 2, 7, 14)
MONTHS = (1, 2, 3, 6, 12, 24, 60, 120)
MONDAY = datetime(2018, 1, 1, tzinfo=UTC)
"""Weeks count from one."""


def ticks(low_s: float, high_s: float, most: int) -> list[tuple[float, str]]:
    """At most so many instants (seconds, UTC) with their words: 14:05, 12 Nov, Nov 2026, 2026."""
    for step, words in _steps():
        found: list[datetime] = []
        low, number = datetime.fromtimestamp(low_s, UTC), 0
        while (at := step(low, number)).timestamp() <= high_s and number <= most + 1:
            if at.timestamp() >= low_s:
                found.append(at)
            number += 1
        if len(found) <= most:
            return [(at.timestamp(), words(at)) for at in found]
    return []


Step = Callable[[datetime, int], datetime]
"""The round instant at or before one, or so many of its steps later."""


def _steps() -> Iterator[tuple[Step, Callable[[datetime], str]]]:
    for minutes in MINUTES:
        yield _even(timedelta(minutes=minutes)), _clock
    for days in DAYS:
        yield _even(timedelta(days=days)), _day
    for months in MONTHS:
        yield _monthly(months), (_month if months < 12 else _year)


def _even(length: timedelta) -> Step:
    def at(instant: datetime, steps: int) -> datetime:
        return instant - (instant - MONDAY) % length + steps * length

    return at


def _monthly(months: int) -> Step:
    def at(instant: datetime, steps: int) -> datetime:
        number = (instant.year * 12 + instant.month - 1) // months * months + steps * months
        return datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC)

    return at


def _clock(at: datetime) -> str:
    return f"{at:%H:%M}" if at.hour or at.minute else _day(at)


def _day(at: datetime) -> str:
    return f"{at.day} {at:%b}"


def _month(at: datetime) -> str:
    return f"{at:%b %Y}"


def _year(at: datetime) -> str:
    return str(at.year)


ROOM_S = 3600.0
"""Where there is one run alone, so much lies on either side of it."""
LABEL = 15
"""How much higher the next label stands where labels of changes would meet, and how wide one is."""
LABEL_WIDE = 62.0
LABEL_ROWS = 3
RATE_LEAST = 0.01
"""An axis of rates reaches to a percentage point at least."""
RADIUS, CROSS = 4.0, 4.5


def over_weeks(courses: Sequence[Course], numbers: Mapping[str, int], classes: Callable[[Entry], str]) -> Plot:
    """Each run as a mark with its interval, levels as lines, changes between two runs as broken ones.

    `numbers`: of each series by its name, its place among those of the page; `classes`: the filters that hide an entry.
    """
    question = courses[0].question
    named = [(numbers[course.series.name], course.series.name) for course in courses]
    marks = [(course, moved) for course in courses for moved in course.moved]
    plot = empty_plot(
        WIDE,
        300,
        named,
        left=60,
        right=20,
        top=12 + LABEL * min(LABEL_ROWS, len(marks)),
        title=f"{figure(question)} over time",
        desc="Horizontal: when runs began, UTC. "
        + "; ".join(
            f"{one.series.name}: {plural(len(one.used), 'run')} compared, {plural(len(one.moved), 'change')}"
            for one in courses
        )
        + ".",
    )
    every = sorted({entry.started_utc_ns for course in courses for entry in course.series.entries})
    low, high = every[0] / NS_PER_S, every[-1] / NS_PER_S
    room = (high - low) * 0.02 or ROOM_S
    x = PixelScale(identity, low - room, high + room, plot.x0, plot.x1)
    words = dict(ticks(x.low, x.high, 10))
    plot.x_axis(x, list(words), words.__getitem__, "when runs began, UTC")
    y = _values(courses, plot)
    for course in courses:
        number = numbers[course.series.name]
        with plot.of(number):
            _runs(plot, course, number, x, y, classes)
            for level in course.levels if not course.lacking else ():
                ends = [(x(at_s(entry)), y.clip(level.value)) for entry in (level.first, level.last)]
                plot.path(ends, f"curve {colour_class(number)}{' again' if number >= COLOURS else ''}")
    _changes(plot, marks, numbers, x)
    lines = []
    for course in courses:
        told: dict[int, str] = {}
        for entry, one in zip(course.series.entries, course.told, strict=True):
            mark = f", {entry.mark}" if entry.unfit else ""  # 612 (590 – 640), ✕ INVALID
            told[entry.started_utc_ns] = f"{figure_text(one, course.question)}{mark}"
        lines.append((course.series.name, told))
    plot.read_lines([(at, x(at / NS_PER_S), moment(at)) for at in every], lines)
    return plot


def at_s(entry: Entry) -> float:
    return entry.started_utc_ns / NS_PER_S


def _values(courses: Sequence[Course], plot: Plot) -> PixelScale:
    """Of runs that are compared, with their intervals; what lies outside stands at the edge."""
    every = [course.told[place] for course in courses for place in course.used]
    every = every or [told for course in courses for told in course.told]
    ends = [end for told in every for end in (told.value, told.low, told.high) if math.isfinite(end)]
    if courses[0].question.kind == "rate":
        scale = PixelScale(identity, 0.0, max([RATE_LEAST, *ends]), plot.y0, plot.y1)
        plot.y_axis(scale, linear_ticks(0.0, scale.high, 5), lambda share: percent(share, 1))
        return scale
    scale = log_scale(*log_range(ends), plot.y0, plot.y1)
    question, unit = courses[0].question, courses[0].question.shown_unit
    write = ms if unit == "ms" else lambda value: f"{shown_number(value, question)} {unit}"
    plot.y_axis(scale, log_ticks(scale.low, scale.high), write)
    return scale


def _runs(
    plot: Plot, course: Course, number: int, x: PixelScale, y: PixelScale, classes: Callable[[Entry], str]
) -> None:
    """Runs that are compared, joined in their order; the others as crosses or rings, joined with nothing."""
    entries, colour = course.series.entries, colour_class(number)
    for before, after in pairwise(course.used):
        ends = entries[before], entries[after]
        with plot.among(" ".join(dict.fromkeys(" ".join(map(classes, ends)).split()))):
            values = [y.clip(course.told[place].value) for place in (before, after)]
            plot.line(x(at_s(ends[0])), values[0], x(at_s(ends[1])), values[1], f"run {colour}")
    for place, (entry, told) in enumerate(zip(entries, course.told, strict=True)):
        if math.isnan(told.value):
            continue
        at, value = x(at_s(entry)), y.clip(told.value)
        tip = f"{entry.name}: {figure_text(told, course.question)}, {entry.unfit or entry.mark}"
        with plot.among(classes(entry)):
            if place not in course.used:
                _unfit(plot, entry, at, value, marker_shape(number), colour, tip)
                continue
            if not math.isnan(told.low):
                plot.line(at, y.clip(told.low), at, y.clip(told.high), f"whisker thin {colour}")
            plot.dot(at, value, marker_shape(number), f"mark {colour}", RADIUS, tip)


def _unfit(plot: Plot, entry: Entry, x: float, y: float, mark: str, colour: str, tip: str) -> None:
    """INVALID: a cross; NO VERDICT, throttled or among failed turns: a ring."""
    if entry.word != "INVALID":
        plot.dot(x, y, mark, f"mark open {colour}", RADIUS, tip)
        return
    arms = f"M{x - CROSS:.1f} {y - CROSS:.1f}l{2 * CROSS} {2 * CROSS}m0 {-2 * CROSS}l{-2 * CROSS} {2 * CROSS}"
    plot.dot(x, y, mark, "k0", RADIUS, tip)
    plot.add(f'<path d="{arms}" class="unfit"/>')


def _changes(plot: Plot, marks: Sequence[tuple[Course, Moved]], numbers: Mapping[str, int], x: PixelScale) -> None:
    """Each change with its size above, in rows so that sizes do not meet."""
    free = [-math.inf] * LABEL_ROWS
    for course, moved in sorted(marks, key=lambda one: one[1].first.started_utc_ns):
        at = (x(at_s(moved.last)) + x(at_s(moved.first))) / 2
        row = next((row for row, end in enumerate(free) if end < at), LABEL_ROWS - 1)
        free[row] = at + LABEL_WIDE
        words = {True: "w-regressed", False: "w-improved", None: ""}[moved.worse]
        tip = change_sentence(course, moved)
        with plot.of(numbers[course.series.name]):
            plot.line(at, plot.y0, at, plot.y1 - 4 - LABEL * row, "moved")
            label = f"{moved_by(moved, course.question)}"
            plot.text(at + 4, plot.y1 - 5 - LABEL * row, label, f"num {words}", "end" if at > plot.x1 - 60 else "start")
            plot.rect(at - 4, plot.y1, 8, plot.y0 - plot.y1, "k0", tip)
