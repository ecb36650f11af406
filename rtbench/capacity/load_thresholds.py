"""The thresholds of a load: the share of turns that may violate each, and the judgement of a level.
Pure.

`ttfa: p(95)<800` means that at most 5 % of turns take 800 ms or longer, or fail. So every threshold
is a share of turns (or of sessions, for a metric of sessions) that must not be exceeded. The
intervals of shares are computed by session.

The unit is the session, because turns of one call resemble each other. A level passes if the upper
bounds of all shares are below the allowed shares. Each upper bound has the full error of the
analysis: if one share were truly above its allowed share, the level could pass only if this one
bound were wrong. A level fails if any lower bound is above the allowed share. Any of m lower bounds
can be wrong, so each lower bound gets an m-th of the error. At a load that truly passes, only the
answer "fail" can be wrong. At a load that truly fails, only the answer "pass" can be wrong.

A level ends early as inconclusive if no answer can be expected, so that other levels get its time.
The expectation is for the number of sessions at the end of the level. It has two parts: a share
that is one standard error better than the observed share would still not show a pass, and a share
that is one standard error worse would not show a failure. Such an early end does not change the
error of any answer.

There are several bounds. The upper bound is the largest of the following bounds, and the lower
bound is the smallest:

- x ± t·SE between sessions, and the bound if there were one more, unobserved session
  (`reports.statistics.rates`). For the lower bound, no turn of that session violates the threshold.
  Fewer than `SESSIONS` sessions decide nothing, because they may be alike by chance.
- x ± t·SE between batches of consecutive sessions. Callers in one queue wait together, so sessions
  are not independent near saturation. Batches that are long compared with the queue's memory are
  nearly independent (Law, Simulation Modeling and Analysis, ch. 9, batch means). There are five to
  ten batches. Each batch has `ROUNDS` calls of every caller if there are enough sessions.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bench.base.errors import UsageError
from reports.metrics.thresholds import Threshold, quoted
from reports.results.value import RATE, Reason, Result, Value
from reports.statistics.rates import PerCluster, RatioEstimate, ratio_of
from reports.statistics.verdicts import SESSIONS, floor_reason
from rtbench.capacity.document import VIOLATIONS

EXAMPLES = '"ttfa: p(95)<800" or "failure_rate: rate<1%"'


def allowed_share(threshold: Threshold) -> float:
    """Return the share of turns that may violate a threshold, above 0 and below 1.

    Raise UsageError if the threshold cannot be checked in one run of one target.
    """
    named = f"--thresholds {quoted(threshold.source_text)}"
    if threshold.limit is None:
        raise UsageError(
            f"{named} is relative, but a search has no baseline: write a limit, {EXAMPLES}"
        )
    if threshold.target:
        raise UsageError(f"{named} names a target, but the search has only one: leave it out")
    allowed = threshold.statistic.allowed_misses(threshold.sign, threshold.limit)
    if allowed is None:
        name = threshold.statistic.aggregate
        raise UsageError(f"{named}: {name} states no share of turns: write a quantile or a rate")
    if not 0 < allowed < 1:
        raise UsageError(
            f"{named}: no run can show that; the limit must be above 0% and below 100%"
        )
    return allowed


MIN_BATCHES = 5
MAX_BATCHES = 10
ROUNDS = 5
"""The number of calls that each caller makes in a batch."""


class ShareBounds(NamedTuple):
    """What the one-sided bounds of shares depend on: the error of the analysis, the number of
    concurrent callers (infinite if it is unknown), and the number of thresholds.
    """

    error: float
    callers: float
    thresholds: int = 1

    @property
    def lower_error(self) -> float:
        """The error of each lower bound."""
        return self.error / self.thresholds


def violation_share(
    target: str, missed: PerCluster, bounds: ShareBounds, metric: str = VIOLATIONS
) -> Value:
    """Return the share of turns that violate a threshold, with a one-sided lower and upper bound.

    `missed` is, for each session in order of start, the turns that violate it, and all turns. The
    bounds are 0 and 1 if there are fewer than two sessions.
    """
    ratios = _ratios(missed, bounds.callers)
    return Value(
        target=target,
        metric=metric,
        statistic=RATE,
        value=ratios[0].value,
        low=_low(ratios, bounds.lower_error),
        high=_high(ratios, bounds.error),
        count=int(missed[0].sum()),
        n=int(ratios[0].turns),
        sessions=ratios[0].clusters,
    )


def _ratios(missed: PerCluster, callers: float) -> list[RatioEstimate]:
    """Return the share of missed turns by sessions and, with enough sessions, by batches."""
    between = ratio_of(missed)
    return (
        [between] if between.clusters < SESSIONS else [between, ratio_of(_batched(missed, callers))]
    )


def _batched(missed: PerCluster, callers: float) -> PerCluster:
    sessions = missed[0].size
    count = min(MAX_BATCHES, max(MIN_BATCHES, int(sessions / callers / ROUNDS)))
    batch = np.arange(sessions) * count // sessions
    events, turns = (np.bincount(batch, amounts, count).astype(float) for amounts in missed)
    return events, turns


def _low(ratios: Sequence[RatioEstimate], error: float, over: float = 0.0) -> float:
    """Return the lower bound of the share. It is exact only if it is above `over`, because this
    takes long.
    """
    if ratios[0].effective_sessions <= 1:
        return 0.0
    low = min(ratio.value - ratio.reach(error) for ratio in ratios)
    return max(0.0, min(low, ratios[0].lower(error)) if low > over else low)


def _high(ratios: Sequence[RatioEstimate], error: float, under: float = 1.0) -> float:
    """Return the upper bound of the share. It is exact only if it is below `under`."""
    if ratios[0].effective_sessions <= 1:
        return 1.0
    high = max(ratio.value + ratio.reach(error) for ratio in ratios)
    return min(1.0, max(high, ratios[0].upper(error)) if high < under else high)


def analysis_result(
    complete: Sequence[PerCluster],
    known: Sequence[PerCluster],
    allowed: Sequence[float],
    bounds: ShareBounds,
) -> Result:
    """Return the answer of one analysis. `allowed` is the allowed share of each threshold.

    - `complete` is the turns of sessions that started before the oldest session that is still open.
    - `known` is every turn that has ended.

    Slow turns end late. So the turns that have ended are faster, on average, than all turns will
    be. Therefore `known` can show that a level fails, but not that it passes.
    """
    found = {
        threshold_result(ended, missed, limit, bounds)
        for ended, missed, limit in zip(complete, known, allowed, strict=True)
    }
    return "fail" if "fail" in found else "pass" if found == {"pass"} else "inconclusive"


def threshold_result(
    complete: PerCluster, known: PerCluster, allowed: float, bounds: ShareBounds
) -> Result:
    """Return the answer of one analysis for one of several thresholds, as in `analysis_result`."""
    if _is_above(_ratios(known, bounds.callers), allowed, bounds):
        return "fail"
    passes = _is_below(_ratios(complete, bounds.callers), allowed, bounds)
    return "pass" if passes else "inconclusive"


def _is_above(ratios: Sequence[RatioEstimate], allowed: float, bounds: ShareBounds) -> bool:
    return _floor(ratios[0]) is None and _low(ratios, bounds.lower_error, allowed) > allowed


def _is_below(ratios: Sequence[RatioEstimate], allowed: float, bounds: ShareBounds) -> bool:
    return _floor(ratios[0]) is None and _high(ratios, bounds.error, allowed) < allowed


def too_few(missed: PerCluster) -> Reason | None:
    """Return the reason if a level has too few calls for an answer. A few sessions may be alike
    by chance.
    """
    return _floor(ratio_of(missed))


def _floor(ratio: RatioEstimate) -> Reason | None:
    return floor_reason(None, (), (ratio.clusters,), effective_sessions=(ratio.effective_sessions,))


GIVEN_UP = 1.0
GIVEN_UP_LAST = 3.0
"""The number of standard errors by which the final share may differ from the observed one. The
second is for a level whose time no other level needs.
"""


def is_futile(
    complete: Sequence[PerCluster],
    known: Sequence[PerCluster],
    allowed: Sequence[float],
    elapsed: float,
    bounds: ShareBounds,
    doubt: float = GIVEN_UP,
) -> bool:
    """Return whether no answer can be expected at the end of a level.

    - `elapsed` is the share of the level's measured time that is over.
    - `bounds` are those of the level's final analysis. `doubt` is `GIVEN_UP`, or `GIVEN_UP_LAST`.

    The number of sessions at the end is unknown until every caller has ended a session, or
    `SESSIONS` sessions are complete. Until then, the result is False.
    """
    if complete[0][0].size < min(bounds.callers, SESSIONS):
        return False
    ratios = [ratio_of(missed) for missed in known]
    if not all(ratio.turns for ratio in ratios):
        return False
    can_pass = all(
        _is_below([_at_end(ratio, elapsed, -doubt)], limit, bounds)
        for ratio, limit in zip(ratios, allowed, strict=True)
    )
    can_fail = any(
        _is_above([_at_end(ratio, elapsed, doubt)], limit, bounds)
        for ratio, limit in zip(ratios, allowed, strict=True)
    )
    return not can_pass and not can_fail


def _at_end(ratio: RatioEstimate, elapsed: float, shift: float) -> RatioEstimate:
    """Return the estimate at the end of a level, if its share is `shift` standard errors above
    the observed share.
    """
    variance = ratio.variance if math.isfinite(ratio.variance) else 0.0
    value = min(1.0, max(0.0, ratio.value + shift * math.sqrt(variance)))
    return RatioEstimate(
        value, variance * elapsed, ratio.turns / elapsed, round(ratio.clusters / elapsed)
    )
