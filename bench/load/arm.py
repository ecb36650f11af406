"""What is compared within a run: a target, or a variant of one, and how it goes there in this process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from bench.load.pacer import Pacer
from bench.load.plays import Plays
from bench.measures import is_throttled, outcome_class
from bench.observe.observation import SessionObservation
from bench.target.dial import Dialer
from bench.target.target import Target
from bench.target.tokens import Keyring

HOPELESS = 10
"""So many connects that failed, and none that succeeded, end a run."""


class Arm:
    """One target's running state in a process. `plays`: what is said there; `per_minute`: this process's share."""

    def __init__(self, target: Target, plays: Plays, dialer: Dialer, per_minute: float | None) -> None:
        self.target, self.plays, self.dialer = target, plays, dialer
        self.pacer = Pacer(per_minute)
        self._opened = self._failed = 0

    @property
    def label(self) -> str:
        return self.target.label

    @property
    def hopeless(self) -> bool:
        """Whether nothing was opened here and there is no point in trying on."""
        return self._failed >= HOPELESS and not self._opened

    def note(self, session: SessionObservation, now_ns: int) -> bool:
        """A session is over. Returns whether it failed to open; one that was throttled is no sign of a hopeless arm."""
        opened, throttled = was_opened(session), is_throttled(session.outcome)
        failed = not opened and outcome_class(session.outcome) == "failed"
        self._opened += opened
        self._failed += failed and not throttled
        if opened:
            self.pacer.opened(session.start_ns)
        elif throttled:
            self.pacer.throttled(session.start_ns, now_ns, session.retry_after_ns)
        return failed


def was_opened(session: SessionObservation) -> bool:
    """Whether the service took the session's settings."""
    return "session_updated" in session.instants


def arms_of(
    targets: Sequence[Target],
    plays: Mapping[str, Plays],
    keyring: Keyring,
    workers: int,
    connect_rate: float | None,
) -> list[Arm]:
    """The arms of a run in one of its processes. Raises UsageError for certificates that cannot be used."""
    rates = per_minute_of(targets, connect_rate)
    return [
        Arm(target, plays[target.label], Dialer(target, keyring), rate / workers if rate else None)
        for target, rate in zip(targets, rates, strict=True)
    ]


def per_minute_of(targets: Sequence[Target], connect_rate: float | None) -> list[float | None]:
    """How many connections each arm may start in a minute; None for no limit.

    Arms that call the same deployment share its rate, for they share its quota.
    """
    sharing = Counter(_deployment(target) for target in targets)
    rates = [target.connects_per_min if connect_rate is None else connect_rate for target in targets]
    return [rate / sharing[_deployment(target)] if rate else None for target, rate in zip(targets, rates, strict=True)]


def _deployment(target: Target) -> tuple[str, int, str | None]:
    return target.host, target.port, target.model
