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
    ) -> None: ...
    def take(
        self,
        datagrams: Sequence[Datagram],
        start_ns: int,
        now_ns: int,
        due_ns: int,
        frames: list[tuple[Frame | ReceivedMessage, int]],
        deltas: list[MatchedDelta],
        event: ServerEvent | None,
    ) -> int: ...

class AudioPackets:
    def __init__(self, sender: RtpSender) -> None: ...
    def use(self, protect: Callable[[bytes], bytes] | None) -> None: ...
    def next(self, audio: bytes) -> bytes: ...

def send_frame(
    packets: AudioPackets,
    write: Callable[[bytes, SocketAddress], SendTime | int],
    refused: Callable[[bytes, SocketAddress], SendReceipt],
    peer: SocketAddress,
    audio: bytes,
) -> SendReceipt: ...
