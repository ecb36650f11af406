# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The expansion of encoded samples in C. `bench.wire.audio` does the same without a compiler."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize


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
