# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Sending in C: frames of a WebSocket client, and writes to a socket. `_sending_interpreted.py` has the same functions."""

import os

from bench.wire.dialect import BinaryMessage

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.errno cimport errno
from libc.string cimport memcpy

cdef extern from "<time.h>" nogil:
    ctypedef int clockid_t
    cdef struct timespec:
        long long tv_sec
        long tv_nsec
    int clock_gettime(clockid_t clock, timespec *now)
    clockid_t CLOCK_MONOTONIC

cdef extern from "<sys/socket.h>" nogil:
    ssize_t c_send "send"(int fd, const void *data, size_t size, int flags)
    int MSG_DONTWAIT, MSG_NOSIGNAL

cdef enum:
    FINAL_TEXT = 0x81
    FINAL_BINARY = 0x82
    MASKED = 0x80
    SHORT = 126  # as in bench.transport.parser
    MAX_LENGTH = 0xFFFF
    MASK_BYTES = 4
    RANDOM_BYTES = 256

cdef bytes random = b""
"""Random bytes for the next masks, from `random_at` on. One system call returns those of many frames."""
cdef Py_ssize_t random_at = 0


def forget_random():
    """Forget the random bytes, because a process after a fork must not use those of its parent."""
    global random, random_at
    random, random_at = b"", 0


os.register_at_fork(after_in_child=forget_random)


cdef const char *next_mask() except NULL:
    global random, random_at
    if random_at + MASK_BYTES > len(random):
        random, random_at = os.urandom(RANDOM_BYTES), 0
    random_at += MASK_BYTES
    return PyBytes_AS_STRING(random) + random_at - MASK_BYTES


def masked_frame(payload, bytes mask=None):
    """Do the same as `bench.transport.parser.masked_frame`. Without a mask, draw one."""
    cdef Py_ssize_t size = len(payload), header = 2, at
    cdef const char *source = PyBytes_AS_STRING(payload)
    cdef const char *key = next_mask() if mask is None else PyBytes_AS_STRING(mask)
    cdef unsigned long long wide, wide_key
    cdef bytes frame
    cdef unsigned char *wire
    if size > MAX_LENGTH:
        header = 10
    elif size >= SHORT:
        header = 4
    frame = PyBytes_FromStringAndSize(NULL, header + MASK_BYTES + size)
    wire = <unsigned char *>PyBytes_AS_STRING(frame)
    wire[0] = FINAL_BINARY if type(payload) is BinaryMessage else FINAL_TEXT
    if header == 2:
        wire[1] = MASKED | size
    else:
        wire[1] = MASKED | (SHORT if header == 4 else SHORT + 1)
        for at in range(2, header):
            wire[at] = size >> 8 * (header - 1 - at) & 0xFF
    memcpy(wire + header, key, MASK_BYTES)
    wire += header + MASK_BYTES
    memcpy(&wide_key, key, MASK_BYTES)
    memcpy(<char *>&wide_key + MASK_BYTES, key, MASK_BYTES)
    for at in range(size // 8):
        memcpy(&wide, source + 8 * at, 8)
        wide ^= wide_key
        memcpy(wire + 8 * at, &wide, 8)
    for at in range(size // 8 * 8, size):
        wire[at] = <unsigned char>source[at] ^ <unsigned char>key[at % MASK_BYTES]
    return frame


cdef long long read_clock() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return now.tv_sec * 1_000_000_000 + now.tv_nsec


def send_at_once(int fd, data):
    """Send data, without blocking. Return (the clock before the call, its duration, the number of accepted bytes).

    If the kernel accepted none, the number is that of the error, as a negative number.
    """
    cdef Py_buffer view
    cdef long long before_ns
    cdef ssize_t count
    cdef int error
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    before_ns = read_clock()
    count = c_send(fd, view.buf, view.len, MSG_DONTWAIT | MSG_NOSIGNAL)
    error = errno
    PyBuffer_Release(&view)
    return before_ns, read_clock() - before_ns, count if count >= 0 else -error
