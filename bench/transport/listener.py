"""The wait for datagrams of several sockets in the event loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import gevent
from gevent.hub import Waiter

from bench.base.clock import monotonic_ns
from bench.base.units import NEVER_NS, NS_PER_S
from bench.transport.datagrams import DatagramSocket
from bench.transport.event_loop import READABLE, CallbackScheduler, ScheduledCallback


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
