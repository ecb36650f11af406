"""Counts what one second brought for one target: the columns of `seconds` that are counted as things happen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bench.protocol.limits import LIMITED, RateLimit


@dataclass
class Second:
    """Counts of one second of one target."""

    calls: int = 0
    calls_blocked: int = 0
    calls_held: int = 0
    calls_cut: int = 0
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
        """Keep what the service says of its limits: of each the last word, of what remains the least."""
        for limit in limits:
            if limit.name in LIMITED:
                most, remaining = f"{limit.name}_limit", f"{limit.name}_remaining"
                setattr(self, most, _last(limit.limit, getattr(self, most)))
                setattr(self, remaining, _least(limit.remaining, getattr(self, remaining)))


def _last(value: int | None, before: int | None) -> int | None:
    return before if value is None else value


def _least(value: int | None, before: int | None) -> int | None:
    return min((known for known in (value, before) if known is not None), default=None)
