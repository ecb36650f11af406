"""What is due is called by the loop: in its order, never too early, in few passes, with alarms or without."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from gevent.event import Event

from bench.clock import monotonic_ns
from bench.transport import loop
from bench.transport.loop import APART_NS, LoopWatch, Ticker
from tests.helpers import MS

GUARD_S = 30


def no_alarm() -> int:
    raise OSError("no alarms")


@pytest.fixture(params=["alarm", "timer"])
def ticker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ticker]:
    if request.param == "timer":
        monkeypatch.setattr(loop, "make_alarm", no_alarm)
    made = Ticker()
    yield made
    made.close()


def test_calls_come_in_the_order_in_which_they_are_due_and_none_too_early(ticker: Ticker) -> None:
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


def test_what_was_cancelled_is_not_called(ticker: Ticker) -> None:
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


def test_what_is_due_at_nearly_the_same_time_is_called_in_two_passes_at_most(ticker: Ticker) -> None:
    watch, done = LoopWatch.of_hub(), Event()
    passes: set[int] = set()
    now_ns = monotonic_ns()
    for place in range(10):
        ticker.at(now_ns + MS + place * APART_NS // 100, lambda: passes.add(watch.polls))
    ticker.at(now_ns + 5 * MS, done.set)
    assert done.wait(GUARD_S)

    assert 1 <= len(passes) <= 2


def test_who_is_called_may_ask_for_the_next_call(ticker: Ticker) -> None:
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


def test_a_process_has_one_ticker() -> None:
    assert Ticker.of_hub() is Ticker.of_hub()
