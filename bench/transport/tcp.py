"""A gevent socket whose reads have the kernel's arrival timestamp, and its handling in the event
loop.
"""

# One socket is read in two ways. `read` waits in the greenlet of the session: for handshakes, and
# for all that a session does in steps. `receive_until` leaves the reading to the event loop: the
# greenlet sleeps, `on_readable` runs in a callback of the loop, and the session is woken only if it
# must act. A switch of greenlets for each delta would cost more than the delta.
#
# While it listens, either the loop or the poller watches the socket (`poll`): the loop at
# once, the poller every few milliseconds together with others. Both ways end in
# `SocketReader.read`, which says when the socket was last empty. A poll proves that only if it had
# the chance to report this socket, hence `_polls` and `_polled_from_ns`.
#
# A write that the kernel does not accept waits in `_unsent`, which is half of a frame: whatever is
# written next must follow it. While a write waits, the peer may be waiting for us to read, so reads
# are stored in `_held` and passed on afterwards, in their order and with their own arrivals.
#
# The kernel reports an error of the socket once. It is stored (`failure`), since the read and the
# write that follow need it too.

import errno
import os
import socket
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

import gevent
from gevent.hub import Waiter

from bench.base.clock import SendTime, enable_timestamps, monotonic_ns
from bench.base.units import NEVER_NS, NS_PER_S, NS_PER_US
from bench.catalogue.causes import Cause, Code
from bench.transport.event_loop import READABLE, CallbackScheduler, Poller, ScheduledCallback
from bench.transport.fast.reader import Sieve, SocketReader
from bench.transport.fast.sending import send_at_once
from bench.transport.interface import PacedSender
from bench.transport.loop_monitor import LoopMonitor
from bench.transport.parser import SocketRead
from bench.transport.tx_timestamps import TxTimestamps
from bench.wire.connection import NetworkMeasured, Transmitted

SHARE_NS = 10_000_000
"""The time of work in the event loop after which a connection yields, although it could read
more."""
WRITABLE = 2
LATER = (errno.EAGAIN, errno.EINTR)
"""The errors after which a send may succeed."""
NEVER_POLLED_NS = 0
SEND_LIMIT_NS = 10_000_000_000
MAX_HELD_BYTES = 1 << 22
"""The maximum number of bytes that are read while a write waits for the peer. After that, nothing
more is read until the peer has read our data."""
TCP_INFO_BYTES = 152
TCP_INFO_RTT = 68
TCP_INFO_RETRANS = 100
TCP_INFO_MIN_RTT = 148
"""The offsets of tcpi_rtt, tcpi_total_retrans and tcpi_min_rtt in `struct tcp_info` of
linux/tcp.h. Times are in µs."""
NOT_MEASURED = 0xFFFF_FFFF
"""The value of tcpi_min_rtt if no segment has measured a round trip yet. This is so after a
retransmitted handshake, for example."""

PeerScope = Literal["service", "proxy"]


@dataclass(slots=True)
class UnsentBytes:
    """Bytes that the kernel has not accepted yet."""

    data: bytes | memoryview
    stamped: bool


TakeRead = Callable[[SocketRead], bool]
"""A handler of reads. It must not block. It returns True if the listener must act."""


class ByteStream(Protocol):
    """A connected byte stream.

    Its owner waits for bytes with `read` and `receive_until`. If the bytes are messages that need
    no wait, such as the packets of a relay, a `Listener` watches the stream, which is then read
    with `try_read`.
    """

    def fileno(self) -> int: ...

    sieve: Sieve
    """The sieve that receives each read first. What the sieve leaves goes to `on_read` of
    `receive_until`."""

    def read(self, until_ns: int) -> SocketRead | None:
        """Wait for bytes. Return None if `until_ns` has passed and all bytes that arrived by
        then were read.
        """

    def try_read(self) -> SocketRead | None:
        """Do the same as `read`, without blocking. Return None if no bytes have arrived."""

    def receive_until(
        self,
        until_ns: int,
        on_read: TakeRead,
        sender: PacedSender | None = None,
        *,
        polled: bool = False,
    ) -> bool:
        """Pass reads to `on_read` in the event loop until it returns True. Return False if
        `until_ns` passes.

        If `until_ns` has already passed, everything that arrived by then is still read. `sender`
        has the same meaning as in `bench.transport.interface.Transport`. If `sender` returns True,
        this function returns True. `polled` is True if the socket may be polled only every few
        milliseconds.
        """

    def poll(self, polled: bool) -> None:
        """Change `polled` of the `receive_until` that is in progress, if it is."""

    @property
    def watermark_ns(self) -> int:
        """An instant: all bytes that arrived by then were read."""

    @property
    def active_ns(self) -> int:
        """The instant of the last byte in either direction. Bytes that were sent count when this
        is read next.
        """

    @property
    def failure(self) -> int:
        """The number of the error that broke the connection; 0 if it is open, or if the peer has
        closed it.
        """

    @property
    def error_text(self) -> str:
        """The text of the error that broke the connection; "" if it is open, or if the peer has
        closed it.
        """

    def yield_to_loop(self) -> None:
        """Yield to other greenlets if the event loop has been busy for a long time."""

    def write(self, data: bytes, *, stamped: bool = False, until_ns: int = NEVER_NS) -> SendTime:
        """Pass all of `data` to the kernel. Raise OSError.

        Raise TimeoutError at `until_ns`, or if the peer accepts no data for 10 s. Bytes that arrive
        during the write are read and passed on later, because a peer may send all of its data
        before it reads any. If `stamped` is True, `transmitted` returns the timestamp of the send
        later.
        """

    def try_write(self, data: bytes, *, stamped: bool = False) -> SendTime | None:
        """Do the same as `write`, without blocking. Return None if `flush` or `try_flush` must
        send the rest.
        """

    def send_chunks(self, keep: Callable[[int, bytes, int], None]) -> None:
        """Let the event loop send the plain chunks of a sender, as masked frames.
        `ChunkSender.send` gets `keep`.
        """

    def keep_rest(self, data: bytes, error: int) -> None:
        """Keep bytes on the wire that the kernel did not accept, because of this error unless it
        is 0, for `flush`.
        """

    def flush(self) -> SendTime:
        """Send the rest of the data that was last passed to `try_write`. Raise OSError."""

    def try_flush(self) -> bool:
        """Send as much of the rest as the kernel accepts. Return whether all is sent. Do not
        block.
        """

    def transmitted(self) -> list[Transmitted]:
        """Return the kernel's new timestamps for sent data. Do not block."""

    @property
    def endpoints(self) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """The addresses of the socket and of its peer, as the socket module has them."""

    def network(self) -> NetworkMeasured | None:
        """Return the kernel's TCP_INFO; None if the platform does not report it, or if the
        socket is closed.
        """

    def close(self) -> None:
        """Close the socket without waiting."""


class TcpStream:
    """A connected TCP socket.

    `scope` states who the peer is. `connect_start_ns` is an instant before the socket connected.
    """

    def __init__(self, sock: Any, connect_start_ns: int, scope: PeerScope = "service") -> None:
        self._sock = sock
        self._watch = LoopMonitor.of_hub()
        self._scope = scope
        self._raw = sock._sock  # the non-blocking socket below gevent's
        # a paced chunk must not wait for the next one
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stamped = enable_timestamps(sock)
        self._transmit = TxTimestamps(self._raw)
        hub = gevent.get_hub()
        self._hub = hub
        self._io: dict[int, Any] = {}
        """The watchers of the socket, by the event that each waits for. A watcher is created
        when it is first used."""
        self._fd: int = sock.fileno()
        # The watcher exists as long as the connection, because starting a new one for each read is
        # slow. It has the highest priority in the loop, so that sockets are emptied before their
        # data is processed.
        self._read_watcher = hub.loop.io(sock.fileno(), READABLE, priority=hub.loop.MAXPRI)
        self._poller = Poller.of_hub() if sys.platform == "linux" else None  # Linux has epoll
        self._polled_from_ns: int | None = None
        """The instant at which the poller started to poll the socket; None if the poller does
        not poll it."""
        self._take: TakeRead | None = None
        self.sieve = Sieve()
        self._sender: PacedSender | None = None
        self._keep: Callable[[int, bytes, int], None] | None = None
        self._encrypt: Callable[[bytes], bytes] | None = None
        """The arguments of `ChunkSender.send`. `_keep` is None if the sender must send its
        chunks itself."""
        self._ticker = CallbackScheduler.of_hub()
        self._tick: ScheduledCallback | None = None
        self._unsent: UnsentBytes | None = None
        """The data of a write that the kernel has not accepted yet."""
        self._finished: SendTime | None = None
        """The time at which the data of `try_write` was sent. It is set until `flush` returns
        it."""
        self._held: deque[SocketRead] = deque()
        """The reads that were made while a write was blocked. They are passed on later."""
        self._held_bytes = 0
        self._waiter: Any = None
        self._timer: Any = None
        self._written = 0
        self._sent_ns = connect_start_ns
        """The number of written bytes when `active_ns` was read, and the instant at which it was
        found to be larger."""
        self._send_failure = 0
        """The error number of the first failed send. It is stored because the kernel reports
        each error only once."""
        self._polls = 0
        """The loop's number of polls at the time when the loop started to watch the socket."""
        self._reader = SocketReader(self._raw, self._watch, connect_start_ns)

    def read(self, until_ns: int) -> SocketRead | None:
        if self._held:
            return self._held_by(until_ns)
        polls = None
        on_time = True
        # otherwise a peer that never pauses would delay a session that waits for an instant
        if self._reader.stamped_ns > until_ns:
            gevent.sleep(0)
            return None
        if self._reader.drained:
            polls = self._watch.start(self._fd)
            on_time = self._wait(READABLE, until_ns)
        else:
            self.yield_to_loop()
        while True:
            try:
                # If the timer ended the wait, no poll has reported the socket, and no poll shows
                # when it was empty.
                return self._reader.read(NEVER_POLLED_NS, polls if on_time else None, None)
            except (BlockingIOError, InterruptedError):
                if not on_time:
                    return None
                # a report in the error queue makes every poll report the socket
                self._transmit.drain()
                polls = self._watch.start(self._fd)
                on_time = self._wait(READABLE, until_ns)

    def try_read(self) -> SocketRead | None:
        try:
            return self._reader.read(NEVER_POLLED_NS, None, None)
        except (BlockingIOError, InterruptedError):
            return None

    def receive_until(
        self,
        until_ns: int,
        on_read: TakeRead,
        sender: PacedSender | None = None,
        *,
        polled: bool = False,
    ) -> bool:
        self._sender = sender
        while self._held:
            stored_read = self._held_by(until_ns)
            if stored_read is None or pass_on(self.sieve.consume(stored_read), self.sieve, on_read):
                return stored_read is not None
        # Otherwise the session does not sleep: everything that arrived by then is read now, however
        # late that is.
        if self._reader.stamped_ns <= until_ns and monotonic_ns() < until_ns:
            return self._receive_until(until_ns, on_read, polled)
        while (read := self.read(until_ns)) is not None:
            if pass_on(self.sieve.consume(read), self.sieve, on_read):
                return True
        return False

    def _receive_until(self, until_ns: int, on_read: TakeRead, polled: bool) -> bool:
        """Let the event loop read until `on_read` returns True. Return False if `until_ns`
        passes before that.
        """
        waiter = self._waiter = Waiter(self._hub)
        self._take = on_read
        self.poll(polled)
        self._schedule_sender()
        try:
            return self._sleep(waiter, until_ns)
        finally:
            self._take = self._waiter = None
            if self._tick is not None:
                self._tick.cancel()

    def _schedule_sender(self) -> None:
        """Schedule a call of `_send_due` for the instant at which the sender is due."""
        sender = self._sender
        send: Callable[[], int] | None = None
        if sender is None or (due_ns := sender.due_ns) is None:
            self._tick = None
            return
        if self._keep is not None and sender.plain is not None:
            send = partial(
                sender.plain.send, self._fd, self._transmit.note_written, self._keep, self._encrypt
            )
        self._tick = self._ticker.at(due_ns, self._send_due, send)

    def _send_due(self) -> int | None:
        """Let the sender send. Return the instant at which it is due again. The loop calls this:
        it must not block.
        """
        sender = self._sender
        if self._take is None or sender is None:  # the listener is already woken
            return None
        try:
            if not sender.send_due():
                return sender.due_ns
            self._wake(self._waiter.switch, True)
        # raise it in the listening session: the hub would only print it, and wake no session
        except BaseException as error:
            self._wake(self._waiter.throw, error)
        return None

    def poll(self, polled: bool) -> None:
        """Let the poller poll the socket if `polled` is True and there is a poller.

        Otherwise let the loop watch the socket.
        """
        if self._take is None:  # the listener is already woken
            return
        if polled and self._poller is not None:
            if self._polled_from_ns is None:
                self._stop_watching()
                self._poller.add(self._fd, self.on_readable)
                self._polled_from_ns = monotonic_ns()
            return
        self._leave_poller()
        if not self._read_watcher.active:
            self._read_watcher.start(self.on_readable, NEVER_POLLED_NS)
            self._polls = self._watch.start(self._fd)  # in the epoll set from the next poll

    def _stop_watching(self) -> None:
        self._read_watcher.stop()
        self._watch.stop(self._fd)

    def _leave_poller(self) -> None:
        if self._poller is not None and self._polled_from_ns is not None:
            self._poller.remove(self._fd)
            self._polled_from_ns = None

    def on_readable(self, polled_ns: int) -> None:
        """Read the available bytes and pass them on. The loop or the poller calls this, so it must
        not block.

        `polled_ns` is the instant of the poller's previous poll.
        """
        on_read = self._take
        if on_read is None:  # no listener: the bytes stay in the socket
            self._stop_watching()
            self._leave_poller()
            return
        try:
            self._watch.check_if_due()
            polls = None
            if self._polled_from_ns is None:
                # a check is a proof only if the socket was drained before
                polled_ns = NEVER_POLLED_NS
                polls = self._polls if self._reader.drained else None
            elif (
                polled_ns < self._polled_from_ns
            ):  # the socket was not among those that were polled
                polled_ns = NEVER_POLLED_NS
            try:
                remainder = self._reader.read(polled_ns, polls, self.sieve)
            except (BlockingIOError, InterruptedError):
                # a report in the error queue makes every poll report the socket
                self._transmit.drain()
                return
            if pass_on(remainder, self.sieve, on_read):
                self._wake(self._waiter.switch, True)
        except BaseException as error:  # as in `_send_due`
            self._wake(self._waiter.throw, error)
        self._ticker.send_due()

    def _wake(self, resume: Callable[[Any], None], result: object) -> None:
        """Wake the listener after the loop has read all readable sockets, and stop the listener's
        timer.

        `resume` is called with `result`.
        """
        self._take = None
        if self._tick is not None:
            self._tick.cancel()  # the listener decides what is sent next
        # it may be due in this iteration of the loop, and would report a timeout
        self._timer.stop()
        self._hub.loop.run_callback(resume, result)

    @property
    def watermark_ns(self) -> int:
        if self._held:
            return self._held[0].empty_ns  # its first bytes may have arrived directly after that
        # more bytes may arrive with the same timestamp as the last ones
        return max(self._reader.drained_ns, self._reader.stamped_ns - 1)

    @property
    def active_ns(self) -> int:
        if self._transmit.written != self._written:  # no clock is read for each chunk that is sent
            self._written = self._transmit.written
            self._sent_ns = monotonic_ns()
        return max(self._sent_ns, self._reader.stamped_ns)

    @property
    def failure(self) -> int:
        # a send fails for any reason once a read has failed
        return self._reader.failure or self._send_failure

    @property
    def error_text(self) -> str:
        return os.strerror(self.failure) if self.failure else ""

    def yield_to_loop(self) -> None:
        if monotonic_ns() - self._watch.poll_end_ns > SHARE_NS:
            gevent.sleep(0)

    def write(self, data: bytes, *, stamped: bool = False, until_ns: int = NEVER_NS) -> SendTime:
        # the offered data is half sent: a frame within it would break both
        if self._unsent is not None:
            self._finished = self._write(self._unsent, until_ns)
        return self._write(UnsentBytes(data, stamped), until_ns)

    def _write(self, unsent: UnsentBytes, until_ns: int = NEVER_NS) -> SendTime:
        self._unsent = unsent
        limit_ns = min(until_ns, monotonic_ns() + SEND_LIMIT_NS)
        while (send_time := self._send_unsent(unsent)) is None:
            reads = self._held_bytes < MAX_HELD_BYTES and not (
                self._held and not self._held[-1].data
            )
            polls = self._watch.start(self._fd) if self._reader.drained else None
            bytes_left = len(unsent.data)
            on_time = self._wait(WRITABLE | READABLE if reads else WRITABLE, limit_ns)
            if reads:
                self._hold(polls if on_time else None)
            if on_time:
                continue
            # The loop may have woken long after the limit. Bytes that the peer has taken by now
            # count.
            if (send_time := self._send_unsent(unsent)) is not None:
                break
            if len(unsent.data) == bytes_left:
                raise TimeoutError(Cause(Code.NO_READ, {"limit_s": SEND_LIMIT_NS / NS_PER_S}).text)
            limit_ns = min(until_ns, monotonic_ns() + SEND_LIMIT_NS)
        self._unsent = None
        return send_time

    def _hold(self, polls: int | None) -> None:
        """Read the bytes that are available, and store them until they can be passed on.

        `polls` is the argument of `SocketReader.read`.
        """
        try:
            read = self._reader.read(NEVER_POLLED_NS, polls, None)
        except (BlockingIOError, InterruptedError):
            return
        assert read is not None, "nothing is matched"
        self._held.append(read)
        self._held_bytes += len(read.data)

    def _held_by(self, until_ns: int) -> SocketRead | None:
        """Remove and return the oldest stored read. Return None if all of its bytes arrived
        after `until_ns`.
        """
        if self._held[0].empty_ns >= until_ns:
            gevent.sleep(0)  # yield to the others also if this session is behind its schedule
            return None
        self.yield_to_loop()
        read = self._held.popleft()
        self._held_bytes -= len(read.data)
        return read

    def _send_unsent(self, unsent: UnsentBytes) -> SendTime | None:
        """Send until the kernel accepts no more. Return None if bytes are left over. Raise
        OSError.
        """
        while True:
            before_ns = monotonic_ns()
            try:
                count = self._transmit.send(unsent.data, stamped=unsent.stamped)
            except (BlockingIOError, InterruptedError):
                self._transmit.drain()
                return None
            except OSError as error:
                self._send_failure = self._send_failure or error.errno or 0
                raise
            if count < len(unsent.data):
                unsent.data = memoryview(unsent.data)[count:]
            else:
                unsent.data = b""
                return SendTime(
                    before_ns,
                    monotonic_ns() - before_ns,
                    self._transmit.ticket if unsent.stamped else 0,
                )

    def try_write(self, data: bytes, *, stamped: bool = False) -> SendTime | None:
        if not stamped:
            at_ns, width_ns, count = send_at_once(self._fd, data)
            if count == len(data):
                self._transmit.note_written(count)
                self._unsent = None
                return SendTime(at_ns, width_ns)
            if count >= 0:
                self._transmit.note_written(count)
                data = data[count:]
            elif (
                -count not in LATER
            ):  # as in `_send_unsent`; the kernel reports each error only once
                self._send_failure = self._send_failure or -count
        unsent = UnsentBytes(data, stamped)
        try:
            send_time = self._send_unsent(unsent)
        except OSError:  # `flush` gets the same error, and its caller can handle it
            send_time = None
        self._unsent = unsent if send_time is None else None
        return send_time

    def send_chunks(
        self,
        keep: Callable[[int, bytes, int], None],
        encrypt: Callable[[bytes], bytes] | None = None,
    ) -> None:
        self._keep = keep
        self._encrypt = encrypt

    def keep_rest(self, data: bytes, error: int) -> None:
        self._send_failure = self._send_failure or error
        self._unsent = UnsentBytes(data, stamped=False)

    def flush(self) -> SendTime:
        send_time = self._finished
        self._finished = None
        if self._unsent is not None:
            send_time = self._write(self._unsent)
        assert send_time is not None, "nothing was offered"
        return send_time

    def try_flush(self) -> bool:
        if self._unsent is None:
            return True
        try:
            send_time = self._send_unsent(self._unsent)
        except OSError:  # `failure` has it
            return False
        if send_time is not None:
            self._unsent = None
        return send_time is not None

    def transmitted(self) -> list[Transmitted]:
        return self._transmit.pop()

    def _wait(self, kind: int, until_ns: int) -> bool:
        """Switch to the hub until the socket is ready. Return False if `until_ns` passes before
        that.
        """
        if until_ns <= monotonic_ns():
            gevent.sleep(0)  # yield to the others also if this session is behind its schedule
            return False
        waiter = Waiter(self._hub)
        io = self._io.get(kind)
        if io is None:  # seldom
            io = self._io[kind] = self._hub.loop.io(self._fd, kind)
        io.start(waiter.switch, True)
        try:
            return self._sleep(waiter, until_ns)
        finally:
            io.stop()

    def _sleep(self, waiter: Any, until_ns: int) -> bool:
        """Switch to the hub until the waiter is woken. Return its value as a bool, or False at
        `until_ns`.
        """
        timer = self._timer = self._hub.loop.timer(max(0, until_ns - monotonic_ns()) / NS_PER_S)
        # otherwise it counts from the loop's last iteration
        timer.start(waiter.switch, False, update=True)
        try:
            woken = bool(waiter.get())
        finally:
            timer.close()
        self._watch.check_if_due()  # the loop may wake many sessions before it polls again
        return woken

    @property
    def endpoints(self) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        return self._raw.getsockname(), self._raw.getpeername()

    def fileno(self) -> int:
        return self._fd

    def network(self) -> NetworkMeasured | None:
        if sys.platform != "linux":
            return None
        try:
            info = self._raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES)
        except OSError:
            return None
        if len(info) < TCP_INFO_BYTES:  # an older kernel
            return None
        rtt_us, retransmits, min_rtt_us = (
            int.from_bytes(info[at : at + 4], sys.byteorder)
            for at in (TCP_INFO_RTT, TCP_INFO_RETRANS, TCP_INFO_MIN_RTT)
        )
        if min_rtt_us == NOT_MEASURED:
            return None
        return NetworkMeasured(rtt_us * NS_PER_US, min_rtt_us * NS_PER_US, retransmits, self._scope)

    def close(self) -> None:
        self._leave_poller()
        self._watch.stop(self._fd)
        for watcher in (*self._io.values(), self._read_watcher):
            watcher.close()
        if self._tick is not None:
            self._tick.cancel()  # another socket may soon have the same number
        # they may hold a reference to this connection
        self._sender = self._tick = self._keep = self._encrypt = None
        self.sieve = Sieve()
        self._held.clear()
        self._reader.close()
        self._sock.close()
        self._fd = -1  # another socket may soon have the same number


def pass_on(remainder: SocketRead | None, sieve: Sieve, on_read: TakeRead) -> bool:
    """Pass on the rest of a read that a sieve has left, and the sieve's own data.

    Return whether the listener must act.
    """
    if remainder is not None and on_read(remainder):
        return True
    if sieve.due:
        sieve.pass_on_consumed()
    return sieve.wakes
