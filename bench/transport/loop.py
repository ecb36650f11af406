"""Knows when the event loop last polled, and by that since when a socket was empty.

gevent's loop runs `prepare` watchers just before it polls and `check` watchers just after. A poll that blocked found
every watched socket empty when it began, and would have returned within the usual wake-up delay of the first arrival.
"""

from __future__ import annotations

import math

import gevent

from bench.clock import monotonic_ns
from bench.transport.compiled import voluntary_switches
from bench.units import NS_PER_S

BLOCKED_NS = 30_000  # a poll that finds something ready takes a few µs
ALLOWED_DELAY_NS = 1_000_000
HELD_UP_NS = 2_000_000
"""A poll that returns so long after it was to was held up: a timer may be 1 ms late, and a wake-up takes its time."""
NEVER_NS = 1 << 62
FIRST_DELAYS, FEWEST_DELAYS = 3, 20


class LoopWatch:
    """The instants of the loop's polls. One per hub: `LoopWatch.of_hub()`."""

    def __init__(self) -> None:
        self.polls = 0
        self.poll_begin_ns = self.poll_end_ns = self.previous_poll_end_ns = monotonic_ns()
        self.blocked = self.held_up = False
        self._slept_from_ns = self.poll_begin_ns
        self._wakes_by_ns = NEVER_NS
        self.wake_delays_ns: tuple[int, ...] = ()
        """p99 and maximum of (poll return − kernel stamp) over about the last second, in reads of one event."""
        self._delays: list[int] = []
        self._windows = 0
        self._window_ns = self.poll_end_ns + NS_PER_S
        self._switches = voluntary_switches()
        loop = gevent.get_hub().loop
        self._prepare = loop.prepare(ref=False)
        self._check = loop.check(ref=False)
        self._check.priority = loop.MAXPRI
        self._prepare.start(self._before_poll)
        self._check.start(self._after_poll)

    @staticmethod
    def of_hub() -> LoopWatch:
        """The watch of this thread's hub, made at first use; a forked process goes on with it."""
        hub = gevent.get_hub()
        watch = getattr(hub, "rtbench_loop_watch", None)
        if not isinstance(watch, LoopWatch):
            watch = hub.rtbench_loop_watch = LoopWatch()
        return watch

    def wakes_by(self, due_ns: int) -> None:
        """Note that a timer is due then: a poll that sleeps longer was held up, and nobody knows since when."""
        self._wakes_by_ns = due_ns

    def is_held_up(self, returned_ns: int) -> bool:
        """Whether a poll that returned then should have returned before."""
        return returned_ns > self._wakes_by_ns + HELD_UP_NS

    def _before_poll(self) -> None:
        self.poll_begin_ns = monotonic_ns()

    def _after_poll(self) -> None:
        # a process that was stopped in its poll returns from it without what came meanwhile (EINTR)
        self.previous_poll_end_ns = self._slept_from_ns if self.held_up else self.poll_end_ns
        self._slept_from_ns, self.poll_end_ns = self.poll_begin_ns, monotonic_ns()
        self.polls += 1
        self.blocked = self.poll_end_ns - self.poll_begin_ns > BLOCKED_NS and self._slept()
        self.held_up = self.is_held_up(self.poll_end_ns)

    def _slept(self) -> bool:
        """Whether the process gave its core up by itself, not merely lost it, since this was last asked."""
        before, self._switches = self._switches, voluntary_switches()
        return self._switches > before

    def empty_ns(self, polls_when_waiting: int, stamp_ns: int) -> int:
        """The latest instant before `stamp_ns` at which polling proves a socket empty, 0 where it proves nothing.

        The socket's reader has waited since poll number `polls_when_waiting` and was woken by the last poll. A stamp
        older than the usual wake-up delay allows refutes that delay: then the longest of late is tried, or 1 ms where
        that is longer (validity forgives no less); then nothing but the poll's beginning is known. Nor is more known of
        a poll that was held up: the process was stopped, or had no core, and a late stamp beside early ones refutes
        nothing.
        """
        known_ns = 0
        if self.polls >= polls_when_waiting + 2 and self.previous_poll_end_ns <= stamp_ns:
            known_ns = self.previous_poll_end_ns  # that poll watched the socket and did not report it
        if self.blocked:
            usual_ns = (*self.wake_delays_ns, max(ALLOWED_DELAY_NS, *self.wake_delays_ns, 0))
            delays_ns = () if self.held_up else usual_ns
            for instant_ns in (self.poll_begin_ns, *[self.poll_end_ns - delay_ns for delay_ns in delays_ns]):
                if known_ns < instant_ns <= stamp_ns:
                    known_ns = instant_ns
        return known_ns

    def learn_delay(self, stamp_ns: int) -> None:
        """Learn from the last poll, which blocked and returned for one event, stamped at `stamp_ns`.

        Until a second's worth of delays is known, the largest one so far stands for their p99. That of a poll which was
        held up is no usual one.
        """
        if self.held_up:
            return
        delay_ns = self.poll_end_ns - stamp_ns
        self._delays.append(delay_ns)
        if self._windows == 0 and len(self._delays) >= FIRST_DELAYS:
            self.wake_delays_ns = (max(delay_ns, *(self.wake_delays_ns or self._delays)),)
        if self.poll_end_ns >= self._window_ns and len(self._delays) >= FEWEST_DELAYS:
            self._delays.sort()
            self.wake_delays_ns = (self._delays[math.ceil(0.99 * len(self._delays)) - 1], self._delays[-1])
            self._delays.clear()
            self._window_ns = self.poll_end_ns + NS_PER_S
            self._windows += 1
