"""One figure in the course of a series: what each run tells of it, and where its level changed; pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.units import NS_PER_S
from reports.numbers import NONE, plural, shortened
from reports.question import NO_STRATUM, POINTS, Question
from reports.sides.workload import OF_LOAD, differing_between, group_of
from reports.statistics.changes import ENOUGH, SIDE, ChangePoint, changes, comparisons, levels, without
from reports.statistics.counting import Integers
from reports.summary import drift
from reports.trends.entry import Entry, FigureKey, RunFigure, missing
from reports.wording.verdicts import as_share, scale_of

FREE = ("service", "model", "region", "api_version", "voice", "client_version")
"""Conditions that may change in the course of a series: what changes with them is what a history is read for."""
USERS, SPAWN_RATE = (f"load: {OF_LOAD[option]}" for option in ("num_users", "spawn_rate"))
NAMED, LONGEST = 2, 40
"""So many conditions name a series among those of its target, each in so many letters."""


@dataclass(frozen=True)
class Series:
    """Comparable runs of a target, ascending. `name`: the target; with what sets it apart where it has several."""

    scenario: str
    target: str
    name: str
    entries: tuple[Entry, ...]
    workload: Mapping[str, str]

    @property
    def simulated(self) -> bool:
        return self.entries[0].simulated

    @property
    def usable(self) -> int:
        """Runs that may be compared."""
        return sum(not entry.unfit for entry in self.entries)


def series_of(entries: Sequence[Entry]) -> list[Series]:
    """By scenario, and by target in the order in which the first runs name them: a baseline comes first, as in reports.

    A run that differs from all series of its target in its workload begins another.
    A setting that one of two runs does not have does not make them differ.
    """
    groups: dict[tuple[str, str], list[tuple[dict[str, str], list[Entry]]]] = {}
    for entry in sorted(entries, key=lambda one: (one.started_utc_ns, one.run_id)):
        mine = {key: text for key, text in entry.conditions.items() if text and group_of(key) not in FREE}
        alike = groups.setdefault((entry.scenario, entry.target), [])
        for known, members in alike:
            if not differing_between([known, mine]):
                known.update(mine)
                members.append(entry)
                break
        else:
            alike.append((mine, [entry]))
    return [
        Series(scenario, target, name, tuple(members), known)
        for (scenario, target), alike in sorted(groups.items(), key=lambda one: one[0][0])
        for name, (known, members) in zip(_names(target, [known for known, _ in alike]), alike, strict=True)
    ]


def _names(target: str, workloads: Sequence[Mapping[str, str]]) -> list[str]:
    """sim; of several sim (8 users), sim (50 users)."""
    apart = differing_between(workloads)
    if USERS in apart:  # how fast they were started goes with how many they are
        apart.pop(SPAWN_RATE, None)
    names: list[str] = []
    for place in range(len(workloads)):
        told = [_phrase(key, texts[place]) for key, texts in apart.items() if texts[place] != NONE]
        more = f", {len(told) - NAMED} more" if len(told) > NAMED else ""
        name = f"{target} ({said})" if (said := (", ".join(told[:NAMED]) + more)) else target
        names.append(f"{name}, series {place + 1}" if name in names else name)
    return names


def _phrase(key: str, text: str) -> str:
    """simulated; 8 users; voice marin: a condition as one says it."""
    if key == "simulated":
        return "simulated" if text == "yes" else "a real service"
    name = key.removeprefix("load: ")
    if text == "1":
        name = name.replace("users", "user", 1).replace("processes", "process", 1)
    return f"{text} {name}" if text.isdecimal() else f"{name} {shortened(text, LONGEST)}"


NOT_TOLD = missing("not reported")
DAY_H = 24
NS_PER_HOUR = 3_600 * NS_PER_S
NS_PER_DAY = DAY_H * NS_PER_HOUR


@dataclass(frozen=True)
class Moved:
    """A change between two runs of a series. `share`, `low`, `high`: after against before, of rates in shares.

    `worse`: None where neither more nor less is better. `beside`: what else changed there: model: a → b.
    """

    last: Entry
    first: Entry
    share: float
    low: float
    high: float
    before: int
    after: int
    worse: bool | None
    beside: tuple[str, ...]


@dataclass(frozen=True)
class Level:
    """The mean of the runs between two changes, without what is the weekdays' own; of waits the geometric one."""

    value: float
    first: Entry
    last: Entry


@dataclass(frozen=True)
class Course:
    """`told`: of each entry of the series. `used`: places of the runs that were compared. `lacking`: why none were."""

    question: Question
    series: Series
    told: tuple[RunFigure, ...]
    used: tuple[int, ...]
    moved: tuple[Moved, ...] = ()
    doubtful: tuple[Moved, ...] = ()
    """what would be changes, were neighbouring runs not alike"""
    levels: tuple[Level, ...] = ()
    alike: float = 0.0
    effective_sessions: int = 0
    """as so many independent runs those count that were compared"""
    weekdays: tuple[float, ...] = ()
    """by how much Monday to Sunday (UTC) lie above their mean, which is taken off; nothing where they do not differ"""

    @property
    def comparisons(self) -> int:
        return comparisons(len(self.used))

    @property
    def lacking(self) -> str:
        """7 runs: a change takes ten, five before and after it; empty where there are so many."""
        if len(self.used) >= ENOUGH:
            return ""
        return f"{plural(len(self.used), 'run')} to compare, and a change takes {ENOUGH}: {SIDE} before and after it"


def course_of(series: Series, question: Question) -> Course:
    """What each run tells of a figure, before anything is compared."""
    told = tuple(_told(entry, question) for entry in series.entries)
    used = tuple(
        place
        for place, (entry, one) in enumerate(zip(series.entries, told, strict=True))
        if not entry.unfit and math.isfinite(one.value) and (question.kind == "rate" or one.value > 0)
    )
    return Course(question, series, told, used)


def _told(entry: Entry, question: Question) -> RunFigure:
    if question.kind == "rate":
        return entry.rates.get(question.metric, NOT_TOLD)
    quantiles = entry.quantiles.get(FigureKey(question.metric, question.stratum or NO_STRATUM), {})
    if not quantiles and question.stratum is None:  # those of a run whose turns are all of one kind, whatever it is
        mine = [told for of, told in entry.quantiles.items() if of.metric == question.metric]
        quantiles = mine[0] if len(mine) == 1 else {}
    return quantiles.get(question.p or 0.0, NOT_TOLD)


def with_changes(courses: Sequence[Course]) -> list[Course]:
    """The same with their changes, which share one error."""
    among = sum(not course.lacking for course in courses)
    return [_compared(course, among) if course.used else course for course in courses]


def _compared(course: Course, among: int) -> Course:
    entries, rate = [course.series.entries[place] for place in course.used], course.question.kind == "rate"
    told = [course.told[place] for place in course.used]
    figures = np.array([one.value if rate else math.log(one.value) for one in told])
    days = days_of(np.array([entry.started_utc_ns for entry in entries], dtype=np.int64))
    least = POINTS if rate else math.log1p(drift.APART)
    found = changes(figures, np.array([one.variance for one in told]), days, among=among, least=least)
    edges = [0, *(change.at for change in found.changes), len(entries)]
    plain = without(figures, days, found.weekdays)
    means = [
        Level(mean if rate else math.exp(mean), entries[first], entries[end - 1])
        for mean, first, end in zip(levels(plain, found.changes), edges[:-1], edges[1:], strict=True)
    ]
    moved, doubtful = (
        tuple(_moved(course.question, change, entries) for change in several)
        for several in (found.changes, found.doubtful)
    )
    return replace(
        course,
        moved=moved,
        doubtful=doubtful,
        levels=tuple(means),
        alike=found.alike,
        effective_sessions=found.effective_sessions(len(entries)),
        weekdays=tuple(as_share(own, scale_of(course.question)) or 0.0 for own in found.weekdays),
    )


def days_of(started_utc_ns: Integers) -> Integers:
    """The day of each run, since 1970, for its weekday.

    Days begin at midnight UTC, unless runs start within an hour of it: a nightly job that waits for its turn would be
    now of the one day, now of the next. Then they begin at the hour around which fewest runs start, the farthest from
    midnight, and have the name of the day that most of the runs have by the calendar.
    """
    hours = started_utc_ns // NS_PER_HOUR % DAY_H
    starts = np.bincount(hours, minlength=DAY_H)
    near = starts + np.roll(starts, 1)
    cut = min(range(DAY_H), key=lambda hour: (near[hour], hour > 0, -min(hour, DAY_H - hour)))
    days: Integers = (started_utc_ns - cut * NS_PER_HOUR) // NS_PER_DAY
    return days + int(2 * np.count_nonzero(hours < cut) > hours.size)


def _moved(question: Question, change: ChangePoint, entries: Sequence[Entry]) -> Moved:
    last, first = entries[change.at - 1], entries[change.at]
    share, low, high = (as_share(d, scale_of(question)) or 0.0 for d in (change.d, change.low, change.high))
    worse = None if question.better == "neither" else (change.d > 0) == (question.better == "lower")
    beside: list[str] = []
    # what may change in the course of a series, and did there
    for key in dict.fromkeys([*last.conditions, *first.conditions]):
        before, after = last.conditions.get(key, ""), first.conditions.get(key, "")
        if group_of(key) in FREE and before != after:
            beside.append(f"{key}: {before or NONE} → {after or NONE}")
    return Moved(last, first, share, low, high, change.before, change.after, worse, tuple(beside))
