"""The calls of MCP servers' tools in one turn. Pure.

The service executes these calls. A response that makes them ends when their arguments are complete, or when they have
ended. In both cases the client requests the next response, which reads the results: "After the response is done and all
of its MCP calls have finished, send another `response.create` event" (OpenAI's guide "Realtime with tools").

The service may ask before it executes a call. The client approves the call if the script says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from bench.base.clock import Arrival
from bench.observe.observation import Instants
from bench.wire.events import EventKind, McpItem, ServerEvent

MCP_INSTANTS = {
    EventKind.MCP_CALL_STARTED: "mcp_call_started",
    EventKind.MCP_CALL_ENDED: "mcp_call_ended",
    EventKind.MCP_CALL_FAILED: "mcp_call_ended",
}
"""A mapping from the kind of an event of a call to the instant of the first such event in a turn."""
MCP_KINDS = MCP_INSTANTS.keys() | {EventKind.MCP_CALL_ADDED, EventKind.MCP_CALL_DONE}
NOT_ENDED = "the MCP call did not end"


@dataclass(slots=True, eq=False)
class McpCalls(Instants):
    items: dict[str, McpItem] = field(default_factory=dict)
    unended: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    changed_ns: int = 0
    """The instant of the last event of a call. The limit of an unended call counts from there."""
    execution_ns: int = 0
    """The time in which calls were executed. Time in which several of them were executed counts once."""
    _forgotten: set[str] = field(default_factory=set)
    _running: set[str] = field(default_factory=set)
    _running_since_ns: int = 0
    _requested: list[str] = field(default_factory=list)
    _approvals: set[str] = field(default_factory=set)

    def on_event(self, event: ServerEvent, arrival: Arrival) -> None:
        kind, item_id = event.kind, event.item_id
        if item_id in self._forgotten:
            return
        self.changed_ns = arrival.at_ns
        if item_id not in self.items:
            self.items[item_id] = event.mcp or McpItem("")
            self.unended.add(item_id)
        if (instant := MCP_INSTANTS.get(kind)) is not None and instant not in self.instants:
            self.arrived(instant, arrival)
        if kind is EventKind.MCP_CALL_STARTED:
            if not self._running:
                self._running_since_ns = arrival.at_ns
            self._running.add(item_id)
        elif kind in MCP_INSTANTS and item_id in self.unended:
            self.unended.remove(item_id)
            if kind is EventKind.MCP_CALL_FAILED:
                self.failed.add(item_id)
            if item_id in self._running:
                self._running.remove(item_id)
                self.execution_ns += 0 if self._running else arrival.at_ns - self._running_since_ns

    def on_item_done(self, event: ServerEvent) -> None:
        """Apply the report of a complete call. It has the error of a failed call."""
        if event.mcp is not None and event.item_id in self.items:
            self.items[event.item_id] = event.mcp

    def forget(self, first: int) -> None:
        """Forget all calls except the `first`. They belong to a response that does not count."""
        for item_id in list(self.items)[first:]:
            del self.items[item_id]
            self._forgotten.add(item_id)
            for item_ids in (self.unended, self.failed, self._running):
                item_ids.discard(item_id)

    def request_approval(self, item_id: str) -> None:
        if item_id not in self._approvals:
            self._approvals.add(item_id)
            self._requested.append(item_id)

    def pop_requested(self) -> list[tuple[int, str]]:
        """Return (number in the turn, id) of each request for an approval that is not answered yet."""
        if not self._requested:
            return []
        first, requested = len(self._approvals) - len(self._requested) + 1, self._requested
        self._requested = []
        return list(enumerate(requested, first))

    @property
    def count(self) -> int:
        """The number of calls, or of requests for approvals, if there are more of them."""
        return max(len(self.items), len(self._approvals))

    @property
    def unended_tools(self) -> str:
        return ", ".join(sorted({tool_name(self.items[item_id]) for item_id in self.unended}))

    @property
    def error_text(self) -> str:
        """The first failed call with its error; "" if no call has failed."""
        item = next((item for item_id, item in self.items.items() if item_id in self.failed), None)
        return "" if item is None else ": ".join(filter(None, (tool_name(item), item.error)))


def tool_name(item: McpItem) -> str:
    """Return the name of a tool with the label of its server, such as `docs.search`."""
    return ".".join(filter(None, (item.server, item.tool))) or "a tool without a name"
