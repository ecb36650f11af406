"""Calls that continue after the end of their session, on a virtual clock, with the behaviour of
the simulator.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import gevent
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.catalogue.causes import ConnectError
from bench.load.execution.call import Call
from bench.load.execution.session_registry import RunListener
from bench.observe.inputs import SessionStart
from bench.observe.observation import SessionObservation, TurnObservation
from bench.observe.timeline import Timeline
from bench.plan.functions import ScriptFunction
from bench.plan.prepared import PreparedScript
from bench.plan.steps import MessageStep, PauseStep
from bench.plan.turns import Step
from bench.services.openai.dialect import GA
from bench.session.session import Session
from bench.wire.connection import ConnectionClosed
from rtbench_simulator.profile import FunctionCalls, PreambleSettings, Profile, quiet_profile
from tests.helpers import MS, Listening, S, Service, build_message, error, respond, say, spoken
from tests.load.fake_live_run import FakeDialer, FakeRun
from tests.memory_transport import PeerAnswer, VirtualClock
from tests.talking import (
    EDGES,
    ORDER,
    SPEECH,
    START_NS,
    VAD,
    PatientTransport,
    Simulator,
    Talked,
    Truth,
    build_script,
    decoded,
    speak,
)

NEVER = 1 << 62
PROFILE = replace(quiet_profile(), generation_speed=2.0)
LIMIT = "Your session hit the maximum duration of 60 minutes."


class CappedAgent(Simulator):
    """A simulator that ends its session after `cap_ns`."""

    def __init__(self, profile: Profile, seed: int, at_ns: int, cap_ns: int) -> None:
        super().__init__(GA, profile, seed, at_ns)
        self._ends_ns = at_ns + cap_ns

    def next_due_ns(self) -> int | None:
        return (
            min(self._ends_ns, due_ns)
            if (due_ns := super().next_due_ns()) is not None
            else self._ends_ns
        )

    def say(self, now_ns: int) -> Iterable[PeerAnswer]:
        if now_ns < self._ends_ns:
            yield from super().say(now_ns)
        elif self._ends_ns < NEVER:
            ends_ns, self._ends_ns = self._ends_ns, NEVER
            yield ends_ns, error("session_expired", words=LIMIT)
            yield ends_ns, ConnectionClosed(1001, 0, LIMIT)


class SessionObserver(Listening):
    """A listener that records the results and events of one session of a call."""

    opened = ended = 0
    refusal = None

    def __init__(self, timeline: Timeline) -> None:
        super().__init__()
        self.timeline = timeline

    def on_opened(self) -> None:
        self.opened += 1

    def session_ended(self) -> None:
        self.ended += 1


class SimulatedCall(Call):
    """A call with a new simulated service for each session. The service ends its session after
    `cap_ns`.
    """

    def __init__(
        self,
        script: PreparedScript,
        cap_ns: int = NEVER >> 1,
        ends_ns: int = NEVER,
        seed: int = 1,
        profile: Profile = PROFILE,
    ) -> None:
        super().__init__(cast(Any, None), cast(Any, SimpleNamespace(script=script)))
        self.script, self._cap_ns, self._ends_ns, self._seed = script, cap_ns, ends_ns, seed
        self._profile = profile
        self.clock = VirtualClock(START_NS)
        self.observers: list[SessionObserver] = []
        """One observer for each session, with the session's results."""
        self.services: list[Simulator] = []
        self.histories: list[int] = []
        self.place_ns = 0
        """The instant at which the next session may start."""

    def talk(self) -> None:
        """Run the call from its beginning to its end."""
        self.start()
        if self.connect():
            if self.open():
                for step in self.script.steps:
                    if not self.run_step(step):
                        break
            self._connected.close()
        self.end()

    def start_session(self, number: int, turns_started: int) -> RunListener:
        assert number == len(self.observers) + 1
        script, wanted = self.script, len(self.script.turns) - turns_started
        responds, renewable = script.service_responds, script.renewable
        start = SessionStart(
            self.clock.now_ns, wanted, script.limits, responds, renewable=renewable
        )
        timeline = Timeline(start, script.dialect)
        self.observers.append(SessionObserver(timeline))
        return cast(Any, self.observers[-1])

    def has_step(self, *, waits: bool) -> bool:
        if waits and not self.is_ending():
            self.clock.now_ns = max(self.clock.now_ns, self.place_ns)
        return self.clock.now_ns >= self.place_ns

    def connect(self) -> bool:
        listener, script = self._listener, self._script
        self.services.append(
            CappedAgent(
                self._profile, self._seed + len(self.observers), self.clock.now_ns, self._cap_ns
            )
        )
        self.histories.append(len(script.history))
        transport = PatientTransport(self.services[-1], self.clock)
        self._session = Session(script, transport, listener.timeline, listener, self.is_ending)
        return True

    def is_ending(self) -> bool:
        return self.clock.now_ns > START_NS + self._ends_ns

    # The results.

    @property
    def sessions(self) -> list[SessionObservation]:
        return [observer.timeline.session() for observer in self.observers]

    @property
    def turns_of_sessions(self) -> list[list[TurnObservation]]:
        return [sorted(observer.turns, key=lambda turn: turn.turn) for observer in self.observers]

    @property
    def turns(self) -> list[TurnObservation]:
        return [turn for turns in self.turns_of_sessions for turn in turns]

    def history_received_by(self, session: int) -> list[tuple[str, ...]]:
        """Return the items of the history that this session sent to its service before its first
        turn.
        """
        events = [event for _, event in self.services[session].heard]
        items = [event["item"] for event in events if event["event_id"] == "session-message"]
        return [item_facts(item) for item in items[: self.histories[session]]]

    def replied(self, session: int) -> list[tuple[str, ...]]:
        """Return the items that the service of a session has output. Each function call is
        followed by its result.
        """
        received = [event["item"] for _, event in self.services[session].heard if "item" in event]
        returned = {
            item["call_id"]: item_facts(item)
            for item in received
            if item["type"] == "function_call_output"
        }
        sent = [decoded(message.body) for message in self.services[session].said]
        items = [
            item
            for event in sent
            if event["type"] == "response.done"
            for item in event["response"]["output"]
        ]
        behind = [
            [item_facts(item), *([returned[item["call_id"]]] if "call_id" in item else [])]
            for item in items
        ]
        return [item for pair in behind for item in pair]


def item_facts(item: Any) -> tuple[str, ...]:
    """Return the facts of a conversation item.

    These are (role, text) of a message, (name, call ID, arguments) of a function call, or (call ID,
    output) of its result.
    """
    if item["type"] == "message":
        (part,) = item["content"]
        return item["role"], part.get("text") or part["transcript"]
    return tuple(item[key] for key in ("name", "call_id", "arguments", "output") if key in item)


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


@pytest.mark.parametrize("text", ["", "renew_after: 0.001\n"])
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
