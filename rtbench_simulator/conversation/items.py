"""The conversation and its items: their content in events (without audio), and data that only the
server has.

If a client truncates an assistant's audio, the audio after this position and the whole transcript
are deleted. Later responses do not read them, and `conversation.item.retrieve` does not return
them. This is the service's behaviour (the official SDK's ConversationItemTruncateEvent).

A response reads instructions, tools, and the whole conversation. If the beginning of this input is
the same as for the last response, its tokens come from the cache, in whole blocks. The cached part
ends at an item that a client has truncated, deleted or inserted.
"""

import binascii
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import NamedTuple

from rtbench_simulator.profile import TokenCache
from rtbench_simulator.recorded_replies import TOKEN_MS, AudioBlock
from rtbench_simulator.server_events import Ids, Json, RejectedError, WireNames

USER_AUDIO_TOKEN_MS = 100
LETTERS_PER_TEXT_TOKEN = 4


class TokenCounts(NamedTuple):
    text: int = 0
    audio: int = 0
    image: int = 0

    @property
    def sum(self) -> int:
        return self.text + self.audio + self.image


NO_TOKENS = TokenCounts()


@dataclass
class ConversationItem:
    """An item of the conversation. `body` is its content in events.

    `spoken` is the list of sent blocks of an assistant's audio; None for every other item.
    `response_id` is the id of the response that created the item; "" if a client created it.
    `audio_end_ms` is the position at which a client truncated the item. `left_out` is True if the
    model's context has no more room for the item. `filler` is True if the item was sent while
    functions ran.
    """

    id: str
    body: Json
    tokens: TokenCounts = NO_TOKENS
    spoken: list[AudioBlock] | None = None
    audio_end_ms: int | None = None
    left_out: bool = False
    response_id: str = ""
    filler: bool = False

    @property
    def spoken_ms(self) -> int:
        """The duration of an assistant's audio that was sent and not truncated."""
        sent_ms = sum(block.audio_ms for block in self.spoken or ())
        return sent_ms if self.audio_end_ms is None else min(self.audio_end_ms, sent_ms)

    def hold(self, part: Json, tokens: TokenCounts) -> None:
        """Store the content of an assistant's item. A client may already have truncated the
        item.
        """
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
        """Return the body, with the audio of an assistant's item. A user's audio is not stored."""
        if not self.spoken or not self.body["content"]:
            return self.body
        audio = b"".join(binascii.a2b_base64(block.encoded[1:-1]) for block in self.spoken)
        remaining = audio[: self.spoken_ms * self.spoken[0].audio_bytes // self.spoken[0].audio_ms]
        part = self.body["content"][0] | {
            "audio": binascii.b2a_base64(remaining, newline=False).decode()
        }
        return self.body | {"content": [part]}


def user_audio_item(item_id: str, audio_ms: float) -> ConversationItem:
    content = [{"type": "input_audio", "transcript": None}]
    body = message_body(item_id, "user", content)
    return ConversationItem(item_id, body, TokenCounts(audio=user_audio_tokens(audio_ms)))


def message_body(item_id: str, role: str, content: list[Json], status: str = "completed") -> Json:
    return {
        "id": item_id,
        "object": "realtime.item",
        "type": "message",
        "status": status,
        "role": role,
        "content": content,
    }


def text_tokens(text: str) -> int:
    return -(-len(text) // LETTERS_PER_TEXT_TOKEN)


def user_audio_tokens(audio_ms: float) -> int:
    return -int(-audio_ms // USER_AUDIO_TOKEN_MS)


# The order of items is that of `conversation.item` events. Items of responses and of speech get
# their place when they are announced, so their ids are reserved first: a client that guesses an id
# gets an error.
class Conversation:
    """The items in their order. Methods raise RejectedError for unknown ids."""

    def __init__(self, ids: Ids, names: WireNames) -> None:
        self.ids = ids
        self.names = names
        self.id = ids.new("conv")
        self.items: list[ConversationItem] = []
        self._promised: set[str] = set()

    def before(self, item: ConversationItem) -> str | None:
        """Return the id of the item before `item`. None if `item` is the first item, or was
        deleted.
        """
        ids = [known.id for known in self.items]
        return ids[ids.index(item.id) - 1] if item.id in ids[1:] else None

    def find(self, item_id: object) -> ConversationItem | None:
        return next((item for item in self.items if item.id == item_id), None)

    def known(self, item_id: str, code: str, param: str = "item_id") -> ConversationItem:
        """Return the item with the id that a client sent. Raise RejectedError with `code` if
        there is none.
        """
        item = self.find(item_id)
        if item is None:
            raise RejectedError(code, f"Item with item_id '{item_id}' not found.", param)
        return item

    def promise(self) -> str:
        """Reserve the id of a future item, so that no client can use it."""
        item_id = self.ids.new("item")
        self._promised.add(item_id)
        return item_id

    def fulfil(self, item: ConversationItem) -> str | None:
        """Append an item with a reserved id. Return the id of the item before it."""
        self._promised.discard(item.id)
        return self.insert(item, None)

    def added(self, item: ConversationItem) -> tuple[str, Json]:
        """Append an item with a reserved id. Return (type, fields) of the event that announces
        it.
        """
        return self.events(item, self.fulfil(item))[0]

    def done(self, item: ConversationItem) -> tuple[str, Json]:
        """Return (type, fields) of the event that reports a complete item to GA clients."""
        return self.events(item, self.before(item))[-1]

    def events(self, item: ConversationItem, previous: str | None) -> list[tuple[str, Json]]:
        """Return (type, fields) of each event that reports a new item."""
        names = ("added", "done") if self.names.is_ga else ("created",)
        return [
            (f"conversation.item.{name}", {"previous_item_id": previous, "item": item.body})
            for name in names
        ]

    def insert(self, item: ConversationItem, previous_id: str | None) -> str | None:
        """Insert `item` after `previous_id` (None: at the end, "root": first). Return the id of
        the item before it.
        """
        if self.find(item.id) or item.id in self._promised:
            raise RejectedError(
                "item_create_duplicate_item_id",
                f"Item with id '{item.id}' already exists.",
                "item.id",
            )
        if item.body["type"] == "function_call_output":
            call_id = item.body["call_id"]
            if not any(
                other.body["type"] == "function_call" and other.body["call_id"] == call_id
                for other in self.items
            ):
                raise RejectedError(
                    "invalid_tool_call_id", f"Tool call ID '{call_id}' not found in conversation."
                )
        index = len(self.items)
        ids = [known.id for known in self.items]
        if previous_id is not None and previous_id != "root" and previous_id not in ids:
            raise RejectedError(
                "invalid_value", f"Previous item '{previous_id}' not found.", "previous_item_id"
            )
        if previous_id is not None:
            index = 0 if previous_id == "root" else ids.index(previous_id) + 1
        self.items.insert(index, item)
        return self.items[index - 1].id if index else None

    def truncatable(self, item_id: str, audio_end_ms: int) -> ConversationItem:
        """Return the assistant's item to truncate. Raise RejectedError if `audio_end_ms` is
        after its audio.
        """
        item = self.known(item_id, "item_truncate_invalid_item_id")
        if item.spoken is None:
            raise RejectedError(None, "Only model output audio messages can be truncated")
        if audio_end_ms > item.spoken_ms:
            problem = (
                f"Audio content of {item.spoken_ms}ms is already shorter than {audio_end_ms}ms"
            )
            raise RejectedError("invalid_value", problem, "audio_end_ms")
        return item

    def has_spoken(self) -> bool:
        return any(item.spoken for item in self.items)


class ContextUsage(NamedTuple):
    """The tokens that a response reads. `cached` is a part of `tokens`."""

    tokens: TokenCounts
    cached: TokenCounts


NOTHING = ContextUsage(NO_TOKENS, NO_TOKENS)


class ContextPrefix(NamedTuple):
    """The input of a response before the items: the instructions, and the tools as JSON; empty
    if not set.
    """

    instructions: str
    tools: bytes

    @property
    def tokens(self) -> TokenCounts:
        return TokenCounts(text_tokens(self.instructions) + text_tokens(self.tools.decode()))


class ContextExceededError(Exception):
    """The error for a conversation that exceeds the context, if the client has disabled
    truncation.
    """

    def __init__(self, tokens: int, limit_tokens: int) -> None:
        message = (
            f"The conversation has {tokens} tokens, and the model's context has room for"
            f" {limit_tokens}."
        )
        self.message = {
            "type": "invalid_request_error",
            "code": "context_length_exceeded",
            "message": message,
        }


# (identity, tokens) of a part; parts are in the order of reading
ReadPart = tuple[object, TokenCounts]


# A cache of prompts compares beginnings. A part is compared by its identity and its tokens: an item
# that was truncated has other tokens, and an inserted or deleted one shifts those after it, so the
# equal beginning ends there.
class ModelHistory:
    """The conversation as responses read it.

    `limit_tokens` is the size of the model's context, which includes the instructions.
    """

    def __init__(
        self, conversation: Conversation, cache: TokenCache, limit_tokens: int | None
    ) -> None:
        self._conversation = conversation
        self._cache = cache
        self._limit_tokens = limit_tokens
        self._last: Sequence[ReadPart] = ()  # parts that the last in-band response read

    def items(
        self, preface: ContextPrefix, truncation: str | Json | None
    ) -> Sequence[ConversationItem]:
        """Return the items to read. The oldest items that do not fit are left out permanently.

        `truncation` is the session's setting. If it is "auto" or missing, items are left out. If it
        is "disabled", a conversation that is too long raises ContextExceededError. If it is an
        object, it contains the share of the limit to which the conversation is truncated, and the
        client's limit on the tokens after `preface`.
        """
        items = [item for item in self._conversation.items if not item.left_out]
        setting = truncation if isinstance(truncation, dict) else {}
        client = setting.get("token_limits", {}).get("post_instructions")
        model = (
            None if self._limit_tokens is None else max(0, self._limit_tokens - preface.tokens.sum)
        )
        limit_tokens = min((limit for limit in (model, client) if limit is not None), default=None)
        tokens = sum_of(item.tokens for item in items).sum
        if limit_tokens is None or tokens <= limit_tokens:
            return items
        if truncation == "disabled":
            raise ContextExceededError(tokens, limit_tokens)
        # Below the limit by a ratio, so that not each further response truncates, and empties the
        # cache.
        while tokens > setting.get("retention_ratio", 1.0) * limit_tokens and len(items) > 1:
            oldest = items.pop(0)
            oldest.left_out = True
            tokens -= oldest.tokens.sum
        return items

    def read(self, parts: Sequence[ReadPart]) -> ContextUsage:
        """Return the tokens of these parts if a response reads them now, and how many of them
        are cached.
        """
        equal_pairs = takewhile(
            lambda pair: pair[0] == pair[1], zip(parts, self._last, strict=False)
        )
        return ContextUsage(
            sum_of(tokens for _, tokens in parts),
            self._cached([read_part[1] for read_part, _ in equal_pairs]),
        )

    def remember(self, parts: Sequence[ReadPart]) -> None:
        """Record the parts that were read. The next response finds them in the cache."""
        self._last = parts

    def _cached(self, parts: Sequence[TokenCounts]) -> TokenCounts:
        """Return the cached tokens of parts that were read before. They are whole blocks from
        the first token on.
        """
        count = sum_of(parts).sum
        count = count - count % self._cache.block_tokens if count >= self._cache.min_tokens else 0
        cached = NO_TOKENS
        for tokens in parts:
            room = count - cached.sum
            text = min(tokens.text, room)
            audio = min(tokens.audio, room - text)
            image = min(tokens.image, room - text - audio)
            cached = TokenCounts(cached.text + text, cached.audio + audio, cached.image + image)
        return cached


def read_parts(preface: ContextPrefix, items: Sequence[ConversationItem]) -> list[ReadPart]:
    return [(preface, preface.tokens), *((item.id, item.tokens) for item in items)]


def sum_of(parts: Iterable[TokenCounts]) -> TokenCounts:
    columns = tuple(zip(*parts, strict=True))
    return TokenCounts(*map(sum, columns)) if columns else NO_TOKENS
