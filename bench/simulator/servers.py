"""Keeps the servers that make responses, which all sessions share: who comes first is served first. Pure.

A response waits until one of them is free, and keeps it until it is done, also where it is cancelled before that. Where
requests arrive at random this is the queue M/G/c; with callers who wait for their replies, the machine repair model.
"""

from __future__ import annotations

import heapq


class Servers:
    """`count` servers; None: as many as one likes. Instants of CLOCK_MONOTONIC. `sessions`: how many share them now;
    `responses`: how many were made by them, whether or not they had to wait.
    """

    def __init__(self, count: int | None = None) -> None:
        self._free_ns = [0] * (count or 0)
        self.sessions = self.responses = 0

    def begin_ns(self, at_ns: int) -> int:
        """When a response is begun that is asked for `at_ns`."""
        return max(at_ns, self._free_ns[0]) if self._free_ns else at_ns

    def occupy(self, until_ns: int) -> None:
        """Keep the server that is free first."""
        self.responses += 1
        if self._free_ns:
            heapq.heapreplace(self._free_ns, until_ns)
