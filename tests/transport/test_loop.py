"""What the event loop's polls prove about an empty socket."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.transport import loop
from bench.transport.loop import ACCOUNT_NS, EVENTS, LoopWatch
from tests.examples import thorough

PREVIOUS, BEGIN, ASLEEP = 700, 900, 960
"""When the poll before the last one began, when the last one did, and an instant at which that still slept."""
STAMP = 990


def watch_after(polls: int, *, quiet: bool, asleep_ns: int = 0) -> LoopWatch:
    watch = LoopWatch()
    watch.polls, watch.quiet, watch._still_asleep_ns = polls, quiet, asleep_ns
    watch.poll_begin_ns, watch.previous_poll_begin_ns = BEGIN, PREVIOUS
    return watch


@pytest.mark.parametrize(
    ("polls", "quiet", "asleep", "stamp", "empty"),
    [
        (6, False, 0, STAMP, 0),  # the first poll since the socket is watched
        (6, True, ASLEEP, STAMP, 0),  # when it was asked whether all is quiet, the socket was not among them
        (7, False, 0, STAMP, PREVIOUS),
        (7, False, ASLEEP, STAMP, PREVIOUS),
        (7, True, 0, STAMP, BEGIN),
        (7, True, ASLEEP, STAMP, ASLEEP),
        (7, True, ASLEEP, 950, BEGIN),
        (7, True, ASLEEP, 800, PREVIOUS),
        (7, True, ASLEEP, 600, 0),
    ],
)
def test_the_latest_instant_at_which_the_socket_was_surely_empty(
    polls: int, quiet: bool, asleep: int, stamp: int, empty: int
) -> None:
    watch = watch_after(polls, quiet=quiet, asleep_ns=asleep)

    assert watch.empty_ns(5, stamp) == empty


class Machine:
    """A clock, a socket and a process that may lose its core whenever it has read or asked something."""

    def __init__(self, losses_ns: list[int], arrivals_ns: list[int], stopped: set[int]) -> None:
        self.now_ns, self.awake_ns, self.switches = 10**9, 10**8, 0
        self._losses_ns, self._stopped, self._asked = losses_ns, stopped, 0
        self.unread_ns = [self.now_ns + at_ns for at_ns in sorted(arrivals_ns)]

    def pass_time(self, *, stoppable: bool = True) -> None:
        """Lose the core for a while, or be stopped."""
        loss_ns = self._losses_ns[self._asked % len(self._losses_ns)]
        self.now_ns += loss_ns
        self.switches += loss_ns > 0
        if not (stoppable and self._asked in self._stopped):
            self.awake_ns += loss_ns
        self._asked += 1

    def clock(self) -> int:
        now_ns = self.now_ns
        self.pass_time()
        return now_ns

    def ready(self) -> bool:
        return bool(self.unread_ns) and self.unread_ns[0] <= self.now_ns

    def nothing_ready(self, _: int) -> bool:
        quiet = not self.ready()
        self.pass_time(stoppable=False)
        return quiet

    def thread_use(self, _: int) -> tuple[int, int]:
        use = self.switches, self.awake_ns
        self.pass_time(stoppable=False)
        return use

    def poll(self, timer_ns: int) -> bool:
        """Whether the socket is readable, once it is or a time is over."""
        if not self.ready():
            self.switches += 1
            self.now_ns = min(self.now_ns + timer_ns, *self.unread_ns[:1])
        readable = self.ready()
        self.pass_time()
        return readable

    def read(self) -> list[int]:
        """When what is in the socket arrived."""
        came = [at_ns for at_ns in self.unread_ns if at_ns <= self.now_ns]
        del self.unread_ns[: len(came)]
        self.pass_time()
        return came


LOSSES_NS = st.sampled_from([0, 0, 0, 50, 5_000, 40_000, 3_000_000, 200_000_000])


@thorough
@given(
    losses_ns=st.lists(LOSSES_NS, min_size=1, max_size=60),
    gaps_ns=st.lists(st.integers(1, 30_000_000), min_size=1, max_size=30),
    stopped=st.sets(st.integers(0, 300), max_size=4),
)
def test_no_socket_is_called_empty_at_an_instant_at_which_something_was_in_it(
    losses_ns: list[int], gaps_ns: list[int], stopped: set[int]
) -> None:
    """However long the process is without its core, and wherever that falls."""
    machine = Machine(losses_ns, [sum(gaps_ns[: place + 1]) for place in range(len(gaps_ns))], stopped)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(loop, "monotonic_ns", machine.clock)
        patched.setattr(loop, "nothing_ready", machine.nothing_ready)
        patched.setattr(loop, "thread_use", machine.thread_use)
        drained_ns = machine.now_ns
        watch = LoopWatch()
        try:
            polls = watch.polls
            while machine.unread_ns:
                machine.pass_time()
                watch._before_poll()
                readable = machine.poll(10_000_000)
                watch._after_poll()
                if not readable:
                    continue
                before_ns = machine.clock()
                came = machine.read()
                assert max(drained_ns, watch.empty_ns(polls, came[-1])) <= came[0]
                drained_ns = before_ns
        finally:
            watch.close()


def test_a_poll_that_takes_as_many_events_as_it_has_room_for_may_have_left_sockets_out() -> None:
    watch = LoopWatch()
    real: Any = watch._loop
    begun = []
    for pending in (EVENTS - 1, EVENTS, 0):
        watch._loop = SimpleNamespace(pendingcnt=pending, fileno=real.fileno)
        watch._before_poll()
        watch._after_poll()
        begun.append((watch.poll_begin_ns, watch.previous_poll_begin_ns))

    (first_ns, _), (_, before_second_ns), (_, before_third_ns) = begun
    assert (before_second_ns, before_third_ns) == (first_ns, 0)


def use(monkeypatch: pytest.MonkeyPatch, *told: tuple[int, int]) -> LoopWatch:
    """A watch whose poll began quietly, of a process that the kernel says this of when it begins and later."""
    uses = iter(told)
    monkeypatch.setattr(loop, "nothing_ready", lambda epoll: True)
    monkeypatch.setattr(loop, "thread_use", lambda schedstat: next(uses))
    watch = LoopWatch()
    for _ in range(2):
        watch._before_poll()
        watch._after_poll()
    monkeypatch.setattr(loop, "monotonic_ns", lambda: watch.poll_begin_ns + 10**7)
    return watch


@pytest.mark.parametrize(
    ("later", "slept_ns"),
    [
        ((8, 6_000), 10**7 - 1_000 - ACCOUNT_NS),
        ((7, 6_000), 0),  # it found something at once
        ((9, 6_000), 0),  # it has slept for something else as well, or was stopped
        ((8, 0), 0),  # the kernel does not say
    ],
)
def test_a_poll_has_slept_for_all_the_time_that_the_process_was_not_awake(
    monkeypatch: pytest.MonkeyPatch, later: tuple[int, int], slept_ns: int
) -> None:
    watch = use(monkeypatch, (7, 5_000), (7, 5_000), later)

    assert watch.empty_ns(0, 1 << 62) == watch.poll_begin_ns + slept_ns


def test_greenlets_run_before_the_poll_begins_and_not_within_it() -> None:
    """What they do would else be taken for sleep."""
    watch = LoopWatch.of_hub()
    begun = watch.poll_begin_ns
    ran: list[int] = []
    gevent.get_hub().loop.run_callback(lambda: ran.append(watch.poll_begin_ns))
    gevent.sleep(0.001)

    assert ran == [begun]
    assert watch.poll_begin_ns > begun


def test_polls_are_counted_and_one_of_an_idle_loop_begins_quietly() -> None:
    watch = LoopWatch.of_hub()
    before = watch.polls
    seen: list[bool] = []
    for _ in range(50):  # one is enough; a timer may be due when a poll begins
        gevent.sleep(0.001)
        seen.append(watch.quiet)

    assert watch.polls >= before + 50
    assert watch.previous_poll_begin_ns <= watch.poll_begin_ns <= watch.poll_end_ns
    assert any(seen)


def test_there_is_one_watch_for_a_hub() -> None:
    hub: Any = gevent.get_hub()

    assert LoopWatch.of_hub() is LoopWatch.of_hub() is hub.rtbench_loop_watch


def test_a_forked_process_has_a_watch_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    inherited = LoopWatch.of_hub()
    inherited.process += 1

    assert LoopWatch.of_hub() is not inherited
