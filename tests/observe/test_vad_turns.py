"""The timeline where the service finds the end of speech: what is a turn's, which reply counts, when it is over."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from bench import session as waits
from bench.limits import Limits
from bench.metrics import CATALOGUE
from bench.observe import inputs
from bench.observe.inputs import AskForResponse, HandOut, MeasureNetwork, Pay, SessionStart
from bench.observe.observation import TurnObservation
from bench.observe.timeline import Timeline
from bench.protocol.events import Usage
from bench.protocol.openai_ga import GA
from bench.transport.interface import Network
from tests.examples import thorough
from tests.helpers import (
    AT_NS,
    LOUD,
    MS,
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
    not_transcribed,
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


def insists(talk: Talk) -> bool:
    """Whether the current turn has not got all that its script insists on."""
    return waits.expected_events(talk.timeline, 0) is not None


def vad(**limits: Any) -> Talk:
    """A session whose VAD starts responses."""
    return Talk(service_responds=True, **limits)


# A turn that goes well.


def test_a_spoken_turn_has_the_instants_of_its_speech_and_of_its_answer() -> None:
    talk = vad()
    talk.begin_speech(0, jitter_buffer_ns=50 * MS)
    talk.hear(60, speech_started("item_1"))
    talk.end_speech(1_040, after_ms=40)
    hears(talk, 1_500)
    answers(talk, 1_550)

    turn = talk.only()
    assert {name: after_ms(turn, name) for name in turn.instants} == {
        "speech_start": 0, "speech_started": 60, "speech_end": 1_000, "speech_stopped": 1_500, "committed": 1_505,
        "response_created": 1_550, "first_audio": 1_850, "answer_audio": 1_850, "last_audio": 1_850,
        "first_audible": 1_900, "answer_audible": 1_900, "response_done": 1_950, "ended": 1_950,
    }  # fmt: skip
    assert (turn.outcome, turn.measured_from, turn.item_id, turn.response_id) == ("ok", "speech_end", "item_1", "r1")
    assert (turn.vad_splits, turn.stall_count, turn.audio_bytes_sent) == (0, 0, 9_600)
    assert turn.metrics_ns()["voice_to_voice"] == 900 * MS


def test_the_service_may_commit_before_it_says_so() -> None:
    talk = vad()
    speaks(talk)
    talk.hear(1_500, speech_stopped("item_1"), created("r1"), committed("item_1"))
    talk.hear(1_900, delta(GA, "audio", "r1"), done("r1"))

    assert (talk.only().outcome, talk.taken[0].response_id) == ("ok", "r1")
    assert waits.quiet(talk.timeline, 0) is None


# Deadlines.


@pytest.mark.parametrize(
    ("came", "stage", "due_ms"),
    [
        pytest.param([], "end_of_turn", 11_000, id="never noticed"),
        pytest.param([(60, speech_started("i"))], "end_of_turn", 11_000, id="the beginning was noticed"),
        pytest.param([(1_030, speech_started("i"))], "end_of_turn", 11_000, id="the start was noticed after the end"),
        pytest.param([(60, speech_started("i")), (1_500, speech_stopped("i"))], "first_delta", 4_500, id="noticed"),
        pytest.param([(1_500, speech_stopped("i")), (2_900, created("r"))], "first_delta", 4_500, id="created"),
        pytest.param([(1_500, speech_stopped("i")), (2_000, speech_started("j"))], "end_of_turn", 12_000, id="again"),
        pytest.param([(1_500, speech_stopped("i")), (1_505, committed("i")), (1_600, delta(GA, "audio", "r"))],
                     "next_delta", 3_600, id="answered"),
        pytest.param([(1_500, speech_stopped("i")), (1_505, committed("i")), (1_510, created("r")),
                      *((t, delta(GA, "audio", "r")) for t in range(2_000, 6_000, 1_000))],
                     "response", 6_510, id="long"),
    ],
)  # fmt: skip
def test_a_stage_of_a_spoken_turn_has_its_limit(came: list[tuple[int, bytes]], stage: str, due_ms: int) -> None:
    talk = vad(end_of_turn=10, first_delta=3, next_delta=2, response=5)
    talk.begin_speech(0)
    for at_ms, data in [(at_ms, data) for at_ms, data in came if at_ms < 1_000]:
        talk.hear(at_ms, data)
    talk.end_speech(1_000)
    for at_ms, data in [(at_ms, data) for at_ms, data in came if at_ms >= 1_000]:
        talk.hear(at_ms, data)
    assert talk.deadline()[:2] == (at(due_ms), f"timeout:{stage}")
    talk.timeline.expire(at(due_ms) - 1)
    assert not talk.timeline.turns.all_over

    talk.timeline.expire(at(due_ms + 70))
    assert (talk.only().outcome, after_ms(talk.taken[0], "ended")) == (f"timeout:{stage}", due_ms)
    assert talk.timeline.session().outcome == f"timeout:{stage}"


def test_what_is_overdue_while_the_caller_speaks_is_due_when_the_speech_ends() -> None:
    talk = vad(end_of_turn=1, first_delta=1, next_delta=10, response=1)
    talk.begin_speech(0)
    talk.hear(60, speech_started("item_1"))
    hears(talk, 800)
    talk.hear(900, created("r1"), delta(GA, "audio", "r1"))
    assert talk.deadline() is None
    talk.timeline.expire(at(4_900))
    assert not talk.timeline.turns.all_over
    talk.end_speech(5_000)
    talk.timeline.expire(at(5_100))

    assert (talk.only().outcome, after_ms(talk.taken[0], "ended")) == ("timeout:response", 5_000)


def test_a_service_that_was_busy_answering_a_pause_is_not_late_before_it_was_done_with_that() -> None:
    talk = vad(first_delta=1)
    speaks(talk)
    talk.hear(1_500, speech_stopped("item_1", audio_end_ms=150), committed("item_1"))  # a pause: speech ends at 200
    talk.hear(1_600, created("r1"), delta(GA, "audio", "r1"))
    talk.hear(1_700, speech_started("item_2"))
    hears(talk, 2_000, "item_2")
    talk.hear(5_000, done("r1"))
    talk.timeline.expire(at(5_001))

    turn = talk.only()
    assert (turn.outcome, after_ms(turn, "ended")) == ("timeout:first_delta", 5_000)


@pytest.mark.parametrize(
    ("close_ms", "outcome", "ended_ms"),
    [(11_000, "closed:1006", 11_000), (11_001, "timeout:end_of_turn", 11_000), (60_000, "timeout:end_of_turn", 11_000)],
)
def test_a_close_that_comes_after_a_deadline_does_not_overtake_it(close_ms: int, outcome: str, ended_ms: int) -> None:
    talk = vad(end_of_turn=10)
    speaks(talk)
    talk.timeline.tell(inputs.Closed(1006, at(close_ms), ""))

    assert (talk.only().outcome, after_ms(talk.taken[0], "ended")) == (outcome, ended_ms)
    assert (talk.timeline.session().outcome, talk.timeline.session().close_code) == (outcome, 1006)


# Splits.


def split(talk: Talk, **changes: Any) -> None:
    """The VAD takes a pause at 500 ms for the end, commits, and begins to answer; then the caller goes on."""
    talk.begin_speech(0, **changes)
    talk.hear(60, speech_started("item_1"))
    hears(talk, 700)
    talk.hear(750, created("r1"))
    talk.hear(800, delta(GA, "audio", "r1", LOUD), error_ns=2 * MS)
    talk.hear(820, delta(GA, "transcript", "r1"), delta(GA, "audio", "r1", LOUD), error_ns=2 * MS)


def test_a_reply_that_is_cancelled_because_speech_went_on_fails_the_turn_and_the_rest_belongs_to_no_turn() -> None:
    talk = vad()
    split(talk)
    talk.hear(900, speech_started("item_2"))
    talk.hear(920, done("r1", **CANCELLED))
    first = talk.only(921)
    instants = dict(first.instants)
    assert (first.outcome, after_ms(first, "ended")) == ("cancelled:turn_detected", 920)
    assert "speech_end" not in instants
    assert waits.quiet(talk.timeline, 0) is not None
    hears(talk, 1_500, "item_2")
    answers(talk, 1_600, "r2")
    assert waits.quiet(talk.timeline, 0) is None
    speaks(talk, 2, 3_000, 4_000)
    hears(talk, 4_500, "item_2b")
    answers(talk, 4_600, "r3")

    second = talk.only()
    assert (second.outcome, second.response_id, after_ms(second, "first_audio")) == ("ok", "r3", 4_900)
    assert first.instants == instants
    assert talk.timeline.session().unattributed_commits == 0


def test_noise_around_a_turn_and_the_answers_to_it_belong_to_the_session_which_pays_for_them() -> None:
    talk = vad()
    talk.hear(10, speech_started("noise"))
    hears(talk, 400, "noise")
    answers(talk, 450, "r0")
    speaks(talk, 1, 2_000, 3_000)
    hears(talk, 3_500, "item_1")
    answers(talk, 3_600, "r1")
    turn = talk.only(4_000)
    talk.hear(5_000, speech_started("noise_2"))
    hears(talk, 5_200, "noise_2")
    talk.hear(5_300, created("r2"), delta(GA, "audio", "r2", LOUD), done("r2", usage=usage(audio_out=20)))

    session = talk.timeline.session()
    assert (turn.outcome, turn.response_id, turn.vad_splits) == ("ok", "r1", 0)
    assert (session.unattributed_commits, session.stray_usage) == (2, USAGE)


@pytest.mark.parametrize("done_ms", [850, 1_903], ids=["before the speech goes on", "just before the next commit"])
def test_after_the_answer_to_a_pause_the_next_reply_counts(done_ms: int) -> None:
    talk = vad()
    split(talk, jitter_buffer_ns=10 * MS)
    transcript = message("response.output_audio_transcript.done", response_id="r1", transcript="What?")
    talk.hear(840, part_done(GA, "audio", "r1"), transcript)
    talk.hear(850, *[done("r1")] * (done_ms == 850))
    assert not talk.timeline.turns.all_over
    talk.hear(900, speech_started("item_2"))
    talk.end_speech(1_400)
    talk.hear(1_900, speech_stopped("item_2"))
    talk.hear(1_903, *[done("r1")] * (done_ms == 1_903))
    assert not talk.timeline.turns.all_over
    talk.hear(1_905, committed("item_2"))
    talk.hear(1_950, created("r2"))
    talk.hear(2_200, delta(GA, "audio", "r2", base64_of(4_800)))
    talk.hear(2_220, delta(GA, "audio", "r2", LOUD))
    talk.hear(2_300, done("r2"))

    turn = talk.only()
    assert (turn.outcome, turn.response_id, turn.item_id, turn.vad_splits) == ("ok", "r2", "item_2", 1)
    assert {name: after_ms(turn, name) for name in turn.instants} == {
        "speech_start": 0, "speech_started": 60, "speech_end": 1_400, "speech_stopped": 1_900, "committed": 1_905,
        "response_created": 1_950, "first_audio": 2_200, "answer_audio": 2_200, "last_audio": 2_220,
        "first_audible": 2_310, "answer_audible": 2_310, "response_done": 2_300, "ended": 2_300,
    }  # fmt: skip
    assert (turn.audio_deltas, turn.transcript_deltas, turn.gaps_ns, turn.uncertain_gaps) == (2, 0, (20 * MS,), 0)
    assert (turn.stall_count, turn.stall_duration_ns, turn.timestamp_uncertainty_ns, turn.reply_text) == (0, 0, 0, "")
    assert turn.audio_speed == pytest.approx(5)  # 100 ms of audio in 20 ms
    assert turn.audio_bytes_received == 4 * 4_800


def answered_twice(*last: bytes) -> TurnObservation:
    """A turn whose pause was answered to the end, with 20 audio tokens, and what then answers the rest of it."""
    talk = vad()
    split(talk)
    talk.hear(800, done("r1", usage=usage(audio_out=20)))
    talk.hear(900, speech_started("item_2"))
    talk.end_speech(1_400)
    hears(talk, 1_900, "item_2")
    talk.hear(1_950, created("r2"))
    talk.hear(2_300, *last)
    return talk.only()


TOLD = usage(audio_out=20)
TWICE: dict[str, tuple[list[bytes], str, Usage | None]] = {
    "both answers are paid for": ([delta(GA, "audio", "r2", LOUD), done("r2", usage=TOLD)], "ok", USAGE + USAGE),
    "the first is, too, if the second tells no tokens": ([delta(GA, "audio", "r2", LOUD), done("r2")], "ok", USAGE),
    "tokens of audio that did not come with the second are missed": ([done("r2", usage=TOLD)], "protocol_error:dialect",
                                                                     USAGE + USAGE),
    "those of the first do not count for that": ([done("r2", usage=SPENT)], "failed:no_audio",
                                                 USAGE + replace(USAGE, audio_out=0)),
}  # fmt: skip


@pytest.mark.parametrize(("last", "outcome", "spent"), TWICE.values(), ids=TWICE)
def test_a_turn_of_two_answers(last: list[bytes], outcome: str, spent: Usage | None) -> None:
    turn = answered_twice(*last)

    assert (turn.outcome, turn.usage) == (outcome, spent)


def test_where_the_service_refuses_to_answer_the_rest_its_answer_to_the_pause_counts() -> None:
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
    assert (talk.timeline.session().service_errors, waits.quiet(talk.timeline, 0)) == (1, None)


def test_an_answer_that_began_in_a_pause_goes_on_when_the_speech_is_over() -> None:
    talk = vad(next_delta=2)
    split(talk)
    talk.end_speech(1_000)

    assert talk.deadline()[:2] == (at(3_000), "timeout:next_delta")
    talk.hear(2_900, done("r1"))
    assert talk.only().outcome == "ok"


# Where the client asks for the response.


def asked() -> Talk:
    talk = Talk(service_responds=False)
    talk.begin_speech(0)
    talk.hear(60, speech_started("item_1"))
    return talk


def test_a_request_is_wanted_once_the_speech_is_committed_and_only_once() -> None:
    talk, wanted = asked(), []
    talk.end_speech(1_000)
    for at_ms, data in ((1_500, speech_stopped("item_1")), (1_505, committed("item_1"))):
        wanted.append(bool(talk.work(at_ms, AskForResponse)))
        talk.hear(at_ms, data)
    wanted.append(bool(talk.work(1_505, AskForResponse)))
    talk.send(1_505, "response.create")
    wanted.append(bool(talk.work(9_000, AskForResponse)))
    answers(talk, 1_600)

    turn = talk.only()
    assert wanted == [False, False, True, False]
    assert (turn.outcome, turn.measured_from, after_ms(turn, "request_sent")) == ("ok", "request_sent", 1_505)
    assert turn.metrics_ns()["ttfa"] == 395 * MS


def test_a_request_waits_for_the_end_of_speech_and_for_the_commit_of_all_of_it() -> None:
    talk, wanted = asked(), []
    hears(talk, 700)
    wanted.append(bool(talk.work(700, AskForResponse)))
    talk.hear(900, speech_started("item_2"))
    talk.end_speech(1_400)
    wanted.append(bool(talk.work(1_400, AskForResponse)))
    talk.hear(1_900, speech_stopped("item_2"))
    wanted.append(bool(talk.work(1_900, AskForResponse)))
    talk.hear(1_905, committed("item_2"))

    assert (wanted, bool(talk.work(1_905, AskForResponse))) == ([False] * 3, True)


def test_a_request_waits_a_second_for_a_last_word_that_the_service_may_not_have_heard_yet() -> None:
    talk = asked()
    hears(talk, 700)
    talk.end_speech(1_000)

    assert [bool(talk.work(ms, AskForResponse)) for ms in (1_000, 1_999, 2_000)] == [False, False, True]
    talk.hear(1_100, speech_started("item_2"))
    assert not talk.work(5_000, AskForResponse)


def test_no_response_is_expected_of_a_vad_that_starts_none() -> None:
    talk = asked()
    talk.end_speech(1_000)
    hears(talk, 1_500)
    talk.hear(1_600, *reply(GA, "somebody_s"))

    assert not talk.timeline.turns.all_over
    assert talk.deadline()[:2] == (at(31_500), "timeout:first_delta")


# Transcriptions.


def test_late_transcriptions_find_their_turns_while_the_next_is_under_way() -> None:
    talk = vad()
    speaks(talk, 1, transcription_due=True)
    hears(talk, 1_500)
    answers(talk, 1_600)
    assert talk.take(2_001) == []
    speaks(talk, 2, 2_500, 3_000, transcription_due=True)
    hears(talk, 3_500, "item_2")
    talk.hear(3_600, transcribed("item_2", "Two"))
    talk.hear(3_700, transcribed("item_1", "One"))
    answers(talk, 3_800, "r2")

    first, second = talk.take(5_000)
    assert (first.turn, after_ms(first, "input_transcribed"), first.input_text) == (1, 3_700, "One")
    assert (second.turn, after_ms(second, "input_transcribed"), second.input_text) == (2, 3_600, "Two")


def split_and_answered(*late: tuple[float, bytes]) -> TurnObservation:
    """A turn of two commits, at 705 and at 1905 ms, done at 2400; and what comes then."""
    talk = vad()
    talk.begin_speech(0, transcription_due=True)
    talk.hear(60, speech_started("item_1"))
    hears(talk, 700)
    talk.hear(710, created("r1"), delta(GA, "audio", "r1"), done("r1"))
    talk.hear(900, speech_started("item_2"))
    talk.end_speech(1_400)
    hears(talk, 1_900, "item_2")
    answers(talk, 2_000, "r2")
    for at_ms, data in late:
        assert talk.take(at_ms) == []
        talk.hear(at_ms, data)
    return talk.only(late[-1][0])


TRANSCRIBED: dict[str, tuple[list[tuple[float, bytes]], str, float | None, int | None]] = {
    # what comes late; the words, and when the last speech was transcribed: at, and after its commit (ms)
    "each commit is transcribed": ([(2_500, transcribed("item_1", "Good")), (2_600, transcribed("item_2", "day"))],
                                   "Good day", 2_600, 695),
    "time counts from the commit of the same speech":
        ([(2_500, transcribed("item_2", "day")), (2_900, transcribed("item_1", "Good"))], "day Good", 2_500, 595),
    "one that failed is not waited for": ([(2_500, transcribed("item_1", "Good")), (2_600, not_transcribed("item_2"))],
                                          "Good", None, None),
}  # fmt: skip


@pytest.mark.parametrize(("late", "words", "whole_ms", "metric_ms"), TRANSCRIBED.values(), ids=TRANSCRIBED)
def test_a_turn_of_several_commits_awaits_the_transcription_of_each(
    late: list[tuple[float, bytes]], words: str, whole_ms: float | None, metric_ms: int | None
) -> None:
    turn = split_and_answered(*late)

    assert (turn.input_text, after_ms(turn, "input_transcribed")) == (words, whole_ms)
    assert turn.metrics_ns().get("input_transcript") == (None if metric_ms is None else metric_ms * MS)


@pytest.mark.parametrize("due", [False, True])
def test_what_was_handed_out_is_not_changed_by_a_transcription_that_comes_after_it(due: bool) -> None:
    talk = vad()
    speaks(talk, transcription_due=due)
    hears(talk, 1_500)
    if due:
        talk.hear(1_550, transcribed("item_1"))
    answers(talk, 1_600)
    turn = talk.only(2_001)
    before = dict(turn.instants)
    talk.hear(2_100, transcribed("item_1", "once more"))

    assert turn.instants == before
    assert ("input_transcribed" in before) is due


def test_what_was_committed_last_is_transcribed_last_or_not_at_all() -> None:
    talk = vad()
    talk.begin_speech(0, transcription_due=True)
    talk.hear(60, speech_started("item_1"))
    hears(talk, 700)
    talk.hear(800, transcribed("item_1"))
    talk.hear(900, speech_started("item_2"))
    talk.end_speech(1_400)
    hears(talk, 1_900, "item_2")
    talk.timeline.tell(inputs.Failed("unfinished", at(2_000)))

    turn = talk.only()
    assert (turn.input_text, "input_transcribed" in turn.instants) == ("Hello", False)


# What a script insists on.


def test_an_expectation_that_is_met_changes_nothing() -> None:
    talk = vad()
    speaks(talk)
    talk.timeline.tell(inputs.Expected("speech_stopped", at(2_000)))
    before = insists(talk)
    hears(talk, 2_000)  # what arrives at the deadline itself is in time
    after = insists(talk)
    answers(talk, 2_100)

    assert (before, after, talk.only().outcome) == (True, False, "ok")


def test_an_expectation_that_is_not_met_in_time_fails_the_turn_and_not_the_session() -> None:
    talk = vad()
    speaks(talk)
    talk.timeline.tell(inputs.Expected("speech_stopped", at(2_000)))
    assert talk.deadline()[:2] == (at(2_000), "failed:missing_speech_stopped")
    hears(talk, 2_001)

    turn = talk.only()
    assert (turn.outcome, after_ms(turn, "ended")) == ("failed:missing_speech_stopped", 2_000)
    assert not talk.timeline.over


def test_a_turn_that_is_done_without_what_was_expected_fails_at_once() -> None:
    talk = vad()
    talk.ask(0)
    talk.timeline.tell(inputs.Expected("transcript_delta", at(60_000)))
    talk.hear(100, delta(GA, "audio", "r1"), done("r1"))

    turn = talk.only()
    assert (turn.outcome, after_ms(turn, "ended")) == ("failed:missing_transcript_delta", 100)


def test_the_answer_to_a_pause_is_an_answer_for_whoever_expects_one() -> None:
    talk = vad()
    split(talk)
    talk.hear(890, speech_started("item_2"))
    talk.end_speech(900)
    talk.timeline.tell(inputs.Expected("transcript_done", at(1_200)))
    talk.hear(1_000, part_done(GA, "transcript", "r1"))
    talk.hear(1_100, done("r1"))
    assert insists(talk) is False
    hears(talk, 1_400, "item_2")
    answers(talk, 1_500, "r2")

    assert (talk.only().outcome, talk.taken[0].response_id) == ("ok", "r2")


def test_nothing_is_expected_that_has_come_or_of_a_turn_that_is_over_or_was_never_begun() -> None:
    talk, came = vad(), vad()
    talk.timeline.tell(inputs.Expected("audio_delta", at(1)))
    talk.ask(10)
    talk.hear(20, *reply(GA, "r1"))
    talk.timeline.tell(inputs.Expected("text_delta", at(30)))
    speaks(came)
    came.timeline.tell(inputs.Expected("speech_started", at(1_001)))

    assert (insists(talk), talk.deadline()) == (False, None)
    assert talk.only().outcome == "ok"
    assert (insists(came), came.deadline()[:2]) == (False, (at(11_000), "timeout:end_of_turn"))


# When the service is quiet, and the caller may speak again.


def test_the_service_is_quiet_once_all_speech_is_committed_and_all_commits_are_answered() -> None:
    talk, busy = vad(next_delta=2), []
    for at_ms, data in ((0, speech_started("x")), (100, speech_stopped("x")), (105, committed("x")),
                        (150, created("r")), (200, delta(GA, "audio", "r")), (300, done("r"))):  # fmt: skip
        talk.hear(at_ms, data)
        busy.append(waits.quiet(talk.timeline, 0))

    assert busy == [at(2_000), at(2_100), at(2_105), at(2_150), at(2_200), None]


def test_whoever_gives_up_on_a_commit_does_not_take_its_answer_for_another_s() -> None:
    talk = vad()
    talk.hear(0, speech_started("x"), speech_stopped("x"), committed("x"))
    talk.timeline.tell(inputs.GaveUp())
    assert waits.quiet(talk.timeline, 0) is None
    speaks(talk, 1, 20_000, 21_000)
    hears(talk, 21_500)
    answers(talk, 21_600)

    assert (talk.only().outcome, talk.taken[0].response_id) == ("ok", "r1")


def test_a_service_that_leaves_ids_out_is_understood() -> None:
    talk = Talk()
    talk.ask(0)
    talk.hear(10, message("response.created"))
    talk.hear(20, message("response.output_audio.delta", delta=base64_of(4_800)))
    talk.hear(30, message("response.done", response={"status": "completed"}))

    assert (talk.only().outcome, after_ms(talk.taken[0], "first_audio")) == ("ok", 20)
    assert waits.quiet(talk.timeline, 0) is None


def test_a_reply_is_heard_out_as_long_as_the_player_plays_it_and_not_at_all_if_it_was_cut() -> None:
    talk, cut = vad(), vad()
    assert talk.timeline.playback_ends_ns == 0
    speaks(talk, jitter_buffer_ns=50 * MS)
    hears(talk, 1_500)
    talk.hear(1_600, created("r1"), delta(GA, "audio", "r1"), delta(GA, "audio", "r1"))
    assert talk.timeline.playback_ends_ns == 0  # it is not over
    talk.hear(1_700, done("r1"))
    split(cut)
    cut.hear(900, done("r1", **CANCELLED))

    assert (talk.timeline.playback_ends_ns, cut.timeline.playback_ends_ns) == (at(1_850), 0)
    talk.take(1_701)
    assert talk.timeline.playback_ends_ns == at(1_850)


# The way to the peer.


def test_the_network_is_that_of_each_turn_s_end_and_retransmissions_count_from_the_last() -> None:
    talk, asked = Talk(wanted=3), []
    for number, network in enumerate((Network(900, 700, 2), Network(800, 600, 5), None), 1):
        asked.append(bool(talk.work(1_000 * number - 1, MeasureNetwork)))
        talk.ask(1_000 * number, number)
        talk.hear(1_000 * number + 10, *reply(GA, f"r{number}"))
        works = talk.timeline.work(at(1_000 * number + 20), at(1_000 * number + 20))
        asked.append(isinstance(next(works), Pay) and isinstance(next(works), MeasureNetwork))
        if network is not None:
            talk.timeline.tell(inputs.NetworkMeasured(*network))
        talk.taken += [work.turn for work in works if isinstance(work, HandOut)]

    assert asked == [False, True] * 3
    assert [(t.network_rtt_ns, t.network_rtt_smoothed_ns, t.retransmits) for t in talk.taken] == [
        (700, 900, 2),
        (600, 800, 3),
        (None, None, None),
    ]


# Whatever comes.

EVENTS = [
    *(make(f"item_{n}") for n in (1, 2, 3) for make in (speech_started, speech_stopped, committed, transcribed)),
    *(data for n in (1, 2, 3) for data in (created(f"r{n}"), delta(GA, "audio", f"r{n}", LOUD),
                                           done(f"r{n}", usage=SPENT), done(f"r{n}", **CANCELLED))),
    idle_timeout("item_3"), error("conversation_already_has_active_response"), error("x", "turn-1-append-1"),
    error("rate_limit_exceeded"), message("nobody.knows"),
]  # fmt: skip
STEPS = st.one_of(
    st.sampled_from(EVENTS),
    st.sampled_from(["begin", "end", "ask", "expect", "expire", "take", "give up", "type"]),
)
SCENES = st.lists(st.tuples(STEPS, st.sampled_from([0, 1, 40, 900, 2_500])), max_size=40)


LIMITS: dict[str, Any] = {"end_of_turn": 3.0, "first_delta": 3.0, "next_delta": 2.0, "response": 4.0}


def perform(talk: Talk, step: bytes | str, now_ms: int, number: int) -> bool:
    """What a session, or its service, does at an instant; True where turn `number` begins."""
    timeline = talk.timeline
    if isinstance(step, bytes):
        talk.hear(now_ms, step)
    else:  # whoever sends has waited until then
        timeline.expire(at(now_ms))
        assert timeline.wake_ns > at(now_ms)
    begins = step in ("begin", "type") and timeline.turns.all_over and not timeline.over
    if begins and step == "begin":
        talk.begin_speech(now_ms, number, transcription_due=True)
    elif begins:
        timeline.tell(inputs.Begun(at(now_ms), build_turn(number)))
        talk.send(now_ms, "response.create")
    elif step == "end" and not timeline.turns.all_over:
        talk.end_speech(now_ms)
    elif step == "ask" and talk.work(now_ms, AskForResponse):
        talk.send(now_ms, "response.create")
        assert not talk.work(now_ms, AskForResponse)
    elif step == "expect":
        timeline.tell(inputs.Expected("audio_delta", at(now_ms + 900)))
    elif step == "take":
        talk.take(now_ms)
    elif step == "give up":
        timeline.tell(inputs.GaveUp())
        assert waits.quiet(timeline, 0) is None or not talk.service_responds
    return begins


@thorough
@given(responds=st.booleans(), steps=SCENES)
def test_whatever_a_vad_does_every_turn_ends_once_and_every_token_is_paid_for_once(
    responds: bool, steps: list[tuple[bytes | str, int]]
) -> None:
    talk, now_ms, begun = Talk(service_responds=responds, **LIMITS), 0, 0
    timeline = talk.timeline
    for step, gap_ms in steps:
        now_ms += gap_ms
        begun += perform(talk, step, now_ms, begun + 1)
        assert timeline.turns.due(timeline.limits) is None or timeline.turns.all_over is False
    timeline.tell(inputs.Failed("unfinished", at(now_ms)))
    talk.take(now_ms)

    session = timeline.session()
    spent = [session.stray_usage, *(turn.usage for turn in talk.taken)]
    told = {step for step, _ in steps if isinstance(step, bytes) and b"output_token_details" in step}
    assert sum(filter(None, spent), Usage()) == sum([replace(USAGE, audio_out=0)] * len(told), Usage())
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
        assert len(turn.gaps_ns) + turn.uncertain_gaps <= max(0, turn.audio_deltas - 1), "none from item to item"
        assert ("first_audio" in came) == (turn.audio_deltas > 0) == (turn.stall_count is not None)


class Anxious(Timeline):
    """Looks for a deadline at every event."""

    @property
    def wake_ns(self) -> int:
        due = self.turns.due(self.limits)
        return due[0] if due else 1 << 62


@example(responds=True, steps=[("begin", 0), ("end", 900)], done_s=4.0)
@example(responds=False, steps=[("type", 0), (created("r1"), 40)], done_s=1.0)
@example(responds=False, steps=[("type", 0), ("expect", 40)], done_s=4.0)
@given(responds=st.booleans(), steps=SCENES, done_s=st.sampled_from([1.0, 4.0]))
def test_no_deadline_is_missed_by_looking_for_it_no_sooner_than_it_can_be(
    responds: bool, steps: list[tuple[bytes | str, int]], done_s: float
) -> None:
    limits = LIMITS | {"response": done_s}
    talk, anxious = (Talk(service_responds=responds, **limits) for _ in range(2))
    anxious.timeline = Anxious(SessionStart(AT_NS, 2, Limits(**limits), responds), GA)
    anxious.hear(0, session_created(), session_updated())
    now_ms, begun = 0, 0
    for step, gap_ms in steps:
        now_ms += gap_ms
        perform(anxious, step, now_ms, begun + 1)
        begun += perform(talk, step, now_ms, begun + 1)
        due = talk.deadline()
        assert due is None or talk.timeline.wake_ns <= due[0]

    for each in (talk, anxious):
        each.timeline.tell(inputs.Failed("unfinished", at(now_ms)))
        each.take(now_ms)
    assert talk.taken == anxious.taken
    assert talk.timeline.session() == anxious.timeline.session()


def test_an_answer_to_a_pause_that_never_ends_is_overdue_also_while_the_rest_is_unnoticed() -> None:
    talk = vad(response=1, end_of_turn=3)
    split(talk)
    talk.hear(900, speech_started("item_2"))
    talk.end_speech(1_000)
    talk.timeline.expire(at(1_760))

    turn = talk.only()
    assert (turn.outcome, after_ms(turn, "ended")) == ("timeout:response", 1_750)


# How far its instants can be off.


def test_what_a_vad_says_has_the_bounds_of_its_last_word_and_of_its_first_of_a_beginning() -> None:
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
    assert [turn.errors_ns[name] for name in names] == [1, 4, 5]
    assert turn.widths_ns == {"speech_start": 7, "speech_end": 7}
    assert turn.bound_ns(CATALOGUE["end_of_turn_delay"]) == 4 + 7


def test_an_instant_that_was_taken_back_has_no_bound() -> None:
    talk = vad()
    talk.begin_speech(0)
    talk.hear(60, speech_started("item_1"), error_ns=1)
    hears(talk, 500)
    answers(talk, 550)  # to a pause: the end of the rest is still to be noticed
    talk.timeline.tell(inputs.Failed("unfinished", at(1_000)))

    turn = talk.only()
    assert set(turn.errors_ns) == {"speech_started"}
