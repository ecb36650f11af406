"""One connection with HTTP/2 (h2), and its streams, each of which is a session."""

from __future__ import annotations

import contextlib
import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
from botocore.eventstream import EventStreamBuffer, ParserError
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RequestReceived,
    StreamEnded,
    StreamReset,
)
from h2.exceptions import H2Error

from bench.base.clock import Arrival, SendTime, monotonic_ns, utc_ns
from bench.base.units import NEVER_NS, NS_PER_S
from bench.protocols.sctp.data_channel import ChannelMessage
from rtbench_simulator.faults.injection import FaultInjector
from rtbench_simulator.refusals import PostUpgradeRefusal, RefusedUpgrade
from rtbench_simulator.services.nova_sonic.wire import MEDIA_TYPE, SignatureChain, encoded
from rtbench_simulator.services.webrtc.event_channel import EventChannel
from rtbench_simulator.serving.handshake import admit
from rtbench_simulator.serving.service import AcceptedUpgrade, ServerState
from rtbench_simulator.serving.stream import ServerStream

MAX_MESSAGE_BYTES = 1 << 24
WINDOW_BYTES = 1 << 24
PREFACE_BYTES = 24
FRAME_HEADER = 9
MAX_FRAME_BYTES = 16_384
GOAWAY = 7
NO_ERROR = bytes(4)
EVENT = {":event-type": "chunk", ":content-type": "application/json", ":message-type": "event"}
OPENED = b'{"opened"'
EXCEPTION = b'{"exception"'
BAD_SIGNATURE = RefusedUpgrade(
    403, "InvalidSignatureException", "The request signature does not match."
)
BROKEN = (ParserError, ValueError, LookupError, msgspec.MsgspecError)


class _Part(msgspec.Struct):
    bytes: str


_decode_part = msgspec.json.Decoder(_Part).decode


# Several sessions may share a connection, each on a stream of its own. Frames are cut before h2
# gets them only to take out one GOAWAY; everything else is h2's.
class Http2Connection:
    """A connection of one client."""

    has_received = False

    def __init__(
        self,
        shared: ServerState,
        stream: ServerStream,
        on_end: Callable[[Http2Connection], None],
    ) -> None:
        self.shared = shared
        self.stream = stream
        self._on_end = on_end
        config = H2Configuration(client_side=False, header_encoding="utf-8")
        self.http = H2Connection(config)
        self.http.initiate_connection()
        self.http.increment_flow_control_window(WINDOW_BYTES)
        self._sessions: dict[int, EventStreamSession] = {}
        self._data = bytearray()
        self._begin = PREFACE_BYTES
        """Where the first frame begins in the data: after the client's preface."""

    @property
    def has_sessions(self) -> bool:
        return bool(self._sessions)

    def received(self, data: bytes, at_ns: int) -> bool:
        events = []
        self._data += data
        try:
            for frame in self._take_frames():
                events += self.http.receive_data(frame)
        except (H2Error, ValueError):
            self._forget_all()
            self.flush()
            return False
        is_open = True
        for event in events:
            is_open = self._on_event(event, at_ns) and is_open
        for session in list(self._sessions.values()):
            session.advance(monotonic_ns())
        self.flush()
        return is_open

    def _take_frames(self) -> Iterator[bytes]:
        """Yield the complete frames, without GOAWAY with NO_ERROR: its streams go on, and h2 would
        end them (RFC 9113 §6.8). The SDK for JavaScript sends it as soon as it has its stream.
        """
        while len(self._data) >= self._begin + FRAME_HEADER:
            length = int.from_bytes(self._data[self._begin : self._begin + 3], "big")
            end = self._begin + FRAME_HEADER + min(length, MAX_FRAME_BYTES)
            if len(self._data) < end:
                return
            frame = bytes(self._data[:end])
            is_goodbye = frame[self._begin + 3] == GOAWAY and frame[-4:] == NO_ERROR
            del self._data[:end]
            self._begin = 0
            if not (is_goodbye and length == len(NO_ERROR) * 2):
                yield frame

    def _on_event(self, event: Event, at_ns: int) -> bool:
        if isinstance(event, ConnectionTerminated):
            self._forget_all()
            return False
        number = getattr(event, "stream_id", 0)
        if isinstance(event, RequestReceived):
            self.has_received = True
            self._open(number, dict(event.headers or ()), at_ns)  # type: ignore[arg-type]
        session = self._sessions.get(number)
        if isinstance(event, DataReceived):
            self.http.acknowledge_received_data(event.flow_controlled_length or 0, number)
            if session is not None:
                session.received(event.data or b"", at_ns)
        elif isinstance(event, (StreamEnded, StreamReset)) and session is not None:
            session.close()
        return True

    def _open(self, number: int, headers: dict[str, str], at_ns: int) -> None:
        path = headers.get(":path", "")
        fields = {name: value for name, value in headers.items() if name[:1] != ":"}
        fields[":authority"] = headers.get(":authority", "")
        fields.setdefault("host", fields[":authority"])
        key = self.shared.config.authenticator.key
        chain = None if key is None else SignatureChain(key, path, fields)
        injector = self.shared.injector()
        if chain is not None and not chain.is_valid:
            self._refuse(number, BAD_SIGNATURE, at_ns)
            return
        if key is not None:
            fields["api-key"] = key  # the signature proves it
        verdict = admit(
            self.shared.config.services,
            path,
            fields,
            self.shared.config.authenticator,
            utc_ns() / NS_PER_S,
            lambda form, lacks: injector.refusal(form, at_ns, lacks) if injector else None,
        )
        refusal = verdict if isinstance(verdict, RefusedUpgrade) else self.shared.limit(at_ns)
        if refusal is not None:
            self._refuse(number, refusal, at_ns)
        elif isinstance(verdict, AcceptedUpgrade):
            if verdict.complaint is not None:
                self._refuse(number, _as_refusal(verdict.complaint), at_ns)
                return
            session = EventStreamSession(self, number, verdict, chain, injector)
            self._sessions[number] = session

    def _refuse(self, number: int, refusal: RefusedUpgrade, at_ns: int) -> None:
        self.shared.refused(refusal, at_ns)
        body = json.dumps({"message": refusal.message}).encode()
        own = {"content-type": "application/json", "x-amzn-errortype": refusal.code}
        headers = {
            ":status": str(refusal.status),
            **own,
            **self.shared.lateness.headers,
            **refusal.headers,
        }
        self.http.send_headers(number, list(headers.items()))
        self.http.send_data(number, body, end_stream=True)

    def flush(self) -> bool:
        data = self.http.data_to_send()
        return self.stream.write(data) if data else True

    def forget(self, number: int) -> None:
        self._sessions.pop(number, None)

    def close(self) -> None:
        """End the connection, which the client may open again (RFC 9113 §6.8)."""
        for session in list(self._sessions.values()):
            session.close()
        self.http.close_connection(ErrorCodes.NO_ERROR)
        self.flush()
        self.stream.finish()

    def _forget_all(self) -> None:
        for session in list(self._sessions.values()):
            session.forget()

    def ended(self) -> None:
        self._forget_all()
        self._on_end(self)


# A session over an event stream is an `EventChannel` whose owner frames messages, checks each
# signature against the one before, and respects the window of the client (RFC 9113 §5.2).
class EventStreamSession:
    """One session: its stream, and its events."""

    def __init__(
        self,
        connection: Http2Connection,
        number: int,
        accepted: AcceptedUpgrade,
        chain: SignatureChain | None,
        injector: FaultInjector | None,
    ) -> None:
        self._connection = connection
        self._http = connection.http
        self._number = number
        self._chain = chain
        self._shared = shared = connection.shared
        self._messages = EventStreamBuffer()
        self._left = 0
        """The bytes of a message that has begun."""
        self._unsent = bytearray()
        self._is_over = False
        session = shared.new_session(accepted)
        self._id = session.ids.session
        self._events = EventChannel(shared, session, injector, self)
        self.advance(monotonic_ns())

    # Input.

    def received(self, data: bytes, at_ns: int) -> None:
        if self._is_over or self._events.is_stalled:
            return
        self._messages.add_data(data)
        self._left += len(data)
        try:
            for message in self._messages:
                self._left -= message.prelude.total_length
                if not self._take(message.headers, message.payload, at_ns):
                    return
        except BROKEN as error:
            self._fail(f"The event stream is invalid: {type(error).__name__}.")
        if self._left > MAX_MESSAGE_BYTES:
            self._fail("The event is too long.")

    def _take(self, headers: Mapping[str, Any], payload: bytes, at_ns: int) -> bool:
        """Pass on a message. Return False if the session is over."""
        signature, date_ms = headers.get(":chunk-signature"), headers.get(":date")
        if not isinstance(signature, bytes) or not isinstance(date_ms, int):
            self._fail("The event is not signed.")
        elif self._chain is not None and not self._chain.accepts(date_ms, payload, signature):
            self._fail("The signature of the event does not match.")
        elif payload:
            inner = EventStreamBuffer()
            inner.add_data(payload)
            body = b64decode(_decode_part(inner.next().payload).bytes, validate=True)
            self._events.received(ChannelMessage(body, False, len(payload)), Arrival(at_ns))
        return not self._is_over

    def _fail(self, message: str) -> None:
        fields = {"exception": {"type": "validationException", "message": message}}
        self.send_event(msgspec.json.encode(fields), is_binary=False)
        self.close()

    # Output.

    def advance(self, now_ns: int) -> None:
        """Send the due events, and plan the next one."""
        if self._is_over:
            return
        self._fill_window()
        self._events.send_due(now_ns)
        if not self._is_over:
            next_ns = NEVER_NS if self._events.is_stalled else self._events.next_ns
            self._shared.plan(self, None if next_ns == NEVER_NS else next_ns)

    def send_due(self, now_ns: int) -> None:
        self.advance(now_ns)
        self._connection.flush()

    def send_event(self, body: bytes, *, is_binary: bool) -> tuple[SendTime | None, int]:
        start_ns = monotonic_ns()
        # The response's headers are an event of the behaviour, which therefore has a planned
        # instant.
        if body.startswith(OPENED):
            own = {"content-type": MEDIA_TYPE, "x-amzn-requestid": self._id}
            headers = {":status": "200"} | own | self._shared.lateness.headers
            self._http.send_headers(self._number, list(headers.items()))
            size = 0
        else:
            message = _message(body)
            self._unsent += message
            size = len(message)
            self._fill_window()
        is_sent = self._connection.flush() and not self._unsent
        return SendTime(start_ns, monotonic_ns() - start_ns) if is_sent else None, size

    def _fill_window(self) -> None:
        while self._unsent:
            room = self._http.local_flow_control_window(self._number)
            size = min(room, self._http.max_outbound_frame_size)
            if size <= 0:
                return
            self._http.send_data(self._number, bytes(self._unsent[:size]))
            del self._unsent[:size]

    def stall(self, for_ns: int | None) -> None:
        self._shared.plan(self, None)
        if for_ns is not None:
            self._shared.loop.call_later(for_ns / NS_PER_S, self._end_stall)

    def _end_stall(self) -> None:
        if not self._is_over:
            now_ns = monotonic_ns()
            self._events.end_stall(now_ns)
            self.send_due(now_ns)

    def close(self, reason: str = "", *, is_reset: bool = False) -> None:
        """End the stream. A reset is that of the connection."""
        if self._is_over:
            return
        connection = self._connection
        self.forget()
        if is_reset:
            connection.stream.reset()
            return
        # the client may have reset it, or the response may not have begun
        with contextlib.suppress(H2Error):
            self._http.end_stream(self._number)
        connection.flush()

    def forget(self) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._shared.plan(self, None)
        self._connection.forget(self._number)
        self._shared.loop.call_soon(self._events.end)  # its caller may still use it


def _message(body: bytes) -> bytes:
    """Return the message of an event, or of an exception."""
    if body.startswith(EXCEPTION):
        fields = msgspec.json.decode(body)["exception"]
        kind = {":exception-type": fields.pop("type"), ":message-type": "exception"}
        kind[":content-type"] = "application/json"
        return encoded(kind, msgspec.json.encode(fields))
    return encoded(EVENT, b'{"bytes":"' + b64encode(body) + b'"}')


def _as_refusal(complaint: PostUpgradeRefusal) -> RefusedUpgrade:
    return RefusedUpgrade(400, complaint.code, complaint.message)
