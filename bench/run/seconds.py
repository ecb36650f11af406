"""What one second brought for one target: the columns of `seconds` that are counted as things happen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bench.protocol.limits import LIMITED, RateLimit


@dataclass
class Second:
    """What one second brought for one target."""

    session_starts: int = 0
    turns_begun: int = 0
    turns_ended: int = 0
    turns_failed: int = 0
    events: int = 0
    audio_bytes_sent: int = 0
    audio_bytes_received: int = 0
    wire_bytes_sent: int = 0
    wire_bytes_received: int = 0
    receive_lag_max_ns: int = 0
    throttled: int = 0
    requests_limit: int | None = None
    requests_remaining: int | None = None
    tokens_limit: int | None = None
    tokens_remaining: int | None = None

    def note(self, limits: Iterable[RateLimit]) -> None:
        """What the service says of its limits: of each the last word, of what remains the least."""
        for told in limits:
            if told.name in LIMITED:
                limit, remaining = f"{told.name}_limit", f"{told.name}_remaining"
                setattr(self, limit, _last(told.limit, getattr(self, limit)))
                setattr(self, remaining, _least(told.remaining, getattr(self, remaining)))


def _last(told: int | None, before: int | None) -> int | None:
    return before if told is None else told


def _least(told: int | None, before: int | None) -> int | None:
    known = [value for value in (told, before) if value is not None]
    return min(known, default=None)
