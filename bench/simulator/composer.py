"""Composes responses: what each reads, what it says or calls, and when, before any of it is sent.

What differs from response to response is drawn by the seed, in the order of this file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.simulator.answer import Response
from bench.simulator.cap import capped
from bench.simulator.conversation import Conversation
from bench.simulator.conversation_item import ConversationItem
from bench.simulator.function_call import FunctionCallItem
from bench.simulator.functions import ModelCall, calls_of
from bench.simulator.history import NOTHING, Context, ContextExceededError, ModelHistory, Preface, read_parts
from bench.simulator.mcp import McpServers
from bench.simulator.mcp_call import McpApprovalRequestItem, McpCallItem
from bench.simulator.message import MessageItem
from bench.simulator.outbox import Outbox
from bench.simulator.output_item import OutputItem, ResponseWriter
from bench.simulator.plan import Asked, PlannedCall, PlannedPart, Planner, ResponseContent, ResponsePlan
from bench.simulator.profile import Profile, drawn
from bench.simulator.quota import Quota
from bench.simulator.servers import Servers
from bench.simulator.session import EffectiveSession
from bench.simulator.session_form import OutputSettings
from bench.simulator.voice import RecordedReply
from bench.simulator.wire import Ids, Json, WireNames


class Composer:
    """Composes the responses of one session."""

    def __init__(
        self,
        session: EffectiveSession,
        conversation: Conversation,
        outbox: Outbox,
        profile: Profile,
        replies: Sequence[RecordedReply],
        names: WireNames,
        ids: Ids,
        rng: np.random.Generator,
        quota: Quota,
        servers: Servers,
        mcp: McpServers,
    ) -> None:
        self._session, self._conversation, self._outbox = session, conversation, outbox
        self._profile, self._replies, self._names, self._ids, self._rng = profile, replies, names, ids, rng
        self._quota, self._servers = quota, servers  # of the whole server
        self._mcp = mcp
        self._history = ModelHistory(conversation, profile.cache, profile.context_limit_tokens)
        self._planner = Planner(profile, rng)
        self._conversation_id = ids.new("conv")

    def compose(self, wanted: Json, at_ns: int, in_band: bool) -> Response:
        """The response to be that is asked for at `at_ns`. Raises RejectedError."""
        output, tools = self._session.output(wanted), self._session.tools(wanted, self._mcp.listed)
        preface, own = Preface(output.instructions, tools.written), wanted.get("input")
        items, failure = self._items(own, preface)
        parts = read_parts(preface, items)
        context = self._history.read(parts)
        failure = failure or self._quota.respond(context.tokens.sum, self._session.model, at_ns)
        reply = self._replies[int(self._rng.integers(len(self._replies)))]
        if failure is not None:
            plan = self._planner.failure(Asked(at_ns, self._outbox.answered_ns, slowness=self._slowness(at_ns)))
            return self._response(wanted, output, plan, NOTHING, failure, in_band)
        if own is None:
            self._history.remember(parts)
        calls = calls_of(tools, items, self._profile.functions, self._rng)
        content = ResponseContent(output.audio, self._commentary(calls), reply, calls, self._shortest)
        late_ns = self._session.fillers(wanted).latency_ns if output.audio else None
        plan = self._planner.response(content, self._asked(wanted, context, at_ns)._replace(late_ns=late_ns))
        plan = capped(plan, output.format, float(output.max_output_tokens))
        self._servers.occupy(plan.done_ns)
        return self._response(wanted, output, plan, context, None, in_band)

    def _items(self, own: list[Any] | None, preface: Preface) -> tuple[Sequence[ConversationItem], Json | None]:
        """What a response reads, its own `input` or the conversation; and the error with which it fails, if it does."""
        if own is not None:
            return self._conversation.read_input(own, self._session.input.format), None
        try:
            return self._history.items(preface, self._session.truncation), None
        except ContextExceededError as error:
            return (), error.shown

    def _commentary(self, calls: Sequence[ModelCall]) -> RecordedReply | None:
        """What is said ahead of calls, or of the answer: the shortest reply there is; None: nothing."""
        share = self._profile.functions.preamble if calls else self._profile.parts.share
        return self._shortest if drawn(share, self._rng) else None

    @property
    def _shortest(self) -> RecordedReply:
        return min(self._replies, key=lambda reply: reply.audio_ms)

    def fills_calls(self, answer: Response) -> bool:
        """Whether something is said while what a response has called runs."""
        called = any(isinstance(item, FunctionCallItem) for item in answer.items)
        return called and answer.in_band and answer.output.audio and self._session.fillers({}).during_calls

    def filler(self, at_ns: int) -> Response:
        """What is said while functions run; it costs nothing."""
        plan = self._planner.filler(self._shortest, at_ns)
        return self._response({}, self._session.output({}), plan, NOTHING, None, in_band=True)

    def _asked(self, wanted: Json, context: Context, at_ns: int) -> Asked:
        begin_ns = self._servers.begin_ns(at_ns)
        return Asked(
            begin_ns,
            self._outbox.answered_ns,
            self._profile.context.ns(context.tokens.sum, context.cached.sum),
            self._reasoning_ns(wanted),
            self._slowness(begin_ns),
        )

    def _slowness(self, at_ns: int) -> float:
        return self._profile.slowness(at_ns, self._servers.sessions)

    def _reasoning_ns(self, wanted: Json) -> int:
        delay = self._profile.reasoning_ms.get(self._session.effort(wanted))
        return 0 if delay is None else delay.draw_ns(self._rng)

    def _response(
        self,
        wanted: Json,
        output: OutputSettings,
        plan: ResponsePlan,
        context: Context,
        failure: Json | None,
        in_band: bool,
    ) -> Response:
        conversation = self._conversation if in_band else None
        writer = ResponseWriter(self._ids.new("resp"), self._names, self._ids, conversation, self._outbox.obfuscation)
        return Response(
            output=output,
            plan=plan,
            items=[self._item(place, part, output, writer) for place, part in enumerate(plan.parts)],
            writer=writer,
            conversation_id=self._conversation_id if in_band else None,
            metadata=wanted.get("metadata"),
            context=context,
            failure=failure,
        )

    def _item(self, place: int, part: PlannedPart, output: OutputSettings, writer: ResponseWriter) -> OutputItem:
        item_id = self._conversation.promise()
        if isinstance(part, PlannedCall) and part.call.approval:
            return McpApprovalRequestItem(item_id, place, part, writer)
        if isinstance(part, PlannedCall) and part.call.server is not None:
            return McpCallItem(item_id, place, part, writer, self._mcp.run)
        if isinstance(part, PlannedCall):
            return FunctionCallItem(item_id, self._ids.new("call"), place, part, writer)
        return MessageItem(item_id, place, part, output, writer)
