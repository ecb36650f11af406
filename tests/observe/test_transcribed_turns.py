"""Turns of sessions that only transcribe: what ends them, their outcome, and their instants."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helpers import (
    MS,
    Talk,
    committed,
    message,
    speech_started,
    speech_stopped,
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
