"""Replies of a service, as messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bench.services.registry import DIALECTS
from bench.wire.connection import MatchedDelta


class Reply:
    """An open reply that records which of its deltas are matched."""

    has_begun = streaming = True

    def __init__(self) -> None:
        self.on_streaming: Callable[[bool], object] = bool
        self.matched: list[MatchedDelta] = []

    def on_deltas(self, deltas: Sequence[MatchedDelta]) -> bool:
        self.matched += deltas
        return False


GA = DIALECTS["ga"]
