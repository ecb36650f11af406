"""Stands in for the servers of MCP that a client declares: lists their tools, runs what is called, waits for approval.

    session.update             conversation.item.added → mcp_list_tools.in_progress → .completed | .failed → item.done
    a call in a response       arguments → output_item.done → response.mcp_call.in_progress → .completed | .failed
    a call to be approved      an item mcp_approval_request; then the client's mcp_approval_response, and the call

A client asks for what follows, as after a function call. Nothing is asked of a real server: the profile says what tools
there are, and what comes of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from bench.simulator.answering.output_items import OutputItem, ResponseWriter, WrittenCallItem
from bench.simulator.answering.plan import PlannedCall
from bench.simulator.conversation.items import Conversation, ConversationItem, TokenCounts, text_tokens
from bench.simulator.outbox import Outbox, OutboxStep, Render
from bench.simulator.profile import Profile, drawn
from bench.simulator.wire import GA, Json, Outgoing

OUTPUT = "(simulated output of a tool)"
FAILED: Json = {"type": "tool_execution_error", "message": "The tool failed, as the simulator's profile says."}
ANY_ARGUMENTS: Json = {"type": "object", "properties": {}, "required": []}


class McpServers:
    """Holds the servers of one session whose tools are known: `listed`, by label."""

    def __init__(self, conversation: Conversation, outbox: Outbox, profile: Profile, rng: np.random.Generator) -> None:
        self._conversation, self._outbox, self._rng = conversation, outbox, rng
        self._servers, self._delays = profile.mcp, profile.delays
        self._asked: set[str] = set()
        self.listed: dict[str, Sequence[Json]] = {}

    # What tools there are

    def discover(self, tools: Sequence[Json], after_ns: int) -> None:
        """Ask each server that is new for its tools."""
        for server in tools:
            if server["type"] == "mcp" and server["server_label"] not in self._asked:
                self._asked.add(server["server_label"])
                self._outbox.plan(self._listing(server, after_ns))

    def _listing(self, server: Json, after_ns: int) -> Iterator[OutboxStep]:
        item_id, label = self._conversation.promise(), server["server_label"]
        item = ConversationItem(item_id, {"id": item_id, "type": "mcp_list_tools", "server_label": label, "tools": []})
        yield after_ns, partial(self._item_added, item)
        yield after_ns, self._told("mcp_list_tools.in_progress", {"item_id": item_id})
        listed_ns = self._outbox.after(after_ns, self._delays.mcp_listed)
        failed = drawn(self._servers.list_failed, self._rng)
        if not failed:
            yield listed_ns, partial(self._list, item, server)
        yield listed_ns, self._told(f"mcp_list_tools.{'failed' if failed else 'completed'}", {"item_id": item_id})
        yield listed_ns, partial(self._item_done, item)

    def _list(self, item: ConversationItem, server: Json, due_ns: int) -> None:
        allowed = server.get("allowed_tools")
        if isinstance(allowed, dict):
            allowed = allowed.get("tool_names")
        names = [name for name in self._servers.tools if allowed is None or name in allowed]
        item.body["tools"] = [{"name": name, "input_schema": ANY_ARGUMENTS} for name in names]
        self.listed[server["server_label"]] = item.body["tools"]

    # What is called

    def run(self, item: ConversationItem, output_index: int, due_ns: int) -> None:
        """Run the call that an item holds."""
        place: Json = {"item_id": item.id, "output_index": output_index}
        failed = drawn(self._servers.call_failed, self._rng)
        ended_ns = self._outbox.after(due_ns, self._delays.mcp_called)
        self._outbox.plan(
            [
                (due_ns, self._told("response.mcp_call.in_progress", place)),
                (ended_ns, partial(self._end, item, failed)),
                (ended_ns, self._told(f"response.mcp_call.{'failed' if failed else 'completed'}", place)),
                (ended_ns, partial(self._item_done, item)),
            ]
        )

    def approve(self, response: Json, at_ns: int) -> None:
        """Run what was to be approved, if it was."""
        request = self._conversation.find(response["approval_request_id"])
        if request is None or not response["approve"] or request.body["type"] != "mcp_approval_request":
            return
        item_id = self._conversation.promise()
        called = {key: request.body[key] for key in ("name", "server_label", "arguments")}
        body = call_body(item_id, **called) | {"approval_request_id": request.id}
        item = ConversationItem(item_id, body)
        self._outbox.plan([(at_ns, partial(self._item_added, item)), (at_ns, partial(self.run, item, 0))])

    def _end(self, item: ConversationItem, failed: bool, due_ns: int) -> None:
        item.body |= {"error": FAILED} if failed else {"output": OUTPUT}
        item.tokens = item.tokens._replace(text=item.tokens.text + text_tokens(OUTPUT))

    # Renderers

    def _item_added(self, item: ConversationItem, due_ns: int) -> Outgoing:
        event_type, fields = self._conversation.added(item)
        return self._outbox.event(event_type, fields, due_ns)

    def _item_done(self, item: ConversationItem, due_ns: int) -> Outgoing | None:
        """Nothing in preview, and of what a response holds that is out of band."""
        if self._conversation.names is not GA or self._conversation.find(item.id) is None:
            return None
        event_type, fields = self._conversation.done(item)
        return self._outbox.event(event_type, fields, due_ns)

    def _told(self, event_type: str, fields: Json) -> Render:
        return partial(self._outbox.event, event_type, fields)


def call_body(item_id: str, name: str, server_label: str, arguments: str) -> Json:
    """The item of a call that has not ended."""
    body: Json = {"id": item_id, "type": "mcp_call", "server_label": server_label, "name": name, "arguments": arguments}
    return body | {"approval_request_id": None, "output": None, "error": None}


FAMILY = "response.mcp_call_arguments"
Run = Callable[[ConversationItem, int, int], None]  # given the item, its place in the output, and when


class McpCallItem(WrittenCallItem):
    """Makes a call of a server's tool: once its arguments are written it is run, and ends behind the response."""

    def __init__(self, item_id: str, output_index: int, planned: PlannedCall, writer: ResponseWriter, run: Run) -> None:
        super().__init__(item_id, output_index, planned, writer)
        self._run = run

    def closing(self, status: str) -> Iterator[Render]:
        if self.item is None or self.closed:
            return
        yield self._arguments_done
        yield self._item_done
        if status == "completed":
            yield partial(self._run, self.item, self._output_index)

    def _new(self) -> ConversationItem:
        body = call_body(self.id, self._call.name, str(self._call.server), "")
        return ConversationItem(self.id, body, response_id=self._writer.response_id)

    def _delta(self, due_ns: int, token: str) -> Outgoing:
        padding = self._writer.obfuscation()
        fields = {"delta": token} | ({"obfuscation": padding} if padding else {})
        return self._writer.event(f"{FAMILY}.delta", self._place | fields, due_ns)

    def _done(self, due_ns: int, arguments: str) -> Outgoing:
        return self._writer.event(f"{FAMILY}.done", self._place | {"arguments": arguments}, due_ns)


class McpApprovalRequestItem(OutputItem):
    """Asks the client whether a tool may be called. It is whole when it is announced."""

    def __init__(self, item_id: str, output_index: int, planned: PlannedCall, writer: ResponseWriter) -> None:
        super().__init__(item_id, output_index, planned.schedule, writer)
        self._call = planned.call

    @property
    def tokens(self) -> TokenCounts:
        """The arguments cost these, once it was announced."""
        return TokenCounts(len(self._call.tokens) if self.item else 0)

    def steps(self) -> Iterator[OutboxStep]:
        yield from ((self.schedule.done_ns, render) for render in self._opening())

    def closing(self, status: str) -> Iterator[Render]:
        if self.item is not None and not self.closed:
            if self._in_conversation:
                yield self._conversation_item_done
            yield self._item_done

    def _new(self) -> ConversationItem:
        body = {
            "id": self.id,
            "type": "mcp_approval_request",
            "server_label": self._call.server,
            "name": self._call.name,
            "arguments": "".join(self._call.tokens),
        }
        return ConversationItem(
            self.id, body, TokenCounts(len(self._call.tokens)), response_id=self._writer.response_id
        )

    def _deltas(self) -> Iterator[OutboxStep]:
        return iter(())

    def _content_closing(self) -> Iterator[Render]:
        return iter(())
