"""The limits of a session: the duration of each stage, and the size of a turn. A turn that
exceeds a limit fails.
"""

from dataclasses import dataclass

from bench.base.units import NS_PER_S

# Two kinds of limits end a turn. A time limit says that the service is too slow, and a script may
# change it. The limits of size protect this tool from a service that never stops, and are far above
# any real conversation. They are constants, because a script that reaches one measures nothing
# useful.
MAX_ROUNDS = 50
MAX_CALLS = 1_000
"""Limits of one turn.

MAX_ROUNDS is the maximum number of responses that call functions. MAX_CALLS is the maximum number
of function calls. A real caller would hang up before either is reached.
"""
MAX_RESPONSES = 1_000
"""The maximum number of responses since a turn began. Fillers and responses of no turn count, too.
With one response per second, it is reached after a quarter of an hour."""
MAX_ITEMS = 1_000
"""The maximum number of items with audio in one reply. With one item per sentence, this is an
hour of talk."""
MAX_EVENTS = 250_000
"""The maximum number of events since a turn began, because their ids are in memory. With a hundred
events per second, this is 40 minutes."""
MAX_BYTES = 1 << 29
"""The maximum number of bytes on the network since a turn began. This is about two hours of PCM."""
REPLY_SILENCE_MS = 1_500
"""The default silence after which a reply has ended, if no event ends it. Pauses in speech are
shorter, and so are most pauses between a filler and the answer."""
LONGEST_TURN_S = 300.0
MAX_HOLD_NS = 600 * NS_PER_S
"""The longest wait that a service can request. If it requests a longer one, the wait has this
duration."""


@dataclass(frozen=True)
class Timeouts:
    """The maximum duration of each stage, in seconds. If a stage lasts longer, the outcome is
    `timeout:<stage>`. `patience` is no stage, but the caller's: its outcome is `abandoned`.
    """

    tcp: float = 5.0
    tls: float = 5.0
    upgrade: float = 10.0
    session: float = 10.0
    """The wait for `session.created`, and then the wait for `session.updated`."""
    end_of_turn: float = 10.0
    """The time from the end of the caller's speech until the service's VAD reports this end."""
    first_delta: float = 30.0
    """The wait for the first delta, from response.create, or from speech_stopped if the service
    requests it."""
    next_delta: float = 10.0
    response: float = 120.0
    """The time from response.created to the end of the response."""
    patience: float = 0.0
    """The time without an audible reply after which the caller hangs up; 0 for a caller who does
    not."""
    turn: float = 0.0
    """The time from the end of the caller's input to the end of the turn with all its responses. By
    default, it is LONGEST_TURN_S, or the sum of the limits of one response if this sum is
    longer."""

    def __post_init__(self) -> None:
        if not self.turn:
            object.__setattr__(
                self,
                "turn",
                max(LONGEST_TURN_S, self.end_of_turn + self.first_delta + self.response),
            )
