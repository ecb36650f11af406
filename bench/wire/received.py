"""Received messages with the facts about their arrival: a message, and a matched delta."""

from __future__ import annotations

from typing import NamedTuple

from bench.base.clock import Arrival
from bench.wire.events import ServerEvent


class ReceivedMessage(NamedTuple):
    """A text or `BinaryMessage` with its arrival. `wire_bytes` is the size of its frames with their headers."""

    data: bytes
    arrival: Arrival
    wire_bytes: int


class MatchedDelta(NamedTuple):
    """A delta that matched a template, with the template's event (`bench.transport.fast.reader`).

    `lag_ns` is the time from its arrival to its match. `data` is its message, if texts are to be stored.
    """

    event: ServerEvent
    at_ns: int
    uncertainty_ns: int
    lag_ns: int
    payload_bytes: int
    wire_bytes: int
    data: bytes = b""
