"""Lets pairs of sessions start one after another, each as soon as the pacers of all arms let it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import gevent
from gevent.lock import BoundedSemaphore

from bench.clock import monotonic_ns
from bench.load.playing.arm import Arm
from bench.load.playing.pacer import Pacer
from bench.load.playing.pairs import earliest_ns
from bench.transport.loop import LoopWatch
from bench.units import NS_PER_S

TRIAL_POLL_S = 0.05
TURN_S = 0.001
LONGEST_SLEEP_S = 0.5
"""The run may end meanwhile, or a service ask for a longer wait."""


class Start(NamedTuple):
    """A pair's start: when it was meant to be, and by which instant the pacers know it, which may be later."""

    intended_ns: int
    taken_ns: int


class Starts:
    """Lets the pairs of one process start one by one. `ending` says that none shall start any more."""

    def __init__(self, arms: Sequence[Arm], ending: Callable[[], bool]) -> None:
        self._arms, self._ending = arms, ending
        self._door = BoundedSemaphore()
        """Held by the pair that is the next to start."""
        self._due_ns = 0
        """The instant at which that pair may start."""
        self._polls = 0
        """How often the loop had polled when the last pair was let go."""

    def wait(self, asked_ns: int) -> Start | None:
        """Wait until a pair may start, in the order in which they come; None where the run ended meanwhile.

        It is meant to start when it was asked for, or as soon after that as the pacers let it: what it then waits for
        the pairs before it and for the processor is no intention.
        """
        with self._door:
            due_ns = monotonic_ns()
            while not self._ending():
                if any(pacer.on_trial for pacer in self._pacers):
                    gevent.sleep(TRIAL_POLL_S)
                    asked_ns = due_ns = monotonic_ns()
                    continue
                intended_ns, due_ns = earliest_ns(self._pacers, asked_ns), earliest_ns(self._pacers, due_ns)
                if self._taken(due_ns):
                    self._let_the_loop_turn()
                    return Start(intended_ns, due_ns)
        return None

    def _taken(self, due_ns: int) -> bool:
        """Take the start if it is due, else sleep for a while."""
        if due_ns > monotonic_ns():
            self._sleep_until(due_ns)
            return False
        for pacer in self._pacers:
            pacer.take(due_ns)
        return True

    def _let_the_loop_turn(self) -> None:
        """Wait until the loop has looked at its sockets since the last start: opening takes a millisecond or more."""
        watch = LoopWatch.of_hub()
        while watch.polls == self._polls:
            gevent.sleep(TURN_S)
        self._polls = watch.polls

    def _sleep_until(self, due_ns: int) -> None:
        self._due_ns = due_ns
        try:
            gevent.sleep(min(max(0, due_ns - monotonic_ns()) / NS_PER_S, LONGEST_SLEEP_S))
        finally:
            self._due_ns = 0

    def ended(self, start: Start) -> None:
        """Let the pacers know that all sessions of the pair that started so are over."""
        for pacer in self._pacers:
            pacer.ended(start.taken_ns)

    @property
    def _pacers(self) -> list[Pacer]:
        return [arm.pacer for arm in self._arms]

    @property
    def waiting_s(self) -> float:
        """The seconds for which the next start is still held back."""
        return max(0, self._due_ns - monotonic_ns()) / NS_PER_S
