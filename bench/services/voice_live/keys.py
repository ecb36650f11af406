"""The keys of a script's `session` that only Voice Live has."""

from __future__ import annotations

from typing import Any, get_args

from bench.files.validation import Boolean, Choice, Field, Integer, Number, String, StructOf
from bench.wire.setting_keys import DETECTION_FIELDS, LEVEL_FIELDS, SettingKeys, TypedMapValidator, detector, texts
from bench.wire.settings import EchoCancellation

END_OF_UTTERANCE = StructOf(
    {
        "model": Field(
            Choice(tuple(f"semantic_detection_v1{variant}" for variant in ("", "_en", "_multilingual"))),
            "The model that detects the end of an utterance.",
            required=True,
        ),
        "threshold_level": Field(Choice(("low", "medium", "high", "default")), "The confidence that it needs."),
        "timeout_ms": Field(Integer(0, 60_000), "The maximum silence, in ms."),
    },
    lambda **settings: settings,
)
OWN_DETECTION: dict[str, Field[Any]] = {
    "end_of_utterance_detection": Field(END_OF_UTTERANCE, "A model that detects the end of a turn. Voice Live only."),
    "auto_truncate": Field(Boolean(), "Whether the service truncates an answer that speech stops. Voice Live only."),
}
AZURE_FIELDS: dict[str, Field[Any]] = {
    **LEVEL_FIELDS,
    "speech_duration_ms": Field(Integer(0, 60_000), "The minimum speech that starts a turn, in ms."),
    "remove_filler_words": Field(Boolean(), "Whether filler words (um, so) are ignored."),
    **OWN_DETECTION,
    **DETECTION_FIELDS,
}
LANGUAGES: dict[str, Field[Any]] = {"languages": Field(texts(), "The languages that are spoken, as in en-US.")}


DETECTORS = {
    name: detector(name, note, more)
    for name, note, more in (
        ("azure_semantic_vad", "Detection by meaning. Voice Live only.", AZURE_FIELDS | LANGUAGES),
        ("azure_semantic_vad_en", "The same for English. Voice Live only.", AZURE_FIELDS),
        ("azure_semantic_vad_multilingual", "The same for many languages. Voice Live only.", AZURE_FIELDS | LANGUAGES),
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
    "azure-custom": {**AZURE_VOICE, "endpoint_id": Field(String(), "The endpoint that has the voice.", required=True)},
    "azure-personal": {**AZURE_VOICE, "model": Field(String(), "The model that speaks.", required=True)},
    "azure-realtime-native": NAMED,
}
INTERIM: dict[str, Field[Any]] = {
    "triggers": Field(
        texts(Choice(("latency", "tool"))),
        "When a filler is said: after a long silence (latency), or while a function runs (tool).",
    ),
    "latency_threshold_ms": Field(Integer(0, 600_000), "The length from which a silence is long, in ms."),
}
INTERIM_RESPONSE = TypedMapValidator(
    {
        "static_interim_response": {**INTERIM, "texts": Field(texts(), "The texts from which a filler is chosen.")},
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
            Choice(get_args(EchoCancellation)), "The service does not take its own voice for speech. Voice Live only."
        ),
        "interim_response": Field(INTERIM_RESPONSE, "Fillers before the answer. Voice Live only."),
    },
    {"server_vad": OWN_DETECTION, "semantic_vad": {"auto_truncate": OWN_DETECTION["auto_truncate"]}},
    DETECTORS,
    VOICES,
)
