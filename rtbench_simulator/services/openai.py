"""OpenAI's Realtime API: its paths and dialects, and the forms of sessions, also of those that only
transcribe.

A connection is refused after the upgrade, with an error event. Other services use the forms with
their own differences.
"""

from dataclasses import replace
from functools import cache, partial
from typing import Any

from bench.files.validation import Validator
from bench.services.openai.dialect import FORMATS, WITHOUT_DETECTION
from bench.wire.audio import AudioFormatName
from bench.wire.dialect import SIMULATOR_VALUE
from rtbench_simulator import refusals
from rtbench_simulator.behaviour import WireDialect
from rtbench_simulator.server_events import GA, GA_FORMATS, PREVIEW, Json, RejectedError
from rtbench_simulator.serving.service import (
    AcceptedUpgrade,
    SimulatedService,
    UpgradeRequest,
    websocket_urls,
)
from rtbench_simulator.session import checks, effective, session_schema
from rtbench_simulator.session.checks import EventValue
from rtbench_simulator.session.effective import (
    InputSettings,
    NewSession,
    OutputSettings,
    SessionForm,
)
from rtbench_simulator.session.session_schema import (
    PREVIEW_RESPONSE,
    PREVIEW_SESSION,
    turn_detection,
)

TRANSCRIBERS = (
    *session_schema.OLDER_TRANSCRIBERS,
    "gpt-4o-mini-transcribe-2025-03-20",
    "gpt-4o-mini-transcribe-2025-12-15",
    "gpt-4o-transcribe-diarize",
    "gpt-transcribe",
    "gpt-live-transcribe",
    "gpt-realtime-whisper",
)
TRANSCRIBER = checks.choice(*TRANSCRIBERS)

# Initial sessions


def preview_session(new: NewSession) -> Json:
    return effective.flat_session(new, turn_detection(ga=False).read(EventValue("", {})))


def ga_session(new: NewSession, default_format: AudioFormatName = "pcm16") -> Json:
    """Return the initial session of GA. `default_format`: the default audio format of the
    service.
    """
    return {
        "type": "realtime",
        "object": "realtime.session",
        SIMULATOR_VALUE: True,
        "id": new.id,
        "model": new.model,
        "output_modalities": ["audio"],
        "instructions": effective.INSTRUCTIONS,
        "audio": {
            "input": {
                "format": GA_FORMATS[default_format],
                "transcription": None,
                "noise_reduction": None,
                "turn_detection": turn_detection(ga=True).read(EventValue("", {})),
            },
            "output": {"format": GA_FORMATS[default_format], "voice": "alloy", "speed": 1.0},
        },
        "max_output_tokens": "inf",
        "truncation": "auto",
        "tools": [],
        "tool_choice": "auto",
        "expires_at": new.expires_at_s,
    }


def preview_transcription(new: NewSession) -> Json:
    session = preview_session(new)
    shared_keys = ("id", SIMULATOR_VALUE, "expires_at", "turn_detection")
    input_keys = [key for key in session if key.startswith("input_audio_")]
    return {"object": TRANSCRIPTION_OBJECT} | {
        key: session[key] for key in (*shared_keys, *input_keys)
    }


def ga_transcription(new: NewSession) -> Json:
    session = ga_session(new)
    shared = {key: session[key] for key in ("id", SIMULATOR_VALUE, "expires_at")}
    audio = {"audio": {"input": session["audio"]["input"]}}
    return {"type": "transcription", "object": TRANSCRIPTION_OBJECT} | shared | audio


TRANSCRIPTION_OBJECT = "realtime.transcription_session"


# Input and output settings


def _ga_input(session: Json) -> InputSettings:
    settings = session["audio"]["input"]
    format = session_schema.format_of(settings["format"])
    return effective.input_settings(format, settings["turn_detection"], settings["transcription"])


def _unanswered(settings: InputSettings) -> InputSettings:
    """Return the same settings, but without responses to the caller's audio."""
    silent = settings.detection and replace(
        settings.detection, create_response=False, idle_timeout_ms=None
    )
    return replace(settings, detection=silent)


# The check needs the merged session, because the model and the detection may come in two updates.
def _without_detection(merged: Json, requested: Json) -> Json:
    """Switch off turn detection if the transcription model does not support it.

    Raise RejectedError if a client requests turn detection for this model. Sources: the SDK's
    texts, and field reports of the error.
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
PREVIEW_TRANSCRIPTION_FORM = SessionForm(
    preview_transcription,
    session_schema.PREVIEW_TRANSCRIPTION,
    lambda session: _unanswered(
        effective.flat_input(session, FORMATS[session["input_audio_format"]])
    ),
    effective.flat_output,
    family="transcription_session",
)


@cache
def ga_form(dialect: WireDialect, transcriber: Validator[Any] = TRANSCRIBER) -> SessionForm:
    """Return the form of GA. `transcriber`: the check of the name of a transcription model."""
    format = session_schema.format_check(dialect.formats)
    if dialect.transcribes:
        hearing = session_schema.ga_hearing(transcriber, format)
        return SessionForm(
            ga_transcription,
            {
                "type": checks.choice("transcription"),
                "audio": {"input": hearing},
                "include": checks.NOT_SIMULATED,
            },
            lambda session: _unanswered(_ga_input(session)),
            _ga_output,
            type="transcription",
            settled=_without_detection,
        )
    table = session_schema.ga_session_table(transcriber, format)
    return SessionForm(
        partial(ga_session, default_format=dialect.formats[0]),
        table,
        _ga_input,
        _ga_output,
        session_schema.ga_response_table(table, format),
        type="realtime",
    )


# The service

PATH = "/v1/realtime"
OPENAI_PREVIEW = WireDialect(
    "openai-preview",
    PREVIEW,
    lambda dialect: PREVIEW_TRANSCRIPTION_FORM if dialect.transcribes else PREVIEW_FORM,
)
OPENAI_GA = WireDialect("openai-ga", GA, ga_form, tuple(FORMATS))


def _dialect(request: UpgradeRequest) -> WireDialect:
    return OPENAI_PREVIEW if request.headers.get("openai-beta") == "realtime=v1" else OPENAI_GA


def _answer(request: UpgradeRequest) -> AcceptedUpgrade | None:
    if request.path != PATH or request.transcribes:
        return None
    return AcceptedUpgrade(
        _dialect(request), request.model, None if request.model else refusals.MISSING_MODEL
    )


def _transcription(request: UpgradeRequest) -> AcceptedUpgrade | None:
    if request.path != PATH or not request.transcribes:
        return None
    complaint = refusals.MODEL_OF_TRANSCRIPTION if request.model else None
    return AcceptedUpgrade(_dialect(request).transcribing(), request.model, complaint)


SERVICE = SimulatedService(
    _answer,
    websocket_urls(openai=f"{PATH}?model=gpt-realtime"),
    "event",
    refusals.BAD_OPENAI_KEY,
    titles={"openai": "OpenAI"},
    note="(preview with the header OpenAI-Beta: realtime=v1)",
)
TRANSCRIPTION = replace(
    SERVICE,
    answer=_transcription,
    urls=websocket_urls(transcription=f"{PATH}?intent=transcription"),
    titles={"transcription": "transcription"},
    note="",
)
