"""How the run's scripts were set up, as far as figures contain it; pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import numpy as np

from reports.numbers import NBSP, listed, three
from reports.schemas.document import Record, about
from reports.turns import Turns

BY_SERVICE = ("server_vad", "semantic_vad")
GROWS = ("ttfa", "transcript_*", "response_total", "turn_detection", "voice_to_voice")
"""Measures of VAD turns that count from the end of speech, and so hold its packetisation."""


class Setup(Record, frozen=True):
    """Settings of the run's scripts that figures depend on."""

    jitter_buffers_ms: tuple[float, ...]
    vad_chunks_ms: Annotated[tuple[float, ...], about("audio in a message of a VAD turn; empty where none was begun")]
    detections: Annotated[
        tuple[dict[str, Any], ...], about("what these scripts set of turn detection, in the service's names")
    ]

    @property
    def player(self) -> str:
        """jitter buffer of 60 ms included"""
        if not self.jitter_buffers_ms:
            return "jitter buffer not recorded"
        return f"{_buffers(self.jitter_buffers_ms)} included"

    @property
    def packetisation(self) -> str:
        """Why VAD turns wait longer the larger their chunks are; empty without VAD turns."""
        if not self.vad_chunks_ms:
            return ""
        return (
            "The service hears the end of speech only with the chunk that holds it and with the silence after it. "
            f"So of VAD turns, {self.chunks}: {listed(list(GROWS))}. Compare only runs of one chunk size."
        )

    @property
    def chunks(self) -> str:
        """The same in short."""
        if not self.vad_chunks_ms:
            return ""
        return f"{self.contained_chunk} packetisation"

    @property
    def contained_chunk(self) -> str:
        """What `chunks` says before its last word, which has a definition."""
        return f"measures from the end of speech contain up to one chunk ({_ms(self.vad_chunks_ms)}) of"

    @property
    def contained(self) -> str:
        """What of the segments of voice_to_voice is a setting, in sentences."""
        noticed = [f"“noticed” contains {part}" for part in _waited_for(self.detections)]
        buffered = _buffers(self.jitter_buffers_ms) if self.jitter_buffers_ms else "simulated player’s jitter buffer"
        audible = f"“first audible” contains the {buffered} and the reply’s own opening silence"
        return " ".join(f"{said}." for said in (*noticed, audible))


def setup_of(document: dict[str, Any], turns: Turns) -> Setup:
    """From the document's scripts; those of older runs say less."""
    scripts = [script for script in document.get("scripts") or [] if isinstance(script, dict)]
    begun = _spoken_scripts(turns)
    vad = [s for s in scripts if s.get("turn_detection") in BY_SERVICE and str(s.get("name")) in begun]
    found = [script["detection"] for script in vad if isinstance(script.get("detection"), dict)]
    detections = tuple(one for place, one in enumerate(found) if one not in found[:place])
    return Setup(_values(scripts, "jitter_buffer_ms"), _values(vad, "chunk_ms"), detections)


def _spoken_scripts(turns: Turns) -> set[str]:
    """The scripts of which a measured turn began to speak, at a microphone's pace."""
    spoken = ~np.isnan(turns.instant("speech_begin")) | ~np.isnan(turns.instant("speech_end"))
    return {str(name) for name in turns.frame["script"].iloc[turns.rows[spoken]].unique()}


def _values(settings: Iterable[dict[str, Any]], key: str) -> tuple[float, ...]:
    found = (setting.get(key) for setting in settings)
    return tuple(sorted({float(value) for value in found if isinstance(value, int | float)}))


def _waited_for(detections: tuple[dict[str, Any], ...]) -> Iterable[str]:
    """What the service waits for before it takes a turn as ended."""
    silent = [one for one in detections if one.get("type") == "server_vad"]
    silences_ms = _values(silent, "silence_duration_ms")
    if silences_ms:
        yield f"the {_ms(silences_ms)} of silence_duration_ms that {_who(len(silences_ms))}"
    if any(one.get("silence_duration_ms") is None for one in silent):
        yield (
            "the service’s own silence_duration_ms, which no script sets"
            if not silences_ms
            else ("the service’s own silence_duration_ms where a script sets none")
        )
    eager = dict.fromkeys(str(one.get("eagerness")) for one in detections if one.get("type") == "semantic_vad")
    for eagerness in eager:
        set_ = "the service’s own eagerness" if eagerness == "None" else f"the eagerness {eagerness} that a script sets"
        yield f"what semantic_vad waits for, by {set_}"


def _who(values: int) -> str:
    return "the script sets" if values == 1 else "scripts set"


def _buffers(values_ms: tuple[float, ...]) -> str:
    return f"jitter buffer{'s' if len(values_ms) > 1 else ''} of {_ms(values_ms)}"


def _ms(values: tuple[float, ...]) -> str:
    return f"{listed([three(value) for value in values])}{NBSP}ms"
