"""Holds the arms of a run, which are compared: each a target, or a variant of one, with its state in this process.

Sessions of an arm start evenly, and not before its target has asked to be called again. After a refusal for a limit of
the service, and the wait for it, one session starts alone: the target is half-open, as of circuit breakers. Once it
gets through, others follow with a distance that every refusal doubles and that shrinks with all that gets through.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from bench.dial import Dialer
from bench.load.execution.pairs import WorkerSlot
from bench.load.planning.run_plan import RunPlan
from bench.load.planning.workload import Workload
from bench.metrics import is_throttled, outcome_class
from bench.observe.observation import SessionObservation, TurnObservation
from bench.target.tokens import Keyring
from bench.timeouts import LONGEST_HOLD_NS
from bench.units import NS_PER_S

FIRST_WAIT_NS, LONGEST_WAIT_NS = NS_PER_S, 60 * NS_PER_S
"""Waits where a service refuses for its limits and does not say for how long: each is twice the one before.

No wait is shorter than the first, whatever the service asks for. The distance of the starts after it grows alike.
"""

Limited = Literal["connection", "turn"]
"""What a service refuses for its limits."""


class StartPacer:
    """Paces `per_minute` starts, evenly spaced, for all users of a target in this process; None for no limit.

    `phase_ns`: an instant from which all starts are whole intervals away, so that processes take turns; None: any.
    """

    def __init__(self, per_minute: float | None, phase_ns: int | None = None) -> None:
        self.interval_ns = int(60 * NS_PER_S / per_minute) if per_minute else 0
        self._phase_ns = phase_ns
        self._next_ns = self._held_until_ns = self._held_ns = 0
        self._refused: Limited = "connection"
        """What the service refused last."""
        self._waits = self._distance_ns = 0
        self._half_open = False
        self._trial_ns: int | None = None
        """When the session started that is alone to try whether the service takes what it has refused."""

    def earliest_ns(self, now_ns: int) -> int:
        """The instant of the next possible start; `now_ns` where nothing stands against it."""
        return max(now_ns, self._next_ns, self._held_until_ns)

    def slot_ns(self, at_ns: int) -> int:
        """The first instant from `at_ns` on that keeps in step with the other processes."""
        if self._phase_ns is None or not self.interval_ns:
            return at_ns
        return at_ns + (self._phase_ns - at_ns) % self.interval_ns

    @property
    def on_trial(self) -> bool:
        """Whether nothing may start until a session that is under way has got through, or has ended."""
        return self._trial_ns is not None

    def take(self, start_ns: int) -> None:
        """Take the start at this instant; the next one is an interval later, where there is one."""
        self._keep_apart(start_ns)
        if self._half_open:
            self._trial_ns = start_ns

    def book(self, now_ns: int) -> int | None:
        """Take the next possible start, before all who wait for one, and say when it is; None while one is on trial."""
        if self.on_trial:
            return None
        start_ns = self.slot_ns(self.earliest_ns(now_ns))
        self._keep_apart(start_ns)
        return start_ns

    def is_due(self, booked_ns: int, now_ns: int) -> bool:
        """Whether a start that was booked may be made: the service may have asked for a wait since."""
        return now_ns >= max(booked_ns, self._held_until_ns)

    def _keep_apart(self, start_ns: int) -> None:
        if apart_ns := max(self.interval_ns, self._distance_ns):
            self._next_ns = start_ns + apart_ns

    def ended(self, start_ns: int) -> None:
        """Note the end of what started at this instant: if it was the trial and told nothing, the next start is one."""
        if start_ns == self._trial_ns:
            self._trial_ns = None

    def throttled(self, what: Limited, began_ns: int, now_ns: int, asked_ns: int | None) -> None:
        """Hold starts: what began at `began_ns` was refused at `now_ns` for a limit, with or without a wait."""
        first = began_ns >= self._held_until_ns  # not one of many that began before the first of them was refused
        if asked_ns is None and not first:
            return
        wait_ns = min(FIRST_WAIT_NS << self._waits, LONGEST_WAIT_NS) if asked_ns is None else asked_ns
        self._waits = min(self._waits + (asked_ns is None), 6)
        if first:
            self._distance_ns = min(max(FIRST_WAIT_NS, 2 * self._distance_ns), LONGEST_WAIT_NS)
        self._refused, self._half_open, self._trial_ns = what, True, None
        self.hold(now_ns + min(max(wait_ns, FIRST_WAIT_NS), LONGEST_HOLD_NS), now_ns)

    def passed(self, what: Limited, began_ns: int) -> None:
        """Let starts go on where what got through is of the kind that was refused, and began after the wait."""
        if what == self._refused and began_ns >= self._held_until_ns:
            self._waits, self._half_open, self._trial_ns = 0, False, None
            self._distance_ns = self._distance_ns * 9 // 10

    def hold(self, until_ns: int, now_ns: int) -> None:
        self._held_ns += max(0, until_ns - max(now_ns, self._held_until_ns))
        self._held_until_ns = max(self._held_until_ns, until_ns)

    def held_ns(self, now_ns: int) -> int:
        """The time for which nothing could start so far, by the service's word."""
        return self._held_ns - max(0, self._held_until_ns - now_ns)


def earliest_ns(pacers: Sequence[StartPacer], now_ns: int) -> int:
    """The instant of the next pair's start: a wait in one arm holds its partners, and the slowest arm paces all."""
    slowest = max(pacers, key=lambda pacer: pacer.interval_ns)
    return slowest.slot_ns(max(pacer.earliest_ns(now_ns) for pacer in pacers))


MAX_INITIAL_FAILURES = 10
"""Failed connects that end a run in which none has succeeded."""


class TargetState:
    """One target's running state in a process. `plays`: what is said there; `pacer`: when sessions may start."""

    def __init__(self, label: str, plays: Workload, dialer: Dialer, pacer: StartPacer) -> None:
        self.label, self.plays, self.dialer, self.pacer = label, plays, dialer, pacer
        self.opened = self._failed = 0

    @property
    def hopeless(self) -> bool:
        return self._failed >= MAX_INITIAL_FAILURES and not self.opened

    def note(self, session: SessionObservation, now_ns: int) -> bool:
        """Count a session that is over; returns whether it failed to open. Throttled ones make no arm hopeless."""
        opened, throttled = was_opened(session), is_throttled(session.outcome)
        failed = not opened and outcome_class(session.outcome) == "failed"
        self.opened += opened
        self._failed += failed and not throttled
        if throttled and not opened:
            self.pacer.throttled("connection", session.start_ns, now_ns, session.retry_after_ns)
        return failed

    def turn_ended(self, turn: TurnObservation) -> None:
        """Tell the pacer of a turn's end: its quota is the deployment's, so its wait holds other sessions, too."""
        if is_throttled(turn.outcome):
            self.pacer.throttled("turn", turn.start_ns, turn.instants["ended"], turn.retry_after_ns)
        elif outcome_class(turn.outcome) != "unfinished":
            self.pacer.passed("turn", turn.start_ns)


def was_opened(session: SessionObservation) -> bool:
    """Whether the service took the session's settings."""
    return "session_updated" in session.instants


def arms_of(plan: RunPlan, keyring: Keyring, slot: WorkerSlot) -> list[TargetState]:
    """The arms of a run in one of its processes. Raises UsageError for certificates that cannot be used."""
    return [
        TargetState(target.label, plan.plays[target.label], Dialer(target, keyring), pacer_of(rate, slot))
        for target, rate in zip(plan.targets, plan.connect_rates, strict=True)
    ]


def pacer_of(per_minute: float | None, slot: WorkerSlot) -> StartPacer:
    """Pace a worker's share of `per_minute` (None: no limit) so that starts are even over all workers, too."""
    if not per_minute or slot.workers == 1:
        return StartPacer(per_minute)
    return StartPacer(per_minute / slot.workers, slot.began_ns + int(slot.worker * 60 * NS_PER_S / per_minute))
