"""Wraps a gevent socket so that each read says when the kernel got it, with what surrounds that in the event loop."""

from __future__ import annotations

import os
import socket
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import gevent
from gevent.hub import Waiter

from bench.clock import SendTime, enable_stamps, monotonic_ns
from bench.transport.event_loop import READABLE, CallbackScheduler, LoopMonitor, Poller, ScheduledCallback
from bench.transport.fast.reader import Sieve, SocketReader
from bench.transport.interface import PacedSender, TcpInfo, TxTimestamp
from bench.transport.received import SocketRead
from bench.transport.tx_timestamps import TxTimestamps
from bench.units import NEVER_NS, NS_PER_S, NS_PER_US

SHARE_NS = 10_000_000
"""How long the event loop may have been held up when a connection that goes on reading lets the others run."""
WRITABLE = 2
LINUX = sys.platform.startswith("linux")
NEVER_POLLED_NS = 0
SEND_LIMIT_NS = 10_000_000_000
MOST_HELD_BYTES = 1 << 22
"""The most that is read while a write waits for the peer; beyond that the peer must read first."""
TCP_INFO_BYTES = 152
TCP_INFO_RTT, TCP_INFO_RETRANS, TCP_INFO_MIN_RTT = 68, 100, 148
"""Where linux/tcp.h's `struct tcp_info` holds tcpi_rtt, tcpi_total_retrans and tcpi_min_rtt; times in µs."""
NOT_MEASURED = 0xFFFF_FFFF
"""tcpi_min_rtt while no segment has given a round trip, as after a handshake that was sent again."""

PeerScope = Literal["service", "proxy"]


@dataclass(slots=True)
class UnsentBytes:
    """Bytes that the kernel has not taken yet."""

    data: memoryview
    stamped: bool


TakeRead = Callable[[SocketRead], bool]
"""Takes a read, without waiting for anything; True where whoever listens must look at it."""


class ByteStream(Protocol):
    """A connected byte stream."""

    sieve: Sieve
    """Stands before `take` of `listen`, which gets what this leaves of each read."""

    def read(self, until_ns: int) -> SocketRead | None:
        """Wait for bytes; None when `until_ns` passed, and all that arrived by then was read."""

    def listen(self, until_ns: int, take: TakeRead, sender: PacedSender | None = None, *, polled: bool = False) -> bool:
        """Pass reads to `take`, which the event loop calls, until it says True; False when `until_ns` passed before.

        If it had passed already, nothing that arrived by then is left. `sender`: as in
        `bench.transport.interface.Transport`; True also where that says so. `polled`: the socket may be looked at every
        few milliseconds only.
        """

    @property
    def heard_ns(self) -> int:
        """The instant by which all that arrived was read."""

    @property
    def failure(self) -> int:
        """The error number by which the connection broke; 0 if the peer has closed it, or it is open."""

    @property
    def problem(self) -> str:
        """What broke the connection, in words; "" if the peer has closed it, or it is open."""

    def rest(self) -> None:
        """Let others run, where the event loop has been held up for long."""

    def write(self, data: bytes, *, stamped: bool = False, until_ns: int = NEVER_NS) -> SendTime:
        """Hand all of `data` to the kernel; raises OSError, at `until_ns` and after 10 s a TimeoutError.

        What comes meanwhile is read, and passed on later: a peer may read nothing before it has said what it has to
        say. `stamped`: `transmitted` will say when it left.
        """

    def offer(self, data: bytes, *, stamped: bool = False) -> SendTime | None:
        """As `write`, but without waiting; None where `finish` must hand over what is left of it."""

    def finish(self) -> SendTime:
        """Hand over what is left of what was offered last; raises OSError."""

    def transmitted(self) -> list[TxTimestamp]:
        """The stamps that came since they were last asked for; does not wait."""

    def network(self) -> TcpInfo | None:
        """The kernel's TCP_INFO; None where there is none, or no socket any more."""

    def close(self) -> None:
        """Let go of the socket without waiting."""


class TcpStream:
    """A connected TCP socket. `scope`: whose the other end is; `asked_ns`: an instant before it was connected."""

    def __init__(self, sock: Any, asked_ns: int, scope: PeerScope = "service") -> None:
        self._sock, self._watch, self._scope = sock, LoopMonitor.of_hub(), scope
        self._raw = sock._sock  # the non-blocking socket below gevent's
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # a paced chunk is not to wait for the next one
        self.stamped = enable_stamps(sock)
        self._transmit = TxTimestamps(self._raw)
        hub = gevent.get_hub()
        self._hub = hub
        self._io: dict[int, Any] = {}
        """Watchers by what they wait for, each made at first use."""
        self._fd = sock.fileno()
        # It lives as long as the connection: to start one anew for each read is slow. Its priority is
        # before all else of the loop, so that sockets are emptied before anybody works on what they brought.
        self._read_watcher = hub.loop.io(sock.fileno(), READABLE, priority=hub.loop.MAXPRI)
        self._poller = Poller.of_hub() if LINUX else None  # which has epoll
        self._polled_from_ns: int | None = None
        """Since when the poller polls the socket; None: it does not."""
        self._take: TakeRead | None = None
        self.sieve = Sieve()
        self._sender: PacedSender | None = None
        self._ticker = CallbackScheduler.of_hub()
        self._tick: ScheduledCallback | None = None
        self._unsent: UnsentBytes | None = None
        """The rest of what was offered."""
        self._finished: SendTime | None = None
        """How it was handed over, until somebody asks."""
        self._held: deque[SocketRead] = deque()
        """What was read while a write waited, and was not passed on yet."""
        self._held_bytes = 0
        self._waiter: Any = None
        self._timer: Any = None
        self._send_failure = 0
        """The error number of the first send that failed: the kernel tells each error once."""
        self._polls = 0
        """How often the loop had polled when it began to watch the socket."""
        self._reader = SocketReader(self._raw, self._watch, asked_ns)

    def read(self, until_ns: int) -> SocketRead | None:
        if self._held:
            return self._held_by(until_ns)
        polls = None
        on_time = True
        if self._reader.stamped_ns > until_ns:  # else who never pauses would hold up whoever waits for an instant
            gevent.sleep(0)
            return None
        if self._reader.drained:
            polls = self._watch.start(self._fd)
            on_time = self._wait(READABLE, until_ns)
        else:
            self.rest()
        while True:
            try:
                # where the timer ended the wait, no poll has told of the socket, and none says since when it was empty
                return self._reader.read(NEVER_POLLED_NS, polls if on_time else None, None)
            except (BlockingIOError, InterruptedError):
                if not on_time:
                    return None
                self._transmit.drain()  # an answer in the error queue makes a poll report the socket for ever
                polls = self._watch.start(self._fd)
                on_time = self._wait(READABLE, until_ns)

    def listen(self, until_ns: int, take: TakeRead, sender: PacedSender | None = None, *, polled: bool = False) -> bool:
        self._sender = sender
        while self._held:
            held = self._held_by(until_ns)
            if held is None or pass_on(self.sieve.sift(held), self.sieve, take):
                return held is not None
        # else nobody sleeps: what arrived by then is read now, however late that is
        if self._reader.stamped_ns <= until_ns and monotonic_ns() < until_ns:
            return self._listen(until_ns, take, polled)
        while (read := self.read(until_ns)) is not None:
            if pass_on(self.sieve.sift(read), self.sieve, take):
                return True
        return False

    def _listen(self, until_ns: int, take: TakeRead, polled: bool) -> bool:
        """Let the loop read until `take` says True; False when `until_ns` passed before."""
        waiter = self._waiter = Waiter(self._hub)
        self._take = take
        self._attend(polled)
        self._await_due()
        try:
            return self._sleep(waiter, until_ns)
        finally:
            self._take = self._waiter = None
            if self._tick is not None:
                self._tick.cancel()

    def _await_due(self) -> None:
        """Have the loop call when the sender is due."""
        due_ns = None if self._sender is None else self._sender.due_ns
        self._tick = None if due_ns is None else self._ticker.at(due_ns, self._send_due)

    def _send_due(self) -> None:
        """Let the sender send: the loop calls this, and nothing here may wait."""
        if self._take is None or self._sender is None:  # whoever listened is woken
            return
        try:
            if self._sender.send_due():
                self._wake(self._waiter.switch, True)
            else:
                self._await_due()
        except BaseException as error:  # raised where the session listens: the hub would print it, and nobody wake
            self._wake(self._waiter.throw, error)

    def _attend(self, polled: bool) -> None:
        """Have the loop watch the socket, or the poller poll it once in a while."""
        if polled and self._poller is not None:
            if self._polled_from_ns is None:
                self._read_watcher.stop()
                self._poller.add(self._fd, self.on_readable)
                self._polled_from_ns = monotonic_ns()
            return
        self._leave_poller()
        if not self._read_watcher.active:
            self._read_watcher.start(self.on_readable, NEVER_POLLED_NS)
            self._polls = self._watch.start(self._fd)  # in the epoll set from the next poll on

    def _leave_poller(self) -> None:
        if self._poller is not None and self._polled_from_ns is not None:
            self._poller.remove(self._fd)
            self._polled_from_ns = None

    def on_readable(self, polled_ns: int) -> None:
        """Read what was found, and pass it on: the loop or the poller calls this, and nothing here may wait.

        `polled_ns`: when the poller looked before.
        """
        take = self._take
        if take is None:  # nobody listens: it stays in the socket
            self._read_watcher.stop()
            self._leave_poller()
            return
        try:
            self._watch.check_if_due()
            polls = None
            if self._polled_from_ns is None:
                # a check proves something only of a socket that was read to its end before
                polled_ns, polls = NEVER_POLLED_NS, self._polls if self._reader.drained else None
            elif polled_ns < self._polled_from_ns:  # the socket was not among those that were polled
                polled_ns = NEVER_POLLED_NS
            try:
                left = self._reader.read(polled_ns, polls, self.sieve)
            except (BlockingIOError, InterruptedError):
                self._transmit.drain()  # an answer in the error queue makes a poll report the socket for ever
                return
            if pass_on(left, self.sieve, take):
                self._wake(self._waiter.switch, True)
        except BaseException as error:  # as in `_send_due`
            self._wake(self._waiter.throw, error)

    def _wake(self, way: Callable[[Any], None], word: object) -> None:
        """Wake whoever listens, by this and not by the time, once the loop has read all sockets found readable."""
        self._take = None
        self._timer.stop()  # it may be due in this very turn of the loop, and would say that nothing came
        self._hub.loop.run_callback(way, word)

    @property
    def heard_ns(self) -> int:
        if self._held:
            return self._held[0].empty_ns  # its first bytes may have come right behind that
        return max(self._reader.drained_ns, self._reader.stamped_ns - 1)  # more may come with the last stamp

    @property
    def failure(self) -> int:
        return self._reader.failure or self._send_failure  # a send fails for any reason once a read has failed

    @property
    def problem(self) -> str:
        return os.strerror(self.failure) if self.failure else ""

    def rest(self) -> None:
        if monotonic_ns() - self._watch.poll_end_ns > SHARE_NS:
            gevent.sleep(0)

    def write(self, data: bytes, *, stamped: bool = False, until_ns: int = NEVER_NS) -> SendTime:
        if self._unsent is not None:  # what was offered is half sent: a frame in the midst of it would break both
            self._finished = self._write(self._unsent, until_ns)
        return self._write(UnsentBytes(memoryview(data), stamped), until_ns)

    def _write(self, unsent: UnsentBytes, until_ns: int = NEVER_NS) -> SendTime:
        self._unsent = unsent
        limit_ns = min(until_ns, monotonic_ns() + SEND_LIMIT_NS)
        while (handed := self._hand_over(unsent)) is None:
            reads = self._held_bytes < MOST_HELD_BYTES and not (self._held and not self._held[-1].data)
            polls = self._watch.start(self._fd) if self._reader.drained else None
            left = len(unsent.data)
            on_time = self._wait(WRITABLE | READABLE if reads else WRITABLE, limit_ns)
            if reads:
                self._hold(polls if on_time else None)
            if on_time:
                continue
            # the loop may have woken long after the limit: what the peer has taken by now counts
            if (handed := self._hand_over(unsent)) is not None:
                break
            if len(unsent.data) == left:
                raise TimeoutError("the peer accepted no data for 10 s")
            limit_ns = min(until_ns, monotonic_ns() + SEND_LIMIT_NS)
        self._unsent = None
        return handed

    def _hold(self, polls: int | None) -> None:
        """Read what has come, if anything has, and hold it. `polls`: as of `SocketReader.read`."""
        try:
            read = self._reader.read(NEVER_POLLED_NS, polls, None)
        except (BlockingIOError, InterruptedError):
            return
        assert read is not None, "nothing is matched"
        self._held.append(read)
        self._held_bytes += len(read.data)

    def _held_by(self, until_ns: int) -> SocketRead | None:
        """Take out the oldest read that is held; None if all of it came after an instant."""
        if self._held[0].empty_ns >= until_ns:
            gevent.sleep(0)  # whoever is behind its schedule lets the others run all the same
            return None
        self.rest()
        read = self._held.popleft()
        self._held_bytes -= len(read.data)
        return read

    def _hand_over(self, unsent: UnsentBytes) -> SendTime | None:
        """Send what the kernel takes; None where that is not all. Raises OSError."""
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
            unsent.data = unsent.data[count:]
            if not unsent.data:
                return SendTime(before_ns, monotonic_ns() - before_ns, self._transmit.ticket if unsent.stamped else 0)

    def offer(self, data: bytes, *, stamped: bool = False) -> SendTime | None:
        unsent = UnsentBytes(memoryview(data), stamped)
        try:
            handed = self._hand_over(unsent)
        except OSError:  # `finish` meets it again, and whoever calls that can act on it
            handed = None
        self._unsent = unsent if handed is None else None
        return handed

    def finish(self) -> SendTime:
        handed, self._finished = self._finished, None
        if self._unsent is not None:
            handed = self._write(self._unsent)
        assert handed is not None, "nothing was offered"
        return handed

    def transmitted(self) -> list[TxTimestamp]:
        return self._transmit.take()

    def _wait(self, kind: int, until_ns: int) -> bool:
        """Switch to the hub until the socket is ready; False when `until_ns` passed before."""
        if until_ns <= monotonic_ns():
            gevent.sleep(0)  # whoever is behind its schedule lets the others run all the same
            return False
        waiter: Any = Waiter(self._hub)
        io = self._io.get(kind)
        if io is None:  # seldom
            io = self._io[kind] = self._hub.loop.io(self._fd, kind)
        io.start(waiter.switch, True)
        try:
            return self._sleep(waiter, until_ns)
        finally:
            io.stop()

    def _sleep(self, waiter: Any, until_ns: int) -> bool:
        """Switch to the hub until somebody switches to the waiter, with what it was given; False at `until_ns`."""
        timer = self._timer = self._hub.loop.timer(max(0, until_ns - monotonic_ns()) / NS_PER_S)
        timer.start(waiter.switch, False, update=True)  # else it counts from the loop's last turn
        try:
            woken = bool(waiter.get())
        finally:
            timer.close()
        self._watch.check_if_due()  # many sessions may be woken, one after the other, before the loop polls again
        return woken

    def network(self) -> TcpInfo | None:
        if not LINUX:
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
        return TcpInfo(rtt_us * NS_PER_US, min_rtt_us * NS_PER_US, retransmits, self._scope)

    def close(self) -> None:
        self._leave_poller()
        for watcher in (*self._io.values(), self._read_watcher):
            watcher.close()
        self._sender = self._tick = None  # who listened may hold this connection
        self.sieve = Sieve()
        self._held.clear()
        self._reader.close()
        self._sock.close()


def pass_on(left: SocketRead | None, sieve: Sieve, take: TakeRead) -> bool:
    """Pass on what a sieve has left of a read; whether whoever listens must look at it."""
    if left is not None and take(left):
        return True
    if sieve.due:
        sieve.hand_on()
    return sieve.wakes
