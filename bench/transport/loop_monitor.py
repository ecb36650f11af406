"""Instants at which the sockets of gevent's event loop were certainly empty.

`LoopMonitor` checks the loop's epoll set. gevent's loop runs `prepare` watchers directly before it
polls, and `check` watchers directly after. The clock is read before a check or a poll. If it were
read afterwards, the process could lose its core between the call and the reading.
"""

# Why it matters when a socket was empty: a read has one timestamp, that of its last segment.
# Earlier data in the same read arrived between the instant at which the socket was last empty and
# that timestamp. The later this instant is known, the smaller is the uncertainty of a message.
#
# Three sources know it: a read that emptied the socket, a check of the epoll set, which lists the
# sockets that are readable, so that all others are empty, and a poll in which the thread slept,
# since the kernel would have ended it for any arrival.

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

import gevent

from bench.base.clock import monotonic_ns
from bench.base.compiled import twin
from bench.base.units import NEVER_NS

if TYPE_CHECKING:
    from bench.transport._loop import readable, thread_use
else:
    _TWIN = twin("bench.transport._loop", "bench.transport._loop_interpreted")
    readable = _TWIN.readable
    thread_use = _TWIN.thread_use

CHECK_PERIOD_NS = 200_000
"""The minimum time between two checks while the loop handles events. A check finds sockets that
have become readable."""
ACCOUNT_NS = 100_000
"""The maximum error of the times that the kernel reports for a thread. They do not include
interrupts on its core."""
SHORT_NS = 1_000_000
"""The duration of a poll up to which its start is enough as an instant at which sockets were
empty."""
SCHEDSTAT = "/proc/thread-self/schedstat"
"""The file with the kernel's values for this thread: its run time, its wait time for a core, and
its number of runs."""


class HubLocal:
    """The base class of objects of which each hub of this process has one. The object is created
    at its first use.
    """

    def __init__(self) -> None:
        self.process = os.getpid()

    @classmethod
    def of_hub(cls) -> Self:
        """Return the hub's object.

        After a fork, the child's hub has the parent's object, so the child creates a new one.
        """
        hub = gevent.get_hub()
        name = f"rtbench_{cls.__name__}"
        existing = getattr(hub, name, None)
        if isinstance(existing, cls):
            if existing.process == os.getpid():
                return existing
            existing.close()
        created = cls()
        setattr(hub, name, created)
        return created

    def close(self) -> None:
        """Release the resources that a process shares with its parent after a fork."""


class PollSnapshot(NamedTuple):
    """An instant at which the state of each socket in the epoll set is known.

    `polls` is the number of polls before this instant.
    """

    at_ns: int
    polls: int


NO_SNAPSHOT = PollSnapshot(0, 0)


class ReceivingRing(Protocol):
    """A ring that receives for sockets which the loop does not watch (`ring/_ring.pyx`)."""

    armed: int
    buffer_shortages: int
    overflowed: int

    def fileno(self) -> int: ...

    def sync(self) -> int: ...

    def arm_wakeup(self) -> bool: ...

    def note_empty(self, at_ns: int) -> None: ...


class LoopMonitor(HubLocal):
    """The counter of the loop's polls. While sockets are watched, it also checks the loop's
    epoll set.
    """

    def __init__(self) -> None:
        super().__init__()
        self.polls = 0
        self.poll_end_ns = monotonic_ns()
        self.check_due_ns = 0
        """The earliest instant at which `check_if_due` checks again."""
        self.quiet = False
        """True if none of the watched files was ready when the last poll began, and the poll may
        have been long."""
        self._snapshot = self._snapshot_before = NO_SNAPSHOT
        self.wake_ns = NEVER_NS
        """The latest instant at which the loop wakes next."""
        self._watched: set[int] = set()
        """The sockets that the loop watches. Without them, there are no checks, which take the
        time of half a poll."""
        self._found: dict[int, PollSnapshot] = {}
        """The sockets that a check has found readable since they were last read. The value is the
        snapshot before that check."""
        self.ring: ReceivingRing | None = None
        """The ring that receives for sockets which the loop does not watch."""
        self.without_ring = 0
        """The number of sockets that epoll reads because the ring could not be opened."""
        self.ring_error = ""
        """Why it could not."""
        self.before_poll: Callable[[], bool] | None = None
        """A function that lets the ring's arrivals end the next poll. It returns False if they do
        not end it at once, or if there are some already."""
        self.on_polled: Callable[[], None] | None = None
        """A function that looks at the ring after each poll."""
        self._switches = self._awake_ns = self._used_ns = 0
        """The number of context switches, the time awake, and the clock, when the last quiet
        poll began."""
        self._loop = gevent.get_hub().loop
        self._epoll = self._loop.backend == "epoll"
        try:
            self._schedstat = os.open(SCHEDSTAT, os.O_RDONLY)
        except OSError:
            self._schedstat = -1
        self._prepare = self._loop.prepare(ref=False)
        self._check = self._loop.check(ref=False)
        self._prepare.priority = self._loop.MINPRI  # after the work of greenlets before a poll
        self._check.priority = self._loop.MAXPRI
        self._prepare.start(self._before_poll)
        self._check.start(self._after_poll)

    def close(self) -> None:
        self._prepare.close()
        self._check.close()
        if self._schedstat >= 0:
            os.close(self._schedstat)

    def read_without_ring(self, error: str) -> None:
        """Note that epoll reads a socket, because of this error of the ring."""
        self.without_ring += 1
        self.ring_error = error

    def start(self, fd: int) -> int:
        """Forget the earlier checks of a socket, which the loop starts to watch.

        Return the number of polls, which is the argument `polls_when_watched` of `empty_ns`.
        """
        self._found.pop(fd, None)
        self._watched.add(fd)
        return self.polls

    def stop(self, fd: int) -> None:
        """Note that the loop no longer watches a socket."""
        self._watched.discard(fd)

    def check_if_due(self) -> None:
        """Check the epoll set and the ring, unless the last check was less than 0.2 ms ago."""
        if (not self._watched and self.ring is None) or monotonic_ns() < self.check_due_ns:
            return
        if self.ring is not None:
            self.ring.sync()
            self.check_due_ns = monotonic_ns() + CHECK_PERIOD_NS
        if self._watched:
            self.check()

    def check(self) -> None:
        """Find out which sockets in the epoll set are readable. All other sockets in it are
        empty now.
        """
        now_ns = monotonic_ns()
        readable_fds = readable(self._loop.fileno()) if self._epoll else None
        for fd in readable_fds or ():
            # The previous check is the last one at which the socket was empty.
            self._found.setdefault(fd, self._snapshot)
        self._snapshot_before, self._snapshot = (
            self._snapshot,
            NO_SNAPSHOT if readable_fds is None else PollSnapshot(now_ns, self.polls),
        )
        self.quiet = readable_fds == []
        self.check_due_ns = now_ns + CHECK_PERIOD_NS

    def _before_poll(self) -> None:
        ring = self.ring
        if not self._watched and (ring is None or not ring.armed):
            self.quiet = False
            return
        self.quiet = True
        if self._watched:
            self.check()
        if self.before_poll is not None and not self.before_poll():
            self.quiet = False
        self.quiet = self.quiet and self.wake_ns - monotonic_ns() > SHORT_NS
        if self.quiet:
            self._switches, self._awake_ns = thread_use(self._schedstat)
            self._used_ns = monotonic_ns()

    def _after_poll(self) -> None:
        self.poll_end_ns = monotonic_ns()
        self.check_due_ns = self.poll_end_ns + CHECK_PERIOD_NS
        self.polls += 1
        if self.quiet and (asleep_ns := self._asleep_ns()):
            self._snapshot_before, self._snapshot = (
                self._snapshot,
                PollSnapshot(asleep_ns, self.polls),
            )
            if self.ring is not None:
                self.ring.note_empty(asleep_ns)
        if self.on_polled is not None:
            self.on_polled()

    def empty_ns(self, fd: int, polls_when_watched: int, timestamp_ns: int) -> int:
        """Return the latest instant before `timestamp_ns` at which a check proves that a socket was
        empty.

        Return 0 if no check proves it.

        The loop has watched the socket since poll number `polls_when_watched`. So the socket is in
        the epoll set from the next poll. It was drained after it was last reported, and it is read
        now. Therefore its earlier checks are forgotten.
        """
        snapshots = (
            (snapshot,)
            if (snapshot := self._found.pop(fd, None))
            else (self._snapshot, self._snapshot_before)
        )
        for at_ns, polls in snapshots:
            if polls > polls_when_watched and at_ns <= timestamp_ns:
                return at_ns
        return 0

    def _asleep_ns(self) -> int:
        """Return an instant at which this thread still slept in the last quiet poll; 0 if no such
        instant is known.

        No socket was readable at that instant. After its wake-up, a thread runs on a core or waits
        for one. A thread that left its core more than once may have slept for another reason, or
        may have been stopped. A thread that only lost its core to another thread was awake all the
        time.
        """
        now_ns = monotonic_ns()
        switches, awake_ns = thread_use(self._schedstat)
        asleep_ns = now_ns - (awake_ns - self._awake_ns) - ACCOUNT_NS
        return (
            asleep_ns
            if awake_ns and switches == self._switches + 1 and asleep_ns > self._used_ns
            else 0
        )
