"""The distinction of telephone tones (ring tones, beeps, chimes), voiced sounds (such as vowels),
and noise. Pure.
"""

# A tone consists of at most `MAX_LINES` sines (ITU-T E.180: ring tones have one or two, and those
# that are modulated have three). At least `MIN_SHARE` of its energy is in these spectral lines. The
# lines are above the pitch of a voice. A voice has more lines, the lines are multiples of its
# pitch, and they move. In 50,000 windows of 150 ms from 2,000 recordings and synthesized voices,
# none was taken for a tone. Windows of 80 ms are less certain: 1 of 10,000 was.
#
# A voiced sound is periodic: it correlates with itself one period of the pitch earlier. The
# correlation must first fall, because that of the mains' hum falls later than one period of a
# voice. In 48,000 windows of 50 ms of white and pink noise, a room, and hum, one counted as voiced.
# Whispers and unvoiced consonants are noise.

from collections.abc import Sequence
from functools import cache
from itertools import pairwise, product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.base.compiled import compiled_module
from bench.wire.audio import Samples

_AUDIBLE = compiled_module("bench.wire._audible")

RATE_HZ = 8_000
MIN_SAMPLES = RATE_HZ * 30 // 1_000
MAX_LINES = 3
MIN_SHARE = 1 - 1 / 80
"""The minimum share of the energy in the spectral lines. The rest may be noise that is 19 dB
lower than the tone."""
MIN_HZ = 300
MAX_HZ = 3_600
"""The range of the lines. The lowest telephone tones have 350 Hz. Voices are rarely so high."""
PITCH_HZ = 600
"""The maximum pitch of a voice. Lines that are multiples of a lower frequency are a voice."""
MULTIPLE = 0.04
"""The maximum relative difference of two frequencies of which one is called a multiple of the
other."""
KEYS_HZ = tuple(product((697, 770, 852, 941), (1_209, 1_336, 1_477, 1_633)))
"""The frequencies of phone keys (ITU-T Q.23)."""
KEY_TOLERANCE = 0.025


class Tone(NamedTuple):
    """A tone that was detected, as positions in the stream, in samples. They are exact to 5 ms."""

    start: int
    end: int


def is_pure(samples: Samples, *, keys_count: bool = False) -> bool:
    """Return whether 30 to 200 ms of audio at 8 kHz are a tone. With `keys_count`, a phone key
    is not a tone.
    """
    lines = lines_hz(samples) if len(samples) >= MIN_SAMPLES else ()
    lowest = min(lines, default=0)
    if not lines or (lowest < PITCH_HZ and any(_is_multiple(line, lowest) for line in lines)):
        return False
    return not (keys_count and is_key(lines))


def noise_energy(samples: Samples) -> int:
    """Return the energy of the noise behind a tone, in the filter of `bench.sound.blocks`."""
    wide = samples.astype(float)
    return int(_spectrum(samples)[1] * (wide @ wide) / len(wide) * (1 + 0.75**2))


def is_key(lines_hz: Sequence[float]) -> bool:
    """Return whether the two strongest spectral lines are those of a phone key."""
    low, high = sorted(lines_hz[:2]) if len(lines_hz) > 1 else (0, 0)
    return any(
        abs(low - row) < KEY_TOLERANCE * row and abs(high - column) < KEY_TOLERANCE * column
        for row, column in KEYS_HZ
    )


def _is_multiple(line: float, lowest: float) -> bool:
    count = round(line / lowest)
    return count >= 2 and abs(line - count * lowest) < MULTIPLE * count * lowest


class Bins(NamedTuple):
    """The bins of a spectrum: their number, those of direct current or half a line, and the lowest
    and the highest one of a line.
    """

    size: int
    width: int
    lowest: int
    highest: int


@cache
def _bins(samples: int) -> Bins:
    count = 1_024 if samples <= 640 else 2_048
    return Bins(
        count, 2 * count // samples + 1, MIN_HZ * count // RATE_HZ, MAX_HZ * count // RATE_HZ
    )


def lines_hz(samples: Samples) -> Sequence[float]:
    """Return the spectral lines of 30 to 200 ms of audio at 8 kHz, in Hz, the strongest first; none
    without a tone.
    """
    count = len(samples)
    bins = _bins(count)
    lines = None
    if _AUDIBLE is not None:  # it takes a quarter of the time of numpy
        lines = _AUDIBLE.certain_lines(
            np.ascontiguousarray(samples), _window(count), *bins, MAX_LINES, 1 - MIN_SHARE
        )
    if lines is None:
        lines = _spectrum(samples)[0]
    return [line * RATE_HZ / bins.size for line in lines]


def _spectrum(samples: Samples) -> tuple[Sequence[int], float]:
    """Return (bins of the spectral lines, the strongest first; share of the other energy); no lines
    without a tone.
    """
    count, width, lowest, highest = _bins(len(samples))
    spectrum = np.fft.rfft(samples * np.frombuffer(_window(len(samples))), count)
    powers = spectrum.real**2 + spectrum.imag**2
    powers[:width] = 0  # direct current
    total = rest = float(powers.sum())
    lines = list[int]()
    while len(lines) < MAX_LINES and lowest <= (peak := int(powers.argmax())) <= highest:
        lines.append(peak)
        lobe = powers[max(0, peak - width) : peak + width + 1]
        rest -= float(lobe.sum())
        if rest <= (1 - MIN_SHARE) * total:
            return lines, rest / total
        lobe[:] = 0
    return (), 1


@cache
def _window(count: int) -> bytes:
    """Return the weight of each sample, as doubles."""
    return np.hanning(count + 1)[:count].tobytes()


# A tone is a sum of a few sines and can be predicted from the samples before it; noise cannot. Each
# sample is predicted as the best weighted sum of the samples before it, which leaves only the
# rounding of up to ORDER / 2 sines. White and pink noise, and a room, leave more than a fiftieth of
# their energy. Voices and music may leave as little as tones for some time, but their level
# changes, which is checked first. The sums are of integers, and the rest is calculated in a fixed
# order, so the result does not depend on the machine.
HUM = 72
"""The ratio of the energy of a tone of 150 Hz to that of the differences of its samples. That of
a hum is larger."""
MAX_HUM = 2**19
"""The maximum energy of a hum in the background: −33 dBFS."""
ORDER = 16
"""The number of samples that predict the next one: two for each sine of a tone."""
GAIN = 50
"""The minimum ratio of a tone's energy to the part of its energy that cannot be predicted."""
ROUNDING = 1 / 12
"""The energy of the rounding error of a sample. Without this energy, a pure tone has more than
one best prediction."""


def is_tone(samples: Samples) -> bool:
    """Return whether 50 ms at 8 kHz are a tone. Direct current and quiet hum of the mains are
    none.
    """
    count = len(samples) - ORDER
    wide = samples.astype(int)
    wide -= int(wide.sum()) // len(wide)
    steps = np.diff(wide)
    hum = int(wide @ wide)
    if hum < MAX_HUM * len(wide) and HUM * int(steps @ steps) < hum:
        return False
    shifted = np.array([wide[ORDER - step :][:count] for step in range(ORDER + 1)])
    (energy, *correlations), *products = (shifted @ shifted.T).tolist()
    if energy <= GAIN * count * ROUNDING:
        return False
    return bool(
        _unpredicted([row[1:] for row in products], correlations, energy, count * ROUNDING) * GAIN
        < energy
    )


def _unpredicted(
    products: list[list[int]], correlations: list[int], energy: float, rounding: float
) -> float:
    """Return the energy that the best prediction leaves, by a Cholesky decomposition of the
    normal equations.
    """
    rows = list[list[float]]()
    solved = list[float]()
    for index, product_row in enumerate(products):
        row = list[float]()
        for before, earlier in enumerate(rows):
            known = sum(mine * other for mine, other in zip(row, earlier, strict=False))
            row.append((product_row[before] - known) / earlier[before])
        diagonal = product_row[index] + rounding - sum(value * value for value in row)
        if diagonal <= 0:  # this sample has no more information
            diagonal = rounding
        row.append(float(diagonal**0.5))
        rows.append(row)
        known = sum(value * solution for value, solution in zip(row, solved, strict=False))
        solved.append((correlations[index] - known) / row[index])
    return energy - sum(value * value for value in solved)


VOICE_RATE_HZ = 4_000
LAGS = range(VOICE_RATE_HZ // 400, VOICE_RATE_HZ // 75 + 1)
"""The periods of voices in samples: 75 to 400 Hz."""
HIGH_LAGS = range(LAGS.start, VOICE_RATE_HZ // 160 + 1)
CORRELATION = 1 / 2
CLEARLY = 2 / 3
"""The minimum correlations of a voiced and of a clearly voiced sound over one period."""
PART = RATE_HZ * 50 // 1_000
"""The minimum number of samples of which a sound is known to be voiced or not."""
FALLEN = 1 / 10
"""The correlation below which that with earlier samples has fallen."""


def is_voiced(
    samples: Samples, correlation: float = CORRELATION, lags: Sequence[int] = LAGS
) -> bool:
    """Return whether 50 ms of audio at 8 kHz are voiced: with at least this correlation over one
    period, which is one of `lags`.
    """
    size = len(samples) // 2
    if size <= LAGS.stop:
        return False
    # all products and sums are whole numbers below 2 ** 53, so exact
    wide = samples[: 2 * size].astype(float)
    wide = wide[::2] + wide[1::2]
    wide -= wide.sum() // size
    products = np.correlate(wide, wide, "full")[size : size + lags[-1]]
    sums = np.cumsum(wide * wide)
    shifts = np.arange(1, lags[-1] + 1)
    energies = (sums[-1] - sums[shifts - 1]) * sums[size - shifts - 1]
    shares = np.maximum(products, 0) ** 2
    has_fallen = np.logical_or.accumulate(shares < FALLEN**2 * energies)
    return bool(np.any((has_fallen & (shares > correlation**2 * energies))[lags[0] - 1 :]))


def is_clearly_voiced(samples: Samples, correlation: float = CLEARLY) -> bool:
    """Return whether audio at 8 kHz is clearly voiced in all of its parts of 50 ms or a little
    more.
    """
    count = max(1, len(samples) // PART)
    bounds = [len(samples) * part // count for part in range(count + 1)]
    return all(is_voiced(samples[first:after], correlation) for first, after in pairwise(bounds))


# The hum of a power supply is periodic, too: it repeats itself after each period of the mains, and
# after 100 ms, which are a whole number of periods of 50 and of 60 Hz. In 100 ms, the pitch of a
# voice changes. A pitch of more than 160 Hz is that of a voice.
MAINS_LAGS = RATE_HZ // 50, RATE_HZ // 60
HUM_LAG = RATE_HZ * 100 // 1_000
HUM_PART = RATE_HZ * 150 // 1_000
"""The minimum number of samples of which the correlation after `HUM_LAG` is known."""
REPEATED = 8, 10
"""The minimum correlation of a hum after such a time, as (numerator, denominator)."""


def is_mains_hum(samples: Samples) -> bool:
    """Return whether 80 to 200 ms of audio at 8 kHz repeat themselves as a hum of the mains. Of
    less than 150 ms, the repetition after `HUM_LAG` is not known.
    """
    wide = samples.astype(int)
    wide -= int(wide.sum()) // max(1, len(wide))
    return (
        any(_repeats(wide, lag) for lag in MAINS_LAGS)
        and (len(wide) < HUM_PART or _repeats(wide, HUM_LAG))
        and not is_voiced(samples, lags=HIGH_LAGS)
    )


def _repeats(wide: NDArray[np.int64], lag: int) -> bool:
    earlier, later = wide[:-lag], wide[lag:]
    product = max(0, int(earlier @ later)) * REPEATED[1]
    return product**2 > int(earlier @ earlier) * int(later @ later) * REPEATED[0] ** 2
