"""A call whose connection was dropped, until one of its turns succeeds again or the call gives up.
Pure: no clock, no socket.

Attempts to connect follow the rule of refused callers (`due_ns`), within the limits of the script.
"""

from collections.abc import Callable
from typing import Protocol

from bench.base.units import NEVER_NS, NS_PER_S
from bench.catalogue.outcomes import Family, is_permanent, outcome_class, parsed
from bench.load.execution.target_state import RefusedCall, due_ns
from bench.observe.inputs import ContinuesCall, NotContinued
from bench.observe.observation import SessionObservation
from bench.observe.timeline import Timeline
from bench.plan.reconnect import ATTEMPTS, REFUSED, UNFINISHED, WITHIN, Reconnect

DROPS = frozenset(
    {Family.CLOSED, Family.SESSION_EXPIRED, Family.RENEWED, Family.THROTTLED, Family.TIMEOUT}
)
"""How a session ends that its service closed, or from which nothing is received any more."""


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

    def failed(self, session: SessionObservation) -> None:
        """Plan the next attempt after one whose session did not open, or was dropped before a turn
        succeeded.
        """
        if outcome_class(session.outcome) == "unfinished":
            self.end = UNFINISHED
        elif is_permanent(session.outcome, session.causes):
            self.end = REFUSED
        else:
            ended_ns = session.instants["ended"]
            self._plan(RefusedCall(session.start_ns, ended_ns, session.retry_after_ns))


class Sessions(Protocol):
    """The sessions of a call, of which the last one is current."""

    @property
    def timeline(self) -> Timeline:
        """The timeline of the current session."""

    def is_ending(self) -> bool: ...

    def has_step(self, *, waits: bool, from_ns: int = 0, until_ns: int = NEVER_NS) -> bool:
        """Return whether the next session may start now, which is not before `from_ns`; if `waits`,
        wait for that until `until_ns`, unless the call must end.
        """

    def next_session(self, continuation: ContinuesCall) -> bool:
        """Continue the call in a session that begins with the conversation until now. Return False
        if it does not open.
        """


class Returning:
    """How a call comes back after drops. `limits` are those of its script; None if it does not.
    `draw` returns random numbers from 0 to 1.
    """

    def __init__(self, limits: Reconnect | None, draw: Callable[[], float]) -> None:
        self._limits = limits
        self._draw = draw
        self._away: Away | None = None
        """The attempts since the last drop; None after a turn has succeeded."""
        self.has_returned = False
        """True if a session of the call was an attempt to come back."""

    def is_due(self, session: Timeline) -> bool:
        """Return whether the connection of a session that was open is dropped."""
        is_open = self._limits is not None and session.facts.is_ready
        return is_open and parsed(session.facts.outcome).family in DROPS

    def turn_succeeded(self) -> None:
        self._away = None

    def connect_again(self, sessions: Sessions, cut: int) -> Away | None:
        """Attempt to connect until a session is open. Return None if the call gives up. `cut` is
        the number of turns to say again.
        """
        if self._limits is None:
            return None
        if self._away is None:
            self._away = Away(self._limits, sessions.timeline, cut, self._draw)
        else:
            self._away.failed(sessions.timeline.session())
        away = self._away
        while not away.end:
            sessions.timeline.apply(NotContinued(UNFINISHED))  # unless another session follows
            if not sessions.has_step(waits=True, from_ns=away.due_ns, until_ns=away.until_ns):
                away.end = UNFINISHED if sessions.is_ending() else WITHIN
                break
            self.has_returned = True
            if sessions.next_session(away.attempt(cut)):
                return away
            away.failed(sessions.timeline.session())
        sessions.timeline.apply(NotContinued(away.end))
        return None
