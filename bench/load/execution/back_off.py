"""Holds a caller back whose last call was refused, in a closed loop.

A user of a closed loop calls again as soon as its call has ended, so a service that refuses at once would get a hundred
and more calls a second. So the user waits, twice as long after each refusal as after the one before, or for as long as
the service asks, and not at all once a call got through. Waits are drawn at random within bounds (jitter): callers
refused together do not come back together.

A wait counts from the start of the refused call: it bounds the rate of refused calls, and a call that took ten seconds
to fail is no storm. It is over before the user asks for its next start, so neither `start_delay` nor the sessions of a
pair contain any of it. The pacer of a target holds back what a limit refused (`throttled:…`), for all callers. In an
open loop nothing is held back here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import gevent

from bench.clock import monotonic_ns
from bench.dial import HARNESS_FAULT
from bench.load.execution.target_state import FIRST_WAIT_NS, LONGEST_WAIT_NS
from bench.load.planning.tasks import Caller
from bench.metrics import is_throttled, outcome_class
from bench.observe.observation import SessionObservation
from bench.timeouts import LONGEST_HOLD_NS
from bench.units import NS_PER_S

POLL_S = 0.25
"""How often a caller who waits looks whether the run ends, or the caller is asked to leave."""


class RefusedCall(NamedTuple):
    """A call that the service did not take: its start, its end, and the wait that the service asked for."""

    start_ns: int
    ended_ns: int
    asked_ns: int | None


def refusal_of(session: SessionObservation, now_ns: int, *, begun: bool) -> RefusedCall | None:
    """Return the refusal that a session was, which is over now; None where nothing holds its caller back.

    A service that opens a session and closes it before anything came of it has refused the call as well. `begun`:
    whether any session of the target was opened. Before that a few refusals end the run, and should do so soon; only
    the wait that the service asks for is kept.
    """
    if outcome_class(session.outcome) != "failed" or session.turns_succeeded or session.outcome == HARNESS_FAULT:
        return None
    if is_throttled(session.outcome) or not (begun or session.retry_after_ns):
        return None
    return RefusedCall(session.start_ns, now_ns, session.retry_after_ns)


def due_ns(refusals: Iterable[RefusedCall], in_a_row: int, drawn: float) -> int:
    """Return when the caller of these calls, which were begun together, may call again.

    `in_a_row`: how often it was refused since a call got through, this time included; `drawn`: at random, from 0 to 1.
    """
    wait_ns = min(FIRST_WAIT_NS << min(in_a_row - 1, LONGEST_WAIT_NS.bit_length()), LONGEST_WAIT_NS)
    jitter_ns = int(wait_ns // 2 * drawn)
    due = [refused.start_ns + wait_ns // 2 for refused in refusals]
    due += [refused.ended_ns + min(refused.asked_ns, LONGEST_HOLD_NS) for refused in refusals if refused.asked_ns]
    return max(due) + jitter_ns


class _Refused(NamedTuple):
    """A caller whose last call was refused: how often in a row, and when it may call again."""

    caller: Caller  # kept, so that no other object gets its identity
    in_a_row: int
    due_ns: int


class BackOff:
    """Holds back the callers of one process. `draw` returns random numbers from 0 to 1.

    `waits` is called with True when a caller begins to wait, then with False; `ending`: whether no call shall begin.
    """

    def __init__(self, draw: Callable[[], float], *, waits: Callable[[bool], None], ending: Callable[[], bool]) -> None:
        self._draw, self._waits, self._ending = draw, waits, ending
        self._refused: dict[int, _Refused] = {}
        """Callers by their identity, for users may define when two of them are equal."""

    def note(self, caller: Caller, refusals: Iterable[RefusedCall]) -> None:
        """Note which of the calls were refused that a caller began together; none: they got through."""
        several = list(refusals)
        if not several:
            self._refused.pop(id(caller), None)
            return
        before = self._refused.get(id(caller))
        in_a_row = before.in_a_row + 1 if before else 1
        self._refused[id(caller)] = _Refused(caller, in_a_row, due_ns(several, in_a_row, self._draw()))

    def wait(self, caller: Caller) -> bool:
        """Wait until a caller may call again; False where the run ended meanwhile, or the caller is to leave."""
        refused = self._refused.get(id(caller))
        if refused is None or refused.due_ns <= monotonic_ns():
            return True
        self._waits(True)
        has_waited = False
        try:
            while (left_ns := refused.due_ns - monotonic_ns()) > 0:
                if self._ending() or caller.is_leaving():
                    return False
                gevent.sleep(min(left_ns / NS_PER_S, POLL_S))
            has_waited = True
        finally:
            self._waits(False)
            if not has_waited:
                del self._refused[id(caller)]
        return True
