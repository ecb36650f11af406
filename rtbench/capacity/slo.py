"""Reads service level objectives, and judges a level by the turns that miss them: holds, breaks, or undecided. Pure.

`ttfa p(95)<800` is the statement that at most 5 % of turns take 800 ms or longer, or fail. So every objective is
a share of turns (of sessions, for metrics of sessions) that must not be exceeded, and shares have intervals by
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
  lower one of all other turns. Fewer than SESSIONS sessions decide nothing: so few may be alike by chance.
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

from bench.errors import UsageError
from reports.rate_metrics import RATES
from reports.statistics.rates import PerCluster, RatioEstimate, ratio_of
from reports.statistics.verdicts import SESSIONS
from reports.thresholds import SIGNS, Threshold, parse, quoted
from rtbench.capacity.search import Answer

_PARTS = re.compile(r"\s*(\w+(?!\w)(?:\{[^{}]*\})?)\s*:?\s*(.+)", re.ASCII | re.DOTALL)
"""A metric and what is asked of it, with or without the colon of a file of thresholds."""
EXAMPLES = '"ttfa p(95)<800" or "failure_rate<1%"'


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
    metric, rest = match[1], match[2].strip()
    if metric.partition("{")[0] in RATES and rest.startswith(tuple(SIGNS)):
        rest = f"rate{rest}"
    try:
        threshold = parse(metric, rest)
    except UsageError as error:
        raise UsageError(f"--slo {quoted(text)}: {error}") from None
    return Slo(" ".join(text.split()), threshold, _allowed(threshold, text))


def _allowed(threshold: Threshold, text: str) -> float:
    if threshold.margin is not None:
        raise UsageError(f"--slo {quoted(text)} is relative, and there is no baseline here: write a limit, {EXAMPLES}")
    if threshold.target:
        raise UsageError(f"--slo {quoted(text)} names a target, but the search has only one: leave it out")
    if threshold.p is None and threshold.about.scale != "points":
        raise UsageError(
            f"--slo {quoted(text)} is about a mean, which is no share of turns: write a quantile or a rate"
        )
    if threshold.p is None:
        assert threshold.limit is not None, "it is not relative"
        if not 0 < threshold.limit < 1:
            raise UsageError(f"--slo {quoted(text)}: no run can show that; the limit must lie between 0% and 100%")
        return threshold.limit if threshold.sign in ("<", "<=") else 1 - threshold.limit
    return threshold.p if threshold.sign in (">", ">=") else round(1 - threshold.p, 9)


class ViolationShare(NamedTuple):
    """A share of turns with its bounds, each one-sided at its own error; 0 and 1 if fewer than two sessions are known.

    Fewer than SESSIONS have bounds as well, and decide nothing. `deff`: how many times the variance of independent
    turns its own is, between sessions or between batches.
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


def violation_share(missed: PerCluster, error: float, objectives: int, callers: float) -> ViolationShare:
    """The share of turns that miss an objective. `missed`: such turns, and all turns, of each session, in the order of
    their start. `callers`: so many call at a time; infinite where that is not known.
    """
    ratios = _ratios(missed, callers)
    low, high = _low(ratios, error / objectives), _high(ratios, error)
    return ViolationShare(ratios[0].value, low, high, int(ratios[0].turns), ratios[0].clusters, max(map(_deff, ratios)))


def _deff(ratio: RatioEstimate) -> float:
    alone = ratio.value * (1 - ratio.value) / ratio.turns if ratio.turns else 0.0
    return max(1.0, ratio.variance / alone) if alone and math.isfinite(ratio.variance) else 1.0


def _ratios(missed: PerCluster, callers: float) -> list[RatioEstimate]:
    """The share of missed turns by sessions and, where there are enough of them, by batches."""
    between = ratio_of(missed)
    return [between] if between.clusters < SESSIONS else [between, ratio_of(_batched(missed, callers))]


def _batched(missed: PerCluster, callers: float) -> PerCluster:
    """The same by batches."""
    sessions = missed[0].size
    count = min(MOST_BATCHES, max(LEAST_BATCHES, int(sessions / callers / ROUNDS)))
    batch = np.arange(sessions) * count // sessions
    events, turns = (np.bincount(batch, amounts, count).astype(np.float64) for amounts in missed)
    return events, turns


def _low(ratios: Sequence[RatioEstimate], error: float, over: float = 0.0) -> float:
    """Return the lower bound of the share by sessions.

    `over`: it need not be exact where it is not above that, for what is left out then takes by far the longest.
    """
    if ratios[0].effective_sessions <= 1:
        return 0.0
    low = min(ratio.value - _reach(ratio, error) for ratio in ratios)
    return max(0.0, min(low, ratios[0].lower(error)) if low > over else low)


def _high(ratios: Sequence[RatioEstimate], error: float, under: float = 1.0) -> float:
    """Return the upper bound, exact below `under`."""
    if ratios[0].effective_sessions <= 1:
        return 1.0
    high = max(ratio.value + _reach(ratio, error) for ratio in ratios)
    return min(1.0, max(high, ratios[0].upper(error)) if high < under else high)


def analysis_result(
    complete: Sequence[PerCluster], known: Sequence[PerCluster], allowed: Sequence[float], error: float, callers: float
) -> Answer:
    """The answer of one look. `allowed`: of each objective.

    `complete`: the turns of sessions that began before the oldest one still open; `known`: every turn that has ended.
    Slow turns end late, so those that have ended look faster than all are: they can show that a level breaks, and not
    that it holds.
    """
    if _any_above([_ratios(missed, callers) for missed in known], allowed, error):
        return "fail"
    return "pass" if _all_below([_ratios(missed, callers) for missed in complete], allowed, error) else "inconclusive"


def _any_above(shares: Sequence[Sequence[RatioEstimate]], allowed: Sequence[float], error: float) -> bool:
    each = error / len(allowed)
    return any(_decides(one) and _low(one, each, most) > most for one, most in zip(shares, allowed, strict=True))


def _all_below(shares: Sequence[Sequence[RatioEstimate]], allowed: Sequence[float], error: float) -> bool:
    return all(_decides(one) and _high(one, error, most) < most for one, most in zip(shares, allowed, strict=True))


def _decides(ratios: Sequence[RatioEstimate]) -> bool:
    """Whether a share is of enough sessions for an answer: fewer may be alike by chance."""
    return round(ratios[0].effective_sessions) >= SESSIONS


def too_few(missed: PerCluster) -> str:
    """Return why a level has too few calls for any answer; "" where it has enough."""
    found = ratio_of(missed)
    if _decides([found]):
        return ""
    equal = (
        ""
        if round(found.effective_sessions) == found.clusters
        else f", which count as {found.effective_sessions:.0f} of equal length"
    )
    calls = f"{found.clusters} {'call' if found.clusters == 1 else 'calls'}"
    return f"too few calls for an answer: {calls} of its measured time{equal}, and it takes {SESSIONS}"


GIVEN_UP, GIVEN_UP_LAST = 1.0, 3.0
"""How many standard errors a share may turn out better or worse where others wait for a level's time, and where none
does."""


def is_futile(
    complete: Sequence[PerCluster],
    known: Sequence[PerCluster],
    allowed: Sequence[float],
    part: float,
    error: float,
    callers: float,
    doubt: float = GIVEN_UP,
) -> bool:
    """Whether no answer is to be expected of a level. `part`: of its measured time that is over; `error`: of its last
    look. Before every caller has ended a session, or SESSIONS are complete, nobody knows how many there will be.

    `doubt`: how many standard errors better or worse than it seems a share may turn out.
    """
    if complete[0][0].size < min(callers, SESSIONS):
        return False
    ratios = [ratio_of(missed) for missed in known]
    if not all(ratio.turns for ratio in ratios):
        return False
    better, worse = ([[_at_end(ratio, part, side)] for ratio in ratios] for side in (-doubt, doubt))
    return not _all_below(better, allowed, error) and not _any_above(worse, allowed, error)


def _at_end(ratio: RatioEstimate, part: float, side: float) -> RatioEstimate:
    """What a share may be at the end of a level, were it so many standard errors worse than it seems."""
    variance = ratio.variance if math.isfinite(ratio.variance) else 0.0
    value = min(1.0, max(0.0, ratio.value + side * math.sqrt(variance)))
    return RatioEstimate(value, variance * part, ratio.turns / part, round(ratio.clusters / part))


def _reach(ratio: RatioEstimate, error: float) -> float:
    """t · SE."""
    return float(stdtrit(ratio.effective_sessions - 1, 1 - error)) * math.sqrt(ratio.variance)
