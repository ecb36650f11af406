"""What to read before the figures: how the run was set up, what is missing, what nobody asked for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from reports.numbers import NBSP, listed, three
from reports.runs import Run
from reports.turns import Turns

BY_SERVICE = ("server_vad", "semantic_vad")
GROWS = ("turn_detection", "voice_to_voice")
"""Measures that hold the packetisation of VAD turns."""


@dataclass(frozen=True)
class Setup:
    """Settings of the run's scripts that figures depend on; empty where the document does not say."""

    jitter_buffers_ms: tuple[float, ...]
    """how long the simulated player waits before it starts"""
    vad_chunks_ms: tuple[float, ...]
    """how much audio a message of a VAD turn carries"""

    @property
    def player(self) -> str:
        """jitter buffer 60 ms included"""
        if not self.jitter_buffers_ms:
            return "jitter buffer not recorded"
        return (
            f"jitter buffer{'s' if len(self.jitter_buffers_ms) > 1 else ''} of {_ms(self.jitter_buffers_ms)} included"
        )

    @property
    def packetisation(self) -> str:
        """Why VAD turns wait longer the larger their chunks are; empty without VAD turns."""
        if not self.vad_chunks_ms:
            return ""
        return (
            "The service hears the end of speech only with the chunk that holds it and with the silence after it: "
            f"{listed(list(GROWS))} contain up to one chunk ({_ms(self.vad_chunks_ms)}) of packetisation. "
            "Compare only runs of one chunk size."
        )

    @property
    def chunks(self) -> str:
        """The same in short."""
        if not self.vad_chunks_ms:
            return ""
        return f"{listed(list(GROWS))} contain up to one chunk ({_ms(self.vad_chunks_ms)}) of packetisation"


def setup_of(document: dict[str, Any]) -> Setup:
    """From the document's scripts; those of older runs say less."""
    scripts = [script for script in document.get("scripts") or [] if isinstance(script, dict)]
    spoken = [script for script in scripts if script.get("turn_detection") in BY_SERVICE]
    return Setup(_values(scripts, "jitter_buffer_ms"), _values(spoken, "chunk_ms"))


def _values(scripts: list[dict[str, Any]], key: str) -> tuple[float, ...]:
    found = {script.get(key) for script in scripts}
    return tuple(sorted(float(value) for value in found if isinstance(value, int | float)))


def _ms(values: tuple[float, ...]) -> str:
    return f"{listed([three(value) for value in values])}{NBSP}ms"


def notices(run: Run, turns: Turns, sessions: pd.DataFrame) -> Iterable[str]:
    """Sentences, those of the document first."""
    yield from (str(notice) for notice in run.document.get("notices") or [])
    yield from _missing(run, run.document.get("totals") or {})
    if run.document.get("state") == "running" and not run.closed:
        yield "This run is under way: its figures are of what has been written by now."
    elif not run.closed or run.document.get("state") == "killed":
        yield "This run did not end cleanly: its figures are of what had been written by then."
    left_out = len(run.turns) - turns.rows.size
    if left_out:
        yield f"{left_out:,} turns of warm-up and cool-down are left out."
    stray = int(np.nansum(sessions["stray_commits"].to_numpy(dtype=np.float64)))
    if stray:
        made = "1 commit was" if stray == 1 else f"{stray:,} commits were"
        yield f"{made} made by no turn of the script: noise, or the idle timeout."


def _missing(run: Run, totals: dict[str, Any]) -> Iterable[str]:
    begun = totals.get("turns_begun")
    if isinstance(begun, int) and begun > len(run.turns):
        yield f"{begun:,} turns were begun and {len(run.turns):,} rows were written: how the others ended is unknown."
    fallbacks = totals.get("stamp_fallbacks")
    if fallbacks:
        yield f"{fallbacks:,} events had no usable kernel stamp and were stamped by this process."
