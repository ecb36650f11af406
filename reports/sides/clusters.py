"""What is resampled: the sessions of a target, or where sessions of all sides began together their pairs; pure.

Sessions of the measured phase count. A session that has turns and no row yet, for it is under way or its run was
killed, is a cluster as well; a pair needs the row of each of its sessions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from reports.runs import Run, hosts_of
from reports.statistics.quantiles import Integers
from reports.turns import Turns, measured

ABSENT = -1
"""The place of a target that no row of its run names."""


@dataclass(frozen=True, eq=False)
class Clusters:
    """The clusters of one side, numbered from 0; −1 stands for what is in none of them."""

    count: int
    of_code: Integers
    """the cluster of each session code of `Turns.session`"""
    rows: Integers
    """the rows of `Run.sessions` that count"""
    of_row: Integers
    """the cluster of each of these"""
    pairs: Integers | None = None
    """where clusters are pairs, the number that the run gave each, ascending"""
    cut: int = 0
    """pairs that were not whole and do not count"""


def by_session(run: Run, turns: Turns, target: int) -> Clusters:
    """Each session of a target is a cluster, in the order of their start: first those that have a row."""
    rows = rows_of(run, turns, target)
    rows = rows[np.argsort(run.sessions[_clock(run)].to_numpy()[rows], kind="stable")]
    of_code = np.full(turns.sessions, -1, dtype=np.int64)
    of_code[turns.session_of_row[rows]] = np.arange(rows.size)
    begun = np.unique(turns.session[turns.target == target]) if target != ABSENT else np.zeros(0, dtype=np.int64)
    rowless = begun[of_code[begun] < 0] if begun.size else begun
    of_code[rowless] = rows.size + np.arange(rowless.size)
    return Clusters(int(rows.size + rowless.size), of_code, rows, np.arange(rows.size))


def _clock(run: Run) -> str:
    """The column that says in which order sessions began: CLOCK_MONOTONIC, where they all began by that of one host."""
    several = run.document.get("parts") or len(hosts_of(run.document)) > 1
    return "start_utc_ns" if several else "start_ns"


def by_pair(run: Run, turns: Turns, targets: Sequence[int]) -> tuple[Clusters, ...] | None:
    """Each whole pair is a cluster of every one of these targets; None where the run's sessions have no pairs."""
    rows = [rows_of(run, turns, target) for target in targets]
    numbers = [run.sessions["pair"].to_numpy(dtype=np.float64)[mine] for mine in rows]
    known = [np.unique(number[~np.isnan(number)]) for number in numbers]
    whole = reduce(np.intersect1d, known)
    if not whole.size:
        return None
    cut = reduce(np.union1d, known).size - whole.size
    return tuple(_paired(turns, mine, number, whole, int(cut)) for mine, number in zip(rows, numbers, strict=True))


def _paired(turns: Turns, rows: Integers, numbers: Integers, whole: Integers, cut: int) -> Clusters:
    kept = np.isin(numbers, whole)
    rows, of_row = rows[kept], np.searchsorted(whole, numbers[kept])
    of_code = np.full(turns.sessions, -1, dtype=np.int64)
    of_code[turns.session_of_row[rows]] = of_row
    return Clusters(whole.size, of_code, rows, of_row, whole.astype(np.int64), cut)


def rows_of(run: Run, turns: Turns, target: int) -> Integers:
    """The measured rows of a target's sessions."""
    if target == ABSENT:
        return np.zeros(0, dtype=np.int64)
    rows = measured(run.sessions)
    mine: Integers = rows[(run.sessions["target"].iloc[rows] == turns.targets[target]).to_numpy()]
    return mine
