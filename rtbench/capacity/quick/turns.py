"""The turns of a run with the number of calls in progress at each, for one threshold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bench.base.units import NS_PER_MS
from bench.catalogue.metrics import CATALOGUE
from reports.analysis.summary.group_keys import concurrency_of, counted_at_ns
from reports.analysis.targets.clusters import Clusters
from reports.analysis.targets.compared_target import ComparedTarget
from reports.data.samples import MetricSamples, is_latency
from reports.data.turns import UNFINISHED
from reports.metrics.statistic_types.quantile import MISSES
from reports.metrics.thresholds import Threshold
from reports.statistics.counting import Floats
from reports.statistics.crossing import TurnsByLoad
from rtbench.capacity.level_evaluation import specs_of, violations, with_errors


def turns_by_load(
    target: ComparedTarget, threshold: Threshold, *, uncertain: bool = True
) -> list[TurnsByLoad]:
    """Return the turns to which a threshold applies. If `uncertain`, return them three times: as
    measured, and if each value were better, or worse, by its maximum timestamp uncertainty.

    A turn that failed or did not start violates the threshold. A turn that the end of the run cut
    counts if it is certain whether it does. For a metric of sessions, sessions are counted instead
    of turns.
    """
    alone = _each_alone(target)
    series = concurrency_of(target.run, target.name)
    turns = target.turns
    rows = target.clusters.rows
    session_start_ns = target.run.sessions["start_utc_ns"].to_numpy(dtype=np.int64)[rows]
    at_ns = np.append(counted_at_ns(turns), session_start_ns)
    load = np.maximum(series.at(at_ns), 1).astype(np.float64)
    session = np.concatenate([turns.session, turns.not_started.session, turns.session_of_row[rows]])
    value = np.full(load.size, np.nan)
    if threshold.statistic.is_monotone:
        for spec in specs_of(alone, threshold):
            sample = alone.sample(spec)
            value[sample.sessions] = sample.values
    cut = _cut(target, threshold, value)
    result = []
    for missed, trials in (
        violations(alone, threshold),
        *(with_errors(alone, threshold, worse=worse) for worse in (False, True) if uncertain),
    ):
        missed = np.where(np.isnan(cut), missed, cut)
        trials = np.where(np.isnan(cut), trials, 1.0)
        counted = trials > 0
        result.append(
            TurnsByLoad(load, np.minimum(missed, trials), trials, session, value).where(counted)
        )
    return result


def _each_alone(target: ComparedTarget) -> ComparedTarget:
    """Return the target with a cluster for each turn, then for each turn that did not start, and
    for each session.
    """
    turns = target.turns
    clusters = target.clusters
    started = turns.rows.size
    others = turns.not_started.session.size
    first = started + others
    of_session = np.concatenate(
        [turns.session, turns.not_started.session, turns.session_of_row[clusters.rows]]
    )
    units = np.arange(of_session.size)
    alone = replace(
        turns,
        session=units[:started],
        session_of_row=np.full_like(turns.session_of_row, -1),
        not_started=replace(turns.not_started, session=units[started:first]),
    )
    of_code = np.where(clusters.of_code[of_session] >= 0, units, -1)
    every = Clusters(units.size, of_code, clusters.rows, units[first:])
    return replace(target, samples=MetricSamples(alone, target.main_metrics), clusters=every)


def _cut(target: ComparedTarget, threshold: Threshold, value: Floats) -> Floats:
    """Return, for each turn that the end of the run cut, whether it violates a threshold on a
    latency; otherwise NaN.

    It is unknown if the turn has no value yet, and has not waited for longer than the limit. Values
    are added to `value`: for a turn without one, its wait, which is a lower bound.
    """
    turns = target.turns
    cut = np.full(value.size, np.nan)
    metric = CATALOGUE.get(threshold.metric)
    if (
        metric is None
        or metric.scope != "turn"
        or not is_latency(metric)
        or threshold.sign not in ("<", "<=")
    ):
        return cut
    assert threshold.limit is not None
    ended_ns = float(target.run.metadata.get("ended_utc_ns") or 0)
    since_ns = turns.frame["start_utc_ns"].to_numpy(dtype=np.float64) + turns.measured_from_ns
    known = turns.value(metric.name)
    waited_ms = (ended_ns - since_ns[turns.rows]) / NS_PER_MS
    steps = np.any([target.steps(spec) for spec in specs_of(target, threshold)], axis=0)
    is_cut = target.turn_mask & (turns.kind == UNFINISHED) & steps[turns.step]
    late = MISSES[threshold.sign](np.where(np.isnan(known), waited_ms, known), threshold.limit)
    sure = is_cut & (late | ~np.isnan(known))
    cut[: late.size][sure] = late[sure]
    value[: late.size][sure] = np.where(np.isnan(known), waited_ms, known)[sure]
    return cut
