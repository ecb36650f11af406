"""The responses of one session. At most one response at a time is in-band (a part of the
conversation).

The input, the content and the timing of a response are composed before any part of the response is
sent. Random properties are drawn with the seed, in the order of this file.

A response, from response.created to response.done, is a series of steps, in the event order of
captures from the service. A step is a due instant, and a function that renders the event at that
instant. If a response ends early, the remaining steps are dropped, and `ActiveResponse.ended`
closes the open items.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

from msgspec import structs

from bench.base.units import NS_PER_MS
from bench.services.voice_live import SPOKEN_FORMATS
from rtbench_simulator.conversation.client_items import ItemReader
from rtbench_simulator.conversation.items import (
    NOTHING,
    ContextExceededError,
    ContextPrefix,
    ContextUsage,
    Conversation,
    ConversationItem,
    ModelHistory,
    TokenCounts,
    read_parts,
    sum_of,
)
from rtbench_simulator.profile import is_drawn
from rtbench_simulator.recorded_replies import RecordedReply
from rtbench_simulator.responses.function_calls import calls_of, tools_of
from rtbench_simulator.responses.mcp_servers import McpCallItem, McpServers
from rtbench_simulator.responses.output_items import (
    FunctionCallItem,
    MessageItem,
    OutputItem,
    ResponseWriter,
)
from rtbench_simulator.responses.response_plan import (
    PlannedCall,
    PlannedPart,
    Planner,
    ResponseContent,
    ResponsePlan,
    ResponseRequest,
    capped,
)
from rtbench_simulator.server_events import (
    GA_FORMATS,
    Json,
    Outbox,
    OutboxStep,
    OutgoingEvent,
    PlannedSeries,
    RejectedError,
)
from rtbench_simulator.session.effective import EffectiveSession, OutputSettings
from rtbench_simulator.simulated_session import SessionParts
from rtbench_simulator.turn_taking import TurnTaking

CAPPED: Json = {"type": "incomplete", "reason": "max_output_tokens"}


@dataclass
class ActiveResponse:
    """One response, from its plan to its end."""

    output: OutputSettings
    plan: ResponsePlan
    items: Sequence[OutputItem]  # the planned items
    writer: ResponseWriter
    metadata: Json | None
    context: ContextUsage
    failure: Json | None  # error with which the response fails at once

    status: str = "planned"  # then in_progress, then the status of response.done

    @property
    def id(self) -> str:
        return self.writer.response_id

    @property
    def in_band(self) -> bool:
        return self.writer.conversation is not None

    @property
    def done(self) -> bool:
        return self.status not in ("planned", "in_progress")

    @property
    def played_ns(self) -> int:
        """The instant at which a listener has played all audio sent so far; 0 without audio."""
        played_ns = 0
        for item in self.items:
            if isinstance(item, MessageItem) and item.spoken_ms:
                first_ns = next(delta.due_ns for delta in item.schedule.deltas if delta.audio)
                played_ns = max(played_ns, first_ns) + item.spoken_ms * NS_PER_MS
        return played_ns

    def steps(self) -> Iterator[OutboxStep]:
        yield self.plan.created_ns, self._created
        if self.failure is not None:
            yield (
                self.plan.done_ns,
                partial(self._finished, "failed", {"type": "failed", "error": self.failure}),
            )
            return
        for item in self.items:
            yield from item.steps()
            is_truncated = self.plan.is_truncated and item is self.items[-1]
            closing = item.closing("incomplete" if is_truncated else "completed")
            yield from ((item.schedule.done_ns, render) for render in closing)
        finished = ("incomplete", CAPPED) if self.plan.is_truncated else ("completed", None)
        yield self.plan.done_ns, partial(self._finished, *finished)

    def ended(self, at_ns: int, status: str, details: Json) -> Iterator[OutboxStep]:
        """Yield the steps that replace the remaining ones after an early end."""
        if self.status == "planned":
            yield at_ns, self._created
        for item in self.items:
            yield from ((at_ns, render) for render in item.closing("incomplete"))
        yield at_ns, partial(self._finished, status, details)

    # Renderers: each is called once, when its event is sent

    def _created(self, due_ns: int) -> OutgoingEvent:
        self.status = "in_progress"
        created = self.writer.event("response.created", {"response": self.as_json()}, due_ns)
        return structs.replace(created, context_tokens=self.context.tokens.sum)

    def _finished(self, status: str, details: Json | None, due_ns: int) -> OutgoingEvent:
        self.status = status
        output = [item.item.body for item in self.items if item.announced]
        final = {"status_details": details, "usage": self.usage(), "output": output}
        facts = {
            "status": status,
            "input_tokens": self.context.tokens.sum,
            "cached_tokens": self.context.cached.sum,
        }
        return self.writer.event(
            "response.done", {"response": self.as_json() | final}, due_ns, facts=facts
        )

    # Parts of the events

    def as_json(self) -> Json:
        """Return the response object of response.created. response.done completes it."""
        return {
            "object": "realtime.response",
            "id": self.id,
            "status": self.status,
            "status_details": None,
            "output": [],
            "conversation_id": self.writer.conversation.id if self.writer.conversation else None,
            "metadata": self.metadata,
            "usage": None,
            **self._spoken_output(),
            "max_output_tokens": self.output.max_output_tokens,
        }

    def usage(self) -> Json:
        (text, audio, image), cached = self.context
        output_tokens = self.output_tokens()
        cached_details: Json = {"text_tokens": cached.text, "audio_tokens": cached.audio}
        details: Json = {"text_tokens": text, "audio_tokens": audio, "cached_tokens": cached.sum}
        if self.output.counts_images:
            cached_details["image_tokens"] = cached.image
            details["image_tokens"] = image
        input_tokens = self.context.tokens.sum
        return {
            "total_tokens": input_tokens + output_tokens.sum,
            "input_tokens": input_tokens,
            "output_tokens": output_tokens.sum,
            "input_token_details": details | {"cached_tokens_details": cached_details},
            "output_token_details": {
                "text_tokens": output_tokens.text,
                "audio_tokens": output_tokens.audio,
            },
        }

    def output_tokens(self) -> TokenCounts:
        """Return the number of tokens in the output that was sent so far."""
        return sum_of(item.tokens for item in self.items)

    def _spoken_output(self) -> Json:
        """Return the output settings, with the keys that the dialect uses."""
        if self.writer.names.is_ga:
            spoken = {"format": GA_FORMATS[self.output.format], "voice": self.output.voice}
            return {
                "output_modalities": ["audio"] if self.output.audio else ["text"],
                "audio": {"output": spoken},
            }
        return {
            "modalities": ["audio", "text"] if self.output.audio else ["text"],
            "voice": self.output.voice,
            "output_audio_format": SPOKEN_FORMATS.get(self.output.format, self.output.format),
            "temperature": self.output.temperature,
        }


# `compose` decides everything about a response at once: what it reads, what it calls, when each
# event is due. Later, only an early end changes it. Its random numbers are drawn in a fixed order;
# a new draw belongs at the end of it, or the values of every seed change.
class Composer:
    """The composer of the responses of one session."""

    def __init__(
        self,
        parts: SessionParts,
        session: EffectiveSession,
        conversation: Conversation,
        reader: ItemReader,
        outbox: Outbox,
        mcp: McpServers,
    ) -> None:
        self.turn_taking = TurnTaking(parts.profile, parts.rng, parts.servers)
        self.parts = parts
        self.session = session
        self.conversation = conversation
        self.outbox = outbox
        self.profile = parts.profile
        self.rng = parts.rng
        self.quota = parts.quota
        self._servers = parts.servers
        self._reader = reader
        self._mcp = mcp
        self._history = ModelHistory(
            conversation, parts.profile.cache, parts.profile.context_limit_tokens
        )
        self._planner = Planner(parts.profile, parts.rng)

    def compose(self, settings: Json, at_ns: int, in_band: bool) -> ActiveResponse:
        """Compose the response that is requested at `at_ns`. Raise RejectedError if the request
        is invalid.
        """
        output = self.session.output(settings)
        tools = tools_of(self.session.shown | settings, self._mcp.tools())
        preface = ContextPrefix(output.instructions, tools.written)
        own_input = settings.get("input")
        items: Sequence[ConversationItem] = ()
        # Two causes make a response fail at its start: a context that is too long, and a quota.
        # Both are reported by response.done and not by an error event, since the request itself was
        # valid.
        failure: Json | None = None
        try:
            if own_input is None:
                items = self._history.items(preface, self.session.shown.get("truncation"))
            else:
                items = self._reader.response_input(own_input, self.session.input.format)
        except ContextExceededError as error:
            failure = error.message
        parts = read_parts(preface, items)
        context = self._history.read(parts)
        failure = failure or self.quota.respond(context.tokens.sum, self.session.model, at_ns)
        reply = self.parts.replies[int(self.rng.integers(len(self.parts.replies)))]
        if failure is not None:
            slowness = self.turn_taking.slowness(at_ns)
            plan = self._planner.failure(
                ResponseRequest(at_ns, self.outbox.answered_ns, slowness=slowness)
            )
            return self._response(settings, output, plan, NOTHING, failure, in_band)
        if own_input is None:
            self._history.remember(parts)
        calls = calls_of(tools, items, self.profile.functions, self.rng)
        commented = self.profile.functions.preamble if calls else self.profile.preamble.share
        commentary = self._shortest if is_drawn(commented, self.rng) else None
        content = ResponseContent(output.audio, commentary, reply, calls, self._shortest)
        plan = self._planner.response(content, self._requested(settings, context, at_ns))
        plan = capped(plan, output.format, float(output.max_output_tokens))
        self._servers.occupy(plan.done_ns)
        return self._response(settings, output, plan, context, None, in_band)

    @property
    def _shortest(self) -> RecordedReply:
        """The shortest reply, which serves as commentary and as filler."""
        return min(self.parts.replies, key=lambda reply: reply.audio_ms)

    def fills_calls(self, response: ActiveResponse) -> bool:
        """Return whether a filler is sent while the functions that the response called run."""
        called = any(isinstance(item, FunctionCallItem) for item in response.items)
        return called and response.in_band and response.output.audio and self.session.fills_calls

    def filler(self, at_ns: int) -> ActiveResponse:
        """Return the filler that is sent while functions run.

        Its input tokens are zero, because it reads no context.
        """
        plan = self._planner.filler(self._shortest, at_ns)
        return self._response({}, self.session.output({}), plan, NOTHING, None, in_band=True)

    def _requested(self, settings: Json, context: ContextUsage, at_ns: int) -> ResponseRequest:
        start_ns = self._servers.begin_ns(at_ns)
        reading_ns = self.profile.context_latency.ns(context.tokens.sum, context.cached.sum)
        reasoning = self.profile.reasoning_ms.get(self.session.effort(settings))
        reasoning_ns = 0 if reasoning is None else reasoning.draw_ns(self.rng)
        slowness = self.turn_taking.slowness(start_ns)
        late_ns = self.session.filler_after_ns(settings)
        # a cut-in does not wait until the service has noticed that the caller goes on
        answered_ns = self.outbox.answered_ns if slowness else start_ns
        return ResponseRequest(start_ns, answered_ns, reading_ns, reasoning_ns, slowness, late_ns)

    def _response(
        self,
        settings: Json,
        output: OutputSettings,
        plan: ResponsePlan,
        context: ContextUsage,
        failure: Json | None,
        in_band: bool,
    ) -> ActiveResponse:
        conversation = self.conversation
        ids = self.conversation.ids
        writer = ResponseWriter(
            ids.new("resp"), conversation.names, conversation if in_band else None, self.outbox
        )

        def item(index: int, planned: PlannedPart) -> OutputItem:
            if not isinstance(planned, PlannedCall):
                return MessageItem(conversation.promise(), index, planned, output, writer)
            if planned.call.server:
                return McpCallItem(conversation.promise(), index, planned, writer, self._mcp)
            return FunctionCallItem(conversation.promise(), ids.new("call"), index, planned, writer)

        items = [item(index, planned) for index, planned in enumerate(plan.parts)]
        return ActiveResponse(
            output, plan, items, writer, settings.get("metadata"), context, failure
        )


AFTER_CALL_NS = 200 * NS_PER_MS
"""The delay from the end of a response with function calls to the filler (an assumption). The
filler is sent only if no other response follows within this delay."""
# per minute; reported if the profile has no quota
RATE_LIMITS = {"requests": 1_000, "tokens": 1_000_000}


# `_active` is the last in-band response, also when it is done. `_answers` has the series of each
# response that is not done, so that an early end can drop what remains.
#
# An early end has two halves: at once, the series is dropped, and no delta follows; after the delay
# `cancelled`, the open items are closed and response.done is sent.
class ResponseManager:
    """The responses of one session while they run. `when_done` is called at the end of each
    in-band response.
    """

    when_done: Callable[[ActiveResponse, int], None] | None = None

    def __init__(self, composer: Composer) -> None:
        self._composer = composer
        self._outbox = composer.outbox
        self._profile = composer.profile
        self._active: ActiveResponse | None = None  # the conversation's last response
        self._answers: dict[str, tuple[ActiveResponse, PlannedSeries]] = {}
        self._used_tokens = {"requests": 0, "tokens": 0}

    @property
    def active(self) -> ActiveResponse | None:
        """The conversation's response that is not done; None if there is none."""
        return None if self._active is None or self._active.done else self._active

    def create(self, settings: Json, at_ns: int) -> ActiveResponse:
        """Start the response that is requested at `at_ns`. Raise RejectedError if another one is
        active.
        """
        in_band = settings.get("conversation") != "none"
        if in_band and self.active is not None:
            problem = (
                f"The conversation has an active response: {self.active.id}. Wait until it is"
                " finished."
            )
            raise RejectedError("conversation_already_has_active_response", problem)
        response = self._composer.compose(settings, at_ns, in_band)
        self._active = response if in_band else self._active
        self._start(response)
        return response

    def cancel(self, response_id: Any, at_ns: int) -> str:
        """Cancel the response with this id, or the active response.

        Return its id. Raise RejectedError if there is none.
        """
        cancelled_id = str(response_id or (self._active and self._active.id))
        if not self._cancel(cancelled_id, at_ns, "client_cancelled"):
            raise RejectedError(
                "response_cancel_not_active", "Cancellation failed: no active response found"
            )
        return cancelled_id

    def interrupt(self, at_ns: int) -> None:
        """Cancel the active response because the caller speaks, unless it is already ending."""
        if self._active is not None:
            self._cancel(self._active.id, at_ns, "turn_detected")
            # the next response is due after its end, so it can be requested now
            self._active = None

    def _cancel(self, response_id: str, at_ns: int, reason: str) -> bool:
        return self.end(response_id, at_ns, "cancelled", {"type": "cancelled", "reason": reason})

    def end(self, response_id: str, at_ns: int, status: str, details: Json) -> bool:
        """End a response early. Return False if it has ended or is ending."""
        response, series = self._answers.get(response_id, (None, None))
        if response is None or series is None or response.done or series.dropped:
            return False
        series.dropped = True
        due_ns = self._outbox.answer_due(at_ns, self._profile.delays.cancelled)
        self._outbox.plan(
            chain(response.ended(due_ns, status, details), self._after_done(response, due_ns))
        )
        return True

    def _start(self, response: ActiveResponse) -> None:
        self._answers = {key: entry for key, entry in self._answers.items() if not entry[0].done}
        steps = chain(response.steps(), self._after_done(response, response.plan.done_ns))
        self._answers[response.id] = response, self._outbox.plan(steps)
        self._used_tokens["requests"] += 1
        self._used_tokens["tokens"] += response.context.tokens.sum
        if self._profile.rate_limits_updated in ("after_created", "both"):
            self._outbox.plan_step(*self._limits_step(response.plan.created_ns))

    def _after_done(self, response: ActiveResponse, done_ns: int) -> list[OutboxStep]:
        steps: list[OutboxStep] = [(done_ns, partial(self._on_done, response))]
        if self._profile.rate_limits_updated in ("after_done", "both"):
            steps.append(self._limits_step(done_ns))
        return steps

    def _on_done(self, response: ActiveResponse, done_ns: int) -> None:
        self._composer.quota.spend(response.output_tokens().sum, done_ns)
        if not response.in_band:
            return
        if self.when_done is not None:
            self.when_done(response, done_ns)
        if self._composer.fills_calls(response):
            self._outbox.plan_step(done_ns + AFTER_CALL_NS, partial(self._fill, response))

    def _fill(self, response: ActiveResponse, at_ns: int) -> None:
        """Start a filler while functions run.

        Do not start it if another response was requested, or if the response with the calls did not
        complete.
        """
        if self._active is response and response.status == "completed":
            self._active = self._composer.filler(at_ns)
            self._start(self._active)

    def _limits_step(self, after_ns: int) -> OutboxStep:
        return (
            self._outbox.after(after_ns, self._profile.delays.rate_limits_updated),
            self._rate_limits,
        )

    def _rate_limits(self, due_ns: int) -> OutgoingEvent:
        entries = self._composer.quota.entries(due_ns) or [
            {
                "name": name,
                "limit": limit,
                "remaining": max(0, limit - self._used_tokens[name]),
                "reset_seconds": round(60 * self._used_tokens[name] / limit, 3),
            }
            for name, limit in RATE_LIMITS.items()
        ]
        return self._outbox.event("rate_limits.updated", {"rate_limits": entries}, due_ns)
