"""A call over WebRTC that its first message places, because the offer has the settings of the
session.

The transport is open when the host is connected. The first message is the set-up of the session. A
failure of the call is a message of its own (`CALL_FAILED`), and the end of the connection.
"""

# `SessionCall` is a `WebRtcCall` whose `send` does what `_opened` does for others. The first
# message goes by HTTP, so its receipt has the instant and the size of the request. `send` returns
# when the call is open, so ICE and DTLS are a part of the session's set-up.

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from bench.base.clock import Arrival, SendTime, monotonic_ns
from bench.base.errors import closed_on_failure
from bench.catalogue.causes import ConnectError
from bench.catalogue.outcomes import parsed
from bench.transport.interface import (
    ConnectRequest,
    ConnectTimings,
    DeltaListener,
    OnMessage,
    PacedSender,
)
from bench.transport.tcp import ByteStream
from bench.transport.webrtc.call import WebRtcCall
from bench.transport.webrtc.checks import check_path
from bench.transport.webrtc.signalling import connect_to_host, place_session
from bench.wire.connection import ABNORMAL, ConnectionClosed, ReceivedMessage, SendReceipt
from bench.wire.findings import CheckFinding
from bench.wire.service import CALL_FAILED


def open_session_call(request: ConnectRequest) -> SessionCall:
    """Connect to the host of a service. The first message that is sent places the call.

    Raise ConnectError: `connect_failed:dns|tcp|tls`, `timeout:dns|tcp|tls`,
    `failed:load_generator`.
    """
    phases = request.phases
    stream = connect_to_host(request)
    with closed_on_failure(stream):
        call = SessionCall(stream, request)
        call.prepare(request.limits, phases)
    phases.set_instant("opened")
    call.handshake = phases.connected({})
    return call


class SessionCall(WebRtcCall):
    """A call with a service, over an open connection with its host."""

    def __init__(self, stream: ByteStream, request: ConnectRequest) -> None:
        own, service = (str(address[0]) for address in stream.endpoints)
        super().__init__(own, service, request.path)
        self._stream: ByteStream | None = stream
        """The connection for the offer; None after the offer was sent."""
        self._request = request._replace(phases=ConnectTimings())
        self._failure: ConnectError | None = None
        """The failure of the call, until it is passed on."""

    def send(self, message: bytes, *, stamped: bool = False) -> SendReceipt | None:
        if (stream := self._stream) is None:
            return super().send(message, stamped=stamped)
        self._stream = None
        receipt = SendReceipt(SendTime(monotonic_ns()), len(message))
        request = self._request
        try:
            placed = place_session(stream, request, message, self.offer)
            receipt = placed.receipt
            self.connect(placed.answer, request.limits, request.phases)
        except ConnectError as error:
            self._failure = error
            self._say_goodbye()
        finally:
            stream.close()
        return receipt

    def receive_until(
        self,
        until_ns: int,
        on_message: OnMessage,
        reply: DeltaListener | None = None,
        sender: PacedSender | None = None,
    ) -> None:
        if (failure := self._failure) is None:
            super().receive_until(until_ns, on_message, reply, sender)
            return
        self._failure = None
        now_ns = monotonic_ns()
        on_message(ReceivedMessage(_report(failure), Arrival(now_ns, 0), 0))
        self._closed = ConnectionClosed(ABNORMAL, now_ns, failure.detail)

    def check_media(self) -> Iterator[CheckFinding]:
        if (facts := self.facts()) is not None:
            yield from check_path(facts)
        yield from super().check_media()

    def abort(self) -> None:
        if self._stream is not None:
            self._stream.close()
        super().abort()


def _report(failure: ConnectError) -> bytes:
    """Return the message about a failure, with its outcome."""
    family, code, _ = parsed(failure.outcome)
    error = {"type": family, "code": code, "message": failure.detail}
    return msgspec.json.encode({"type": CALL_FAILED, "error": error})
