"""A run that compares the values of a setting (`--vary`): how latencies and cut-offs follow it.

The entry `varied` of each target in run.json has the values of its settings. A value of one setting
has the target of this setting. A value of all settings has the target from which they are derived,
and a group with the key of the setting, from its lowest to its highest value. If the turns have
steps of several names, as the languages of labelled recordings, each name has the same values.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Literal

import numpy as np
from msgspec.structs import asdict, replace

from bench.record.metric_values import floats
from reports.analysis.summary.turn_taking import CUT_OFF, events_of, has_pauses
from reports.data.runs import RunFrames, run_id_of, target_entries
from reports.data.samples import VOICE_TO_VOICE, Events, MetricSamples, rate_counts
from reports.data.turns import TurnArrays, measured_rows
from reports.data.uncertainty import joint_reason, uncertain_reason
from reports.engine.evaluate import quantile_values, rate_of_clusters
from reports.results.value import (
    LEVEL_NAMES,
    RATE,
    Group,
    Reason,
    Subject,
    Value,
    some_unscored,
    too_few,
    unique,
)
from reports.statistics.bootstrap import seed_of
from reports.statistics.counting import Flags, Floats, Integers
from reports.statistics.dose import (
    MIN_CLUSTERS,
    Interval,
    Resampled,
    resampled,
    slope,
    turns_back,
    value_at_share,
)
from reports.statistics.quantiles import Sample

SETTING = "setting"
SLOPE = "slope"
"""The statistic that is the change of a metric for each unit of a setting."""
EFFECT = "effect"
"""The statistic that is the slope times the range of the setting."""
RESPONSE = "response"
"""The statistic that is the effect, divided by the change that counts as none: a share
`NO_CHANGE` of the value at the lowest setting, or `NO_POINTS` of a rate."""
NO_CHANGE = 0.1
NO_POINTS = 0.05
CUT_OFF_RATE = "cut_off_rate"
AT_SHARES = {"at_cut_off(5 %)": 0.05, "at_cut_off(10 %)": 0.1}
"""The statistics that are the latency at which this share of the turns is cut off."""
LATENCIES = ("end_of_turn_delay", VOICE_TO_VOICE)
"""The latencies that are shown in addition to the main metric."""


@dataclass(frozen=True)
class Sweep:
    """The settings of the target `of`: for each, its name, its index in `turns`, and its values by
    key.

    `cluster` has the cluster of each session of the run; −1 if it is in none. A cluster is a pair:
    one session of each setting, which started together.
    """

    of: str
    names: tuple[str, ...]
    targets: tuple[int, ...]
    values: tuple[Mapping[str, Any], ...]
    cluster: Integers

    @property
    def clusters(self) -> int:
        return int(self.cluster.max(initial=-1)) + 1

    def doses(self, key: str) -> Floats | None:
        """Return the values of a key; None if one is not a number."""
        values = [each[key] for each in self.values]
        is_number = all(type(value) in (int, float) for value in values)
        return np.array(values, float) if is_number else None

    def others(self, key: str) -> Integers:
        """Return a code of the values of all other keys."""
        kept = [str({**each, key: None}) for each in self.values]
        return np.unique(kept, return_inverse=True)[1]


def sweeps_of(run: RunFrames, turns: TurnArrays) -> Iterator[Sweep]:
    """Yield the settings of each target; nothing for a run that compares none."""
    entries = target_entries(run.metadata)
    varied = {
        name: entry
        for name, entry in entries.items()
        if entry.get("varied") and name in turns.targets
    }
    for of in dict.fromkeys(entry.get("variant_of") or "" for entry in varied.values()):
        names = [name for name, entry in varied.items() if (entry.get("variant_of") or "") == of]
        targets = tuple(map(turns.targets.index, names))
        values = tuple(varied[name]["varied"] for name in names)
        if len(names) > 1:
            yield Sweep(of, tuple(names), targets, values, _pairs(run, turns, names))


def _pairs(run: RunFrames, turns: TurnArrays, names: Sequence[str]) -> Integers:
    """Return the number of the pair of each session; −1 for a session of an incomplete pair."""
    rows = measured_rows(run.sessions)
    pairs = floats(run.sessions, "pair")[rows]
    of_target = run.sessions["target"].iloc[rows].to_numpy()
    complete = reduce(np.intersect1d, (pairs[of_target == name] for name in names))
    complete = complete[~np.isnan(complete)]
    mine = np.isin(pairs, complete) & np.isin(of_target, names)
    cluster = np.full(turns.sessions, -1, int)
    cluster[turns.session_of_row[rows[mine]]] = np.searchsorted(complete, pairs[mine])
    return cluster


def sweep_values(run: RunFrames, samples: MetricSamples) -> Iterator[Value]:
    """Yield the values of a run that compares settings; nothing for other runs."""
    turns = samples.turns
    labels = unique(turns.labels)
    for sweep in sweeps_of(run, turns):
        yield from _values(run, samples, sweep, "", np.ones(len(turns.labels), bool))
        for label in labels if len(labels) > 1 else ():
            yield from _values(run, samples, sweep, label, turns.steps_named(label))


def _values(
    run: RunFrames, samples: MetricSamples, sweep: Sweep, label: str, steps: Flags
) -> Iterator[Value]:
    """Yield the values of one target, of some steps with this label. Latencies are those of the
    most frequent kind of turns.
    """
    turns = samples.turns
    whole = Subject(target=sweep.of, step=label)
    mine = steps[turns.step] & np.isin(turns.target, sweep.targets)
    if not mine.any():
        return
    cut_offs = events_of(turns)[CUT_OFF] if has_pauses(turns) else rate_counts(turns, CUT_OFF_RATE)
    cluster = sweep.cluster[turns.session]
    totals = []
    for name, target in zip(sweep.names, sweep.targets, strict=True):
        counted = mine & (turns.target == target) & cut_offs.counted & (cluster >= 0)
        sums = (
            np.bincount(cluster[counted], np.nan_to_num(of[counted]), sweep.clusters)
            for of in cut_offs
        )
        totals.append(Events(*(of.astype(float) for of in sums)))
        yield rate_of_clusters(replace(whole, target=name), CUT_OFF_RATE, totals[-1])
    kinds = turns.stratum[turns.step[mine]]
    stratum = turns.strata[np.bincount(kinds, minlength=len(turns.strata)).argmax()]
    for metric in dict.fromkeys((*LATENCIES, samples.mains[stratum])):
        chosen = turns.steps_in(stratum) & steps
        found = [samples[metric].of(target, chosen) for target in sweep.targets]
        answered = [_answered(sample, sweep) for sample in found]
        if not any(sample.planned for sample in found):
            continue
        for name, sample in zip(sweep.names, answered, strict=True):
            yield from quantile_values(replace(whole, target=name), metric, sample, (0.5,))
        latency, shares = resampled(
            answered, [(of.events, of.trials) for of in totals], 0.5, seed_of(run_id_of(run))
        )
        problem = _unscored(
            metric, sum(each.unscored for each in found), sum(each.planned for each in found)
        ) or joint_reason(
            (uncertain_reason(run.uncertain_metrics, name, metric), name) for name in sweep.names
        )
        yield from _responses(sweep, whole, metric, LEVEL_NAMES[0.5], latency, problem)
        if metric == VOICE_TO_VOICE:
            unscored, trials = (int(sum(of[place].sum() for of in totals)) for place in (2, 1))
            cut_problem = _unscored(CUT_OFF_RATE, unscored, trials + unscored)
            yield from _responses(sweep, whole, CUT_OFF_RATE, RATE, shares, cut_problem)
            group = Group(by=SETTING, name=", ".join(sweep.values[0]))
            for statistic, share in AT_SHARES.items():
                crossing = value_at_share(latency, shares, share)
                of_share = replace(whole, group=group)
                value = _value(sweep, of_share, metric, statistic, crossing, latency)
                yield _known(value, problem or cut_problem)


def _answered(sample: Sample, sweep: Sweep) -> Sample:
    """Return the turns that have a latency: latency is that of turns which are answered."""
    values = sample.succeeded
    cluster = sweep.cluster[sample.sessions[: values.size]]
    return Sample(values[cluster >= 0], cluster[cluster >= 0], has_whole_sessions=False)


def _unscored(metric: str, unscored: int, of: int) -> Reason | None:
    return some_unscored(metric, unscored, of, "turns") if unscored else None


def _responses(
    sweep: Sweep,
    whole: Subject,
    metric: str,
    statistic: str,
    of: Resampled,
    problem: Reason | None,
) -> Iterator[Value]:
    """Yield the slope, the effect and the response of each setting that is a number."""
    for key in sweep.values[0]:
        doses = sweep.doses(key)
        if doses is None or np.unique(doses).size < 2:
            continue
        found = slope(of, doses, sweep.others(key))
        low, high = float(doses.min()), float(doses.max())
        effect = found.times(high - low)
        none = NO_POINTS if statistic == RATE else NO_CHANGE * of.values[doses == low].mean()
        turning = Reason("not_monotone") if turns_back(of, doses) else None
        of_key = replace(whole, group=Group(by=SETTING, name=key, start=low, end=high))
        estimates = {SLOPE: found, EFFECT: effect, RESPONSE: effect.times(1 / none)}
        for name, estimate in estimates.items():
            value = _value(sweep, of_key, metric, f"{statistic} {name}", estimate, of)
            yield _known(replace(value, reason=value.reason or turning), problem)


Response = Literal["ignored", "rises", "falls", "undecided"]


def response_of(value: Value) -> Response:
    """Return what a metric does as its setting rises, by its `RESPONSE`. It is ignored if the whole
    interval is less than the change that counts as none.
    """
    if value.low >= -1 and value.high <= 1:
        return "ignored"
    return "rises" if value.low > 0 else "falls" if value.high < 0 else "undecided"


def _value(
    sweep: Sweep, subject: Subject, metric: str, statistic: str, found: Interval, of: Resampled
) -> Value:
    few = too_few("pair", MIN_CLUSTERS, [of.clusters])
    return Value(
        **asdict(subject),
        metric=metric,
        statistic=statistic,
        **found._asdict(),
        n=len(sweep.names),
        unit="settings",
        sessions=of.clusters,
        reason=few if of.clusters < MIN_CLUSTERS else None,
    )


def _known(value: Value, problem: Reason | None) -> Value:
    """Return a value without its numbers if a problem makes them unknown."""
    if problem is None:
        return value
    return replace(value, value=math.nan, low=math.nan, high=math.nan, reason=problem)
