"""Azure Voice Live: its dialect, its path at Azure, and the keys of a script's `session` that
only it has.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, get_args

from bench.catalogue.pricing import Billing
from bench.files.validation import Boolean, Choice, Field, Integer, Number, String, StructOf
from bench.services.openai.dialect import VOICE_LIVE_NAME, Ga
from bench.services.openai.events import FILLERS, MCP_APPROVAL_REQUEST, MCP_CALL
from bench.services.openai.preview import Preview
from bench.wire.audio import (
    G711_ALAW,
    G711_ULAW,
    PCM16,
    PCM16_8K,
    PCM16_16K,
    AudioFormatName,
    by_name,
)
from bench.wire.dialect import Feature
from bench.wire.events import EventKind
from bench.wire.service import Route
from bench.wire.settings import (
    DETECTION_FIELDS,
    LEVEL_FIELDS,
    EchoCancellation,
    SessionSettings,
    SettingKeys,
    TypedMapValidator,
    UnsupportedSetting,
    detector,
    texts,
    without_none,
)

OF_VOICE_LIVE = dict.fromkeys(
    (
        "warning",
        "session.avatar.connecting",
        "session.avatar.switch_to_speaking",
        "session.avatar.switch_to_idle",
        "response.animation_blendshapes.delta",
        "response.animation_blendshapes.done",
        "response.animation_viseme.delta",
        "response.animation_viseme.done",
        "response.audio_timestamp.delta",
        "response.audio_timestamp.done",
        "response.audio_transcript.annotation.added",
        "response.invocation.delta",
        "response.video.delta",
        "response.file_search_call.in_progress",
        "response.file_search_call.searching",
        "response.file_search_call.completed",
        "response.web_search_call.in_progress",
        "response.web_search_call.searching",
        "response.web_search_call.completed",
        "output_audio_buffer.cleared",
    ),
    EventKind.NOTED,
) | dict(Ga.own_kinds)
SPOKEN_FORMATS: Mapping[AudioFormatName, str] = {
    PCM16_8K.name: "pcm16_8000hz",
    PCM16_16K.name: "pcm16_16000hz",
}
"""The names of output formats that contain the rate. All other output formats have their usual
names."""
END_OF_UTTERANCE = StructOf[dict[str, Any]](
    {
        "model": Field(
            Choice(
                tuple(f"semantic_detection_v1{variant}" for variant in ("", "_en", "_multilingual"))
            ),
            "The model that detects the end of an utterance.",
            required=True,
        ),
        "threshold_level": Field(
            Choice(("low", "medium", "high", "default")), "The confidence that it needs."
        ),
        "timeout_ms": Field(Integer(0, 60_000), "The maximum silence, in ms."),
    },
    dict,
)
OWN_DETECTION: dict[str, Field[Any]] = {
    "end_of_utterance_detection": Field(
        END_OF_UTTERANCE, "A model that detects the end of a turn. Voice Live only."
    ),
    "auto_truncate": Field(
        Boolean(), "Whether the service truncates an answer that speech stops. Voice Live only."
    ),
}
AZURE_FIELDS: dict[str, Field[Any]] = {
    **LEVEL_FIELDS,
    "speech_duration_ms": Field(
        Integer(0, 60_000), "The minimum speech that starts a turn, in ms."
    ),
    "remove_filler_words": Field(Boolean(), "Whether filler words (um, so) are ignored."),
    **OWN_DETECTION,
    **DETECTION_FIELDS,
}
LANGUAGES: dict[str, Field[Any]] = {
    "languages": Field(texts(), "The languages that are spoken, as in en-US.")
}

DETECTORS = {
    name: detector(name, note, more)
    for name, note, more in (
        ("azure_semantic_vad", "Detection by meaning. Voice Live only.", AZURE_FIELDS | LANGUAGES),
        ("azure_semantic_vad_en", "The same for English. Voice Live only.", AZURE_FIELDS),
        (
            "azure_semantic_vad_multilingual",
            "The same for many languages. Voice Live only.",
            AZURE_FIELDS | LANGUAGES,
        ),
    )
}
NAMED: dict[str, Field[Any]] = {"name": Field(String(), "The voice's name.", required=True)}
AZURE_VOICE: dict[str, Field[Any]] = {
    **NAMED,
    "temperature": Field(Number(0, 1), "The variation of a high-definition voice."),
    "locale": Field(String(), "The language that it speaks, as in en-US."),
    "prefer_locales": Field(texts(), "Accents that it prefers, as in en-GB."),
    **{
        key: Field(String(), note)
        for key, note in (
            ("style", "A style, as in cheerful."),
            ("pitch", "The pitch, as in SSML."),
            ("rate", "The speed, as in SSML."),
            ("volume", "The volume, as in SSML."),
            ("custom_lexicon_url", "The URL of a pronunciation lexicon."),
            ("custom_text_normalization_url", "The URL of text normalization rules."),
        )
    },
}
VOICES: dict[str, dict[str, Field[Any]]] = {
    "openai": NAMED,
    "azure-standard": AZURE_VOICE,
    "azure-custom": {
        **AZURE_VOICE,
        "endpoint_id": Field(String(), "The endpoint that has the voice.", required=True),
    },
    "azure-personal": {
        **AZURE_VOICE,
        "model": Field(String(), "The model that speaks.", required=True),
    },
    "azure-realtime-native": NAMED,
}
INTERIM: dict[str, Field[Any]] = {
    "triggers": Field(
        texts(Choice(("latency", "tool"))),
        "When a filler is said: after a long silence (latency), or while a function runs (tool).",
    ),
    "latency_threshold_ms": Field(
        Integer(0, 600_000), "The length from which a silence is long, in ms."
    ),
}
INTERIM_RESPONSE = TypedMapValidator(
    {
        "static_interim_response": {
            **INTERIM,
            "texts": Field(texts(), "The texts from which a filler is chosen."),
        },
        "llm_interim_response": {
            **INTERIM,
            "model": Field(String(), "The model that writes the filler."),
            "instructions": Field(String(), "Its instructions."),
            "max_completion_tokens": Field(Integer(1, 1_000_000), "The longest filler, in tokens."),
        },
    }
)
SETTING_KEYS = SettingKeys(
    {
        "echo_cancellation": Field(
            Choice(get_args(EchoCancellation)),
            "The service does not take its own voice for speech. Voice Live only.",
        ),
        "interim_response": Field(INTERIM_RESPONSE, "Fillers before the answer. Voice Live only."),
    },
    {
        "server_vad": OWN_DETECTION,
        "semantic_vad": {"auto_truncate": OWN_DETECTION["auto_truncate"]},
    },
    DETECTORS,
    VOICES,
)


# Voice Live is the preview dialect with more keys, more events, and other names of formats. Only
# these differences are here. Keys of a script that it alone has are declared as validators
# (`SETTING_KEYS`), so a script for another service that uses one is refused at its line.
class VoiceLive(Preview):
    """Azure Voice Live. It has the preview's events and flat session, and additional ones.

    They are those of azure-ai-voicelive 1.3.1 (`RequestSession`, `ServerEventType`), api-version
    2026-07-15.
    """

    name = family = VOICE_LIVE_NAME
    transcribers = ()
    billing = Billing.TIERS
    setting_keys = SETTING_KEYS
    own_kinds = OF_VOICE_LIVE
    input_formats = output_formats = by_name(PCM16, PCM16_8K, PCM16_16K, G711_ULAW, G711_ALAW)
    missing_features = MappingProxyType(
        {
            Feature.OUT_OF_BAND: (
                "which Voice Live does not support: remove `conversation: none` and `input`"
            ),
        }
    )
    item_kinds = MappingProxyType(
        {
            (EventKind.OUTPUT_ADDED, MCP_CALL): EventKind.MCP_CALL_ADDED,
            # conversation.item.created: the service has no event for a complete item
            (EventKind.ITEM_ADDED, MCP_APPROVAL_REQUEST): EventKind.MCP_APPROVAL,
        }
    )
    stored = {  # noqa: RUF012 - as in its base
        **Preview.stored,
        ("avatar",): "an avatar's video is not measured",
    }

    def unsupported_setting(self, settings: SessionSettings) -> UnsupportedSetting | None:
        for server in settings.mcp_servers:
            if server.url is None or server.description is not None:
                problem = f"the MCP server {server.label} must have a `url`, and no description"
                return UnsupportedSetting(("mcp_servers",), f"{problem}, in Voice Live")
        return super().unsupported_setting(settings)

    def formats(self, settings: SessionSettings) -> dict[str, Any]:
        format_name = self.output_format_for(settings).name
        return super().formats(settings) | {
            "output_audio_format": SPOKEN_FORMATS.get(format_name, format_name)
        }

    def session(self, settings: SessionSettings) -> dict[str, Any]:
        echo = settings.echo_cancellation
        return super().session(settings) | without_none(
            input_audio_echo_cancellation=None if echo is None else {"type": echo},
            reasoning_effort=None if settings.reasoning is None else settings.reasoning["effort"],
            **{FILLERS: settings.interim_response},
        )


VOICE_LIVE = VoiceLive()
VERSIONS = ("2026-07-15", "2026-06-01-preview", "2026-04-10", "2025-10-01", "2025-05-01-preview")
FOUNDRY_SCOPE = "https://ai.azure.com/.default"
"""The scope of the clients of Voice Live (azure-ai-voicelive 1.3.1) and of Foundry's agents."""
ROUTES: Mapping[str, Route] = {
    "azure": Route(
        "/voice-live/realtime",
        VOICE_LIVE,
        title="Voice Live",
        needs=("model", "agent-name", "agent_id"),
        versions=VERSIONS,
        scope=FOUNDRY_SCOPE,
        roles=("Cognitive Services User", "Cognitive Services OpenAI User"),
        other_hosts={".openai.azure.com": ".services.ai.azure.com"},
        is_unique=True,
    )
}
