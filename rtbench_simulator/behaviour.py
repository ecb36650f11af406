"""The behaviour of one simulated session: client events in, server events out. Pure: no clock,
socket, or sleep.

    behaviour = Behaviour(…); behaviour.open(now_ns)
    behaviour.receive(event, at_ns)     a client event and its arrival instant; or receive_text,
                                        receive_binary
    behaviour.next_due_ns()             the instant of the next call of `due`
    behaviour.due(now_ns)               the server events that are due, rendered in this call

A client event is validated when it arrives. Its responses are due after a random delay, in the
order of the client events. No client event raises an exception: an invalid one causes an `error`
event and changes nothing.
"""

# A session is cut by what changes together: its settings (`EffectiveSession`), its items
# (`Conversation`), the input audio (`CallerTurns`), its responses (`ResponseManager`), and MCP
# servers. All of them plan their events in one `Outbox`, which alone knows what is due.
#
# A client event passes the table `EVENTS`: its form is checked as a whole, and then the handler
# applies it. The effect begins at the arrival and the answer follows after its delay, so the next
# event finds the new state even if no answer was sent yet. What a server event causes, such as the
# words of a delta in the conversation, begins when that event is rendered.
#
# The parts refer to each other, so `end` empties them: the server collects no garbage under load
# (`rtbench_simulator.serving.server`).

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from bench.base.errors import INVALID_VALUE
from bench.files.validation import Validator, either
from bench.wire.audio import AudioFormatName
from rtbench_simulator.caller_turns import CallerTurns
from rtbench_simulator.conversation.client_items import AUDIO, ITEMS, ItemReader
from rtbench_simulator.conversation.items import Conversation, text_tokens
from rtbench_simulator.delay import Delay
from rtbench_simulator.profile import is_drawn
from rtbench_simulator.responses.lifecycle import Composer, ResponseManager
from rtbench_simulator.responses.mcp_servers import McpServers
from rtbench_simulator.server_events import Json, RejectedError, WireNames
from rtbench_simulator.session import checks
from rtbench_simulator.session.checks import EventValue
from rtbench_simulator.session.effective import EffectiveSession, NewSession, SessionForm
from rtbench_simulator.simulated_session import (
    ClientEvent,
    EventReceipt,
    PlannedSession,
    ReceiptFields,
    SessionParts,
    client_event,
    receipt_of,
)


class Behaviour(PlannedSession):
    """One session of the Realtime API, in the dialect of a service."""

    def __init__(self, dialect: WireDialect, model: str, parts: SessionParts) -> None:
        profile = parts.profile
        super().__init__(parts, obfuscated=profile.obfuscation and dialect.names.is_ga)
        self._dialect = dialect
        self._delays = profile.delays
        self._events = (
            _TRANSCRIPTION_EVENTS[dialect.names.is_ga] if dialect.transcribes else dialect.events
        )
        self.session = EffectiveSession(
            dialect.form(dialect), NewSession(self.ids.session, model, parts.expires_at_s)
        )
        self._conversation = Conversation(self.ids, dialect.names)
        self._reader = ItemReader(self._conversation, dialect.items or ITEMS[dialect.names.is_ga])
        self._mcp = McpServers(self._conversation, self._outbox, profile.mcp, parts.rng)
        composer = Composer(
            parts, self.session, self._conversation, self._reader, self._outbox, self._mcp
        )
        self._responses = ResponseManager(composer)
        self._turns = CallerTurns(composer, self._responses)

    def open(self, at_ns: int) -> None:
        if self._dialect.greeting:
            created = {
                "conversation": {"id": self.ids.new("conv"), "object": "realtime.conversation"}
            }
            self._outbox.answer(
                at_ns, self._delays.session_created, (self._dialect.greeting, created)
            )
        self._send_session(at_ns, "created", self._delays.session_created)

    def hear(self, audio: bytes, at_ns: int) -> EventReceipt:
        """Accept a piece of the caller's audio that did not arrive in an event."""
        return receipt_of("audio", self._turns.append(audio, at_ns))

    def end_response(self, response_id: str, at_ns: int, status: str, details: Json) -> None:
        self._responses.end(response_id, at_ns, status, details)

    def end(self) -> None:
        for component in (self._turns, self._responses, self._mcp):
            vars(component).clear()
        super().end()

    # Handlers of client events

    # Everything that a handler rejects is a RejectedError before its first effect.
    def _handle(self, event: Json, at_ns: int) -> ReceiptFields | None:
        event_type = event.get("type")
        if event_type is None:
            raise EventValue("", event).missing("type")
        if not isinstance(event_type, str) or event_type not in self._events:
            raise EventValue("type", event_type).type_error(
                either(self._events), code=INVALID_VALUE
            )
        return self._events[event_type].handled(self, event, at_ns)

    def _session_update(self, event: Json, at_ns: int) -> None:
        self.session.update(event["session"], has_spoken=self._conversation.has_spoken())
        updated_ns = self._send_session(at_ns, "updated", self._delays.session_updated)
        self._mcp.declare(self.session.shown.get("tools", ()), updated_ns)

    def _append(self, event: Json, at_ns: int) -> ReceiptFields:
        return self._turns.append(event["audio"], at_ns)

    def _commit(self, event: Json, at_ns: int) -> None:
        self._turns.commit(at_ns)

    def _clear(self, event: Json, at_ns: int) -> None:
        self._turns.clear()
        self._acknowledge(at_ns, "input_audio_buffer.cleared", {})

    def _item_create(self, event: Json, at_ns: int) -> ReceiptFields:
        item = self._reader.item(event["item"], self.session.input.format)
        is_approval = item.body["type"] == "mcp_approval_response"
        if is_approval:
            self._mcp.check_answer(item.body["approval_request_id"])
        previous = self._conversation.insert(item, event.get("previous_item_id"))
        due_ns = self._outbox.answer(
            at_ns, self._delays.item_created, *self._conversation.events(item, previous)
        )
        if is_approval:
            self._mcp.answer(item.body["approval_request_id"], item.body["approve"], due_ns)
        return {"item": item.id, "call": item.body.get("call_id")}

    def stream_text(self, event: Json, at_ns: int) -> ReceiptFields:
        """Add text to a message of the user; without text, the message is complete."""
        item = self._conversation.known(event["id"], "item_not_found", "id")
        place = event.get("content_index", 0)
        content = item.body.get("content", [])
        part = content[place] if place < len(content) else {}
        if item.body.get("role") != "user" or part.get("type") != "input_text":
            problem = f"The item has no input text at the content index {place}."
            raise RejectedError("invalid_value", problem, "content_index")
        text = event.get("delta", "")
        part["text"] += text
        item.tokens = item.tokens._replace(text=item.tokens.text + text_tokens(text))
        return {"item": item.id}

    def _item_retrieve(self, event: Json, at_ns: int) -> ReceiptFields:
        item = self._conversation.known(event["item_id"], "item_retrieve_invalid_item_id")
        self._acknowledge(at_ns, "conversation.item.retrieved", {"item": item.with_audio()})
        return {"item": item.id}

    def _item_truncate(self, event: Json, at_ns: int) -> ReceiptFields:
        item = self._conversation.truncatable(event["item_id"], event["audio_end_ms"])
        if not is_drawn(self._profile.ignored_truncate_share, self._rng):
            item.truncate(event["audio_end_ms"])
        self._turns.stop_playing()
        fields = {key: event[key] for key in ("item_id", "content_index", "audio_end_ms")}
        self._acknowledge(at_ns, "conversation.item.truncated", fields)
        return {"item": item.id, "audio_end_ms": item.spoken_ms}

    def _item_delete(self, event: Json, at_ns: int) -> ReceiptFields:
        item = self._conversation.known(event["item_id"], "item_delete_invalid_item_id")
        self._conversation.items.remove(item)
        self._acknowledge(at_ns, "conversation.item.deleted", {"item_id": item.id})
        return {"item": item.id}

    def _response_create(self, event: Json, at_ns: int) -> ReceiptFields:
        settings = (
            self.session.form.response_settings.read(event["response"])
            if "response" in event
            else {}
        )
        if "additional_instructions" in event:
            instructions = self.session.output(settings).instructions
            settings["instructions"] = f"{instructions}\n{event['additional_instructions']}"
        response = self._responses.create(settings, at_ns)
        self._outbox.answered_ns = response.plan.created_ns
        return {"response": response.id}

    def _response_cancel(self, event: Json, at_ns: int) -> ReceiptFields:
        return {"response": self._responses.cancel(event.get("response_id"), at_ns)}

    def _send_session(self, at_ns: int, name: str, delay: Delay) -> int:
        return self._outbox.answer(
            at_ns, delay, (f"{self.session.form.family}.{name}", {"session": self.session.shown})
        )

    def _acknowledge(self, at_ns: int, event_type: str, fields: Json) -> None:
        self._outbox.answer(at_ns, self._delays.item_created, (event_type, fields))


# Messages of the assistant have one part, so the only content index is 0.
_CUT: dict[str, Validator[Any]] = {
    "content_index": checks.whole(0, 0),
    "audio_end_ms": checks.whole(0, 1 << 40),
}
EVENTS = {
    "session.update": client_event(Behaviour._session_update, "session", session=checks.LATER),
    "input_audio_buffer.append": client_event(Behaviour._append, "audio", audio=AUDIO),
    "input_audio_buffer.commit": client_event(Behaviour._commit),
    "input_audio_buffer.clear": client_event(Behaviour._clear),
    "conversation.item.create": client_event(
        Behaviour._item_create, "item", item=checks.LATER, previous_item_id=checks.TEXT
    ),
    "conversation.item.retrieve": client_event(
        Behaviour._item_retrieve, "item_id", item_id=checks.TEXT
    ),
    "conversation.item.truncate": client_event(
        Behaviour._item_truncate,
        "item_id",
        "content_index",
        "audio_end_ms",
        item_id=checks.TEXT,
        **_CUT,
    ),
    "conversation.item.delete": client_event(
        Behaviour._item_delete, "item_id", item_id=checks.TEXT
    ),
    "response.create": client_event(Behaviour._response_create, response=checks.LATER),
    "response.cancel": client_event(Behaviour._response_cancel, response_id=checks.TEXT),
}
_LISTENING = {name: EVENTS[name] for name in EVENTS if name.startswith("input_audio_buffer.")}
_TRANSCRIPTION_EVENTS = {
    is_ga: {update: EVENTS["session.update"], **_LISTENING}
    for is_ga, update in ((True, "session.update"), (False, "transcription_session.update"))
}
"""The client events that a transcription session accepts, by `WireNames.is_ga`. The list is an
assumption. It has only the events that such a session needs."""


@dataclass(frozen=True)
class WireDialect:
    """The dialect of a service that implements the Realtime API, for events in both directions.

    `form`: a function that returns the form of the service's sessions. `formats`: the audio formats
    that the service accepts and sends, if a profile can change them; the first is the default.
    `greeting`: the type of the event before session.created; None if there is none. `items`: the
    check of the items that clients create; None for the usual items. `events`: the client events.
    `transcribes`: True if the session only transcribes and has no responses.
    """

    name: str
    names: WireNames
    form: Callable[[WireDialect], SessionForm]
    formats: tuple[AudioFormatName, ...] = ()
    greeting: str | None = None
    items: Validator[Json] | None = field(default=None, hash=False)
    events: Mapping[str, ClientEvent[Behaviour]] = field(default_factory=lambda: EVENTS, hash=False)
    transcribes: bool = False

    def transcribing(self) -> WireDialect:
        return replace(self, transcribes=True)

    def __call__(self, model: str, parts: SessionParts) -> Behaviour:
        formats = parts.profile.formats
        return Behaviour(
            replace(self, formats=formats) if formats and self.formats else self, model, parts
        )
