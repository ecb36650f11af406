"""One client's connection: the upgrade, then frames and timestamps around a session's behaviour.

stream → ServerProtocol (websockets, Sans-I/O) → behaviour → frame → stream

The connection plans the absolute instant of its next due event, so timer errors do not accumulate.
The connection itself adds the frame header to an event. It does not use the protocol object for
that, because the object copies more data than a delta needs.
"""

# A connection passes these states:
#
# accepted ─▶ first bytes ─▶ upgrade ─▶ session ─▶ closing ─▶ closed
#                  └─▶ a receiver of another protocol (SIP, offers of WebRTC, HTTP/2)
#
# A fault may stall it in any of them (`_stalled`): nothing is read or sent then, and what has to
# follow (`go_on`) is called after the stall. All timers are in `_timers`, so the end cancels all of
# them.
#
# The library's protocol object parses frames and answers control frames. The instants are taken
# here, as close as possible to the kernel: a message has the timestamp of its last segment, and an
# event the clock directly before and after the write.

from __future__ import annotations

import asyncio
import json
import socket
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any

from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from bench.base.clock import monotonic_ns, utc_ns
from bench.base.units import NS_PER_S
from bench.wire.addresses import HostPort
from bench.wire.dialect import BinaryMessage
from rtbench_simulator import refusals
from rtbench_simulator.faults.injection import (
    DeliverEvent,
    EndResponse,
    FaultAction,
    FaultEntry,
    StallConnection,
    stall,
)
from rtbench_simulator.faults.kinds import ABNORMAL, EXPIRED, OF_SERVER, Fault
from rtbench_simulator.ground_truth_log import LatenessCounts
from rtbench_simulator.refusals import RefusedUpgrade
from rtbench_simulator.server_events import (
    ArrivalSpan,
    Ids,
    OutgoingEvent,
    error_fields,
    event_bytes,
    whole_frame,
)
from rtbench_simulator.serving.handshake import admit
from rtbench_simulator.serving.service import AcceptedUpgrade, Receiver, ServerState
from rtbench_simulator.serving.stream import ServerStream
from rtbench_simulator.simulated_session import SimulatedSession

# an append may have 15 MiB, 20 in base64; a longer one is an error, not a close
MAX_MESSAGE_BYTES = 32 << 20
CLOSE_LIMIT_S = 5.0
REALTIME = Subprotocol("realtime")
FIRST_REQUEST_S = 60.0
"""The time after which a connection without a complete request is ended."""


def _chosen(_: ServerProtocol, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """Return the only subprotocol that the simulated services have, if it is offered."""
    return REALTIME if REALTIME in offered else None


class _SimulatedProtocol(ServerProtocol):
    """The WebSocket protocol of a connection to the simulator.

    A header marks every handshake response as simulated, also the responses that the library itself
    creates. While the lateness of the simulator is high enough for a warning, another header states
    the lateness.
    """

    def __init__(self, lateness: LatenessCounts, **options: Any) -> None:
        super().__init__(select_subprotocol=_chosen, **options)
        self._lateness = lateness

    def send_response(self, response: Response) -> None:
        request_id = str(uuid.uuid4())
        response.headers.update(self._lateness.headers)
        response.headers["x-ms-region"] = "simulated"
        response.headers["apim-request-id"] = request_id
        response.headers["x-request-id"] = request_id
        super().send_response(response)


class Connection:
    """One client's connection, until its socket is closed. The connection then calls `ended`
    once.
    """

    def __init__(
        self,
        shared: ServerState,
        sock: socket.socket,
        client: HostPort,
        ended: Callable[[Connection], None],
    ) -> None:
        self._client = client
        self._state = shared
        self._ended = ended
        self._truth = shared.config.truth
        extensions = [ServerPerMessageDeflateFactory()] if shared.config.deflate else None
        self._protocol = _SimulatedProtocol(
            shared.lateness, max_size=MAX_MESSAGE_BYTES, extensions=extensions
        )
        self._framed: Callable[[bytes], bytes] = whole_frame
        self._behaviour: SimulatedSession | None = None
        self._fragments: list[bytes] = []
        self._binary = False  # True if the fragments are a binary message
        self._events_per_segment = shared.config.profile.events_per_segment
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._stalled = False  # True while nothing is sent
        self._overdue_ns: int | None = None  # instant of an expiry that a stall delays
        self._injector = shared.injector()
        self.number = shared.connection_count
        on_hello = partial(self._inject, "tls") if self._injector else None
        self._stream = ServerStream(
            shared.loop, sock, shared.config.tls, self._received, self._on_closed, on_hello
        )
        self._is_first = True  # no bytes were received
        self._receiver: Receiver | None = None
        self._timers["first"] = shared.loop.call_later(FIRST_REQUEST_S, self._end_without_request)
        self._inject("tcp")

    def _end_without_request(self) -> None:
        is_used = self._behaviour is not None or (
            self._receiver is not None and self._receiver.has_received
        )
        if not is_used and not self._stalled:
            self._stream.end()

    def close(self, code: int, reason: str = "") -> None:
        """Start the closing handshake. If the connection is not open, or is stalled, it ends at
        once.
        """
        if self._protocol.state is not State.OPEN or self._stalled:
            self._stream.end()
            return
        self._protocol.send_close(code, reason)
        self._timers["close"] = self._state.loop.call_later(CLOSE_LIMIT_S, self._stream.end)
        self._flush()

    def go_away(self, left_s: float) -> None:
        """Announce that the server closes the connection, if the protocol has words for it."""
        if self._behaviour is not None:
            now_ns = monotonic_ns()
            self._behaviour.go_away(now_ns, left_s)
            self.send_due(now_ns)

    def strike(self, fault: Fault) -> None:
        """Inject and log a fault of the server."""
        if fault.kind == "blackhole" and self._stalled:  # it would end with the shorter stall
            return
        session = self._behaviour.ids.session if self._behaviour is not None else None
        where = monotonic_ns(), self.number, None
        self._state.struck(FaultEntry(session, "fault", fault.kind, fault.at, *where))
        self._do(stall(fault.during_s.length) if fault.kind == "blackhole" else fault)

    # Input

    def _received(self, data: bytes, arrival: ArrivalSpan) -> None:
        if self._is_first:
            self._is_first = False
            self._receiver = self._state.connect(data, self._client, self._stream)
        if self._receiver is not None:
            if not self._receiver.received(data, arrival.at_ns):
                self._stream.finish()
            return
        self._protocol.receive_data(data)
        events = self._protocol.events_received()
        # If the buffer is empty, the timestamp is that of the last event.
        is_own_timestamp = arrival.is_kernel and not self._protocol.reader.buffer
        last = arrival._replace(since_ns=arrival.at_ns) if is_own_timestamp else arrival
        for event in events:
            if isinstance(event, Request):
                self._inject("upgrade", partial(self._upgrade, event, arrival.at_ns))
            elif isinstance(event, Frame):
                self._frame(event, last if event is events[-1] else arrival)
        self._flush()
        self.send_due(monotonic_ns())

    def _upgrade(self, request: Request, at_ns: int) -> None:
        # the protocol object ended it, because data that is no frame followed the request
        if self._protocol.eof_sent:
            return
        if request.path == "/":
            # another program asks for the URLs, at the address that it used
            urls = self._state.urls(request.headers.get("Host", ""))
            body = json.dumps({"urls": urls})
            self._protocol.send_response(self._json_response(HTTPStatus.OK, body))
            return
        verdict = self._verdict(request, at_ns)
        if isinstance(verdict, RefusedUpgrade):
            self._state.refused(verdict, at_ns)
            response = self._json_response(verdict.status, verdict.body)
            response.headers.update(verdict.headers)
        else:
            response = self._protocol.accept(request)
            response.headers.update(self._state.quota.headers(at_ns))
        self._protocol.send_response(response)
        # The protocol object is not open if the upgrade was refused, or if the request was no
        # upgrade.
        if isinstance(verdict, AcceptedUpgrade) and self._protocol.state is State.OPEN:
            self._open(verdict, at_ns)

    def _json_response(self, status: int, body: str) -> Response:
        """Return a response that is no upgrade. That of websockets is plain text."""
        response = self._protocol.reject(status, body)
        del response.headers["Content-Type"]
        response.headers["Content-Type"] = "application/json"
        return response

    def _verdict(self, request: Request, at_ns: int) -> AcceptedUpgrade | RefusedUpgrade:
        headers = {name.lower(): value for name, value in request.headers.raw_items()}
        config = self._state.config
        injector = self._injector
        verdict = admit(
            config.services,
            request.path,
            headers,
            config.authenticator,
            utc_ns() / NS_PER_S,
            lambda form, lacks: injector.refusal(form, at_ns, lacks) if injector else None,
        )
        if isinstance(verdict, RefusedUpgrade) or verdict.complaint:
            return verdict
        return self._state.limit(at_ns) or verdict

    def _open(self, accepted: AcceptedUpgrade, at_ns: int) -> None:
        if accepted.complaint:
            complaint = accepted.complaint
            self._state.refused(complaint, at_ns)
            if complaint.is_event:
                error = error_fields(complaint.code, complaint.message)
                self._protocol.send_text(
                    event_bytes("error", Ids(uuid.uuid4().hex[:12]).event(), error)
                )
            self.close(complaint.close_code, complaint.close_reason)
            return
        if extensions := self._protocol.extensions:
            self._framed = lambda body: Frame(
                Opcode.BINARY if type(body) is BinaryMessage else Opcode.TEXT, body
            ).serialize(mask=False, extensions=extensions)
        self._behaviour = self._state.new_session(accepted)
        self._session_id = self._behaviour.ids.session
        self._behaviour.wake = lambda: self.send_due(monotonic_ns())
        if self._injector:
            self._injector.session_id = self._session_id
            self._injector.places = self._behaviour.fault_places
            self._injector.without_audio = self._behaviour.without_audio
        if self._truth and self._state.config.authenticator.tokens:
            self._truth.opened(self._session_id, accepted.token, at_ns)
        opened_ns = monotonic_ns()
        self._behaviour.open(opened_ns)
        expires_ns = opened_ns + int(self._state.config.profile.max_session_s * NS_PER_S)
        self._timers["expiry"] = self._state.loop.call_at(
            expires_ns / NS_PER_S, self._expire, expires_ns
        )
        self._ping_later()

    def _frame(self, frame: Frame, arrival: ArrivalSpan) -> None:
        at_ns = arrival.at_ns
        if (
            self._stalled
            or self._behaviour is None
            or frame.opcode in (Opcode.PING, Opcode.PONG, Opcode.CLOSE)
        ):
            return  # the protocol object answers control frames
        if frame.opcode is not Opcode.CONT:
            self._binary = frame.opcode is Opcode.BINARY
        self._fragments.append(bytes(frame.data))
        if not frame.fin:
            return
        message = b"".join(self._fragments)
        self._fragments = []
        receive = self._behaviour.receive_binary if self._binary else self._behaviour.receive_text
        dropped = self._state.servers.dropped
        received = receive(message, at_ns)
        if self._truth:
            self._truth.received(self._session_id, received, arrival)
        if self._injector:
            self._injector.received(received.type, at_ns)
        if self._state.servers.dropped > dropped:
            self.close(refusals.TRY_AGAIN_LATER, "overloaded")

    # Output

    def send_due(self, now_ns: int) -> None:
        """Send the due events, and plan the next one."""
        if self._behaviour is None or not self._sends():
            return
        due = self._behaviour.due(now_ns)
        if self._injector:
            for action in self._injector.actions(due, now_ns):
                self._do(action)
                if not self._sends():
                    return
        else:
            for events in (
                zip(due)
                if self._events_per_segment == 1
                else grouped_writes(due, self._events_per_segment)
            ):
                self._send(events)
                if not self._sends():
                    return
        self._state.plan(self, self._behaviour.next_due_ns())

    def _sends(self) -> bool:
        return self._protocol.state is State.OPEN and not self._stalled

    def _send(self, events: Sequence[OutgoingEvent], frame: bytes | None = None) -> None:
        """Send events in one write, and so in one TCP segment if they fit.

        `frame`: the bytes to send instead, if there is only one event.
        """
        frames = (
            [frame]
            if frame is not None
            else [self._framed(event.body) for event in events if event.body]
        )
        data = b"".join(frames)
        send_start_ns = monotonic_ns()
        send_end_ns = monotonic_ns() if self._stream.write(data) else None
        # an event without a body only closes
        for event, frame in zip(events, frames, strict=False):
            self._state.lateness.add(send_start_ns - event.due_ns)
            if self._truth:
                self._truth.sent(self._session_id, event, send_start_ns, send_end_ns, len(frame))
        if events[-1].close:
            self.close(*events[-1].close)

    # Faults

    def end_stall(self, now_ns: int) -> None:
        """Make all events that the stall delayed due now."""
        if self._injector:
            self._injector.released(now_ns)

    def _inject(self, place: str, go_on: Callable[[], None] | None = None) -> None:
        """Inject the faults of a place in the connection's life, then call `go_on`.

        If a fault stalls the connection, `go_on` is called after the stall. If the stall does not
        end, `go_on` is never called.
        """
        for action in self._injector.at(place, monotonic_ns()) if self._injector else ():
            self._do(action, go_on)
            if self._stalled:
                return
        if go_on:
            go_on()

    def _do(self, action: FaultAction, go_on: Callable[[], None] | None = None) -> None:
        """Execute the action of a fault. If the action is a stall, the connection calls `go_on`
        when the stall ends.
        """
        match action:
            case DeliverEvent(event, frame):
                self._send((event,), frame)
            case bytes(data):
                self._stream.write(data)
            case EndResponse(response_id, status, details) if self._behaviour:
                self._behaviour.end_response(response_id, monotonic_ns(), status, details)
            case StallConnection(None):
                self._stalled = True
                self._stream.ignore_input()
            case StallConnection(int(for_ns)):
                self._stalled = True
                self._stream.pause()
                self._timers["rest"] = self._state.loop.call_later(
                    for_ns / NS_PER_S, self._move_on, go_on
                )
            case Fault(kind="freeze", duration_s=float(duration_s)):
                self._state.freeze(duration_s)
            case Fault(kind="session_expired", reason=reason):
                self._expire(monotonic_ns(), reason or EXPIRED)
            case Fault(code=int(code)) if code != ABNORMAL:
                self.close(code)
            case Fault(kind=kind):  # no close frame, and no more events
                self._stalled = True
                self._stream.ignore_input()
                ends = dict.fromkeys(("reset", *OF_SERVER), self._stream.reset)
                ends["tls_alert"] = self._stream.fail_tls
                ends.get(kind, self._stream.finish)()

    def _move_on(self, go_on: Callable[[], None] | None) -> None:
        self._stalled = False
        self._stream.resume()
        if go_on:
            go_on()
            self._flush()
        now_ns = monotonic_ns()
        self.end_stall(now_ns)
        self.send_due(now_ns)
        self._flush()
        if self._overdue_ns is not None and not self._stalled:
            self._expire(self._overdue_ns)

    def _ping(self) -> None:
        if self._protocol.state is State.OPEN:
            self._protocol.send_ping(b"")
            self._flush()
            self._ping_later()

    def _ping_later(self) -> None:
        self._timers["ping"] = self._state.loop.call_later(
            self._state.config.profile.ping_interval_s, self._ping
        )

    def _expire(self, due_ns: int, reason: str = EXPIRED) -> None:
        """End a session that has reached its maximum duration, as the service does.

        If the connection is stalled, the session ends after the stall. `reason`: the reason in the
        service's event.
        """
        if self._behaviour is None or self._protocol.state is not State.OPEN:
            return
        if self._stalled:
            self._overdue_ns = due_ns
            return
        message = refusals.EXPIRED_REASON.format(
            minutes=self._state.config.profile.max_session_s / 60
        )
        self._send((self._behaviour.expiry(due_ns, message, reason),))

    def _flush(self) -> None:
        """Write the output of the protocol object: the upgrade's response, pongs and close frames.

        An empty output (b"") means that the connection ends.
        """
        if self._stalled:
            return
        for data in self._protocol.data_to_send():
            if data:
                self._stream.write(data)
            else:
                self._stream.finish()

    def _on_closed(self) -> None:
        self._state.plan(self, None)
        for timer in self._timers.values():
            timer.cancel()
        self._ended(self)
        if self._receiver:
            self._receiver.ended()
        if self._behaviour:
            self._behaviour.end()
        if self._injector:
            self._injector.end()
        # they refer to each other, and nothing collects garbage under load
        for component in (self._protocol, self):
            vars(component).clear()


def grouped_writes(events: Iterable[OutgoingEvent], size: int) -> Iterator[Sequence[OutgoingEvent]]:
    """Yield the events of each write: at most `size` events, all due at the same instant.

    The next event is requested only after the previous events were written.
    """
    # Events that are due together share a segment, as those of a service that writes several at
    # once do.
    group: list[OutgoingEvent] = []
    for event in events:
        if group and group[-1].due_ns != event.due_ns:
            yield group
            group = []
        group.append(event)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
