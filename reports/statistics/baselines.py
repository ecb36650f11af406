"""The comparison of a candidate with stored runs of the same workload. Pure.

Two runs differ by more than their sessions explain: an unchanged service drifts by some percent
from run to run, and a test that knows only sessions takes that for a change. From five stored runs
on, their standard deviation estimates the run-to-run variation. There are R stored runs. For run r,
y_r is the log of its quantile q, and V_r is the variance of y_r from the sessions inside the run. s
is the standard deviation of all y_r. The candidate has y_c and V_c:

    R ≥ 5   SE = max(√(V_c + mean(V_r)/R), s·√(1 + 1/R))
            df = R−1 if the second is larger, else Welch's
    R < 5   SE² = V_c + mean(V_r)/R + run_sd²·(1 + 1/R)
            Welch's df; run_sd is assumed, so provisional

The bounds are d ∓ t·SE of d = y_c − mean(y_r). Rates are compared in the same way, but without
logs. If there are fewer than five stored runs, a run-to-run sd of the log odds is assumed; for a
rate r, the run-to-run sd is then this sd times r(1 − r).

Drift and bursts make V too small. They are found in the candidate by the tests of
`reports.statistics.autocorrelation`. A stored run has U_r, which is V_r with the k parts of the run
as clusters. If sessions are independent, (k − 1)·ΣU_r / mean(V_r) has a χ² distribution with R(k −
1) degrees of freedom, which is tested too. If one of these tests is significant, a second interval
is computed with parts as clusters, and the wider bounds are used. In an unchanged service U is the
same in all runs, but some runs have no burst by chance. So no run has a U below that of the others:

    U = mean(U_r)     V_c := max(U_c, U)     mean(V_r) := max(U, (U_c + R·U)/(R + 1))
    Welch's df, k − 1 for each run

U is scaled to the number of sessions.

A quantile may be 0, which has no log. If the candidate is 0, it is not above any stored run. If
also no stored run is 0, it is below all of them. A candidate above 0 has no ratio to a stored 0,
and the comparison is inconclusive.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from reports.statistics.autocorrelation import (
    BURST_ALPHA_FACTOR,
    FOUND,
    PARTS,
    log_variances_by_parts,
    wider,
)
from reports.statistics.bootstrap import RESAMPLES, resampled_quantiles
from reports.statistics.differences import (
    Better,
    Difference,
    Inference,
    Margin,
    OneSidedBounds,
    Order,
    StandardError,
    log_variance,
    welch,
)
from reports.statistics.distributions import chdtrc
from reports.statistics.quantiles import Sample, quantile
from reports.statistics.rates import (
    RatioEstimate,
    between_runs,
    log_difference,
    mirrored,
    points_difference,
)

if TYPE_CHECKING:
    from reports.statistics.counting import Floats

MIN_STORED_RUNS = 5
"""The minimum number of stored runs to estimate the run-to-run variation."""
RUN_SD = 0.05
RATE_RUN_SD = 0.3
"""The run-to-run sd that is assumed if there are fewer stored runs than MIN_STORED_RUNS.

RUN_SD is the sd of the log of a quantile. RATE_RUN_SD is the sd of the log odds of a rate.
"""


class StoredValue(NamedTuple):
    """A quantile of one run, stored for later comparisons.

    - `log_q` is the log of the quantile; −inf if the quantile is 0.
    - `variance` is the variance of this log from the sessions of the run. Resamples with an
      infinite quantile are left out.
    - `infinite_share` is the share of resamples whose quantile is infinite, because it lies among
      failed turns.
    - `above` is the share of resamples whose quantile is above 0. It is set only if the quantile is
      0.
    - `by_parts` is the variance of the log with parts of the run as clusters; NaN if it is unknown,
      or if too many resamples are infinite.
    """

    log_q: float
    variance: float
    infinite_share: float = 0.0
    above: float = 0.0
    by_parts: float = math.nan


def stored_quantile(
    sample: Sample,
    p: float,
    clusters: int,
    rng: np.random.Generator,
    draws: int = RESAMPLES,
    *,
    order: Order | None = None,
) -> StoredValue | None:
    """Return a quantile with the data that comparisons need; None if the quantile is unknown or
    below 0.

    `order` is the type of autocorrelation for which `by_parts` is computed.
    """
    value = quantile(sample.values, p)
    if not value >= 0:
        return None
    resamples = resampled_quantiles(sample, [p], clusters=clusters, draws=draws, rng=rng)[:, 0]
    infinite_share = float(np.isinf(resamples).mean())
    if not value:
        return StoredValue(-math.inf, 0.0, infinite_share, float((resamples > 0).mean()))
    by_parts = (
        log_variances_by_parts(sample, [p], clusters, PARTS[order], draws, rng)[0]
        if order
        else math.nan
    )
    return StoredValue(math.log(value), log_variance(resamples), infinite_share, by_parts=by_parts)


def against_stored(
    candidate: StoredValue,
    stored: Sequence[StoredValue],
    clusters: tuple[float, int],
    margin: Margin,
    better: Better,
    inference: Inference,
    order: Order | None = None,
) -> Difference:
    """Compare a quantile with the same quantile of stored runs.

    `order` is the type of autocorrelation that was found in a run, for which each value has
    `by_parts`.

    `clusters` is the effective number of sessions of the candidate, and of all stored runs
    together. An infinite estimate of the candidate decides nothing alone: its resamples decide. If
    at least 1 − α of them are infinite, the candidate is worse than any margin. If more than α of
    them are infinite, the candidate cannot be "not worse". α is the `level` of `inference`.
    """
    runs = len(stored)
    logs = np.array([run.log_q for run in stored])
    if -math.inf in (candidate.log_q, *logs):
        return _with_zero(candidate, logs, margin, better, inference.level)
    mean = float(logs.mean()) if np.isfinite(logs).all() else math.inf
    values = math.exp(mean), math.exp(candidate.log_q)
    between = inference.run_sd**2 * (1 + 1 / runs)
    inside = candidate.variance, float(np.mean([run.variance for run in stored])) / runs
    error = _standard_error(logs, inside, clusters, between)
    difference = log_difference(values, error, margin, better, inference.level)
    open_low = math.isinf(mean) or max(run.infinite_share for run in stored) > inference.level
    usual = _with_infinite(difference, candidate.infinite_share, open_low, better, inference.level)
    if not order:
        return usual
    inside = _inside_by_parts(
        [run.by_parts for run in (candidate, *stored)], runs * clusters[0] / clusters[1]
    )
    error = _standard_error(logs, inside, _parts_of(order, runs), between)
    return wider(usual, log_difference(values, error, margin, better, inference.level), order)


def no_ratio(difference: Difference) -> bool:
    """Return whether the ratio is undefined because the candidate is above 0 and the baseline is 0.

    The baseline is 0 if the quantile of at least one stored run is 0.
    """
    return math.isnan(difference.d) and difference.baseline == 0 < difference.candidate


def _with_zero(
    candidate: StoredValue, logs: Floats, margin: Margin, better: Better, level: float
) -> Difference:
    """Compare a quantile with stored runs, if it is 0 in the candidate or in a stored run.

    `logs` is the log of the quantile of each stored run. The candidate counts as 0 only if at most
    `level` of its resamples are above 0.
    """
    is_zero = np.isneginf(logs)
    baseline = 0.0 if is_zero.any() else math.exp(float(logs.mean()))
    difference = Difference(
        "ratio", baseline, math.exp(candidate.log_q), math.nan, -math.inf, math.inf, level=level
    )
    if candidate.log_q > -math.inf or candidate.above > level:
        return difference
    if is_zero.all():
        inside = -math.log1p(margin.ratio)
        same = OneSidedBounds(inside, inside)
        return replace(difference, d=0.0, low=0.0, high=0.0, worse=same, better=same)
    if is_zero.any():  # not above any stored run, but a ratio to the runs at 0 does not exist
        return replace(
            difference,
            high=0.0,
            worse=OneSidedBounds(high=-math.inf if better == "lower" else math.inf),
        )
    below = OneSidedBounds(high=-math.inf)
    above = OneSidedBounds(low=math.inf, p=0.0)
    worse, good = (above, below) if better == "higher" else (below, above)
    return replace(difference, d=-math.inf, high=-math.inf, worse=worse, better=good)


def rate_against_stored(
    candidate: RatioEstimate,
    stored: Sequence[RatioEstimate],
    margin: Margin,
    *,
    better: Better = "lower",
    inference: Inference,
    bursts: bool = False,
) -> Difference:
    """Compare a rate of one run with the same rate of stored runs.

    `autocorrelation.with_sixths` computes each of these estimates. `bursts` is True if the events
    of a run come in bursts.
    """
    if better == "higher":
        complements = [rate.left() for rate in (candidate, *stored)]
        return mirrored(
            rate_against_stored(
                complements[0], complements[1:], margin, inference=inference, bursts=bursts
            )
        )
    runs = len(stored)
    shares = np.array([run.value for run in stored])
    within = float(np.mean([run.variance for run in stored])) / runs
    clusters = sum(run.clusters for run in stored)
    pooled = RatioEstimate(float(shares.mean()), within, sum(run.turns for run in stored), clusters)
    assumed = (
        between_runs([candidate.value], inference.rate_run_sd)
        + between_runs(shares, inference.rate_run_sd) / runs**2
    )
    error = _standard_error(
        shares, (candidate.variance, within), (candidate.effective_sessions, clusters), assumed
    )
    error = replace(error, clusters=candidate.clusters)
    usual = points_difference(pooled, candidate, error, margin, inference.level)
    if not bursts:
        return usual
    inside = _inside_by_parts(
        [rate.by_sixths for rate in (candidate, *stored)], runs * candidate.clusters / clusters
    )
    error = _standard_error(shares, inside, _parts_of("bursts", runs), assumed)
    return wider(
        usual, points_difference(pooled, candidate, error, margin, inference.level), "bursts"
    )


def vary_by_parts(variances: Sequence[tuple[float, float]], order: Order) -> bool:
    """Return whether stored runs vary more between their parts than independent sessions explain.

    `variances` has for each run the variance between sessions, and that between parts.
    """
    known = np.array([pair for pair in variances if all(map(math.isfinite, pair))]).reshape(-1, 2)
    df = len(known) * (PARTS[order] - 1)
    between_sessions, between_parts = known.sum(axis=0)
    return bool(
        between_sessions > 0
        and chdtrc(df, df * between_parts / between_sessions) < BURST_ALPHA_FACTOR * FOUND
    )


def _parts_of(order: Order, runs: int) -> tuple[float, float]:
    """Return the number of clusters of the candidate, and of all stored runs, if parts of the
    runs are the clusters.
    """
    return PARTS[order], runs * (PARTS[order] - 1) + 1


def _inside_by_parts(by_parts: Sequence[float], sessions: float) -> tuple[float, float]:
    """Return the variance inside the candidate, and that of the mean of the stored runs, with parts
    as clusters.

    - `by_parts` is the variance of each run with parts as clusters, the candidate first.
    - `sessions` is the number of the candidate's sessions divided by that of a stored run.
    """
    own = by_parts[0]
    mean = float(np.mean(by_parts[1:]))
    runs = len(by_parts) - 1
    pooled = (own * sessions + runs * mean) / (runs + 1)
    return float(np.maximum(own, mean / sessions)), float(np.maximum(mean, pooled)) / runs


def _standard_error(
    values: Floats, inside: tuple[float, float], clusters: tuple[float, float], between: float
) -> StandardError:
    """Return the standard error of the difference: the candidate minus the mean of the stored runs.

    - `values` is the value of each stored run.
    - `inside` is the variance from the sessions inside the runs: of the candidate, and of the mean
      of the stored runs.
    - `clusters` is the effective number of sessions: of the candidate, and of all stored runs.
    - `between` is the run-to-run variance. It is added if there are too few stored runs to estimate
      it.
    """
    runs = values.size
    known = values.size >= MIN_STORED_RUNS and bool(np.isfinite(values).all())
    se = math.sqrt(sum(inside) + (0.0 if known else between))
    run_se = float(values.std(ddof=1)) * math.sqrt(1 + 1 / runs) if known else 0.0
    if run_se > se:
        return StandardError(run_se, float(runs - 1), round(clusters[0]), run_se**2, alone=True)
    return StandardError(
        se, welch(inside, clusters), round(clusters[0]), se**2 - inside[0], alone=True
    )


def _with_infinite(
    difference: Difference, infinite_share: float, base_open: bool, better: Better, level: float
) -> Difference:
    """Widen the bounds if resamples are infinite because turns failed.

    - `infinite_share` is the share of the candidate's resamples that are infinite.
    - `base_open` is True if too many resamples of a stored run are infinite.

    If more is better, return the bounds unchanged.
    """
    if better == "higher" or not (infinite_share or base_open or math.isinf(difference.candidate)):
        return difference
    worse = difference.worse
    good = difference.better
    if base_open:
        difference = replace(difference, low=-math.inf)
        worse = OneSidedBounds(high=worse.high)
        good = replace(good, high=math.inf)
    if infinite_share >= 1 - level and not base_open:
        difference = replace(difference, low=math.inf, high=math.inf)
        worse = OneSidedBounds(math.inf, math.inf, max(0.0, 1 - infinite_share))
        good = OneSidedBounds(high=-math.inf)
    elif infinite_share > level:
        difference = replace(difference, high=math.inf)
        worse = replace(worse, high=math.inf)
        good = replace(good, low=-math.inf, p=1.0)
    return replace(difference, worse=worse, better=good)
