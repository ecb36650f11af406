"""Bounds of the ratio of two quantiles by a test of shares of turns, with parts of a run as
clusters. Pure.

If stalls come in bursts, the log of a quantile may have two modes: in some resamples of the parts
the quantile is a stalled turn, in others it is not. Then d ∓ t·SE is no interval. But the share of
turns beyond a cut has one mode. q is the p-quantile of the baseline, S_b the share of its turns
beyond q, and S_c(x) the share of the candidate's turns beyond x. The p-quantile of the candidate is
above x if S_c(x) is above 1 − p. So it is compared with S_b, whose error is that of q:

    D(x) = S_c(x) − S_b
    bounds: the wider of D ∓ t·SE, as for rates of these parts, and D ∓ √(r_c² + r_b²)

r is the distance from the share S to its Beta bound. The effective number of turns is S(1 − S)(z /
(t·SE))², as for quantiles (`quantiles`). These bounds are not symmetric: if few bursts occurred, SE
is small by chance. The interval contains every x for which D may be 0. If turns of the baseline are
denser at q than turns of the candidate at x, it is too wide.

After: Woodruff, "Confidence intervals for medians and other position measures" (1952); Korn,
Graubard, "Confidence intervals for proportions with small expected number of positive counts
estimated from survey data" (1998).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import TYPE_CHECKING

import numpy as np

from reports.statistics.counting import without_warnings
from reports.statistics.differences import (
    Better,
    Difference,
    Inference,
    Margin,
    OneSidedBounds,
    excess_over_margin,
    student,
)
from reports.statistics.distributions import betaincinv, ndtri
from reports.statistics.rates import ClusterTotals, RatioEstimate, beyond, se_of_rates

if TYPE_CHECKING:
    from reports.statistics.arms import TwoSamples


def share_difference(
    samples: TwoSamples, p: float, margin: Margin, better: Better, inference: Inference
) -> Difference | None:
    """Compare a quantile of two targets. The clusters of `samples` are parts of the run.

    If steps are weighted, S_c is the share of the weights of the candidate's turns. Return None if
    a quantile is no positive number.
    """
    values = samples.cand.values
    q, value = samples.values(p)
    if not (0 < q < math.inf and 0 < value < math.inf):
        return None
    base = beyond(samples.base, q, samples.clusters[0])

    def tested(cut: float, sign: int = 1) -> OneSidedBounds:
        """Return the bounds of D at a cut, times `sign`, and the p-value of "D times `sign` is
        not above 0".
        """
        totals = ClusterTotals(
            base,
            beyond(samples.cand, cut, samples.clusters[1], samples.cand_weights),
            samples.paired,
        )
        error = se_of_rates(totals)
        first, second = totals.ratios
        first, second = (first, second) if sign > 0 else (second, first)
        (first_low, first_high), (low, high) = (
            _end_distances(ratio, inference.level) for ratio in (first, second)
        )
        d = second.value - first.value
        by_shares = OneSidedBounds(
            d - math.hypot(low, first_high), d + math.hypot(high, first_low), 0.0
        )
        return student(d, error.se, error.df, inference.level).wider_of(by_shares)

    finite = range(samples.cand.succeeded.size)
    too_low = bisect_left(finite, True, key=lambda index: tested(float(values[index])).low <= 0)
    last = bisect_left(finite, True, key=lambda index: tested(float(values[index])).high < 0)
    ends = (
        float(values[too_low - 1]) if too_low else 0.0,
        float(values[last]) if last < len(finite) else math.inf,
    )
    low, high = (q * math.exp(end) for end in _with_run_variance(ends, value, q, inference))
    both = np.full(2, q), np.array([low, high])
    with without_warnings():
        worse, good = (
            np.sort(excess_over_margin(pair, margin, better)) for pair in (both, both[::-1])
        )
        interval = np.log(both[1] / q).tolist()
    above = tested(max((1 + margin.ratio) * q, q + margin.plus)).p
    below = tested(min(q / (1 + margin.ratio), q - margin.plus), -1).p
    p_values = (above, below) if better == "lower" else (below, above)
    bad, better_by = (
        OneSidedBounds(float(distances[0]), float(distances[1]), p_value)
        for distances, p_value in zip((worse, good), p_values, strict=True)
    )
    return Difference(
        "ratio",
        q,
        value,
        math.log(value / q),
        interval[0],
        interval[1],
        worse=bad,
        better=better_by,
        level=inference.level,
    )


def _end_distances(ratio: RatioEstimate, level: float) -> tuple[float, float]:
    """Return the distances of the lower and of the upper Beta bound from the share; 0 if the
    parts do not vary.
    """
    share = ratio.value
    reach = ratio.reach(level)
    if not 0 < reach < math.inf:
        return 0.0, 0.0
    effective = share * (1 - share) * (float(ndtri(1 - level)) / reach) ** 2
    low = float(betaincinv(share * effective, (1 - share) * effective + 1, level))
    return (
        share - low,
        float(betaincinv(share * effective + 1, (1 - share) * effective, 1 - level)) - share,
    )


def _with_run_variance(
    ends: tuple[float, float], value: float, q: float, inference: Inference
) -> tuple[float, float]:
    """Return the logs of the ratios of the ends and q, with the assumed variation between runs.

    The squares of both distances from the estimate are added.
    """
    with without_warnings():
        low, high = np.log(np.array(ends) / q)
    d = math.log(value / q)
    reach = float(ndtri(1 - inference.level)) * math.sqrt(inference.run_variance)
    return d - math.hypot(d - low, reach), d + math.hypot(high - d, reach)
