"""The statistic of one metric at an interim analysis, and the rules by which the metric passes or fails there. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from reports.results.reason import Reason
from reports.statistics import group_sequential
from reports.statistics.differences import Order
from reports.statistics.quantiles import effective_size
from reports.statistics.rates import PerCluster
from reports.statistics.verdicts import NOT_AFTER_HOLM, floor_reason

REACH = 8.0
"""The largest critical value that the search for `z_within` considers."""
WIDER = 1e-6
"""The minimum difference of `z_within` and `z` that counts. If they differ by more, the upper bound is wider than that
of the standard error, and this wider bound decides."""


@dataclass(frozen=True)
class InterimStatistic:
    """One metric at one interim analysis. The unit is that of its difference: log of a ratio, or points.

    - `d` is the difference of candidate and baseline.
    - `excess` is the distance by which the candidate is worse than the margin allows.
    - `upper` is a function: it returns the upper bound of `excess` at a critical value.
    - `better` is 1 if less is better, −1 if more is better.
    - `untested` is the reason why the metric cannot be tested yet; None if it can.
    - `unsettled` is a function: it returns why the metric has not passed at a critical value. It returns None if the
    interval shows the reason.
    - `order` is the autocorrelation found in a target. If it is set, the standard error is computed from parts of the
    run.
    - `is_provisional` is True if this autocorrelation is also significant at the type I error of a single test,
    `autocorrelation.FOUND`.
    """

    d: float
    excess: float
    se: float
    df: float
    upper: Callable[[float], float]
    better: int = 1
    untested: Reason | None = None
    unsettled: Callable[[float], Reason | None] = lambda c: None
    order: Order | None = None
    is_provisional: bool = False

    @property
    def z(self) -> float:
        """The test statistic computed from the standard error; NaN if the metric cannot be tested yet.

        It decides whether the metric fails.
        """
        return math.nan if self.untested else group_sequential.z_of(self.excess, self.se, self.df)

    @property
    def z_within(self) -> float:
        """The test statistic computed from the upper bound of `excess`. It decides whether the metric passes.

        It is below −c if the upper bound at critical value c is below 0. For a rate with few failures it is closer to 0
        than `z`.
        """
        if self.untested or self.z >= 0 or self.upper(REACH) < 0:
            return self.z
        from scipy.optimize import brentq  # type: ignore[import-untyped, unused-ignore]

        return -float(brentq(self.upper, 0.0, REACH)) if self.upper(0.0) < 0 else 0.0

    def conditional_power(self, t: float, c_pass: float, c_red: float) -> group_sequential.ConditionalPower:
        """Return the conditional power.

        The power to pass is computed from the upper bound, and the power to fail from the standard error.

        `t` is the share of the planned pairs. `c_pass` and `c_red` are critical values of the last analysis.
        """
        passing, red = (group_sequential.conditional_power(z, t, c_pass, c_red) for z in (self.z_within, self.z))
        return group_sequential.ConditionalPower(passing.passing, red.red)

    def inconclusive_reason(self, c: float) -> Reason | None:
        """Return why the metric neither passes nor fails at critical value `c`.

        Return None if the interval of the metric shows the reason.
        """
        return self.untested or (NOT_AFTER_HOLM if self.z >= c else self.unsettled(c))

    def estimates(self, c: float, t: Sequence[float], bounds: Sequence[float]) -> tuple[float, float, float]:
        """Return the lower bound, the upper bound, and the corrected estimate of `d`.

        The bounds are those at critical value `c`, so they agree with the verdict.

        `t` and `bounds` describe the analyses up to this one: `t` is the share of the planned pairs, and `bounds` is
        the critical value that would have stopped the run.
        """
        if self.untested:
            return -math.inf, math.inf, math.nan
        margin = self.better * self.d - self.excess
        low, high = self.excess - group_sequential.bound_distance(c, self.df) * self.se, self.upper(c)
        ends = sorted(self.better * (end + margin) for end in (low, high))
        if not math.isfinite(self.excess):
            return ends[0], ends[1], self.d
        z, moved = self.z, self.excess
        # A bound wider than that of the standard error hardly stops a run by chance, so such a pass is not corrected.
        if z and math.isfinite(z) and self.z_within - z <= WIDER:
            # z is a normal deviate, so se is excess / z
            moved = group_sequential.distance(z, self.excess / z, t, bounds)
        return ends[0], ends[1], self.better * (min(max(moved, low), high) + margin)


def by_se(
    d: float,
    excess: float,
    se: float,
    df: float,
    better: int = 1,
    *,
    order: Order | None = None,
    is_provisional: bool = False,
) -> InterimStatistic:
    """Return the statistic of a metric whose upper bound is computed from its standard error alone."""

    def upper(c: float) -> float:
        return excess + group_sequential.bound_distance(c, df) * se

    return InterimStatistic(d, excess, se, df, upper, better, order=order, is_provisional=is_provisional)


def untestable(reason: Reason, d: float = math.nan) -> InterimStatistic:
    """Return the statistic of a metric that cannot be tested at this analysis."""
    return InterimStatistic(d, math.nan, math.nan, math.nan, lambda c: math.inf, untested=reason)


def few_pairs(base: PerCluster, cand: PerCluster) -> Reason | None:
    """Return why a rate or a mean cannot be tested: too few pairs have turns. Return None if there are enough."""
    turns = base[1], cand[1]
    pairs = [int(np.count_nonzero(n)) for n in turns]
    return floor_reason(None, (), pairs, "pair", effective_sessions=[effective_size(n) for n in turns])
