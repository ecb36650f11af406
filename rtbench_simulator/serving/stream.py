"""A non-blocking TCP connection, with or without TLS, on an asyncio loop.

Received bytes have timestamps, and bytes to send are written at once. The connection is not an
asyncio transport, because transports hide two instants: the kernel's receive timestamp, and the
time when a write reaches the kernel. For the same reason, TLS runs in memory (ssl.MemoryBIO): an
SSLSocket has no `recvmsg`.
"""

# `recvmsg` gives the kernel's timestamp of the last segment of a read. A read that is smaller than
# its buffer has emptied the socket, so all bytes of the next one arrived after it began
# (`_emptied_ns`): this is the span of an arrival.
#
# A write goes to the kernel at once. Only what the kernel does not take waits in `_backlog`, and
# leaves when the socket is writable; then the instant of the end of the write is unknown (`False`).
#
# A fault must look on the wire as the real failure does: a reset is a RST and not a FIN, which
# needs SO_LINGER with a timeout of 0; a TLS alert is sent in the clear, before any handshake.

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Callable

from bench.base.clock import ANCILLARY_BYTES, arrival_ns, monotonic_ns
from rtbench_simulator.server_events import ArrivalSpan

READ_BYTES = 65_536
MAX_BACKLOG = 64 << 20
"""The maximum number of bytes that wait for a peer that does not read: minutes of audio. If more
bytes wait, the connection is ended."""
LINGER_S = 5.0  # longest wait for the peer's close after ours

TLS_HANDSHAKE_FAILURE = b"\x15\x03\x03\x00\x02\x02\x28"
"""The unencrypted fatal alert `handshake_failure` of TLS (RFC 8446 §6)."""
RESET = struct.pack("ii", 1, 0)
"""The value of SO_LINGER with a timeout of 0, with which closing the socket resets the
connection."""


class ServerStream:
    """The owner of a socket. It calls `on_data` for received bytes, and `on_end` once, when the
    socket is closed.

    `on_data` also receives an ArrivalSpan. The last byte arrived at its `at_ns`, and the other
    bytes between its `since_ns` and its `at_ns`.

    `on_hello` is called when the first bytes of a TLS connection have arrived, before they are
    read.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        tls: ssl.SSLContext | None,
        on_data: Callable[[bytes, ArrivalSpan], None],
        on_end: Callable[[], None],
        on_hello: Callable[[], None] | None = None,
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._on_data = on_data
        self._on_end = on_end
        self.max_backlog = MAX_BACKLOG
        self._tls = _Tls(tls) if tls else None
        self._on_hello = on_hello if tls else None
        self._paused = self._ignores_input = False
        self._backlog = bytearray()
        self._finishing = False
        self._shut = False
        self._linger: asyncio.TimerHandle | None = None
        self._open = True
        self._emptied_ns = 0  # all bytes that arrived before it were read
        loop.add_reader(sock, self._readable)

    def write(self, data: bytes) -> bool:
        """Pass `data` to the kernel. Return True if the kernel took all of it at once.

        If the kernel took only a part, the rest follows when the kernel has room.
        """
        if not self._open or self._finishing:
            return False
        return self._send(self._tls.encrypted(data) if self._tls else data)

    def finish(self) -> None:
        """Close the connection when all data is sent and the peer has closed, but at the latest
        after LINGER_S.
        """
        if not self._open or self._finishing:
            return
        self._finishing = True
        self._linger = self._loop.call_later(LINGER_S, self.end)
        if self._tls:
            self._send(self._tls.goodbye())
        self._shut_when_sent()

    def pause(self) -> None:
        """Read nothing until `resume`."""
        if self._open and not self._paused:
            self._paused = True
            self._loop.remove_reader(self._sock)

    def resume(self) -> None:
        if self._open and self._paused:
            self._paused = False
            self._loop.add_reader(self._sock, self._readable)

    def ignore_input(self) -> None:
        """Ignore all further input, except the end of the input."""
        self._ignores_input = True

    def reset(self) -> None:
        """Reset the TCP connection when the current callback of the loop has ended."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.ignore_input()
        self._loop.call_soon(self.end)

    def fail_tls(self) -> None:
        self.ignore_input()
        self._tls = None
        self.write(TLS_HANDSHAKE_FAILURE)
        self.finish()

    def end(self) -> None:
        if not self._open:
            return
        self._open = False
        if self._linger:
            self._linger.cancel()
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        self._sock.close()
        self._on_end()

    def _readable(self) -> None:
        if self._on_hello is not None:
            on_hello = self._on_hello
            self._on_hello = None
            on_hello()
            if self._paused:
                return
        read_start_ns = monotonic_ns()
        try:
            data, ancillary, _, _ = self._sock.recvmsg(READ_BYTES, ANCILLARY_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
            ancillary = []
        if not data:
            self.end()
            return
        if self._ignores_input:
            return
        timestamp_ns = arrival_ns(ancillary)
        at_ns = monotonic_ns() if timestamp_ns is None else timestamp_ns
        arrival = ArrivalSpan(at_ns, self._emptied_ns, timestamp_ns is not None)
        if len(data) < READ_BYTES:
            self._emptied_ns = read_start_ns
        plain = self._decrypted(data) if self._tls else data
        if plain:
            self._on_data(plain, arrival)

    def _decrypted(self, data: bytes) -> bytes:
        assert self._tls is not None
        try:
            return self._tls.decrypted(data)
        except ssl.SSLError:  # not TLS, or the peer does not trust our authority
            self._loop.call_soon(self.end)
            return b""
        finally:
            self._send(self._tls.pending())

    def _send(self, data: bytes) -> bool:
        if self._backlog:
            self._backlog += data
            if len(self._backlog) > self.max_backlog:
                self._loop.call_soon(self.end)  # not at once: the caller has not finished
            return False
        sent = self._on_sent(data) if data else 0
        if sent < len(data):
            self._backlog += data[sent:]
            self._loop.add_writer(self._sock, self._writable)
        return not self._backlog

    def _on_sent(self, data: bytes | bytearray) -> int:
        """Pass `data` to the kernel. Return the number of bytes that the kernel took."""
        try:
            return self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            self._loop.call_soon(self.end)  # not at once: the caller has not finished
            return 0

    def _writable(self) -> None:
        del self._backlog[: self._on_sent(self._backlog)]
        if not self._backlog:
            self._loop.remove_writer(self._sock)
            self._shut_when_sent()

    def _shut_when_sent(self) -> None:
        """Half-close the socket when all data is sent.

        A full close would reset the connection if the peer has not read everything.
        """
        if not self._finishing or self._backlog or self._shut:
            return
        self._shut = True
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._loop.call_soon(self.end)


class _Tls:
    """The server end of a TLS connection, in memory."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._ready = False

    def encrypted(self, data: bytes) -> bytes:
        self._object.write(data)
        return self._outgoing.read()

    def decrypted(self, data: bytes) -> bytes:
        """Return the plaintext that `data` completes; it may be empty. Raise ssl.SSLError."""
        self._incoming.write(data)
        plain = bytearray()
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            if not self._ready:
                self._object.do_handshake()
                self._ready = True
            while piece := self._object.read(READ_BYTES):
                plain += piece
        return bytes(plain)

    def pending(self) -> bytes:
        """Return the handshake records and alerts to send."""
        return self._outgoing.read()

    def goodbye(self) -> bytes:
        """Return the close_notify alert. This end does not wait for the peer's alert."""
        if self._ready:
            with contextlib.suppress(ssl.SSLError):
                self._object.unwrap()
        return self._outgoing.read()
