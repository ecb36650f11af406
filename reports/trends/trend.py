"""A history: the runs of folders as series, of each figure its course, and both in words; nothing is written here."""

from __future__ import annotations

import math
import re
from calendar import day_abbr
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from bench.errors import UsageError
from bench.metrics import SLOPE
from bench.run.presence import is_run, run_folders
from bench.units import NS_PER_S
from bench.untrusted.sanitize import escape_control
from reports.frames import COUNT, FLAG, NUMBER, TEXT, dtypes_of, frame_of, use
from reports.numbers import NBSP, NONE, moment, percent, plural, three
from reports.page.notebook import frame_html
from reports.question import NO_STRATUM, Question, Stratum
from reports.runs import RunFrames
from reports.samples import HEARD
from reports.statistics.changes import ENOUGH, SIDE
from reports.statistics.differences import Margin
from reports.thresholds import primary, quoted
from reports.trends.course import Course, Moved, Series, course_of, series_of, with_changes
from reports.trends.entry import SHOWN, Entry, RunFigure, entries_of, stored_in
from reports.wording import verdicts
from reports.wording.verdicts import NOTHING, difference_interval, scale_of, signed
from reports.wording.words import INFINITE, interval

MAINS = ("ttfa", "ttft")
HEADLINE = (0.5, 0.95)


def trend_question(text: str) -> Question:
    """ttfa:p95, voice_to_voice:med, failure_rate. Raises UsageError that says what is allowed."""
    name, _, aggregate = text.partition(":")
    of = primary(name.strip())
    if of.unit == "share":
        if aggregate not in ("", "rate"):
            raise UsageError(f"{of.name} is a rate: write --metric {of.name}")
        return Question(of.name, "rate", Margin())
    if of.unit == SLOPE or of.signed:
        raise UsageError(f"{of.name} may be 0 or less, and a history compares by ratios: choose another metric")
    match = re.fullmatch(r"p\(?(\d+(?:\.\d+)?)\)?|(med)", aggregate.strip() or "p50")
    p = (0.5 if match[2] else float(match[1]) / 100) if match else 0.0
    if p not in SHOWN:
        known = ", ".join(f"{of.name}:p{100 * known:g}" for known in SHOWN)
        raise UsageError(f"{quoted(text)} is in no summary of a run: allowed are {known}")
    return Question(of.name, "quantile", Margin(), p)


def headline_questions(entries: Sequence[Entry]) -> list[Question]:
    """p50 and p95 of the latencies of callers, and the failure rate."""
    told = {of.metric for entry in entries for of in entry.quantiles}
    main = next((name for name in MAINS if name in told), MAINS[0])
    waits = [main, *([HEARD] if HEARD in told else [])]
    return [
        *(Question(name, "quantile", Margin(), p) for name in waits for p in HEADLINE),
        Question("failure_rate", "rate", Margin()),
    ]


def of_turns(question: Question, entries: Iterable[Entry]) -> Question:
    """The question about the commonest turns that these runs have of its metric; as it is where they are all alike."""
    turns = Counter[Stratum]()
    for entry in entries:
        for of, quantiles in entry.quantiles.items():
            if of.metric == question.metric:
                turns[of.stratum] += max(told.n for told in quantiles.values())
    if question.kind == "rate" or len(turns) < 2:
        return question
    (commonest, _), *_ = turns.most_common(1)
    return Question(question.metric, question.kind, question.margin, question.p, stratum=commonest)


DTYPES = dtypes_of(
    (TEXT, ("scenario", "series", "target", "run_id", "validity")),
    ("datetime64[ns, UTC]", ("start",)),
    (TEXT, ("title", "metric")),
    (NUMBER, ("p",)),
    (TEXT, ("measured_from", "turn_type", "unit")),
    (NUMBER, ("value", "low", "high")),
    (COUNT, ("n",)),
    (FLAG, ("published", "usable")),
    (TEXT, ("reason",)),
    (NUMBER, ("change", "change_low", "change_high")),
)
"""The columns of a history's frame with their dtypes."""


@dataclass(frozen=True)
class Scenario:
    """The series of one scenario, and of each figure the course of each series that tells it."""

    name: str
    series: tuple[Series, ...]
    figures: tuple[tuple[Question, tuple[Course, ...]], ...]


@dataclass(frozen=True)
class Trend:
    """`notices`: what was left out, and why. `comparisons`: so many were made."""

    scenarios: tuple[Scenario, ...]
    notices: tuple[str, ...] = ()

    @property
    def series(self) -> list[Series]:
        return [series for scenario in self.scenarios for series in scenario.series]

    @property
    def entries(self) -> list[Entry]:
        """All of them, the oldest first."""
        return sorted((one for series in self.series for one in series.entries), key=lambda one: one.started_utc_ns)

    @property
    def runs(self) -> int:
        return len({(entry.run_id, entry.started_utc_ns) for entry in self.entries})

    @property
    def courses(self) -> list[Course]:
        return [course for scenario in self.scenarios for _, courses in scenario.figures for course in courses]

    @property
    def comparisons(self) -> int:
        return sum(course.comparisons for course in self.courses)

    @property
    def moved(self) -> list[tuple[Course, Moved]]:
        """Every change, the newest first."""
        found = [(course, moved) for course in self.courses for moved in course.moved]
        return sorted(found, key=lambda one: -one[1].first.started_utc_ns)

    def to_frame(self) -> pd.DataFrame:
        """A row for each figure of each run: its value with its 95 % interval, in `unit`, as the run's report has it.

        A value is `usable` if its run is compared; `reason` says why not. Where the level changed with a run, `change`
        is by how much, after against before (of rates in shares), with its interval; else it is NaN.
        """
        return frame_of([row for course in self.courses for row in _rows(course)], DTYPES)

    def __repr__(self) -> str:
        """Trend(12 runs, 3 figures, 1 change)."""
        figures = len({(course.series.scenario, course.question) for course in self.courses})
        counted = plural(self.runs, "run"), plural(figures, "metric"), plural(len(self.moved), "change")
        return f"Trend({', '.join(counted)})".replace(NBSP, " ")

    def _repr_html_(self) -> str:
        columns = ("scenario", "target", "run_id", "title", "value", "low", "high", "unit", "change", "reason")
        return frame_html(repr(self), self.to_frame(), columns, self.notices)

    @property
    def places(self) -> list[list[tuple[Course, Moved]]]:
        """The same, those of one series at one run together."""
        found: dict[tuple[int, int], list[tuple[Course, Moved]]] = {}
        for course, moved in self.moved:
            found.setdefault((id(course.series), id(moved.first)), []).append((course, moved))
        return list(found.values())


def _rows(course: Course) -> Iterable[dict[str, Any]]:
    question, series = course.question, course.series
    stratum = question.stratum or NO_STRATUM
    moved = {id(one.first): one for one in course.moved}
    for entry, told in zip(series.entries, course.told, strict=True):
        change = moved.get(id(entry))
        of_run = (series.scenario, series.name, entry.target, entry.run_id, entry.validity)
        figure = (question.name, question.metric, question.p, stratum.measured_from, stratum.turn_type, question.unit)
        why = use(told.lacks, published=not math.isnan(told.value), invalid=entry.unfit)
        values = (told.value, told.low, told.high, told.n, *why.values())
        changed = (change.share, change.low, change.high) if change else (None,) * 3
        start = pd.Timestamp(entry.started_utc_ns, unit="ns", tz="UTC")
        yield dict(zip(DTYPES, (*of_run, start, *figure, *values, *changed), strict=True))


def in_folders(folders: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """(run folders, folders of stored baselines) that these are, or hold. Raises UsageError where one is no folder."""
    runs: list[Path] = []
    stored: list[Path] = []
    for folder in folders:
        inside = [folder] if is_run(folder) else sorted(run_folders(folder))
        runs += inside
        stored += [] if inside else [folder]
    return runs, stored


def trend_of(runs: Sequence[Path | RunFrames], stored: Sequence[Path], questions: Sequence[Question] = ()) -> Trend:
    """Of run folders or runs that were read, and of folders of stored baselines. `questions`: what is asked, the
    headline figures if empty.

    What cannot be read is named in `notices`. Raises UsageError where nothing is left.
    """
    entries: list[Entry] = []
    notices: list[str] = []
    for run in runs:
        try:
            entries += entries_of(run)
        except UsageError as problem:
            notices.append(escape_control(str(problem)))
    for folder in stored:
        kept, problems = stored_in(folder)
        entries += kept
        notices += problems
    if not entries:
        more = f" (and {len(notices) - 1} more)" if len(notices) > 1 else ""
        first = f": {notices[0]}{more}" if notices else ""
        parents = dict.fromkeys(run.parent for run in runs if isinstance(run, Path))
        where = ", ".join(str(path) for path in (*stored, *parents))
        raise UsageError(f"there is no run to show in {where or 'these folders'}{first}")
    return told_by(entries, questions, notices)


def told_by(entries: Sequence[Entry], questions: Sequence[Question] = (), notices: Sequence[str] = ()) -> Trend:
    """The history of entries that were read; pure."""
    found: dict[tuple[str, int, str, str], Entry] = {}
    again = 0  # of a target of a run the first that is met is shown
    for entry in entries:
        key = entry.run_id, entry.started_utc_ns, entry.scenario, entry.target
        again += found.setdefault(key, entry) is not entry
    series = series_of(list(found.values()))
    runs = Counter(one.scenario for one in series for _ in one.entries)
    names = [name for name, _ in runs.most_common()]
    asked: dict[str, list[Question]] = {}
    for name in names:
        mine = [entry for one in series if one.scenario == name for entry in one.entries]
        asked[name] = list(dict.fromkeys(of_turns(one, mine) for one in questions or headline_questions(mine)))
    courses = with_changes([course_of(one, question) for one in series for question in asked[one.scenario]])
    scenarios = [
        Scenario(
            name,
            tuple(one for one in series if one.scenario == name),
            tuple((question, told) for question in asked[name] if (told := _of(courses, name, question))),
        )
        for name in names
    ]
    twice = f"{plural(again, 'target')} of runs that are there twice: each is shown once."
    return Trend(tuple(scenarios), (*notices, *([twice] if again else [])))


def _of(courses: Sequence[Course], scenario: str, question: Question) -> tuple[Course, ...]:
    """The courses of a figure that any run tells."""
    return tuple(
        course
        for course in courses
        if course.series.scenario == scenario
        and course.question == question
        and any(told.value == told.value for told in course.told)
    )


def told_value(told: RunFigure, question: Question) -> str:
    """612, ∞, n/a; of a rate 0.8 %."""
    return NOTHING if math.isnan(told.value) else shown_number(told.value, question)


def shown_number(number: float, question: Question) -> str:
    """A figure in its unit, which stands beside it unless it is a rate."""
    if math.isinf(number):
        return INFINITE
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
    since = moment(moved.first.started_utc_ns)
    return f"{_named(course)}: {change_with_interval(moved, course.question)} since {since}"


def place(found: Sequence[tuple[Course, Moved]]) -> str:
    """sim since 12 Nov 2026, 02:00 UTC: ttfa p50 +12 % (+4 to +21 %), ttfa p95 +15 % (+2 to +30 %)."""
    course, moved = found[0]
    told = [f"{verdicts.figure(one.question)} {change_with_interval(by, one.question)}" for one, by in found]
    return f"{course.series.name} since {moment(moved.first.started_utc_ns)}: {', '.join(told)}"


def _named(course: Course) -> str:
    return f"{verdicts.figure(course.question)} of {course.series.name}"


def trend_headline(trend: Trend) -> str:
    """The newest change, or that there is none, or that there are too few runs to say so."""
    if places := trend.places:
        newest, *more = places[0]
        others = f", with {plural(len(more), 'more change')}" if more else ""
        told = f"{change_sentence(*newest)}{others}."
        return told if len(places) == 1 else f"{plural(len(places), 'change')}; the newest: {told}"
    if trend.comparisons:
        return f"No change that {plural(trend.runs, 'run')} can tell."
    return f"Too few runs to tell a change: it takes {ENOUGH} that may be compared, {SIDE} before and after it."


def day(entry: Entry) -> str:
    """2026-11-12 02:00, which sorts."""
    return f"{datetime.fromtimestamp(entry.started_utc_ns / NS_PER_S, UTC):%Y-%m-%d %H:%M}"


def begun(trend: Trend) -> str:
    """3 Oct 2026, 02:00 UTC to 22 Nov 2026, 02:00 UTC."""
    entries = trend.entries
    ends = [moment(one.started_utc_ns) for one in (entries[0], entries[-1])]
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)


def unfit(trend: Trend) -> str:
    """3 of 42 entries are shown and not compared: INVALID …"""
    marks = [entry.mark for entry in trend.entries if entry.unfit]
    if not marks:
        return ""
    counted = [f"{marks.count(mark)} {mark}" for mark in dict.fromkeys(marks)]
    return f"{plural(len(marks), 'entry is', 'entries are')} shown and not compared: {', '.join(counted)}."


def lacking_notes(trend: Trend) -> list[str]:
    """Which series, or figures of one, have too few runs to compare, and how many of how many; often nothing."""
    each = []
    for series in trend.series:
        courses = [course for course in trend.courses if course.series is series]
        most, runs = max((len(course.used) for course in courses), default=0), plural(len(series.entries), "run")
        name = f"{series.scenario}, {series.name}"
        if most < ENOUGH:
            each.append(f"{name}: {most} of {runs}")
        else:
            few = [course for course in courses if course.lacking and course.used]
            each += [f"{verdicts.figure(one.question)} of {name}: {len(one.used)} of {runs}" for one in few]
    return [f"A change takes {ENOUGH} runs that can be compared. There are: {'; '.join(each)}."] if each else []


def weekdays_notes(trend: Trend) -> list[str]:
    """Whose weekdays differ, from the least to the most, in one sentence."""
    told = []
    for course in trend.courses:
        if course.weekdays:
            ends = (course.weekdays.index(end(course.weekdays)) for end in (min, max))
            least, most = (f"{day_abbr[at]} {signed(course.weekdays[at], scale_of(course.question))}" for at in ends)
            told.append(f"{_named(course)} ({least}, {most})")
    return [f"Weekdays differ, and that is taken off before changes are looked for: {'; '.join(told)}."] if told else []


def doubtful(trend: Trend) -> list[str]:
    """What may have changed, and is not marked."""
    return [
        f"{_named(course)} may have changed by {moved_by(moved, course.question)} by "
        f"{moment(moved.first.started_utc_ns)}, and has no mark: neighbouring runs are autocorrelated "
        f"({course.alike:.2f}), so {plural(len(course.used), 'run')} count as {course.effective_sessions}."
        for course in trend.courses
        for moved in course.doubtful
    ]


def series_notes(trend: Trend) -> list[str]:
    """Which targets have several series, as their runs were not made in the same way, in one sentence."""
    series = Counter((scenario.name, one.target) for scenario in trend.scenarios for one in scenario.series)
    told = [f"{target} in {name} ({number})" for (name, target), number in series.items() if number > 1]
    return [f"Runs that are not comparable are series of their own: {', '.join(told)}."] if told else []


def level(course: Course) -> str:
    """612: where the figure stands since its last change."""
    return shown_number(course.levels[-1].value, course.question) if course.levels else NONE
