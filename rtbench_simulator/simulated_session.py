"""The interface of a simulated session, and the descriptions of the client events that it
handles. Pure.
"""

# The connection calls `open` once, then `receive_text` or `receive_binary` for each message and
# `due` when `next_due_ns` is reached, and `end` once. Besides them, only faults (`end_response`)
# and the maximum duration (`expiry`) act on a session.
#
# A service with events of the Realtime API's form (`type`, `event_id`, an `error` for what is
# wrong) implements `_handle`. The others override `receive`, because their messages are named or
# refused in another way.

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import cycle
from typing import Annotated, Any, Generic, NamedTuple, TypeVar

import msgspec
import numpy as np

from bench.files.safe_io import JsonError, read_json
from bench.files.validation import Validator
from rtbench_simulator import refusals
from rtbench_simulator.faults.injection import PLACE_OF_EVENT, without_audio_tokens
from rtbench_simulator.profile import Profile
from rtbench_simulator.quota import ResponseSlots, ServiceQuota
from rtbench_simulator.recorded_replies import RecordedReply
from rtbench_simulator.server_events import (
    Ids,
    Json,
    Outbox,
    OutgoingEvent,
    RejectedError,
    error_fields,
    event_bytes,
)
from rtbench_simulator.session import checks
from rtbench_simulator.turn_taking import TurnDecision

NonNegative = Annotated[int, msgspec.Meta(ge=0)]


class EventReceipt(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """The result of one client event, for the ground-truth log.

    `response` is the id of the response that the event created or cancelled. Byte positions are
    offsets in the session's stream of input audio; a range includes its start and excludes its end.
    `not_simulated` are the parameters that were accepted, but have no effect. `audio_end_ms` is the
    item's remaining audio after a truncate. `delegation` is the id of the delegation that the event
    answers or continues. `decisions` are those about the caller's turn.
    """

    type: str
    event_id: str | None
    response: str | None
    from_byte: NonNegative | None = None
    to_byte: NonNegative | None = None
    not_simulated: Sequence[str] | None = None
    item: str | None = None
    call: str | None = None
    audio_end_ms: NonNegative | None = None
    delegation: str | None = None
    decisions: Sequence[TurnDecision] | None = None


ReceiptFields = dict[str, Any]  # further fields of an EventReceipt, by name


def receipt_of(kind: str, fields: ReceiptFields) -> EventReceipt:
    """Return the receipt of a message without an id. `fields` are further ones."""
    own: ReceiptFields = {"type": kind, "event_id": None, "response": None}
    return EventReceipt(**own | fields)


class SimulatedSession(ABC):
    """The interface of a simulated session, as its connection uses it."""

    ids: Ids
    fault_places: Mapping[str, str] = PLACE_OF_EVENT
    """The place of faults that each event is."""
    without_audio = staticmethod(without_audio_tokens)
    """A function that returns an event without the tokens of audio that is not sent."""
    wake: Callable[[], None] = staticmethod(lambda: None)
    """A function that lets the connection look for due events. It is called after input that is
    not a message."""

    @abstractmethod
    def open(self, at_ns: int) -> None:
        """Start the session. The connection calls this after the response to the client's
        upgrade.
        """

    def receive_text(self, message: bytes | bytearray, at_ns: int) -> EventReceipt:
        try:
            event = read_json(bytes(message), numbers=False)
        except JsonError:
            event = None
        if isinstance(event, dict):
            return self.receive(event, at_ns)
        return self._unreadable(
            at_ns, "invalid_json", "Could not parse the message as a JSON object."
        )

    def receive_binary(self, message: bytes, at_ns: int) -> EventReceipt:
        return self._unreadable(at_ns, "invalid_event", "A binary message is not supported.")

    def _unreadable(self, at_ns: int, code: str, problem: str) -> EventReceipt:
        self._reject(at_ns, RejectedError(code, problem), None)
        return receipt_of(code, {})

    def receive(self, event: Json, at_ns: int) -> EventReceipt:
        event_id = event.get("event_id")
        event_id = event_id if isinstance(event_id, str) else None
        fields: ReceiptFields = {
            "type": str(event.get("type")),
            "event_id": event_id,
            "response": None,
        }
        try:
            fields |= self._handle(event, at_ns) or {}
        except RejectedError as rejected:
            self._reject(at_ns, rejected, event_id)
        return EventReceipt(**fields)

    @abstractmethod
    def next_due_ns(self) -> int | None:
        """Return the instant of the next call of `due`; None if nothing is planned."""

    @abstractmethod
    def due(self, now_ns: int) -> Iterator[OutgoingEvent]:
        """Yield the due events, each rendered when it is requested."""

    def end_response(  # noqa: B027
        self, response_id: str, at_ns: int, status: str, details: Json
    ) -> None:
        """End a response early. Do nothing if it has ended, or if the session has no responses."""

    def go_away(self, at_ns: int, left_s: float) -> None:  # noqa: B027
        """Announce the end of the session in `left_s` seconds, if the protocol can."""

    def expiry(self, due_ns: int, message: str, reason: str) -> OutgoingEvent:
        """Return the event with which the service ends the session. `reason`: the reason in
        GPT-Live's event.
        """
        body = event_bytes(
            "error", self.ids.event(), error_fields(refusals.SESSION_EXPIRED, message)
        )
        return OutgoingEvent(due_ns, "error", body, close=(refusals.GOING_AWAY, message))

    @abstractmethod
    def end(self) -> None:
        """Clear the references to all parts of the session, because the parts refer to each other.

        Call no method after this.
        """

    @abstractmethod
    def _handle(self, event: Json, at_ns: int) -> ReceiptFields | None:
        """Process a client event. Raise RejectedError if it is invalid."""

    def _reject(  # noqa: B027
        self, at_ns: int, rejected: RejectedError, event_id: str | None
    ) -> None:
        """Plan the event that reports the error, if the protocol has one."""


class PlannedSession(SimulatedSession):
    """A session that plans its events in one outbox, and speaks recorded replies."""

    def __init__(self, parts: SessionParts, *, obfuscated: bool = False) -> None:
        self.ids = parts.ids
        self._profile = parts.profile
        self._rng = parts.rng
        self._next_reply = cycle(parts.replies).__next__
        self._outbox = Outbox(parts.ids, parts.rng, obfuscated=obfuscated)
        self._servers = parts.servers
        self._servers.sessions += 1

    def next_due_ns(self) -> int | None:
        return self._outbox.next_due_ns()

    def due(self, now_ns: int) -> Iterator[OutgoingEvent]:
        return self._outbox.due(now_ns)

    def _reject(self, at_ns: int, rejected: RejectedError, event_id: str | None) -> None:
        due_ns = self._outbox.answer_due(at_ns, self._profile.delays.item_created)
        self._outbox.plan_step(due_ns, partial(self._outbox.error, rejected, event_id))

    def end(self) -> None:
        self._servers.sessions -= 1
        for component in (self._outbox, self):
            vars(component).clear()


class EndingSession(PlannedSession):
    """A session that ends with an event that closes its connection. Later events are not sent."""

    _is_closed = False

    def due(self, now_ns: int) -> Iterator[OutgoingEvent]:
        for event in super().due(now_ns):
            if self._is_closed:
                return
            self._is_closed = event.close is not None
            yield event

    def next_due_ns(self) -> int | None:
        return None if self._is_closed else super().next_due_ns()


class DuplexSession(EndingSession):
    """A session that hears and speaks all the time, and ends when its client asks for it."""

    events: Mapping[str, ClientEvent[Any]]
    """The client events that it accepts, by their types."""
    _is_closing = False

    def _handle(self, event: Json, at_ns: int) -> ReceiptFields | None:
        if self._is_closing:
            return None
        name = event.get("type")
        if not isinstance(name, str) or name not in self.events:
            raise RejectedError("invalid_value", f"Unknown or unexpected event: {name!r}.", "type")
        self._check_order(name)
        return self.events[name].handled(self, event, at_ns)

    def _check_order(self, name: str) -> None:
        """Raise RejectedError if another event must come before this one."""

    def _send(self, name: str, fields: Json, at_ns: int, facts: Json | None = None) -> None:
        self._outbox.plan_step(at_ns, partial(self._outbox.event, name, fields, facts=facts))


def json_fields(message: bytes | bytearray) -> Json:
    """Return the fields of a message; {} if it is no JSON object."""
    try:
        fields = read_json(bytes(message), numbers=False)
    except JsonError:
        return {}
    return fields if isinstance(fields, dict) else {}


class SessionParts(NamedTuple):
    """What a server gives to each of its sessions. `quota` and `servers` are shared by all
    sessions.
    """

    expires_at_s: int
    profile: Profile
    replies: Sequence[RecordedReply]
    rng: np.random.Generator
    ids: Ids
    quota: ServiceQuota
    servers: ResponseSlots


SimulatedDialect = Callable[[str, SessionParts], SimulatedSession]
"""A function that makes a session with a model, in the protocol of a service."""
SessionT = TypeVar("SessionT", bound=SimulatedSession)
Handler = Callable[[SessionT, Json, int], ReceiptFields | None]


class ClientEvent(NamedTuple, Generic[SessionT]):
    """The handler and the form of one type of client event."""

    handler: Handler[SessionT]
    form: Validator[Json]

    def handled(self, session: SessionT, event: Json, at_ns: int) -> ReceiptFields:
        """Check an event and call its handler. Raise RejectedError if the event is invalid."""
        # Validators add to this list the parameters that they accept without an effect.
        noted: list[str] = []
        fields = self.form.read(checks.EventValue("", event, noted))
        receipt = self.handler(session, fields, at_ns) or {}
        return receipt | {"not_simulated": noted} if noted else receipt


def client_event(
    handler: Handler[SessionT], *required: str, **fields: Validator[Any]
) -> ClientEvent[SessionT]:
    """Return the description of a type of client event. `fields` are those in addition to `type`
    and `event_id`.
    """
    form = checks.object_of(
        {"type": checks.ANYTHING, "event_id": checks.short(512), **fields}, *required
    )
    return ClientEvent(handler, form)
