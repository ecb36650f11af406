# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The blocks of a stream in C, the usual ones among them, and the usual deltas of sound.

`_blocks_interpreted.py` does the same without a compiler.
"""

import msgspec
import numpy as np

from bench.base.clock import Arrival
from bench.base.units import NS_PER_S
from bench.catalogue.metrics import AUDIBLE
from bench.sound import onset_limits as limits
from bench.sound import tones
from bench.sound.block_rules import CONTINUED, LEFT, NO_BLOCK, TAKEN
from bench.sound import deep_noise, direct_current
from bench.wire.connection import MatchedDelta
from bench.wire.events import StrippedAudio

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Malloc, PyMem_Realloc
from libc.string cimport memcpy, memmove, memset

cdef int MIN_AUDIBLE = AUDIBLE, BLOCK_MS = limits.BLOCK_MS
cdef int IS_LEFT = LEFT, IS_CONTINUED = CONTINUED, IS_TAKEN = TAKEN
cdef long long GROUP_BLOCKS = limits.GROUP_BLOCKS, FAINT_ENERGY = limits.FAINT_ENERGY
cdef long long SILENCE_ENERGY = limits.SILENCE_ENERGY
cdef long long BACKGROUND_QUANTILE_PART = limits.BACKGROUND.quantile_part
cdef long long BACKGROUND_AVERAGED_GROUPS = limits.BACKGROUND.averaged_groups
cdef long long BACKGROUND_MAX_GAIN = limits.BACKGROUND.max_gain
cdef long long BACKGROUND_SETTLED_BLOCKS = limits.BACKGROUND.settled_blocks
cdef long long BACKGROUND_UNBROKEN_GROUPS = limits.BACKGROUND.unbroken_groups
cdef long long BACKGROUND_STREAMED_GROUPS = limits.BACKGROUND.streamed_groups
cdef long long BACKGROUND_EVEN_RATIO_OVER = limits.BACKGROUND.even_ratio[0]
cdef long long BACKGROUND_EVEN_RATIO_UNDER = limits.BACKGROUND.even_ratio[1]
cdef long long BACKGROUND_PLATEAU_BLOCKS = limits.BACKGROUND.plateau_blocks
cdef long long BACKGROUND_PLATEAU_RATIO = limits.BACKGROUND.plateau_ratio
cdef long long RISE_RATIO_OVER = limits.RISE.ratio[0]
cdef long long RISE_RATIO_UNDER = limits.RISE.ratio[1]
cdef long long RISE_WINDOW_BLOCKS = limits.RISE.window_blocks
cdef long long RISE_LOUD_BLOCKS = limits.RISE.loud_blocks
cdef long long RISE_CHECK_BLOCKS = limits.RISE.check_blocks
cdef long long RISE_CERTAIN_RATIO = limits.RISE.certain_ratio
cdef long long RISE_LASTING_BLOCKS = limits.RISE.lasting_blocks
cdef long long END_RATIO_OVER = limits.END.ratio[0]
cdef long long END_RATIO_UNDER = limits.END.ratio[1]
cdef long long END_FADING_PART = limits.END.fading_part
cdef long long END_NEAR_RATIO = limits.END.near_ratio
cdef long long END_QUIET_BLOCKS = limits.END.quiet_blocks
cdef long long TONE_HELD_GROUPS = limits.TONE.held_groups
cdef long long TONE_SAME_RATIO_OVER = limits.TONE.same_ratio[0]
cdef long long TONE_SAME_RATIO_UNDER = limits.TONE.same_ratio[1]
cdef long long TONE_RECHECK_GROUPS = limits.TONE.recheck_groups
cdef long long TONE_FOLLOWING_GROUPS = limits.TONE.following_groups
cdef int MIN_OFFSET = direct_current.MIN_OFFSET
cdef long long SAME_OFFSET = direct_current.SAME_OFFSET
cdef long long SHARE_OVER = direct_current.MIN_SHARE[0]
cdef long long SHARE_UNDER = direct_current.MIN_SHARE[1]
cdef int SIMILAR = direct_current.SIMILAR
cdef Py_ssize_t FIRST_LAG = tones.LAGS.start, AFTER_LAGS = tones.LAGS.stop, PART = tones.PART
cdef double FALLEN = tones.FALLEN ** 2
cdef double VOICED = tones.CORRELATION ** 2, CLEARLY_VOICED = tones.CLEARLY ** 2

cdef enum:
    SMOOTHED_BLOCKS = 4  # as in onset_limits.py
    BACKGROUND_STORED_GROUPS = 60
    RISE_AMONG_BLOCKS = 6
    ERRORS = 7
    DEEP_ORDER = 3  # as in deep_noise.py
    DEEP_SHIFT = 32
assert (DEEP_ORDER, DEEP_SHIFT) == (deep_noise.ORDER, deep_noise.SHIFT)
assert (SMOOTHED_BLOCKS, BACKGROUND_STORED_GROUPS, RISE_AMONG_BLOCKS) == (
    limits.SMOOTHED_BLOCKS,
    limits.BACKGROUND.stored_groups,
    limits.RISE.among_blocks,
), "both implementations store the same"
assert len(limits.ERRORS_NS) == ERRORS

cdef long long errors_ns[ERRORS][2]
for place, (times, error_ns) in enumerate(limits.ERRORS_NS):
    errors_ns[place][0], errors_ns[place][1] = times, error_ns


cdef struct Measured:
    long long energy, level, power
    int first, last, mean, offset


cdef class Blocks:
    """The blocks of a stream at `rate_hz`, and the state of the sound in it.

    The last `count` taken blocks are stored, and the samples of the last `retained` ones. A silence
    of `pause` blocks ends a sound. `bench.sound.onsets` describes the state.
    """

    cdef Measured *blocks
    cdef Py_ssize_t count
    cdef short *samples
    """The last `length` samples of the stream. Those before its start are 0."""
    cdef Py_ssize_t length, room
    cdef long long earlier[SMOOTHED_BLOCKS - 1]
    cdef long long earlier_power[SMOOTHED_BLOCKS - 1]
    """The energies and the powers of the last blocks, for the level of the next one."""
    cdef long long groups[BACKGROUND_STORED_GROUPS]
    cdef long long ranked[BACKGROUND_STORED_GROUPS]
    cdef Py_ssize_t group_count, next_group
    cdef int mean, offset
    cdef int *stages[DEEP_ORDER]
    cdef int *high
    """For each stage of the high-pass filter the last `taps` samples before the block that is
    measured, and those of this block; of the last stage, the latter."""
    cdef long long sums[DEEP_ORDER]
    cdef long long later_sums[DEEP_ORDER]
    """The sums of the last `taps` samples of each stage, before the block and with it."""
    cdef Py_ssize_t taps, settling
    cdef long long factor, constant
    """The number of samples, before the block, that are equal. After `settling` of them the filter
    is silent."""
    cdef bint is_constant, is_filtered
    cdef public long long _size, _lag, _retained, _total, _number, _group
    cdef public long long _behind_sound, _behind_start, _quiet, _last, _pause, _peak, _level, _same
    cdef public long long _noise
    cdef public long long _revised, _group_power, _near, _near_last, _recent, _unbroken, _certain
    cdef public long long _loudest_noise, _unheard
    cdef public long long _noise_energy, _noise_power
    cdef public long long _start, _followed, _loudest, _early_ns, _lead_ns, _error_ns, _faint_ns
    cdef public list _rises
    cdef public bint _sounding, _moved, _tone, _sent, _streams
    cdef public long long _loud, _tone_last, _tone_checked
    cdef public object _behind, _onset, _suspect

    def __init__(self, int rate_hz, Py_ssize_t count, Py_ssize_t retained, int pause):
        self._size = rate_hz * BLOCK_MS // 1000
        self._lag = max(1, rate_hz // 8000)  # the filter is that of 8 kHz at every rate
        self.taps = deep_noise.taps(rate_hz)
        self.factor = deep_noise.factor(self.taps)
        self.settling = (DEEP_ORDER + 1) * self.taps
        self._retained = retained * self._size
        self._pause, self.count, self.length, self._sent = pause, count, self._retained, True
        self._begin_attack(0)
        self.room = self.length + self._size
        self.blocks = <Measured *>PyMem_Calloc(count, sizeof(Measured))
        self.samples = <short *>PyMem_Calloc(self.room, sizeof(short))
        self.stages[0] = <int *>PyMem_Calloc(DEEP_ORDER * (self.taps + self._size), sizeof(int))
        if self.blocks == NULL or self.samples == NULL or self.stages[0] == NULL:
            raise MemoryError
        for stage in range(1, DEEP_ORDER):
            self.stages[stage] = self.stages[stage - 1] + self.taps + self._size
        self.high = self.stages[DEEP_ORDER - 1] + self.taps

    def __dealloc__(self):
        PyMem_Free(self.blocks)
        PyMem_Free(self.samples)
        PyMem_Free(self.stages[0])

    cdef int receive_bytes(
        self, const unsigned char *data, Py_ssize_t count, const short *table
    ) except -1:
        """Do the same as `_receive`. `table` has the sample of each byte; NULL if the bytes are
        samples.
        """
        cdef short *into
        cdef Py_ssize_t at
        if self.length + count > self.room:
            self.make_room(count)
        into = self.samples + self.length
        if table == NULL:
            memcpy(into, data, count * sizeof(short))
        else:
            for at in range(count):
                into[at] = table[data[at]]
        self.length += count
        self._total += count
        return 0

    def _receive(self, samples):
        """Add samples to the stream. `_skim` and `_take` then take the blocks that are complete."""
        cdef Py_buffer view
        PyObject_GetBuffer(samples, &view, PyBUF_SIMPLE)
        try:
            if view.itemsize != sizeof(short):
                raise TypeError("the samples must have 16 bits")
            self.receive_bytes(<const unsigned char *>view.buf, view.len // sizeof(short), NULL)
        finally:
            PyBuffer_Release(&view)

    cdef int make_room(self, Py_ssize_t count) except -1:
        """Forget the samples that are no longer needed. Leave room for `count` more, and for some
        after them.
        """
        cdef Py_ssize_t kept = self._retained + self._total - self._number * self._size
        cdef Py_ssize_t room = kept + kept // 4 + count
        cdef short *moved
        memmove(self.samples, self.samples + self.length - kept, kept * sizeof(short))
        self.length = kept
        if room > self.room or 2 * room < self.room:
            moved = <short *>PyMem_Realloc(self.samples, room * sizeof(short))
            if moved == NULL:
                raise MemoryError
            self.samples, self.room = moved, room
        return 0

    cdef bint is_left(self) noexcept:
        return (self._number + 1) * self._size <= self._total

    cdef void measure(self, Measured *block) noexcept:
        """Measure the next block: its energy and level, its first audible sample, and the end of
        its last one.

        The last two are -1 if no sample is audible. `measured_blocks` of `_blocks_interpreted.py`
        tells the rules.
        """
        cdef const short *samples = (
            self.samples + self.length - self._total + self._number * self._size
        )
        cdef Py_ssize_t at, size = self._size
        cdef long long power = 0, rest
        cdef int total = 0, first = -1, last = -1, above, below, offset, own, similar
        cdef short lowest = samples[0], highest = samples[0]
        for at in range(size):
            power += <int>samples[at] * <int>samples[at]
        for at in range(size):
            total += samples[at]
            lowest = samples[at] if samples[at] < lowest else lowest
            highest = samples[at] if samples[at] > highest else highest
        block.offset = self.offset
        block.mean = total // size
        if highest - lowest < MIN_AUDIBLE and -SAME_OFFSET <= block.mean - self.mean <= SAME_OFFSET:
            block.offset = (
                block.mean if total >= MIN_OFFSET * size or total <= -MIN_OFFSET * size else 0
            )
        offset = block.offset
        own = block.mean - offset
        # one branch, which a processor predicts: the first comparison alone is true at random
        similar = SIMILAR * abs(block.mean - self.mean)
        if (abs(own) >= MIN_OFFSET) & (similar <= abs(own)) & (similar <= abs(block.mean)):
            rest = total - offset * size
            if SHARE_UNDER * rest * rest >= SHARE_OVER * size * (
                power + offset * (offset * size - 2 * <long long>total)
            ):
                offset = block.mean
        block.energy = block.power = 0
        self.is_constant = highest == lowest == (samples - 1)[0]
        self.is_filtered = not self.is_constant or self.constant < self.settling
        if self.is_filtered:
            self.sum_squares(samples, size, &block.energy, &block.power)
        power += offset * (offset * size - 2 * <long long>total)
        block.energy //= 16 * size
        block.power = min(block.power, power) // size
        above, below = offset + MIN_AUDIBLE, offset - MIN_AUDIBLE
        if highest >= above or lowest <= below:
            first, last = self.audible(samples, below, above, 3 * MIN_AUDIBLE // 4)
            at = -size
            while at < 0 and below < samples[at] < above:
                at += 1
            if last >= 0 and not at:
                first, last = self.audible(samples, below, above, 0)
        block.first, block.last = first, last
        block.level = self.level_of(block.energy, block.power)

    cdef (int, int) audible(self, const short *samples, int below, int above, int least) noexcept:
        """Return the position of the first sample of the block that is not between `below` and
        `above`, and not below `least` without deep noise, and the position after the last one;
        both are -1 if there is none.
        """
        cdef int first = 0, last = self._size
        while last and (below < samples[last - 1] < above or abs(self.high[last - 1]) < least):
            last -= 1
        if not last:
            return -1, -1
        while below < samples[first] < above or abs(self.high[first]) < least:
            first += 1
        return first, last

    cdef void sum_squares(
        self, const short *samples, Py_ssize_t count, long long *energy, long long *power
    ) noexcept:
        """Add the squares of `count` samples after the filter, times 16, and without it. Both are
        without deep noise (`bench.sound.deep_noise`). The samples without it are in `high`.
        """
        cdef Py_ssize_t at, taps = self.taps, lag = self._lag
        cdef int *once = self.stages[0] + taps
        cdef int *twice = self.stages[1] + taps
        cdef int *high = self.high
        cdef long long factor = self.factor, of_filtered = 0, of_high = 0
        cdef long long sums[DEEP_ORDER]
        cdef int sample, filtered
        memcpy(sums, self.sums, sizeof(sums))
        for at in range(count):
            sample = samples[at]
            sums[0] += sample - samples[at - taps]
            sample -= <int>(sums[0] * factor >> DEEP_SHIFT)
            once[at] = sample
            sums[1] += sample - once[at - taps]
            sample -= <int>(sums[1] * factor >> DEEP_SHIFT)
            twice[at] = sample
            sums[2] += sample - twice[at - taps]
            sample -= <int>(sums[2] * factor >> DEEP_SHIFT)
            high[at] = sample
            of_high += <long long>sample * sample
            filtered = 4 * sample - 3 * high[at - lag]
            of_filtered += <long long>filtered * filtered
        energy[0], power[0] = of_filtered, of_high
        memcpy(self.later_sums, sums, sizeof(sums))

    cdef long long level_of(self, long long energy, long long power) noexcept:
        cdef long long level, loudness
        level = (energy + self.earlier[0] + self.earlier[1] + self.earlier[2]) // SMOOTHED_BLOCKS
        if not (
            FAINT_ENERGY < self._noise_power < self._noise_energy
            and self._noise_energy < self._noise_power * BACKGROUND_MAX_GAIN
        ):
            return level
        loudness = (
            power + self.earlier_power[0] + self.earlier_power[1] + self.earlier_power[2]
        ) // SMOOTHED_BLOCKS
        return max(level, loudness * self._noise_energy // self._noise_power)

    cdef long long end_in_rest(self) noexcept:
        cdef long long start = self._number * self._size, energy = 0, power = 0
        cdef Py_ssize_t count = self._total - start, at, last = 0
        cdef const short *rest = self.samples + self.length - count
        if not self._sounding or self._quiet or not count:
            return self._last
        self.sum_squares(rest, count, &energy, &power)
        for at in range(count):
            if (
                abs(rest[at] - self.offset) >= MIN_AUDIBLE
                and abs(self.high[at]) >= 3 * MIN_AUDIBLE // 4
            ):
                last = at + 1
        energy = self.level_of(energy // (16 * self._size), power // self._size)
        if last and energy * END_RATIO_UNDER > END_RATIO_OVER * self._behind_sound:
            return start + last
        return self._last

    def _end_in_rest(self):
        """Return the position in the stream after the last audible sample of the sound so far.

        It may be in the next block, which is not complete, as if silence followed. If the service
        stops sending, nothing completes this block.
        """
        return self.end_in_rest()

    cdef void store(self, const Measured *block) noexcept:
        cdef int stage
        self.earlier[2] = self.earlier[1]
        self.earlier[1] = self.earlier[0]
        self.earlier[0] = block.energy
        self.earlier_power[2], self.earlier_power[1] = self.earlier_power[1], self.earlier_power[0]
        self.earlier_power[0] = block.power
        self.blocks[self._number % self.count] = block[0]
        self.mean, self.offset = block.mean, block.offset
        self.constant = self.constant + self._size if self.is_constant else 0
        if self.is_filtered:
            memcpy(self.sums, self.later_sums, sizeof(self.sums))
            for stage in range(DEEP_ORDER):
                memmove(
                    self.stages[stage], self.stages[stage] + self._size, self.taps * sizeof(int)
                )
        self._group += block.energy
        self._group_power += block.power
        self._number += 1

    cdef int skim(self, bint begins) except -1:
        """Take the next blocks that need no decision: silence without a sound, and the continuation
        of a sound. If `begins` is True, also those of a possible sound or tone, up to the next
        decision about it.

        Return the sum of `LEFT` if another block is left, of `CONTINUED` if a sound was continued,
        and of `TAKEN` if the last taken block needs a decision. It is then the last one of a group.
        """
        cdef Measured block
        cdef int continued = 0, taken
        cdef bint is_known = self._behind is not None, is_loud
        cdef long long behind = self._behind if is_known else 0, number
        while self.is_left() and (self._sounding or self._onset is None or begins):
            self.measure(&block)
            taken, number = 0, self._number
            if not (number + 1) % GROUP_BLOCKS:
                if not is_known or not self.ends_group(&block, continued):
                    break
                behind, taken = self._behind, IS_TAKEN
            if self._sounding:
                if (
                    block.last >= 0
                    and block.level * END_RATIO_UNDER > END_RATIO_OVER * self._behind_sound
                ):
                    continued = IS_CONTINUED
                    self.sound_until(number * self._size + block.last)
                elif self._moved or self._quiet + 1 >= self._pause:
                    return continued | IS_LEFT | taken
                else:
                    self._quiet += 1
            else:
                is_loud = (
                    is_known
                    and block.first >= 0
                    and block.level * RISE_RATIO_UNDER > RISE_RATIO_OVER * behind
                )
                if (is_loud or self._onset is not None) and not (
                    begins and self.awaits_more(number, is_loud)
                ):
                    return continued | IS_LEFT | taken
                if self._suspect is not None:
                    self._tone_last = number
                elif self._onset is not None:
                    self._loud += is_loud
                elif is_loud:
                    self._onset, self._loud = number, 1
            if not taken:
                self.store(&block)
        return continued | (IS_LEFT if self.is_left() else 0)

    cdef bint awaits_more(self, long long number, bint is_loud) except -1:
        """Return whether nothing is decided about a possible sound or tone with the block
        `number`.
        """
        cdef long long count
        if self._onset is None:
            return True
        if self._suspect is not None:
            return is_loud and number - self._tone_checked < GROUP_BLOCKS
        count = number + 1 - <long long>self._onset
        return count < RISE_WINDOW_BLOCKS or (
            self._loud + is_loud >= RISE_LOUD_BLOCKS
            and (count - RISE_WINDOW_BLOCKS) % RISE_CHECK_BLOCKS != 0
        )

    def _skim(self):
        return self.skim(True)

    cdef bint is_louder(self, const Measured *block) noexcept:
        """Do the same as `_is_louder` of `OnsetDetector` for the group that this block ends."""
        cdef long long number
        if block.power > self._unheard:
            return True
        for number in range(self._number + 1 - GROUP_BLOCKS, self._number):
            if self.place(number).power > self._unheard:
                return True
        return False

    cdef bint ends_group(self, const Measured *block, bint is_continued) except -1:
        """Take the last block of a group, and apply the end of the group as
        `OnsetDetector._end_group` does.

        Return False, without an effect, if that needs a decision: about a tone, about noise after a
        voice, about the start of the stream, or about silence that was not sent.
        """
        cdef long long mean = (self._group + block.energy) // GROUP_BLOCKS, same, peak = self._peak
        cdef bint holds = False
        if (
            not self._sent
            or self._number + 1 == BACKGROUND_SETTLED_BLOCKS
            or self._number + 1 == BACKGROUND_SETTLED_BLOCKS + GROUP_BLOCKS
        ):
            return False
        if self._sounding:
            peak = max(peak, mean)
            # in noise, the uncertainty of the sound depends on the peak
            if self._number < self._revised and self.is_louder(block):
                return False
            if is_continued and peak != self._peak and self._behind_start >= SILENCE_ENERGY:
                return False
            same = 1
            if (
                max(mean, self._level) * TONE_SAME_RATIO_UNDER
                <= min(mean, self._level) * TONE_SAME_RATIO_OVER
            ):
                same = self._same + 1
                if (
                    same >= TONE_HELD_GROUPS
                    and (same - TONE_HELD_GROUPS) % TONE_RECHECK_GROUPS == 0
                ):
                    return False
                holds = self._tone
            if same % TONE_FOLLOWING_GROUPS == 0:
                return False
            if (
                not holds
                and self._quiet < 2 * GROUP_BLOCKS
                and mean * BACKGROUND_PLATEAU_RATIO < peak
                and self.are_even(block.level)
            ):
                return False
            if same == 1:
                self._level, self._tone = mean, False
            self._same, self._peak, self._noise = same, peak, 0
        elif self._suspect is not None:
            self._noise, holds = 0, True
        elif mean < SILENCE_ENERGY:
            self._noise, self._streams = 0, False
        else:
            self._noise += 1
            self._streams = self._streams or self._noise >= BACKGROUND_STREAMED_GROUPS
        self.store(block)
        self._group = 0
        self._follow_loudness(mean)
        if not holds:
            self._add_group(mean)
        return True

    cdef bint are_even(self, long long level) noexcept:
        """Return whether the last `BACKGROUND_PLATEAU_BLOCKS`, of which the next one has this
        level, are steady.
        """
        cdef long long highest = level, lowest = level, number
        cdef const Measured *block
        for number in range(self._number - BACKGROUND_PLATEAU_BLOCKS + 1, self._number):
            block = self.place(number)
            level = 0 if block == NULL else block.level
            highest, lowest = max(highest, level), min(lowest, level)
        return highest * BACKGROUND_EVEN_RATIO_UNDER <= lowest * BACKGROUND_EVEN_RATIO_OVER

    def _take(self):
        """Take the next block, and return it as `_at` does."""
        cdef Measured block
        self.measure(&block)
        self.store(&block)
        return block.energy, block.level, block.first, block.last, block.power

    def _follow_loudness(self, long long mean):
        """Note the power of a group that has ended in that of the loudest recent part, which falls
        by 1 dB a second.

        If its mean energy is above that of noise, the group is also the last part that is certainly
        no noise. Between sounds, note how loud noise is with the filter and without it.
        """
        cdef long long power = self._group_power // GROUP_BLOCKS
        self._group_power = 0
        self._recent = max(power, self._recent - self._recent // END_FADING_PART)
        if power * END_NEAR_RATIO >= self._recent:
            self._near = self._number
        if mean > self._loudest_noise:
            self._certain = self._number
        if self._sounding or self._onset is not None:
            return
        self._noise_energy = (
            self._noise_energy * (BACKGROUND_AVERAGED_GROUPS - 1) + mean
        ) // BACKGROUND_AVERAGED_GROUPS
        self._noise_power = (
            self._noise_power * (BACKGROUND_AVERAGED_GROUPS - 1) + power
        ) // BACKGROUND_AVERAGED_GROUPS

    def _sound_until(self, long long last):
        """Note the end of the sound so far, and how far its loudest recent part is before it.

        In noise, that is at the latest the last part that is certainly louder than the noise. Later
        groups do not count: how many of them the same chunk contains is chance.
        """
        self.sound_until(last)

    cdef void sound_until(self, long long last) noexcept:
        self._quiet, self._last, self._near_last = 0, last, self._near
        if self._behind_sound >= SILENCE_ENERGY:
            self._near_last = min(self._near, self._certain)

    @property
    def fading_ns(self):
        """The uncertainty of the sound's end if it ends now: the time since it was near its loudest
        recent part.
        """
        return self.fading()

    cdef long long fading(self) noexcept:
        cdef long long fading = (self._last + self._size - 1) // self._size - self._near_last
        if fading < END_QUIET_BLOCKS:
            return 0
        return (fading + GROUP_BLOCKS) * BLOCK_MS * (SECOND_NS // 1000)

    def _add_group(self, long long mean):
        """Store the mean energy of a group. A fifth of the stored groups are quieter than the
        background.

        A voice is no background: while a sound lasts without a quiet group, groups are stored only
        after `BACKGROUND_UNBROKEN_GROUPS` of them. The background has then become louder.
        """
        cdef long long behind
        cdef Py_ssize_t at, place
        if self._sounding and mean > max(
            self._behind_sound * END_RATIO_OVER // END_RATIO_UNDER, FAINT_ENERGY
        ):
            self._unbroken += 1
            if self._unbroken <= BACKGROUND_UNBROKEN_GROUPS:
                return
        else:
            self._unbroken = 0
        if self.group_count == BACKGROUND_STORED_GROUPS:
            for at in range(BACKGROUND_STORED_GROUPS):
                if self.ranked[at] == self.groups[self.next_group]:
                    memmove(
                        &self.ranked[at],
                        &self.ranked[at + 1],
                        (BACKGROUND_STORED_GROUPS - 1 - at) * sizeof(long long),
                    )
                    break
            self.group_count -= 1
        place = self.group_count
        while place and self.ranked[place - 1] > mean:
            self.ranked[place] = self.ranked[place - 1]
            place -= 1
        self.ranked[place] = mean
        self.groups[self.next_group] = mean
        self.next_group = (self.next_group + 1) % BACKGROUND_STORED_GROUPS
        self.group_count += 1
        if self._behind is None:
            return
        behind = self.ranked[self.group_count // BACKGROUND_QUANTILE_PART]
        self._behind = behind
        if self.ranked[0] > max(
            self._behind_sound * END_RATIO_OVER // END_RATIO_UNDER, FAINT_ENERGY
        ):
            self._behind_sound = behind

    def _fill_groups(self, long long level):
        """Store this mean energy for all groups."""
        for place in range(BACKGROUND_STORED_GROUPS):
            self.groups[place] = self.ranked[place] = level
        self.group_count, self.next_group = BACKGROUND_STORED_GROUPS, 0

    def _group_levels(self):
        """Return the mean energies of the stored groups, in their order."""
        first = self.next_group if self.group_count == BACKGROUND_STORED_GROUPS else 0
        return [
            self.groups[(first + place) % BACKGROUND_STORED_GROUPS]
            for place in range(self.group_count)
        ]

    def _forget_levels(self):
        """Let the level of the next block be independent of the blocks before it."""
        memset(self.earlier, 0, sizeof(self.earlier))
        memset(self.earlier_power, 0, sizeof(self.earlier_power))

    cdef const Measured *place(self, long long number) noexcept:
        """Return a stored block, or NULL."""
        if number < 0 or number >= self._number or number < self._number - self.count:
            return NULL
        return &self.blocks[number % self.count]

    def _at(self, long long number):
        """Return the `Block` of `_blocks_interpreted.py` of a stored block."""
        cdef const Measured *block = self.place(number)
        if block == NULL:
            return NO_BLOCK
        return block.energy, block.level, block.first, block.last, block.power

    def _levels(self, long long first, long long last):
        """Return the levels of the blocks from `first` to `last`."""
        return self.listed(first, last, False)

    def _powers(self, long long first, long long last):
        """Return the mean squares of the samples, without a filter, of the blocks from `first` to
        `last`.
        """
        return self.listed(first, last, True)

    cdef list listed(self, long long first, long long last, bint powers):
        cdef list found = []
        cdef const Measured *block
        cdef long long number
        for number in range(first, last + 1):
            block = self.place(number)
            found.append(0 if block == NULL else block.power if powers else block.level)
        return found

    @property
    def _uncertainty_ns(self):
        return self.uncertainty()

    cdef long long uncertainty(self) noexcept:
        cdef long long error_ns = 0
        cdef Py_ssize_t at = 0
        if self._behind_start >= SILENCE_ENERGY:
            while self._peak < errors_ns[at][0] * self._behind_start:
                at += 1
            error_ns = min(errors_ns[at][1], self._start * BLOCK_MS * (SECOND_NS // 1000))
        error_ns = max(error_ns + self._lead_ns, self._early_ns)
        return max(error_ns, max(self._error_ns, self._faint_ns))

    cdef long long power_of(self, long long number) noexcept:
        cdef const Measured *block = self.place(number)
        return 0 if block == NULL else block.power

    def _begin_attack(self, long long start):
        """Begin to follow a sound that starts in this block."""
        self._start = self._followed = start
        self._rises = [(0, 0)]
        self._loudest = self._error_ns = self._faint_ns = 0

    def _follow_attack(self):
        """Follow the sound up to the last block. Return the number of blocks up to the level of its
        loudest part.

        Also set the power above which a later block may change this number.
        """
        cdef long long first = self._followed, after = self._number, number, power, last
        cdef long long loudest = 0, found = -1
        cdef long long known = max(first, after - RISE_AMONG_BLOCKS + 1)
        for _, rise in self._rises:
            last = rise
        for number in range(first, after):
            loudest = max(loudest, self.power_of(number))
        if loudest > last:  # otherwise no block is louder than all before
            for number in range(first, known):
                power = self.power_of(number)
                power = min(power, self.lasting(number)) if power > last else 0
                if power > last:
                    last = power
                    self._rises.append((number - self._start, last))
        if loudest > self._loudest:
            self._loudest = max(self._loudest, self.loudest_group(first, after))
        self._followed = known
        for at, rise in self._rises:
            power = rise
            if power * RISE_CERTAIN_RATIO >= self._loudest:
                found = at
                break
        self._unheard = min(last, self._loudest)
        for number in range(known, after):
            if found < 0 or self.power_of(number) > last:
                self._unheard = 0
        return known - self._start if found < 0 else found

    cdef long long lasting(self, long long number) noexcept:
        """Return the power that `RISE_LASTING_BLOCKS` of `RISE_AMONG_BLOCKS` blocks from this one
        on have.
        """
        cdef long long powers[RISE_AMONG_BLOCKS]
        cdef Py_ssize_t at, place
        cdef long long power
        for at in range(RISE_AMONG_BLOCKS):
            power, place = self.power_of(number + at), at
            while place and powers[place - 1] < power:
                powers[place] = powers[place - 1]
                place -= 1
            powers[place] = power
        return powers[RISE_LASTING_BLOCKS - 1]

    cdef long long loudest_group(self, long long first, long long after) noexcept:
        cdef long long number, total = 0, loudest = 0
        for number in range(first, after):
            total += self.power_of(number)
            if number - first >= GROUP_BLOCKS:
                total -= self.power_of(number - GROUP_BLOCKS)
            loudest = max(loudest, total)
        return loudest // GROUP_BLOCKS

    def _loudest_group(self, long long first, long long after):
        """Return the power of the loudest `GROUP_BLOCKS` in sequence, of those from `first` to the
        one before `after`."""
        return self.loudest_group(first, after)

    def _are_voiced(self, long long block, long long count=10):
        """Return whether `count` blocks from this block on are voiced (`bench.sound.tones`)."""
        cdef long long start, size
        start, size = self.narrow(block, count)
        return is_voiced(self.samples + start, self._lag, size, VOICED)

    def _are_clearly_voiced(self, long long block, long long count):
        """Return whether the samples of these blocks are clearly voiced."""
        cdef long long start, size, part, parts, first, after
        cdef const short *samples
        start, size = self.narrow(block, count)
        parts = max(1, size // PART)
        for part in range(parts):
            first, after = size * part // parts, size * (part + 1) // parts
            samples = self.samples + start + first * self._lag
            if not is_voiced(samples, self._lag, after - first, CLEARLY_VOICED):
                return False
        return True

    cdef (long long, long long) narrow(self, long long block, long long count) noexcept:
        """Return the place of the first sample of these blocks, and the number of their samples at
        8 kHz.

        The buffer has more samples than the `retained` blocks before the next block: how many
        more depends on how the stream was divided, so they do not count.
        """
        cdef long long next_block = self.length - self._total + self._number * self._size
        cdef long long start = next_block + (block - self._number) * self._size
        cdef long long end = min(start + count * self._size, next_block)
        start = max(next_block - self._retained, start)
        return start, max(0, (end - start + self._lag - 1) // self._lag)

    def _samples(self, long long block, long long count=10):
        """Return the samples of `count` blocks from this block on, resampled to 8 kHz. Those that
        are not among the last `retained` blocks lack, and those that were not taken yet.
        """
        cdef long long start, size, at
        cdef bytes found
        cdef short *into
        start, size = self.narrow(block, count)
        found = PyBytes_FromStringAndSize(NULL, size * sizeof(short))
        into = <short *>PyBytes_AS_STRING(found)
        for at in range(size):
            into[at] = self.samples[start + at * self._lag]
        return np.frombuffer(found, np.int16)


cdef bint is_voiced(
    const short *samples, Py_ssize_t lag, long long count, double minimum
) except -1:
    """Do the same as `is_voiced` of `bench.sound.tones` for each `lag`-th of these samples.

    All sums are of whole numbers below 2 ** 53. So they are exact, and each product of two has the
    same rounding.
    """
    cdef Py_ssize_t size = count // 2, at, shift
    cdef long long total = 0
    cdef double mean, product, energy = 0, earlier, later, share
    cdef bint has_fallen = False
    cdef double *wide
    if size <= AFTER_LAGS:
        return False
    wide = <double *>PyMem_Malloc(size * sizeof(double))
    if wide == NULL:
        raise MemoryError
    try:
        for at in range(size):
            wide[at] = samples[2 * at * lag] + samples[(2 * at + 1) * lag]
            total += <long long>wide[at]
        mean = total // size - (total % size < 0)
        for at in range(size):
            wide[at] -= mean
            energy += wide[at] * wide[at]
        earlier = later = energy
        for shift in range(1, AFTER_LAGS):
            later -= wide[shift - 1] * wide[shift - 1]
            earlier -= wide[size - shift] * wide[size - shift]
            product = correlated(wide, wide + shift, size - shift)
            share = product * product if product > 0 else 0
            energy = later * earlier
            has_fallen = has_fallen or share < FALLEN * energy
            if has_fallen and shift >= FIRST_LAG and share > minimum * energy:
                return True
        return False
    finally:
        PyMem_Free(wide)


cdef double correlated(const double *first, const double *second, Py_ssize_t count) noexcept:
    """Return the sum of products. Four sums are independent, so they are added at once."""
    cdef double sums[4]
    cdef Py_ssize_t at = 0, part
    sums[0] = sums[1] = sums[2] = sums[3] = 0
    while at + 4 <= count:
        for part in range(4):
            sums[part] += first[at + part] * second[at + part]
        at += 4
    while at < count:
        sums[0] += first[at] * second[at]
        at += 1
    return sums[0] + sums[1] + sums[2] + sums[3]


cdef object new_tuple = tuple.__new__, replace = msgspec.structs.replace
cdef long long SECOND_NS = NS_PER_S


cdef long long delay_ns(long long gap_ns, long long limit_ns) noexcept:
    """Do the same as `_delay_ns` of `bench.observe.reply_detector`."""
    return min(limit_ns, max(0, 2 * limit_ns - gap_ns))


def continue_sounds(detector, list sounds not None, limits, list continued not None):
    """Apply the next usual deltas of `sounds`, after those that are in `continued`. Add each to
    `continued`.

    The result is the same as if `ReplyDetector.continued` applied each of them alone. Return the
    result of `_skim` for a delta whose sound was received, but not applied, because it is not
    usual; None if there is none.

    `limits` are (the latest arrival, `GAP_NS`, `MAX_HOLD_NS`, `KNOWN_NS`, `HELD_NS`, the types of
    `_held` and `playing`).
    """
    cdef Blocks blocks = detector._onsets
    cdef long long until_ns, gap_ns, max_hold_ns, known_ns, held_ns
    until_ns, gap_ns, max_hold_ns, known_ns, held_ns, HeldDelta, PlaybackTime = limits
    playout, audio, held = detector.playout, detector.audio, detector._held
    if detector._cut or detector._early is not None or detector._stream.rest:
        return None
    cdef bytes expansion = detector.expansion
    cdef const short *table = <const short *>PyBytes_AS_STRING(expansion) if expansion else NULL
    cdef long long rate_hz = audio.rate_hz, sample_bytes = audio.sample_bytes
    cdef long long bytes_per_s = audio.bytes_per_s
    cdef long long played_ns = playout.until_ns, earliest_ns = playout._earliest_until_ns, first_ns
    cdef long long last_ns
    cdef long long due_first_ns = playout._due_ns[0], due_last_ns = playout._due_ns[1]
    cdef long long pause_ns = detector._pause_ns
    cdef long long end = detector._end, last = detector._last, onset_ns, fading_ns
    cdef long long at_ns, error_ns, size, count, duration_ns, audible, until = 0, oldest, heard
    cdef long long silent_size = -1
    cdef bint speaking = detector._speaking, has_changed = False, is_track = playout.is_track
    cdef bint continues
    cdef int skimmed = 0
    name, skimmed_delta, template, silence = detector._reply_id, None, None, None
    for place in range(len(continued), len(sounds)):
        sound = sounds[place]
        at_ns, error_ns, size = sound[1], sound[2], sound[4]
        if at_ns > until_ns or blocks._onset is not None or size % sample_bytes:
            break
        if played_ns and at_ns - played_ns >= gap_ns:
            break
        count, duration_ns = size // sample_bytes, size * SECOND_NS // bytes_per_s
        if max(played_ns, at_ns) + duration_ns > at_ns + max_hold_ns:
            break
        data = sound[6]
        blocks._sent = True
        blocks.receive_bytes(<const unsigned char *>PyBytes_AS_STRING(data), count, table)
        skimmed = blocks.skim(False)
        if skimmed & IS_LEFT:
            skimmed_delta = skimmed
            break
        heard = blocks.end_in_rest()
        continues = bool(skimmed) or heard > blocks._last
        if continues:
            until = heard - blocks._total + count
            audible = min(0, until)
            if not speaking or (end + audible - last) * SECOND_NS >= pause_ns * rate_hz:
                skimmed_delta = skimmed
                break
        elif speaking and (
            (end + count - last) * sample_bytes * SECOND_NS // bytes_per_s >= pause_ns + known_ns
        ):
            skimmed_delta = skimmed
            break
        has_changed = True
        # as `PlayoutQueue.play`
        if is_track:
            first_ns, last_ns = at_ns - error_ns, at_ns
            played_ns = max(played_ns, at_ns + duration_ns)
        else:
            first_ns = max(
                due_first_ns,
                at_ns - error_ns - delay_ns(at_ns - error_ns - played_ns, gap_ns),
            )
            last_ns = max(due_last_ns, at_ns - delay_ns(at_ns - earliest_ns, gap_ns))
            due_first_ns, due_last_ns = first_ns + duration_ns, last_ns + duration_ns
            earliest_ns = max(earliest_ns, at_ns - error_ns) + duration_ns
            played_ns = max(played_ns, at_ns) + duration_ns
        if template is not sound[0] or size != silent_size:
            template, silent_size = sound[0], size
            silence = replace(template, payload_bytes=size, payload=StrippedAudio())
            silence_of_reply = replace(silence, response_id=name, item_id=name)
        if continues:
            onset_ns, fading_ns = blocks.uncertainty(), blocks.fading()
            payload = StrippedAudio(audible, until, onset_ns, end_error_ns=fading_ns)
            event = replace(silence_of_reply, payload=payload)
            last = end + until
            held.clear()
            end += count
        else:
            event = silence_of_reply if speaking else silence
            end += count
            first_ns, last_ns = max(at_ns - error_ns, first_ns), max(at_ns, last_ns)
            playing = new_tuple(PlaybackTime, (last_ns, last_ns - first_ns))
            arrival = new_tuple(Arrival, (at_ns, error_ns, True))
            held.append(new_tuple(HeldDelta, (silence, arrival, end, playing)))
            oldest = end - held_ns * rate_hz // SECOND_NS
            while held[0][2] < oldest:
                held.popleft()
        continued.append(
            new_tuple(
                MatchedDelta, (event, sound[1], sound[2], sound[3], sound[4], sound[5], b"")
            )
        )
    if has_changed:
        detector._end, detector._last, detector._pending = end, last, None
        playout.until_ns, playout._earliest_until_ns = played_ns, earliest_ns
        playout._due_ns = due_first_ns, due_last_ns
    return skimmed_delta
