"""Extensions of gevent's event loop for timestamps and schedules: when sockets were empty, due callbacks, polling.

`LoopMonitor` determines instants at which sockets were certainly empty. For this, it checks the loop's epoll set.
gevent's loop runs `prepare` watchers directly before it polls, and `check` watchers directly after. The clock is read
before a check or a poll. If it were read afterwards, the process could lose its core between the call and the reading.

`CallbackScheduler` runs due callbacks in passes of the loop. If there are few callbacks, each runs within microseconds.
If there are many, several run together in one pass. The loop's own timers are late by up to a millisecond, because the
loop waits in whole milliseconds. A timer that is a file (`timerfd`) does not have this delay. Each pass costs a wake-up
of the process, which takes longer than sending a chunk of audio.

`Poller` polls the sockets of streaming replies together, every few milliseconds. The kernel timestamps the data when it
arrives, so a late poll loses no information. A process that wakes up for each delta would spend most of its time on
wake-ups.

`Listener` waits for the datagrams of several sockets.
"""

from __future__ import annotations

import heapq
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Self

import gevent
from gevent import monkey
from gevent.hub import Waiter

from bench.base.clock import monotonic_ns
from bench.base.units import NEVER_NS, NS_PER_S
from bench.transport.datagrams import DatagramSocket

try:
    from bench.transport._loop import make_alarm, readable, set_alarm, thread_use
except ModuleNotFoundError as missing:
    if missing.name != "bench.transport._loop":  # as in `bench.wire.audio`
        raise
    from bench.transport._loop_interpreted import make_alarm, readable, set_alarm, thread_use

READABLE = 1
"""The event of gevent's watchers for readable files. It is also EPOLLIN of linux/eventpoll.h. gevent removes that
constant from the module select."""
CHECK_PERIOD_NS = 200_000
"""The minimum time between two checks while the loop handles events. A check finds sockets that have become
readable."""
ACCOUNT_NS = 100_000
"""The maximum error of the times that the kernel reports for a thread. They do not include interrupts on its core."""
SCHEDSTAT = "/proc/thread-self/schedstat"
"""The file with the kernel's values for this thread: its run time, its wait time for a core, and its number of runs."""
MIN_PASS_INTERVAL_NS = 600_000
"""The minimum time between the starts of two passes. So a callback may be late by this time."""
IDLE_NS = 60_000_000_000
POLL_PERIOD_S = 0.002
"""The period of polls while a reply is streaming. A read has one timestamp. A delta in the read may have arrived
earlier than that, by up to one period."""


class HubLocal:
    """The base class of objects of which each hub of this process has one. The object is created at its first use."""

    def __init__(self) -> None:
        self.process = os.getpid()

    @classmethod
    def of_hub(cls) -> Self:
        """Return the hub's object.

        After a fork, the child's hub has the parent's object, so the child creates a new one.
        """
        hub, name = gevent.get_hub(), f"rtbench_{cls.__name__}"
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


class LoopMonitor(HubLocal):
    """The counter of the loop's polls. It also checks the loop's epoll set."""

    def __init__(self) -> None:
        super().__init__()
        self.polls = 0
        self.poll_end_ns = monotonic_ns()
        self.check_due_ns = 0
        """The earliest instant at which `check_if_due` checks again."""
        self.quiet = False
        """True if none of the watched files was ready when the last poll began."""
        self._snapshot = self._snapshot_before = NO_SNAPSHOT
        self._found: dict[int, PollSnapshot] = {}
        """The sockets that a check has found readable since they were last read. The value is the snapshot before that
        check."""
        self._switches = self._awake_ns = self._used_ns = 0
        """The number of context switches, the time awake, and the clock, when the last quiet poll began."""
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

    def start(self, fd: int) -> int:
        """Forget the earlier checks of a socket, which the loop starts to watch.

        Return the number of polls, which is the argument `polls_when_watched` of `empty_ns`.
        """
        self._found.pop(fd, None)
        return self.polls

    def check_if_due(self) -> None:
        """Check the epoll set, unless the last check was less than 0.2 ms ago."""
        if monotonic_ns() >= self.check_due_ns:
            self.check()

    def check(self) -> None:
        """Find out which sockets in the epoll set are readable. All other sockets in it are empty now."""
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

    def empty_ns(self, fd: int, polls_when_watched: int, timestamp_ns: int) -> int:
        """Return the latest instant before `timestamp_ns` at which a check proves that a socket was empty.

        Return 0 if no check proves it.

        The loop has watched the socket since poll number `polls_when_watched`. So the socket is in the epoll set from
        the next poll. It was drained after it was last reported, and it is read now. Therefore its earlier checks are
        forgotten.
        """
        snapshots = (snapshot,) if (snapshot := self._found.pop(fd, None)) else (self._snapshot, self._snapshot_before)
        for at_ns, polls in snapshots:
            if polls > polls_when_watched and at_ns <= timestamp_ns:
                return at_ns
        return 0

    def _asleep_ns(self) -> int:
        """Return an instant at which this thread still slept in the last quiet poll; 0 if no such instant is known.

        No socket was readable at that instant. After its wake-up, a thread runs on a core or waits for one. A thread
        that left its core more than once may have slept for another reason, or may have been stopped. A thread that
        only lost its core to another thread was awake all the time.
        """
        now_ns = monotonic_ns()
        switches, awake_ns = thread_use(self._schedstat)
        asleep_ns = now_ns - (awake_ns - self._awake_ns) - ACCOUNT_NS
        return asleep_ns if awake_ns and switches == self._switches + 1 and asleep_ns > self._used_ns else 0


class ScheduledCallback:
    __slots__ = ("call",)

    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        self.call = None


class CallbackScheduler(HubLocal):
    """The schedule of callbacks in the event loop. A callback must not block."""

    def __init__(self) -> None:
        super().__init__()
        self._ticks: list[tuple[int, int, ScheduledCallback]] = []
        self._count = 0
        self._armed_ns = NEVER_NS
        self._earliest_ns = 0
        self._loop = gevent.get_hub().loop
        self._watcher: Any = None
        """The watcher of the alarm. On a platform without alarms, it is a timer of the loop."""
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
        """Schedule a callback. The event loop calls it at the instant `due_ns`, or soon after it."""
        tick = ScheduledCallback(call)
        self._count += 1
        heapq.heappush(self._ticks, (due_ns, self._count, tick))
        if max(due_ns, self._earliest_ns) < self._armed_ns:
            self._arm(due_ns)
        return tick

    def _arm(self, due_ns: int) -> None:
        # Each pass costs a wake-up of the process, which takes longer than the callbacks, so passes have a minimum
        # interval.
        self._armed_ns = at_ns = max(due_ns, self._earliest_ns)
        if self._alarm is not None:
            set_alarm(self._alarm, at_ns)
            return
        if self._watcher is not None:
            self._watcher.close()
        self._watcher = self._loop.timer(max(0, at_ns - monotonic_ns()) / NS_PER_S, ref=False)
        self._watcher.start(self._pass, update=True)

    def _pass(self) -> None:
        now_ns, self._armed_ns = monotonic_ns(), 0  # no alarm is armed before all callbacks have run
        self._earliest_ns = now_ns + MIN_PASS_INTERVAL_NS
        ticks, due = self._ticks, []
        while ticks and ticks[0][0] <= now_ns:
            due.append(heapq.heappop(ticks)[2])
        # A callback that these callbacks schedule runs in a later pass. So a callback that is always due does not stop
        # the loop.
        for tick in due:
            if tick.call is not None:
                try:
                    tick.call()
                except BaseException:  # the loop would print it, and never call `_pass` again
                    gevent.get_hub().handle_error(tick, *sys.exc_info())
        while ticks and ticks[0][2].call is None:  # cancelled, so the loop need not wake up for it
            heapq.heappop(ticks)
        self._arm(ticks[0][0] if ticks else now_ns + IDLE_NS)


class Poller(HubLocal):
    """The poller of sockets. It polls all its sockets together, periodically, with Linux's epoll."""

    def __init__(self) -> None:
        super().__init__()
        self._epoll = monkey.get_original("select", "epoll")()
        self._on_readable: dict[int, Callable[[int], None]] = {}
        self._polled_ns = 0
        loop = gevent.get_hub().loop
        # Highest priority in the loop: reading a socket must not wait for the processing of other sockets' data.
        self._timer = loop.timer(POLL_PERIOD_S, POLL_PERIOD_S, ref=False, priority=loop.MAXPRI)

    def add(self, fd: int, on_readable: Callable[[int], None]) -> None:
        """Poll a socket until it is removed.

        When the socket is readable, `on_readable` is called. It reads the available bytes, and must not block. Its
        argument is the instant of the previous poll.
        """
        self._on_readable[fd] = on_readable
        self._epoll.register(fd, READABLE)
        if not self._timer.active:
            self._timer.start(self._poll)

    def remove(self, fd: int) -> None:
        """Stop polling a socket. The socket must still be open."""
        del self._on_readable[fd]
        self._epoll.unregister(fd)
        if not self._on_readable:
            self._timer.stop()

    def _poll(self) -> None:
        before_ns, self._polled_ns = self._polled_ns, monotonic_ns()
        # all of them: a socket that is not reported was empty
        for fd, _ in self._epoll.poll(0, len(self._on_readable)):
            self._on_readable[fd](before_ns)


class Callbacks(NamedTuple):
    """The functions that the loop calls while a greenlet listens."""

    on_readable: Callable[[DatagramSocket], bool]
    due_ns: Callable[[], int]
    on_due: Callable[[], bool]


class Listener:
    """The wait of one greenlet for datagrams of several sockets, and for scheduled work."""

    def __init__(self, sockets: Sequence[DatagramSocket]) -> None:
        self._hub: Any = gevent.get_hub()
        self._ticker = CallbackScheduler.of_hub()
        self._watchers = [
            (sock, self._hub.loop.io(sock.fileno(), READABLE, priority=self._hub.loop.MAXPRI)) for sock in sockets
        ]
        self._waiter: Any = None
        self._callbacks: Callbacks | None = None
        """The callbacks of the greenlet that listens; None after it was woken, so that they form no reference cycle."""
        self._tick: ScheduledCallback | None = None
        self._tick_ns = NEVER_NS
        self._error: BaseException | None = None

    def listen(
        self,
        until_ns: int,
        on_readable: Callable[[DatagramSocket], bool],
        due_ns: Callable[[], int],
        on_due: Callable[[], bool],
    ) -> None:
        """Wait until a callback returns True, or until `until_ns`.

        The loop calls `on_readable` when a socket is readable, and `on_due` at the instant that `due_ns` returns. This
        instant may become earlier when a socket is read. The callbacks must not block. Their exceptions, and the errors
        of `wake`, are raised here.
        """
        if self._error is not None:
            raise self._error
        waiter = self._waiter = Waiter(self._hub)
        self._callbacks = Callbacks(on_readable, due_ns, on_due)
        for sock, watcher in self._watchers:
            watcher.start(self._readable, sock)
        self._schedule(due_ns())
        timer = self._hub.loop.timer(max(0, until_ns - monotonic_ns()) / NS_PER_S)
        timer.start(waiter.switch, False, update=True)
        try:
            waiter.get()
        finally:
            self._callbacks = self._waiter = None
            timer.close()
            for _, watcher in self._watchers:
                watcher.stop()
            if self._tick is not None:
                self._tick.cancel()

    def _readable(self, sock: DatagramSocket) -> None:
        callbacks = self._callbacks
        if callbacks is None or self._call(partial(callbacks.on_readable, sock)):
            return
        if self._tick is not None and (due_ns := callbacks.due_ns()) < self._tick_ns:
            self._tick.cancel()
            self._schedule(due_ns)

    def _schedule(self, due_ns: int) -> None:
        self._tick_ns, self._tick = due_ns, self._ticker.at(due_ns, self._work)

    def _work(self) -> None:
        callbacks = self._callbacks
        if callbacks is not None and not self._call(callbacks.on_due):
            self._schedule(callbacks.due_ns())

    def _call(self, work: Callable[[], bool]) -> bool:
        """Call a callback. Wake the greenlet if the callback requires that, or raises. Return whether it is woken."""
        try:
            if not work():
                return False
            self.wake()
        except BaseException as error:  # the hub would only print it, and wake no session
            self.wake(error)
        return True

    def wake(self, error: BaseException | None = None) -> None:
        """Wake the greenlet, or raise an error in it. If it does not wait, it gets the error when it waits next."""
        if self._callbacks is None:
            self._error = self._error or error
            return
        self._callbacks = None
        if error is None:
            self._hub.loop.run_callback(self._waiter.switch, True)
        else:
            self._hub.loop.run_callback(self._waiter.throw, error)

    def close(self) -> None:
        for _, watcher in self._watchers:
            watcher.close()
