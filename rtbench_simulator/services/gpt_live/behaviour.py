"""The behaviour of one GPT-Live session, as far as the types of the official SDK
(`openai.types.live`) define it. Pure.

The output is a stream that never stops: README.md, "GPT-Live". The delays of speech are
counted on the clock of the input audio. The ground-truth log contains the end of the caller's
speech (`speech_at_byte` of `session.input_transcript.delta`), the first audible sample of each
delta, and the kind of utterance to which each delta of speech belongs (`utterance`). The lines of a
delegated task have its id (`delegation`). Audio fixtures, triggers, Decisions and sideband
connections are not simulated.
"""

# A full-duplex session has no turns and no responses of its own: input audio is its clock. Each
# append may complete slices of 100 ms, and for each of them `_tick` plans one slice of output. So
# the service speaks only while the client sends, as it hears only then, and delays count in audio
# and not in real time.
#
# Speech of the caller stops the output at a slice (`_stop_ms`). Its end plans a reaction (`_turn`),
# which begins with a later slice: an answer, or a task that is delegated to the client or to the
# Responses backend. What is said then comes from the party that does the task, as commentary or as
# a text of the backend.
#
# `session.closed` is the last event, and every event after `session.close` is ignored.

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import numpy as np

from bench.base.units import NS_PER_MS, NS_PER_S
from bench.files.validation import OrNull
from bench.wire.audio import AudioFormat
from bench.wire.dialect import SIMULATOR_VALUE
from rtbench_simulator.conversation.client_items import AUDIO
from rtbench_simulator.conversation.items import text_tokens
from rtbench_simulator.profile import is_drawn
from rtbench_simulator.recorded_replies import RecordedReply
from rtbench_simulator.server_events import Json, OutgoingEvent, RejectedError, event_bytes
from rtbench_simulator.services.gpt_live import session_form
from rtbench_simulator.services.gpt_live.backend import Backend
from rtbench_simulator.services.gpt_live.output_stream import (
    SLICE_MS,
    Delegation,
    OutputStream,
    delta,
    slice_number,
)
from rtbench_simulator.serving.service import SimulatedService, answer_at, websocket_urls
from rtbench_simulator.session import checks
from rtbench_simulator.session.checks import EventValue
from rtbench_simulator.session.effective import InputSettings
from rtbench_simulator.simulated_session import (
    ClientEvent,
    DuplexSession,
    Handler,
    ReceiptFields,
    SessionParts,
    client_event,
)
from rtbench_simulator.turn_taking import CallerSpeech, TurnTaking

START = "session.start"
APPEND = "session.input_audio.append"
CLOSED = "session.closed"
AUDIO_DELTA = "session.output_audio.delta"
USAGE_MS = 10_000
FILLER_SLICES = 8
SILENCE_MS = 500
"""The silence that ends the caller's speech. The service has no such setting and does not report
it."""
MAX_CONTENT_TOKENS = 500
CONTEXT_TOKENS = 128_000
"""The size of the voice model's context if the profile has no `context_limit_tokens`. An
assumption."""
NORMAL_CLOSURE = 1000

PLACES = {
    APPEND: "input",
    "session.started": "session",
    "session.updated": "settings",
    "session.input_transcript.delta": "speech",
    "response.created": "response",
    "response.completed": "done",
    "response.failed": "done",
    "response.incomplete": "done",
}
"""The place of faults that each event is."""


class PlannedTurn(NamedTuple):
    """The reaction to the caller's speech. It starts with the slice number `begin`.

    `is_delegated` is True if it delegates a task. `speech_ms` is the duration of the caller's
    speech.
    """

    begin: int
    is_delegated: bool
    speech_ms: int


class GptLiveBehaviour(DuplexSession):
    """One GPT-Live session."""

    fault_places = PLACES

    def __init__(self, parts: SessionParts, track: AudioFormat | None = None) -> None:
        """Set up a session. `track` is the format of its audio if this is a track; None if it is
        in events.
        """
        super().__init__(parts)
        self._track = track
        self.events = EVENTS
        self.session: Json = {}
        self._expires_at_s = parts.expires_at_s
        self._turn_taking = TurnTaking(self._profile, parts.rng, parts.servers)
        self._audio = self._turn_taking.audio
        self._audio.silence_ms = SILENCE_MS
        # when the current speech stops the service, on the audio clock
        self._stop_ms: float | None = None
        self._input: InputSettings | None = None  # None until the session has started
        self._is_muted = False
        self._started_ns = 0
        self._turn: PlannedTurn | None = None
        self._delegations: dict[str, Delegation] = {}
        self._backend: Backend | None = None  # None if the client does the tasks

    def open(self, at_ns: int) -> None:
        """Do nothing: the client sends session.start first."""

    def end(self) -> None:
        if self._backend:
            self._backend.end()
        super().end()

    def end_response(self, response_id: str, at_ns: int, status: str, details: Json) -> None:
        response = self._backend and self._backend.end_response(response_id, at_ns, status, details)
        if response and status == "failed":
            self._stream.drop_answer(response.delegation)

    def expiry(self, due_ns: int, message: str, reason: str) -> OutgoingEvent:
        if not self._input:
            return super().expiry(due_ns, message, reason)
        return self._closed({"reason": reason}, due_ns)

    # Client events

    def _check_order(self, name: str) -> None:
        if self._input is None and name != START:
            raise RejectedError("session_not_started", "Send session.start first.", "type")

    def start(self, event: Json, at_ns: int) -> None:
        if self._input:
            raise RejectedError("invalid_value", "The session has started.", "type")
        self.session = event["session"] | {
            "id": self.ids.session,
            "expires_at": self._expires_at_s,
            "status": "active",
            SIMULATOR_VALUE: True,
        }
        format = self._track or session_form.format_of(self.session)
        self._input = InputSettings(format)
        self._stream = OutputStream(format)
        fields = {"session": self.session, "client_event_id": event.get("event_id")}
        self._started_ns = self._outbox.answer(
            at_ns, self._profile.delays.session_created, ("session.started", fields)
        )
        if session_form.target_of(self.session) == session_form.RESPONSES:
            self._backend = Backend(
                self.session["delegation"]["responses"],
                self.session["input"],
                self._outbox,
                self._profile,
                self._rng,
                next_reply=self._next_reply,
                say=self._say_text,
                epoch_s=self._epoch_s,
            )

    def _update(self, event: Json, at_ns: int) -> None:
        self.session = session_form.updated(self.session, event["session"])
        if self._backend:
            self._backend.settings = self.session["delegation"]["responses"]
        self._acknowledge("session.updated", event, at_ns, {"session": self.session})

    def append(self, event: Json, at_ns: int) -> ReceiptFields:
        assert self._input
        audio = event["audio"]
        # Muted audio still makes time pass. Only what it says is not heard.
        if self._is_muted:
            silence = self._input.format.encode(
                np.zeros(-(-len(audio) // self._input.format.sample_bytes), np.int16)
            )
            audio = silence[: len(audio)]
        receipt = self._turn_taking.append(
            audio, self._input, at_ns, self._on_speech, is_replying=self._stream.is_speaking
        )
        while self._stream.end_ms + SLICE_MS <= self._audio.clock_ms:
            self._tick(max(at_ns, self._started_ns))
        return receipt

    def _mute(self, event: Json, at_ns: int) -> None:
        self._is_muted = event["type"] == "session.input_audio.mute"
        self._acknowledge(f"{event['type']}d", event, at_ns, {})

    def _add_context(self, event: Json, at_ns: int) -> ReceiptFields:
        """Accept instructions or thinking, which cause no speech."""
        delegation = self._delegation_of(event)
        if event["type"] == "session.thinking.append":
            self._stream.drop_fillers()
        self._acknowledge_context(event, at_ns)
        return {"delegation": delegation.id if delegation else None}

    def _add_commentary(self, event: Json, at_ns: int) -> ReceiptFields:
        """Accept commentary, which is spoken: the result of a delegated task, or anything else
        without a task.
        """
        delegation = self._delegation_of(event)
        if delegation and delegation.is_answered:
            raise RejectedError(
                "invalid_value", f"Delegation '{delegation.id}' is answered.", "delegation_id"
            )
        self._stream.drop_fillers()
        say = partial(
            self._say, "answer" if delegation else "greeting", self._next_reply(), delegation
        )
        self._acknowledge_context(
            event, at_ns, None if delegation and delegation.is_unanswered else say
        )
        return {"delegation": delegation.id if delegation else None}

    def _delegation_of(self, event: Json) -> Delegation | None:
        """Return the delegation that appended context is for; None for context of the whole
        session.
        """
        if (tokens := text_tokens(event["content"])) > MAX_CONTENT_TOKENS:
            problem = (
                f"Invalid 'content'. Expected at most {MAX_CONTENT_TOKENS} tokens, but got"
                f" {tokens}."
            )
            raise RejectedError("string_above_max_length", problem, "content")
        if "delegation_id" not in event:
            raise EventValue("", event).missing("delegation_id")
        delegation_id = event["delegation_id"]
        if delegation_id is None:
            return None
        if self._backend:
            raise RejectedError(
                "invalid_value", "With Responses delegation it must be null.", "delegation_id"
            )
        if delegation_id not in self._delegations:
            raise RejectedError(
                "invalid_value", f"Delegation '{delegation_id}' not found.", "delegation_id"
            )
        return self._delegations[delegation_id]

    def _item_create(self, event: Json, at_ns: int) -> ReceiptFields:
        item = event["item"]
        delegation = self._responses_backend(event).add(item)
        return {
            "item": item.get("id"),
            "call": item.get("call_id"),
            "delegation": delegation.id if delegation else None,
        }

    def _response_create(self, event: Json, at_ns: int) -> ReceiptFields:
        response_id, delegation = self._responses_backend(event).create(at_ns)
        return {"response": response_id, "delegation": delegation.id if delegation else None}

    def _responses_backend(self, event: Json) -> Backend:
        if self._backend is None:
            raise RejectedError(
                "invalid_value", f"{event['type']} requires Responses delegation.", "type"
            )
        return self._backend

    def _close(self, event: Json, at_ns: int) -> None:
        self._is_closing = True
        fields = {"reason": "close_requested", "client_event_id": event.get("event_id")}
        self._outbox.plan_step(max(at_ns, self._outbox.answered_ns), partial(self._closed, fields))

    # Turns

    def _on_speech(self, caller_speech: CallerSpeech, at_ns: int) -> None:
        """Plan a reaction when the caller's speech ends. When the speech starts, stop speaking."""
        speech = caller_speech.edge
        if speech.began:
            stop_ms = self._audio.clock_ms + (caller_speech.stop_ns - at_ns) / NS_PER_MS
            self._stop_ms = stop_ms if caller_speech.stops_reply else 0.0
            return
        if self._stop_ms is not None:
            self._stop()
        self._stream.caller_speaks = False
        ended_ms = speech.end_ms
        delay_ns = self._outbox.after(
            0, self._profile.delays.first_audio
        ) * self._turn_taking.slowness(at_ns)
        begin_ms = ended_ms + int(delay_ns) // NS_PER_MS
        is_delegated = is_drawn(self._profile.delegates, self._rng)
        begin = max(self._stream.count, slice_number(begin_ms))
        if caller_speech.is_answered:
            self._turn = PlannedTurn(begin, is_delegated, ended_ms - speech.begin_ms)
        fields = {"delta": "(speech)", "start_ms": speech.begin_ms, "end_ms": ended_ms}
        self._send("session.input_transcript.delta", fields, at_ns, {"speech_at_byte": speech.byte})

    def _stop(self) -> None:
        """Stop speaking, because the caller speaks."""
        self._stop_ms = None
        self._turn = None
        self._stream.caller_speaks = True
        self._stream.stop()

    def _tick(self, at_ns: int) -> None:
        """Plan the next slice of output."""
        start_ms = self._stream.end_ms
        if self._stop_ms is not None and self._stop_ms < start_ms + SLICE_MS:
            self._stop()
        if self._turn and self._turn.begin <= self._stream.count:
            turn = self._turn
            self._turn = None
            if turn.is_delegated:
                self._delegate(turn, start_ms, at_ns)
            else:
                self._stream.say("answer", self._next_reply(), start_ms)
        piece, utterance = self._stream.next()
        if piece.words:
            fields = {"delta": piece.words, "start_ms": start_ms, "end_ms": self._stream.end_ms}
            self._send("session.output_transcript.delta", fields, at_ns)
        self._outbox.plan_step(at_ns, partial(delta, piece, utterance))
        if self._stream.end_ms % USAGE_MS == 0:
            ratio = min(
                1.0,
                self._stream.context_tokens
                / (self._profile.context_limit_tokens or CONTEXT_TOKENS),
            )
            fields = {"usage": self._stream.usage, "context_window": {"usage_ratio": ratio}}
            self._send("session.usage.updated", fields, at_ns)

    def _delegate(self, turn: PlannedTurn, start_ms: int, at_ns: int) -> None:
        """Delegate the task of a turn, and plan the filler."""
        delegation = Delegation(
            self.ids.new("del"), is_drawn(self._profile.delegation.unanswered, self._rng)
        )
        self._delegations[delegation.id] = delegation
        target = session_form.target_of(self.session)
        task = {"id": delegation.id, "target": target, "type": "delegation"}
        response_id = self.ids.new("resp")
        fields = {
            "delegation": task | ({"response_id": response_id} if self._backend else {}),
            "offset_ms": start_ms,
        }
        self._send("session.delegation.created", fields, at_ns, {"delegation": delegation.id})
        if self._backend:
            self._backend.delegate(delegation, response_id, turn.speech_ms, at_ns)
        if is_drawn(self._profile.delegation.filler, self._rng):
            wait_ms = (self.session["delegation"] or {}).get("acknowledgement_delay_ms", 0)
            self._stream.say(
                "filler", self._next_reply(), start_ms + wait_ms, delegation, FILLER_SLICES
            )

    # Speech

    def _say_text(self, reply: RecordedReply, delegation: Delegation | None) -> None:
        """Say a text of the backend."""
        share = self._profile.delegation.unanswered
        if not (delegation.is_unanswered if delegation else is_drawn(share, self._rng)):
            self._say("answer", reply, delegation)

    def _say(
        self,
        kind: Literal["answer", "greeting"],
        reply: RecordedReply,
        delegation: Delegation | None,
    ) -> None:
        """Plan speech one delay from now. It replaces a planned answer to the same task."""
        if delegation:
            self._stream.drop_answer(delegation)
        delay_ms = self._profile.delegation.answer_ms.draw_ns(self._rng) // NS_PER_MS
        self._stream.say(kind, reply, self._audio.clock_ms + delay_ms, delegation)

    # Server events

    def _epoch_s(self, at_ns: int) -> float:
        """Return an instant as Unix time, from the expiry of the session."""
        started_s = self._expires_at_s - self._profile.max_session_s
        return float(started_s + (at_ns - self._started_ns) // NS_PER_S)

    def _closed(self, fields: Json, due_ns: int) -> OutgoingEvent:
        fields = {"session": self.session, "usage": self._stream.usage, **fields}
        body = event_bytes(CLOSED, self.ids.event(), fields)
        return OutgoingEvent(due_ns, CLOSED, body, close=(NORMAL_CLOSURE, ""))

    def _acknowledge(self, name: str, event: Json, at_ns: int, fields: Json) -> None:
        answer = (name, {**fields, "client_event_id": event.get("event_id")})
        self._outbox.answer(at_ns, self._profile.delays.item_created, answer)

    def _acknowledge_context(
        self, event: Json, at_ns: int, effect: Callable[[], None] | None = None
    ) -> None:
        """Acknowledge appended context. `effect` is called when the acknowledgement is sent."""

        def render(due_ns: int) -> OutgoingEvent:
            now_ms = self._audio.clock_ms
            delegation_id = event["delegation_id"]
            fields = {
                "start_ms": now_ms,
                "end_ms": now_ms,
                "client_event_id": event.get("event_id"),
            }
            if effect:
                effect()
            facts = {"delegation": delegation_id} if delegation_id else None
            return self._outbox.event(f"{event['type']}ed", fields, due_ns, facts=facts)

        due_ns = self._outbox.answer_due(at_ns, self._profile.delays.item_created)
        self._outbox.plan_step(due_ns, render)

    def _reject(self, at_ns: int, rejected: RejectedError, event_id: str | None) -> None:
        error = {
            "type": "invalid_request_error",
            "code": rejected.code,
            "message": rejected.message,
        }
        error |= {"param": rejected.param, "client_event_id": event_id}
        due_ns = self._outbox.answer_due(at_ns, self._profile.delays.item_created)
        self._send("error", {"error": error, "client_event_id": event_id}, due_ns)


def _context(handler: Handler[GptLiveBehaviour]) -> ClientEvent[GptLiveBehaviour]:
    return client_event(handler, "content", content=checks.TEXT, delegation_id=OrNull(checks.TEXT))


EVENTS = {
    START: client_event(GptLiveBehaviour.start, "session", session=session_form.STARTED),
    "session.update": client_event(GptLiveBehaviour._update, "session", session=checks.LATER),
    APPEND: client_event(GptLiveBehaviour.append, "audio", audio=AUDIO),
    "session.input_audio.mute": client_event(GptLiveBehaviour._mute),
    "session.input_audio.unmute": client_event(GptLiveBehaviour._mute),
    "session.instructions.append": _context(GptLiveBehaviour._add_context),
    "session.thinking.append": _context(GptLiveBehaviour._add_context),
    "session.commentary.append": _context(GptLiveBehaviour._add_commentary),
    "response.item.create": client_event(
        GptLiveBehaviour._item_create, "item", item=session_form.BACKEND_ITEM
    ),
    "response.create": client_event(GptLiveBehaviour._response_create),
    "session.close": client_event(GptLiveBehaviour._close),
}


PATH = "/v1/live/sessions"
PATHS = (PATH, f"/openai{PATH}")


SERVICE = SimulatedService(
    answer_at(GptLiveBehaviour, *PATHS),
    websocket_urls(gpt_live=PATH),
    limits_headers=True,
    titles={"gpt_live": "GPT-Live"},
)
