"""Makes one response, from response.created to response.done, in the orders of captures from the service.

An answer is a series of steps in wire order: a due instant, and a function that renders the event when that instant has
come. Whatever the event changes, its function changes; so what was `said` is known at any time, and a cancel drops the
steps that are left and lets `Response.cancelled` close what is open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from bench.protocol.openai_ga import GA_FORMATS
from bench.simulator.cap import AUDIO_ANSWER_TEXT_TOKENS
from bench.simulator.conversation import Conversation, ConversationItem
from bench.simulator.outbox import OutboxStep, Render
from bench.simulator.schedule import Schedule
from bench.simulator.session import OutputSettings
from bench.simulator.voice import TOKEN_MS, AudioBlock, RecordedReply
from bench.simulator.wire import GA, DeltaTemplate, Ids, Json, Outgoing, WireNames, event_bytes, json_string
from bench.units import NS_PER_MS

CAPPED: Json = {"type": "incomplete", "reason": "max_output_tokens"}


class Context(NamedTuple):
    """The tokens that a response reads: the whole conversation, again on each turn; `cached` is a part of them."""

    text: int
    audio: int
    cached_text: int
    cached_audio: int


@dataclass
class Response:
    """A response under way. `conversation` is None, and so is its id, for one that is out of band."""

    id: str
    item_id: str
    output: OutputSettings
    reply: RecordedReply
    schedule: Schedule
    names: WireNames
    ids: Ids
    obfuscation: Callable[[], str | None]  # of one delta of text
    conversation: Conversation | None
    conversation_id: str | None
    metadata: Json | None
    context: Context
    failure: Json | None  # the error that it ends with at once

    status: str = "planned"  # then in_progress, then that of response.done
    item: ConversationItem | None = None  # once it was announced
    said: list[str] = field(default_factory=list)
    spoken: list[AudioBlock] = field(default_factory=list)

    def __post_init__(self) -> None:
        words = self.names.transcript if self.output.audio else self.names.text
        self._word_template = DeltaTemplate(words, self.id, self.item_id)
        self._audio_template = DeltaTemplate(self.names.audio, self.id, self.item_id)
        self._blocks = self.reply.blocks[self.output.format]

    @property
    def done(self) -> bool:
        """Whether response.done is out."""
        return self.status not in ("planned", "in_progress")

    @property
    def played_ns(self) -> int:
        """The instant by which a listener to all of it has heard what was sent so far; 0 without audio."""
        first_ns = next((delta.due_ns for delta in self.schedule.deltas if delta.audio), 0)
        return first_ns + sum(block.audio_ms for block in self.spoken) * NS_PER_MS if self.spoken else 0

    def steps(self) -> Iterator[OutboxStep]:
        schedule = self.schedule
        yield schedule.created_ns, self._created
        if self.failure is not None:
            yield schedule.done_ns, partial(self._finished, "failed", {"type": "failed", "error": self.failure})
            return
        yield from ((schedule.opening_ns, render) for render in self._opening())
        for due_ns, audio, _ in schedule.deltas:
            yield due_ns, self._audio if audio else self._word
        closing = self._closing("incomplete", CAPPED) if schedule.cut else self._closing("completed", None)
        yield from ((schedule.done_ns, render) for render in closing)

    def cancelled(self, at_ns: int, reason: str) -> Iterator[OutboxStep]:
        """What comes instead of the steps that are left."""
        if self.status == "planned":
            yield at_ns, self._created
        details = {"type": "cancelled", "reason": reason}
        yield from ((at_ns, render) for render in self._closing("cancelled", details))

    # Orders

    def _opening(self) -> Iterator[Render]:
        yield self._item_added
        if self.conversation is not None:
            yield self._conversation_item_added
        yield self._part_added

    def _closing(self, status: str, details: Json | None) -> Iterator[Render]:
        if self.item is not None:
            yield from self._part_closing()
            self.item.body["status"] = "completed" if status == "completed" else "incomplete"
            if self.names is GA and self.conversation is not None:
                yield self._conversation_item_done
            yield self._item_done
        yield partial(self._finished, status, details)

    def _part_closing(self) -> Iterator[Render]:
        if self.output.audio:
            yield self._audio_done
            yield self._transcript_done
        else:
            yield self._text_done
        yield self._part_done

    # Renderers: each is called once, when its event is sent

    def _created(self, due_ns: int) -> Outgoing:
        self.status = "in_progress"
        return self._event(due_ns, "response.created", {"response": self.as_json()})

    def _item_added(self, due_ns: int) -> Outgoing:
        body: Json = {
            "id": self.item_id,
            "object": "realtime.item",
            "type": "message",
            "status": "in_progress",
            "role": "assistant",
            "content": [],
        }
        self.item = ConversationItem(self.item_id, body, spoken=self.spoken if self.output.audio else None)
        return self._event(due_ns, "response.output_item.added", {"output_index": 0, "item": body})

    def _conversation_item_added(self, due_ns: int) -> Outgoing:
        assert self.item is not None
        assert self.conversation is not None
        previous = self.conversation.fulfil(self.item)
        name = "conversation.item.added" if self.names is GA else "conversation.item.created"
        return self._event(due_ns, name, {"previous_item_id": previous, "item": self.item.body})

    def _part_added(self, due_ns: int) -> Outgoing:
        return self._part_event(due_ns, "response.content_part.added", {"part": self._part("")})

    def _word(self, due_ns: int) -> Outgoing:
        token = self.reply.tokens[len(self.said)]
        self.said.append(token)
        body = self._word_template.render(self.ids.event(), json_string(token), self.obfuscation())
        return Outgoing(due_ns, self._word_template.type, body, self.id)

    def _audio(self, due_ns: int) -> Outgoing:
        block = self._blocks[len(self.spoken)]
        self.spoken.append(block)
        body = self._audio_template.render(self.ids.event(), block.encoded)
        return Outgoing(due_ns, self._audio_template.type, body, self.id, block.audio_bytes, block.audible_byte)

    def _audio_done(self, due_ns: int) -> Outgoing:
        return self._part_event(due_ns, f"{self.names.audio}.done", {})

    def _transcript_done(self, due_ns: int) -> Outgoing:
        return self._part_event(due_ns, f"{self.names.transcript}.done", {"transcript": "".join(self.said)})

    def _text_done(self, due_ns: int) -> Outgoing:
        return self._part_event(due_ns, f"{self.names.text}.done", {"text": "".join(self.said)})

    def _part_done(self, due_ns: int) -> Outgoing:
        assert self.item is not None
        words = "".join(self.said)
        kind, key = (self.names.audio_part, "transcript") if self.output.audio else (self.names.text_part, "text")
        self.item.body["content"] = [{"type": kind, key: words}]
        self.item.text_tokens, self.item.audio_tokens = self.output_tokens()
        return self._part_event(due_ns, "response.content_part.done", {"part": self._part(words)})

    def _conversation_item_done(self, due_ns: int) -> Outgoing:
        assert self.item is not None
        previous = self.conversation.before(self.item) if self.conversation is not None else None
        return self._event(due_ns, "conversation.item.done", {"previous_item_id": previous, "item": self.item.body})

    def _item_done(self, due_ns: int) -> Outgoing:
        assert self.item is not None
        return self._event(due_ns, "response.output_item.done", {"output_index": 0, "item": self.item.body})

    def _finished(self, status: str, details: Json | None, due_ns: int) -> Outgoing:
        self.status = status
        output = [self.item.body] if self.item is not None else []
        final = {"status_details": details, "usage": self.usage(), "output": output}
        return self._event(due_ns, "response.done", {"response": self.as_json() | final})

    # Their parts

    def as_json(self) -> Json:
        """The response object of response.created; response.done fills in the rest."""
        return {
            "object": "realtime.response",
            "id": self.id,
            "status": self.status,
            "status_details": None,
            "output": [],
            "conversation_id": self.conversation_id,
            "metadata": self.metadata,
            "usage": None,
            **(self._ga_settings() if self.names is GA else self._preview_settings()),
        }

    def usage(self) -> Json:
        text, audio, cached_text, cached_audio = self.context
        out_text, out_audio = self.output_tokens()
        cached: Json = {"text_tokens": cached_text, "audio_tokens": cached_audio}
        details: Json = {"text_tokens": text, "audio_tokens": audio, "cached_tokens": cached_text + cached_audio}
        if self.names is GA:
            cached["image_tokens"] = details["image_tokens"] = 0
        return {
            "total_tokens": text + audio + out_text + out_audio,
            "input_tokens": text + audio,
            "output_tokens": out_text + out_audio,
            "input_token_details": details | {"cached_tokens_details": cached},
            "output_token_details": {"text_tokens": out_text, "audio_tokens": out_audio},
        }

    def output_tokens(self) -> tuple[int, int]:
        """(text, audio) of what was said so far: 20 audio tokens a second."""
        overhead = AUDIO_ANSWER_TEXT_TOKENS if self.spoken else 0
        return len(self.said) + overhead, sum(block.audio_ms for block in self.spoken) // TOKEN_MS

    def _ga_settings(self) -> Json:
        spoken = {"format": GA_FORMATS[self.output.format], "voice": self.output.voice}
        return {
            "output_modalities": ["audio"] if self.output.audio else ["text"],
            "audio": {"output": spoken},
            "max_output_tokens": self.output.max_output_tokens,
        }

    def _preview_settings(self) -> Json:
        return {
            "modalities": ["audio", "text"] if self.output.audio else ["text"],
            "voice": self.output.voice,
            "output_audio_format": self.output.format,
            "temperature": self.output.temperature,
            "max_output_tokens": self.output.max_output_tokens,
        }

    def _part(self, words: str) -> Json:
        return {"type": "audio", "transcript": words} if self.output.audio else {"type": "text", "text": words}

    def _part_event(self, due_ns: int, event_type: str, fields: Json) -> Outgoing:
        place = {"item_id": self.item_id, "output_index": 0, "content_index": 0}
        return self._event(due_ns, event_type, place | fields)

    def _event(self, due_ns: int, event_type: str, fields: Json) -> Outgoing:
        whose: Json = {}
        if event_type.startswith("response.") and "response" not in fields:
            whose = {"response_id": self.id}
        return Outgoing(due_ns, event_type, event_bytes(event_type, self.ids.event(), whose | fields), self.id)
