"""A candidate against stored runs of the same workload; pure.

Between two runs lies more than what sessions tell: an unchanged service drifts by some percent from run to run, and a
test that knows only of sessions takes that for a change. From five stored runs on, their own spread says how much.
With y_r = log q of run r of R, V_r its variance from the sessions inside the run, and s = sd(y_r):

    R ≥ 5   SE = max(√(V_c + mean(V_r)/R), s·√(1 + 1/R))           df = R−1 if the second is larger, else Welch's
    R < 5   SE² = V_c + mean(V_r)/R + run_sd²·(1 + 1/R)            Welch's df; run_sd is assumed, so provisional

and the bounds are d ∓ t·SE of d = y_c − mean(y_r). Rates alike without logs, with the sd of log odds that is assumed
of few runs: run_sd·r(1 − r) of each rate r.

A quantile may be 0, which has no log. A candidate at 0 is no more than any stored run, and less than all of them where
none is 0; a candidate above 0 has no ratio to a stored 0, and nothing is decided.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from reports.statistics import differences
from reports.statistics.bootstrap import DRAWS, quantile_draws
from reports.statistics.counting import Floats
from reports.statistics.differences import Better, Difference, Inference, Margin, OneSidedBounds, StandardError
from reports.statistics.quantiles import Sample, quantile
from reports.statistics.rates import RatioEstimate, between_runs, log_difference, mirrored, points_difference

KNOWN = 5
"""Stored runs from which on their own spread is used."""
RUN_SD, RATE_RUN_SD = 0.05, 0.3
"""Assumed from run to run if fewer are stored: sd of the log of a quantile, and of the log odds of a rate."""


@dataclass(frozen=True)
class StoredValue:
    """A figure of one run: the log of a quantile (−inf of 0), and its variance from the sessions in the run.

    `endless`: the share of resamples whose quantile lies among the failed turns; they are not in the variance.
    `above`: of a figure of 0 the share of resamples that lie above it.
    """

    log_q: float
    variance: float
    endless: float = 0.0
    above: float = 0.0


def stored_quantile(
    sample: Sample, p: float, clusters: int, rng: np.random.Generator, draws: int = DRAWS
) -> StoredValue | None:
    """A quantile as a later candidate or baseline needs it; None where there is none, or it is below 0."""
    value = quantile(sample.values, p)
    if not value >= 0:
        return None
    drawn = quantile_draws(sample, [p], clusters=clusters, draws=draws, rng=rng)[:, 0]
    endless = float(np.isinf(drawn).mean())
    if not value:
        return StoredValue(-math.inf, 0.0, endless, float((drawn > 0).mean()))
    return StoredValue(math.log(value), differences.log_variance(drawn), endless)


def against_stored(
    candidate: StoredValue,
    stored: Sequence[StoredValue],
    clusters: tuple[float, int],
    margin: Margin,
    better: Better,
    how: Inference,
) -> Difference:
    """Compare a figure with that of stored runs. `clusters`: effective sessions of the candidate, and all stored ones.

    A point estimate among the failed turns decides nothing: the candidate is worse than any margin only if its
    resamples are, all but the level of them; and not worse only if not more than the level of them are.
    """
    runs, logs = len(stored), np.array([run.log_q for run in stored])
    if -math.inf in (candidate.log_q, *logs):
        return _with_nothing(candidate, logs, margin, better, how.level)
    mean = float(logs.mean()) if np.isfinite(logs).all() else math.inf
    inside = candidate.variance, float(np.mean([run.variance for run in stored])) / runs
    error = _error(logs, inside, clusters, how.run_sd**2 * (1 + 1 / runs))
    found = log_difference((math.exp(mean), math.exp(candidate.log_q)), error, margin, better, how.level)
    open_low = math.isinf(mean) or max(run.endless for run in stored) > how.level
    return _with_endless(found, candidate.endless, open_low, better, how.level)


def no_ratio(difference: Difference) -> bool:
    """Whether nothing is known because a figure above 0 was held against stored runs of which one at least has 0."""
    return math.isnan(difference.d) and difference.baseline == 0 < difference.candidate


def _with_nothing(candidate: StoredValue, logs: Floats, margin: Margin, better: Better, level: float) -> Difference:
    """Compare if the candidate or a stored run is 0. It surely is if at most the level of its resamples lie above."""
    at_nothing = np.isneginf(logs)
    baseline = 0.0 if at_nothing.any() else math.exp(float(logs.mean()))
    found = Difference("ratio", baseline, math.exp(candidate.log_q), math.nan, -math.inf, math.inf, level=level)
    if candidate.log_q > -math.inf or candidate.above > level:
        return found
    if at_nothing.all():
        inside = -math.log1p(margin.ratio)
        same = OneSidedBounds(inside, inside)
        return replace(found, d=0.0, low=0.0, high=0.0, worse=same, better=same)
    if at_nothing.any():  # no more than any of them, and no ratio to tell how much less
        return replace(found, high=0.0, worse=OneSidedBounds(high=-math.inf if better == "lower" else math.inf))
    below, above = OneSidedBounds(high=-math.inf), OneSidedBounds(low=math.inf, p=0.0)
    worse, good = (above, below) if better == "higher" else (below, above)
    return replace(found, d=-math.inf, high=-math.inf, worse=worse, better=good)


def rate_against_stored(
    candidate: RatioEstimate,
    stored: Sequence[RatioEstimate],
    margin: Margin,
    *,
    better: Better = "lower",
    how: Inference,
) -> Difference:
    """A rate of a run against the same of stored runs, each as `rates.ratio_of` gives it."""
    if better == "higher":
        left = [rate.left() for rate in (candidate, *stored)]
        return mirrored(rate_against_stored(left[0], left[1:], margin, how=how))
    runs, shares = len(stored), np.array([run.value for run in stored])
    within = float(np.mean([run.variance for run in stored])) / runs
    clusters = sum(run.clusters for run in stored)
    pooled = RatioEstimate(float(shares.mean()), within, sum(run.turns for run in stored), clusters)
    assumed = between_runs([candidate.value], how.rate_run_sd) + between_runs(shares, how.rate_run_sd) / runs**2
    error = _error(shares, (candidate.variance, within), (candidate.effective_sessions, clusters), assumed)
    return points_difference(pooled, candidate, replace(error, clusters=candidate.clusters), margin, how.level)


def _error(
    figures: Floats, inside: tuple[float, float], clusters: tuple[float, float], between: float
) -> StandardError:
    """Return that of candidate − mean. `inside`: variances from sessions; `between`: what is assumed of few runs."""
    runs, known = figures.size, figures.size >= KNOWN and bool(np.isfinite(figures).all())
    se = math.sqrt(sum(inside) + (0.0 if known else between))
    spread = float(figures.std(ddof=1)) * math.sqrt(1 + 1 / runs) if known else 0.0
    if spread > se:
        return StandardError(spread, float(runs - 1), round(clusters[0]), spread**2, alone=True)
    df, fixed, assumed = differences.welch(inside, clusters), se**2 - inside[0], 0.0 if known else between
    return StandardError(se, df, round(clusters[0]), fixed, alone=True, assumed=assumed)


def _with_endless(found: Difference, endless: float, base_open: bool, better: Better, level: float) -> Difference:
    """The bounds, where resamples of either side lie among the failed turns (of waits: less is better)."""
    if better == "higher" or not (endless or base_open or math.isinf(found.candidate)):
        return found
    worse, good = found.worse, found.better
    if base_open:
        found = replace(found, low=-math.inf)
        worse, good = OneSidedBounds(high=worse.high), replace(good, high=math.inf)
    if endless >= 1 - level and not base_open:
        found = replace(found, low=math.inf, high=math.inf)
        worse, good = OneSidedBounds(math.inf, math.inf, max(0.0, 1 - endless)), OneSidedBounds(high=-math.inf)
    elif endless > level:
        found = replace(found, high=math.inf)
        worse, good = replace(worse, high=math.inf), replace(good, low=-math.inf, p=1.0)
    return replace(found, worse=worse, better=good)
