"""The Python implementation of `_packets.pyx`.

No received packet is a usual one, so `CallMedia.received` accepts each. The docstrings of
`_packets.pyx` have the details.
"""

from collections.abc import Callable, Sequence

from bench.base.clock import SendTime
from bench.protocols.rtp.jitter import Frame, JitterBuffer
from bench.protocols.rtp.rtp import RtpReceiver, RtpSender
from bench.wire.connection import (
    Datagram,
    MatchedDelta,
    ReceivedMessage,
    SendReceipt,
    SocketAddress,
)
from bench.wire.events import ServerEvent


class UsualPackets:
    def __init__(self, receiver: RtpReceiver, buffer: JitterBuffer) -> None: ...

    def use(
        self, peer: object, unprotect: Callable[[bytes], bytes | None] | None, overhead_bytes: int
    ) -> None:
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


class AudioPackets:
    def __init__(self, sender: RtpSender) -> None:
        self._sender = sender
        self._protect: Callable[[bytes], bytes] | None = None

    def use(self, protect: Callable[[bytes], bytes] | None) -> None:
        self._protect = protect

    def next(self, audio: bytes) -> bytes:
        encode = self._sender.codec.encode
        packet = self._sender.audio(audio if encode is None else encode(audio))
        return packet if self._protect is None else self._protect(packet)


def send_frame(
    packets: AudioPackets,
    write: Callable[[bytes, SocketAddress], SendTime | int],
    refused: Callable[[bytes, SocketAddress], SendReceipt],
    peer: SocketAddress,
    audio: bytes,
) -> SendReceipt:
    packet = packets.next(audio)
    sent = write(packet, peer)
    return SendReceipt(sent, len(packet)) if isinstance(sent, SendTime) else refused(packet, peer)
