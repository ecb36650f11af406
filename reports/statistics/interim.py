"""The statistic of one metric at an interim analysis, and when the metric passes or fails there. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from reports.statistics import group_sequential
from reports.statistics.differences import Order
from reports.statistics.quantiles import effective_size
from reports.statistics.rates import PerCluster
from reports.statistics.verdicts import NOT_AFTER_HOLM, InconclusiveReason, floor_reason

REACH = 8.0
"""The largest critical value at which `z_within` is searched."""
WIDER = 1e-6
"""The minimum of `z_within` − `z` from which a bound other than that of the standard error decides."""


@dataclass(frozen=True)
class InterimStatistic:
    """One metric at one analysis, on the scale of its difference (log of a ratio, or points).

    - `d`: the difference of candidate and baseline
    - `excess`: the distance beyond the margin, on the bad side
    - `upper`: the function that returns the upper bound of `excess` at a critical value
    - `better`: 1 if less is better, −1 if more is
    - `untested`: the reason that the metric cannot be tested yet; None if it can
    - `unsettled`: the function that returns why the metric has not passed at a critical value; None if the interval
    shows the reason
    - `order`: the autocorrelation found in a target; if set, the standard error is that of parts of the run
    """

    d: float
    excess: float
    se: float
    df: float
    upper: Callable[[float], float]
    better: int = 1
    untested: InconclusiveReason | None = None
    unsettled: Callable[[float], InconclusiveReason | None] = lambda c: None
    order: Order | None = None

    @property
    def z(self) -> float:
        """The statistic that is computed from the standard error. It decides whether the metric fails."""
        return math.nan if self.untested else group_sequential.z_of(self.excess, self.se, self.df)

    @property
    def z_within(self) -> float:
        """The statistic that is computed from the upper bound: it is below −c if upper(c) < 0.

        It decides whether the metric passes. For a rate with few failures it is closer to 0 than `z`.
        """
        if self.untested or self.z >= 0 or self.upper(REACH) < 0:
            return self.z
        from scipy.optimize import brentq  # type: ignore[import-untyped, unused-ignore]

        return -float(brentq(self.upper, 0.0, REACH)) if self.upper(0.0) < 0 else 0.0

    def conditional_power(self, t: float, c_pass: float, c_red: float) -> group_sequential.ConditionalPower:
        """Return the conditional power to pass, by the upper bound, and to fail, by the standard error."""
        passing, red = (group_sequential.conditional_power(z, t, c_pass, c_red) for z in (self.z_within, self.z))
        return group_sequential.ConditionalPower(passing.passing, red.red)

    def inconclusive_reason(self, c: float) -> InconclusiveReason | None:
        """Return why the metric neither passes nor fails at a critical value; None if its interval shows the reason."""
        return self.untested or (NOT_AFTER_HOLM if self.z >= c else self.unsettled(c))

    def estimates(self, c: float, t: Sequence[float], bounds: Sequence[float]) -> tuple[float, float, float]:
        """Return the lower bound, the upper bound, and the corrected estimate of `d`, at a critical value.

        The bounds agree with the verdict. `t`, `bounds`: for each analysis up to this one, its fraction of the run, and
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
    d: float, excess: float, se: float, df: float, better: int = 1, *, order: Order | None = None
) -> InterimStatistic:
    """Return the statistic of a metric whose upper bound is that of the standard error."""
    return InterimStatistic(
        d, excess, se, df, lambda c: excess + group_sequential.bound_distance(c, df) * se, better, order=order
    )


def untestable(reason: InconclusiveReason, d: float = math.nan) -> InterimStatistic:
    """Return the statistic of a metric that cannot be tested at this analysis."""
    return InterimStatistic(d, math.nan, math.nan, math.nan, lambda c: math.inf, untested=reason)


def few_pairs(base: PerCluster, cand: PerCluster) -> InconclusiveReason | None:
    """Return the reason if a rate or a mean has too few pairs with turns to be tested."""
    turns = base[1], cand[1]
    pairs = [int(np.count_nonzero(n)) for n in turns]
    return floor_reason(None, (), pairs, "pair", effective_sessions=[effective_size(n) for n in turns])
