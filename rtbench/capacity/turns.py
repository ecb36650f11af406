"""The turns of a run with the number of calls in progress at each, for one threshold."""

from dataclasses import replace

import numpy as np

from bench.base.units import NS_PER_MS
from bench.catalogue.metrics import CATALOGUE, TRANSCRIPT_METRICS, Metric
from reports.analysis.summary.group_keys import concurrency_of, counted_at_ns
from reports.analysis.targets.compared_target import ABSENT, Clusters, ComparedTarget
from reports.data.runs import scripts_of
from reports.data.samples import TRANSCRIPT_OUTPUT, VOICE_TO_VOICE, MetricSamples, is_latency
from reports.data.turns import UNFINISHED
from reports.metrics.statistic_types.quantile import MISSES
from reports.metrics.thresholds import THRESHOLD_METRICS, Threshold
from reports.statistics.counting import Flags, Floats
from reports.statistics.crossing import TurnsByLoad
from rtbench.capacity.level_evaluation import specs_of, violations, with_errors

MAIN_WAITS = {"text": ("ttft",), TRANSCRIPT_OUTPUT: TRANSCRIPT_METRICS}
SPOKEN_WAITS = ("ttfa", VOICE_TO_VOICE)
"""The first wait of each turn, by the output of its script."""


def turns_by_load(
    target: ComparedTarget, threshold: Threshold, *, uncertain: bool = True, first: float = 0
) -> list[TurnsByLoad]:
    """Return the turns to which a threshold applies. If `uncertain`, return them three times: as
    measured, and if each value were better, or worse, by its maximum timestamp uncertainty.

    A turn that failed or did not start violates the threshold. A turn that is in progress, or that
    the end of the run cut, counts if it is certain whether it does. At a load of at most `first`,
    others of them count as turns that do not violate it. So all turns count that started until now,
    and not only the fastest ones. For a metric of sessions, sessions are counted instead of turns.
    """
    alone = _each_alone(target)
    series = concurrency_of(target.run, target.name)
    turns = target.turns
    rows = target.clusters.rows
    session_start_ns = target.run.sessions["start_utc_ns"].to_numpy(int)[rows]
    at_ns = np.append(counted_at_ns(turns), session_start_ns)
    load = np.maximum(series.at(at_ns), 1).astype(float)
    session = np.concatenate([turns.session, turns.not_started.session, turns.session_of_row[rows]])
    value = np.full(load.size, np.nan)
    if threshold.statistic.is_monotone:
        for spec in specs_of(alone, threshold):
            sample = alone.sample(spec)
            value[sample.sessions] = sample.values
    cut = _cut(target, threshold, value, load <= first)
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
    first = started + turns.not_started.session.size
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


def _cut(target: ComparedTarget, threshold: Threshold, value: Floats, is_first: Flags) -> Floats:
    """Return, for each turn in progress, and each that the end of the run cut, whether it violates
    a threshold; NaN if this is unknown.

    It is known if the turn has a value, or has waited for longer than the limit. Values are added
    to `value`: for a turn without one, its wait, which is a lower bound. If it is unknown, a turn
    at one of the first loads counts as one that does not violate the threshold.
    """
    turns = target.turns
    cut = np.full(value.size, np.nan)
    if THRESHOLD_METRICS[threshold.metric].of_sessions or target.target == ABSENT:
        return cut
    specs = specs_of(target, threshold)
    steps = np.any([target.steps(spec) for spec in specs], axis=0) & ~turns.is_greeting
    is_cut = target.turn_mask & (turns.kind == UNFINISHED) & steps[turns.step]
    of_turn, of_value, low = (each[: is_cut.size] for each in (cut, value, is_first))
    of_turn[is_cut & low] = 0
    metric = CATALOGUE.get(threshold.metric)
    if metric is None or not is_latency(metric) or threshold.sign not in ("<", "<="):
        return cut
    assert threshold.limit is not None
    known = turns.value(metric.name)
    since_ns = np.full(known.size, np.nan)
    for begin in metric.begins[::-1]:
        at_ns = turns.instant(begin)
        since_ns = np.where(np.isnan(at_ns), since_ns, at_ns)
    waited_ms = (turns.instant("ended") - since_ns) / NS_PER_MS
    lasting = np.where(np.isnan(known), waited_ms, known)
    late = MISSES[threshold.sign](lasting, threshold.limit)
    awaited = _awaited(target, metric)[turns.step]
    sure = is_cut & (~np.isnan(known) | (late & awaited))
    of_turn[sure] = late[sure]
    of_value[sure] = lasting[sure]
    return cut


def _awaited(target: ComparedTarget, metric: Metric) -> Flags:
    """Return a mask of the steps whose turns should have a latency: successful turns have it, or
    none succeeded yet, and it is the first wait for the output of the script.
    """
    turns = target.turns
    outputs = {
        str(script.get("name")): script.get("output") for script in scripts_of(target.run.metadata)
    }
    is_main = [
        metric.name in MAIN_WAITS.get(str(outputs.get(script)), SPOKEN_WAITS)
        for script, _ in turns.own_names
    ]
    succeeded = turns.succeeded_by_group[target.target] > 0
    applies = target.samples[metric.name].applies[target.target]
    waits: Flags = np.where(succeeded, applies, np.array(is_main, bool)) & (metric.less == "")
    return waits
