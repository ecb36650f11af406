"""Plays one caller's call: a session, and those that take its place where a script renews sessions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from bench.load.playing.played import RunListener
from bench.load.playing.said import Said
from bench.observe import inputs
from bench.observe.observation import TurnObservation
from bench.observe.timeline import Timeline
from bench.plan.frames import PreparedScript, PreparedStep
from bench.run.event_log import EventLog
from bench.session import Session


@dataclass
class Leg:
    """One session of a call, with its record. `session`: None as long as it is not connected."""

    timeline: Timeline
    played: RunListener
    log: EventLog | None
    session: Session | None = None
    ended: bool = False


class Switchboard(Protocol):
    """Makes, connects and ends the legs of a call."""

    def leg(self, number: int, turns_begun: int) -> Leg:
        """Begin the record of a leg, from 1. `turns_begun`: in the legs before it."""

    def may_renew(self, *, waits: bool) -> bool:
        """Whether the next leg may be connected: its place among the starts, which asking books, has come.

        `waits`: wait for it, unless the call is to end.
        """

    def connect(self, leg: Leg, script: PreparedScript) -> Session | None:
        """Connect a leg; None where that fails."""

    def end(self, leg: Leg) -> None:
        """Write down what came of a leg that is over."""

    def ending(self) -> bool:
        """Whether the call is to end."""


class Call:
    """A call under way: whoever plays its steps need not know which of its sessions it is in."""

    def __init__(self, script: PreparedScript, switchboard: Switchboard) -> None:
        self._script, self._switchboard = script, switchboard
        self._said = Said(script.said_before)
        self._legs = self._turns_begun = 0
        self.hear_turn: Callable[[TurnObservation], None] | None = None
        """Hears of each turn that is over, where a task in Python may ask after it."""
        self._leg = self._next_leg()

    def _next_leg(self) -> Leg:
        self._legs += 1
        leg = self._switchboard.leg(self._legs, self._turns_begun)
        leg.played.hear_turn = self._hear
        return leg

    def _hear(self, turn: TurnObservation) -> None:
        self._said.note_turn(turn, self._session.outputs)
        if self.hear_turn is not None:
            self.hear_turn(turn)

    @property
    def _session(self) -> Session:
        assert self._leg.session is not None, "a call is connected before it is played"
        return self._leg.session

    def connect(self) -> bool:
        """Connect; False where there is no connection."""
        self._leg.session = self._switchboard.connect(self._leg, self._script)
        return self._leg.session is not None

    def open(self) -> bool:
        """Open the session that was connected; False where it does not get ready."""
        self._session.open()
        self._leg.played.note_opened()
        return not self._leg.timeline.over

    def perform(self, step: PreparedStep) -> bool:
        """Play one step, as `Session.perform` does; before it, where it is time, go on in another session."""
        if not self._script.renewable:
            return self._session.perform(step)
        if not step.within_turn:
            self._session.await_quiet(settled=step.plays_turn)
            if self._may_renew() and not self._renew():
                return False
        begun = self._leg.timeline.turns_begun
        if self._play(step):
            return True
        if step.plays_turn and self._leg.timeline.turns_begun == begun and self._may_renew():
            self._said.take_back()  # the session had ended before the caller's first sound
            return self._renew() and (self._play(step) or self._renewal_is_due)
        return self._renewal_is_due

    def _play(self, step: PreparedStep) -> bool:
        self._said.note_step(step)
        return self._session.perform(step)

    @property
    def _renewal_is_due(self) -> bool:
        timeline, after_ns = self._leg.timeline, self._script.renew_after_ns or 0
        is_old = timeline.turns_begun and not timeline.over and self._session.now_ns - timeline.start_ns >= after_ns
        return bool(is_old or timeline.outlived) and not self._switchboard.ending()

    def _may_renew(self) -> bool:
        """Whether to go on in another session now: an old one goes on itself while there is no place for the next."""
        return self._renewal_is_due and self._switchboard.may_renew(waits=self._leg.timeline.over)

    def _renew(self) -> bool:
        """Go on in another session, which is told what was said so far; False where it does not get ready."""
        before = self._leg.timeline
        before.tell(inputs.Renewed())
        self._turns_begun += before.turns_begun
        self.close()
        self.end()
        self._leg = self._next_leg()
        self._leg.timeline.tell(inputs.Renews(before.heard_ns))
        self._script = self._script.after(self._said.items)
        return self.connect() and self.open()

    def await_turn(self) -> None:
        """Wait until the last turn is over and awaits nothing more."""
        self._session.await_turn()

    def close(self) -> None:
        """Let the last turn end, and close the session."""
        if self._leg.session is not None:
            self._leg.session.close()

    def abandon(self, outcome: str, detail: str) -> None:
        """Cut the session short."""
        if self._leg.session is not None:
            self._leg.session.abandon(outcome, detail)

    def end(self) -> None:
        """Write down, once, what came of the session that the call is in."""
        if not self._leg.ended:
            self._leg.ended = True
            self._switchboard.end(self._leg)
            self._leg.played.hear_turn = None  # a cycle would wait for the garbage collector
