"""Holds the arms of a run, which are compared: each a target, or a variant of one, with its state in this process."""

from __future__ import annotations

from bench.dial import Dialer
from bench.load.planning.planned import Planned
from bench.load.planning.plays import Plays
from bench.load.playing.pacer import Pacer
from bench.load.playing.pairs import Place
from bench.observe.observation import SessionObservation, TurnObservation
from bench.outcomes import is_throttled, outcome_class
from bench.target.target import Target
from bench.target.tokens import Keyring
from bench.units import NS_PER_S

HOPELESS = 10
"""Failed connects that end a run in which none has succeeded."""


class Arm:
    """One target's running state in a process. `plays`: what is said there; `pacer`: when sessions may start."""

    def __init__(self, target: Target, plays: Plays, dialer: Dialer, pacer: Pacer) -> None:
        self.target, self.plays, self.dialer, self.pacer = target, plays, dialer, pacer
        self._opened = self._failed = 0

    @property
    def label(self) -> str:
        return self.target.label

    @property
    def hopeless(self) -> bool:
        """Whether nothing was opened here and there is no point in trying on."""
        return self._failed >= HOPELESS and not self._opened

    def note(self, session: SessionObservation, now_ns: int) -> bool:
        """Count a session that is over; returns whether it failed to open.

        A throttled one does not make an arm hopeless.
        """
        opened, throttled = was_opened(session), is_throttled(session.outcome)
        failed = not opened and outcome_class(session.outcome) == "failed"
        self._opened += opened
        self._failed += failed and not throttled
        if throttled and not opened:
            self.pacer.throttled("connection", session.start_ns, now_ns, session.retry_after_ns)
        return failed

    def session_opened(self, start_ns: int) -> None:
        """Let the pacer know of a session begun at this instant whose settings the service has taken."""
        self.pacer.passed("connection", start_ns)

    def turn_ended(self, turn: TurnObservation) -> None:
        """Let the pacer know of a turn's end.

        Its quota is the deployment's, so a wait for it holds other sessions, too.
        """
        if is_throttled(turn.outcome):
            self.pacer.throttled("turn", turn.start_ns, turn.instants["ended"], turn.retry_after_ns)
        elif outcome_class(turn.outcome) != "censored":
            self.pacer.passed("turn", turn.start_ns)


def was_opened(session: SessionObservation) -> bool:
    """Whether the service took the session's settings."""
    return "session_updated" in session.instants


def arms_of(plan: Planned, keyring: Keyring, place: Place) -> list[Arm]:
    """The arms of a run in one of its processes. Raises UsageError for certificates that cannot be used."""
    return [
        Arm(target, plan.plays[target.label], Dialer(target, keyring), pacer_of(rate, place))
        for target, rate in zip(plan.targets, plan.connect_rates, strict=True)
    ]


def pacer_of(per_minute: float | None, place: Place) -> Pacer:
    """The pacer of a worker's share of starts, which are as even over all workers as in each; a lone one needs no step.

    `per_minute`: starts of all workers together; None for no limit.
    """
    if not per_minute or place.workers == 1:
        return Pacer(per_minute)
    return Pacer(per_minute / place.workers, place.began_ns + int(place.worker * 60 * NS_PER_S / per_minute))
