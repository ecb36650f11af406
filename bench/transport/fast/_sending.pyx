# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Sending in C: frames of a WebSocket client, writes to a socket, and the microphone, whose chunks
are sent in time.

`_sending_interpreted.py` has the same functions and classes.
"""

import os
from errno import EAGAIN, EINTR

from bench.wire.connection import SentChunk
from bench.wire.dialect import BinaryMessage, MessageKind

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
    RANDOM_BYTES = 4096

cdef bytes random = b""
"""Random bytes for the next masks, from `random_at` on. One system call returns those of many
frames."""
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
    """Send data, without blocking. Return (the clock before the call, its duration, the number of
    accepted bytes).

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


cdef enum:
    NOTHING = -1  # the instant of a microphone that is closed, or has nothing to record

cdef object APPEND = MessageKind.APPEND
cdef object new_tuple = tuple.__new__


cdef class Microphone:
    """The schedule of audio chunks. While no one speaks, an open microphone loops `silence_chunks`.

    A chunk is due when its last sample has been recorded. Each due instant follows from the one
    before, so there is no drift. A microphone that is open between turns records silence (or noise)
    there; any other records only speech.
    """

    cdef object between
    cdef Py_ssize_t position
    cdef list speech  # in reverse order
    cdef long long recorded_ns, next_ns

    def __init__(self, silence_chunks=()):
        self.between, self.position, self.speech = silence_chunks, 0, []
        self.recorded_ns = self.next_ns = NOTHING

    @property
    def due_ns(self):
        """The instant at which the next chunk is due; None while there is nothing to record."""
        return None if self.next_ns == NOTHING else self.next_ns

    @property
    def speaking(self):
        return bool(self.speech)

    def open(self, long long now_ns):
        self.recorded_ns = now_ns
        self.plan()

    def align(self, long long at_ns):
        """Delay an open microphone by less than a chunk, so that a chunk begins at an instant in
        the future.
        """
        if self.recorded_ns != NOTHING and self.next_ns != NOTHING:
            self.recorded_ns += (at_ns - self.recorded_ns) % (self.next_ns - self.recorded_ns)
            self.plan()

    def speak(self, speech, silence_chunks):
        """Record speech next; if the microphone is already open, after the chunk in progress."""
        cdef list chunks = list(speech)
        if self.between:
            chunks = [self.between[self.position], *chunks]
            self.between, self.position = silence_chunks, 0
        self.speech[:0] = chunks[::-1]
        self.plan()

    def stop_speech(self):
        self.speech.clear()
        self.plan()

    def pop_due(self):
        """Record the next chunk. Return (chunk, instant at which it is due)."""
        assert self.next_ns != NOTHING, "nothing is recorded"
        cdef long long due_ns = self.next_ns
        chunk = self.next_chunk()
        self.advance()
        return chunk, due_ns

    cdef object next_chunk(self):
        return self.speech[len(self.speech) - 1] if self.speech else self.between[self.position]

    cdef int advance(self) except -1:
        # from its due instant, not from now, so that the schedule does not drift
        self.recorded_ns = self.next_ns
        if self.speech:
            self.speech.pop()
        else:
            self.position = (self.position + 1) % len(self.between)
        self.plan()
        return 0

    cdef int plan(self) except -1:
        if self.recorded_ns == NOTHING or not (self.speech or self.between):
            self.next_ns = NOTHING
            return 0
        duration_ns = self.next_chunk().duration_ns
        assert duration_ns is not None, "only audio is recorded"
        self.next_ns = self.recorded_ns + <long long>duration_ns
        return 0


cdef class PlainChunks:
    """The chunks of a microphone that are sent without a decision of their session.

    They contain no instant, and no change between speech and silence follows them. `encode` is the
    function of the dialect's codec; None without a codec. `sent` gets a `SentChunk` for each. None
    is sent while `sent` has `most` entries.
    """

    cdef Microphone microphone
    cdef object encode
    cdef list sent
    cdef Py_ssize_t most
    cdef public object offered, refused
    cdef public bint paused

    def __init__(self, Microphone microphone not None, encode, list sent not None, Py_ssize_t most):
        self.microphone, self.encode, self.sent, self.most = microphone, encode, sent, most
        self.offered, self.refused, self.paused = None, None, False

    cdef long long wait(self) except? -2:
        """Return the result of `send` if no chunk may be sent now, else NOTHING."""
        cdef Microphone microphone = self.microphone
        if self.paused or self.offered is not None or self.refused is not None:
            return 0
        if len(self.sent) >= self.most or microphone.next_ns == NOTHING:
            return 0
        if read_clock() < microphone.next_ns:
            return microphone.next_ns
        return 0 if microphone.next_chunk().instants or len(microphone.speech) == 1 else NOTHING

    cdef int add(self, chunk, long long due_ns, long long at_ns, wire_bytes) except -1:
        self.sent.append(new_tuple(SentChunk, (
            at_ns, wire_bytes, chunk.audio_bytes, at_ns - due_ns, chunk.duration_ns,
        )))
        return 0

    def send(self, int fd, note_written, keep, encrypt=None):
        """Send the chunks that are due. Return the instant at which the next one is due.

        Return 0 if the session must act, as it must for each chunk while `paused` is True, and
        until it takes what is in `offered` or `refused`. `encrypt` returns the bytes on the wire of
        a frame; None without TLS. If the kernel does not accept all of these bytes, `offered` is
        (chunk, instant at which it was due), and `keep` gets the size of the frame, the bytes that
        are left, and the number of the error, or 0.
        """
        cdef Microphone microphone = self.microphone
        cdef long long due_ns, before_ns, width_ns, wait_ns = self.wait()
        cdef ssize_t count, size
        while wait_ns == NOTHING:
            due_ns = microphone.next_ns
            chunk = microphone.next_chunk()
            data = chunk.data
            frame = masked_frame(data if self.encode is None else self.encode(APPEND, data))
            size = len(frame)
            wire = frame if encrypt is None else encrypt(frame)
            # not before: the session meets the error of a chunk that is still due
            microphone.advance()
            before_ns, width_ns, count = send_at_once(fd, wire)
            if count > 0:
                note_written(count)
            if count != len(wire):
                self.offered = chunk, due_ns
                error = -count if count < 0 and -count not in (EAGAIN, EINTR) else 0
                keep(size, wire[max(count, 0):], error)
                return 0
            self.add(chunk, due_ns, before_ns, size)
            wait_ns = self.wait()
        return wait_ns

    def send_by(self, try_send):
        """Do the same as `send`, by the method `try_send` of a transport that sends a chunk whole
        or not at all.

        If a chunk is not sent, it is in `offered` without a receipt, and in `refused`, with its
        receipt, otherwise.
        """
        cdef Microphone microphone = self.microphone
        cdef long long due_ns, at_ns, wait_ns = self.wait()
        while wait_ns == NOTHING:
            due_ns = microphone.next_ns
            chunk = microphone.next_chunk()
            microphone.advance()
            data = chunk.data if self.encode is None else self.encode(APPEND, chunk.data)
            receipt = try_send(data)
            if receipt is None:
                self.offered = chunk, due_ns
                return 0
            handed, wire_bytes, unsent, _ = receipt
            if unsent:
                self.refused = chunk, receipt, due_ns
                return 0
            at_ns = (<tuple>handed)[0]
            self.add(chunk, due_ns, at_ns, wire_bytes)
            wait_ns = self.wait()
        return wait_ns
