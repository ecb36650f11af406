"""The start of a pair of sessions. A pair starts when the pacers of all its targets allow it.

In an open loop, a pair also needs a call. At the instant at which a call arrives, an idle user
takes it. If no user is idle, the call is blocked. A user takes its next call only when its sessions
have ended. Calls do not queue (a loss system, Erlang 1917).
"""

# `StartScheduler` answers when a pair may start, and `CallDispatcher` which user takes a call. A
# closed loop has only the first. In an open loop the instants of calls are fixed before the run, so
# a slow service cannot slow down the load: a call that finds no idle user is counted as blocked,
# and is not started later. The delay from its arrival to its start is measured (`start_delay`).
#
# While Locust still creates users, a call without an idle user would be blocked although its slot
# exists. Such calls wait in `_early` until all users have come.

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import gevent
from gevent.event import AsyncResult
from gevent.lock import BoundedSemaphore

from bench.base.clock import monotonic_ns
from bench.base.units import NS_PER_S
from bench.load.execution.target_state import StartPacer, TargetState, earliest_ns
from bench.load.planning.tasks import Caller
from bench.transport.loop_monitor import LoopMonitor

PROBE_POLL_S = 0.05
TURN_S = 0.001
MAX_SLEEP_S = 0.5
IDLE_SLEEP_S = 0.25
"""The longest sleeps of a waiting pair and of idle users: meanwhile, the run may end, or the
wait may change."""


class PairStart(NamedTuple):
    """The start of a pair: the intended instant, and the instant that the pacers have recorded,
    which may be later.
    """

    intended_ns: int
    taken_ns: int


class StartScheduler:
    """A scheduler that starts the pairs of one process one by one. `ending` returns True if no
    more may start.
    """

    def __init__(self, target_states: Sequence[TargetState], ending: Callable[[], bool]) -> None:
        self._target_states = target_states
        self._ending = ending
        self._start_lock = BoundedSemaphore()
        """A lock. The pair that starts next holds it until it has started."""
        self._due_ns = 0
        """The instant at which the next pair may start; 0 if no pair waits for such an instant."""
        self._polls = 0
        """The number of times that the event loop had polled its sockets when the last pair
        started."""

    def acquire(
        self, requested_ns: int, is_leaving: Callable[[], bool] | None = None
    ) -> PairStart | None:
        """Wait until a pair may start, and return its start. Return None if the run ends, or its
        caller leaves, before.

        Pairs start in the order of their requests. `requested_ns` is the requested instant. The
        intended start is the first instant, at `requested_ns` or later, that the pacers allow.
        """
        # One by one, so that the pacers know this start before the next pair requests one.
        with self._start_lock:
            due_ns = monotonic_ns()
            while not (self._ending() or (is_leaving and is_leaving())):
                if any(pacer.is_probing for pacer in self._pacers):
                    gevent.sleep(PROBE_POLL_S)
                    requested_ns = due_ns = monotonic_ns()
                    continue
                intended_ns = earliest_ns(self._pacers, requested_ns)
                due_ns = earliest_ns(self._pacers, due_ns)
                if due_ns > monotonic_ns():
                    self._due_ns = due_ns
                    try:
                        gevent.sleep(min(max(0, due_ns - monotonic_ns()) / NS_PER_S, MAX_SLEEP_S))
                    finally:
                        self._due_ns = 0
                    continue
                for pacer in self._pacers:
                    pacer.acquire(due_ns)
                self._yield_to_loop()
                return PairStart(intended_ns, due_ns)
        return None

    def _yield_to_loop(self) -> None:
        """Let the event loop poll its sockets: it polls none while a session is opened (a
        millisecond or more).
        """
        watch = LoopMonitor.of_hub()
        while watch.polls == self._polls:
            gevent.sleep(TURN_S)
        self._polls = watch.polls

    def ended(self, start: PairStart) -> None:
        """Report to the pacers that all sessions of the pair with this start have ended."""
        for pacer in self._pacers:
            pacer.ended(start.taken_ns)

    @property
    def _pacers(self) -> list[StartPacer]:
        return [state.pacer for state in self._target_states]

    @property
    def waiting_s(self) -> float:
        return max(0, self._due_ns - monotonic_ns()) / NS_PER_S


@dataclass(eq=False, slots=True)
class IdleUser:
    """A user that waits for a call, and the result that it waits for. It is compared by
    identity, as users are.
    """

    user: Caller
    call: AsyncResult = field(default_factory=AsyncResult)


class CallDispatcher:
    """A dispatcher that distributes the calls of one process to its users.

    `instants_ns` are the instants at which calls arrive, on CLOCK_MONOTONIC, in increasing order.
    `max_calls` is the maximum number of calls to distribute. `arrived` is called for each call,
    with True if the call is blocked. `ended` is called when no more calls can arrive. `ending` is a
    function that returns True if the run is ending.
    """

    def __init__(
        self,
        instants_ns: Iterator[int],
        max_calls: float,
        *,
        arrived: Callable[[bool], None],
        ended: Callable[[], None],
        ending: Callable[[], bool],
    ) -> None:
        self._instants_ns = instants_ns
        self._left = max_calls
        self._arrived = arrived
        self._ended = ended
        self._ending = ending
        self._idle: deque[IdleUser] = deque()
        self._early: deque[int] = deque()
        """Calls that arrived before all users were ready, and that wait for a user."""
        self._arrived_users: dict[int, Caller] = {}
        """The users that are ready, by identity. They are not compared, because users may define
        equality."""
        self._users = math.inf
        """The number of users; infinite as long as it is unknown."""
        self._exhausted = False
        self._calls_handed_out = 0
        """The number of calls that were given to a user whose greenlet has not continued yet."""
        gevent.spawn(self._take_calls)
        gevent.spawn(self._dismiss)

    def next_call(self, user: Caller) -> int | None:
        """Wait for a call. Return the instant at which it arrived; None if the run ends or the
        user must leave.
        """
        if self._ending() or user.is_leaving():
            return None
        self._arrived_users[id(user)] = user
        if self._early:
            self._arrived(False)
            early_ns = self._early.popleft()
            self._block_early()
            return early_ns
        waiter = IdleUser(user)
        self._idle.append(waiter)
        try:
            called_ns: int | None = waiter.call.get()
        finally:
            if waiter in self._idle:  # the user was killed
                self._idle.remove(waiter)
            elif waiter.call.value is not None:
                self._calls_handed_out -= 1
        return called_ns

    @property
    def is_over(self) -> bool:
        return self._exhausted and not self._early and not self._calls_handed_out

    def close(self) -> None:
        """Count the calls that still wait for a user as not blocked. Call this when the run has
        ended.
        """
        while self._early:
            self._early.popleft()
            self._arrived(False)

    def expect_users(self, count: int) -> None:
        """Set the number of users. When they are ready, block waiting calls; from then on, a call
        without an idle user.

        Before that, no call is blocked: the greenlet of a user, who is a free slot, may not run
        yet.
        """
        self._users = count
        self._block_early()
        self._ended()

    @property
    def _is_staffed(self) -> bool:
        return len(self._arrived_users) >= self._users

    def _block_early(self) -> None:
        while self._early and self._is_staffed:
            self._early.popleft()
            self._block()

    def _take_calls(self) -> None:
        for called_ns in self._instants_ns:
            if self._left == 0 or not self._wait_until(called_ns):
                break
            self._left -= 1
            if self._idle:
                waiter = self._idle.popleft()  # the user who has been idle longest
                self._arrived(False)
                self._calls_handed_out += 1
                waiter.call.set(called_ns)
            elif self._is_staffed:
                self._block()
            else:
                self._early.append(called_ns)
        self._exhausted = True
        self._ended()

    def _wait_until(self, called_ns: int) -> bool:
        """Wait until an instant. Return False if the run ends before it."""
        while not self._ending():
            left_ns = called_ns - monotonic_ns()
            if left_ns <= 0:
                return True
            gevent.sleep(min(left_ns / NS_PER_S, IDLE_SLEEP_S))
        return False

    def _block(self) -> None:
        self._left += 1  # a blocked call is not one of the requested sessions
        self._arrived(True)

    def _dismiss(self) -> None:
        """Release idle users that must leave. When the run ends, release all idle users."""
        ending = False
        while not ending:
            gevent.sleep(IDLE_SLEEP_S)
            ending = self._ending()
            for waiter in [waiter for waiter in self._idle if ending or waiter.user.is_leaving()]:
                self._idle.remove(waiter)
                waiter.call.set(None)
