"""After each refused call, a user of a closed loop waits longer. An open loop does not delay its
arrivals.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import gevent
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.base.clock import monotonic_ns
from bench.base.units import NS_PER_S
from bench.catalogue.causes import ConnectError
from bench.catalogue.timeouts import MAX_HOLD_NS
from bench.load.execution import live_run, session_registry, start_scheduler, target_state
from bench.load.execution.target_state import (
    FIRST_WAIT_NS,
    MAX_INITIAL_FAILURES,
    MAX_WAIT_NS,
    RefusedCall,
    due_ns,
)
from bench.load.lifecycle import ALL_DONE
from bench.load.planning.load_model import Arrivals, LoadModel, RecordedArrivals
from bench.session import dial
from tests.load import fake_live_run
from tests.load.fake_live_run import Caller, FakeDialer, FakeRun

NO_SERVER = ConnectError("connect_failed:tcp", "no server listens")
NO_PORT = ConnectError("exhausted:ports", "127.0.0.1:1: Cannot assign requested address")
BUSY = ConnectError("connect_failed:503", "busy", {"retry-after": "7"})


class SkippingClock:
    """A clock that advances in real time. Waits of refused callers take no real time; the clock
    skips them.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.waited_ns = 0
        self.on_wait: Callable[[], object] = lambda: None
        for module in (
            dial,
            live_run,
            fake_live_run,
            session_registry,
            start_scheduler,
            target_state,
        ):
            monkeypatch.setattr(module, "monotonic_ns", self.now_ns)
        monkeypatch.setattr(
            target_state,
            "gevent",
            SimpleNamespace(sleep=self.sleep, GreenletExit=gevent.GreenletExit),
        )

    def now_ns(self) -> int:
        return monotonic_ns() + self.waited_ns

    def sleep(self, seconds: float) -> None:
        self.waited_ns += int(seconds * NS_PER_S) + 1
        self.on_wait()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SkippingClock:
    return SkippingClock(monkeypatch)


class Answers(FakeDialer):
    """A dialer with one answer for each call. None opens a connection; an error refuses the call.

    The last answer is used for all further calls.
    """

    def __init__(self, *answers: ConnectError | None) -> None:
        super().__init__()
        self._answers = itertools.chain(answers, itertools.repeat(answers[-1]))

    def open(self, *words: Any) -> Any:
        self.unsupported_setting = next(self._answers)
        return super().open(*words)


def calls_backed_off(run: FakeRun) -> int:
    return sum(row["calls_backed_off"] for row in run.rows("seconds"))


@given(in_a_row=st.integers(1, 10_000), drawn=st.floats(0, 1))
def test_back_off_doubles_up_to_a_limit_and_is_random_in_its_upper_half(
    in_a_row: int, drawn: float
) -> None:
    whole_ns = min(FIRST_WAIT_NS * 2 ** min(in_a_row - 1, 40), MAX_WAIT_NS)

    wait_ns = due_ns([RefusedCall(500, 600, None)], in_a_row, drawn) - 500

    assert whole_ns // 2 <= wait_ns <= whole_ns


@given(asked_ns=st.integers(1, 10**15), drawn=st.floats(0, 1))
def test_retry_after_counts_from_the_response_and_is_limited(asked_ns: int, drawn: float) -> None:
    due = due_ns([RefusedCall(0, 50, None), RefusedCall(0, 100, asked_ns)], 1, drawn)

    assert due >= min(asked_ns, MAX_HOLD_NS) + 100
    assert due <= max(min(asked_ns, MAX_HOLD_NS) + 100, FIRST_WAIT_NS // 2) + FIRST_WAIT_NS // 2


@pytest.mark.parametrize("error", [NO_SERVER, NO_PORT])
def test_a_refused_user_backs_off_exponentially(
    tmp_path: Path, clock: SkippingClock, error: ConnectError
) -> None:
    run = FakeRun(tmp_path, dialers={"here": Answers(None, error)}, settings={})
    run.play(21)

    # the maximum waits before all calls except the first two
    whole_s = [min(2**number, 60) for number in range(19)]
    assert sum(whole_s) / 2 <= clock.waited_ns / NS_PER_S <= sum(whole_s) + 19 * target_state.POLL_S
    assert calls_backed_off(run) == 19
    assert run.live.progress_report().calls_backed_off == 19
    assert run.live.progress_report().callers_backing_off == 0


def test_a_successful_call_resets_the_back_off(tmp_path: Path, clock: SkippingClock) -> None:
    run = FakeRun(
        tmp_path, dialers={"here": Answers(None, *[NO_SERVER] * 9, None, NO_SERVER, None)}
    )
    run.play(11)
    before_ns = clock.waited_ns
    assert before_ns > 60 * NS_PER_S
    caller = Caller()
    run.live.run_pair(run.user, run.task, cast(Any, caller))
    run.live.run_pair(run.user, run.task, cast(Any, caller))

    assert clock.waited_ns - before_ns <= FIRST_WAIT_NS + target_state.POLL_S * NS_PER_S


def test_a_user_waits_for_the_retry_after_of_the_service(
    tmp_path: Path, clock: SkippingClock
) -> None:
    run = FakeRun(tmp_path, dialers={"here": Answers(None, BUSY, None)})
    run.play(3)

    assert clock.waited_ns >= 6 * NS_PER_S
    assert [row["retry_after_ns"] for row in run.rows("sessions")] == [None, 7 * NS_PER_S, None]


def test_the_sessions_of_a_pair_back_off_together_and_their_start_delay_excludes_it(
    tmp_path: Path, clock: SkippingClock
) -> None:
    dialers = {"east": Answers(None, NO_SERVER), "west": Answers(None)}
    run = FakeRun(tmp_path, "west", "east", dialers=dialers)
    run.play(16)

    rows = run.rows("sessions")
    by_pair = [{row["target"] for row in rows if row["pair"] == number} for number in range(16)]
    assert by_pair == [{"west", "east"}] * 16
    last = [row for row in rows if row["pair"] == 15]
    meant_ns = [row["start_ns"] + row["intended_start_at_ns"] for row in last]
    assert meant_ns[0] == meant_ns[1]
    begun_ns = [row["start_ns"] for row in rows if row["pair"] == 14]
    assert meant_ns[0] - max(begun_ns) >= 29 * NS_PER_S, "they were meant to start after the wait"


def test_users_do_not_back_off_before_the_first_session_has_opened(
    tmp_path: Path, clock: SkippingClock
) -> None:
    run = FakeRun(tmp_path, dialers={"here": Answers(NO_SERVER)})
    run.play(MAX_INITIAL_FAILURES)

    assert len(run.stopped) == 1
    assert clock.waited_ns == 0


def test_the_end_of_the_run_ends_a_back_off_and_its_call_is_counted(
    tmp_path: Path, clock: SkippingClock
) -> None:
    run = FakeRun(tmp_path, dialers={"here": Answers(None, *[NO_SERVER] * 20)})
    clock.on_wait = run.end

    assert not run.play(3)
    assert run.dialers["here"].dialled == 2
    assert calls_backed_off(run) == 1


def test_a_user_in_back_off_does_not_delay_the_end_of_the_run(
    tmp_path: Path, clock: SkippingClock
) -> None:
    run = FakeRun(tmp_path, dialers={"here": Answers(None, NO_SERVER, None)}, sessions=3)
    clock.on_wait = run.play

    assert not run.play(3)
    assert run.stopped == [ALL_DONE]
    assert run.dialers["here"].dialled == 3


def test_arriving_calls_do_not_back_off_after_a_refused_call(
    tmp_path: Path, clock: SkippingClock
) -> None:
    recorded = RecordedArrivals(Path("calls.txt"), "", tuple(number / 1000 for number in range(12)))
    model, began_ns = LoadModel(Arrivals(1, 1, recorded=recorded)), monotonic_ns() - 2 * NS_PER_S
    run = FakeRun(
        tmp_path, dialers={"here": Answers(None, NO_SERVER)}, load_model=model, began_ns=began_ns
    )
    gevent.idle()
    run.play(12)

    assert clock.waited_ns == 0
    seconds = run.rows("seconds")
    assert sum(row["calls_offered"] for row in seconds) == 12
    assert sum(row["calls_backed_off"] for row in seconds) == 0
