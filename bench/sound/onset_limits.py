"""The limits of onset detection that the compiled code shares with the rest
(`bench.sound.onsets`). A ratio is one of energies, as (numerator, denominator) if it is no whole
number.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from bench.base.units import NS_PER_MS
from bench.catalogue.metrics import AUDIBLE

BLOCK_MS = 5
SMOOTHED_BLOCKS = 4
"""The number of blocks in a moving average. A block's level is the mean energy of the last
`SMOOTHED_BLOCKS` blocks."""
GROUP_BLOCKS = 10
"""The number of blocks in a group."""
FAINT_ENERGY = AUDIBLE * AUDIBLE // 32
"""The energy below which a background is inaudible, even if it has peaks."""
DITHER = 16
"""The maximum range of the samples of digital silence, dither and rounding."""
SILENCE_ENERGY = 16
"""The maximum energy of digital silence, dither and rounding. Up to it, a sound's first audible
sample is exact."""


@dataclass(frozen=True)
class BackgroundLimits:
    """The limits of the background, which is noise between and behind sounds."""

    stored_groups: int = 60
    """The number of stored groups (3 s). The detector stores the mean energy of each group."""
    quantile_part: int = 5
    """The background is the level that one of this number of stored groups does not exceed."""
    averaged_groups: int = 8
    """The number of groups of noise between sounds over which its energy and its power are
    averaged."""
    max_gain: int = 4
    """The filter makes no noise louder than this ratio. White noise becomes 1.6 times as loud."""
    first_blocks: int = 40
    """The number of blocks that the detector needs at the start of a stream to know the
    background."""
    settled_blocks: int = 120
    """The number of blocks after which the start of a stream is judged again: a sound there may
    have stopped."""
    unbroken_groups: int = 240
    """The number of groups without a quiet one after which a sound is background: 12 s. No voice
    has so long no pause."""
    streamed_groups: int = 16
    """The number of groups of noise that proves a continuously sent background. No reply ends with
    so much."""
    even_ratio: tuple[int, int] = (5, 2)
    """The maximum ratio of the highest to the lowest level of noise."""
    plateau_blocks: int = 36
    plateau_ratio: int = 8
    """Noise ends a sound if it is steady for `plateau_blocks`, and the sound's energy
    `plateau_ratio` times as high."""
    steady_ratio: int = 4
    """The ratio of levels from which on they are not steady: a background does not exceed it, and a
    voice may."""


@dataclass(frozen=True)
class RiseLimits:
    """The limits of the start of a sound."""

    ratio: tuple[int, int] = (16, 4)
    """The minimum ratio of a loud block to the background."""
    window_blocks: int = 16
    loud_blocks: int = 8
    """A sound has at least `loud_blocks` loud blocks among its first `window_blocks`."""
    check_blocks: int = 5
    """The number of blocks between two checks of whether a sound is voiced."""
    certain_ratio: int = 8
    """A sound has certainly begun when it is at most 9 dB below its loudest part."""
    attack_blocks: int = 3
    """The maximum number of blocks up to that level that are the attack of a voice. More may be a
    breath or noise."""
    lasting_blocks: int = 3
    among_blocks: int = 6
    """The sound remains at a level if `lasting_blocks` of `among_blocks` from there on have it."""


@dataclass(frozen=True)
class EndLimits:
    """The limits of the end of a sound."""

    ratio: tuple[int, int] = (12, 4)
    """The ratio to the background that a block of a sound exceeds."""
    fading_part: int = 80
    """The part by which the power of the loudest recent part falls with each group: 1 dB a
    second."""
    near_ratio: int = 8
    certain_ratio: int = 12
    """A sound is near its loudest recent part at 9 dB below it, and at most 11 dB below it, it is
    certainly a voice."""
    faint_ratio: int = 2_000
    """What is 33 dB below the loudest 50 ms of a sound may be no part of its voice."""
    max_fade_blocks: int = 60
    """The maximum duration of a voice that fades."""
    fade_correlation: float = 0.8
    fade_ratio: int = 2
    """The minimum ratio of a voice that fades to its last fifth."""
    lasting_blocks: int = 5
    """The sound was at a level if this number of `RISE.among_blocks` have it."""
    quiet_blocks: int = 20
    """The minimum number of blocks below that level at the end of a sound that may be the room. The
    last syllable of a voice is rarely so long."""


@dataclass(frozen=True)
class ToneLimits:
    """The limits of tones, which are no voices."""

    held_groups: int = 7
    """The number of groups with the same level after which a sound is checked for a held tone."""
    recheck_groups: int = 20
    """The number of groups between two checks of whether a sound is still a held tone."""
    following_groups: int = 5
    """The number of groups with the same level after which the detector checks whether a tone has
    followed a sound."""
    certain_blocks: int = 36
    changing_blocks: int = 80
    """The blocks after which a sound with the same spectral lines, and with changing lines, is
    certainly a tone."""
    first_same_ratio: tuple[int, int] = (103, 100)
    same_ratio: tuple[int, int] = (5, 4)
    """The maximum ratios at which the level of a tone counts as constant.

    `first_same_ratio` is for the first groups of a stream. It is small because the level of music
    also changes little in its first groups. `same_ratio` is for later checks.
    """


BACKGROUND = BackgroundLimits()
RISE = RiseLimits()
END = EndLimits()
TONE = ToneLimits()
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
