"""Latencies of groups of measured turns. The groups come from the keys of `group_keys`.

Turns that did not start are included; their latency is infinite.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from msgspec import structs

from reports.analysis.summary.group_keys import KEYS, Compared, GroupBin, Grouping
from reports.data.runs import RunFrames
from reports.data.samples import MetricSample, MetricSamples
from reports.data.turns import FAILED, Pool
from reports.engine.evaluate import (
    PlannedTurns,
    counted,
    failures,
    planned_turns,
    quantile_values,
    share,
    subject_of,
)
from reports.metrics.metric_spec import POINTS
from reports.metrics.strata import Stratum
from reports.results.value import TYPICAL_LEVELS, Group, Subject, Value
from reports.statistics.counting import Flags, count_nonzero, dense_codes, distinct, split
from reports.statistics.quantiles import CONFIDENCE, NO_VALUES, Sample

MATTERS = 0.1
MATTERS_MS = 5.0
"""The minimum difference of two groups that is reported. A difference of latencies must be at least
MATTERS times the lower one, and at least MATTERS_MS. A difference of rates must be at least
POINTS."""


@dataclass(frozen=True)
class TurnGroup:
    """A group of the turns of one target by a key, and its place on the axis of the key."""

    bin: GroupBin
    started: Value
    """The number of turns that started, with the number of sessions with a turn in this group,
    started or not."""
    failed: Value
    """The share of the planned turns that failed or did not start."""
    failed_by_outcome: dict[str, int]
    """The started turns that failed, by outcome."""
    failed_at_bound: int
    """Of these, turns grouped by a lower bound: the input tokens of an earlier turn of the
    session."""
    unopened: Value | None
    """The share of the sessions that started in this group and did not open; None if it is
    unknown."""
    p50: Value
    p95: Value
    below: Value | None
    """The share of failed turns of all groups below this one, if the key compares these;
    otherwise None."""

    @property
    def turns(self) -> int:
        return self.started.n

    @property
    def sessions(self) -> int:
        return self.started.sessions

    @property
    def n(self) -> int:
        """The number of turns with a latency, which is infinite for turns that failed or did not
        start.
        """
        return self.p50.n

    @property
    def lost(self) -> int:
        """The number of planned turns that did not start."""
        return self.failed.not_started

    def values(self, unplaced: int) -> Iterator[Value]:
        """Yield the values. `unplaced` is the number of turns of the pool that did not start, and
        whose group is unknown: the same in each group.
        """
        yield from filter(None, (self.started, self.failed, self.unopened, self.p50, self.p95))
        numbers = {"failed_at_bound": self.failed_at_bound, "not_started_unplaced": unplaced}
        for name, number in (numbers | self.failed_by_outcome).items():
            yield counted(self.started.subject, name, number)

    def at(self, p: float) -> Value:
        return self.p50 if p == 0.5 else self.p95

    def published(self, p: float) -> bool:
        """Return whether the p-quantile may be printed. The rule is the same as for all metrics
        of turns.
        """
        return self.at(p).has_interval


class GroupedLatency(NamedTuple):
    """The main metric of one pool, grouped by one key. The groups are in the order that the key
    defines.
    """

    by: str
    """The name of the key, which is a key of KEYS."""
    metric: str
    target: str
    label: str
    colour: int
    stratum: Stratum
    end: float
    compared: Compared | None
    places: tuple[GroupBin, ...]
    groups: tuple[TurnGroup, ...]
    unknown: TurnGroup | None
    """The turns whose group is unknown; None if there are none, or if the key has no such group."""
    unplaced: int
    """The number of turns that did not start, and whose group is unknown."""

    @property
    def all_groups(self) -> tuple[TurnGroup, ...]:
        """The groups, and the turns whose group is unknown."""
        return self.groups if self.unknown is None else (*self.groups, self.unknown)

    @property
    def has_failures(self) -> bool:
        return any(group.failed_by_outcome for group in self.all_groups)

    @property
    def values(self) -> Iterator[Value]:
        """The values of all groups."""
        unplaced = self.unplaced - (self.unknown.lost if self.unknown else 0)
        return (value for group in self.all_groups for value in group.values(unplaced))

    @property
    def published(self) -> tuple[TurnGroup, ...]:
        """The groups whose median may be printed."""
        return tuple(group for group in self.groups if group.published(0.5))

    @property
    def tails(self) -> tuple[TurnGroup, ...]:
        """The groups whose p50 and p95 may both be printed. Empty if there is only one, because one
        point is not a line.
        """
        tails = tuple(group for group in self.published if group.published(0.95))
        return tails if len(tails) > 1 else ()

    @property
    def thinned(self) -> bool:
        """True if a group has less than half as many turns as another. This happens if sessions end
        early: late groups then have turns only of the sessions that continued.
        """
        sizes = [group.n for group in self.groups]
        return bool(sizes) and 2 * min(sizes) < max(sizes)


class GroupDifference(NamedTuple):
    """Two groups of a pool that differ significantly, by the value in which they differ.

    `what` is the quantile or rate in which they differ. If the key compares a group with all groups
    below it, `smaller` is the first of these, with the failures of all.
    """

    of: GroupedLatency
    what: Literal["p95", "p50", "failed", "unopened"]
    smaller: TurnGroup
    larger: TurnGroup


def latency_by(
    run: RunFrames, samples: MetricSamples
) -> tuple[tuple[GroupedLatency, ...], tuple[GroupDifference, ...]]:
    """Return the main metric of each pool, grouped by each key that applies. Also return the groups
    that differ significantly.
    """
    grouped = []
    differing = []
    for by, key in KEYS.items():
        for pool in samples.turns.pools:
            if (grouping := key(run, samples.turns, pool)) is not None:
                sample = samples[samples.mains[pool.stratum]]
                latency, *compared = _latencies(by, sample, pool, grouping)
                grouped += [latency] if latency.groups else []
                differing += [
                    difference for of_pool in compared for difference in group_differences(of_pool)
                ]
    return tuple(grouped), tuple(differing)


def _latencies(
    by: str, sample: MetricSample, pool: Pool, grouping: Grouping
) -> list[GroupedLatency]:
    """Return the groups of a pool, with intervals of CONFIDENCE. If groups are compared, also
    return the same groups with the intervals for the comparison.
    """
    target = sample.turns.targets[pool.target]
    unplaced = count_nonzero(grouping.lost[sample.turns.not_started_in(pool)] < 0)
    confidences = [CONFIDENCE, grouping.confidence] if grouping.compared else [CONFIDENCE]
    groups = [*_groups(by, sample, pool, grouping, confidences)]
    key = (
        by,
        sample.metric.name,
        target,
        pool.label,
        pool.target,
        pool.stratum,
        grouping.end,
        grouping.compared,
    )
    latencies = []
    for of_confidence in zip(*groups, strict=True) if groups else [()] * len(confidences):
        known = tuple(group for group in of_confidence if not group.bin.is_unknown)
        unknown = of_confidence[-1] if len(known) < len(of_confidence) else None
        more_unplaced = unknown.lost if unknown else 0
        latencies.append(
            GroupedLatency(*key, grouping.ordered, known, unknown, unplaced + more_unplaced)
        )
    return latencies


def _groups(
    by: str, sample: MetricSample, pool: Pool, grouping: Grouping, confidences: Sequence[float]
) -> Iterable[list[TurnGroup]]:
    """Yield a list for each group. It has the same group several times, once with the intervals
    of each confidence.
    """
    turns = sample.turns
    of_pool = subject_of(sample.turns, pool)
    in_pool = np.flatnonzero(turns.of(pool))
    not_started_in_pool = np.flatnonzero(turns.not_started_in(pool))
    positions_by_group = dict(split(grouping.index[in_pool] + 1))  # 0 is no group
    samples = dict(sample.by_group(pool.target, pool.steps, grouping.index, grouping.lost))
    none = np.zeros(0, int)
    below = PlannedTurns(np.zeros(0, bool), none, 0)
    for at, bin_ in enumerate(grouping.places):
        started = in_pool[positions_by_group.get(at + 1, none)]
        not_started = not_started_in_pool[grouping.lost[not_started_in_pool] == at]
        if started.size or not_started.size or grouping.every:
            group = Group(by=by, name=bin_.name, start=bin_.start, end=bin_.end)
            subject = structs.replace(of_pool, group=group)
            planned = planned_turns(turns, started, not_started)
            values = samples.get(at, NO_VALUES)
            values = replace(values, sessions=dense_codes(values.sessions)[0])
            failed = started[turns.kind[started] == FAILED]
            sessions = distinct(
                np.append(turns.session[started], turns.not_started.session[not_started])
            )
            known: dict[str, Any] = {
                "bin": bin_,
                "started": counted(subject, "turns", started.size, sessions.size),
                "failed_by_outcome": dict(
                    Counter(turns.frame["outcome"].iloc[turns.rows[failed]]).most_common()
                ),
                "failed_at_bound": (
                    0 if grouping.is_bound is None else count_nonzero(grouping.is_bound[failed])
                ),
            }
            is_compared = (
                grouping.compared == "below" and not bin_.is_unknown and below.failed.size > 0
            )
            unopened = None if grouping.began is None else grouping.unopened[grouping.began == at]
            parts = planned, below if is_compared else None, unopened, sample.metric.name, values
            yield [
                TurnGroup(**known, **_with_intervals(subject, confidence, *parts))
                for confidence in confidences
            ]
            below = below.joined(planned)


def _with_intervals(
    subject: Subject,
    confidence: float,
    planned: PlannedTurns,
    below: PlannedTurns | None,
    unopened: Flags | None,
    metric: str,
    values: Sample,
) -> dict[str, Any]:
    """Return the fields of a group that have intervals."""
    p50, p95 = quantile_values(subject, metric, values, TYPICAL_LEVELS, confidence)
    opening = None
    if unopened is not None:
        opening = share(subject, "unopened", unopened, np.arange(unopened.size), confidence)
        opening = structs.replace(opening, unit="sessions")
    failed = failures(subject, planned, confidence)
    below_failed = None if below is None else failures(subject, below, confidence)
    return {"failed": failed, "below": below_failed, "unopened": opening, "p50": p50, "p95": p95}


def group_differences(latency: GroupedLatency) -> Iterable[GroupDifference]:
    """Yield the groups of a pool that differ significantly.

    They are compared by p95, or by p50 if p95 shows no difference, and by each rate. If a key
    compares the failures of each group with those of all groups below it, yield only the first
    group with more failures. A group with fewer is not reported, because turns that are grouped by
    a lower bound may belong to a later group.
    """
    if latency.compared == "below":
        for group in latency.groups:
            below = group.below
            failed = group.failed
            if (
                below
                and failed.n
                and below.high < failed.low
                and failed.value - below.value >= POINTS
            ):
                yield GroupDifference(
                    latency, "failed", replace(latency.groups[0], failed=below), group
                )
                break
        return
    ends = latency.compared == "ends" and latency.groups
    groups = (latency.groups[0], latency.groups[-1]) if ends else latency.groups
    for p in (0.95, 0.5):
        known = [
            group for group in groups if group.published(p) and math.isfinite(group.at(p).value)
        ]
        if len(known) > 1:
            low, high = (pick(known, key=lambda group: group.at(p).value) for pick in (min, max))
            min_difference = max(MATTERS * low.at(p).value, MATTERS_MS)
            if (
                low.at(p).high < high.at(p).low
                and high.at(p).value - low.at(p).value >= min_difference
            ):
                yield GroupDifference(latency, "p95" if p > 0.5 else "p50", low, high)
                break
    for what in ("failed", "unopened"):
        rates = [
            (rate, group)
            for group in groups
            if (rate := getattr(group, what)) is not None and rate.n
        ]
        if len(rates) > 1:
            (lowest, low), (highest, high) = (
                pick(rates, key=lambda pair: pair[0].value) for pick in (min, max)
            )
            if lowest.high < highest.low and highest.value - lowest.value >= POINTS:
                yield GroupDifference(latency, what, low, high)
