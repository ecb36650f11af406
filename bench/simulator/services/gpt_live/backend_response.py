"""One response of the Responses backend of a GPT-Live session: its schedule and its events. Pure.

A response reasons, and then writes function calls or a text at the profile's paces. The last token is due at the end of
the response. Each event of the Responses API is sent within a `response.event`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, Protocol

from bench.simulator.conversation.items import ContextUsage
from bench.simulator.recorded_replies import RecordedReply
from bench.simulator.responses.function_calls import GeneratedCall
from bench.simulator.server_events import Ids, Json, OutboxStep, OutgoingEvent, event_bytes
from bench.simulator.services.gpt_live.output_stream import Delegation

RESPONSE_EVENT = "response.event"


class ResponseSchedule(NamedTuple):
    """The instants of a response. It writes from `writing_ns` to `end_ns`, and reasons before that."""

    created_ns: int
    writing_ns: int
    end_ns: int

    def token_dues(self, count: int) -> Iterator[int]:
        """Yield the due instant of each token. The last token is due at the end of the response."""
        for number in range(1, count + 1):
            yield self.writing_ns + (self.end_ns - self.writing_ns) * number // count


class ResponseListener(Protocol):
    """The owner of a response. It is called when an event of the response is sent."""

    def on_text(self, response: BackendResponse) -> None:
        """Handle the first text."""

    def on_item(self, response: BackendResponse, item: Json) -> None:
        """Handle a complete message or function call."""

    def on_end(self, response: BackendResponse) -> None:
        """Handle the end of the response."""


@dataclass(eq=False)
class BackendResponse:
    """A response that is in progress.

    `settings` is the value of `delegation.responses` at its start. `delegations` are the tasks that it continues, the
    latest last. `reply` is the text that it writes; None if it makes `calls`. `created_at` is Unix time, in seconds.
    """

    id: str
    ids: Ids
    listener: ResponseListener
    settings: Json
    delegations: Sequence[Delegation]
    usage: ContextUsage
    calls: Sequence[GeneratedCall]
    reply: RecordedReply | None
    schedule: ResponseSchedule
    reasoning_tokens: int
    created_at: float
    call_ids: list[str] = field(default_factory=list)
    """The ids of the calls that were sent completely."""
    _written_tokens: int = 0
    _events: int = 0

    @property
    def delegation(self) -> Delegation | None:
        return self.delegations[-1] if self.delegations else None

    def steps(self) -> Iterator[OutboxStep]:
        """Yield the steps of a response that is not ended early."""
        created_ns, writing_ns, end_ns = self.schedule
        for name in ("response.created", "response.in_progress"):
            yield created_ns, partial(self._snapshot, name, "in_progress", {})
        index = 0
        if reasons(self.settings):
            item: Json = {"id": self.ids.new("rs"), "type": "reasoning", "summary": []}
            for name, due_ns in (("added", created_ns), ("done", writing_ns)):
                yield due_ns, partial(self._event, f"response.output_item.{name}", {"output_index": 0, "item": item})
            index = 1
        if self.reply:
            yield from self._message(self.reply, index)
        dues = self.schedule.token_dues(sum(len(call.tokens) for call in self.calls))
        for number, call in enumerate(self.calls, index):
            yield from self._call(call, number, dues)
        yield end_ns, partial(self.finish, "completed", {})

    def _message(self, reply: RecordedReply, index: int) -> Iterator[OutboxStep]:
        event, text = self._event, "".join(reply.tokens)
        _, writing_ns, end_ns = self.schedule
        item: Json = {"id": self.ids.new("msg"), "type": "message", "role": "assistant"}
        place = {"output_index": index, "item_id": item["id"], "content_index": 0}
        empty = item | {"status": "in_progress", "content": []}
        full_part = _output_text(text)
        full = item | {"status": "completed", "content": [full_part]}
        yield writing_ns, partial(event, "response.output_item.added", {"output_index": index, "item": empty})
        yield writing_ns, partial(event, "response.content_part.added", place | {"part": _output_text("")})
        for number, (token, due_ns) in enumerate(
            zip(reply.tokens, self.schedule.token_dues(len(reply.tokens)), strict=True)
        ):
            fields, effect = place | {"delta": token, "logprobs": []}, partial(self._on_text, is_first=number == 0)
            yield due_ns, partial(event, "response.output_text.delta", fields, effect=effect)
        yield end_ns, partial(event, "response.output_text.done", place | {"text": text, "logprobs": []})
        yield end_ns, partial(event, "response.content_part.done", place | {"part": full_part})
        effect = partial(self.listener.on_item, self, full)
        yield end_ns, partial(event, "response.output_item.done", {"output_index": index, "item": full}, effect=effect)

    def _call(self, call: GeneratedCall, index: int, dues: Iterator[int]) -> Iterator[OutboxStep]:
        event, arguments = self._event, "".join(call.tokens)
        item: Json = {"id": self.ids.new("fc"), "type": "function_call", "call_id": self.ids.new("call")}
        item["name"] = call.name
        place = {"output_index": index, "item_id": item["id"]}
        due_ns = self.schedule.writing_ns
        for number, token in enumerate(call.tokens):
            due_ns = next(dues)
            if number == 0:
                added = item | {"status": "in_progress", "arguments": ""}
                yield due_ns, partial(event, "response.output_item.added", {"output_index": index, "item": added})
            fields = place | {"delta": token}
            yield due_ns, partial(event, "response.function_call_arguments.delta", fields, effect=self._on_token)
        fields = place | {"arguments": arguments}
        yield due_ns, partial(event, "response.function_call_arguments.done", fields)
        done = item | {"status": "completed", "arguments": arguments}
        effect = partial(self.listener.on_item, self, done)
        yield due_ns, partial(event, "response.output_item.done", {"output_index": index, "item": done}, effect=effect)

    def _on_token(self) -> None:
        self._written_tokens += 1

    def _on_text(self, *, is_first: bool) -> None:
        self._on_token()
        if is_first:
            self.listener.on_text(self)

    # Renderers

    def finish(self, status: str, changes: Json, due_ns: int) -> OutgoingEvent:
        """Return the last event. `changes`: further fields of the response."""
        cached, read = self.usage.cached.sum, self.usage.tokens.sum
        written = self._written_tokens + self.reasoning_tokens
        usage = {
            "input_tokens": read,
            "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
            "output_tokens": written,
            "output_tokens_details": {"reasoning_tokens": self.reasoning_tokens},
            "total_tokens": read + written,
        }
        self.listener.on_end(self)
        facts = {"status": status, "input_tokens": read, "cached_tokens": cached, "output_tokens": written}
        return self._snapshot(f"response.{status}", status, changes | {"usage": usage}, due_ns, facts=facts)

    def _snapshot(
        self, name: str, status: str, changes: Json, due_ns: int, *, facts: Json | None = None
    ) -> OutgoingEvent:
        """Return an event with the response. As at the service, it has no output, no instructions and no tools."""
        snapshot: Json = {"id": self.id, "object": "response", "created_at": self.created_at, "status": status}
        snapshot |= {key: self.settings[key] for key in ("model", "tool_choice", "parallel_tool_calls")}
        snapshot |= {"error": None, "incomplete_details": None, "instructions": None, "usage": None}
        snapshot |= {"output": [], "tools": [], **changes}
        return self._event(name, {"response": snapshot}, due_ns, facts=facts)

    def _event(
        self,
        name: str,
        fields: Json,
        due_ns: int,
        *,
        effect: Callable[[], None] | None = None,
        facts: Json | None = None,
    ) -> OutgoingEvent:
        event = {"type": name, "sequence_number": self._events, **fields}
        self._events += 1
        if effect is not None:
            effect()
        of = {"delegation_id": self.delegation.id} if self.delegation else {}
        item = fields.get("item", {})
        return OutgoingEvent(
            due_ns,
            RESPONSE_EVENT,
            event_bytes(RESPONSE_EVENT, self.ids.event(), {**of, "event": event}),
            self.id,
            item_id=fields.get("item_id") or item.get("id"),
            call_id=item.get("call_id"),
            facts=({"delegation": self.delegation.id} if self.delegation else {}) | (facts or {}),
            nested=name,
            context_tokens=self.usage.tokens.sum,
        )


def reasons(settings: Json) -> bool:
    """Return whether a response with these settings reasons. The default effort of the service is not "none"."""
    return bool(settings.get("reasoning", {}).get("effort") != "none")


def _output_text(text: str) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
