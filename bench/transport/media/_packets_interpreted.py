"""The Python implementation of `_packets.pyx`: no packet is a usual one, so `CallMedia.received` accepts each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bench.transport.datagrams import Datagram
from bench.transport.media.jitter import Frame, JitterBuffer
from bench.transport.media.rtp import RtpReceiver
from bench.wire.connection import MatchedDelta, ReceivedMessage
from bench.wire.events import ServerEvent


class UsualPackets:
    def __init__(self, receiver: RtpReceiver, buffer: JitterBuffer) -> None: ...

    def use(self, peer: object, unprotect: Callable[[bytes], bytes | None] | None, overhead_bytes: int) -> None:
        """Do nothing: `CallMedia` has the agreement."""

    def take(
        self,
        datagrams: Sequence[Datagram],
        start_ns: int,
        now_ns: int,
        due_ns: int,
        frames: list[tuple[Frame | ReceivedMessage, int]],
        deltas: list[MatchedDelta],
        event: ServerEvent | None,
    ) -> int:
        return 0
