"""Adds to gevent's event loop what stamps and schedules need: when sockets were empty, what is due, what to poll.

`LoopMonitor` knows at which instants sockets were surely empty, because it checks the loop's epoll set. gevent's loop
runs `prepare` watchers just before it polls and `check` watchers just after. The instant of a check or a poll is read
before it: a process may lose its core between a call and a clock that is read after it.

`CallbackScheduler` calls what is due in passes of the loop: to the microsecond while there is little, all together
else. The loop's own timers are late by up to a millisecond, for it waits in whole ones; a timer that is a file
(`timerfd`) is not. Every pass costs the wake-up of the process, which takes longer than sending a chunk of audio.

`Poller` polls the sockets of replies that go on, all together every few milliseconds. The kernel has stamped what came
meanwhile, so nothing is lost by looking late, and a process that wakes up for every delta spends most of its time on
waking up.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Callable
from typing import Any, NamedTuple, Self

import gevent
from gevent import monkey

from bench.clock import monotonic_ns
from bench.units import NEVER_NS, NS_PER_S

try:
    from bench.transport._loop import make_alarm, readable, set_alarm, thread_use
except ModuleNotFoundError as missing:
    if missing.name != "bench.transport._loop":  # as in `bench.protocol.audio`
        raise
    from bench.transport._loop_interpreted import make_alarm, readable, set_alarm, thread_use

READABLE = 1
"""Event of gevent's watchers, and EPOLLIN of linux/eventpoll.h, which gevent takes out of the module select."""
CHECK_PERIOD_NS = 200_000
"""How long the loop handles events before it checks which other sockets are readable meanwhile."""
ACCOUNT_NS = 100_000
"""How far the kernel's account of a thread may be off: what interrupts took of its core stands nowhere."""
SCHEDSTAT = "/proc/thread-self/schedstat"
"""What the kernel counts of this thread: how long it ran, how long it waited for a core, how often it ran."""
APART_NS = 600_000
"""Time from the beginning of a pass to that of the next one: so late may a call be."""
IDLE_NS = 60_000_000_000
POLL_PERIOD_S = 0.002
"""Period of polls while a reply is streaming: a delta that shares a read may be so much older than its stamp."""


class HubLocal:
    """An object of which this process's hub has one, made at first use."""

    def __init__(self) -> None:
        self.process = os.getpid()

    @classmethod
    def of_hub(cls) -> Self:
        """The hub's own. After a fork the hub is the same, and what it holds would be both processes'."""
        hub, name = gevent.get_hub(), f"rtbench_{cls.__name__}"
        held = getattr(hub, name, None)
        if isinstance(held, cls):
            if held.process == os.getpid():
                return held
            held.close()
        made = cls()
        setattr(hub, name, made)
        return made

    def close(self) -> None:
        """Let go of what a forked process has in common with its parent."""


class PollSnapshot(NamedTuple):
    """An instant at which it is known of each socket of the set whether it was empty; after how many polls."""

    at_ns: int
    polls: int


NO_SNAPSHOT = PollSnapshot(0, 0)


class LoopMonitor(HubLocal):
    """The loop's polls, and the checks of its epoll set."""

    def __init__(self) -> None:
        super().__init__()
        self.polls = 0
        self.poll_end_ns = monotonic_ns()
        self.check_due_ns = 0
        """When `check_if_due` checks next."""
        self.quiet = False
        """Whether the last poll began when no file that it watched was ready."""
        self._snapshot = self._snapshot_before = NO_SNAPSHOT
        self._found: dict[int, PollSnapshot] = {}
        """Sockets that a check has found readable since they were last read, each with the snapshot before that."""
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

    def close(self) -> None:
        self._prepare.close()
        self._check.close()
        if self._schedstat >= 0:
            os.close(self._schedstat)

    def start(self, fd: int) -> int:
        """Forget earlier checks of a socket that the loop begins to watch; return the polls so far, for `empty_ns`."""
        self._found.pop(fd, None)
        return self.polls

    def check_if_due(self) -> None:
        """Check, unless the last check was within 0.2 ms."""
        if monotonic_ns() >= self.check_due_ns:
            self.check()

    def check(self) -> None:
        """Ask which sockets are readable: all others are empty now."""
        now_ns = monotonic_ns()
        found = readable(self._loop.fileno()) if self._epoll else None
        for fd in found or ():
            # the check before this one is the last at which it was empty
            self._found.setdefault(fd, self._snapshot)
        self._snapshot_before, self._snapshot = (
            self._snapshot,
            NO_SNAPSHOT if found is None else PollSnapshot(now_ns, self.polls),
        )
        self.quiet = found == []
        self.check_due_ns = now_ns + CHECK_PERIOD_NS

    def _before_poll(self) -> None:
        self.check()
        if self.quiet:
            self._switches, self._awake_ns = thread_use(self._schedstat)
            self._used_ns = monotonic_ns()

    def _after_poll(self) -> None:
        self.poll_end_ns = monotonic_ns()
        self.check_due_ns = self.poll_end_ns + CHECK_PERIOD_NS
        self.polls += 1
        if self.quiet and (asleep_ns := self._asleep_ns()):
            self._snapshot_before, self._snapshot = self._snapshot, PollSnapshot(asleep_ns, self.polls)

    def empty_ns(self, fd: int, polls_when_watched: int, stamp_ns: int) -> int:
        """Return the latest instant before `stamp_ns` at which checks prove a socket empty; 0 if they prove nothing.

        The loop watches the socket since poll number `polls_when_watched`, so it is in the epoll set from the next
        poll on. It was read empty since it was last reported, and is read now: checks begin anew with it.
        """
        snapshots = (found,) if (found := self._found.pop(fd, None)) else (self._snapshot, self._snapshot_before)
        for at_ns, polls in snapshots:
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


class ScheduledCallback:
    """A call that is due."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        """Call it no more."""
        self.call = None


class CallbackScheduler(HubLocal):
    """The calls that are due. They may not wait."""

    def __init__(self) -> None:
        super().__init__()
        self._ticks: list[tuple[int, int, ScheduledCallback]] = []
        self._count = 0
        self._armed_ns = NEVER_NS
        self._earliest_ns = 0
        self._loop = gevent.get_hub().loop
        self._watcher: Any = None
        """Watches the alarm; a timer of the loop's where the platform has no alarms."""
        try:
            self._alarm: int | None = make_alarm()
        except OSError:
            self._alarm = None
        else:
            self._watcher = self._loop.io(self._alarm, READABLE, ref=False)
            self._watcher.start(self._pass)

    def close(self) -> None:
        self._ticks.clear()
        if self._watcher is not None:
            self._watcher.close()
        if self._alarm is not None:
            os.close(self._alarm)

    def at(self, due_ns: int, call: Callable[[], None]) -> ScheduledCallback:
        """Have the loop call this at an instant, or soon after it."""
        tick = ScheduledCallback(call)
        self._count += 1
        heapq.heappush(self._ticks, (due_ns, self._count, tick))
        if max(due_ns, self._earliest_ns) < self._armed_ns:
            self._arm(due_ns)
        return tick

    def _arm(self, due_ns: int) -> None:
        # a pass costs the wake-up of the process, which takes longer than what is due: so they are kept apart
        self._armed_ns = at_ns = max(due_ns, self._earliest_ns)
        if self._alarm is not None:
            set_alarm(self._alarm, at_ns)
            return
        if self._watcher is not None:
            self._watcher.close()
        self._watcher = self._loop.timer(max(0, at_ns - monotonic_ns()) / NS_PER_S, ref=False)
        self._watcher.start(self._pass, update=True)

    def _pass(self) -> None:
        now_ns, self._armed_ns = monotonic_ns(), 0  # nothing is armed before all was called
        self._earliest_ns = now_ns + APART_NS
        ticks = self._ticks
        while ticks and ticks[0][0] <= now_ns:
            _, _, tick = heapq.heappop(ticks)
            if tick.call is not None:
                tick.call()
        while ticks and ticks[0][2].call is None:  # cancelled: the loop need not wake for them
            heapq.heappop(ticks)
        self._arm(ticks[0][0] if ticks else now_ns + IDLE_NS)


class Poller(HubLocal):
    """Polls sockets with Linux's epoll."""

    def __init__(self) -> None:
        super().__init__()
        self._epoll = monkey.get_original("select", "epoll")()
        self._on_readable: dict[int, Callable[[int], None]] = {}
        self._polled_ns = 0
        loop = gevent.get_hub().loop
        # before all else of the loop: what a socket holds should not wait for what others do with theirs
        self._timer = loop.timer(POLL_PERIOD_S, POLL_PERIOD_S, ref=False, priority=loop.MAXPRI)

    def add(self, fd: int, on_readable: Callable[[int], None]) -> None:
        """Poll this socket as well, until it is removed.

        `on_readable` reads what there is, and waits for nothing; it is told when sockets were polled before this time.
        """
        self._on_readable[fd] = on_readable
        self._epoll.register(fd, READABLE)
        if not self._timer.active:
            self._timer.start(self._poll)

    def remove(self, fd: int) -> None:
        """Poll this socket no longer; it is still open."""
        del self._on_readable[fd]
        self._epoll.unregister(fd)
        if not self._on_readable:
            self._timer.stop()

    def _poll(self) -> None:
        before_ns, self._polled_ns = self._polled_ns, monotonic_ns()
        for fd, _ in self._epoll.poll(0, len(self._on_readable)):  # all of them: who is not told of was empty
            self._on_readable[fd](before_ns)
