"""A TCP stream whose bytes a ring of io_uring receives once a session listens."""

from typing import Any

import gevent
from gevent.hub import Waiter

from bench.base.clock import monotonic_ns
from bench.transport.event_loop import READABLE
from bench.transport.ring._ring import RingReader
from bench.transport.ring.hub_ring import HubRing
from bench.transport.tcp import PeerScope, TakeRead, TcpStream


class RingStream(TcpStream):
    """A connected TCP socket whose bytes a ring receives, from the first `receive_until` on.

    Before that, it reads like a `TcpStream`: handshakes take few reads, and a relay's stream is
    read by its own watcher.
    """

    def __init__(self, sock: Any, connect_start_ns: int, scope: PeerScope = "service") -> None:
        super().__init__(sock, connect_start_ns, scope)
        hub_ring = HubRing.of_hub()
        self._ring = hub_ring.ring
        self._ring_poller = hub_ring.poller
        self._received: RingReader | None = None
        """The reader, after the ring has begun to receive."""
        self._is_polled = False

    def _receive_until(self, until_ns: int, on_read: TakeRead, polled: bool) -> bool:
        try:
            return super()._receive_until(until_ns, on_read, polled)
        finally:
            if self._received is not None:
                self._received.stop()

    def poll(self, polled: bool) -> None:
        if self._take is None:  # the listener is already woken
            return
        # The change happens once, between two reads, so that no byte is read by both. The new
        # reader takes over when the socket was last empty, and its last timestamp.
        if self._received is None:
            before = self._reader
            self._received = self._ring.receive(self._fd, before.drained_ns, before.stamped_ns)
            before.close()
            self._reader = self._received  # type: ignore[assignment]  # it has the same interface
        if polled != self._is_polled:
            self._is_polled = polled
            if polled:
                self._ring_poller.begin()
            else:
                self._ring_poller.end()
        self._received.listen(self.sieve, self._take, self._wake_listener, polled)

    def _leave_poller(self) -> None:
        if self._is_polled:
            self._is_polled = False
            self._ring_poller.end()

    def _wake_listener(self, error: BaseException | None) -> None:
        """Wake the listener, or raise an error in it. The loop calls this."""
        if error is None:
            self._wake(self._waiter.switch, True)
        else:
            self._wake(self._waiter.throw, error)

    def _wake(self, resume: Any, result: object) -> None:
        if self._received is not None:
            self._received.stop()
        super()._wake(resume, result)

    def _wait(self, kind: int, until_ns: int) -> bool:
        received = self._received
        if received is None or not kind & READABLE:
            return super()._wait(kind, until_ns)
        if until_ns <= monotonic_ns():
            gevent.sleep(0)
            return False
        waiter = Waiter(self._hub)
        # A wait for both directions needs two sources: the ring knows of reads, and epoll of
        # writes.
        received.notify(lambda _: self._hub.loop.run_callback(waiter.switch, True))
        io = None
        if kind != READABLE:
            io = self._hub.loop.io(self._fd, kind & ~READABLE)
            io.start(waiter.switch, True)
        try:
            return self._sleep(waiter, until_ns)
        finally:
            received.stop()
            if io is not None:
                io.close()
