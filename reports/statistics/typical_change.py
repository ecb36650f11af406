"""Changes within sessions and steps, in addition to pooled quantiles: the typical change, the worst step, slopes; pure.

The pooled p50 asks what a caller in the middle feels. `centre` asks how much the typical turn changed, whatever its
step: it reads the same wherever a change sits, and needs fewer sessions. Logs are centred by step, and a mean between
the ranks of 10 and 90 % is taken of what is left; medians would put ties at zero and pull it towards no difference.

Pairs are the sampling unit: a pair is a session of each arm that began together, and its share in both arms is one
number. The standard error of a trimmed mean is linearised: with q the quantiles of 10 and 90 %, each value x counts
(clip(x, q_10, q_90) − their mean) / 0.8 / n, these are added up by pair, and SE² = G/(G−1) · Σ r².

A slope says how a value grows with another within a session. That of a session is Theil's and Sen's: the median of the
slopes between any two of its points, which a few outliers do not move. An arm's figure is the median over its sessions,
of which each has one value.

Slopes may be negative, so two arms differ by d = median_cand − median_base. A quantile keeps its rank under whatever
grows, so with any K > 0

    d = K · (log median(exp(s_cand / K)) − log median(exp(s_base / K)))

which is the difference of two quantiles as `differences` has it, with its intervals, tests of drift and verdicts.

After: Theil, "A rank-invariant method of linear and polynomial regression analysis" (1950); Sen, "Estimates of the
regression coefficient based on Kendall's tau" (1968).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import stdtr  # type: ignore[import-untyped, unused-ignore]

from reports.statistics.arms import TwoSamples, arm_draws
from reports.statistics.autocorrelation import waits_by_order
from reports.statistics.bootstrap import variance
from reports.statistics.counting import Floats, Integers, distinct
from reports.statistics.differences import Better, Difference, Inference, Margin
from reports.statistics.quantiles import Sample, quantile, sample

TRIM = 0.1
"""Left out at either end."""
WORST_MARGIN = 0.2
LEAST_TURNS = 20
"""Turns of a step in each arm, before it is looked at."""


@dataclass(frozen=True)
class StepLatencies:
    """Waits of one arm with the step and the pair of each, as codes from 0; failed ones are +inf."""

    values: Floats
    steps: Integers
    pairs: Integers


@dataclass(frozen=True)
class LogRatio:
    """The log of a ratio of candidate to baseline with its standard error over pairs; NaN where undefined."""

    d: float
    se: float


@dataclass(frozen=True)
class StepMedian:
    """One step's own ratio of medians. `p_worse`: of "not worse than the margin"."""

    step: int
    change: LogRatio
    p_worse: float


def centre(base: StepLatencies, cand: StepLatencies, pairs: int) -> LogRatio:
    """Return `ttfa_typical_change`, over all steps. It is undefined from 10 % failures on: there the rate decides.

    The centre of each step is that of both arms together, and is held fixed in the standard error.
    """
    values, steps = np.r_[base.values, cand.values], np.r_[base.steps, cand.steps]
    middle = np.zeros(int(steps.max(initial=-1)) + 1)  # of each step the centre, 0 for one that has none
    for step in np.unique(steps):
        middle[step] = trimmed_mean(np.sort(logs_of(values[steps == step])))
    middle = np.nan_to_num(middle, posinf=0.0, neginf=0.0)
    logs = [logs_of(arm.values) - middle[arm.steps] for arm in (base, cand)]
    first, second = (trimmed_mean(np.sort(one)) for one in logs)
    if pairs < 2 or not (math.isfinite(first) and math.isfinite(second)):
        return LogRatio(math.nan, math.nan)
    parts = []  # what each pair contributes to the error of the trimmed mean
    for one, arm in zip(logs, (base, cand), strict=True):
        ascending = np.sort(one)
        held = np.clip(one, quantile(ascending, TRIM), quantile(ascending, 1 - TRIM))
        parts.append(np.bincount(arm.pairs, held - held.mean(), pairs) / (1 - 2 * TRIM) / one.size)
    return LogRatio(second - first, math.sqrt(pairs / (pairs - 1) * float(((parts[1] - parts[0]) ** 2).sum())))


def logs_of(values: Floats) -> Floats:
    """Logs of waits; −inf of a reply that began before its caller had ended, which waited less than any other."""
    return np.log(values, out=np.full(values.shape, -np.inf), where=values > 0)


def trimmed_mean(ascending: Floats) -> float:
    """The mean between two ranks, values at the edges in part; NaN of nothing, +inf where endless values reach in."""
    n = ascending.size
    if not n:
        return math.nan
    reached = np.arange(1, n + 1)
    inside = np.clip(reached, TRIM * n, (1 - TRIM) * n) - np.clip(reached - 1, TRIM * n, (1 - TRIM) * n)
    there = inside > 0
    return float((ascending[there] * inside[there]).sum() / inside.sum())


def worst_step(
    base: StepLatencies, cand: StepLatencies, pairs: int, rng: np.random.Generator, *, draws: int
) -> list[StepMedian]:
    """Each step's own median against WORST_MARGIN, the likeliest to be worse first.

    Left out are steps of few turns, and those of which a median is endless. Draws in which one is endless or missing
    are left out of the spread; with few left it is undefined.
    """
    found = []
    for step in np.intersect1d(base.steps, cand.steps):
        at = base.steps == step, cand.steps == step
        first, second = (sample(arm.values[here], arm.pairs[here]) for arm, here in zip((base, cand), at, strict=True))
        medians = [quantile(one.values, 0.5) for one in (first, second)]
        if min(first.n, second.n) < LEAST_TURNS or not all(map(math.isfinite, medians)):
            continue
        low, high = arm_draws(TwoSamples(first, second, (pairs, pairs), paired=True), (0.5,), draws=draws, rng=rng)
        with np.errstate(invalid="ignore"):
            drawn = (np.log(high) - np.log(low))[:, 0]
        change = LogRatio(math.log(medians[1] / medians[0]), math.sqrt(variance(drawn, 0.5)))
        if change.se > 0:
            p_worse = float(stdtr(pairs - 1, (math.log1p(WORST_MARGIN) - change.d) / change.se))
            found.append(StepMedian(int(step), change, p_worse))
    return sorted(found, key=lambda one: one.p_worse)


POINTS = 4
"""A session of fewer has no slope."""
CELLS = 200_000
"""Pairs of points that are looked at in one step."""
K = 1_000.0
"""Scale of slopes in ms per 1,000 tokens; far more than they differ by."""


def theil_sen(x: Floats, y: Floats, sessions: Integers, span: float) -> Sample:
    """The slope of each session whose points span at least so much of x; ascending, with the session of each."""
    order = np.argsort(sessions, kind="stable")
    x, y, sessions = x[order], y[order], sessions[order]
    names, first, sizes = np.unique(sessions, return_index=True, return_counts=True)
    slopes = np.full(names.size, np.nan)
    for size in distinct(sizes[sizes >= POINTS]).tolist():
        alike = np.flatnonzero(sizes == size)
        one, other = np.triu_indices(size, 1)
        for begin in range(0, alike.size, step := max(1, CELLS // one.size)):
            part = alike[begin : begin + step]
            places = first[part][:, None] + np.arange(size)
            wide = np.ptp(x[places], axis=1) >= span
            part, places = part[wide], places[wide]
            with np.errstate(divide="ignore", invalid="ignore"):
                between = (y[places[:, other]] - y[places[:, one]]) / (x[places[:, other]] - x[places[:, one]])
            slopes[part] = np.nanmedian(np.where(np.isfinite(between), between, np.nan), axis=1)
    known = np.flatnonzero(~np.isnan(slopes))
    known = known[np.argsort(slopes[known], kind="stable")]
    return Sample(slopes[known], names[known])


def slope_differences(
    arms: TwoSamples, asked: Sequence[tuple[float, Margin]], better: Better, how: Inference
) -> list[Difference]:
    """Compare quantiles of slopes; margins count by `plus`. No `run_sd` is assumed, for that is a share of a value."""
    base, cand = (replace(arm, values=np.exp(np.clip(arm.values / K, -500, 500))) for arm in (arms.base, arms.cand))
    by_ratio = [(p, Margin(ratio=math.expm1(margin.plus / K))) for p, margin in asked]
    differences = waits_by_order(replace(arms, base=base, cand=cand), by_ratio, better, replace(how, run_sd=0.0))
    return [
        replace(
            found, scale="slope", baseline=quantile(arms.base.values, p), candidate=quantile(arms.cand.values, p),
            d=K * found.d, low=K * found.low, high=K * found.high, se=K * found.se,
            worse=found.worse.times(K), better=found.better.times(K),
        )
        for found, (p, _) in zip(differences, asked, strict=True)
    ]  # fmt: skip
