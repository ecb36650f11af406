"""xAI's Grok Voice Agent: its dialect, and its service."""

from typing import Any

from bench.services.openai.dialect import UNKNOWN, Ga, ServerVadOnly
from bench.wire.events import EventKind
from bench.wire.service import Service
from bench.wire.settings import SessionSettings


class Xai(ServerVadOnly, Ga):
    """xAI's Grok Voice Agent. It is like GA, but voice and turn detection are at the top level of
    the session.

    The service ignores these two settings at the positions that they have in GA (xAI's voice guide;
    livekit-plugins-xai 1.8.9, `_wrap_session_update`; pipecat 1.14.0,
    `services/xai/realtime/events.py`).
    """

    name = "xai"
    transcribers = ()
    own_kinds = dict(Ga.own_kinds) | {
        **dict.fromkeys(
            ("conversation.item.input_audio_transcription.updated", "ping"), EventKind.NOTED
        ),
        "response.text.delta": EventKind.TEXT_DELTA,  # text has either name
        "response.text.done": EventKind.TEXT_DONE,
    }
    missing_features = UNKNOWN
    stored = {  # noqa: RUF012 - as in its bases
        ("turn_detection", "create_response") if keys[-1:] == ("create_response",) else keys: remedy
        for keys, remedy in Ga.stored.items()
    }

    def session(self, settings: SessionSettings) -> dict[str, Any]:
        session = super().session(settings)
        session["turn_detection"] = session["audio"]["input"].pop("turn_detection")
        if settings.voice is not None:
            session["voice"] = session["audio"]["output"].pop("voice")
        return session


XAI = Xai()
SERVICE = Service(
    "xai",
    "xAI Grok",
    XAI,
    "wss://api.x.ai/v1/realtime?model={model}",
    hosts=("api.x.ai",),
    model="grok-voice-latest",
    api_key_env="XAI_API_KEY",
    minutes=60,
)
