"""Holds the conversation: items in order, and what they cost in tokens.

An item keeps what an event shows of it (`body`, never audio) and beside it what only the server knows.
"""

from __future__ import annotations

import binascii
from dataclasses import dataclass
from typing import Any

from bench.protocol.audio import AudioFormat
from bench.simulator.checks import choice, missing, rejected_type, text
from bench.simulator.voice import AudioBlock
from bench.simulator.wire import GA, Ids, Json, RejectedError, WireNames

USER_AUDIO_TOKEN_MS = 100
LETTERS_PER_TEXT_TOKEN = 4


@dataclass
class ConversationItem:
    """`spoken` are the blocks of an assistant's audio item that were sent; None for every other item."""

    id: str
    body: Json
    text_tokens: int = 0
    audio_tokens: int = 0
    spoken: list[AudioBlock] | None = None

    @property
    def spoken_ms(self) -> int:
        return sum(block.audio_ms for block in self.spoken or ())

    def with_audio(self) -> Json:
        """The body, with the audio of an assistant's item; a user's audio is not kept."""
        if not self.spoken or not self.body["content"]:
            return self.body
        audio = b"".join(binascii.a2b_base64(block.encoded[1:-1]) for block in self.spoken)
        part = self.body["content"][0] | {"audio": binascii.b2a_base64(audio, newline=False).decode()}
        return self.body | {"content": [part]}


class Conversation:
    """Items by their place. Raises RejectedError for ids that are not there."""

    def __init__(self, ids: Ids, names: WireNames) -> None:
        self._ids, self._names = ids, names
        self._items: list[ConversationItem] = []
        self._promised: set[str] = set()

    def before(self, item: ConversationItem) -> str | None:
        """The id of the item before `item`; None for the first, or where it has been deleted."""
        ids = [known.id for known in self._items]
        return ids[ids.index(item.id) - 1] if item.id in ids[1:] else None

    def find(self, item_id: object) -> ConversationItem | None:
        return next((item for item in self._items if item.id == item_id), None)

    def known(self, item_id: Any, code: str) -> ConversationItem:
        """The item that a client names; without one, RejectedError with `code`."""
        item = self.find(text(item_id, "item_id"))
        if item is None:
            raise RejectedError(code, f"Item with item_id '{item_id}' not found.", "item_id")
        return item

    def read(self, wanted: Any, heard: AudioFormat) -> ConversationItem:
        """The item that a client describes, or refers to; it is not inserted. Audio in it is of the format `heard`."""
        if isinstance(wanted, dict) and wanted.get("type") == "item_reference":
            return self.known(wanted.get("id"), "invalid_value")
        return client_item(self._ids.new("item"), wanted, self._names, heard)

    def promise(self) -> str:
        """The id of an item that is to come: no client can take it."""
        item_id = self._ids.new("item")
        self._promised.add(item_id)
        return item_id

    def fulfil(self, item: ConversationItem) -> str | None:
        """Put an item whose id was promised at the end. Returns the id it now stands behind."""
        self._promised.discard(item.id)
        return self.insert(item, None)

    def events(self, item: ConversationItem, previous: str | None) -> list[tuple[str, Json]]:
        """What tells clients of a new item: type and fields."""
        names = ("added", "done") if self._names is GA else ("created",)
        return [(f"conversation.item.{name}", {"previous_item_id": previous, "item": item.body}) for name in names]

    def insert(self, item: ConversationItem, previous_id: str | None) -> str | None:
        """Put `item` behind `previous_id` (None: at the end, "root": first). Returns the id it now stands behind."""
        if self.find(item.id) or item.id in self._promised:
            raise RejectedError("item_create_duplicate_item_id", f"Item with id '{item.id}' already exists.", "item.id")
        place = len(self._items) if previous_id is None else 0 if previous_id == "root" else self._behind(previous_id)
        self._items.insert(place, item)
        return self._items[place - 1].id if place else None

    def remove(self, item: ConversationItem) -> None:
        self._items.remove(item)

    def has_spoken(self) -> bool:
        return any(item.spoken for item in self._items)

    def tokens(self) -> tuple[int, int]:
        """(text, audio) of all items."""
        return sum(item.text_tokens for item in self._items), sum(item.audio_tokens for item in self._items)

    def _behind(self, previous_id: str) -> int:
        for place, item in enumerate(self._items):
            if item.id == previous_id:
                return place + 1
        raise RejectedError("invalid_value", f"Previous item '{previous_id}' not found.", "previous_item_id")


def user_audio_item(item_id: str, audio_ms: float) -> ConversationItem:
    """The item that a commit makes."""
    content = [{"type": "input_audio", "transcript": None}]
    body = _message(item_id, "user", content)
    return ConversationItem(item_id, body, audio_tokens=user_audio_tokens(audio_ms))


def client_item(item_id: str, wanted: Any, names: WireNames, heard: AudioFormat) -> ConversationItem:
    """The item that conversation.item.create asks for. Raises RejectedError."""
    if wanted is None:
        raise missing("item")
    if not isinstance(wanted, dict):
        raise rejected_type("item", "an object")
    item_id = text(wanted.get("id") or item_id, "item.id")
    kind = choice("message", "function_call", "function_call_output")(wanted.get("type"), "item.type")
    if kind == "message":
        return _client_message(item_id, wanted, names, heard)
    return _client_call(item_id, wanted, kind)


def _client_call(item_id: str, wanted: Json, kind: str) -> ConversationItem:
    """A call may come without an id, its output may not: it would answer nothing."""
    calls = kind == "function_call"
    keys = ("call_id", "name", "arguments") if calls else ("call_id", "output")
    nameless = calls and wanted.get("call_id") is None
    told = wanted | {"call_id": f"call_of_{item_id}"} if nameless else wanted
    values = {key: text(told.get(key), f"item.{key}") for key in keys}
    body = {"id": item_id, "object": "realtime.item", "type": kind, "status": "completed", **values}
    return ConversationItem(item_id, body, text_tokens=sum(map(text_tokens, values.values())))


def _client_message(item_id: str, wanted: Json, names: WireNames, heard: AudioFormat) -> ConversationItem:
    role = choice("user", "assistant", "system")(wanted.get("role"), "item.role")
    content = wanted.get("content")
    if not isinstance(content, list):
        raise rejected_type("item.content", "an array")
    item = ConversationItem(item_id, _message(item_id, role, []))
    for index, part in enumerate(content):
        _add_part(item, role, part, f"item.content[{index}]", names, heard)
    return item


def _add_part(item: ConversationItem, role: str, part: Any, path: str, names: WireNames, heard: AudioFormat) -> None:
    if not isinstance(part, dict):
        raise rejected_type(path, "an object")
    kind = choice(*_part_types(role, names))(part.get("type"), f"{path}.type")
    if kind == "input_audio":
        audio = decoded_audio(part.get("audio"), f"{path}.audio")
        item.audio_tokens += user_audio_tokens(len(audio) * 1000 / heard.bytes_per_s)
        item.body["content"].append({"type": kind, "transcript": part.get("transcript")})
    elif kind == "input_image":
        item.body["content"].append({"type": kind, "detail": part.get("detail") or "auto"})
    else:
        item.text_tokens += text_tokens(text(part.get("text"), f"{path}.text"))
        item.body["content"].append({"type": kind, "text": part["text"]})


def _part_types(role: str, names: WireNames) -> tuple[str, ...]:
    if role == "assistant":
        return (names.text_part,)  # a client cannot put audio into the assistant's mouth
    if role == "user":
        return ("input_text", "input_audio", "input_image") if names is GA else ("input_text", "input_audio")
    return ("input_text",)


def _message(item_id: str, role: str, content: list[Json]) -> Json:
    return {
        "id": item_id,
        "object": "realtime.item",
        "type": "message",
        "status": "completed",
        "role": role,
        "content": content,
    }


def text_tokens(words: str) -> int:
    return -(-len(words) // LETTERS_PER_TEXT_TOKEN)


def user_audio_tokens(audio_ms: float) -> int:
    return -int(-audio_ms // USER_AUDIO_TOKEN_MS)


def decoded_audio(encoded: Any, path: str) -> bytes:
    """The bytes of audio that the base64 text holds. Raises RejectedError."""
    if encoded is None:
        raise missing(path)
    try:
        return binascii.a2b_base64(text(encoded, path), strict_mode=True)
    except ValueError as error:  # binascii.Error, or letters outside of ASCII
        raise RejectedError("invalid_value", f"Invalid '{path}'. Expected base64-encoded audio bytes.", path) from error
