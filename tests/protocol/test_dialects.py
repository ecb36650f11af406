"""What the client says, in both dialects."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bench.protocol.dialects import (
    AudioFormatName,
    Dialect,
    Output,
    ResponseSettings,
    SessionSettings,
    TurnDetection,
    append_audio,
    clear_audio,
    commit_audio,
    create_response,
    session_update,
    text_item,
)

FULL = SessionSettings(
    output="audio", instructions="Be brief.", voice="alloy", max_output_tokens=400, input_transcription="whisper-1"
)


def decoded(data: bytes) -> dict[str, Any]:
    return msgspec.json.decode(data, type=dict[str, Any])


def test_preview_says_a_flat_session() -> None:
    settings = msgspec.structs.replace(FULL, temperature=0.7)

    assert decoded(session_update(Dialect.PREVIEW, settings, "session-update")) == {
        "type": "session.update",
        "event_id": "session-update",
        "session": {
            "modalities": ["audio", "text"],
            "instructions": "Be brief.",
            "voice": "alloy",
            "input_audio_format": "pcm16",
            "output_audio_format": "pcm16",
            "input_audio_transcription": {"model": "whisper-1"},
            "turn_detection": None,
            "temperature": 0.7,
            "max_response_output_tokens": 400,
        },
    }


def test_ga_says_a_nested_session_with_its_type() -> None:
    pcm = {"type": "audio/pcm", "rate": 24_000}

    assert decoded(session_update(Dialect.GA, FULL, "session-update")) == {
        "type": "session.update",
        "event_id": "session-update",
        "session": {
            "type": "realtime",
            "output_modalities": ["audio"],
            "instructions": "Be brief.",
            "audio": {
                "input": {"format": pcm, "turn_detection": None, "transcription": {"model": "whisper-1"}},
                "output": {"format": pcm, "voice": "alloy"},
            },
            "max_output_tokens": 400,
        },
    }


@pytest.mark.parametrize("dialect", Dialect)
def test_what_is_not_set_is_not_said_but_turn_detection_is_always_off(dialect: Dialect) -> None:
    session = decoded(session_update(dialect, SessionSettings(), "e"))["session"]
    heard = session if dialect is Dialect.PREVIEW else session["audio"]["input"]

    assert {"instructions", "voice", "temperature", "max_output_tokens"}.isdisjoint(session)
    assert heard["turn_detection"] is None
    assert {"transcription", "input_audio_transcription"}.isdisjoint(heard)


def heard(dialect: Dialect, settings: SessionSettings) -> dict[str, Any]:
    """What a session says of the caller's audio: (format, turn detection) wherever the dialect keeps them."""
    session = decoded(session_update(dialect, settings, "e"))["session"]
    if dialect is Dialect.PREVIEW:
        return {"format": session["input_audio_format"], "turn_detection": session["turn_detection"]}
    return {name: session["audio"]["input"][name] for name in ("format", "turn_detection")}


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (TurnDetection(), {"type": "server_vad"}),
        (
            TurnDetection(threshold=0.0, prefix_padding_ms=0, silence_duration_ms=500, create_response=False,
                          interrupt_response=False),
            {"type": "server_vad", "threshold": 0.0, "prefix_padding_ms": 0, "silence_duration_ms": 500,
             "create_response": False, "interrupt_response": False},
        ),
        (TurnDetection(idle_timeout_ms=6_000), {"type": "server_vad", "idle_timeout_ms": 6_000}),
        (TurnDetection(type="semantic_vad", eagerness="high"), {"type": "semantic_vad", "eagerness": "high"}),
    ],
)  # fmt: skip
def test_turn_detection_is_said_with_what_was_set_of_it_alone(
    dialect: Dialect, wanted: TurnDetection, said: dict[str, Any]
) -> None:
    assert heard(dialect, SessionSettings(turn_detection=wanted))["turn_detection"] == said


@pytest.mark.parametrize(
    ("wanted", "responds"),
    [
        (TurnDetection(), True),
        (TurnDetection(create_response=True), True),
        (TurnDetection(create_response=False), False),
    ],
)
def test_a_service_that_detects_turns_answers_them_unless_told_not_to(wanted: TurnDetection, responds: bool) -> None:
    assert wanted.service_responds is responds


@pytest.mark.parametrize(
    ("format", "ga"),
    [
        ("pcm16", {"type": "audio/pcm", "rate": 24_000}),
        ("g711_ulaw", {"type": "audio/pcmu"}),
        ("g711_alaw", {"type": "audio/pcma"}),
    ],
)
def test_each_dialect_has_its_word_for_a_format_in_either_direction(
    format: AudioFormatName, ga: dict[str, Any]
) -> None:
    settings = SessionSettings(input_format=format, output_format="pcm16" if format != "pcm16" else "g711_ulaw")
    back = SessionSettings(output_format=format)

    assert heard(Dialect.PREVIEW, settings)["format"] == format
    assert heard(Dialect.GA, settings)["format"] == ga
    assert decoded(session_update(Dialect.PREVIEW, back, "e"))["session"]["output_audio_format"] == format
    assert decoded(session_update(Dialect.GA, back, "e"))["session"]["audio"]["output"]["format"] == ga


@pytest.mark.parametrize(
    ("dialect", "output", "said"),
    [
        (Dialect.PREVIEW, "audio", {"modalities": ["audio", "text"]}),
        (Dialect.PREVIEW, "text", {"modalities": ["text"]}),
        (Dialect.GA, "audio", {"output_modalities": ["audio"]}),
        (Dialect.GA, "text", {"output_modalities": ["text"]}),
    ],
)
def test_each_dialect_has_its_word_for_the_output(dialect: Dialect, output: Output, said: dict[str, Any]) -> None:
    response = decoded(create_response(dialect, ResponseSettings(output=output), "e"))["response"]
    session = decoded(session_update(dialect, SessionSettings(output=output), "e"))["session"]

    assert response == said
    assert said.items() <= session.items()


@pytest.mark.parametrize("dialect", Dialect)
def test_a_response_that_asks_for_nothing_special_is_a_bare_event(dialect: Dialect) -> None:
    assert decoded(create_response(dialect, ResponseSettings(), "e1")) == {"type": "response.create", "event_id": "e1"}


@pytest.mark.parametrize("dialect", Dialect)
def test_a_response_says_what_it_is_to_be(dialect: Dialect) -> None:
    settings = ResponseSettings(instructions="Sing.", max_output_tokens=9)

    assert decoded(create_response(dialect, settings, "e1"))["response"] == {
        "instructions": "Sing.",
        "max_output_tokens": 9,
    }


def test_the_other_events_are_the_same_everywhere() -> None:
    item = decoded(text_item('say "é"', "e1"))

    assert item["type"] == "conversation.item.create"
    assert item["item"] == {
        "type": "message",
        "role": "user",
        "content": [{"type": "input_text", "text": 'say "é"'}],
    }
    assert decoded(append_audio("AAAA", "e2")) == {
        "type": "input_audio_buffer.append",
        "event_id": "e2",
        "audio": "AAAA",
    }
    assert decoded(commit_audio("e3")) == {"type": "input_audio_buffer.commit", "event_id": "e3"}
    assert decoded(clear_audio("e4")) == {"type": "input_audio_buffer.clear", "event_id": "e4"}


def test_each_dialect_is_the_other_s_other() -> None:
    assert [dialect.other.other for dialect in Dialect] == list(Dialect)
    assert Dialect.GA.other is Dialect.PREVIEW
