"""Counts what a response reads, instructions, tools, and again the whole conversation, and what of that is cached.

The service finds in its cache how what is read begins, as far as the last response has read the same, in whole blocks.
So an item that a client has truncated, deleted or put in between is the end of what is found. Where the conversation is
longer than the context of the model, its oldest items are left out, from then on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import NamedTuple

from bench.simulator.conversation.items import NO_TOKENS, Conversation, ConversationItem, TokenCounts, text_tokens
from bench.simulator.profile import TokenCache
from bench.simulator.wire import Json


class Context(NamedTuple):
    """Counts what a response reads; `cached` is a part of it."""

    tokens: TokenCounts
    cached: TokenCounts


NOTHING = Context(NO_TOKENS, NO_TOKENS)


class Preface(NamedTuple):
    """Holds what a response reads ahead of the items: instructions, and tools as JSON, or nothing."""

    instructions: str
    tools: bytes

    @property
    def tokens(self) -> TokenCounts:
        return TokenCounts(text_tokens(self.instructions) + text_tokens(self.tools.decode()))


@dataclass(frozen=True)
class HistoryTruncation:
    """Says what becomes of a conversation that is too long: it is cut to this share of the limit, or responses fail.

    `limit_tokens` counts behind the preface, and is the client's: the model has one of its own.
    """

    retained: float | None = 1.0
    limit_tokens: int | None = None


def truncation_of(setting: str | Json | None) -> HistoryTruncation:
    """What a session's `truncation` says; nothing is as good as auto."""
    if setting == "disabled":
        return HistoryTruncation(None)
    if not isinstance(setting, dict):
        return HistoryTruncation()
    return HistoryTruncation(setting["retention_ratio"], setting.get("token_limits", {}).get("post_instructions"))


class ContextExceededError(Exception):
    """Tells of a conversation that is longer than the context where the client does not want it truncated."""

    def __init__(self, tokens: int, limit_tokens: int) -> None:
        message = f"The conversation has {tokens} tokens, and the model's context has room for {limit_tokens}."
        self.shown = {"type": "invalid_request_error", "code": "context_length_exceeded", "message": message}


ReadPart = tuple[object, TokenCounts]  # which it is, and its tokens, in the order of reading


class ModelHistory:
    """Reads the conversation for responses. `limit_tokens`: what the model has room for, instructions included."""

    def __init__(self, conversation: Conversation, cache: TokenCache, limit_tokens: int | None) -> None:
        self._conversation, self._cache, self._limit_tokens = conversation, cache, limit_tokens
        self._last: Sequence[ReadPart] = ()  # by the last response of the conversation

    def items(self, preface: Preface, truncation: HistoryTruncation) -> Sequence[ConversationItem]:
        """The items that are read. The oldest that have no room are left out for good. Raises ContextExceededError."""
        items = [item for item in self._conversation.items if not item.left_out]
        model = [] if self._limit_tokens is None else [max(0, self._limit_tokens - preface.tokens.sum)]
        client = [] if truncation.limit_tokens is None else [truncation.limit_tokens]
        limit_tokens = min(model + client, default=None)
        tokens = _sum(item.tokens for item in items).sum
        if limit_tokens is None or tokens <= limit_tokens:
            return items
        if truncation.retained is None:
            raise ContextExceededError(tokens, limit_tokens)
        while tokens > truncation.retained * limit_tokens and len(items) > 1:
            oldest = items.pop(0)
            oldest.left_out = True
            tokens -= oldest.tokens.sum
        return items

    def read(self, parts: Sequence[ReadPart]) -> Context:
        """What it costs to read these now."""
        same = takewhile(lambda pair: pair[0] == pair[1], zip(parts, self._last, strict=False))
        return Context(_sum(tokens for _, tokens in parts), self._cached([part[1] for part, _ in same]))

    def remember(self, parts: Sequence[ReadPart]) -> None:
        """Remember what was read: the next response finds it in the cache."""
        self._last = parts

    def _cached(self, parts: Sequence[TokenCounts]) -> TokenCounts:
        """What the cache has of tokens that were read before: whole blocks, from the first token on."""
        count = _sum(parts).sum
        count = count - count % self._cache.block_tokens if count >= self._cache.least_tokens else 0
        cached = NO_TOKENS
        for part in parts:
            room = count - cached.sum
            text = min(part.text, room)
            audio = min(part.audio, room - text)
            image = min(part.image, room - text - audio)
            cached = TokenCounts(cached.text + text, cached.audio + audio, cached.image + image)
        return cached


def read_parts(preface: Preface, items: Sequence[ConversationItem]) -> list[ReadPart]:
    """What a response reads, part by part."""
    return [(preface, preface.tokens), *((item.id, item.tokens) for item in items)]


def _sum(parts: Iterable[TokenCounts]) -> TokenCounts:
    columns = tuple(zip(*parts, strict=True))
    return TokenCounts(*map(sum, columns)) if columns else NO_TOKENS
