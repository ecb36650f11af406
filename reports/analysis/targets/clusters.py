"""The clusters of a target. A bootstrap resamples clusters.

A cluster is a session of the target. If the sessions of all targets started together, it is a pair:
one session of each target. Only sessions of the measured phase count. A session may have turns but
no row yet, because it is open, or because the run was killed. It is also a cluster. But a pair
counts only if each of its sessions has a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from bench.record.metric_values import floats
from reports.data.runs import RunFrames, hosts_of
from reports.data.turns import TurnArrays, measured_rows
from reports.statistics.counting import Integers

ABSENT = -1
"""The index of a target that does not occur in any row of its run."""


NO_SESSION: Integers = np.zeros(0, dtype=np.int64)


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
    of_code = np.full(turns.sessions, -1, dtype=np.int64)
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
        of_code = np.full(turns.sessions, -1, dtype=np.int64)
        of_code[turns.session_of_row[mine[counts]]] = of_row
        clusters.append(
            Clusters(
                complete.size,
                of_code,
                mine[counts],
                of_row,
                complete.astype(np.int64),
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
