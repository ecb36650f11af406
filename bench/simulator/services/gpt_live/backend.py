"""The Responses backend of a GPT-Live session: one conversation, and the responses that read it. Pure.

A response takes the profile's `delegation.backend_ms`, from the delegation or the client's response.create to its end.
Its function calls are chosen as in the Realtime API (`bench.simulator.responses.function_calls`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec
import numpy as np

from bench.base.units import NS_PER_S
from bench.simulator.conversation.items import (
    ContextPrefix,
    Conversation,
    ConversationItem,
    ModelHistory,
    TokenCounts,
    read_parts,
    text_tokens,
)
from bench.simulator.profile import Profile
from bench.simulator.recorded_replies import RecordedReply
from bench.simulator.responses.function_calls import calls_of, tools_of
from bench.simulator.server_events import GA, Json, Outbox, PlannedSeries, RejectedError
from bench.simulator.services.gpt_live.backend_response import BackendResponse, ResponseSchedule, reasons
from bench.simulator.services.gpt_live.output_stream import Delegation

MAX_BUFFER_ITEMS, MAX_BUFFER_BYTES = 128, 32_768
"""The maximum number and total size of the items that a client may add between two responses, as the service reports
them."""
TASK_TOKENS_PER_S = 3
"""The tokens of a task for each second of the caller's speech. An assumption."""


class Backend:
    """The backend of one session.

    `settings` is the value of `delegation.responses`. `history` is the session's text history. `next_reply` returns the
    recorded reply for the next text. `say` makes the voice say a text. `epoch_s` converts an instant to Unix time.
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
        self._outbox, self._profile, self._rng = outbox, profile, rng
        self._next_reply, self._say, self._epoch_s = next_reply, say, epoch_s
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

    def delegate(self, delegation: Delegation, response_id: str, speech_ms: int, at_ns: int) -> None:
        """Start the response to a new task. `speech_ms`: the duration of the speech that contains the task."""
        self._delegations.append(delegation)
        tokens = TokenCounts(-(-speech_ms * TASK_TOKENS_PER_S // 1000))
        self._add({"role": "user"}, delegation, tokens)
        self._start(response_id, [delegation], at_ns)

    def add(self, item: Json) -> Delegation | None:
        """Add a client's item to the conversation. Return the task to which its function call belongs; None if it has
        no task.

        Raise RejectedError if the call is unknown or has an output already, or if the buffer is full.
        """
        is_output, call_id = item["type"] == "function_call_output", item.get("call_id", "")
        if is_output and call_id not in self._pending:
            raise RejectedError("invalid_tool_call_id", f"Tool call ID '{call_id}' not found.", "item.call_id")
        size = len(msgspec.json.encode(item))
        if self._buffer_items == MAX_BUFFER_ITEMS or self._buffer_bytes + size > MAX_BUFFER_BYTES:
            problem = f"Responses input is limited to {MAX_BUFFER_ITEMS} items and {MAX_BUFFER_BYTES} UTF-8 bytes."
            raise RejectedError("response_input_buffer_full", problem, "item")
        delegation = self._pending.get(call_id)
        self._add(item, delegation)
        self._pending.pop(call_id, None)
        self._buffer_items += 1
        self._buffer_bytes += size
        return delegation

    def create(self, at_ns: int) -> tuple[str, Delegation | None]:
        """Start the response that a client requests. It continues all tasks whose calls have their outputs.

        Return (the id of the response, the latest task that it continues). The task is None if it continues none. Raise
        RejectedError if a function call has no output.
        """
        if self._pending:
            problem = "Submit the pending function call outputs before response.create."
            raise RejectedError("function_call_outputs_required", problem)
        continued = [delegation for delegation in self._delegations if delegation.is_calling]
        response_id = self._outbox.ids.new("resp")
        self._start(response_id, continued, at_ns)
        return response_id, continued[-1] if continued else None

    def end_response(self, response_id: str, at_ns: int, status: str, details: Json) -> BackendResponse | None:
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
        self._outbox.plan([(at_ns, partial(response.finish, status, changes))])
        return response

    # Conversation

    def _add(self, item: Json, delegation: Delegation | None, tokens: TokenCounts | None = None) -> None:
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
        for items in (self._conversation.items, *(delegation.items for delegation in response.delegations)):
            items[:] = [item for item in items if item.body.get("call_id") not in response.call_ids]

    # Responses

    def _start(self, response_id: str, delegations: Sequence[Delegation], at_ns: int) -> None:
        profile, settings, items = self._profile, self.settings, self._conversation.items
        tools = tools_of(settings)
        parts = read_parts(ContextPrefix(settings.get("instructions", ""), tools.written), items)
        usage = self._history.read(parts)
        self._history.remember(parts)
        self._buffer_items = self._buffer_bytes = 0
        for delegation in delegations:
            delegation.is_calling = False
        calls = calls_of(tools, delegations[-1].items if delegations else items, profile.functions, self._rng)
        reply = None if calls else self._next_reply()
        end_ns = self._outbox.after(at_ns, profile.delegation.backend_ms)
        created_ns = min(end_ns, self._outbox.after(at_ns, profile.delays.response_created))
        pace = profile.functions.arguments_tokens_per_s if calls else profile.text_tokens_per_s
        written = len(reply.tokens) if reply else sum(len(call.tokens) for call in calls)
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
    parts: list[str] = [part["text"] for part in content] if isinstance(content, list) else [content]
    return "".join((*parts, item.get("name", ""), item.get("arguments", "")))
