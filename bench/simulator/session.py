"""Holds the effective session of one client: what events show of it, and what that means for hearing and speaking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.protocol.audio import AudioFormat, AudioFormatName
from bench.protocol.openai import FORMATS
from bench.protocol.simulated import SIMULATOR_MARK
from bench.simulator import settings
from bench.simulator.checks import CheckTable, EventPlace, merged, missing
from bench.simulator.functions import ResponseTools, tools_of
from bench.simulator.history import HistoryTruncation, truncation_of
from bench.simulator.wire import GA, Json, RejectedError, WireDialect

TOLERATED_KEYS = ("model",)  # sent by the Mar 2025 quickstart, and a typed field in GA; changes nothing
TYPED_KEYS = ("model", "client_secret")  # typed fields of the SDK: null in what is sent whole
SENT_BACK = (SIMULATOR_MARK,)  # by clients that change the session which they were shown
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
    """How the caller is heard. `transcriber` is the model that writes it down, None: nobody does."""

    format: AudioFormat
    detection: Detection | None
    transcriber: str | None


@dataclass(frozen=True)
class OutputSettings:
    """What one response gives out: text alone or audio with its transcript."""

    audio: bool
    format: AudioFormatName
    voice: Any
    instructions: str
    max_output_tokens: Any
    temperature: Any = None


class EffectiveSession:
    """`shown` is the session object of events; `input` is what it says of hearing."""

    def __init__(self, dialect: WireDialect, session_id: str, model: str, expires_at_s: int) -> None:
        self._dialect, self._ga = dialect, dialect.names is GA
        opened = settings.ga_session if self._ga else settings.preview_session
        self._take(opened(session_id, model, expires_at_s))

    def update(self, wanted: Any, *, has_spoken: bool) -> None:
        """Take a session.update, whole. Raises RejectedError."""
        place = EventPlace("session", self._dialect.strict)
        if self._ga and isinstance(wanted, dict):
            _check_kind(wanted, place)
        updated = merged(self._table, self.shown, wanted, place, ignored=self._ignored(wanted))
        if has_spoken and self._output(updated, {}).voice != self.output({}).voice:
            problem = "Cannot update a conversation's voice if assistant audio is present."
            raise RejectedError("cannot_update_voice", problem)
        self._take(updated)

    @property
    def _table(self) -> CheckTable:
        if not self._ga:
            return settings.PREVIEW_SESSION
        return settings.AZURE_GA_SESSION if self._dialect.deployed else settings.GA_SESSION

    def _ignored(self, wanted: Any) -> Sequence[str]:
        tolerated = TOLERATED_KEYS if self._ga or self._dialect.tolerant else ()
        nulls = [key for key in TYPED_KEYS if isinstance(wanted, dict) and wanted.get(key) is None]
        return [*SENT_BACK, *tolerated, *nulls]

    @property
    def model(self) -> str:
        return str(self.shown["model"])

    def output(self, response: Json) -> OutputSettings:
        """What a response gives out whose response.create asked for `response`."""
        return self._output(self.shown, response)

    def tools(self, response: Json) -> ResponseTools:
        """The functions that such a response may call. Raises RejectedError where it must call one that is unknown."""
        return tools_of(self.shown | response)

    def effort(self, response: Json) -> str:
        """How much such a response reasons, in the words of the wire; nothing where nobody says so."""
        reasoning = response.get("reasoning", self.shown.get("reasoning"))
        return str(reasoning.get("effort")) if reasoning else ""

    @property
    def truncation(self) -> HistoryTruncation:
        return truncation_of(self.shown.get("truncation"))

    def _take(self, shown: Json) -> None:
        self.shown = shown
        self.input = _ga_input(shown) if self._ga else _preview_input(shown)

    def _output(self, shown: Json, response: Json) -> OutputSettings:
        return _ga_output(shown, response) if self._ga else _preview_output(shown, response)


def _check_kind(wanted: Json, place: EventPlace) -> None:
    """Raises RejectedError where a session of GA is told to be of another kind."""
    if wanted.get("type") is None:
        raise missing(place.key("type"))
    if wanted["type"] == "transcription":
        problem = "Passing a transcription session update event to a realtime session is not allowed."
        raise RejectedError("invalid_parameter", problem)


def _preview_input(session: Json) -> InputSettings:
    return _input(session["input_audio_format"], session["turn_detection"], session["input_audio_transcription"])


def _ga_input(session: Json) -> InputSettings:
    heard = session["audio"]["input"]
    return _input(settings.FORMAT_OF[heard["format"]["type"]], heard["turn_detection"], heard["transcription"])


def _input(name: AudioFormatName, detection: Json | None, transcription: Json | None) -> InputSettings:
    transcriber = None if transcription is None else str(transcription.get("model") or FIRST_TRANSCRIBER)
    return InputSettings(FORMATS[name], None if detection is None else Detection(**detection), transcriber)


def _preview_output(session: Json, response: Json) -> OutputSettings:
    chosen = session | response
    return OutputSettings(
        audio="audio" in chosen["modalities"],
        format=chosen["output_audio_format"],
        voice=chosen["voice"],
        instructions=chosen["instructions"],
        max_output_tokens=response.get("max_output_tokens", chosen["max_response_output_tokens"]),
        temperature=chosen["temperature"],
    )


def _ga_output(session: Json, response: Json) -> OutputSettings:
    chosen = session | response
    spoken = session["audio"]["output"] | response.get("audio", {}).get("output", {})
    return OutputSettings(
        audio=chosen["output_modalities"] == ["audio"],
        format=settings.FORMAT_OF[spoken["format"]["type"]],
        voice=spoken["voice"],
        instructions=chosen["instructions"],
        max_output_tokens=chosen["max_output_tokens"],
    )
