"""The MCP servers of one session: the lists of their tools, and the calls, which the service
executes. Pure.

A list is started by the session.update that declares its server. A response that makes a call ends
when the arguments are complete; the execution follows. If the server's `require_approval` is not
`never`, the call waits for the client's approval. The client requests the response that reads the
result. The order of the events is that of OpenAI's guide "Realtime with tools"; where the guide
leaves it open (a response ends before the execution of its calls), it is that of field reports.
"""

# The states of a list: declared, in progress, completed or failed. A call of a tool is an item of
# its response until its arguments are complete. Then the response is done, and the call goes on
# alone: it waits for an approval, runs, and ends, each with events that name the item only.
#
# A server that is declared again with other settings is listed again. Calls that run are not
# affected.

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from rtbench_simulator.conversation.items import (
    Conversation,
    ConversationItem,
    TokenCounts,
    text_tokens,
)
from rtbench_simulator.profile import McpSettings, is_drawn
from rtbench_simulator.responses.output_items import ArgumentsItem, ResponseWriter
from rtbench_simulator.responses.response_plan import PlannedCall
from rtbench_simulator.server_events import (
    Json,
    Outbox,
    OutboxStep,
    OutgoingEvent,
    RejectedError,
    Render,
)

DEFAULT_TOOL = "search"
"""The only tool of a server for which the client names no allowed tools."""
TOOL_SCHEMA: Json = {
    "type": "object",
    "properties": {"query": {"type": "string"}},
    "required": ["query"],
}
RESULT = '{"results":["The simulated MCP server has found this."]}'
HTTP_ERROR: Json = {
    "type": "http_error",
    "code": 503,
    "message": "The simulated MCP server is unavailable.",
}
REJECTED: Json = {"type": "tool_execution_error", "message": "The client rejected the call."}


class McpServers:
    def __init__(
        self,
        conversation: Conversation,
        outbox: Outbox,
        settings: McpSettings,
        rng: np.random.Generator,
    ) -> None:
        self._conversation = conversation
        self._outbox = outbox
        self._settings = settings
        self._rng = rng
        self._declared: dict[str, Json] = {}
        # by label, the tools as `mcp_list_tools` contains them
        self._listed: dict[str, list[Json]] = {}
        self._unapproved: dict[str, McpCallItem] = {}  # by the id of the request

    def declare(self, tools: Sequence[Json], at_ns: int) -> None:
        """Use the servers in these tools of the session, and list the tools of those that are
        new.
        """
        servers = {tool["server_label"]: tool for tool in tools if tool["type"] == "mcp"}
        new = [label for label, server in servers.items() if self._declared.get(label) != server]
        self._declared = servers
        for label in new:
            self._listed.pop(label, None)
            self._outbox.plan(self._listing(label, at_ns))

    def tools(self) -> list[Json]:
        """Return the listed tools of all servers, in the form of functions with the label of
        their server.
        """
        return [
            {"server_label": label, "name": tool["name"], "parameters": tool["input_schema"]}
            for label in self._declared
            for tool in self._listed.get(label, ())
        ]

    def _listing(self, label: str, at_ns: int) -> Iterator[OutboxStep]:
        body: Json = {
            "id": self._conversation.promise(),
            "type": "mcp_list_tools",
            "server_label": label,
            "tools": [],
        }
        item = ConversationItem(body["id"], body)
        yield at_ns, lambda due_ns: self._outbox.event(*self._conversation.added(item), due_ns)
        yield at_ns, partial(self._outbox.event, "mcp_list_tools.in_progress", {"item_id": item.id})
        listed_ns = at_ns + self._settings.listing_ms.draw_ns(self._rng)
        end = "failed" if is_drawn(self._settings.failed_listings, self._rng) else "completed"
        yield listed_ns, partial(self._end_listing, item, end)
        yield from self._done(item, listed_ns)

    def _done(self, item: ConversationItem, at_ns: int) -> Iterator[OutboxStep]:
        """Yield the event that reports a complete item, which only GA has."""
        if self._conversation.names.is_ga:
            yield at_ns, lambda due_ns: self._outbox.event(*self._conversation.done(item), due_ns)

    def _end_listing(self, item: ConversationItem, end: str, due_ns: int) -> OutgoingEvent:
        label = item.body["server_label"]
        if end == "completed" and label in self._declared:
            allowed = self._declared[label].get("allowed_tools") or [DEFAULT_TOOL]
            names = (
                allowed
                if isinstance(allowed, list)
                else allowed.get("tool_names") or [DEFAULT_TOOL]
            )
            item.body["tools"] = [
                {"name": name, "description": "", "input_schema": TOOL_SCHEMA} for name in names
            ]
            self._listed[label] = item.body["tools"]
        return self._outbox.event(f"mcp_list_tools.{end}", {"item_id": item.id}, due_ns)

    # Calls

    def start(self, call: McpCallItem, at_ns: int) -> None:
        """Execute a call with complete arguments, or request its approval."""
        if self._declared.get(call.server, {}).get("require_approval") == "never":
            self._outbox.plan(self._execution(call, at_ns))
            return
        request_id = self._conversation.promise()
        keys = ("server_label", "name", "arguments")
        body = {"id": request_id, "type": "mcp_approval_request"} | {
            key: call.item.body[key] for key in keys
        }
        item = ConversationItem(request_id, body)
        self._unapproved[request_id] = call
        self._outbox.plan(
            [
                (at_ns, lambda due_ns: self._outbox.event(*self._conversation.added(item), due_ns)),
                *self._done(item, at_ns),
            ]
        )

    def check_answer(self, request_id: str) -> None:
        """Raise RejectedError if no call waits for this approval."""
        if request_id not in self._unapproved:
            problem = f"Approval request '{request_id}' not found, or already answered."
            raise RejectedError("invalid_value", problem, "item.approval_request_id")

    def answer(self, request_id: str, approve: bool, at_ns: int) -> None:
        """Execute the call that the client approves, or let it fail."""
        call = self._unapproved.pop(request_id)
        call.item.body["approval_request_id"] = request_id
        self._outbox.plan(self._execution(call, at_ns) if approve else call.end(at_ns, REJECTED))

    def _execution(self, call: McpCallItem, at_ns: int) -> Iterator[OutboxStep]:
        yield at_ns, partial(call.state_event, "in_progress")
        if is_drawn(self._settings.endless_calls, self._rng):
            return
        failed = is_drawn(self._settings.failed_calls, self._rng)
        yield from call.end(
            at_ns + self._settings.call_ms.draw_ns(self._rng), HTTP_ERROR if failed else None
        )


class McpCallItem(ArgumentsItem):
    """A call of an MCP server's tool. When its arguments are complete, `servers` execute it."""

    family = "mcp_call_arguments"

    def __init__(
        self,
        item_id: str,
        output_index: int,
        planned: PlannedCall,
        writer: ResponseWriter,
        servers: McpServers,
    ) -> None:
        self.server = planned.call.server
        self._servers = servers
        body: Json = {
            "id": item_id,
            "type": "mcp_call",
            "server_label": self.server,
            "name": planned.call.name,
        }
        body |= {"arguments": "", "approval_request_id": None, "output": None, "error": None}
        super().__init__(body, output_index, planned, writer)

    def closing(self, status: str) -> Iterator[Render]:
        """Yield the events after the arguments. The item of a call that is executed is closed by
        its execution.
        """
        if self.announced and not self.closed:
            yield from self._content_closing()
            if status == "completed":
                yield self._start
            else:
                yield from self._end_item()

    def end(self, at_ns: int, error: Json | None) -> Iterator[OutboxStep]:
        """Yield the end of the execution, and of the item. `error` is the error of a failed
        call.
        """
        yield at_ns, partial(self._ended, error)
        yield from ((at_ns, render) for render in self._end_item())

    def state_event(self, state: str, due_ns: int) -> OutgoingEvent:
        """Return the event for a state of the execution. It names the item, but not the
        response.
        """
        outbox = self._writer.outbox
        response_id = self._writer.response_id
        return outbox.event(
            f"response.mcp_call.{state}", self._position, due_ns, response_id=response_id
        )

    def _start(self, due_ns: int) -> None:
        self.closed = True
        self._servers.start(self, due_ns)

    def _ended(self, error: Json | None, due_ns: int) -> OutgoingEvent:
        body = self.item.body
        body["error"] = error
        body["output"] = RESULT if error is None else None
        self.item.tokens = TokenCounts(len(self._written) + text_tokens(RESULT))
        return self.state_event("completed" if error is None else "failed", due_ns)
