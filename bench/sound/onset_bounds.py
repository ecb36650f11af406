"""The uncertainties of the start and the end of the sound in a stream (`bench.sound.onsets`).
Pure.
"""

# Room tone, a breath, or a weak consonant before a voice is a part of the sound, and its duration
# is the uncertainty of the start: the time until the sound is at most 9 dB below its loudest part
# (`RISE.certain_ratio`), and remains so. A click in the tone does not. A voice begins at once if it
# rises steadily, or if this part is clearly voiced, at most 20 dB below, and becomes louder, but
# not from nothing: many rooms have a hum. Levels are compared without the filter, because noise and
# consonants are louder in it. If new noise has ended the sound, its last word may be in that noise.
# `bench.sound.ends` has the uncertainty of an end.
#
# In noise, the uncertainties depend on how far the sound exceeds its background (`ERRORS_NS`,
# `ENDS_NS`; `make benchmark PARTS=voices` measures them with recorded voices, docs/accuracy.md).

import numpy as np

from bench.base.units import NS_PER_MS
from bench.catalogue.metrics import AUDIBLE
from bench.sound import deep_noise
from bench.sound.blocks import Blocks
from bench.sound.ends import fades, faint_end, quiet_end
from bench.sound.onset_limits import (
    BLOCK_MS,
    DITHER,
    END,
    FAINT_ENERGY,
    GROUP_BLOCKS,
    RISE,
    SILENCE_ENERGY,
    TONE,
    error_in_noise,
)
from bench.sound.tones import HUM_PART, RATE_HZ, is_mains_hum

CLEAR = 2**19
"""The level above which a sound is no noise, even if it is not voiced. White noise at −35 dBFS
has this level."""
HUM_BLOCKS = HUM_PART * 1_000 // (RATE_HZ * BLOCK_MS)
"""The last blocks that are compared with a hum."""
DEEP_BLOCKS = -(-deep_noise.ORDER * deep_noise.TAPS_MS // BLOCK_MS)
"""The blocks after the end of a sound in which the filter of deep noise may continue it."""
HUM_DEPTH = 100
"""The maximum distance of a voiced part below the loudest part: 20 dB, as a ratio of energies. A
hum is voiced, too."""
LOUDER = 3, 2
"""The minimum ratio of the second half of that part to its first half, as (numerator,
denominator)."""
RISING = 7
"""The maximum number of blocks of an attack in which each block is louder than all before."""
DEPTH = 1_000
"""The maximum distance of the start and end of a voice below its loudest part: 30 dB, as a ratio
of energies."""
DEFINED = 3_162
"""The maximum distance of the first block below its loudest part: 35 dB (docs/metrics.md)."""
FADED_DEPTH = 500
ROOM_BLOCKS = 8
"""The minimum uncertainty of an end after which the room is still heard."""
INAUDIBLE_DEPTH = 100_000
"""The maximum distances below its loudest part of what has faded in, and of what is before it:
27 and 50 dB."""
ENDS_NS = (
    (4_000, 100 * NS_PER_MS),
    (2_000, 200 * NS_PER_MS),
    (1_000, 300 * NS_PER_MS),
    (500, 400 * NS_PER_MS),
    (125, 800 * NS_PER_MS),
    (64, 1_000 * NS_PER_MS),
    (32, 1_300 * NS_PER_MS),
    (16, 2_000 * NS_PER_MS),
    (0, 3_500 * NS_PER_MS),
)
"""The maximum errors of the end of a voice in noise, as in `ERRORS_NS`. The noise hides the end of
the last word.

They are more than 1.5 times as large as 499 of 500 errors of the speakers with whom they were
measured: other people end with weaker and longer words.

Around a quiet voice, what is inaudible (`FAINT_ENERGY`) hides it in the same way.
"""
LOUDEST_NOISE = 2, 10
"""A group of a sound is certainly no noise at (this multiple of, the largest level but one of
this many) groups."""
REVISED = 300
"""The number of blocks in which the loudest part of a sound may change the uncertainty of its
start."""
PRECEDING = 60
"""The number of blocks before a sound that may be its voice, although no sample is audible."""
REMEMBERED = 150
"""The number of blocks between the start of a sound and its last revision. All of them are
stored."""
STORED = 155
"""The number of blocks before the end of a silence in which the end of the sound is judged."""
RETAINED = TONE.certain_blocks + GROUP_BLOCKS
"""The last blocks whose samples are stored; at a stream's start also `BACKGROUND.settled_blocks`,
which are judged again."""


class BoundedSound(Blocks):
    """The blocks of a stream, and the uncertainties of the sound in it."""

    __slots__ = (
        "_at_once",
        "_attack",
        "_before",
        "_inaudible",
        "_loudest_before",
        "_offset",
    )

    def __init__(self, rate_hz: int, count: int, retained: int, pause: int) -> None:
        super().__init__(rate_hz, count, retained, pause)
        self._offset = self._inaudible = 0
        """The number of samples from the start of this block to the start of the sound, and the
        number of the last ones of these that are no digital silence."""
        self._at_once = True
        """True if the sound is a voice from its start on."""
        self._before = self._loudest_before = 0
        """The power of the block before it, and that of the loudest one of `PRECEDING` blocks
        before it."""
        self._attack = 0
        """The number of blocks up to the level of the loudest part."""

    def _begin(self, start: int, offset: int, behind: int) -> None:
        """Begin the uncertainties of a sound that starts in the block `start`, with this
        background before it.
        """
        self._begin_attack(start)
        self._offset = self._inaudible = offset
        before = self._samples(start, 1)[: offset // self._lag]
        if len(before):
            heard = np.flatnonzero(np.abs(before.astype(int) - int(before[0])) > DITHER // 2)
            self._inaudible = (len(before) - int(heard[0])) * self._lag if len(heard) else 0
        self._at_once = True
        self._attack = 0
        self._before = self._at(start - 1)[4]
        self._loudest_before = (
            max(self._powers(start - PRECEDING, start - 1)) if behind < SILENCE_ENERGY else 0
        )
        self._behind_start = self._behind_sound = behind
        self._revised = start + REVISED
        levels = sorted(self._group_levels())
        self._loudest_noise = LOUDEST_NOISE[0] * levels[-1 - len(levels) // LOUDEST_NOISE[1]]
        self._certain = self._number
        self._update_error()

    def _update_error(self) -> None:
        """Determine how much later or earlier the sound may have started, from the loudest part of
        it so far.

        A much quieter start may be no voice. Inaudible sound before the start may be the voice.
        """
        attack = self._follow_attack()
        if attack != self._attack:
            self._attack, self._at_once = attack, self._begins_at_once(attack)
        self._error_ns = self._fade_ns() if self._at_once else (attack + 1) * BLOCK_MS * NS_PER_MS
        # all that precedes the start
        is_stored = self._number - self._start < REMEMBERED - PRECEDING
        if self._behind_start < SILENCE_ENERGY and (is_stored or not self._faint_ns):
            self._faint_ns = self._inaudible_ns()

    def _fade_ns(self) -> int:
        """Return the time in which the start of a voice may be faded in; 0 if it is not very quiet.

        What fades in has an inaudible part before its start, and is later as loud as a voice that
        begins hard.
        """
        fades = self._before * INAUDIBLE_DEPTH >= self._loudest
        depth = FADED_DEPTH if fades else DEPTH
        faint = next(
            (at for at, power in self._rises if power * depth >= self._loudest), self._attack
        )
        if faint > 1:
            return (faint + 1) * BLOCK_MS * NS_PER_MS
        # of the first block, which may contain little of the sound
        rest = self._size - self._offset
        is_heard = self._rises[:2][-1][1] * self._size * DEFINED >= self._loudest * rest
        return 0 if is_heard else rest * BLOCK_MS * NS_PER_MS // self._size

    def _inaudible_ns(self) -> int:
        """Return the time from the start of a quiet voice, within 30 dB of its loudest part, to
        its audible start.
        """
        if self._loudest >= DEPTH * AUDIBLE * AUDIBLE:
            return 0
        depth = DEPTH * BLOCK_MS  # a single millisecond of a block may be so loud
        faint = PRECEDING
        if self._loudest_before * depth >= self._loudest:
            earlier = self._powers(self._start - PRECEDING, self._start - 1)
            faint = next(
                (at for at, power in enumerate(earlier) if power * depth >= self._loudest),
                PRECEDING,
            )
        samples = (PRECEDING - faint) * self._size + self._inaudible
        return -(-samples * BLOCK_MS * NS_PER_MS // self._size)

    def _begins_at_once(self, attack: int) -> bool:
        """Return whether the first `attack` blocks of the sound are a voice: it rises steadily,
        or is voiced.
        """
        rises = sum([at < attack for at, _ in self._rises])
        if attack <= RISE.attack_blocks or (attack <= RISING and rises > attack):
            return True
        if self._number - self._start > RETAINED:  # its samples are no longer stored
            return False
        powers = self._powers(self._start, self._start + attack - 1)
        if sum(powers) * HUM_DEPTH < self._loudest * attack:
            return False
        first = powers[: attack // 3]
        half, later = (powers[: attack // 2], powers[-(attack // 2) :])
        if (
            sum(first) * DEPTH < self._loudest * len(first)
            or sum(later) * LOUDER[1] < sum(half) * LOUDER[0]
        ):
            return False
        return self._are_clearly_voiced(self._start, attack) and not self._is_hum(
            self._start, self._start + attack // 2
        )

    def _is_hum(self, start: int, number: int) -> bool:
        """Return whether the last blocks from `start` to `number` are a quiet hum of the mains."""
        first = max(start, number + 1 - HUM_BLOCKS)
        count = number + 1 - first
        return max(self._levels(first, number)) <= CLEAR and is_mains_hum(
            self._samples(first, count)
        )

    def _error_of_end(self, number: int) -> int:
        """Return by how much earlier or later the sound may have ended, in ns. Its silence lasts
        up to `number`.
        """
        first = max(self._start, number + 1 - STORED)
        end = -(-self._last // self._size)
        spoken = max(1, end - first)
        loudest = max(self._loudest_group(first, first + spoken), self._recent)
        powers = self._powers(first, first + spoken - 1)
        error = quiet_end(powers, loudest / END.certain_ratio)
        if error == spoken:  # longer than what is stored
            error = max(error, end - self._near)
        if self._behind_sound >= SILENCE_ENERGY:
            # noise that rises and falls seems to continue the sound
            error = max(error, end - self._certain + GROUP_BLOCKS)
            # new noise, which is known from its steadiness
            if self._behind_sound > self._behind_start:
                error = max(error, number - end)
            return max(
                error * BLOCK_MS * NS_PER_MS,
                error_in_noise(ENDS_NS, self._peak, self._behind_sound),
            )
        after = self._samples(end + DEEP_BLOCKS, GROUP_BLOCKS).astype(int)
        range_after = np.ptp(after) if len(after) else 0
        if range_after >= AUDIBLE:  # deep noise, and the wave of its filter
            error = max(error, DEEP_BLOCKS)
        elif range_after <= DITHER and (
            error < END.quiet_blocks or fades(self._samples(end - error, error))
        ):
            near = self._samples(end + 1, GROUP_BLOCKS).astype(int)
            heard = ROOM_BLOCKS if len(near) and np.ptp(near) > DITHER else 0
            error = max(faint_end(powers, loudest), heard)
        silence = self._powers(first + spoken, number)
        faint = next(
            (at for at, power in enumerate(reversed(silence)) if power * DEPTH >= loudest),
            len(silence),
        )
        error_ns = max(error, len(silence) - faint) * BLOCK_MS * NS_PER_MS
        if loudest < (DEPTH if error else HUM_DEPTH) * AUDIBLE * AUDIBLE:
            error_ns = max(error_ns, error_in_noise(ENDS_NS, loudest, FAINT_ENERGY))
        return error_ns
