"""A stream of events in both directions over HTTP/2, as Bedrock's
`InvokeModelWithBidirectionalStream`.

h2 has the protocol (RFC 9113), botocore decodes the messages. The bytes of a read are split into
frames before h2 gets them. So the message at the end of a read that emptied the socket has an exact
timestamp, as in `bench.transport.websocket`; any other may have arrived earlier, but not before the
socket was last empty.

A client sends before the response arrives, because the service may respond only after the first
event. So a connection is open as soon as both sides have exchanged their settings. The response is
a message: `OPENED`, or, if the service refuses, `CALL_FAILED`.
"""

# The connection has one stream, and these layers, each with its own borders:
#
# bytes of TLS → frames of HTTP/2 → DATA → messages of vnd.amazon.eventstream → events in JSON
#
# A message may have several frames, and a frame several messages. `_message_bytes` counts what of a
# message has begun, so a message that ends exactly with a frame is known.
#
# Both directions have flow control (RFC 9113 §5.2, §6.9). The client's window is large and is
# refilled as soon as data has arrived, since the service must never wait for this side. If the
# window of the service is full, messages wait in `_unsent`, a paced send is reported as not done,
# and `flush` waits for WINDOW_UPDATE: a service that does not read is a fault of the service, after
# `SEND_LIMIT_NS`.
#
# h2 answers SETTINGS and PING by itself; its bytes leave by `_answer_peer`, outside of the event
# loop, which must not wait for the kernel.

from __future__ import annotations

import binascii
import contextlib
import struct
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import SplitResult, urlsplit

import msgspec
from botocore.eventstream import EventStreamBuffer, EventStreamMessage, ParserError
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from h2.exceptions import H2Error
from h2.settings import SettingCodes, Settings
from msgspec.structs import replace

from bench.base.clock import Arrival, SendTime, monotonic_ns
from bench.base.errors import closed_on_failure
from bench.base.units import NEVER_NS, NS_PER_S
from bench.catalogue.causes import Cause, Code, ConnectError, in_words, text_of
from bench.catalogue.outcomes import parsed
from bench.protocols.event_stream.messages import MEDIA_TYPE, events_of
from bench.protocols.event_stream.signing import SessionSigner, Signing, signing_for
from bench.transport.connect import connect
from bench.transport.interface import (
    WEB_PORTS,
    ConnectRequest,
    ConnectTimings,
    DeltaListener,
    OnMessage,
    PacedSender,
)
from bench.transport.parser import HttpResponse, SocketRead, redirection, refusal
from bench.transport.tcp import SEND_LIMIT_NS, ByteStream
from bench.transport.tls import TlsStream
from bench.transport.websocket import HANDFUL, MessageConnection
from bench.wire.addresses import authority, bracketed
from bench.wire.connection import (
    ABNORMAL,
    BAD_FRAME,
    MIB,
    NO_CODE,
    TOO_LARGE,
    CloseCause,
    MatchedDelta,
    ReceivedMessage,
    SendReceipt,
)
from bench.wire.events import ServerEvent
from bench.wire.service import CALL_FAILED, OPENED

HTTP_2 = "h2"
"""The name of HTTP/2 over TLS (RFC 9113 §3.2)."""
STREAM = 1
"""The only stream of a connection."""
FRAME_HEADER = 9
MAX_FRAME_BYTES = 16_384
"""The size of a frame's header, and the maximum size of its payload (RFC 9113 §4.1, §4.2)."""
GOAWAY = 7
WINDOW_BYTES = 1 << 24
"""How much the service may send before the client reports that it has read. A minute of audio has
a quarter."""
MAX_HEADER_BYTES = 65_536
MAX_BODY_BYTES = 65_536
RST_STREAM = 3
RESET = struct.Struct(">3sBBII")
"""RST_STREAM: the length, the type, the flags, the stream, and the error code (RFC 9113 §6.4)."""
BROKEN = (ParserError, H2Error, struct.error, ValueError, LookupError, RecursionError)
"""The errors of h2, botocore and msgspec for bytes that break a rule."""
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


# AWS's `BidirectionalOutputPayloadPart`, whose `bytes` are base64 in JSON.
class _Part(msgspec.Struct):
    """The payload of an event."""

    bytes: str


_decode_part = msgspec.json.Decoder(_Part).decode


def open_event_stream(request: ConnectRequest) -> EventStream:
    """Connect, sign, and send the request. Raise ConnectError, also `connect_failed:token` if
    there are no credentials.
    """
    parts = urlsplit(request.url)
    host = parts.hostname or ""
    signing = signing_for(host)
    for name, secret in signing.secrets.items():
        request.hide(name, secret)
    if request.context is not None:
        request.context.set_alpn_protocols([HTTP_2])
    stream = connect(host, parts.port or WEB_PORTS[parts.scheme], request)
    with closed_on_failure(stream):
        transport = EventStream(stream, signing, request.path.max_message_mib * MIB)
        transport.start(parts, request)
    return transport


class EventStream(MessageConnection):
    """An open connection; a `bench.transport.interface.Transport`."""

    def __init__(self, stream: ByteStream, signing: Signing, max_message_bytes: int) -> None:
        super().__init__(stream)
        self._signer = SessionSigner(signing)
        self._max_message_bytes = max_message_bytes
        self.fill: Callable[[bytes], bytes] | None = None
        self.keeps_texts = False
        self._http = H2Connection(H2Configuration(client_side=True, header_encoding=None))
        self._data = bytearray()
        """The start of a frame whose rest has not arrived."""
        self._messages = EventStreamBuffer()
        self._message_bytes = self._overhead = 0
        """The bytes of the message that has begun, and those of frames around messages that were
        not counted yet."""
        self._response: HttpResponse | None = None
        self._body = b""
        self._url = ""
        self._out = bytearray()
        self._unsent = bytearray()
        """Messages that wait for room in the window of the service (RFC 9113 §5.2)."""
        self._offered = self._sent_bytes = 0
        self._unread_bytes = 0
        """The size of the received data whose messages were not passed on yet."""
        self._is_settled = False
        self._shutdown = ""
        """The announcement of a shutdown, after which the stream may go on."""
        self._is_leaving = False
        self._is_answer = False
        """True if listening stopped only to answer the peer."""

    # The start.

    def start(self, parts: SplitResult, request: ConnectRequest) -> None:
        """Exchange the settings, and send the request, whose URL has these parts."""
        stream = self._stream
        if isinstance(stream, TlsStream) and stream.session.selected_alpn_protocol() != HTTP_2:
            raise ConnectError("connect_failed:upgrade", "the server does not have HTTP/2 (ALPN)")
        host = parts.hostname or ""
        shown = bracketed(host) if parts.port is None else authority(host, parts.port)
        values = {SettingCodes.ENABLE_PUSH: 0, SettingCodes.INITIAL_WINDOW_SIZE: WINDOW_BYTES}
        values[SettingCodes.MAX_HEADER_LIST_SIZE] = MAX_HEADER_BYTES
        http = self._http
        http.local_settings = Settings(client=True, initial_values=values)
        http.initiate_connection()
        # INITIAL_WINDOW_SIZE applies to streams only. The window of the connection begins with
        # 65,535 bytes, and only WINDOW_UPDATE makes it larger (RFC 9113 §6.9.2).
        http.increment_flow_control_window(WINDOW_BYTES)
        self._url = request.url
        signed = dict(self._signer.signed_headers(request.url, shown))
        fields = [
            (":method", "POST"),
            (":scheme", parts.scheme),
            (":path", parts.path + (f"?{parts.query}" if parts.query else "")),
            (":authority", shown),
            *(signed | {name.lower(): value for name, value in request.headers}).items(),
        ]
        http.send_headers(STREAM, fields)
        limit_s = request.limits.upgrade
        until_ns = monotonic_ns() + int(limit_s * NS_PER_S)
        with contextlib.suppress(OSError):  # the peer's last data may contain the reason
            self._write()
        self._settle(until_ns, limit_s, request.phases)
        self.handshake = request.phases.connected({})

    def _settle(self, until_ns: int, limit_s: float, phases: ConnectTimings) -> None:
        """Wait for the settings of the service."""
        while not self._is_settled:
            if self._end is not None:
                reason = self._end.reason or "the server closed the connection without an answer"
                raise ConnectError("connect_failed:upgrade", reason)
            read = self._stream.read(until_ns)
            if read is None:
                problem = f"no settings of HTTP/2 within {limit_s:g} s"
                raise ConnectError("timeout:upgrade", problem)
            self._came += self._parse(read)
            bound_ns = 0 if read.is_complete else read.timestamp_ns - read.empty_ns
            phases.set_arrival("opened", read.timestamp_ns, bound_ns)
            self._answer_peer()

    # Sending.

    def send(self, message: bytes, *, stamped: bool = False) -> SendReceipt | None:
        if self._end is not None:
            return None
        try:
            return self._send_rest(self._queue(message), stamped=stamped)
        except OSError as error:
            self._on_connection_lost(error)
            return None

    def try_send(self, message: bytes, *, stamped: bool = False) -> SendReceipt | None:
        if self._end is not None:
            return None
        is_whole = self._queue(message)
        sent = self._stream.try_write(self._take_out(), stamped=stamped)
        self._offered = 1 if is_whole else 2
        return SendReceipt(sent, self._sent_bytes) if is_whole and sent is not None else None

    def flush(self) -> SendReceipt | None:
        if self._end is not None:
            return None
        try:
            if self._offered == 1:
                return SendReceipt(self._stream.flush(), self._sent_bytes)
            return self._send_rest(is_whole=False)
        except OSError as error:
            self._on_connection_lost(error)
            return None

    def _queue(self, message: bytes) -> bool:
        """Sign the events of a message. Return whether all of them fit into the window."""
        before = len(self._unsent)
        for event in events_of(message):
            self._unsent += self._signer.signed_event(event)
        size = len(self._unsent) - before
        self._sent_bytes = size + FRAME_HEADER * -(-size // MAX_FRAME_BYTES)
        return self._fill_window()

    def _fill_window(self) -> bool:
        """Frame as much as the window of the service has room for. Return whether this is all."""
        while self._unsent:
            room = self._http.local_flow_control_window(STREAM)
            size = min(room, self._http.max_outbound_frame_size, MAX_FRAME_BYTES)
            if size <= 0:
                return False
            self._http.send_data(STREAM, bytes(self._unsent[:size]))
            del self._unsent[:size]
        return True

    def _send_rest(self, is_whole: bool, *, stamped: bool = False) -> SendReceipt | None:
        """Send what was queued. Wait for room in the window. Raise OSError, or TimeoutError
        after 10 s without room for a frame, or for the rest.
        """
        until_ns = monotonic_ns() + SEND_LIMIT_NS
        left = len(self._unsent)
        while not is_whole:
            self._write()
            read = self._stream.read(until_ns)
            if read is None:
                raise TimeoutError(Cause(Code.NO_READ, {"limit_s": SEND_LIMIT_NS / NS_PER_S}).text)
            self._came += self._parse(read)
            if self._end is not None:
                return None
            is_whole = self._fill_window()
            if left - len(self._unsent) >= MAX_FRAME_BYTES:
                left = len(self._unsent)
                until_ns = monotonic_ns() + SEND_LIMIT_NS
        sent = self._stream.write(self._take_out(), stamped=stamped)
        return SendReceipt(sent, self._sent_bytes)

    def _write(self, until_ns: int = NEVER_NS) -> SendTime | None:
        data = b"" if self._is_broken else self._take_out()
        return self._stream.write(data, until_ns=until_ns) if data else None

    def _answer_peer(self) -> None:
        """Send what the protocol requires: acknowledgements, and room in our window."""
        try:
            self._write()
        except OSError as error:
            if self._end is None:
                self._on_connection_lost(error)

    # Receiving.

    def receive_until(
        self,
        until_ns: int,
        on_message: OnMessage,
        reply: DeltaListener | None = None,
        sender: PacedSender | None = None,
    ) -> None:
        if self._came:  # from the last batch: this connection had its time, and others may wait
            self._stream.yield_to_loop()
        pass_on = partial(self._pass_on, on_message)
        if reply is not None:
            reply.on_streaming = self._stream.poll
        if self._unread_bytes:
            self._answer_peer()
        while not self._came and self._end is None:
            awake_ns = min(until_ns, self._ping_ns)
            self._is_leaving = False
            must_act = self._stream.receive_until(
                awake_ns, pass_on, sender, polled=reply is not None and reply.streaming
            )
            self._answer_peer()
            if self._is_leaving or (must_act and not self._is_answer):
                break
            if not must_act and awake_ns == until_ns:
                break
            if not must_act and self._ping_ns <= self.now_ns():
                self._pinged_ns = self.now_ns()
                self._http.ping(bytes(8))
                self._answer_peer()
        messages = self._came[:HANDFUL]
        self._came = self._came[HANDFUL:]
        for message in messages:
            on_message(message)

    def _pass_on(self, on_message: OnMessage, read: SocketRead) -> bool:
        """Pass on the messages of a read, in the event loop, which must not wait for the kernel.

        Answers to the peer, and too many messages, are left to the listener.
        """
        messages = self._parse(read)
        self._is_answer = False
        if len(messages) > HANDFUL or (messages and self._end is not None):
            self._came += messages
            return True
        if any([on_message(message) for message in messages]):
            self._is_leaving = True
            return True
        self._is_answer = self._owes
        return self._owes or self._end is not None

    @property
    def _owes(self) -> bool:
        """True if the protocol requires an answer to what was received."""
        self._make_room()
        self._out += self._http.data_to_send()
        return bool(self._out)

    def _make_room(self) -> None:
        """Report that the received data was read, once its messages were passed on.

        So a service that does not read cannot fill the memory while a send waits for it.
        """
        if self._unread_bytes and not self._came and self._end is None:
            self._http.acknowledge_received_data(self._unread_bytes, STREAM)
            self._unread_bytes = 0

    def _take_out(self) -> bytes:
        self._make_room()
        out = bytes(self._out) + self._http.data_to_send()
        self._out.clear()
        return out

    def add_template(
        self,
        message: ReceivedMessage,
        event: ServerEvent,
        *,
        is_sound: bool = False,
        keeps_text: bool = False,
    ) -> None:
        """Learn nothing: each message is decoded."""

    def take_deltas(self) -> list[MatchedDelta]:
        return []

    def _on_read(self, read: SocketRead) -> None:
        self._came += self._parse(read)

    def _parse(self, read: SocketRead) -> list[ReceivedMessage]:
        """Return the messages that a read completes."""
        loose = Arrival(read.timestamp_ns, read.timestamp_ns - read.empty_ns, read.is_kernel)
        if not read.data:
            if self._shutdown:
                self._end_stream("goaway", "the end of the connection", loose)
            else:
                self._end_at(ABNORMAL, self._stream.error_text, loose)
            return []
        data = self._data
        data += read.data
        size = len(data)
        at = 0
        messages: list[ReceivedMessage] = []
        while size - at >= FRAME_HEADER and self._end is None:
            length = int.from_bytes(data[at : at + 3], "big")
            if length > MAX_FRAME_BYTES:
                long = _too_long(bytes(data[at : at + 5]), length)
                self._end_at(BAD_FRAME, long, loose, ours=True)
                break
            end = at + FRAME_HEADER + length
            if end > size:
                break
            is_exact = read.is_complete and end == size
            arrival = Arrival(read.timestamp_ns, 0, read.is_kernel) if is_exact else loose
            messages += self._on_frame(bytes(data[at:end]), arrival, loose)
            at = end
        if self._end is not None and self._end.cause and (reset := _reset_in(data[at:])):
            self._end = replace(self._end, reason=f"{self._end.reason}, then {reset}")
        del data[:at]
        return messages

    def _on_frame(
        self, frame: bytes, arrival: Arrival, loose: Arrival
    ) -> Iterator[ReceivedMessage]:
        """Yield the messages that a frame completes. The last of them arrived at `arrival`, the
        others earlier.
        """
        self._overhead += len(frame)
        # The fourth byte of a frame is its type (RFC 9113 §4.1).
        if frame[3] == GOAWAY and len(frame) >= FRAME_HEADER + 8:
            self._on_goaway(frame[FRAME_HEADER:], arrival)
            return
        try:
            for event in self._http.receive_data(frame):
                yield from self._on_event(event, arrival, loose)
        except BROKEN as error:
            text = str(error) or type(error).__name__
            self._end_at(BAD_FRAME, f"the service breaks the protocol: {text}", arrival, ours=True)

    def _on_goaway(self, payload: bytes, arrival: Arrival) -> None:
        """Note the announcement of a shutdown, or end the connection. h2 would end the stream,
        which may go on (RFC 9113 §6.8).
        """
        last, code = struct.unpack(">II", payload[:8])
        reason = f"GOAWAY {_named(code)}"
        if words := payload[8:208].decode(errors="replace"):
            reason = f"{reason}: {words}"
        if not code and last & 0x7FFF_FFFF >= STREAM:
            self._shutdown = f"{reason}, then "
        else:
            self._end_stream("goaway", reason, arrival)

    def _on_event(
        self, event: Event, arrival: Arrival, loose: Arrival
    ) -> Iterator[ReceivedMessage]:
        match event:
            case RemoteSettingsChanged():
                self._is_settled = True
            case ResponseReceived(headers=headers) if headers is not None:
                yield from self._on_response(headers, arrival)
            case DataReceived(data=data, flow_controlled_length=length):
                self._unread_bytes += length or 0  # padding counts, too (RFC 9113 §6.1)
                if self._response is None or self._is_refused:
                    self._body += (data or b"")[: MAX_BODY_BYTES - len(self._body)]
                else:
                    yield from self._on_data(data or b"", arrival, loose)
            case StreamReset(error_code=code):
                self._end_stream("rst_stream", f"RST_STREAM {_named(code or 0)}", arrival)
            case StreamEnded():
                yield from self._on_end(arrival)

    @property
    def _is_refused(self) -> bool:
        response = self._response
        return response is not None and not (
            response.status == HTTPStatus.OK
            and response.headers.get("content-type", MEDIA_TYPE) == MEDIA_TYPE
        )

    def _on_response(
        self, headers: Sequence[tuple[bytes, bytes]], arrival: Arrival
    ) -> Iterator[ReceivedMessage]:
        fields = {bytes(name).decode("latin-1"): _text(value) for name, value in headers}
        status = fields.pop(":status")
        number = int(status) if len(status) == 3 and status.isdigit() else 0
        reason = HTTPStatus(number).phrase if number in set(HTTPStatus) else ""
        self._response = HttpResponse(number, reason, fields, b"")
        if not self._is_refused:
            opened = msgspec.json.encode({OPENED: {"headers": fields}})
            yield ReceivedMessage(opened, arrival, self._take_overhead())

    def _on_data(self, data: bytes, arrival: Arrival, loose: Arrival) -> Iterator[ReceivedMessage]:
        self._overhead -= len(data)
        self._message_bytes += len(data)
        self._messages.add_data(data)
        for message in self._messages:
            size = message.prelude.total_length
            self._message_bytes -= size
            is_last = not self._message_bytes
            yield ReceivedMessage(
                _content(message), arrival if is_last else loose, size + self._take_overhead()
            )
        if self._message_bytes > self._max_message_bytes:
            limit = f"a message exceeds the limit of {self._max_message_bytes} bytes"
            self._end_at(TOO_LARGE, limit, arrival, ours=True)

    def _on_end(self, arrival: Arrival) -> Iterator[ReceivedMessage]:
        """Yield the refusal, if the response is one. End the connection."""
        response = self._response
        if response is not None and self._is_refused:
            yield ReceivedMessage(self._refusal(response), arrival, self._take_overhead())
        within = " within a message" if self._message_bytes else ""
        self._end_stream("end_stream", f"END_STREAM{within}", arrival)

    def _refusal(self, response: HttpResponse) -> bytes:
        """Return the message about a refusal, with its outcome."""
        if response.status == HTTPStatus.OK:
            kind = response.headers.get("content-type", "")
            error = ConnectError("connect_failed:upgrade", f"the answer is {kind}, no event stream")
        else:
            error = refusal(response._replace(body=self._body))
        kind = response.headers.get("x-amzn-errortype", "").partition(":")[0]
        detail = f"{error.detail} ({kind})" if kind else error.detail
        location = response.headers.get("location", "")
        causes = in_words(detail), *redirection(response.status, location, self._url)
        family, code, _ = parsed(error.outcome)
        fields = {"type": family, "code": code, "message": text_of(causes)}
        return msgspec.json.encode({"type": CALL_FAILED, "error": fields})

    def _take_overhead(self) -> int:
        overhead = self._overhead
        self._overhead = 0
        return overhead

    # The end.

    def _end_at(self, code: int, reason: str, arrival: Arrival, *, ours: bool = False) -> None:
        error_ns = arrival.uncertainty_ns if arrival.is_kernel else 0
        self._set_end(code, reason, arrival.at_ns, error_ns, ours=ours)

    def _end_stream(self, cause: CloseCause, frame: str, arrival: Arrival) -> None:
        """Record the end of the stream by a frame. HTTP/2 has no close codes."""
        reason = f"HTTP/2 {self._shutdown}{frame}"
        error_ns = arrival.uncertainty_ns if arrival.is_kernel else 0
        cause = "goaway" if self._shutdown else cause
        self._set_end(NO_CODE, reason, arrival.at_ns, error_ns, cause=cause)

    def _say_goodbye(self, until_ns: int) -> None:
        self._unsent += self._signer.signed_end()
        if self._fill_window():
            self._http.end_stream(STREAM)
        self._write(until_ns)

    def _drop(self) -> None:
        self._data.clear()
        self._unsent.clear()


def _content(message: EventStreamMessage) -> bytes:
    """Return the event of a message, or what it reports about a failure, as JSON."""
    if message.headers.get(":message-type") == "event":
        return binascii.a2b_base64(_decode_part(message.payload).bytes)
    fields = {"message": message.headers.get(":error-message", "")}
    with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        fields |= _decode_object(message.payload)
    kind = message.headers.get(":exception-type") or message.headers.get(":error-code", "")
    return msgspec.json.encode({"exception": {**fields, "type": str(kind)}})


def _text(value: bytes) -> str:
    return bytes(value).decode("utf-8", "replace")


def _named(code: int) -> str:
    """Return the name of an error code (RFC 9113 §7)."""
    try:
        return str(ErrorCodes(code).name)
    except ValueError:
        return str(code)


def _reset_in(rest: bytes | bytearray) -> str:
    """Return the text of the RST_STREAM at the start of what follows the end of the stream; "" if
    it is none.
    """
    if len(rest) < RESET.size:
        return ""
    _, kind, _, stream, code = RESET.unpack_from(rest)
    return f"RST_STREAM {_named(code)}" if (kind, stream) == (RST_STREAM, STREAM) else ""


def _too_long(start: bytes, length: int) -> str:
    if start.startswith(b"HTTP/"):
        return "the server answered in HTTP/1, and not in HTTP/2"
    return f"a frame of {length} bytes exceeds the limit of {MAX_FRAME_BYTES} bytes"
