"""The back-off of a caller whose last call was refused, in a closed loop.

A user of a closed loop calls again as soon as its call has ended. If a service refuses calls at once, it would get more
than a hundred calls per second. Therefore the user waits. Each wait is twice as long as the one before, or as long as
the service requests. After a call that was not refused, there is no wait. Waits have a random part (jitter), so that
callers who were refused together do not call again together.

A wait begins at the start of the refused call. It limits the rate of refused calls, so a call that took ten seconds to
fail needs no further wait. The wait ends before the user requests its next start, so that it is part of neither
`start_delay` nor a session. After a refusal because of a limit (`throttled:…`), there is no back-off: the pacer of the
target delays all callers instead. An open loop has no back-off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import gevent

from bench.base.clock import monotonic_ns
from bench.base.units import NS_PER_S
from bench.catalogue.outcomes import OWN_FAULT, is_throttled, outcome_class
from bench.catalogue.timeouts import MAX_HOLD_NS
from bench.load.execution.target_state import FIRST_WAIT_NS, MAX_WAIT_NS
from bench.load.planning.tasks import Caller
from bench.observe.observation import SessionObservation

POLL_S = 0.25
"""The interval at which a waiting caller checks whether the run is ending or the caller must leave."""


class RefusedCall(NamedTuple):
    """A refused call. `retry_after_ns` is the wait that the service requested; None if it requested none."""

    start_ns: int
    ended_ns: int
    retry_after_ns: int | None


def refusal_of(session: SessionObservation, now_ns: int, *, any_opened: bool) -> RefusedCall | None:
    """Return the refusal if the session, which has just ended, was refused; None if its caller need not wait.

    If a service opens a session but closes it before a turn has succeeded, this is a refusal, too.

    `any_opened` is True if any session with the target was opened. If it is False, the caller waits only if the service
    requests a wait: a few more refusals will end the run, and this should happen soon.
    """
    if outcome_class(session.outcome) != "failed" or session.turns_succeeded or session.outcome == OWN_FAULT:
        return None
    if is_throttled(session.outcome) or not (any_opened or session.retry_after_ns):
        return None
    return RefusedCall(session.start_ns, now_ns, session.retry_after_ns)


def due_ns(refusals: Iterable[RefusedCall], in_a_row: int, jitter: float) -> int:
    """Return the instant at which a caller may call again, after `refusals` of calls that it started together.

    `in_a_row` is the number of refusals since the caller's last call that was not refused, including this refusal.
    `jitter` is a random number from 0 to 1, which determines the random part of the wait.
    """
    wait_ns = min(FIRST_WAIT_NS << min(in_a_row - 1, MAX_WAIT_NS.bit_length()), MAX_WAIT_NS)
    jitter_ns = int(wait_ns // 2 * jitter)
    due = [refused.start_ns + wait_ns // 2 for refused in refusals]
    due += [
        refused.ended_ns + min(refused.retry_after_ns, MAX_HOLD_NS) for refused in refusals if refused.retry_after_ns
    ]
    return max(due) + jitter_ns


class _Refused(NamedTuple):
    """A caller whose last call was refused: its refusals in a row, and when it may call again."""

    caller: Caller  # referenced, so that no other object gets its identity
    in_a_row: int
    due_ns: int


class BackOff:
    """The waits after refusals, for the callers of one process.

    `draw` is a function that returns random numbers from 0 to 1. `waits` is called with True when a caller starts to
    wait, and with False when the wait ends. `ending` is a function that returns True if no call may start.
    """

    def __init__(self, draw: Callable[[], float], *, waits: Callable[[bool], None], ending: Callable[[], bool]) -> None:
        self._draw, self._waits, self._ending = draw, waits, ending
        self._refused: dict[int, _Refused] = {}
        """The callers whose last call was refused, by identity, because users may define equality."""

    def on_call_ended(self, caller: Caller, refusals: Iterable[RefusedCall]) -> None:
        """Record which of the calls that a caller started together were refused, if any."""
        refused = list(refusals)
        if not refused:
            self._refused.pop(id(caller), None)
            return
        before = self._refused.get(id(caller))
        in_a_row = before.in_a_row + 1 if before else 1
        self._refused[id(caller)] = _Refused(caller, in_a_row, due_ns(refused, in_a_row, self._draw()))

    def wait(self, caller: Caller) -> bool:
        """Wait until a caller may call again. Return False if, before that, the run ends or the caller must leave."""
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
