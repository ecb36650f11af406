"""Numbers the pairs of several runs by when they began, and puts them in blocks of the run that they become; pure.

Whoever looks at pairs, or at sessions, in their order takes it for that of time: the drift of a run would else be what
its parts differ in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bench.run.folder import BLOCK_NS

PairIntegers = npt.NDArray[np.int64]


class PairStarts(NamedTuple):
    """The pairs of one run, ascending by the number that it gave them, and when each began (UTC, ns since 1970)."""

    numbers: PairIntegers
    starts_ns: PairIntegers


class PairNumbering(NamedTuple):
    """Where the pairs of one run stand in another: beside the number that each has, the new one and its block."""

    numbers: PairIntegers
    new: PairIntegers
    blocks: PairIntegers


def first_starts(rows: Iterable[PairStarts]) -> PairStarts:
    """When each pair began, from the starts of rows of it, in any order."""
    parts = [part for part in map(_earliest, rows) if part.numbers.size]
    if not parts:
        return PairStarts(np.zeros(0, np.int64), np.zeros(0, np.int64))
    return _earliest(PairStarts(*map(np.concatenate, zip(*parts, strict=True))))


def _earliest(rows: PairStarts) -> PairStarts:
    numbers, place = np.unique(rows.numbers, return_inverse=True)
    starts_ns = np.full(numbers.size, np.iinfo(np.int64).max)
    np.minimum.at(starts_ns, place, rows.starts_ns)
    return PairStarts(numbers, starts_ns)


def numbered_by_start(runs: Sequence[PairStarts], began_utc_ns: int) -> list[PairNumbering]:
    """Number the pairs of all runs together, from 0, in the order in which they began."""
    starts_ns = np.concatenate([run.starts_ns for run in runs])
    new = np.empty(starts_ns.size, np.int64)
    new[np.argsort(starts_ns, kind="stable")] = np.arange(starts_ns.size)
    blocks = np.maximum(starts_ns - began_utc_ns, 0) // BLOCK_NS
    ends = np.cumsum([run.numbers.size for run in runs])[:-1]
    parts = zip(runs, np.split(new, ends), np.split(blocks, ends), strict=True)
    return [PairNumbering(run.numbers, mine, mine_blocks) for run, mine, mine_blocks in parts]
