# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The detection of audible PCM samples in C. `bench.wire.audio` does the same without a compiler."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize

from bench.catalogue.metrics import AUDIBLE

ctypedef const unsigned char *Text

cdef int LOUD = AUDIBLE
cdef enum:
    PADDING = 0x3D
    NO_SAMPLE = -2
    NOT_BASE64 = -1

cdef const char *ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
cdef unsigned char VALUES[256]
cdef int place
for place in range(256):
    VALUES[place] = 0
for place in range(64):
    VALUES[<unsigned char>ALPHABET[place]] = place


cdef bint is_base64(Text text, Py_ssize_t size) noexcept nogil:
    """Return whether all are characters of RFC 4648 §4 without padding. It has no branch, so that it is vectorized."""
    cdef unsigned char odd = 0, character, lower
    cdef Py_ssize_t at
    for at in range(size):
        character = text[at]
        lower = character | 0x20
        odd |= not (
            (<unsigned char>(lower - 0x61) < 26) | (<unsigned char>(character - 0x30) < 10)
            | (character == 0x2B) | (character == 0x2F)
        )
    return not odd


cdef inline unsigned int group(Text text) noexcept nogil:
    """Return the three bytes of four characters, with the first byte as the highest."""
    return (
        <unsigned int>VALUES[text[0]] << 18 | <unsigned int>VALUES[text[1]] << 12
        | <unsigned int>VALUES[text[2]] << 6 | VALUES[text[3]]
    )


cdef inline bint loud(unsigned int low, unsigned int high) noexcept nogil:
    cdef short sample = <short>(<unsigned short>(low | high << 8))
    return sample >= LOUD or sample <= -LOUD


cdef Py_ssize_t find(Text text, Py_ssize_t size) noexcept nogil:
    """Return the first audible sample, or NO_SAMPLE or NOT_BASE64. Eight characters are three samples."""
    cdef Py_ssize_t at = 0, padding = 0, left
    cdef unsigned int first, second
    if size % 4:
        return NOT_BASE64
    if size:
        padding = 0 if text[size - 1] != PADDING else 1 if text[size - 2] != PADDING else 2
    if not is_base64(text, size - padding):
        return NOT_BASE64
    while at < size:
        left = (size - at) // 4 * 3 - padding  # bytes
        first = group(text + at)
        second = group(text + at + 4) if left > 3 else 0
        if left > 1 and loud(first >> 16, first >> 8 & 0xFF):
            return at // 8 * 3
        if left > 3 and loud(first & 0xFF, second >> 16):
            return at // 8 * 3 + 1
        if left > 5 and loud(second >> 8 & 0xFF, second & 0xFF):
            return at // 8 * 3 + 2
        at += 8
    return NO_SAMPLE


def first_audible_pcm(raw):
    """Return the first audible sample of a JSON string; None if there is none, -1 if it is not base64."""
    cdef Py_buffer view
    cdef Py_ssize_t sample
    PyObject_GetBuffer(raw, &view, PyBUF_SIMPLE)
    sample = find(<Text>view.buf + 1, max(0, view.len - 2))
    PyBuffer_Release(&view)
    return None if sample == NO_SAMPLE else sample


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
        into[at] = samples[(<Text>view.buf)[at]]
    PyBuffer_Release(&view)
    return found
