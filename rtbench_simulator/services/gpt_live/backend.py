"""The Responses backend of a GPT-Live session: one conversation, and the responses that read it.
Pure.

A response takes the profile's `delegation.backend_ms`, from the delegation or the client's
response.create to its end. It reasons, and then writes function calls or a text at the profile's
paces. The last token is due at the end of the response. Its function calls are chosen as in the
Realtime API (`rtbench_simulator.responses.function_calls`). Each event of the Responses API is sent
within a `response.event`.
"""

# `BackendResponse` writes the events of one response, and `Backend` decides which response reads
# what. Effects on the conversation happen when the event that shows them is rendered (`effect`), so
# a response that ends early leaves only what was sent.
#
# A function call is pending from its item to its output. While one is pending no response can
# start, since its input would lack the output. A task is `is_calling` from its call to the response
# that continues it; one response continues all tasks that wait.

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import msgspec
import numpy as np

from bench.base.units import NS_PER_S
from rtbench_simulator.conversation.items import (
    ContextPrefix,
    ContextUsage,
    Conversation,
    ConversationItem,
    ModelHistory,
    TokenCounts,
    read_parts,
    text_tokens,
)
from rtbench_simulator.profile import Profile
from rtbench_simulator.recorded_replies import RecordedReply
from rtbench_simulator.responses.function_calls import GeneratedCall, calls_of, tools_of
from rtbench_simulator.server_events import (
    GA,
    Ids,
    Json,
    Outbox,
    OutboxStep,
    OutgoingEvent,
    PlannedSeries,
    RejectedError,
    event_bytes,
)
from rtbench_simulator.services.gpt_live.output_stream import Delegation

RESPONSE_EVENT = "response.event"
Effect = Callable[[], None]
"""What an event changes when it is sent."""


class ResponseSchedule(NamedTuple):
    """The instants of a response. It writes from `writing_ns` to `end_ns`, and reasons before
    that.
    """

    created_ns: int
    writing_ns: int
    end_ns: int

    def token_dues(self, count: int) -> Iterator[int]:
        """Yield the due instant of each token. The last token is due at the end of the response."""
        for number in range(1, count + 1):
            yield self.writing_ns + (self.end_ns - self.writing_ns) * number // count


@dataclass(eq=False)
class BackendResponse:
    """A response that is in progress.

    `settings` is the value of `delegation.responses` at its start. `delegations` are the tasks that
    it continues, the latest last. `reply` is the text that it writes; None if it makes `calls`.
    `created_at` is Unix time, in seconds.
    """

    id: str
    ids: Ids
    backend: Backend
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
            yield self._item(created_ns, "added", 0, item)
            yield self._item(writing_ns, "done", 0, item)
            index = 1
        if self.reply:
            yield from self._message(self.reply, index)
        dues = self.schedule.token_dues(sum(len(call.tokens) for call in self.calls))
        for number, call in enumerate(self.calls, index):
            yield from self._call(call, number, dues)
        yield end_ns, partial(self.finish, "completed", {})

    def _message(self, reply: RecordedReply, index: int) -> Iterator[OutboxStep]:
        step = self._step
        text = "".join(reply.tokens)
        _, writing_ns, end_ns = self.schedule
        item: Json = {"id": self.ids.new("msg"), "type": "message", "role": "assistant"}
        place = {"output_index": index, "item_id": item["id"], "content_index": 0}
        empty_part = place | {"part": _output_text("")}
        full_part = _output_text(text)
        full = item | {"status": "completed", "content": [full_part]}
        yield self._item(
            writing_ns, "added", index, item | {"status": "in_progress", "content": []}
        )
        yield step(writing_ns, "response.content_part.added", empty_part)
        effect = self._on_first_text
        dues = self.schedule.token_dues(len(reply.tokens))
        for token, due_ns in zip(reply.tokens, dues, strict=True):
            fields = place | {"delta": token, "logprobs": []}
            yield step(due_ns, "response.output_text.delta", fields, effect)
            effect = self._on_token
        yield step(end_ns, "response.output_text.done", place | {"text": text, "logprobs": []})
        yield step(end_ns, "response.content_part.done", place | {"part": full_part})
        yield self._item(end_ns, "done", index, full, partial(self.backend.on_item, self, full))

    def _call(self, call: GeneratedCall, index: int, dues: Iterator[int]) -> Iterator[OutboxStep]:
        step = self._step
        arguments = "".join(call.tokens)
        item: Json = {
            "id": self.ids.new("fc"),
            "type": "function_call",
            "call_id": self.ids.new("call"),
            "name": call.name,
        }
        place = {"output_index": index, "item_id": item["id"]}
        due_ns = self.schedule.writing_ns
        for number, token in enumerate(call.tokens):
            due_ns = next(dues)
            if number == 0:
                added = item | {"status": "in_progress", "arguments": ""}
                yield self._item(due_ns, "added", index, added)
            fields = place | {"delta": token}
            yield step(due_ns, "response.function_call_arguments.delta", fields, self._on_token)
        fields = place | {"arguments": arguments}
        yield step(due_ns, "response.function_call_arguments.done", fields)
        done = item | {"status": "completed", "arguments": arguments}
        yield self._item(due_ns, "done", index, done, partial(self.backend.on_item, self, done))

    def _item(
        self, due_ns: int, name: str, index: int, item: Json, effect: Effect | None = None
    ) -> OutboxStep:
        fields = {"output_index": index, "item": item}
        return self._step(due_ns, f"response.output_item.{name}", fields, effect)

    def _step(
        self, due_ns: int, name: str, fields: Json, effect: Effect | None = None
    ) -> OutboxStep:
        return due_ns, partial(self._event, name, fields, effect=effect)

    def _on_token(self) -> None:
        self._written_tokens += 1

    def _on_first_text(self) -> None:
        self._on_token()
        self.backend.on_text(self)

    # Renderers

    def finish(self, status: str, changes: Json, due_ns: int) -> OutgoingEvent:
        """Return the last event. `changes`: further fields of the response."""
        cached = self.usage.cached.sum
        read = self.usage.tokens.sum
        written = self._written_tokens + self.reasoning_tokens
        usage = {
            "input_tokens": read,
            "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
            "output_tokens": written,
            "output_tokens_details": {"reasoning_tokens": self.reasoning_tokens},
            "total_tokens": read + written,
        }
        self.backend.on_end(self)
        facts = {
            "status": status,
            "input_tokens": read,
            "cached_tokens": cached,
            "output_tokens": written,
        }
        return self._snapshot(
            f"response.{status}", status, changes | {"usage": usage}, due_ns, facts=facts
        )

    def _snapshot(
        self, name: str, status: str, changes: Json, due_ns: int, *, facts: Json | None = None
    ) -> OutgoingEvent:
        """Return an event with the response. As at the service, it has no output, no
        instructions and no tools.
        """
        snapshot: Json = {
            "id": self.id,
            "object": "response",
            "created_at": self.created_at,
            "status": status,
        }
        snapshot |= {
            key: self.settings[key] for key in ("model", "tool_choice", "parallel_tool_calls")
        }
        snapshot |= {"error": None, "incomplete_details": None, "instructions": None, "usage": None}
        snapshot |= {"output": [], "tools": [], **changes}
        return self._event(name, {"response": snapshot}, due_ns, facts=facts)

    def _event(
        self,
        name: str,
        fields: Json,
        due_ns: int,
        *,
        effect: Effect | None = None,
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
    """Return whether a response with these settings reasons. The default effort of the service
    is not "none".
    """
    return bool(settings.get("reasoning", {}).get("effort") != "none")


def _output_text(text: str) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


MAX_BUFFER_ITEMS = 128
MAX_BUFFER_BYTES = 32_768
"""The maximum number and total size of the items that a client may add between two responses, as
the service reports them."""
TASK_TOKENS_PER_S = 3
"""The tokens of a task for each second of the caller's speech. An assumption."""


class Backend:
    """The backend of one session.

    `settings` is the value of `delegation.responses`. `history` is the session's text history.
    `next_reply` returns the recorded reply for the next text. `say` makes the voice say a text.
    `epoch_s` converts an instant to Unix time.
    """

    def __init__(
        self,
        settings: Json,
        history: Sequence[Json],
        outbox: Outbox,
        profile: Profile,
        rng: np.random.Generator,
        *,
        next_reply: Callable[[], RecordedReply],
        say: Callable[[RecordedReply, Delegation | None], None],
        epoch_s: Callable[[int], float],
    ) -> None:
        self.settings = settings
        self._outbox = outbox
        self._profile = profile
        self._rng = rng
        self._next_reply = next_reply
        self._say = say
        self._epoch_s = epoch_s
        self._conversation = Conversation(outbox.ids, GA)
        self._history = ModelHistory(self._conversation, profile.cache, None)
        self._delegations: list[Delegation] = []
        self._pending: dict[str, Delegation | None] = {}  # calls without an output, by their ids
        self._buffer_items = self._buffer_bytes = 0
        self._responses: dict[str, tuple[BackendResponse, PlannedSeries]] = {}  # in progress
        for message in history:
            self._add(message, None)

    def end(self) -> None:
        vars(self).clear()

    # Requests

    def delegate(
        self, delegation: Delegation, response_id: str, speech_ms: int, at_ns: int
    ) -> None:
        """Start the response to a new task. `speech_ms`: the duration of the speech that
        contains the task.
        """
        self._delegations.append(delegation)
        tokens = TokenCounts(-(-speech_ms * TASK_TOKENS_PER_S // 1000))
        self._add({"role": "user"}, delegation, tokens)
        self._start(response_id, [delegation], at_ns)

    def add(self, item: Json) -> Delegation | None:
        """Add a client's item to the conversation. Return the task to which its function call
        belongs; None if it has no task.

        Raise RejectedError if the call is unknown or has an output already, or if the buffer is
        full.
        """
        is_output = item["type"] == "function_call_output"
        call_id = item.get("call_id", "")
        if is_output and call_id not in self._pending:
            raise RejectedError(
                "invalid_tool_call_id", f"Tool call ID '{call_id}' not found.", "item.call_id"
            )
        size = len(msgspec.json.encode(item))
        if self._buffer_items == MAX_BUFFER_ITEMS or self._buffer_bytes + size > MAX_BUFFER_BYTES:
            problem = (
                f"Responses input is limited to {MAX_BUFFER_ITEMS} items and {MAX_BUFFER_BYTES}"
                " UTF-8 bytes."
            )
            raise RejectedError("response_input_buffer_full", problem, "item")
        delegation = self._pending.get(call_id)
        self._add(item, delegation)
        self._pending.pop(call_id, None)
        self._buffer_items += 1
        self._buffer_bytes += size
        return delegation

    def create(self, at_ns: int) -> tuple[str, Delegation | None]:
        """Start the response that a client requests. It continues all tasks whose calls have their
        outputs.

        Return (the id of the response, the latest task that it continues). The task is None if it
        continues none. Raise RejectedError if a function call has no output.
        """
        if self._pending:
            raise RejectedError(
                "function_call_outputs_required", "Function calls have no outputs yet."
            )
        continued = [delegation for delegation in self._delegations if delegation.is_calling]
        response_id = self._outbox.ids.new("resp")
        self._start(response_id, continued, at_ns)
        return response_id, continued[-1] if continued else None

    def end_response(
        self, response_id: str, at_ns: int, status: str, details: Json
    ) -> BackendResponse | None:
        """End a response early. A failed response drops its calls.

        Return the response; None if it is not in progress.
        """
        if response_id not in self._responses:
            return None
        response, series = self._responses.pop(response_id)
        series.dropped = True
        if status == "failed":
            self._drop_calls(response)
        changes: Json = {}
        if error := details.get("error"):
            changes["error"] = {key: error[key] for key in ("code", "message")}
        if reason := details.get("reason"):
            changes["incomplete_details"] = {"reason": reason}
        self._outbox.plan_step(at_ns, partial(response.finish, status, changes))
        return response

    # Conversation

    def _add(
        self, item: Json, delegation: Delegation | None, tokens: TokenCounts | None = None
    ) -> None:
        body = {"type": "message"} | item | {"id": item.get("id") or self._outbox.ids.new("item")}
        counted = tokens or TokenCounts(text_tokens(_text_of(body)))
        entry = ConversationItem(body["id"], body, counted, response_id=body.pop("response_id", ""))
        self._conversation.insert(entry, None)
        if delegation:
            delegation.items.append(entry)

    def _drop_calls(self, response: BackendResponse) -> None:
        for call_id in response.call_ids:
            self._pending.pop(call_id, None)
        for delegation in response.delegations:
            delegation.is_calling = False
        for items in (
            self._conversation.items,
            *(delegation.items for delegation in response.delegations),
        ):
            items[:] = [item for item in items if item.body.get("call_id") not in response.call_ids]

    # Responses

    def _start(self, response_id: str, delegations: Sequence[Delegation], at_ns: int) -> None:
        profile = self._profile
        settings = self.settings
        items = self._conversation.items
        tools = tools_of(settings)
        parts = read_parts(ContextPrefix(settings.get("instructions", ""), tools.written), items)
        usage = self._history.read(parts)
        self._history.remember(parts)
        self._buffer_items = self._buffer_bytes = 0
        for delegation in delegations:
            delegation.is_calling = False
        # With a task, only its own items count: another task's calls are no round of this one.
        calls = calls_of(
            tools, delegations[-1].items if delegations else items, profile.functions, self._rng
        )
        reply = None if calls else self._next_reply()
        end_ns = self._outbox.after(at_ns, profile.delegation.backend_ms)
        created_ns = min(end_ns, self._outbox.after(at_ns, profile.delays.response_created))
        pace = profile.functions.arguments_tokens_per_s if calls else profile.text_tokens_per_s
        written = len(reply.tokens) if reply else sum(len(call.tokens) for call in calls)
        # The end is drawn, and the pace is given: what remains between the start and the text is
        # reasoning.
        writing_ns = max(created_ns, end_ns - int(written / pace * NS_PER_S))
        thinking_s = (writing_ns - created_ns) / NS_PER_S if reasons(settings) else 0
        response = BackendResponse(
            response_id,
            self._outbox.ids,
            self,
            settings,
            delegations,
            usage,
            calls,
            reply,
            ResponseSchedule(created_ns, writing_ns, end_ns),
            round(thinking_s * profile.text_tokens_per_s),
            self._epoch_s(created_ns),
        )
        self._responses[response_id] = response, self._outbox.plan(response.steps())

    def on_text(self, response: BackendResponse) -> None:
        if response.reply:
            self._say(response.reply, response.delegation)

    def on_item(self, response: BackendResponse, item: Json) -> None:
        self._add(item | {"response_id": response.id}, response.delegation)
        if item["type"] == "function_call":
            response.call_ids.append(item["call_id"])
            self._pending[item["call_id"]] = response.delegation
            for delegation in response.delegations:
                delegation.is_calling = True

    def on_end(self, response: BackendResponse) -> None:
        self._responses.pop(response.id, None)


def _text_of(item: Json) -> str:
    """Return all text of an item that a model reads."""
    content: Any = item.get("content", item.get("output", ""))
    parts: list[str] = (
        [part["text"] for part in content] if isinstance(content, list) else [content]
    )
    return "".join((*parts, item.get("name", ""), item.get("arguments", "")))
