"""Holds the conversation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.protocol.audio import AudioFormat
from bench.simulator.checks import EventPlace, anything, shape, text
from bench.simulator.client_item import ItemReader
from bench.simulator.conversation_item import ConversationItem
from bench.simulator.wire import GA, Ids, Json, RejectedError, WireDialect

REFERENCE = shape({"type": anything, "id": text}, "id")


class Conversation:
    """Holds items in their order. Raises RejectedError for ids that are not there."""

    def __init__(self, ids: Ids, dialect: WireDialect) -> None:
        self._ids, self._names, self._strict = ids, dialect.names, dialect.strict
        self._reader = ItemReader(ids, dialect)
        self._items: list[ConversationItem] = []
        self._promised: set[str] = set()

    def before(self, item: ConversationItem) -> str | None:
        """The id of the item before `item`; None for the first, or where it has been deleted."""
        ids = [known.id for known in self._items]
        return ids[ids.index(item.id) - 1] if item.id in ids[1:] else None

    def find(self, item_id: object) -> ConversationItem | None:
        return next((item for item in self._items if item.id == item_id), None)

    def known(self, item_id: str, code: str, param: str = "item_id") -> ConversationItem:
        """The item that a client names; without one, RejectedError with `code`."""
        item = self.find(item_id)
        if item is None:
            raise RejectedError(code, f"Item with item_id '{item_id}' not found.", param)
        return item

    def read(self, wanted: Any, heard: AudioFormat) -> ConversationItem:
        """The item that a client describes; it is not inserted. Audio in it is of the format `heard`."""
        return self._reader.item(wanted, heard, EventPlace("item", self._strict))

    def read_input(self, wanted: Sequence[Any], heard: AudioFormat) -> list[ConversationItem]:
        """The items that a response reads instead of the conversation, described or referred to."""
        items, place = [], EventPlace("response.input", self._strict)
        for number, described in enumerate(wanted):
            where = place.entry(number)
            if isinstance(described, dict) and described.get("type") == "item_reference":
                item_id = REFERENCE(described, where)["id"]
                items.append(self.known(item_id, "invalid_value", where.key("id").path))
            else:
                items.append(self._reader.item(described, heard, where))
        return items

    def new_id(self, kind: str) -> str:
        """An id that nothing else in the session has."""
        return self._ids.new(kind)

    def promise(self) -> str:
        """The id of an item that is to come: no client can take it."""
        item_id = self._ids.new("item")
        self._promised.add(item_id)
        return item_id

    def fulfil(self, item: ConversationItem) -> str | None:
        """Put an item whose id was promised at the end. Returns the id it now stands behind."""
        self._promised.discard(item.id)
        return self.insert(item, None)

    def added(self, item: ConversationItem) -> tuple[str, Json]:
        """Put an item whose id was promised at the end; what tells clients of it: type and fields."""
        previous = self.fulfil(item)
        name = "added" if self._names is GA else "created"
        return f"conversation.item.{name}", {"previous_item_id": previous, "item": item.body}

    def done(self, item: ConversationItem) -> tuple[str, Json]:
        """What tells clients of GA that an item is whole: type and fields."""
        return "conversation.item.done", {"previous_item_id": self.before(item), "item": item.body}

    def events(self, item: ConversationItem, previous: str | None) -> list[tuple[str, Json]]:
        """What tells clients of a new item: type and fields."""
        names = ("added", "done") if self._names is GA else ("created",)
        return [(f"conversation.item.{name}", {"previous_item_id": previous, "item": item.body}) for name in names]

    def insert(self, item: ConversationItem, previous_id: str | None) -> str | None:
        """Put `item` behind `previous_id` (None: at the end, "root": first). Returns the id it now stands behind."""
        if self.find(item.id) or item.id in self._promised:
            raise RejectedError("item_create_duplicate_item_id", f"Item with id '{item.id}' already exists.", "item.id")
        if item.body["type"] == "function_call_output" and not self._has_call(item.body["call_id"]):
            problem = f"Tool call ID '{item.body['call_id']}' not found in conversation."
            raise RejectedError("invalid_tool_call_id", problem)
        if item.body["type"] == "mcp_approval_response":
            self.known(item.body["approval_request_id"], "invalid_value", "item.approval_request_id")
        place = len(self._items) if previous_id is None else 0 if previous_id == "root" else self._behind(previous_id)
        self._items.insert(place, item)
        return self._items[place - 1].id if place else None

    def remove(self, item: ConversationItem) -> None:
        self._items.remove(item)

    def truncatable(self, item_id: str, audio_end_ms: int) -> ConversationItem:
        """The item of an assistant's audio that is to be cut. Beyond its end, or a former cut, is an error."""
        item = self.known(item_id, "item_truncate_invalid_item_id")
        if item.spoken is None:
            raise RejectedError(None, "Only model output audio messages can be truncated")
        if audio_end_ms > item.spoken_ms:
            problem = f"Audio content of {item.spoken_ms}ms is already shorter than {audio_end_ms}ms"
            raise RejectedError("invalid_value", problem, "audio_end_ms")
        return item

    def has_spoken(self) -> bool:
        return any(item.spoken for item in self._items)

    @property
    def items(self) -> Sequence[ConversationItem]:
        return self._items

    def _has_call(self, call_id: str) -> bool:
        return any(item.body["type"] == "function_call" and item.body["call_id"] == call_id for item in self._items)

    def _behind(self, previous_id: str) -> int:
        for place, item in enumerate(self._items):
            if item.id == previous_id:
                return place + 1
        raise RejectedError("invalid_value", f"Previous item '{previous_id}' not found.", "previous_item_id")
