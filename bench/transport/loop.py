"""Knows at which instants sockets were surely empty, by looking at the event loop's epoll set.

gevent's loop runs `prepare` watchers just before it polls and `check` watchers just after. What is said of a look or a
poll is said by instants before it: a process may lose its core between a call and a clock that is read after it.
"""

from __future__ import annotations

import os
from typing import NamedTuple

import gevent

from bench.clock import monotonic_ns
from bench.transport.compiled import readable, thread_use

LOOK_NS = 200_000
"""How long the loop may handle events without a look at which other sockets are readable meanwhile."""
ACCOUNT_NS = 100_000
"""How far the kernel's account of a thread may be off: what interrupts took of its core stands nowhere."""
SCHEDSTAT = "/proc/thread-self/schedstat"
"""What the kernel counts of this thread: how long it ran, how long it waited for a core, how often it ran."""


class Look(NamedTuple):
    """An instant at which it is known of each socket of the set whether it was empty; after how many polls."""

    at_ns: int
    polls: int


NO_LOOK = Look(0, 0)


class LoopWatch:
    """The loop's polls, and the looks at its epoll set. One per hub: `LoopWatch.of_hub()`."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.polls = 0
        self.poll_end_ns = monotonic_ns()
        self.look_due_ns = 0
        """From when on whoever handles events has to `look`."""
        self.quiet = False
        """Whether the last poll began when no file that it watched was ready."""
        self._look = self._look_before = NO_LOOK
        self._found: dict[int, Look] = {}
        """Sockets that a look has found readable, since they were last read, and the look before, which had not."""
        self._switches = self._awake_ns = self._used_ns = 0
        """What the kernel counted when the last poll began, if quietly, and when."""
        self._loop = gevent.get_hub().loop
        self._epoll = self._loop.backend == "epoll"
        try:
            self._schedstat = os.open(SCHEDSTAT, os.O_RDONLY)
        except OSError:
            self._schedstat = -1
        self._prepare = self._loop.prepare(ref=False)
        self._check = self._loop.check(ref=False)
        self._prepare.priority = self._loop.MINPRI  # behind what greenlets do before a poll
        self._check.priority = self._loop.MAXPRI
        self._prepare.start(self._before_poll)
        self._check.start(self._after_poll)

    @staticmethod
    def of_hub() -> LoopWatch:
        """The watch of this process's hub, made at first use: the kernel's account is of one thread."""
        hub = gevent.get_hub()
        watch = getattr(hub, "rtbench_loop_watch", None)
        if isinstance(watch, LoopWatch):
            if watch.process == os.getpid():
                return watch
            watch.close()
        hub.rtbench_loop_watch = made = LoopWatch()
        return made

    def close(self) -> None:
        """Watch no longer."""
        self._prepare.close()
        self._check.close()
        if self._schedstat >= 0:
            os.close(self._schedstat)

    def look(self) -> None:
        """Ask which sockets are readable: all others are empty now."""
        now_ns = monotonic_ns()
        found = readable(self._loop.fileno()) if self._epoll else None
        for fd in found or ():
            self._found.setdefault(fd, self._look)
        self._look_before, self._look = self._look, NO_LOOK if found is None else Look(now_ns, self.polls)
        self.quiet = found == []
        self.look_due_ns = now_ns + LOOK_NS

    def _before_poll(self) -> None:
        self.look()
        if self.quiet:
            self._switches, self._awake_ns = thread_use(self._schedstat)
            self._used_ns = monotonic_ns()

    def _after_poll(self) -> None:
        self.poll_end_ns = monotonic_ns()
        self.look_due_ns = self.poll_end_ns + LOOK_NS
        self.polls += 1
        if self.quiet and (asleep_ns := self._asleep_ns()):
            self._look_before, self._look = self._look, Look(asleep_ns, self.polls)

    def empty_ns(self, fd: int, polls_when_watched: int, stamp_ns: int) -> int:
        """The latest instant before `stamp_ns` at which looks prove a socket empty, 0 where they prove nothing.

        The loop is set to look at the socket since poll number `polls_when_watched`, so it is in the epoll set from the
        next poll on. It was read empty since it was last reported, and is read now: looks begin anew with it.
        """
        looks = (found,) if (found := self._found.pop(fd, None)) else (self._look, self._look_before)
        for at_ns, polls in looks:
            if polls > polls_when_watched and at_ns <= stamp_ns:
                return at_ns
        return 0

    def _asleep_ns(self) -> int:
        """An instant at which the last poll, which began quietly, was still asleep; 0 where that is not known.

        Nothing was readable then. From its wake-up on a thread is on a core, or waits for one. One that was without its
        core more than once may have slept for something else as well, or may have been stopped; one that only lost it
        was awake all the time.
        """
        now_ns = monotonic_ns()
        switches, awake_ns = thread_use(self._schedstat)
        asleep_ns = now_ns - (awake_ns - self._awake_ns) - ACCOUNT_NS
        return asleep_ns if awake_ns and switches == self._switches + 1 and asleep_ns > self._used_ns else 0
