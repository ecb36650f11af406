"""What the connections of messages over a byte stream share: the end of the connection, the loss of
it while something is sent, and the goodbye.

A connection ends once. Its end follows all messages that arrived before.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping

from bench.base.clock import monotonic_ns
from bench.transport.interface import ABNORMAL
from bench.transport.parser import SocketRead
from bench.transport.tcp import ByteStream
from bench.wire.connection import CloseCause, Connected, ConnectionClosed, ReceivedMessage

CAUSES: Mapping[int, CloseCause] = {
    errno.ECONNRESET: "reset",
    errno.ETIMEDOUT: "timed_out",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "unreachable",
}
"""The cause of an end that the protocol does not announce, by the error number."""
GOODBYE_NS = 1_000_000_000
"""The maximum duration of closing a connection. In this time, data that was half sent must be
completed, our goodbye sent, and the peer's answer received."""
PING_AFTER_NS = 20_000_000_000
"""The silence of a connection after which the client sends a ping: devices on the way end idle
connections.

The clients of the services use the same interval (`ping_interval` of websockets).
"""
HANDFUL = 64
"""The maximum number of messages that are passed on at once. After them, the listener can act."""


class MessageConnection:
    """A connection of messages over a byte stream."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self.transmitted = stream.transmitted
        self.network = stream.network
        self.handshake = Connected({}, {})
        self._end: ConnectionClosed | None = None
        self._came: list[ReceivedMessage] = []
        self._is_broken = False
        self._pinged_ns = 0

    @property
    def closed(self) -> ConnectionClosed | None:
        return None if self._came else self._end  # the end follows all earlier messages

    def now_ns(self) -> int:
        return monotonic_ns()

    handled_ns = now_ns

    @property
    def watermark_ns(self) -> int:
        if not self._came:
            return self._stream.watermark_ns
        at_ns, error_ns, _ = self._came[0].arrival
        # a deadline at the arrival of a buffered message has not passed
        return at_ns - error_ns - 1

    @property
    def _ping_ns(self) -> int:
        """The instant at which a ping is due if no byte passes before."""
        return max(self._stream.active_ns, self._pinged_ns) + PING_AFTER_NS

    def close(self) -> None:
        try:
            if self._end is None:
                until_ns = monotonic_ns() + GOODBYE_NS
                self._say_goodbye(until_ns)
                while self._end is None and (read := self._stream.read(until_ns)) is not None:
                    self._on_read(read)
        except OSError:  # the peer has already closed
            pass
        finally:
            self.abort()

    def abort(self) -> None:
        self._came = []
        self._drop()
        self._set_end(ABNORMAL, "closed by this tool", monotonic_ns(), ours=True)
        self._stream.close()

    def _on_read(self, read: SocketRead) -> None:
        """Buffer the messages that a read completes, and set the end if it contains it."""
        raise NotImplementedError

    def _say_goodbye(self, until_ns: int) -> None:
        """Send the last message of the protocol."""
        raise NotImplementedError

    def _drop(self) -> None:
        """Drop what was received or queued in part."""
        raise NotImplementedError

    def _on_connection_lost(self, error: OSError) -> None:
        """Handle a failed write: write no more data, read the data that had already arrived,
        then set the end.
        """
        self._is_broken = True
        until_ns = monotonic_ns()
        is_named = error.errno or isinstance(error, TimeoutError)
        reason = f": {error.strerror or error}" if is_named else ""
        while self._end is None:
            read = self._stream.read(until_ns)
            if read is None or not read.data:
                broken = f"the connection broke while sending{reason}"
                self._set_end(ABNORMAL, broken, monotonic_ns())
            else:
                self._on_read(read)

    def _set_end(
        self, code: int, reason: str, at_ns: int, error_ns: int = 0, *, ours: bool = False
    ) -> None:
        """Record the end of the connection, once. If the protocol did not announce it, the cause
        is the kernel's error.
        """
        if self._end is None:
            cause = CAUSES.get(self._stream.failure, "") if code == ABNORMAL else ""
            self._end = ConnectionClosed(code, at_ns, reason, ours, cause, error_ns)
