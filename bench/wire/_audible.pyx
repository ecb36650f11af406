# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The expansion of encoded samples, base64, and the spectra of sounds, in C. `bench.wire.audio`,
`bench.wire.events` and `bench.observe.tones` do the same without a compiler.
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
for place in range(MAX_BINS):
    cosines[place], sines[place] = cos(2 * M_PI * place / MAX_BINS), sin(2 * M_PI * place / MAX_BINS)


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
    """Apply the discrete Fourier transform, in place. `count` is a power of two, at most HALF_BINS.

    Radix 2, decimation in time.
    """
    cdef int at, other = 0, bit, size = 2, group, first, step
    cdef double real_part, imaginary_part, x, y
    for at in range(1, count):  # in the order of the reversed bits
        bit = count >> 1
        while other & bit:
            other ^= bit
            bit >>= 1
        other |= bit
        if at < other:
            real[at], real[other] = real[other], real[at]
            imaginary[at], imaginary[other] = imaginary[other], imaginary[at]
    while size <= count:
        step = MAX_BINS // size
        for group in range(count // size):
            first = group * size
            for at in range(size // 2):
                other = first + at + size // 2
                x, y = cosines[at * step], -sines[at * step]
                real_part = real[other] * x - imaginary[other] * y
                imaginary_part = real[other] * y + imaginary[other] * x
                real[other] = real[first + at] - real_part
                imaginary[other] = imaginary[first + at] - imaginary_part
                real[first + at] += real_part
                imaginary[first + at] += imaginary_part
        size *= 2


def is_no_tone(values, int bins, int first, int lowest, int highest, int lines, double share):
    """Return True if the spectrum of `values`, from the bin `first` on, certainly has more than a
    few lines.

    This is so if one of its first `lines` peaks is not one of the bins from `lowest` to `highest`,
    or if more than `share` of its energy is further from these peaks than `first` bins. `values`
    is an array of at most `bins` doubles, after which there are zeros. `bins` is a power of two, at
    most 2048.
    """
    cdef Py_buffer view
    cdef double real[HALF_BINS]
    cdef double imaginary[HALF_BINS]
    cdef double powers[HALF_BINS + 1]
    cdef double even, even_i, odd, odd_i, x, y, largest, next_largest, total = 0, rest
    cdef int half = bins // 2, at, peak, line, step = MAX_BINS // bins
    cdef Py_ssize_t count
    if bins > MAX_BINS or bins & (bins - 1):
        return False
    PyObject_GetBuffer(values, &view, PyBUF_SIMPLE)
    try:
        count = view.len // sizeof(double)
        if view.itemsize != sizeof(double) or count > bins:
            return False
        memset(real, 0, sizeof(real))
        memset(imaginary, 0, sizeof(imaginary))
        # even samples as real, odd ones as imaginary parts: the transform is half as long
        for at in range(count // 2):
            real[at] = (<double *>view.buf)[2 * at]
            imaginary[at] = (<double *>view.buf)[2 * at + 1]
        if count & 1:
            real[count // 2] = (<double *>view.buf)[count - 1]
    finally:
        PyBuffer_Release(&view)
    transform(real, imaginary, half)
    memset(powers, 0, sizeof(powers))
    powers[half] = 4 * (real[0] - imaginary[0]) ** 2
    for at in range(first, half):
        even, even_i = real[at] + real[half - at], imaginary[at] - imaginary[half - at]
        odd, odd_i = imaginary[at] + imaginary[half - at], real[half - at] - real[at]
        x, y = cosines[at * step], -sines[at * step]
        # four times the power: both sums above are twice the even and the odd part
        powers[at] = (even + odd * x - odd_i * y) ** 2 + (even_i + odd * y + odd_i * x) ** 2
    for at in range(first, half + 1):
        total += powers[at]
    rest = total
    for line in range(lines):
        peak, largest, next_largest = 0, 0, 0
        for at in range(first, half + 1):
            if powers[at] > largest:
                next_largest, largest, peak = largest, powers[at], at
            elif powers[at] > next_largest:
                next_largest = powers[at]
        if next_largest * CERTAINLY > largest:
            return False
        if not lowest <= peak <= highest:
            return True
        for at in range(max(peak - first, 0), min(peak + first, half) + 1):
            rest -= powers[at]
            powers[at] = 0
        if rest <= share * total * CERTAINLY:
            return False
    return True
