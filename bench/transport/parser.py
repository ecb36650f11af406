"""The reads of a socket, and the parser of a WebSocket's data in them: the answer to the upgrade,
and the frames. Pure.

The head of a refusal contains everything that matters: status, retry delay, ids. Its body is often
truncated or has no end, so the part of the body that has arrived is used (HTTP/1.1: RFC 9112).

Complete text frames are nearly all traffic. They are read and written without a state machine.
websockets' protocol object parses fragments, compressed messages, control frames, and all other
frames in the same reads. It is slower, and implements all of RFC 6455. The bytes of frames are
counted separately, because the protocol object does not report the end of a frame.
"""

import html
import re
import struct
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit, urlunsplit

from websockets.client import ClientProtocol
from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    PerMessageDeflate,
)

# `apply_mask` masks in C if available.
from websockets.frames import Frame, Opcode, apply_mask  # type: ignore[attr-defined]
from websockets.http11 import Response
from websockets.protocol import State
from websockets.typing import ExtensionParameter

from bench.base.clock import Arrival
from bench.catalogue.causes import Cause, Code, ConnectError
from bench.catalogue.outcomes import PERMANENT, error_code, service_code
from bench.catalogue.refusals import HANDSHAKE, limit_outcome
from bench.files.safe_io import JsonError, read_json
from bench.files.sanitize import excerpt, masked_query
from bench.wire.connection import ReceivedMessage
from bench.wire.dialect import BinaryMessage

MAX_HEAD_BYTES = 65_536
"""The maximum size of the head of an answer, including the interim answers before it. Servers send
at most 8 to 16 kB.
"""
MAX_CHUNK_HEAD_BYTES = 4_096
SWITCHING = 101
THROTTLED = 429
SERVER_ERRORS = 500
REDIRECTS = frozenset({301, 302, 303, 307, 308})
"""The statuses whose Location is another address for the request (RFC 9110 §15.4)."""
WEBSOCKET_SCHEMES = {"http": "ws", "https": "wss"}
_SIGN_IN = re.compile(r"\b(?:log|sign)[-_]?(?:in|on)\b|\b(?:oauth2?|saml2?|sso)\b", re.IGNORECASE)
"""The names of sign-in pages, in the host or the path of an address."""
QUOTED = 300
_LENGTH = re.compile(r"[0-9]{1,18}")
"""The pattern of a content length: at most 18 digits, so that `int` can read it. The length may be
larger than any body that the client waits for."""
_STATUS_LINE = re.compile(rb"(HTTP/\d(?:\.\d)?)[ \t]+(\d{3})(?:[ \t]+(.*))?", re.IGNORECASE)
# RFC 9112 §2.2: the end of a line may be a single LF
_LINE_END = re.compile(rb"\r?\n")
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_FOLD = re.compile(rb"\r?\n[ \t]+")
_LISTS = frozenset({"www-authenticate", "proxy-authenticate", "link"})
"""The headers with challenges. A header may have several, and may be repeated (RFC 9110
§11.6.1)."""
_OF_UPGRADE = re.compile(rb"(?:connection|upgrade|sec-websocket-[a-z]+)[ \t]*:", re.IGNORECASE)
_MARKUP = re.compile(
    r"<!--.*?(?:-->|\Z)|<(script|style)\b.*?(?:</\1\s*>|\Z)|<[^<>]*>", re.IGNORECASE | re.DOTALL
)
"""What is not text in a page: comments, programs, styles and tags. The pattern needs linear
time."""
READ_BYTES = 65_536
"""The maximum number of bytes of one read."""


class SocketRead(NamedTuple):
    """The bytes of one read, with the facts about their arrival.

    `timestamp_ns` is the arrival of the last segment. `empty_ns` is the latest instant before
    `timestamp_ns` at which the socket was certainly empty. `is_complete` is True if the read
    emptied the socket, and its end is the end of a record of the sender. Empty data means that the
    peer has closed the connection, or that the connection broke.
    """

    data: bytes
    timestamp_ns: int
    empty_ns: int
    is_kernel: bool
    is_complete: bool


class HttpResponse(NamedTuple):
    """An HTTP answer with a complete head.

    The names of `headers` are in lower case. `body` is the part of the body that was received.
    """

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_chunked(self) -> bool:
        return "chunked" in self.headers.get("transfer-encoding", "").lower()

    @property
    def content(self) -> bytes:
        """The received part of the body, without the framing of chunks."""
        return unchunked(self.body) if self.is_chunked else self.body

    @property
    def is_complete(self) -> bool:
        """True if the body is known to be complete.

        If the answer has no length, only the end of the stream shows that.
        """
        if self.is_chunked:
            return complete_chunks(self.body)[1]
        length = self.length
        return length is not None and len(self.body) >= length

    @property
    def length(self) -> int | None:
        """The length of the body that the head states; None if it states none."""
        length = self.headers.get("content-length", "")
        return int(length) if not self.is_chunked and _LENGTH.fullmatch(length) else None


def read_response(data: bytes) -> HttpResponse | None:
    """Return an HTTP answer. Return None if its head is not complete yet, or if the data is not
    HTTP.

    Interim answers before it are skipped.
    """
    data = without_interim(data)
    end = _HEAD_END.search(data)
    lines = _LINE_END.split(_FOLD.sub(b" ", data[: end.start()])) if end else [b""]
    status_line = _STATUS_LINE.fullmatch(lines[0])
    if end is None or status_line is None:
        return None
    _, status, reason = status_line.groups(b"")
    return HttpResponse(int(status), _text(reason), _headers(lines[1:]), data[end.end() :])


def without_interim(data: bytes) -> bytes:
    """Return the data after complete interim answers, such as 100 and 103, but not 101 (RFC 9110
    §15.2).
    """
    while (end := _HEAD_END.search(data)) is not None:
        status_line = _STATUS_LINE.match(_LINE_END.split(data, maxsplit=1)[0])
        if (
            status_line is None
            or not (100 <= int(status_line[2]) < 200)
            or int(status_line[2]) == SWITCHING
        ):
            break
        data = data[end.end() :]
    return data


def may_be_response(data: bytes) -> bool:
    """Return whether data with an incomplete head may become an HTTP answer."""
    line, *more = _LINE_END.split(without_interim(data), maxsplit=1)
    return not more or _STATUS_LINE.fullmatch(line) is not None


def _headers(lines: Sequence[bytes]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(b":")
        key = _text(name).strip().lower()
        text = _text(value).strip()
        headers[key] = f"{headers[key]}, {text}" if key in _LISTS and key in headers else text
    return headers


def upgrade_head(head: bytes) -> bytes:
    """Return the head of an answer with only the headers of the upgrade, as websockets' protocol
    object accepts it.

    That object refuses a missing reason, long lines and many headers, which have no effect on the
    upgrade.
    """
    status_line, *lines = _LINE_END.split(_FOLD.sub(b" ", head))
    version, status = status_line.upper().split(maxsplit=2)[:2]
    return b"\r\n".join(
        [b"%s %s " % (version, status), *filter(_OF_UPGRADE.match, lines), b"", b""]
    )


def _text(data: bytes) -> str:
    """Decode UTF-8. Invalid bytes become replacement characters."""
    return data.decode("utf-8", "replace")


def refusal(response: HttpResponse) -> ConnectError:
    """Return the error for a refused upgrade, with the reason that the service gave."""
    message = service_message(response.content).removeprefix(f"{response.status}: ")
    outcome = f"connect_failed:{response.status}"
    # statuses below 500, and codes that are permanent, refuse the request itself
    if service_code(message) not in PERMANENT:
        is_limit = response.status == THROTTLED
        if is_limit or response.status >= SERVER_ERRORS:
            outcome = limit_outcome(message) or (HANDSHAKE if is_limit else outcome)
    return ConnectError(
        outcome, f"HTTP {response.status}: {message or response.reason[:QUOTED]}", response.headers
    )


def redirection(status: int | None, location: str, url: str) -> list[Cause]:
    """Return the address to which an answer redirects the request of `url`; no cause if it
    redirects to none. It has neither a user nor values of its query that may be secret.

    `location` is the header of the answer; "" if it has none.
    """
    if status not in REDIRECTS or not location:
        return []
    try:
        scheme, authority, path, query, _ = urlsplit(urljoin(url, location))
    except ValueError:
        return []
    code = Code.SIGN_IN_PAGE if _SIGN_IN.search(f"{authority}{path}") else Code.REDIRECTS
    if code is Code.REDIRECTS and url.startswith("ws"):
        scheme = WEBSOCKET_SCHEMES.get(scheme, scheme)
    address = urlunsplit((scheme, authority.rpartition("@")[2], path, query, ""))
    return [Cause(code, {"location": excerpt(masked_query(address), QUOTED)})]


def unchunked(body: bytes) -> bytes:
    """Join the received chunks of a body (RFC 9112 §7.1). If a chunk is invalid, add the rest of
    the body unchanged.
    """
    parts = list[bytes]()
    at = 0
    while at < len(body):
        start, size = _chunk_at(body, at)
        if size is None:
            return b"".join([*parts, body[at:]])
        if size <= 0:
            break
        parts.append(body[start : start + size])
        at = start + size + 2
    return b"".join(parts)


def complete_chunks(body: bytes | bytearray, at: int = 0) -> tuple[int, bool]:
    """Return (the end of the chunks that have arrived completely, whether the last one has).

    `at` is the end of the chunks that had arrived earlier.
    """
    while at < len(body):
        start, size = _chunk_at(body, at)
        if size is None:
            return at, False
        if size <= 0:
            return at, body.find(b"\r\n\r\n", start - 2) >= 0  # after the trailer, if there is one
        if len(body) < start + size + 2:
            return at, False
        at = start + size + 2
    return at, False


def _chunk_at(body: bytes | bytearray, at: int) -> tuple[int, int | None]:
    """Return (the start of the data of the chunk at a position, its size, or None if it has no
    head).
    """
    end = body.find(b"\r\n", at, at + MAX_CHUNK_HEAD_BYTES)
    line = bytes(body[at : end if end >= 0 else at + MAX_CHUNK_HEAD_BYTES])
    try:
        size = int(line.partition(b";")[0], 16)
    except ValueError:
        return at, None
    return (end + 2 if end >= 0 else len(body)), size


def service_message(body: bytes, longest: int = QUOTED) -> str:
    """Return the code and message of a JSON error, such as Azure's `{"error": {"code",
    "message"}}`.

    If the body is not such an error, return it as text, without the tags of a page. `longest` is
    the maximum length.
    """
    text = _text(body)
    if text.lstrip().startswith("<"):
        text = html.unescape(_MARKUP.sub(" ", text))
    text = " ".join(text.split())
    try:
        parsed = read_json(body, numbers=False)
    except JsonError:
        return text[:longest]
    error = parsed.get("error", parsed) if isinstance(parsed, Mapping) else None
    if not isinstance(error, Mapping):
        return text[:longest]
    code = error_code(str(error.get("code") or ""), str(error.get("type") or ""))
    parts = [str(part) for part in (code, error.get("message")) if part]
    return (": ".join(parts) or text)[:longest].encode("utf-8", "replace").decode()


# Frames.


# The fast way reads what nearly every frame is: FIN set, no extension bits, opcode 1 or 2, not
# masked (a server must not mask, RFC 6455 §5.1), and a length of at most 16 bits. Everything else
# stops it, and the rest of the read goes to the protocol object. Both ways count the same bytes, so
# it does not matter which of them took a frame.
FINAL_TEXT = 0x81
FINAL_BINARY = 0x82
"""The first byte of a complete text or binary message: FIN, and the opcode 1 or 2 (RFC 6455
§5.2)."""
WHOLE_MESSAGES = (FINAL_TEXT, FINAL_BINARY)
SHORT = 126
TWO_BYTES = 126
EIGHT_BYTES = 127
MASKED = 0x80
SHORT_HEADER = 2
LONG_HEADER = 4
MASK_BYTES = 4
MAX_LENGTH = 0xFFFF


def leading_messages(read: SocketRead) -> tuple[list[ReceivedMessage], int]:
    """Return the complete messages of one frame at the start of a read, and the number of bytes of
    these frames.

    The length of a frame must be given in seven bits, or in sixteen bits if seven are not enough. A
    frame that needs more bits is left to the protocol object. The timestamp of a read is the
    arrival of its last segment. If the read is complete, the timestamp is exact for the frame at
    its end.
    """
    data, timestamp_ns, empty_ns, kernel, complete = read
    arrival = Arrival(timestamp_ns, timestamp_ns - empty_ns, kernel)
    messages = []
    at = 0
    size = len(data)
    while at + SHORT_HEADER <= size and (first := data[at]) in WHOLE_MESSAGES:
        length = data[at + 1]
        header = SHORT_HEADER
        if length == TWO_BYTES and at + LONG_HEADER <= size:
            length = data[at + 2] << 8 | data[at + 3]
            header = LONG_HEADER
            # not the shortest header, which is required (RFC 6455 §5.2): left to the protocol
            # object
            if length < SHORT:
                break
        elif length >= TWO_BYTES:  # eight bytes of length, a mask, or an incomplete header
            break
        end = at + header + length
        if end > size:
            break
        if complete and end == size:
            arrival = Arrival(timestamp_ns, 0, kernel)
        payload = data[at + header : end]
        messages.append(
            ReceivedMessage(
                BinaryMessage(payload) if first == FINAL_BINARY else payload, arrival, end - at
            )
        )
        at = end
    return messages, at


def masked_frame(payload: bytes, mask: bytes) -> bytes:
    """Return a message in one frame, as a client sends it: masked with the four random bytes
    `mask` (RFC 6455 §5.3).
    """
    length = len(payload)
    first = FINAL_BINARY if type(payload) is BinaryMessage else FINAL_TEXT
    if length < SHORT:
        header = struct.pack("!BB", first, MASKED | length)
    elif length <= MAX_LENGTH:
        header = struct.pack("!BBH", first, MASKED | TWO_BYTES, length)
    else:
        # The shortest form of a length is mandatory (RFC 6455 §5.2).
        header = struct.pack("!BBQ", first, MASKED | EIGHT_BYTES, length)
    return b"".join((header, mask, apply_mask(payload, mask)))


def missing_bytes(start: bytes) -> int:
    """Return how many bytes of an incomplete frame are missing.

    If the header is incomplete, only its missing bytes are counted. Return 0 if `leading_messages`
    does not accept the frame.
    """
    size = len(start)
    if start[0] not in WHOLE_MESSAGES:
        return 0
    if size < SHORT_HEADER:
        return SHORT_HEADER - size
    length = start[1]
    header = SHORT_HEADER
    if length == TWO_BYTES:
        if size < LONG_HEADER:
            return LONG_HEADER - size
        length = start[2] << 8 | start[3]
        header = LONG_HEADER
        if length < SHORT:
            return 0
    elif length > TWO_BYTES:
        return 0
    return header + length - size


PART_BYTES = 4_096
"""The number of bytes of a read that are parsed before other greenlets run. It may have 2,048
pings to answer."""
OWN_WINDOW_BITS = 12
OWN_MEMORY_LEVEL = 5
"""The settings of our own compression. A connection needs 32 kB for sent data, with zlib's
defaults 256 kB."""


def frame_bytes(payload: int) -> int:
    """Return the size on the wire of an unmasked frame whose payload has `payload` bytes (RFC
    6455 §5.2).
    """
    return payload + (2 if payload < SHORT else 4 if payload <= MAX_LENGTH else 10)


class ProtocolParser:
    """The parser of one connection's data.

    Between the parts of a long read, it calls `yield_to_loop`, so that other greenlets can run.
    """

    def __init__(self, protocol: ClientProtocol, yield_to_loop: Callable[[], None]) -> None:
        self._protocol = protocol
        self._rest = yield_to_loop
        self.head = b"" if protocol.state is State.CONNECTING else None
        """The part of the answer to the upgrade that has arrived; None when frames are expected."""
        self.response: HttpResponse | None = None
        """The answer to the upgrade; None until its head is complete."""
        self.deflate: MeasuredDeflate | None = None
        """The compression of messages; None if the two sides have not agreed on one."""
        self._fed = self._framed = 0
        """The number of received bytes of frames, and the number of bytes of complete frames."""
        self._begun = bytearray()
        """The fragments of an incomplete message that have arrived, in one object."""
        self._binary = False
        """True if the incomplete message, whose fragments have arrived, is binary."""
        self._message_bytes = 0
        """The number of bytes of the received frames of the incomplete message."""

    @property
    def plain(self) -> bool:
        """True if the next byte starts a frame of a new, uncompressed message."""
        # otherwise the protocol object holds the start of the message
        is_complete = self._fed == self._framed and not self._message_bytes
        return is_complete and self.head is None and self.deflate is None

    def parse(self, read: SocketRead, start: bytes = b"") -> list[ReceivedMessage]:
        """Return the messages that a read completes. `start` is the start of a frame that
        earlier reads left over.
        """
        if start:
            self._fed += len(start)
            self._protocol.receive_data(start)
        self._fed += len(read.data)
        messages = []
        ends_message = False
        for event in (
            self._events(read.data) if self.head is None else self._answer_events(read.data)
        ):
            if isinstance(event, Frame):
                message = self._message_ended_by(event, read)
                ends_message = message is not None
                messages += [] if message is None else [message]
            elif isinstance(event, Response):
                # the protocol object keeps them until the connection ends, and `handshake` has a
                # copy
                event.headers.clear()
                extensions = (
                    extension
                    for extension in self._protocol.extensions
                    if isinstance(extension, MeasuredDeflate)
                )
                self.deflate = next(extensions, None)
        # the timestamp is that of the last segment, and so exact
        if ends_message and read.is_complete and self._framed == self._fed:
            messages[-1] = messages[-1]._replace(
                arrival=messages[-1].arrival._replace(uncertainty_ns=0)
            )
        return messages

    def _answer_events(self, data: bytes) -> Iterator[object]:
        """Yield the protocol object's events for data of the answer to the upgrade, and of frames
        after it.

        The protocol object gets an upgrade when its head is complete, and data that is no answer as
        it is, so that its error states why. It does not get a refusal. Raise ConnectError if the
        head is too long.
        """
        received_bytes = self._fed
        self.head = head = without_interim((self.head or b"") + data)
        self.response = response = read_response(head)
        body_bytes = 0 if response is None else len(response.body)
        if received_bytes - body_bytes > MAX_HEAD_BYTES:
            raise ConnectError(
                "connect_failed:upgrade", f"the answer's headers exceed {MAX_HEAD_BYTES >> 10} KiB"
            )
        if response is not None:
            self._fed = body_bytes  # bytes of frames count from the end of the head
            if response.status == SWITCHING:
                yield from self._events(upgrade_head(head[: len(head) - body_bytes]))
                if body_bytes:
                    yield from self._events(response.body)
        elif not data or not may_be_response(head):
            if head:
                yield from self._events(head)
            if not data:
                yield from self._events(data)

    def _events(self, data: bytes) -> Iterator[object]:
        """Yield the protocol object's events for the data. Empty data means that the peer has
        closed the connection.
        """
        if not data:
            self._protocol.receive_eof()
            yield from self._protocol.events_received()
        for at in range(0, len(data), PART_BYTES):
            if at:
                # a read of tiny frames takes long, while the timestamps of other sockets become
                # less exact
                self._rest()
            self._protocol.receive_data(data[at : at + PART_BYTES])
            yield from self._protocol.events_received()

    def _message_ended_by(self, frame: Frame, read: SocketRead) -> ReceivedMessage | None:
        """Process a frame. Return the message that ends with this frame; None if no message ends
        with it.
        """
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
        message_type = BinaryMessage if self._binary else bytes
        data = message_type(self._begun if frame.opcode is Opcode.CONT else frame.data)
        arrival = Arrival(read.timestamp_ns, read.timestamp_ns - read.empty_ns, read.is_kernel)
        message = ReceivedMessage(data, arrival, self._message_bytes)
        self._message_bytes = 0
        if self._begun:
            # a new one: `clear` would keep the memory of the largest message
            self._begun = bytearray()
        return message

    def close(self) -> None:
        """Release the buffers. They may be large, and references to the closed connection may
        remain.
        """
        self._begun = bytearray()
        self._protocol.reader.discard()
        self._protocol.parser.close()


# The library decompresses before it reports a frame. This extension notes the sizes on the wire, in
# the order of the frames, because they are what the network carried.
class MeasuredDeflate(Extension):
    """The compression extension of one connection.

    `came` has the payload sizes of received frames, in bytes before decompression.
    """

    def __init__(self, deflate: PerMessageDeflate) -> None:
        self.name = deflate.name
        self.came: deque[int] = deque()
        self._deflate = deflate
        self.encode = deflate.encode  # type: ignore[method-assign]

    def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
        """Return the frame, decompressed if it was compressed. Control frames are never
        compressed.
        """
        self.came.append(len(frame.data))
        return self._deflate.decode(frame, max_size=max_size)


class _Offer(ClientPerMessageDeflateFactory):
    def process_response_params(  # type: ignore[override]  # its caller needs any extension
        self, params: Sequence[ExtensionParameter], accepted_extensions: Sequence[Extension]
    ) -> MeasuredDeflate:
        return MeasuredDeflate(super().process_response_params(params, accepted_extensions))


def offered_deflate() -> ClientPerMessageDeflateFactory:
    """Return an offer of compression for one connection. The service may decline it."""
    # `client_max_window_bits` (RFC 7692 §7.1.2.2) lowers our own memory per connection. The window
    # of the server is its own choice.
    return _Offer(
        client_max_window_bits=OWN_WINDOW_BITS, compress_settings={"memLevel": OWN_MEMORY_LEVEL}
    )
