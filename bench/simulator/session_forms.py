"""Lists the forms of sessions: those that answer, and those that only transcribe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any

from bench.protocol.audio import AudioFormat
from bench.protocol.openai import FORMATS, RATED_FORMATS
from bench.protocol.openai_ga import ga_format
from bench.protocol.simulated import SIMULATOR_MARK
from bench.simulator import kin, settings, voice_live
from bench.simulator.checks import Check, EventPlace
from bench.simulator.session_form import (
    INSTRUCTIONS,
    Detection,
    InputSettings,
    OutputSettings,
    SessionForm,
    flat_output,
    flat_session,
    transcriber_of,
)
from bench.simulator.settings import turn_detection
from bench.simulator.wire import GA, INWORLD, VOICE_LIVE, XAI, Json, RejectedError, WireDialect

WITHOUT_DETECTION = "gpt-realtime-whisper"
TYPED_KEYS = ("model", "client_secret")  # of the SDK's preview types, which some clients send whole


# As a service opens them


def _ga_detection() -> Any:
    return turn_detection(ga=True)({}, EventPlace())


def _preview_detection() -> Any:
    return turn_detection(ga=False)({}, EventPlace())


def preview_session(session_id: str, model: str, expires_at_s: int) -> Json:
    return flat_session(session_id, model, expires_at_s, _preview_detection())


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
                "turn_detection": _ga_detection(),
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


def _preview_input(session: Json) -> InputSettings:
    return InputSettings(
        FORMATS[session["input_audio_format"]],
        None if session["turn_detection"] is None else Detection(**session["turn_detection"]),
        transcriber_of(session["input_audio_transcription"]),
        settings.LOGPROBS in (session.get("include") or ()),
    )


def _ga_input(session: Json) -> InputSettings:
    heard = session["audio"]["input"]
    return InputSettings(
        settings.format_of(heard["format"]),
        None if heard["turn_detection"] is None else Detection(**heard["turn_detection"]),
        transcriber_of(heard["transcription"]),
        settings.LOGPROBS in (session["include"] or ()),
    )


def _without_responses(input: Callable[[Json], InputSettings]) -> Callable[[Json], InputSettings]:
    """What is heard is answered by nobody."""

    def heard(session: Json) -> InputSettings:
        told = input(session)
        silent = told.detection and replace(told.detection, create_response=False, idle_timeout_ms=None)
        return replace(told, detection=silent)

    return heard


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
        format=settings.format_of(spoken["format"]).name,
        voice=spoken["voice"],
        instructions=chosen["instructions"],
        max_output_tokens=chosen["max_output_tokens"],
        counts_images=True,
    )


# The forms


@cache
def form_of(dialect: WireDialect) -> SessionForm:
    """The form of session that a client of this dialect gets."""
    in_ga = dialect.names is GA
    if dialect.name == VOICE_LIVE.name:
        return voice_live.FORM
    if dialect in kin.FLAT:
        return kin.FLAT[dialect]
    if dialect.name == XAI.name:
        return kin.xai_form(_ga(dialect))
    if dialect.name == INWORLD.name:
        return kin.inworld_form(_ga(dialect))
    if dialect.transcribes:
        return _ga_transcription(dialect) if in_ga else _preview_transcription()
    return _ga(dialect) if in_ga else _preview(dialect)


def _preview(dialect: WireDialect) -> SessionForm:
    return SessionForm(
        preview_session,
        settings.PREVIEW_SESSION,
        _preview_input,
        flat_output,
        settings.PREVIEW_RESPONSE,
        transcript_deltas=False,
        ignored=TYPED_KEYS[:1] if dialect.tolerant else (),  # the Mar 2025 quickstart sends the model
        ignored_nulls=TYPED_KEYS,
    )


def _ga(dialect: WireDialect) -> SessionForm:
    transcriber, format = _ga_checks(dialect)
    return SessionForm(
        partial(ga_session, own=RATED_FORMATS[dialect.formats[0]]),
        settings.ga_session_table(transcriber, format),
        _ga_input,
        _ga_output,
        settings.ga_response_table(format),
        type="realtime",
        ignored=("model",),
        ignored_nulls=TYPED_KEYS,
    )


def _ga_checks(dialect: WireDialect) -> tuple[Check, Check]:
    """(of the model that transcribes, of a format)."""
    transcriber = settings.AZURE_TRANSCRIBER if dialect.deployed else settings.OPENAI_TRANSCRIBER
    return transcriber, settings.format_check(dialect.formats)


def _preview_transcription() -> SessionForm:
    return SessionForm(
        preview_transcription,
        settings.PREVIEW_TRANSCRIPTION,
        _without_responses(_preview_input),
        family="transcription_session",
        ignored_nulls=TYPED_KEYS[1:],
    )


def _ga_transcription(dialect: WireDialect) -> SessionForm:
    return SessionForm(
        ga_transcription,
        settings.ga_transcription_table(*_ga_checks(dialect)),
        _without_responses(_ga_input),
        type="transcription",
        settled=_without_detection,
    )
