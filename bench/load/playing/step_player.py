"""Plays the steps of a session: each of a task as it comes, or all of a script.

What the rehearsal of a task has not seen is prepared on the spot.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol
from weakref import WeakValueDictionary

from bench.load.planning.caller import CallSteps, SessionOver, TakenTurn
from bench.observe.observation import TurnObservation
from bench.plan.choices import Choices
from bench.plan.frames import PreparedScript, PreparedStep
from bench.plan.repertoire import Repertoire
from bench.plan.steps import NO_ROW, Rules, Step, StepReader


class Performer(Protocol):
    """Plays prepared steps: a session, or a call."""

    def perform(self, step: PreparedStep) -> bool:
        """Play a step; False where no further one can be played."""

    def await_turn(self) -> None:
        """Wait until the last turn is over and awaits nothing more."""


class StepPlayer(CallSteps):
    """Plays the steps in a session. Its words and recordings are those that a script's would be: see `Repertoire`."""

    def __init__(
        self,
        call: Performer,
        repertoire: Repertoire,
        script: PreparedScript,
        reader: StepReader,
        choices: Choices,
    ) -> None:
        super().__init__(reader, Rules(repertoire.script.session))
        self._call, self._repertoire, self._choices = call, repertoire, choices
        variables = repertoire.script.variables
        self._row = variables.rows[script.variables_row - 1] if variables and script.variables_row else NO_ROW
        self._asked: WeakValueDictionary[int, TakenTurn] = WeakValueDictionary()
        """The turns that the task may ask after, by their numbers; of others nothing is kept."""

    def play(self, step: Step) -> None:
        if not self._call.perform(self._repertoire.step(step, self.turns, self._choices, self._row)):
            raise SessionOver

    def taken_turn(self) -> TakenTurn:
        turn = TakenTurn(self.turns, self._await_turn)
        self._asked[self.turns] = turn
        return turn

    def turn_ended(self, turn: TurnObservation) -> None:
        """Hear of a turn that is over and awaits nothing more."""
        asked = self._asked.pop(turn.turn, None)
        if asked is not None:
            asked.hear(turn)

    def _await_turn(self) -> None:
        """Wait until every turn is over and awaits nothing more. Raises SessionOver where the run ends before."""
        self._call.await_turn()
        if self._asked:
            raise SessionOver


def perform_all(call: Performer, steps: Iterable[PreparedStep]) -> None:
    """Play steps that are known, until one finds the session over."""
    for step in steps:  # in a generator all of a session would lie on one more C stack, which a greenlet keeps
        if not call.perform(step):
            return
