"""Describes a process's place in a run: which worker it is, and when the run began. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """Worker number `worker`, from 0, of so many `workers`.

    The run began at `began_utc_ns`, which is `began_ns` of CLOCK_MONOTONIC, the clock that its processes share. Pairs
    that start within `warmup_s` after it are not measured. `ahead_ns`: by how much the UTC of this host is ahead of the
    master's, which can be wrong by `ahead_error_ns`; None where nobody has compared them.
    """

    began_utc_ns: int
    began_ns: int
    warmup_s: float = 0.0
    worker: int = 0
    workers: int = 1
    ahead_ns: int = 0
    ahead_error_ns: int | None = None

    def numbered(self, number: int) -> int:
        """Turn a number from 0 in this process into one over all processes, which take turns."""
        return number * self.workers + self.worker

    def share(self, sessions: int | None) -> int | None:
        """This worker's part of so many sessions; None for no limit."""
        if sessions is None:
            return None
        return sessions // self.workers + (self.worker % self.workers < sessions % self.workers)
