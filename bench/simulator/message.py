"""Makes a message of a response: audio with its transcript, or text, in one content part."""

from __future__ import annotations

from collections.abc import Iterator

from bench.simulator.cap import AUDIO_ANSWER_TEXT_TOKENS
from bench.simulator.conversation_item import ConversationItem, TokenCounts, message_body
from bench.simulator.outbox import OutboxStep, Render
from bench.simulator.output_item import OutputItem, ResponseWriter
from bench.simulator.plan import PlannedMessage
from bench.simulator.session_form import OutputSettings
from bench.simulator.voice import TOKEN_MS, AudioBlock
from bench.simulator.wire import DeltaTemplate, Json, Outgoing, json_string


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
        yield self._part_added

    def _deltas(self) -> Iterator[OutboxStep]:
        for due_ns, audio, _ in self.schedule.deltas:
            yield due_ns, self._audio if audio else self._word

    def _content_closing(self) -> Iterator[Render]:
        if self._with_audio:
            yield self._audio_done
            yield self._transcript_done
        else:
            yield self._text_done
        yield self._part_done

    # Renderers

    def _part_added(self, due_ns: int) -> Outgoing:
        return self._part_event(due_ns, "response.content_part.added", {"part": self._part("")})

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

    def _audio_done(self, due_ns: int) -> Outgoing:
        return self._part_event(due_ns, f"{self._writer.names.audio}.done", {})

    def _transcript_done(self, due_ns: int) -> Outgoing:
        return self._part_event(due_ns, f"{self._writer.names.transcript}.done", {"transcript": "".join(self._words)})

    def _text_done(self, due_ns: int) -> Outgoing:
        return self._part_event(due_ns, f"{self._writer.names.text}.done", {"text": "".join(self._words)})

    def _part_done(self, due_ns: int) -> Outgoing:
        assert self.item is not None
        words, names = "".join(self._words), self._writer.names
        kind, key = (names.audio_part, "transcript") if self._with_audio else (names.text_part, "text")
        self.item.hold({"type": kind, key: words}, self.tokens)
        return self._part_event(due_ns, "response.content_part.done", {"part": self._part(words)})

    def _part(self, words: str) -> Json:
        return {"type": "audio", "transcript": words} if self._with_audio else {"type": "text", "text": words}

    def _part_event(self, due_ns: int, event_type: str, fields: Json) -> Outgoing:
        place = {"item_id": self.id, "output_index": self._output_index, "content_index": 0}
        return self._event(due_ns, event_type, place | fields)
