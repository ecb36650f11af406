"""The session forms of the simulated services.

This module has the forms of OpenAI and Azure OpenAI, for sessions with responses and for sessions that only transcribe.
It also has the forms of services that implement the Realtime API with small differences. voice_live_form.py has the
form of Voice Live.

Only differences that affect clients are simulated: the position and the name of settings, and the sample rates of
input. `bench.services.registry` describes each service, and docs/targets.md states how each service was tested.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial
from typing import Any

from bench.services.openai.dialect import FORMATS, RATED_FORMATS, WITHOUT_DETECTION
from bench.services.openai.ga import ga_format
from bench.simulator.server_events import GA, QWEN, VOICE_LIVE, XAI, Json, RejectedError, WireDialect
from bench.simulator.session import checks, effective, session_schema, voice_live_form
from bench.simulator.session.checks import CheckTable, EventPath, Nullable
from bench.simulator.session.effective import InputSettings, OutputSettings, SessionForm
from bench.simulator.session.session_schema import FUNCTION, PREVIEW_RESPONSE, PREVIEW_SESSION, turn_detection
from bench.wire.audio import PCM16, PCM16_8K, PCM16_16K, PCM16_48K, AudioFormat
from bench.wire.dialect import SIMULATOR_VALUE

# Initial sessions


def preview_session(session_id: str, model: str, expires_at_s: int) -> Json:
    return effective.flat_session(session_id, model, expires_at_s, turn_detection(ga=False)({}, EventPath()))


def ga_session(session_id: str, model: str, expires_at_s: int, default_format: AudioFormat = FORMATS["pcm16"]) -> Json:
    """Return the initial session of GA. `default_format`: the default audio format of the service."""
    return {
        "type": "realtime",
        "object": "realtime.session",
        SIMULATOR_VALUE: True,
        "id": session_id,
        "model": model,
        "output_modalities": ["audio"],
        "instructions": effective.INSTRUCTIONS,
        "audio": {
            "input": {
                "format": ga_format(default_format),
                "transcription": None,
                "noise_reduction": None,
                "turn_detection": turn_detection(ga=True)({}, EventPath()),
            },
            "output": {"format": ga_format(default_format), "voice": "alloy", "speed": 1.0},
        },
        "max_output_tokens": "inf",
        "truncation": "auto",
        "tools": [],
        "tool_choice": "auto",
        "expires_at": expires_at_s,
    }


def preview_transcription(session_id: str, model: str, expires_at_s: int) -> Json:
    session = preview_session(session_id, model, expires_at_s)
    shared_keys = ("id", SIMULATOR_VALUE, "expires_at", "turn_detection")
    input_keys = [key for key in session if key.startswith("input_audio_")]
    return {"object": TRANSCRIPTION_OBJECT} | {key: session[key] for key in (*shared_keys, *input_keys)}


def ga_transcription(session_id: str, model: str, expires_at_s: int) -> Json:
    session = ga_session(session_id, model, expires_at_s)
    shared = {key: session[key] for key in ("id", SIMULATOR_VALUE, "expires_at")}
    audio = {"audio": {"input": session["audio"]["input"]}}
    return {"type": "transcription", "object": TRANSCRIPTION_OBJECT} | shared | audio


TRANSCRIPTION_OBJECT = "realtime.transcription_session"


# Input and output settings


def _ga_input(session: Json) -> InputSettings:
    settings = session["audio"]["input"]
    return InputSettings(
        session_schema.format_of(settings["format"]),
        effective.detection_of(settings["turn_detection"]),
        effective.transcriber_of(settings["transcription"]),
        effective.delay_of(settings["transcription"]),
    )


def _unanswered(settings: InputSettings) -> InputSettings:
    """Return the same settings, but without responses to the caller's audio."""
    silent = settings.detection and replace(settings.detection, create_response=False, idle_timeout_ms=None)
    return replace(settings, detection=silent)


def _without_detection(merged: Json, requested: Json) -> Json:
    """Switch off turn detection if the transcription model does not support it.

    Raise RejectedError if a client requests turn detection for this model. Sources: the SDK's texts, and field reports
    of the error.
    """
    audio_input = merged["audio"]["input"]
    if effective.transcriber_of(audio_input["transcription"]) not in WITHOUT_DETECTION:
        return merged
    requested_input = (requested.get("audio") or {}).get("input") or {}
    if requested_input.get("turn_detection") is not None:
        problem = "Turn detection is not supported for this transcription model."
        raise RejectedError("invalid_value", problem, "session.audio.input.turn_detection")
    return merged | {"audio": {"input": audio_input | {"turn_detection": None}}}


def _ga_output(session: Json, response: Json) -> OutputSettings:
    chosen = session | response
    spoken = session["audio"]["output"] | response.get("audio", {}).get("output", {})
    return OutputSettings(
        audio="audio" in chosen["output_modalities"],
        format=session_schema.format_of(spoken["format"]).name,
        voice=spoken["voice"],
        instructions=chosen["instructions"],
        max_output_tokens=chosen["max_output_tokens"],
        counts_images=True,
    )


# Forms


PREVIEW_FORM = SessionForm(
    preview_session,
    PREVIEW_SESSION,
    lambda session: effective.flat_input(session, FORMATS[session["input_audio_format"]]),
    effective.flat_output,
    PREVIEW_RESPONSE,
    transcript_deltas=False,
)
AZURE_PREVIEW_FORM = replace(
    PREVIEW_FORM,
    table={**PREVIEW_SESSION, "model": checks.ignored},  # the quickstart of March 2025 sends it
    response={**PREVIEW_RESPONSE, **dict.fromkeys(session_schema.TOLERATED_RESPONSE_KEYS, checks.ignored)},
)


PREVIEW_TRANSCRIPTION_FORM = SessionForm(
    preview_transcription,
    session_schema.PREVIEW_TRANSCRIPTION,
    lambda session: _unanswered(effective.flat_input(session, FORMATS[session["input_audio_format"]])),
    effective.flat_output,
    family="transcription_session",
)


def ga_form(dialect: WireDialect) -> SessionForm:
    format = session_schema.format_check(dialect.formats)
    model = session_schema.AZURE_TRANSCRIBER if dialect.deployed else session_schema.OPENAI_TRANSCRIBER
    if dialect.transcribes:
        return SessionForm(
            ga_transcription,
            session_schema.ga_transcription_table(model, format),
            lambda session: _unanswered(_ga_input(session)),
            _ga_output,
            type="transcription",
            settled=_without_detection,
        )
    table = session_schema.ga_session_table(model, format)
    return SessionForm(
        partial(ga_session, default_format=RATED_FORMATS[dialect.formats[0]]),
        table,
        _ga_input,
        _ga_output,
        session_schema.ga_response_table(table, format),
        type="realtime",
    )


PCM = {format.rate_hz: format for format in (PCM16_8K, PCM16_16K, PCM16, PCM16_48K)}
IN_SHELL = checks.shape({"type": checks.choice("function"), "function": checks.anything}, "function")
TRANSCRIBER = Nullable(checks.shape({"model": checks.text}))


def _unshelled(value: Any, event_path: EventPath) -> Json:
    """Return a function tool in the form in which it is stored, if the client nested it in the key `function`."""
    shell = IN_SHELL(value, event_path)
    return {"type": "function", **FUNCTION(shell["function"], event_path.key("function"))}


SHELLED = checks.array(_unshelled)


# Qwen-Omni: the audio format is `pcm`, and the sample rate is a separate setting.

QWEN_FORMAT: CheckTable = {"format": {"type": checks.choice("pcm"), "sample_rate": checks.one_of_whole(PCM)}}
QWEN_SESSION: CheckTable = {
    **PREVIEW_SESSION,
    "model": checks.ignored,
    "tools": SHELLED,
    "voice": checks.text,
    "input_audio_format": checks.choice("pcm", "pcm16"),
    "output_audio_format": checks.choice("pcm", "pcm16", "pcm24"),
    "audio": {"input": QWEN_FORMAT, "output": QWEN_FORMAT},
    "input_audio_transcription": TRANSCRIBER,
    "smooth_output": Nullable(checks.flag),
    "enable_search": checks.flag,
}


def qwen_session(session_id: str, model: str, expires_at_s: int) -> Json:
    return preview_session(session_id, model, expires_at_s) | {
        "voice": "Cherry",
        "input_audio_format": "pcm",
        "output_audio_format": "pcm",
        "audio": {
            "input": {"format": {"type": "pcm", "sample_rate": 16_000}},
            "output": {"format": {"type": "pcm", "sample_rate": 24_000}},
        },
    }


def _qwen_format(session: Json, direction: str) -> AudioFormat:
    return PCM[session["audio"][direction]["format"]["sample_rate"]]


QWEN_FORM = SessionForm(
    qwen_session,
    QWEN_SESSION,
    lambda session: effective.flat_input(session, _qwen_format(session, "input")),
    lambda session, response: replace(
        effective.flat_output(session, response), format=_qwen_format(session, "output").name
    ),
    {**PREVIEW_RESPONSE, "voice": checks.text, "tools": SHELLED},
)


# xAI: the voice and turn detection are at the top level.


def xai_form(ga: SessionForm) -> SessionForm:
    """Return the form of GA with voice and turn detection at the top level, not inside `audio`."""
    audio: Any = ga.table["audio"]
    inside = {
        direction: {key: check for key, check in audio[direction].items() if key not in ("turn_detection", "voice")}
        for direction in ("input", "output")
    }
    return replace(
        ga,
        opened=lambda session_id, model, expires_at_s: _risen(ga.opened(session_id, model, expires_at_s)),
        table={
            **ga.table,
            "audio": inside,
            "turn_detection": audio["input"]["turn_detection"],
            "voice": checks.text,
            "tools": session_schema.TOOLS,
        },
        input=lambda session: ga.input(_sunk(session)),
        output=lambda session, response: ga.output(_sunk(session), response),
    )


def _risen(session: Json) -> Json:
    input_settings, output_settings = dict(session["audio"]["input"]), dict(session["audio"]["output"])
    top = {"turn_detection": input_settings.pop("turn_detection"), "voice": output_settings.pop("voice")}
    return session | {"audio": {"input": input_settings, "output": output_settings}} | top


def _sunk(session: Json) -> Json:
    input_settings = session["audio"]["input"] | {"turn_detection": session["turn_detection"]}
    return session | {
        "audio": {"input": input_settings, "output": session["audio"]["output"] | {"voice": session["voice"]}}
    }


# All forms


@cache
def form_of(dialect: WireDialect) -> SessionForm:
    """Return the session form of this dialect: either with responses, or only for transcription."""
    match dialect.name:
        case VOICE_LIVE.name:
            return voice_live_form.FORM
        case QWEN.name:
            return QWEN_FORM
        case XAI.name:
            return xai_form(ga_form(dialect))
    if dialect.names is GA:
        return ga_form(dialect)
    if dialect.transcribes:
        return PREVIEW_TRANSCRIPTION_FORM
    return AZURE_PREVIEW_FORM if dialect.tolerant else PREVIEW_FORM
