"""Defines what is known of what came: of a text message, and of a delta that was taken by its form."""

from __future__ import annotations

from typing import NamedTuple

from bench.clock import Arrival
from bench.protocol.events import Event


class Received(NamedTuple):
    """One text message, when it arrived, and the bytes of its frames with their headers."""

    data: bytes
    arrival: Arrival
    wire_bytes: int


class DeltaArrival(NamedTuple):
    """A delta (`bench.transport.delta_reader`). `event` is one like it, without its payload.

    `lag_ns`: how long after its arrival it was taken.
    """

    event: Event
    at_ns: int
    error_ns: int
    lag_ns: int
    payload_bytes: int
    wire_bytes: int
