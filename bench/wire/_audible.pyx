# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The expansion of encoded samples, and base64, in C. `bench.wire.audio` and `bench.wire.events` do the
same without a compiler.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize

include "base64.pxi"


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
