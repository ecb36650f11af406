"""The tokens of a response, by kind, from the `usage` of its `response.done`. Pure.

What is not told by kind is taken for text, cached input as far as there is text. What is no number of tokens is never
taken for none: whoever cannot read a bill has not been told that it is nothing.
"""

from __future__ import annotations

from typing import Any

MANY_TOKENS = 2**40
"""From so many on a number is a mistake, and the sum of a turn's would not fit its column."""


class UnreadableError(Exception):
    """A number of tokens that is none, or is missing."""


def tokens_in(usage: Any) -> dict[str, int]:
    """Tokens by kind, under the names of `bench.protocol.events.Usage`. Raises UnreadableError."""
    came, went = _details(usage, "input_token_details"), _details(usage, "output_token_details")
    nothing = 0 if _tokens(usage, "total_tokens") == 0 else None
    text_in, audio_in = _by_kind(came, _tokens(usage, "input_tokens"), nothing)
    text_out, audio_out = _by_kind(went, _tokens(usage, "output_tokens"), nothing)
    cached = _tokens(came, "cached_tokens")
    cached_text, cached_audio = _cached(_details(came, "cached_tokens_details"), cached or 0, text_in)
    return {
        "text_in": text_in,
        "audio_in": audio_in,
        "cached_in": cached or cached_text + cached_audio,
        "cached_text_in": min(text_in, cached_text),
        "cached_audio_in": min(audio_in, cached_audio),
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


def _by_kind(details: Any, *totals: int | None) -> tuple[int, int]:
    """Tokens of text and of audio; where neither is told, the first total that is: all of it text."""
    text, audio = _tokens(details, "text_tokens"), _tokens(details, "audio_tokens")
    total = next((tokens for tokens in totals if tokens is not None), None)
    if text is None and audio is None and total is None:
        raise UnreadableError
    return (text or 0, audio or 0) if text or audio else (total or 0, 0)


def _cached(details: Any, cached: int, text_in: int) -> tuple[int, int]:
    """Cached tokens of text and of audio; where neither is told, text as far as there is text."""
    text, audio = _tokens(details, "text_tokens"), _tokens(details, "audio_tokens")
    if text is None and audio is None:
        return min(text_in, cached), max(0, cached - text_in)
    return text or 0, audio or 0
