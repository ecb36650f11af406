"""Makes a function call of a response: announced with its name, then the arguments, token by token."""

from __future__ import annotations

from collections.abc import Iterator

from bench.simulator.conversation_item import ConversationItem, TokenCounts
from bench.simulator.outbox import OutboxStep, Render
from bench.simulator.output_item import OutputItem, ResponseWriter
from bench.simulator.plan import PlannedCall
from bench.simulator.wire import Json, Outgoing

FAMILY = "response.function_call_arguments"


class FunctionCallItem(OutputItem):
    """Makes a function call. What was written of its arguments so far grows with each delta that is sent."""

    def __init__(
        self, item_id: str, call_id: str, output_index: int, planned: PlannedCall, writer: ResponseWriter
    ) -> None:
        super().__init__(item_id, output_index, planned.schedule, writer)
        self._call_id, self._call = call_id, planned.call
        self._written: list[str] = []

    @property
    def tokens(self) -> TokenCounts:
        """The arguments that were written so far cost these."""
        return TokenCounts(len(self._written))

    def _new(self) -> ConversationItem:
        body: Json = {
            "id": self.id,
            "object": "realtime.item",
            "type": "function_call",
            "status": "in_progress",
            "name": self._call.name,
            "call_id": self._call_id,
            "arguments": "",
        }
        return ConversationItem(self.id, body, response_id=self._writer.response_id)

    def _deltas(self) -> Iterator[OutboxStep]:
        for due_ns, _, _ in self.schedule.deltas:
            yield due_ns, self._token

    def _content_closing(self) -> Iterator[Render]:
        yield self._arguments_done

    # Renderers

    def _token(self, due_ns: int) -> Outgoing:
        token = self._call.tokens[len(self._written)]
        self._written.append(token)
        return self._arguments_event(due_ns, "delta", {"delta": token})

    def _arguments_done(self, due_ns: int) -> Outgoing:
        assert self.item is not None
        self.item.body["arguments"] = "".join(self._written)
        self.item.tokens = self.tokens
        fields = {"name": self._call.name, "arguments": self.item.body["arguments"]}
        return self._arguments_event(due_ns, "done", fields)

    def _arguments_event(self, due_ns: int, name: str, fields: Json) -> Outgoing:
        place: Json = {"item_id": self.id, "output_index": self._output_index, "call_id": self._call_id}
        return self._event(due_ns, f"{FAMILY}.{name}", place | fields)
