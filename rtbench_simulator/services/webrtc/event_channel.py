"""The events of one call on its data channel: the client's messages, the due events of the
session, and faults.
"""

from typing import Protocol

from bench.base.clock import Arrival, SendTime, monotonic_ns
from bench.base.units import NEVER_NS, NS_PER_S
from bench.protocols.sctp.data_channel import ChannelMessage
from rtbench_simulator import refusals
from rtbench_simulator.faults.injection import (
    DeliverEvent,
    EndResponse,
    FaultAction,
    FaultInjector,
    StallConnection,
)
from rtbench_simulator.faults.kinds import EXPIRED, Fault
from rtbench_simulator.server_events import ArrivalSpan, OutgoingEvent
from rtbench_simulator.serving.service import ServerState
from rtbench_simulator.simulated_session import SimulatedSession


class CallControl(Protocol):
    """The call to which the events belong."""

    def send_event(self, body: bytes, *, is_binary: bool) -> tuple[SendTime | None, int]:
        """Send an event. Return the instant and the size; None if it must wait."""

    def stall(self, for_ns: int | None) -> None:
        """Read and send nothing for this time; without end if it is None."""

    def close(self, reason: str = "", *, is_reset: bool = False) -> None:
        """End the call."""


# For a data channel, and for an event stream of HTTP/2, it is what
# `rtbench_simulator.serving.connection` is for a WebSocket: messages in, due events and faults out,
# the maximum duration, and the log. The owner sends, stalls, and closes (`CallControl`).
class EventChannel:
    """The events of one call, from the opening of its channel to its end."""

    def __init__(
        self,
        shared: ServerState,
        session: SimulatedSession,
        injector: FaultInjector | None,
        control: CallControl,
    ) -> None:
        self._shared = shared
        self._session = session
        self._injector = injector
        self._control = control
        self._session_id = session.ids.session
        self._truth = shared.config.truth
        self.is_stalled = self._is_over = False
        opened_ns = monotonic_ns()
        self._expires_ns = opened_ns + int(shared.config.profile.max_session_s * NS_PER_S)
        if injector is not None:
            injector.session_id = self._session_id
            injector.places = session.fault_places
            injector.without_audio = session.without_audio
        session.wake = lambda: self.send_due(monotonic_ns())
        session.open(opened_ns)

    @property
    def next_ns(self) -> int:
        due_ns = self._session.next_due_ns()
        return min(self._expires_ns, NEVER_NS if due_ns is None else due_ns)

    def received(self, message: ChannelMessage, arrival: Arrival) -> None:
        receive = self._session.receive_binary if message.is_binary else self._session.receive_text
        receipt = receive(message.data, arrival.at_ns)
        if self._truth:
            self._truth.received(
                self._session_id,
                receipt,
                ArrivalSpan(arrival.at_ns, arrival.at_ns, arrival.is_kernel),
            )
        if self._injector:
            self._injector.received(receipt.type, arrival.at_ns)

    def send_due(self, now_ns: int) -> None:
        """Send the due events."""
        if self._expires_ns <= now_ns and self._sends():
            self._expire(EXPIRED)
        if not self._sends():
            return
        due = self._session.due(now_ns)
        for action in (
            self._injector.actions(due, now_ns) if self._injector else map(DeliverEvent, due)
        ):
            self._do(action)
            if not self._sends():
                return

    def _sends(self) -> bool:
        return not self.is_stalled and not self._is_over

    def _send(self, event: OutgoingEvent, *, is_binary: bool = False) -> None:
        if event.body:
            sent, size = self._control.send_event(event.body, is_binary=is_binary)
            start_ns, end_ns = (
                (monotonic_ns(), None) if sent is None else (sent.at_ns, sent.at_ns + sent.width_ns)
            )
            self._shared.lateness.add(start_ns - event.due_ns)
            if self._truth:
                self._truth.sent(self._session_id, event, start_ns, end_ns, size)
        if event.close:
            self._control.close(event.close[1])

    def _do(self, action: FaultAction) -> None:
        match action:
            case DeliverEvent(event, frame):  # only the fault `binary` has a frame of its own
                self._send(event, is_binary=frame is not None)
            case EndResponse(response_id, status, details):
                self._session.end_response(response_id, monotonic_ns(), status, details)
            case StallConnection(for_ns):
                self.is_stalled = True
                self._control.stall(for_ns)
            case Fault(kind="freeze", duration_s=float(duration_s)):
                self._shared.freeze(duration_s)
            case Fault(kind="session_expired", reason=reason):
                self._expire(reason or EXPIRED)
            case Fault(kind=kind):
                self._control.close(is_reset=kind == "reset")

    def end_stall(self, now_ns: int) -> None:
        """Make all events that the stall delayed due now, and send them."""
        self.is_stalled = False
        if self._injector:
            self._injector.released(now_ns)
        self.send_due(now_ns)

    def _expire(self, reason: str) -> None:
        message = refusals.EXPIRED_REASON.format(
            minutes=self._shared.config.profile.max_session_s / 60
        )
        self._send(self._session.expiry(monotonic_ns(), message, reason))

    def end(self) -> None:
        """Clear the references to the session and to the call, which refer to this object."""
        self._is_over = True
        self._session.end()
        if self._injector:
            self._injector.end()
        del self._session, self._control, self._injector
