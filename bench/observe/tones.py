"""Tells a tone from noise: a sum of a few sines can be predicted from the samples before it, noise cannot. Pure.

Each sample is predicted as the best weighted sum of those before it, which leaves only the rounding of up to
`ORDER / 2` sines. White and pink noise, and a room, leave more than a fiftieth of their energy. Voices and music may
leave as little as tones for a while, but their level changes: whoever asks looks at that first. The sums are of
integers, and the rest is calculated in one order, so the answer does not depend on the machine.
"""

from __future__ import annotations

import numpy as np

from bench.protocol.audio import Samples

ORDER = 16
"""Samples from which the next one is predicted: two for each sine."""
GAIN = 50
"""How many times the energy that cannot be predicted a tone has."""
ROUNDING = 1 / 12
"""The energy of the rounding of a sample, without which a pure tone has more than one best prediction."""


def is_tone(samples: Samples) -> bool:
    """Return whether 50 ms at 8 kHz are a tone; a direct current is none, for it is not heard."""
    count = len(samples) - ORDER
    wide = samples.astype(np.int64)
    wide -= int(wide.sum()) // len(wide)
    shifted = np.array([wide[ORDER - step :][:count] for step in range(ORDER + 1)])
    (energy, *wanted), *products = (shifted @ shifted.T).tolist()
    if energy <= GAIN * count * ROUNDING:
        return False
    return bool(_unpredicted([row[1:] for row in products], wanted, energy, count * ROUNDING) * GAIN < energy)


def _unpredicted(products: list[list[int]], wanted: list[int], energy: float, rounding: float) -> float:
    """Return what the best prediction leaves of the energy, by Cholesky's decomposition of the normal equations."""
    rows, solved = list[list[float]](), list[float]()
    for place, given in enumerate(products):
        row = list[float]()
        for before, earlier in enumerate(rows):
            known = sum(mine * other for mine, other in zip(row, earlier, strict=False))
            row.append((given[before] - known) / earlier[before])
        diagonal = given[place] + rounding - sum(value * value for value in row)
        if diagonal <= 0:  # nothing is left that this sample could tell
            diagonal = rounding
        row.append(float(diagonal**0.5))
        rows.append(row)
        known = sum(value * answer for value, answer in zip(row, solved, strict=False))
        solved.append((wanted[place] - known) / row[place])
    return energy - sum(value * value for value in solved)
