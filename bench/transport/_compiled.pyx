# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Reads sockets and cuts frames, and takes the deltas of a reply by their form (`delta_reader.py`), in C.

All that is done by an event of a reply that goes on is done here, but for what it comes to.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_SetFromErrno
from libc.string cimport memchr, memcmp, memcpy, memset

from bench import clock
from bench.transport.received import DeltaArrival, Received

cdef extern from "<sys/resource.h>" nogil:
    cdef struct rusage:
        long ru_nvcsw, ru_nivcsw
    int getrusage(int who, rusage *usage)
    int RUSAGE_THREAD

cdef extern from "<sys/epoll.h>" nogil:
    cdef union epoll_data:
        unsigned long long u64
    cdef struct epoll_event:
        unsigned int events
        epoll_data data
    int epoll_wait(int epoll, epoll_event *events, int room, int timeout_ms)
    int EPOLLIN, EPOLLHUP

cdef enum:
    READY = 1024  # events that are asked for at once

cdef extern from "<unistd.h>" nogil:
    ssize_t pread(int fd, void *into, size_t size, long offset)

cdef extern from "<stdio.h>" nogil:
    int sscanf(const char *text, const char *form, ...)

cdef extern from "<time.h>" nogil:
    ctypedef int clockid_t
    cdef struct timespec:
        long long tv_sec
        long tv_nsec
    int clock_gettime(clockid_t clock, timespec *now)
    clockid_t CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_THREAD_CPUTIME_ID

    cdef struct itimerspec:
        timespec it_interval, it_value

cdef extern from "<sys/timerfd.h>" nogil:
    int timerfd_create(clockid_t clock, int flags)
    int timerfd_settime(int fd, int flags, const itimerspec *value, itimerspec *before)
    int TFD_NONBLOCK, TFD_CLOEXEC, TFD_TIMER_ABSTIME

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
    ROOM = 64
    READ_BYTES = 65536  # as bench.transport.tcp has it
    MANY = 32
    FINAL_TEXT = 0x81
    QUOTE = 0x22
    BACKSLASH = 0x5C
    PADDING = 0x3D

cdef long long LONG_NS = 500_000_000
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


cdef Py_ssize_t frame_header(Text wire, Py_ssize_t size, Py_ssize_t *length) noexcept nogil:
    """The bytes of the header of a text frame that is whole in so many bytes, and its `length`; 0 of any other.

    The length of its payload is given in seven bits, or in sixteen where more than seven are needed.
    """
    cdef Py_ssize_t header = 2
    if size < 2 or wire[0] != FINAL_TEXT:
        return 0
    length[0] = wire[1]
    if length[0] == 126 and size >= 4:
        header, length[0] = 4, wire[2] << 8 | wire[3]
        if length[0] < 126:
            return 0
    elif length[0] >= 126:  # eight bytes of length, a mask, or a header that is cut
        return 0
    return header if header + length[0] <= size else 0


def leading_texts(bytes data, arrival):
    """As `bench.transport.frames.leading_texts`."""
    cdef Text wire = <Text><const char *>data
    cdef Py_ssize_t at = 0, size = len(data), header, length = 0
    cdef list texts = []
    while True:
        header = frame_header(wire + at, size - at, &length)
        if not header:
            return texts, at
        texts.append(new_tuple(Received, (
            PyBytes_FromStringAndSize(<const char *>wire + at + header, length), arrival, header + length
        )))
        at += header + length


def make_alarm():
    """A timer that is a file, readable from the instant on to which it is set; raises OSError."""
    cdef int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)
    if fd < 0:
        PyErr_SetFromErrno(OSError)
    return fd


def set_alarm(int fd, long long at_ns):
    """Set an alarm, which is not readable until then."""
    cdef itimerspec value
    memset(&value, 0, sizeof(value))
    value.it_value.tv_sec, value.it_value.tv_nsec = at_ns // 1_000_000_000, at_ns % 1_000_000_000
    timerfd_settime(fd, TFD_TIMER_ABSTIME, &value, NULL)


def readable(int epoll):
    """The sockets of libev's epoll set that are readable, or at an end; [] where no file of it is ready for anything;
    None where there are more of them than are asked for. Waits for nothing.

    libev keeps a file's number in the lower half of the data of its events (`ev_epoll.c`).
    """
    cdef epoll_event events[READY]
    cdef int count = epoll_wait(epoll, events, READY, 0), place
    if count < 0 or count == READY:
        return None
    if count == 0:
        return []
    return [
        <int>(events[place].data.u64 & 0xFFFFFFFF) if events[place].events & (EPOLLIN | EPOLLHUP) else -1
        for place in range(count)
    ]


def thread_use(int schedstat):
    """How often this thread gave up its core or lost it, and how long it was awake so far, in ns: on a core, or without
    one and waiting for one.

    `schedstat`: its own in /proc. The clock is read last, so that what is awake now is not left out; 0 where the kernel
    keeps no such account.
    """
    cdef rusage usage
    cdef char text[64]
    cdef long long ran_ns, waited_ns, times = 0
    cdef ssize_t size = pread(schedstat, text, sizeof(text) - 1, 0)
    getrusage(RUSAGE_THREAD, &usage)
    if size > 0:
        text[size] = 0
        sscanf(text, "%lld %lld %lld", &ran_ns, &waited_ns, &times)
    if not times:
        return usage.ru_nvcsw + usage.ru_nivcsw, 0
    return usage.ru_nvcsw + usage.ru_nivcsw, waited_ns + read_clock(CLOCK_THREAD_CPUTIME_ID)


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


cdef class ReadState:
    """What is known of a socket by the reads so far, as `bench.transport.tcp` explains."""

    cdef public long long stamped_ns, drained_ns
    cdef public bint drained

    cdef void place(self, DeltaTaker read, long long stamp_ns, long long before_ns, long long polled_ns) noexcept:
        """As `TcpStream._placed`, for a socket that was polled."""
        if self.drained and polled_ns > self.drained_ns:
            self.drained_ns = polled_ns
        read.at_ns = self.stamped_ns = max(self.stamped_ns, stamp_ns)
        read.empty_ns = min(self.drained_ns, read.at_ns)
        self.drained = read.size < READ_BYTES
        if self.drained:
            self.drained_ns = before_ns


cdef class DeltaTaker:
    """Takes reads of nothing but deltas of known forms, and keeps what is to be known of each until it is handed out."""

    cdef list forms
    cdef Entry entries[ROOM]
    cdef readonly int count
    """Deltas that were taken and not handed out."""
    cdef readonly ssize_t size
    """How many bytes were received last."""
    cdef readonly long long at_ns, empty_ns
    cdef readonly bint kernel
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

    def hear(self, int fd, ReadState state, long long polled_ns):
        """Read a socket that does not block and was polled; returns whether it brought deltas, which were taken.

        `polled_ns`: when it was polled before this time, and was empty. What came is kept until the next socket is
        read: `size`, `at_ns`, `empty_ns` and `kernel` are what `Read` says of it, and `received` is it. Raises OSError.
        """
        cdef char control[128]
        cdef iovec vector
        cdef msghdr message
        cdef long long stamp_ns, before_ns = read_clock(CLOCK_MONOTONIC)
        vector.iov_base, vector.iov_len = BUFFER, READ_BYTES
        memset(&message, 0, sizeof(message))
        message.msg_iov, message.msg_iovlen = &vector, 1
        message.msg_control, message.msg_controllen = control, sizeof(control)
        self.size = recvmsg(fd, &message, MSG_DONTWAIT)
        if self.size < 0:
            PyErr_SetFromErrno(OSError)
        stamp_ns = stamp_of(&message)
        self.kernel = stamp_ns != NO_STAMP
        state.place(self, stamp_ns if self.kernel else read_clock(CLOCK_MONOTONIC), before_ns, polled_ns)
        return self.kernel and self._take(BUFFER, self.size, self.at_ns, self.empty_ns, state.drained)

    def received(self):
        """What was received."""
        return PyBytes_FromStringAndSize(<char *>BUFFER, self.size)

    cdef bint _take(self, Text wire, Py_ssize_t size, long long at_ns, long long empty_ns, bint complete) noexcept:
        cdef Py_ssize_t at = 0, header, length = 0, payload
        cdef int count = self.count, place
        cdef Entry *entry = NULL
        cdef long long now_ns
        if not size or not self.forms:
            return False
        now_ns = read_clock(CLOCK_MONOTONIC)
        while at < size:
            if count == ROOM:
                return False
            header = frame_header(wire + at, size - at, &length)
            if not header:
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
