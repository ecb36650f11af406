"""Lists the services that the simulator stands in for, by the forms of their sessions.

Here are those that speak the Realtime API with small differences; the others have a module beside this one.

Only what a client must do otherwise is simulated: where settings stand, what they are called, at which rates audio is
heard. What is known of each is in `bench.protocol.openai_like`, and docs/targets.md says how it was tried.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from bench.protocol.audio import PCM16, PCM16_8K, PCM16_16K, PCM16_48K, AudioFormat
from bench.simulator.session import voice_live_form
from bench.simulator.session.check_tables import FUNCTION, PREVIEW_RESPONSE, PREVIEW_SESSION, modalities, turn_detection
from bench.simulator.session.checks import (
    CheckTable,
    EventPlace,
    Nullable,
    anything,
    array,
    by_type,
    choice,
    flag,
    free_object,
    one_of_whole,
    shape,
    text,
)
from bench.simulator.session.effective import SessionForm, flat_input, flat_output
from bench.simulator.session.openai_forms import ga_form, openai_form, preview_session
from bench.simulator.wire import GLM, INWORLD, QWEN, STEPFUN, VOICE_LIVE, XAI, Json, WireDialect

PCM = {format.rate_hz: format for format in (PCM16_8K, PCM16_16K, PCM16, PCM16_48K)}
IN_SHELL = shape({"type": choice("function"), "function": anything}, "function")
TRANSCRIBER = Nullable(shape({"model": text}))


def _unshelled(value: Any, place: EventPlace) -> Json:
    """A function that stands in `function`, as it is kept."""
    shell = IN_SHELL(value, place)
    return {"type": "function", **FUNCTION(shell["function"], place.key("function"))}


SHELLED = array(_unshelled)


def like_preview(
    opened: Json,
    keys: CheckTable,
    heard: Callable[[Json], AudioFormat],
    spoken: Callable[[Json], AudioFormat] = lambda session: PCM16,
) -> SessionForm:
    """The preview's form with other settings: as a service opens them, how they are checked, what formats they mean."""
    return SessionForm(
        lambda session_id, model, expires_at_s: preview_session(session_id, model, expires_at_s) | opened,
        {**PREVIEW_SESSION, **keys},
        lambda session: flat_input(session, heard(session)),
        lambda session, response: replace(flat_output(session, response), format=spoken(session).name),
        {**PREVIEW_RESPONSE, **{key: keys[key] for key in ("voice", "tools") if key in keys}},
        ignored=("model",),
    )


# Qwen-Omni: `pcm`, at a rate beside it

QWEN_FORMAT: CheckTable = {"format": {"type": choice("pcm"), "sample_rate": one_of_whole(PCM)}}
QWEN_FORM = like_preview(
    {
        "voice": "Cherry",
        "input_audio_format": "pcm",
        "output_audio_format": "pcm",
        "audio": {
            "input": {"format": {"type": "pcm", "sample_rate": 16_000}},
            "output": {"format": {"type": "pcm", "sample_rate": 24_000}},
        },
    },
    {
        "tools": SHELLED,
        "voice": text,
        "input_audio_format": choice("pcm", "pcm16"),
        "output_audio_format": choice("pcm", "pcm16", "pcm24"),
        "audio": {"input": QWEN_FORMAT, "output": QWEN_FORMAT},
        "input_audio_transcription": TRANSCRIBER,
        "smooth_output": Nullable(flag),
        "enable_search": flag,
    },
    lambda session: PCM[session["audio"]["input"]["format"]["sample_rate"]],
    lambda session: PCM[session["audio"]["output"]["format"]["sample_rate"]],
)


# GLM-Realtime: formats with their rate in their name, and turns that the client ends by default

GLM_FORMATS = {"pcm": PCM16_16K, "pcm16": PCM16_16K, "pcm24": PCM16}


def _glm_detection(value: Any, place: EventPlace) -> Any:
    by_client = isinstance(value, dict) and value.get("type") == "client_vad"
    return None if by_client else turn_detection(ga=False)(value, place)


GLM_FORM = like_preview(
    {"voice": "tongtong", "input_audio_format": "pcm16", "output_audio_format": "pcm", "turn_detection": None},
    {
        "voice": text,
        "input_audio_format": choice(*GLM_FORMATS),
        "output_audio_format": choice("pcm"),
        "turn_detection": Nullable(_glm_detection),
        "input_audio_transcription": TRANSCRIBER,
        "beta_fields": free_object,
    },
    lambda session: GLM_FORMATS[session["input_audio_format"]],
)


# StepFun: 24 kHz, always aloud

STEPFUN_FORM = like_preview(
    {"turn_detection": None},
    {
        "tools": SHELLED,
        "voice": text,
        "modalities": modalities(["audio", "text"], ["text", "audio"]),
        "input_audio_format": choice("pcm16"),
        "output_audio_format": choice("pcm16"),
        "turn_detection": Nullable(by_type({"server_vad": turn_detection(ga=False)})),
    },
    lambda session: PCM16,
)


# xAI: voice and turn detection at the top


def xai_form(ga: SessionForm) -> SessionForm:
    """GA's form with the two settings where xAI has them; where GA has them they are unknown."""
    assert ga.output is not None
    spoken = ga.output
    audio: Any = ga.table["audio"]
    inside = {
        side: {key: check for key, check in audio[side].items() if key not in ("turn_detection", "voice")}
        for side in ("input", "output")
    }
    return replace(
        ga,
        opened=lambda session_id, model, expires_at_s: _risen(ga.opened(session_id, model, expires_at_s)),
        table={**ga.table, "audio": inside, "turn_detection": audio["input"]["turn_detection"], "voice": text},
        input=lambda session: ga.input(_sunk(session)),
        output=lambda session, response: spoken(_sunk(session), response),
    )


def _risen(session: Json) -> Json:
    heard, said = dict(session["audio"]["input"]), dict(session["audio"]["output"])
    top = {"turn_detection": heard.pop("turn_detection"), "voice": said.pop("voice")}
    return session | {"audio": {"input": heard, "output": said}} | top


def _sunk(session: Json) -> Json:
    heard = session["audio"]["input"] | {"turn_detection": session["turn_detection"]}
    return session | {"audio": {"input": heard, "output": session["audio"]["output"] | {"voice": session["voice"]}}}


# Inworld: a model of its own for each stage, and audio with its text


def inworld_form(ga: SessionForm) -> SessionForm:
    """GA's form, in which voices are anything, and a reply is audio with its text."""
    audio: Any = ga.table["audio"]
    said = {**audio["output"], "voice": text, "model": text}
    both = modalities(["audio", "text"], ["text", "audio"], ["text"])
    return replace(
        ga,
        opened=lambda session_id, model, expires_at_s: (
            ga.opened(session_id, model, expires_at_s) | {"output_modalities": ["audio", "text"]}
        ),
        table={**ga.table, "audio": {**audio, "output": said}, "output_modalities": both, "providerData": free_object},
        response={**(ga.response or {}), "output_modalities": both},
    )


# All of them

FORMS: Mapping[str, Callable[[WireDialect], SessionForm]] = {
    VOICE_LIVE.name: lambda dialect: voice_live_form.FORM,
    QWEN.name: lambda dialect: QWEN_FORM,
    GLM.name: lambda dialect: GLM_FORM,
    STEPFUN.name: lambda dialect: STEPFUN_FORM,
    XAI.name: lambda dialect: xai_form(ga_form(dialect)),
    INWORLD.name: lambda dialect: inworld_form(ga_form(dialect)),
}
"""The forms of sessions of a service by the name of its dialect, of all but OpenAI and Azure OpenAI."""


@cache
def form_of(dialect: WireDialect) -> SessionForm:
    """The form of session that a client of this dialect gets."""
    return FORMS.get(dialect.name, openai_form)(dialect)
