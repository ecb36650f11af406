"""The timeline of a session whose service detects the end of speech.

The tests check the events of a turn, the end of the turn, and the choice of the reply that counts.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from bench.catalogue.metrics import CATALOGUE
from bench.catalogue.timeouts import Timeouts
from bench.observe import inputs
from bench.observe.inputs import (
    DeliverTurn,
    MeasureNetwork,
    ReportUsage,
    RequestResponse,
    SessionStart,
)
from bench.observe.observation import TurnObservation
from bench.observe.timeline import Timeline
from bench.services.openai.dialect import GA
from bench.session import session as waits
from bench.wire.connection import NetworkMeasured
from bench.wire.events import TokenUsage
from tests.examples import thorough
from tests.helpers import (
    AT_NS,
    LOUD,
    MS,
    SILENCE,
    USAGE,
    Talk,
    after_ms,
    answers,
    at,
    base64_of,
    build_turn,
    committed,
    created,
    delta,
    done,
    error,
    hears,
    idle_timeout,
    message,
    part_done,
    reply,
    session_created,
    session_updated,
    speaks,
    speech_started,
    speech_stopped,
    transcribed,
    usage,
)

CANCELLED = {"status": "cancelled", "type": "cancelled", "reason": "turn_detected"}
SPENT = usage(audio_out=0)


def misses_expected_event(talk: Talk) -> bool:
    """Return whether an event that the script expects in the current turn has not arrived yet."""
    return waits.until_expected_events(talk.timeline, 0) is not None


def vad(**limits: Any) -> Talk:
    """Return a session in which the service creates a response when its VAD detects the end of
    speech.
    """
    return Talk(service_responds=True, **limits)


# A successful turn.


@pytest.mark.parametrize("has_start", [True, False])
def test_a_commit_ends_the_speech_if_the_service_reports_no_end(has_start: bool) -> None:
    """The reply is over within the second in which more speech may be detected."""
    talk = vad()
    talk.begin_speech(0)
    if has_start:
        talk.hear(60, speech_started("item_1"))
    talk.end_speech(1_000)
    talk.hear(1_300, committed("item_1"))
    answers(talk, 1_350)

    turn = talk.only()
    assert (turn.outcome, after_ms(turn, "committed"), after_ms(turn, "first_audio")) == (
        "ok",
        1_300,
        1_650,
    )
    assert "speech_stopped" not in turn.instants


# Deadlines.


@pytest.mark.parametrize(
    ("came", "stage", "due_ms"),
    [
        pytest.param([], "end_of_turn", 11_000, id="never detected"),
        pytest.param(
            [(60, speech_started("i"))], "end_of_turn", 11_000, id="the start was detected"
        ),
        pytest.param(
            [(1_030, speech_started("i"))],
            "end_of_turn",
            11_000,
            id="the start was detected after the end",
        ),
        pytest.param(
            [(60, speech_started("i")), (1_500, speech_stopped("i"))],
            "first_delta",
            4_500,
            id="noticed",
        ),
        pytest.param(
            [(1_500, speech_stopped("i")), (2_900, created("r"))],
            "first_delta",
            4_500,
            id="created",
        ),
        pytest.param(
            [(1_500, speech_stopped("i")), (2_000, speech_started("j"))],
            "end_of_turn",
            12_000,
            id="again",
        ),
        pytest.param(
            [
                (1_500, speech_stopped("i")),
                (1_505, committed("i")),
                (1_600, delta(GA, "audio", "r")),
            ],
            "next_delta",
            3_600,
            id="answered",
        ),
        pytest.param(
            [
                (1_500, speech_stopped("i")),
                (1_505, committed("i")),
                (1_510, created("r")),
                *((t, delta(GA, "audio", "r")) for t in range(2_000, 6_000, 1_000)),
            ],
            "response",
            6_510,
            id="long",
        ),
    ],
)
def test_each_stage_of_a_voice_turn_has_its_timeout(
    came: list[tuple[int, bytes]], stage: str, due_ms: int
) -> None:
    talk = vad(end_of_turn=10, first_delta=3, next_delta=2, response=5)
    talk.begin_speech(0)
    for at_ms, data in [(at_ms, data) for at_ms, data in came if at_ms < 1_000]:
        talk.hear(at_ms, data)
    talk.end_speech(1_000)
    for at_ms, data in [(at_ms, data) for at_ms, data in came if at_ms >= 1_000]:
        talk.hear(at_ms, data)
    assert talk.deadline()[:2] == (at(due_ms), f"timeout:{stage}")
    talk.timeline.expire(at(due_ms) - 1)
    assert not talk.timeline.turns.are_all_over

    talk.timeline.expire(at(due_ms + 70))
    assert (talk.only().outcome, after_ms(talk.taken[0], "ended")) == (f"timeout:{stage}", due_ms)
    assert talk.timeline.session().outcome == f"timeout:{stage}"


# Split turns.


def split(talk: Talk, **changes: Any) -> None:
    """Receive the events of a VAD that takes a pause at 700 ms for the end of speech.

    The service commits the audio before the pause and answers it.
    """
    talk.begin_speech(0, **changes)
    talk.hear(60, speech_started("item_1"))
    hears(talk, 700)
    talk.hear(750, created("r1"))
    talk.hear(800, delta(GA, "audio", "r1", LOUD), error_ns=2 * MS)
    talk.hear(820, delta(GA, "transcript", "r1"), delta(GA, "audio", "r1", LOUD), error_ns=2 * MS)


def test_a_reply_to_a_pause_that_is_cancelled_fails_the_turn_and_later_events_are_ignored() -> None:
    talk = vad()
    split(talk)
    talk.hear(900, speech_started("item_2"))
    talk.hear(920, done("r1", **CANCELLED))
    first = talk.only(921)
    instants = dict(first.instants)
    assert (first.outcome, after_ms(first, "ended")) == ("cancelled:turn_detected", 920)
    assert "speech_end" not in instants
    assert waits.until_service_idle(talk.timeline, 0) is not None
    hears(talk, 1_500, "item_2")
    answers(talk, 1_600, "r2")
    assert waits.until_service_idle(talk.timeline, 0) is None
    speaks(talk, 2, 3_000, 4_000)
    hears(talk, 4_500, "item_2b")
    answers(talk, 4_600, "r3")

    second = talk.only()
    assert (second.outcome, second.response_id, after_ms(second, "first_audio")) == (
        "ok",
        "r3",
        4_900,
    )
    assert first.instants == instants
    assert talk.timeline.session().unattributed_commits == 0


@pytest.mark.parametrize(
    ("cancelled_ms", "is_cut_off"), [(920, True), (840, False)], ids=["played", "not yet played"]
)
def test_a_reply_that_a_split_turn_cancels_cut_the_caller_off_only_if_it_was_played(
    cancelled_ms: int, is_cut_off: bool
) -> None:
    talk = vad()
    split(talk, jitter_buffer_ns=50 * MS)  # audio from 800 ms on is played from 850 ms on
    talk.hear(830, speech_started("item_2"))
    talk.hear(cancelled_ms, done("r1", **CANCELLED))

    turn = talk.only()
    assert (turn.outcome, "speech_end" in turn.instants) == ("cancelled:turn_detected", False)
    assert turn.cut_off is is_cut_off


@pytest.mark.parametrize(
    ("closed_ms", "is_cut_off"), [(870, True), (790, None)], ids=["played", "without a reply"]
)
def test_whether_a_connection_that_breaks_would_have_cut_the_caller_off_is_unknown(
    closed_ms: int, is_cut_off: bool | None
) -> None:
    talk = vad()
    talk.begin_speech(0, jitter_buffer_ns=50 * MS)
    talk.hear(60, speech_started("item_1"))
    hears(talk, 700)
    talk.hear(750, created("r1"))
    if closed_ms > 800:
        talk.hear(800, delta(GA, "audio", "r1", LOUD))
    talk.timeline.apply(inputs.ConnectionClosed(1006, at(closed_ms)))

    turn = talk.only()
    assert turn.outcome == "closed:1006"
    assert turn.cut_off is is_cut_off


@pytest.mark.parametrize(
    "done_ms", [850, 1_903], ids=["before the speech goes on", "just before the next commit"]
)
def test_after_a_reply_to_a_pause_the_next_reply_counts(done_ms: int) -> None:
    talk = vad()
    split(talk, jitter_buffer_ns=10 * MS)
    transcript = message(
        "response.output_audio_transcript.done", response_id="r1", transcript="What?"
    )
    talk.hear(840, part_done(GA, "audio", "r1"), transcript)
    talk.hear(850, *[done("r1")] * (done_ms == 850))
    assert not talk.timeline.turns.are_all_over
    talk.hear(900, speech_started("item_2"))
    talk.end_speech(1_400)
    talk.hear(1_900, speech_stopped("item_2"))
    talk.hear(1_903, *[done("r1")] * (done_ms == 1_903))
    assert not talk.timeline.turns.are_all_over
    talk.hear(1_905, committed("item_2"))
    talk.hear(1_950, created("r2"))
    talk.hear(2_200, delta(GA, "audio", "r2", SILENCE))
    talk.hear(2_220, delta(GA, "audio", "r2", LOUD))
    talk.hear(2_300, done("r2"))

    turn = talk.only()
    assert (turn.outcome, turn.response_id, turn.item_id, turn.vad_splits) == (
        "ok",
        "r2",
        "item_2",
        1,
    )
    assert {name: after_ms(turn, name) for name in turn.instants} == {
        "speech_start": 0,
        "speech_started": 60,
        "speech_end": 1_400,
        "speech_stopped": 1_900,
        "committed": 1_905,
        "response_created": 1_950,
        "first_audio": 2_200,
        "answer_audio": 2_200,
        "last_audio": 2_220,
        "first_audible": 2_310,
        "answer_audible": 2_310,
        "response_done": 2_300,
        "ended": 2_300,
    }
    assert (turn.audio_deltas, turn.transcript_deltas, turn.gaps_ns, turn.uncertain_gaps) == (
        2,
        0,
        (20 * MS,),
        0,
    )
    assert (
        turn.stall_count,
        turn.stall_duration_ns,
        turn.timestamp_uncertainty_ns,
        turn.reply_text,
    ) == (0, 0, 0, "")
    assert turn.audio_speed == pytest.approx(5)  # 100 ms of audio in 20 ms
    assert turn.audio_bytes_received == 4 * 4_800


def test_the_reply_to_a_pause_counts_if_the_service_refuses_the_next_response() -> None:
    talk = vad()
    split(talk)
    talk.hear(900, speech_started("item_2"))
    talk.end_speech(1_400)
    talk.hear(1_905, speech_stopped("item_2"), committed("item_2"))
    talk.hear(1_910, error("conversation_already_has_active_response"))
    talk.hear(2_000, done("r1"))

    turn = talk.only()
    assert (turn.outcome, turn.response_id, turn.vad_splits) == ("ok", "r1", 1)
    assert "voice_to_voice" not in turn.metrics_ns()
    assert turn.cut_off
    assert (talk.timeline.session().service_errors, waits.until_service_idle(talk.timeline, 0)) == (
        1,
        None,
    )


# Requests by the client.


def asked() -> Talk:
    talk = Talk(service_responds=False)
    talk.begin_speech(0)
    talk.hear(60, speech_started("item_1"))
    return talk


def test_a_request_waits_until_the_speech_has_ended_and_all_of_it_is_committed() -> None:
    talk, wanted = asked(), []
    hears(talk, 700)
    wanted.append(bool(talk.work(700, RequestResponse)))
    talk.hear(900, speech_started("item_2"))
    talk.end_speech(1_400)
    wanted.append(bool(talk.work(1_400, RequestResponse)))
    talk.hear(1_900, speech_stopped("item_2"))
    wanted.append(bool(talk.work(1_900, RequestResponse)))
    talk.hear(1_905, committed("item_2"))

    assert (wanted, bool(talk.work(1_905, RequestResponse))) == ([False] * 3, True)


# Transcriptions.


# Events that a script expects.


def test_an_expectation_for_a_past_event_or_an_ended_turn_has_no_effect() -> None:
    talk, came = vad(), vad()
    talk.timeline.apply(inputs.EventExpected("audio_delta", at(1)))
    talk.ask(10)
    talk.hear(20, *reply(GA, "r1"))
    talk.timeline.apply(inputs.EventExpected("text_delta", at(30)))
    speaks(came)
    came.timeline.apply(inputs.EventExpected("speech_started", at(1_001)))

    assert (misses_expected_event(talk), talk.deadline()) == (False, None)
    assert talk.only().outcome == "ok"
    assert (misses_expected_event(came), came.deadline()[:2]) == (
        False,
        (at(11_000), "timeout:end_of_turn"),
    )


# The instants at which the service is idle and the caller may speak again.


# The network path.


def test_network_metrics_are_measured_at_each_turn_s_end_and_retransmits_since_the_last() -> None:
    talk, asked = Talk(wanted=4), []
    networks = (
        NetworkMeasured(900, 700, 2),
        NetworkMeasured(800, 600, 5),
        None,
        NetworkMeasured(700, 600, None),
    )
    for number, network in enumerate(networks, 1):
        asked.append(bool(talk.work(1_000 * number - 1, MeasureNetwork)))
        talk.ask(1_000 * number, number)
        talk.hear(1_000 * number + 10, *reply(GA, f"r{number}"))
        due = talk.timeline.due_actions(at(1_000 * number + 20))
        asked.append(
            isinstance(next(due)[0], ReportUsage) and isinstance(next(due)[0], MeasureNetwork)
        )
        if network is not None:
            talk.timeline.apply(network)
        talk.taken += [work.turn for work in next(due) if isinstance(work, DeliverTurn)]

    assert asked == [False, True] * 4
    assert [(t.network_rtt_ns, t.network_rtt_smoothed_ns, t.retransmits) for t in talk.taken] == [
        (700, 900, 2),
        (600, 800, 3),
        (None, None, None),
        (600, 700, None),
    ]


# Arbitrary events.

EVENTS = [
    *(
        make(f"item_{n}")
        for n in (1, 2, 3)
        for make in (speech_started, speech_stopped, committed, transcribed)
    ),
    *(
        data
        for n in (1, 2, 3)
        for data in (
            created(f"r{n}"),
            delta(GA, "audio", f"r{n}", LOUD),
            done(f"r{n}", usage=SPENT),
            done(f"r{n}", **CANCELLED),
        )
    ),
    idle_timeout("item_3"),
    error("conversation_already_has_active_response"),
    error("x", "turn-1-append-1"),
    error("rate_limit_exceeded"),
    message("unknown.event"),
]
STEPS = st.one_of(
    st.sampled_from(EVENTS),
    st.sampled_from(["begin", "end", "ask", "expect", "expire", "take", "give up", "type"]),
)
SCENES = st.lists(st.tuples(STEPS, st.sampled_from([0, 1, 40, 900, 2_500])), max_size=40)


LIMITS: dict[str, Any] = {
    "end_of_turn": 3.0,
    "first_delta": 3.0,
    "next_delta": 2.0,
    "response": 4.0,
}


def perform(talk: Talk, step: bytes | str, now_ms: int, number: int) -> bool:
    """Run one step of the client or of the service at the instant `now_ms`.

    Return whether the step begins turn `number`.
    """
    timeline = talk.timeline
    if isinstance(step, bytes):
        talk.hear(now_ms, step)
    else:  # before a client sends, it has waited until this instant
        timeline.expire(at(now_ms))
        assert timeline.next_deadline_ns > at(now_ms)
    begins = step in ("begin", "type") and timeline.turns.are_all_over and not timeline.is_over
    if begins and step == "begin":
        talk.begin_speech(now_ms, number, transcription_due=True)
    elif begins:
        timeline.apply(inputs.TurnStarted(at(now_ms), build_turn(number)))
        talk.send(now_ms, "response.create")
    elif step == "end" and not timeline.turns.are_all_over:
        talk.end_speech(now_ms)
    elif step == "ask" and talk.work(now_ms, RequestResponse):
        talk.send(now_ms, "response.create")
        assert not talk.work(now_ms, RequestResponse)
    elif step == "expect":
        timeline.apply(inputs.EventExpected("audio_delta", at(now_ms + 900)))
    elif step == "take":
        talk.take(now_ms)
    elif step == "give up":
        timeline.apply(inputs.StoppedWaiting())
        assert waits.until_service_idle(timeline, 0) is None or not talk.service_responds
    return begins


@thorough
@given(responds=st.booleans(), steps=SCENES)
def test_every_turn_ends_once_and_every_token_is_counted_once_for_any_vad_behaviour(
    responds: bool, steps: list[tuple[bytes | str, int]]
) -> None:
    talk, now_ms, begun = Talk(service_responds=responds, **LIMITS), 0, 0
    timeline = talk.timeline
    for step, gap_ms in steps:
        now_ms += gap_ms
        begun += perform(talk, step, now_ms, begun + 1)
        assert (
            timeline.turns.next_timeout(timeline.limits) is None
            or timeline.turns.are_all_over is False
        )
    timeline.apply(inputs.SessionFailed("unfinished", at(now_ms)))
    talk.take(now_ms)

    session = timeline.session()
    spent = [session.stray_usage, *(turn.usage for turn in talk.taken)]
    reported = {
        step for step, _ in steps if isinstance(step, bytes) and b"output_token_details" in step
    }
    assert sum(filter(None, spent), TokenUsage()) == sum(
        [replace(USAGE, audio_out=0)] * len(reported), TokenUsage()
    )
    assert sorted(turn.turn for turn in talk.taken) == list(range(1, begun + 1))
    assert session.turns_ended == session.turns_started == begun
    for turn in talk.taken:
        came = {
            name: at_ns
            for name, at_ns in turn.instants.items()
            if name not in ("first_audible", "answer_audible", "input_transcribed")
        }
        assert max(came.values()) == turn.instants["ended"]
        assert turn.start_ns <= min(came.values())
        assert len(turn.gaps_ns) + turn.uncertain_gaps <= max(0, turn.audio_deltas - 1), (
            "none from item to item"
        )
        assert ("first_audio" in came) == (turn.audio_deltas > 0) == (turn.stall_count is not None)


class Anxious(Timeline):
    """A timeline that computes its deadline again at every event."""

    @property
    def next_deadline_ns(self) -> int:
        due = self.turns.next_timeout(self.limits)
        return due[0][0] if due else 1 << 62


@example(responds=True, steps=[("begin", 0), ("end", 900)], done_s=4.0)
@example(responds=False, steps=[("type", 0), (created("r1"), 40)], done_s=1.0)
@example(responds=False, steps=[("type", 0), ("expect", 40)], done_s=4.0)
@given(responds=st.booleans(), steps=SCENES, done_s=st.sampled_from([1.0, 4.0]))
def test_a_lazily_computed_deadline_is_never_missed(
    responds: bool, steps: list[tuple[bytes | str, int]], done_s: float
) -> None:
    limits = LIMITS | {"response": done_s}
    talk, anxious = (Talk(service_responds=responds, **limits) for _ in range(2))
    anxious.timeline = Anxious(SessionStart(AT_NS, 2, Timeouts(**limits), responds), GA)
    anxious.hear(0, session_created(), session_updated())
    now_ms, begun = 0, 0
    for step, gap_ms in steps:
        now_ms += gap_ms
        perform(anxious, step, now_ms, begun + 1)
        begun += perform(talk, step, now_ms, begun + 1)
        due = talk.deadline()
        assert due is None or talk.timeline.next_deadline_ns <= due[0]

    for each in (talk, anxious):
        each.timeline.apply(inputs.SessionFailed("unfinished", at(now_ms)))
        each.take(now_ms)
    assert talk.taken == anxious.taken
    assert talk.timeline.session() == anxious.timeline.session()


# The uncertainty of the instants of a VAD turn.


def test_vad_instants_have_the_uncertainties_of_their_events() -> None:
    talk = vad()
    talk.begin_speech(0)
    talk.hear(60, speech_started("item_1"), error_ns=1)
    talk.hear(400, speech_stopped("item_1"), error_ns=2)
    talk.hear(500, speech_started("item_1"), error_ns=3)
    talk.end_speech(1_000)
    talk.hear(1_500, speech_stopped("item_1"), error_ns=4)
    talk.hear(1_505, committed("item_1"), error_ns=5)
    answers(talk, 1_550)

    turn = talk.only()
    names = ("speech_started", "speech_stopped", "committed")
    assert [turn.uncertainties_ns[name] for name in names] == [1, 4, 5]
    assert turn.widths_ns == {"speech_start": 7, "speech_end": 7}
    assert turn.bound_ns(CATALOGUE["end_of_turn_delay"]) == 4 + 7


def test_an_instant_that_was_withdrawn_has_no_uncertainty() -> None:
    talk = vad()
    talk.begin_speech(0)
    talk.hear(60, speech_started("item_1"), error_ns=1)
    hears(talk, 500)
    # The VAD has mistaken a pause for the end. The end of the remaining speech is still missing.
    answers(talk, 550)
    talk.timeline.apply(inputs.SessionFailed("unfinished", at(1_000)))

    turn = talk.only()
    assert set(turn.uncertainties_ns) == {"speech_started"}


ACTIVE = error("conversation_already_has_active_response")


def records(talk: Talk, to_ms: int) -> None:
    """Send audio until this instant, so that the position in the session's input audio equals
    the time of the test.
    """
    missing_ms = to_ms - talk.timeline.session().audio_bytes_sent // 48
    talk.send(to_ms, "input_audio_buffer.append", audio_bytes=48 * missing_ms)


def begins(talk: Talk, begin_ms: int = 100, number: int = 1, **changes: Any) -> None:
    """Send audio up to and including the first sample of the caller's speech, which is the last
    sample of its chunk.
    """
    records(talk, begin_ms - 100)
    talk.begin_speech(begin_ms, number, **changes)


def ends(talk: Talk, end_ms: int = 1_100) -> None:
    """Send audio up to and including the last sample of the caller's speech."""
    records(talk, end_ms - 100)
    talk.end_speech(end_ms)


def started(item_id: str, at_ms: int, clock: bool) -> bytes:
    """Return a `speech_started` event. If `clock`, the event contains the position of the speech
    in the input audio.
    """
    return speech_started(item_id, **({"audio_start_ms": at_ms} if clock else {}))


def stopped(item_id: str, at_ms: int, clock: bool) -> bytes:
    return speech_stopped(item_id, **({"audio_end_ms": at_ms} if clock else {}))


def came(turn: TurnObservation) -> dict[str, float | None]:
    return {name: after_ms(turn, name) for name in turn.instants}


# Events that belong to no turn.


# Noise after the speech that does not interrupt the reply.

OWN = {
    "speech_start": 100,
    "speech_started": 200,
    "speech_end": 1_100,
    "speech_stopped": 1_400,
    "committed": 1_400,
    "response_created": 1_450,
    "first_audio": 1_900,
    "answer_audio": 1_900,
    "last_audio": 1_900,
    "first_audible": 1_900,
    "answer_audible": 1_900,
    "response_done": 3_000,
    "ended": 3_000,
}


def send_vad_turn(talk: Talk, *, clock: bool) -> None:
    """Send a complete turn. The VAD detects that its speech ends at 1,400 ms, and the service
    creates a response.
    """
    begins(talk)
    talk.hear(200, started("item_1", 0, clock))
    ends(talk)
    talk.hear(1_400, stopped("item_1", 1_400, clock), committed("item_1"))
    talk.hear(1_450, created("r1"))


@pytest.mark.parametrize("clock", [False, True])
@pytest.mark.parametrize("commits_ms", [2_600, 3_400])
def test_noise_during_a_reply_does_not_change_the_turn_s_instants(
    commits_ms: int, clock: bool
) -> None:
    talk = vad()
    send_vad_turn(talk, clock=clock)
    for at_ms, messages in sorted(
        [
            (1_900, [delta(GA, "audio", "r1", LOUD)]),
            (2_000, [started("noise", 1_700, clock)]),
            (3_000, [done("r1")]),
            (commits_ms, [stopped("noise", commits_ms, clock), committed("noise"), ACTIVE]),
        ]
    ):
        talk.hear(at_ms, *messages)

    turn = talk.only()
    assert (turn.outcome, turn.response_id, turn.item_id, turn.vad_splits) == (
        "ok",
        "r1",
        "item_1",
        0,
    )
    assert came(turn) == OWN
    assert (
        talk.timeline.session().unattributed_commits,
        waits.until_service_idle(talk.timeline, 0),
    ) == (1, None)


def test_speech_that_begins_after_the_turn_s_end_by_audio_clock_is_not_the_turn_s() -> None:
    talk = vad()
    begins(talk)
    talk.hear(200, speech_started("item_1", audio_start_ms=0))
    ends(talk)
    talk.hear(
        1_400,
        speech_stopped("item_1", audio_end_ms=1_400),
        speech_started("noise", audio_start_ms=1_350),
    )
    talk.hear(1_405, committed("item_1"))
    answers(talk, 1_500)

    turn = talk.only()
    assert (turn.outcome, turn.item_id, turn.vad_splits, after_ms(turn, "ended")) == (
        "ok",
        "item_1",
        0,
        1_900,
    )


def test_a_requested_reply_ends_its_turn_even_if_speech_is_being_detected() -> None:
    talk = Talk()
    begins(talk)
    talk.hear(200, speech_started("item_1", audio_start_ms=0))
    talk.hear(800, speech_stopped("item_1", audio_end_ms=800), committed("item_1"))
    ends(talk)
    assert talk.work(2_100, RequestResponse)
    talk.send(2_100, "response.create")
    talk.hear(2_200, created("r1"))
    talk.hear(2_300, speech_started("item_2", audio_start_ms=900))  # the last word, detected late
    talk.hear(2_400, delta(GA, "audio", "r1"), done("r1"))

    assert (talk.only().outcome, talk.taken[0].response_id, after_ms(talk.taken[0], "ended")) == (
        "ok",
        "r1",
        2_400,
    )


# The position up to which a VAD has received the speech. The silence after the speech may count or
# not.


def test_an_audio_clock_that_restarts_at_each_commit_is_handled() -> None:
    talk = vad()
    begins(talk, 10_000)
    talk.hear(10_100, speech_started("item_1", audio_start_ms=0))
    ends(talk, 11_000)
    talk.hear(11_200, speech_stopped("item_1", audio_end_ms=1_200), committed("item_1"))
    talk.hear(11_300, *reply(GA, "r1"))

    assert (talk.only().outcome, after_ms(talk.taken[0], "speech_stopped")) == ("ok", 11_200)


# A pause that the VAD mistook for the end, and that the service answered.


def answered_pause(talk: Talk, done_ms: int) -> None:
    """Send speech from 100 to 1,100 ms, of which the VAD detects only the part until 800 ms.

    The service answers this first part. The answer is done at `done_ms`.
    """
    begins(talk)
    talk.hear(200, speech_started("item_1", audio_start_ms=0))
    talk.hear(800, speech_stopped("item_1", audio_end_ms=800), committed("item_1"))
    talk.hear(850, created("r1"))
    talk.hear(900, delta(GA, "audio", "r1"))
    if done_ms <= 1_100:
        talk.hear(done_ms, done("r1"))
    ends(talk)
    if done_ms > 1_100:
        talk.hear(done_ms, done("r1"))


@pytest.mark.parametrize("done_ms", [950, 1_110, 2_099])
def test_a_turn_whose_remaining_speech_is_never_detected_times_out_at_end_of_turn(
    done_ms: int,
) -> None:
    talk = vad(end_of_turn=10)
    answered_pause(talk, done_ms)
    assert talk.deadline()[:2] == (at(11_100), "timeout:end_of_turn")
    talk.timeline.expire(at(11_100))

    turn = talk.only()
    assert (turn.outcome, after_ms(turn, "ended")) == ("timeout:end_of_turn", 11_100)
    assert not {"speech_stopped", "committed", "first_audio"} & turn.instants.keys()


def test_one_response_may_reply_to_two_commits() -> None:
    talk = vad()
    begins(talk)
    talk.hear(200, speech_started("item_1"))
    talk.hear(800, speech_stopped("item_1"), committed("item_1"))
    talk.hear(820, speech_started("item_2"))  # before the service created a response
    ends(talk)
    hears(talk, 1_400, "item_2")
    answers(talk, 1_500)

    assert (talk.only().outcome, talk.taken[0].response_id, talk.taken[0].vad_splits) == (
        "ok",
        "r1",
        1,
    )
    assert waits.until_service_idle(talk.timeline, 0) is None


# Noise before the speech.


@pytest.mark.parametrize("heard_ms", [1_400, 1_080])
def test_noise_that_the_speech_continues_belongs_to_the_turn(heard_ms: int) -> None:
    talk = vad()
    talk.hear(50, speech_started("item_1", audio_start_ms=0))
    begins(talk, end_tolerance_ns=50 * MS)
    ends(talk)
    talk.hear(1_400, speech_stopped("item_1", audio_end_ms=heard_ms))
    talk.hear(1_405, committed("item_1"))
    answers(talk, 1_500)

    turn = talk.only()
    assert (turn.outcome, turn.item_id, turn.response_id, turn.vad_splits) == (
        "ok",
        "item_1",
        "r1",
        0,
    )
    assert (after_ms(turn, "committed"), turn.metrics_ns()["end_of_turn_delay"]) == (
        1_405,
        300 * MS,
    )
    assert (
        talk.timeline.session().unattributed_commits,
        waits.until_service_idle(talk.timeline, 0),
    ) == (0, None)


def test_noise_that_ends_before_the_speech_is_not_the_turn_s_even_if_reported_later() -> None:
    talk = vad()
    talk.hear(50, speech_started("noise", audio_start_ms=0))
    begins(talk)
    talk.hear(150, speech_stopped("noise", audio_end_ms=90), committed("noise"))
    talk.hear(160, created("r0"), done("r0"))
    talk.hear(200, speech_started("item_1", audio_start_ms=100))
    ends(talk)
    talk.hear(1_400, speech_stopped("item_1", audio_end_ms=1_400), committed("item_1"))
    answers(talk, 1_500)

    turn = talk.only()
    assert (turn.outcome, turn.item_id, turn.response_id, turn.vad_splits) == (
        "ok",
        "item_1",
        "r1",
        0,
    )
    assert talk.timeline.session().unattributed_commits == 1


# Responses for which the client waited in vain.


def test_a_request_that_is_refused_after_its_turn_failed_awaits_no_response() -> None:
    talk = Talk()
    talk.ask(0, audio_bytes=100)
    talk.hear(5, error("input_audio_buffer_commit_empty", "turn-1-commit"))
    talk.take(6)
    talk.hear(7, error("server_is_tired", "turn-1-response"))
    assert waits.until_service_idle(talk.timeline, 0) is None
    talk.ask(100, 2)
    talk.hear(200, *reply(GA, "r2"))

    (second,) = talk.take(300)
    assert (second.outcome, second.response_id) == ("ok", "r2")


# Commits of the client.


@pytest.mark.parametrize("came_before_next", [False, True])
def test_a_response_after_an_anonymous_error_is_not_the_next_turn_s(came_before_next: bool) -> None:
    talk = Talk()
    talk.ask(0)
    talk.hear(10, error("server_error"))
    # the request may have been refused, or its response may still come
    assert waits.until_service_idle(talk.timeline, 0) is not None
    if came_before_next:
        talk.hear(500, *reply(GA, "r1"))
        assert waits.until_service_idle(talk.timeline, 0) is None
    talk.ask(1_000, 2)
    talk.hear(1_200, *reply(GA, "r2"))

    first, second = talk.take(2_000)
    assert (first.outcome, first.response_id) == (
        "failed:server_error",
        "r1" if came_before_next else "",
    )
    assert (second.outcome, second.response_id, after_ms(second, "first_audio")) == (
        "ok",
        "r2",
        1_200,
    )


# A service that omits IDs.


def without_ids(at_ms: float, *, item_id: str = "") -> list[tuple[float, bytes]]:
    """Return the events of a detected end of speech and of the response to this speech.

    None of them has a response ID.
    """
    return [
        (at_ms, speech_stopped(item_id)),
        (at_ms, committed(item_id)),
        (at_ms + 100, message("response.created", response={"status": "in_progress"})),
        (at_ms + 300, message("response.output_audio.delta", delta=base64_of(4_800))),
        (at_ms + 500, message("response.done", response={"status": "completed"})),
    ]


@pytest.mark.parametrize("has_items", [False, True])
def test_a_vad_service_that_omits_response_ids_is_measured(has_items: bool) -> None:
    talk = vad()
    for number, begin_ms in ((1, 100), (2, 5_000)):
        begins(talk, begin_ms, number)
        item_id = f"item_{number}" if has_items else ""
        talk.hear(begin_ms + 60, speech_started(item_id))
        ends(talk, begin_ms + 1_000)
        for at_ms, data in without_ids(begin_ms + 1_300, item_id=item_id):
            talk.hear(at_ms, data)
        assert waits.until_service_idle(talk.timeline, 0) is None

        turn = talk.only(begin_ms + 2_000)
        assert (turn.outcome, turn.vad_splits, turn.audio_deltas) == ("ok", 0, 1)
        assert turn.metrics_ns()["end_of_turn_delay"] == 300 * MS
        assert turn.metrics_ns()["ttfa"] == 600 * MS


def test_a_reply_to_noise_without_response_ids_is_not_awaited_between_turns() -> None:
    talk = vad()
    talk.hear(0, speech_started(""))
    for at_ms, data in without_ids(500):
        talk.hear(at_ms, data)

    assert waits.until_service_idle(talk.timeline, 0) is None


# Responses out of band.


def outside(talk: Talk, at_ms: float = 0, number: int = 1) -> None:
    """Send a turn that requests an out-of-band response."""
    talk.ask(at_ms, number, out_of_band=True, wants_audio=False)


def writes(talk: Talk, at_ms: float, response_id: str, **metadata: str) -> None:
    """Receive a complete response in text."""
    talk.hear(
        at_ms, created(response_id, **metadata), delta(GA, "text", response_id), done(response_id)
    )


NAMED = {"rtbench_request": "turn-1-response"}


def test_an_out_of_band_response_belongs_to_the_request_it_names() -> None:
    talk = vad()
    outside(talk)
    talk.hear(100, speech_started("noise"))
    talk.hear(200, speech_stopped("noise"), committed("noise"))
    talk.hear(300, created("r_noise"))
    writes(talk, 400, "r_mine", **NAMED)

    turn = talk.only()
    assert (turn.response_id, turn.outcome, turn.text_deltas) == ("r_mine", "ok", 1)


def test_an_in_band_response_is_not_taken_for_an_earlier_out_of_band_request() -> None:
    talk = Talk()
    outside(talk)
    talk.send(10, "response.create", untracked="script-event")
    talk.hear(100, created("r_conversation"))
    talk.hear(200, created("r_mine", **NAMED))
    talk.hear(300, delta(GA, "text", "r_conversation"), done("r_conversation"))
    talk.hear(400, delta(GA, "text", "r_mine"), done("r_mine"))

    turn = talk.only()
    assert (turn.response_id, after_ms(turn, "first_text")) == ("r_mine", 400)
