"""The effects of a profile's faults on one connection, or on one event, as actions for the
connection. Pure.

due events → injector → actions: send, stall, reset, close, end the response

Each fault has a place, which occurs in a session or in each response. A fault is injected there at
most once, or into `count` consecutive events. The random decision depends only on the seed, the
session, the response and the fault. So it depends neither on time nor on the random delays of the
profile.
"""

# Faults are a filter between the outbox and the connection. `actions` turns each due event into
# zero, one, or several actions, lazily: the connection takes one, executes it, and asks for the
# next. So a stall or the end of a response takes effect between two actions, and what is not taken
# yet stays in `_actions` for the next call.
#
# Several faults may meet at one event. Those before the event (an error, a stall) come first, in
# the order of the profile, and then the event passes all that change it. Faults of a whole response
# (`burst`, `no_audio`, `endless`) are a state of `_FaultyResponse`, through which each of its
# events passes.
#
# A place is named by the profile, and the table `places` of the session says which event it is. A
# service without an event refuses the fault by its `lacks`, so no fault is silently ignored.

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from itertools import chain
from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import structs

from bench.base.units import NS_PER_MS, NS_PER_S
from rtbench_simulator.faults.kinds import ALL, KINDS, OF_RESPONSES, OF_SERVER, Fault
from rtbench_simulator.refusals import (
    AFTER_UPGRADE,
    BEFORE_UPGRADE,
    PostUpgradeRefusal,
    RefusedUpgrade,
)
from rtbench_simulator.server_events import (
    GA,
    PREVIEW,
    Json,
    OutgoingEvent,
    error_fields,
    event_bytes,
    whole_frame,
)


@dataclass(frozen=True)
class DeliverEvent:
    """The action to send an event. `frame` is the bytes on the wire, if they differ from the
    usual frame.
    """

    event: OutgoingEvent
    frame: bytes | None = None


@dataclass(frozen=True)
class StallConnection:
    """The action to stop reading and writing. `for_ns` is the duration; None if the stall is
    permanent.
    """

    for_ns: int | None


@dataclass(frozen=True)
class EndResponse:
    """The action to end a response now, with this status."""

    response_id: str
    status: str
    details: Json


def stall(for_s: float | None) -> StallConnection:
    return StallConnection(None if for_s is None else round(for_s * NS_PER_S))


FaultAction = DeliverEvent | bytes | StallConnection | EndResponse | Fault
"""An action of a connection. If it is bytes, send them as a part of a frame. If it is a fault, do
what its kind states."""
OF_CALLS = frozenset(name for name, kind in KINDS.items() if kind.calls)
"""The kinds of faults that no WebSocket has."""
RefusalForm = Literal["http", "event", "sip"]
"""The form of a refusal: an HTTP error instead of the upgrade, an error event after the upgrade,
or a SIP response."""
KINDS_OF_OTHERS: Mapping[RefusalForm, Collection[str]] = {
    "http": {*AFTER_UPGRADE, "sip"},
    "event": {*BEFORE_UPGRADE, "sip"},
    "sip": AFTER_UPGRADE,
}
"""The kinds of refusals that have no such form."""
BREAKS = ("freeze", "reset", "tls_alert", "close", "session_expired")


def to_connection(fault: Fault) -> Iterator[FaultAction]:
    """Yield the effects of a fault on the connection itself; none if the fault only changes
    events.
    """
    if fault.kind == "hang":
        yield stall(fault.duration_s)
    elif fault.kind in BREAKS:
        yield fault


TRANSCRIBED = "conversation.item.input_audio_transcription.completed"
DRIP_MS = 10
FINAL = 0x80
BINARY = 0x02
PING = 0x09
MIB = 1 << 20
SPELLINGS = {
    f'"type":"{name}.'.encode(): f'"type":"{other_name}.'.encode()
    for names, others in ((PREVIEW, GA), (GA, PREVIEW))
    for name, other_name in zip(names[:3], others[:3], strict=True)
}


def garbled(fault: Fault, action: FaultAction) -> Iterator[FaultAction]:
    """Yield the actions that replace `action`. If `action` sends an event, the fault may change
    the event.
    """
    if not isinstance(action, DeliverEvent):
        yield action
        return
    body = action.event.body
    match fault.kind:
        case "drop":
            return
        case "duplicate":
            yield from (action, action)
        case "bad_json":
            yield _with_body(action, body[: len(body) // 2])
        case "bad_base64":
            key = b'"delta":"' if b'"delta":"' in body else b'"data":"'
            yield _with_body(action, body.replace(key, key + b"!", 1))
        case "failed" if action.event.type == TRANSCRIBED:
            yield DeliverEvent(_not_transcribed(action.event, str(fault.code)))
        case "other_dialect":
            yield _with_body(
                action,
                next((body.replace(a, b, 1) for a, b in SPELLINGS.items() if a in body), body),
            )
        case "oversized":
            padded = body[:-1] + b',"padding":"'
            yield _with_body(
                action, padded + b"x" * (round((fault.mib or 0) * MIB) - len(padded) - 2) + b'"}'
            )
        case "binary":
            yield DeliverEvent(action.event, _frame(FINAL | BINARY, body))
        case "fragmented":
            third = len(body) // 3
            ping = _frame(FINAL | PING, b"between")
            first = body[:third]
            second = body[third : 2 * third]
            remainder = body[2 * third :]
            opcode = whole_frame(body)[0] - FINAL
            frames = (
                _frame(opcode, first),
                ping,
                _frame(0, second),
                ping,
                _frame(FINAL, remainder),
            )
            yield DeliverEvent(action.event, b"".join(frames))
        case "drip":
            frame = action.frame or whole_frame(body)
            size = max(1, round((fault.bytes_per_s or 0) * DRIP_MS / 1000))
            last = (len(frame) - 1) // size * size
            for start in range(0, last, size):
                yield frame[start : start + size]
                yield StallConnection(DRIP_MS * NS_PER_MS)
            yield DeliverEvent(action.event, frame[last:])
        case _:
            yield action


def _not_transcribed(event: OutgoingEvent, code: str) -> OutgoingEvent:
    """Return the failure of a transcription in place of its transcript."""
    fields = msgspec.json.decode(event.body)
    error = {
        "type": "server_error",
        "code": code,
        "message": f"The simulator injected {code}.",
        "param": None,
    }
    kept = {key: fields[key] for key in ("event_id", "item_id", "content_index")}
    failed = TRANSCRIBED.replace(".completed", ".failed")
    return structs.replace(
        event, type=failed, body=msgspec.json.encode({"type": failed, **kept, "error": error})
    )


def without_audio_tokens(event: OutgoingEvent) -> OutgoingEvent:
    """Return a response.done without audio tokens in its usage, and any other event unchanged."""
    if event.type != "response.done":
        return event
    fields = msgspec.json.decode(event.body)
    usage = fields["response"]["usage"]
    audio = usage["output_token_details"]["audio_tokens"]
    usage["output_token_details"]["audio_tokens"] = 0
    usage["output_tokens"] -= audio
    usage["total_tokens"] -= audio
    return structs.replace(event, body=msgspec.json.encode(fields))


def _with_body(action: DeliverEvent, body: bytes) -> DeliverEvent:
    return DeliverEvent(structs.replace(action.event, body=body))


def _frame(head: int, body: bytes) -> bytes:
    """Return an unmasked frame with this first byte."""
    return bytes([head]) + whole_frame(body)[1:]


ENDLESS_PERIOD_NS = 20 * NS_PER_MS
PLACE_OF_EVENT: Mapping[str, str] = {
    "input_audio_buffer.append": "input",
    "conversation.item.create": "input",
    "session.created": "session",
    "session.updated": "settings",
    "input_audio_buffer.speech_stopped": "speech",
    "response.created": "response",
    "response.done": "done",
    "conversation.item.input_audio_transcription.delta": "input_delta",
    TRANSCRIBED: "input_transcript",
}
"""The place of each event of the Realtime API. Other protocols have tables of their own."""
OF_WHOLE_RESPONSES = ("failed", "incomplete", "no_audio", "burst", "reorder")
"""The kinds that need the events at the start or at the end of a response. An utterance of a
full-duplex model has no such events."""
FIRST_UTTERANCE = 1 << 20
"""The number that is added to the numbers of utterances, so that they differ from those of
responses."""


class FaultEntry(msgspec.Struct, frozen=True):
    """A fault that was injected, as a line of the ground-truth log.

    `connection` is the number of the connection in its worker, from 1. The ids of the session and
    of the response are set if the fault belongs to them.
    """

    session: str | None
    direction: Literal["fault"]
    type: str
    place: str
    at_ns: int
    connection: Annotated[int, msgspec.Meta(ge=0)]
    response: str | None


Lacks = Callable[[Fault], str]
"""A function that returns why a service does not have a fault; "" if it has it."""
Rng = Callable[[int, int], np.random.Generator]
"""A function that returns a generator, from the numbers of a fault and of a response (0 for the
whole session)."""


class FaultInjector:
    """The faults of one connection.

    `started_ns` is when the server started to listen. Each injection calls `on_fault`.
    """

    def __init__(
        self,
        faults: Sequence[Fault],
        connection: int,
        started_ns: int,
        rng: Rng,
        on_fault: Callable[[FaultEntry], None],
    ) -> None:
        self._faults = [
            numbered_fault
            for numbered_fault in enumerate(faults)
            if numbered_fault[1].sessions.holds(connection)
            and numbered_fault[1].kind not in OF_SERVER
        ]
        self._connection = connection
        self._started_ns = started_ns
        self._rng = rng
        self._noted = on_fault
        self._actions: Iterator[FaultAction] = iter(())
        # number of injections, by fault and response
        self._injections: dict[tuple[int, int], int] = {}
        self._released_ns = 0  # instant at which events that were due earlier become due
        self.session_id: str | None = None
        self.places = PLACE_OF_EVENT
        self.without_audio = without_audio_tokens
        self._responses = 0
        self._response: _FaultyResponse | None = None
        # of a full-duplex model, which speaks on its own
        self._utterance: _FaultyResponse | None = None
        self._requested = False  # True if input for the next response has arrived
        self._swapped: list[FaultAction] = []  # actions that are delayed until after the next event

    def end(self) -> None:
        """Clear all references. No method may be called after this."""
        vars(self).clear()

    # Interface to the connection

    def at(self, place: str, now_ns: int) -> Iterator[FaultAction]:
        """Yield the effects of the faults at this place on the connection."""
        for fault in self._selected(place, now_ns):
            yield from to_connection(fault)

    def faults(
        self, place: str, now_ns: int, kinds: Collection[str], utterance: int | None
    ) -> Iterator[Fault]:
        """Yield the faults of these kinds at a place of a telephone call, or of one of its
        utterances.
        """
        yield from self._selected(place, now_ns, lambda fault: fault.kind in kinds, utterance)

    def refusal(
        self, form: RefusalForm, now_ns: int, lacks: Lacks = lambda fault: ""
    ) -> RefusedUpgrade | PostUpgradeRefusal | None:
        """Return the refusal of an upgrade or of a telephone call; None if it is not refused.

        A connection with a fault that its service lacks is refused, so that no fault is ignored.
        """
        for _, fault in self._faults:
            if cause := lacks(fault):
                problem = f"The simulator has no fault {fault} here: {cause}"
                return RefusedUpgrade(HTTPStatus.BAD_REQUEST, "fault_not_simulated", problem)
        others = KINDS_OF_OTHERS[form]
        faults = self._selected(
            "upgrade", now_ns, lambda fault: fault.refusal is not None and fault.kind not in others
        )
        return next((fault.refusal for fault in faults), None)

    def received(self, event_type: str, now_ns: int) -> None:
        """Record a client event. The next actions then include the faults at the place `input`."""
        if self.places.get(event_type) == "input" and not self._requested:
            self._requested = True
            self._actions = chain(self._actions, self.at("input", now_ns))

    def released(self, now_ns: int) -> None:
        """Record the end of a stall. Events that were not sent during it are due now."""
        self._released_ns = now_ns

    def actions(self, due: Iterable[OutgoingEvent], now_ns: int) -> Iterator[FaultAction]:
        """Yield the actions for events that are due. If the consumer stops early, the next call
        yields the rest.
        """
        yield from self._left()
        for event in due:
            self._actions = self._of(event, now_ns)
            yield from self._left()

    def _left(self) -> Iterator[FaultAction]:
        for action in self._actions:  # not `yield from`, which would close the remaining actions
            if isinstance(action, DeliverEvent) and action.event.due_ns < self._released_ns:
                yield _due_at(self._released_ns, action)
            else:
                yield action

    # Effects on an event

    def _of(self, event: OutgoingEvent, now_ns: int) -> Iterator[FaultAction]:
        name = event.nested or event.type
        begins_response = self._begins_response(event, name)
        if begins_response:
            self._responses += 1
            self._response = _FaultyResponse(
                self.places, event.response_id or "", event.context_tokens, self.without_audio
            )
            self._requested = False
        if event.utterance is not None:
            response: _FaultyResponse | None = self._faulty_utterance(event.utterance)
        else:
            response = (
                self._response
                if self._response and self._response.id == event.response_id
                else None
            )
        places = [response.place(name) if response else self.places.get(name)]
        if begins_response and places != ["response"]:
            places.insert(0, "response")
        faults: list[Fault] = []
        for place in filter(None, places):
            faults += self._selected(place, now_ns, partial(_fits_event, event), event.utterance)
        actions = _struck(event, faults)
        return (
            response.passed(event, faults, actions) if response else self._in_order(faults, actions)
        )

    def _begins_response(self, event: OutgoingEvent, name: str) -> bool:
        if "response.created" in self.places:
            return name == "response.created"
        # a service without this event: a response begins with its first event
        current = self._response.id if self._response else None
        return event.utterance is None and event.response_id not in (None, current)

    def _in_order(
        self, faults: Sequence[Fault], actions: Iterator[FaultAction]
    ) -> Iterator[FaultAction]:
        """Yield the actions of an event that belongs to no response, and those that were delayed
        until after it.
        """
        if any(fault.kind == "reorder" for fault in faults):
            self._swapped += actions
            return
        yield from actions
        swapped = self._swapped
        self._swapped = []
        yield from swapped

    def _faulty_utterance(self, number: int) -> _FaultyResponse:
        if self._utterance is None or self._utterance.id != str(number):
            self._utterance = _FaultyResponse(self.places, str(number))
        return self._utterance

    # Selection of the faults

    def _selected(
        self,
        place: str,
        now_ns: int,
        fits: Callable[[Fault], bool] = lambda fault: (
            fault.refusal is None and fault.kind not in OF_CALLS
        ),
        utterance: int | None = None,
    ) -> Iterator[Fault]:
        """Yield the faults to inject at this place. `fits` selects the faults that are possible
        there.

        `utterance`: the number of the utterance that contains the place; None if the place is in no
        utterance.
        """
        for number, fault in self._faults:
            if (
                fault.at != place
                or not fits(fault)
                or not self._selects(number, fault, now_ns, utterance)
            ):
                continue
            key = number, self._response_of(fault.at, utterance)
            self._injections[key] = self._injections.get(key, 0) + 1
            if self._injections[key] == 1:
                response_id = self._response.id if self._response and utterance is None else None
                where = now_ns, self._connection, response_id
                self._noted(FaultEntry(self.session_id, "fault", fault.kind, fault.at, *where))
            yield fault

    def _selects(self, number: int, fault: Fault, now_ns: int, utterance: int | None) -> bool:
        response = self._response_of(fault.at, utterance)
        times = self._injections.get((number, response), 0)
        # A fault that has begun goes on for `count` events, whatever its other conditions say.
        if times:
            return times < fault.count
        if not fault.during_s.holds((now_ns - self._started_ns) / NS_PER_S):
            return False
        if response and not fault.responses.holds(utterance or response):
            return False
        if fault.context_tokens != ALL:  # an utterance reads no input
            tokens = self._response.context_tokens if self._response and utterance is None else -1
            if not fault.context_tokens.holds(tokens):
                return False
        # A generator for each fault and response: the decision does not depend on how many others
        # were made before it.
        return fault.share == 1 or self._rng(number, response).random() < fault.share

    def _response_of(self, place: str, utterance: int | None) -> int:
        """Return the number of the response or utterance that the place belongs to; 0 if it
        belongs to the session.
        """
        if utterance is not None:
            return FIRST_UTTERANCE + utterance
        if place not in OF_RESPONSES:
            return 0
        # Input and speech precede `response.created`, so they belong to the next response.
        return self._responses + (place in ("input", "speech"))


def _fits_event(event: OutgoingEvent, fault: Fault) -> bool:
    """Return whether a fault can change this event."""
    if fault.kind in OF_CALLS:
        return False
    if fault.kind == "bad_base64":
        return event.audio_bytes > 0
    return event.utterance is None or fault.kind not in OF_WHOLE_RESPONSES


def _struck(event: OutgoingEvent, faults: Iterable[Fault]) -> Iterator[FaultAction]:
    """Yield the actions of the faults before an event, in their order, and then the event with
    its changes.
    """
    for fault in faults:
        yield from to_connection(fault)
        if fault.kind == "error":
            fields = error_fields(
                str(fault.code), f"The simulator injected the error {fault.code}."
            )
            fields["error"]["type"] = (
                "server_error" if fault.code == "server_error" else "invalid_request_error"
            )
            yield _another("error", fields, event)
        elif fault.kind == "unknown":
            yield _another("response.nobody_knows", {"response_id": event.response_id}, event)
    actions: Iterable[FaultAction] = [DeliverEvent(event)]
    for fault in faults:
        actions = chain.from_iterable(map(partial(garbled, fault), actions))
    yield from actions


def _another(event_type: str, fields: Json, event: OutgoingEvent) -> DeliverEvent:
    """Return an additional event at the same instant. Its id is made from the instant."""
    body = event_bytes(event_type, f"event_fault_{event.due_ns}", fields)
    return DeliverEvent(OutgoingEvent(event.due_ns, event_type, body, event.response_id))


class _FaultyResponse:
    """A response, or an utterance of a full-duplex model, and the faults that affect its
    remaining events.
    """

    def __init__(
        self,
        places: Mapping[str, str],
        response_id: str,
        context_tokens: int = 0,
        without_audio: Callable[[OutgoingEvent], OutgoingEvent] = without_audio_tokens,
    ) -> None:
        self._places = places
        self.id = response_id
        self.context_tokens = context_tokens
        self._without_audio = without_audio
        # True after any delta; True after a delta of audio, text or arguments
        self._any_delta = self._begun = False
        # True if no more events are sent; True if no more audio is sent
        self._over = self._mute = False
        # actions that are delayed until the response's end
        self._waiting: list[FaultAction] | None = None
        self._swapped: list[FaultAction] = []  # actions that are delayed until after the next event

    def place(self, name: str) -> str | None:
        """Return the place of an event with this type; None if it has no place.

        After the first delta, a delta has a place only if a delta of audio, text or arguments came
        before it.
        """
        if not name.endswith(".delta"):
            return self._places.get(name)
        first = not self._any_delta
        has_started = self._begun
        self._any_delta = True
        self._begun = has_started or "transcript" not in name
        return "first_delta" if first else "next_delta" if has_started else None

    def passed(
        self, event: OutgoingEvent, faults: Sequence[Fault], actions: Iterator[FaultAction]
    ) -> Iterator[FaultAction]:
        """Apply the faults that affect the whole response to the actions for one of its events.

        Yield the resulting actions.
        """
        if self._over:
            return
        kinds = {fault.kind: fault for fault in faults}
        self._mute = self._mute or "no_audio" in kinds
        if self._mute and event.audio_bytes:
            return
        if self._mute and (changed := self._without_audio(event)) is not event:
            actions = iter([DeliverEvent(changed)])
        if "burst" in kinds:
            self._waiting = []
        if self._waiting is not None:
            self._waiting += actions
            if self._places.get(event.nested or event.type) == "done":
                for action in self._waiting:
                    yield (
                        _due_at(event.due_ns, action)
                        if isinstance(action, DeliverEvent)
                        else action
                    )
                self._waiting = None
        elif "reorder" in kinds:
            self._swapped += actions
        else:
            yield from actions
            swapped = self._swapped
            self._swapped = []
            yield from swapped
        if fault := kinds.get("incomplete"):
            yield EndResponse(self.id, fault.kind, {"type": "incomplete", "reason": fault.reason})
        if fault := kinds.get("failed"):
            problem = f"The simulator injected {fault.code}."
            error = {"type": "server_error", "code": fault.code, "message": problem}
            yield EndResponse(self.id, fault.kind, {"type": "failed", "error": error})
        if "endless" in kinds:
            self._over = True
            # The same event again and again, until the connection ends.
            while True:
                yield StallConnection(ENDLESS_PERIOD_NS)
                yield DeliverEvent(event)


def _due_at(due_ns: int, action: DeliverEvent) -> DeliverEvent:
    return replace(action, event=structs.replace(action.event, due_ns=due_ns))
