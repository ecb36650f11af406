"""A stream in memory, and the frames that it delivers."""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable

from websockets.frames import Close, Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from bench.base.clock import SendTime
from bench.base.units import NEVER_NS
from bench.catalogue.timeouts import Timeouts
from bench.transport.fast.reader import Sieve
from bench.transport.interface import ConnectTimings, PacedSender
from bench.transport.parser import SocketRead
from bench.transport.tcp import TakeRead
from bench.transport.websocket import WebSocket, client_protocol
from bench.wire.connection import NetworkMeasured, Transmitted

FAR_NS = 1 << 62
LIMIT = 1 << 20


EMPTY_NS, STAMP_NS = 1_000, 5_000


NETWORK = NetworkMeasured(rtt_ns=900_000, min_rtt_ns=700_000, retransmits=2)


def read(data: bytes, place: int = 0, *, complete: bool = True, kernel: bool = True) -> SocketRead:
    """Return the read number `place`.

    The socket was known to be empty 4 µs before the timestamp of the read.
    """
    at_ns = place * 100_000
    return SocketRead(data, at_ns + STAMP_NS, at_ns + EMPTY_NS, kernel, complete)


class FakeStream:
    """A `bench.transport.tcp.ByteStream` that returns the given reads, and then None.

    It accepts the upgrade, and then sends `tail`. If `answer` is given, it sends `answer` instead
    of the acceptance. If `ends`, the stream is closed after that.
    """

    def __init__(
        self, answer: bytes | None = None, *, tail: bytes = b"", ends: bool = False
    ) -> None:
        self.reads: deque[SocketRead] = deque()
        self.written = b""
        self.closed = 0
        self.broken = self.full = False
        self.rests = self.attempts = 0
        self.watermark_ns = self.failure = 0
        self.active_ns = FAR_NS
        self._answer, self._tail, self._ends = answer, tail, ends
        self.server = ServerProtocol()
        self.sieve = Sieve()

    @property
    def endpoints(self) -> tuple[tuple[str, int], tuple[str, int]]:
        return ("127.0.0.1", 1), ("127.0.0.1", 2)

    def read(self, until_ns: int) -> SocketRead | None:
        read = self.reads.popleft() if self.reads else None
        self.watermark_ns = until_ns if read is None else read.timestamp_ns - 1
        return read

    def fileno(self) -> int:
        raise AssertionError("no listener watches it")

    def try_read(self) -> SocketRead | None:
        return self.read(NEVER_NS)

    def try_flush(self) -> bool:
        return not self.broken

    def receive_until(
        self,
        until_ns: int,
        on_read: TakeRead,
        sender: PacedSender | None = None,
        *,
        polled: bool = False,
    ) -> bool:
        while (read := self.read(until_ns)) is not None:
            if on_read(read):
                return True
        return False

    def poll(self, polled: bool) -> None:
        return

    @property
    def error_text(self) -> str:
        return os.strerror(self.failure) if self.failure else ""

    def yield_to_loop(self) -> None:
        self.rests += 1

    def write(self, data: bytes, *, stamped: bool = False, until_ns: int = NEVER_NS) -> SendTime:
        if self.broken:
            self.attempts += 1
            raise BrokenPipeError(32, "Broken pipe")
        self.written += data
        if self.server.state is State.CONNECTING:
            self._upgrade(data)
        else:
            self.server.receive_data(data)
        return SendTime(77, 3)

    def try_write(self, data: bytes, *, stamped: bool = False) -> SendTime | None:
        return None if self.broken or self.full else self.write(data, stamped=stamped)

    def send_chunks(
        self,
        keep: Callable[[int, bytes, int], None],
        encrypt: Callable[[bytes], bytes] | None = None,
    ) -> None:
        return

    def keep_rest(self, data: bytes, error: int) -> None:
        return

    def flush(self) -> SendTime:
        return self.write(b"")

    def transmitted(self) -> list[Transmitted]:
        return []

    def _upgrade(self, request: bytes) -> None:
        self.server.receive_data(request)
        (asked,) = self.server.events_received()
        self.server.send_response(self.server.accept(asked))  # type: ignore[arg-type]
        accepted = b"".join(self.server.data_to_send()) + self._tail
        answer = accepted if self._answer is None else self._answer
        self.reads += [read(part) for part in [answer] if part] + [read(b"")] * self._ends

    def network(self) -> NetworkMeasured | None:
        return None if self.closed else NETWORK

    def close(self) -> None:
        self.closed += 1


def opened(
    stream: FakeStream | None = None, headers: Iterable[tuple[str, str]] = (), limit: int = LIMIT
) -> tuple[WebSocket, FakeStream]:
    stream = stream or FakeStream()
    socket = WebSocket(
        stream, client_protocol(parse_uri("ws://service.example/v1/realtime?model=m"), limit)
    )
    socket.upgrade(headers, Timeouts(), ConnectTimings({"connect_start": 1}))
    return socket, stream


def text(data: bytes, *, fin: bool = True, opcode: Opcode = Opcode.TEXT) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=False)


PING = Frame(Opcode.PING, b"are you there").serialize(mask=False)


def close_frame(code: int, reason: str = "") -> bytes:
    return Frame(Opcode.CLOSE, Close(code, reason).serialize()).serialize(mask=False)


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    edges = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [part for begin, end in itertools.pairwise(edges) if (part := data[begin:end])]


def answer(status: str, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
