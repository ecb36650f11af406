"""The removal of an echo: the voice of one channel that is also audible in the other channel. Pure.

A telephone's loudspeaker is near its microphone, so the caller's channel may contain the agent's voice. The impulse
response of the echo's path is estimated from the spectra of both channels, averaged over the whole call (Wiener
filter). It is convolved with the far channel, which gives the expected echo, and the expected echo is subtracted. A
block in which less remains than was expected is no sound of the near channel. A piece of the channel's background
replaces it, because silence would look like a change of the background.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d
from scipy.signal import oaconvolve

from bench.observe.blocks import BLOCK_MS
from bench.plan.recordings import SampleSequence
from bench.wire.audio import Samples

WINDOW_S = 2.048
PART_S = 20
"""The duration of the parts in which a call is processed."""
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


def echo_paths(near: SampleSequence, far: SampleSequence, rate_hz: int) -> tuple[EchoPath | None, EchoPath | None]:
    """Return (path to near, path to far), None if inaudible. Two echoes of each other count as one."""
    size = round(WINDOW_S * rate_hz)
    taper = np.hanning(size)
    cross = np.zeros(size // 2 + 1, np.complex128)
    near_power, far_power = np.zeros(size // 2 + 1), np.zeros(size // 2 + 1)
    for start in range(0, len(far) - size + 1, size // 2):
        far_spectrum = np.fft.rfft(far[start : start + size] * taper)
        near_spectrum = np.fft.rfft(near[start : start + size] * taper)
        cross += near_spectrum * far_spectrum.conj()
        near_power += np.abs(near_spectrum) ** 2
        far_power += np.abs(far_spectrum) ** 2
    to_near = _echo_path(near, far, rate_hz, cross, far_power)
    to_far = _echo_path(far, near, rate_hz, cross.conj(), near_power)
    if to_near is not None and to_far is not None:
        return (to_near, None) if to_near.level_db >= to_far.level_db else (None, to_far)
    return to_near, to_far


def _echo_path(
    near: SampleSequence, far: SampleSequence, rate_hz: int, cross: NDArray[np.complex128], power: NDArray[np.float64]
) -> EchoPath | None:
    """Return the path by which the far channel is audible in the near channel; None if it is not audible.

    `cross` is the sum of the cross-spectra of both channels. `power` is the sum of the far channel's power spectra.
    """
    if not power.any():
        return None
    response = np.fft.irfft(cross / (power + power.mean() * 1e-3), round(WINDOW_S * rate_hz))
    response = response[: round(MAX_DELAY_S * rate_hz)]
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
    return path if is_audible and _explains(_energies(near, far, rate_hz, path)) else None


class _Energies(NamedTuple):
    """The mean energies of the blocks of the near channel, of the expected echo, and of the channel without it."""

    near: NDArray[np.float64]
    expected: NDArray[np.float64]
    cleaned: NDArray[np.float64]


def _energies(near: SampleSequence, far: SampleSequence, rate_hz: int, path: EchoPath) -> _Energies:
    size = rate_hz * BLOCK_MS // 1_000
    parts = list[_Energies]()
    for start in range(0, len(near) - size + 1, PART_S * rate_hz):
        stop = min(start + PART_S * rate_hz, len(near) // size * size)
        samples, expected = near[start:stop].astype(np.float64), _expected(far, path, start, stop)
        signals = (samples, expected, samples - expected)
        parts.append(_Energies(*((signal.reshape(-1, size) ** 2).mean(axis=1) for signal in signals)))
    return _Energies(*map(np.concatenate, zip(*parts, strict=True)))


def _explains(energies: _Energies) -> bool:
    """Return whether the near channel becomes quieter without the expected echo, when this echo is loud."""
    expected = energies.expected
    if not expected.any():  # the echo of the last sound would be after the end
        return False
    loud = expected > np.quantile(expected[expected > 0], LOUD_QUANTILE)
    return bool(np.median(energies.cleaned[loud] - EXPLAINED * energies.near[loud]) < 0)


def _expected(far: SampleSequence, path: EchoPath, start: int, stop: int) -> NDArray[np.float64]:
    needed = stop - start + len(path.response) - 1
    source = far[max(0, stop - path.delay - needed) : max(0, stop - path.delay)].astype(np.float64)
    expected: NDArray[np.float64] = oaconvolve(np.pad(source, (needed - len(source), 0)), path.response, mode="valid")
    return expected


def without_echo(near: SampleSequence, far: SampleSequence, rate_hz: int, path: EchoPath) -> Iterator[Samples]:
    """Yield the near channel without the echo of the far channel, in parts."""

    def cleaned(start: int, stop: int) -> Samples:
        samples = near[start:stop] - _expected(far, path, start, stop)
        return np.clip(np.rint(samples), -32_768, 32_767).astype(np.int16)

    energies, size = _energies(near, far, rate_hz, path), rate_hz * BLOCK_MS // 1_000
    expected = maximum_filter1d(energies.expected, 2 * AROUND_BLOCKS + 1, mode="constant")  # the largest energy around
    is_echo = energies.cleaned < REMAINS * expected
    quietest = _quietest(energies.cleaned, expected <= INAUDIBLE * energies.cleaned)
    background = np.zeros(QUIET_BLOCKS * size, np.int16)
    if quietest is not None:
        background = cleaned(quietest * size, (quietest + QUIET_BLOCKS) * size)
    for start in range(0, len(near), PART_S * rate_hz):
        part = cleaned(start, min(start + PART_S * rate_hz, len(near)))
        first = start // size
        for block in np.flatnonzero(is_echo[first : first + len(part) // size]):
            position = (first + block) % QUIET_BLOCKS * size
            part[block * size : (block + 1) * size] = background[position : position + size]
        yield part


def _quietest(energies: NDArray[np.float64], usable: NDArray[np.bool_]) -> int | None:
    """Return the first block of the quietest `QUIET_BLOCKS` in which no echo is expected; None if there are none."""
    starts = range(0, len(usable) - QUIET_BLOCKS, QUIET_BLOCKS // 2)
    quiet = (start for start in starts if usable[start : start + QUIET_BLOCKS].all())
    return min(quiet, key=lambda start: float(energies[start : start + QUIET_BLOCKS].sum()), default=None)
