"""trend.html: a history as a page of blocks. Nothing is computed here."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.metrics import CATALOGUE
from reports.numbers import NBSP, NONE, plural, shortened
from reports.question import RATES, Question
from reports.render.blocks import (
    MARKS,
    MEASURED_AGAINST,
    SIMULATED,
    Badge,
    Block,
    Bullets,
    Cell,
    Code,
    Column,
    Definitions,
    Details,
    Filter,
    Head,
    Inline,
    Line,
    Link,
    Page,
    Paragraph,
    Section,
    Term,
    make_row,
    table,
)
from reports.render.html import render_html
from reports.render.svg import plot_figure
from reports.statistics.changes import ENOUGH, SIDE, YEAR
from reports.trends.course import Course
from reports.trends.entry import Entry
from reports.trends.figure import over_weeks
from reports.trends.trend import (
    Scenario,
    Trend,
    begun,
    day,
    doubtful,
    lacking_notes,
    moved_by,
    series_notes,
    shown_number,
    told_range,
    told_value,
    trend_headline,
    unfit,
    weekdays_notes,
)
from reports.wording import verdicts

MOST, LONGEST = 8, 32
"""So many values stand by themselves, those of the most runs, and the newest ones; the rest is one."""
OTHERS = "others"


@dataclass(frozen=True)
class Filters:
    """`shown`: those of the page. `classes`: by a value's name and text, the class of what it hides."""

    shown: tuple[Filter, ...]
    classes: Mapping[tuple[str, str], str]

    def of(self, entry: Entry) -> str:
        """The classes of an entry."""
        told = turn_type(entry)
        return " ".join(self.classes[one.name, told.get(one.name, "")] for one in self.shown)

    def of_scenario(self, name: str) -> str:
        """The class of all that is of a scenario; empty where there is one."""
        return self.classes.get(("scenario", name), "")


def turn_type(entry: Entry) -> dict[str, str]:
    """What an entry may be filtered by."""
    own = {name: entry.conditions.get(name, "") for name in ("model", "region")}
    return {"target": entry.target, **own, "scenario": entry.scenario, **entry.labels}


def filters_of(entries: Sequence[Entry], without: Collection[str] = ()) -> Filters:
    """A filter for each trait but those `without`, if it has several values, one of which at least two runs share."""
    told = [(entry.started_utc_ns, entry.run_id, turn_type(entry)) for entry in entries]
    shown: list[Filter] = []
    classes: dict[tuple[str, str], str] = {}
    for name in dict.fromkeys(name for *_, one in told for name in one if name not in without):
        newest_first = sorted({(began, run, one.get(name, "")) for began, run, one in told}, reverse=True)
        runs = Counter(value for *_, value in newest_first)
        if len(runs) < 2 or max(runs.values()) < 2:
            continue
        values: dict[str, str] = {}
        for place, (value, _) in enumerate(runs.most_common()):
            rest = len(runs) > MOST and place >= MOST - 1
            hidden = f"f{len(shown)}-{min(place, MOST - 1)}"
            classes[name, value] = hidden
            values[hidden] = OTHERS if rest else shortened(value or NONE, LONGEST)
        by_text = sorted(
            ((text, hidden) for hidden, text in values.items()), key=lambda one: (one[0] == OTHERS, one[0])
        )
        shown.append(Filter(name, tuple(by_text)))  # what stands for the rest is the last one
    return Filters(tuple(shown), classes)


CHANGED = {True: "bad-ink", False: "good-ink", None: ""}
METHOD = {
    "change": "A place between two runs at which the level of a value moved: the runs before it and after it differ "
    f"by more than runs of one level do, and by more than 5{NBSP}% (rates: by a percentage point). {SIDE} runs at "
    f"least are before it and after it.",
    "correction": f"{YEAR} runs share one error, and so do all values and series of the page: where nothing changes, "
    f"at most 5{NBSP}% of pages that are made anew after each of these runs ever have a mark, as long as neighbouring "
    "runs have an autocorrelation of at most 0.5. The intervals of changes are as wide as that takes.",
    "level": "The mean of the runs between two changes, for latencies the geometric one, without what is their "
    "weekdays' "
    "own. It is shown from ten runs on.",
    "interval": f"95{NBSP}% of a run by itself, as in its report. It says nothing of how runs differ.",
    "series": "Runs of a target that may be compared: of one scenario, with the same scripts, load, warm-up and "
    "settings.",
}


def trend_html(trend: Trend, folder: Path) -> str:
    """The page: one file that needs nothing else. `folder`: where it is to stand, from where reports are linked."""
    return render_html(trend_page(trend, folder))


def trend_page(trend: Trend, folder: Path) -> Page:
    """What the page says: what changed, each figure over weeks, and every run."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys(one.name for one in trend.series))}
    by_name = all(one.name == one.target for one in trend.series)  # then series are what switches targets off
    filters = filters_of(trend.entries, ("target",) if by_name else ())
    questions = [course.question for course in trend.courses]
    metrics = {one.metric: CATALOGUE[one.metric].sentence for one in questions if one.kind != "rate"}
    rates = {one.metric: RATES[one.metric].sentence for one in questions if one.kind == "rate"}
    defined = metrics | rates | METHOD
    scenarios = [_scenario(one, place, numbers, filters, folder) for place, one in enumerate(trend.scenarios)]
    names = [scenario.name for scenario in trend.scenarios]
    left_out = Section("left-out", "Excluded runs", "What could not be shown?", [Bullets(trend.notices)])
    return Page(
        title=f"{', '.join(names)} · {plural(trend.runs, 'run')} over time",
        badges=list(_badges(trend)),
        beside=f"{', '.join(names)} · {begun(trend)}",
        headline=trend_headline(trend),
        lead=[Bullets(notes)] if (notes := [*_notes(trend)]) else [],
        answer=[_moved(trend, numbers)] if trend.moved else None,
        sections=[
            *scenarios,
            *([left_out] if trend.notices else []),
            Section("how", "Definitions", "What do the words mean?", [Definitions(list(defined.items()))]),
        ],
        definitions=defined,
        footer=(
            MEASURED_AGAINST if all(one.simulated for one in trend.series) else "",
            "The same values are printed by ",
            Code("rtbench trend --json"),
            ". All times UTC.",
        ),
        targets=list(numbers) if len(numbers) > 1 else (),
        filters=filters.shown,
    )


def _badges(trend: Trend) -> Iterable[Badge]:
    if found := trend.moved:
        worse = sum(moved.worse is True for _, moved in found)
        beside = f"{worse} of {plural(len(found), 'figure')} for the worse"
        yield Badge("no" if worse else "in", "↕", plural(len(trend.places), "CHANGE", "CHANGES"), beside)
    elif trend.comparisons:
        yield Badge("eq", "≈", "NO CHANGE", f"that {plural(trend.runs, 'run')} can tell")
    else:
        yield Badge("hm", "?", "TOO FEW RUNS", f"a change takes {ENOUGH}")
    simulated = {(one.run_id, one.started_utc_ns) for one in trend.entries if one.simulated}
    if len(simulated) == trend.runs:
        yield SIMULATED
    elif simulated:
        yield Badge("sim", "◇", "SIMULATED", f"{len(simulated)} of {plural(trend.runs, 'run')}")


def _notes(trend: Trend) -> Iterable[str]:
    yield from filter(None, [unfit(trend)])
    yield from series_notes(trend)
    yield from weekdays_notes(trend)
    yield from doubtful(trend)
    yield from lacking_notes(trend)
    if trend.notices:
        yield f"{plural(len(trend.notices), 'thing')} could not be shown: see the end of the page."


def _moved(trend: Trend, numbers: dict[str, int]) -> Block:
    """Every change, the newest first."""
    heads: list[Head] = [
        Column("what changed", left=True), "before", "after", "change", Column("since, UTC", left=True),
        Column("what else changed there", left=True),
    ]  # fmt: skip
    several = len(trend.scenarios) > 1
    rows = []
    for course, moved in trend.moved:
        question = course.question
        at = next(place for place, level in enumerate(course.levels) if level.first is moved.first)
        before, after = (shown_number(course.levels[place].value, question) for place in (at - 1, at))
        name = f"{course.series.scenario} · {course.series.name}" if several else course.series.name
        ends = verdicts.difference_interval(moved.low, moved.high, verdicts.scale_of(question))
        cells: Line = [
            Cell(_called(question), name),
            Cell(before, _unit(question)),
            Cell(after, _unit(question)),
            Cell(moved_by(moved, question), ends, style=CHANGED[moved.worse]),
            Cell(day(moved.first), f"{moved.before} runs before, {moved.after} after"),
            "; ".join(moved.beside) or "nothing that these runs record",
        ]
        rows.append(make_row(cells, target=numbers[course.series.name]))
    return table(heads, rows, "facts", stacked=True)


def _called(question: Question) -> Inline:
    """The figure, with the definition of its metric."""
    rest = verdicts.figure(question).removeprefix(question.metric)
    return verdicts.figure(question) if question.kind == "rate" else (Term(question.metric), rest)


def _scenario(scenario: Scenario, place: int, numbers: dict[str, int], filters: Filters, folder: Path) -> Section:
    figures: list[Block] = []
    for question, courses in scenario.figures:
        unit = question.shown_unit
        of: Inline = (
            ", with the ",
            Term("interval"),
            f" of each run{'' if question.kind == 'rate' else f', in {unit}'}",
        )
        marks: Inline = (". Dashed: a ", Term("change"), ".") if any(course.moved for course in courses) else "."
        levels: Inline = "" if all(course.lacking for course in courses) else (". Lines: ", Term("level"), "s")
        figures.append(
            plot_figure(over_weeks(courses, numbers, filters.of), (_called(question), of, levels, marks), stops=())
        )
    runs = Details("Every run", [_runs(scenario, numbers, filters, folder)], open=True)
    nothing = Paragraph("None of these runs has any of these values.")
    return Section(
        f"scenario-{place + 1}",
        f"{scenario.name}: metrics over time",
        "How did the metrics change from run to run?",
        [*(figures or [nothing]), runs],
        filters.of_scenario(scenario.name),
    )


def _runs(scenario: Scenario, numbers: dict[str, int], filters: Filters, folder: Path) -> Block:
    """A row for each run and series, the newest first."""
    figures = [question for question, _ in scenario.figures]
    heads: list[Head] = [
        "run", Column("series", left=True), Column("began, UTC", left=True), Column("verdict", left=True),
        *(Column(verdicts.figure(question), below=_unit(question)) for question in figures),
    ]  # fmt: skip
    found = sorted(
        ((series, place) for series in scenario.series for place in range(len(series.entries))),
        key=lambda one: -one[0].entries[one[1]].started_utc_ns,
    )
    rows = []
    for series, place in found:
        entry, number = series.entries[place], numbers[series.name]
        report = os.path.relpath(entry.report, folder) if entry.report else ""
        courses = [next((one for one in mine if one.series is series), None) for _, mine in scenario.figures]
        cells: Line = [
            Cell(
                Link(entry.name, report) if report else entry.name,
                " · ".join(f"{key} {value}" for key, value in entry.labels.items()),
            ),
            Cell(series.name, target=number, marked=True),
            day(entry),
            Cell(entry.mark, entry.why, style=f"{MARKS[entry.use].ink}-ink"),
            *(_told(course, place) if course else Cell(NONE) for course in courses),
        ]
        rows.append(make_row(cells, style=filters.of(entry), target=number))
    return table(heads, rows, stacked=True)


def _unit(question: Question) -> str:
    return "" if question.kind == "rate" else question.shown_unit


def _told(course: Course, place: int) -> Cell:
    """A figure of a run, with its interval, and with the change that begins with this run."""
    entry, told = course.series.entries[place], course.told[place]
    changed = [f"↕ {moved_by(moved, course.question)}" for moved in course.moved if moved.first is entry]
    below = " ".join(filter(None, [told_range(told, course.question), *changed]))
    return Cell(told_value(told, course.question), below, style="soft-ink" if entry.unfit else "")
