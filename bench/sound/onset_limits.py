"""The limits of onset detection that the compiled code shares with the rest
(`bench.sound.onsets`).
"""

from collections.abc import Iterable

from bench.base.units import NS_PER_MS
from bench.catalogue.metrics import AUDIBLE

BLOCK_MS = 5
SMOOTHED = 4
"""The number of blocks in a moving average. A block's level is the mean energy of the last
`SMOOTHED` blocks."""
GROUP = 10
"""The number of blocks in a group."""
GROUPS = 60
"""The number of stored groups (3 s). The detector stores the mean energy of each group."""
FADING = 14
"""The part by which the power of the loudest recent part falls with each group: 6 dB a second."""
LOUDEST = 4
"""The filter makes no noise louder than this ratio of energies. White noise becomes 1.6 times as
loud."""
FOLLOWED = 8
"""The number of groups of noise between sounds over which its energy and its power are averaged."""
NEAR = 3
"""A sound has not ended while it is at most 5 dB below its loudest recent part. This is the
ratio of energies."""
UNBROKEN = 240
"""The number of groups without a quiet one after which a sound is background: 12 s. No voice has
so long no pause."""
FIFTH = 5
FAINT = AUDIBLE * AUDIBLE // 32
"""The energy below which a background is inaudible, even if it has peaks."""
RISE = (16, 4)
FALL = (12, 4)
"""The minimum ratios of energy to the background, as (numerator, denominator), for the start of a
sound and for its continuation."""
WINDOW = 16
LOUD = 8
"""A sound has at least `LOUD` loud blocks among its first `WINDOW` blocks."""
CHECKED = 5
"""The number of blocks between two checks of whether a sound is voiced."""
UNKNOWN = 40
"""The number of blocks that the detector needs at the start of a stream to know the background."""
SETTLED = 120
"""The number of blocks after which the start of a stream is judged again: a sound there may have
stopped."""
HELD = 7
"""The number of groups with the same level after which a sound is checked for a held tone."""
CERTAIN = 36
CHANGING = 80
"""The blocks after which a sound with the same spectral lines, and with changing lines, is
certainly a tone."""
SAME = (103, 100)
NEARLY_SAME = (5, 4)
"""The maximum ratios of energies at which the level of a tone counts as constant, as (numerator,
denominator).

`SAME` is for the first groups of a stream. It is small because the level of music also changes
little in its first groups. `NEARLY_SAME` is for later checks.
"""
RECHECKED = 20
"""The number of groups between two checks of whether a sound is still a held tone."""
TONE_GROUPS = 5
"""The number of groups with the same level after which the detector checks whether a tone has
followed a sound."""
STREAMED = 16
"""The number of groups of noise that proves a continuously sent background. No reply ends with
so much."""
EVEN = 5, 2
"""The maximum ratio of the highest to the lowest level of noise, as (numerator, denominator)."""
PLATEAU = 36
QUIETER = 8
"""Noise ends a sound if it is steady for `PLATEAU` blocks, and the sound's energy `QUIETER`
times as high."""
HUSHED = 16
"""The maximum energy of digital silence, dither and rounding. Up to it, a sound's first audible
sample is exact."""
WITHIN = 8
"""A sound has certainly begun when it is at most 9 dB below its loudest part. This is the ratio
of energies."""
ABRUPT = 3
"""The maximum number of blocks up to that level that are the attack of a voice. More may be a
breath or noise."""
LASTS = 3
LASTED = 5
AMONG = 6
"""The sound remains at a level if `LASTS` of `AMONG` blocks from there on have it; before its
end, `LASTED` of them."""
STEADY = 4
"""The ratio of levels from which on they are not steady: a background does not exceed it, and a
voice may."""
ROOM = 40
"""The minimum number of steady blocks at the end of a sound that may be the room: few vowels are
so steady."""
ERRORS_NS = (
    (4_000, 50 * NS_PER_MS),
    (1_000, 100 * NS_PER_MS),
    (500, 140 * NS_PER_MS),
    (125, 200 * NS_PER_MS),
    (32, 300 * NS_PER_MS),
    (16, 700 * NS_PER_MS),
    (0, 2_000 * NS_PER_MS),
)
"""The maximum errors of the start of a voice in noise, in descending order of loudness.

Each entry is (minimum ratio of energies, maximum error in ns). The ratio is the energy of the
loudest 50 ms of the sound, divided by the energy of the background. `make benchmark PARTS=voices`
measures them with recorded voices in white, pink and brown noise: 1 of 250 errors is larger. Voices
begin with consonants that the noise hides.
"""


def error_in_noise(errors_ns: Iterable[tuple[int, int]], energy: float, behind: float) -> int:
    """Return the maximum error of a table such as `ERRORS_NS` for a sound with this energy in
    this background.
    """
    return next(error_ns for times, error_ns in errors_ns if energy >= times * behind)
