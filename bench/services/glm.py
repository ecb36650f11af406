"""Zhipu's GLM-Realtime: its dialect, and its service."""

from typing import Any

from bench.services.openai.dialect import UNKNOWN, ServerVadOnly
from bench.services.openai.preview import Preview
from bench.wire.audio import PCM16, PCM16_16K, by_name
from bench.wire.events import EventKind
from bench.wire.service import Route, Service
from bench.wire.settings import SessionSettings


class Glm(ServerVadOnly, Preview):
    """Zhipu's GLM-Realtime. It has the preview's names, and also `beta_fields`.

    If the type of turn detection is `client_vad`, the client ends turns. The input formats `pcm16`
    and `pcm24` have 16 and 24 kHz. The format of replies is `pcm`, with 24 kHz
    (MetaGLM/glm-realtime-sdk).
    """

    name = "glm"
    transcribers = ()
    own_kinds = dict.fromkeys(
        ("heartbeat", "response.function_call.simple_browser"), EventKind.NOTED
    )
    missing_features = UNKNOWN
    input_formats = by_name(PCM16_16K, PCM16)
    output_formats = by_name(PCM16)
    stored = {  # noqa: RUF012
        **Preview.stored,
        ("beta_fields", "chat_mode"): "only calls with audio are supported",
    }

    def formats(self, settings: SessionSettings) -> dict[str, Any]:
        rate = self.input_format_for(settings).rate_hz // 1_000
        return {"input_audio_format": f"pcm{rate}", "output_audio_format": "pcm"}

    def session(self, settings: SessionSettings) -> dict[str, Any]:
        session = super().session(settings)
        session["turn_detection"] = session["turn_detection"] or {"type": "client_vad"}
        return session | {"beta_fields": {"chat_mode": "audio"}}


GLM = Glm()
PATH = "/api/paas/v4/realtime"
SERVICE = Service(
    "glm",
    "GLM-Realtime",
    GLM,
    f"wss://open.bigmodel.cn{PATH}",
    hosts=("open.bigmodel.cn",),
    routes=(Route(PATH, GLM, is_unique=True),),
    model="glm-realtime",
    api_key_env="ZHIPU_API_KEY",
)
