"""Received data with the facts about its arrival: a read, a message, and a matched delta."""

from __future__ import annotations

from typing import NamedTuple

from bench.base.clock import Arrival
from bench.wire.events import ServerEvent

READ_BYTES = 65_536
"""The maximum number of bytes of one read."""
RECORD_HEADER, RECORD_BYTES = 5, 16_384
"""The size of a TLS record's header, and the maximum size of its content, in bytes (RFC 8446 §5.1)."""


class SocketRead(NamedTuple):
    """The bytes of one read, with the facts about their arrival.

    `timestamp_ns` is the arrival of the last segment. `empty_ns` is the latest instant before `timestamp_ns` at which
    the socket was certainly empty. `is_complete` is True if the read emptied the socket, and its end is the end of a
    record of the sender. Empty data means that the peer has closed the connection, or that the connection broke.
    """

    data: bytes
    timestamp_ns: int
    empty_ns: int
    is_kernel: bool
    is_complete: bool


class ReceivedMessage(NamedTuple):
    """A message with its arrival. `wire_bytes` is the size of its frames with their headers.

    `data` is text, or a `BinaryMessage`.
    """

    data: bytes
    arrival: Arrival
    wire_bytes: int


class MatchedDelta(NamedTuple):
    """A delta that matched a template (`bench.transport.fast.reader`).

    `event` is the event of the template, without a payload. `lag_ns` is the time from the arrival of the delta to its
    match. `data` is the message of the delta, if texts are to be stored.
    """

    event: ServerEvent
    at_ns: int
    uncertainty_ns: int
    lag_ns: int
    payload_bytes: int
    wire_bytes: int
    data: bytes = b""
