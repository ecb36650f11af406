"""Stands in for `_delta_reader.pyx` where that was not compiled: no form is learned, so no delta is taken."""

from __future__ import annotations

from bench.protocol.events import Event
from bench.transport.delta import DeltaArrival


class DeltaTaker:
    """Takes no deltas."""

    count = size = 0
    due = False

    def learn(self, event: Event, head: bytes, middle: bytes, tail: bytes, base64: bool) -> None:
        pass

    def forget(self) -> None:
        pass

    def take(self, data: bytes, at_ns: int, empty_ns: int, complete: bool) -> bool:
        return False

    def receive(self, fd: int) -> int | None:
        raise NotImplementedError

    def take_received(self, at_ns: int, empty_ns: int, complete: bool) -> bool:
        return False

    def received(self) -> bytes:
        return b""

    def hand_out(self) -> list[DeltaArrival]:
        return []
