"""Every gate of a comparison at one look, from the samples of its two arms by pair; pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.special import ndtr  # type: ignore[import-untyped, unused-ignore]

from reports.finding import none_seen
from reports.looks.sequence import Seen, by_se, not_yet
from reports.question import RATES
from reports.statistics.differences import Better, Difference, Margin, beyond, log_ratio
from reports.statistics.ordered import mean_by_order, quarter_draws, quarter_variance, waits_drift
from reports.statistics.quantiles import Floats, Sample, kish, quantile
from reports.statistics.rates import PerCluster, complement, rate_difference, ratio_of, upper_of_points
from reports.statistics.reasons import DRIFTING, Reason
from reports.statistics.resample import paired_draws, variance
from reports.statistics.serial import FOUND, QUARTERS
from reports.statistics.shares import sessions_without
from reports.statistics.verdicts import floor_reason

DRAWS = 2_000
ENDLESS = 0.01
"""Share of endless draws from which on a quantile is not tested."""


def quantiles_seen(
    base: Sample,
    cand: Sample,
    asked: Sequence[tuple[float, Margin]],
    *,
    pairs: int,
    better: Better,
    rng: np.random.Generator,
    draws: int = DRAWS,
    error: float = FOUND,
) -> list[Seen]:
    """Quantiles of one measure, with the standard errors of the same resampled pairs.

    Pairs without a value are drawn too, and are not counted in the degrees of freedom. Where an arm drifts by itself,
    quarters of the pairs are drawn; `error` is that of the tests of it.
    """
    clusters, ps = {"base_clusters": pairs, "cand_clusters": pairs}, [p for p, _ in asked]
    drawn = paired_draws(base, cand, ps, clusters=pairs, draws=draws, rng=rng)
    by_pairs = [
        _quantile_seen((base, cand), p, margin, (drawn[0][:, at], drawn[1][:, at]), better)
        for at, (p, margin) in enumerate(asked)
    ]
    if not waits_drift(base, cand, paired=True, **clusters, error=error):
        return by_pairs
    drawn = quarter_draws(base, cand, ps, paired=True, **clusters, rng=rng, draws=draws)
    return [
        _by_quarters(one, beyond((drawn[0][:, at], drawn[1][:, at]), margin, better))
        for at, (one, (_, margin)) in enumerate(zip(by_pairs, asked, strict=True))
    ]


def _by_quarters(seen: Seen, drawn: Floats) -> Seen:
    """The same gate by the error of quarters, where that is the larger one."""
    se = math.sqrt(quarter_variance(drawn))
    if seen.untested or math.isnan(se):
        return replace(seen if seen.untested else not_yet(DRIFTING, seen.d), drifts=True)
    return by_se(seen.d, seen.excess, max(se, seen.se), QUARTERS - 1, seen.better, drifts=True)


def _quantile_seen(
    arms: tuple[Sample, Sample], p: float, margin: Margin, drawn: tuple[Floats, Floats], better: Better
) -> Seen:
    base, cand = (np.array([quantile(arm.values, p)]) for arm in arms)
    d = float(log_ratio(cand, base)[0])
    worth = [kish(np.bincount(arm.sessions)) for arm in arms]
    sessions = [np.unique(arm.sessions).size for arm in arms]
    if few := floor_reason(p, [arm.n for arm in arms], sessions, "pair", worth=worth):
        return not_yet(few, d)
    excess = float(beyond((base, cand), margin, better)[0])
    se = math.sqrt(variance(beyond(drawn, margin, better), 1 - ENDLESS))
    if not math.isfinite(excess) or math.isnan(se):
        return not_yet(Reason("failed share, decides"), d)
    together = kish(np.bincount(np.concatenate([arm.sessions for arm in arms])))
    return by_se(d, excess, se, together - 1, 1 if better == "lower" else -1)


def rate_seen(
    base: PerCluster, cand: PerCluster, margin: Margin, measure: str = "failures", better: Better = "lower"
) -> Seen:
    """A rate; one of which more is better by what it leaves.

    Few failures make its standard error too small, so its upper bound is that of the rule for rates.
    """
    if few := _few_clusters(base, cand):
        return not_yet(few)
    if better == "higher":
        left = rate_seen(complement(base), complement(cand), margin, measure)
        return replace(left, d=-left.d, better=-1, unsettled=lambda c: None)
    words = bool(RATES[measure].words)
    difference = rate_difference(base, cand, margin, paired=True, words=words)
    one, other = ratio_of(base, words=words), ratio_of(cand, words=words)

    def upper(c: float) -> float:
        return upper_of_points(one, other, difference.se, difference.df, float(ndtr(-c))) - margin.points

    def unsettled(c: float) -> Reason | None:
        if other.value:
            return None
        level = float(ndtr(-c))
        needed = None if one.value else sessions_without(margin.points, level, other.clusters / other.longest)
        return none_seen(measure, other.clusters, level, needed, other.longest)

    return Seen(difference.d, difference.d - margin.points, difference.se, difference.df, upper, unsettled=unsettled)


def mean_seen(base: PerCluster, cand: PerCluster, margin: Margin, better: Better, error: float = FOUND) -> Seen:
    """A mean of good turns."""
    if few := _few_clusters(base, cand):
        return not_yet(few)
    difference = mean_by_order(base, cand, margin, paired=True, better=better, error=error)
    excess = _excess(difference, margin, better)
    if not math.isfinite(excess):
        return not_yet(Reason("not positive"), difference.d)
    return by_se(
        difference.d, excess, difference.se, difference.df, 1 if better == "lower" else -1, drifts=difference.drifts
    )


def _excess(difference: Difference, margin: Margin, better: Better) -> float:
    return float(beyond((np.array([difference.baseline]), np.array([difference.candidate])), margin, better)[0])


def _few_clusters(base: PerCluster, cand: PerCluster) -> Reason | None:
    """A rate or a mean needs pairs that have turns in both arms."""
    arms = base[1], cand[1]
    return floor_reason(None, (), [int(np.count_nonzero(n)) for n in arms], "pair", worth=[kish(n) for n in arms])
