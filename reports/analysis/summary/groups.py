"""Latencies of groups of measured turns. The groups come from the keys of `group_keys`.

Turns that did not start are included; their latency is infinite.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
from msgspec import field, structs

from reports.analysis.summary.group_keys import KEYS, Compared, GroupBin, Grouping
from reports.analysis.summary.metrics import ShareEstimate, rate_of
from reports.data.runs import RunFrames
from reports.data.samples import MetricSample, MetricSamples
from reports.data.turns import FAILED, UNFINISHED, Pool
from reports.metrics.metric_spec import POINTS
from reports.metrics.strata import MainMetric, Stratum
from reports.results.json_entries import Count, Rounded, described
from reports.statistics.counting import dense_codes, distinct, split
from reports.statistics.quantiles import CONFIDENCE, NO_VALUES, QuantileEstimate, quantiles

MATTERS, MATTERS_MS = 0.1, 5.0
"""The minimum difference of two groups that is reported. A difference of latencies must be at least MATTERS times the
lower one, and at least MATTERS_MS. A difference of rates must be at least POINTS."""


class GroupEntry(MainMetric, frozen=True, kw_only=True):
    """A group of the turns of one target by a key.

    The keys are the turn's number, the age of its session when the turn started, the input tokens of the turn's first
    response, the calls in progress, the host that recorded the turn, and the region that responded.
    """

    by: Annotated[str, described(", ".join(KEYS))]
    name: str
    low: Annotated[Rounded, described("lower end of the group: a number, seconds, tokens or calls; null for names")] = (
        field(name="from")
    )
    high: Annotated[Rounded, described("upper end; null if unlimited, and for names")] = field(name="to")
    turns: Annotated[Count, described("those that started")]
    sessions: Annotated[Count, described("sessions with a turn in this group, started or not")]
    failed: Annotated[
        ShareEstimate,
        described("share of turns that failed or did not start, of the planned turns except unfinished ones"),
    ] = field(name="turns_failed")
    failed_by_outcome: Annotated[dict[str, Count], described("the started turns that failed, by outcome")]
    failed_at_bound: Annotated[
        Count, described("of these, turns grouped by a lower bound: the input tokens of an earlier turn of the session")
    ]
    unopened: Annotated[
        ShareEstimate | None, described("of the sessions that started in this group; null if unknown")
    ] = field(name="sessions_unopened")
    n: Annotated[Count, described("turns with a latency (infinite for turns that failed or did not start)")]
    p50: QuantileEstimate
    p95: QuantileEstimate
    lost: Annotated[Count, described("planned turns that did not start")] = field(name="not_started")
    unplaced: Annotated[
        Count,
        described(
            "turns of this target, instant and turn type that did not start, group unknown; the same in each row"
        ),
    ] = field(name="not_started_unplaced")


class Group(GroupEntry, frozen=True, kw_only=True):
    """A group with its position on the axis of its key, `bin`. `below` is the share of failed turns of all groups below
    this one, if the key compares these; otherwise None.
    """

    bin: GroupBin
    below: ShareEstimate | None

    def at(self, p: float) -> QuantileEstimate:
        return self.p50 if p == self.p50.p else self.p95

    def published(self, p: float) -> bool:
        """Return whether the p-quantile may be printed. The rule is the same as for all metrics of turns."""
        return self.at(p).has_interval

    @property
    def quantiles(self) -> list[QuantileEstimate]:
        """The quantiles that may be printed."""
        return [estimate for estimate in (self.p50, self.p95) if self.published(estimate.p)]


@dataclass(frozen=True)
class GroupedLatency:
    """The main metric of one pool, grouped by one key. The groups are in the order that the key defines."""

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
    groups: tuple[Group, ...]
    unknown: Group | None
    """The turns whose group is unknown; None if there are none, or if the key has no such group."""
    unplaced: int
    """The number of turns that did not start, and whose group is unknown."""

    @property
    def all_groups(self) -> tuple[Group, ...]:
        """The groups, and the turns whose group is unknown."""
        return self.groups if self.unknown is None else (*self.groups, self.unknown)

    @property
    def has_failures(self) -> bool:
        return any(group.failed_by_outcome for group in self.all_groups)

    @property
    def published(self) -> tuple[Group, ...]:
        """The groups whose median may be printed."""
        return tuple(group for group in self.groups if group.published(0.5))

    @property
    def tails(self) -> tuple[Group, ...]:
        """The groups whose p50 and p95 may both be printed. Empty if there is only one, because one point is not a
        line.
        """
        tails = tuple(group for group in self.published if group.published(0.95))
        return tails if len(tails) > 1 else ()

    @property
    def thinned(self) -> bool:
        """True if a group has less than half as many turns as another. This happens if sessions end early: late groups
        then have turns only of the sessions that continued.
        """
        sizes = [group.n for group in self.groups]
        return bool(sizes) and 2 * min(sizes) < max(sizes)


@dataclass(frozen=True)
class GroupDifference:
    """Two groups of a pool that differ significantly. `low` is the group with the lower value.

    `what` is the quantile or rate in which they differ. If the key compares a group with all groups below it, `low` is
    the first of these, with the failures of all.
    """

    of: GroupedLatency
    what: Literal["p95", "p50", "failed", "unopened"]
    low: Group
    high: Group


def latency_by(
    run: RunFrames, samples: MetricSamples
) -> tuple[tuple[GroupedLatency, ...], tuple[GroupDifference, ...]]:
    """Return the main metric of each pool, grouped by each key that applies. Also return the groups that differ
    significantly.
    """
    grouped, differing = [], []
    for by, key in KEYS.items():
        for pool in samples.turns.pools:
            if (grouping := key(run, samples.turns, pool)) is not None:
                sample = samples[samples.mains[pool.stratum]]
                latency, *compared = _latencies(by, sample, pool, grouping)
                grouped += [latency] if latency.groups else []
                differing += [difference for of_pool in compared for difference in group_differences(of_pool)]
    return tuple(grouped), tuple(differing)


def _latencies(by: str, sample: MetricSample, pool: Pool, grouping: Grouping) -> list[GroupedLatency]:
    """Return the groups of a pool, with intervals of CONFIDENCE. If groups are compared, also return the same groups
    with the intervals for the comparison.
    """
    target = sample.turns.targets[pool.target]
    unplaced = int((grouping.lost[sample.turns.not_started_in(pool)] < 0).sum())
    confidences = [CONFIDENCE, grouping.confidence] if grouping.compared else [CONFIDENCE]
    groups = [*_groups(by, sample, pool, grouping, confidences, unplaced)]
    key = by, sample.metric.name, target, pool.label, pool.target, pool.stratum, grouping.end, grouping.compared
    latencies = []
    for of_confidence in zip(*groups, strict=True) if groups else [()] * len(confidences):
        known = tuple(group for group in of_confidence if not group.bin.is_unknown)
        unknown = of_confidence[-1] if len(known) < len(of_confidence) else None
        more_unplaced = unknown.lost if unknown else 0
        latencies.append(GroupedLatency(*key, grouping.ordered, known, unknown, unplaced + more_unplaced))
    return latencies


def _groups(
    by: str, sample: MetricSample, pool: Pool, grouping: Grouping, confidences: Sequence[float], unplaced: int
) -> Iterable[list[Group]]:
    """Yield a list for each group. It has the same group several times, once with the intervals of each confidence."""
    turns = sample.turns
    in_pool, not_started_in_pool = np.flatnonzero(turns.of(pool)), np.flatnonzero(turns.not_started_in(pool))
    positions_by_group = dict(split(grouping.index[in_pool] + 1))  # 0 is no group
    samples = dict(sample.by_group(pool.target, pool.steps, grouping.index, grouping.lost))
    none = np.zeros(0, dtype=np.int64)
    below_failed, below_sessions = np.zeros(0, dtype=bool), none
    for at, bin_ in enumerate(grouping.places):
        started = in_pool[positions_by_group.get(at + 1, none)]
        not_started = not_started_in_pool[grouping.lost[not_started_in_pool] == at]
        if started.size or not_started.size or grouping.every:
            ended = started[turns.kind[started] != UNFINISHED]
            sessions = np.append(turns.session[ended], turns.not_started.session[not_started])
            failed = np.append(turns.kind[ended] == FAILED, np.ones(not_started.size, dtype=bool))
            group_sample = samples.get(at, NO_VALUES)
            packed_sample = replace(group_sample, sessions=dense_codes(group_sample.sessions)[0])
            unopened = grouping.unopened[grouping.began == at] if grouping.began is not None else None
            failed_started = started[turns.kind[started] == FAILED]
            outcomes = Counter(turns.frame["outcome"].iloc[turns.rows[failed_started]])
            is_compared = grouping.compared == "below" and not bin_.is_unknown and below_failed.size > 0
            groups = []
            for confidence in confidences:
                p50, p95 = (estimate.published() for estimate in quantiles(packed_sample, (0.5, 0.95), confidence))
                group = Group(
                    sample.metric.name,
                    *pool.stratum,
                    target=turns.targets[pool.target],
                    by=by,
                    name=bin_.name,
                    low=bin_.low,
                    high=bin_.high,
                    bin=bin_,
                    turns=started.size,
                    sessions=distinct(np.append(turns.session[started], turns.not_started.session[not_started])).size,
                    failed=rate_of(failed, sessions, confidence),
                    failed_by_outcome=dict(outcomes.most_common()),
                    failed_at_bound=0 if grouping.is_bound is None else int(grouping.is_bound[failed_started].sum()),
                    below=rate_of(below_failed, below_sessions, confidence) if is_compared else None,
                    unopened=None if unopened is None else rate_of(unopened, np.arange(unopened.size), confidence),
                    n=group_sample.n,
                    p50=p50,
                    p95=p95,
                    lost=not_started.size,
                    unplaced=unplaced,
                )
                groups.append(group)
            below_failed, below_sessions = np.append(below_failed, failed), np.append(below_sessions, sessions)
            yield groups


def group_differences(latency: GroupedLatency) -> Iterable[GroupDifference]:
    """Yield the groups of a pool that differ significantly.

    They are compared by p95, or by p50 if p95 shows no difference, and by each rate. If a key compares the failures of
    each group with those of all groups below it, yield only the first group with more failures. A group with fewer is
    not reported, because turns that are grouped by a lower bound may belong to a later group.
    """
    if latency.compared == "below":
        for group in latency.groups:
            below, failed = group.below, group.failed
            if below and failed.total and below.high < failed.low and failed.share - below.share >= POINTS:
                yield GroupDifference(latency, "failed", structs.replace(latency.groups[0], failed=below), group)
                break
        return
    ends = latency.compared == "ends" and latency.groups
    groups = (latency.groups[0], latency.groups[-1]) if ends else latency.groups
    for p in (0.95, 0.5):
        known = [group for group in groups if group.published(p) and math.isfinite(group.at(p).value)]
        if len(known) > 1:
            low, high = (pick(known, key=lambda group: group.at(p).value) for pick in (min, max))
            min_difference = max(MATTERS * low.at(p).value, MATTERS_MS)
            if low.at(p).high < high.at(p).low and high.at(p).value - low.at(p).value >= min_difference:
                yield GroupDifference(latency, "p95" if p > 0.5 else "p50", low, high)
                break
    for what in ("failed", "unopened"):
        rates = [(rate, group) for group in groups if (rate := getattr(group, what)) is not None and rate.total]
        if len(rates) > 1:
            (lowest, low), (highest, high) = (pick(rates, key=lambda pair: pair[0].share) for pick in (min, max))
            if lowest.high < highest.low and highest.share - lowest.share >= POINTS:
                yield GroupDifference(latency, what, low, high)
