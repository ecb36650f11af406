"""Says when a pair of sessions starts: once a call for it has arrived, where calls do, and as all pacers let it.

Calls that arrive are handed to idle users, each at its instant; a call that finds none is blocked. A user takes no
other call until its sessions are over. Calls do not queue: the line is busy (a loss system, Erlang 1917).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import gevent
from gevent.event import AsyncResult
from gevent.lock import BoundedSemaphore

from bench.clock import monotonic_ns
from bench.load.execution.target_state import StartPacer, TargetState, earliest_ns
from bench.load.planning.tasks import Caller
from bench.transport.event_loop import LoopMonitor
from bench.units import NS_PER_S

TRIAL_POLL_S = 0.05
TURN_S = 0.001
LONGEST_SLEEP_S, IDLE_SLEEP_S = 0.5, 0.25
"""The run may end meanwhile, a service ask for a longer wait, or an idle user be asked to leave."""


class PairStart(NamedTuple):
    """A pair's start: when it was meant to be, and by which instant the pacers know it, which may be later."""

    intended_ns: int
    taken_ns: int


class StartScheduler:
    """Lets the pairs of one process start one by one. `ending` says that none shall start any more."""

    def __init__(self, arms: Sequence[TargetState], ending: Callable[[], bool]) -> None:
        self._arms, self._ending = arms, ending
        self._door = BoundedSemaphore()
        """Held by the pair that is the next to start."""
        self._due_ns = 0
        """The instant at which that pair may start."""
        self._polls = 0
        """How often the loop had polled when the last pair was let go."""

    def wait(self, asked_ns: int) -> PairStart | None:
        """Wait until a pair may start, in the order in which they come; None where the run ended meanwhile.

        It is meant to start when it was asked for, or as soon after that as the pacers let it.
        """
        # one by one: who comes next asks pacers that know of this start
        with self._door:
            due_ns = monotonic_ns()
            while not self._ending():
                if any(pacer.on_trial for pacer in self._pacers):
                    gevent.sleep(TRIAL_POLL_S)
                    asked_ns = due_ns = monotonic_ns()
                    continue
                intended_ns, due_ns = earliest_ns(self._pacers, asked_ns), earliest_ns(self._pacers, due_ns)
                if due_ns > monotonic_ns():
                    self._due_ns = due_ns
                    try:
                        gevent.sleep(min(max(0, due_ns - monotonic_ns()) / NS_PER_S, LONGEST_SLEEP_S))
                    finally:
                        self._due_ns = 0
                    continue
                for pacer in self._pacers:
                    pacer.take(due_ns)
                self._let_the_loop_turn()
                return PairStart(intended_ns, due_ns)
        return None

    def _let_the_loop_turn(self) -> None:
        """Wait until the loop has looked at its sockets since the last start: opening takes a millisecond or more."""
        watch = LoopMonitor.of_hub()
        while watch.polls == self._polls:
            gevent.sleep(TURN_S)
        self._polls = watch.polls

    def ended(self, start: PairStart) -> None:
        """Let the pacers know that all sessions of the pair that started so are over."""
        for pacer in self._pacers:
            pacer.ended(start.taken_ns)

    @property
    def _pacers(self) -> list[StartPacer]:
        return [arm.pacer for arm in self._arms]

    @property
    def waiting_s(self) -> float:
        return max(0, self._due_ns - monotonic_ns()) / NS_PER_S


class CallDispatcher:
    """The line of one process. `instants_ns`: when calls arrive, by CLOCK_MONOTONIC, in order.

    `most`: so many calls are handed out at most. `arrived` is told of each call, and whether it is
    blocked; `ended` is called where no more may come; `ending` says that the run ends.
    """

    def __init__(
        self,
        instants_ns: Iterator[int],
        most: float,
        *,
        arrived: Callable[[bool], None],
        ended: Callable[[], None],
        ending: Callable[[], bool],
    ) -> None:
        self._instants_ns, self._left = instants_ns, most
        self._arrived, self._ended, self._ending = arrived, ended, ending
        self._idle: deque[tuple[Caller, AsyncResult]] = deque()
        self._early: deque[int] = deque()
        """Calls that arrived before all users had come, and wait for them."""
        self._came: dict[int, Caller] = {}
        """Users by their identity: what else makes two of them equal is theirs to say."""
        self._users = math.inf
        """How many there are, once that is known."""
        self._exhausted = False
        self._on_their_way = 0
        """Calls that were handed to users who have not woken up yet."""
        gevent.spawn(self._take_calls)
        gevent.spawn(self._see_off)

    def next_call(self, user: Caller) -> int | None:
        """Wait for a call, and return when it arrived; None where the run ends, or the user is to leave."""
        if self._ending() or user.is_leaving():
            return None
        self._came[id(user)] = user
        if self._early:
            self._arrived(False)
            early_ns = self._early.popleft()
            self._block_early()
            return early_ns
        place = user, AsyncResult()
        self._idle.append(place)
        try:
            called_ns: int | None = place[1].get()
        finally:
            if place in self._idle:  # the user was killed
                self._idle.remove(place)
            elif place[1].value is not None:
                self._on_their_way -= 1
        return called_ns

    @property
    def is_over(self) -> bool:
        return self._exhausted and not self._early and not self._on_their_way

    def close(self) -> None:
        """Count the calls that still wait for users: the run is over."""
        while self._early:
            self._early.popleft()
            self._arrived(False)

    def expect_users(self, count: int) -> None:
        """Block calls that find no idle user, and those that wait already, once this many users have come.

        Before that no call is blocked: a user who was made but has not run yet, on a busy machine, is a free slot.
        """
        self._users = count
        self._block_early()
        self._ended()

    @property
    def _is_staffed(self) -> bool:
        return len(self._came) >= self._users

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
                _, waiting = self._idle.popleft()  # the user who has been idle longest
                self._arrived(False)
                self._on_their_way += 1
                waiting.set(called_ns)
            elif self._is_staffed:
                self._block()
            else:
                self._early.append(called_ns)
        self._exhausted = True
        self._ended()

    def _wait_until(self, called_ns: int) -> bool:
        """Wait for an instant; False where the run ends before it."""
        while not self._ending():
            left_ns = called_ns - monotonic_ns()
            if left_ns <= 0:
                return True
            gevent.sleep(min(left_ns / NS_PER_S, IDLE_SLEEP_S))
        return False

    def _block(self) -> None:
        self._left += 1  # nobody plays it, so it is none of the sessions that were asked for
        self._arrived(True)

    def _see_off(self) -> None:
        """Let users go who are asked to, and all of them where the run ends."""
        ending = False
        while not ending:
            gevent.sleep(IDLE_SLEEP_S)
            ending = self._ending()
            for place in [place for place in self._idle if ending or place[0].is_leaving()]:
                self._idle.remove(place)
                place[1].set(None)
