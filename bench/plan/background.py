"""Noise behind speech, at a stated signal-to-noise ratio.

The ratio is that of RMS values: of the speech alone, from its first sample to its last, and of the whole noise. Where
the noise is shorter than what it stands behind, it begins again. Pure: audio in, audio out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bench.plan.audio import FULL_SCALE, RATE_HZ, Pcm, to_pcm16


@dataclass(frozen=True)
class Background:
    """Noise, and how many dB the speech stands above it."""

    noise: Pcm
    snr_db: float


def mixed(pcm: Pcm, background: Background) -> Pcm:
    """Speech with noise behind all of it, clipped. `speech` stays what was found without noise."""
    noise = _noise(pcm, background, 0, pcm.samples)
    return replace(pcm, data=to_pcm16(_floats(pcm) + noise).tobytes())


def noise_alone(pcm: Pcm, background: Background, seconds: float) -> bytes:
    """The noise that goes on after `mixed(pcm, background)` has ended, as PCM16 at 24 kHz.

    `pcm` is the audio without noise: its speech sets the level.
    """
    return to_pcm16(_noise(pcm, background, pcm.samples, round(seconds * RATE_HZ))).tobytes()


def _noise(pcm: Pcm, background: Background, begin: int, count: int) -> NDArray[np.float32]:
    """`count` samples of the looped noise from number `begin` on, at the level that the speech of `pcm` asks for."""
    speech = _floats(pcm)[pcm.speech.begin : pcm.speech.end]
    noise = _floats(background.noise)
    gain = _rms(speech) / _rms(noise) / 10 ** (background.snr_db / 20)
    looped = np.take(noise, np.arange(begin, begin + count), mode="wrap")
    return np.asarray(looped * gain, np.float32)


def _floats(pcm: Pcm) -> NDArray[np.float32]:
    return np.asarray(np.frombuffer(pcm.data, "<i2") / FULL_SCALE, np.float32)


def _rms(samples: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean(samples.astype(np.float64) ** 2)))
