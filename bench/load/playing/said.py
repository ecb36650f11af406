"""Keeps what was said in a call, as messages that can be told to another session. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from bench.observe.observation import TurnObservation
from bench.plan.frames import PreparedEvent, PreparedStep, PreparedTurn
from bench.protocol.messages import Message


class Said:
    """The words of a call in the order of its steps, those `before` it first; of speech, what was transcribed."""

    def __init__(self, before: Sequence[Message]) -> None:
        self._parts: list[list[Message]] = [list(before)]
        self._open: dict[int, list[Message]] = {}
        """The parts of turns that are not over, by the numbers of the turns."""

    def note_step(self, step: PreparedStep) -> None:
        """Note a step that is about to be played; what is out of band the conversation does not know."""
        said = step.said if isinstance(step, PreparedTurn | PreparedEvent) else None
        apart = isinstance(step, PreparedTurn) and step.out_of_band
        self._parts.append([] if said is None or apart else [said])
        if isinstance(step, PreparedTurn) and not apart:
            self._open[step.number] = self._parts[-1]

    def take_back(self) -> None:
        """Forget the step that was noted last."""
        part = self._parts.pop()
        self._open = {number: other for number, other in self._open.items() if other is not part}

    def note_turn(self, turn: TurnObservation) -> None:
        """Note what was heard in a turn that is over."""
        part = self._open.pop(turn.turn, None)
        if part is None:
            return
        if turn.input_text:
            part.append(Message(role="user", text=turn.input_text))
        if turn.reply_text:
            part.append(Message(role="assistant", text=turn.reply_text))

    @property
    def messages(self) -> list[Message]:
        """All that was said so far."""
        return [message for part in self._parts for message in part]
