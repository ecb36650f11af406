"""The limits of a session: the duration of each stage, and the size of a turn. A turn that exceeds one fails."""

from __future__ import annotations

from dataclasses import dataclass

from bench.units import NS_PER_S

MAX_ROUNDS, MAX_CALLS = 50, 1_000
"""The maximum number of responses of a turn that call functions, and the maximum number of these calls.

A real caller would hang up earlier.
"""
MAX_RESPONSES = 1_000
"""The maximum number of responses since a turn began, including fillers and responses that belong to no turn.

With one response per second, this is a quarter of an hour of talk.
"""
MAX_ITEMS = 1_000
"""The maximum number of items with audio in one reply: with one for each sentence, an hour of talk."""
MAX_EVENTS = 250_000
"""The maximum number of events since a turn began: a hundred a second for 40 minutes.

The ids of events are stored in memory, so their number needs a limit.
"""
MAX_BYTES = 1 << 29
"""The maximum number of bytes over the wire since a turn began: two hours of PCM."""
REPLY_SILENCE_MS = 1_500
"""The default duration of the silence that ends a reply if no event does.

Pauses within speech, and most pauses between a filler and the answer, are shorter.
"""
LONGEST_TURN_S = 300.0
MAX_HOLD_NS = 600 * NS_PER_S
"""The maximum delay that is granted if a service asks for one."""


@dataclass(frozen=True)
class Timeouts:
    """The maximum duration of each stage, in seconds. At its end the session or turn ends as `timeout:<stage>`."""

    tcp: float = 5.0
    tls: float = 5.0
    upgrade: float = 10.0
    session: float = 10.0
    """The wait for session.created and for the session.updated after it."""
    end_of_turn: float = 10.0
    """The time from the end of the caller's speech until the service's VAD reports it."""
    first_delta: float = 30.0
    """The wait from response.create or, if the service starts the response itself, from speech_stopped."""
    next_delta: float = 10.0
    response: float = 120.0
    """The time from response.created to the end of the response."""
    turn: float = 0.0
    """The time from the end of the caller's input to the end of the turn, with all its responses.

    The default is LONGEST_TURN_S, or the sum of the limits of one response if that is longer.
    """

    def __post_init__(self) -> None:
        if not self.turn:
            object.__setattr__(self, "turn", max(LONGEST_TURN_S, self.end_of_turn + self.first_delta + self.response))
