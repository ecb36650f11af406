"""Defines what is known of what came: of a read, of a text message, and of a delta that was matched."""

from __future__ import annotations

from typing import NamedTuple

from bench.clock import Arrival
from bench.protocol.events import ServerEvent

READ_BYTES = 65_536
"""The most that one read brings."""
RECORD_HEADER, RECORD_BYTES = 5, 16_384
"""Bytes of a TLS record: its header, and the most that it holds (RFC 8446 §5.1)."""


class SocketRead(NamedTuple):
    """The bytes that one read brought, and what is known of their arrival.

    `stamp_ns` is the arrival of its last segment, `empty_ns` the latest instant at which the socket is known to have
    been empty before, `complete` says that it ended where the sender's record ended and emptied the socket. No data:
    the peer has closed, or the connection broke.
    """

    data: bytes
    stamp_ns: int
    empty_ns: int
    kernel: bool
    complete: bool


class ReceivedMessage(NamedTuple):
    """A message, its arrival, and the bytes of its frames with their headers. `data`: text, or a `BinaryMessage`."""

    data: bytes
    arrival: Arrival
    wire_bytes: int


class MatchedDelta(NamedTuple):
    """A delta that was matched (`bench.transport.fast.reader`). `event` is one like it, without its payload.

    `lag_ns`: how long after its arrival it was matched. `data`: its message, where that is kept.
    """

    event: ServerEvent
    at_ns: int
    error_ns: int
    lag_ns: int
    payload_bytes: int
    wire_bytes: int
    data: bytes = b""
