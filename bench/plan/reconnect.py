"""The limits within which a call whose connection was dropped connects again: the key `reconnect`
of scripts.
"""

from dataclasses import dataclass

from bench.base.units import NS_PER_S
from bench.files.validation import Integer, Number, StructOf, field_key, struct_of

MAX_S = 600.0
UNFINISHED, ATTEMPTS, WITHIN, REFUSED = "unfinished", "attempts", "within", "refused"
"""Why a dropped call did not come back: the run ended, or a limit of this machine prevented it; all
attempts failed; its time was over; or the service refused it for good."""


@dataclass(frozen=True)
class Backoff:
    """The waits before attempts, in seconds. Each is twice as long as the one before. Half of it is
    random.
    """

    first: float = field_key(Number(0.001, MAX_S, "of seconds"), "The first delay.", 0.5)
    max: float = field_key(Number(0.001, MAX_S, "of seconds"), "The longest delay.", 5.0)

    @property
    def limits_ns(self) -> tuple[int, int]:
        return round(self.first * NS_PER_S), round(self.max * NS_PER_S)


@dataclass(frozen=True)
class Reconnect:
    """How a call whose connection was dropped connects again. `within` is in seconds."""

    within: float = field_key(
        Number(0.001, MAX_S, "of seconds"), "Seconds after the drop in which attempts begin.", 20.0
    )
    attempts: int = field_key(Integer(1, 100), "The maximum number of attempts.", 5)
    backoff: Backoff = field_key(
        struct_of(Backoff, nulls=False), "The delays before attempts.", absent=Backoff()
    )


RECONNECT: StructOf[Reconnect] = struct_of(Reconnect, nulls=False)
