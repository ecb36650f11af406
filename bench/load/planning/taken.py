"""What a task in Python is told of a turn that it took, once that is over."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bench.observe.observation import TurnObservation
from bench.units import NS_PER_MS


class TakenTurn:
    """A turn that a task took. It goes on while the task does; whoever asks what came of it waits for its end.

    `number`: of the turn in its session, from 1.
    """

    def __init__(self, number: int, wait: Callable[[], None]) -> None:
        self.number = number
        self._wait = wait
        self._observation: TurnObservation | None = None

    def hear(self, turn: TurnObservation) -> None:
        """Take what came of the turn."""
        self._observation = turn

    @property
    def outcome(self) -> str:
        """How it ended: `ok`, or one of the outcomes of docs/measures.md. In a rehearsal it is `ok`."""
        turn = self._over()
        return "ok" if turn is None else turn.outcome

    @property
    def said(self) -> str:
        """The words of the caller's speech, where the session transcribes it; "" where not, and in a rehearsal."""
        turn = self._over()
        return "" if turn is None else turn.input_text

    @property
    def replied(self) -> str:
        """The words of the reply; "" in a rehearsal."""
        turn = self._over()
        return "" if turn is None else turn.reply_text

    @property
    def measures(self) -> Mapping[str, float]:
        """The turn's measures that are times, in ms, by their names; none in a rehearsal."""
        turn = self._over()
        return {} if turn is None else {name: ns / NS_PER_MS for name, ns in turn.measures_ns().items()}

    def _over(self) -> TurnObservation | None:
        """Wait for its end. None in a rehearsal, in which nobody answers."""
        if self._observation is None:
            self._wait()
        return self._observation


def over_turn(turn: TurnObservation) -> TakenTurn:
    """A turn that is over."""
    taken = TakenTurn(turn.turn, _nobody_answers)
    taken.hear(turn)
    return taken


def rehearsed_turn(number: int) -> TakenTurn:
    """A turn of a rehearsal."""
    return TakenTurn(number, _nobody_answers)


def _nobody_answers() -> None:
    """Wait for nothing."""
