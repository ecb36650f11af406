"""The sessions of Azure Voice Live: the events of preview, and further settings (azure-ai-voicelive
1.3.1).

The session object in events contains the further settings, but most have no effect. The simulated
semantic detectors end speech as `server_vad` does, and all simulated voices sound the same.
Avatars, animation and word timestamps are unknown settings, so they are rejected.
"""

from dataclasses import replace
from typing import Any

from bench.files.validation import Converted, KindOf, OrNull, Validator
from bench.services.openai.dialect import FORMATS
from bench.services.voice_live import SPOKEN_FORMATS, VERSIONS
from bench.wire.audio import PCM16, PCM16_8K, PCM16_16K
from rtbench_simulator import refusals
from rtbench_simulator.behaviour import EVENTS, Behaviour, WireDialect
from rtbench_simulator.conversation.client_items import MCP_ITEMS, PARTS, items_check
from rtbench_simulator.profile import EFFORTS
from rtbench_simulator.refusals import RefusedUpgrade
from rtbench_simulator.server_events import GA, PREVIEW, Json
from rtbench_simulator.serving.service import (
    AcceptedUpgrade,
    SimulatedService,
    UpgradeRequest,
    websocket_urls,
)
from rtbench_simulator.session import checks, effective, session_schema
from rtbench_simulator.session.checks import SettingTable
from rtbench_simulator.session.effective import (
    InputSettings,
    NewSession,
    OutputSettings,
    SessionForm,
)
from rtbench_simulator.simulated_session import client_event

PCM = {format.rate_hz: format for format in (PCM16_8K, PCM16_16K, PCM16)}
RATED = {spoken: name for name, spoken in SPOKEN_FORMATS.items()}


# Voices

AZURE_VOICE: SettingTable = {
    "type": checks.ANYTHING,
    "name": checks.TEXT,
    "temperature": checks.number(0, 1),
    "prefer_locales": checks.array(checks.TEXT),
    **dict.fromkeys(
        (
            "custom_lexicon_url",
            "custom_text_normalization_url",
            "locale",
            "style",
            "pitch",
            "rate",
            "volume",
        ),
        checks.TEXT,
    ),
}
VOICES = KindOf(
    {
        "openai": checks.object_of(
            {"type": checks.ANYTHING, "name": checks.choice(*session_schema.GA_VOICES)}, "name"
        ),
        "azure-standard": checks.object_of(AZURE_VOICE, "name"),
        "azure-custom": checks.object_of(
            {**AZURE_VOICE, "endpoint_id": checks.TEXT}, "name", "endpoint_id"
        ),
        "azure-personal": checks.object_of({**AZURE_VOICE, "model": checks.TEXT}, "name", "model"),
        "azure-realtime-native": checks.object_of(
            {"type": checks.ANYTHING, "name": checks.TEXT}, "name"
        ),
    }
)


# Turns

END_OF_UTTERANCE = KindOf(
    {
        f"semantic_detection_v1{variant}": checks.object_of(
            {
                "model": checks.ANYTHING,
                "threshold_level": checks.choice("low", "medium", "high", "default"),
                "timeout_ms": checks.whole(0, 60_000),
            }
        )
        for variant in ("", "_en", "_multilingual")
    },
    key="model",
)
DETECTION_KEYS = {
    **session_schema.TURN_DETECTION_KEYS,
    "speech_duration_ms": checks.whole(0, 60_000),
    "remove_filler_words": checks.FLAG,
    "languages": OrNull(checks.array(checks.TEXT)),
    "end_of_utterance_detection": OrNull(END_OF_UTTERANCE),
    "auto_truncate": checks.FLAG,
}
LEVELS: Json = {"threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 500}
ANSWERED: Json = {"auto_truncate": False, "create_response": True, "interrupt_response": True}
AZURE: Json = {
    "speech_duration_ms": 80,
    "remove_filler_words": False,
    "end_of_utterance_detection": None,
}
DETECTORS: dict[str, Json] = {
    "server_vad": {**LEVELS, "end_of_utterance_detection": None, **ANSWERED},
    "semantic_vad": {"eagerness": "auto", **ANSWERED},
    "azure_semantic_vad": {**LEVELS, **AZURE, "languages": None, **ANSWERED},
    "azure_semantic_vad_en": {**LEVELS, **AZURE, **ANSWERED},
    "azure_semantic_vad_multilingual": {**LEVELS, **AZURE, "languages": None, **ANSWERED},
}


detection = KindOf(
    {
        kind: session_schema.detector(DETECTION_KEYS, {"type": kind, **default})
        for kind, default in DETECTORS.items()
    }
    | {"none": Converted(checks.ANYTHING, lambda value, read: None)}
)


# Settings

TRANSCRIBER = checks.object_of(
    {
        "model": checks.short(64),
        "language": checks.TEXT,
        "custom_speech": checks.TEXTS_BY_NAME,
        "phrase_list": checks.array(checks.TEXT),
    },
    "model",
)
FILLERS: SettingTable = {
    "type": checks.ANYTHING,
    "triggers": checks.array(checks.choice("latency", "tool")),
    "latency_threshold_ms": checks.whole(0, 600_000),
}
LATE: Json = {"triggers": ["latency"], "latency_threshold_ms": 2_000}
FILLER_KINDS = KindOf(
    {
        "static_interim_response": checks.object_of(
            {**FILLERS, "texts": checks.array(checks.TEXT)}, **LATE
        ),
        "llm_interim_response": checks.object_of(
            {
                **FILLERS,
                "model": checks.TEXT,
                "instructions": checks.TEXT,
                "max_completion_tokens": checks.whole(1, 1 << 31),
            },
            **LATE,
        ),
    }
)
MCP_SERVER = checks.object_of(
    {
        "type": checks.ANYTHING,
        **dict.fromkeys(("server_label", "server_url", "authorization"), checks.TEXT),
        "headers": checks.TEXTS_BY_NAME,
        "allowed_tools": checks.array(checks.TEXT),
        "require_approval": checks.choice_or(checks.OBJECT, "always", "never"),
    },
    "server_label",
    "server_url",
)
"""The form of an MCP server (`MCPServer` of the SDK), which has only a URL."""
TOOLS, RESPONSE_TOOLS = session_schema.tools_with(MCP_SERVER)
SAID: SettingTable = {
    "modalities": checks.array(checks.choice("text", "audio"), empty=False),
    "instructions": checks.TEXT,
    # an OpenAI voice by name, or any voice as an object
    "voice": checks.choice_or(VOICES, *session_schema.GA_VOICES),
    "output_audio_format": checks.choice(*FORMATS, *RATED),
    "tools": TOOLS,
    "tool_choice": session_schema.TOOL_CHOICE,
    "temperature": checks.number(0, 2),
    "reasoning_effort": checks.choice("none", *EFFORTS),
    "interim_response": OrNull(FILLER_KINDS),
    "metadata": OrNull(checks.TEXTS_BY_NAME),
}
SESSION: SettingTable = {
    **SAID,
    "input_audio_format": checks.choice(*FORMATS),
    "input_audio_sampling_rate": checks.whole(0, 1 << 20, PCM),
    "turn_detection": OrNull(detection),
    "input_audio_noise_reduction": OrNull(
        checks.object_of(
            {"type": checks.choice("azure_deep_noise_suppression", "near_field", "far_field")},
            "type",
        )
    ),
    "input_audio_echo_cancellation": OrNull(
        checks.object_of(
            {
                "type": checks.choice("server_echo_cancellation"),
                "reference_source": checks.choice("server", "client"),
                "channels": checks.whole(1, 2),
            },
            type="server_echo_cancellation",
        )
    ),
    "input_audio_transcription": OrNull(TRANSCRIBER),
    "parallel_tool_calls": checks.FLAG,
    "max_response_output_tokens": session_schema.PREVIEW_CAP,
    "include": checks.NOT_SIMULATED,
    "model": checks.IGNORED,
    **dict.fromkeys(("animation", "avatar", "output_audio_timestamp_types"), checks.UNKNOWN),
}
RESPONSE: SettingTable = {
    **SAID,
    "tools": RESPONSE_TOOLS,
    "max_output_tokens": session_schema.PREVIEW_CAP,
    **dict.fromkeys(session_schema.TOLERATED_RESPONSE_KEYS, checks.NOT_SIMULATED),
}


def opened_session(new: NewSession) -> Json:
    detection = {"type": "server_vad", **DETECTORS["server_vad"]}
    return effective.flat_session(new, detection) | {
        "input_audio_sampling_rate": 24_000,
        "input_audio_echo_cancellation": None,
        "interim_response": None,
    }


# The rate is a setting of its own and belongs to `pcm16` only: the formats of G.711 have 8 kHz.
def input_settings(session: Json) -> InputSettings:
    format = session["input_audio_format"]
    return effective.flat_input(
        session, PCM[session["input_audio_sampling_rate"]] if format == "pcm16" else FORMATS[format]
    )


def output_settings(session: Json, response: Json) -> OutputSettings:
    output = effective.flat_output(session, response)
    return replace(output, format=RATED.get(output.format, output.format), counts_images=True)


STREAMED_ITEM: dict[str, Validator[Any]] = {
    "id": checks.TEXT,
    "content_index": checks.whole(0, 1 << 10),
}
FORM = SessionForm(opened_session, SESSION, input_settings, output_settings, RESPONSE)
VOICE_LIVE = WireDialect(
    "voice-live",
    PREVIEW,
    lambda dialect: FORM,
    items=items_check(
        {**PARTS[PREVIEW], "user": PARTS[GA]["user"]},
        flat_message=True,
        flat_calls=False,
        more=MCP_ITEMS,
    ),
    events={
        **EVENTS,
        "response.create": client_event(
            EVENTS["response.create"].handler,
            response=checks.LATER,
            additional_instructions=checks.TEXT,
        ),
        "input_text.delta": client_event(
            Behaviour.stream_text, "id", "delta", **STREAMED_ITEM, delta=checks.TEXT
        ),
        "input_text.done": client_event(Behaviour.stream_text, "id", **STREAMED_ITEM),
    },
)
PATH = "/voice-live/realtime"


def _answer(request: UpgradeRequest) -> AcceptedUpgrade | RefusedUpgrade | None:
    if request.path != PATH:
        return None
    if request.query.get("api-version") not in VERSIONS:
        return refusals.BAD_VERSION
    return AcceptedUpgrade(VOICE_LIVE, request.model) if request.model else refusals.NO_MODEL


SERVICE = SimulatedService(
    _answer,
    websocket_urls(voice_live=f"{PATH}?api-version={VERSIONS[0]}&model=gpt-realtime"),
    limits_headers=True,
    titles={"voice_live": "Voice Live"},
)
