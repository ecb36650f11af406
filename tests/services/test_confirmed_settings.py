"""The settings that a service confirms otherwise than they were requested: only certain ones."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.services.confirmed_settings import unapplied_settings
from bench.wire.settings import comparable

VAD = {"type": "server_vad", "threshold": 0.5, "silence_duration_ms": 200}
PCM = {"type": "audio/pcm", "rate": 24_000}
TABLES = {
    "ga": lambda **heard: {"audio": {"input": heard}},
    "spoken": lambda **spoken: {"audio": {"output": spoken}},
}
HEARD, SPOKEN = TABLES.values()
IGNORED: dict[str, tuple[dict[str, Any], dict[str, Any], tuple[str, str, str]]] = {
    "turn detection that was not requested": (
        HEARD(turn_detection=None),
        HEARD(turn_detection=VAD),
        ("turn_detection", "none", "server_vad"),
    ),
    "the same in the form of the preview": (
        HEARD(turn_detection=None),
        {"turn_detection": VAD},
        ("turn_detection", "none", "server_vad"),
    ),
    "turn detection that is off": (
        {"turn_detection": VAD},
        {"turn_detection": None},
        ("turn_detection", "server_vad", "none"),
    ),
    "another type of turn detection": (
        HEARD(turn_detection={"type": "semantic_vad"}),
        HEARD(turn_detection=VAD),
        ("turn_detection", "semantic_vad", "server_vad"),
    ),
    "another silence": (
        HEARD(turn_detection=VAD),
        {"turn_detection": VAD | {"silence_duration_ms": 500}},
        ("turn_detection.silence_duration_ms", "200", "500"),
    ),
    "responses of the service": (
        {"turn_detection": VAD | {"create_response": False}},
        {"turn_detection": VAD | {"create_response": True}},
        ("turn_detection.create_response", "false", "true"),
    ),
    "another voice": (SPOKEN(voice="verse"), {"voice": "alloy"}, ("voice", "verse", "alloy")),
    "another format": (
        SPOKEN(format={"type": "audio/pcmu"}),
        SPOKEN(format=PCM),
        ("output_format", "audio/pcmu", "audio/pcm"),
    ),
    "another rate": (
        HEARD(format=PCM),
        HEARD(format=PCM | {"rate": 16_000}),
        ("input_format.rate", "24000", "16000"),
    ),
    "audio in place of text": (
        {"output_modalities": ["text"]},
        {"modalities": ["text", "audio"]},
        ("output", '["text"]', '["text", "audio"]'),
    ),
    "another temperature": (
        {"temperature": 0.7},
        {"temperature": 0.8},
        ("temperature", "0.7", "0.8"),
    ),
    "no transcription": (
        HEARD(transcription={"model": "whisper-1"}),
        HEARD(transcription=None),
        ("input_transcription", "whisper-1", "none"),
    ),
    "another model of transcription": (
        {"input_audio_transcription": {"model": "gpt-4o-transcribe"}},
        {"input_audio_transcription": {"model": "gpt-realtime-whisper"}},
        ("input_transcription.model", "gpt-4o-transcribe", "gpt-realtime-whisper"),
    ),
    "no limit of the reply": (
        {"max_output_tokens": 200},
        {"max_output_tokens": "inf"},
        ("max_output_tokens", "200", "inf"),
    ),
}


@pytest.mark.parametrize(("requested", "reported", "named"), IGNORED.values(), ids=IGNORED)
def test_a_setting_that_the_service_reports_otherwise_is_named(
    requested: dict[str, Any], reported: dict[str, Any], named: tuple[str, str, str]
) -> None:
    assert [*unapplied_settings(requested, reported)] == [named]


APPLIED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "defaults": (
        HEARD(turn_detection={"type": "server_vad"}),
        HEARD(turn_detection=VAD, format=PCM),
    ),
    "nothing reported": (HEARD(turn_detection=None, format=PCM), {"id": "s"}),
    "detection of type none": (HEARD(turn_detection=None), HEARD(turn_detection={"type": "none"})),
    "a table without a value": (HEARD(turn_detection=None), HEARD(turn_detection={})),
    "rounding": ({"temperature": 0.8}, {"temperature": 0.800000011920929}),
    "an integer": (HEARD(turn_detection=VAD), HEARD(turn_detection=VAD | {"threshold": 0.5})),
    "a snapshot": ({"model": "gpt-realtime"}, {"model": "gpt-realtime-2025-08-28"}),
    "a deployment": ({"model": "my-voice"}, {"model": "gpt-realtime"}),
    "upper case": (SPOKEN(voice="Alloy"), SPOKEN(voice="alloy")),
    "the service's choice": (
        HEARD(turn_detection={"type": "semantic_vad", "eagerness": "auto"}),
        HEARD(turn_detection={"type": "semantic_vad", "eagerness": "medium"}),
    ),
    "no limit": ({"max_output_tokens": "inf"}, {"max_output_tokens": 4096}),
    "another form of a format": (HEARD(format=PCM), {"input_audio_format": "pcm16"}),
    "another form of a voice": (SPOKEN(voice={"name": "ava"}), SPOKEN(voice="ava")),
    "a voice that is not reported": (SPOKEN(voice="ava"), SPOKEN(voice=None)),
    "both outputs": ({"modalities": ["text", "audio"]}, {"modalities": ["audio", "text"]}),
    "audio, which always has a text": (
        {"output_modalities": ["audio"]},
        {"output_modalities": ["audio", "text"]},
    ),
    "texts and functions": (
        {"instructions": "Be brief.", "tools": [{"name": "f"}]},
        {"instructions": "Be br", "tools": []},
    ),
    "the type of the session": ({"type": "realtime"}, {"type": "session"}),
}


@pytest.mark.parametrize(("requested", "reported"), APPLIED.values(), ids=APPLIED)
def test_a_default_or_another_form_is_no_difference(
    requested: dict[str, Any], reported: dict[str, Any]
) -> None:
    assert [*unapplied_settings(requested, reported)] == []


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats(allow_nan=False)
    | st.sampled_from(["auto", "a"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["audio", "input", "turn_detection", "type", "model", "modalities", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
)
SETTINGS = JSON.filter(lambda value: isinstance(value, dict))


@given(SETTINGS, SETTINGS)
def test_any_report_is_compared_and_the_requested_settings_themselves_are_no_difference(
    requested: Any, reported: Any
) -> None:
    assert all(
        all(isinstance(text, str) for text in one)
        for one in unapplied_settings(requested, reported)
    )
    assert [*unapplied_settings(requested, reported | comparable(requested))] == []
