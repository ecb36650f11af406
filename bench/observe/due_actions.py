"""The actions that a session must do now. The timeline determines them from its state. Pure.

The session takes a finished list of actions, executes all of them, and takes the next list, until a
list is empty. The inputs that an execution causes (a sent message, a measurement, the end of the
connection) are applied between two lists, and never while the timeline's state is searched for
actions.

The lists have a fixed order, and each is determined after the inputs of the lists before it. So a
turn is delivered after the network was measured for it, and the response that continues a reply is
requested after the function outputs were sent. Actions of the same list do not depend on each
other's inputs.
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
    """The actions of `timeline` that are due at `now_ns`. `judges` has the same meaning as in
    `Timeline.pop_turns`.
    """

    __slots__ = ("_judges", "_lists", "_now_ns", "_timeline", "_turn")

    def __init__(
        self, timeline: Timeline, now_ns: int, judges: dict[int, SuccessPredicate] = NO_JUDGES
    ) -> None:
        self._timeline = timeline
        self._now_ns = now_ns
        self._judges = judges
        self._turn: PendingTurn | None = None
        """The current turn after the deliveries, if the session is not over."""
        self._lists: Iterator[Callable[[DueActions], Sequence[Action]]] = iter(LISTS)

    def take(self) -> Sequence[Action]:
        """Return the next actions; none if all have been taken. Execute them before the next
        call.
        """
        for determine in self._lists:
            if actions := determine(self):
                return actions
        return NONE

    def _usage(self) -> Sequence[Action]:
        if (usage := self._timeline.facts.unpaid) is None:
            return NONE
        self._timeline.facts.unpaid = None
        return [inputs.ReportUsage(usage)]

    def _marks(self) -> Sequence[Action]:
        playout = self._timeline.playout
        if playout.due_ns > self._now_ns or self._timeline.is_over:
            return NONE
        return [inputs.AcknowledgeMark(mark) for mark in playout.played_by(self._now_ns)]

    def _cuts(self) -> Sequence[Action]:
        turns = self._timeline.turns
        return NONE if turns.interrupted is None or self._timeline.is_over else turns.cuts()

    def _measurement(self) -> Sequence[Action]:
        turns = self._timeline.turns
        if not turns.awaits_network or not turns.all or turns.all[-1].state is not State.OVER:
            return NONE
        return [inputs.MeasureNetwork()] if turns.are_all_over else NONE

    def _deliveries(self) -> Sequence[Action]:
        turns = self._timeline.turns.all
        # only the last turn is open
        if not turns or (turns[0].state is not State.OVER and len(turns) == 1):
            return NONE
        return [
            inputs.DeliverTurn(turn)
            for turn in self._timeline.pop_turns(self._now_ns, self._judges)
        ]

    def _request(self) -> Sequence[Action]:
        self._turn = turn = None if self._timeline.is_over else self._timeline.turns.current
        return (
            [inputs.RequestResponse()]
            if turn is not None and turn.wants_request(self._now_ns)
            else NONE
        )

    def _approvals(self) -> Sequence[Action]:
        if self._turn is None or not (requested := self._turn.calls.mcp.pop_requested()):
            return NONE
        prefix = self._turn.plan.event_prefix
        return [
            inputs.ApproveMcpCall(request_id, f"{prefix}approval-{number}")
            for number, request_id in requested
        ]

    def _calls(self) -> Sequence[Action]:
        if self._turn is None or not self._turn.calls.complete_calls:
            return NONE
        return [inputs.CallFunction(call) for call in self._turn.calls.pop_new_calls()]

    def _continuation(self) -> Sequence[Action]:
        return (
            [inputs.RequestContinuation()]
            if self._turn is not None and self._turn.wants_continuation
            else NONE
        )


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
