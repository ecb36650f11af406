"""The event loop checks its sockets, and so proves that a socket was empty at an instant."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import gevent
import pytest
from gevent import monkey
from gevent.event import Event
from hypothesis import example, given
from hypothesis import strategies as st

from bench.base.clock import monotonic_ns
from bench.transport import _loop_interpreted, event_loop, loop_monitor
from bench.transport.event_loop import MIN_PASS_INTERVAL_NS, READABLE, CallbackScheduler
from bench.transport.loop_monitor import ACCOUNT_NS, NO_SNAPSHOT, LoopMonitor, PollSnapshot
from tests.examples import thorough
from tests.helpers import MS
from tests.simulator_process import GUARD_S

FD, OTHER = 5, 6
SET_AT = 3
"""The number of polls that ended before the loop began to watch the socket.

From the fourth poll on, a poll includes the socket.
"""


def watch_after(
    *snapshots: PollSnapshot, found: dict[int, PollSnapshot] | None = None
) -> LoopMonitor:
    watch = LoopMonitor()
    watch._snapshot_before, watch._snapshot = snapshots
    watch._found = found or {}
    return watch


@pytest.mark.parametrize(
    ("before", "last", "found", "timestamp", "empty"),
    [
        # both snapshots are older than the socket's registration
        (PollSnapshot(100, 3), PollSnapshot(200, 3), None, 250, 0),
        (PollSnapshot(100, 3), PollSnapshot(200, 4), None, 250, 200),
        (PollSnapshot(100, 4), PollSnapshot(200, 4), None, 250, 200),
        # the kernel timestamps data before the data are in the socket
        (PollSnapshot(100, 4), PollSnapshot(200, 4), None, 150, 100),
        (PollSnapshot(100, 3), PollSnapshot(200, 4), None, 150, 0),
        (PollSnapshot(100, 4), PollSnapshot(200, 4), None, 50, 0),
        (PollSnapshot(100, 4), NO_SNAPSHOT, None, 250, 100),
        (
            PollSnapshot(100, 4),
            PollSnapshot(200, 4),
            PollSnapshot(40, 4),
            250,
            40,
        ),  # a later check has found data in the socket
        (PollSnapshot(100, 4), PollSnapshot(200, 4), PollSnapshot(40, 3), 250, 0),
        (PollSnapshot(100, 4), PollSnapshot(200, 4), NO_SNAPSHOT, 250, 0),
    ],
)
def test_empty_ns_is_the_latest_instant_at_which_the_socket_was_certainly_empty(
    before: PollSnapshot, last: PollSnapshot, found: PollSnapshot | None, timestamp: int, empty: int
) -> None:
    watch = watch_after(before, last, found={} if found is None else {FD: found})

    assert watch.empty_ns(FD, SET_AT, timestamp) == empty
    assert watch.empty_ns(OTHER, 9, timestamp) == 0


def test_a_socket_found_readable_was_last_empty_at_the_snapshot_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = iter(([], [FD], [FD, OTHER], [OTHER], None, [FD]))
    clock = iter(range(100, 1_000, 100))
    watch = LoopMonitor()
    monkeypatch.setattr(loop_monitor, "readable", lambda epoll: next(found))
    monkeypatch.setattr(loop_monitor, "monotonic_ns", lambda: next(clock))
    for _ in range(3):
        watch.check()

    assert watch.empty_ns(FD, -1, 1_000) == 100
    watch.check()
    assert watch.empty_ns(FD, -1, 1_000) == 400
    assert watch.empty_ns(OTHER, -1, 1_000) == 200
    watch.check()  # more sockets were ready than the check had room for
    watch.check()
    assert watch.empty_ns(FD, -1, 1_000) == 0
    assert watch.empty_ns(OTHER, -1, 1_000) == 600


def test_a_socket_that_is_registered_again_ignores_earlier_snapshots(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Between the two registrations, the poller may have read data that an earlier check had
    found.
    """
    found = iter(([], [FD], []))
    clock = iter(range(100, 1_000, 100))
    watch = LoopMonitor()
    monkeypatch.setattr(loop_monitor, "readable", lambda epoll: next(found))
    monkeypatch.setattr(loop_monitor, "monotonic_ns", lambda: next(clock))
    watch.check()
    watch.check()

    polls = watch.start(FD)
    watch.polls += 1
    watch.check()
    assert watch.empty_ns(FD, polls, 1_000) == 300


@pytest.mark.parametrize("readable", [loop_monitor.readable, _loop_interpreted.readable])  # type: ignore[attr-defined]
def test_readable_returns_the_readable_files_of_an_epoll_set(
    readable: Callable[[int], list[int] | None],
) -> None:
    with ExitStack() as stack:
        epoll = stack.enter_context(monkey.get_original("select", "epoll")())
        pairs = [tuple(map(stack.enter_context, socket.socketpair())) for _ in range(2)]
        for ours, _ in pairs:
            epoll.register(ours, READABLE)
        assert readable(epoll.fileno()) == []
        pairs[1][1].sendall(b"x")
        assert readable(epoll.fileno()) == readable(epoll.fileno()) == [pairs[1][0].fileno()]
        pairs[0][1].close()
        assert sorted(readable(epoll.fileno()) or []) == sorted(ours.fileno() for ours, _ in pairs)
        pairs[1][0].recv(1)
        epoll.modify(pairs[1][0], 4)  # 4 is EPOLLOUT
        assert sorted(readable(epoll.fileno()) or []) == [-1, pairs[0][0].fileno()]


class Machine:
    """A clock, sockets, and a process. The process may lose its core after each read and after
    each system call.
    """

    def __init__(
        self, losses_ns: list[int], arrivals_ns: dict[int, list[int]], stopped: set[int]
    ) -> None:
        self.now_ns, self.awake_ns, self.switches = 10**9, 10**8, 0
        self._losses_ns, self._stopped, self._asked = losses_ns, stopped, 0
        self.stoppable = True
        """False between a check and the next poll.

        No stop may occur then, because the uncertainty does not allow for it.
        """
        self.unread_ns = {
            fd: [self.now_ns + at_ns for at_ns in sorted(come)] for fd, come in arrivals_ns.items()
        }
        self.watched = set(arrivals_ns)
        """The sockets that the loop watches. The poller reads all other sockets."""

    def pass_time(self) -> None:
        """Let the process lose its core for a while, or let a signal stop the process."""
        loss_ns = self._losses_ns[self._asked % len(self._losses_ns)]
        self.now_ns += loss_ns
        self.switches += loss_ns > 0
        if not (self.stoppable and self._asked in self._stopped):
            self.awake_ns += loss_ns
        self._asked += 1

    def clock(self) -> int:
        now_ns = self.now_ns
        self.pass_time()
        return now_ns

    def ready(self) -> list[int]:
        return [
            fd for fd in self.watched if self.unread_ns[fd] and self.unread_ns[fd][0] <= self.now_ns
        ]

    def readable(self, _: int) -> list[int]:
        found = self.ready()
        self.pass_time()
        return found

    def thread_use(self, _: int) -> tuple[int, int]:
        use = self.switches, self.awake_ns
        self.pass_time()
        return use

    def poll(self, timer_ns: int) -> list[int]:
        """Return the readable sockets. Wait until there is one, but at most for `timer_ns`."""
        if not self.ready():
            self.switches += 1
            nexts_ns = (self.unread_ns[fd][0] for fd in self.watched if self.unread_ns[fd])
            self.now_ns = min([self.now_ns + timer_ns, *nexts_ns])
        found = self.ready()
        self.pass_time()
        return found

    def read(self, fd: int) -> list[int]:
        """Read a socket, and return the arrivals of the data that it contained."""
        came = [at_ns for at_ns in self.unread_ns[fd] if at_ns <= self.now_ns]
        del self.unread_ns[fd][: len(came)]
        self.pass_time()
        return came


LOSSES_NS = st.sampled_from([0, 0, 0, 50, 5_000, 40_000, 300_000, 3_000_000, 200_000_000])


@thorough
@given(
    losses_ns=st.lists(LOSSES_NS, min_size=1, max_size=60),
    arrivals_ns=st.dictionaries(
        st.integers(3, 6),
        st.lists(st.integers(1, 100_000_000), min_size=1, max_size=12),
        min_size=1,
    ),
    stopped=st.sets(st.integers(0, 300), max_size=4),
    handed_over=st.lists(st.sets(st.integers(3, 6)), max_size=12),
)
@example([0, 0, 0, 300_000, 50], {3: [1, 200_000]}, set(), []).via(
    "a core that is lost between the check and the poll"
)
def test_a_socket_is_never_reported_empty_at_an_instant_when_it_held_data(
    losses_ns: list[int],
    arrivals_ns: dict[int, list[int]],
    stopped: set[int],
    handed_over: list[set[int]],
) -> None:
    """The process may lose its core at any place and for any time.

    Each entry of `handed_over` belongs to an iteration of the loop. It contains the sockets that
    move from the loop to the poller, or from the poller to the loop.
    """
    machine = Machine(losses_ns, arrivals_ns, stopped)
    with pytest.MonkeyPatch.context() as patched:
        for name in ("readable", "thread_use"):
            patched.setattr(loop_monitor, name, getattr(machine, name))
        patched.setattr(loop_monitor, "monotonic_ns", machine.clock)
        drained_ns = dict.fromkeys(arrivals_ns, machine.now_ns)
        watch = LoopMonitor()
        try:
            polls = {fd: watch.start(fd) for fd in arrivals_ns}
            moves = iter(handed_over)
            while any(machine.unread_ns.values()):
                moved = next(moves, set(arrivals_ns) - machine.watched) & set(arrivals_ns)
                for fd in moved - machine.watched:
                    polls[fd], drained_ns[fd] = watch.start(fd), machine.clock()
                    machine.read(fd)
                machine.pass_time()
                machine.stoppable = False
                watch._before_poll()
                machine.stoppable = True
                # libev does this just before it polls, and after the check
                machine.watched ^= moved
                found = machine.poll(10_000_000)
                watch._after_poll()
                for fd in found:
                    watch.check_if_due()
                    before_ns = machine.clock()
                    came = machine.read(fd)
                    assert max(drained_ns[fd], watch.empty_ns(fd, polls[fd], came[-1])) <= came[0]
                    drained_ns[fd] = before_ns
        finally:
            watch.close()


def use(monkeypatch: pytest.MonkeyPatch, *reported: tuple[int, int]) -> LoopMonitor:
    """Return a monitor after a poll of 10 ms. No file was ready when the poll began.

    `reported` contains two pairs that the kernel reports about the thread: one at the start and one
    at the end of the poll.
    """
    uses = iter(reported)
    monkeypatch.setattr(loop_monitor, "readable", lambda epoll: [])
    monkeypatch.setattr(loop_monitor, "thread_use", lambda schedstat: next(uses))
    watch = LoopMonitor()
    watch.start(FD)
    monkeypatch.setattr(loop_monitor, "monotonic_ns", lambda: 10**9)
    watch._before_poll()
    monkeypatch.setattr(loop_monitor, "monotonic_ns", lambda: 10**9 + 10**7)
    watch._after_poll()
    return watch


@pytest.mark.parametrize(
    ("later", "slept_ns"),
    [
        ((8, 6_000), 10**7 - 1_000 - ACCOUNT_NS),
        ((7, 6_000), 0),  # a file was ready at once
        ((9, 6_000), 0),  # the thread also slept for another reason, or was stopped
        ((8, 0), 0),  # the kernel does not report the sleep
    ],
)
def test_a_poll_has_slept_for_the_time_the_process_was_not_awake(
    monkeypatch: pytest.MonkeyPatch, later: tuple[int, int], slept_ns: int
) -> None:
    watch = use(monkeypatch, (7, 5_000), later)

    assert watch.empty_ns(FD, -1, 1 << 62) == 10**9 + slept_ns


@pytest.fixture
def watch() -> Iterator[LoopMonitor]:
    """Return the monitor of the hub, while the loop watches a socket."""
    monitor = LoopMonitor.of_hub()
    monitor.start(FD)
    yield monitor
    monitor.stop(FD)


def test_greenlets_run_before_the_poll_and_not_during_it(watch: LoopMonitor) -> None:
    """If greenlets ran during the poll, their time would count as sleep."""
    gevent.sleep(0.001)  # an earlier test may have left the loop in an iteration after its check
    begun = watch._snapshot
    ran: list[PollSnapshot] = []
    gevent.get_hub().loop.run_callback(lambda: ran.append(watch._snapshot))
    gevent.sleep(0.001)

    assert ran == [begun]
    assert watch._snapshot.at_ns > begun.at_ns


def test_polls_are_counted_and_a_poll_of_an_idle_loop_begins_without_ready_sockets(
    watch: LoopMonitor,
) -> None:
    before = watch.polls
    seen: list[bool] = []
    for _ in range(50):  # One poll is enough, unless a timer is due when the poll begins.
        gevent.sleep(0.001)
        seen.append(watch.quiet)

    assert watch.polls >= before + 50
    assert watch._snapshot_before.at_ns <= watch._snapshot.at_ns <= watch.poll_end_ns
    assert any(seen)


def test_polls_are_counted_but_not_checked_while_no_socket_is_watched(watch: LoopMonitor) -> None:
    watch.stop(FD)
    before, last = watch.polls, watch._snapshot
    gevent.sleep(0.001)
    watch.check_if_due()

    assert watch.polls > before
    assert watch._snapshot is last


def test_each_hub_has_one_loop_monitor() -> None:
    assert LoopMonitor.of_hub() is LoopMonitor.of_hub()


def test_a_forked_process_has_its_own_loop_monitor() -> None:
    found: list[LoopMonitor] = []

    def fork() -> None:
        found.append(LoopMonitor.of_hub())
        found[0].process += 1
        found.append(LoopMonitor.of_hub())

    own_hub = threading.Thread(target=fork)  # the hub of the other tests must keep its objects
    own_hub.start()
    own_hub.join()

    inherited, own = found
    assert own is not inherited


def no_alarm() -> int:
    raise OSError("no alarms")


@pytest.fixture(params=["alarm", "timer"])
def ticker(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[CallbackScheduler]:
    if request.param == "timer":
        monkeypatch.setattr(event_loop, "make_alarm", no_alarm)
    made = CallbackScheduler()
    yield made
    made.close()


def test_callbacks_run_in_order_of_their_due_time_and_never_early(
    ticker: CallbackScheduler,
) -> None:
    now_ns, done = monotonic_ns(), Event()
    called: list[tuple[int, int]] = []
    for place in (5, 1, 4, 2, 3):
        due_ns = now_ns + place * MS

        def call(due_ns: int = due_ns) -> None:
            called.append((due_ns, monotonic_ns()))
            if len(called) == 5:
                done.set()

        ticker.at(due_ns, call)
    assert done.wait(GUARD_S)

    assert [due_ns for due_ns, _ in called] == [now_ns + place * MS for place in range(1, 6)]
    assert all(at_ns >= due_ns for due_ns, at_ns in called)


def test_cancelled_callbacks_are_not_called(ticker: CallbackScheduler) -> None:
    now_ns, done = monotonic_ns(), Event()
    called: list[str] = []
    first = ticker.at(now_ns + MS, lambda: called.append("first"))
    last = ticker.at(now_ns + 3 * MS, lambda: called.append("last"))

    def second() -> None:
        called.append("second")
        last.cancel()
        ticker.at(now_ns + 4 * MS, done.set)

    ticker.at(now_ns + 2 * MS, second)
    first.cancel()
    assert done.wait(GUARD_S)

    assert called == ["second"]


def test_callbacks_due_at_nearly_the_same_time_run_in_at_most_two_iterations(
    ticker: CallbackScheduler,
) -> None:
    watch, done = LoopMonitor.of_hub(), Event()
    passes: set[int] = set()
    now_ns = monotonic_ns()
    for place in range(10):
        ticker.at(
            now_ns + MS + place * MIN_PASS_INTERVAL_NS // 100, lambda: passes.add(watch.polls)
        )
    ticker.at(now_ns + 5 * MS, done.set)
    assert done.wait(GUARD_S)

    assert 1 <= len(passes) <= 2


def test_a_callback_may_schedule_the_next_one(ticker: CallbackScheduler) -> None:
    done = Event()
    called: list[int] = []

    def again() -> None:
        called.append(monotonic_ns())
        if len(called) < 20:
            ticker.at(monotonic_ns(), again)
        else:
            done.set()

    ticker.at(monotonic_ns(), again)
    assert done.wait(GUARD_S)
    assert called == sorted(called)


def test_a_callback_that_is_always_due_does_not_stop_the_event_loop(
    ticker: CallbackScheduler,
) -> None:
    due_ns, called, done = monotonic_ns(), 0, Event()

    def again() -> None:
        nonlocal called
        called += 1
        if called < 10_000:
            ticker.at(due_ns, again)
        gevent.get_hub().loop.run_callback(done.set)

    ticker.at(due_ns, again)
    assert done.wait(GUARD_S)

    assert called < 10_000


def test_an_error_of_a_callback_does_not_stop_the_others(
    ticker: CallbackScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[object] = []
    monkeypatch.setattr(
        gevent.get_hub(), "handle_error", lambda context, kind, value, trace: errors.append(kind)
    )
    now_ns, done = monotonic_ns(), Event()
    called: list[str] = []
    ticker.at(now_ns, lambda: [][0])
    ticker.at(now_ns, lambda: called.append("same pass"))
    ticker.at(now_ns + 2 * MS, done.set)
    assert done.wait(GUARD_S)

    assert (errors, called) == ([IndexError], ["same pass"])


def test_sends_precede_the_callbacks_of_a_pass_and_continue_between_them(
    ticker: CallbackScheduler,
) -> None:
    """The first callback lasts until the next send is due: that send does not wait for the
    second callback.
    """
    order, done, now_ns, due_ns = list[str](), Event(), monotonic_ns(), 0

    def send() -> int:
        nonlocal due_ns
        order.append("send")
        due_ns = 0 if due_ns else monotonic_ns() + MS
        return due_ns

    def first() -> None:
        order.append("first")
        while monotonic_ns() <= due_ns:
            pass

    def third() -> None:
        order.append("third")
        done.set()

    ticker.at(now_ns, first)
    ticker.at(now_ns, lambda: order.append("second"))
    ticker.at(now_ns, third, send)
    assert done.wait(GUARD_S)

    assert order == ["send", "first", "send", "second", "third"]


@pytest.mark.parametrize(
    ("error", "reported"), [(OSError, []), (KeyboardInterrupt, [KeyboardInterrupt])]
)
def test_a_send_that_fails_leaves_its_error_to_the_callback(
    ticker: CallbackScheduler,
    monkeypatch: pytest.MonkeyPatch,
    error: type[BaseException],
    reported: list[type],
) -> None:
    errors: list[object] = []
    monkeypatch.setattr(
        gevent.get_hub(), "handle_error", lambda context, kind, value, trace: errors.append(kind)
    )
    done = Event()

    def fail() -> int:
        raise error

    ticker.at(monotonic_ns(), done.set, fail)

    assert done.wait(GUARD_S)
    assert errors == reported


def test_a_cancelled_callback_sends_nothing(ticker: CallbackScheduler) -> None:
    done, now_ns, sent = Event(), monotonic_ns(), list[int]()
    cancelled = ticker.at(now_ns + MS, lambda: None, lambda: sent.append(1) or 0)
    ticker.at(now_ns + 2 * MS, done.set)
    cancelled.cancel()

    assert done.wait(GUARD_S)
    assert not sent


def test_a_process_has_one_callback_scheduler() -> None:
    assert CallbackScheduler.of_hub() is CallbackScheduler.of_hub()
