"""The audio before the answer of a call: a ring tone, or silence. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np

from bench.simulator.services.agents import FRAME_MS, FULL_SCALE
from bench.wire.audio import AudioFormat

TONE_HZ, ON_MS, PERIOD_MS = 425, 1_000, 5_000
"""The ring tone of most countries of Europe (ETSI TR 101 041-2): 1 s on, 4 s off."""
AMPLITUDE = 0.1 * FULL_SCALE


def ring_frames(audio: AudioFormat) -> Iterator[bytes]:
    """Yield the frames of a ring tone without end."""
    while True:
        yield from _period(audio)


def silent_frames(audio: AudioFormat) -> Iterator[bytes]:
    """Yield frames of silence without end."""
    silent = audio.encode(np.zeros(audio.rate_hz * FRAME_MS // 1000, np.int16))
    while True:
        yield silent


@cache
def _period(audio: AudioFormat) -> tuple[bytes, ...]:
    at_s = np.arange(audio.rate_hz * PERIOD_MS // 1000) / audio.rate_hz
    tone = AMPLITUDE * np.sin(2 * np.pi * TONE_HZ * at_s) * (at_s < ON_MS / 1000)
    size = audio.rate_hz * FRAME_MS // 1000
    return tuple(audio.encode(frame) for frame in tone.astype(np.int16).reshape(-1, size))
