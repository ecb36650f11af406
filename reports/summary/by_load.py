"""Waits and failures by calls in progress, where the load changed; pure.

Calls are the sessions of one target, those of the warm-up too, from their start (before they connect) to their end.
A turn is told by how many there were at the instant that its latency counts from, or, where it did not get so far, at
its start; a session by how many there were at its own start. Turns and sessions are those of the measured phase.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reports.bins import count_step
from reports.numbers import NBSP, percent, together
from reports.runs import Run
from reports.samples import Sampled
from reports.statistics.concurrency import Counts, Course, course_of, load_changed
from reports.statistics.counting import distinct, packed
from reports.statistics.quantiles import LEVEL, Estimate, Sample, estimates
from reports.strata import Stratum
from reports.summary.along import TAIL
from reports.summary.rates import Rate, rate_of
from reports.turns import CENSORED, FAILED, Flags, Pool, Turns, measured

MOST = 8
"""Levels of calls in progress, at most."""
THIN = 40
"""A level of fewer turns stands together with its neighbour."""
MATTERS, MATTERS_MS, MATTERS_POINTS = 0.1, 5.0, 0.01
"""Levels that lie nearer together are pooled without a word: a share of the lower wait and ms, or points of a rate."""
SURE = 0.98
"""The level of intervals that must have nothing in common."""
ENDLESS_NS = np.iinfo(np.int64).max

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Level:
    """The turns of one pool, and the sessions of its target, at `least` to `most` calls in progress; waits in ms."""

    least: int
    most: int
    mean: float
    """calls in progress, over its turns"""
    turns: int
    sessions: int
    """those that have a turn here"""
    failed: Rate
    """of turns that the end of the run did not cut"""
    unopened: Rate
    """of sessions that began here"""
    n: int
    """turns with a wait, which failed ones have too"""
    p50: Estimate
    p95: Estimate

    @property
    def name(self) -> str:
        """11–20; 7 where it is a single number."""
        return f"{self.least:,}–{self.most:,}" if self.most > self.least else f"{self.least:,}"

    @property
    def in_progress(self) -> str:
        """11–20 calls in progress; 1 call in progress."""
        return f"{self.name}{NBSP}{'call' if self.most == 1 else 'calls'} in progress"

    @property
    def has_p95(self) -> bool:
        """Whether its p95 may be told: as many turns lie beyond it as where waits are told along a session."""
        return self.n * 0.05 >= TAIL and math.isfinite(self.p95.value)


@dataclass(frozen=True)
class ByLoad:
    """One pool by calls in progress, from few to many: two levels at least, with intervals of 95 %."""

    measure: str
    label: str
    target: int
    stratum: Stratum
    levels: tuple[Level, ...]
    ends: tuple[Level, Level]
    """the first and the last of them with intervals of 98 %"""


def by_load(run: Run, turns: Turns, samples: Mapping[str, Sampled], mains: Mapping[Stratum, str]) -> Iterable[ByLoad]:
    """The pools of the targets whose load changed, or was meant to by its stages, by their main measures."""
    at_ns = _counted_at_ns(turns)
    for target in distinct(turns.target):
        course, here_ns = _course(run, turns.targets[target]), at_ns[turns.target == target]
        if _has_stages(run) or load_changed(course.between(int(here_ns.min()), int(here_ns.max()))):
            count, openings = np.maximum(course.at(at_ns), 1), _openings(run, turns.targets[target], course)
            for pool in turns.pools:
                if pool.target == target:
                    yield from _of_pool(samples[mains[pool.stratum]], pool, count, *openings)


def _has_stages(run: Run) -> bool:
    """Whether the run was asked for a load that goes from one level to another."""
    arrivals = run.document.get("arrivals") or {}
    stages = run.document.get("stages") or arrivals.get("stages") or []
    return len({level for stage in stages for level in (stage["from"], stage["to"])}) > 1


def _of_pool(waits: Sampled, pool: Pool, count: Counts, begun_at: Counts, unopened: Flags) -> Iterable[ByLoad]:
    """The pool by its levels; nothing where it has turns enough for one alone."""
    parts = list(_parts(waits, pool, count, begun_at, unopened))
    if len(parts) > 1:
        levels, ends = (_level(part, LEVEL) for part in parts), (_level(parts[0], SURE), _level(parts[-1], SURE))
        yield ByLoad(waits.measure.name, pool.label, pool.target, pool.stratum, tuple(levels), ends)


def _counted_at_ns(turns: Turns) -> Integers:
    """The instant of each turn at which calls in progress are counted; ns since 1970."""
    begun_ns = turns.frame["start_utc_ns"].to_numpy(dtype=np.int64)
    at_ns: Integers = (begun_ns + np.nan_to_num(turns.origins_ns).astype(np.int64))[turns.rows]
    return at_ns


def _course(run: Run, target: str) -> Course:
    """The calls of a target in progress. A session that a kill cut has no row: its call goes on from its first turn."""
    sessions = run.sessions[(run.sessions["target"] == target).to_numpy()]
    starts_ns = sessions["start_utc_ns"].to_numpy(dtype=np.int64)
    length_ns = sessions["ended_at_ns"].to_numpy(dtype=np.float64, na_value=np.nan)
    ends_ns = np.where(np.isnan(length_ns), ENDLESS_NS, starts_ns + np.nan_to_num(length_ns).astype(np.int64))
    if run.document.get("state") == "ended":
        return course_of(starts_ns, ends_ns)
    turns = run.turns[(run.turns["target"] == target).to_numpy()]
    cut = turns[~turns["session_id"].isin(sessions["session_id"]).to_numpy()]
    cut_ns = cut.groupby("session_id", observed=True)["start_utc_ns"].min().to_numpy(dtype=np.int64)
    return course_of(np.append(starts_ns, cut_ns), np.append(ends_ns, np.full_like(cut_ns, ENDLESS_NS)))


def _openings(run: Run, target: str, course: Course) -> tuple[Counts, Flags]:
    """Of each measured session of a target: calls in progress as it began, and whether it failed before it opened."""
    sessions = run.sessions.iloc[measured(run.sessions)]
    sessions = sessions[(sessions["target"] == target).to_numpy()]
    never = sessions["session_updated_at_ns"].isna() & (sessions["outcome_class"] == "failed")
    return course.at(sessions["start_utc_ns"].to_numpy(dtype=np.int64)), never.to_numpy()


@dataclass(frozen=True)
class _Part:
    """What a level is made of: `count`, `kind` and `session` of its turns, `unopened` of the sessions begun there."""

    least: int
    most: int
    count: Counts
    kind: npt.NDArray[np.integer]
    session: npt.NDArray[np.integer]
    unopened: Flags
    sample: Sample


def _parts(waits: Sampled, pool: Pool, count: Counts, begun_at: Counts, unopened: Flags) -> Iterable[_Part]:
    """From few calls to many. `count`: calls in progress at each turn; `begun_at`: at each session's start."""
    turns, mine = waits.turns, np.flatnonzero(waits.turns.of(pool))
    values, index = waits.part(pool.target, pool.steps)
    step = count_step(int(count[mine].max(initial=1)), MOST)
    place = ((count - 1) // step).astype(np.int16)
    place_of_mine, place_of_value, place_begun = place[mine], place[index], (begun_at - 1) // step
    for first, last in merged(np.bincount(place_of_mine)):
        here, waited = mine[_within(place_of_mine, first, last)], _within(place_of_value, first, last)
        yield _Part(
            first * step + 1,
            (last + 1) * step,
            count[here],
            turns.kind[here],
            turns.session[here],
            unopened[_within(place_begun, first, last)],
            Sample(values[waited], packed(turns.session[index[waited]])[0]),
        )


def _within(places: npt.NDArray[np.integer], first: int, last: int) -> Flags:
    flags: Flags = (places >= first) & (places <= last)
    return flags


def _level(part: _Part, level: float) -> Level:
    """Its figures, with intervals at this level."""
    ended = part.kind != CENSORED
    return Level(
        part.least,
        part.most,
        float(part.count.mean()),
        part.count.size,
        distinct(part.session).size,
        rate_of(part.kind[ended] == FAILED, part.session[ended], level),
        rate_of(part.unopened, np.arange(part.unopened.size), level),
        part.sample.n,
        *estimates(part.sample, (0.5, 0.95), level),
    )


def merged(turns: npt.NDArray[np.integer]) -> list[tuple[int, int]]:
    """(first, last) of the places that stand together, from the number of turns at each place.

    As long as there is a thin one, the thinnest joins its thinner neighbour; places without a turn are left out.
    """
    ranges = [(place, place, int(turns[place])) for place in np.flatnonzero(turns).tolist()]
    while len(ranges) > 1 and min(n for *_, n in ranges) < THIN:
        thin = min(range(len(ranges)), key=lambda at: ranges[at][2])
        beside = [at for at in (thin - 1, thin + 1) if 0 <= at < len(ranges)]
        low = min(thin, min(beside, key=lambda at: ranges[at][2]))
        (first, _, n), (_, last, more) = ranges[low : low + 2]
        ranges[low : low + 2] = [(first, last, n + more)]
    return [(first, last) for first, last, _ in ranges]


def misleading(pools: Sequence[ByLoad]) -> Iterable[str]:
    """A sentence for each pool whose figures of the whole run mislead: they differ surely between its ends."""
    for pool in pools:
        if differences := [*_different_waits(pool), *_different_rates(pool)]:
            named = f"{pool.label}: " if len(pools) > 1 else ""
            yield f"{named}{'; '.join(differences)}: the figures of the whole run pool both."


def _different_waits(pool: ByLoad) -> Iterable[str]:
    """p95 of ttfa is 412 ms with 1–20 calls in progress and 1,830 ms with 81–100; else the same of p50."""
    few, many = pool.ends
    pairs = [(few.p95, many.p95)] if few.has_p95 and many.has_p95 else []
    pairs += [(few.p50, many.p50)] if few.p50.published and many.p50.published else []
    for low, high in pairs:
        near = max(MATTERS * min(low.value, high.value), MATTERS_MS)
        if _disjoint(low, high) and abs(high.value - low.value) >= near:
            times = together(low.value, high.value)
            wait = f"p{low.p * 100:g} of {pool.measure}"
            yield f"{wait} is {times[0]} with {few.in_progress} and {times[1]} with {many.name}"
            return


def _different_rates(pool: ByLoad) -> Iterable[str]:
    """0.2 % of the turns failed with 1–20 calls in progress and 12 % with 81–100; the same of sessions."""
    few, many = pool.ends
    for noun, low, high in (
        ("turns failed", few.failed, many.failed),
        ("sessions did not open", few.unopened, many.unopened),
    ):
        if _disjoint(low, high) and abs(high.value - low.value) >= MATTERS_POINTS:
            shares = percent(low.value, 1), percent(high.value, 1)
            yield f"{shares[0]} of the {noun} with {few.in_progress} and {shares[1]} with {many.name}"


def _disjoint(low: Estimate | Rate, high: Estimate | Rate) -> bool:
    """Whether the intervals of two figures have nothing in common; not where an end is not known."""
    return low.high < high.low or high.high < low.low
