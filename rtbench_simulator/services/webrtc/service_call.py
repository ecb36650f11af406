"""A call of the simulator as a service: the session of the Realtime API, whose events are on the
data channel.
"""

from collections.abc import Mapping
from http import HTTPStatus

from bench.base.clock import Arrival, SendTime, monotonic_ns
from bench.base.units import NEVER_NS, NS_PER_S
from rtbench_simulator.server_events import ArrivalSpan, OutgoingEvent
from rtbench_simulator.services.webrtc.call import CallRequest, SimulatedCall
from rtbench_simulator.services.webrtc.event_channel import EventChannel
from rtbench_simulator.services.webrtc.output_buffer import OutputBuffer, OutputFrame
from rtbench_simulator.services.webrtc.session import CallSession, TrackSession
from rtbench_simulator.simulated_session import SessionParts


# Events and audio have two clocks: the session plans deltas, and the buffer plays them. Before each
# frame, deltas that are due are moved into the buffer, so that the frame has them.
class ServiceCall(SimulatedCall):
    """A call to the service. Its session starts when the data channel is open."""

    def __init__(self, request: CallRequest, model: str = "") -> None:
        super().__init__(request, needs_channel=True)
        self._model = model
        self._injector = request.injector
        self._token = request.token
        self._buffer: OutputBuffer | None = None
        """The buffer of the audio; None until the data channel is open."""
        self._session: TrackSession | None = None
        self._events: EventChannel | None = None

    def response(self, call_id: str) -> tuple[HTTPStatus, bytes, Mapping[str, str]]:
        return HTTPStatus.CREATED, self.description, {"Location": f"/v1/realtime/calls/{call_id}"}

    def _open(self, at_ns: int) -> None:
        """Start the session of the call. Its data channel is open."""
        parts = self._session_parts()
        self._buffer = OutputBuffer(monotonic_ns(), self._codec.audio, self._codec.delay_ns)
        session = self._session = self._track_session(parts, self._buffer)
        self._audio.begin(session.ids.session, parts.rng.spawn(2), self._dropped)
        truth = self._shared.config.truth
        if truth and self._shared.config.authenticator.tokens:
            truth.opened(session.ids.session, self._token, at_ns)
        self._events = EventChannel(self._shared, session, self._injector, self)

    def _session_parts(self) -> SessionParts:
        return self._shared.next_session()

    def _track_session(self, parts: SessionParts, buffer: OutputBuffer) -> TrackSession:
        return CallSession(self._model, parts, self._codec.audio.name, buffer)

    # Input

    def _pass_messages(self, arrival: Arrival) -> None:
        channel = self._peer.channel
        if (
            self._events is None
            and channel is not None
            and channel.is_open
            and self._peer.ending is None
        ):
            self._open(arrival.at_ns)
        for message in self._peer.pop_messages():
            if self._events is not None:
                self._events.received(message, arrival)

    def _accept(self, audio: bytes, span: ArrivalSpan) -> None:
        if (session := self._session) is None:
            return
        before_ns = session.next_due_ns()
        received = session.hear(audio, span.at_ns)
        if truth := self._shared.config.truth:
            truth.received(session.ids.session, received, span)
        # Otherwise nothing that the caller said changed what is due, which is so for nearly every
        # packet.
        if session.next_due_ns() != before_ns:
            session.wake()

    # Output

    def _works(self) -> bool:
        """Return whether packets are read and sent: the call has not ended, and is not stalled."""
        return super()._works() and (self._events is None or not self._events.is_stalled)

    def stall(self, for_ns: int | None) -> None:
        self._shared.plan(self, None)
        if for_ns is not None:
            self._shared.loop.remove_reader(self._socket)
            self._shared.loop.call_later(for_ns / NS_PER_S, self._end_stall)

    def _end_stall(self) -> None:
        if self._is_closed or self._events is None:
            return
        self._shared.loop.add_reader(self._socket, self._read)
        now_ns = monotonic_ns()
        self._events.end_stall(now_ns)
        self._advance(now_ns)

    def send_event(self, body: bytes, *, is_binary: bool) -> tuple[SendTime | None, int]:
        channel = self._peer.channel
        assert channel is not None, "the offer has a channel"
        size = channel.send(body, monotonic_ns(), is_binary=is_binary)
        sent = self._send_packets()
        return None if channel.unsent else sent, size

    def _send_events(self, now_ns: int) -> None:
        if self._events is not None:
            self._events.send_due(now_ns)

    def _send_frames(self, now_ns: int) -> None:
        buffer = self._buffer
        session = self._session
        if buffer is None or session is None:
            return
        while buffer.next_ns <= now_ns and self._works():
            if (due_ns := session.next_due_ns()) is not None and due_ns <= now_ns:
                session.wake()  # a delta may be due in this frame
            frame = buffer.pop_frame()
            session.report(frame)
            payload = frame.audio if self._codec.encode is None else self._codec.encode(frame.audio)
            self._audio.add(_event_of(frame), payload, now_ns)
            if frame.started or frame.stopped:
                session.wake()

    @property
    def _next_ns(self) -> int:
        due_ns = min(super()._next_ns, NEVER_NS if self._events is None else self._events.next_ns)
        return due_ns if self._buffer is None else min(due_ns, self._buffer.next_ns)

    def _end_session(self) -> None:
        if self._events is not None:
            self._events.end()
        self._events = self._session = None


def _event_of(frame: OutputFrame) -> OutgoingEvent:
    """Return the event of a frame, for the path and for the log."""
    return OutgoingEvent(
        frame.due_ns,
        "audio",
        b"",
        frame.response_id or None,
        len(frame.audio),
        audible_byte=frame.audible_byte,
    )
