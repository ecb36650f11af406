"""Hands calls that arrive to idle users, each at its instant; a call that finds none is blocked.

A user is a slot of the line: from the instant at which a call is handed to it until its sessions are over it takes no
other. Nobody queues: what a caller would hear is that the line is busy (a loss system, Erlang 1917).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol

import gevent
from gevent.event import AsyncResult

from bench.clock import monotonic_ns
from bench.units import NS_PER_S

LONGEST_SLEEP_S = 0.25
"""The run may end meanwhile, or a user be asked to leave."""


class IdleUser(Protocol):
    """A user who can take a call."""

    def is_leaving(self) -> bool:
        """Whether it is asked to go."""


class CallLine:
    """The line of one process. `instants_ns`: when calls arrive, by CLOCK_MONOTONIC, in order.

    `most`: so many calls are handed out at most, None for no limit. `arrived` is told of each call, and whether it is
    blocked; `ended` is called where no more may come; `ending` says that the run ends.
    """

    def __init__(
        self,
        instants_ns: Iterator[int],
        most: int | None,
        *,
        arrived: Callable[[bool], None],
        ended: Callable[[], None],
        ending: Callable[[], bool],
    ) -> None:
        self._instants_ns, self._left = instants_ns, most
        self._arrived, self._ended, self._ending = arrived, ended, ending
        self._idle: deque[tuple[IdleUser, AsyncResult]] = deque()
        self._early: deque[int] = deque()
        """Calls that arrived before all users were there, and wait for them."""
        self._staffed = False
        self._exhausted = False
        self._on_their_way = 0
        """Calls that were handed to users who have not woken up yet."""
        gevent.spawn(self._take_calls)
        gevent.spawn(self._see_off)

    def next_call(self, user: IdleUser) -> int | None:
        """Wait for a call, and return when it arrived; None where the run ends, or the user is to leave."""
        if self._ending() or user.is_leaving():
            return None
        if self._early:
            self._arrived(False)
            return self._early.popleft()
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
        """Whether no more calls will begin."""
        return self._exhausted and not self._early and not self._on_their_way

    def close(self) -> None:
        """Count the calls that still wait for users: the run is over."""
        while self._early:
            self._early.popleft()
            self._arrived(False)

    def all_users_are_there(self) -> None:
        """Block from now on calls that find nobody idle, as those are that came before and still wait."""
        self._staffed = True
        while self._early:
            self._early.popleft()
            self._block()
        self._ended()

    def _take_calls(self) -> None:
        for called_ns in self._instants_ns:
            if self._left == 0 or not self._wait_until(called_ns):
                break
            self._take(called_ns)
        self._exhausted = True
        self._ended()

    def _wait_until(self, called_ns: int) -> bool:
        """Wait for an instant; False where the run ends before it."""
        while not self._ending():
            left_ns = called_ns - monotonic_ns()
            if left_ns <= 0:
                return True
            gevent.sleep(min(left_ns / NS_PER_S, LONGEST_SLEEP_S))
        return False

    def _take(self, called_ns: int) -> None:
        if self._left is not None:
            self._left -= 1
        if self._idle:
            _, waiting = self._idle.popleft()
            self._arrived(False)
            self._on_their_way += 1
            waiting.set(called_ns)
        elif self._staffed:
            self._block()
        else:
            self._early.append(called_ns)

    def _block(self) -> None:
        if self._left is not None:
            self._left += 1
        self._arrived(True)

    def _see_off(self) -> None:
        """Let users go who are asked to, and all of them where the run ends."""
        while not self._ending():
            gevent.sleep(LONGEST_SLEEP_S)
            self._dismiss(lambda user: user.is_leaving())
        self._dismiss(lambda _: True)

    def _dismiss(self, goes: Callable[[IdleUser], bool]) -> None:
        for place in [place for place in self._idle if goes(place[0])]:
            self._idle.remove(place)
            place[1].set(None)
