"""Changes that quantiles over all turns do not show: the typical change, the worst step, and
slopes. Pure.

The p50 over all turns describes the median caller. `typical_change` describes the change of the
typical turn. Its value does not depend on which steps changed, and it needs fewer sessions. The log
of each latency is centred: the centre of its step is subtracted. Then the mean of the logs between
the ranks of 10 and 90 % is computed, separately for each target. With medians, many centred logs
would be exactly zero, and these ties would bias the change towards zero.

The sampling unit is the pair: one session of each target that start together. The standard error of
the trimmed mean is linearized. q_10 and q_90 are the quantiles of 10 and 90 %, and n is the number
of values of the target. Each value x contributes (clip(x, q_10, q_90) − mean of all clipped values)
/ 0.8 / n. For each of the G pairs, r is the sum of the candidate's contributions minus that of the
baseline's, and SE² = G/(G−1) · Σ r².

A slope describes how much a value y grows with another value x within a session. It is the
Theil-Sen estimator: the median of the slopes between all pairs of points of the session. A few
outliers do not change it much. The value of a target is the median slope of its sessions.

Slopes may be negative, so two targets are compared by d = median_cand − median_base. s_cand and
s_base are the slopes of the sessions. Monotone functions preserve quantiles, so for any K > 0

    d = K · (log median(exp(s_cand / K)) − log median(exp(s_base / K)))

This is a difference of two quantiles as in `differences`, and it has the same intervals, tests for
drift, and verdicts.

After: Theil, "A rank-invariant method of linear and polynomial regression analysis" (1950); Sen,
"Estimates of the regression coefficient based on Kendall's tau" (1968).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from reports.statistics.arms import TwoSamples, target_resamples
from reports.statistics.autocorrelation import latencies_by_order
from reports.statistics.bootstrap import variance
from reports.statistics.counting import Floats, Integers, distinct, without_warnings
from reports.statistics.differences import Better, Difference, Inference, Margin
from reports.statistics.distributions import stdtr
from reports.statistics.quantiles import Sample, quantile, sample

TRIM = 0.1
"""The share of values that the trimmed mean leaves out at each end."""
WORST_STEP_MARGIN = 0.2
MIN_TURNS = 20
"""The minimum number of turns that a step needs in each target."""


class StepLatencies(NamedTuple):
    """The latencies of one target. Failed turns are +inf.

    `steps` and `pairs` are the step and the pair of each latency, as codes from 0.
    """

    values: Floats
    steps: Integers
    pairs: Integers


@dataclass(frozen=True)
class LogRatio:
    """The log of the ratio of candidate to baseline, and its standard error over pairs. Both are
    NaN if undefined.
    """

    d: float
    se: float


class StepMedian(NamedTuple):
    """The ratio of both targets' medians of one step, and the p-value of "not worse than the
    margin".
    """

    step: int
    change: LogRatio
    p_worse: float


def typical_change(base: StepLatencies, cand: StepLatencies, pairs: int) -> LogRatio:
    """Return the metric `ttfa_typical_change`, over all steps.

    If 10 % or more of the turns failed, the change is undefined, and the failure rate decides. The
    centre of a step is the trimmed mean of the logs of both targets together. The standard error
    treats the centre as a constant.
    """
    values = np.r_[base.values, cand.values]
    steps = np.r_[base.steps, cand.steps]
    # the centre of each step; 0 for a step without a centre
    middle = np.zeros(int(steps.max(initial=-1)) + 1)
    for step in np.unique(steps):
        middle[step] = trimmed_mean(np.sort(logs_of(values[steps == step])))
    middle = np.nan_to_num(middle, posinf=0.0, neginf=0.0)
    logs = [logs_of(latencies.values) - middle[latencies.steps] for latencies in (base, cand)]
    first, second = (trimmed_mean(np.sort(target_logs)) for target_logs in logs)
    if pairs < 2 or not (math.isfinite(first) and math.isfinite(second)):
        return LogRatio(math.nan, math.nan)
    parts = []  # the contribution of each pair to the error of the trimmed mean
    for target_logs, latencies in zip(logs, (base, cand), strict=True):
        ascending = np.sort(target_logs)
        clipped = np.clip(target_logs, quantile(ascending, TRIM), quantile(ascending, 1 - TRIM))
        parts.append(
            np.bincount(latencies.pairs, clipped - clipped.mean(), pairs)
            / (1 - 2 * TRIM)
            / target_logs.size
        )
    return LogRatio(
        second - first, math.sqrt(pairs / (pairs - 1) * float(((parts[1] - parts[0]) ** 2).sum()))
    )


def logs_of(values: Floats) -> Floats:
    """Return the logs of latencies. One ≤ 0, a reply before the caller had finished, has −inf."""
    return np.log(values, out=np.full(values.shape, -np.inf), where=values > 0)


def trimmed_mean(ascending: Floats) -> float:
    """Return the mean of the values between the ranks of 10 and 90 %. The values must ascend.

    The result is NaN without values, and +inf if there are failures between these ranks. A rank may
    lie inside a value; then only a part of this value counts.
    """
    n = ascending.size
    if not n:
        return math.nan
    reached = np.arange(1, n + 1)
    weights = np.clip(reached, TRIM * n, (1 - TRIM) * n) - np.clip(
        reached - 1, TRIM * n, (1 - TRIM) * n
    )
    is_inside = weights > 0
    return float((ascending[is_inside] * weights[is_inside]).sum() / weights.sum())


def worst_step(
    base: StepLatencies, cand: StepLatencies, pairs: int, rng: np.random.Generator, *, draws: int
) -> list[StepMedian]:
    """Return the change of the median of each step, with a test against WORST_STEP_MARGIN.

    The steps most likely to be worse come first. Steps with few turns, or with an infinite median,
    are left out. If a resample has an infinite or missing median, it is left out of the variance.
    If fewer than half of the resamples remain, the variance is undefined, and the step is left out.
    """
    step_medians = []
    for step in np.intersect1d(base.steps, cand.steps):
        masks = base.steps == step, cand.steps == step
        first, second = (
            sample(latencies.values[mask], latencies.pairs[mask])
            for latencies, mask in zip((base, cand), masks, strict=True)
        )
        medians = [quantile(target_sample.values, 0.5) for target_sample in (first, second)]
        if min(first.n, second.n) < MIN_TURNS or not all(map(math.isfinite, medians)):
            continue
        low, high = target_resamples(
            TwoSamples(first, second, (pairs, pairs), paired=True), (0.5,), draws=draws, rng=rng
        )
        with without_warnings():
            log_ratios = (np.log(high) - np.log(low))[:, 0]
        change = LogRatio(math.log(medians[1] / medians[0]), math.sqrt(variance(log_ratios, 0.5)))
        if change.se > 0:
            p_worse = float(
                stdtr(pairs - 1, (math.log1p(WORST_STEP_MARGIN) - change.d) / change.se)
            )
            step_medians.append(StepMedian(int(step), change, p_worse))
    return sorted(step_medians, key=lambda step_median: step_median.p_worse)


POINTS = 4
"""The minimum number of points from which the slope of a session is computed."""
CELLS = 200_000
"""The maximum number of slopes between two points that are computed in one step."""
K = 1_000.0
"""The constant K of this module's docstring, in ms per 1,000 tokens. It is far larger than the
differences of slopes.
"""


def theil_sen(x: Floats, y: Floats, sessions: Integers, span: float) -> Sample:
    """Return the slope of each session, in ascending order.

    `sessions` is the session of each point (x, y). A session has a slope only if it has at least
    POINTS points, and if its largest x exceeds its smallest by at least `span`.
    """
    order = np.argsort(sessions, kind="stable")
    x = x[order]
    y = y[order]
    sessions = sessions[order]
    names, first, sizes = np.unique(sessions, return_index=True, return_counts=True)
    slopes = np.full(names.size, np.nan)
    for size in distinct(sizes[sizes >= POINTS]).tolist():
        alike = np.flatnonzero(sizes == size)
        i, j = np.triu_indices(size, 1)
        for start in range(0, alike.size, step := max(1, CELLS // i.size)):
            chunk = alike[start : start + step]
            rows = first[chunk][:, None] + np.arange(size)
            wide = np.ptp(x[rows], axis=1) >= span
            chunk = chunk[wide]
            rows = rows[wide]
            with without_warnings():
                between = (y[rows[:, j]] - y[rows[:, i]]) / (x[rows[:, j]] - x[rows[:, i]])
            slopes[chunk] = np.nanmedian(np.where(np.isfinite(between), between, np.nan), axis=1)
    known = np.flatnonzero(~np.isnan(slopes))
    known = known[np.argsort(slopes[known], kind="stable")]
    return Sample(slopes[known], names[known])


def slope_differences(
    samples: TwoSamples,
    margins: Sequence[tuple[float, Margin]],
    better: Better,
    inference: Inference,
) -> list[Difference]:
    """Compare quantiles of slopes. Only the `plus` of each margin is used.

    The run-to-run sd of `inference` is not used, because it is relative to a value.
    """
    base, cand = (
        replace(target_sample, values=np.exp(np.clip(target_sample.values / K, -500, 500)))
        for target_sample in (samples.base, samples.cand)
    )
    by_ratio = [(p, Margin(ratio=math.expm1(margin.plus / K))) for p, margin in margins]
    differences = latencies_by_order(
        replace(samples, base=base, cand=cand), by_ratio, better, replace(inference, run_sd=0.0)
    )
    return [
        replace(
            difference,
            scale="slope",
            baseline=quantile(samples.base.values, p),
            candidate=quantile(samples.cand.values, p),
            d=K * difference.d,
            low=K * difference.low,
            high=K * difference.high,
            se=K * difference.se,
            worse=difference.worse.scaled(K),
            better=difference.better.scaled(K),
        )
        for difference, (p, _) in zip(differences, margins, strict=True)
    ]
