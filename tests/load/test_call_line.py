"""A call that arrives goes to an idle user, or is blocked."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import gevent
import pytest
from gevent.queue import Queue

from bench.base.clock import monotonic_ns
from bench.base.units import NS_PER_MS
from bench.load.execution.start_scheduler import CallDispatcher
from bench.load.planning.tasks import Caller
from tests.simulator_process import GUARD_S


@dataclass
class Slot(Caller):
    """A user who takes calls."""

    leaving: bool = False

    def is_leaving(self) -> bool:
        return self.leaving


@dataclass
class Line:
    """A call dispatcher, and a record of its callbacks. Calls arrive when a test calls `arrive`."""

    most: float = math.inf
    blocked: list[bool] = field(default_factory=list)
    over: int = 0
    ending: bool = False

    def __post_init__(self) -> None:
        self._calls: Queue[int | None] = Queue()
        self.line = CallDispatcher(
            iter(self._calls.get, None),
            self.most,
            arrived=self.blocked.append,
            ended=self._ended,
            ending=lambda: self.ending,
        )

    def _ended(self) -> None:
        self.over += self.line.is_over

    def arrive(self, *calls_ns: int) -> None:
        """Let calls arrive, and let the dispatcher handle them."""
        for called_ns in calls_ns:
            self._calls.put(called_ns)
        gevent.idle()

    def hang_up(self) -> None:
        """Let the dispatcher learn that no more calls will arrive."""
        self._calls.put(None)
        gevent.idle()

    def users(self, count: int) -> list[gevent.Greenlet]:
        """Start this number of users. Each of them waits for a call."""
        users = [gevent.spawn(self.line.next_call, Slot()) for _ in range(count)]
        gevent.idle()
        return users


def calls_of(users: list[gevent.Greenlet]) -> list[int | None]:
    # joinall would count its own timeout from the last poll of the loop
    with gevent.Timeout(GUARD_S):
        gevent.joinall(users, raise_error=True)
    return [user.value for user in users]


def test_calls_are_assigned_to_idle_users_in_order() -> None:
    line = Line()
    users = line.users(2)
    line.arrive(5, 6)

    assert calls_of(users) == [5, 6]
    assert line.blocked == [False, False]


def test_a_call_is_assigned_at_its_arrival() -> None:
    line = Line()
    users = line.users(1)
    called_ns = monotonic_ns() + 20 * NS_PER_MS
    line.arrive(called_ns)

    assert calls_of(users) == [called_ns]
    assert monotonic_ns() >= called_ns


def test_a_call_without_an_idle_user_is_blocked_for_good() -> None:
    line = Line()
    users = line.users(1)
    line.line.expect_users(1)
    line.arrive(1, 2, 3)
    later = line.users(1)
    line.ending = True

    assert calls_of(users) == [1]
    assert line.blocked == [False, True, True]
    assert calls_of(later) == [None]


def test_calls_wait_until_the_number_of_users_is_known() -> None:
    line = Line()
    line.arrive(1, 2, 3)
    line.hang_up()
    assert line.blocked == []
    assert calls_of(line.users(1)) == [1]
    line.line.expect_users(1)

    assert line.blocked == [False, True, True]
    assert line.over == 1


def test_calls_wait_for_expected_users() -> None:
    line = Line()
    line.line.expect_users(2)
    line.arrive(1)
    assert line.blocked == []
    users = line.users(1)
    line.arrive(2, 3)
    assert line.blocked == [False]
    users += line.users(1)

    assert calls_of(users) == [1, 2]
    assert line.blocked == [False, False, True]


def test_a_blocked_call_does_not_reduce_the_remaining_sessions() -> None:
    line = Line(most=2)
    line.line.expect_users(0)
    line.arrive(1)
    users = line.users(3)
    line.arrive(2, 3, 4)
    line.ending = True

    assert calls_of(users) == [2, 3, None]
    assert line.blocked == [True, False, False]


@pytest.mark.parametrize("leaves", [True, False], ids=["user", "run"])
def test_an_idle_user_is_released_if_it_must_stop_or_the_run_ends(leaves: bool) -> None:
    line, slot = Line(), Slot()
    user = gevent.spawn(line.line.next_call, slot)
    gevent.idle()
    slot.leaving, line.ending = leaves, not leaves

    assert calls_of([user]) == [None]


def test_a_killed_user_does_not_receive_a_call() -> None:
    line = Line()
    (killed,) = line.users(1)
    killed.kill()
    users = line.users(1)
    line.arrive(1)

    assert calls_of(users) == [1]


@dataclass(eq=False)
class Incomparable(Slot):
    """A user whose equality is not a bool, as that of an array is not."""

    def __eq__(self, other: object) -> bool:
        raise ValueError("the truth value is ambiguous")


def test_users_are_compared_by_identity() -> None:
    line = Line()
    users = [gevent.spawn(line.line.next_call, Incomparable()) for _ in range(3)]
    gevent.idle()
    users[1].kill()
    users[2].kill()
    line.arrive(7, 8)

    assert calls_of(users[:1]) == [7]
    assert line.blocked == [False]
