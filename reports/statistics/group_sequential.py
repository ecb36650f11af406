"""Group-sequential interim analyses: alpha spending, and estimates corrected for early stopping.
Pure.
"""

from __future__ import annotations

# A comparison is analyzed several times during the run, with no higher type I error than one test
# at the end. The plan is made before the run: it has at most N pairs, and an analysis after g_1 < …
# < g_K = N pairs. At an analysis after g pairs, the share t = g/N of the information is available.
# Of the total error a, at most a·t² may then be used ("spent"). Under the null hypothesis, the
# statistic is a Brownian motion S without drift. This gives the critical values c_k:
#
#     P(S(t_j)/√t_j first reaches c_j at j = k) = a·t_k² − a·t_{k−1}²
#
# Stops in the other direction are ignored, because they only reduce the error. The last analysis
# spends all the remaining error, even if it has fewer than N pairs.
#
# After: Lan, DeMets, "Discrete sequential boundaries for clinical trials" (1983), by numerical
# integration as in Armitage, McPherson, Rowe, "Repeated significance tests on accumulating data"
# (1969).
#
# After an early stop, the interval agrees with the verdict, and the estimate is corrected. A run
# stops early if a metric is far from its margin. This is partly due to chance, so the plain
# estimate of the distance is too large. The corrected estimate is median-unbiased in the stage-wise
# order. S = z·√t is the value at the deciding analysis, and w is the drift of the Brownian motion.
# P(w) is the probability that the motion reaches an upper critical value before this analysis, or
# has at least S at this analysis. The estimate is the w at which P(w) = 1/2.
#
# After: Tsiatis, Rosner, Mehta, "Exact confidence intervals following a group sequential test"
# (1984).
import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from reports.results.json_entries import ClosedJsonEntry, Number
from reports.results.value import Reason
from reports.statistics.counting import Floats, count_nonzero
from reports.statistics.differences import Order
from reports.statistics.distributions import ndtr, ndtri, stdtr, stdtrit
from reports.statistics.quantiles import effective_size
from reports.statistics.verdicts import NOT_AFTER_HOLM, SESSIONS, floor_reason, turns_to_decide

if TYPE_CHECKING:
    from reports.statistics.rates import PerCluster

SPENDING = "a t^2"
EVERY = 50
"""The default number of pairs between two analyses. The sizes of the first and of the last analysis
are multiples of it."""
FUTILITY_POWER = 0.1
"""The conditional power below which a result is considered out of reach.

A run is futile, and stops, if at least one open metric has less than this power to pass, and each
metric has less than this power to fail.
"""
PATH_NODES = 200
REACH = 8.0
"""The lower end of the numerical integration, in standard deviations, and the largest critical
value that the search for `z_within` considers."""


def analysis_sizes(max_pairs: int, step: int = EVERY, first: int = 0) -> tuple[int, ...]:
    """Return the sizes of the analyses in pairs, such as (100, 150, …, N). N is `max_pairs`.

    The first size is the larger of `first` and `step`. The next sizes follow at intervals of
    `step`. The last size is N.
    """
    sizes = range(max(first, step), max_pairs, step)
    return (*sizes, max_pairs)


def pairs_needed(p: float | None, values_per_session: float) -> int:
    """Return the minimum number of pairs from which a metric can be tested.

    `p` is the level of a quantile; None for a rate or a mean. `values_per_session` is the mean
    number of values per session.
    """
    return max(
        SESSIONS, math.ceil(turns_to_decide(p) / values_per_session - 1e-9) if p is not None else 0
    )


def first_analysis(needed: Sequence[int], step: int) -> int:
    """Return the size of the first analysis: the pairs needed to test every metric, rounded up to a
    multiple of `step`.

    `needed` is the minimum number of pairs for each metric.
    """
    return math.ceil(max(needed) / step) * step


def spending(t: Sequence[float], a: float) -> list[float]:
    """Return the part of the error `a` that each analysis may use. The last one may use all the
    remaining error.

    `t` is as in `critical_values`.
    """
    spent = [0.0, *(a * share**2 for share in t[:-1]), a]
    return [after - before for before, after in pairwise(spent)]


def critical_values(t: Sequence[float], a: float) -> list[float]:
    """Return the critical value of each analysis, at the one-sided type I error `a`.

    `t` is the size of each analysis as a share of N, ascending, each in (0, 1]. The last analysis
    spends all the remaining error. If a run ended early for a reason that does not depend on its
    result, give only the analyses that were made. The calculation represents the paths that have
    not stopped by their density at Gauss-Legendre nodes below the bound.
    """
    return list(_critical_values(tuple(t), tuple(spending(t, a))))


def critical_values_so_far(t: Sequence[float], sizes: Sequence[int], a: float) -> list[float]:
    """Return the critical values of the analyses that were made, if further ones may follow.

    - `t` is the share of the run at each analysis, ascending. After a share t, an error of a·t² may
      be used.
    - `sizes` is the number of sessions at each analysis, ascending. It need not be planned, nor be
      proportional to `t`.

    After: Lan, DeMets, "Changing frequency of interim analysis in sequential monitoring" (1989).
    """
    increments = (a * (after**2 - before**2) for before, after in pairwise((0.0, *t)))
    return list(_critical_values(tuple(size / sizes[-1] for size in sizes), tuple(increments)))


@lru_cache(maxsize=256)
def _critical_values(t: tuple[float, ...], increments: tuple[float, ...]) -> tuple[float, ...]:
    nodes, weights = _nodes(PATH_NODES)
    values = []
    at = np.zeros(1)
    mass = np.ones(1)
    for k, share in enumerate(t):
        sd = math.sqrt(share - (t[k - 1] if k else 0.0))
        bound = _bound(at, mass, sd, increments[k])
        values.append(bound / math.sqrt(share))
        low = -REACH * math.sqrt(share)
        to = low + (nodes + 1) / 2 * (bound - low)
        at, mass = to, propagate(at, mass, to, sd) * weights * (bound - low) / 2
    return tuple(values)


@lru_cache(maxsize=4)
def _nodes(grid: int) -> tuple[Floats, Floats]:
    """Return Gauss-Legendre nodes and their weights. They are cached, because 200 nodes take 100
    ms to compute.
    """
    nodes, weights = np.polynomial.legendre.leggauss(grid)
    return nodes, weights


def _bound(at: Floats, mass: Floats, sd: float, increment: float) -> float:
    """Return the bound that paths exceed with probability `increment` after one normally
    distributed step.

    - `at` is the position of each path before the step.
    - `mass` is the probability of each path.
    - `sd` is the standard deviation of the step.
    """
    from scipy.optimize import brentq  # type: ignore[import-untyped, unused-ignore]

    return float(
        brentq(lambda bound: mass @ ndtr((at - bound) / sd) - increment, -10, 12, xtol=1e-10)
    )


def propagate(at: Floats, mass: Floats, to: Floats, sd: float) -> Floats:
    """Return the density of paths at the positions `to`, after one normally distributed step from
    the positions `at`.

    `mass` is the probability of each position before the step. `sd` is the standard deviation of
    the step.
    """
    return np.exp(-(((to[:, None] - at) / sd) ** 2) / 2) @ mass / (sd * math.sqrt(2 * math.pi))


def z_of(excess: float, se: float, df: float) -> float:
    """Return the distance beyond the margin as a standard normal deviate: Φ⁻¹(T_df(excess / SE)).

    If SE is 0, the result is ±inf, or 0 without excess.
    """
    if se == 0 or math.isinf(excess):
        return math.copysign(math.inf, excess) if excess else 0.0
    return math.copysign(float(ndtri(stdtr(df, -abs(excess / se)))), excess)


def bound_distance(c: float, df: float) -> float:
    """Return the distance of a bound from the estimate, in standard errors: T_df⁻¹(Φ(c)) at
    critical value `c`.
    """
    return -float(stdtrit(df, float(ndtr(-c))))


class ConditionalPower(NamedTuple):
    """The probabilities that a metric will pass, or will fail, at N pairs, given an interim
    analysis.

    - `passing` is the probability to pass.
    - `red` is the probability to fail.

    For each probability, the drift is assumed to be more favourable to this result than the
    estimate, by one standard error.
    """

    passing: float
    red: float


UNKNOWN = ConditionalPower(1.0, 1.0)
"""The conditional power of a metric that could not be tested yet: both results are still
possible."""


def conditional_power(z: float, t: float, c_pass: float, c_red: float) -> ConditionalPower:
    """Return the conditional power at an analysis with the share `t` of the information and the
    statistic `z`.

    `c_pass` and `c_red` are critical values of the last analysis: `c_pass` at error a, and `c_red`
    at a divided by the number of primary metrics.
    """
    if t >= 1 or not math.isfinite(z):
        return ConditionalPower(float(z <= -c_pass), float(z >= c_red))
    at = z * math.sqrt(t)
    left = 1 - t
    drift = at / t
    error = 1 / math.sqrt(t)
    passing = ndtr((-c_pass - at - (drift - error) * left) / math.sqrt(left))
    red = ndtr(-(c_red - at - (drift + error) * left) / math.sqrt(left))
    return ConditionalPower(float(passing), float(red))


def is_futile(
    open_metrics: Sequence[ConditionalPower], all_metrics: Sequence[ConditionalPower]
) -> bool:
    """Return whether a run is futile: an open metric is unlikely to pass, and all metrics are
    unlikely to fail.

    A stop because of futility does not change the type I error of any verdict.
    """
    return any(power.passing < FUTILITY_POWER for power in open_metrics) and all(
        power.red < FUTILITY_POWER for power in all_metrics
    )


NODES = 100
AWAY = 12.0
"""The half-width of the range in which the corrected drift is searched, in standard errors. The
plain estimate is in the middle."""


def distance(z: float, se: float, t: Sequence[float], c: Sequence[float]) -> float:
    """Return the corrected distance from the margin, in the unit of `se`.

    `t` and `c` are the shares of N and the critical values of the analyses, up to the deciding one.
    `z` is the statistic at the deciding analysis. If this is the first analysis, the distance is
    not corrected. `z` is a normal deviate. If it was computed from a t statistic, `se` must be the
    observed distance / z.
    """
    if not math.isfinite(z) or len(t) == 1:
        return z * se
    from scipy.optimize import brentq  # type: ignore[import-untyped, unused-ignore]

    s = abs(z) * math.sqrt(t[-1])
    width = AWAY / math.sqrt(t[0])
    plain = s / t[-1]
    drift = float(
        brentq(lambda w: above(w, s, t, c) - 0.5, plain - width, plain + width, xtol=1e-6)
    )
    return math.copysign(1.0, z) * drift * se * math.sqrt(t[-1])


def above(w: float, s: float, t: Sequence[float], c: Sequence[float]) -> float:
    """Return P(w): the probability of an upper stop before the last analysis, or of at least `s` at
    the last analysis.

    `w` is the drift. `t` and `c` are the shares of N and the critical values of the analyses.
    """
    bounds = [*(critical * math.sqrt(share) for share, critical in zip(t[:-1], c, strict=False)), s]
    reached = 0.0
    before = 0.0
    for (at, mass), bound, share in zip(_open(tuple(t[:-1]), tuple(c)), bounds, t, strict=True):
        drifted = mass * np.exp(w * at - w**2 * before / 2)
        reached += float(
            drifted @ ndtr((at + w * (share - before) - bound) / math.sqrt(share - before))
        )
        before = share
    return reached


@lru_cache(maxsize=256)
def _open(t: tuple[float, ...], c: tuple[float, ...]) -> list[tuple[Floats, Floats]]:
    """Return the positions and probabilities of the paths that have not stopped.

    The first element is the state before the first analysis; then there is one for each analysis.
    The paths have no drift, and lie between both bounds. A drift w only multiplies the weight of a
    path, which has the position S at time t, by exp(w·S − w²·t/2).
    """
    nodes, weights = _nodes(NODES)
    paths = [(np.zeros(1), np.ones(1))]
    before = 0.0
    for share, critical in zip(t, c, strict=False):
        bound = critical * math.sqrt(share)
        at, mass = paths[-1]
        paths.append(
            (
                nodes * bound,
                propagate(at, mass, nodes * bound, math.sqrt(share - before)) * weights * bound,
            )
        )
        before = share
    return paths


WIDER = 1e-6
"""The minimum difference of `z_within` and `z` that counts. If they differ by more, the upper bound
is wider than that of the standard error, and this wider bound decides."""


class StatisticEntry(ClosedJsonEntry, kw_only=True):
    """The statistic of one metric at an interim analysis.

    The unit is that of the difference: log of a ratio, or points.
    """

    d: Number
    """the difference of candidate and baseline"""
    excess: Number
    """the distance by which the candidate is worse than the margin allows"""
    se: Number
    df: Number
    untested: Reason | None
    """why the metric cannot be tested yet; null if it can"""
    order: Order | None
    """found in one target: the standard error is that of parts of the run"""


class InterimStatistic(StatisticEntry, kw_only=True):
    """One metric at one interim analysis.

    - `upper` is a function: it returns the upper bound of `excess` at a critical value.
    - `better` is 1 if less is better, −1 if more is better.
    - `unsettled` is a function: it returns why the metric has not passed at a critical value. It
      returns None if the interval shows the reason.
    - `is_provisional` is True if `order` is also significant at the type I error of a single test,
    `autocorrelation.FOUND`.
    """

    upper: Callable[[float], float]
    better: int = 1
    unsettled: Callable[[float], Reason | None] = lambda c: None
    is_provisional: bool = False

    @property
    def z(self) -> float:
        """The test statistic computed from the standard error; NaN if the metric cannot be tested
        yet.

        It decides whether the metric fails.
        """
        return math.nan if self.untested else z_of(self.excess, self.se, self.df)

    @property
    def z_within(self) -> float:
        """The test statistic computed from the upper bound of `excess`. It decides whether the
        metric passes.

        It is below −c if the upper bound at critical value c is below 0. For a rate with few
        failures, it is closer to 0 than `z`.
        """
        if self.untested or self.z >= 0 or self.upper(REACH) < 0:
            return self.z
        from scipy.optimize import brentq  # type: ignore[import-untyped, unused-ignore]

        return -float(brentq(self.upper, 0.0, REACH)) if self.upper(0.0) < 0 else 0.0

    def conditional_power(self, t: float, c_pass: float, c_red: float) -> ConditionalPower:
        """Return the conditional power: to pass, from the upper bound, and to fail, from the
        standard error.

        `t` is the share of the planned pairs. `c_pass` and `c_red` are critical values of the last
        analysis.
        """
        passing, red = (conditional_power(z, t, c_pass, c_red) for z in (self.z_within, self.z))
        return ConditionalPower(passing.passing, red.red)

    def inconclusive_reason(self, c: float) -> Reason | None:
        """Return why the metric neither passes nor fails at critical value `c`; None if its
        interval shows why.
        """
        return self.untested or (NOT_AFTER_HOLM if self.z >= c else self.unsettled(c))

    def estimates(
        self, c: float, t: Sequence[float], bounds: Sequence[float]
    ) -> tuple[float, float, float]:
        """Return the lower bound, the upper bound, and the corrected estimate of `d`.

        The bounds are those at critical value `c`, so they agree with the verdict. `t` and `bounds`
        describe the analyses up to this one: `t` is the share of the planned pairs, and `bounds` is
        the critical value that would have stopped the run.
        """
        if self.untested:
            return -math.inf, math.inf, math.nan
        margin = self.better * self.d - self.excess
        low = self.excess - bound_distance(c, self.df) * self.se
        high = self.upper(c)
        ends = sorted(self.better * (end + margin) for end in (low, high))
        if not math.isfinite(self.excess):
            return ends[0], ends[1], self.d
        z = self.z
        moved = self.excess
        # A bound wider than that of the standard error hardly stops a run by chance, so such a pass
        # is not corrected.
        if z and math.isfinite(z) and self.z_within - z <= WIDER:
            # z is a normal deviate, so se is excess / z
            moved = distance(z, self.excess / z, t, bounds)
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
    """Return the statistic of a metric whose upper bound is computed from its standard error
    alone.
    """

    def upper(c: float) -> float:
        return excess + bound_distance(c, df) * se

    return InterimStatistic(
        d=d,
        excess=excess,
        se=se,
        df=df,
        upper=upper,
        better=better,
        order=order,
        untested=None,
        is_provisional=is_provisional,
    )


def untestable(reason: Reason, d: float = math.nan) -> InterimStatistic:
    """Return the statistic of a metric that cannot be tested at this analysis."""
    return InterimStatistic(
        d=d,
        excess=math.nan,
        se=math.nan,
        df=math.nan,
        upper=lambda c: math.inf,
        untested=reason,
        order=None,
    )


def few_pairs(base: PerCluster, cand: PerCluster) -> Reason | None:
    """Return why a rate or a mean cannot be tested: too few pairs have turns. Return None if
    there are enough.
    """
    turns = base[1], cand[1]
    pairs = [count_nonzero(n) for n in turns]
    return floor_reason(
        None, (), pairs, "pair", effective_sessions=[effective_size(n) for n in turns]
    )
