"""Turns that several callers end at the same instant (`together`)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from greenlet import GreenletExit
from hypothesis import given
from hypothesis import strategies as st

from bench.base.errors import UsageError
from bench.load.planning.run_plan import Concurrency, check_meetings
from bench.plan.prepared import PreparedTurn
from bench.plan.script import Script
from bench.plan.steps import InterruptSettings, InterruptStep, StepRules
from bench.plan.turns import ScriptTurn
from bench.session.meetings import LIMIT_NS, Meeting, Meetings
from bench.transport.fast.sending import Microphone
from bench.wire.dialect import ClientMessage, MessageKind
from bench.wire.settings import SessionSettings, TurnDetection
from tests.helpers import MS, GuardedTransport, Listening, Service, build_script, play, say, seated

CHUNK = ClientMessage(MessageKind.APPEND, "input_audio_buffer.append", b"", duration_ns=100 * MS)


class Meeter(Listening):
    """A listener whose callers meet at an instant; never if it is None."""

    end_ns: int | None = None

    def meet(self, turn: PreparedTurn, now_ns: int) -> Meeting:
        return Meeting(2, 1, turn.speech_ns, self.end_ns)


def prepared(turn: ScriptTurn, together: int) -> PreparedTurn:
    (step,) = build_script(replace(turn, together=together)).steps
    assert isinstance(step, PreparedTurn)
    return step


def test_the_last_caller_completes_a_meeting_that_leaves_time_for_the_longest_speech() -> None:
    meetings, (short, long) = Meetings(), (prepared(play(ms), 2) for ms in (300, 900))
    first = meetings.join("hours", long, 0)
    assert first.end_ns is None
    assert meetings.join("another turn", long, 0) is not first
    second = meetings.join("hours", short, 5_000 * MS)

    assert second is first
    assert second.end_ns is not None
    assert (
        second.end_ns - long.speech_ns >= 5_000 * MS > second.end_ns - long.speech_ns - 1_000 * MS
    )
    assert meetings.join("hours", long, 6_000 * MS) is not first


@given(st.integers(0, 10**9), st.integers(0, 10**10), st.booleans())
def test_an_aligned_microphone_begins_a_chunk_at_the_instant(
    opened_ns: int, later_ns: int, recorded: bool
) -> None:
    microphone = Microphone([CHUNK])
    microphone.open(opened_ns)
    before_ns = microphone.pop_due()[1] if recorded else opened_ns
    at_ns = before_ns + later_ns
    microphone.align(at_ns)

    assert microphone.due_ns is not None
    assert 100 * MS <= microphone.due_ns - before_ns < 200 * MS
    assert (microphone.due_ns - at_ns) % (100 * MS) == 0


@pytest.mark.parametrize(
    "detection", [TurnDetection(), None], ids=["an open microphone", "a manual commit"]
)
def test_the_speech_of_a_caller_ends_at_the_instant_of_its_meeting(
    detection: TurnDetection | None,
) -> None:
    script = build_script(replace(play(730), together=2), turn_detection=detection)
    transport, listening = GuardedTransport(Service()), Meeter()
    session, _, _ = seated(script, transport, listening)
    session.open()
    listening.end_ns = session.now_ns + 2_345_678_901
    session.run_step(script.steps[0])

    (turn,) = script.turns
    ends = (
        (number, chunk.instants.get("speech_end")) for number, chunk in enumerate(turn.speech, 1)
    )
    number, after_ns = next((number, after_ns) for number, after_ns in ends if after_ns is not None)
    (sent_ns,) = (
        at_ns for at_ns, data in transport.sent if f'"turn-1-append-{number}"'.encode() in data
    )
    assert sent_ns - after_ns == listening.end_ns


def test_a_text_is_sent_at_the_instant_of_the_meeting() -> None:
    script = build_script(replace(say(), together=2))
    listening = Meeter()
    session, timeline, _ = seated(script, GuardedTransport(Service()), listening)
    session.open()
    listening.end_ns = session.now_ns + 2_345_678_901
    session.run_step(script.steps[0])

    assert timeline.turns.last is not None
    assert timeline.turns.last.instants["request_sent"] == listening.end_ns


def test_a_caller_whom_the_others_do_not_join_is_unfinished() -> None:
    script = build_script(replace(say(), together=2))
    session, timeline, listening = seated(script, GuardedTransport(Service()), Meeter())
    session.run()
    observed = timeline.session()

    assert observed.outcome == "unfinished"
    assert observed.detail == "only 1 of 2 callers came to the step say"
    assert listening.turns == []
    assert observed.instants["ended"] - observed.start_ns >= LIMIT_NS


def test_a_caller_who_is_stopped_while_it_waits_leaves_its_meeting() -> None:
    """A user is stopped when the run ramps down: its greenlet is killed in whatever it waits
    for.
    """
    script = build_script(replace(say(), together=2))
    listening = Meeter()
    meeting = Meeting(2, 1)

    def stop() -> bool:
        if meeting.waiting == 2:
            raise GreenletExit
        return False

    def meet(turn: PreparedTurn, now_ns: int) -> Meeting:
        meeting.waiting += 1
        return meeting

    listening.meet = meet  # type: ignore[method-assign]
    session, _, _ = seated(script, GuardedTransport(Service()), listening, stop)
    with pytest.raises(GreenletExit):
        session.run()

    assert meeting.waiting == 1


def test_an_interruption_cannot_meet_other_callers() -> None:
    interruption = InterruptStep(InterruptSettings(audio=play().audio), name="stop", together=2)
    rules = StepRules(SessionSettings(turn_detection=TurnDetection()))

    assert list(rules.problems(say())) == []
    assert [key for key, _ in rules.problems(interruption)] == ["together"]


def test_a_run_with_too_few_users_in_a_process_is_refused() -> None:
    script = Script(
        name="talk",
        path=Path("talk.yaml"),
        digest="d1",
        session=SessionSettings(),
        steps=(replace(say(), together=3),),
    )
    check_meetings(Concurrency(6, 1, 2), [script])
    with pytest.raises(
        UsageError, match=r"the step say needs 3 callers .* but a process has 2 users: add -u 6"
    ):
        check_meetings(Concurrency(5, 1, 2), [script])
