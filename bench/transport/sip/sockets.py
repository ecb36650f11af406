"""UDP sockets whose datagrams have the kernel's arrival timestamps, and their handling in the event loop.

A datagram has its own timestamp, so its arrival is exact. Only without a kernel timestamp is the arrival uncertain: it
is then at most as early as the last instant at which the socket was empty.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import gevent
from gevent.hub import Waiter

from bench.clock import ANCILLARY_BYTES, Arrival, SendTime, arrival_ns, enable_timestamps, monotonic_ns
from bench.transport.event_loop import READABLE, CallbackScheduler, ScheduledCallback
from bench.units import NS_PER_S

MAX_DATAGRAM_BYTES = 65_535
HANDFUL = 64
"""The maximum number of datagrams that are read from a socket at once."""
SocketAddress = tuple[Any, ...]
"""The address of a peer, as the socket module has it."""


class Datagram(NamedTuple):
    """A received datagram."""

    data: bytes
    source: SocketAddress
    arrival: Arrival


class DatagramSocket:
    """A UDP socket in the event loop. It never blocks."""

    def __init__(self, raw: socket.socket) -> None:
        self._raw = raw
        raw.setblocking(False)
        enable_timestamps(raw)
        self._empty_ns = monotonic_ns()
        self.address: SocketAddress = raw.getsockname()
        self.fallbacks = 0
        """The number of datagrams without a kernel timestamp."""
        self.unsent = 0
        """The number of datagrams that the kernel did not accept."""
        self.error = 0
        """The number of the last error that the network reported, such as ECONNREFUSED; 0 if there is none."""

    def fileno(self) -> int:
        return self._raw.fileno()

    def receive(self) -> Iterator[Datagram]:
        """Yield the datagrams that have arrived, at most `HANDFUL`."""
        for _ in range(HANDFUL):
            now_ns = monotonic_ns()
            try:
                data, ancillary, _, source = self._raw.recvmsg(MAX_DATAGRAM_BYTES, ANCILLARY_BYTES)
            except (BlockingIOError, InterruptedError):
                self._empty_ns = now_ns
                return
            except OSError as error:  # an ICMP error, which the kernel reports once
                self.error = error.errno or errno.EIO
                return
            at_ns = arrival_ns(ancillary)
            if at_ns is None:
                self.fallbacks += 1
                now_ns = monotonic_ns()
                yield Datagram(data, source, Arrival(now_ns, now_ns - self._empty_ns, is_kernel=False))
            else:
                yield Datagram(data, source, Arrival(at_ns))

    def send(self, data: bytes, destination: SocketAddress) -> SendTime | None:
        """Send a datagram. Return None if the kernel does not accept it."""
        before_ns = monotonic_ns()
        try:
            self._raw.sendto(data, destination)
        except (BlockingIOError, InterruptedError):
            self.unsent += 1
            return None
        except OSError as error:
            self.unsent += 1
            self.error = error.errno or errno.EIO
            return None
        return SendTime(before_ns, monotonic_ns() - before_ns)

    def close(self) -> None:
        self._raw.close()


class Listener:
    """The wait of one greenlet for datagrams of several sockets, and for scheduled work."""

    def __init__(self, sockets: Sequence[DatagramSocket]) -> None:
        self._hub: Any = gevent.get_hub()
        self._ticker = CallbackScheduler.of_hub()
        self._watchers = [
            (sock, self._hub.loop.io(sock.fileno(), READABLE, priority=self._hub.loop.MAXPRI)) for sock in sockets
        ]
        self._waiter: Any = None
        self._on_readable: Callable[[DatagramSocket], bool] | None = None
        self._tick: ScheduledCallback | None = None

    def listen(
        self,
        until_ns: int,
        on_readable: Callable[[DatagramSocket], bool],
        due_ns: Callable[[], int],
        on_due: Callable[[], bool],
    ) -> None:
        """Wait until a callback returns True, or until `until_ns`.

        The loop calls `on_readable` when a socket is readable, and `on_due` at the instant that `due_ns` returns. The
        callbacks must not block. Their exceptions are raised here.
        """
        waiter = self._waiter = Waiter(self._hub)
        self._on_readable = on_readable
        for sock, watcher in self._watchers:
            watcher.start(self._readable, sock)
        self._schedule(due_ns, on_due)
        timer = self._hub.loop.timer(max(0, until_ns - monotonic_ns()) / NS_PER_S)
        timer.start(waiter.switch, False, update=True)
        try:
            waiter.get()
        finally:
            self._on_readable = self._waiter = None
            timer.close()
            for _, watcher in self._watchers:
                watcher.stop()
            if self._tick is not None:
                self._tick.cancel()

    def _readable(self, sock: DatagramSocket) -> None:
        if self._on_readable is not None:
            self._call(partial(self._on_readable, sock))

    def _schedule(self, due_ns: Callable[[], int], on_due: Callable[[], bool]) -> None:
        def work() -> None:
            if self._on_readable is not None and not self._call(on_due):
                self._schedule(due_ns, on_due)

        self._tick = self._ticker.at(due_ns(), work)

    def _call(self, work: Callable[[], bool]) -> bool:
        """Call a callback. Wake the greenlet if the callback requires that, or raises. Return whether it is woken."""
        waiter = self._waiter
        try:
            if not work():
                return False
            self._hub.loop.run_callback(waiter.switch, True)
        except BaseException as error:  # the hub would only print it, and wake no session
            self._hub.loop.run_callback(waiter.throw, error)
        self._on_readable = None
        return True

    def close(self) -> None:
        for _, watcher in self._watchers:
            watcher.close()
