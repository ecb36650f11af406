"""The clusters of a target, which are resampled.

Clusters are the sessions of a target, or pairs of sessions if the sessions of all targets started together. Only
sessions of the measured phase count. A session that has turns but no row yet, because it is open or its run was killed,
is also a cluster. A pair needs the row of each of its sessions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from reports.runs import RunFrames, hosts_of
from reports.statistics.counting import Integers
from reports.turns import TurnArrays, measured_rows

ABSENT = -1
"""The index of a target that no row of its run names."""


NO_SESSION: Integers = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Clusters:
    """The clusters of one target, numbered from 0. The number −1 means that a session is in no cluster."""

    count: int
    of_code: Integers
    """The cluster of each session code of `TurnArrays.session`."""
    rows: Integers
    """The indices of the rows of `RunFrames.sessions` that count."""
    of_row: Integers
    """The cluster of each row in `rows`."""
    pairs: Integers | None = None
    """The numbers that the run gave its pairs, ascending; None if clusters are not pairs."""
    cut: int = 0
    """The number of incomplete pairs. They are left out."""


def by_session(run: RunFrames, turns: TurnArrays, target: int) -> Clusters:
    """Return each session of a target as a cluster, in the order of their start; sessions without a row are last."""
    rows = session_rows_of(run, turns, target)
    several = run.metadata.get("parts") or len(hosts_of(run.metadata)) > 1
    # the start on CLOCK_MONOTONIC can order only the sessions of one host
    clock = "start_utc_ns" if several else "start_ns"
    rows = rows[np.argsort(run.sessions[clock].to_numpy()[rows], kind="stable")]
    of_code = np.full(turns.sessions, -1, dtype=np.int64)
    of_code[turns.session_of_row[rows]] = np.arange(rows.size)
    started = np.unique(turns.session[turns.target == target]) if target != ABSENT else NO_SESSION
    rowless = started[of_code[started] < 0] if started.size else started
    of_code[rowless] = rows.size + np.arange(rowless.size)
    return Clusters(int(rows.size + rowless.size), of_code, rows, np.arange(rows.size))


def by_pair(run: RunFrames, turns: TurnArrays, targets: Sequence[int]) -> tuple[Clusters, ...] | None:
    """Return, for each of these targets, its complete pairs as clusters; None if there is no complete pair."""
    rows = [session_rows_of(run, turns, target) for target in targets]
    numbers = [run.sessions["pair"].to_numpy(dtype=np.float64)[mine] for mine in rows]
    known = [np.unique(number[~np.isnan(number)]) for number in numbers]
    complete = reduce(np.intersect1d, known)
    if not complete.size:
        return None
    incomplete = reduce(np.union1d, known).size - complete.size
    clusters = []
    for mine, number in zip(rows, numbers, strict=True):
        counts = np.isin(number, complete)
        of_row, of_code = np.searchsorted(complete, number[counts]), np.full(turns.sessions, -1, dtype=np.int64)
        of_code[turns.session_of_row[mine[counts]]] = of_row
        clusters.append(
            Clusters(complete.size, of_code, mine[counts], of_row, complete.astype(np.int64), int(incomplete))
        )
    return tuple(clusters)


def session_rows_of(run: RunFrames, turns: TurnArrays, target: int) -> Integers:
    """Return the measured rows of a target's sessions."""
    if target == ABSENT:
        return NO_SESSION
    rows = measured_rows(run.sessions)
    mine: Integers = rows[(run.sessions["target"].iloc[rows] == turns.targets[target]).to_numpy()]
    return mine
