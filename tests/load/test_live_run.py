"""One run in one process: pairs of sessions, and what ends it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from fractions import Fraction
from functools import partial
from pathlib import Path

import gevent
import pytest
from gevent.event import Event
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.clock import monotonic_ns
from bench.errors import ConnectError
from bench.load.execution.live_run import raise_all
from bench.load.execution.pairs import order
from bench.load.execution.target_state import MAX_INITIAL_FAILURES
from bench.load.lifecycle import ALL_DONE, SignalReceived
from bench.load.planning.load_model import Arrivals, LoadModel, RecordedArrivals
from bench.protocol.openai_ga import GA
from bench.run.folder import SCHEMAS, create
from bench.run.spool import Spool
from bench.run.worker_part import parts
from bench.target.credentials import Credential
from bench.units import NS_PER_S
from tests.helpers import Service, created, done, message, reply, spoken, usage
from tests.load.actors import Actor
from tests.load.fake_live_run import Caller, FakeDialer, Stand
from tests.memory_transport import PeerAnswer


def costly(response_id: str) -> Iterable[PeerAnswer]:
    """An answer that says its tokens."""
    *said, _, _ = reply(GA, response_id)
    return spoken([*said, done(response_id, usage=usage(audio_out=1_000_000))])


def _stepped(step_ns: int) -> int:
    return time.time_ns() + step_ns


def test_a_pair_has_a_session_of_each_arm(tmp_path: Path) -> None:
    stand = Stand(tmp_path, "west", "east", "south")
    assert stand.play(2)

    sessions = stand.rows("sessions")
    assert [row["outcome"] for row in sessions] == ["ok"] * 6
    assert len({row["session_id"] for row in sessions}) == 6
    by_pair = [{row["target"] for row in sessions if row["pair"] == pair} for pair in (0, 1)]
    assert by_pair == [{"west", "east", "south"}] * 2
    assert {row["block"] for row in sessions} == {0}


def test_the_name_of_a_scenario_is_asked_for_before_the_first_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is looked for in the file system, which a session that starts does not wait for."""
    stand = Stand(tmp_path)
    monkeypatch.setattr(Actor, "scenario_name", lambda: pytest.fail("it is asked for again"))
    stand.play(2)

    assert {row["scenario"] for row in stand.rows("sessions")} == {"scenario"}


def test_the_arms_of_a_pair_start_in_an_order_of_its_own(tmp_path: Path) -> None:
    stand = Stand(tmp_path, "west", "east")
    stand.play(6)

    targets = [row["target"] for row in stand.rows("sessions")]
    wanted = [("west", "east")[place] for pair in range(6) for place in order(2, 1, pair)]
    assert targets == wanted
    assert targets[0::2] != [targets[0]] * 6


def test_no_arm_is_more_than_one_session_ahead_however_many_users_there_are(tmp_path: Path) -> None:
    stand = Stand(tmp_path, "west", "east")
    gevent.joinall([gevent.spawn(stand.play, 4) for _ in range(5)], raise_error=True)

    ahead, aheads = 0, []
    for row in stand.rows("sessions"):
        ahead += 1 if row["target"] == "west" else -1
        aheads.append(ahead)
    assert len(aheads) == 40
    assert set(aheads) <= {-1, 0, 1}


def test_the_next_pair_of_a_user_waits_for_all_of_the_last(tmp_path: Path) -> None:
    late = FakeDialer(answers=Event())
    stand = Stand(tmp_path, "west", "east", dialers={"east": late})
    user = gevent.spawn(stand.play, 2)
    while stand.live.active != 1:  # the western session is over
        gevent.sleep(0)
    for _ in range(100):
        gevent.sleep(0)

    assert [dialer.dialled for dialer in stand.dialers.values()] == [1, 1]
    late.answers.set()
    user.join()
    assert [dialer.dialled for dialer in stand.dialers.values()] == [2, 2]


def test_the_sessions_of_a_pair_have_the_same_variables(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("name\nAda\nBob\nCleo\n")
    stand = Stand(tmp_path, "west", "east", text="variables: rows.csv\nsteps:\n  - text: ${name}\n")
    stand.play(4)

    assert [(row["pair"], row["variables_row"]) for row in stand.rows("sessions")] == [
        (pair, pair % 3 + 1) for pair in range(4) for _ in range(2)
    ]


def test_workers_share_the_numbers_of_pairs(tmp_path: Path) -> None:
    stand = Stand(tmp_path, "west", "east", worker=1, workers=3)
    stand.play(2)

    sessions = stand.rows("sessions")
    assert [row["pair"] for row in sessions] == [1, 1, 4, 4]
    assert {row["session_id"] for row in sessions} == {f"w1-00000{number}" for number in range(4)}


def test_both_sessions_of_a_logged_pair_have_a_log(tmp_path: Path) -> None:
    stand = Stand(tmp_path, "west", "east", record_events=Fraction(1, 2))
    stand.play(3)

    logged = {row["pair"] for row in stand.rows("sessions") if row["event_log"]}
    assert logged == {0, 2}
    assert len(list((stand.folder / "events").iterdir())) == 4


def test_the_sessions_of_a_pair_were_meant_to_start_when_their_user_asked_for_them(tmp_path: Path) -> None:
    stand = Stand(tmp_path, "west", "east")
    before_ns = monotonic_ns()
    stand.play()
    after_ns = monotonic_ns()

    rows = stand.rows("sessions")
    first_ns, second_ns = (row["start_ns"] + row["intended_start_at_ns"] for row in rows)
    assert first_ns == second_ns
    assert before_ns <= first_ns <= after_ns
    assert all(row["intended_start_at_ns"] <= 0 for row in rows)


def test_what_sessions_come_to_goes_into_their_spool_and_nowhere_else(tmp_path: Path) -> None:
    folder = create(tmp_path, "elsewhere", 0)
    spool = Spool(folder, worker=3)
    stand = Stand(tmp_path, "west", "east", spool=spool, record_events=Fraction(1, 2))
    stand.play(2)
    stand.live.close()
    (part,) = parts(folder)

    rows = [row for batch in part.batches("sessions", SCHEMAS["sessions"]) for row in batch.to_pylist()]
    assert [row["worker"] for row in rows] == [3] * 4
    assert (part.facts.done, len(list(spool.events.iterdir()))) == (True, 2)
    assert [path.name for path in stand.folder.rglob("*")] == ["spool"]


def test_pairs_that_start_in_the_warm_up_say_so_and_are_no_part_of_what_callers_waited(tmp_path: Path) -> None:
    stand = Stand(tmp_path, "west", "east", warmup_s=3_600)
    stand.play(2)
    standing = stand.live.standing()

    assert {row["phase"] for table in ("sessions", "turns") for row in stand.rows(table)} == {"warmup"}
    assert (standing.pairs_done, standing.turns_succeeded, standing.times_us) == (0, 8, {})
    assert (standing.turns_stamped, standing.event_loop_delay_p99_ms) == (0, None)


def test_a_step_of_the_wall_clock_moves_no_pair_to_another_block_or_phase(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand = Stand(tmp_path, "west", "east", began_ns=monotonic_ns() - 250 * NS_PER_S, warmup_s=200)
    stand.play()
    for step_s in (-86_400, 86_400):
        step_ns = step_s * NS_PER_S
        for module in ("load.execution.live_run", "run.recorder"):
            monkeypatch.setattr(f"bench.{module}.utc_ns", partial(_stepped, step_ns), raising=False)
        stand.play()
    rows = [row for table in ("sessions", "turns") for row in stand.rows(table)]

    assert {(row["block"], row["phase"]) for row in rows} == {(2, "measurement")}
    assert {row["pair"] for row in rows} == {0, 1, 2}


def test_each_arm_gets_as_many_sessions_as_are_asked_for(tmp_path: Path) -> None:
    stand = Stand(tmp_path, "west", "east", sessions=2)

    assert stand.play(2)
    assert not stand.play()
    assert stand.stopped == [ALL_DONE]
    assert [dialer.dialled for dialer in stand.dialers.values()] == [2, 2]


def test_a_task_in_python_is_done_by_a_user_of_its_own_in_each_arm(tmp_path: Path) -> None:
    actors = []

    def talk(actor: Actor) -> None:
        actors.append(actor)
        actor.text("Hello")

    stand = Stand(tmp_path, "west", "east", does=talk)
    actors.clear()  # of the rehearsal
    stand.play()

    assert [row["outcome"] for row in stand.rows("turns")] == ["ok", "ok"]
    assert len({id(actor) for actor in actors}) == 2


def test_a_task_that_fails_in_one_arm_is_told_once_its_partner_has_ended(tmp_path: Path) -> None:
    def talk(actor: Actor) -> None:
        actor.text("Hello")
        if type(actor).__name__ == "Caller" and not failed:
            failed.append(actor)
            raise ValueError("no change")

    failed: list[Actor] = []
    stand = Stand(tmp_path, "west", "east", does=talk)

    with pytest.raises(ValueError, match="no change"):
        stand.play()
    assert stand.live.standing().pairs_done == 1
    outcomes = sorted(row["outcome"] for row in stand.rows("sessions"))
    assert outcomes == ["failed:load_generator", "ok"]


@pytest.mark.parametrize("hurried", [False, True])
def test_a_user_who_is_taken_away_or_whose_run_is_hurried_leaves_no_session_behind(
    hurried: bool, tmp_path: Path
) -> None:
    silent = {label: FakeDialer(answers=Event()) for label in ("west", "east")}
    stand = Stand(tmp_path, "west", "east", dialers=silent)
    user = gevent.spawn(stand.play)
    while sum(dialer.dialled for dialer in silent.values()) < 2:
        gevent.sleep(0)
    if hurried:
        for _ in range(2):
            stand.tell(SignalReceived())
        stand.live.drain(60)
        user.join()
        assert user.value is True
    else:
        user.kill()
    while stand.live.active:
        gevent.sleep(0)

    assert [row["outcome"] for row in stand.rows("sessions")] == ["unfinished", "unfinished"]


def test_a_session_that_outlives_the_end_of_the_run_is_cut_and_counted_as_that(tmp_path: Path) -> None:
    def talk(actor: Actor) -> None:
        actor.text("Hello")
        actor.text("Are you there?")  # so that the first turn is over
        if type(actor).__name__ == "Caller":  # not in the rehearsal
            gevent.sleep(3_600)

    stand = Stand(tmp_path, does=talk)
    user = gevent.spawn(stand.play)
    while not stand.live.standing().turns_succeeded:
        gevent.sleep(0.01)
    stand.end()
    cut = stand.live.drain(0.01, "timeout:turn")
    user.join()
    (row,) = stand.rows("sessions")

    assert (cut, row["outcome"], row["detail"]) == (
        1,
        "timeout:turn",
        "the session was still open 0.01 s after the end of the run",
    )


def test_what_ends_a_run_or_goes_to_locust_holds_no_secret_not_even_in_its_code(tmp_path: Path) -> None:
    secret = Credential("api-key", "a-key-that-nobody-may-see")
    refusal = ConnectError("connect_failed:a-key-that-nobody-may-see", "a-key-that-nobody-may-see is wrong")
    stand = Stand(tmp_path, "west", "east", dialers={"east": FakeDialer(unsupported_setting=refusal)}, auth=secret)
    stand.play(MAX_INITIAL_FAILURES + 2)

    assert stand.stopped == [
        "10 sessions to east failed to open and none succeeded; the last: connect_failed:***: *** is wrong"
    ]
    assert {str(failure) for failure in stand.failures} == {"connect_failed:***: *** is wrong"}
    assert {row["outcome"] for row in stand.rows("sessions")} == {"ok", "connect_failed:***"}


def test_a_wait_that_one_arm_is_asked_for_holds_its_partner(tmp_path: Path) -> None:
    refusing = FakeDialer(unsupported_setting=ConnectError("throttled:handshake", "slow down", {"retry-after": "60"}))
    stand = Stand(tmp_path, "west", "east", dialers={"east": refusing})
    stand.play()
    waiting = gevent.spawn(stand.play)
    while not stand.live.standing().waiting_s:
        gevent.sleep(0)

    assert 50 < stand.live.standing().waiting_s <= 60
    assert list(stand.live.held_s()) in ([], ["east"])
    assert [dialer.dialled for dialer in stand.dialers.values()] == [1, 1]
    stand.end()
    waiting.join()


def test_pairs_that_still_waited_for_their_start_when_the_run_ended_are_not_done(tmp_path: Path) -> None:
    refusing = FakeDialer(unsupported_setting=ConnectError("throttled:handshake", "slow down", {"retry-after": "60"}))
    stand = Stand(tmp_path, dialers={"here": refusing}, sessions=2)
    stand.play()
    waiting = gevent.spawn(stand.play)
    while not stand.live.standing().waiting_s:
        gevent.sleep(0)
    stand.end()
    waiting.join()

    assert stand.stopped == []


def wait_for(happened: Callable[[], bool]) -> None:
    while not happened():
        gevent.sleep(0.01)


@pytest.fixture
def _held_shortly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is refused waits for 20 ms: how long has tests of its own."""
    monkeypatch.setattr("bench.load.execution.target_state.FIRST_WAIT_NS", NS_PER_S // 50)


@pytest.mark.usefixtures("_held_shortly")
def test_after_a_wait_one_session_starts_alone_and_the_others_once_it_has_opened(tmp_path: Path) -> None:
    here = FakeDialer(unsupported_setting=ConnectError("throttled:handshake", "slow down", {"retry-after-ms": "1"}))
    stand = Stand(tmp_path, dialers={"here": here})
    stand.play()
    here.unsupported_setting, here.answers = None, Event()
    users = [gevent.spawn(stand.play) for _ in range(3)]
    wait_for(lambda: here.dialled == 2)
    pacer = stand.live.arms[0].pacer
    wait_for(lambda: monotonic_ns() > pacer.earliest_ns(0))  # no distance keeps the others
    for _ in range(100):
        gevent.sleep(0.001)
    assert here.dialled == 2
    assert pacer.is_probing

    here.answers.set()
    gevent.joinall(users, raise_error=True)
    assert here.dialled == 4
    assert not pacer.is_probing


@pytest.mark.usefixtures("_held_shortly")
def test_a_session_that_cannot_even_be_prepared_leaves_the_start_to_the_next(tmp_path: Path) -> None:
    stand = Stand(tmp_path)
    stand.live.arms[0].pacer.throttled("connection", 0, monotonic_ns(), None)

    with pytest.raises(KeyError):
        stand.live.run_pair(type("Stranger", (), {}), stand.task, Caller())
    assert stand.play()


def test_a_throttled_turn_that_is_its_sessions_last_holds_the_next_session(tmp_path: Path) -> None:
    def refused(response_id: str) -> Iterable[PeerAnswer]:
        error = {"type": "requests", "code": "rate_limit_exceeded", "message": "Please try again in 60s."}
        return spoken([created(response_id), done(response_id, "failed", type="failed", error=error)])

    stand = Stand(
        tmp_path, text="steps:\n  - text: One\n", dialers={"here": FakeDialer(lambda: Service(turns=[refused]))}
    )
    stand.play()
    waiting = gevent.spawn(stand.play)
    wait_for(lambda: stand.live.standing().waiting_s > 0)

    assert 50 < stand.live.standing().waiting_s < 70  # the clock difference is ahead of ours
    assert stand.dialers["here"].dialled == 1
    stand.end()
    waiting.join()


def test_a_budget_that_is_spent_ends_the_run_and_no_turn_begins_any_more(tmp_path: Path) -> None:
    dear = FakeDialer(lambda: Service(turns=[costly, costly]))
    stand = Stand(tmp_path, dialers={"here": dear}, budget_usd=0.5)
    stand.play()

    assert len(stand.stopped) == 1
    assert stand.stopped[0].startswith("the budget of 0.50 USD is spent: ")
    assert [row["outcome"] for row in stand.rows("turns")] == ["ok"]
    assert [row["outcome"] for row in stand.rows("sessions")] == ["unfinished"]
    assert not stand.play()


def test_a_budget_that_is_spent_within_a_turn_stops_it_at_the_end_of_that_response(tmp_path: Path) -> None:
    """Every response calls a function, and each costs more than there is."""

    def calls(response_id: str) -> Iterable[PeerAnswer]:
        called = message(
            "response.function_call_arguments.done",
            response_id=response_id,
            item_id=f"item-{response_id}",
            call_id=f"call-{response_id}",
            name="find",
            arguments="{}",
        )
        return spoken([created(response_id), called, done(response_id, usage=usage(audio_out=1_000_000))])

    dear = FakeDialer(lambda: Service(turns=[calls] * 100))
    text = "tools: {find: {returns: depot}}\nsteps:\n  - text: One\n  - text: Two\n"
    stand = Stand(tmp_path, dialers={"here": dear}, text=text, budget_usd=1.5)
    stand.play()

    assert stand.stopped == ["the budget of 1.50 USD is spent: 2.00 USD"]
    (turn,) = stand.rows("turns")
    assert (turn["outcome"], turn["function_calls"]) == ("unfinished", 2)
    assert turn["detail"] == "the run's budget is spent"
    assert stand.rows("turns")[0]["output_audio_tokens"] == 2_000_000


def test_an_answer_that_belongs_to_no_turn_is_spent_and_stands_on_its_session(tmp_path: Path) -> None:
    def answered_twice(response_id: str) -> Iterable[PeerAnswer]:
        beside = done("beside", usage=usage(audio_out=2_000_000))
        return [*spoken(reply(GA, response_id)), *spoken([created("beside"), beside])]

    stand = Stand(tmp_path, dialers={"here": FakeDialer(lambda: Service(turns=[answered_twice, costly]))})
    stand.play()

    (session,) = stand.rows("sessions")
    first, second = (row["output_audio_tokens"] for row in stand.rows("turns"))
    assert (session["output_audio_tokens"], second) == (2_000_000, 1_000_000)
    assert first < 1_000_000
    assert 3 < stand.live.standing().usd < 3.1


def test_without_a_price_a_budget_cannot_be_kept(tmp_path: Path) -> None:
    dear = FakeDialer(lambda: Service(turns=[costly, costly]))
    stand = Stand(tmp_path, dialers={"here": dear}, budget_usd=0.5, prices=None)
    stand.play()

    assert stand.refused
    assert "--prices FILE" in stand.refused[0]
    assert stand.stopped == []


def test_without_a_budget_nobody_asks_for_prices(tmp_path: Path) -> None:
    dear = FakeDialer(lambda: Service(turns=[costly, costly]))
    stand = Stand(tmp_path, dialers={"here": dear}, prices=None)
    stand.play()

    assert (stand.refused, stand.stopped) == ([], [])
    assert stand.live.standing().turns_succeeded == 2


class StopUser(Exception):  # noqa: N818  # as Locust calls it
    """As one of Locust's own."""


StopUser.__module__ = "locust.exception"


def test_of_several_arms_a_fault_is_told_before_locusts_own_words_and_none_is_lost() -> None:
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
    """Calls so many milliseconds after they may begin to arrive."""
    recorded = RecordedArrivals(Path("calls.txt"), "", tuple(ms / 1000 for ms in after_ms))
    return LoadModel(Arrivals(1, slots, recorded=recorded))


def test_a_call_that_arrives_is_played_by_an_idle_user_and_says_when_it_came(tmp_path: Path) -> None:
    began_ns = monotonic_ns() - NS_PER_S  # so that calls arrive at once
    stand = Stand(tmp_path, load_model=arriving(0, 1), began_ns=began_ns)
    users = [gevent.spawn(stand.play) for _ in range(2)]
    with gevent.Timeout(30):  # joinall would count its own from the last poll, however long ago
        gevent.joinall(users, raise_error=True)

    sessions = stand.rows("sessions")
    called_ns = sorted(row["start_ns"] + row["call_arrival_at_ns"] for row in sessions)
    assert called_ns == [began_ns + NS_PER_S, began_ns + NS_PER_S + 10**6]
    assert all(
        row["call_arrival_at_ns"] == row["intended_start_at_ns"] <= row["connect_start_at_ns"] for row in sessions
    )
    assert all(row["first_reply_at_ns"] is not None for row in sessions)
    assert stand.stopped == [ALL_DONE]


@given(
    at_ms=st.lists(st.integers(0, 20), max_size=12),
    users=st.integers(0, 4),
    held_ms=st.integers(0, 30),
    lasts_ms=st.integers(0, 30),
    staffed=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_every_call_that_arrived_is_of_one_class_whenever_the_run_ends(
    tmp_path_factory: pytest.TempPathFactory,
    at_ms: list[int],
    users: int,
    held_ms: int,
    lasts_ms: int,
    staffed: bool,
) -> None:
    """It started, or was blocked, or the end of the run cut it off before its start."""
    now_ns = monotonic_ns()
    load_model = arriving(*sorted(at_ms))
    stand = Stand(tmp_path_factory.mktemp("calls"), load_model=load_model, began_ns=now_ns - NS_PER_S)
    stand.live.arms[0].pacer.hold(now_ns + held_ms * 10**6, now_ns)
    players = [gevent.spawn(stand.play) for _ in range(users)]
    gevent.idle()
    if staffed:
        stand.live.expect_users(users)
    gevent.sleep(lasts_ms / 1000)
    stand.end()
    stand.live.drain(30.0)
    rows = stand.rows("sessions")  # which closes the run
    with gevent.Timeout(30):  # joinall would count its own from the last poll, however long ago
        gevent.joinall(players, raise_error=True)

    calls, blocked, cut = (
        sum(row[name] for row in stand.rows("seconds"))
        for name in ("calls_offered", "calls_blocked", "calls_not_started")
    )
    assert calls == blocked + cut + sum(row["call_arrival_at_ns"] is not None for row in rows)
    assert calls <= len(at_ms)
    assert staffed or not blocked


def test_a_call_that_a_pacer_holds_back_is_meant_to_start_then_and_had_arrived_before(tmp_path: Path) -> None:
    stand = Stand(tmp_path, load_model=arriving(0), began_ns=monotonic_ns() - NS_PER_S)
    until_ns = monotonic_ns() + NS_PER_S // 20
    stand.live.arms[0].pacer.hold(until_ns, monotonic_ns())
    assert stand.play()

    (row,) = stand.rows("sessions")
    assert row["start_ns"] + row["intended_start_at_ns"] == until_ns
    assert row["call_arrival_at_ns"] < row["intended_start_at_ns"]
    assert sum(second["calls_delayed"] for second in stand.rows("seconds")) == 1
