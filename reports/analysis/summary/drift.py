"""Drift within a run: the latencies of the later half of the turns, compared with those of the
earlier half.

The turns of each pool (one target and stratum) are compared separately. They are ordered by the
instant at which they started. A turn that did not start has the instant at which its session ended.
Sessions are resampled; each has its turns of both halves. So sessions may be short, or include the
middle of the run. Sessions that start together play the same steps at the same time, so a slow step
in the later half would look like drift. Therefore each latency is divided by the median of its
step. Drift is suspected if the interval of the ratio of both medians excludes 1, and the medians
differ by more than 5 %. The intervals of all pools of a run have a joint confidence of 98 %
(Bonferroni). So drift is suspected in at most one of fifty runs that have none.

Drift is never suspected if the run is invalid, or if the metric is not exact in the run. A
simulator that was late responds later than its profile requires. Its lateness is added to the limit
of 5 %.
"""

import math
from collections.abc import Iterable

import numpy as np
from msgspec.structs import asdict

from reports.analysis.summary.run_validity import simulator_late_ms, validity_of
from reports.data.runs import RunFrames
from reports.data.samples import MetricSamples
from reports.data.turns import Pool
from reports.data.uncertainty import uncertain_reason
from reports.engine.evaluate import subject_of
from reports.results.value import Value
from reports.statistics.arms import TwoSamples
from reports.statistics.bootstrap import seed_of
from reports.statistics.counting import (
    Floats,
    Integers,
    dense_codes,
    distinct,
    order_of_values,
    split,
)
from reports.statistics.differences import Inference, Margin, quantile_differences
from reports.statistics.quantiles import Sample, quantile

ERROR = 0.02
"""The maximum share of runs without drift in which drift of any pool is suspected."""
MIN_DIFFERENCE = 0.05
SESSIONS = 20
"""The minimum number of sessions in each half."""
DRAWS = 2000
DRAWS_LEAST = 400
WEIGHTS = 20_000_000
"""DRAWS is the usual number of resamples per pool, and DRAWS_LEAST the minimum. The number is
reduced if resamples × sessions would exceed WEIGHTS."""


class Drift(Value, kw_only=True):
    """The median of the later half of the turns divided by that of the earlier half, relative to
    the medians of steps.

    The intervals of all pools of the run have a joint confidence of 98 %.
    """

    suspected: bool


def drifts(run: RunFrames, samples: MetricSamples) -> Iterable[Drift]:
    """Yield the drift of each pool, computed from its main metric.

    Pools with too few sessions in a half are left out.

    """
    pool_halves = [
        (pool, pair) for pool in samples.turns.pools if (pair := _halves(samples, pool)) is not None
    ]
    rng = np.random.default_rng(seed_of(str(run.metadata.get("run_id") or "")))
    usable = validity_of(run.metadata).status != "invalid"
    late_ms = simulator_late_ms(run.metadata)
    for pool, halves in pool_halves:
        sample = samples[samples.mains[pool.stratum]]
        target = samples.turns.targets[pool.target]
        draws = len(pool_halves) * max(DRAWS_LEAST, min(DRAWS, WEIGHTS // halves.clusters[0]))
        inference = Inference(ERROR / 2 / len(pool_halves), resamples=draws, seed=rng)
        (log_ratio,) = quantile_differences(halves, [(0.5, Margin())], "lower", inference)
        if math.isfinite(log_ratio.d):
            # open ends are 0 and inf
            ratio = math.exp(log_ratio.d), math.exp(log_ratio.low), math.exp(log_ratio.high)
            exact = usable and not uncertain_reason(
                run.uncertain_metrics, target, sample.metric.name
            )
            min_difference = MIN_DIFFERENCE + late_ms / quantile(
                sample.part(pool.target, pool.steps)[0], 0.5
            )
            suspected = exact and is_suspected(*ratio, min_difference)
            value, low, high = ratio
            yield Drift(
                **asdict(subject_of(samples.turns, pool)),
                metric=sample.metric.name,
                statistic="drift",
                value=value,
                low=low,
                high=high,
                n=halves.base.n + halves.cand.n,
                sessions=halves.clusters[0],
                suspected=suspected,
            )


def is_suspected(
    ratio: float, low: float, high: float, min_difference: float = MIN_DIFFERENCE
) -> bool:
    return (low > 1 or high < 1) and abs(ratio - 1) > min_difference


def relative_latencies(
    samples: MetricSamples, pool: Pool
) -> tuple[Floats, Integers, Floats] | None:
    """Return the latency, the session, and the instant in ns of each turn of a pool, in ascending
    order of latency.

    The latency is the value of the main metric, divided by the median of its step. It is infinite
    for a turn that failed or did not start. The instant is the start of the turn; for a turn that
    did not start, it is the end of its session. Return None if there are no turns, or if the median
    of a step is not above 0.
    """
    sample = samples[samples.mains[pool.stratum]]
    turns = samples.turns
    ascending, index = sample.part(pool.target, pool.steps)
    unstarted = sample.not_started(pool.target, pool.steps)
    ascending = np.append(ascending, np.full(unstarted.size, np.inf))
    step = np.append(turns.step[index], turns.not_started.step[unstarted])
    medians = np.full(len(turns.steps), np.nan)
    for step_code, rows in split(step):
        median = quantile(ascending[rows], 0.5)
        medians[step_code] = median if median > 0 else np.nan
    relative = np.divide(ascending, medians[step], out=ascending, where=np.isfinite(ascending))
    if not relative.size or np.isnan(relative).any():
        return None
    order = order_of_values(relative)
    sessions = np.append(turns.session[index], turns.not_started.session[unstarted])[order]
    at_ns = np.append(
        turns.column("start_utc_ns")[index],
        turns.not_started.at_utc_ns[unstarted].astype(float),
    )[order]
    return relative[order], sessions, at_ns


def _halves(samples: MetricSamples, pool: Pool) -> TwoSamples | None:
    """Return the latencies of the earlier and of the later half of a pool's turns. Return None if a
    half has too few sessions.
    """
    if (latencies := relative_latencies(samples, pool)) is None:
        return None
    values, session, at_ns = latencies
    later = at_ns > np.median(at_ns)
    codes, sessions = dense_codes(session)
    first, last = (Sample(values[half], codes[half]) for half in (~later, later))
    if min(distinct(half.sessions).size for half in (first, last)) < SESSIONS:
        return None
    return TwoSamples(first, last, (sessions, sessions), paired=True)
