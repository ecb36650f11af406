"""Calls that continue after the end of their session, on a virtual clock, with the behaviour of
the simulator.
"""

from __future__ import annotations

import gc
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import gevent
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.catalogue.causes import ConnectError
from bench.load.execution.call import Call
from bench.load.execution.session_registry import RunListener
from bench.observe.timeline import Timeline
from bench.plan.functions import ScriptFunction
from bench.plan.steps import MessageStep, PauseStep
from bench.plan.turns import Step
from bench.session.session import Session
from rtbench_simulator.profile import FunctionCalls, PreambleSettings, Profile
from tests.helpers import MS, Listening, S, Service, build_message, error, respond, say, spoken
from tests.load.fake_live_run import FakeDialer, FakeRun
from tests.load.simulated_calls import NEVER, PROFILE, SimulatedCall
from tests.talking import (
    EDGES,
    ORDER,
    SPEECH,
    START_NS,
    VAD,
    Talked,
    Truth,
    build_script,
    speak,
)


def call(
    *steps: Step,
    after_s: float,
    cap_ns: int = NEVER >> 1,
    ends_ns: int = NEVER,
    seed: int = 1,
    profile: Profile = PROFILE,
    functions: Mapping[str, ScriptFunction] | None = None,
    place_s: float = 0,
    **session: Any,
) -> SimulatedCall:
    script = replace(
        build_script(*steps, **session),
        renew_after_ns=round(after_s * S),
        functions=functions or {},
    )
    exchange = SimulatedCall(script, cap_ns, ends_ns, seed, profile)
    exchange.place_ns = START_NS + round(place_s * S)
    exchange.talk()
    return exchange


def test_a_session_is_renewed_before_the_next_turn() -> None:
    exchange = call(say(), say(), say(), after_s=0.001)

    assert [[turn.turn for turn in turns] for turns in exchange.turns_of_sessions] == [
        [1],
        [2],
        [3],
    ]
    assert [session.outcome for session in exchange.sessions] == ["ok"] * 3
    assert {turn.outcome for turn in exchange.turns} == {"ok"}
    assert [session.renewed for session in exchange.sessions] == [True, True, False]
    assert sum(session.turns_not_started for session in exchange.sessions) == 0
    assert all(observer.opened == observer.ended == 1 for observer in exchange.observers)


def test_the_new_session_receives_the_conversation_so_far() -> None:
    by_the_way = MessageStep(build_message("By the way.", "system"))
    exchange = call(
        speak(*SPEECH),
        by_the_way,
        respond(conversation="none"),
        say(),
        after_s=4,
        history=1,
        turn_detection=VAD,
    )

    spoken, *_ = exchange.turns
    assert exchange.history_received_by(1) == [
        ("user", "Word 0"),
        ("user", spoken.input_text),
        ("assistant", spoken.reply_text),
        ("system", "By the way."),
    ]


@settings(max_examples=20)
@given(
    functions=st.builds(
        FunctionCalls,
        parallel=st.sampled_from([(1, 1), (2, 3)]),
        rounds=st.integers(1, 3),
        preamble=st.sampled_from([0.0, 1.0]),
        wrong_name=st.sampled_from([0.0, 1.0]),
    ),
    parts=st.builds(PreambleSettings, share=st.sampled_from([0.0, 1.0])),
    seed=st.integers(0, 99),
)
def test_the_new_session_receives_each_function_call_with_its_result_in_order(
    functions: FunctionCalls, parts: PreambleSettings, seed: int
) -> None:
    profile = replace(PROFILE, functions=functions, preamble=parts)
    finds = {ORDER.name: ScriptFunction(ORDER, [{"place": "here"}, {"place": "there"}], delay=0.1)}
    exchange = call(
        say(), say(), after_s=0.001, profile=profile, functions=finds, tools=(ORDER,), seed=seed
    )

    assert len(exchange.observers) == 2
    hello, *replied = exchange.history_received_by(1)
    assert hello == ("user", "Hello")
    assert replied == exchange.replied(0)
    assert any(len(item) == 3 for item in replied), "a call was told"
    assert "error" not in {message.type for message in exchange.services[1].said}
    assert exchange.sessions[1].instants.keys() >= {"history_acked"}


def test_a_call_continues_if_the_service_ends_its_session_within_a_turn() -> None:
    exchange = call(say(), say(), say(), after_s=3_600, cap_ns=1_000 * MS)

    assert {session.outcome for session in exchange.sessions[:-1]} == {"renewed"}
    assert [turn.turn for turn in exchange.turns] == [1, 2, 3]
    assert "session_expired" in {turn.outcome for turn in exchange.turns}
    assert sum(session.turns_not_started for session in exchange.sessions) == 0


@pytest.mark.parametrize(
    "speed_of_turns", [(speak(*SPEECH), speak(*SPEECH)), (say(), say())], ids=["spoken", "typed"]
)
def test_the_renewal_gap_excludes_the_caller_s_own_time(
    speed_of_turns: tuple[Step, ...],
) -> None:
    exchange = call(
        speed_of_turns[0], PauseStep(1), speed_of_turns[1], after_s=2.5, turn_detection=VAD
    )

    before, after = exchange.sessions
    listening = Listening()
    talked = Talked(
        exchange.script, exchange.services[0], exchange.turns_of_sessions[0], before, listening
    )
    ends_ns = Truth(talked, {1: EDGES}).ends_ns(1)
    (turn,) = exchange.turns_of_sessions[1]
    metrics = after.metrics_ns()
    assert abs(after.instants["previous_reply_end"] - ends_ns) < 2
    wait_ns = turn.instants["first_audible"] - turn.instants[turn.measured_from or ""]
    parts_ns = (
        metrics["session_ready"] + metrics["session_update"] + metrics["history_load"] + wait_ns
    )
    begun_ns = after.instants["connect_start"] - after.instants["previous_reply_end"]
    between_ns = metrics["renewal_gap"] - begun_ns - parts_ns
    assert 0 <= between_ns < MS, "nothing passes between the parts"


@pytest.mark.parametrize(
    ("before", "after", "measured"),
    [
        ("audio", "audio", True),
        ("audio", "text", False),
        ("text", "audio", False),
        ("text", "text", False),
    ],
)
def test_the_renewal_gap_is_absent_if_an_adjacent_reply_is_text(
    before: Any, after: Any, measured: bool
) -> None:
    exchange = call(say(output=before), say(output=after), after_s=0.001)

    first, second = exchange.sessions
    assert ("renewal_gap" in second.metrics_ns()) is measured
    assert "service_time" in second.metrics_ns(), "which tells of text"
    assert "renewal_gap" not in first.metrics_ns()


STEPS: dict[str, Step] = {
    "speak": speak(*SPEECH),
    "text": say(),
    "ask for text": say(output="text"),
    "ask out of band": respond(conversation="none"),
    "pause": PauseStep(2),
    "tell": MessageStep(build_message("Be brief.", "system")),
}


@settings(max_examples=40)
@given(
    steps=st.lists(st.sampled_from([*STEPS]), min_size=1, max_size=6),
    after_s=st.sampled_from([0.001, 1.0, 4.0, 60.0]),
    cap_ms=st.integers(1_500, 9_000),
    detection=st.sampled_from([None, VAD]),
    seed=st.integers(0, 99),
)
def test_each_turn_is_sent_once_and_each_session_receives_the_earlier_conversation(
    steps: list[str], after_s: float, cap_ms: int, detection: Any, seed: int
) -> None:
    played = [STEPS[name] for name in steps]
    exchange = call(
        *played, after_s=after_s, cap_ns=cap_ms * MS, turn_detection=detection, seed=seed
    )

    assert [turn.turn for turn in exchange.turns] == list(range(1, len(exchange.script.turns) + 1))
    assert {turn.outcome for turn in exchange.turns} <= {
        "ok",
        "session_expired",
        "cancelled:turn_detected",
    }
    assert {session.outcome for session in exchange.sessions} <= {"ok", "renewed"}
    assert sum(session.turns_not_started for session in exchange.sessions) == 0
    for earlier, later in pairwise(range(len(exchange.observers))):
        assert exchange.history_received_by(later)[
            : len(exchange.history_received_by(earlier))
        ] == exchange.history_received_by(earlier)


# Calls in a run.


def test_each_session_of_a_call_is_a_row_of_the_same_pair(tmp_path: Path) -> None:
    run = FakeRun(
        tmp_path, text="renew_after: 0.001\nsteps:\n  - text: One\n  - text: Two\n", record_events=1
    )
    run.play(2)

    sessions = run.rows("sessions")
    assert [(row["session_id"], row["pair"], row["outcome"]) for row in sessions] == [
        ("w0-000000", 0, "ok"),
        ("w0-000000.2", 0, "ok"),
        ("w0-000001", 1, "ok"),
        ("w0-000001.2", 1, "ok"),
    ]
    assert sorted((row["session_id"], row["turn"]) for row in run.rows("turns")) == [
        ("w0-000000", 1),
        ("w0-000000.2", 2),
        ("w0-000001", 1),
        ("w0-000001.2", 2),
    ]
    assert [row["intended_start_at_ns"] is None for row in sessions] == [False, True] * 2
    assert not any(row["turns_not_started"] for row in sessions)
    standing = run.live.progress_report()
    assert (standing.sessions_done, standing.sessions_over, standing.sessions_open) == (4, 2, 0)
    assert (
        len([*(run.folder / "spool").rglob("*.jsonl"), *(run.folder / "events").rglob("*.jsonl")])
        == 4
    )


PER_MINUTE, INTERVAL_NS = 300, 200 * MS


def begins_ns(row: dict[str, Any]) -> int:
    """Return the intended start of a session, or its actual start if the session has no intended
    start.
    """
    return int(row["start_ns"] + (row["intended_start_at_ns"] or 0))


def test_a_renewal_is_scheduled_at_the_connect_rate(tmp_path: Path) -> None:
    def task(actor: Any) -> None:
        actor.text("One")
        actor.text("Two")  # the start of the next session is reserved, but not yet due
        gevent.sleep(INTERVAL_NS / S)
        actor.text("Three")

    run = FakeRun(tmp_path, does=task, settings={"renew_after": 0.001}, per_minute=PER_MINUTE)
    run.play(2)

    begun_ns = {row["session_id"]: begins_ns(row) for row in run.rows("sessions")}
    assert begun_ns["w0-000000.2"] - begun_ns["w0-000000"] >= INTERVAL_NS
    assert begun_ns["w0-000001"] - begun_ns["w0-000000"] >= 2 * INTERVAL_NS, (
        "a place was taken before it"
    )


def test_a_call_whose_session_the_service_ended_waits_for_its_scheduled_start(
    tmp_path: Path,
) -> None:
    services = iter([Service(turns=[lambda _: spoken([error("session_expired")])]), Service()])
    dialer = FakeDialer(service=lambda: next(services))
    text = "renew_after: 3600\nsteps:\n  - text: One\n  - text: Two\n"
    run = FakeRun(tmp_path, text=text, dialers={"here": dialer}, per_minute=PER_MINUTE)
    run.play()

    first, second = run.rows("sessions")
    assert (first["outcome"], second["outcome"]) == ("renewed", "ok")
    assert begins_ns(second) - begins_ns(first) >= INTERVAL_NS


def test_a_call_whose_next_session_is_refused_ends_with_a_connect_error(tmp_path: Path) -> None:
    refused = ConnectError("connect_failed:403", "not today")
    dialer = FakeDialer()

    def answer() -> Service:
        dialer.unsupported_setting = refused  # for the next connection
        return Service()

    dialer.service = answer
    text = "renew_after: 0.001\nsteps:\n  - text: One\n  - text: Two\n"
    run = FakeRun(tmp_path, text=text, dialers={"here": dialer})
    run.play()

    assert [row["outcome"] for row in run.rows("sessions")] == ["ok", "connect_failed:403"]
    assert [type(failure) for failure in run.failures] == [ConnectError]


def test_a_python_task_reads_the_outcomes_of_turns_of_renewed_sessions(tmp_path: Path) -> None:
    outcomes: list[str] = []

    def task(actor: Any) -> None:
        turns = [actor.text(text) for text in ("One", "Two")]
        outcomes.extend(turn.outcome for turn in turns)

    run = FakeRun(tmp_path, does=task, settings={"renew_after": 0.001})
    outcomes.clear()  # remove the results of the rehearsal
    run.play()

    assert outcomes == ["ok", "ok"]
    assert len(run.rows("sessions")) == 2


@pytest.mark.parametrize("text", ["", "renew_after: 0.001\n", "reconnect: {}\n"])
def test_a_call_leaves_no_reference_cycles(text: str, tmp_path: Path) -> None:
    """The test ignores the objects that existed before the call, because other tests of this
    process have left them.
    """
    run = FakeRun(tmp_path, text=f"{text}steps:\n  - text: One\n  - text: Two\n")
    run.play()
    gc.collect()
    before = parts_of_calls()
    gc.disable()
    try:
        run.play(2)
        left = [
            type(thing).__name__
            for thing in parts_of_calls()
            if not any(thing is one for one in before)
        ]
    finally:
        gc.enable()

    assert left == []


def parts_of_calls() -> list[object]:
    return [
        thing
        for thing in gc.get_objects()
        if isinstance(thing, Call | RunListener | Session | Timeline)
    ]
