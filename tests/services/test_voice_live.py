"""The dialect of Azure Voice Live: its differences from preview, its features, and the settings
that it refuses.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import msgspec
import pytest

from bench.files.yaml_file import PythonValue
from bench.plan.script_keys import SESSION
from bench.services.voice_live import VOICE_LIVE
from bench.wire.dialect import ClientMessage
from bench.wire.events import EventKind
from bench.wire.settings import SessionSettings
from tests.helpers import event_of, message

SETTINGS: dict[str, Any] = {
    "voice": {
        "type": "azure-standard",
        "name": "en-US-AvaNeural",
        "temperature": 0.8,
        "prefer_locales": ["en-GB"],
    },
    "turn_detection": {
        "type": "azure_semantic_vad",
        "silence_duration_ms": 400,
        "speech_duration_ms": 80,
        "remove_filler_words": True,
        "languages": ["en-US", "de-DE"],
        "end_of_utterance_detection": {
            "model": "semantic_detection_v1",
            "threshold_level": "low",
            "timeout_ms": 900,
        },
        "auto_truncate": True,
    },
    "noise_reduction": "azure_deep_noise_suppression",
    "echo_cancellation": "server_echo_cancellation",
    "interim_response": {
        "type": "static_interim_response",
        "texts": ["One moment."],
        "triggers": ["tool"],
    },
    "reasoning": {"effort": "low"},
    "input_format": "pcm16@16000",
    "output_format": "pcm16@8000",
}


def client() -> Any:
    """Return the types of the official client. Their import takes a second, and every worker
    imports this module.
    """
    return import_module("azure.ai.voicelive.models")


def settings_of(given: Any) -> SessionSettings:
    """Read the value of `session` in a script."""
    return SESSION.read(PythonValue("session", given))


def written_session(**settings: Any) -> dict[str, Any]:
    steps = VOICE_LIVE.setup_messages(settings_of(settings), "e1")
    (update,) = (
        msgspec.json.decode(step.data) for step in steps if isinstance(step, ClientMessage)
    )
    session: dict[str, Any] = update["session"]
    return session


def test_settings_are_written_as_by_the_official_voice_live_client() -> None:
    session = written_session(**SETTINGS)

    assert client().RequestSession(session).as_dict() == session
    assert set(session) <= set(client().RequestSession(session)._attr_to_rest_field)
    assert session["voice"] == SETTINGS["voice"]
    assert session["turn_detection"] == SETTINGS["turn_detection"]
    assert session["input_audio_noise_reduction"] == {"type": "azure_deep_noise_suppression"}
    assert session["input_audio_echo_cancellation"] == {"type": "server_echo_cancellation"}
    assert session["interim_response"] == SETTINGS["interim_response"]
    assert session["reasoning_effort"] == "low"
    assert (session["input_audio_format"], session["input_audio_sampling_rate"]) == (
        "pcm16",
        16_000,
    )
    assert session["output_audio_format"] == "pcm16_8000hz"


def test_every_event_of_the_official_voice_live_client_is_known() -> None:
    names = [str(kind.value) for kind in client().ServerEventType]

    assert [
        name for name in names if event_of(message(name), VOICE_LIVE).kind is EventKind.UNKNOWN
    ] == []
    assert [client().ServerEvent._deserialize({"type": name}, []).type for name in names] == names


@pytest.mark.parametrize("given", [SETTINGS["interim_response"], None])
@pytest.mark.parametrize("key", ["interim_response", "extra"])
def test_fillers_are_known_from_the_setting_and_from_extra(
    key: str, given: dict[str, Any] | None
) -> None:
    asked = {key: given} if key != "extra" else {"extra": {"interim_response": given}}
    settings = settings_of(asked if given or key == "extra" else {})

    assert VOICE_LIVE.fillers(settings) == given
