"""One session of the service: client events in, server events out. Pure: no clock, no socket, no sleep.

    behaviour = Behaviour(…); behaviour.open(now_ns)
    behaviour.receive(event, at_ns)     a client event and the instant of its arrival
    behaviour.next_due_ns()             when to come back
    behaviour.due(now_ns)               the server events whose instant has come, rendered in this call

A client event is judged when it arrives; its answers are due a drawn delay later, in the order of their questions.
Whatever a client sends, nothing raises: a broken rule becomes an `error` event (protocol.md §6) and changes nothing.
Voice activity detection is not served: audio waits for a commit whatever `turn_detection` says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import msgspec
import numpy as np

from bench.simulator import settings
from bench.simulator.agenda import Agenda, Series
from bench.simulator.answer import Answer, Context, Render, Step
from bench.simulator.conversation import Conversation, Item, audio_bytes, client_item, text_tokens, user_audio_item
from bench.simulator.profile import LogNormal, Profile
from bench.simulator.schedule import audio_schedule, text_schedule
from bench.simulator.voice import BYTES_PER_MS, Reply
from bench.simulator.wire import GA, Dialect, Ids, Json, Outgoing, RejectedError, error_fields, event_bytes

MIN_COMMIT_MS = 100
CACHE_BLOCK_TOKENS = 64
RATE_LIMITS = {"requests": 1_000, "tokens": 1_000_000}  # a minute
TOLERATED_SESSION_KEYS = ("model",)  # sent by the Mar 2025 quickstart, and a typed field in GA; changes nothing
TOLERATED_RESPONSE_KEYS = ("commit", "cancel_previous", "append_input_items", "input_items")  # legacy Azure clients


class Received(NamedTuple):
    """What became of a client event. Bytes are places in the session's stream of input audio, [from, to)."""

    type: str
    event_id: str | None = None
    response_id: str | None = None  # the response it led to, or the one it cancelled
    from_byte: int | None = None
    to_byte: int | None = None


class Behaviour:
    def __init__(
        self,
        dialect: Dialect,
        model: str,
        expires_at_s: int,
        profile: Profile,
        replies: Sequence[Reply],
        rng: np.random.Generator,
        ids: Ids,
    ) -> None:
        opened = settings.ga_session if dialect.names is GA else settings.preview_session
        self.session = opened(ids.session, model, expires_at_s)
        self.ids = ids
        self._dialect, self._profile, self._replies, self._rng = dialect, profile, replies, rng
        self._agenda: Agenda[Render] = Agenda()
        self._answered_ns = 0  # due instant of the last answer to a client event
        self._conversation = Conversation()
        self._conversation_id = ids.new("conv")
        self._active: Answer | None = None  # of the conversation; others are out of band
        self._answers: dict[str, tuple[Answer, Series[Render]]] = {}
        self._appended = 0  # bytes of input audio, ever
        self._buffered = 0  # bytes of it that wait for a commit
        self._context = (0, 0)  # tokens of the last response's input, which the next one finds cached
        self._spent = {"requests": 0, "tokens": 0}
        self._handlers: dict[str, Callable[[Json, int], str | None]] = {
            "session.update": self._session_update,
            "input_audio_buffer.append": self._append,
            "input_audio_buffer.commit": self._commit,
            "input_audio_buffer.clear": self._clear,
            "conversation.item.create": self._item_create,
            "conversation.item.retrieve": self._item_retrieve,
            "conversation.item.truncate": self._item_truncate,
            "conversation.item.delete": self._item_delete,
            "response.create": self._response_create,
            "response.cancel": self._response_cancel,
        }

    # What a connection calls

    def open(self, at_ns: int) -> None:
        self._answer(at_ns, self._profile.delays.session_created, ("session.created", {"session": self.session}))

    def receive_text(self, message: bytes | bytearray, at_ns: int) -> Received:
        try:
            event = msgspec.json.decode(message)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            event = None
        if isinstance(event, dict):
            return self.receive(event, at_ns)
        self._reject(at_ns, RejectedError("invalid_json", "Could not parse the message as a JSON object."), None)
        return Received("invalid_json")

    def receive_binary(self, at_ns: int) -> Received:
        problem = "Expected a text WebSocket message; binary frames are not supported."
        self._reject(at_ns, RejectedError("invalid_event", problem), None)
        return Received("invalid_event")

    def receive(self, event: Json, at_ns: int) -> Received:
        event_type, event_id = event.get("type"), event.get("event_id")
        event_id = event_id if isinstance(event_id, str) else None
        begin = self._appended
        try:
            response_id = self._handler(event_type)(event, at_ns)
        except RejectedError as rejected:
            self._reject(at_ns, rejected, event_id)
            return Received(str(event_type), event_id)
        if self._appended == begin:
            return Received(str(event_type), event_id, response_id)
        return Received(str(event_type), event_id, None, begin, self._appended)

    def next_due_ns(self) -> int | None:
        return self._agenda.next_due_ns()

    def due(self, now_ns: int) -> Iterator[Outgoing]:
        return (render(due_ns) for due_ns, render in self._agenda.take(now_ns))

    # Answers to client events

    def _handler(self, event_type: Any) -> Callable[[Json, int], str | None]:
        if event_type is None:
            raise settings.missing("type")
        if not isinstance(event_type, str) or event_type not in self._handlers:
            raise settings.rejected_value("type", event_type, self._handlers)
        return self._handlers[event_type]

    def _session_update(self, event: Json, at_ns: int) -> None:
        wanted = event.get("session")
        if wanted is None:
            raise settings.missing("session")
        ga = self._dialect.names is GA
        if ga and isinstance(wanted, dict) and "type" not in wanted:
            raise settings.missing("session.type")
        table = settings.GA_SESSION if ga else settings.PREVIEW_SESSION
        ignored = TOLERATED_SESSION_KEYS if ga or self._dialect.tolerant else ()
        updated = settings.merged(table, self.session, wanted, "session", ignored)
        if self._conversation.has_spoken() and self._output(updated, {}).voice != self._output(self.session, {}).voice:
            problem = "Cannot update a conversation's voice if assistant audio is present."
            raise RejectedError("cannot_update_voice", problem)
        self.session = updated
        self._answer(at_ns, self._profile.delays.session_updated, ("session.updated", {"session": updated}))

    def _append(self, event: Json, at_ns: int) -> None:
        size = audio_bytes(event.get("audio"), "audio")
        self._appended += size
        self._buffered += size

    def _commit(self, event: Json, at_ns: int) -> None:
        buffered_ms = self._buffered / self._input_bytes_per_ms()
        if buffered_ms < MIN_COMMIT_MS:
            problem = (
                "Error committing input audio buffer: buffer too small. Expected at least 100ms of audio, "
                f"but buffer only has {buffered_ms:.2f}ms of audio."
            )
            raise RejectedError("input_audio_buffer_commit_empty", problem)
        self._buffered = 0
        item = user_audio_item(self.ids.new("item"), buffered_ms)
        previous = self._conversation.insert(item, None)
        committed = {"previous_item_id": previous, "item_id": item.id}
        delay = self._profile.delays.committed
        self._answer(at_ns, delay, ("input_audio_buffer.committed", committed), *self._item_events(item, previous))

    def _clear(self, event: Json, at_ns: int) -> None:
        self._buffered = 0
        self._acknowledge(at_ns, "input_audio_buffer.cleared", {})

    def _item_create(self, event: Json, at_ns: int) -> None:
        item = self._client_item(event.get("item"))
        behind = settings.nullable(settings.text)(event.get("previous_item_id"), "previous_item_id")
        previous = self._conversation.insert(item, behind)
        self._answer(at_ns, self._profile.delays.item_created, *self._item_events(item, previous))

    def _item_retrieve(self, event: Json, at_ns: int) -> None:
        item = self._known_item(event, "item_retrieve_invalid_item_id")
        self._acknowledge(at_ns, "conversation.item.retrieved", {"item": item.with_audio()})

    def _item_truncate(self, event: Json, at_ns: int) -> None:
        item = self._known_item(event, "item_truncate_invalid_item_id")
        if item.spoken is None:
            raise RejectedError(None, "Only model output audio messages can be truncated")
        content_index = settings.number(0, 0)(event.get("content_index"), "content_index")
        end_ms = settings.number(0, float("inf"))(event.get("audio_end_ms"), "audio_end_ms")
        if end_ms > item.spoken_ms:
            problem = f"Audio content of {item.spoken_ms}ms is already shorter than {end_ms}ms"
            raise RejectedError("invalid_value", problem, "audio_end_ms")
        fields = {"item_id": item.id, "content_index": content_index, "audio_end_ms": end_ms}
        self._acknowledge(at_ns, "conversation.item.truncated", fields)

    def _item_delete(self, event: Json, at_ns: int) -> None:
        item = self._known_item(event, "item_delete_invalid_item_id")
        self._conversation.remove(item)
        self._acknowledge(at_ns, "conversation.item.deleted", {"item_id": item.id})

    def _response_create(self, event: Json, at_ns: int) -> str:
        table = settings.GA_RESPONSE if self._dialect.names is GA else settings.PREVIEW_RESPONSE
        ignored = TOLERATED_RESPONSE_KEYS if self._dialect.tolerant else ()
        wanted = settings.merged(table, {}, event.get("response") or {}, "response", ignored)
        in_band = wanted.get("conversation") != "none"
        if in_band and self._active is not None and not self._active.done:
            problem = (
                f"Conversation already has an active response in progress: {self._active.id}. "
                "Wait until the response is finished before creating a new one."
            )
            raise RejectedError("conversation_already_has_active_response", problem)
        answer = self._new_answer(wanted, at_ns, in_band)
        self._active = answer if in_band else self._active
        self._start(answer)
        return answer.id

    def _response_cancel(self, event: Json, at_ns: int) -> str:
        wanted = event.get("response_id") or (self._active and self._active.id)
        answer, series = self._answers.get(str(wanted), (None, None))
        if answer is None or series is None or answer.done or series.dropped:
            raise RejectedError("response_cancel_not_active", "Cancellation failed: no active response found")
        series.drop()
        due_ns = self._answer_due(at_ns, self._profile.delays.cancelled)
        self._agenda.add(chain(answer.cancelled(due_ns, "client_cancelled"), self._limits_after_done(due_ns)))
        return answer.id

    # Responses

    def _new_answer(self, wanted: Json, at_ns: int, in_band: bool) -> Answer:
        output = self._output(self.session, wanted)
        context = self._read(output.instructions, wanted.get("input"))
        reply = self._replies[int(self._rng.integers(len(self._replies)))]
        schedule = audio_schedule if output.audio else text_schedule
        return Answer(
            id=self.ids.new("resp"),
            item_id=self.ids.new("item"),
            output=output,
            reply=reply,
            schedule=schedule(self._profile, reply, at_ns, self._answered_ns, self._rng),
            names=self._dialect.names,
            ids=self.ids,
            rng=self._rng,
            conversation=self._conversation if in_band else None,
            conversation_id=self._conversation_id if in_band else None,
            metadata=wanted.get("metadata"),
            context=context,
            obfuscated=self._profile.obfuscation and self._dialect.names is GA,
        )

    def _start(self, answer: Answer) -> None:
        created_ns, done_ns = answer.schedule.created_ns, answer.schedule.done_ns
        self._answered_ns = created_ns
        self._answers = {key: entry for key, entry in self._answers.items() if not entry[0].done}
        series = self._agenda.add(chain(answer.steps(), self._limits_after_done(done_ns)))
        self._answers[answer.id] = answer, series
        self._spent["requests"] += 1
        if self._profile.rate_limits in ("after_created", "both"):
            self._agenda.add([self._limits_step(created_ns)])

    def _output(self, session: Json, response: Json) -> settings.Output:
        of = settings.ga_output if self._dialect.names is GA else settings.preview_output
        return of(session, response)

    def _read(self, instructions: str, items: list[Json] | None) -> Context:
        """The tokens that a response reads: its own `input`, or the conversation, in whole blocks from the cache."""
        if items is not None:
            read = [self._referenced(item) for item in items]
            text, audio = sum(item.text_tokens for item in read), sum(item.audio_tokens for item in read)
        else:
            text, audio = self._conversation.tokens()
        text += text_tokens(instructions)
        cached = (min(now, before) for now, before in zip((text, audio), self._context, strict=True))
        cached_text, cached_audio = (tokens - tokens % CACHE_BLOCK_TOKENS for tokens in cached)
        self._context = text, audio
        self._spent["tokens"] += text + audio
        return Context(text, audio, cached_text, cached_audio)

    def _limits_after_done(self, done_ns: int) -> list[Step]:
        return [self._limits_step(done_ns)] if self._profile.rate_limits in ("after_done", "both") else []

    def _limits_step(self, after_ns: int) -> Step:
        return after_ns + self._profile.delays.rate_limits.draw_ns(self._rng), self._rate_limits

    def _rate_limits(self, due_ns: int) -> Outgoing:
        entries = [
            {
                "name": name,
                "limit": limit,
                "remaining": max(0, limit - self._spent[name]),
                "reset_seconds": round(60 * self._spent[name] / limit, 3),
            }
            for name, limit in RATE_LIMITS.items()
        ]
        return self._event("rate_limits.updated", {"rate_limits": entries}, due_ns)

    # Items

    def _client_item(self, wanted: Any) -> Item:
        return client_item(self.ids.new("item"), wanted, self._dialect.names, self._input_bytes_per_ms())

    def _referenced(self, item: Json) -> Item:
        if item.get("type") != "item_reference":
            return self._client_item(item)
        return self._known_item({"item_id": item.get("id")}, "invalid_value")

    def _known_item(self, event: Json, code: str) -> Item:
        item_id = settings.text(event.get("item_id"), "item_id")
        item = self._conversation.find(item_id)
        if item is None:
            raise RejectedError(code, f"Item with item_id '{item_id}' not found.", "item_id")
        return item

    def _item_events(self, item: Item, previous: str | None) -> list[tuple[str, Json]]:
        names = ("added", "done") if self._dialect.names is GA else ("created",)
        return [(f"conversation.item.{name}", {"previous_item_id": previous, "item": item.body}) for name in names]

    def _input_bytes_per_ms(self) -> int:
        if self._dialect.names is GA:
            return BYTES_PER_MS[settings.FORMAT_OF[self.session["audio"]["input"]["format"]["type"]]]
        return BYTES_PER_MS[self.session["input_audio_format"]]

    # The way out

    def _acknowledge(self, at_ns: int, event_type: str, fields: Json) -> None:
        self._answer(at_ns, self._profile.delays.item_created, (event_type, fields))

    def _reject(self, at_ns: int, rejected: RejectedError, event_id: str | None) -> None:
        self._acknowledge(at_ns, "error", error_fields(rejected.code, rejected.message, rejected.param, event_id))

    def _answer(self, at_ns: int, delay: LogNormal, *events: tuple[str, Json]) -> None:
        """Events that answer one client event: due together, and not before the answers to earlier ones."""
        due_ns = self._answer_due(at_ns, delay)
        self._agenda.add([(due_ns, partial(self._event, event_type, fields)) for event_type, fields in events])

    def _answer_due(self, at_ns: int, delay: LogNormal) -> int:
        self._answered_ns = max(self._answered_ns, at_ns + delay.draw_ns(self._rng))
        return self._answered_ns

    def _event(self, event_type: str, fields: Json, due_ns: int) -> Outgoing:
        return Outgoing(due_ns, event_type, event_bytes(event_type, self.ids.event(), fields))
