"""What is to be known beside a run's figures, in numbers; incidents in the words of whoever met them.

And how the run's scripts were set up, as far as figures contain it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import pandas as pd

from bench.units import NS_PER_S
from reports.records import Count, Record, about
from reports.runs import RunFrames
from reports.summary.arms import transcription_model
from reports.turns import Turns

FILLER = "filler"
"""The trait of turns whose caller may hear a filler first."""


@dataclass(frozen=True)
class Noticed:
    """What a run's rows tell beside its figures."""

    turns: int
    left_out: int
    """those of them that are of the warm-up, where others are not"""
    filled: int
    """measured turns whose caller may have heard a filler first"""
    stray_commits: int
    """that no turn of the script made"""
    models: tuple[tuple[str, str], ...]
    """(target, model) of whatever answered, and of what transcribed the caller's words"""


def noticed(run: RunFrames, turns: Turns, sessions: pd.DataFrame) -> Noticed:
    """`sessions`: the measured ones."""
    models: list[tuple[str, str]] = []
    named = sessions[["target", "model", "effective_settings"]].drop_duplicates().astype(object)
    for target, model, settings in named.where(named.notna(), "").itertuples(index=False, name=None):
        models.append((str(target), str(model)))
        models.append((str(target), transcription_model(settings)))
    return Noticed(
        turns=len(run.turns),
        left_out=len(run.turns) - turns.rows.size if turns.rows.size else 0,
        filled=int(turns.frame["traits"].iloc[turns.rows].astype("string").str.contains(FILLER).sum()),
        stray_commits=int(np.nansum(sessions["stray_commits"].to_numpy(dtype=np.float64))),
        models=tuple(dict.fromkeys(models)),
    )


class Incident(Record, frozen=True):
    """What happened beside the measuring, in the words of whoever met it; `at_s` after the run began."""

    at_s: float
    worker: Count
    kind: str
    text: str


@dataclass(frozen=True)
class Incidents:
    """Those whose words were kept, in the order in which they happened, and how many there were of each kind."""

    kept: tuple[Incident, ...]
    counts: Mapping[str, int]

    @property
    def total(self) -> int:
        return sum(self.counts.values())


def incidents_of(document: Mapping[str, Any], began_utc_ns: int) -> Incidents:
    """A worker keeps the words of its first hundred, and counts them all; what is no incident is passed over."""
    read: list[Incident] = []
    for entry in document.get("incidents") or []:
        if isinstance(entry, dict):
            at_s = (int(entry.get("at_utc_ns") or began_utc_ns) - began_utc_ns) / NS_PER_S
            read.append(
                Incident(
                    at_s, int(entry.get("worker") or 0), str(entry.get("kind") or ""), str(entry.get("text") or "")
                )
            )
    kept = tuple(sorted(read, key=lambda one: one.at_s))
    told = (document.get("totals") or {}).get("incident_counts") or {}
    counted = Counter(one.kind for one in kept) | Counter({str(kind): int(n) for kind, n in told.items()})
    return Incidents(kept, dict(counted))


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
    # speech of a measured turn that began, at a microphone's pace
    spoken = ~np.isnan(turns.instant("speech_begin")) | ~np.isnan(turns.instant("speech_end"))
    begun = {str(name) for name in turns.frame["script"].iloc[turns.rows[spoken]].unique()}
    vad = [s for s in scripts if s.get("turn_detection") in BY_SERVICE and str(s.get("name")) in begun]
    found = [script["detection"] for script in vad if isinstance(script.get("detection"), dict)]
    detections = tuple(one for place, one in enumerate(found) if one not in found[:place])
    return Setup(found_values(scripts, "jitter_buffer_ms"), found_values(vad, "chunk_ms"), detections)


def found_values(settings: Iterable[dict[str, Any]], key: str) -> tuple[float, ...]:
    found = (setting.get(key) for setting in settings)
    return tuple(sorted({float(value) for value in found if isinstance(value, int | float)}))
