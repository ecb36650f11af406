"""Holds the conversation: items in order, and what they cost in tokens.

An item keeps what an event shows of it (`body`, never audio) and beside it what only the server knows. Where a client
truncates an assistant's audio, what is beyond is gone from what responses read and from what `retrieve` shows, and the
transcript with it, as the service does (the official SDK's ConversationItemTruncateEvent).
"""

from __future__ import annotations

import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from bench.protocol.audio import AudioFormat
from bench.simulator.checks import choice, missing, rejected_type, text
from bench.simulator.voice import TOKEN_MS, AudioBlock
from bench.simulator.wire import GA, Ids, Json, RejectedError, WireNames

USER_AUDIO_TOKEN_MS = 100
LETTERS_PER_TEXT_TOKEN = 4
IMAGE_TOKENS = {"low": 85, "high": 765, "auto": 765}  # by detail: an assumption, as for an image of 1024 × 1024


class TokenCounts(NamedTuple):
    """Counts of tokens by their kind."""

    text: int = 0
    audio: int = 0
    image: int = 0

    @property
    def sum(self) -> int:
        return self.text + self.audio + self.image


NO_TOKENS = TokenCounts()


@dataclass
class ConversationItem:
    """`spoken` are the blocks of an assistant's audio item that were sent; None for every other item.

    `audio_end_ms`: where a client has truncated it. `left_out`: the model's context has no room for it any more.
    """

    id: str
    body: Json
    tokens: TokenCounts = NO_TOKENS
    spoken: list[AudioBlock] | None = None
    audio_end_ms: int | None = None
    left_out: bool = False

    @property
    def spoken_ms(self) -> int:
        """The audio of an assistant's item that was sent and not truncated."""
        sent_ms = sum(block.audio_ms for block in self.spoken or ())
        return sent_ms if self.audio_end_ms is None else min(self.audio_end_ms, sent_ms)

    def hold(self, part: Json, tokens: TokenCounts) -> None:
        """Take in what an assistant has said, which a client may have truncated meanwhile."""
        self.body["content"] = [part]
        self.tokens = tokens
        if self.audio_end_ms is not None:
            self.truncate(self.audio_end_ms)

    def truncate(self, audio_end_ms: int) -> None:
        self.audio_end_ms = audio_end_ms
        self.tokens = TokenCounts(audio=-(-audio_end_ms // TOKEN_MS))
        for part in self.body["content"]:
            part["transcript"] = None

    def with_audio(self) -> Json:
        """The body, with the audio of an assistant's item; a user's audio is not kept."""
        if not self.spoken or not self.body["content"]:
            return self.body
        audio = b"".join(binascii.a2b_base64(block.encoded[1:-1]) for block in self.spoken)
        kept = audio[: self.spoken_ms * self.spoken[0].audio_bytes // self.spoken[0].audio_ms]
        part = self.body["content"][0] | {"audio": binascii.b2a_base64(kept, newline=False).decode()}
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
        if item.body["type"] == "function_call_output" and not self._has_call(item.body["call_id"]):
            problem = f"Tool call ID '{item.body['call_id']}' not found in conversation."
            raise RejectedError("invalid_tool_call_id", problem)
        place = len(self._items) if previous_id is None else 0 if previous_id == "root" else self._behind(previous_id)
        self._items.insert(place, item)
        return self._items[place - 1].id if place else None

    def remove(self, item: ConversationItem) -> None:
        self._items.remove(item)

    def truncate(self, item_id: Any, audio_end_ms: int) -> ConversationItem:
        """Cut an assistant's audio. Beyond its end is an error, and so is what a former cut has taken."""
        item = self.known(item_id, "item_truncate_invalid_item_id")
        if item.spoken is None:
            raise RejectedError(None, "Only model output audio messages can be truncated")
        if audio_end_ms > item.spoken_ms:
            problem = f"Audio content of {item.spoken_ms}ms is already shorter than {audio_end_ms}ms"
            raise RejectedError("invalid_value", problem, "audio_end_ms")
        item.truncate(audio_end_ms)
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


def user_audio_item(item_id: str, audio_ms: float) -> ConversationItem:
    """The item that a commit makes."""
    content = [{"type": "input_audio", "transcript": None}]
    body = _message(item_id, "user", content)
    return ConversationItem(item_id, body, TokenCounts(audio=user_audio_tokens(audio_ms)))


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
    return ConversationItem(item_id, body, TokenCounts(sum(map(text_tokens, values.values()))))


def _client_message(item_id: str, wanted: Json, names: WireNames, heard: AudioFormat) -> ConversationItem:
    role = choice("user", "assistant", "system")(wanted.get("role"), "item.role")
    content = wanted.get("content")
    if not isinstance(content, list):
        raise rejected_type("item.content", "an array")
    parts = [_part(role, part, f"item.content[{index}]", names, heard) for index, part in enumerate(content)]
    tokens = TokenCounts(*(sum(kind) for kind in zip(*(tokens for _, tokens in parts), strict=True)))
    return ConversationItem(item_id, _message(item_id, role, [part for part, _ in parts]), tokens)


def _part(role: str, part: Any, path: str, names: WireNames, heard: AudioFormat) -> tuple[Json, TokenCounts]:
    """A part of a message as events show it, without audio and images, and what it costs."""
    if not isinstance(part, dict):
        raise rejected_type(path, "an object")
    kind = choice(*_part_types(role, names))(part.get("type"), f"{path}.type")
    if kind == "input_audio":
        audio = decoded_audio(part.get("audio"), f"{path}.audio")
        tokens = TokenCounts(audio=user_audio_tokens(len(audio) * 1000 / heard.bytes_per_s))
        return {"type": kind, "transcript": part.get("transcript")}, tokens
    if kind == "input_image":
        detail = choice(*IMAGE_TOKENS)(part.get("detail") or "auto", f"{path}.detail")
        check_image(part.get("image_url"), f"{path}.image_url")
        return {"type": kind, "detail": detail}, TokenCounts(image=IMAGE_TOKENS[detail])
    return {"type": kind, "text": part.get("text")}, TokenCounts(text_tokens(text(part.get("text"), f"{path}.text")))


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


def check_image(url: Any, path: str) -> None:
    """Raises RejectedError for what is not a PNG or a JPEG in a data URL."""
    if url is None:
        raise missing(path)
    if not text(url, path).startswith(("data:image/png;base64,", "data:image/jpeg;base64,")):
        problem = f"Invalid '{path}'. Expected a base64-encoded data URL of a PNG or JPEG image."
        raise RejectedError("invalid_value", problem, path)
