"""Extensions of gevent's event loop for schedules: due callbacks, and sockets that are polled
together.

`CallbackScheduler` runs due callbacks in passes of the loop. If there are few callbacks, each runs
within microseconds. If there are many, several run together in one pass. A pass sends first, and
after each of its other callbacks it sends what became due meanwhile. The loop's own timers are late
by up to a millisecond, because the loop waits in whole milliseconds. A timer that is a file
(`timerfd`) does not have this delay. Each pass costs a wake-up of the process, which takes longer
than sending a chunk of audio.

`Poller` polls the sockets of streaming replies together: in each pass, and at least every few
milliseconds. The kernel timestamps the data when it arrives, so a late poll loses no information. A
process that wakes up for each delta would spend most of its time on wake-ups.

`Listener` waits for the datagrams of several sockets.
"""

from __future__ import annotations

import heapq
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import gevent
from gevent import monkey
from gevent.hub import Waiter

from bench.base.clock import monotonic_ns
from bench.base.compiled import twin
from bench.base.units import NEVER_NS, NS_PER_S
from bench.transport.interface import PacedSender
from bench.transport.loop_monitor import HubLocal, LoopMonitor

if TYPE_CHECKING:
    from bench.transport._loop import make_alarm, set_alarm
else:
    _TWIN = twin("bench.transport._loop", "bench.transport._loop_interpreted")
    make_alarm = _TWIN.make_alarm
    set_alarm = _TWIN.set_alarm

READABLE = 1
"""The event of gevent's watchers for readable files. It is also EPOLLIN of linux/eventpoll.h.
gevent removes that constant from the module select."""
MIN_PASS_INTERVAL_NS = 700_000
"""The minimum time between the starts of two passes. So a callback may be late by this time."""
IDLE_NS = 60_000_000_000
POLL_PERIOD_NS = 2_000_000
"""The maximum time between two polls while a reply is streaming. A read has one timestamp. A delta
in the read may have arrived earlier than that, by up to one period."""


class ScheduledCallback:
    """A callback, and the function that sends what is due before any callback of the pass runs;
    None if there is none.

    `send` returns the next instant of the callback, which is in the future, or 0 if `call` must be
    called now.
    """

    __slots__ = ("call", "send")

    def __init__(self, call: Callable[[], int | None], send: Callable[[], int] | None) -> None:
        self.call: Callable[[], int | None] | None = call
        self.send = send

    def cancel(self) -> None:
        self.call = None


class CallbackScheduler(HubLocal):
    """The schedule of callbacks in the event loop. A callback must not block."""

    def __init__(self) -> None:
        super().__init__()
        self._ticks: dict[int, list[ScheduledCallback]] = {}
        """The callbacks by their instants, many of which are equal."""
        self._instants: list[int] = []
        """A heap of these instants."""
        self._due: list[ScheduledCallback] = []
        """The due callbacks that have sent, and must be called in this pass or in the next one."""
        self._armed_ns = NEVER_NS
        self._earliest_ns = 1  # an alarm at 0 is no alarm
        self._monitor = LoopMonitor.of_hub()
        self.poller: Poller | None = None
        """The poller that polls in each pass, after the callbacks."""
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
        self._instants.clear()
        if self._watcher is not None:
            self._watcher.close()
        if self._alarm is not None:
            os.close(self._alarm)

    def at(
        self, due_ns: int, call: Callable[[], int | None], send: Callable[[], int] | None = None
    ) -> ScheduledCallback:
        """Schedule a callback. The event loop calls it at the instant `due_ns`, or soon after it.

        If the callback returns an instant, it is scheduled again. `send` is that of
        `ScheduledCallback`.
        """
        tick = ScheduledCallback(call, send)
        self._add(due_ns, tick)
        self.pass_by(due_ns)
        return tick

    def _add(self, due_ns: int, tick: ScheduledCallback) -> None:
        ticks = self._ticks.get(due_ns)
        if ticks is None:
            self._ticks[due_ns] = [tick]
            heapq.heappush(self._instants, due_ns)
        else:
            ticks.append(tick)

    def pass_by(self, due_ns: int) -> None:
        """Let the next pass be at the instant `due_ns`, or earlier."""
        if max(due_ns, self._earliest_ns) < self._armed_ns:
            self._arm(due_ns)

    def _arm(self, due_ns: int) -> None:
        # Each pass costs a wake-up of the process, which takes longer than the callbacks, so passes
        # have a minimum interval.
        self._armed_ns = self._monitor.wake_ns = at_ns = max(due_ns, self._earliest_ns)
        if self._alarm is not None:
            set_alarm(self._alarm, at_ns)
            return
        if self._watcher is not None:
            self._watcher.close()
        self._watcher = self._loop.timer(max(0, at_ns - monotonic_ns()) / NS_PER_S, ref=False)
        self._watcher.start(self._pass, update=True)

    def _pass(self) -> None:
        # no alarm is armed before all callbacks have run
        now_ns = monotonic_ns()
        self._armed_ns = 0
        self._earliest_ns = now_ns + MIN_PASS_INTERVAL_NS
        self.send_due()
        # A callback that these callbacks schedule runs in a later pass. So a callback that is
        # always due does not stop the loop.
        due = self._due
        self._due = []
        for tick in due:
            if tick.call is not None and (due_ns := self._run(tick.call)) is not None:
                self._add(due_ns, tick)
            self.send_due()
        if self.poller is not None and self.poller.due_ns < NEVER_NS:
            self._run(self.poller.poll)
        instants = self._instants
        # cancelled callbacks, for which the loop need not wake up
        while instants and all(tick.call is None for tick in self._ticks[instants[0]]):
            del self._ticks[heapq.heappop(instants)]
        poll_ns = NEVER_NS if self.poller is None else self.poller.due_ns
        next_ns = instants[0] if instants else now_ns + IDLE_NS
        self._arm(min(now_ns if self._due else next_ns, poll_ns))

    def send_due(self) -> None:
        """Send what is due. Its callbacks, and the other due callbacks, run later."""
        instants = self._instants
        if not instants or instants[0] > (now_ns := monotonic_ns()):
            return
        while instants and instants[0] <= now_ns:
            for tick in self._ticks.pop(heapq.heappop(instants)):
                if tick.call is None:
                    continue
                try:
                    due_ns = 0 if tick.send is None else tick.send()
                except Exception:  # `call` meets the same error, and can raise it in its session
                    due_ns = 0
                except BaseException:  # as in `_run`
                    gevent.get_hub().handle_error(tick.send, *sys.exc_info())
                    due_ns = 0
                if due_ns:
                    self._add(due_ns, tick)
                else:
                    self._due.append(tick)

    @staticmethod
    def _run(call: Callable[[], int | None]) -> int | None:
        try:
            return call()
        except BaseException:  # the loop would print it, and never call `_pass` again
            gevent.get_hub().handle_error(call, *sys.exc_info())
            return None


class Poller(HubLocal):
    """The poller of sockets. It polls all its sockets together with Linux's epoll."""

    def __init__(self) -> None:
        super().__init__()
        self._epoll = monkey.get_original("select", "epoll")()
        self._on_readable: dict[int, Callable[[int], None]] = {}
        self._polled_ns = 0
        self.count = 0
        """The number of sockets that are polled."""
        self.due_ns = NEVER_NS
        """The latest instant of the next poll; `NEVER_NS` without sockets."""
        self.pass_on_polled: Callable[[], None] | None = None
        """A function that passes on what others have read for sockets that are polled."""
        self._scheduler = CallbackScheduler.of_hub()
        self._scheduler.poller = self

    def add(self, fd: int, on_readable: Callable[[int], None]) -> None:
        """Poll a socket until it is removed.

        When the socket is readable, `on_readable` is called. It reads the available bytes, lets the
        scheduler send what is due, and must not block. Its argument is the instant of the previous
        poll.
        """
        self._on_readable[fd] = on_readable
        self._epoll.register(fd, READABLE)
        self.begin()

    def remove(self, fd: int) -> None:
        """Stop polling a socket. The socket must still be open."""
        del self._on_readable[fd]
        self._epoll.unregister(fd)
        self.end()

    def begin(self) -> None:
        """Poll for one more socket until `end`, also if others read it."""
        self.count += 1
        if self.due_ns == NEVER_NS:
            self.due_ns = monotonic_ns() + POLL_PERIOD_NS
            self._scheduler.pass_by(self.due_ns)

    def end(self) -> None:
        """Poll for one socket less."""
        self.count -= 1
        if not self.count:
            self.due_ns = NEVER_NS

    def poll(self) -> None:
        before_ns = self._polled_ns
        self._polled_ns = monotonic_ns()
        self.due_ns = self._polled_ns + POLL_PERIOD_NS
        if self.pass_on_polled is not None:
            self.pass_on_polled()
        if not self._on_readable:
            return
        # all of them: a socket that is not reported was empty
        for fd, _ in self._epoll.poll(0, len(self._on_readable)):
            self._on_readable[fd](before_ns)


class Readable(Protocol):
    """A socket that a `Listener` watches."""

    def fileno(self) -> int: ...


class Callbacks(NamedTuple):
    """The functions that the loop calls while a greenlet listens."""

    on_readable: Callable[[Any], bool]
    due_ns: Callable[[], int]
    on_due: Callable[[], bool]


# One greenlet waits for several sockets and for instants that change. `due_ns` is asked again after
# each read, since a packet may make something due earlier. A callback that returns True, or raises,
# ends the wait: the greenlet is scheduled, and no callback runs for it any more (`_callbacks` is
# None).
class Listener:
    """The wait of one greenlet for datagrams of several sockets, and for scheduled work."""

    def __init__(self, sockets: Sequence[Readable]) -> None:
        self._hub: Any = gevent.get_hub()
        self._ticker = CallbackScheduler.of_hub()
        self._watchers = [
            (sock, self._hub.loop.io(sock.fileno(), READABLE, priority=self._hub.loop.MAXPRI))
            for sock in sockets
        ]
        self._poller = Poller.of_hub() if sys.platform == "linux" else None  # Linux has epoll
        self._polled: list[int] = []
        """The files that the poller polls for this wait."""
        self._waiter: Any = None
        self._callbacks: Callbacks | None = None
        """The callbacks of the greenlet that listens; None after it was woken, so that they form
        no reference cycle."""
        self._tick: ScheduledCallback | None = None
        self._sending: ScheduledCallback | None = None
        """The callbacks of the scheduled work, and of the sender."""
        self._tick_ns = NEVER_NS
        self._error: BaseException | None = None

    def listen(
        self,
        until_ns: int,
        on_readable: Callable[[Any], bool],
        due_ns: Callable[[], int],
        on_due: Callable[[], bool],
        unwatched: Readable | None = None,
        *,
        sender: PacedSender | None = None,
        send: Callable[[], int] | None = None,
        polled: bool = False,
    ) -> None:
        """Wait until a callback returns True, or until `until_ns`.

        The loop calls `on_readable` when a socket other than `unwatched` is readable, and `on_due`
        at the instant that `due_ns` returns. This instant may become earlier when a socket is read.
        It calls `sender` when that is due; `send` is that of `ScheduledCallback`. The callbacks
        must not block. Their exceptions, and the errors of `wake`, are raised here. `polled` is
        True if the sockets may be polled only every few milliseconds.
        """
        if self._error is not None:
            raise self._error
        waiter = self._waiter = Waiter(self._hub)
        self._callbacks = Callbacks(on_readable, due_ns, on_due)
        for sock, watcher in self._watchers:
            if sock is unwatched:
                continue
            if polled and self._poller is not None:
                self._polled.append(sock.fileno())
                self._poller.add(sock.fileno(), partial(self._on_poll, sock))
            else:
                watcher.start(self._readable, sock)
        self._schedule(due_ns())
        if sender is not None and (sender_ns := sender.due_ns) is not None:
            run = partial(self._run_sender, sender)
            self._sending = self._ticker.at(sender_ns, run, send)
        timer = self._hub.loop.timer(max(0, until_ns - monotonic_ns()) / NS_PER_S)
        timer.start(waiter.switch, False, update=True)
        try:
            waiter.get()
        finally:
            self._callbacks = self._waiter = None
            timer.close()
            self._stop_watching()
            self._cancel()

    def _cancel(self) -> None:
        for tick in (self._tick, self._sending):
            if tick is not None:
                tick.cancel()

    def _stop_watching(self) -> None:
        for _, watcher in self._watchers:
            watcher.stop()
        while self._polled and self._poller is not None:
            self._poller.remove(self._polled.pop())

    def _on_poll(self, sock: Readable, _: int) -> None:
        self._readable(sock)
        self._ticker.send_due()

    def _readable(self, sock: Readable) -> None:
        callbacks = self._callbacks
        if callbacks is None or self._call(partial(callbacks.on_readable, sock)):
            return
        if self._tick is not None and (due_ns := callbacks.due_ns()) < self._tick_ns:
            self._tick.cancel()
            self._schedule(due_ns)

    def _schedule(self, due_ns: int) -> None:
        self._tick_ns, self._tick = due_ns, self._ticker.at(due_ns, self._work)

    def _work(self) -> int | None:
        callbacks = self._callbacks
        if callbacks is None or self._call(callbacks.on_due):
            return None
        self._tick_ns = due_ns = callbacks.due_ns()
        return due_ns

    def _run_sender(self, sender: PacedSender) -> int | None:
        return None if self._call(sender.send_due) else sender.due_ns

    def _call(self, work: Callable[[], bool]) -> bool:
        """Call a callback. Wake the greenlet if the callback requires that, or raises. Return
        whether it is woken.
        """
        try:
            if not work():
                return False
            self.wake()
        except BaseException as error:  # the hub would only print it, and wake no session
            self.wake(error)
        return True

    def wake(self, error: BaseException | None = None) -> None:
        """Wake the greenlet, or raise an error in it. If it does not wait, it gets the error
        when it waits next.
        """
        if self._callbacks is None:
            self._error = self._error or error
            return
        self._callbacks = None
        self._cancel()
        if error is None:
            self._hub.loop.run_callback(self._waiter.switch, True)
        else:
            self._hub.loop.run_callback(self._waiter.throw, error)

    def close(self) -> None:
        self._stop_watching()
        for _, watcher in self._watchers:
            watcher.close()
