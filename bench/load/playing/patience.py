"""Plays sessions that wait for as long as the service asks, where it has refused a turn for its limits."""

from __future__ import annotations

from bench.load.playing.pacer import LONGEST_HOLD_NS
from bench.observe.observation import TurnObservation
from bench.plan.frames import PreparedPause, PreparedStep
from bench.session import Session

NO_PAUSE = PreparedPause(0)


class PatientSession(Session):
    """Begins no turn before the wait that the last one was asked for is over; the microphone stays open meanwhile."""

    _until_ns = 0

    def _turn_ended(self, turn: TurnObservation) -> None:
        super()._turn_ended(turn)
        if turn.retry_after_ns is not None:
            asked_ns = min(turn.retry_after_ns, LONGEST_HOLD_NS)
            self._until_ns = max(self._until_ns, turn.instants["ended"] + asked_ns)

    def perform(self, step: PreparedStep) -> bool:
        rests = step.plays_turn and not step.within_turn  # who interrupts does not wait for the end
        return (not rests or self._rest()) and super().perform(step)

    def _rest(self) -> bool:
        """Let the last turn end, for it may be asked to wait then; and wait. False where the session is over."""
        if not super().perform(NO_PAUSE):
            return False
        wait_ns = self._until_ns - self._transport.now_ns()
        return wait_ns <= 0 or super().perform(PreparedPause(wait_ns))
