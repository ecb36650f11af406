"""Makes an item of a response: announces it, and closes it with what was made of it.

Holds what a message (`message.py`) and a function call (`function_call.py`) have in common, in the orders of captures
from the service. An event is rendered when its due instant has come, and what it changes changes then: so what was made
of an item is known at any time, and it can be closed at any time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.simulator.conversation import Conversation
from bench.simulator.conversation_item import ConversationItem, TokenCounts
from bench.simulator.outbox import OutboxStep, Render
from bench.simulator.schedule import Schedule
from bench.simulator.wire import GA, Ids, Json, Outgoing, WireNames, event_bytes, item_and_call


@dataclass(frozen=True)
class ResponseWriter:
    """Writes the events of one response. `conversation` is None for one that is out of band."""

    response_id: str
    names: WireNames
    ids: Ids
    conversation: Conversation | None
    obfuscation: Callable[[], str | None]  # of one delta of text

    def event(self, due_ns: int, event_type: str, fields: Json, facts: Json | None = None) -> Outgoing:
        whose: Json = {}
        if event_type.startswith("response.") and "response" not in fields:
            whose = {"response_id": self.response_id}
        body = event_bytes(event_type, self.ids.event(), whose | fields)
        item_id, call_id = item_and_call(fields)
        return Outgoing(due_ns, event_type, body, self.response_id, item_id=item_id, call_id=call_id, facts=facts)


class OutputItem(ABC):
    """Makes an item. `item` is what the conversation holds of it, once it was announced."""

    item: ConversationItem | None = None
    closed = False

    def __init__(self, item_id: str, output_index: int, schedule: Schedule, writer: ResponseWriter) -> None:
        self.id, self.schedule = item_id, schedule
        self._output_index, self._writer = output_index, writer

    def steps(self) -> Iterator[OutboxStep]:
        """The events up to its last delta."""
        yield from ((self.schedule.opening_ns, render) for render in self._opening())
        yield from self._deltas()

    def closing(self, status: str) -> Iterator[Render]:
        """The events that end it, with what was made of it so far; none where it was not announced, or is closed."""
        if self.item is None or self.closed:
            return
        yield from self._content_closing()
        self.item.body["status"] = status
        if self._in_conversation:
            yield self._conversation_item_done
        yield self._item_done

    @property
    def _in_conversation(self) -> bool:
        """Whether the conversation tells of its end, too."""
        return self._writer.names is GA and self._writer.conversation is not None

    @property
    def _place(self) -> Json:
        return {"item_id": self.id, "output_index": self._output_index}

    @property
    @abstractmethod
    def tokens(self) -> TokenCounts:
        """What was made so far costs these."""

    @abstractmethod
    def _new(self) -> ConversationItem:
        """The item as it is announced: nothing is made of it yet."""

    @abstractmethod
    def _deltas(self) -> Iterator[OutboxStep]: ...

    @abstractmethod
    def _content_closing(self) -> Iterator[Render]: ...

    def _opening(self) -> Iterator[Render]:
        yield self._item_added
        if self._writer.conversation is not None:
            yield self._conversation_item_added

    # Renderers: each is called once, when its event is sent

    def _item_added(self, due_ns: int) -> Outgoing:
        self.item = self._new()
        return self._event(due_ns, "response.output_item.added", {"output_index": self._output_index, **self._shown})

    def _conversation_item_added(self, due_ns: int) -> Outgoing:
        assert self.item is not None
        assert self._writer.conversation is not None
        return self._event(due_ns, *self._writer.conversation.added(self.item))

    def _conversation_item_done(self, due_ns: int) -> Outgoing:
        assert self.item is not None
        assert self._writer.conversation is not None
        return self._event(due_ns, *self._writer.conversation.done(self.item))

    def _item_done(self, due_ns: int) -> Outgoing:
        self.closed = True
        return self._event(due_ns, "response.output_item.done", {"output_index": self._output_index, **self._shown})

    @property
    def _shown(self) -> Json:
        assert self.item is not None
        return {"item": self.item.body}

    def _event(self, due_ns: int, event_type: str, fields: Json) -> Outgoing:
        return self._writer.event(due_ns, event_type, fields)
