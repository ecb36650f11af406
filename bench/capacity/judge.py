"""Reads service level objectives, and judges a level by the turns that miss them: holds, breaks, or undecided. Pure.

`ttfa p(95)<800` is the statement that at most 5 % of turns take 800 ms or longer, or fail. So every objective is
a share of turns (of sessions, for measures of sessions) that must not be exceeded, and shares have intervals by
session.

Sessions are what is counted, for turns of one call resemble each other. A level holds where the upper bounds of all
shares lie below what is allowed, each at the error of the look: were one of them truly above, that one alone would have
to err. It breaks where any lower bound lies above; there each of m objectives has a chance to err, so each gets an m-th
of the error. At a load that truly holds only the second can be wrong, at one that truly breaks only the first.

A level of which no answer is to be expected ends early as undecided, so that its time goes to others: where, with as
many sessions as its whole time will bring, even a share one standard error better than the one seen would not be shown
to hold, and one so much worse not to break. That changes the error of no answer.

The upper bound is the largest of three, the lower one the smallest:

- x ± t·SE between sessions, and the bound for a session more that nobody saw (`reports.statistics.rates`), for the
  lower one of all other turns. Below SESSIONS sessions there is neither: so few may be alike by chance.
- x ± t·SE between batches of sessions that began one after another. Callers who wait in one queue wait together, so
  near to saturation sessions are not independent; batches that are long beside the queue's memory nearly are. After:
  Law, Simulation Modeling and Analysis, ch. 9 (batch means). Five to ten batches, each of ROUNDS calls of every caller
  where that can be.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit  # type: ignore[import-untyped, unused-ignore]

from bench.capacity.search import Answer
from bench.errors import UsageError
from reports.question import RATES
from reports.statistics.rates import PerCluster, Ratio, ratio_of
from reports.statistics.verdicts import SESSIONS
from reports.thresholds import SIGNS, Threshold, parse, quoted

_PARTS = re.compile(r"\s*(\w+(?!\w)(?:\{[^{}]*\})?)\s*:?\s*(.+)", re.ASCII | re.DOTALL)
"""A measure and what is asked of it, with or without the colon of a file of thresholds."""
EXAMPLES = '"ttfa p(95)<800" or "failures<1%"'


@dataclass(frozen=True)
class Slo:
    """An objective, as it was written. `allowed`: the share of turns that may miss it, above 0 and below 1."""

    written: str
    threshold: Threshold
    allowed: float


def slo_of(text: str) -> Slo:
    """Read one objective. Raises UsageError for what cannot be asked of one run of one target."""
    match = _PARTS.fullmatch(text)
    if match is None:
        raise UsageError(f"--slo {quoted(text)} is no objective: write {EXAMPLES}")
    measure, rest = match[1], match[2].strip()
    if measure.partition("{")[0] in RATES and rest.startswith(tuple(SIGNS)):
        rest = f"rate{rest}"
    try:
        threshold = parse(measure, rest)
    except UsageError as error:
        raise UsageError(f"--slo {quoted(text)}: {error}") from None
    return Slo(" ".join(text.split()), threshold, _allowed(threshold, text))


def _allowed(threshold: Threshold, text: str) -> float:
    if threshold.margin is not None:
        raise UsageError(f"--slo {quoted(text)} is relative, and there is no baseline here: write a limit, {EXAMPLES}")
    if threshold.target:
        raise UsageError(f"--slo {quoted(text)} names a target, but the search has only one: leave it out")
    if threshold.kind == "mean":
        raise UsageError(
            f"--slo {quoted(text)} is about a mean, which is no share of turns: write a quantile or a rate"
        )
    if threshold.p is None:
        assert threshold.limit is not None, "it is not relative"
        if not 0 < threshold.limit < 1:
            raise UsageError(f"--slo {quoted(text)}: no run can show that; the limit must lie between 0% and 100%")
        return threshold.limit if threshold.sign in ("<", "<=") else 1 - threshold.limit
    return threshold.p if threshold.sign in (">", ">=") else round(1 - threshold.p, 9)


class Share(NamedTuple):
    """A share of turns with its bounds, each one-sided at its own error; 0 and 1 where too little is known.

    `deff`: how many times the variance of independent turns its own is, between sessions or between batches.
    """

    value: float
    low: float
    high: float
    turns: int
    sessions: int
    deff: float = 1.0


LEAST_BATCHES, MOST_BATCHES = 5, 10
ROUNDS = 5
"""Calls of every caller that a batch is to hold."""
UNKNOWN = Share(math.nan, 0.0, 1.0, 0, 0)


def share_of(missed: PerCluster, error: float, objectives: int, callers: float) -> Share:
    """The share of turns that miss an objective. `missed`: such turns, and all turns, of each session, in the order of
    their start. `callers`: so many call at a time; infinite where that is not known.
    """
    between = ratio_of(missed)
    share = _bounded(between, error, objectives)._replace(deff=_deff(between))
    if share.sessions < SESSIONS:
        return share
    batches = ratio_of(_batched(missed, callers))
    low = share.value - _reach(batches, error / objectives)
    return share._replace(
        low=max(0.0, min(share.low, low)),
        high=min(1.0, max(share.high, share.value + _reach(batches, error))),
        deff=max(share.deff, _deff(batches)),
    )


def _deff(ratio: Ratio) -> float:
    alone = ratio.value * (1 - ratio.value) / ratio.turns if ratio.turns else 0.0
    return max(1.0, ratio.variance / alone) if alone and math.isfinite(ratio.variance) else 1.0


def _batched(missed: PerCluster, callers: float) -> PerCluster:
    """The same by batches."""
    sessions = missed[0].size
    count = min(MOST_BATCHES, max(LEAST_BATCHES, int(sessions / callers / ROUNDS)))
    batch = np.arange(sessions) * count // sessions
    events, turns = (np.bincount(batch, amounts, count).astype(np.float64) for amounts in missed)
    return events, turns


def _bounded(ratio: Ratio, error: float, objectives: int) -> Share:
    """The share and its bounds, were sessions independent."""
    if not ratio.turns:
        return UNKNOWN
    if round(ratio.worth) < SESSIONS:
        return Share(ratio.value, 0.0, 1.0, int(ratio.turns), ratio.clusters)
    low = min(ratio.value - _reach(ratio, error / objectives), ratio.lower(error / objectives))
    high = max(ratio.value + _reach(ratio, error), ratio.upper(error))
    return Share(ratio.value, max(0.0, low), min(1.0, high), int(ratio.turns), ratio.clusters)


def answer_of(
    complete: Sequence[PerCluster],
    known: Sequence[PerCluster],
    allowed: Sequence[float],
    error: float,
    callers: float,
) -> Answer:
    """The answer of one look. `allowed`: of each objective.

    `complete`: the turns of sessions that began before the oldest one still open; `known`: every turn that has ended.
    Slow turns end late, so those that have ended look faster than all are: they can show that a level breaks, and not
    that it holds.
    """
    objectives = len(allowed)
    shares = [share_of(missed, error, objectives, callers) for missed in known]
    if any(share.low > most for share, most in zip(shares, allowed, strict=True)):
        return "breaks"
    shares = [share_of(missed, error, objectives, callers) for missed in complete]
    holds = all(share.high < most for share, most in zip(shares, allowed, strict=True))
    return "holds" if holds else "undecided"


def is_futile(
    complete: Sequence[PerCluster],
    known: Sequence[PerCluster],
    allowed: Sequence[float],
    part: float,
    error: float,
    callers: float,
) -> bool:
    """Whether no answer is to be expected of a level. `part`: of its measured time that is over; `error`: of its last
    look. Before every caller has ended a session, or SESSIONS are complete, nobody knows how many there will be.
    """
    if complete[0][0].size < min(callers, SESSIONS):
        return False
    ratios = [ratio_of(missed) for missed in known]
    if not all(ratio.turns for ratio in ratios):
        return False
    better = (_at_end(ratio, part, -1, error) for ratio in ratios)
    holds = all(share.high < most for share, most in zip(better, allowed, strict=True))
    worse = (_at_end(ratio, part, 1, error / len(allowed)) for ratio in ratios)
    return not holds and not any(share.low > most for share, most in zip(worse, allowed, strict=True))


def _at_end(ratio: Ratio, part: float, side: int, error: float) -> Share:
    """What a share may be shown to be at the end of a level, were it so many standard errors worse than it seems."""
    variance = ratio.variance if math.isfinite(ratio.variance) else 0.0
    value = min(1.0, max(0.0, ratio.value + side * math.sqrt(variance)))
    sessions = round(ratio.clusters / part)
    return _bounded(Ratio(value, variance * part, ratio.turns / part, sessions), error, 1)


def _reach(ratio: Ratio, error: float) -> float:
    """t · SE."""
    return float(stdtrit(ratio.worth - 1, 1 - error)) * math.sqrt(ratio.variance)
