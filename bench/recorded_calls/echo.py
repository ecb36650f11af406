"""The removal of an echo: the voice of one channel that is also audible in the other channel. Pure.

A telephone's loudspeaker is near its microphone, so the caller's channel may contain the agent's voice. The impulse
response of the echo's path is estimated from the spectra of both channels, averaged over the whole call (Wiener
filter). It is convolved with the far channel, which gives the expected echo, and the expected echo is subtracted. A
block in which less remains than was expected is no sound of the near channel. A piece of the channel's background
replaces it, because silence would look like a change of the background.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.signal import oaconvolve

from bench.observe.onsets import BLOCK_MS
from bench.protocol.audio import Samples

WINDOW_S = 2.048
MAX_DELAY_S = 0.6
"""The maximum delay of an echo. The recording of a telephony provider has the round trip to the telephone."""
REACH_S = 0.064
"""The duration of the impulse response before and after its largest value."""
SIGNIFICANT = 25.0
"""The minimum ratio of the largest value of an impulse response to its median magnitude.

In 80 constructed calls without an echo the ratio was at most 23. With an echo of −30 dB in noise it was at least 32.
"""
MIN_LEVEL_DB = -50.0
"""The minimum level of an echo that is removed. A quieter echo is not audible."""
LOUD_QUANTILE = 0.7
EXPLAINED = 0.95
"""The maximum share of a block's energy that remains without the echo, in half of the blocks with a loud echo."""
AROUND_BLOCKS = 6
"""The number of blocks before and after a block whose expected echo also counts. Rooms and codecs widen an echo."""
REMAINS = 0.5
"""The minimum ratio of the energy that remains to the energy of the expected echo, if the block is a sound."""
INAUDIBLE = 0.1
"""The maximum ratio of the energy of the expected echo to the energy of the channel, if the echo is inaudible."""
QUIET_BLOCKS = 40
"""The number of blocks of the background that replaces an echo."""


class EchoPath(NamedTuple):
    """The path of an echo. `response` is its impulse response, which starts `delay` samples after the sound."""

    response: NDArray[np.float64]
    delay: int

    @property
    def level_db(self) -> float:
        """The level of the echo, relative to the far channel."""
        return float(10 * np.log10((self.response**2).sum()))


def echo_path(near: Samples, far: Samples, rate_hz: int) -> EchoPath | None:
    """Return the path by which the far channel is audible in the near channel; None if it is not audible."""
    size = round(WINDOW_S * rate_hz)
    taper = np.hanning(size)
    cross, power = np.zeros(size // 2 + 1, np.complex128), np.zeros(size // 2 + 1)
    for start in range(0, len(far) - size + 1, size // 2):
        far_spectrum = np.fft.rfft(far[start : start + size] * taper)
        near_spectrum = np.fft.rfft(near[start : start + size] * taper)
        cross += near_spectrum * far_spectrum.conj()
        power += np.abs(far_spectrum) ** 2
    if not power.any():
        return None
    response = np.fft.irfft(cross / (power + power.mean() * 1e-3), size)[: round(MAX_DELAY_S * rate_hz)]
    magnitudes = np.abs(response)
    peak = int(magnitudes.argmax())
    if magnitudes[peak] <= SIGNIFICANT * np.median(magnitudes):
        return None
    reach = round(REACH_S * rate_hz)
    first = max(0, peak - reach)
    kept = response[first : peak + reach].copy()
    kept[np.abs(kept) < 4 * np.median(magnitudes)] = 0.0
    path = EchoPath(kept, first)
    is_audible = path.level_db >= MIN_LEVEL_DB
    return path if is_audible and _explains(near, _expected(near, far, path), rate_hz) else None


def _explains(near: Samples, expected: NDArray[np.float64], rate_hz: int) -> bool:
    """Return whether the near channel becomes quieter without the expected echo, when this echo is loud."""
    size = rate_hz * BLOCK_MS // 1_000
    count = len(near) // size
    energies, left = _energies(near.astype(np.float64), size, count), _energies(near - expected, size, count)
    echo_energies = _energies(expected, size, count)
    if not echo_energies.any():  # the echo of the last sound would be after the end
        return False
    loud = echo_energies > np.quantile(echo_energies[echo_energies > 0], LOUD_QUANTILE)
    return bool(np.median(left[loud] - EXPLAINED * energies[loud]) < 0)


def _expected(near: Samples, far: Samples, path: EchoPath) -> NDArray[np.float64]:
    expected = np.zeros(len(near))
    echo = oaconvolve(far.astype(np.float64), path.response)[: max(0, len(near) - path.delay)]
    expected[path.delay : path.delay + len(echo)] = echo
    return expected


def without_echo(near: Samples, far: Samples, rate_hz: int, path: EchoPath) -> Samples:
    """Return the near channel without the echo of the far channel."""
    expected, size = _expected(near, far, path), rate_hz * BLOCK_MS // 1_000
    count = len(near) // size
    cleaned = near - expected
    expected_energies = _widest(_energies(expected, size, count))
    is_echo = _energies(cleaned, size, count) < REMAINS * expected_energies
    background = _quietest(cleaned, size, expected_energies <= INAUDIBLE * _energies(cleaned, size, count))
    result = _pcm16(cleaned)
    for block in np.flatnonzero(is_echo):
        position = block % QUIET_BLOCKS * size
        result[block * size : (block + 1) * size] = background[position : position + size]
    return result


def _energies(samples: NDArray[np.float64], size: int, count: int) -> NDArray[np.float64]:
    energies: NDArray[np.float64] = (samples[: count * size].reshape(count, size) ** 2).mean(axis=1)
    return energies


def _widest(energies: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the largest energy around each block."""
    padded = np.pad(energies, AROUND_BLOCKS)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * AROUND_BLOCKS + 1)
    widest: NDArray[np.float64] = windows.max(axis=1)
    return widest


def _quietest(samples: NDArray[np.float64], size: int, usable: NDArray[np.bool_]) -> Samples:
    """Return the quietest piece of `QUIET_BLOCKS` blocks in which no echo is expected; silence if there is none."""
    length = QUIET_BLOCKS * size
    starts = [
        start * size
        for start in range(0, len(usable) - QUIET_BLOCKS, QUIET_BLOCKS // 2)
        if usable[start : start + QUIET_BLOCKS].all()
    ]
    if not starts:
        return np.zeros(length, np.int16)
    quietest = min(starts, key=lambda start: float((samples[start : start + length] ** 2).sum()))
    return _pcm16(samples[quietest : quietest + length])


def _pcm16(samples: NDArray[np.float64]) -> Samples:
    return np.clip(np.rint(samples), -32_768, 32_767).astype(np.int16)
