"""A target of a run in a comparison: its sessions, its turns, and their samples by cluster.

A bootstrap resamples clusters. A cluster is a session of the target. If the sessions of all targets
started together, it is a pair: one session of each target. Only sessions of the measured phase
count. A session may have turns but no row yet, because it is open, or because the run was killed.
It is also a cluster. But a pair counts only if each of its sessions has a row.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import pandas as pd

from bench.base.units import NS_PER_S
from bench.catalogue.metrics import CATALOGUE, SLOPE
from bench.record.metric_values import floats
from reports.analysis.summary.outcomes import OF_SESSION, Outcomes, outcomes_of
from reports.data import uncertainty
from reports.data.runs import RunFrames, hosts_of
from reports.data.samples import (
    ALWAYS,
    Events,
    MetricSamples,
    is_latency,
    rate_counts,
    rate_unit,
    session_sample,
)
from reports.data.turns import (
    TurnArrays,
    column_of,
    measured_rows,
    measured_sessions,
    not_started_of,
)
from reports.metrics.rate_metrics import RATES
from reports.metrics.strata import Stratum
from reports.results.value import Reason, some_unscored
from reports.statistics.counting import Flags, Floats, Integers, count_nonzero
from reports.statistics.quantiles import NO_VALUES, Sample

if TYPE_CHECKING:
    from reports.metrics.metric_spec import MetricSpec
    from reports.statistics.rates import PerCluster
    from reports.statistics.threshold_estimate import ThresholdEstimate

ABSENT = -1
"""The index of a target that does not occur in any row of its run."""


NO_SESSION: Integers = np.zeros(0, int)


@dataclass(frozen=True, eq=False)
class Clusters:
    """The clusters of one target. They are numbered from 0; −1 means no cluster."""

    count: int
    of_code: Integers
    """The cluster of each session; −1 if it is in none. The index is the code of the session in
    `TurnArrays.session`.
    """
    rows: Integers
    """The indices of the rows of `RunFrames.sessions` that belong to a cluster."""
    of_row: Integers
    """The cluster of each row whose index is in `rows`."""
    pairs: Integers | None = None
    """The numbers of the pairs, ascending, as the run assigned them. None if clusters are not
    pairs."""
    cut: int = 0
    """The number of incomplete pairs, which are left out."""


def by_session(run: RunFrames, turns: TurnArrays, target: int) -> Clusters:
    """Return the clusters of a target if each session is a cluster.

    Sessions are in the order of their start. Those without a row are last.
    """
    rows = session_rows_of(run, turns, target)
    several = run.metadata.get("parts") or len(hosts_of(run.metadata)) > 1
    # the start on CLOCK_MONOTONIC can order only the sessions of one host
    clock = "start_utc_ns" if several else "start_ns"
    rows = rows[np.argsort(run.sessions[clock].to_numpy()[rows], kind="stable")]
    of_code = np.full(turns.sessions, -1, int)
    of_code[turns.session_of_row[rows]] = np.arange(rows.size)
    started = np.unique(turns.session[turns.target == target]) if target != ABSENT else NO_SESSION
    rowless = started[of_code[started] < 0] if started.size else started
    of_code[rowless] = rows.size + np.arange(rowless.size)
    return Clusters(int(rows.size + rowless.size), of_code, rows, np.arange(rows.size))


def by_pair(
    run: RunFrames, turns: TurnArrays, targets: Sequence[int]
) -> tuple[Clusters, ...] | None:
    """Return the clusters of each target if each complete pair is a cluster; None if there is no
    complete pair.
    """
    rows = [session_rows_of(run, turns, target) for target in targets]
    numbers = [floats(run.sessions, "pair")[mine] for mine in rows]
    known = [np.unique(number[~np.isnan(number)]) for number in numbers]
    complete = reduce(np.intersect1d, known)
    if not complete.size:
        return None
    incomplete = reduce(np.union1d, known).size - complete.size
    clusters = []
    for mine, number in zip(rows, numbers, strict=True):
        counts = np.isin(number, complete)
        of_row = np.searchsorted(complete, number[counts])
        of_code = np.full(turns.sessions, -1, int)
        of_code[turns.session_of_row[mine[counts]]] = of_row
        clusters.append(
            Clusters(
                complete.size,
                of_code,
                mine[counts],
                of_row,
                complete.astype(int),
                int(incomplete),
            )
        )
    return tuple(clusters)


def session_rows_of(run: RunFrames, turns: TurnArrays, target: int) -> Integers:
    """Return the indices of the rows of a target's measured sessions."""
    if target == ABSENT:
        return NO_SESSION
    rows = measured_rows(run.sessions)
    mine: Integers = rows[(run.sessions["target"].iloc[rows] == turns.targets[target]).to_numpy()]
    return mine


class TurnWeights(NamedTuple):
    """The weight of each turn of the run that started, and of each that did not start."""

    started: Floats
    not_started: Floats


@dataclass(frozen=True, eq=False)
class ComparedTarget:
    """A target in a comparison.

    - `target` is the index of the target in `turns`; ABSENT if no row of the run contains it.
    - `label` is the printed name of the target.
    """

    run: RunFrames
    samples: MetricSamples
    """The samples of the metrics of the run. All targets of the run share this object."""
    target: int
    label: str
    name: str = ""
    """The name of the target in its run."""
    clusters: Clusters = field(
        default_factory=lambda: Clusters(0, NO_SESSION, NO_SESSION, NO_SESSION)
    )
    weights: TurnWeights | None = None
    """The weights of turns in rates and means; None if all are 1. Quantiles have other weights
    (`TwoSamples`)."""
    unscored_as: Literal["", "lowest", "highest"] = ""
    """What unscored turns count as, for bounds that hold for each possible score: turns without,
    and with, an event, or turns with the lowest, and the highest, value. "" if they are left out.
    """

    @property
    def turns(self) -> TurnArrays:
        return self.samples.turns

    @property
    def main_metrics(self) -> Mapping[Stratum, str]:
        """The main metric of each stratum of the run."""
        return self.samples.mains

    @property
    def sessions(self) -> int:
        """The number of clusters. A cluster is a session or a pair."""
        return self.clusters.count

    @property
    def paired(self) -> bool:
        return self.clusters.pairs is not None

    @cached_property
    def turn_mask(self) -> Flags:
        """A mask of the turns in `turns`. It is True for the turns of this target that are in a
        cluster.
        """
        if self.target == ABSENT:
            return np.zeros(self.turns.rows.size, bool)
        flags: Flags = (self.turns.target == self.target) & (
            self.clusters.of_code[self.turns.session] >= 0
        )
        return flags

    @cached_property
    def session_rows(self) -> pd.DataFrame:
        """The rows of the target's sessions that are in a cluster."""
        return self.run.sessions.iloc[self.clusters.rows]

    @property
    def observed_s(self) -> float:
        """The seconds from the start of the target's first session to the end of its last session.

        A verdict cannot detect changes that are slower than this.
        """
        rows = self.run.sessions[["start_utc_ns", "ended_at_ns"]].iloc[self.clusters.rows]
        ends_ns = (rows["start_utc_ns"] + rows["ended_at_ns"].fillna(0)).dropna()
        return float(ends_ns.max() - rows["start_utc_ns"].min()) / NS_PER_S if len(ends_ns) else 0.0

    @cached_property
    def turns_started(self) -> dict[Stratum, int]:
        """The number of the target's turns in each stratum of the run."""
        return self.turns_started_in(np.ones(len(self.turns.steps), bool))

    def turns_started_in(self, steps: Flags) -> dict[Stratum, int]:
        """Return the number of the target's turns in each stratum of the run.

        `steps` is a mask of the steps that count.
        """
        return {
            stratum: int(self.turns_started_by_step[steps & self.turns.steps_in(stratum)].sum())
            for stratum in self.turns.strata
        }

    @cached_property
    def turns_started_by_step(self) -> Integers:
        """The number of the target's turns in each step of the run."""
        return np.bincount(self.turns.step[self.turn_mask], minlength=len(self.turns.steps))

    @cached_property
    def outcomes(self) -> Outcomes:
        """The outcomes of measured turns and sessions of all targets; of this one at the index
        `target`.
        """
        return outcomes_of(self.turns, measured_sessions(self.run, OF_SESSION), self.run.metadata)

    @property
    def simulated(self) -> bool:
        """True if the target is `rtbench simulate`.

        The rows of its turns contain this. If there are none, the run's document does.
        """
        flags = self.turns.frame["simulated"].iloc[self.turns.rows[self.turn_mask]]
        return (
            bool(flags.eq(True).any()) if len(flags) else bool(self.run.metadata.get("simulated"))
        )

    def steps(self, spec: MetricSpec) -> Flags:
        """Return a mask of the steps of the run. It is True for the steps that the metric spec
        includes.
        """
        mask = (
            self.turns.steps_named(spec.step) if spec.step else np.ones(len(self.turns.steps), bool)
        )
        return mask & self.turns.steps_in(spec.stratum) if spec.stratum is not None else mask

    def unscored(self, spec: MetricSpec) -> int:
        """Return the number of turns, sessions or words that a value should contain, but that
        could not be scored.
        """
        if (spec := _of_metric(spec)).metric not in RATES:
            return self._sample(spec).unscored if spec.metric in CATALOGUE else 0
        events, mine = self._rated(spec)
        return int(events.unscored[mine].sum())

    def _rated(self, spec: MetricSpec) -> tuple[Events, Flags]:
        """Return the events of a rate, and a mask of the turns to which it applies."""
        events = rate_counts(self.turns, spec.metric)
        chosen = self.steps(spec)[self.turns.step] if self.turns.rows.size else self.turn_mask
        return events, self.turn_mask & chosen & events.counted

    def sample(self, spec: MetricSpec) -> Sample:
        """Return the values of a metric in ascending order, with the cluster of each value. Failed
        turns are +inf.

        If the spec has no stratum, turns of all strata are included. So if the run has several
        strata, the spec should name one.
        """
        sample = self._sample(spec)
        if not self.unscored_as or not sample.unscored:
            return sample
        return sample.scored_as(-math.inf if self.unscored_as == "lowest" else math.inf)

    def _sample(self, spec: MetricSpec) -> Sample:
        metric = CATALOGUE[spec.metric]
        if metric.unit == SLOPE:
            from reports.analysis.summary.metrics import slope_sample

            # a session has one value, from its turns of one stratum; by default, of its most
            # frequent stratum
            if self.target == ABSENT:
                return NO_VALUES
            stratum = spec.stratum or max(self.turns_started, key=self.turns_started.__getitem__)
            main = next(
                (
                    name
                    for turn_stratum, name in self.main_metrics.items()
                    if stratum.covers(turn_stratum)
                ),
                ALWAYS,
            )
            slopes = slope_sample(
                self.samples[main], self.target, self.turns.steps_in(stratum), spec.metric
            )
            clusters = self.clusters.of_code[slopes.sessions]
            return Sample(slopes.values[clusters >= 0], clusters[clusters >= 0])
        if metric.scope == "session":
            # for a metric of sessions, each session contributes one value to its cluster
            frame = self.session_rows
            sample = (
                session_sample(frame, spec.metric)
                if column_of(spec.metric) in frame.columns
                else None
            )
            if sample is None:
                return NO_VALUES
            return Sample(
                sample.values,
                self.clusters.of_row[sample.sessions],
                sample.failed,
                sample.unfinished,
                unscored_sessions=self.clusters.of_row[sample.unscored_sessions],
            )
        if self.target == ABSENT or metric.scope != "turn":
            return NO_VALUES
        samples = self.samples[spec.metric]
        steps = self.steps(spec)
        sample = samples.of(self.target, steps)
        not_started = self._not_started(steps & samples.applies[self.target])
        clusters = self.clusters.of_code[sample.sessions]
        unscored = self.clusters.of_code[sample.unscored_sessions]
        counted = clusters >= 0
        if counted.all() and (unscored >= 0).all():
            return replace(sample, sessions=clusters, unscored_sessions=unscored)
        values = sample.values[counted]
        failed = count_nonzero(np.isinf(values)) if is_latency(metric) else sample.failed
        return Sample(
            values,
            clusters[counted],
            failed,
            sample.unfinished,
            int(not_started.sum()),
            unscored_sessions=unscored[unscored >= 0],
        )

    def counts(self, spec: MetricSpec) -> PerCluster:
        """Return the number of events and the number of units (turns or words) of a rate in each
        cluster.
        """
        if (of_metric := _of_metric(spec)) is not spec:
            return self.in_time(of_metric, sys.float_info.max)
        of_turns, mine = self._rated(spec)
        if self.unscored_as:
            of_turns = of_turns.scored_as(float(self.unscored_as == "highest"))
        events, units, _ = self.sums(of_turns, mine)
        others = None if self.weights is None else self.weights.not_started
        not_started = (
            self._not_started(self.steps(spec), others) if spec.metric == "failure_rate" else 0
        )
        return events + not_started, units + not_started

    def sums(self, events: Events, chosen: Flags) -> Events:
        """Return the sums over chosen turns in each cluster."""
        mine = self.turn_mask & chosen & events.counted
        clusters = self.clusters.of_code[self.turns.session[mine]]
        weight = 1.0 if self.weights is None else self.weights.started[mine]
        sums = (
            np.bincount(clusters, weight * np.nan_to_num(of[mine]), self.clusters.count)
            for of in events
        )
        return Events(*(of.astype(float) for of in sums))

    def in_time(self, spec: MetricSpec, deadline: float) -> PerCluster:
        """Return the number of turns that have a metric by a deadline in each cluster, and of all
        that should have it.

        Failed turns, and planned turns that did not start, should have it. For a metric of
        sessions, sessions count.
        """
        weight = None
        if CATALOGUE[spec.metric].scope == "session":
            sample = self.sample(spec)
            in_time = sample.values <= deadline
            clusters = sample.sessions
        elif self.target == ABSENT:
            in_time = np.zeros(0, bool)
            clusters = np.zeros(0, int)
        else:
            samples = self.samples[spec.metric]
            in_time, started, others = samples.in_time(self.target, self.steps(spec), deadline)
            if self.unscored_as:
                unscored = samples.unscored_of(self.target, self.steps(spec))
                is_in_time = np.full(unscored.size, self.unscored_as == "lowest")
                in_time = np.insert(in_time, started.size, is_in_time)
                started = np.append(started, unscored)
            sessions = np.append(
                self.turns.session[started], self.turns.not_started.session[others]
            )
            clusters = self.clusters.of_code[sessions]
            counted = clusters >= 0
            if self.weights is not None:
                weight = np.append(self.weights.started[started], self.weights.not_started[others])[
                    counted
                ]
            in_time = in_time[counted]
            clusters = clusters[counted]
        in_time = in_time if weight is None else weight * in_time
        events, turns = (np.bincount(clusters, of, self.sessions) for of in (in_time, weight))
        return events.astype(float), turns.astype(float)

    def of_parts(self, metric: str, tail: float) -> ThresholdEstimate:
        """Return a value of a run with a peak of load, or with events."""
        from reports.analysis.events import event_estimate
        from reports.analysis.overload import (
            RECOVERY_TIME,
            REPORTED,
            calls_of_peak,
            overload_estimate,
        )

        run, samples, target = self.run, self.samples, self.target
        peak = None if target == ABSENT else calls_of_peak(run, samples, target)
        is_of_events = metric not in REPORTED or (peak is None and metric == RECOVERY_TIME)
        if is_of_events and target != ABSENT:
            return event_estimate(run, samples, target, metric, tail)
        return overload_estimate(peak, metric, tail)

    def totals(self, spec: MetricSpec) -> PerCluster:
        """Return the sum and the number of the values of a metric in each cluster. Failed turns
        have no value.
        """
        sample = self.sample(spec)
        succeeded = sample.succeeded
        clusters = sample.sessions[: succeeded.size]
        size = self.clusters.count
        weight = None
        if self.weights is not None and CATALOGUE[spec.metric].scope == "turn" and sample.n:
            _, index = self.samples[spec.metric].part(self.target, self.steps(spec))
            index = index[self.clusters.of_code[self.turns.session[index]] >= 0]
            weight = self.weights.started[index[: succeeded.size]]
            succeeded = weight * succeeded
        totals: Floats = np.bincount(clusters, succeeded, minlength=size).astype(float)
        return totals, np.bincount(clusters, weight, size).astype(float)

    def _not_started(self, steps: Flags, weights: Floats | None = None) -> Integers | Floats:
        """Return the number of planned turns that did not start in each cluster, or the sum of
        their weights.

        `steps` is a mask of the steps that count.
        """
        if not steps.size:  # no turn of the run started
            return np.bincount(
                self.clusters.of_row, not_started_of(self.session_rows), self.clusters.count
            ).astype(int)
        not_started = self.turns.not_started
        mine = not_started.of(self.target, steps)
        clusters = self.clusters.of_code[not_started.session[mine]]
        counted = clusters >= 0
        of_turns = None if weights is None else weights[mine][counted]
        sums: Integers | Floats = np.bincount(clusters[counted], of_turns, self.clusters.count)
        return sums

    def unscored_reason(self, spec: MetricSpec) -> Reason | None:
        """Return the reason why the value is known only within bounds: some turns, sessions or
        words could not be scored. None if all were.
        """
        unscored = self.unscored(spec)
        if not unscored:
            return None
        if (counted := _of_metric(spec)).metric in RATES:
            events, mine = self._rated(spec)
            unit: str = rate_unit(self.turns, spec.metric, np.flatnonzero(mine))
            of = int(np.nansum(events.trials[mine])) + unscored
        else:
            unit = "sessions" if CATALOGUE[counted.metric].scope == "session" else "turns"
            of = self._sample(counted).planned
        return some_unscored(spec.metric, unscored, of, unit)

    def doubt(self, spec: MetricSpec) -> Reason | None:
        """Return the reason why the value is not exact: turns are unscored, or the metric is
        uncertain in this run. None if it is exact.
        """
        return self.unscored_reason(spec) or self.uncertain_reason(spec)

    def uncertain_reason(self, spec: MetricSpec) -> Reason | None:
        """Return the reason why the metric is not exact in this run and cannot decide; None if
        it is exact.
        """
        return uncertainty.uncertain_reason(self.run.uncertain_metrics, self.name, spec.metric)

    @property
    def step_names(self) -> list[str]:
        """The distinct names of the run's steps. Steps of different strata may have the same
        name.
        """
        return list(dict.fromkeys(self.turns.steps))


def _of_metric(spec: MetricSpec) -> MetricSpec:
    """Return the spec of the metric of calls of which a rate counts the finite values; `spec` if it
    is no such rate.
    """
    rate = RATES.get(spec.metric)
    return replace(spec, metric=rate.of_metric) if rate and rate.of_metric else spec


Targets = Sequence[ComparedTarget]
"""The targets of a comparison; the first one is the baseline. Or those of a run."""


def uncertain_reason(targets: Targets, spec: MetricSpec) -> Reason | None:
    """Return why targets may not be compared by a metric: it is not exact in their runs. Return
    None if they may.
    """
    return uncertainty.joint_reason(
        (target.uncertain_reason(spec), target.label) for target in targets
    )


def doubt(targets: Targets, spec: MetricSpec) -> Reason | None:
    """Return why a value of these targets is not exact: turns are unscored, or the metric is
    uncertain in a run. None if it is exact.
    """
    return unscored_reason(targets, spec) or uncertain_reason(targets, spec)


def unscored_reason(targets: Targets, spec: MetricSpec) -> Reason | None:
    """Return why a value of these targets is known only within bounds: turns could not be scored.
    Return None if all were.
    """
    return uncertainty.joint_reason(
        (target.unscored_reason(spec), target.label) for target in targets
    )
