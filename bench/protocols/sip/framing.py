"""The messages in the byte stream of a TCP or TLS connection (RFC 3261 §18.3), and keep-alive
(RFC 5626). Pure.
"""

# A stream has no borders, so Content-Length is mandatory there (RFC 3261 §18.3), exactly once: with
# two values, this side and a proxy could find different messages in the same bytes. After an error,
# no resynchronization is tried.
#
# `_scanned` bytes were searched for the end of the headers before. Without it, a peer that sends
# its headers byte by byte would cost quadratic time.

from bench.protocols.sip.messages import MAX_MESSAGE_BYTES, content_length

PING = b"\r\n\r\n"
PONG = b"\r\n"
_END = b"\r\n\r\n"


class StreamFramer:
    """Divides a byte stream into messages.

    `broken` states why no more messages can be found. The connection must then be closed, because
    the start of the next message is unknown.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._line_ends = 0
        self._scanned = 0
        self._pings = 0
        self.broken = ""

    def pop_pongs(self) -> bytes:
        """Return a PONG for each PING that was received since the last call."""
        pongs = PONG * self._pings
        self._pings = 0
        return pongs

    @property
    def is_empty(self) -> bool:
        """Whether no part of a message waits for the rest of it."""
        return not self._buffer

    def received(self, data: bytes) -> list[bytes]:
        """Return the messages that are now complete."""
        if self.broken:
            return []
        self._buffer += data
        messages = []
        while (message := self._next()) is not None:
            messages.append(message)
        return messages

    def _next(self) -> bytes | None:
        self._skip_line_ends()
        end = self._buffer.find(_END, max(self._scanned - len(_END), 0))
        if end < 0:
            self._scanned = len(self._buffer)
            if len(self._buffer) > MAX_MESSAGE_BYTES:
                self._break("the headers are too long")
            return None
        head = bytes(self._buffer[:end])
        try:
            length = _length(head)
        except ValueError as error:
            self._break(str(error))
            return None
        total = end + len(_END) + length
        if total > MAX_MESSAGE_BYTES:
            self._break("the message is too long")
            return None
        if len(self._buffer) < total:
            return None
        message = bytes(self._buffer[:total])
        del self._buffer[:total]
        self._scanned = 0
        return message

    def _break(self, reason: str) -> None:
        self.broken = reason
        self._buffer.clear()

    def _skip_line_ends(self) -> None:
        """Skip CRLF between messages. Two of them are a keep-alive."""
        while self._buffer.startswith(PONG):
            del self._buffer[: len(PONG)]
            self._scanned = 0
            self._line_ends += 1
            # RFC 5626 §3.5.1: a double CRLF is a ping, and a single CRLF the pong. A lone CRLF
            # between messages is neither (RFC 3261 §7.5).
            if self._line_ends == 2:
                self._pings += 1
                self._line_ends = 0
        if bytes(self._buffer[:2]) not in (b"", b"\r"):
            self._line_ends = 0


def _length(head: bytes) -> int:
    found = []
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() in (b"content-length", b"l"):
            found.append(content_length(value.strip().decode("ascii", "replace")))
    if len(found) != 1 or found[0] is None:
        raise ValueError("a message has no single Content-Length")
    return found[0]
