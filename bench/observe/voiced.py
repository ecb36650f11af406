"""The distinction of voiced sounds, such as vowels, from noise. Pure.

A voiced sound is periodic: it correlates with itself one period of the pitch earlier. The correlation must first fall,
because that of the mains' hum falls later than one period of a voice. In 48,000 windows of 50 ms of white and pink
noise, a room, and hum, one counted as voiced. Whispers and unvoiced consonants are noise.
"""

from __future__ import annotations

import numpy as np

from bench.wire.audio import Samples

RATE_HZ = 4_000
LAGS = range(RATE_HZ // 400, RATE_HZ // 75 + 1)
"""The periods of voices in samples: 75 to 400 Hz."""
CORRELATION = 1 / 2
"""The minimum correlation of a voiced sound over one period."""
FALLEN = 1 / 10
"""The correlation below which that with earlier samples has fallen."""


def is_voiced(samples: Samples) -> bool:
    """Return whether 50 ms of audio at 8 kHz are voiced."""
    size = len(samples) // 2
    if size <= LAGS.stop:
        return False
    wide = samples[: 2 * size].astype(np.float64)  # all products and sums are whole numbers below 2 ** 53, so exact
    wide = wide[::2] + wide[1::2]
    wide -= wide.sum() // size
    products = np.correlate(wide, wide, "full")[size : size + LAGS.stop - 1]
    sums = np.cumsum(wide * wide)
    lags = np.arange(1, LAGS.stop)
    energies = (sums[-1] - sums[lags - 1]) * sums[size - lags - 1]
    shares = np.maximum(products, 0) ** 2
    has_fallen = np.logical_or.accumulate(shares < FALLEN**2 * energies)
    return bool(np.any((has_fallen & (shares > CORRELATION**2 * energies))[LAGS.start - 1 :]))
