import ssl
from typing import Any

from bench.transport.loop_monitor import LoopMonitor
from bench.transport.parser import SocketRead
from bench.wire.connection import MatchedDelta, ReceivedMessage
from bench.wire.events import ServerEvent

def leading_messages(read: SocketRead) -> tuple[list[ReceivedMessage], int]: ...

class Sieve:
    due: bool
    wakes: bool
    def consume(self, read: SocketRead) -> SocketRead | None: ...
    def pass_on_consumed(self) -> None: ...

class TemplateMatcher(Sieve):
    count: int
    ready: bool
    keeps_texts: bool
    consumes_messages: bool
    consumed: list[ReceivedMessage]
    def __init__(self) -> None: ...
    def add(
        self,
        event: ServerEvent,
        head: bytes,
        middle: bytes,
        tail: bytes,
        base64: bool,
        binary: bool,
        is_sound: bool,
        keeps_text: bool,
    ) -> None: ...
    def forget(self) -> None: ...
    def match(self, data: bytes, at_ns: int, empty_ns: int, complete: bool) -> bool: ...
    def pop_deltas(self) -> list[MatchedDelta]: ...
    def pop_messages(self) -> list[ReceivedMessage]: ...

class Decrypter(Sieve):
    matcher: Sieve
    heard: bool
    ended: bool
    error: ssl.SSLError | None
    def __init__(
        self, tls: ssl.SSLObject, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO
    ) -> None: ...
    def shake_hands(self, data: bytes) -> None: ...
    def end(self) -> SocketRead: ...

class SocketReader:
    stamped_ns: int
    drained_ns: int
    drained: bool
    failure: int
    def __init__(self, sock: Any, watch: LoopMonitor, asked_ns: int) -> None: ...
    def read(self, polled_ns: int, polls: int | None, sieve: Sieve | None) -> SocketRead | None: ...
    def close(self) -> None: ...
