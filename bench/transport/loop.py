"""Knows when the event loop polled, and by that since when a socket was surely empty.

gevent's loop runs `prepare` watchers just before it polls and `check` watchers just after. What is said of a poll is
said by instants before it: a process may lose its core between a call and a clock that is read after it.
"""

from __future__ import annotations

import os

import gevent

from bench.clock import monotonic_ns
from bench.transport.compiled import nothing_ready, thread_use

NEVER_NS = 1 << 62
EVENTS = 64
"""How many events libev takes of a poll at first: one that brings as many may have left others out (`ev_epoll.c`)."""
ACCOUNT_NS = 100_000
"""How far the kernel's account of a thread may be off: what interrupts took of its core stands nowhere."""
SCHEDSTAT = "/proc/thread-self/schedstat"
"""What the kernel counts of this thread: how long it ran, how long it waited for a core, how often it ran."""


class LoopWatch:
    """The instants of the loop's polls. One per hub: `LoopWatch.of_hub()`."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.polls = 0
        self.poll_begin_ns = self.poll_end_ns = monotonic_ns()
        self.previous_poll_begin_ns = 0
        """0 also where that poll may have left sockets out."""
        self.quiet = False
        """Whether the last poll began when no file that it watched was ready."""
        self._full = True
        self._use = (0, 0)
        self._still_asleep_ns: int | None = None
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

    def _before_poll(self) -> None:
        self.previous_poll_begin_ns = 0 if self._full else self.poll_begin_ns
        self.poll_begin_ns = monotonic_ns()
        self.quiet = self._epoll and nothing_ready(self._loop.fileno())
        if self.quiet:
            self._use = thread_use(self._schedstat)

    def _after_poll(self) -> None:
        self.poll_end_ns = monotonic_ns()
        self.polls += 1
        self._full = self._loop.pendingcnt >= EVENTS
        self._still_asleep_ns = None

    def empty_ns(self, polls_when_watched: int, stamp_ns: int) -> int:
        """The latest instant before `stamp_ns` at which polling proves a socket empty, 0 where it proves nothing.

        The socket is watched since poll number `polls_when_watched`, was read empty since it was last reported, and the
        last poll has reported it. The poll before that watched it, if it was watched by then, and did not report it.
        Where no file was ready when the last poll began, the socket was empty then, and until the process was woken.
        """
        watched = self.polls >= polls_when_watched + 2
        known_ns = 0
        for instant_ns in (
            self.previous_poll_begin_ns if watched else 0,
            self.poll_begin_ns if watched and self.quiet else 0,
            self._asleep_ns() if watched and self.quiet else 0,
        ):
            if known_ns < instant_ns <= stamp_ns:
                known_ns = instant_ns
        return known_ns

    def _asleep_ns(self) -> int:
        """An instant at which the last poll, which began quietly, was still asleep; 0 where that is not known.

        From its wake-up on a thread is on a core, or waits for one. One that was without its core more than once may
        have slept for something else as well, or may have been stopped.
        """
        if self._still_asleep_ns is None:
            now_ns = monotonic_ns()
            switches, awake_ns = thread_use(self._schedstat)
            slept_once = awake_ns and switches == self._use[0] + 1  # as far as it slept
            self._still_asleep_ns = now_ns - (awake_ns - self._use[1]) - ACCOUNT_NS if slept_once else 0
        return self._still_asleep_ns
