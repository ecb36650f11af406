"""Writes a search for a terminal: what it asks, a line of each level, and the answer; 100 columns at most."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from bench.capacity.conclude import UNITS
from bench.capacity.document import Capacity, Interval, LevelOutcome, SearchPlan, SloShare
from bench.capacity.search import LEAST_S, ladder_of, least_time_s
from bench.load_search import SHOWN, row
from reports.numbers import NBSP, NONE, count, percent, plural, shortened, span, three, usd
from reports.wording.words import sentence

COLUMNS = 100
HEADS = (("level", 9), ("answer", 13), ("calls", 7), ("turns", 8), ("p50", 7), ("p95", 7), ("failed", 8))
SHARE, TOOK = 29, 8


def opening(plan: SearchPlan, folder: str, costs: Sequence[str] = ()) -> list[str]:
    """What a search is about to do, and what it may take."""
    budget = "" if plan.budget_usd is None else f" and {usd(plan.budget_usd)}"
    limits = f"from {count(plan.first)} up to {count(plan.most)}, to within {plan.precision:.0%}"
    lines = [
        f"the most {UNITS[plan.by][1]} at which {' and '.join(plan.slos)} hold, {limits}",
        f"at most {plural(plan.levels_most, 'level')} and a hold, in {span(plan.time_s)}{budget}".replace(NBSP, " "),
        *_quick(plan),
        f"an answer is wrong with a chance of {plan.error:.0%} at most, over all levels and looks together",
        *costs,
    ]
    return [*(part for line in lines for part in _wrapped(line, "")), f"the report will be {folder}/capacity.html"]


def _quick(plan: SearchPlan) -> list[str]:
    """That a search has not the time to come to its end."""
    least_s = least_time_s(ladder_of(plan))
    if plan.time_s >= least_s:
        return []
    return [
        f"a quick look: levels of {span(LEAST_S)} until the time is over, and a rough answer; an answer that is shown "
        f"takes {span(least_s)} at least"
    ]


def heads(plan: SearchPlan) -> str:
    """The heads of the lines of levels; p50 and p95 in ms."""
    missed = plan.slos[0] if len(plan.slos) == 1 else "worst objective"
    return row((head for head, _ in HEADS), HEADS) + shortened(missed, SHARE).rjust(SHARE + 2) + "took".rjust(TOOK)


def level_lines(level: LevelOutcome) -> list[str]:
    """A level: its figures, the share of turns that missed the objective worst off, and why it may say nothing."""
    waits = [three(wait.value) for wait in (level.wait_p50, level.wait_p95)]
    word = f"{SHOWN[level.answer][0]} {level.answer}"
    load = f"{'hold ' if level.hold else ''}{count(level.load)}"
    cells = [load, word, count(level.sessions), count(level.turns), *waits, as_percent(level.failures)]
    worst = max(level.shares, key=lambda share: share.high / share.allowed, default=None)
    missed = NONE if worst is None else share_words(worst)
    line = row(cells, HEADS) + missed.rjust(SHARE + 2) + span(level.length_s).replace(NBSP, " ").rjust(TOOK)
    return [line, *_wrapped(level.why, "    ")]


def share_words(share: SloShare) -> str:
    """`3.1 % (1.2 to 6.8 %) of 5 %`."""
    if share.value is None:
        return NONE
    value, low, high, allowed = map(_points, (share.value, share.low, share.high, share.allowed))
    return f"{value} % ({low} to {high} %) of {allowed} %"


def as_percent(interval: Interval) -> str:
    """A share without its interval: 0.78 %."""
    return NONE if interval.value is None else percent(interval.value, 1).replace(NBSP, " ")


def closing(capacity: Capacity) -> list[str]:
    """The notes, and the answer in the last lines."""
    notes = [line for note in capacity.notes for line in _wrapped(note, "  ", first="· ")]
    return [*notes, *_wrapped(sentence(capacity.sentence), "")]


def _points(share: float) -> str:
    return three(float(f"{100 * share:.2g}"))


def _wrapped(text: str, indent: str, first: str = "") -> list[str]:
    return textwrap.wrap(text.replace(NBSP, " "), COLUMNS, initial_indent=first or indent, subsequent_indent=indent,
                         break_long_words=False, break_on_hyphens=False)  # fmt: skip
