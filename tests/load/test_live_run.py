"""One run in one process: its pairs of sessions, and the causes for which it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent.event import Event
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.base.clock import monotonic_ns
from bench.base.units import NS_PER_S
from bench.catalogue.causes import ConnectError, decoded, text_of
from bench.load.execution.live_run import raise_all
from bench.load.execution.target_state import MAX_INITIAL_FAILURES
from bench.load.lifecycle import ALL_DONE, SignalReceived
from bench.load.planning.load_model import Arrivals, LoadModel, RecordedArrivals
from bench.services.openai.dialect import GA
from bench.target.target import Credential
from tests.helpers import Service, created, done, message, reply, spoken, usage
from tests.load.actors import Actor
from tests.load.fake_live_run import Caller, FakeDialer, FakeRun
from tests.memory_transport import PeerAnswer
from tests.simulator_process import GUARD_S


def costly(response_id: str) -> Iterable[PeerAnswer]:
    """Return a successful answer whose tokens are expensive."""
    *events, _, _ = reply(GA, response_id)
    return spoken([*events, done(response_id, usage=usage(audio_out=1_000_000))])


def _stepped(step_ns: int) -> int:
    return time.time_ns() + step_ns


def test_a_pair_has_one_session_per_target(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, "west", "east", "south")
    assert run.play(2)

    sessions = run.rows("sessions")
    assert [row["outcome"] for row in sessions] == ["ok"] * 6
    assert len({row["session_id"] for row in sessions}) == 6
    by_pair = [{row["target"] for row in sessions if row["pair"] == pair} for pair in (0, 1)]
    assert by_pair == [{"west", "east", "south"}] * 2
    assert {row["block"] for row in sessions} == {0}


def test_no_target_is_more_than_one_session_ahead_with_several_users(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, "west", "east")
    gevent.joinall([gevent.spawn(run.play, 4) for _ in range(5)], raise_error=True)

    ahead, aheads = 0, []
    for row in run.rows("sessions"):
        ahead += 1 if row["target"] == "west" else -1
        aheads.append(ahead)
    assert len(aheads) == 40
    assert set(aheads) <= {-1, 0, 1}


def test_the_next_pair_of_a_user_waits_for_all_sessions_of_the_last(tmp_path: Path) -> None:
    late = FakeDialer(answers=Event())
    run = FakeRun(tmp_path, "west", "east", dialers={"east": late})
    user = gevent.spawn(run.play, 2)
    while run.live.active != 1:  # wait until the western session has ended
        gevent.sleep(0)
    for _ in range(100):
        gevent.sleep(0)

    assert [dialer.dialled for dialer in run.dialers.values()] == [1, 1]
    late.answers.set()
    user.join()
    assert [dialer.dialled for dialer in run.dialers.values()] == [2, 2]


def test_the_sessions_of_a_pair_have_the_same_variables(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("name\nAda\nBob\nCleo\n")
    run = FakeRun(tmp_path, "west", "east", text="variables: rows.csv\nsteps:\n  - text: ${name}\n")
    run.play(4)

    assert [(row["pair"], row["variables_row"]) for row in run.rows("sessions")] == [
        (pair, pair % 3 + 1) for pair in range(4) for _ in range(2)
    ]


def test_both_sessions_of_a_logged_pair_have_a_log(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, "west", "east", record_events=Fraction(1, 2))
    run.play(3)

    logged = {row["pair"] for row in run.rows("sessions") if row["event_log"]}
    assert logged == {0, 2}
    assert len(list((run.folder / "events").iterdir())) == 4


def test_pairs_that_start_in_the_warmup_are_marked_and_excluded_from_latency(
    tmp_path: Path,
) -> None:
    run = FakeRun(tmp_path, "west", "east", warmup_s=3_600)
    run.play(2)
    standing = run.live.progress_report()

    assert {row["phase"] for table in ("sessions", "turns") for row in run.rows(table)} == {
        "warmup"
    }
    assert (standing.pairs_done, standing.turns_succeeded, standing.times_us) == (0, 8, {})
    assert (standing.turns_stamped, standing.event_loop_delay_p99_ms) == (0, None)


def test_a_wall_clock_step_does_not_change_the_block_or_phase_of_a_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = FakeRun(tmp_path, "west", "east", began_ns=monotonic_ns() - 250 * NS_PER_S, warmup_s=200)
    run.play()
    for step_s in (-86_400, 86_400):
        step_ns = step_s * NS_PER_S
        for module in ("load.execution.live_run", "record.recorder"):
            monkeypatch.setattr(f"bench.{module}.utc_ns", partial(_stepped, step_ns), raising=False)
        run.play()
    rows = [row for table in ("sessions", "turns") for row in run.rows(table)]

    assert {(row["block"], row["phase"]) for row in rows} == {(2, "measurement")}
    assert {row["pair"] for row in rows} == {0, 1, 2}


def test_each_target_gets_the_requested_number_of_sessions(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, "west", "east", sessions=2)

    assert run.play(2)
    assert not run.play()
    assert run.stopped == [ALL_DONE]
    assert [dialer.dialled for dialer in run.dialers.values()] == [2, 2]


def test_a_failed_task_is_raised_after_the_other_session_of_its_pair_ended(tmp_path: Path) -> None:
    def talk(actor: Actor) -> None:
        actor.text("Hello")
        if type(actor).__name__ == "Caller" and not failed:
            failed.append(actor)
            raise ValueError("no change")

    failed: list[Actor] = []
    run = FakeRun(tmp_path, "west", "east", does=talk)

    with pytest.raises(ValueError, match="no change"):
        run.play()
    assert run.live.progress_report().pairs_done == 1
    outcomes = sorted(row["outcome"] for row in run.rows("sessions"))
    assert outcomes == ["failed:load_generator", "ok"]


@pytest.mark.parametrize("hurried", [False, True])
def test_a_killed_user_or_a_hurried_run_leaves_no_open_session(
    hurried: bool, tmp_path: Path
) -> None:
    silent = {label: FakeDialer(answers=Event()) for label in ("west", "east")}
    run = FakeRun(tmp_path, "west", "east", dialers=silent)
    user = gevent.spawn(run.play)
    while sum(dialer.dialled for dialer in silent.values()) < 2:
        gevent.sleep(0)
    if hurried:
        for _ in range(2):
            run.tell(SignalReceived())
        run.live.drain(60)
        user.join()
        assert user.value is True
    else:
        user.kill()
    while run.live.active:
        gevent.sleep(0)

    assert [row["outcome"] for row in run.rows("sessions")] == ["unfinished", "unfinished"]


def test_a_session_that_outlives_the_end_of_the_run_is_cut_and_counted(tmp_path: Path) -> None:
    def talk(actor: Actor) -> None:
        actor.text("Hello")
        actor.text("Are you there?")  # this step ends the first turn
        if type(actor).__name__ == "Caller":  # in the rehearsal, the actor has another type
            gevent.sleep(3_600)

    run = FakeRun(tmp_path, does=talk)
    user = gevent.spawn(run.play)
    while not run.live.progress_report().turns_succeeded:
        gevent.sleep(0.01)
    run.end()
    cut = run.live.drain(0.01, "timeout:turn")
    user.join()
    (row,) = run.rows("sessions")

    assert (cut, row["outcome"], text_of(decoded(row["cause"]))) == (
        1,
        "timeout:turn",
        "the session was still open 0.01 s after the end of the run",
    )


def test_reasons_and_failures_contain_no_secret(tmp_path: Path) -> None:
    secret = Credential("api-key", "a-key-that-nobody-may-see")
    refusal = ConnectError(
        "connect_failed:a-key-that-nobody-may-see", "a-key-that-nobody-may-see is wrong"
    )
    run = FakeRun(
        tmp_path,
        "west",
        "east",
        dialers={"east": FakeDialer(unsupported_setting=refusal)},
        auth=secret,
    )
    run.play(MAX_INITIAL_FAILURES + 2)

    assert run.stopped == [
        "10 sessions to east failed to open and none succeeded; the last: connect_failed:***: ***"
        " is wrong"
    ]
    assert {str(failure) for failure in run.failures} == {"connect_failed:***: *** is wrong"}
    assert {row["outcome"] for row in run.rows("sessions")} == {"ok", "connect_failed:***"}


def test_a_retry_after_of_one_target_delays_the_other_target(tmp_path: Path) -> None:
    refusing = FakeDialer(
        unsupported_setting=ConnectError("throttled:handshake", "slow down", {"retry-after": "60"})
    )
    run = FakeRun(tmp_path, "west", "east", dialers={"east": refusing})
    run.play()
    waiting = gevent.spawn(run.play)
    while not run.live.progress_report().waiting_s:
        gevent.sleep(0)

    assert 50 < run.live.progress_report().waiting_s <= 60
    assert list(run.live.progress_report().held_s) in ([], ["east"])
    assert [dialer.dialled for dialer in run.dialers.values()] == [1, 1]
    run.end()
    waiting.join()


def test_pairs_that_wait_for_their_start_at_the_end_are_not_counted_as_done(tmp_path: Path) -> None:
    refusing = FakeDialer(
        unsupported_setting=ConnectError("throttled:handshake", "slow down", {"retry-after": "60"})
    )
    run = FakeRun(tmp_path, dialers={"here": refusing}, sessions=2)
    run.play()
    waiting = gevent.spawn(run.play)
    while not run.live.progress_report().waiting_s:
        gevent.sleep(0)
    run.end()
    waiting.join()

    assert run.stopped == []


def wait_for(happened: Callable[[], bool]) -> None:
    while not happened():
        gevent.sleep(0.01)


@pytest.fixture
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the wait after a refusal to 20 ms. Other tests check how long the wait is."""
    monkeypatch.setattr("bench.load.execution.target_state.FIRST_WAIT_NS", NS_PER_S // 50)


@pytest.mark.usefixtures("_short_waits")
def test_after_a_throttled_start_one_session_probes_before_the_others_start(tmp_path: Path) -> None:
    here = FakeDialer(
        unsupported_setting=ConnectError(
            "throttled:handshake", "slow down", {"retry-after-ms": "1"}
        )
    )
    run = FakeRun(tmp_path, dialers={"here": here})
    run.play()
    here.unsupported_setting, here.answers = None, Event()
    users = [gevent.spawn(run.play) for _ in range(3)]
    wait_for(lambda: here.dialled == 2)
    pacer = run.live.target_states[0].pacer
    # wait until the pace no longer delays the other sessions
    wait_for(lambda: monotonic_ns() > pacer.earliest_ns(0))
    for _ in range(100):
        gevent.sleep(0.001)
    assert here.dialled == 2
    assert pacer.is_probing

    here.answers.set()
    gevent.joinall(users, raise_error=True)
    assert here.dialled == 4
    assert not pacer.is_probing


@pytest.mark.usefixtures("_short_waits")
def test_a_session_whose_preparation_fails_frees_the_probe_for_the_next(tmp_path: Path) -> None:
    run = FakeRun(tmp_path)
    run.live.target_states[0].pacer.on_throttled("connection", 0, monotonic_ns(), None)

    with pytest.raises(KeyError):
        run.live.run_pair(type("Stranger", (), {}), run.task, Caller())
    assert run.play()


NO_CREDIT = ConnectError("connect_failed:429", "HTTP 429: insufficient_quota: No credit.")
DEACTIVATED = ConnectError("connect_failed:401", "HTTP 401: account_deactivated: Closed.")
TOMORROW = {"retry-after": "86400"}


def fails_with(code: str) -> Callable[[], Service]:
    """Return a service whose responses fail with this code."""

    def refused(response_id: str) -> Iterable[PeerAnswer]:
        error = {"type": "requests", "code": code, "message": "No."}
        return spoken(
            [created(response_id), done(response_id, "failed", type="failed", error=error)]
        )

    return lambda: Service(turns=[refused] * 2)


@pytest.mark.parametrize(
    ("dialer", "words"),
    [
        (FakeDialer(unsupported_setting=NO_CREDIT), ("10 connections", "its billing page")),
        (FakeDialer(unsupported_setting=DEACTIVATED), ("10 connections", "ask its support")),
        (FakeDialer(fails_with("insufficient_quota")), ("10 turns", "its billing page")),
        (FakeDialer(fails_with("model_not_found")), ("10 turns", "the model does not exist")),
    ],
    ids=["no credit, at the handshake", "no account", "no credit, in responses", "no model"],
)
def test_ten_permanent_failures_in_a_row_end_the_run_with_the_remedy(
    tmp_path: Path, dialer: FakeDialer, words: tuple[str, ...]
) -> None:
    run = FakeRun(tmp_path, dialers={"here": dialer})
    run.play(MAX_INITIAL_FAILURES)

    assert len(run.refused) == 1
    for text in words:
        assert text in run.refused[0]


def test_permanent_failures_in_the_middle_of_a_run_end_it_without_waits(tmp_path: Path) -> None:
    here = FakeDialer()
    run = FakeRun(tmp_path, dialers={"here": here})
    run.play()
    here.unsupported_setting = DEACTIVATED
    run.play(MAX_INITIAL_FAILURES)

    assert len(run.refused) == 1
    assert here.dialled == 1 + MAX_INITIAL_FAILURES


def test_permanent_failures_between_successful_ones_do_not_end_the_run(tmp_path: Path) -> None:
    here = FakeDialer()
    run = FakeRun(tmp_path, dialers={"here": here})
    for problem in (NO_CREDIT, None) * MAX_INITIAL_FAILURES:
        here.unsupported_setting = problem
        run.play()

    assert run.refused == run.stopped == []


WITH_DATES = {
    "date": "Mon, 30 Nov 2026 10:00:00 GMT",
    "retry-after": "Tue, 01 Dec 2026 10:00:00 GMT",
}


@pytest.mark.parametrize(
    ("headers", "given", "words"),
    [
        (TOMORROW, {}, "in 24 h"),
        ({"retry-after-ms": "7200000"}, {}, "in 2 h"),
        (WITH_DATES, {}, "in 24 h"),
        ({"retry-after": "400"}, {"run_time_s": 300}, "in 7 min"),
    ],
    ids=["seconds", "milliseconds", "a date", "longer than the run"],
)
@pytest.mark.parametrize("outcome", ["throttled:handshake", "connect_failed:503"])
def test_a_delay_that_is_too_long_for_the_run_ends_it_at_once_if_no_session_has_opened(
    tmp_path: Path, outcome: str, headers: dict[str, str], given: dict[str, Any], words: str
) -> None:
    refusing = FakeDialer(unsupported_setting=ConnectError(outcome, "no", headers))
    run = FakeRun(tmp_path, "west", "east", dialers={"east": refusing}, **given)
    run.play()

    assert len(run.stopped) == 1
    assert run.stopped[0].startswith(
        f"no session to east has opened, and the service takes calls again {words}"
    )


@pytest.mark.parametrize("value", ["600", "soon", "-86400", "99999999999", ""])
def test_a_wait_that_is_short_or_no_number_does_not_end_the_run(tmp_path: Path, value: str) -> None:
    refusal = ConnectError("throttled:handshake", "no", {"retry-after": value})
    run = FakeRun(tmp_path, dialers={"here": FakeDialer(unsupported_setting=refusal)})
    run.play()

    assert run.stopped == []


class SecondRefused(FakeDialer):
    """A dialer whose second call is refused at once, for a day."""

    def open(self, *words: Any) -> Any:
        if self.dialled == 1:
            raise ConnectError("throttled:handshake", "no", TOMORROW)
        return super().open(*words)


def test_a_long_wait_does_not_end_a_run_whose_other_session_is_connecting(tmp_path: Path) -> None:
    here = SecondRefused(answers=Event())
    run = FakeRun(tmp_path, dialers={"here": here})
    slow = gevent.spawn(run.play)
    wait_for(lambda: here.dialled == 1)
    run.play()
    here.answers.set()
    slow.join()

    assert run.stopped == []


def test_a_long_wait_does_not_end_a_run_in_which_a_session_has_opened(tmp_path: Path) -> None:
    here = FakeDialer()
    run = FakeRun(tmp_path, dialers={"here": here})
    run.play()
    here.unsupported_setting = ConnectError("throttled:handshake", "no", TOMORROW)
    run.play()

    assert run.stopped == []


def test_a_throttled_last_turn_delays_the_next_session(tmp_path: Path) -> None:
    def refused(response_id: str) -> Iterable[PeerAnswer]:
        error = {
            "type": "requests",
            "code": "rate_limit_exceeded",
            "message": "Please try again in 60s.",
        }
        return spoken(
            [created(response_id), done(response_id, "failed", type="failed", error=error)]
        )

    run = FakeRun(
        tmp_path,
        text="steps:\n  - text: One\n",
        dialers={"here": FakeDialer(lambda: Service(turns=[refused]))},
    )
    run.play()
    waiting = gevent.spawn(run.play)
    wait_for(lambda: run.live.progress_report().waiting_s > 0)

    assert 50 < run.live.progress_report().waiting_s < 70  # the other clock is ahead of this one
    assert run.dialers["here"].dialled == 1
    run.end()
    waiting.join()


def test_a_spent_budget_ends_the_run_and_starts_no_turn(tmp_path: Path) -> None:
    dear = FakeDialer(lambda: Service(turns=[costly, costly]))
    run = FakeRun(tmp_path, dialers={"here": dear}, budget_usd=0.5)
    run.play()

    assert len(run.stopped) == 1
    assert run.stopped[0].startswith("the budget of 0.50 USD is spent: ")
    assert [row["outcome"] for row in run.rows("turns")] == ["ok"]
    assert [row["outcome"] for row in run.rows("sessions")] == ["unfinished"]
    assert not run.play()


def test_a_budget_spent_within_a_turn_ends_the_turn_after_that_response(tmp_path: Path) -> None:
    """Each response calls a function, and costs more than the whole budget."""

    def calls(response_id: str) -> Iterable[PeerAnswer]:
        called = message(
            "response.function_call_arguments.done",
            response_id=response_id,
            item_id=f"item-{response_id}",
            call_id=f"call-{response_id}",
            name="find",
            arguments="{}",
        )
        return spoken(
            [created(response_id), called, done(response_id, usage=usage(audio_out=1_000_000))]
        )

    dear = FakeDialer(lambda: Service(turns=[calls] * 100))
    text = "tools: {find: {returns: depot}}\nsteps:\n  - text: One\n  - text: Two\n"
    run = FakeRun(tmp_path, dialers={"here": dear}, text=text, budget_usd=1.5)
    run.play()

    assert run.stopped == ["the budget of 1.50 USD is spent: 2.00 USD"]
    (turn,) = run.rows("turns")
    assert (turn["outcome"], turn["function_calls"]) == ("unfinished", 2)
    assert text_of(decoded(turn["cause"])) == "the run's budget is spent"
    assert run.rows("turns")[0]["output_audio_tokens"] == 2_000_000


def test_the_cost_of_a_reply_without_a_turn_is_counted_on_its_session(tmp_path: Path) -> None:
    def answered_twice(response_id: str) -> Iterable[PeerAnswer]:
        untracked = done("untracked", usage=usage(audio_out=2_000_000))
        return [*spoken(reply(GA, response_id)), *spoken([created("untracked"), untracked])]

    run = FakeRun(
        tmp_path, dialers={"here": FakeDialer(lambda: Service(turns=[answered_twice, costly]))}
    )
    run.play()

    (session,) = run.rows("sessions")
    first, second = (row["output_audio_tokens"] for row in run.rows("turns"))
    assert (session["output_audio_tokens"], second) == (2_000_000, 1_000_000)
    assert first < 1_000_000
    assert 3 < run.live.progress_report().usd < 3.1


def test_a_budget_without_a_known_price_refuses_the_run(tmp_path: Path) -> None:
    dear = FakeDialer(lambda: Service(turns=[costly, costly]))
    run = FakeRun(tmp_path, dialers={"here": dear}, budget_usd=0.5, prices=None)
    run.play()

    assert run.refused
    assert "--prices FILE" in run.refused[0]
    assert run.stopped == []


def test_prices_are_not_needed_without_a_budget(tmp_path: Path) -> None:
    dear = FakeDialer(lambda: Service(turns=[costly, costly]))
    run = FakeRun(tmp_path, dialers={"here": dear}, prices=None)
    run.play()

    assert (run.refused, run.stopped) == ([], [])
    assert run.live.progress_report().turns_succeeded == 2


class StopUser(Exception):  # noqa: N818  # as Locust calls it
    """A stand-in for an exception of Locust."""


StopUser.__module__ = "locust.exception"


def test_an_error_of_several_targets_is_raised_first_and_the_others_are_notes() -> None:
    with pytest.raises(ValueError, match="first") as raised:
        raise_all([StopUser("enough"), ValueError("first"), KeyError("second")])

    assert raised.value.__notes__ == [
        "On another target of the pair: StopUser: enough",
        "On another target of the pair: KeyError: 'second'",
    ]
    with pytest.raises(StopUser):
        raise_all([StopUser("enough")])
    raise_all([])


def arriving(*after_ms: int, slots: int = 2) -> LoadModel:
    """Return a load model whose calls arrive at these times, in ms after the start of arrivals."""
    recorded = RecordedArrivals(Path("calls.txt"), "", tuple(ms / 1000 for ms in after_ms))
    return LoadModel(Arrivals(1, slots, recorded=recorded))


def test_an_arriving_call_is_played_by_an_idle_user_and_has_its_arrival_time(
    tmp_path: Path,
) -> None:
    began_ns = monotonic_ns() - NS_PER_S  # a start in the past, so that calls arrive at once
    run = FakeRun(tmp_path, load_model=arriving(0, 1), began_ns=began_ns)
    users = [gevent.spawn(run.play) for _ in range(2)]
    # joinall would count its own timeout from the last poll of the loop
    with gevent.Timeout(GUARD_S):
        gevent.joinall(users, raise_error=True)

    sessions = run.rows("sessions")
    called_ns = sorted(row["start_ns"] + row["call_arrival_at_ns"] for row in sessions)
    assert called_ns == [began_ns + NS_PER_S, began_ns + NS_PER_S + 10**6]
    assert all(
        row["call_arrival_at_ns"] == row["intended_start_at_ns"] <= row["connect_start_at_ns"]
        for row in sessions
    )
    assert all(row["first_reply_at_ns"] is not None for row in sessions)
    assert run.stopped == [ALL_DONE]


@given(
    at_ms=st.lists(st.integers(0, 20), max_size=12),
    users=st.integers(0, 4),
    held_ms=st.integers(0, 30),
    lasts_ms=st.integers(0, 30),
    staffed=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_each_arrived_call_is_started_blocked_or_not_started(
    tmp_path_factory: pytest.TempPathFactory,
    at_ms: list[int],
    users: int,
    held_ms: int,
    lasts_ms: int,
    staffed: bool,
) -> None:
    """The result of a call is one of three.

    The call is started, it is blocked, or it is not started because the run ended.
    """
    now_ns = monotonic_ns()
    load_model = arriving(*sorted(at_ms))
    run = FakeRun(
        tmp_path_factory.mktemp("calls"), load_model=load_model, began_ns=now_ns - NS_PER_S
    )
    run.live.target_states[0].pacer.hold(now_ns + held_ms * 10**6, now_ns)
    players = [gevent.spawn(run.play) for _ in range(users)]
    gevent.idle()
    if staffed:
        run.live.expect_users(users)
    gevent.sleep(lasts_ms / 1000)
    run.end()
    run.live.drain(30.0)
    rows = run.rows("sessions")  # closes the run
    with gevent.Timeout(GUARD_S):
        gevent.joinall(players, raise_error=True)

    calls, blocked, cut = (
        sum(row[name] for row in run.rows("seconds"))
        for name in ("calls_offered", "calls_blocked", "calls_not_started")
    )
    assert calls == blocked + cut + sum(row["call_arrival_at_ns"] is not None for row in rows)
    assert calls <= len(at_ms)
    assert staffed or not blocked


def test_the_intended_start_of_a_delayed_call_is_after_its_arrival(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, load_model=arriving(0), began_ns=monotonic_ns() - NS_PER_S)
    until_ns = monotonic_ns() + NS_PER_S // 20
    run.live.target_states[0].pacer.hold(until_ns, monotonic_ns())
    assert run.play()

    (row,) = run.rows("sessions")
    assert row["start_ns"] + row["intended_start_at_ns"] == until_ns
    assert row["call_arrival_at_ns"] < row["intended_start_at_ns"]
    assert sum(second["calls_delayed"] for second in run.rows("seconds")) == 1
