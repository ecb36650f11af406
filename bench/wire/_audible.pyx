# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The expansion of encoded samples, base64, and the spectra of sounds, in C. `bench.wire.audio`,
`bench.wire.events` and `bench.sound.tones` do the same without a compiler.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize

from libc.math cimport M_PI, cos, sin
from libc.string cimport memset

include "base64.pxi"

cdef enum:
    MAX_BINS = 2048
    HALF_BINS = MAX_BINS // 2

cdef double CERTAINLY = 1 + 1e-6
"""The ratio of two powers from which on no rounding error has decided which is larger."""
cdef double cosines[MAX_BINS]
cdef double sines[MAX_BINS]
"""Those of half a turn in 1, 2, 4 … steps, each after the one before: a stage of a transform reads
them in order.
"""
cdef int reversed_bits[HALF_BINS]
cdef int place, steps
for steps in (1 << bit for bit in range(MAX_BINS.bit_length() - 1)):
    for place in range(steps):
        cosines[steps + place] = cos(M_PI * place / steps)
        sines[steps + place] = sin(M_PI * place / steps)
for place in range(HALF_BINS):
    reversed_bits[place] = int(f"{HALF_BINS + place:b}"[:0:-1], 2)


def expanded(data, bytes table not None):
    """Return the 16-bit samples of bytes, as bytes. `table` has the sample of each byte."""
    cdef Py_buffer view
    cdef const unsigned short *samples = <const unsigned short *>PyBytes_AS_STRING(table)
    cdef unsigned short *into
    cdef bytes found
    cdef Py_ssize_t at
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    found = PyBytes_FromStringAndSize(NULL, 2 * view.len)
    into = <unsigned short *>PyBytes_AS_STRING(found)
    for at in range(view.len):
        into[at] = samples[(<const unsigned char *>view.buf)[at]]
    PyBuffer_Release(&view)
    return found


def base64_content(raw, Py_ssize_t count):
    """Return the `count` bytes of a JSON string of base64 without escapes; None if it is none.

    `count` is the result of `bench.wire.events.base64_bytes`, and not 0.
    """
    cdef Py_buffer view
    PyObject_GetBuffer(raw, &view, PyBUF_SIMPLE)
    try:
        return decoded(<const unsigned char *>view.buf + 1, view.len - 2, count)
    finally:
        PyBuffer_Release(&view)


cdef void transform(double *real, double *imaginary, int count) noexcept nogil:
    """Apply the discrete Fourier transform, in place, to `count` values in the order of the reversed
    bits. `count` is a power of two, at most HALF_BINS.

    Radix 2, decimation in time.
    """
    cdef int at, other, half = 1, group, first
    cdef double real_part, imaginary_part, x, y
    while half < count:
        for group in range(count // (2 * half)):
            first = 2 * half * group
            for at in range(first, first + half):
                other = at + half
                x, y = cosines[other - first], sines[other - first]
                real_part = real[other] * x + imaginary[other] * y
                imaginary_part = imaginary[other] * x - real[other] * y
                real[other] = real[at] - real_part
                imaginary[other] = imaginary[at] - imaginary_part
                real[at] += real_part
                imaginary[at] += imaginary_part
        half *= 2


def certain_lines(
    samples,
    bytes window not None,
    int bins,
    int width,
    int lowest,
    int highest,
    int lines,
    double share,
):
    """Return the bins of the lines of a tone, the strongest first; () if the sound is certainly no
    tone; None if rounding may decide.

    It is a tone if the first `lines` peaks of its spectrum, or fewer, are bins from `lowest` to
    `highest`, and at most `share` of its energy is further from them than `width` bins. The bins
    below `width` do not count. `window` has the weight of each sample, as doubles. `bins` is a
    power of two, at most 2048.
    """
    cdef Py_buffer view
    cdef const double *weights = <const double *>PyBytes_AS_STRING(window)
    cdef const short *sound
    cdef double real[HALF_BINS]
    cdef double imaginary[HALF_BINS]
    cdef double powers[HALF_BINS + 1]
    cdef double even, even_i, odd, odd_i, x, y, largest, next_largest, total = 0, rest
    cdef int half = bins // 2, at, place, peak, line, step
    cdef Py_ssize_t count = len(window) // sizeof(double)
    if not 2 <= bins <= MAX_BINS or bins & (bins - 1) or count > bins:
        return None
    step = HALF_BINS // half
    PyObject_GetBuffer(samples, &view, PyBUF_SIMPLE)
    try:
        if view.len != count * <Py_ssize_t>sizeof(short):
            return None
        sound = <const short *>view.buf
        memset(real, 0, half * sizeof(double))
        memset(imaginary, 0, half * sizeof(double))
        # even samples as real, odd ones as imaginary parts: the transform is half as long
        for at in range(count // 2):
            place = reversed_bits[at] // step
            real[place] = sound[2 * at] * weights[2 * at]
            imaginary[place] = sound[2 * at + 1] * weights[2 * at + 1]
        if count & 1:
            real[reversed_bits[count // 2] // step] = sound[count - 1] * weights[count - 1]
    finally:
        PyBuffer_Release(&view)
    transform(real, imaginary, half)
    memset(powers, 0, sizeof(powers))
    powers[half] = 4 * (real[0] - imaginary[0]) ** 2
    for at in range(width, half):
        even, even_i = real[at] + real[half - at], imaginary[at] - imaginary[half - at]
        odd, odd_i = imaginary[at] + imaginary[half - at], real[half - at] - real[at]
        x, y = cosines[half + at], -sines[half + at]
        # four times the power: both sums above are twice the even and the odd part
        powers[at] = (even + odd * x - odd_i * y) ** 2 + (even_i + odd * y + odd_i * x) ** 2
    for at in range(width, half + 1):
        total += powers[at]
    rest = total
    found = []
    for line in range(lines):
        peak, largest, next_largest = 0, 0, 0
        for at in range(width, half + 1):
            if powers[at] > largest:
                next_largest, largest, peak = largest, powers[at], at
            elif powers[at] > next_largest:
                next_largest = powers[at]
        if next_largest * CERTAINLY > largest:
            return None
        if not lowest <= peak <= highest:
            return ()
        found.append(peak)
        for at in range(max(peak - width, 0), min(peak + width, half) + 1):
            rest -= powers[at]
            powers[at] = 0
        if rest * CERTAINLY <= share * total:
            return found
        if rest <= share * total * CERTAINLY:
            return None
    return ()
