"""Alibaba's Qwen-Omni-Realtime: its dialect, and its service."""

from typing import Any

from bench.services.openai.dialect import QWEN_NAME, SMART_TURN, UNKNOWN
from bench.services.openai.preview import Preview, ShelledFunctions
from bench.wire.audio import PCM16, PCM16_8K, PCM16_16K, PCM16_48K, AudioFormat, by_name
from bench.wire.events import EventKind
from bench.wire.service import Route, Service
from bench.wire.settings import SessionSettings, SettingKeys, detector


class Qwen(ShelledFunctions):
    """Alibaba's Qwen-Omni-Realtime (DashScope). It has the preview's names. Each function is in a
    `function` object.

    By default, the caller's audio has 16 kHz and replies have 24 kHz; both formats are then the
    word `pcm`. For other rates, the formats are in `audio.input.format` and `audio.output.format`
    (dashscope 2.0.2, `AudioFormatConfig`). `smart_turn` is a mode of Qwen-Audio-Realtime, whose
    keys are undocumented (Model Studio, "Qwen-Audio Realtime WebSocket API reference").
    """

    name = QWEN_NAME
    transcribers = ()
    setting_keys = SettingKeys(
        detectors={
            SMART_TURN: detector(SMART_TURN, "Detection by sound and meaning. Qwen-Audio only.", {})
        }
    )
    own_kinds = dict.fromkeys(
        ("conversation.item.input_audio_transcription.text", "session.finished"), EventKind.NOTED
    )
    missing_features = UNKNOWN
    input_formats = by_name(PCM16_16K, PCM16_8K, PCM16, PCM16_48K)
    output_formats = by_name(PCM16, PCM16_8K, PCM16_16K, PCM16_48K)
    stored = {  # noqa: RUF012
        **Preview.stored,
        ("audio",): "use `input_format` and `output_format`",
    }

    def formats(self, settings: SessionSettings) -> dict[str, Any]:
        input_format = self.input_format_for(settings)
        output_format = self.output_format_for(settings)
        if (input_format, output_format) == (PCM16_16K, PCM16):
            return {"input_audio_format": "pcm", "output_audio_format": "pcm"}
        return {"audio": {"input": _pcm_format(input_format), "output": _pcm_format(output_format)}}


def _pcm_format(format: AudioFormat) -> dict[str, Any]:
    return {"format": {"type": "pcm", "sample_rate": format.rate_hz}}


QWEN = Qwen()
PATH = "/api-ws/v1/realtime"
SERVICE = Service(
    "qwen",
    "Qwen-Omni",
    QWEN,
    f"wss://dashscope-intl.aliyuncs.com{PATH}?model={{model}}",
    hosts=("aliyuncs.com",),
    routes=(Route(PATH, QWEN, is_unique=True),),
    api_key_env="DASHSCOPE_API_KEY",
    minutes=120,
)
