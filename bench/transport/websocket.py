"""WebSocket over a stream, with websockets' Sans-I/O protocol: complete messages, each with its
arrival.

The loop follows websockets' `docs/howto/sansio.rst`: pass the received bytes to the protocol
object, send what it requires (pongs, the close frame), and pass its events on. If a read emptied
the socket, the timestamp of the event at its end is exact. Every other event of a read may have
arrived earlier, but not before the last instant at which the socket was certainly empty. Its
uncertainty states this.
"""

from __future__ import annotations

import errno
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHeader, NegotiationError, PayloadTooBig
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import WebSocketURI, parse_uri

from bench.base.clock import SendTime, monotonic_ns
from bench.base.errors import closed_on_failure
from bench.base.units import NEVER_NS, NS_PER_S
from bench.catalogue.causes import Cause, Code, ConnectError, in_words
from bench.catalogue.timeouts import Timeouts
from bench.transport.challenges import TOKEN_CHARACTER
from bench.transport.connect import BODY_NS, connect, receive_body
from bench.transport.fast.reader import MessageReader, OnMessages
from bench.transport.fast.sending import masked_frame
from bench.transport.interface import (
    ConnectRequest,
    ConnectTimings,
    DeltaListener,
    OnMessage,
    PacedSender,
)
from bench.transport.parser import (
    MAX_LENGTH,
    SWITCHING,
    HttpResponse,
    ProtocolParser,
    SocketRead,
    offered_deflate,
    refusal,
)
from bench.transport.tcp import ByteStream
from bench.wire.connection import (
    ABNORMAL,
    BAD_FRAME,
    MIB,
    NORMAL,
    TOO_LARGE,
    CloseCause,
    Connected,
    ConnectionClosed,
    MatchedDelta,
    ReceivedMessage,
    SendReceipt,
)
from bench.wire.dialect import BinaryMessage
from bench.wire.events import ServerEvent

CHOICES = {"subprotocol": "sec-websocket-protocol", "extensions": "sec-websocket-extensions"}
"""The headers in which a server chooses one of the client's offers, by a word of websockets'
error."""
TOKEN = re.compile(TOKEN_CHARACTER + "{1,64}")
"""The pattern of the names that errors quote."""
OPEN = State.OPEN
_SILENT = logging.getLogger("bench.transport.websocket")
# also if the root's level is lower: websockets logs the request's headers with the keys
_SILENT.setLevel(logging.WARNING)

CAUSES: Mapping[int, CloseCause] = {
    errno.ECONNRESET: "reset",
    errno.ETIMEDOUT: "timed_out",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "unreachable",
}
"""The cause of an end that the protocol does not announce, by the error number."""
GOODBYE_NS = 1_000_000_000
"""The maximum duration of closing a connection. In this time, data that was half sent must be
completed, our goodbye sent, and the peer's answer received."""
PING_AFTER_NS = 20_000_000_000
"""The silence of a connection after which the client sends a ping: devices on the way end idle
connections.

The clients of the services use the same interval (`ping_interval` of websockets).
"""
HANDFUL = 64
"""The maximum number of messages that are passed on at once. After them, the listener can act."""


class MessageConnection:
    """A connection of messages over a byte stream: what a WebSocket and an event stream share.

    It ends once. Its end follows all messages that arrived before.
    """

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self.transmitted = stream.transmitted
        self.network = stream.network
        self.handshake = Connected({}, {})
        self._end: ConnectionClosed | None = None
        self._came: list[ReceivedMessage] = []
        self._is_broken = False
        self._pinged_ns = 0

    @property
    def closed(self) -> ConnectionClosed | None:
        return None if self._came else self._end  # the end follows all earlier messages

    def now_ns(self) -> int:
        return monotonic_ns()

    handled_ns = now_ns

    @property
    def watermark_ns(self) -> int:
        if not self._came:
            return self._stream.watermark_ns
        at_ns, error_ns, _ = self._came[0].arrival
        # a deadline at the arrival of a buffered message has not passed
        return at_ns - error_ns - 1

    @property
    def _ping_ns(self) -> int:
        """The instant at which a ping is due if no byte passes before."""
        return max(self._stream.active_ns, self._pinged_ns) + PING_AFTER_NS

    def close(self) -> None:
        try:
            if self._end is None:
                until_ns = monotonic_ns() + GOODBYE_NS
                self._say_goodbye(until_ns)
                while self._end is None and (read := self._stream.read(until_ns)) is not None:
                    self._on_read(read)
        except OSError:  # the peer has already closed
            pass
        finally:
            self.abort()

    def abort(self) -> None:
        self._came = []
        self._drop()
        self._set_end(ABNORMAL, "closed by this tool", monotonic_ns(), ours=True)
        self._stream.close()

    def _on_read(self, read: SocketRead) -> None:
        """Buffer the messages that a read completes, and set the end if it contains it."""
        raise NotImplementedError

    def _say_goodbye(self, until_ns: int) -> None:
        """Send the last message of the protocol."""
        raise NotImplementedError

    def _drop(self) -> None:
        """Drop what was received or queued in part."""
        raise NotImplementedError

    def _on_connection_lost(self, error: OSError) -> None:
        """Handle a failed write: write no more data, read the data that had already arrived,
        then set the end.
        """
        self._is_broken = True
        until_ns = monotonic_ns()
        is_named = error.errno or isinstance(error, TimeoutError)
        reason = f": {error.strerror or error}" if is_named else ""
        while self._end is None:
            read = self._stream.read(until_ns)
            if read is None or not read.data:
                broken = f"the connection broke while sending{reason}"
                self._set_end(ABNORMAL, broken, monotonic_ns())
            else:
                self._on_read(read)

    def _set_end(
        self,
        code: int,
        reason: str,
        at_ns: int,
        error_ns: int = 0,
        *,
        ours: bool = False,
        cause: CloseCause = "",
    ) -> None:
        """Record the end of the connection, once. If the protocol did not announce it, the cause
        is the kernel's error.
        """
        if self._end is None:
            if code == ABNORMAL:
                cause = CAUSES.get(self._stream.failure, "")
            self._end = ConnectionClosed(code, at_ns, reason, ours, cause, error_ns)


def open_websocket(request: ConnectRequest) -> WebSocket:
    """Connect and upgrade.

    Raise ConnectError: `connect_failed:<status>`, `connect_failed:dns|tcp|proxy|tls|upgrade`,
    `throttled:handshake`, `timeout:<stage>`.
    """
    uri = parse_uri(request.url)
    path = request.path
    stream = connect(uri.host, uri.port, request)
    with closed_on_failure(stream):
        protocol = client_protocol(
            uri, path.max_message_mib * MIB, request.subprotocols, deflate=path.deflate
        )
        socket = WebSocket(stream, protocol)
        socket.upgrade(request.headers, request.limits, request.phases)
    return socket


def client_protocol(
    uri: WebSocketURI,
    max_message_bytes: int,
    subprotocols: Sequence[str] = (),
    *,
    deflate: bool = False,
) -> ClientProtocol:
    """Return the client's side of the WebSocket protocol. If `deflate` is True, it offers
    compression of messages.

    The service may choose one of the `subprotocols`, or none.

    The limit `max_message_bytes` applies to complete decompressed messages. The connection ends as
    soon as it is clear that a message will exceed the limit: from the length in a frame's header,
    from a fragment, or from the data that is already decompressed.
    """
    return ClientProtocol(
        uri,
        extensions=[offered_deflate()] if deflate else None,
        subprotocols=[Subprotocol(name) for name in subprotocols] or None,
        max_size=max_message_bytes,
        logger=_SILENT,
    )


# A read takes the fast way or the general one. `MessageReader` handles a read of complete messages
# where it arrives, in the event loop. Anything else (a fragment, a control frame, compressed data,
# the answer to the upgrade) is left in `_unread` to the greenlet, and there to websockets' protocol
# object, because that may have to answer, and an answer may have to wait for the kernel.
#
# Received data ends the connection in `_answer_peer`, for the first of these reasons: a close frame
# of the peer, a message that is too large, a frame that is not valid, the end of the stream. The
# first end that is set stays.
class WebSocket(MessageConnection):
    """An open connection; a `bench.transport.interface.Transport`."""

    def __init__(self, stream: ByteStream, protocol: ClientProtocol) -> None:
        super().__init__(stream)
        self._protocol = protocol
        self.fill: Callable[[bytes], bytes] | None = None
        self._unread: SocketRead | None = None  # a read in the loop that was left to the listener
        self._parser = ProtocolParser(protocol, stream.yield_to_loop)
        self._timestamp_ns = self._response_uncertainty_ns = 0
        self._goodbye_until_ns = NEVER_NS
        """The instant until which data may be written while the connection is closing."""
        self._offered = 0
        """The size of the frame that was last passed to `try_send`, in bytes."""
        longest = protocol.max_message_size
        # the protocol object must check a lower limit
        self._quick = longest is None or longest >= MAX_LENGTH
        self._reader = MessageReader()
        self._reader.expect(plain=self._is_plain())
        stream.sieve = self._reader

    def upgrade(
        self, headers: Iterable[tuple[str, str]], limits: Timeouts, phases: ConnectTimings
    ) -> None:
        """Do the opening handshake (RFC 6455 §4.1)."""
        request = self._protocol.connect()
        for name, value in headers:
            request.headers[name] = value
        self._protocol.send_request(request)
        send_error = self._send_upgrade_request()
        until_ns = monotonic_ns() + (0 if send_error else int(limits.upgrade * NS_PER_S))
        response = self._wait_for_response(until_ns)
        if response is not None and response.status != SWITCHING:
            raise refusal(
                receive_body(self._stream, response, min(until_ns, monotonic_ns() + BODY_NS))
            )
        if send_error is not None:
            raise ConnectError(
                "connect_failed:upgrade",
                f"the connection broke: {send_error.strerror or send_error}",
            )
        if response is None and self._stream.error_text:
            raise ConnectError(
                "connect_failed:upgrade", f"the connection broke: {self._stream.error_text}"
            )
        if (problem := self._protocol.handshake_exc) is not None:
            raise ConnectError(
                "connect_failed:upgrade", _no_upgrade(problem, response.headers if response else {})
            )
        if response is None:
            raise ConnectError(
                "timeout:upgrade", f"no answer to the upgrade within {limits.upgrade:g} s"
            )
        phases.set_arrival("opened", self._timestamp_ns, self._response_uncertainty_ns)
        self.handshake = phases.connected(response.headers)
        if self._parser.deflate is None:
            self._stream.send_chunks(self._keep)

    def _send_upgrade_request(self) -> OSError | None:
        """Send the upgrade request.

        If that fails, return the error: the peer's last data may still contain the reason.
        """
        try:
            self._flush()
        # It is not caught in `upgrade`: the traceback would hold its frame, a reference cycle.
        except OSError as error:
            return error
        return None

    def _wait_for_response(self, until_ns: int) -> HttpResponse | None:
        """Wait for the answer to the upgrade. Return None if none arrived, or if it was not
        HTTP.
        """
        while (response := self._parser.response) is None and self._protocol.handshake_exc is None:
            read = self._stream.read(until_ns)
            if read is None:
                return None
            self._on_read(read)
            has_more = self._parser.response is not None and self._parser.response.body
            self._response_uncertainty_ns = (
                0 if read.is_complete and not has_more else read.timestamp_ns - read.empty_ns
            )
        self._parser.response = self._parser.head = None  # frames follow, or nothing
        self._reader.expect(plain=self._is_plain())
        return response

    def send(self, message: bytes, *, stamped: bool = False) -> SendReceipt | None:
        if self._end is not None:
            return None
        data = self._frame_of(message)
        try:
            return SendReceipt(self._stream.write(data, stamped=stamped), len(data))
        except OSError as error:
            self._on_connection_lost(error)
            return None

    def _frame_of(self, message: bytes) -> bytes:
        if self._parser.deflate is None and self._protocol.state is OPEN:
            return masked_frame(message)
        send = (
            self._protocol.send_binary
            if type(message) is BinaryMessage
            else self._protocol.send_text
        )
        send(message)
        return b"".join(self._protocol.data_to_send())

    def try_send(self, message: bytes, *, stamped: bool = False) -> SendReceipt | None:
        if self._end is not None:
            return None
        data = self._frame_of(message)
        self._offered = len(data)
        send_time = self._stream.try_write(data, stamped=stamped)
        return None if send_time is None else SendReceipt(send_time, len(data))

    def _keep(self, frame_bytes: int, rest: bytes, error: int) -> None:
        """Keep the rest of a frame for `flush`. `error` is the number of the error that
        prevented the send, or 0.
        """
        self._offered = frame_bytes
        self._stream.keep_rest(rest, error)

    def flush(self) -> SendReceipt | None:
        if self._end is not None:
            return None
        try:
            return SendReceipt(self._stream.flush(), self._offered)
        except OSError as error:
            self._on_connection_lost(error)
            return None

    def receive_until(
        self,
        until_ns: int,
        on_message: OnMessage,
        reply: DeltaListener | None = None,
        sender: PacedSender | None = None,
    ) -> None:
        if self._came:  # from the last batch: this connection had its time, and others may wait
            self._stream.yield_to_loop()
        on_messages = partial(self._pass_messages, on_message)
        self._reader.begin(reply, on_messages)
        pass_on = partial(self._pass_on, on_messages)
        if reply is not None:
            reply.on_streaming = self._stream.poll
        try:
            while not self._came and self._end is None:
                awake_ns = min(until_ns, self._ping_ns)
                must_act = self._stream.receive_until(
                    awake_ns, pass_on, sender, polled=reply is not None and reply.streaming
                )
                if self._unread is not None:
                    read = self._unread
                    self._unread = None
                    self._parse(read)
                elif must_act or awake_ns == until_ns:
                    break
                elif self._ping_ns <= self.now_ns():
                    self._ping()
        finally:
            self._reader.end()
        messages = self._came[:HANDFUL]
        self._came = self._came[HANDFUL:]
        for message in messages:
            on_message(message)

    def _ping(self) -> None:
        """Send a ping. The peer answers with a pong, which is no message."""
        self._pinged_ns = self.now_ns()
        if self._protocol.state is not OPEN:
            return
        self._protocol.send_ping(b"")
        try:
            self._flush()
        except OSError as error:
            self._on_connection_lost(error)

    def add_template(
        self,
        message: ReceivedMessage,
        event: ServerEvent,
        *,
        is_sound: bool = False,
        keeps_text: bool = False,
    ) -> None:
        self._reader.add_template(message.data, event, is_sound=is_sound, keeps_text=keeps_text)

    def take_deltas(self) -> list[MatchedDelta]:
        return self._reader.pop_deltas()

    @property
    def keeps_texts(self) -> bool:
        return self._reader.keeps_texts

    @keeps_texts.setter
    def keeps_texts(self, keeps: bool) -> None:
        self._reader.keeps_texts = keeps

    def _pass_on(self, on_messages: OnMessages, read: SocketRead) -> bool:
        """Pass on the messages of a read, in the event loop, or leave the read to the listener."""
        messages = self._reader.read(read)
        if isinstance(messages, SocketRead):
            self._unread = messages
            return True
        return on_messages(messages)

    def _pass_messages(self, on_message: OnMessage, messages: list[ReceivedMessage]) -> bool:
        """Pass on messages, in the event loop. If there are too many, leave them to the
        listener.
        """
        if len(messages) > HANDFUL:
            self._came += messages
            return True
        return any([on_message(message) for message in messages])

    def _on_read(self, read: SocketRead) -> None:
        """Buffer the messages that a read completes."""
        messages = self._reader.messages(read)
        if isinstance(messages, SocketRead):
            self._parse(messages)
        else:
            self._came += messages

    def _is_plain(self) -> bool:
        """Return whether the next byte starts a frame of a new, uncompressed message."""
        return self._quick and self._parser.plain

    def _parse(self, read: SocketRead) -> None:
        """Parse one read, buffer the messages that it completes, and send the required answers."""
        self._timestamp_ns = read.timestamp_ns
        messages = self._parser.parse(read, self._reader.take_begun())
        # not earlier: others run during a long read, and may abort this connection
        self._came += messages
        self._reader.expect(plain=self._is_plain())
        self._answer_peer(read)

    def _answer_peer(self, read: SocketRead) -> None:
        try:
            self._flush()
        except OSError as error:
            if self._protocol.close_rcvd is None:  # otherwise the close frame gives a better reason
                self._on_connection_lost(error)
        if self._protocol.state is State.OPEN or self._protocol.state is State.CONNECTING:
            return
        received = self._protocol.close_rcvd
        problem = self._protocol.parser_exc
        at_ns = read.timestamp_ns
        error_ns = 0 if read.is_kernel and read.is_complete else read.timestamp_ns - read.empty_ns
        # RFC 6455 §7.1.5: the code and reason of the connection are those of the first close frame
        # received.
        if received is not None:
            self._set_end(received.code, received.reason, at_ns, error_ns)
        elif isinstance(problem, PayloadTooBig):
            limit = f"a message exceeds the limit of {self._protocol.max_message_size} bytes"
            self._set_end(TOO_LARGE, limit, at_ns, error_ns, ours=True)
        elif problem is not None and not isinstance(problem, EOFError):
            self._set_end(BAD_FRAME, str(problem), at_ns, error_ns, ours=True)
        elif not read.data:
            self._set_end(ABNORMAL, self._stream.error_text or str(problem or ""), at_ns, error_ns)

    def _flush(self) -> SendTime | None:
        data = b"".join(self._protocol.data_to_send())
        return (
            self._stream.write(data, until_ns=self._goodbye_until_ns)
            if data and not self._is_broken
            else None
        )

    def _on_connection_lost(self, error: OSError) -> None:
        self._reader.end()  # what follows is read here
        super()._on_connection_lost(error)

    def _say_goodbye(self, until_ns: int) -> None:
        self._goodbye_until_ns = until_ns
        self._protocol.send_close(NORMAL)
        self._flush()

    def _drop(self) -> None:
        self._reader.take_begun()
        self._parser.close()


def _no_upgrade(problem: Exception, headers: Mapping[str, str]) -> Cause:
    """Return the cause of an answer that is not an upgrade, although its status is 101, or that is
    not HTTP.

    `headers` are those of the answer.
    """
    for kind, header in CHOICES.items():
        if (
            isinstance(problem, NegotiationError)
            and kind in str(problem)
            and (name := TOKEN.match(headers[header]))
        ):
            return Cause(Code.NOT_OFFERED, {"kind": kind.rstrip("s"), "name": name[0]})
    if isinstance(problem, InvalidHeader) and problem.name == "Sec-WebSocket-Accept":
        if problem.value is None:
            return Cause(Code.NO_ACCEPT_HEADER)
        return Cause(Code.OTHER_ACCEPT_HEADER)
    cause = problem if problem.__cause__ is None else problem.__cause__
    if isinstance(cause, EOFError):  # with or without a part of the head
        return Cause(Code.CLOSED_WITHOUT_ANSWER)
    return Cause(Code.NO_UPGRADE).because(in_words(str(cause)))
