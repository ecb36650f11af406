"""Calls whose connection is dropped, and that connect again, on a virtual clock."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.base.errors import ScriptError
from bench.base.units import NS_PER_S
from bench.catalogue.timeouts import Timeouts
from bench.load.execution.away import Away
from bench.observe.inputs import Connected, SessionFailed, SessionStart
from bench.observe.observation import SessionObservation
from bench.observe.timeline import Timeline
from bench.plan.prepared import PreparedScript
from bench.plan.reconnect import ATTEMPTS, REFUSED, UNFINISHED, WITHIN, Backoff, Reconnect
from bench.plan.script import load_script
from bench.plan.steps import PauseStep
from bench.plan.turns import Step
from bench.services.openai.dialect import GA
from bench.services.registry import DIALECTS
from bench.session.session import Session
from bench.wire.connection import ConnectionClosed
from bench.wire.dialect import ClientMessage
from bench.wire.settings import Message
from tests.helpers import MS, S, Service, say
from tests.helpers import build_script as prepared
from tests.load.fake_live_run import FakeDialer, FakeRun
from tests.load.simulated_calls import NEVER, PROFILE, CappedAgent, SimulatedCall
from tests.memory_transport import PeerAnswer
from tests.talking import SPEECH, START_NS, VAD, PatientTransport, build_script, speak

LIMITS_OF_CALLS = Reconnect(within=20.0, attempts=3, backoff=Backoff(0.5, 2.0))
REFUSED_CALL = 0
"""Instead of the time until a drop: the connection is refused."""
LASTS = NEVER >> 1


class DroppingAgent(CappedAgent):
    """A simulator whose connection ends with code 1006."""

    def say(self, now_ns: int) -> Iterable[PeerAnswer]:
        *answers, last = [None, *super().say(now_ns)]
        if last is not None and isinstance(last[1], ConnectionClosed):
            return [(last[0], ConnectionClosed(1006, 0, ""))]
        return [answer for answer in (*answers, last) if answer is not None]


class DroppedCall(SimulatedCall):
    """A call whose sessions are dropped after these times in ns, or refused (REFUSED_CALL), which
    `opens` before if its connection is accepted.
    """

    opens = False

    def __init__(
        self, script: PreparedScript, drops_ns: Sequence[int], refusal: str, ends_ns: int
    ) -> None:
        super().__init__(script, ends_ns=ends_ns)
        self._drops_ns = drops_ns
        self._refusal = refusal

    def connect(self) -> bool:
        number = len(self.observers) - 1
        drop_ns = self._drops_ns[number] if number < len(self._drops_ns) else LASTS
        timeline = self._listener.timeline
        if drop_ns == REFUSED_CALL:
            timeline.apply(*[Connected({"opened": self.clock.now_ns}, {})] * self.opens)
            timeline.apply(SessionFailed(self._refusal, self.clock.now_ns))
            return False
        service = DroppingAgent(PROFILE, self._seed + number, self.clock.now_ns, drop_ns)
        self.services.append(service)
        self.histories.append(len(self._script.history))
        transport = PatientTransport(service, self.clock)
        self._session = Session(self._script, transport, timeline, self._listener, self.is_ending)
        return True


def dropped(
    *steps: Step,
    drops_ns: Sequence[int],
    refusal: str = "connect_failed:503",
    ends_ns: int = NEVER,
    limits: Reconnect = LIMITS_OF_CALLS,
    place_ns: int = 0,
    **session: Any,
) -> DroppedCall:
    script = replace(build_script(*steps, **session), reconnect=limits)
    call = DroppedCall(script, drops_ns, refusal, ends_ns)
    call.place_ns = place_ns
    call.talk()
    return call


def test_a_dropped_call_connects_again_and_says_the_turn_in_progress_again() -> None:
    call = dropped(say(), say(), say(), drops_ns=[1_500 * MS])

    first, second = call.turns_of_sessions
    cut = first[-1].turn
    assert first[-1].outcome == "closed:1006"
    assert [turn.turn for turn in second] == list(range(cut, 4))
    assert {turn.outcome for turn in second} == {"ok"}
    old, new = call.sessions
    assert (old.outcome, old.renewed, old.gave_up) == ("closed:1006", True, "")
    assert (new.outcome, new.attempt, new.turns_repeated) == ("ok", 1, 1)
    assert old.turns_not_started == new.turns_not_started == 0
    assert new.turns_planned == new.turns_started


def test_the_new_session_begins_with_the_completed_turns_and_without_the_cut_one() -> None:
    call = dropped(say(), say(), say(), drops_ns=[1_500 * MS])

    *completed, _ = call.turns_of_sessions[0]
    expected = [
        pair for turn in completed for pair in (("user", "Hello"), ("assistant", turn.reply_text))
    ]
    assert call.history_received_by(1) == expected


@pytest.mark.parametrize("drop_ns", range(300 * MS, 8_000 * MS, 530 * MS))
def test_each_turn_succeeds_once_whenever_the_connection_is_dropped(drop_ns: int) -> None:
    call = dropped(
        speak(*SPEECH), PauseStep(1), say(), drops_ns=[drop_ns, REFUSED_CALL], turn_detection=VAD
    )

    succeeded = [turn.turn for turn in call.turns if turn.outcome == "ok"]
    assert succeeded == [1, 2]
    assert sum(session.turns_not_started for session in call.sessions) == 0
    again = sum(session.turns_repeated for session in call.sessions)
    assert again == sum(turn.outcome == "closed:1006" for turn in call.turns)


def test_a_drop_between_two_turns_repeats_none_and_the_pause_goes_on() -> None:
    call = dropped(say(), PauseStep(30), say(), drops_ns=[10_000 * MS])

    assert [turn.outcome for turn in call.turns] == ["ok", "ok"]
    first, second = call.turns
    assert second.start_ns - first.instants["ended"] >= 30 * S
    assert call.sessions[1].turns_repeated == 0
    assert call.sessions[1].instants["last_heard"] == call.sessions[1].instants["dropped"]


def test_a_pause_that_is_dropped_twice_does_not_end_the_call() -> None:
    call = dropped(say(), PauseStep(30), say(), drops_ns=[10_000 * MS, 5_000 * MS])

    assert [turn.outcome for turn in call.turns] == ["ok", "ok"]
    assert [session.attempt for session in call.sessions] == [None, 1, 2]


def test_a_renewal_that_is_refused_is_followed_by_attempts() -> None:
    script = build_script(say(), say())
    script = replace(script, reconnect=LIMITS_OF_CALLS, renew_after_ns=1)
    call = DroppedCall(script, [LASTS, REFUSED_CALL], "connect_failed:503", NEVER)
    call.talk()

    assert [turn.outcome for turn in call.turns] == ["ok", "ok"]
    assert [session.attempt for session in call.sessions] == [None, None, 1]
    assert [session.renewed for session in call.sessions] == [True, True, False]


def test_a_call_gives_up_if_no_session_may_start_in_time() -> None:
    call = dropped(say(), say(), drops_ns=[900 * MS], place_ns=START_NS + 60 * S)
    assert [session.gave_up for session in call.sessions] == [WITHIN]


def test_a_drop_after_the_last_turn_needs_no_further_session() -> None:
    call = dropped(say(), PauseStep(30), drops_ns=[10_000 * MS])
    assert len(call.sessions) <= 2
    assert [turn.outcome for turn in call.turns] == ["ok"]


def test_the_caller_hears_what_was_received_before_saying_the_turn_again() -> None:
    call = dropped(say(), drops_ns=[900 * MS])

    new = call.sessions[1]
    assert new.instants["last_heard"] > new.instants["dropped"]
    assert call.turns_of_sessions[1][0].start_ns >= new.instants["last_heard"]


@pytest.mark.parametrize(
    ("drops_ns", "refusal", "ends_ns", "reason", "attempts"),
    [
        ([900 * MS] + [REFUSED_CALL] * 9, "connect_failed:503", NEVER, ATTEMPTS, 3),
        ([900 * MS] + [REFUSED_CALL] * 9, "connect_failed:401", NEVER, REFUSED, 1),
        ([900 * MS] + [REFUSED_CALL] * 9, "exhausted:ports", NEVER, UNFINISHED, 1),
        ([900 * MS], "connect_failed:503", 901 * MS, UNFINISHED, 0),
        ([900 * MS] + [300 * MS] * 9, "connect_failed:503", NEVER, ATTEMPTS, 3),
    ],
    ids=["attempts", "refused for good", "this machine", "end of the run", "dropped each time"],
)
def test_a_call_that_does_not_come_back_states_why(
    drops_ns: list[int], refusal: str, ends_ns: int, reason: str, attempts: int
) -> None:
    call = dropped(say(), say(), drops_ns=drops_ns, refusal=refusal, ends_ns=ends_ns)

    *others, last = call.sessions
    assert last.gave_up == reason
    assert [session.attempt for session in call.sessions] == [None, *range(1, attempts + 1)]
    assert all(session.renewed and not session.gave_up for session in others)
    assert not last.renewed


def away(limits: Reconnect, jitter: float = 0.0) -> Away:
    timeline = Timeline(SessionStart(0, 1, Timeouts()), GA)
    timeline.apply(SessionFailed("closed:1001", 0))
    return Away(limits, timeline, 0, lambda: jitter)


FAILED = SessionObservation(outcome="connect_failed:503", instants={"ended": 0})


def test_each_wait_is_twice_as_long_until_the_longest_and_half_of_it_is_random() -> None:
    limits = Reconnect(within=600, attempts=5, backoff=Backoff(first=1, max=4))
    waits_s = []
    for jitter in (0.0, 1.0):
        call = away(limits, jitter)
        found = [call.due_ns]
        while not call.end:
            call.attempt(0)
            call.failed(FAILED)
            found.append(call.due_ns)
        waits_s.append([due_ns / NS_PER_S for due_ns in found[:5]])
    assert waits_s == [[0.5, 1, 2, 2, 2], [1, 2, 4, 4, 4]]


@given(
    within=st.floats(0.1, 60),
    attempts=st.integers(1, 20),
    first=st.floats(0.01, 10),
    longest=st.floats(0.01, 10),
    jitter=st.floats(0, 1),
    took_s=st.floats(0, 20),
)
def test_attempts_stay_within_the_limits(
    within: float, attempts: int, first: float, longest: float, jitter: float, took_s: float
) -> None:
    call = away(Reconnect(within, attempts, Backoff(first, longest)), jitter)
    number = now_ns = 0
    while not call.end:
        number += 1
        now_ns = max(now_ns, call.due_ns)
        assert call.due_ns <= within * NS_PER_S
        assert call.attempt(0).attempt == number <= attempts
        start_ns, now_ns = now_ns, now_ns + round(took_s * NS_PER_S)
        call.failed(replace(FAILED, start_ns=start_ns, instants={"ended": now_ns}))
    assert call.end in (ATTEMPTS, WITHIN)


def test_the_wait_that_a_service_requests_is_longer() -> None:
    call = away(Reconnect(within=60))
    call.attempt(0)
    call.failed(replace(FAILED, headers={"retry-after": "7"}, instants={"ended": 2 * S}))
    assert call.due_ns >= 9 * S


SAID = (Message(role="user", text="Hello"), Message(role="assistant", text="Hi"))


@pytest.mark.parametrize(
    ("name", "extra", "handle", "restored_by"),
    [
        ("gemini", {"sessionResumption": {}}, "handle-1", "handle"),
        ("gemini", {}, "", "nothing"),
        ("ga", {}, "", "history"),
    ],
)
def test_a_session_restores_the_conversation_as_its_service_can(
    name: str, extra: dict[str, Any], handle: str, restored_by: str
) -> None:
    script = prepared(say(), dialect=DIALECTS[name], extra=extra)
    continued = script.continued(SAID, handle)

    assert (b"handle-1" in b"".join(sent_by(continued))) is (restored_by == "handle")
    assert len(continued.history) == (2 if restored_by == "history" else 0)


@pytest.mark.parametrize(("opens", "then"), [(False, "handle-1"), (True, "")])
def test_a_handle_that_the_service_refuses_is_not_used_again(
    opens: bool, then: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    handles: list[str] = []
    monkeypatch.setattr(
        PreparedScript, "continued", lambda self, _, handle: handles.append(handle) or self
    )
    script = replace(build_script(say(), say()), reconnect=LIMITS_OF_CALLS)
    call = DroppedCall(script, [1_500 * MS, REFUSED_CALL], "failed:unknown", NEVER)
    call.opens, call._handle = opens, "handle-1"
    call.talk()

    assert handles == ["handle-1", then]
    assert call.turns[-1].outcome == "ok"


def sent_by(script: PreparedScript) -> Iterator[bytes]:
    return (step.data for step in script.setup_messages if isinstance(step, ClientMessage))


def test_the_rows_of_a_call_that_came_back_name_the_attempt(tmp_path: Path) -> None:
    close = (5 * MS, ConnectionClosed(1001, 0, "restart"))
    services = iter([Service(turns=[lambda _: [close]]), Service()])
    dialer = FakeDialer(service=lambda: next(services))
    text = "reconnect: {backoff: {first: 0.001}}\nsteps:\n  - text: One\n  - text: Two\n"
    run = FakeRun(tmp_path, text=text, dialers={"here": dialer}, record_events=1)
    run.play()

    first, second = run.rows("sessions")
    assert (first["session_id"], second["session_id"]) == ("w0-000000", "w0-000000.2")
    assert (first["outcome"], second["outcome"]) == ("closed:1001", "ok")
    assert (second["attempt"], second["turns_repeated"], second["gave_up"]) == (1, 1, None)
    assert second["last_heard_at_ns"] <= 0
    assert second["dropped_at_ns"] < 0
    turns = {(row["session_id"], row["turn"]): row["after_return"] for row in run.rows("turns")}
    assert turns == {("w0-000000", 1): False, ("w0-000000.2", 1): True, ("w0-000000.2", 2): True}


def test_a_task_in_python_goes_on_after_a_drop(tmp_path: Path) -> None:
    close = (5 * MS, ConnectionClosed(1006, 0, ""))
    services = iter([Service(turns=[lambda _: [close]]), Service()])
    outcomes: list[str] = []

    def task(actor: Any) -> None:
        outcomes.clear()
        outcomes.extend([actor.text("One").outcome, actor.text("Two").outcome])

    run = FakeRun(
        tmp_path,
        does=task,
        settings={"reconnect": {"backoff": {"first": 0.001}}},
        dialers={"here": FakeDialer(service=lambda: next(services))},
    )
    run.play()

    assert outcomes == ["closed:1006", "ok"]
    assert [row["outcome"] for row in run.rows("turns")] == ["closed:1006", "ok", "ok"]


@pytest.mark.parametrize(
    "value",
    ["{within: 0}", "{attempts: 0}", "{attempts: 1.5}", "{backoff: 3}", "{after: 3}", "yes"],
)
def test_limits_that_make_no_sense_are_refused(value: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"reconnect: {value}\nsteps:\n  - text: One\n")
    with pytest.raises(ScriptError, match=r"mine\.yaml:1"):
        load_script(path)
