"""The chunks and the sound that a session applies several at a time, because that takes a third of the time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from bench.wire.connection import ReceivedMessage
from bench.wire.events import ServerEvent

DEFERRED_NS, MANY = 80_000_000, 16
"""The time for which received sound is deferred while the session waits for the end of a turn, and the number of
messages and chunks that are deferred."""


class SentChunk(NamedTuple):
    """A sent chunk that contains no instant. `lag_ns` is the time from its due instant to the send."""

    wire_bytes: int
    audio_bytes: int
    lag_ns: int
    is_late: bool


class ReceivedSound(NamedTuple):
    """A message with sound, its events, and the instant at which it was handled."""

    events: Sequence[ServerEvent]
    message: ReceivedMessage
    handled_ns: int
