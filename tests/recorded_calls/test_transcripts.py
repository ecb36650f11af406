"""The words of a recorded call, from each known form of a transcript."""

from __future__ import annotations

import json
from math import isfinite
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.files.safe_io import JsonError, read_json
from bench.plan.recordings import SpeechSpan
from bench.recorded_calls.transcripts import (
    AROUND_S,
    Phrase,
    SideWords,
    UnknownFormError,
    aligned,
    phrases,
)

SAID = [("caller", 1.5, 2.25, "Hello there."), ("agent", 3.0, 4.5, "How can I help?")]


def twilio(number: Any) -> dict[str, Any]:
    return {
        "sentences": [
            {
                "media_channel": 1,
                "sentence_index": 0,
                "start_time": number(1.5),
                "end_time": number(2.25),
                "transcript": "Hello there.",
                "sid": "GX0",
                "confidence": number(0.9),
                "words": None,
            },
            {
                "media_channel": "2",
                "sentence_index": 1,
                "start_time": number(3.0),
                "end_time": number(4.5),
                "transcript": "How can I help?",
                "sid": "GX1",
                "confidence": None,
                "words": [],
            },
        ],
        "meta": {"page": 0},
    }


AZURE_BATCH = {
    "source": "https://…",
    "durationInTicks": 60_000_000,
    "combinedRecognizedPhrases": [{"channel": 0, "display": "Hello there."}],
    "recognizedPhrases": [
        {
            "recognitionStatus": "Success",
            "channel": 0,
            "offset": "PT1.5S",
            "offsetInTicks": 15_000_000.0,
            "durationInTicks": 7_500_000,
            "nBest": [{"confidence": 0.9, "display": "Hello there."}],
        },
        {
            "recognitionStatus": "Success",
            "channel": 1,
            "offsetInTicks": 30_000_000,
            "durationInTicks": 15_000_000,
            "nBest": [{"display": "How can I help?"}, {"display": "How may I help?"}],
        },
        {
            "recognitionStatus": "Failure",
            "channel": 1,
            "offsetInTicks": 50_000_000,
            "durationInTicks": 0,
        },
    ],
}
AZURE_FAST = {
    "durationMilliseconds": 6_000,
    "combinedPhrases": [{"channel": 0, "text": "Hello there."}],
    "phrases": [
        {
            "channel": 0,
            "offsetMilliseconds": 1_500,
            "durationMilliseconds": 750,
            "text": "Hello there.",
            "words": [],
        },
        {
            "channel": 1,
            "offsetMilliseconds": 3_000,
            "durationMilliseconds": 1_500,
            "text": "How can I help?",
        },
    ],
}
DEEPGRAM = {
    "metadata": {"channels": 2},
    "results": {
        "channels": [],
        "utterances": [
            {"start": 1.5, "end": 2.25, "channel": 0, "transcript": "Hello there.", "speaker": 0},
            {"start": 3.0, "end": 4.5, "channel": 1, "transcript": "How can I help?"},
        ],
    },
}
NOON = 1_700_000_000.0
LIVEKIT = {
    "chat_history": {
        "items": [
            {"id": "item_0", "type": "agent_handoff", "created_at": NOON},
            {
                "id": "item_1",
                "type": "message",
                "role": "user",
                "content": ["Hello there."],
                "created_at": NOON + 9,
                "metrics": {"started_speaking_at": NOON + 1.5, "stopped_speaking_at": NOON + 2.25},
            },
            {
                "id": "item_2",
                "type": "function_call",
                "name": "look_up",
                "arguments": "{}",
                "created_at": NOON + 2.5,
            },
            {
                "id": "item_3",
                "role": "assistant",
                "content": ["How can I", {"type": "image"}, "help?"],
                "interrupted": False,
                "metrics": {"started_speaking_at": NOON + 3, "stopped_speaking_at": NOON + 4.5},
            },
            {
                "id": "item_4",
                "type": "message",
                "role": "system",
                "content": [],
                "created_at": NOON,
            },
        ]
    }
}
FORMS: dict[str, Any] = {
    "Twilio with numbers": twilio(float),
    "Twilio with strings": twilio(str),
    "Azure batch": AZURE_BATCH,
    "Azure fast": AZURE_FAST,
    "Deepgram": DEEPGRAM,
    "LiveKit Agents": LIVEKIT,
    "LiveKit Agents without history": LIVEKIT["chat_history"],
    "list": [
        {"start": start, "end": end, "text": text, "role": role}
        for role, start, end, text in reversed(SAID)
    ],
    "segments": {
        "segments": [
            {"start": start, "end": end, "text": text, "speaker": role.upper()}
            for role, start, end, text in SAID
        ]
    },
}


def said(found: list[Phrase]) -> list[tuple[str, float, float, str]]:
    """Return (side, start, end, words) of each phrase of a call that starts with the first words
    at 1.5 s.
    """
    sides = {1: "caller", 2: "agent"}
    return [
        (
            str(phrase.role or sides[int(phrase.channel or 0)]),
            phrase.start_s,
            phrase.end_s,
            phrase.text,
        )
        for phrase in aligned(found, 1.5, 1)
    ]


@pytest.mark.parametrize("form", FORMS)
def test_each_form_gives_the_same_words_at_the_same_times(form: str) -> None:
    assert said(phrases(json.loads(json.dumps(FORMS[form])))) == SAID


def test_messages_of_pipecat_have_a_time_of_day_and_no_end() -> None:
    found = phrases(
        [
            {
                "role": "user",
                "content": "Hello there.",
                "timestamp": "2025-03-01T10:00:01.500+00:00",
            },
            {
                "role": "assistant",
                "content": "How can I help?",
                "timestamp": "2025-03-01T10:00:03+00:00",
            },
            {"role": "assistant", "content": "", "timestamp": "2025-03-01T10:00:09+00:00"},
        ]
    )
    assert said(found) == [
        ("caller", 1.5, 1.5, "Hello there."),
        ("agent", 3.0, 3.0, "How can I help?"),
    ]


def test_times_of_day_count_from_the_first_words_of_the_caller() -> None:
    found = phrases(
        [
            {"role": role, "text": text, "start": NOON + start, "end": NOON + end}
            for role, start, end, text in SAID
        ]
    )

    assert [phrase.start_s for phrase in aligned(found, 20.0, 1)] == [20.0, 21.5]
    assert [phrase.end_s for phrase in aligned(found, 20.0, 1)] == [20.75, 23.0]


def test_times_of_a_call_without_words_of_the_caller_do_not_change() -> None:
    found = [Phrase(NOON, NOON + 1, "hello", role="agent")]
    assert aligned(found, 20.0, 1) == found


def test_the_words_of_an_utterance_are_those_near_it_of_the_same_side() -> None:
    found = phrases(twilio(float))
    near, far = SpeechSpan(1_000, 2_300), SpeechSpan(9_000, 9_900)

    assert SideWords(found, "caller", 1).text_in(near, 1_000) == "Hello there."
    assert SideWords(found, "agent", 1).text_in(near, 1_000) == ""
    assert SideWords(found, "agent", 2).text_in(near, 1_000) == "Hello there."
    assert SideWords(found, "caller", 1).text_in(far, 1_000) == ""


def test_several_phrases_of_an_utterance_are_joined() -> None:
    found = [Phrase(1, 2, " one ", 1), Phrase(2, 3, "two", 1), Phrase(2, 3, "three", None, None)]
    assert SideWords(found, "caller", 1).text_in(SpeechSpan(1, 3), 1) == "one two"


TIMES = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12)


@given(times=TIMES, begin=st.integers(0, 12), length=st.integers(0, 5))
def test_the_words_of_an_utterance_are_the_phrases_around_it(
    times: list[tuple[int, int]], begin: int, length: int
) -> None:
    found = sorted(
        Phrase(start, start + size, f"{number}", 1) for number, (start, size) in enumerate(times)
    )
    around = begin - AROUND_S, begin + length + AROUND_S
    expected = [
        phrase.text
        for phrase in found
        if around[0] <= (phrase.start_s + phrase.end_s) / 2 <= around[1]
    ]

    words = SideWords(found, "caller", 1).text_in(
        SpeechSpan(begin * 100, (begin + length) * 100), 100
    )

    assert words == " ".join(expected)


UNKNOWN = json.loads(Path(__file__).with_name("unknown_forms.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("kind", UNKNOWN)
def test_a_document_of_another_form_is_refused_with_a_short_reason(kind: str) -> None:
    with pytest.raises(UnknownFormError, match=r"^.{5,120}$"):
        phrases(UNKNOWN[kind])


def test_messages_of_unknown_roles_at_the_same_time_are_no_error() -> None:
    same = {"start": 1, "end": 2, "text": "yes"}
    assert len(phrases([{**same, "role": "user"}, same, {**same, "role": "agent"}])) == 3


KEYS = st.sampled_from(
    [
        "sentences",
        "phrases",
        "recognizedPhrases",
        "results",
        "utterances",
        "items",
        "segments",
        "messages",
        "start",
        "end",
        "text",
        "role",
        "channel",
        "timestamp",
        "metrics",
        "content",
        "start_time",
        "end_time",
        "transcript",
        "type",
        "media_channel",
        "started_speaking_at",
        "chat_history",
        "offsetMilliseconds",
        "durationMilliseconds",
    ]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64),
    st.floats(),
    st.sampled_from(["user", "1.5", "", "12:00", "x", "message"]),
)
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=15,
)


@settings(max_examples=100)
@given(DOCUMENTS)
def test_any_document_gives_phrases_or_is_refused(document: Any) -> None:
    try:
        found = phrases(document)
    except UnknownFormError:
        return
    assert all(phrase.text.strip() and isfinite(phrase.start_s + phrase.end_s) for phrase in found)
    SideWords(aligned(found, 1.0, 1), "caller", 1).text_in(SpeechSpan(0, 1_000), 1_000)


@given(st.binary(max_size=60))
def test_any_file_is_json_or_is_refused(data: bytes) -> None:
    try:
        document = read_json(data)
    except JsonError:
        return
    with pytest.raises(UnknownFormError):
        phrases(document)
