"""Makes the items of a response that call a tool of a server of MCP, or ask whether it may be called."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from bench.simulator.conversation_item import ConversationItem, TokenCounts
from bench.simulator.function_call import WrittenCallItem
from bench.simulator.mcp import call_body
from bench.simulator.outbox import OutboxStep, Render
from bench.simulator.output_item import OutputItem, ResponseWriter
from bench.simulator.plan import PlannedCall
from bench.simulator.wire import Outgoing

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
            yield self._called

    def _new(self) -> ConversationItem:
        body = call_body(self.id, self._call.name, str(self._call.server), "")
        return ConversationItem(self.id, body, response_id=self._writer.response_id)

    def _delta(self, due_ns: int, token: str) -> Outgoing:
        padding = self._writer.obfuscation()
        fields = {"delta": token} | ({"obfuscation": padding} if padding else {})
        return self._event(due_ns, f"{FAMILY}.delta", self._place | fields)

    def _done(self, due_ns: int, arguments: str) -> Outgoing:
        return self._event(due_ns, f"{FAMILY}.done", self._place | {"arguments": arguments})

    def _called(self, due_ns: int) -> None:
        assert self.item is not None
        self._run(self.item, self._output_index, due_ns)


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
