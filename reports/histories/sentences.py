"""Figures, changes and notices of a history in words."""

from __future__ import annotations

import math
from calendar import day_abbr
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial

from bench.units import NS_PER_S
from reports.histories.course import Course, Moved
from reports.histories.entry import Entry, RunFigure
from reports.histories.history import History
from reports.numbers import NONE, moment, percent, plural, three
from reports.question import Question
from reports.statistics.changes import ENOUGH, SIDE
from reports.wording import verdicts
from reports.wording.verdicts import NOTHING, TIMEOUT, difference_interval, scale_of, signed
from reports.wording.words import interval


def told_value(told: RunFigure, question: Question) -> str:
    """612, > timeout, n/a; of a rate 0.8 %."""
    return NOTHING if math.isnan(told.value) else shown_number(told.value, question)


def shown_number(number: float, question: Question) -> str:
    """A figure in its unit, which stands beside it unless it is a rate."""
    if math.isinf(number):
        return TIMEOUT
    return percent(number, 1) if question.kind == "rate" else three(number)


def told_range(told: RunFigure, question: Question) -> str:
    """590 – 640; why there is no figure; nothing where no interval is told."""
    if told.lacks:
        return told.lacks
    if math.isnan(told.low) or math.isinf(told.value):
        return ""
    return interval(told.low, told.high, partial(shown_number, question=question), " – ")


def figure_text(told: RunFigure, question: Question) -> str:
    """612 (590 – 640); n/a (needs 40 sessions)."""
    beside = told_range(told, question)
    return f"{told_value(told, question)} ({beside})" if beside else told_value(told, question)


def moved_by(moved: Moved, question: Question) -> str:
    """+12 %, +1.5 points."""
    return signed(moved.share, scale_of(question))


def change_with_interval(moved: Moved, question: Question) -> str:
    """+12 % (+4 to +21 %)."""
    return f"{moved_by(moved, question)} ({difference_interval(moved.low, moved.high, scale_of(question))})"


def change_sentence(course: Course, moved: Moved) -> str:
    """ttfa p50 of sim: +12 % (+4 to +21 %) since 12 Nov 2026, 02:00 UTC."""
    since = moment(moved.first.began_utc_ns)
    return f"{_named(course)}: {change_with_interval(moved, course.question)} since {since}"


def place(found: Sequence[tuple[Course, Moved]]) -> str:
    """sim since 12 Nov 2026, 02:00 UTC: ttfa p50 +12 % (+4 to +21 %), ttfa p95 +15 % (+2 to +30 %)."""
    course, moved = found[0]
    told = [f"{verdicts.figure(one.question)} {change_with_interval(by, one.question)}" for one, by in found]
    return f"{course.series.name} since {moment(moved.first.began_utc_ns)}: {', '.join(told)}"


def _named(course: Course) -> str:
    return f"{verdicts.figure(course.question)} of {course.series.name}"


def history_headline(history: History) -> str:
    """The newest change, or that there is none, or that there are too few runs to say so."""
    if places := history.places:
        newest, *more = places[0]
        others = f", with {plural(len(more), 'more figure')}" if more else ""
        told = f"{change_sentence(*newest)}{others}."
        return told if len(places) == 1 else f"{plural(len(places), 'change')}; the newest: {told}"
    if history.comparisons:
        return f"No change that {plural(history.runs, 'run')} can tell."
    return f"Too few runs to tell a change: it takes {ENOUGH} that may be compared, {SIDE} on either side of it."


def day(entry: Entry) -> str:
    """2026-11-12 02:00, which sorts."""
    return f"{datetime.fromtimestamp(entry.began_utc_ns / NS_PER_S, UTC):%Y-%m-%d %H:%M}"


def begun(history: History) -> str:
    """3 Oct 2026, 02:00 UTC to 22 Nov 2026, 02:00 UTC."""
    entries = history.entries
    ends = [moment(one.began_utc_ns) for one in (entries[0], entries[-1])]
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)


def unfit(history: History) -> str:
    """3 of 42 entries are shown and not compared: INVALID …"""
    marks = [entry.mark for entry in history.entries if entry.unfit]
    if not marks:
        return ""
    counted = [f"{marks.count(mark)} {mark}" for mark in dict.fromkeys(marks)]
    return f"{plural(len(marks), 'entry is', 'entries are')} shown and not compared: {', '.join(counted)}."


def lacking_notes(history: History) -> list[str]:
    """Which series have too few runs to compare, and how many, in one sentence; nothing where none has."""
    told: dict[str, int] = {}
    for course in history.courses:
        if course.lacking:
            told.setdefault(f"{course.series.scenario}, {course.series.name}", len(course.used))
    each = "; ".join(f"{name}: {runs}" for name, runs in told.items() if runs)
    why = f"Too few runs to compare for a change, which takes {ENOUGH}" if history.comparisons else "Runs so far"
    return [f"{why} ({each})."] if each else []


def weekdays_notes(history: History) -> list[str]:
    """Whose weekdays differ, from the least to the most, in one sentence."""
    told = []
    for course in history.courses:
        if course.weekdays:
            ends = (course.weekdays.index(end(course.weekdays)) for end in (min, max))
            least, most = (f"{day_abbr[at]} {signed(course.weekdays[at], scale_of(course.question))}" for at in ends)
            told.append(f"{_named(course)} ({least}, {most})")
    return [f"Weekdays differ, and that is taken off before changes are looked for: {'; '.join(told)}."] if told else []


def doubtful(history: History) -> list[str]:
    """What may have changed, and is not marked."""
    return [
        f"{_named(course)} may have changed by {moved_by(moved, course.question)} by "
        f"{moment(moved.first.began_utc_ns)}, and has no mark: neighbouring runs are autocorrelated "
        f"({course.alike:.2f}), so {plural(len(course.used), 'run')} count as {course.worth}."
        for course in history.courses
        for moved in course.doubtful
    ]


def series_notes(history: History) -> list[str]:
    """Which targets have several series, as their runs were not made in the same way, in one sentence."""
    series = Counter((scenario.name, one.target) for scenario in history.scenarios for one in scenario.series)
    told = [f"{target} in {name} ({number})" for (name, target), number in series.items() if number > 1]
    return [f"Runs that are not comparable are series of their own: {', '.join(told)}."] if told else []


def level(course: Course) -> str:
    """612: where the figure stands since its last change."""
    return shown_number(course.levels[-1].value, course.question) if course.levels else NONE
