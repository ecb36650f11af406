"""Keeps what was said in a call, as items that can be told to another session. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.observe.observation import TurnObservation
from bench.plan.frames import PreparedEvent, PreparedStep, PreparedTurn
from bench.protocol.base import SaidItem
from bench.protocol.messages import FunctionOutput, Message


class Said:
    """What was said in a call in the order of its steps, that `before` it first; of speech, what was transcribed."""

    def __init__(self, before: Sequence[SaidItem]) -> None:
        self._parts: list[list[SaidItem]] = [list(before)]
        self._open: dict[int, list[SaidItem]] = {}
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

    def note_turn(self, turn: TurnObservation, outputs: dict[str, FunctionOutput]) -> None:
        """Note what was heard in a turn that is over, and take out of `outputs` what its functions returned."""
        replied = list(_replied(turn, outputs))
        part = self._open.pop(turn.turn, None)
        if part is None:
            return
        if turn.input_text:
            part.append(Message(role="user", text=turn.input_text))
        part += replied

    @property
    def items(self) -> list[SaidItem]:
        """All that was said so far."""
        return [item for part in self._parts for item in part]


def _replied(turn: TurnObservation, outputs: dict[str, FunctionOutput]) -> Iterator[SaidItem]:
    """What a turn's reply is made of, with what each call returned behind it; calls without that are left out."""
    for part in turn.reply_parts:
        if isinstance(part, str):
            yield Message(role="assistant", text=part)
        elif (returned := outputs.pop(part.call_id, None)) is not None:
            yield part
            yield returned
