"""The metrics of a run: quantiles, slopes, rates with their intervals, histograms, and
throughput.
"""

import math
from collections.abc import Collection, Iterable, Iterator, Sequence

import numpy as np
import pandas as pd
from msgspec import field
from msgspec.structs import replace

from bench.base.units import NS_PER_S
from bench.catalogue.metrics import CATALOGUE
from bench.catalogue.outcomes import CANCELLED_SPLIT
from bench.record import histograms as hdr
from bench.record.histograms import MEASURED, HistogramKey
from bench.record.metric_values import CARRIED, floats
from reports.data.runs import RunFrames
from reports.data.samples import (
    OF_SAMPLE,
    Events,
    MetricSample,
    MetricSamples,
    rate_counts,
    session_sample,
)
from reports.data.turns import (
    Pool,
    TurnArrays,
    column_of,
    rows_of,
)
from reports.data.uncertainty import UncertainMetric, uncertain_reason
from reports.engine.evaluate import by_target, counted, events_of, published, rate, rates
from reports.metrics.rate_metrics import OF_COLUMNS, RATES
from reports.metrics.strata import NO_STRATUM, MainMetric
from reports.results.json_entries import Count, JsonEntry, Rounded
from reports.results.value import LEVEL_KEYS, LEVELS, Reason, Subject, Value, by_level
from reports.statistics.counting import Flags, count_nonzero
from reports.statistics.quantiles import QuantileEstimate, Sample, quantiles, settled

ALL = "all"
RETURNED, GAVE_UP = "returned_share", "gave_up"


class MetricSummary(MainMetric, kw_only=True):
    """A metric of a target and step. Quantiles are those of `n` values. If the metric is a latency,
    failed turns count as +inf.
    """

    title: str
    """the target, with what distinguishes these turns from others of the run"""
    unit: str
    step: str
    n: Count
    failed: Count
    not_started: Count
    """failed turns that did not start"""
    unfinished: Count
    unscored: Count = 0
    """successful turns, or sessions, that have no value although others of their step do"""
    planned: Count
    """values, plus all failed and unscored turns"""
    completed_share: Rounded
    """share of the planned turns that have a value; null if none was planned"""
    p50: QuantileEstimate
    p90: QuantileEstimate
    p95: QuantileEstimate
    p99: QuantileEstimate
    smallest: Rounded = field(name="min")
    """smallest successful value"""
    largest: Rounded = field(name="max")
    """largest successful value"""
    uncertain: Reason | None = None
    """why the values are uncertain in this run; null if they are not"""

    @property
    def quantiles(self) -> tuple[QuantileEstimate, ...]:
        return tuple(map(self.at, LEVELS))

    def at(self, p: float) -> QuantileEstimate:
        estimate: QuantileEstimate = getattr(self, LEVEL_KEYS[p])
        return estimate


def metric_summaries(
    sample: Sample,
    metric: str,
    target: str,
    uncertain: Iterable[UncertainMetric],
    step: str = ALL,
    pool: Pool | None = None,
) -> MetricSummary:
    """Return the summary of a metric. `sample` has its values, of the turns or sessions of one
    target. `uncertain` are the uncertain metrics of the run. `pool` is the pool of the turns; None
    for sessions.
    """
    succeeded = sample.succeeded
    estimates = [settled(one, sample).published() for one in quantiles(sample, LEVELS)]
    return MetricSummary(
        metric,
        *(pool.stratum if pool else NO_STRATUM),
        target=target,
        title=pool.label if pool else target,
        unit=CATALOGUE[metric].unit,
        step=step,
        n=sample.n,
        failed=sample.failed,
        not_started=sample.not_started,
        unfinished=sample.unfinished,
        unscored=sample.unscored,
        planned=sample.planned,
        completed_share=sample.completed_share,
        **by_level(estimates),
        smallest=float(succeeded[0]) if succeeded.size else math.nan,
        largest=float(succeeded[-1]) if succeeded.size else math.nan,
        uncertain=uncertain_reason(uncertain, target, metric),
    )


def turn_metrics(
    sample: MetricSample, uncertain: Collection[UncertainMetric]
) -> Iterable[MetricSummary]:
    """Yield the summaries of a metric of turns: for each pool, and for each step that has the
    metric in this pool.
    """
    for pool in sample.pools():
        label = sample.turns.targets[pool.target]
        name = sample.metric.name
        pool_values = sample.part(pool.target, pool.steps)
        yield metric_summaries(
            sample.of(pool.target, pool.steps, pool_values), name, label, uncertain, pool=pool
        )
        for step, step_sample in sample.by_step(pool.target, pool.steps, pool_values):
            yield metric_summaries(
                step_sample, name, label, uncertain, sample.turns.steps[step], pool
            )


def session_metrics(
    sessions: pd.DataFrame,
    targets: Sequence[str],
    names: Sequence[str],
    uncertain: Collection[UncertainMetric] = (),
    expected: Collection[tuple[str, str]] = (),
) -> Iterable[MetricSummary]:
    """Yield the summaries of metrics of sessions, for each target that has the metric. `names` are
    the metrics. `expected` are the metrics that a target should have, as (metric, target).
    """
    columns = list(dict.fromkeys([*map(column_of, names), *OF_SAMPLE]))
    measured = sessions[columns]
    target = sessions["target"]
    of_target = {label: measured[(target == label).to_numpy()] for label in targets}
    for name in names:
        for label, rows in of_target.items():
            sample = session_sample(rows, name, expected=(name, label) in expected)
            if sample is not None:
                yield metric_summaries(sample, name, label, uncertain)


SLOPES = {"latency_slope": False, "latency_slope_uncached": True}
"""The slopes over input tokens. If the value is True, the slope ignores cached tokens."""
SPAN_K = 1.0
"""The minimum range of input tokens in a session, in thousands. With a smaller range, the slope
would be an extrapolation."""


def slope_sample(waits: MetricSample, target: int, steps: Flags, name: str) -> Sample:
    """Return the slope of each session of a target, in ms per 1,000 input tokens. `name` is one of
    SLOPES. `waits` has the latencies. Only successful turns of these steps are used.
    """
    from reports.statistics.typical_change import theil_sen

    values, index = waits.part(target, steps)
    tokens = waits.turns.column("context_tokens")
    cached = waits.turns.column("context_cached_tokens") if SLOPES[name] else 0.0
    at_k = ((tokens - cached) / 1000)[index]
    known = np.isfinite(values) & ~np.isnan(at_k)
    return theil_sen(at_k[known], values[known], waits.turns.session[index[known]], SPAN_K)


def slopes(
    samples: MetricSamples, uncertain: Collection[UncertainMetric]
) -> Iterable[MetricSummary]:
    """Yield the slopes of each pool, computed from its main metric. A pool has no slopes if no
    session's conversation grows enough.
    """
    turns = samples.turns
    if np.isnan(turns.column("context_tokens")).all():
        return
    for pool in turns.pools:
        for name in SLOPES:
            sample = slope_sample(
                samples[samples.mains[pool.stratum]], pool.target, pool.steps, name
            )
            if sample.n:
                yield metric_summaries(
                    sample, name, turns.targets[pool.target], uncertain, pool=pool
                )


def turn_rates(turns: TurnArrays) -> Iterator[Value]:
    """Yield each rate that is computed from a column, for each target that has turns for it. All
    strata are counted together.
    """
    for name in (of_column.name for of_column in OF_COLUMNS):
        of_targets = rates(turns, by_target(turns), {name: rate_counts(turns, name)})
        yield from (published(value) for value in of_targets if value.n or value.unscored)


def call_rates(sessions: pd.DataFrame, targets: Iterable[str]) -> Iterator[Value]:
    """Yield the share of dropped calls that came back, for each target that has any."""
    metric = RATES[RETURNED].of_metric
    for target in targets:
        if (of := session_sample(rows_of(sessions, target), metric)) is not None:
            trials = np.repeat([1.0, 0.0], (of.n, of.unscored))
            returned = trials * np.isfinite(np.append(of.values, of.unscored_sessions))
            calls = np.append(of.sessions, of.unscored_sessions)
            events = Events(returned, trials, 1 - trials)
            value = published(rate(Subject(target=target), RETURNED, events, calls))
            yield replace(value, unit=RATES[RETURNED].units)


def gave_up(sessions: pd.DataFrame, targets: Iterable[str]) -> Iterator[Value]:
    """Yield the number of dropped calls that gave up, by reason."""
    for target in targets:
        for reason, number in rows_of(sessions, target)[GAVE_UP].value_counts().items():
            yield counted(Subject(target=target), f"{GAVE_UP}_{reason}", number)


def cancelled_splits(turns: TurnArrays) -> Flags:
    """Return which turns ended because the service divided their speech, and not because of a
    sound.
    """
    return (turns.frame["outcome"] == CANCELLED_SPLIT).to_numpy()[turns.rows] & ~(
        turns.column("false_yield") > 0
    )


def _shares(turns: TurnArrays) -> Iterator[tuple[str, Events]]:
    """Yield the shares among the counts of turns, one after another: that of a million turns
    takes 16 MB.
    """
    yield "stall_rate", rate_counts(turns, "stall_rate")
    detection = turns.value("end_of_turn_delay")
    yield "end_detected_early", events_of(detection < 0, ~np.isnan(detection))
    resent = turns.value("retransmits")
    yield "turns_with_retransmits", events_of(resent > 0, ~np.isnan(resent))


def turn_counts(turns: TurnArrays) -> Iterator[Value]:
    """Yield counts of each target's turns: stalled replies, early ends of speech, split turns, TCP
    retransmissions.

    A turn with an early end of speech has any outcome. `splits` are the commits beyond the first of
    all turns.
    """
    shares = [
        list(rates(turns, by_target(turns), {name: events})) for name, events in _shares(turns)
    ]
    splits = turns.value("vad_splits")
    resent = turns.value("retransmits")
    cancelled = cancelled_splits(turns)
    for of, *of_target in zip(by_target(turns), *shares, strict=True):
        yield from of_target
        yield counted(
            of.subject, "turns_split", count_nonzero(of.turns & (cancelled | (splits > 0)))
        )
        yield counted(of.subject, "splits", int(np.nansum(splits[of.turns])))
        yield counted(of.subject, "retransmits", int(np.nansum(resent[of.turns])))


PER_EVENT = (
    "delta_gap",
    "receive_delay",
    "timestamp_uncertainty",
    "send_delay",
    "start_delay",
    "event_loop_delay",
)
LOAD_GENERATOR = (
    "timestamp_uncertainty",
    "receive_delay",
    "send_delay",
    "start_delay",
    "event_loop_delay",
)


class HistogramSummary(JsonEntry, kw_only=True):
    """A metric from its histogram; times in ms, rates in B/s; null if nothing was recorded."""

    metric: str
    unit: str
    target: str
    step: str
    n: Count
    p50: Rounded
    p90: Rounded
    p95: Rounded
    p99: Rounded
    largest: Rounded = field(name="max")
    out_of_range: Count = 0
    negative: Count = 0

    @property
    def quantiles(self) -> tuple[float, ...]:
        return tuple(map(self.at, LEVELS))

    def at(self, p: float) -> float:
        value: float = getattr(self, LEVEL_KEYS[p])
        return value


class Throughput(JsonEntry):
    """The bytes in one direction: total, mean rate of the measured phase, distributions over
    seconds and sessions.
    """

    metric: str
    target: str
    total_bytes: Count
    mean_bytes_per_s: Rounded
    per_second: HistogramSummary
    per_session: HistogramSummary


def events(run: RunFrames, targets: Sequence[str]) -> Iterable[HistogramSummary]:
    """Yield the summary of each metric of PER_EVENT, for each target that has values of it."""
    summaries = (distribution(run, metric, label) for metric in PER_EVENT for label in targets)
    return (summary for summary in summaries if summary.n)


def distribution(
    run: RunFrames, metric: str, target: str | None = None, step: str = ALL
) -> HistogramSummary:
    """Return the summary of the histogram of a metric, for one target.

    If `target` is None, all targets are added up.

    """
    key_parts = HistogramKey(metric, target or "", step).tag.split("|")[:3]
    keys = (key for key, _ in run.histograms.items() if key.metric == metric)
    selected = (key for key in keys if target is None or list(key[:3]) == key_parts)
    n, values, high = histogram_quantiles(run, metric, selected, LEVELS)
    return HistogramSummary(
        metric=metric,
        unit=CATALOGUE[metric].unit,
        target=ALL if target is None else target,
        step=step,
        n=n,
        **by_level(values),
        largest=high,
        out_of_range=run.histograms.out_of_range[metric],
        negative=run.histograms.negative[metric],
    )


def histogram_quantiles(
    run: RunFrames, metric: str, keys: Iterable[HistogramKey], ps: Sequence[float]
) -> tuple[int, list[float], float]:
    """Return the number of values, the quantiles, and the maximum of the sum of several histograms.
    Only the measured phase counts.
    """
    total = hdr.empty(metric)
    scale = 1000.0 if CATALOGUE[metric].unit == "ms" else 1.0
    for key in keys:
        histogram = run.histograms.get(key)
        if key.phase == MEASURED and histogram is not None:
            total.add(histogram)
    n = int(total.get_total_count())
    values = [(hdr.quantile(total, p) or 0) / scale if n else np.nan for p in ps]
    return n, values, total.get_max_value() / scale if n else np.nan


def throughputs(run: RunFrames, targets: Sequence[str]) -> Iterable[Throughput]:
    """Yield the throughput of each target in each direction, without the warm-up."""
    seconds = measured_seconds(run.seconds)
    if not len(run.seconds):
        return
    lasted = recorded_s(seconds)
    rows = {label: (seconds["target"] == label).to_numpy() for label in targets}
    for metric, column in CARRIED.items():
        carried = floats(seconds, column)
        for label, mine in rows.items():
            total = int(np.nansum(carried[mine]))
            parts = (
                distribution(run, metric, label, "run"),
                distribution(run, metric, label, "session"),
            )
            if total or parts[0].n:
                yield Throughput(metric, label, total, total / lasted, *parts)


def measured_seconds(seconds: pd.DataFrame) -> pd.DataFrame:
    return seconds[(seconds["phase"] == MEASURED).to_numpy()]


def recorded_s(seconds: pd.DataFrame) -> float:
    """Return the recorded duration in seconds, of the worker that recorded longest.

    A row may cover less than a second.

    """
    length_ns = seconds.groupby(["worker", "target"], observed=True)["duration_ns"].sum()
    return max(1e-9, float(length_ns.max()) / NS_PER_S) if len(length_ns) else 1.0
