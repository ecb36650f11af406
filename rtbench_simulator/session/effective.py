"""The effective session of one client: the session object in events, and the settings of input and
output.

A session form defines the initial session of a service, the settings that a client may change, and
the meaning of these settings. `rtbench_simulator.services` contains the forms.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from bench.base.units import NS_PER_MS
from bench.wire.audio import AudioFormat, AudioFormatName
from bench.wire.dialect import SIMULATOR_VALUE
from rtbench_simulator.server_events import Json, RejectedError
from rtbench_simulator.session.checks import (
    IGNORED,
    EventValue,
    SettingsOf,
    SettingTable,
    settings_of,
)


class NewSession(NamedTuple):
    """A session that begins. `expires_at_s` is in seconds since 1970 UTC."""

    id: str
    model: str
    expires_at_s: int


INSTRUCTIONS = (
    "You are a helpful, witty and friendly voice assistant. Talk quickly, and answer in the"
    " language of the user."
)

FIRST_TRANSCRIBER = "whisper-1"  # the transcription model if a client names none


@dataclass(frozen=True)
class EffectiveTurnDetection:
    """The settings of turn detection, if it is on, with the names of the protocol.

    If a detection type does not have a setting, the setting has its default.
    """

    type: str  # server_vad | semantic_vad
    threshold: float = 0.5
    prefix_padding_ms: float = 300
    silence_duration_ms: float = 200
    idle_timeout_ms: float | None = None
    eagerness: str = "auto"
    create_response: bool = True
    interrupt_response: bool = True


SERVER_VAD = EffectiveTurnDetection("server_vad")


@dataclass(frozen=True)
class InputSettings:
    """The settings of the caller's audio.

    `transcriber`: the model that transcribes the audio; None if it is not transcribed.
    """

    format: AudioFormat
    detection: EffectiveTurnDetection | None = SERVER_VAD
    transcriber: str | None = None
    transcript_delay: str = ""
    """How long the model waits before it sends text: a value of the setting `delay`; empty if it
    is not set."""


@dataclass(frozen=True)
class OutputSettings:
    """The output settings of one response: only text, or audio with its transcript.

    `counts_images`: True if the usage of the response reports the tokens of images.
    """

    audio: bool
    format: AudioFormatName
    voice: Any
    instructions: str
    max_output_tokens: Any
    temperature: Any = None
    counts_images: bool = False


@dataclass(frozen=True)
class SessionForm:
    """The form of a session: the initial session, the settings that clients may change, and their
    meaning.

    `opened`: a function that returns the initial session. `input`, `output`: functions that return
    the settings of an effective session. `family`: the prefix of the session's events. `type`: the
    name of the session type in GA. `response`: the settings of a response.create; None if the
    session has no responses, so that its conversation has only the caller's audio.
    `transcript_deltas`: True if deltas precede the transcript of the caller's audio. `settled`: a
    function that returns the session after an update; its arguments are the merged session and the
    requested settings.
    """

    opened: Callable[[NewSession], Json]
    table: SettingTable
    input: Callable[[Json], InputSettings]
    output: Callable[[Json, Json], OutputSettings]
    response: SettingTable | None = None
    family: str = "session"
    type: str | None = None
    transcript_deltas: bool = True
    settled: Callable[[Json, Json], Json] = lambda merged, requested: merged

    @cached_property
    def settings(self) -> SettingsOf:
        # some clients send the mark back
        return settings_of({SIMULATOR_VALUE: IGNORED, **self.table})

    @cached_property
    def response_settings(self) -> SettingsOf:
        return settings_of(self.response or {})


def transcriber_of(transcription: Mapping[str, Any] | None) -> str | None:
    return None if transcription is None else str(transcription.get("model") or FIRST_TRANSCRIBER)


def flat_session(new: NewSession, detection: Json) -> Json:
    """Return the initial session of a service that has all settings at the top level, as in
    preview.
    """
    return {
        "id": new.id,
        "object": "realtime.session",
        SIMULATOR_VALUE: True,
        "model": new.model,
        "expires_at": new.expires_at_s,
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


def input_settings(
    format: AudioFormat, detection: Json | None, transcription: Json | None
) -> InputSettings:
    """Return the settings of the caller's audio. `detection` and `transcription` are the settings
    of the session.

    Azure's semantic detectors have a silence duration, as `server_vad` has.
    """
    detector = None
    if detection is not None:
        known = {
            key: value
            for key, value in detection.items()
            if key in EffectiveTurnDetection.__dataclass_fields__
        }
        kind = "semantic_vad" if detection["type"] == "semantic_vad" else "server_vad"
        detector = EffectiveTurnDetection(**known | {"type": kind})
    return InputSettings(
        format,
        detector,
        transcriber_of(transcription),
        str((transcription or {}).get("delay") or ""),
    )


def flat_input(session: Json, format: AudioFormat) -> InputSettings:
    """Return the input settings of a session that has all settings at the top level, as in
    preview.
    """
    return input_settings(format, session["turn_detection"], session["input_audio_transcription"])


def flat_output(session: Json, response: Json) -> OutputSettings:
    """Return the output settings of a response, if the session has all settings at the top
    level, as in preview.
    """
    chosen = session | response
    return OutputSettings(
        audio="audio" in chosen["modalities"],
        format=chosen["output_audio_format"],
        voice=chosen["voice"],
        instructions=chosen["instructions"],
        max_output_tokens=response.get("max_output_tokens", chosen["max_response_output_tokens"]),
        temperature=chosen["temperature"],
    )


GA_TYPES = ("realtime", "transcription")


class EffectiveSession:
    """The session of one client.

    `shown`: the session object that events contain. `input`: the input settings of the session.
    """

    def __init__(self, form: SessionForm, new: NewSession) -> None:
        self.form = form
        self.model = new.model
        self._take(form.opened(new))

    def update(self, requested: EventValue, *, has_spoken: bool) -> None:
        """Apply all settings of a session.update. If one is invalid, apply none and raise
        RejectedError.
        """
        data: Any = requested.data
        if self.form.type is not None and isinstance(data, dict):
            kind = data.get("type")
            if kind is None:
                raise requested.missing("type")
            if kind in GA_TYPES and kind != self.form.type:
                raise RejectedError(
                    "invalid_parameter",
                    f"A {self.form.type} session cannot become a {kind} session.",
                )
        settings = self.form.settings
        updated = self.form.settled(settings.merged(self.shown, settings.read(requested)), data)
        if has_spoken and self.form.output(updated, {}).voice != self.output({}).voice:
            raise RejectedError(
                "cannot_update_voice", "The voice cannot change after the assistant has spoken."
            )
        self._take(updated)

    def output(self, response: Json) -> OutputSettings:
        """Return the output settings of one response. `response`: the settings in its
        response.create.
        """
        return self.form.output(self.shown, response)

    def effort(self, response: Json) -> str:
        """Return the reasoning effort of one response, in the words of the protocol; empty if
        none is set.
        """
        chosen = self.shown | response
        reasoning = chosen.get("reasoning") or {}
        return str(reasoning.get("effort") or chosen.get("reasoning_effort", ""))

    # Azure Voice Live sends fillers if `interim_response` is set. Their events are not documented,
    # so these are assumptions: a filler for a late answer is an item before the answer, and a
    # filler for a function call is a separate response.

    def filler_after_ns(self, response: Json) -> int | None:
        """Return the delay, in ns, after which a filler precedes a late answer; None if no such
        filler is set.
        """
        setting = (self.shown | response).get("interim_response") or {"triggers": ()}
        return (
            setting["latency_threshold_ms"] * NS_PER_MS
            if "latency" in setting["triggers"]
            else None
        )

    @property
    def fills_calls(self) -> bool:
        return "tool" in (self.shown.get("interim_response") or {}).get("triggers", ())

    def _take(self, session: Json) -> None:
        self.shown, self.input = session, self.form.input(session)
