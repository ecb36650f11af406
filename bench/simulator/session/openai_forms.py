"""Defines the sessions of OpenAI and Azure OpenAI: those that answer, and those that only transcribe."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from bench.protocol.audio import AudioFormat
from bench.protocol.base import SIMULATOR_MARK
from bench.protocol.openai import FORMATS, RATED_FORMATS
from bench.protocol.openai_ga import ga_format
from bench.simulator.session import check_tables
from bench.simulator.session.check_tables import turn_detection
from bench.simulator.session.checks import Check, EventPlace
from bench.simulator.session.effective import (
    INSTRUCTIONS,
    InputSettings,
    OutputSettings,
    SessionForm,
    detection_of,
    flat_input,
    flat_output,
    flat_session,
    transcriber_of,
)
from bench.simulator.wire import GA, Json, RejectedError, WireDialect

WITHOUT_DETECTION = "gpt-realtime-whisper"
TYPED_KEYS = ("model", "client_secret")  # of the SDK's preview types, which some clients send whole


# As a service opens them


def preview_session(session_id: str, model: str, expires_at_s: int) -> Json:
    return flat_session(session_id, model, expires_at_s, turn_detection(ga=False)({}, EventPlace()))


def ga_session(session_id: str, model: str, expires_at_s: int, own: AudioFormat = FORMATS["pcm16"]) -> Json:
    """`own`: the service's own format."""
    return {
        "type": "realtime",
        "object": "realtime.session",
        SIMULATOR_MARK: True,
        "id": session_id,
        "model": model,
        "output_modalities": ["audio"],
        "instructions": INSTRUCTIONS,
        "audio": {
            "input": {
                "format": ga_format(own),
                "transcription": None,
                "noise_reduction": None,
                "turn_detection": turn_detection(ga=True)({}, EventPlace()),
            },
            "output": {"format": ga_format(own), "voice": "alloy", "speed": 1.0},
        },
        "max_output_tokens": "inf",
        "truncation": "auto",
        "tools": [],
        "tool_choice": "auto",
        "tracing": None,
        "prompt": None,
        "include": None,
        "expires_at": expires_at_s,
    }


def preview_transcription(session_id: str, model: str, expires_at_s: int) -> Json:
    shown = preview_session(session_id, model, expires_at_s)
    kept = ("id", SIMULATOR_MARK, "expires_at", "turn_detection")
    heard = [key for key in shown if key.startswith("input_audio_")]
    return {"object": TRANSCRIPTION_OBJECT, "include": None} | {key: shown[key] for key in (*kept, *heard)}


def ga_transcription(session_id: str, model: str, expires_at_s: int) -> Json:
    shown = ga_session(session_id, model, expires_at_s)
    kept = {key: shown[key] for key in ("id", SIMULATOR_MARK, "expires_at", "include")}
    heard = {"audio": {"input": shown["audio"]["input"]}}
    return {"type": "transcription", "object": TRANSCRIPTION_OBJECT} | kept | heard


TRANSCRIPTION_OBJECT = "realtime.transcription_session"


# What they mean


def _ga_input(session: Json) -> InputSettings:
    heard = session["audio"]["input"]
    return InputSettings(
        check_tables.format_of(heard["format"]),
        detection_of(heard["turn_detection"]),
        transcriber_of(heard["transcription"]),
        check_tables.LOGPROBS in (session["include"] or ()),
    )


def _unanswered(heard: InputSettings) -> InputSettings:
    """The same where nobody answers what is heard."""
    silent = heard.detection and replace(heard.detection, create_response=False, idle_timeout_ms=None)
    return replace(heard, detection=silent)


def _without_detection(merged: Json, wanted: Json) -> Json:
    """Puts out turn detection for the model that has none (the SDK's texts, and field reports of the refusal)."""
    heard = merged["audio"]["input"]
    if transcriber_of(heard["transcription"]) != WITHOUT_DETECTION:
        return merged
    asked = (wanted.get("audio") or {}).get("input") or {}
    if asked.get("turn_detection") is not None:
        problem = "Turn detection is not supported for this transcription model."
        raise RejectedError("invalid_value", problem, "session.audio.input.turn_detection")
    return merged | {"audio": {"input": heard | {"turn_detection": None}}}


def _ga_output(session: Json, response: Json) -> OutputSettings:
    chosen = session | response
    spoken = session["audio"]["output"] | response.get("audio", {}).get("output", {})
    return OutputSettings(
        audio="audio" in chosen["output_modalities"],
        format=check_tables.format_of(spoken["format"]).name,
        voice=spoken["voice"],
        instructions=chosen["instructions"],
        max_output_tokens=chosen["max_output_tokens"],
        counts_images=True,
    )


# The forms


def openai_form(dialect: WireDialect) -> SessionForm:
    """The form of session of OpenAI and of Azure OpenAI, in preview or GA; of one that answers, or only transcribes."""
    if dialect.names is GA:
        return _ga_transcription_form(dialect) if dialect.transcribes else ga_form(dialect)
    if dialect.transcribes:
        return PREVIEW_TRANSCRIPTION_FORM
    return SessionForm(
        preview_session,
        check_tables.PREVIEW_SESSION,
        lambda session: flat_input(session, FORMATS[session["input_audio_format"]]),
        flat_output,
        check_tables.PREVIEW_RESPONSE,
        transcript_deltas=False,
        ignored=TYPED_KEYS[:1] if dialect.tolerant else (),  # the Mar 2025 quickstart sends the model
        ignored_nulls=TYPED_KEYS,
    )


PREVIEW_TRANSCRIPTION_FORM = SessionForm(
    preview_transcription,
    check_tables.PREVIEW_TRANSCRIPTION,
    lambda session: _unanswered(flat_input(session, FORMATS[session["input_audio_format"]])),
    family="transcription_session",
    ignored_nulls=TYPED_KEYS[1:],
)


def ga_form(dialect: WireDialect) -> SessionForm:
    """The form of a session of GA that answers."""
    format = check_tables.format_check(dialect.formats)
    return SessionForm(
        partial(ga_session, own=RATED_FORMATS[dialect.formats[0]]),
        check_tables.ga_session_table(_transcriber(dialect), format),
        _ga_input,
        _ga_output,
        check_tables.ga_response_table(format),
        type="realtime",
        ignored=("model",),
        ignored_nulls=TYPED_KEYS,
    )


def _ga_transcription_form(dialect: WireDialect) -> SessionForm:
    return SessionForm(
        ga_transcription,
        check_tables.ga_transcription_table(_transcriber(dialect), check_tables.format_check(dialect.formats)),
        lambda session: _unanswered(_ga_input(session)),
        type="transcription",
        settled=_without_detection,
    )


def _transcriber(dialect: WireDialect) -> Check:
    return check_tables.AZURE_TRANSCRIBER if dialect.deployed else check_tables.OPENAI_TRANSCRIBER
