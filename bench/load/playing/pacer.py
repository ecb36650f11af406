"""Paces the starts of one target's sessions: evenly, and not before the service has asked to be called again.

After a refusal for a limit of the service, and the wait for it, one session starts alone: the target is half-open, as
of circuit breakers. Once what was refused gets through, others follow with a distance that every further refusal
doubles and that shrinks with all that gets through.

Pure: the caller brings the clock and waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from bench.limits import LONGEST_HOLD_NS
from bench.units import NS_PER_S

FIRST_WAIT_NS, LONGEST_WAIT_NS = NS_PER_S, 60 * NS_PER_S
"""Waits where a service refuses for its limits and does not say for how long: each is twice the one before.

No wait is shorter than the first, whatever the service asks for. The distance of the starts after it grows alike.
"""

Limited = Literal["connection", "turn"]
"""What a service refuses for its limits."""


class Pacer:
    """Paces `per_minute` starts, evenly spaced, for all users of a target in this process; None for no limit.

    `phase_ns`: an instant from which all starts are whole intervals away, so that processes take turns; None: any.
    """

    def __init__(self, per_minute: float | None, phase_ns: int | None = None) -> None:
        self.interval_ns = int(60 * NS_PER_S / per_minute) if per_minute else 0
        self._phase_ns = phase_ns
        self._next_ns = self._held_until_ns = self._held_ns = 0
        self._refused: Limited = "connection"
        """What the service refused last."""
        self._waits = self._distance_ns = 0
        self._half_open = False
        self._trial_ns: int | None = None
        """When the session started that is alone to try whether the service takes what it has refused."""

    def earliest_ns(self, now_ns: int) -> int:
        """The instant of the next possible start; `now_ns` where nothing stands against it."""
        return max(now_ns, self._next_ns, self._held_until_ns)

    def slot_ns(self, at_ns: int) -> int:
        """The first instant from `at_ns` on that keeps in step with the other processes."""
        if self._phase_ns is None or not self.interval_ns:
            return at_ns
        return at_ns + (self._phase_ns - at_ns) % self.interval_ns

    @property
    def on_trial(self) -> bool:
        """Whether nothing may start until a session that is under way has got through, or has ended."""
        return self._trial_ns is not None

    def take(self, start_ns: int) -> None:
        """Take the start at this instant; the next one is an interval later, where there is one."""
        self._keep_apart(start_ns)
        if self._half_open:
            self._trial_ns = start_ns

    def book(self, now_ns: int) -> int | None:
        """Take the next possible start, before all who wait for one, and say when it is; None while one is on trial."""
        if self.on_trial:
            return None
        start_ns = self.slot_ns(self.earliest_ns(now_ns))
        self._keep_apart(start_ns)
        return start_ns

    def is_due(self, booked_ns: int, now_ns: int) -> bool:
        """Whether a start that was booked may be made: the service may have asked for a wait since."""
        return now_ns >= max(booked_ns, self._held_until_ns)

    def _keep_apart(self, start_ns: int) -> None:
        if apart_ns := max(self.interval_ns, self._distance_ns):
            self._next_ns = start_ns + apart_ns

    def ended(self, start_ns: int) -> None:
        """Note the end of what started at this instant: if it was the trial and told nothing, the next start is one."""
        if start_ns == self._trial_ns:
            self._trial_ns = None

    def throttled(self, what: Limited, began_ns: int, now_ns: int, asked_ns: int | None) -> None:
        """Hold starts: what began at `began_ns` was refused at `now_ns` for a limit, with or without a wait."""
        first = began_ns >= self._held_until_ns  # not one of many that began before the first of them was refused
        if asked_ns is None and not first:
            return
        wait_ns = min(FIRST_WAIT_NS << self._waits, LONGEST_WAIT_NS) if asked_ns is None else asked_ns
        self._waits = min(self._waits + (asked_ns is None), 6)
        if first:
            self._distance_ns = min(max(FIRST_WAIT_NS, 2 * self._distance_ns), LONGEST_WAIT_NS)
        self._refused, self._half_open, self._trial_ns = what, True, None
        self.hold(now_ns + min(max(wait_ns, FIRST_WAIT_NS), LONGEST_HOLD_NS), now_ns)

    def passed(self, what: Limited, began_ns: int) -> None:
        """Let starts go on where what got through is of the kind that was refused, and began after the wait."""
        if what == self._refused and began_ns >= self._held_until_ns:
            self._waits, self._half_open, self._trial_ns = 0, False, None
            self._distance_ns = self._distance_ns * 9 // 10

    def hold(self, until_ns: int, now_ns: int) -> None:
        """Let nothing start before an instant."""
        self._held_ns += max(0, until_ns - max(now_ns, self._held_until_ns))
        self._held_until_ns = max(self._held_until_ns, until_ns)

    def held_ns(self, now_ns: int) -> int:
        """The time for which nothing could start so far, by the service's word."""
        return self._held_ns - max(0, self._held_until_ns - now_ns)


def earliest_ns(pacers: Sequence[Pacer], now_ns: int) -> int:
    """The instant of the next pair's start: a wait in one arm holds its partners, and the slowest arm paces all."""
    slowest = max(pacers, key=lambda pacer: pacer.interval_ns)
    return slowest.slot_ns(max(pacer.earliest_ns(now_ns) for pacer in pacers))
