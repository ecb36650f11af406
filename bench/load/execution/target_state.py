"""The state of a run's targets in this process: the pacing of their sessions, and the back-off of
refused callers.

The sessions with a target start evenly spaced. If the service requests a wait, no session starts
before its end. After a refusal because of a limit, and after the wait for it, one session starts
alone, as a probe (the half-open state of a circuit breaker). If the probe succeeds, other sessions
follow, at an interval. Every refusal doubles the interval, and every success shortens it.

After other refusals, in a closed loop, the refused caller waits. It would otherwise call again as
soon as its call has ended, and a service that refuses calls at once would get more than a hundred
calls per second. Each wait is twice as long as the one before, or as long as the service requests.
An open loop has no back-off.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

import gevent

from bench.base.clock import monotonic_ns
from bench.base.units import NS_PER_S
from bench.catalogue.outcomes import (
    OWN_FAULT,
    is_own_limit,
    is_permanent,
    is_throttled,
    outcome_class,
)
from bench.catalogue.timeouts import MAX_HOLD_NS
from bench.load.execution.pairs import WorkerSlot
from bench.load.planning.run_plan import RunPlan
from bench.load.planning.tasks import Caller
from bench.load.planning.workload import Workload
from bench.observe.observation import SessionObservation, TurnObservation
from bench.session.dial import Dialer
from bench.target.tokens import Keyring

FIRST_WAIT_NS = NS_PER_S
MAX_WAIT_NS = 60 * NS_PER_S
"""The first and the longest wait if a service refuses because of a limit and requests no wait.

Each wait is twice as long as the one before. If the service requests a wait, it is not shorter than
FIRST_WAIT_NS. The interval between later starts has the same limits.
"""

Limited = Literal["connection", "turn"]
"""The kinds of requests that a service may refuse because of a limit."""


# The states of a pacer, and what moves it:
#
#   open        starts have the configured interval, or none
#   held        after a refusal, until the end of the wait: no start
#   half open   after the wait: one start, the probe. All others wait for its result
#   spaced      after a success: starts at `_distance_ns`, which each success shortens by a tenth
#
# Refusals of requests that began before the last wait ended are one refusal: a service refuses many
# at once, and each of them would double the wait. An unsuccessful probe without a refusal (a broken
# connection, the end of the run) says nothing, so the next start is a probe again (`ended`).
#
# Each process has its own pacer, and they know nothing of each other. Each one has its share of the
# rate and its own phase, so their starts are evenly spaced together. But each finds a limit of the
# service by itself.
class StartPacer:
    """The pacer of a target's starts in this process. Starts are evenly spaced.

    `per_minute` is the maximum number of starts per minute; None if there is no limit. `phase_ns`
    is an instant: the time between it and each start is a whole number of intervals, so that
    processes take turns. It is None if starts may be at any instant.
    """

    def __init__(self, per_minute: float | None, phase_ns: int | None = None) -> None:
        self.interval_ns = int(60 * NS_PER_S / per_minute) if per_minute else 0
        self._phase_ns = phase_ns
        self._next_ns = self._held_until_ns = self._held_ns = 0
        self._refused: Limited = "connection"
        """The kind of request that the service refused last."""
        self._waits = self._distance_ns = 0
        self._half_open = False
        self.own_delays = 0
        """The number of delays whose length the service did not request."""
        self._probe_ns: int | None = None
        """The start of the session that runs alone, as a probe; None if there is no probe."""

    def earliest_ns(self, now_ns: int) -> int:
        """Return the first instant at which a session may start; `now_ns` if it may start now."""
        return max(now_ns, self._next_ns, self._held_until_ns)

    def slot_ns(self, at_ns: int) -> int:
        """Return the first instant, at `at_ns` or later, that this process may use in the
        schedule of all processes.
        """
        if self._phase_ns is None or not self.interval_ns:
            return at_ns
        return at_ns + (self._phase_ns - at_ns) % self.interval_ns

    @property
    def is_probing(self) -> bool:
        """True during a probe. Then no session may start until the probe has succeeded or has
        ended.
        """
        return self._probe_ns is not None

    def acquire(self, start_ns: int) -> None:
        """Record a start at this instant. If starts have an interval, the next start is at least
        one interval later.
        """
        self._space_out(start_ns)
        if self._half_open:
            self._probe_ns = start_ns

    def reserve(self, now_ns: int) -> int | None:
        """Reserve the first possible start, before all waiting pairs. Return its instant; None
        during a probe.
        """
        if self.is_probing:
            return None
        start_ns = self.slot_ns(self.earliest_ns(now_ns))
        self._space_out(start_ns)
        return start_ns

    def is_due(self, reserved_ns: int, now_ns: int) -> bool:
        """Return whether the reserved start may happen now: the service may have requested a
        wait since.
        """
        return now_ns >= max(reserved_ns, self._held_until_ns)

    def _space_out(self, start_ns: int) -> None:
        if interval_ns := max(self.interval_ns, self._distance_ns):
            self._next_ns = start_ns + interval_ns

    def ended(self, start_ns: int) -> None:
        """Record the end of the session that started then. After a probe without a result, the
        next is a probe, too.
        """
        if start_ns == self._probe_ns:
            self._probe_ns = None

    def on_throttled(
        self, kind: Limited, request_ns: int, now_ns: int, requested_ns: int | None
    ) -> None:
        """Delay starts, because a request was refused because of a limit.

        `kind` is the kind of the request, `request_ns` is its begin, and `now_ns` is the instant of
        the refusal. `requested_ns` is the wait that the service requested; None if it requested
        none.
        """
        # True for a request that began after the last wait, False for one of several requests that
        # were refused together
        first = request_ns >= self._held_until_ns
        if requested_ns is None and not first:
            return
        wait_ns = (
            min(FIRST_WAIT_NS << self._waits, MAX_WAIT_NS) if requested_ns is None else requested_ns
        )
        self._waits = min(self._waits + (requested_ns is None), 6)
        self.own_delays += not requested_ns
        if first:
            self._distance_ns = min(max(FIRST_WAIT_NS, 2 * self._distance_ns), MAX_WAIT_NS)
        self._refused = kind
        self._half_open = True
        self._probe_ns = None
        self.hold(now_ns + min(max(wait_ns, FIRST_WAIT_NS), MAX_HOLD_NS), now_ns)

    def on_success(self, kind: Limited, request_ns: int) -> None:
        """Record the success of a request of this kind, which began at `request_ns`. Starts may
        then resume.

        The success counts only if the last refusal was of the same kind, and the request began
        after the wait.
        """
        if kind == self._refused and request_ns >= self._held_until_ns:
            self._waits = 0
            self._half_open = False
            self._probe_ns = None
            self._distance_ns = self._distance_ns * 9 // 10

    def hold(self, until_ns: int, now_ns: int) -> None:
        self._held_ns += max(0, until_ns - max(now_ns, self._held_until_ns))
        self._held_until_ns = max(self._held_until_ns, until_ns)

    def held_ns(self, now_ns: int) -> int:
        """Return the time for which the service has delayed starts since the start of the run,
        in total.
        """
        return self._held_ns - max(0, self._held_until_ns - now_ns)


def earliest_ns(pacers: Sequence[StartPacer], now_ns: int) -> int:
    """Return the first instant at which a pair may start.

    A pair waits until each of its targets allows a start. Starts follow the schedule of the target
    with the longest interval.
    """
    slowest = max(pacers, key=lambda pacer: pacer.interval_ns)
    return slowest.slot_ns(max(pacer.earliest_ns(now_ns) for pacer in pacers))


MAX_INITIAL_FAILURES = 10
"""The number of failed connections with a target after which the run ends, if no session was
opened before; and that of permanent failures in a row."""


class TargetState:
    """The state of one target in a process: its workload, dialer, pacer of starts, and counts of
    sessions.
    """

    def __init__(self, label: str, workload: Workload, dialer: Dialer, pacer: StartPacer) -> None:
        self.label = label
        self.workload = workload
        self.dialer = dialer
        self.pacer = pacer
        self.opened = self._failed = 0
        self.connecting = 0
        """The number of sessions that have neither opened nor ended."""
        self._permanent = Counter[Limited]()
        """The numbers of permanent failures in a row. An open session may have turns, although the
        service takes no more calls, so each kind has its own row."""

    @property
    def is_hopeless(self) -> bool:
        return self._failed >= MAX_INITIAL_FAILURES and not self.opened

    @property
    def refused_for_good(self) -> Limited | None:
        """The kind of requests that the service refuses for a reason that no further call mends;
        None if there is none.
        """
        return next(
            (kind for kind, n in self._permanent.items() if n >= MAX_INITIAL_FAILURES), None
        )

    def session_opened(self, start_ns: int) -> None:
        """Count a session that the service has accepted. It may still be open."""
        self.opened += 1
        self.connecting -= 1
        self._permanent["connection"] = 0
        self.pacer.on_success("connection", start_ns)

    def count_session(self, session: SessionObservation, now_ns: int) -> bool:
        """Return whether an ended session failed to open, and count it; throttled ones do not
        make it hopeless.
        """
        opened = was_opened(session)
        throttled = is_throttled(session.outcome)
        failed = not opened and (
            outcome_class(session.outcome) == "failed" or is_own_limit(session.outcome)
        )
        self._failed += failed and not throttled
        # a session with turns is counted by them
        if not session.turns_started and is_permanent(session.outcome, session.causes):
            self._permanent["turn" if opened else "connection"] += 1
        if throttled and not opened:
            self.pacer.on_throttled("connection", session.start_ns, now_ns, session.retry_after_ns)
        return failed

    def turn_ended(self, turn: TurnObservation) -> None:
        """Pass the end of a turn to the pacer: turns and connections share the deployment's
        quota.
        """
        if is_throttled(turn.outcome):
            self.pacer.on_throttled(
                "turn", turn.start_ns, turn.instants["ended"], turn.retry_after_ns
            )
        elif outcome_class(turn.outcome) != "unfinished":
            if is_permanent(turn.outcome, turn.causes):
                self._permanent["turn"] += 1
            elif outcome_class(turn.outcome) == "success":
                self._permanent["turn"] = 0
            self.pacer.on_success("turn", turn.start_ns)


def was_opened(session: SessionObservation) -> bool:
    """Return whether the service accepted the session's settings."""
    return "session_updated" in session.instants


def target_states(plan: RunPlan, keyring: Keyring, slot: WorkerSlot) -> list[TargetState]:
    """Return the states of the run's targets here. Raise UsageError for a certificate that
    cannot be used.
    """
    return [
        TargetState(
            target.label,
            plan.workloads[target.label],
            Dialer(target, keyring),
            pacer_of(rate, slot),
        )
        for target, rate in zip(plan.targets, plan.connect_rates, strict=True)
    ]


def pacer_of(per_minute: float | None, slot: WorkerSlot) -> StartPacer:
    """Return the pacer of a worker's share of `per_minute` starts, if any. Those of all workers
    are evenly spaced.
    """
    if not per_minute or slot.workers == 1:
        return StartPacer(per_minute)
    return StartPacer(
        per_minute / slot.workers, slot.started_ns + int(slot.worker * 60 * NS_PER_S / per_minute)
    )


POLL_S = 0.25
"""The interval at which a waiting caller checks whether the run is ending or the caller must
leave."""


class RefusedCall(NamedTuple):
    """A refused call. `retry_after_ns` is the wait that the service requested; None if it
    requested none.
    """

    start_ns: int
    ended_ns: int
    retry_after_ns: int | None


def refusal_of(session: SessionObservation, now_ns: int, *, any_opened: bool) -> RefusedCall | None:
    """Return the refusal if the session, which has just ended, was refused; None if its caller need
    not wait.

    If a service opens a session but closes it before a turn has succeeded, this is a refusal, too.
    So is a call that a limit of this machine prevented.

    `any_opened` is True if any session with the target was opened. If it is False, the caller waits
    only if the service requests a wait: a few more refusals will end the run, and this should
    happen soon. So will permanent ones, after which no caller waits.
    """
    failed = outcome_class(session.outcome) == "failed" or is_own_limit(session.outcome)
    if not failed or session.turns_succeeded or session.outcome == OWN_FAULT:
        return None
    if is_permanent(session.outcome, session.causes):
        return None
    if is_throttled(session.outcome) or not (any_opened or session.retry_after_ns):
        return None
    return RefusedCall(session.start_ns, now_ns, session.retry_after_ns)


def due_ns(
    refusals: Iterable[RefusedCall],
    in_a_row: int,
    jitter: float,
    limits_ns: tuple[int, int] = (FIRST_WAIT_NS, MAX_WAIT_NS),
) -> int:
    """Return the instant at which a caller may call again, after `refusals` of calls that it
    started together.

    `in_a_row` is the number of refusals since the caller's last call that was not refused,
    including this refusal. `jitter` is a random number from 0 to 1, which determines the random
    part of the wait. `limits_ns` are the first and the longest wait.
    """
    first_ns, longest_ns = limits_ns
    wait_ns = min(first_ns << min(in_a_row - 1, longest_ns.bit_length()), longest_ns)
    jitter_ns = int(wait_ns // 2 * jitter)
    due = [refused.start_ns + wait_ns // 2 for refused in refusals]
    due += [
        refused.ended_ns + min(refused.retry_after_ns, MAX_HOLD_NS)
        for refused in refusals
        if refused.retry_after_ns
    ]
    return max(due) + jitter_ns


class _Refused(NamedTuple):
    """A caller whose last call was refused: its refusals in a row, and when it may call again."""

    caller: Caller  # referenced, so that no other object gets its identity
    in_a_row: int
    due_ns: int


class BackOff:
    """The waits after refusals, for the callers of one process.

    A wait begins at the start of the refused call: it limits the rate of refused calls, so a call
    that took ten seconds to fail needs no further wait. It ends before the user requests its next
    start, so that it is part of neither `start_delay` nor a session. Its random part (jitter)
    separates callers who were refused together.

    `draw` is a function that returns random numbers from 0 to 1. `waits` is called with True when a
    caller starts to wait, and with False when the wait ends. `ending` is a function that returns
    True if no call may start.
    """

    def __init__(
        self,
        draw: Callable[[], float],
        *,
        waits: Callable[[bool], None],
        ending: Callable[[], bool],
    ) -> None:
        self._draw = draw
        self._waits = waits
        self._ending = ending
        self._refused: dict[int, _Refused] = {}
        """The callers whose last call was refused, by identity, because users may define
        equality."""

    def on_call_ended(self, caller: Caller, refusals: Iterable[RefusedCall]) -> None:
        """Record which of the calls that a caller started together were refused, if any."""
        refused = list(refusals)
        if not refused:
            self._refused.pop(id(caller), None)
            return
        before = self._refused.get(id(caller))
        in_a_row = before.in_a_row + 1 if before else 1
        self._refused[id(caller)] = _Refused(
            caller, in_a_row, due_ns(refused, in_a_row, self._draw())
        )

    def wait(self, caller: Caller) -> bool:
        """Wait until a caller may call again. Return False if, before that, the run ends or the
        caller must leave.
        """
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
