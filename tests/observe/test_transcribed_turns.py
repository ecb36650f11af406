"""Turns of sessions that only transcribe: what ends them, their outcome, and their instants."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helpers import (
    MS,
    Talk,
    after_ms,
    committed,
    hears,
    message,
    not_transcribed,
    speech_started,
    speech_stopped,
    transcribed,
)

FAMILY = "conversation.item.input_audio_transcription"
ONLY = {
    "only_transcribed": True,
    "transcription_due": True,
    "wants_audio": False,
    "service_responds": False,
}


def part(item_id: str, text: str) -> bytes:
    return message(f"{FAMILY}.delta", item_id=item_id, content_index=0, delta=text)


def refused(item_id: str, code: str) -> bytes:
    return message(
        f"{FAMILY}.failed",
        item_id=item_id,
        content_index=0,
        error={"code": code, "message": "Sorry."},
    )


def spoken(*, vad: bool, **limits: Any) -> Talk:
    """Return a session in which a turn spoke from 0 to 4,000 ms; without a VAD, its audio is
    committed at 4,040 ms.
    """
    talk = Talk(**limits)
    talk.begin_speech(0, **{**ONLY, "vad": vad})
    if vad:
        talk.hear(60, speech_started("item_1"))
    talk.end_speech(4_000)
    if not vad:
        talk.send(4_040, "input_audio_buffer.commit")
    return talk


def test_a_turn_ends_with_the_transcript_of_its_commit() -> None:
    talk = spoken(vad=False)
    talk.hear(4_100, committed("item_1"))
    talk.hear(4_300, part("item_1", "He"), part("item_1", "llo"))
    talk.hear(4_500, transcribed("item_1", "Hello"))

    turn = talk.only()
    assert {name: after_ms(turn, name) for name in turn.instants} == {
        "speech_start": 0,
        "speech_end": 4_000,
        "request_sent": 4_040,
        "committed": 4_100,
        "first_input_transcript": 4_300,
        "input_transcribed": 4_500,
        "ended": 4_500,
    }
    assert (turn.outcome, turn.measured_from, turn.input_text) == ("ok", "request_sent", "Hello")
    assert (
        turn.metrics_ns().items()
        >= {
            "input_transcript_total": 500 * MS,
            "input_transcript": 400 * MS,
            "input_transcript_first": 4_300 * MS,
        }.items()
    )
    assert (turn.input_transcript_deltas, turn.vad_splits, turn.transcription_speed) == (
        2,
        None,
        None,
    )
    assert turn.timestamp_uncertainty_ns == 0


def test_deltas_may_name_the_item_before_it_is_committed() -> None:
    talk = Talk()
    talk.begin_speech(0, **ONLY, vad=False)
    for number in range(1, 9):
        talk.hear(500 * number + 200, part("item_1", "word "))
    talk.end_speech(4_000)
    talk.send(4_040, "input_audio_buffer.commit")
    talk.hear(4_300, committed("item_1"))
    talk.hear(4_400, transcribed("item_1", "word " * 8))

    turn = talk.only()
    assert (turn.outcome, turn.item_id, after_ms(turn, "first_input_transcript")) == (
        "ok",
        "item_1",
        700,
    )
    assert (turn.transcript_lag_ns, turn.transcript_lag_max_ns) == (200 * MS, 200 * MS)
    assert turn.transcript_lag_uncertainty_ns == 7  # the width of the sends
    talk.begin_speech(5_000, 2, **ONLY, vad=False)
    talk.end_speech(6_000)
    talk.send(6_040, "input_audio_buffer.commit")
    talk.hear(6_100, committed("item_2"))
    talk.hear(6_200, transcribed("item_2", "Bye"))
    assert talk.only().input_text == "Bye"


@pytest.mark.parametrize(
    ("ending", "outcome", "detail"),
    [
        (not_transcribed("item_1"), "failed:transcription", "server_error: No."),
        (
            refused("item_1", "rate_limit_exceeded"),
            "throttled:transcription",
            "rate_limit_exceeded: Sorry.",
        ),
        (transcribed("item_1", " "), "failed:no_transcript", "the transcript has no words"),
    ],
)
def test_a_turn_without_a_transcript_fails(ending: bytes, outcome: str, detail: str) -> None:
    talk = spoken(vad=False)
    talk.hear(4_100, committed("item_1"))
    talk.hear(4_500, ending)

    turn = talk.only()
    assert (turn.outcome, turn.detail) == (outcome, detail)


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_a_split_turn_has_its_segments_in_order_and_ends_with_the_last_transcript(
    order: tuple[int, int],
) -> None:
    texts = {1: "Good", 2: "day"}
    talk = Talk()
    talk.begin_speech(0, **ONLY, vad=True)
    talk.hear(60, speech_started("item_1"))
    hears(talk, 1_900, "item_1")
    talk.hear(2_500, speech_started("item_2"))
    talk.end_speech(4_000)
    hears(talk, 4_400, "item_2")
    for at_ms, number in zip((4_600, 4_900), order, strict=True):
        talk.hear(at_ms, transcribed(f"item_{number}", texts[number]))

    turn = talk.only()
    assert (turn.outcome, turn.input_text, turn.vad_splits) == ("ok", "Good day", 1)
    assert (after_ms(turn, "input_transcribed"), after_ms(turn, "ended")) == (4_900, 4_900)
    assert (turn.measured_from, turn.metrics_ns()["input_transcript_total"]) == (
        "speech_end",
        900 * MS,
    )


def test_a_failed_segment_fails_a_split_turn_when_all_segments_have_ended() -> None:
    talk = Talk()
    talk.begin_speech(0, **ONLY, vad=True)
    talk.hear(60, speech_started("item_1"))
    hears(talk, 1_900, "item_1")
    talk.hear(2_000, not_transcribed("item_1"))
    talk.hear(2_500, speech_started("item_2"))
    talk.end_speech(4_000)
    hears(talk, 4_400, "item_2")
    talk.hear(4_700, transcribed("item_2", "day"))

    turn = talk.only()
    assert (turn.outcome, after_ms(turn, "ended")) == ("failed:transcription", 4_700)
    assert "input_transcribed" not in turn.instants


def test_a_turn_ends_although_the_vad_does_not_detect_the_rest_of_its_speech() -> None:
    talk = Talk()
    talk.begin_speech(0, **ONLY, vad=True)
    talk.hear(60, speech_started("item_1"))
    hears(talk, 1_900, "item_1", audio_end_ms=40)
    talk.hear(2_300, transcribed("item_1", "Hello"))
    talk.end_speech(4_000)

    due = talk.deadline()
    assert due is not None
    assert due[1] == "ok"
    talk.timeline.expire(due[0])
    turn = talk.only()
    assert (turn.outcome, after_ms(turn, "ended")) == ("ok", 5_000)
    # the transcript precedes the end of the speech
    assert "input_transcript_total" not in turn.metrics_ns()


WAITS: dict[str, tuple[bool, list[tuple[float, bytes]], str, float, str]] = {
    "nothing came": (
        False,
        [],
        "first_delta",
        4_040 + 3_000,
        "no transcript of the caller's audio came",
    ),
    "only the commit": (
        False,
        [(4_100, committed("item_1"))],
        "first_delta",
        4_040 + 3_000,
        "no transcript",
    ),
    "text, but not all": (
        False,
        [(4_100, committed("item_1")), (4_500, part("item_1", "He"))],
        "next_delta",
        4_500 + 2_000,
        "neither more text nor the finished transcript",
    ),
    "no end of speech": (
        True,
        [],
        "end_of_turn",
        4_000 + 10_000,
        "the service's VAD noticed no end of speech",
    ),
    "no transcript with a VAD": (
        True,
        [(4_400, speech_stopped("item_1")), (4_405, committed("item_1"))],
        "first_delta",
        4_400 + 3_000,
        "no transcript",
    ),
}


@pytest.mark.parametrize(("vad", "came", "stage", "due_ms", "words"), WAITS.values(), ids=WAITS)
def test_a_timeout_names_what_did_not_come(
    vad: bool, came: list[tuple[float, bytes]], stage: str, due_ms: float, words: str
) -> None:
    talk = spoken(vad=vad, end_of_turn=10, first_delta=3, next_delta=2)
    for at_ms, data in came:
        talk.hear(at_ms, data)

    due = talk.deadline()
    assert due is not None
    assert (due[0], due[1]) == (
        talk.timeline.turns.all[0].start_ns + round(due_ms * MS),
        f"timeout:{stage}",
    )
    assert words in due[2]
    talk.timeline.expire(due[0])
    assert talk.only().outcome == f"timeout:{stage}"


def test_a_recording_that_is_sent_all_at_once_has_a_speed() -> None:
    talk = Talk()
    talk.begin(0, **ONLY)
    for _ in range(10):
        talk.send(1, "input_audio_buffer.append", audio_bytes=48_000)
    talk.send(2, "input_audio_buffer.commit")
    talk.hear(100, committed("item_1"))
    talk.hear(2_000, transcribed("item_1", "Hello"))

    turn = talk.only()
    assert (turn.input_audio_ns, turn.transcription_speed) == (10_000 * MS, 5.0)
    assert (turn.measured_from, turn.transcript_lag_ns) == ("request_sent", None)
