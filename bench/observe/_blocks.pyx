# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The blocks of a stream in C, and the usual ones among them. `_blocks_interpreted.py` does the same without a compiler."""

import numpy as np

from bench.catalogue.metrics import AUDIBLE
from bench.observe import _blocks_interpreted as rules
from bench.observe._blocks_interpreted import CONTINUED, LEFT, NO_BLOCK

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Realloc
from libc.string cimport memcpy, memmove, memset

cdef int LOUD = AUDIBLE, BLOCK_MS = rules.BLOCK_MS, IS_LEFT = LEFT, IS_CONTINUED = CONTINUED
cdef long long FALL_OVER = rules.FALL[0], FALL_UNDER = rules.FALL[1], RISE_OVER = rules.RISE[0]
cdef long long RISE_UNDER = rules.RISE[1], GROUP = rules.GROUP, FAINT = rules.FAINT, FIFTH = rules.FIFTH

cdef enum:
    SMOOTHED = 4  # as in _blocks_interpreted.py
    GROUPS = 60
assert (SMOOTHED, GROUPS) == (rules.SMOOTHED, rules.GROUPS), "both implementations store the same"


cdef struct Measured:
    long long energy, level
    int first, last


cdef class Blocks:
    """The blocks of a stream at `rate_hz`, and the state of the sound in it.

    The last `count` blocks are stored, and the samples of `retained` blocks before those that were received last. A
    silence of `pause` blocks ends a sound. `bench.observe.onsets` describes the state.
    """

    cdef Measured *blocks
    cdef Py_ssize_t count
    cdef short *samples
    """The last `length` samples of the stream. Those before its start are 0."""
    cdef Py_ssize_t length, room
    cdef long long earlier[SMOOTHED - 1]
    """The energies of the last blocks, for the level of the next one."""
    cdef long long groups[GROUPS]
    cdef long long ranked[GROUPS]
    cdef Py_ssize_t group_count, next_group
    cdef public long long _size, _lag, _retained, _total, _number, _group
    cdef public long long _behind_sound, _lead_ns, _quiet, _last, _pause
    cdef public bint _sounding, _moved
    cdef public object _behind, _onset

    def __init__(self, int rate_hz, Py_ssize_t count, Py_ssize_t retained, int pause):
        self._size = rate_hz * BLOCK_MS // 1000
        self._lag = max(1, rate_hz // 8000)  # the filter is that of 8 kHz at every rate
        self._retained = retained * self._size
        self._pause, self.count, self.length = pause, count, self._retained
        self.room = self.length + self._size
        self.blocks = <Measured *>PyMem_Calloc(count, sizeof(Measured))
        self.samples = <short *>PyMem_Calloc(self.room, sizeof(short))
        if self.blocks == NULL or self.samples == NULL:
            raise MemoryError

    def __dealloc__(self):
        PyMem_Free(self.blocks)
        PyMem_Free(self.samples)

    def _receive(self, samples):
        """Add samples to the stream. `_skim` and `_take` then take the blocks that are complete."""
        cdef Py_buffer view
        cdef Py_ssize_t count
        PyObject_GetBuffer(samples, &view, PyBUF_SIMPLE)
        try:
            if view.itemsize != sizeof(short):
                raise TypeError("the samples must have 16 bits")
            count = view.len // sizeof(short)
            if self.length + count > self.room:
                self.make_room(count)
            memcpy(self.samples + self.length, view.buf, count * sizeof(short))
            self.length += count
            self._total += count
        finally:
            PyBuffer_Release(&view)

    cdef int make_room(self, Py_ssize_t count) except -1:
        """Forget the samples that are no longer needed. Leave room for `count` more, and for some after them."""
        cdef Py_ssize_t kept = min(self.length, self._retained + self._size), room = kept + kept // 4 + count
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
        """Measure the next block: its energy and level, its first audible sample, and the end of its last one.

        The last two are -1 if no sample is audible. The energy is the mean square after a filter. For each sample, the
        filter takes the sample that is `lag` samples earlier, and subtracts three quarters of it.
        """
        cdef const short *samples = self.samples + self.length - self._total + self._number * self._size
        cdef const short *before = samples - self._lag
        cdef Py_ssize_t at, size = self._size
        cdef long long energy = 0
        cdef int filtered, first = -1, last = -1
        for at in range(size):
            filtered = 4 * samples[at] - 3 * before[at]
            energy += <long long>filtered * filtered
        for at in range(size):
            if samples[at] >= LOUD or samples[at] <= -LOUD:
                first = at
                break
        if first >= 0:
            for at in range(size - 1, -1, -1):
                if samples[at] >= LOUD or samples[at] <= -LOUD:
                    last = at + 1
                    break
        block.energy = energy // (16 * size)
        block.first, block.last = first, last
        block.level = (block.energy + self.earlier[0] + self.earlier[1] + self.earlier[2]) // SMOOTHED

    cdef void store(self, const Measured *block) noexcept:
        self.earlier[2], self.earlier[1], self.earlier[0] = self.earlier[1], self.earlier[0], block.energy
        self.blocks[self._number % self.count] = block[0]
        self._group += block.energy
        self._number += 1

    def _skim(self):
        """Take the next blocks that need no decision: silence without a sound, and the continuation of a sound.

        Return the sum of `LEFT` if another block is left, and of `CONTINUED` if a sound was continued.
        """
        cdef Measured block
        cdef int continued = 0
        cdef bint is_known = self._behind is not None
        cdef long long behind = self._behind if is_known else 0
        while self.is_left() and (self._number + 1) % GROUP:
            self.measure(&block)
            if self._sounding:
                if self._lead_ns:
                    break
                if block.last >= 0 and block.level * FALL_UNDER > FALL_OVER * self._behind_sound:
                    self._quiet, self._last, continued = 0, self._number * self._size + block.last, IS_CONTINUED
                elif self._moved or self._quiet + 1 >= self._pause:
                    break
                else:
                    self._quiet += 1
            elif self._onset is not None:
                break
            elif is_known and block.first >= 0 and block.level * RISE_UNDER > RISE_OVER * behind:
                break
            self.store(&block)
        return continued | (IS_LEFT if self.is_left() else 0)

    def _take(self):
        """Take the next block, and return it as `_at` does."""
        cdef Measured block
        self.measure(&block)
        self.store(&block)
        return block.energy, block.level, block.first, block.last

    def _add_group(self, long long mean):
        """Store the mean energy of a group. A fifth of the stored groups are quieter than the background."""
        cdef long long behind
        cdef Py_ssize_t at, place
        if self.group_count == GROUPS:
            for at in range(GROUPS):
                if self.ranked[at] == self.groups[self.next_group]:
                    memmove(&self.ranked[at], &self.ranked[at + 1], (GROUPS - 1 - at) * sizeof(long long))
                    break
            self.group_count -= 1
        place = self.group_count
        while place and self.ranked[place - 1] > mean:
            self.ranked[place] = self.ranked[place - 1]
            place -= 1
        self.ranked[place] = mean
        self.groups[self.next_group] = mean
        self.next_group, self.group_count = (self.next_group + 1) % GROUPS, self.group_count + 1
        if self._behind is None:
            return
        behind = self.ranked[self.group_count // FIFTH]
        self._behind = behind
        if self.ranked[0] > max(self._behind_sound * FALL_OVER // FALL_UNDER, FAINT):
            self._behind_sound = behind

    def _fill_groups(self, long long level):
        """Store this mean energy for all groups."""
        for place in range(GROUPS):
            self.groups[place] = self.ranked[place] = level
        self.group_count, self.next_group = GROUPS, 0

    def _group_levels(self):
        """Return the mean energies of the stored groups, in their order."""
        first = self.next_group if self.group_count == GROUPS else 0
        return [self.groups[(first + place) % GROUPS] for place in range(self.group_count)]

    def _forget_levels(self):
        """Let the level of the next block be independent of the blocks before it."""
        memset(self.earlier, 0, sizeof(self.earlier))

    cdef const Measured *place(self, long long number) noexcept:
        """Return a stored block, or NULL."""
        if number < 0 or number >= self._number or number < self._number - self.count:
            return NULL
        return &self.blocks[number % self.count]

    def _at(self, long long number):
        """Return the energy, the level, the first audible sample and the end of the last one of a stored block."""
        cdef const Measured *block = self.place(number)
        return NO_BLOCK if block == NULL else (block.energy, block.level, block.first, block.last)

    def _levels(self, long long first, long long last):
        """Return the levels of the blocks from `first` to `last`."""
        cdef list levels = []
        cdef const Measured *block
        cdef long long number
        for number in range(first, last + 1):
            block = self.place(number)
            levels.append(0 if block == NULL else block.level)
        return levels

    def _samples(self, long long block, long long count=10):
        """Return the samples of `count` blocks from this block on, resampled to 8 kHz. Those that were forgotten lack."""
        cdef long long start = self.length - self._total + block * self._size, end, at
        cdef bytes found
        cdef short *into
        end = min(start + count * self._size, self.length - self._total % self._size)
        start = max(0, start)
        found = PyBytes_FromStringAndSize(NULL, max(0, (end - start + self._lag - 1) // self._lag) * sizeof(short))
        into = <short *>PyBytes_AS_STRING(found)
        for at in range(start, end, self._lag):
            into[0] = self.samples[at]
            into += 1
        return np.frombuffer(found, np.int16)
