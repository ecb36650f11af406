"""Makes one response, from response.created to response.done, in the orders of captures from the service.

A response is a series of steps in wire order: a due instant, and a function that renders the event when that instant
has come. An end ahead of time drops the steps that are left and lets `Response.ended` close what is open.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from bench.protocol.openai import RATED_FORMATS
from bench.protocol.openai_ga import ga_format
from bench.protocol.voice_live import SPOKEN_FORMATS
from bench.simulator.answering.output_items import MessageItem, OutputItem, ResponseWriter
from bench.simulator.answering.plan import ResponsePlan
from bench.simulator.conversation.history import Context
from bench.simulator.outbox import OutboxStep
from bench.simulator.session.effective import OutputSettings
from bench.simulator.wire import GA, Json, Outgoing
from bench.units import NS_PER_MS

CAPPED: Json = {"type": "incomplete", "reason": "max_output_tokens"}


@dataclass
class Response:
    """A response under way. `conversation_id` is None for one that is out of band."""

    output: OutputSettings
    plan: ResponsePlan
    items: Sequence[OutputItem]  # as planned
    writer: ResponseWriter
    conversation_id: str | None
    metadata: Json | None
    context: Context
    failure: Json | None  # the error that it ends with at once

    status: str = "planned"  # then in_progress, then that of response.done

    @property
    def id(self) -> str:
        return self.writer.response_id

    @property
    def in_band(self) -> bool:
        """Whether it is a response of the conversation."""
        return self.conversation_id is not None

    @property
    def done(self) -> bool:
        """Whether response.done is out."""
        return self.status not in ("planned", "in_progress")

    @property
    def played_ns(self) -> int:
        """The instant by which a listener to all of it has heard what was sent so far; 0 without audio."""
        played_ns = 0
        for item in self.items:
            if isinstance(item, MessageItem) and item.spoken_ms:
                first_ns = next(delta.due_ns for delta in item.schedule.deltas if delta.audio)
                played_ns = max(played_ns, first_ns) + item.spoken_ms * NS_PER_MS
        return played_ns

    def steps(self) -> Iterator[OutboxStep]:
        yield self.plan.created_ns, self._created
        if self.failure is not None:
            yield self.plan.done_ns, partial(self._finished, "failed", {"type": "failed", "error": self.failure})
            return
        for item in self.items:
            yield from item.steps()
            cut = self.plan.cut and item is self.items[-1]
            closing = item.closing("incomplete" if cut else "completed")
            yield from ((item.schedule.done_ns, render) for render in closing)
        finished = ("incomplete", CAPPED) if self.plan.cut else ("completed", None)
        yield self.plan.done_ns, partial(self._finished, *finished)

    def ended(self, at_ns: int, status: str, details: Json) -> Iterator[OutboxStep]:
        """What comes instead of the steps that are left."""
        if self.status == "planned":
            yield at_ns, self._created
        for item in self.items:
            yield from ((at_ns, render) for render in item.closing("incomplete"))
        yield at_ns, partial(self._finished, status, details)

    # Renderers: each is called once, when its event is sent

    def _created(self, due_ns: int) -> Outgoing:
        self.status = "in_progress"
        return self.writer.event("response.created", {"response": self.as_json()}, due_ns)

    def _finished(self, status: str, details: Json | None, due_ns: int) -> Outgoing:
        self.status = status
        output = [item.item.body for item in self.items if item.item is not None]
        final = {"status_details": details, "usage": self.usage(), "output": output}
        facts = {"status": status, "input": self.context.tokens.sum, "cached": self.context.cached.sum}
        return self.writer.event("response.done", {"response": self.as_json() | final}, due_ns, facts=facts)

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
            **self._spoken(),
            "max_output_tokens": self.output.max_output_tokens,
        }

    def usage(self) -> Json:
        (text, audio, image), cached = self.context
        out_text, out_audio = self.output_tokens()
        of_cached: Json = {"text_tokens": cached.text, "audio_tokens": cached.audio}
        details: Json = {"text_tokens": text, "audio_tokens": audio, "cached_tokens": cached.sum}
        if self.output.counts_images:
            of_cached["image_tokens"], details["image_tokens"] = cached.image, image
        input_tokens, output_tokens = self.context.tokens.sum, out_text + out_audio
        return {
            "total_tokens": input_tokens + output_tokens,
            "input_tokens": input_tokens,
            "output_tokens": output_tokens,
            "input_token_details": details | {"cached_tokens_details": of_cached},
            "output_token_details": {"text_tokens": out_text, "audio_tokens": out_audio},
        }

    def output_tokens(self) -> tuple[int, int]:
        """(text, audio) of what was made so far."""
        tokens = [item.tokens for item in self.items]
        return sum(each.text for each in tokens), sum(each.audio for each in tokens)

    def _spoken(self) -> Json:
        """How it is said, in the names of its dialect."""
        if self.writer.names is GA:
            spoken = {"format": ga_format(RATED_FORMATS[self.output.format]), "voice": self.output.voice}
            return {"output_modalities": ["audio"] if self.output.audio else ["text"], "audio": {"output": spoken}}
        return {
            "modalities": ["audio", "text"] if self.output.audio else ["text"],
            "voice": self.output.voice,
            "output_audio_format": SPOKEN_FORMATS.get(self.output.format, self.output.format),
            "temperature": self.output.temperature,
        }
