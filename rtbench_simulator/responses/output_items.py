"""The output items of a response: messages and function calls.

Each item is announced, and later closed with its content. Events are in the order of captures from
the service. An event is rendered at its due instant, and its effects begin then. So the content of
an item is known at any time, and the item can be closed at any time.
"""

# An item is announced, grows by deltas, and is closed by a fixed series of events. `closing` may be
# asked at any time: at the planned end, after a cancellation, or never if the item was not
# announced. It closes what was sent so far, because `_words` and `_spoken` grow only when a delta
# is rendered.
#
# In band, the item is a part of the conversation from its announcement on, without content. The
# content is stored with `content_part.done`, so a truncate in between finds what a listener could
# have heard.

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import msgspec

from rtbench_simulator.conversation.items import (
    Conversation,
    ConversationItem,
    TokenCounts,
    message_body,
)
from rtbench_simulator.recorded_replies import TOKEN_MS, AudioBlock
from rtbench_simulator.responses.response_plan import (
    AUDIO_ANSWER_TEXT_TOKENS,
    DeltaSchedule,
    PlannedCall,
    PlannedMessage,
)
from rtbench_simulator.server_events import (
    DeltaTemplate,
    Json,
    Outbox,
    OutboxStep,
    OutgoingEvent,
    Render,
    WireNames,
)
from rtbench_simulator.session.effective import OutputSettings


@dataclass(frozen=True)
class ResponseWriter:
    """The writer of the events of one response. `conversation` is None if the response is out of
    band.
    """

    response_id: str
    names: WireNames
    conversation: Conversation | None
    outbox: Outbox

    def event(
        self, event_type: str, fields: Json, due_ns: int, *, facts: Json | None = None
    ) -> OutgoingEvent:
        if event_type.startswith("response.") and "response" not in fields:
            fields = {"response_id": self.response_id} | fields
        return self.outbox.event(
            event_type, fields, due_ns, facts=facts, response_id=self.response_id
        )


class OutputItem(ABC):
    """An output item while it is sent. When it is announced, `item` is added to the
    conversation, if there is one.
    """

    announced = closed = False

    def __init__(
        self,
        item: ConversationItem,
        output_index: int,
        schedule: DeltaSchedule,
        writer: ResponseWriter,
    ) -> None:
        self.item = item
        self.schedule = schedule
        self._output_index = output_index
        self._writer = writer
        self._position: Json = {"item_id": item.id, "output_index": output_index}

    def steps(self) -> Iterator[OutboxStep]:
        yield from ((self.schedule.opening_ns, render) for render in self._opening())
        yield from self._deltas()

    def closing(self, status: str) -> Iterator[Render]:
        """Yield the events that close the item with its content so far.

        Yield nothing if the item was not announced, or is already closed.
        """
        if not self.announced or self.closed:
            return
        yield from self._content_closing()
        self.item.body["status"] = status
        yield from self._end_item()

    def _end_item(self) -> Iterator[Render]:
        conversation = self._writer.conversation
        if conversation and self._writer.names.is_ga:
            yield lambda due_ns: self._writer.event(*conversation.done(self.item), due_ns)
        yield self._done

    @property
    @abstractmethod
    def tokens(self) -> TokenCounts:
        """The tokens of the content that was sent so far."""

    @abstractmethod
    def _deltas(self) -> Iterator[OutboxStep]: ...

    @abstractmethod
    def _content_closing(self) -> Iterator[Render]: ...

    def _opening(self) -> Iterator[Render]:
        yield self._added
        conversation = self._writer.conversation
        if conversation:
            yield lambda due_ns: self._writer.event(*conversation.added(self.item), due_ns)

    # Renderers: each is called once, when its event is sent

    def _added(self, due_ns: int) -> OutgoingEvent:
        self.announced = True
        return self._item_event("added", due_ns)

    def _done(self, due_ns: int) -> OutgoingEvent:
        self.closed = True
        return self._item_event("done", due_ns)

    def _item_event(self, name: str, due_ns: int) -> OutgoingEvent:
        fields = {"output_index": self._output_index, "item": self.item.body}
        return self._writer.event(f"response.output_item.{name}", fields, due_ns)


class MessageItem(OutputItem):
    """A message. Its content grows with each delta that is sent."""

    def __init__(
        self,
        item_id: str,
        output_index: int,
        planned: PlannedMessage,
        output: OutputSettings,
        writer: ResponseWriter,
    ) -> None:
        self._words: list[str] = []
        self._spoken: list[AudioBlock] = []
        body = message_body(item_id, "assistant", [], "in_progress")
        body |= {} if planned.phase is None else {"phase": planned.phase}
        spoken = self._spoken if output.audio else None
        item = ConversationItem(item_id, body, spoken=spoken, filler=planned.filler)
        super().__init__(item, output_index, planned.schedule, writer)
        self._tokens = planned.reply.tokens
        self._with_audio = output.audio
        self._blocks = planned.reply.blocks[output.format]
        names = writer.names
        word_family = names.transcript if output.audio else names.text
        self._word_template = DeltaTemplate(word_family, writer.response_id, item_id, output_index)
        self._audio_template = DeltaTemplate(names.audio, writer.response_id, item_id, output_index)

    @property
    def tokens(self) -> TokenCounts:
        overhead = AUDIO_ANSWER_TEXT_TOKENS if self._spoken else 0
        return TokenCounts(len(self._words) + overhead, self.spoken_ms // TOKEN_MS)

    @property
    def spoken_ms(self) -> int:
        return sum(block.audio_ms for block in self._spoken)

    def _opening(self) -> Iterator[Render]:
        yield from super()._opening()
        yield partial(self._part_event, "response.content_part.added", {"part": self._part("")})

    def _deltas(self) -> Iterator[OutboxStep]:
        for due_ns, audio in self.schedule.deltas:
            yield due_ns, self._audio if audio else self._word

    def _content_closing(self) -> Iterator[Render]:
        text = "".join(self._words)
        names = self._writer.names
        if self._with_audio:
            yield partial(self._part_event, f"{names.audio}.done", {})
            yield partial(self._part_event, f"{names.transcript}.done", {"transcript": text})
        else:
            yield partial(self._part_event, f"{names.text}.done", {"text": text})
        yield partial(self._part_done, text)

    # Renderers

    def _word(self, due_ns: int) -> OutgoingEvent:
        token = self._tokens[len(self._words)]
        writer = self._writer
        self._words.append(token)
        body = self._word_template.render(
            writer.outbox.ids.event(), msgspec.json.encode(token), writer.outbox.obfuscation()
        )
        return OutgoingEvent(
            due_ns, self._word_template.type, body, writer.response_id, item_id=self.item.id
        )

    def _audio(self, due_ns: int) -> OutgoingEvent:
        block = self._blocks[len(self._spoken)]
        writer = self._writer
        self._spoken.append(block)
        body = self._audio_template.render(writer.outbox.ids.event(), block.encoded)
        return OutgoingEvent(
            due_ns,
            self._audio_template.type,
            body,
            writer.response_id,
            block.audio_bytes,
            block.audible_byte,
            item_id=self.item.id,
        )

    def _part_done(self, text: str, due_ns: int) -> OutgoingEvent:
        names = self._writer.names
        kind, key = (
            (names.audio_part, "transcript") if self._with_audio else (names.text_part, "text")
        )
        self.item.hold({"type": kind, key: text}, self.tokens)
        return self._part_event("response.content_part.done", {"part": self._part(text)}, due_ns)

    def _part(self, text: str) -> Json:
        return (
            {"type": "audio", "transcript": text}
            if self._with_audio
            else {"type": "text", "text": text}
        )

    def _part_event(self, event_type: str, fields: Json, due_ns: int) -> OutgoingEvent:
        return self._writer.event(
            event_type, self._position | {"content_index": 0} | fields, due_ns
        )


class ArgumentsItem(OutputItem):
    """A call of a function. Its arguments grow with each delta that is sent."""

    family: str
    """The family of the events of the arguments."""

    def __init__(
        self, body: Json, output_index: int, planned: PlannedCall, writer: ResponseWriter
    ) -> None:
        item = ConversationItem(body["id"], body, response_id=writer.response_id)
        super().__init__(item, output_index, planned.schedule, writer)
        self._call = planned.call
        self._written: list[str] = []

    @property
    def tokens(self) -> TokenCounts:
        return TokenCounts(len(self._written))

    def _deltas(self) -> Iterator[OutboxStep]:
        for due_ns, _ in self.schedule.deltas:
            yield due_ns, self._token

    def _content_closing(self) -> Iterator[Render]:
        yield self._arguments_done

    def _token(self, due_ns: int) -> OutgoingEvent:
        token = self._call.tokens[len(self._written)]
        self._written.append(token)
        return self._arguments_event("delta", {"delta": token}, due_ns)

    def _arguments_done(self, due_ns: int) -> OutgoingEvent:
        self.item.body["arguments"] = "".join(self._written)
        self.item.tokens = self.tokens
        return self._arguments_event("done", {"arguments": self.item.body["arguments"]}, due_ns)

    def _arguments_event(self, name: str, fields: Json, due_ns: int) -> OutgoingEvent:
        return self._writer.event(f"response.{self.family}.{name}", self._position | fields, due_ns)


class FunctionCallItem(ArgumentsItem):
    """A function call, which the client executes."""

    family = "function_call_arguments"

    def __init__(
        self,
        item_id: str,
        call_id: str,
        output_index: int,
        planned: PlannedCall,
        writer: ResponseWriter,
    ) -> None:
        body: Json = {
            "id": item_id,
            "object": "realtime.item",
            "type": "function_call",
            "status": "in_progress",
        }
        body |= {"name": planned.call.name, "call_id": call_id, "arguments": ""}
        super().__init__(body, output_index, planned, writer)

    def _arguments_event(self, name: str, fields: Json, due_ns: int) -> OutgoingEvent:
        named = {"name": self._call.name} if name == "done" else {}
        return super()._arguments_event(
            name, {"call_id": self.item.body["call_id"]} | named | fields, due_ns
        )
