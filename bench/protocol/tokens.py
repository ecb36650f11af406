"""The tokens of a response, by kind, from the `usage` of its `response.done`. Pure.

What is not told by kind is taken for text, cached input as far as there is text. What is no number of tokens is never
taken for none: whoever cannot read a bill has not been told that it is nothing.
"""

from __future__ import annotations

from typing import Any

KINDS = ("text", "audio", "image")
"""The kinds of input, in the order in which cached tokens without a kind are taken for them; no output is an image."""
MANY_TOKENS = 2**40
"""From so many on a number is a mistake, and the sum of a turn's would not fit its column."""


class UnreadableError(Exception):
    """A number of tokens that is none, or is missing."""


def tokens_in(usage: Any) -> dict[str, int]:
    """Tokens by kind, under the names of `bench.protocol.events.Usage`. Raises UnreadableError."""
    came, went = _details(usage, "input_token_details"), _details(usage, "output_token_details")
    nothing = 0 if _tokens(usage, "total_tokens") == 0 else None
    read = _by_kind(came, _tokens(usage, "input_tokens"), nothing)
    text_out, audio_out, _ = _by_kind(went, _tokens(usage, "output_tokens"), nothing)
    cached = _tokens(came, "cached_tokens")
    of_kind = _cached(_details(came, "cached_tokens_details"), cached or 0, read)
    return {
        **{f"{kind}_in": tokens for kind, tokens in zip(KINDS, read, strict=True)},
        "cached_in": cached or sum(of_kind),
        **{f"cached_{kind}_in": min(tokens) for kind, *tokens in zip(KINDS, read, of_kind, strict=True)},
        "text_out": text_out,
        "audio_out": audio_out,
    }


def _details(parent: Any, name: str) -> Any:
    """The object of this name within another; {} where it is left out."""
    if not isinstance(parent, dict):
        raise UnreadableError
    value = parent.get(name)
    return {} if value is None else value


def _tokens(parent: Any, name: str) -> int | None:
    """The number of tokens of this name; None where it is left out."""
    if not isinstance(parent, dict):
        raise UnreadableError
    value = parent.get(name)
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():  # JSON knows one kind of number
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < MANY_TOKENS:
        raise UnreadableError
    return value


def _told(details: Any) -> list[int | None]:
    """Tokens of each of KINDS, None of those that are not told."""
    return [_tokens(details, f"{kind}_tokens") for kind in KINDS]


def _by_kind(details: Any, *totals: int | None) -> list[int]:
    """Tokens of each of KINDS; where none is told, the first total that is: all of it text."""
    told = _told(details)
    total = next((tokens for tokens in totals if tokens is not None), None)
    if total is None and all(tokens is None for tokens in told):
        raise UnreadableError
    return [tokens or 0 for tokens in told] if any(told) else [total or 0, 0, 0]


def _cached(details: Any, cached: int, read: list[int]) -> list[int]:
    """Cached tokens of each of KINDS; where none is told, of each kind as far as it was read, the rest audio."""
    told = _told(details)
    if any(tokens is not None for tokens in told):
        return [tokens or 0 for tokens in told]
    text = min(read[0], cached)
    audio = min(read[1], cached - text)
    return [text, audio, cached - text - audio]
