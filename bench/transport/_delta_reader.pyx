# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Reads sockets, and takes the deltas of a reply by their form, in C; `bench.transport.delta_reader` says what that is.

All that is done by an event of a reply that goes on is done here, but for what it comes to.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_SetFromErrno
from libc.string cimport memchr, memcmp, memcpy, memset

from bench import clock
from bench.transport.delta import DeltaArrival

cdef extern from "<time.h>" nogil:
    ctypedef int clockid_t
    cdef struct timespec:
        long long tv_sec
        long tv_nsec
    int clock_gettime(clockid_t clock, timespec *now)
    clockid_t CLOCK_MONOTONIC, CLOCK_REALTIME

cdef extern from "<sys/socket.h>" nogil:
    cdef struct iovec:
        void *iov_base
        size_t iov_len
    cdef struct msghdr:
        iovec *msg_iov
        size_t msg_iovlen
        void *msg_control
        size_t msg_controllen
    cdef struct cmsghdr:
        size_t cmsg_len
        int cmsg_level
        int cmsg_type
    ssize_t recvmsg(int fd, msghdr *message, int flags)
    cmsghdr *CMSG_FIRSTHDR(msghdr *message)
    cmsghdr *CMSG_NXTHDR(msghdr *message, cmsghdr *header)
    unsigned char *CMSG_DATA(cmsghdr *header)
    size_t CMSG_LEN(size_t length)
    int SOL_SOCKET, MSG_DONTWAIT

ctypedef const unsigned char *Text

cdef enum:
    ROOM = 256
    READ_BYTES = 65536  # as bench.transport.tcp has it
    MANY = 32
    FINAL_TEXT = 0x81
    QUOTE = 0x22
    BACKSLASH = 0x5C
    PADDING = 0x3D

cdef long long LONG_NS = 250_000_000
"""Deltas are due when there are so many, or when the first of them is so old."""
cdef long long ABSURD_LAG_NS = clock.ABSURD_LAG_NS, APART_NS = clock.APART_NS
cdef int TRIES = clock.TRIES, SO_TIMESTAMPNS = clock.SO_TIMESTAMPNS
cdef long long NO_STAMP = -1

cdef object new_tuple = tuple.__new__
"""By which a named tuple is made in half of the time."""

cdef unsigned char BUFFER[READ_BYTES]
"""For all sockets: it is read and looked through without a break."""


cdef struct Entry:
    int form
    long long at_ns, error_ns, lag_ns
    Py_ssize_t payload_bytes, wire_bytes


cdef long long read_clock(clockid_t clock) noexcept nogil:
    cdef timespec now
    clock_gettime(clock, &now)
    return now.tv_sec * 1_000_000_000 + now.tv_nsec


cdef long long monotonic_of(long long realtime_ns) noexcept nogil:
    """As `bench.clock.monotonic_of`."""
    cdef long long before, wall, after, closest = 1 << 62, now_ns = 0, wall_ns = 0, lag_ns
    cdef int tried
    for tried in range(TRIES):
        before = read_clock(CLOCK_MONOTONIC)
        wall = read_clock(CLOCK_REALTIME)
        after = read_clock(CLOCK_MONOTONIC)
        if after - before < closest:
            closest, now_ns, wall_ns = after - before, after, wall
        if closest <= APART_NS:
            break
    lag_ns = wall_ns - realtime_ns
    return now_ns - lag_ns if 0 <= lag_ns <= ABSURD_LAG_NS else NO_STAMP


cdef long long stamp_of(msghdr *message) noexcept nogil:
    """The kernel's receive stamp on CLOCK_MONOTONIC; NO_STAMP where there is none, or none to be used."""
    cdef cmsghdr *header = CMSG_FIRSTHDR(message)
    cdef timespec stamp
    while header != NULL:
        if (
            header.cmsg_level == SOL_SOCKET and header.cmsg_type == SO_TIMESTAMPNS
            and header.cmsg_len >= CMSG_LEN(sizeof(timespec))
        ):
            memcpy(&stamp, CMSG_DATA(header), sizeof(timespec))
            return monotonic_of(stamp.tv_sec * 1_000_000_000 + stamp.tv_nsec)
        header = CMSG_NXTHDR(message, header)
    return NO_STAMP


cdef bint plain(Text text, Py_ssize_t size) noexcept nogil:
    """Whether a JSON string says what stands there: printable ASCII without quotes and escapes."""
    cdef unsigned char odd = 0
    cdef Py_ssize_t at
    for at in range(size):
        odd |= (text[at] < 0x20) | (text[at] > 0x7E) | (text[at] == QUOTE) | (text[at] == BACKSLASH)
    return not odd


cdef class Form:
    """The bytes of a delta around the id of the event, which may be missing, and around the payload."""

    cdef object event
    cdef bytes head, middle, tail
    cdef bint base64

    def __init__(self, event, bytes head, bytes middle, bytes tail, bint base64):
        self.event, self.head, self.middle, self.tail, self.base64 = event, head, middle, tail, base64

    cdef Py_ssize_t payload_bytes(self, Text text, Py_ssize_t size) noexcept:
        """As `Event.payload_bytes` has it; 0 of a text that is not of this form, or whose payload is empty."""
        cdef Py_ssize_t head = len(self.head), middle = len(self.middle), tail = len(self.tail)
        cdef Text end
        if size < head + middle + tail or memcmp(text, <const char *>self.head, head):
            return 0
        text, size = text + head, size - head
        if middle:
            end = <Text>memchr(text, QUOTE, size)
            if end == NULL or not plain(text, end - text):
                return 0
            size, text = size - (end - text), end
            if size < middle + tail or memcmp(text, <const char *>self.middle, middle):
                return 0
            text, size = text + middle, size - middle
        size -= tail
        if memcmp(text + size, <const char *>self.tail, tail) or not plain(text, size):
            return 0
        if not self.base64:
            return size
        if size % 4 or not size:
            return 0
        return size // 4 * 3 - (text[size - 1] == PADDING) - (text[size - 2] == PADDING)


cdef class DeltaTaker:
    """Takes reads of nothing but deltas of known forms, and keeps what is to be known of each until it is handed out."""

    cdef list forms
    cdef Entry entries[ROOM]
    cdef readonly int count
    """Deltas that were taken and not handed out."""
    cdef readonly ssize_t size
    """How many bytes were received last."""
    cdef long long first_ns
    cdef readonly bint due
    """Whether they are to be handed out now."""

    def __init__(self):
        self.forms = []

    def learn(self, event, bytes head, bytes middle, bytes tail, bint base64):
        """Take deltas of this form from now on: `event` says what they are, but for their payload."""
        self.forms.append(Form(event, head, middle, tail, base64))

    def forget(self):
        """Take nothing any more."""
        self.forms.clear()

    def take(self, bytes data, long long at_ns, long long empty_ns, bint complete):
        """Take a read, if it is whole text frames of deltas of known forms; returns whether it is.

        `at_ns`: its stamp; `empty_ns`: when the socket was last known to be empty; `complete`: as in `Read`.
        """
        return self._take(<Text><const char *>data, len(data), at_ns, empty_ns, complete)

    def receive(self, int fd):
        """Read a socket that does not block, and return the stamp of what came, None where it has none. Raises OSError.

        What came is kept until the next socket is read: for `take_received` and `received`.
        """
        cdef char control[128]
        cdef iovec vector
        cdef msghdr message
        cdef long long at_ns
        vector.iov_base, vector.iov_len = BUFFER, READ_BYTES
        memset(&message, 0, sizeof(message))
        message.msg_iov, message.msg_iovlen = &vector, 1
        message.msg_control, message.msg_controllen = control, sizeof(control)
        self.size = recvmsg(fd, &message, MSG_DONTWAIT)
        if self.size < 0:
            PyErr_SetFromErrno(OSError)
        at_ns = stamp_of(&message)
        return None if at_ns == NO_STAMP else at_ns

    def take_received(self, long long at_ns, long long empty_ns, bint complete):
        """Take what was received, as `take` does."""
        return self._take(BUFFER, self.size, at_ns, empty_ns, complete)

    def received(self):
        """What was received."""
        return PyBytes_FromStringAndSize(<char *>BUFFER, self.size)

    cdef bint _take(self, Text wire, Py_ssize_t size, long long at_ns, long long empty_ns, bint complete) noexcept:
        cdef Py_ssize_t at = 0, header, length, payload
        cdef int count = self.count, place
        cdef Entry *entry = NULL
        cdef long long now_ns
        if not size or not self.forms:
            return False
        now_ns = read_clock(CLOCK_MONOTONIC)
        while at < size:
            if count == ROOM or size - at < 2 or wire[at] != FINAL_TEXT:
                return False
            header, length = 2, wire[at + 1]
            if length == 126 and size - at >= 4:
                header, length = 4, wire[at + 2] << 8 | wire[at + 3]
                if length < 126:
                    return False
            elif length >= 126:
                return False
            if size - at < header + length:
                return False
            payload = 0
            for place in range(len(self.forms)):
                payload = (<Form>self.forms[place]).payload_bytes(wire + at + header, length)
                if payload:
                    break
            if not payload:
                return False
            entry = &self.entries[count]
            entry.form, entry.at_ns, entry.error_ns, entry.lag_ns = place, at_ns, at_ns - empty_ns, now_ns - at_ns
            entry.payload_bytes, entry.wire_bytes = payload, header + length
            at += header + length
            count += 1
        if complete:
            entry.error_ns = 0
        if not self.count:
            self.first_ns = now_ns
        self.count = count
        self.due = count >= MANY or now_ns - self.first_ns > LONG_NS
        return True

    def hand_out(self):
        """The deltas that were taken, in their order."""
        cdef int place
        cdef Entry *entry
        cdef list deltas = []
        for place in range(self.count):
            entry = &self.entries[place]
            deltas.append(new_tuple(DeltaArrival, (
                (<Form>self.forms[entry.form]).event, entry.at_ns, entry.error_ns, entry.lag_ns, entry.payload_bytes,
                entry.wire_bytes,
            )))
        self.count, self.due = 0, False
        return deltas
