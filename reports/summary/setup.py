"""How the run's scripts were set up, as far as figures contain it; pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import numpy as np

from reports.schemas.document import Record, about
from reports.turns import Turns

BY_SERVICE = ("server_vad", "semantic_vad")


class Setup(Record, frozen=True):
    """Settings of the run's scripts that figures depend on."""

    jitter_buffers_ms: tuple[float, ...]
    vad_chunks_ms: Annotated[tuple[float, ...], about("audio in a message of a VAD turn; empty where none was begun")]
    detections: Annotated[
        tuple[dict[str, Any], ...], about("what these scripts set of turn detection, in the service's names")
    ]


def setup_of(document: dict[str, Any], turns: Turns) -> Setup:
    """From the document's scripts; those of older runs say less."""
    scripts = [script for script in document.get("scripts") or [] if isinstance(script, dict)]
    begun = _spoken_scripts(turns)
    vad = [s for s in scripts if s.get("turn_detection") in BY_SERVICE and str(s.get("name")) in begun]
    found = [script["detection"] for script in vad if isinstance(script.get("detection"), dict)]
    detections = tuple(one for place, one in enumerate(found) if one not in found[:place])
    return Setup(found_values(scripts, "jitter_buffer_ms"), found_values(vad, "chunk_ms"), detections)


def _spoken_scripts(turns: Turns) -> set[str]:
    """The scripts of which a measured turn began to speak, at a microphone's pace."""
    spoken = ~np.isnan(turns.instant("speech_begin")) | ~np.isnan(turns.instant("speech_end"))
    return {str(name) for name in turns.frame["script"].iloc[turns.rows[spoken]].unique()}


def found_values(settings: Iterable[dict[str, Any]], key: str) -> tuple[float, ...]:
    found = (setting.get(key) for setting in settings)
    return tuple(sorted({float(value) for value in found if isinstance(value, int | float)}))
