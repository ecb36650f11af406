"""Makes the items of a response, messages and function calls: announces one, and closes it with what was made of it.

Events come in the orders of captures from the service. One is rendered when its due instant has come, and what it
changes changes then: so what was made of an item is known at any time, and it can be closed at any time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from bench.simulator.answering.plan import AUDIO_ANSWER_TEXT_TOKENS, PlannedCall, PlannedMessage, Schedule
from bench.simulator.conversation.items import Conversation, ConversationItem, TokenCounts, message_body
from bench.simulator.session.effective import OutputSettings
from bench.simulator.voice import TOKEN_MS, AudioBlock
from bench.simulator.wire import (
    GA,
    DeltaTemplate,
    Ids,
    Json,
    OutboxStep,
    Outgoing,
    Render,
    WireNames,
    event_bytes,
    item_and_call,
    json_string,
)


@dataclass(frozen=True)
class ResponseWriter:
    """Writes the events of one response. `conversation` is None for one that is out of band."""

    response_id: str
    names: WireNames
    ids: Ids
    conversation: Conversation | None
    obfuscation: Callable[[], str | None]  # of one delta of text

    def event(self, event_type: str, fields: Json, due_ns: int, *, facts: Json | None = None) -> Outgoing:
        whose: Json = {}
        if event_type.startswith("response.") and "response" not in fields:
            whose = {"response_id": self.response_id}
        body = event_bytes(event_type, self.ids.event(), whose | fields)
        item_id, call_id = item_and_call(fields)
        return Outgoing(due_ns, event_type, body, self.response_id, item_id=item_id, call_id=call_id, facts=facts)


class OutputItem(ABC):
    """Makes an item. `item` is what the conversation holds of it, once it was announced."""

    item: ConversationItem | None = None
    closed = False

    def __init__(self, item_id: str, output_index: int, schedule: Schedule, writer: ResponseWriter) -> None:
        self.id, self.schedule = item_id, schedule
        self._output_index, self._writer = output_index, writer

    def steps(self) -> Iterator[OutboxStep]:
        """The events up to its last delta."""
        yield from ((self.schedule.opening_ns, render) for render in self._opening())
        yield from self._deltas()

    def closing(self, status: str) -> Iterator[Render]:
        """The events that end it, with what was made of it so far; none where it was not announced, or is closed."""
        if self.item is None or self.closed:
            return
        yield from self._content_closing()
        self.item.body["status"] = status
        if self._in_conversation:
            yield self._conversation_item_done
        yield self._item_done

    @property
    def _in_conversation(self) -> bool:
        """Whether the conversation tells of its end, too."""
        return self._writer.names is GA and self._writer.conversation is not None

    @property
    def _place(self) -> Json:
        return {"item_id": self.id, "output_index": self._output_index}

    @property
    @abstractmethod
    def tokens(self) -> TokenCounts:
        """What was made so far costs these."""

    @abstractmethod
    def _new(self) -> ConversationItem:
        """The item as it is announced: nothing is made of it yet."""

    @abstractmethod
    def _deltas(self) -> Iterator[OutboxStep]: ...

    @abstractmethod
    def _content_closing(self) -> Iterator[Render]: ...

    def _opening(self) -> Iterator[Render]:
        yield self._item_added
        if self._writer.conversation is not None:
            yield self._conversation_item_added

    # Renderers: each is called once, when its event is sent

    def _item_added(self, due_ns: int) -> Outgoing:
        self.item = self._new()
        fields = {"output_index": self._output_index, "item": self.item.body}
        return self._writer.event("response.output_item.added", fields, due_ns)

    def _conversation_item_added(self, due_ns: int) -> Outgoing:
        assert self.item is not None
        assert self._writer.conversation is not None
        return self._writer.event(*self._writer.conversation.added(self.item), due_ns)

    def _conversation_item_done(self, due_ns: int) -> Outgoing:
        assert self.item is not None
        assert self._writer.conversation is not None
        return self._writer.event(*self._writer.conversation.done(self.item), due_ns)

    def _item_done(self, due_ns: int) -> Outgoing:
        assert self.item is not None
        self.closed = True
        fields = {"output_index": self._output_index, "item": self.item.body}
        return self._writer.event("response.output_item.done", fields, due_ns)


class MessageItem(OutputItem):
    """Makes a message. What was said of it so far grows with each delta that is sent."""

    def __init__(
        self, item_id: str, output_index: int, planned: PlannedMessage, output: OutputSettings, writer: ResponseWriter
    ) -> None:
        super().__init__(item_id, output_index, planned.schedule, writer)
        self._phase, self._tokens, self._with_audio = planned.phase, planned.reply.tokens, output.audio
        self._filler = planned.filler
        self._blocks = planned.reply.blocks[output.format]
        self._words: list[str] = []
        self._spoken: list[AudioBlock] = []
        names = writer.names
        words = names.transcript if output.audio else names.text
        self._word_template = DeltaTemplate(words, writer.response_id, item_id, output_index)
        self._audio_template = DeltaTemplate(names.audio, writer.response_id, item_id, output_index)

    @property
    def tokens(self) -> TokenCounts:
        """What was said so far costs these: 20 audio tokens a second."""
        overhead = AUDIO_ANSWER_TEXT_TOKENS if self._spoken else 0
        return TokenCounts(len(self._words) + overhead, self.spoken_ms // TOKEN_MS)

    @property
    def spoken_ms(self) -> int:
        return sum(block.audio_ms for block in self._spoken)

    def _new(self) -> ConversationItem:
        body = message_body(self.id, "assistant", [], "in_progress")
        if self._phase is not None:
            body["phase"] = self._phase
        spoken = self._spoken if self._with_audio else None
        return ConversationItem(self.id, body, spoken=spoken, filler=self._filler)

    def _opening(self) -> Iterator[Render]:
        yield from super()._opening()
        yield partial(self._part_event, "response.content_part.added", {"part": self._part("")})

    def _deltas(self) -> Iterator[OutboxStep]:
        for due_ns, audio, _ in self.schedule.deltas:
            yield due_ns, self._audio if audio else self._word

    def _content_closing(self) -> Iterator[Render]:
        words, names = "".join(self._words), self._writer.names
        if self._with_audio:
            yield partial(self._part_event, f"{names.audio}.done", {})
            yield partial(self._part_event, f"{names.transcript}.done", {"transcript": words})
        else:
            yield partial(self._part_event, f"{names.text}.done", {"text": words})
        yield partial(self._part_done, words)

    # Renderers

    def _word(self, due_ns: int) -> Outgoing:
        token, writer = self._tokens[len(self._words)], self._writer
        self._words.append(token)
        body = self._word_template.render(writer.ids.event(), json_string(token), writer.obfuscation())
        return Outgoing(due_ns, self._word_template.type, body, writer.response_id, item_id=self.id)

    def _audio(self, due_ns: int) -> Outgoing:
        block, writer = self._blocks[len(self._spoken)], self._writer
        self._spoken.append(block)
        body = self._audio_template.render(writer.ids.event(), block.encoded)
        return Outgoing(
            due_ns,
            self._audio_template.type,
            body,
            writer.response_id,
            block.audio_bytes,
            block.audible_byte,
            item_id=self.id,
        )

    def _part_done(self, words: str, due_ns: int) -> Outgoing:
        assert self.item is not None
        names = self._writer.names
        kind, key = (names.audio_part, "transcript") if self._with_audio else (names.text_part, "text")
        self.item.hold({"type": kind, key: words}, self.tokens)
        return self._part_event("response.content_part.done", {"part": self._part(words)}, due_ns)

    def _part(self, words: str) -> Json:
        return {"type": "audio", "transcript": words} if self._with_audio else {"type": "text", "text": words}

    def _part_event(self, event_type: str, fields: Json, due_ns: int) -> Outgoing:
        return self._writer.event(event_type, self._place | {"content_index": 0} | fields, due_ns)


class FunctionCallItem(OutputItem):
    """Makes a call of a function, which the client runs. What was written of its arguments grows with each delta."""

    def __init__(
        self, item_id: str, call_id: str, output_index: int, planned: PlannedCall, writer: ResponseWriter
    ) -> None:
        super().__init__(item_id, output_index, planned.schedule, writer)
        self._call, self._call_id = planned.call, call_id
        self._written: list[str] = []

    @property
    def tokens(self) -> TokenCounts:
        """The arguments that were written so far cost these."""
        return TokenCounts(len(self._written))

    def _new(self) -> ConversationItem:
        body: Json = {
            "id": self.id,
            "object": "realtime.item",
            "type": "function_call",
            "status": "in_progress",
            "name": self._call.name,
            "call_id": self._call_id,
            "arguments": "",
        }
        return ConversationItem(self.id, body, response_id=self._writer.response_id)

    def _deltas(self) -> Iterator[OutboxStep]:
        for due_ns, _, _ in self.schedule.deltas:
            yield due_ns, self._token

    def _content_closing(self) -> Iterator[Render]:
        yield self._arguments_done

    # Renderers

    def _token(self, due_ns: int) -> Outgoing:
        token = self._call.tokens[len(self._written)]
        self._written.append(token)
        return self._arguments_event("delta", {"delta": token}, due_ns)

    def _arguments_done(self, due_ns: int) -> Outgoing:
        assert self.item is not None
        self.item.body["arguments"] = "".join(self._written)
        self.item.tokens = self.tokens
        fields = {"name": self._call.name, "arguments": self.item.body["arguments"]}
        return self._arguments_event("done", fields, due_ns)

    def _arguments_event(self, name: str, fields: Json, due_ns: int) -> Outgoing:
        event_type = f"response.function_call_arguments.{name}"
        return self._writer.event(event_type, self._place | {"call_id": self._call_id} | fields, due_ns)
