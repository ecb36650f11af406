"""vLLM-Omni's full-duplex server, `/v1/realtime?duplex=1`: its dialect, and its service.

Names and fields are those of vllm-omni 0.30.0 (`clients/duplex.py`, `entrypoints/duplex`,
`engine/duplex`). The server sends the events of GA, and further ones. The first message opens the
session: without `autostart=0` in the query, the server would open one without `ref_audio`, which
cannot change later. A reply needs committed audio, so texts are not answered. After a commit the
model may decide to keep listening (`response.listen`), and then no reply follows.
"""

from types import MappingProxyType
from typing import Any

from bench.services.openai.dialect import UNKNOWN, Ga, ServerVadOnly
from bench.wire.audio import PCM16, PCM16_16K, by_name
from bench.wire.dialect import AwaitedEvent, ClientMessage, Feature
from bench.wire.events import EventKind
from bench.wire.service import Service
from bench.wire.settings import Output, SessionSettings, UnsupportedSetting

ALWAYS = "the server always {}: remove it"
FIXED = {
    "create_response": ALWAYS.format("answers committed speech"),
    "interrupt_response": ALWAYS.format("stops a reply when the caller speaks"),
    "idle_timeout_ms": "the server has no idle prompts: remove it",
}
"""The options of `server_vad` that the server refuses or ignores, each with the reason."""
UNANSWERED = "but vLLM-Omni answers only speech: use a recording (`audio`)"


class VllmOmni(ServerVadOnly, Ga):
    """GA, except that the set-up opens the session, audio has text, and the caller's audio has
    16 kHz by default.
    """

    name = "vllm-omni"
    transcribers = ()
    only_detection = "server_vad"
    own_kinds = dict(Ga.own_kinds) | dict.fromkeys(
        (
            "response.speak",
            "response.listen",
            "overlap.decision",
            "turn.event",
            "playback.acknowledged",
            "session.heartbeat_ack",
            "output_audio_buffer.cleared",
            "duplex.function_call.done",
        ),
        EventKind.NOTED,
    )
    input_formats = by_name(PCM16_16K, PCM16)
    output_formats = by_name(PCM16)
    missing_features = MappingProxyType(
        {
            **UNKNOWN,
            **dict.fromkeys((Feature.TYPED, Feature.ASKED), UNANSWERED),
            Feature.PIPELINED: "but the set-up already opens the session: remove `pipelined`",
            Feature.CUT: "which the server has only for some models: remove it",
        }
    )

    def output(self, output: Output) -> dict[str, Any]:
        return {"output_modalities": ["text"] if output == "text" else ["audio", "text"]}

    def unsupported_setting(self, settings: SessionSettings) -> UnsupportedSetting | None:
        if refused := super().unsupported_setting(settings):
            return refused
        detection = settings.turn_detection
        if detection is None:
            problem = (
                "turn_detection must be server_vad: without it, the model alone decides when to"
                " reply"
            )
            return UnsupportedSetting(("turn_detection",), problem)
        for key, reason in FIXED.items():
            if getattr(detection, key) not in (None, True):
                return UnsupportedSetting(
                    ("turn_detection", key), f"{key} cannot be changed: {reason}"
                )
        return None

    def setup_messages(
        self, settings: SessionSettings, event_id: str
    ) -> tuple[ClientMessage | AwaitedEvent, ...]:
        # the server greets a session only after the update has opened it
        greeting, *others = super().setup_messages(settings, event_id)
        update = next(step for step in others if isinstance(step, ClientMessage))
        return update, greeting, *(step for step in others if step is not update)


VLLM_OMNI = VllmOmni()
SERVICE = Service(
    "vllm-omni",
    "vLLM-Omni",
    VLLM_OMNI,
    "ws://localhost:8091/v1/realtime?duplex=1&autostart=0&model={model}",
)
