"""The keys by which the turns of a pool are grouped. Each key is a function that finds the group of
each turn.

To add a breakdown, add a function and its row in KEYS.

A turn that did not start also has a group. Its number is the one that it would have had. Its host
and its region are those of its session. Its instant is the end of its session. If the group of a
turn is unknown, the turn is left out of all groups, and counted.

Calls in progress are the open sessions of one target, including those of the warm-up. A session
counts from before it connects to its end. The calls in progress are counted:

- for a turn, at the instant from which its latency is measured; if there is none, at its start
- for a turn that did not start, at the end of its session, which is included
- for a session, at its start
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from bench.base.units import NS_PER_S
from bench.record.metric_values import floats
from reports.data.runs import RunFrames, hosts_of, part_of, sequence
from reports.data.turns import Pool, TurnArrays, measured_sessions, unopened_of
from reports.formatting import NBSP, count_step, format_number
from reports.statistics.counting import (
    ConcurrencySeries,
    Flags,
    Floats,
    Integers,
    Nanoseconds,
    concurrency_series,
    distinct,
    load_changed,
)

CONFIDENCE = 0.98
"""The joint confidence of the two intervals of a comparison of two groups."""


class GroupBin(NamedTuple):
    """A group of a key.

    - `name` is the printed name.
    - `at` is the position on the axis of the key; NaN if the place of its turns is unknown.
    - `start` and `end` are the range of the group; NaN if the key is not a number.
    """

    name: str
    at: float
    start: float = math.nan
    end: float = math.nan

    @property
    def is_unknown(self) -> bool:
        return math.isnan(self.at)


Compared = Literal["ends", "pairs", "below"]
"""The groups that are compared. "ends": the first group and the last. "pairs": the two groups that
differ most. "below": the failures of each group and those of all groups below it."""


@dataclass(frozen=True)
class Grouping:
    """The groups of a key.

    - `index` is the group of each measured turn; −1 if it has no group.
    - `is_bound` is a mask of the turns that are grouped by a lower bound; None if there are none.
    - `compared` shows which groups are compared; None if none are.
    """

    places: tuple[GroupBin, ...]
    index: Integers
    lost: Integers
    """The group of each turn that did not start; −1 if it is unknown."""
    end: float
    every: bool = False
    """True if groups without turns are also reported."""
    compared: Compared | None = None
    is_bound: Flags | None = None
    began: Integers | None = None
    """The group of each measured session of the target, by the start of the session. None if the
    key does not group sessions."""
    unopened: Flags = field(default_factory=lambda: np.zeros(0, bool))
    """True for each session of `began` that failed before it opened."""

    @property
    def ordered(self) -> tuple[GroupBin, ...]:
        """The groups whose place is known."""
        return tuple(place for place in self.places if not place.is_unknown)

    @property
    def confidence(self) -> float:
        """The confidence of the intervals that are compared: two groups differ if their intervals
        do not overlap. It is higher if there are more comparisons (Bonferroni).
        """
        number = len(self.ordered)
        comparisons = {"pairs": math.comb(number, 2), "below": number - 1}.get(
            self.compared or "", 1
        )
        return 1 - (1 - CONFIDENCE) / comparisons


MAX_LEVELS = 8
"""The maximum number of ranges of calls in progress, before small ranges are merged."""
MIN_LEVEL_TURNS = 40
"""The minimum number of turns in a range. A range with fewer turns is merged with its neighbour."""
NEVER_NS = np.iinfo(np.int64).max


def by_calls(run: RunFrames, turns: TurnArrays, pool: Pool) -> Grouping | None:
    """Group turns by the number of calls in progress. Return None if the load did not change and no
    change was planned, or if there is only one range.
    """
    target = turns.targets[pool.target]
    started_count = turns.rows.size
    in_target = np.append(turns.target, turns.not_started.target) == pool.target
    if not in_target.any():
        return None
    at_ns = counted_at_ns(turns)
    series = concurrency_of(run, target)
    stages = run.metadata.get("stages") or part_of(run.metadata, "arrivals").get("stages") or []
    planned = {level for stage in stages for level in (stage["from"], stage["to"])}
    if len(planned) < 2 and not load_changed(
        series.between(int(at_ns[in_target].min()), int(at_ns[in_target].max()))
    ):
        return None
    count = np.maximum(series.at(at_ns), 1)
    in_pool = np.append(turns.of(pool), turns.not_started_in(pool))
    step = count_step(int(count[in_pool].max(initial=1)), MAX_LEVELS)
    levels = merged(np.bincount((count[in_pool] - 1) // step)) if in_pool.any() else []
    if len(levels) < 2:
        return None
    columns = ["start_utc_ns", "session_updated_at_ns", "outcome_class"]
    sessions = _columns(measured_sessions(run, [*columns, "target"]), columns, target)
    opened_at = series.at(sessions["start_utc_ns"].to_numpy(int))
    level_of = np.full(int(max(count.max(), opened_at.max(initial=1))) // step + 1, -1)
    for at, (first, last) in enumerate(levels):
        level_of[first : last + 1] = at
    index, began = (level_of[(calls - 1) // step] for calls in (count, opened_at))
    bins = []
    for at, (first, last) in enumerate(levels):
        low = first * step + 1
        high = (last + 1) * step
        name = f"{low:,}–{high:,}" if high > low else f"{low:,}"
        bins.append(GroupBin(name, float(count[in_pool & (index == at)].mean()), low, high))
    return Grouping(
        tuple(bins),
        index[:started_count],
        index[started_count:],
        end=bins[-1].end,
        compared="ends",
        began=began,
        unopened=unopened_of(sessions),
    )


def counted_at_ns(turns: TurnArrays) -> Nanoseconds:
    """Return the instants (UTC) at which the calls in progress are counted: of turns that
    started, then of others.
    """
    started_ns = turns.frame["start_utc_ns"].to_numpy(int)
    counted_ns = (started_ns + np.nan_to_num(turns.measured_from_ns).astype(int))[turns.rows]
    # a session is not in progress at its own end, so count 1 ns before
    return np.append(counted_ns, turns.not_started.at_utc_ns - 1)


def concurrency_of(run: RunFrames, target: str) -> ConcurrencySeries:
    """Return the number of calls in progress over time, of one target. If the run was killed, a
    session may have no row. Such a session counts as a call without an end, from its first turn on.
    """
    sessions = _columns(run.sessions, ["session_id", "start_utc_ns", "ended_at_ns"], target)
    starts_ns = sessions["start_utc_ns"].to_numpy(int)
    length_ns = floats(sessions, "ended_at_ns")
    ends_ns = np.where(
        np.isnan(length_ns), NEVER_NS, starts_ns + np.nan_to_num(length_ns).astype(int)
    )
    if run.metadata.get("state") == "ended":
        return concurrency_series(starts_ns, ends_ns)
    turns = _columns(run.turns, ["session_id", "start_utc_ns"], target)
    unmatched = turns[~turns["session_id"].isin(sessions["session_id"]).to_numpy()]
    first_ns = unmatched.groupby("session_id", observed=True)["start_utc_ns"].min().to_numpy(int)
    return concurrency_series(
        np.append(starts_ns, first_ns), np.append(ends_ns, np.full_like(first_ns, NEVER_NS))
    )


def _columns(frame: pd.DataFrame, names: list[str], target: str) -> pd.DataFrame:
    return frame[names][(frame["target"] == target).to_numpy()]


def merged(turns: Integers) -> list[tuple[int, int]]:
    """Return the ranges of indices, as the first and the last index of each. `turns` is the number
    of turns at each index. Ranges without turns are left out. A small range is merged with the
    smaller of its neighbours.
    """
    ranges = [(index, index, int(turns[index])) for index in np.flatnonzero(turns).tolist()]
    while len(ranges) > 1 and min(n for *_, n in ranges) < MIN_LEVEL_TURNS:
        thin = min(range(len(ranges)), key=lambda at: ranges[at][2])
        neighbours = [at for at in (thin - 1, thin + 1) if 0 <= at < len(ranges)]
        low = min(thin, min(neighbours, key=lambda at: ranges[at][2]))
        (first, _, n), (_, last, more) = ranges[low : low + 2]
        ranges[low : low + 2] = [(first, last, n + more)]
    return [(first, last) for first, last, _ in ranges]


NUMBERED = 10
"""The last turn number that has a group of its own. All later turns are in one group."""
AGES = 12
CONTEXTS = (2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000)
"""The upper end of each group of input tokens. One more group has no upper end."""


UNKNOWN = "unknown"
"""The name of the group of turns for which the input tokens are unknown."""


def by_turn(run: RunFrames, turns: TurnArrays, pool: Pool) -> Grouping:
    """Group turns by their number in the session. All turns after the tenth are in one group."""
    number = np.append(turns.number, turns.not_started.number)
    max_number = int(min(NUMBERED + 1, number.max(initial=1)))
    bins = tuple(GroupBin(str(n), n, n, n) for n in range(1, min(max_number, NUMBERED) + 1))
    if max_number > NUMBERED:
        bins += (GroupBin(f"{max_number}+", max_number, max_number, math.inf),)
    index = np.clip(number, 1, max_number).astype(int) - 1
    return Grouping(bins, index[: turns.rows.size], index[turns.rows.size :], end=max_number)


def by_age(run: RunFrames, turns: TurnArrays, pool: Pool) -> Grouping:
    """Group turns by the age of the session at their start. The ages are divided into AGES equal
    ranges. For a turn that did not start, the age is that at the end of the session.
    """
    began_ns = measured_sessions(run, ["start_utc_ns"])["start_utc_ns"].to_numpy(int)
    not_started_age_s = (
        turns.not_started.at_utc_ns - began_ns[turns.not_started.position]
    ) / NS_PER_S
    age_s = np.append(ages(turns, run.sessions), np.maximum(not_started_age_s, 0.0))
    age_s[~pool.steps[np.append(turns.step, turns.not_started.step)]] = np.nan
    end = max(1e-3, float(np.nanmax(age_s, initial=0.0)))
    index = np.where(
        np.isnan(age_s), -1, np.minimum(np.nan_to_num(age_s) / end * AGES, AGES - 1)
    ).astype(int)
    edges = np.linspace(0.0, end, AGES + 1).tolist()
    names = [
        f"{format_number(low)} to {format_number(high)}{NBSP}s" for low, high in pairwise(edges)
    ]
    ends = zip(names, pairwise(edges), strict=True)
    bins = tuple(GroupBin(name, (low + high) / 2, low, high) for name, (low, high) in ends)
    return Grouping(bins, index[: turns.rows.size], index[turns.rows.size :], end=end)


def by_context(run: RunFrames, turns: TurnArrays, pool: Pool) -> Grouping | None:
    """Group turns by the input tokens of their first response. The last group is the turns for
    which these tokens are unknown. Return None if all others are in one group.
    """
    tokens = np.where(pool.steps[turns.step], turns.context.tokens, np.nan)
    index = np.searchsorted(CONTEXTS, np.nan_to_num(tokens)).astype(int)
    used_indices = np.unique(index[~np.isnan(tokens)])
    if used_indices.size < 2:
        return None
    short = [f"{limit // 1000}k" for limit in CONTEXTS]
    between = [f"{low} to {high}" for low, high in pairwise(short)]
    names = [f"to {short[0]}", *between, f"over {short[-1]}"]
    group_count = int(used_indices[-1]) + 1
    ends = list(zip(names, pairwise((0, *CONTEXTS, math.inf)), strict=True))[:group_count]
    bins = tuple(GroupBin(name, at, *bounds) for at, (name, bounds) in enumerate(ends, 1))
    has_unknown = bool(np.isnan(tokens[turns.of(pool)]).any() or turns.not_started_in(pool).any())
    return Grouping(
        (*bins, GroupBin(UNKNOWN, math.nan)) if has_unknown else bins,
        np.where(np.isnan(tokens), group_count, index),
        np.full_like(turns.not_started.step, group_count),
        end=group_count,
        compared="below",
        is_bound=turns.context.is_bound,
    )


def by_host(run: RunFrames, turns: TurnArrays, pool: Pool) -> Grouping | None:
    """Group turns by the host that recorded them, because a host may be busy, or farther away from
    the service. Return None if the run has only one host.
    """
    names = [str(entry.get("name")) for entry in hosts_of(run.metadata)]
    if len(names) < 2:
        return None
    known = pd.Index(names)
    codes = known.get_indexer(pd.Index(turns.frame["host"].astype(object)))[turns.rows]
    of_session = known.get_indexer(
        pd.Index(measured_sessions(run, ["host"])["host"].astype(object))
    )
    return _named(names, codes, of_session[turns.not_started.position], with_empty=True)


NOT_REPORTED = "not reported"


def by_region(run: RunFrames, turns: TurnArrays, pool: Pool) -> Grouping | None:
    """Group turns by the region that the service reports. Return None if all turns of the pool
    have the same region.
    """
    names = [*sequence(run.sessions, "region"), NOT_REPORTED]
    of_session = np.full(turns.sessions, NOT_REPORTED, object)
    of_session[turns.session_of_row] = run.sessions["region"].astype(object).fillna(NOT_REPORTED)
    code = pd.Index(names).get_indexer(pd.Index(of_session))
    started_code = code[turns.session]
    not_started_code = code[turns.not_started.session]
    not_started_code[
        (not_started_code == len(names) - 1) & ~np.isin(turns.not_started.session, turns.session)
    ] = -1
    pool_codes = np.append(
        started_code[turns.of(pool)],
        not_started_code[turns.not_started_in(pool) & (not_started_code >= 0)],
    )
    used_codes = distinct(pool_codes)
    index = np.full(len(names) + 1, -1)  # the last entry is for turns without a region
    index[used_codes] = np.arange(used_codes.size)
    return (
        _named([names[at] for at in used_codes], index[started_code], index[not_started_code])
        if used_codes.size > 1
        else None
    )


def _named(
    names: Sequence[str], started: Integers, not_started: Integers, *, with_empty: bool = False
) -> Grouping:
    """Return groups that have names, but no natural order.

    `started` is the index in `names` for each turn that started. `not_started` is the index for
    each turn that did not start. If `with_empty` is True, groups without turns are also reported.
    """
    bins = tuple(GroupBin(name, at) for at, name in enumerate(names))
    return Grouping(
        bins,
        started.astype(int),
        not_started.astype(int),
        end=len(names),
        every=with_empty,
        compared="pairs",
    )


KEYS = {
    "turn": by_turn,
    "age": by_age,
    "context": by_context,
    "calls": by_calls,
    "host": by_host,
    "region": by_region,
}


def ages(turns: TurnArrays, sessions: pd.DataFrame) -> Floats:
    """Return the age of its session, in seconds, at the start of each measured turn; NaN if the
    session has no row.
    """
    began = pd.Series(
        floats(sessions, "start_utc_ns"),
        index=sessions["session_id"].astype(str),
    )
    of_category = began[~began.index.duplicated()].reindex(
        turns.frame["session_id"].cat.categories.astype(str)
    )
    # floats round ns since 1970 by some 100 ns: no problem for an age in seconds
    age_s = (turns.column("start_utc_ns") - of_category.to_numpy()[turns.session]) / NS_PER_S
    return np.maximum(age_s, 0.0)
