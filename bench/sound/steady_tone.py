"""A tone that goes on in an item whose sound is searched. Pure.

Whether a known tone goes on costs a twentieth of the search for a sound in it.
"""

# A sample of a tone follows from its frequencies. In a window of 8 ms, any sum of the tone's sines
# is a sum of few functions: sine and cosine of each line, and both of them times the time. The
# latter are for lines that are so near to each other that a spectrum shows one, and for the error
# of the spectrum. What is left of a window without its part in these functions is noise, or
# another sound. A voice lasts longer than the time between two windows.

from collections.abc import Sequence
from functools import lru_cache
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bench.base.units import NS_PER_S
from bench.sound.tones import MIN_SHARE, RATE_HZ, lines_hz
from bench.wire.audio import Samples

POINTS = RATE_HZ * 8 // 1_000
"""The number of samples in a window, at 8 kHz."""
WINDOWS_HZ = 20
"""The number of windows in a second."""
KNOWN_MS = 80
"""The duration of the audio at both ends of which the lines are found."""
LEVELS = 1 / 2, 2
"""The lowest and the highest energy of the tone, relative to that of its start. It holds for each
window, compared with the lowest and the highest one, and for their mean."""


class SteadyTone:
    """A tone with these spectral lines, at the level of these samples."""

    def __init__(self, lines: Sequence[float], samples: Samples, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._lines = lines
        self._functions = _functions(tuple(lines))
        _, energies = self._rests_and_energies(samples)
        self._energies = _extremes(energies)

    @classmethod
    def found_in(cls, samples: Samples, rate_hz: int) -> Self | None:
        """Return the tone of which all of these samples are a part; None if there is none. A
        detector must have found no other sound in them.
        """
        known = KNOWN_MS * rate_hz // 1_000
        step = rate_hz // RATE_HZ
        lines = [lines_hz(ends[::step]) for ends in (samples[:known], samples[-known:])]
        if not all(lines):
            return None
        tone = cls(lines[-1], samples, rate_hz)
        return tone if tone.goes_on(samples) else None

    def goes_on(self, samples: Samples) -> bool:
        """Return whether these samples are the same tone, as loud as before. Less than 50 ms are
        not checked.
        """
        rests, energies = self._rests_and_energies(samples)
        if not len(rests):
            return True
        _, mean, _ = self._energies
        return float(rests.max()) <= (1 - MIN_SHARE) * mean and all(
            LEVELS[0] * known <= energy <= LEVELS[1] * known
            for known, energy in zip(self._energies, _extremes(energies), strict=True)
        )

    def pure(self, duration_ns: int) -> Samples:
        """Return this duration of the tone without noise, as loud as its mean."""
        at_s = np.arange(duration_ns * self._rate_hz // NS_PER_S) / self._rate_hz
        sines = sum(np.sin(2 * np.pi * line * at_s) for line in self._lines)
        _, mean, _ = self._energies
        level = (2 * mean / POINTS / len(self._lines)) ** 0.5
        return np.asarray(np.clip(level * sines, -32_768, 32_767), np.int16)

    def _rests_and_energies(self, samples: Samples) -> tuple[NDArray[np.float32], ...]:
        """Return the energy of each window without the tone, and its energy."""
        every, step = self._rate_hz // WINDOWS_HZ, self._rate_hz // RATE_HZ
        windows = samples[: len(samples) // every * every].reshape(-1, every)
        heard = windows[:, : POINTS * step : step].astype(np.float32)
        energies = np.einsum("ij,ij->i", heard, heard)
        parts = heard @ self._functions
        return energies - np.einsum("ij,ij->i", parts, parts), energies


@lru_cache(maxsize=256)
def _functions(lines: Sequence[float]) -> NDArray[np.float32]:
    """Return an orthonormal basis of the windows of a tone with these lines (Hz), as columns."""
    at_s = (np.arange(POINTS) - POINTS / 2) / RATE_HZ
    sines = [part(2 * np.pi * line * at_s) for line in lines for part in (np.sin, np.cos)]
    functions = np.array([*sines, *(sine * at_s * RATE_HZ for sine in sines)]).T
    return np.linalg.qr(functions)[0].astype(np.float32)


def _extremes(energies: NDArray[np.float32]) -> tuple[float, float, float]:
    """Return the lowest, the mean and the highest energy. 1 is added to each of them, because a
    part of a tone may be silent.
    """
    mean = float(energies.sum()) / len(energies)
    return 1 + float(energies.min()), 1 + mean, 1 + float(energies.max())
