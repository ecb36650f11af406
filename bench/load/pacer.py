"""When a connection may start: one token a fixed interval apart, for all users of a target in this process."""

from __future__ import annotations


class Pacer:
    """`per_minute` starts, evenly spaced; None for no limit. Pure: the caller brings the clock and waits."""

    def __init__(self, per_minute: float | None) -> None:
        self._interval_ns = int(60e9 / per_minute) if per_minute else 0
        self._next_ns = 0

    def reserve(self, now_ns: int) -> int:
        """Take the next start; returns its instant, which is `now_ns` where there is no limit."""
        start_ns = max(now_ns, self._next_ns)
        self._next_ns = start_ns + self._interval_ns
        return start_ns
