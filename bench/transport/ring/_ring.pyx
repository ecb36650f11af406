# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Sockets that the kernel reads into a ring of io_uring, in C (`hub_ring.py`, `stream.py`).

A multishot `recvmsg` remains armed, and receives in task work: at the end of each system call and
each interrupt of the thread, and at once if the thread sleeps. So segments are received before the
thread looks at them, and few share a timestamp. `Ring.sync` moves the completions into the queue of
each socket.
"""

from libc.errno cimport EAGAIN, EBUSY, EINTR, ENOBUFS
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memset

from bench.transport.fast._compiled cimport Sieve, Text

include "../fast/stamps.pxi"

cdef extern from "<errno.h>" nogil:
    int ECANCELED

cdef extern from "uring.h" nogil:
    unsigned int URING_CQE_BUFFER, URING_CQE_MORE, URING_CQE_NONEMPTY, URING_CQE_SHIFT
    cdef struct uring_cqe:
        unsigned long long user_data
        int res
        unsigned int flags
    cdef struct uring_message:
        unsigned int controllen
        unsigned char control[64]
    cdef struct uring:
        int fd, event_fd
    int uring_open(uring *ring, unsigned int count, unsigned int size, unsigned int completions)
    void uring_close(uring *ring)
    void uring_abandon(uring *ring)
    int uring_enter(uring *ring)
    int uring_receive(uring *ring, int fd, unsigned long long user_data)
    int uring_cancel(uring *ring, unsigned long long user_data, unsigned long long own_data)
    uring_cqe *uring_peek(uring *ring)
    void uring_seen(uring *ring)
    int uring_overflown(uring *ring)
    int uring_pending(uring *ring)
    void uring_notify(uring *ring, bint is_on)
    void uring_notified(uring *ring)
    void uring_give_back(uring *ring, unsigned short bid)
    void uring_publish(uring *ring)
    uring_message *uring_message_of(uring *ring, uring_cqe *cqe)
    unsigned int uring_payload(uring_message *message, uring_cqe *cqe)

cdef enum:
    READ_BYTES = 65536  # as in bench.transport.parser
    MAX_QUEUED = 1 << 20
    ROUNDS = 64
    PIECE_COST = 1024  # what a piece counts in addition to its bytes
    # What a reader does with its pieces.
    STORE = 0
    PASS_ON = 1
    NOTIFY = 2

cdef unsigned long long OF_CANCEL = <unsigned long long>1 << 63
"""The mark of the completion of a cancellation in its `user_data`."""
cdef long long NEVER = <long long>1 << 62
cdef long long CHECK_NS = 200_000
"""The time of work with read data after which the ring is looked at again."""
BUFFER_COUNT = 1024
BUFFER_BYTES = 4096
COMPLETIONS = 4096


cdef struct Piece:
    Piece *after
    long long at_ns, empty_ns
    Py_ssize_t size
    long long number
    int error
    bint kernel, complete


cdef inline unsigned char *bytes_of(Piece *piece) noexcept nogil:
    return <unsigned char *>(piece + 1)


cdef long long clock_gap() noexcept nogil:
    """Return CLOCK_REALTIME − CLOCK_MONOTONIC."""
    cdef long long now_ns = 0, wall_ns = 0
    read_clocks(&now_ns, &wall_ns)
    return wall_ns - now_ns


cdef long long stamp_in(uring_message *message, long long gap_ns) noexcept nogil:
    """Return the receive timestamp on CLOCK_MONOTONIC; NO_STAMP if it is missing or unusable."""
    cdef msghdr form
    cdef long long at_ns, now_ns
    memset(&form, 0, sizeof(form))
    form.msg_control = message.control
    form.msg_controllen = min(message.controllen, sizeof(message.control))
    at_ns = realtime_stamp_of(&form)
    if at_ns == NO_STAMP:
        return NO_STAMP
    at_ns -= gap_ns
    now_ns = read_clock(CLOCK_MONOTONIC)
    if at_ns > now_ns + APART_NS or at_ns < now_ns - ABSURD_LAG_NS:
        return NO_STAMP
    return min(at_ns, now_ns)


cdef class Ring:
    """A ring of one thread. `wake` is called when a socket is readable whose listener waits.

    `buffer_shortages` counts the completions without a free buffer, and `overflowed` the times at
    which the queue of completions was full. Of the readers, `unarmed` have no request in the
    kernel and need one. `polled` and `unpolled` have something to pass on, to listeners that are
    polled and to all others.
    """

    cdef uring ring
    cdef list readers, free_places, unarmed, unpolled, polled
    cdef object wake, tick
    cdef readonly long long synced_ns
    """The clock before the last `sync`. All bytes that had arrived by then are in the queues."""
    cdef readonly long long buffer_shortages, overflowed
    cdef bint has_received
    """True if data was received since the last `has_received_since_asked`."""
    cdef long long number
    """The number of this `sync`."""
    cdef Py_ssize_t room
    """The size of the payload that fits into a buffer."""
    cdef readonly int armed
    """The number of requests that the kernel has."""

    def __cinit__(self):
        self.ring.fd = self.ring.event_fd = -1

    def __init__(
        self, wake, tick, int buffers=BUFFER_COUNT, int buffer_bytes=BUFFER_BYTES,
        int completions=COMPLETIONS,
    ):
        """Open a ring. Raise OSError if the kernel does not have it, or does not permit it.

        `tick` sends what is due, between two sockets. `buffers` is a power of two.
        """
        cdef int error = uring_open(&self.ring, buffers, buffer_bytes, completions)
        if error:
            raise OSError(error, "io_uring")
        self.wake, self.tick, self.room = wake, tick, buffer_bytes - sizeof(uring_message)
        self.readers, self.free_places, self.unarmed = [], [], []
        self.unpolled, self.polled = [], []

    def __dealloc__(self):
        uring_close(&self.ring)

    def fileno(self):
        """Return the file that becomes readable when bytes arrive after `arm_wakeup` returned True.
        """
        return self.ring.event_fd

    def close(self):
        """Close the ring. The kernel ends its requests."""
        uring_close(&self.ring)
        self.release()

    def abandon(self):
        """Close the descriptor in the child of a fork. The parent's ring remains as it is."""
        uring_abandon(&self.ring)
        self.release()

    cdef void release(self):
        self.armed = 0
        self.readers, self.free_places, self.unarmed = [], [], []
        self.unpolled, self.polled = [], []
        self.wake = self.tick = None

    def receive(self, int fd, long long empty_ns, long long stamped_ns):
        """Receive from a connected socket until the reader, which is returned, is closed.

        `empty_ns` is an instant at which the socket was certainly empty, and `stamped_ns` is the
        timestamp of the last byte that was read before.
        """
        cdef RingReader reader = RingReader(self, fd, empty_ns, stamped_ns)
        if self.free_places:
            reader.place = self.free_places.pop()
            self.readers[reader.place] = reader
        else:
            reader.place = len(self.readers)
            self.readers.append(reader)
        self.unarmed.append(reader)
        self.sync()
        return reader

    cdef int enter(self) except -1:
        cdef int error = uring_enter(&self.ring)
        if error and error != EAGAIN and error != EINTR and error != EBUSY:
            raise OSError(error, "io_uring_enter")
        return 0

    def arm_wakeup(self):
        """Let an arrival make `fileno` readable. Return False if something has arrived before.

        All sockets were empty, and nothing that was received was left, if the result is True.
        """
        cdef long long before_ns
        if self.ring.fd < 0:
            return False
        uring_notify(&self.ring, True)
        before_ns = read_clock(CLOCK_MONOTONIC)
        self.enter()  # executes the task work that waits
        if uring_peek(&self.ring) != NULL or uring_pending(&self.ring) or self.unarmed:
            uring_notify(&self.ring, False)
            return False
        self.synced_ns = before_ns
        return True

    def has_received_since_asked(self):
        """Return whether data was received since the last call."""
        cdef bint has_received = self.has_received
        self.has_received = False
        return has_received

    def wake_up(self):
        """Make `fileno` not readable."""
        uring_notified(&self.ring)

    def note_empty(self, long long at_ns):
        """Note that all sockets were still empty at an instant after the last `arm_wakeup`."""
        self.synced_ns = max(self.synced_ns, at_ns)

    cpdef int sync(self) except -1:
        """Move all completions into the queues of their sockets. Arm again what has ended."""
        cdef long long before_ns, gap_ns = NEVER
        cdef bint was_idle = not self.unpolled
        cdef int attempt
        if self.ring.fd < 0:
            return 0
        self.number += 1
        uring_notify(&self.ring, False)
        before_ns = read_clock(CLOCK_MONOTONIC)
        self.enter()
        for attempt in range(ROUNDS):
            if uring_peek(&self.ring) != NULL:
                if gap_ns == NEVER:
                    gap_ns = clock_gap()
                self.reap(gap_ns)
            elif self.unarmed:
                self.arm_readers()
            elif uring_pending(&self.ring):
                self.overflowed += uring_overflown(&self.ring)
                self.enter()
            else:
                self.synced_ns = before_ns
                break
        if was_idle and self.unpolled:
            self.wake()
        return 0

    cdef int reap(self, long long gap_ns) except -1:
        cdef uring_cqe *cqe
        cdef uring_message *message
        cdef RingReader reader
        cdef unsigned int flags
        cdef int result
        cdef Py_ssize_t size
        while True:
            cqe = uring_peek(&self.ring)
            if cqe == NULL:
                break
            result, flags = cqe.res, cqe.flags
            if cqe.user_data & OF_CANCEL:
                uring_seen(&self.ring)
                continue
            reader = <RingReader>self.readers[<Py_ssize_t>cqe.user_data]
            message = uring_message_of(&self.ring, cqe) if flags & URING_CQE_BUFFER else NULL
            if message != NULL:
                self.has_received = True
                size = uring_payload(message, cqe)
                reader.take(
                    <Text>(message + 1), size, flags & URING_CQE_NONEMPTY and size >= self.room,
                    stamp_in(message, gap_ns), 0,
                )
            elif result == -ENOBUFS:
                self.buffer_shortages += 1
            elif result != -ECANCELED and result != -EAGAIN and result != -EINTR:
                reader.take(NULL, 0, False, NO_STAMP, max(-result, 0))
            if flags & URING_CQE_BUFFER:
                uring_give_back(&self.ring, flags >> URING_CQE_SHIFT)
            uring_seen(&self.ring)
            if not flags & URING_CQE_MORE:
                self.note_request_ended(reader)
        uring_publish(&self.ring)
        return 0

    cdef int note_request_ended(self, RingReader reader) except -1:
        """Note that the kernel has ended the request of a reader."""
        reader.note_empty()
        reader.armed = False
        self.armed -= 1
        if reader.closed:
            self.free_place(reader)
        elif not reader.ended and not reader.paused:
            self.unarmed.append(reader)
        return 0

    cdef int free_place(self, RingReader reader) except -1:
        self.readers[reader.place] = None
        self.free_places.append(reader.place)
        return 0

    cdef int arm_readers(self) except -1:
        cdef list readers = self.unarmed
        cdef RingReader reader
        cdef long long armed_ns
        self.unarmed = []
        for each in readers:
            reader = <RingReader>each
            if reader.closed or reader.armed:
                continue
            if uring_receive(&self.ring, reader.fd, reader.place):
                reader.armed, reader.armed_ns = True, NEVER
                self.armed += 1
            else:
                self.unarmed.append(reader)
        self.enter()
        armed_ns = read_clock(CLOCK_MONOTONIC)
        for each in readers:
            reader = <RingReader>each
            if reader.armed:
                reader.armed_ns = armed_ns
        return 0

    def pass_on(self, bint polled):
        """Pass on what was received, to the listeners that are polled, or to all others."""
        cdef list readers
        cdef RingReader reader
        if polled:
            readers, self.polled = self.polled, []
        else:
            readers, self.unpolled = self.unpolled, []
        for each in readers:
            reader = <RingReader>each
            reader.pass_on_pieces()
            if read_clock(CLOCK_MONOTONIC) - self.synced_ns > CHECK_NS and self.ring.fd >= 0:
                self.tick()
                self.sync()


cdef class RingReader:
    """The reader of a connected socket whose bytes a ring receives.

    It has the interface of `SocketReader` (`fast/reader.py`). Its bytes are in a queue of pieces,
    each with the timestamp of its last segment.
    """

    cdef Ring ring
    cdef int fd, place, mode
    cdef Piece *first
    cdef Piece *last
    cdef Py_ssize_t queued_bytes
    cdef long long floor_ns
    """An instant: all bytes that arrived by then are in the queue, or were before."""
    cdef long long received_ns, armed_ns
    cdef Piece **link
    """The pointer to the last piece."""
    cdef bint open, armed, paused, ended, closed, is_polled, is_ready, ready_polled
    cdef Sieve sieve
    cdef object take_read, wake
    cdef readonly long long stamped_ns
    cdef readonly int failure

    def __init__(self, Ring ring not None, int fd, long long empty_ns, long long stamped_ns):
        """`Ring.receive` creates readers."""
        self.ring, self.fd = ring, fd
        self.floor_ns, self.received_ns, self.stamped_ns = empty_ns, stamped_ns, stamped_ns
        self.armed_ns = NEVER

    def __dealloc__(self):
        self.clear()

    cdef void clear(self) noexcept:
        cdef Piece *piece
        while self.first != NULL:
            piece, self.first = self.first, self.first.after
            free(piece)
        self.last, self.queued_bytes = NULL, 0

    def close(self):
        """Stop receiving. Afterwards the descriptor may be closed."""
        cdef Ring ring = self.ring
        if self.closed:
            return
        self.closed, self.mode = True, STORE
        self.clear()
        self.sieve = self.take_read = self.wake = None
        if ring.ring.fd < 0:
            return
        if not self.armed:
            ring.free_place(self)
            return
        uring_cancel(&ring.ring, self.place, OF_CANCEL)
        ring.sync()

    cdef int note_empty(self) except -1:
        """Note when the socket was certainly empty before it got what is received now."""
        if self.is_proven() and self.ring.synced_ns > self.floor_ns:
            self.floor_ns = self.ring.synced_ns
        return 0

    cdef bint is_proven(self) noexcept:
        """Return whether the socket was empty, or its bytes were received, when the ring was last
        looked at.
        """
        return self.armed and not self.open and self.ring.synced_ns >= self.armed_ns

    cdef int take(
        self, Text data, Py_ssize_t size, bint open, long long stamp_ns, int error
    ) except -1:
        """Put received bytes in the queue; no bytes if the connection has ended.

        `open` is True if the buffer was too small for all bytes of the socket.
        """
        cdef bint kernel = stamp_ns != NO_STAMP
        cdef Piece *piece
        if self.closed or self.ended:
            return 0
        self.note_empty()
        # two conversions of one timestamp differ by some ns, but arrivals must not go backwards
        self.received_ns = max(
            self.received_ns, stamp_ns if kernel else read_clock(CLOCK_MONOTONIC)
        )
        self.ended = not size
        # the parts of one read form one piece, as if the buffer were larger
        if (
            self.open and size and self.last != NULL and self.last.number == self.ring.number
            and self.last.size + size <= READ_BYTES
        ):
            piece = <Piece *>realloc(self.last, sizeof(Piece) + self.last.size + size)
            if piece == NULL:
                raise MemoryError
        else:
            piece = <Piece *>malloc(sizeof(Piece) + size)
            if piece == NULL:
                raise MemoryError
            self.link = &self.first if self.last == NULL else &self.last.after
            piece.after, piece.size, piece.error, piece.kernel = NULL, 0, error, True
            piece.empty_ns = min(self.floor_ns, self.received_ns)
        self.link[0] = self.last = piece
        if size:
            memcpy(bytes_of(piece) + piece.size, data, size)
        piece.size += size
        piece.number, piece.at_ns = self.ring.number, self.received_ns
        piece.kernel = piece.kernel and kernel
        piece.complete = not open
        self.queued_bytes += size
        self.open = open
        if not open and kernel:  # all earlier segments were received: the next ones are later
            self.floor_ns = max(self.floor_ns, self.received_ns)
        if self.queued_bytes > MAX_QUEUED and self.armed and not self.paused:
            self.paused = uring_cancel(&self.ring.ring, self.place, OF_CANCEL)
        if self.mode != STORE:
            self.note_ready()
        return 0

    cdef int note_ready(self) except -1:
        """Have the pieces passed on. `Ring.pass_on` does it."""
        cdef list readers = self.ring.polled if self.is_polled else self.ring.unpolled
        if not self.is_ready or self.ready_polled != self.is_polled:
            self.is_ready, self.ready_polled = True, self.is_polled
            readers.append(self)
        return 0

    def listen(self, Sieve sieve not None, take_read, wake, bint polled):
        """Pass on what is received: to the sieve, then what it leaves to `take_read`, until `stop`.

        `take_read` returns True if the listener must act. Then `wake` is called with None, or with
        the exception that was raised. `polled` is True if it may wait for the next poll.
        """
        self.sieve, self.take_read, self.wake = sieve, take_read, wake
        self.is_polled, self.mode = polled, PASS_ON
        self.announce()

    def notify(self, wake):
        """Call `wake` once with None when there is something to read."""
        self.wake, self.is_polled, self.mode = wake, False, NOTIFY
        self.announce()

    cdef int announce(self) except -1:
        if self.first == NULL:
            return 0
        self.note_ready()
        if not self.is_polled and self.ring.ring.fd >= 0:
            self.ring.wake()
        return 0

    def stop(self):
        """Leave what is received in the queue."""
        self.mode = STORE

    cdef int pass_on_pieces(self) except -1:
        """Pass on pieces, at most as many bytes as one read has.

        A peer that never pauses must not stop the loop.
        """
        cdef Py_ssize_t room = READ_BYTES
        self.is_ready = False
        if self.mode == NOTIFY and self.first != NULL:
            self.mode = STORE
            self.wake(None)
        while self.mode == PASS_ON and self.first != NULL:
            if room <= 0:
                self.announce()
                break
            room -= self.first.size + PIECE_COST
            try:
                if self.pass_on_piece():
                    self.wake(None)
            except BaseException as error:  # the hub would only print it, and wake no session
                self.wake(error)
        return 0

    cdef bint pass_on_piece(self) except -1:
        """Do the same as `bench.transport.tcp.pass_on`, with the next piece."""
        cdef Sieve sieve = self.sieve
        left = self.pop(sieve)
        if left is not None and self.take_read(left):
            return True
        if sieve.due:
            sieve.pass_on_consumed()
        return sieve.wakes

    def read(self, polled_ns, polls, Sieve sieve):
        """Do the same as `SocketReader.read`. The ring itself knows when the socket was empty."""
        if self.first == NULL and self.ring.ring.fd >= 0:
            self.ring.sync()
        if self.first == NULL:
            raise BlockingIOError(EAGAIN, "no bytes have arrived")
        return self.pop(ALL if sieve is None else sieve)

    cdef object pop(self, Sieve sieve):
        cdef Piece *piece = self.first
        self.stamped_ns = piece.at_ns
        if not piece.size:  # the end remains
            self.failure = piece.error
            return sieve.consume_wire(
                bytes_of(piece), 0, piece.at_ns, piece.empty_ns, False, piece.complete
            )
        self.first = piece.after
        self.queued_bytes -= piece.size
        if self.first == NULL:
            self.last = NULL
        elif self.first == self.last:
            self.link = &self.first
        if self.paused and self.queued_bytes < MAX_QUEUED // 2:
            self.paused = False
            if not self.armed:
                self.ring.unarmed.append(self)
                self.ring.sync()
        try:
            return sieve.consume_wire(
                bytes_of(piece),
                piece.size,
                piece.at_ns,
                piece.empty_ns,
                piece.kernel,
                piece.complete,
            )
        finally:
            free(piece)

    @property
    def drained(self):
        """True if all received bytes were read."""
        return self.first == NULL

    @property
    def drained_ns(self):
        """An instant: everything that arrived before was read."""
        if self.first != NULL:
            return self.first.empty_ns
        return max(self.floor_ns, self.ring.synced_ns) if self.is_proven() else self.floor_ns


cdef Sieve ALL = Sieve()
