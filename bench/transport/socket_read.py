"""A read of a socket, with the facts about the arrival of its bytes."""

from __future__ import annotations

from typing import NamedTuple

READ_BYTES = 65_536
"""The maximum number of bytes of one read."""
RECORD_HEADER = 5
RECORD_BYTES = 16_384
"""The size of a TLS record's header, and the maximum size of its content, in bytes (RFC 8446
§5.1)."""


class SocketRead(NamedTuple):
    """The bytes of one read, with the facts about their arrival.

    `timestamp_ns` is the arrival of the last segment. `empty_ns` is the latest instant before
    `timestamp_ns` at which the socket was certainly empty. `is_complete` is True if the read
    emptied the socket, and its end is the end of a record of the sender. Empty data means that the
    peer has closed the connection, or that the connection broke.
    """

    data: bytes
    timestamp_ns: int
    empty_ns: int
    is_kernel: bool
    is_complete: bool
