"""The dialect of Realtime translation: its messages, and the settings that it refuses."""

from __future__ import annotations

from importlib import import_module
from typing import Any, get_args

import msgspec

from bench.files.yaml_file import PythonValue
from bench.plan.script_keys import SESSION
from bench.services.translation.dialect import TRANSLATION
from bench.wire.dialect import AwaitedEvent, ClientMessage
from bench.wire.events import EventKind
from bench.wire.settings import SessionSettings

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
