"""A gevent socket, with or without TLS, that says of every read when the kernel got it.

TLS runs over `ssl.MemoryBIO`, because an `SSLSocket` has no `recvmsg` and the kernel's stamp would be lost. Connecting
goes through name lookup, TCP and TLS, each timed and each with its limit; every `OSError` of that way becomes a
`ConnectError` here, once.
"""

from __future__ import annotations

import socket
import ssl
import sys
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import gevent
import gevent.socket
from gevent.hub import Waiter

from bench.clock import ANCILLARY_BYTES, Handed, arrival_ns, enable_stamps, monotonic_ns
from bench.errors import ConnectError
from bench.measures import Limits
from bench.transport.base import Network
from bench.transport.loop import LoopWatch

READ_BYTES = 65_536
READABLE, WRITABLE = 1, 2
SEND_LIMIT_NS = 10_000_000_000
TLS_RECORD_HEADER = 5
TCP_INFO_BYTES = 152
TCP_INFO_RTT, TCP_INFO_RETRANS, TCP_INFO_MIN_RTT = 68, 100, 148
"""Where linux/tcp.h's `struct tcp_info` holds tcpi_rtt, tcpi_total_retrans and tcpi_min_rtt; times in µs."""
NOT_MEASURED = 0xFFFF_FFFF
"""tcpi_min_rtt while no segment has given a round trip, as after a handshake that was sent again."""


class Read(NamedTuple):
    """What one read brought.

    `stamp_ns` is the arrival of its last segment, `empty_ns` the latest instant at which the socket is known to have
    been empty before, `complete` says that it ended where the sender's record ended and emptied the socket, `slept`
    that the loop had been waiting for it with nothing else to do. No data: the peer has closed.
    """

    data: bytes
    stamp_ns: int
    empty_ns: int
    kernel: bool
    complete: bool
    slept: bool


class Stream(Protocol):
    """A connected byte stream."""

    def read(self, until_ns: int) -> Read | None:
        """Wait for bytes; None when `until_ns` passed."""

    def write(self, data: bytes) -> Handed:
        """Hand all of `data` to the kernel; raises OSError."""

    def learn_delay(self, stamp_ns: int) -> None:
        """A read for which the loop had slept brought a single event, stamped so."""

    def network(self) -> Network | None:
        """The kernel's TCP_INFO; None where there is none, or no socket any more."""

    def close(self) -> None:
        """Let go of the socket without waiting."""


@dataclass(slots=True)
class Phases:
    """The instants of connecting, as far as it came."""

    instants: dict[str, int] = field(default_factory=dict)

    def mark(self, instant: str) -> None:
        self.instants[instant] = monotonic_ns()


class TcpStream:
    """A connected TCP socket."""

    def __init__(self, sock: Any, watch: LoopWatch) -> None:
        self._sock, self._watch = sock, watch
        self._raw = sock._sock  # the non-blocking socket below gevent's
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stamped = enable_stamps(sock)
        hub = gevent.get_hub()
        self._hub = hub
        self._io = {kind: hub.loop.io(sock.fileno(), kind) for kind in (READABLE, WRITABLE)}
        self._drained_ns = monotonic_ns()  # the peer has not been asked for anything yet
        self._stamped_ns = 0
        self._drained = True

    def read(self, until_ns: int) -> Read | None:
        polls = None
        on_time = True
        if self._drained:
            polls = self._watch.polls
            on_time = self._wait(READABLE, until_ns)
        while True:
            before_ns = monotonic_ns()
            try:
                data, ancillary, _, _ = self._raw.recvmsg(READ_BYTES, ANCILLARY_BYTES)
            except (BlockingIOError, InterruptedError):
                self._drained, self._drained_ns = True, before_ns
                if not on_time:
                    return None
                polls = self._watch.polls
                on_time = self._wait(READABLE, until_ns)
                continue
            except OSError:  # reset by the peer: an end like any other, without a close frame
                data, ancillary = b"", []
            return self._described(data, ancillary, before_ns, polls if on_time else None)

    def _described(self, data: bytes, ancillary: Any, before_ns: int, polls: int | None) -> Read:
        """The read with its stamp, and with what is known of the socket before it.

        `polls`: how many polls the loop had made when the reader began to wait, None where no poll reported the socket.
        """
        stamp_ns = arrival_ns(ancillary)
        # two conversions of one stamp differ by some ns, and time does not run backwards
        at_ns = self._stamped_ns = max(self._stamped_ns, monotonic_ns() if stamp_ns is None else stamp_ns)
        empty_ns = self._drained_ns
        if polls is not None:
            empty_ns = max(empty_ns, self._watch.empty_ns(polls, at_ns))
        self._drained = len(data) < READ_BYTES
        if self._drained:
            # the clock before the call: the process may have lost its core between the call and a clock after it
            self._drained_ns = before_ns
        slept = polls is not None and self._watch.blocked
        return Read(data, at_ns, min(empty_ns, at_ns), stamp_ns is not None, self._drained, slept)

    def write(self, data: bytes) -> Handed:
        rest = memoryview(data)
        until_ns = monotonic_ns() + SEND_LIMIT_NS
        while True:
            before_ns = monotonic_ns()
            try:
                count = self._raw.send(rest)
            except (BlockingIOError, InterruptedError):
                if not self._wait(WRITABLE, until_ns):
                    raise TimeoutError("the peer took no bytes for 10 s") from None
                continue
            rest = rest[count:]
            if not rest:
                return Handed(before_ns, monotonic_ns() - before_ns)

    def _wait(self, kind: int, until_ns: int) -> bool:
        """Switch to the hub until the socket is ready; False when `until_ns` passed before."""
        seconds = (until_ns - monotonic_ns()) / 1e9
        if seconds <= 0:
            gevent.sleep(0)  # whoever is behind its schedule lets the others run all the same
            return False
        waiter: Any = Waiter(self._hub)
        io, timer = self._io[kind], self._hub.loop.timer(seconds)
        io.start(waiter.switch, True)
        timer.start(waiter.switch, False)
        try:
            return bool(waiter.get())
        finally:
            io.stop()
            timer.close()

    def learn_delay(self, stamp_ns: int) -> None:
        self._watch.learn_delay(stamp_ns)

    def network(self) -> Network | None:
        if not sys.platform.startswith("linux"):
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
        return Network(rtt_us * 1_000, min_rtt_us * 1_000, retransmits)

    def close(self) -> None:
        for watcher in self._io.values():
            watcher.close()
        self._sock.close()


class TlsStream:
    """TLS over a TCP stream. One read of the socket is fed and drained before the next, so its stamp stays true."""

    def __init__(self, tcp: TcpStream, context: ssl.SSLContext, host: str) -> None:
        self._tcp = tcp
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._record = RecordCounter()
        self._end: Read | None = None

    def handshake(self, until_ns: int) -> None:
        """Raises ssl.SSLError, or ConnectError when it takes too long or the peer goes away."""
        while True:
            try:
                self._tls.do_handshake()
                self._flush()
                return
            except ssl.SSLWantReadError:
                self._flush()
                read = self._tcp.read(until_ns)
                if read is None:
                    raise ConnectError("timeout:tls", "the TLS handshake took too long") from None
                self._feed(read.data)

    def read(self, until_ns: int) -> Read | None:
        while self._end is None:
            read = self._tcp.read(until_ns)
            if read is None:
                return None
            self._feed(read.data)
            data, ended = self._decrypted()
            if ended:
                self._end = read._replace(data=b"")
            if data or ended or not read.data:
                return read._replace(data=data, complete=read.complete and self._record.whole)
        return self._end

    def _feed(self, data: bytes) -> None:
        if data:
            self._record.feed(data)
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def _decrypted(self) -> tuple[bytes, bool]:
        """All that can be read now, and whether the peer has ended the stream."""
        parts = []
        try:
            while part := self._tls.read(READ_BYTES):
                parts.append(part)
            return b"".join(parts), True
        except ssl.SSLWantReadError:
            self._flush()  # a key update wants an answer
            return b"".join(parts), False
        except ssl.SSLError:  # cut without a close_notify
            return b"".join(parts), True

    def write(self, data: bytes) -> Handed:
        self._tls.write(data)
        return self._flush()

    def learn_delay(self, stamp_ns: int) -> None:
        self._tcp.learn_delay(stamp_ns)

    def network(self) -> Network | None:
        return self._tcp.network()

    def _flush(self) -> Handed:
        data = self._outgoing.read()
        return self._tcp.write(data) if data else Handed(monotonic_ns())

    def close(self) -> None:
        self._tcp.close()


class RecordCounter:
    """Knows whether the bytes fed so far end where a TLS record ends (RFC 8446 §5.1: 5 bytes of header, its length)."""

    def __init__(self) -> None:
        self._header = b""
        self._missing = 0

    @property
    def whole(self) -> bool:
        return not self._missing and not self._header

    def feed(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            if self._missing:
                step = min(self._missing, len(data) - at)
                self._missing -= step
            else:
                step = min(TLS_RECORD_HEADER - len(self._header), len(data) - at)
                self._header += data[at : at + step]
                if len(self._header) == TLS_RECORD_HEADER:
                    self._missing, self._header = int.from_bytes(self._header[3:5]), b""
            at += step


def warm_up() -> None:
    """Pay now for what would else be the first connection's: the resolver's thread."""
    gevent.socket.getaddrinfo("localhost", 0)


def connect(host: str, port: int, context: ssl.SSLContext | None, limits: Limits, phases: Phases) -> Stream:
    """Look up, connect, shake hands. Raises ConnectError with the outcome: `refused:dns|tcp|tls`, `timeout:<stage>`."""
    watch = LoopWatch.of_hub()
    addresses = _look_up(host, port, limits)
    phases.mark("dns_done")
    tcp = TcpStream(_connect_first(addresses, host, limits), watch)
    phases.mark("tcp_done")
    if context is None:
        return tcp
    try:
        tls = _shake_hands(tcp, context, host, limits)
    except BaseException:
        tcp.close()
        raise
    phases.mark("tls_done")
    return tls


def _look_up(host: str, port: int, limits: Limits) -> list[Any]:
    try:
        with gevent.Timeout(limits.tcp, ConnectError("timeout:dns", f"looking up {host} took over {limits.tcp:g} s")):
            addresses: list[Any] = gevent.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            return addresses
    except (OSError, UnicodeError) as error:
        raise ConnectError("refused:dns", f"{host}: {getattr(error, 'strerror', None) or error}") from None


def _connect_first(addresses: list[Any], host: str, limits: Limits) -> Any:
    """The first address that answers, within one limit for all of them."""
    until_ns = monotonic_ns() + int(limits.tcp * 1e9)
    problem = ConnectError("refused:dns", f"{host} has no address")
    for family, kind, proto, _, address in addresses:
        sock = None
        try:
            sock = gevent.socket.socket(family, kind, proto)
            sock.settimeout(max(0.001, (until_ns - monotonic_ns()) / 1e9))
            sock.connect(address)
            return sock
        except gevent.GreenletExit:
            if sock is not None:
                sock.close()
            raise
        except TimeoutError:
            problem = ConnectError("timeout:tcp", f"{address[0]}:{address[1]} did not answer within {limits.tcp:g} s")
        except OSError as error:
            problem = ConnectError("refused:tcp", f"{address[0]}:{address[1]}: {error.strerror or error}")
        if sock is not None:
            sock.close()
    raise problem


def _shake_hands(tcp: TcpStream, context: ssl.SSLContext, host: str, limits: Limits) -> TlsStream:
    tls = TlsStream(tcp, context, host)
    try:
        tls.handshake(monotonic_ns() + int(limits.tls * 1e9))
    except ssl.SSLCertVerificationError as error:
        message = f"{host}: {error.verify_message}; name its certificate authority with --ca FILE"
        raise ConnectError("refused:tls", message) from None
    except (ssl.SSLError, OSError) as error:
        raise ConnectError("refused:tls", f"{host}: {error.strerror or error}") from None
    return tls


def tls_context(ca: str | None) -> ssl.SSLContext:
    """The system's trust store, and one more certificate authority where `ca` names its file."""
    context = ssl.create_default_context()
    if ca is not None:
        context.load_verify_locations(ca)
    return context
