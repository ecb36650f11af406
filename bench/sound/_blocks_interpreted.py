"""The Python implementation of `_blocks.pyx`. The docstrings of `_blocks.pyx` have the details."""

# `bench.sound.onsets` has the rules, and inherits from `Blocks` what runs for each block. Samples
# are cut into blocks of `BLOCK_MS`, which `_receive` measures all at once. `_skim` then takes
# blocks for as long as nothing can begin or end with them. At any other block, the detector decides
# in Python, and skims again. `GROUP_BLOCKS` blocks are a group, whose mean energy is a level of the
# background.
#
# All numbers are integers. Sums of floats depend on their order, so the compiled twin, another CPU,
# or another division into packets could find other starts. `tests/test_twins.py` compares both
# twins.

from collections import deque
from collections.abc import Sequence
from itertools import accumulate
from operator import sub
from typing import Any

import numpy as np

from bench.base.units import NS_PER_MS
from bench.catalogue.metrics import AUDIBLE
from bench.sound.block_rules import (
    CONTINUED,
    LEFT,
    NO_BLOCK,
    Block,
    is_continued,
    is_loud,
)
from bench.sound.deep_noise import ORDER, taps, without_deep_noise
from bench.sound.direct_current import DirectCurrent, offsets_of
from bench.sound.onset_limits import (
    BACKGROUND,
    BLOCK_MS,
    END,
    ERRORS_NS,
    FAINT_ENERGY,
    GROUP_BLOCKS,
    RISE,
    SILENCE_ENERGY,
    SMOOTHED_BLOCKS,
    error_in_noise,
)
from bench.sound.tones import is_clearly_voiced, is_voiced
from bench.wire.audio import Samples


class Blocks:
    __slots__ = (
        "_behind",
        "_behind_sound",
        "_behind_start",
        "_blocks",
        "_certain",
        "_direct",
        "_early_ns",
        "_energies",
        "_error_ns",
        "_faint_ns",
        "_followed",
        "_group",
        "_group_power",
        "_groups",
        "_lag",
        "_last",
        "_lead_ns",
        "_left",
        "_level",
        "_loud",
        "_loudest",
        "_loudest_noise",
        "_measured",
        "_moved",
        "_near",
        "_near_last",
        "_noise",
        "_noise_energy",
        "_noise_power",
        "_number",
        "_onset",
        "_pause",
        "_peak",
        "_powers_before",
        "_quiet",
        "_received",
        "_received_end",
        "_recent",
        "_retained",
        "_revised",
        "_rises",
        "_same",
        "_sent",
        "_size",
        "_sounding",
        "_start",
        "_streams",
        "_suspect",
        "_taps",
        "_tone",
        "_tone_checked",
        "_tone_last",
        "_total",
        "_unbroken",
        "_unheard",
    )

    def __init__(self, rate_hz: int, count: int, retained: int, pause: int) -> None:
        self._size = rate_hz * BLOCK_MS // 1_000
        self._lag, self._taps = max(1, rate_hz // 8_000), taps(rate_hz)
        self._left: Samples = np.zeros(0, np.int16)
        self._retained = retained * self._size
        self._received: Samples = np.zeros(self._retained, np.int16)
        """The samples of the last received blocks, and the stored samples before them."""
        self._received_end = self._total = self._number = self._group = 0
        self._direct = DirectCurrent(0, 0)
        self._measured: deque[tuple[int, int, int, int]] = deque()
        """The result of `measured_blocks` for the blocks that were received and not taken yet."""
        self._energies = self._powers_before = (0, 0, 0)
        self._blocks: deque[Block] = deque(maxlen=count)
        self._groups: deque[int] = deque(maxlen=BACKGROUND.stored_groups)
        self._behind: int | None = None
        """The energy of the background; None while it is unknown."""
        self._behind_start = self._behind_sound = 0
        """The energy of the background at the start of the sound, and at its end."""
        self._onset: int | None = None
        """The number of the first loud block of a possible sound; None if no sound may have
        begun."""
        self._sounding = False
        self._moved = False
        """True if noise has moved the end of the sound back, which is not reported yet."""
        self._quiet = 0
        """The number of blocks since the sound was last audible."""
        self._pause = pause
        """The number of such blocks that ends a sound."""
        self._last = 0
        """The position in the stream after the last audible sample of the sound."""
        self._group_power = self._recent = self._near = self._near_last = 0
        self._noise_energy = self._noise_power = 0
        """The power of the current group, that of the loudest recent one, and the end of the last
        one near it, now and before the sound's last audible block; the energy of noise between
        sounds, and its power, which is without the filter."""
        self._loudest_noise = self._certain = 0
        """The energy above which a group is no noise, and the end of the sound's last such
        group."""
        self._unbroken = self._revised = self._unheard = 0
        """The groups of the sound since the last quiet one, the block up to which its start is
        revised, and the power above which a block revises it."""
        self._peak = 0
        """The energy of the sound's loudest group."""
        self._early_ns = self._lead_ns = 0
        """The time from the start of the stream to its first sound, if the stream may have started
        with a voice, which this sound, and another one soon after it, may continue; and the
        duration of the search for the start of a sound, if the energy did not rise in it."""
        self._begin_attack(0)
        self._level = self._same = 0
        """The energy of the first of the last groups with the same level, and the number of
        these groups."""
        self._tone = False
        self._sent = True
        self._noise = 0
        """The number of groups of noise that the service sent after the last sound or silence."""
        self._streams = False
        """True if the service sends the background continuously. A time without audio is then a
        delay, not silence."""

    def _receive(self, samples: Samples) -> None:
        stream = np.concatenate((self._left, samples)) if len(self._left) else samples
        complete = len(stream) - len(stream) % self._size
        self._left = stream[complete:]
        self._total += len(samples)
        if complete:
            kept = self._retained + self._received_end - self._number * self._size
            self._received = received = np.concatenate((self._received[-kept:], stream[:complete]))
            self._received_end += complete
            found, self._direct = measured_blocks(
                received[-complete - self._before_blocks :],
                self._lag,
                self._size,
                self._taps,
                self._direct,
            )
            self._measured += found

    @property
    def _before_blocks(self) -> int:
        """The number of samples before a block that its filters need."""
        return ORDER * self._taps + self._lag

    def _skim(self) -> int:
        continued = 0
        # the last block of a group is not skimmed: the detector updates the background with it
        while self._measured and (self._number + 1) % GROUP_BLOCKS:
            energy, first, last, power = self._measured[0]
            level = self._level_of(energy, power)
            if self._sounding:
                if is_continued(level, last, self._behind_sound):
                    self._sound_until(self._number * self._size + last)
                    continued = CONTINUED
                elif self._moved or self._quiet + 1 >= self._pause:
                    break
                else:
                    self._quiet += 1
            elif self._onset is not None or (
                self._behind is not None and is_loud(level, first, self._behind)
            ):
                break
            self._take()
        return continued | (LEFT if self._measured else 0)

    def _level_of(self, energy: int, power: int) -> int:
        """Return the level of the next block. In noise that the filter makes louder, a voice is
        found without it.
        """
        level = (energy + sum(self._energies)) // SMOOTHED_BLOCKS
        if (
            not FAINT_ENERGY
            < self._noise_power
            < self._noise_energy
            < self._noise_power * BACKGROUND.max_gain
        ):
            return level
        loudness = (power + sum(self._powers_before)) // SMOOTHED_BLOCKS
        return max(level, loudness * self._noise_energy // self._noise_power)

    def _end_in_rest(self) -> int:
        if not self._sounding or self._quiet:
            return self._last
        wide = np.concatenate((self._received[-self._before_blocks :], self._left)).astype(int)
        high = without_deep_noise(wide, self._taps)
        filtered = 4 * high[self._lag :] - 3 * high[: -self._lag]
        high = high[self._lag :]
        level = self._level_of(
            int((filtered * filtered).sum()) // (16 * self._size),
            int((high * high).sum()) // self._size,
        )
        audible = np.abs(self._left.astype(int) - self._direct.offset) >= AUDIBLE
        audible &= np.abs(high) >= 3 * AUDIBLE // 4
        last = int(np.flatnonzero(audible).max(initial=-1)) + 1
        if is_continued(level, last - 1, self._behind_sound):
            return self._number * self._size + last
        return self._last

    def _take(self) -> Block:
        energy, first, last, power = self._measured.popleft()
        level = self._level_of(energy, power)
        self._energies = (energy, *self._energies[:2])
        self._powers_before = (power, *self._powers_before[:2])
        block = (energy, level, first, last, power)
        self._blocks.append(block)
        self._group += energy
        self._group_power += power
        self._number += 1
        return block

    def _follow_loudness(self, mean: int) -> None:
        power = self._group_power // GROUP_BLOCKS
        self._group_power = 0
        self._recent = max(power, self._recent - self._recent // END.fading_part)
        if power * END.near_ratio >= self._recent:
            self._near = self._number
        if mean > self._loudest_noise:
            self._certain = self._number
        if self._sounding or self._onset is not None:
            return
        self._noise_energy = (
            self._noise_energy * (BACKGROUND.averaged_groups - 1) + mean
        ) // BACKGROUND.averaged_groups
        self._noise_power = (
            self._noise_power * (BACKGROUND.averaged_groups - 1) + power
        ) // BACKGROUND.averaged_groups

    def _sound_until(self, last: int) -> None:
        self._quiet = 0
        self._last = last
        self._near_last = (
            min(self._near, self._certain) if self._behind_sound >= SILENCE_ENERGY else self._near
        )

    @property
    def fading_ns(self) -> int:
        fading = -(-self._last // self._size) - self._near_last
        return (fading + GROUP_BLOCKS) * BLOCK_MS * NS_PER_MS if fading >= END.quiet_blocks else 0

    def _add_group(self, mean: int) -> None:
        if self._sounding and mean > max(
            self._behind_sound * END.ratio[0] // END.ratio[1], FAINT_ENERGY
        ):
            # a voice is no background: its groups count only after `BACKGROUND.unbroken_groups`
            # without a quiet one
            self._unbroken += 1
            if self._unbroken <= BACKGROUND.unbroken_groups:
                return
        else:
            self._unbroken = 0
        self._groups.append(mean)
        if self._behind is None:
            return
        ranked = sorted(self._groups)
        self._behind = ranked[len(ranked) // BACKGROUND.quantile_part]
        # If nothing was as quiet as before the sound for 3 s, the background has become louder.
        if ranked[0] > max(self._behind_sound * END.ratio[0] // END.ratio[1], FAINT_ENERGY):
            self._behind_sound = self._behind

    def _fill_groups(self, level: int) -> None:
        self._groups.extend([level] * BACKGROUND.stored_groups)

    def _group_levels(self) -> list[int]:
        return list(self._groups)

    def _forget_levels(self) -> None:
        self._energies = self._powers_before = (0, 0, 0)

    def _at(self, number: int) -> Block:
        index = number - self._number
        return self._blocks[index] if number >= 0 and -len(self._blocks) <= index < 0 else NO_BLOCK

    def _levels(self, first: int, last: int) -> list[int]:
        return [self._at(block)[1] for block in range(first, last + 1)]

    def _powers(self, first: int, last: int) -> list[int]:
        return [self._at(block)[4] for block in range(first, last + 1)]

    @property
    def _uncertainty_ns(self) -> int:
        """The uncertainty of the sound's start."""
        error_ns = 0
        if self._behind_start >= SILENCE_ENERGY:
            error_ns = error_in_noise(ERRORS_NS, self._peak, self._behind_start)
            error_ns = min(error_ns, self._start * BLOCK_MS * NS_PER_MS)  # not before the stream
        return max(error_ns + self._lead_ns, self._early_ns, self._error_ns, self._faint_ns)

    def _begin_attack(self, start: int) -> None:
        self._start = self._followed = start
        """The first block of the sound, or of the breath before it; the block after `_rises`."""
        self._rises = [(0, 0)]
        """The blocks from which the sound remains louder than before: their numbers in the
        sound, and their powers."""
        self._loudest = self._error_ns = self._faint_ns = 0
        """The power of the loudest group; the uncertainty of the sound's start that its own
        loudness causes, and that of its inaudible start."""

    # `_rises` has the blocks that are louder than all before them. A block counts with the power
    # that `RISE.lasting_blocks` of `RISE.among_blocks` from it have, so that a single click is no
    # attack. The sound has certainly begun with the first rise within 9 dB of its loudest group
    # (`RISE.certain_ratio`).
    def _follow_attack(self) -> int:
        powers = self._powers(self._followed, self._number - 1)
        known = max(0, len(powers) - RISE.among_blocks + 1)
        for place, power in enumerate(powers[:known]):
            if power > self._rises[-1][1]:
                lasting = min(
                    power,
                    sorted(powers[place : place + RISE.among_blocks])[-RISE.lasting_blocks],
                )
                if lasting > self._rises[-1][1]:
                    self._rises.append((self._followed + place - self._start, lasting))
        self._loudest = max(self._loudest, self._loudest_group(self._followed, self._number))
        self._followed += known
        attacks = (at for at, power in self._rises if power * RISE.certain_ratio >= self._loudest)
        found = next(attacks, None)
        is_open = found is None or max(powers[known:], default=0) > self._rises[-1][1]
        self._unheard = 0 if is_open else min(self._rises[-1][1], self._loudest)
        return self._followed - self._start if found is None else found

    def _loudest_group(self, first: int, after: int) -> int:
        sums = list(accumulate(self._powers(first, after - 1), initial=0))
        return max(map(sub, sums[GROUP_BLOCKS:], sums), default=sums[-1]) // GROUP_BLOCKS

    def _are_voiced(self, block: int, count: int = GROUP_BLOCKS) -> bool:
        return is_voiced(self._samples(block, count))

    def _are_clearly_voiced(self, block: int, count: int) -> bool:
        return is_clearly_voiced(self._samples(block, count))

    def _samples(self, block: int, count: int = GROUP_BLOCKS) -> Samples:
        next_block = len(self._received) + self._number * self._size - self._received_end
        start = next_block + (block - self._number) * self._size
        end = min(start + count * self._size, next_block)
        first = max(next_block - self._retained, start)
        return self._received[first : max(first, end) : self._lag]


def measured_blocks(
    wide: Samples, lag: int, size: int, taps: int, direct: DirectCurrent
) -> tuple[list[tuple[int, int, int, int]], DirectCurrent]:
    """Return (energy, first audible sample, position after the last audible sample, power) of each
    block.

    The positions are -1 if no sample is audible. `wide` contains the samples that the filters need
    before the blocks, and then the blocks of `size` samples each. The energy is the mean square
    after a filter. For each sample, the filter takes the sample that is `lag` samples earlier, and
    subtracts three quarters of it. The power is the mean square without the filter.

    Both are without deep noise (`bench.sound.deep_noise`). A sample is audible if its magnitude is
    at least `AUDIBLE` without direct current (`bench.sound.direct_current`), and also without deep
    noise: that filter answers the end of a sound with a wave. It makes the first samples of a sound
    quieter, too. Therefore, after a silent block, these count if a later one in the block does.
    `direct` is what precedes the first block; also return what the last block leaves.
    """
    samples = wide.astype(int)
    blocks = samples[ORDER * taps + lag :].reshape(-1, size)
    offsets, direct = offsets_of(blocks, direct)
    wide_high = without_deep_noise(samples, taps)
    high = wide_high[lag:].reshape(-1, size)
    filtered = (4 * wide_high[lag:] - 3 * wide_high[:-lag]).reshape(-1, size)
    energies = (filtered * filtered).sum(axis=1) // (16 * size)
    own = blocks - offsets[:, None]
    before = samples[ORDER * taps + lag - size : -size].reshape(-1, size) - offsets[:, None]
    follows_silence = np.abs(before).max(axis=1, keepdims=True) < AUDIBLE
    audible = np.abs(own) >= AUDIBLE
    of_voice = audible & (np.abs(high) >= 3 * AUDIBLE // 4)
    has_audible = of_voice.any(axis=1)
    audible = np.where(follows_silence, audible, of_voice)
    firsts = np.where(has_audible, audible.argmax(axis=1), -1)
    lasts = np.where(has_audible, size - audible[:, ::-1].argmax(axis=1), -1)
    powers = np.minimum((own**2).sum(axis=1), (high**2).sum(axis=1)) // size
    columns = (energies, firsts, lasts, powers)
    return list(zip(*(column.tolist() for column in columns), strict=True)), direct


def continue_sounds(
    detector: Any, sounds: Sequence[Any], limits: Any, continued: Sequence[Any]
) -> int | None:
    """Apply no delta: `ReplyDetector.continued` then applies each of them alone."""
    return None
