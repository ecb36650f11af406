"""A call whose connection was dropped, until one of its turns succeeds again or the call gives up.
Pure: no clock, no socket.

Attempts to connect follow the rule of refused callers (`due_ns`), within the limits of the script.
"""

from collections.abc import Callable, Sequence

from bench.base.units import NS_PER_S
from bench.catalogue.outcomes import EXPIRED, Family, is_permanent, outcome_class, parsed
from bench.load.execution.target_state import RefusedCall, due_ns
from bench.observe.inputs import ContinuesCall
from bench.observe.observation import SessionObservation, TurnObservation
from bench.observe.timeline import Timeline
from bench.plan.prepared import PreparedStep, PreparedTurn
from bench.plan.reconnect import ATTEMPTS, REFUSED, UNFINISHED, WITHIN, Reconnect

DROPS = frozenset(
    {Family.CLOSED, Family.SESSION_EXPIRED, Family.RENEWED, Family.THROTTLED, Family.TIMEOUT}
)
"""How a session ends that its service closed, or from which nothing is received any more."""


def is_dropped(timeline: Timeline) -> bool:
    """Return whether the connection of a session that was open is dropped."""
    return timeline.facts.is_ready and parsed(timeline.facts.outcome).family in DROPS


class TurnInProgress:
    """The steps of a call from its last turn on, and which turns the end of a session cut."""

    def __init__(self) -> None:
        self.steps: list[PreparedStep] = []
        self._cut: dict[int, bool] = {}

    def add(self, step: PreparedStep) -> None:
        if not step.within_turn:
            self.steps.clear()
        self.steps.append(step)

    def turn_ended(self, turn: TurnObservation, session_outcome: str) -> None:
        self._cut[turn.turn] = turn.outcome in (session_outcome, EXPIRED)

    def unfinished(self) -> Sequence[PreparedStep]:
        """Return the steps from the first turn on that is not over, or was cut."""
        for index, step in enumerate(self.steps):
            if isinstance(step, PreparedTurn) and self._cut.get(step.plan.number, True):
                return self.steps[index:]
        return ()

    def drop(self, count: int) -> None:
        """Forget the last steps, which run again."""
        del self.steps[len(self.steps) - count :]

    def cut_in(self, steps: Sequence[PreparedStep]) -> int:
        """Return how many turns of these steps were cut. Others have not begun."""
        turns = (step for step in steps if isinstance(step, PreparedTurn))
        return sum(self._cut.get(turn.plan.number, False) for turn in turns)


class Away:
    """The attempts of one dropped call. `cut` is the number of turns that the drop cut. `draw`
    returns random numbers from 0 to 1.
    """

    def __init__(
        self, limits: Reconnect, dropped: Timeline, cut: int, draw: Callable[[], float]
    ) -> None:
        self._limits = limits
        self._draw = draw
        self.dropped_ns = dropped.facts.instants["ended"]
        self.until_ns = self.dropped_ns + round(limits.within * NS_PER_S)
        turn = dropped.turns.last
        heard_ns = max(dropped.arrived_ns, dropped.turns.played_until_ns or 0)
        is_heard = cut > 0 and turn is not None and heard_ns > turn.start_ns
        self.heard_ns = heard_ns if is_heard else self.dropped_ns
        """Until when the caller heard something of the turn in progress: its sound is played, or
        its last message arrived. Without either, it is the drop."""
        self._attempts = 0
        self.end = ""
        """Why no further attempt follows; "" if one does."""
        self._plan(RefusedCall(self.dropped_ns, self.dropped_ns, None))

    def _plan(self, failed: RefusedCall) -> None:
        limits_ns = self._limits.backoff.limits_ns
        self.due_ns = due_ns([failed], self._attempts + 1, self._draw(), limits_ns)
        if self._attempts >= self._limits.attempts:
            self.end = ATTEMPTS
        elif self.due_ns > self.until_ns:
            self.end = WITHIN

    def attempt(self, repeated: int) -> ContinuesCall:
        """Begin an attempt, whose session says `repeated` turns again. Return how it continues the
        call.
        """
        self._attempts += 1
        return ContinuesCall(None, self._attempts, self.dropped_ns, self.heard_ns, repeated)

    def failed(self, session: SessionObservation, now_ns: int) -> None:
        """Plan the next attempt after one whose session did not open, or was dropped before a turn
        succeeded.
        """
        if outcome_class(session.outcome) == "unfinished":
            self.end = UNFINISHED
        elif is_permanent(session.outcome, session.causes):
            self.end = REFUSED
        else:
            self._plan(RefusedCall(session.start_ns, now_ns, session.retry_after_ns))
