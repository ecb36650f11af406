"""StepFun's Realtime API: its dialect, and its service."""

from bench.services.openai.dialect import UNKNOWN, ServerVadOnly
from bench.services.openai.preview import ShelledFunctions
from bench.wire.audio import PCM16, by_name
from bench.wire.service import Service
from bench.wire.settings import SessionSettings, UnsupportedSetting


class StepFun(ServerVadOnly, ShelledFunctions):
    """The preview with functions in `function` objects, PCM of 24 kHz, and audio replies
    (livekit-plugins-stepfun).
    """

    name = "stepfun"
    transcribers = ()
    missing_features = UNKNOWN
    input_formats = by_name(PCM16)
    output_formats = by_name(PCM16)

    def unsupported_setting(self, settings: SessionSettings) -> UnsupportedSetting | None:
        if settings.output == "text":
            return UnsupportedSetting(
                ("output",),
                "output must be audio in the stepfun dialect, whose replies are always audio",
            )
        return super().unsupported_setting(settings)


STEPFUN = StepFun()
SERVICE = Service(
    "stepfun",
    "StepFun",
    STEPFUN,
    "wss://api.stepfun.ai/v1/realtime?model={model}",
    hosts=("api.stepfun.ai", "api.stepfun.com"),
    api_key_env="STEPFUN_API_KEY",
    minutes=30,
)
