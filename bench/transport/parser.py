"""Parses what is no whole text frame: the answer to the upgrade, and by websockets' protocol object all frames. Pure.

A refusal has said all that counts once its head is there: status, how long to wait, ids. Its body is often cut, or has
an end that never comes, so it is read here for what there is of it (HTTP/1.1: RFC 9112).

Frames are fragments, compressed messages, control frames, and whatever shares a read with them. They are counted beside
the protocol object, which does not say where in what it was fed a frame has ended.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from websockets.client import ClientProtocol
from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory, PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.typing import ExtensionParameter

from bench.clock import Arrival
from bench.errors import ConnectError
from bench.protocol.base import BinaryMessage
from bench.transport.received import ReceivedMessage, SocketRead
from bench.untrusted.safe_io import JsonError, read_json

HEAD_END = b"\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
SWITCHING, THROTTLED = 101, 429
QUOTED = 300
_LENGTH = re.compile(r"[0-9]{1,18}")
"""More than anybody waits for, in digits that `int` reads."""
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})(?: (.*))?")


class HttpResponse(NamedTuple):
    """An answer whose head is whole. Headers by lower-case name; `body`: what came behind them, as it came."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def chunked(self) -> bool:
        return "chunked" in self.headers.get("transfer-encoding", "").lower()

    @property
    def whole(self) -> bool:
        """Whether all of the body is known to be there; where nobody said how long it is, that shows at its end."""
        if self.chunked:
            return self.body.endswith(LAST_CHUNK)
        length = self.headers.get("content-length", "")
        return _LENGTH.fullmatch(length) is not None and len(self.body) >= int(length)


def read_answer(data: bytes) -> HttpResponse | None:
    """Read an answer; None while its head is not whole, and where that is no head of HTTP."""
    head, end, body = data.partition(HEAD_END)
    first, *lines = head.split(b"\r\n")
    status_line = _STATUS_LINE.fullmatch(first)
    if not end or status_line is None:
        return None
    status, reason = status_line.groups(b"")
    return HttpResponse(int(status), _text(reason), dict(_field(line) for line in lines), body)


def _field(line: bytes) -> tuple[str, str]:
    name, _, value = line.partition(b":")
    return _text(name).strip().lower(), _text(value).strip()


def _text(data: bytes) -> str:
    """Text that can be written down, whatever the bytes are."""
    return data.decode("utf-8", "replace")


def refusal(answer: HttpResponse) -> ConnectError:
    """Say why the service did not upgrade, in its own words."""
    body = unchunked(answer.body) if answer.chunked else answer.body
    words = service_words(body).removeprefix(f"{answer.status}: ")
    outcome = "throttled:handshake" if answer.status == THROTTLED else f"connect_failed:{answer.status}"
    return ConnectError(outcome, f"HTTP {answer.status}: {words or answer.reason[:QUOTED]}", answer.headers)


def unchunked(body: bytes) -> bytes:
    """Join what chunks hold (RFC 9112 §7.1), as far as they came; from what is no chunk on, the body as it is."""
    content = b""
    while body:
        line, _, rest = body.partition(b"\r\n")
        try:
            size = int(line.partition(b";")[0], 16)
        except ValueError:
            return content + body
        if size <= 0:
            break
        content, body = content + rest[:size], rest[size + 2 :]
    return content


def service_words(body: bytes) -> str:
    """The error code and message of a JSON body such as Azure's `{"error": {"code", "message"}}`; else its text."""
    text = " ".join(_text(body).split())
    try:
        parsed = read_json(body, numbers=False)
    except JsonError:
        return text[:QUOTED]
    error = parsed.get("error", parsed) if isinstance(parsed, Mapping) else None
    if not isinstance(error, Mapping):
        return text[:QUOTED]
    parts = [str(error[name]) for name in ("code", "message") if error.get(name)]
    return (": ".join(parts) or text)[:QUOTED].encode("utf-8", "replace").decode()


# Frames.


PART_BYTES = 4_096
"""Bytes of a read that are parsed at once: the smallest frames have two, and each is answered where it is a ping."""
OWN_WINDOW_BITS, OWN_MEMORY_LEVEL = 12, 5
"""What we compress with: 32 kB a connection for what we send, where zlib's own defaults take 256 kB."""
SHORT, LONGEST_OF_TWO_BYTES = 126, 0xFFFF


def frame_bytes(payload: int) -> int:
    """Bytes of an unmasked frame on the wire (RFC 6455 §5.2)."""
    return payload + (2 if payload < SHORT else 4 if payload <= LONGEST_OF_TWO_BYTES else 10)


class ProtocolParser:
    """Parses what a connection brings by its protocol object. `rest` lets others run, between two parts of a read."""

    def __init__(self, protocol: ClientProtocol, rest: Callable[[], None]) -> None:
        self._protocol, self._rest = protocol, rest
        self._head = b"" if protocol.state is State.CONNECTING else None
        self.answer: HttpResponse | None = None
        """The answer to the upgrade, once its head is whole."""
        self.deflate: MeasuredDeflate | None = None
        """What compresses messages, where both sides have agreed on that."""
        self._fed = self._framed = 0
        """Bytes of frames that came, and of those that were whole."""
        self._begun = bytearray()
        """The begin of a message in fragments; one object, however many they are."""
        self._binary = False
        """Whether that is a binary message."""
        self._message_bytes = 0
        """Bytes of its frames so far."""

    @property
    def plain(self) -> bool:
        """Whether what comes is a new frame of a new message, which is as it was sent."""
        whole = self._fed == self._framed and not self._message_bytes  # else the protocol object holds the beginning
        return whole and self._head is None and self.deflate is None

    def expect_frames(self) -> None:
        """Look for no answer any more: it came, or will not."""
        self.answer = self._head = None

    def parse(self, read: SocketRead, begun: bytes = b"") -> list[ReceivedMessage]:
        """The messages that a read completes. `begun`: what came before of a frame in whose midst the peer has gone."""
        if begun:
            self._fed += len(begun)
            self._protocol.receive_data(begun)
        self._fed += len(read.data)
        came: list[ReceivedMessage] = []
        ends_message = False
        for event in self._events(read.data):
            if isinstance(event, Frame):
                message = self._message_ended_by(event, read)
                ends_message = message is not None
                came += [] if message is None else [message]
            elif isinstance(event, Response):
                event.headers.clear()  # the parser keeps them until the connection ends, and `handshake` has them
                agreed = (one for one in self._protocol.extensions if isinstance(one, MeasuredDeflate))
                self.deflate = next(agreed, None)
        if self._head is not None:  # bytes of frames are counted from the end of the answer's head on
            self._head += read.data
            self.answer = read_answer(self._head)
            self._fed = 0 if self.answer is None else len(self.answer.body)
        if ends_message and read.complete and self._framed == self._fed:  # the stamp is its last segment's, so exact
            came[-1] = came[-1]._replace(arrival=came[-1].arrival._replace(error_ns=0))
        return came

    def _events(self, data: bytes) -> Iterator[object]:
        """Yield what the protocol object makes of the data; no data means that the peer has closed."""
        if not data:
            self._protocol.receive_eof()
            yield from self._protocol.events_received()
        for at in range(0, len(data), PART_BYTES):
            if at:
                self._rest()  # a read of tiny frames takes long, while the stamps of others grow inexact
            self._protocol.receive_data(data[at : at + PART_BYTES])
            yield from self._protocol.events_received()

    def _message_ended_by(self, frame: Frame, read: SocketRead) -> ReceivedMessage | None:
        """Take a frame; the message that it ends, None where it ends none."""
        deflate = self.deflate
        wire_bytes = frame_bytes(len(frame.data) if deflate is None else deflate.came.popleft())
        self._framed += wire_bytes
        if frame.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            return None
        self._message_bytes += wire_bytes
        if frame.opcode is not Opcode.CONT:
            self._binary = frame.opcode is Opcode.BINARY
        if frame.opcode is Opcode.CONT or not frame.fin:
            self._begun += frame.data
        if not frame.fin:
            return None
        made = BinaryMessage if self._binary else bytes
        data = made(self._begun if frame.opcode is Opcode.CONT else frame.data)
        arrival = Arrival(read.stamp_ns, read.stamp_ns - read.empty_ns, read.kernel)
        message = ReceivedMessage(data, arrival, self._message_bytes)
        self._message_bytes = 0
        if self._begun:
            self._begun = bytearray()  # a new one: clearing keeps the room that the largest message took
        return message

    def close(self) -> None:
        """Let go of what is held: a part of a message may be large, and whoever knows the connection may live on."""
        self._begun = bytearray()
        self._protocol.reader.discard()
        self._protocol.parser.close()


class MeasuredDeflate(Extension):
    """The extension of one connection. `came`: payload bytes of the frames that came, as they were on the wire."""

    def __init__(self, deflate: PerMessageDeflate) -> None:
        self.name = deflate.name
        self.came: deque[int] = deque()
        self._deflate = deflate
        self.encode = deflate.encode  # type: ignore[method-assign]

    def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
        """The frame, decompressed where it was compressed; control frames never are."""
        self.came.append(len(frame.data))
        return self._deflate.decode(frame, max_size=max_size)


class _Offer(ClientPerMessageDeflateFactory):
    def process_response_params(  # type: ignore[override]  # its caller wants an extension, whichever
        self, params: Sequence[ExtensionParameter], accepted_extensions: Sequence[Extension]
    ) -> MeasuredDeflate:
        return MeasuredDeflate(super().process_response_params(params, accepted_extensions))


def offered_deflate() -> ClientPerMessageDeflateFactory:
    """An offer to compress, for one connection. The service may decline."""
    return _Offer(client_max_window_bits=OWN_WINDOW_BITS, compress_settings={"memLevel": OWN_MEMORY_LEVEL})
