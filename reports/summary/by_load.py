"""At which number of calls in progress each turn of a pool stands, where the load changed; pure.

Calls are the sessions of one target, those of the warm-up too, from their start (before they connect) to their end.
A turn is told by how many there were at the instant that its latency counts from, or, where it did not get so far, at
its start; a session by how many there were at its own start. Turns and sessions are those of the measured phase.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from reports.bins import count_step
from reports.runs import Run
from reports.statistics.concurrency import Counts, Course, course_of, load_changed
from reports.summary.places import Place, Places
from reports.turns import Flags, Pool, Turns, measured

MOST = 8
"""Levels of calls in progress, at most."""
THIN = 40
"""A level of fewer turns stands together with its neighbour."""
ENDLESS_NS = np.iinfo(np.int64).max

Integers = npt.NDArray[np.int64]


def by_calls(run: Run, turns: Turns, pool: Pool) -> Places | None:
    """From few calls to many; None where the load of the target neither changed nor was meant to by the stages, and
    where the pool has turns enough for one level alone.
    """
    own = turns.target == pool.target
    if not own.any():
        return None
    at_ns, course = _counted_at_ns(turns), _course(run, turns.targets[pool.target])
    if not _has_stages(run) and not load_changed(course.between(int(at_ns[own].min()), int(at_ns[own].max()))):
        return None
    count, mine = np.maximum(course.at(at_ns), 1), turns.of(pool)
    step = count_step(int(count[mine].max(initial=1)), MOST)
    levels = merged(np.bincount((count[mine] - 1) // step)) if mine.any() else []
    if len(levels) < 2:
        return None
    begun_at, unopened = _openings(run, turns.targets[pool.target], course)
    level_of = np.full(int(max(count.max(), begun_at.max(initial=1))) // step + 1, -1)
    for at, (first, last) in enumerate(levels):
        level_of[first : last + 1] = at
    place, began = (level_of[(of - 1) // step] for of in (count, begun_at))
    places = []
    for at, (first, last) in enumerate(levels):
        least, most = first * step + 1, (last + 1) * step
        name = f"{least:,}–{most:,}" if most > least else f"{least:,}"
        places.append(Place(name, float(count[mine & (place == at)].mean()), least, most))
    return Places(tuple(places), place, end=places[-1].high, began=began, unopened=unopened)


def _has_stages(run: Run) -> bool:
    """Whether the run was asked for a load that goes from one level to another."""
    arrivals = run.document.get("arrivals") or {}
    stages = run.document.get("stages") or arrivals.get("stages") or []
    return len({level for stage in stages for level in (stage["from"], stage["to"])}) > 1


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
