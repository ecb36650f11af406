"""The dialect of Realtime translation: its messages, and the settings that it refuses."""

from __future__ import annotations

from importlib import import_module
from typing import Any, get_args

import msgspec
import pytest

from bench.files.yaml_file import PythonValue
from bench.plan.script_keys import SESSION
from bench.services.translation.dialect import TRANSLATION
from bench.wire.dialect import AwaitedEvent, ClientMessage
from bench.wire.events import ErrorScope, EventKind
from bench.wire.settings import SessionSettings
from tests.helpers import event_of

BASE: dict[str, Any] = {"turn_detection": "full_duplex"}


def settings_of(**given: Any) -> SessionSettings:
    return SESSION.read(PythonValue("session", BASE | given))


def sdk(name: str) -> Any:
    """Return a type of the official SDK. Their import takes a second, and every worker imports
    this module.
    """
    return getattr(import_module("openai.types.realtime"), f"RealtimeTranslation{name}")


def test_a_session_is_set_up_with_the_messages_of_the_official_sdk() -> None:
    settings = settings_of(
        input_transcription="gpt-realtime-whisper",
        noise_reduction="near_field",
        extra={
            "audio": {"input": {"noise_reduction": {"strength": 0.5}}, "output": {"language": "es"}}
        },
    )
    created, update, updated = TRANSLATION.setup_messages(settings, "e1")

    assert (created, updated) == (
        AwaitedEvent(EventKind.SESSION_CREATED, "session.created"),
        AwaitedEvent(EventKind.SESSION_UPDATED, "session.updated"),
    )
    assert isinstance(update, ClientMessage)
    body = msgspec.json.decode(update.data)
    assert body["session"] == {
        "audio": {
            "input": {
                "transcription": {"model": "gpt-realtime-whisper"},
                "noise_reduction": {"type": "near_field", "strength": 0.5},
            },
            "output": {"language": "es"},
        }
    }
    sent = {
        "SessionUpdateEvent": update,
        "InputAudioBufferAppendEvent": TRANSLATION.append(b"\1\2", "e2"),
        "SessionCloseEvent": TRANSLATION.close("e3"),
    }
    for name, message in sent.items():
        body = msgspec.json.decode(message.data)
        assert sdk(name).model_validate(body).event_id == body["event_id"]


def test_every_event_of_the_official_sdk_is_known() -> None:
    union = get_args(get_args(sdk("ServerEvent"))[0])
    names = [name for kind in union for name in get_args(kind.model_fields["type"].annotation)]

    assert len(names) == 7
    for name in names:
        event, *_ = TRANSLATION.decode(msgspec.json.encode({"type": name, "delta": "AAAA"}))
        assert event.kind is not EventKind.UNKNOWN, name


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"extra": {"audio": {"output": {"language": "es"}}}}, ""),
        ({"voice": "marin"}, "voice is not a setting of Realtime translation: remove it"),
        ({"instructions": "Be brief."}, "instructions is not a setting of Realtime translation"),
        ({"turn_detection": "server_vad"}, "turn_detection must be full_duplex: "),
        ({"output": "text"}, "output must be audio: Realtime translation has no text output"),
        ({"input_format": "g711_ulaw"}, "input_format must be one of pcm16, not g711_ulaw"),
        (
            {"input_transcription": {"model": "m", "language": "de"}},
            "input_transcription must be the name of a model",
        ),
        (
            {"extra": {"audio": {"input": {"transcription": {"model": "m"}}}}},
            "use `input_transcription`",
        ),
    ],
)
def test_settings_that_the_service_lacks_are_refused(given: dict[str, Any], problem: str) -> None:
    refused = TRANSLATION.unsupported_setting(settings_of(**given))

    assert (refused is None) == (not problem)
    assert refused is None or problem in refused.reason


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"sample_rate": 48_000}, "the sample_rate of the translated audio is 48000, not 24000"),
        ({"channels": 2}, "the channels of the translated audio is 2, not 1"),
        ({"channels": "two"}, 'the channels of the translated audio is "two", not 1'),
        ({"sample_rate": 24_000, "channels": 1, "format": "pcm16"}, ""),
        ({"sample_rate": None, "channels": None}, ""),
        ({}, ""),
    ],
)
def test_audio_of_another_rate_ends_the_session(fields: dict[str, Any], problem: str) -> None:
    """Every instant in the audio would be wrong."""
    body = {"type": "session.output_audio.delta", "delta": "AAAA"} | fields
    event = event_of(msgspec.json.encode(body), TRANSLATION)

    if not problem:
        assert (event.kind, event.payload_bytes) == (EventKind.AUDIO_DELTA, 3)
        return
    assert event.failure is not None
    assert (event.failure.message, event.failure.effect) == (problem, ErrorScope.FATAL)


@pytest.mark.parametrize(
    ("usage", "billed_ns"),
    [
        (None, None),
        ({}, None),
        ({"input_seconds": 1.5}, 1_500_000_000),
        ({"input_seconds": True}, None),
        ({"input_seconds": -1}, None),
        ({"input_seconds": 1e300}, None),
        ({"input_seconds": "1"}, None),
    ],
)
def test_the_billed_audio_is_a_duration_or_unknown(usage: Any, billed_ns: int | None) -> None:
    body = {"type": "session.closed"} | ({} if usage is None else {"usage": usage})

    assert event_of(msgspec.json.encode(body), TRANSLATION).billed_ns == billed_ns


def test_a_message_is_stored_without_its_audio() -> None:
    delta = msgspec.json.encode({"type": "session.output_audio.delta", "delta": "AAAA", "a": 1})
    append = TRANSLATION.append(b"\1\2", "e1").data

    for message in (delta, append):
        assert b"AAAA" not in TRANSLATION.without_audio(message)
        assert b'audio":' not in TRANSLATION.without_audio(message)
        kinds = [event.kind for event in TRANSLATION.decode(message)]
        assert [e.kind for e in TRANSLATION.decode(TRANSLATION.without_audio(message))] == kinds
