"""The actions that a session must do now. The timeline determines them from its state. Pure.

The session takes a finished list of actions, executes all of them, and takes the next list, until a list is empty. The
inputs that an execution causes (a sent message, a measurement, the end of the connection) are applied between two
lists, and never while the timeline's state is searched for actions.

The lists have a fixed order, and each is determined after the inputs of the lists before it. So a turn is delivered
after the network was measured for it, and the response that continues a reply is requested after the function outputs
were sent. Actions of the same list do not depend on each other's inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from bench.observe import inputs
from bench.observe.inputs import Action
from bench.observe.timeline import NO_JUDGES, Timeline
from bench.observe.turn import PendingTurn, State
from bench.plan.turn_plan import SuccessPredicate

NONE: Sequence[Action] = ()


class DueActions:
    """The actions of `timeline` that are due at `now_ns`. `judges` has the same meaning as in `Timeline.pop_turns`."""

    __slots__ = ("_judges", "_lists", "_now_ns", "_timeline")

    def __init__(self, timeline: Timeline, now_ns: int, judges: dict[int, SuccessPredicate] = NO_JUDGES) -> None:
        self._timeline, self._now_ns, self._judges = timeline, now_ns, judges
        self._lists: Iterator[Callable[[DueActions], Sequence[Action]]] = iter(LISTS)

    def take(self) -> Sequence[Action]:
        """Return the next actions; none if all have been taken. Execute them before the next call."""
        for determine in self._lists:
            if actions := determine(self):
                return actions
        return NONE

    def _usage(self) -> Sequence[Action]:
        facts = self._timeline.facts
        usage, facts.unpaid = facts.unpaid, None
        return NONE if usage is None else [inputs.ReportUsage(usage)]

    def _marks(self) -> Sequence[Action]:
        timeline = self._timeline
        if timeline.playout.due_ns > self._now_ns or timeline.is_over:
            return NONE
        return [inputs.AcknowledgeMark(mark) for mark in timeline.playout.played_by(self._now_ns)]

    def _cuts(self) -> Sequence[Action]:
        turns = self._timeline.turns
        return NONE if turns.interrupted is None or self._timeline.is_over else turns.cuts()

    def _measurement(self) -> Sequence[Action]:
        turns = self._timeline.turns
        is_due = turns.awaits_network and turns.are_all_over and turns.all
        return [inputs.MeasureNetwork()] if is_due else NONE

    def _deliveries(self) -> Sequence[Action]:
        turns = self._timeline.turns.all
        if len(turns) < 2 and not (turns and turns[0].state is State.OVER):  # only the last turn is open
            return NONE
        return [inputs.DeliverTurn(turn) for turn in self._timeline.pop_turns(self._now_ns, self._judges)]

    @property
    def _turn(self) -> PendingTurn | None:
        """The current turn; None if the session is over."""
        return None if self._timeline.is_over else self._timeline.turns.current

    def _request(self) -> Sequence[Action]:
        turn = self._turn
        return [inputs.RequestResponse()] if turn is not None and turn.wants_request(self._now_ns) else NONE

    def _approvals(self) -> Sequence[Action]:
        if (turn := self._turn) is None:
            return NONE
        prefix = turn.plan.event_prefix
        requested = turn.calls.mcp.pop_requested()
        return [inputs.ApproveMcpCall(request_id, f"{prefix}approval-{number}") for number, request_id in requested]

    def _calls(self) -> Sequence[Action]:
        turn = self._turn
        return NONE if turn is None else [inputs.CallFunction(call) for call in turn.calls.pop_new_calls()]

    def _continuation(self) -> Sequence[Action]:
        turn = self._turn
        return [inputs.RequestContinuation()] if turn is not None and turn.wants_continuation else NONE


LISTS: Sequence[Callable[[DueActions], Sequence[Action]]] = (
    DueActions._usage,
    DueActions._marks,
    DueActions._cuts,
    DueActions._measurement,
    DueActions._deliveries,
    DueActions._request,
    DueActions._approvals,
    DueActions._calls,
    DueActions._continuation,
)
