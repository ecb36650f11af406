"""What was said in a call, from which its next session begins. Pure."""

from collections.abc import Sequence

from bench.catalogue.outcomes import EXPIRED
from bench.observe.observation import TurnObservation
from bench.plan.prepared import PreparedEvent, PreparedStep, PreparedTurn
from bench.wire.dialect import SaidItem
from bench.wire.settings import FunctionOutput, Message


class CallTranscript:
    """The conversation of a call as a list of items, in the order of its steps; and its steps from
    the last turn on.

    The call's next session begins with the items. `before` are the items of the conversation before
    the call. Speech is represented by its transcript.
    """

    def __init__(self, before: Sequence[SaidItem]) -> None:
        self._parts: list[list[SaidItem]] = [list(before)]
        self._open: dict[int, list[SaidItem]] = {}
        """The items of each turn that is still open, by the number of the turn."""
        self._last_steps: list[PreparedStep] = []
        self._is_cut: dict[int, bool] = {}
        """Whether the end of its session cut a turn, by the number of the ended turn."""

    def add_step(self, step: PreparedStep) -> None:
        """Add a step that is about to run. An out-of-band turn, which is not part of the
        conversation, adds no item.
        """
        item = step.item if isinstance(step, PreparedTurn | PreparedEvent) else None
        is_out_of_band = isinstance(step, PreparedTurn) and step.plan.out_of_band
        self._parts.append([] if item is None or is_out_of_band else [item])
        if isinstance(step, PreparedTurn) and not is_out_of_band:
            self._open[step.plan.number] = self._parts[-1]
        if not step.within_turn:
            self._last_steps.clear()
        self._last_steps.append(step)

    def drop_steps(self, count: int) -> None:
        """Drop the last steps, which run again."""
        for _ in range(count):
            self._last_steps.pop()
            dropped = self._parts.pop()
            self._open = {
                number: other for number, other in self._open.items() if other is not dropped
            }

    def add_turn(
        self, turn: TurnObservation, outputs: dict[str, FunctionOutput], session_outcome: str
    ) -> None:
        """Add the transcripts of an ended turn, and its function calls with their results,
        removed from `outputs`.
        """
        self._is_cut[turn.turn] = turn.outcome in (session_outcome, EXPIRED)
        turn_items = self._open.pop(turn.turn, [])  # an out-of-band turn has no items
        if turn.input_text:
            turn_items.append(Message(role="user", text=turn.input_text))
        for reply_part in turn.reply_parts:
            if isinstance(reply_part, str):
                turn_items.append(Message(role="assistant", text=reply_part))
            elif (
                output := outputs.pop(reply_part.call_id, None)
            ) is not None:  # calls without a result are left out
                turn_items += [reply_part, output]

    @property
    def items(self) -> list[SaidItem]:
        return [item for step_items in self._parts for item in step_items]

    @property
    def unfinished(self) -> tuple[PreparedStep, ...]:
        """The steps from the first turn on that is not over, or was cut."""
        for index, step in enumerate(self._last_steps):
            if isinstance(step, PreparedTurn) and self._is_cut.get(step.plan.number, True):
                return tuple(self._last_steps[index:])
        return ()

    def cut_in(self, steps: Sequence[PreparedStep]) -> int:
        """Return how many turns of these steps were cut. Others have not begun."""
        turns = (step for step in steps if isinstance(step, PreparedTurn))
        return sum(self._is_cut.get(turn.plan.number, False) for turn in turns)
