"""Defines what is known of a delta that was taken by its form (`bench.transport.delta_reader`)."""

from __future__ import annotations

from typing import NamedTuple

from bench.protocol.events import Event


class DeltaArrival(NamedTuple):
    """`event` is one like it, without its payload. `lag_ns`: how long after its arrival it was taken."""

    event: Event
    at_ns: int
    error_ns: int
    lag_ns: int
    payload_bytes: int
    wire_bytes: int
