"""Makes the calls of a response: each is announced with its name, then its arguments are written, token by token."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

from bench.simulator.conversation_item import ConversationItem, TokenCounts
from bench.simulator.outbox import OutboxStep, Render
from bench.simulator.output_item import OutputItem, ResponseWriter
from bench.simulator.plan import PlannedCall
from bench.simulator.wire import Json, Outgoing

FAMILY = "response.function_call_arguments"


class WrittenCallItem(OutputItem, ABC):
    """Makes a call. What was written of its arguments so far grows with each delta that is sent."""

    def __init__(self, item_id: str, output_index: int, planned: PlannedCall, writer: ResponseWriter) -> None:
        super().__init__(item_id, output_index, planned.schedule, writer)
        self._call = planned.call
        self._written: list[str] = []

    @property
    def tokens(self) -> TokenCounts:
        """The arguments that were written so far cost these."""
        return TokenCounts(len(self._written))

    @abstractmethod
    def _delta(self, due_ns: int, token: str) -> Outgoing:
        """The event that brings the next token."""

    @abstractmethod
    def _done(self, due_ns: int, arguments: str) -> Outgoing:
        """The event that tells all that was written."""

    def _deltas(self) -> Iterator[OutboxStep]:
        for due_ns, _, _ in self.schedule.deltas:
            yield due_ns, self._token

    def _content_closing(self) -> Iterator[Render]:
        yield self._arguments_done

    # Renderers

    def _token(self, due_ns: int) -> Outgoing:
        token = self._call.tokens[len(self._written)]
        self._written.append(token)
        return self._delta(due_ns, token)

    def _arguments_done(self, due_ns: int) -> Outgoing:
        assert self.item is not None
        self.item.body["arguments"] = "".join(self._written)
        self.item.tokens = self.tokens
        return self._done(due_ns, self.item.body["arguments"])


class FunctionCallItem(WrittenCallItem):
    """Makes a call of a function, which the client runs."""

    def __init__(
        self, item_id: str, call_id: str, output_index: int, planned: PlannedCall, writer: ResponseWriter
    ) -> None:
        super().__init__(item_id, output_index, planned, writer)
        self._call_id = call_id

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

    def _delta(self, due_ns: int, token: str) -> Outgoing:
        return self._arguments_event(due_ns, "delta", {"delta": token})

    def _done(self, due_ns: int, arguments: str) -> Outgoing:
        return self._arguments_event(due_ns, "done", {"name": self._call.name, "arguments": arguments})

    def _arguments_event(self, due_ns: int, name: str, fields: Json) -> Outgoing:
        place: Json = {"item_id": self.id, "output_index": self._output_index, "call_id": self._call_id}
        return self._event(due_ns, f"{FAMILY}.{name}", place | fields)
