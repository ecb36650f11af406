"""The back-off of a caller whose last call was refused, in a closed loop.

A user of a closed loop calls again as soon as its call has ended, so a service that refuses at once would get more than
a hundred calls a second. So the user waits. Each wait is twice as long as the one before, or as long as the service
asks. After a call that got through, there is no wait. Waits have a random part (jitter), so that callers who were
refused together do not call again together.

A wait counts from the start of the refused call. It limits the rate of refused calls, and a call that took ten seconds
to fail is not a problem. The wait ends before the user requests its next start, so neither `start_delay` nor the
sessions of a pair contain any of it. After a refusal for a limit (`throttled:…`), the pacer of the target delays all
callers instead. An open loop has no back-off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import gevent

from bench.clock import monotonic_ns
from bench.dial import LOAD_GENERATOR_FAULT
from bench.load.execution.target_state import FIRST_WAIT_NS, MAX_WAIT_NS
from bench.load.planning.tasks import Caller
from bench.metrics import is_throttled, outcome_class
from bench.observe.observation import SessionObservation
from bench.timeouts import MAX_HOLD_NS
from bench.units import NS_PER_S

POLL_S = 0.25
"""The interval at which a waiting caller checks whether the run ends or the caller must leave."""


class RefusedCall(NamedTuple):
    """A call that the service refused: its start, its end, and the wait that the service requested."""

    start_ns: int
    ended_ns: int
    retry_after_ns: int | None


def refusal_of(session: SessionObservation, now_ns: int, *, any_opened: bool) -> RefusedCall | None:
    """Return the refusal if a session that has just ended was refused; None if its caller need not wait.

    A service that opens a session and closes it before a turn succeeds has refused the call, too.

    `any_opened`: True if any session of the target was opened. If it is False, the caller waits only if the service
    requests a wait, because a few refusals then end the run, and should do so soon.
    """
    if outcome_class(session.outcome) != "failed" or session.turns_succeeded or session.outcome == LOAD_GENERATOR_FAULT:
        return None
    if is_throttled(session.outcome) or not (any_opened or session.retry_after_ns):
        return None
    return RefusedCall(session.start_ns, now_ns, session.retry_after_ns)


def due_ns(refusals: Iterable[RefusedCall], in_a_row: int, jitter: float) -> int:
    """Return when the caller of these calls, which started together, may call again.

    `in_a_row`: the number of refusals since the caller's last call that got through, including this one. `jitter`: a
    random number from 0 to 1, which sets the random part of the wait.
    """
    wait_ns = min(FIRST_WAIT_NS << min(in_a_row - 1, MAX_WAIT_NS.bit_length()), MAX_WAIT_NS)
    jitter_ns = int(wait_ns // 2 * jitter)
    due = [refused.start_ns + wait_ns // 2 for refused in refusals]
    due += [
        refused.ended_ns + min(refused.retry_after_ns, MAX_HOLD_NS) for refused in refusals if refused.retry_after_ns
    ]
    return max(due) + jitter_ns


class _Refused(NamedTuple):
    """A caller whose last call was refused: the number of refusals in a row, and when it may call again."""

    caller: Caller  # referenced, so that no other object gets its identity
    in_a_row: int
    due_ns: int


class BackOff:
    """The waits of the callers of one process after refusals. `draw` returns random numbers from 0 to 1.

    `waits` is called with True when a caller starts to wait, and with False when the wait ends. `ending` returns True
    if no call may start.
    """

    def __init__(self, draw: Callable[[], float], *, waits: Callable[[bool], None], ending: Callable[[], bool]) -> None:
        self._draw, self._waits, self._ending = draw, waits, ending
        self._refused: dict[int, _Refused] = {}
        """Callers by identity, because users may define equality."""

    def on_call_ended(self, caller: Caller, refusals: Iterable[RefusedCall]) -> None:
        """Record the refusals among the calls that a caller started together. No refusals: all calls got through."""
        refused = list(refusals)
        if not refused:
            self._refused.pop(id(caller), None)
            return
        before = self._refused.get(id(caller))
        in_a_row = before.in_a_row + 1 if before else 1
        self._refused[id(caller)] = _Refused(caller, in_a_row, due_ns(refused, in_a_row, self._draw()))

    def wait(self, caller: Caller) -> bool:
        """Wait until a caller may call again. Return False if the run ended meanwhile or the caller must leave."""
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
