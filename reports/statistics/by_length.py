"""Comparisons in which the change depends on the length of sessions, and a few sessions have many
of the turns. Pure.

If the candidate differs from the baseline in long sessions more, or less, than in short ones, the
difference of a quantile over turns depends on the few longest sessions. Resamples cannot contain
longer ones. So the upper bound of the difference also allows for an unseen session of each target
if long sessions increase the difference, and the lower bound if they decrease it. L_c, U_c, L_b and
U_b are the one-sided bounds of the quantiles q_c and q_b that allow for it (`quantiles`). With all
values as logs, the bounds of d = q_c − q_b are (method of variance estimates recovery, without the
correlation of pairs):

    d − √((q_c − L_c)² + (U_b − q_b)²)      d + √((U_c − q_c)² + (q_b − L_b)²)

If the candidate's turns are weighted (`arms`), the length of a session is the sum of the weights of
its turns. If a sample has only some turns of its sessions, their lengths are unknown, and nothing
is tested.

After: Zou, Donner, "Construction of confidence limits about effect measures: a general approach"
(2008).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from reports.statistics.counting import (
    Floats,
    Integers,
    count_nonzero,
    order_of_values,
    rank_correlation,
    without_warnings,
)
from reports.statistics.distributions import ndtr, ndtri
from reports.statistics.quantiles import Sample, lower_with_unseen, quantiles, upper_with_unseen
from reports.statistics.unseen import DEPENDENCE_ALPHA, MAX_LENGTH_RATIO, MIN_SESSIONS

if TYPE_CHECKING:
    from reports.statistics.arms import TwoSamples

Lengths = Integers | Floats
MIN_LONG = 4
"""The number of long, and of other, sessions above which they are compared."""


def changes_by_length(samples: TwoSamples) -> Literal[-1, 0, 1]:
    """Return 1 if long sessions increase the candidate's quantile, −1 if they decrease it, 0 if
    neither is found.

    Two tests are made, each at half of DEPENDENCE_ALPHA, of the turns of a pair and the difference
    of its targets; for other sessions, of the difference between both targets. One compares rank
    correlations (Fisher's z). The other compares the longest sessions, which have half of the
    turns, with all others.
    """
    if not (samples.base.has_whole_sessions and samples.cand.has_whole_sessions):
        return 0
    both = (samples.base, samples.cand)
    weights = (None, samples.cand_weights)
    lengths = [
        _lengths(*of_target) for of_target in zip(both, weights, samples.clusters, strict=True)
    ]
    used = [of_target > 0 for of_target in lengths]
    if samples.paired:
        used = [used[0] & used[1]] * 2
    if min(count_nonzero(chosen) for chosen in used) < MIN_SESSIONS:
        return 0
    counts = [of_target[chosen] for of_target, chosen in zip(lengths, used, strict=True)]
    if all(of_target.max() < MAX_LENGTH_RATIO * of_target.mean() for of_target in counts):
        return 0
    base, cand = _levels(samples, weights, lengths)
    if samples.paired:
        deviates = _deviates([counts[0] + counts[1]], [(cand - base)[used[0]]])
    else:
        deviates = _deviates(
            counts, [levels[chosen] for levels, chosen in zip((base, cand), used, strict=True)]
        )
    largest = max(deviates, key=abs)
    if 2 * float(ndtr(-abs(largest))) >= DEPENDENCE_ALPHA / len(deviates):
        return 0
    return 1 if largest > 0 else -1


def _lengths(sample: Sample, weights: Floats | None, clusters: int = 0) -> Lengths:
    """Return the length of each session. Rounding errors of sums of weights are removed, so that
    ties remain.
    """
    lengths: Lengths = np.bincount(sample.sessions, weights, clusters)
    return lengths if weights is None else lengths.round(9)


def _deviates(lengths: Sequence[Lengths], levels: Sequence[Floats]) -> tuple[float, float]:
    """Return the normal deviates of both tests, above 0 if long sessions have higher levels."""
    z = 0.0
    variance = 0.0
    gap = 0.0
    error = 0.0
    for sign, turns, of_session in zip((-1, 1)[-len(levels) :], lengths, levels, strict=True):
        z += sign * math.atanh(max(-0.999999, min(0.999999, rank_correlation(turns, of_session))))
        variance += 1 / (turns.size - 3)
        ascending = np.sort(turns)
        is_long = turns >= ascending[np.searchsorted(np.cumsum(ascending), ascending.sum() / 2)]
        groups = of_session[is_long], of_session[~is_long]
        if min(group.size for group in groups) > MIN_LONG:
            gap += sign * float(groups[0].mean() - groups[1].mean())
            error += sum(float(group.var(ddof=1)) / group.size for group in groups)
    return z / math.sqrt(variance), gap / math.sqrt(error) if error else 0.0


def _levels(
    samples: TwoSamples, weights: Sequence[Floats | None], lengths: Sequence[Lengths]
) -> tuple[Floats, Floats]:
    """Return the mean rank of the turns of each session among all turns of both targets; NaN
    without turns.
    """
    values = np.concatenate([samples.base.values, samples.cand.values])
    position = np.empty(values.size)
    position[order_of_values(values)] = np.arange(values.size)
    of_target = position[: samples.base.n], position[samples.base.n :]
    with without_warnings():
        first, second = (
            np.bincount(sample.sessions, of_sample if own is None else own * of_sample, size.size)
            / size
            for sample, of_sample, own, size in zip(
                (samples.base, samples.cand), of_target, weights, lengths, strict=True
            )
        )
    return first, second


def reaches(samples: TwoSamples, p: float, level: float) -> tuple[float, float]:
    """Return the distances of the lower and of the upper bound from the log ratio; inf if a
    bound is open.
    """
    both = zip(
        (samples.base, samples.cand), (None, samples.cand_weights), samples.values(p), strict=True
    )
    (low_b, high_b), (low_c, high_c) = (_reaches(*of_target, p, level) for of_target in both)
    return math.hypot(low_c, high_b), math.hypot(high_c, low_b)


def _reaches(
    sample: Sample, weights: Floats | None, value: float, p: float, level: float
) -> tuple[float, float]:
    """Return the distances of both bounds of a quantile from its `value`, as logs.

    They are inf if a bound or the quantile has no log.
    """
    if not 0 < value < math.inf:
        return math.inf, math.inf
    low = value
    high = value
    of_session = _lengths(sample, weights)
    if weights is None:
        (estimate,) = quantiles(sample, [p], 1 - 2 * level, unseen=False)
        low = estimate.low
        high = estimate.high
    low = lower_with_unseen(sample, of_session, p, level, low, weights)
    high = upper_with_unseen(sample, of_session, p, level, high, weights)
    return math.log(value / low) if low > 0 else math.inf, math.log(high / value)


def p_value(excess: float, reach: float, level: float) -> float:
    """Return the p-value of "not above 0" of a value whose lower bound at `level` is `reach`
    below it; 0 if it is 0.
    """
    if not reach:
        return 0.0
    return float(ndtr(-excess / reach * float(ndtri(1 - level)))) if 0 < reach < math.inf else 1.0
