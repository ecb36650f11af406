"""What one metric has shown at an interim analysis, and when it passes or fails there; pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from reports.statistics import group_sequential
from reports.statistics.differences import Order
from reports.statistics.quantiles import kish
from reports.statistics.rates import PerCluster
from reports.statistics.verdicts import NOT_AFTER_HOLM, InconclusiveReason, floor_reason

REACH = 8.0
"""Critical values are looked for up to here."""
WIDER = 1e-6
"""So much nearer to 0 is what another bound says than what the standard error does."""


@dataclass(frozen=True)
class InterimStatistic:
    """One metric at one analysis, on the scale of its difference (log of a ratio, or points).

    `d`: candidate against baseline; `excess`: how far beyond the margin, on the bad side; `upper`: the upper bound of
    that at a critical value. `better`: 1 where less is better, −1 where more is. `untested`: why it cannot be tested
    yet, None where it can. `unsettled`: why it has not passed at a critical value, where the interval does not say it.
    `order`: found in a target; then the error is that of parts of the run.
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
        """What the standard error says: it fails by this."""
        return math.nan if self.untested else group_sequential.z_of(self.excess, self.se, self.df)

    @property
    def z_within(self) -> float:
        """What the upper bound says: below −c if upper(c) < 0. Of a rate with few failures it is nearer to 0 than z."""
        if self.untested or self.z >= 0 or self.upper(REACH) < 0:
            return self.z
        from scipy.optimize import brentq  # type: ignore[import-untyped, unused-ignore]

        return -float(brentq(self.upper, 0.0, REACH)) if self.upper(0.0) < 0 else 0.0

    def chances(self, t: float, c_pass: float, c_red: float) -> group_sequential.ConditionalPower:
        """Return the chance of passing by what the upper bound says, of failing by what the standard error says."""
        passing, red = (group_sequential.chances(z, t, c_pass, c_red) for z in (self.z_within, self.z))
        return group_sequential.ConditionalPower(passing.passing, red.red)

    def why_inconclusive(self, c: float) -> InconclusiveReason | None:
        """Return why it neither passes nor fails at a critical value, if its interval does not say it."""
        return self.untested or (NOT_AFTER_HOLM if self.z >= c else self.unsettled(c))

    def estimates(self, c: float, t: Sequence[float], bounds: Sequence[float]) -> tuple[float, float, float]:
        """Return the bounds of d at a critical value, which agree with the verdict, and its corrected estimate.

        `t`, `bounds`: of each analysis up to this one the fraction of the run, and what would have ended it there.
        """
        if self.untested:
            return -math.inf, math.inf, math.nan
        margin = self.better * self.d - self.excess
        low, high = self.excess - group_sequential.spread_of_level(c, self.df) * self.se, self.upper(c)
        ends = sorted(self.better * (end + margin) for end in (low, high))
        if not math.isfinite(self.excess):
            return ends[0], ends[1], self.d
        z, moved = self.z, self.excess
        # what passes by a bound that is wider than the standard error's is hardly a lucky stop, and is not corrected
        if z and math.isfinite(z) and self.z_within - z <= WIDER:
            moved = group_sequential.distance(z, self.excess / z, t, bounds)  # as many times smaller as the deviate is
        return ends[0], ends[1], self.better * (min(max(moved, low), high) + margin)


def by_se(
    d: float, excess: float, se: float, df: float, better: int = 1, *, order: Order | None = None
) -> InterimStatistic:
    """Return a metric whose upper bound is that of the standard error."""
    return InterimStatistic(
        d, excess, se, df, lambda c: excess + group_sequential.spread_of_level(c, df) * se, better, order=order
    )


def untestable(reason: InconclusiveReason, d: float = math.nan) -> InterimStatistic:
    """Return a metric that cannot be tested at this analysis."""
    return InterimStatistic(d, math.nan, math.nan, math.nan, lambda c: math.inf, untested=reason)


def few_pairs(base: PerCluster, cand: PerCluster) -> InconclusiveReason | None:
    """Return that a rate or a mean has too few pairs with turns on both targets to be tested."""
    turns = base[1], cand[1]
    pairs = [int(np.count_nonzero(n)) for n in turns]
    return floor_reason(None, (), pairs, "pair", effective_sessions=[kish(n) for n in turns])
