"""When connections to one target may start: evenly spaced, and not before the service has asked to be called again.

Pure: the caller brings the clock and waits.
"""

from __future__ import annotations

SECOND_NS = 1_000_000_000
FIRST_WAIT_NS, LONGEST_WAIT_NS = SECOND_NS, 60 * SECOND_NS
"""Of a service that refuses for its limits and does not say for how long: each wait is twice the one before.

No wait is shorter than the first, whatever the service asks for.
"""
LONGEST_HOLD_NS = 600 * SECOND_NS


class Pacer:
    """`per_minute` starts, evenly spaced, for all users of a target in this process; None for no limit."""

    def __init__(self, per_minute: float | None) -> None:
        self._interval_ns = int(60 * SECOND_NS / per_minute) if per_minute else 0
        self._next_ns = self._held_until_ns = self._held_ns = 0
        self._waits = 0

    def earliest_ns(self, now_ns: int) -> int:
        """When the next start may be; `now_ns` where nothing stands against it."""
        return max(now_ns, self._next_ns, self._held_until_ns)

    def take(self, start_ns: int) -> None:
        """There is a start at this instant, so the next one is an interval later."""
        self._next_ns = start_ns + self._interval_ns

    def holds(self, now_ns: int) -> bool:
        """Whether nothing may start now, by the service's word, whatever was planned before it came."""
        return now_ns < self._held_until_ns

    def throttled(self, began_ns: int, now_ns: int, asked_ns: int | None) -> None:
        """A connection that was begun at `began_ns` was refused for the service's limits, with or without a wait."""
        if asked_ns is None:
            if began_ns < self._held_until_ns:
                return  # one of many that began before the first of them was refused
            asked_ns = min(FIRST_WAIT_NS << self._waits, LONGEST_WAIT_NS)
            self._waits = min(self._waits + 1, 6)
        self.hold(now_ns + min(max(asked_ns, FIRST_WAIT_NS), LONGEST_HOLD_NS), now_ns)

    def opened(self, began_ns: int) -> None:
        """A connection that was begun at `began_ns` was opened: if since the last wait, the next is the first again."""
        if began_ns >= self._held_until_ns:
            self._waits = 0

    def hold(self, until_ns: int, now_ns: int) -> None:
        """Nothing starts before an instant."""
        self._held_ns += max(0, until_ns - max(now_ns, self._held_until_ns))
        self._held_until_ns = max(self._held_until_ns, until_ns)

    def held_ns(self, now_ns: int) -> int:
        """For how long nothing could start so far, by the service's word."""
        return self._held_ns - max(0, self._held_until_ns - now_ns)
