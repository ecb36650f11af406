"""Holds how long each stage of a session may take, and how much a turn may be made of: more ends it as a failure."""

from __future__ import annotations

from dataclasses import dataclass

from bench.units import NS_PER_S

MOST_ROUNDS, MOST_CALLS = 50, 1_000
"""Responses of a turn that call functions, and these calls: a caller has long hung up."""
MOST_RESPONSES = 1_000
"""Since a turn began, fillers and those of no turn among them: with one a second, a quarter of an hour of talk."""
MOST_ITEMS = 1_000
"""Items with audio in one reply: with one for each sentence, an hour of talk."""
MOST_EVENTS = 250_000
"""Since a turn began: a hundred a second for 40 minutes. Every id of more would be kept, within whatever limits."""
MOST_BYTES = 1 << 29
"""Over the wire, since a turn began: two hours of PCM."""
REPLY_SILENCE_MS = 1_500
"""Default silence that ends a reply if no event does: pauses within speech, and most between a filler and the answer,
are shorter."""
LONGEST_TURN_S = 300.0
LONGEST_HOLD_NS = 600 * NS_PER_S
"""The longest wait that a service may ask for: it is not waited for longer."""


@dataclass(frozen=True)
class Timeouts:
    """How long each stage may take before the session or turn ends as `timeout:<stage>`; seconds."""

    tcp: float = 5.0
    tls: float = 5.0
    upgrade: float = 10.0
    session: float = 10.0
    """session.created, and session.updated after it"""
    end_of_turn: float = 10.0
    """from the end of the caller's speech until the service's VAD has noticed it"""
    first_delta: float = 30.0
    """from response.create; where the service starts the response itself, from speech_stopped"""
    next_delta: float = 10.0
    response: float = 120.0
    """from response.created"""
    turn: float = 0.0
    """from the end of what the caller says, until the turn is over, however many responses it takes; where it is left
    out, LONGEST_TURN_S, or what the limits of one response come to, where that is more"""

    def __post_init__(self) -> None:
        if not self.turn:
            object.__setattr__(self, "turn", max(LONGEST_TURN_S, self.end_of_turn + self.first_delta + self.response))
