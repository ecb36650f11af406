"""Defines the form of a session: how a service opens one, what may be written into it, and what that means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.protocol.audio import AudioFormat, AudioFormatName
from bench.protocol.simulated import SIMULATOR_MARK
from bench.simulator.checks import CheckTable
from bench.simulator.wire import Json

INSTRUCTIONS = (
    "You are a helpful, witty and friendly voice assistant. Talk quickly, and answer in the language of the user."
)

FIRST_TRANSCRIBER = "whisper-1"  # what transcribes where a client asks for it and names no model


@dataclass(frozen=True)
class Detection:
    """Turn detection that is on, in the words of the wire. Where a type has no such knob, the default counts."""

    type: str  # server_vad | semantic_vad
    threshold: float = 0.5
    prefix_padding_ms: float = 300
    silence_duration_ms: float = 200
    idle_timeout_ms: float | None = None
    eagerness: str = "auto"
    create_response: bool = True
    interrupt_response: bool = True


@dataclass(frozen=True)
class InputSettings:
    """How the caller is heard. `transcriber` is the model that writes it down, None: nobody does.

    `logprobs`: whether it tells how sure it is of each token.
    """

    format: AudioFormat
    detection: Detection | None
    transcriber: str | None
    logprobs: bool = False


@dataclass(frozen=True)
class OutputSettings:
    """What one response gives out: text alone or audio with its transcript.

    `counts_images`: whether its usage tells the tokens of images.
    """

    audio: bool
    format: AudioFormatName
    voice: Any
    instructions: str
    max_output_tokens: Any
    temperature: Any = None
    counts_images: bool = False


def _as_it_is(merged: Json, wanted: Json) -> Json:
    return merged


@dataclass(frozen=True)
class SessionForm:
    """The form of a session. `input` and `output` say what an effective session means for hearing and speaking.

    `family`: of the events that tell of it. `type`: what GA calls it. `response`: what a response.create may say; None
    where there are no responses, and no more of the conversation than what is heard. `transcript_deltas`: whether they
    come ahead of what the caller has said. `ignored`: keys of an update that are taken and mean nothing, and those of
    which only a null is. `settled`: what an update makes of a session, given what was merged and what was wanted.
    """

    opened: Callable[[str, str, int], Json]  # of its id, model and end
    table: CheckTable
    input: Callable[[Json], InputSettings]
    output: Callable[[Json, Json], OutputSettings] | None = None
    response: CheckTable | None = None
    family: str = "session"
    type: str | None = None
    transcript_deltas: bool = True
    ignored: Sequence[str] = ()
    ignored_nulls: Sequence[str] = ()
    settled: Callable[[Json, Json], Json] = _as_it_is


def transcriber_of(transcription: Mapping[str, Any] | None) -> str | None:
    """The model that writes down what the caller says."""
    return None if transcription is None else str(transcription.get("model") or FIRST_TRANSCRIBER)


def flat_session(session_id: str, model: str, expires_at_s: int, detection: Json) -> Json:
    """A session as a service opens it whose settings lie side by side, as in preview."""
    return {
        "id": session_id,
        "object": "realtime.session",
        SIMULATOR_MARK: True,
        "model": model,
        "expires_at": expires_at_s,
        "modalities": ["audio", "text"],
        "instructions": INSTRUCTIONS,
        "voice": "alloy",
        "input_audio_format": "pcm16",
        "output_audio_format": "pcm16",
        "input_audio_transcription": None,
        "input_audio_noise_reduction": None,
        "turn_detection": detection,
        "tools": [],
        "tool_choice": "auto",
        "temperature": 0.8,
        "max_response_output_tokens": "inf",
    }


def flat_output(session: Json, response: Json) -> OutputSettings:
    """What a response gives out, where the settings of a session lie side by side, as in preview."""
    chosen = session | response
    return OutputSettings(
        audio="audio" in chosen["modalities"],
        format=chosen["output_audio_format"],
        voice=chosen["voice"],
        instructions=chosen["instructions"],
        max_output_tokens=response.get("max_output_tokens", chosen["max_response_output_tokens"]),
        temperature=chosen["temperature"],
    )
