"""Chooses, of the copies of a worker's part in several folders, the one that holds most. Pure.

A worker's folder holds all that it recorded; its master's holds what was shipped, which is the begin of the same
streams; a merged run holds either. So of two copies the longer one holds the other, and any set of folders of one run
comes to their union, in any order, however often one is there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class WorkerId(NamedTuple):
    """What tells a worker from all others, wherever its part has got to: its run, and its number there."""

    run_id: str
    began_utc_ns: int
    worker: int

    @property
    def run(self) -> tuple[int, str]:
        """Its run, in the order in which runs began."""
        return self.began_utc_ns, self.run_id


class Copy(NamedTuple):
    """How much of a worker's part is there: rows, and whether its last one is."""

    turns: int = 0
    sessions: int = 0
    seconds: int = 0
    done: bool = False


def chosen(folders: Sequence[Mapping[WorkerId, Copy]]) -> list[frozenset[WorkerId]]:
    """Which workers are to be taken from each folder; of equal copies that of the folder which holds most in all."""

    def size(place: int) -> tuple[int, ...]:
        return tuple(map(sum, zip(*folders[place].values(), strict=True)))

    best: dict[WorkerId, int] = {}
    for place in sorted(range(len(folders)), key=size, reverse=True):
        for worker, copy in folders[place].items():
            if worker not in best or copy > folders[best[worker]][worker]:
                best[worker] = place
    return [frozenset(worker for worker, place in best.items() if place == at) for at in range(len(folders))]
