# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The fast path in C: socket reads with kernel timestamps, TLS decryption, frames, and matched
deltas (`reader.py`).

For a reply in progress, all work for each event is done here, except for the evaluation of the
deltas.
"""

from cpython.buffer cimport PyBUF_READ, PyBUF_WRITE
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_SetFromErrno
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.errno cimport EAGAIN, EINTR, errno
from libc.string cimport memchr, memcmp, memset

from ssl import SSLError, SSLWantReadError

from bench.base.clock import Arrival
from bench.transport.parser import SocketRead
from bench.wire.connection import MatchedDelta, ReceivedMessage
from bench.wire.dialect import BinaryMessage

include "stamps.pxi"
include "../../wire/base64.pxi"

cdef enum:
    ROOM = 64
    READ_BYTES = 65536  # as in bench.transport.parser
    RECORD_HEADER = 5  # both as in bench.transport.fast._interpreted
    RECORD_BYTES = 16384
    # a read may complete a record of which only one byte was missing
    PLAIN_BYTES = READ_BYTES + 2 * RECORD_BYTES
    MANY = 32
    FINAL_TEXT = 0x81
    FINAL_BINARY = 0x82
    QUOTE = 0x22
    BACKSLASH = 0x5C
    PADDING = 0x3D

cdef long long LONG_NS = 500_000_000, SOUND_NS = 80_000_000
"""The age of the first matched delta at which the matched deltas are due, and the age for sound, in
which a reply may begin. They are also due if there are `MANY`."""

cdef object new_tuple = tuple.__new__
"""A constructor of named tuples that takes half of the usual time."""

cdef unsigned char BUFFER[READ_BYTES]
"""The buffer of all sockets. No other reader runs before its content is parsed or copied."""
cdef unsigned char PLAIN[PLAIN_BYTES]
"""The decrypted content of `BUFFER`."""


cdef struct Entry:
    int template
    bint kept
    long long at_ns, error_ns, lag_ns
    Py_ssize_t payload_bytes, wire_bytes


cdef bint plain(Text text, Py_ssize_t size) noexcept nogil:
    """Return whether a JSON string needs no decoding, because it is printable ASCII without quotes
    and escapes.
    """
    cdef unsigned char odd = 0
    cdef Py_ssize_t at
    for at in range(size):
        odd |= (text[at] < 0x20) | (text[at] > 0x7E) | (text[at] == QUOTE) | (text[at] == BACKSLASH)
    return not odd


cdef Py_ssize_t frame_header(Text wire, Py_ssize_t size, Py_ssize_t *length) noexcept nogil:
    """Return the size of the header of a complete message in one frame, and set `length` to the
    size of its payload.

    Return 0 for any other frame. The length must be given in seven bits, or in sixteen bits if
    seven are not enough.
    """
    cdef Py_ssize_t header = 2
    if size < 2 or (wire[0] != FINAL_TEXT and wire[0] != FINAL_BINARY):
        return 0
    length[0] = wire[1]
    if length[0] == 126 and size >= 4:
        header, length[0] = 4, wire[2] << 8 | wire[3]
        if length[0] < 126:
            return 0
    elif length[0] >= 126:  # eight bytes of length, a mask, or an incomplete header
        return 0
    return header if header + length[0] <= size else 0


cdef Py_ssize_t add_messages(
    list messages,
    Text wire,
    Py_ssize_t size,
    long long at_ns,
    long long empty_ns,
    bint kernel,
    bint complete,
) except -1:
    """Add the messages of the leading complete frames. Return the size of these frames."""
    cdef Py_ssize_t at = 0, header, length = 0
    arrival = None
    while True:
        header = frame_header(wire + at, size - at, &length)
        if not header:
            return at
        if complete and at + header + length == size:
            arrival = new_tuple(Arrival, (at_ns, 0, kernel))
        elif arrival is None:
            arrival = new_tuple(Arrival, (at_ns, at_ns - empty_ns, kernel))
        payload = PyBytes_FromStringAndSize(<const char *>wire + at + header, length)
        if wire[at] == FINAL_BINARY:
            payload = BinaryMessage(payload)
        messages.append(new_tuple(ReceivedMessage, (payload, arrival, header + length)))
        at += header + length


def leading_messages(read):
    """Do the same as `bench.transport.parser.leading_messages`."""
    cdef bytes data
    cdef long long at_ns, empty_ns
    cdef bint kernel, complete
    data, at_ns, empty_ns, kernel, complete = read
    cdef list messages = []
    return messages, add_messages(
        messages, <Text><const char *>data, len(data), at_ns, empty_ns, kernel, complete
    )


cdef class Sieve:
    """A filter between a socket and the handler of its reads. This base class passes each read on
    unchanged.

    `due` is True if `pass_on_consumed` has data to pass on. `wakes` is True if the listener must
    act, even if the read was completely consumed.
    """

    def consume(self, read):
        """Consume what can be consumed of a read. Return the rest, which is for the handler; None
        if there is none.
        """
        cdef bytes data
        cdef long long at_ns, empty_ns
        cdef bint kernel, complete
        data, at_ns, empty_ns, kernel, complete = read
        return self.consume_wire(
            <Text><const char *>data, len(data), at_ns, empty_ns, kernel, complete
        )

    cdef object consume_wire(
        self,
        Text wire,
        Py_ssize_t size,
        long long at_ns,
        long long empty_ns,
        bint kernel,
        bint complete,
    ):
        data = PyBytes_FromStringAndSize(<const char *>wire, size)
        return new_tuple(SocketRead, (data, at_ns, empty_ns, kernel, complete))

    def pass_on_consumed(self):
        """Pass on the data of the reads that were consumed."""


cdef class Template:
    """A template: the bytes of a delta before and after its event id and its payload. The id may be
    missing.
    """

    cdef object event
    cdef bytes head, middle, tail
    cdef bint base64, binary, is_sound, keeps_text

    def __init__(
        self,
        event,
        bytes head not None,
        bytes middle not None,
        bytes tail not None,
        bint base64,
        bint binary,
        bint is_sound,
        bint keeps_text,
    ):
        self.event, self.head, self.middle, self.tail = event, head, middle, tail
        self.base64 = base64
        self.binary = binary
        self.is_sound = is_sound
        self.keeps_text = keeps_text

    cdef bytes sound(self, Text text, Py_ssize_t size, Py_ssize_t payload_bytes):
        """Return the audio of a matching text; None if it is not base64."""
        cdef Py_ssize_t characters = (payload_bytes + 2) // 3 * 4
        if not self.base64:
            return PyBytes_FromStringAndSize(<const char *>text, size)
        return decoded(text + size - len(self.tail) - characters, characters, payload_bytes)

    cdef Py_ssize_t payload_bytes(self, Text text, Py_ssize_t size) noexcept:
        """Return `ServerEvent.payload_bytes` of a matching text; 0 if it does not match, or if the
        payload is empty.
        """
        cdef Py_ssize_t head = len(self.head), middle = len(self.middle), tail = len(self.tail)
        cdef Text end
        if self.is_sound and not self.base64:  # the message is the audio
            return size
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


cdef class TemplateMatcher(Sieve):
    """A matcher of reads that contain only deltas like the templates. It stores the facts of each
    delta.

    `pop_deltas` returns the facts. `ready` is True if a read may be matched: the next byte starts a
    message, and there is a listener. `keeps_texts` is True if each delta contains its message and
    is due at once, so that a log gets it when it arrives. Deltas of sound contain their audio
    instead. `consumes_messages` is True if a read of complete messages may be consumed: the next
    byte starts a message, and there is a listener. `pop_messages` returns them.
    """

    cdef list templates, texts
    cdef readonly list consumed
    """The messages that `pop_messages` has not returned yet."""
    cdef Entry entries[ROOM]
    cdef readonly int count
    """The number of matched deltas that `pop_deltas` has not returned yet."""
    cdef long long first_ns
    cdef bint has_sound
    cdef public bint ready, keeps_texts, consumes_messages

    def __init__(self):
        self.templates, self.texts, self.consumed = [], [], []

    def add(
        self,
        event,
        bytes head not None,
        bytes middle not None,
        bytes tail not None,
        bint base64,
        bint binary=False,
        bint is_sound=False,
        bint keeps_text=False,
    ):
        """Add a template: match deltas with these bytes from now on. `event` is their event,
        without a payload.

        `binary` is True if they are in binary frames. If `is_sound` is True, `pop_deltas` returns
        their audio. If it is not in base64, a message is nothing but audio. If `keeps_text` is
        True, `pop_deltas` returns their messages.
        """
        self.templates.append(
            Template(event, head, middle, tail, base64, binary, is_sound, keeps_text)
        )
        self.has_sound = is_sound and not event.item_id  # no reply begins in an item that is known

    def forget(self):
        """Delete the templates. Call `pop_deltas` before, because matched deltas refer to
        templates.
        """
        self.templates.clear()

    def match(self, bytes data not None, long long at_ns, long long empty_ns, bint complete):
        """Record the deltas of a read, if the read has only complete frames of deltas that match.

        Return whether this is so. `at_ns`, `empty_ns` and `complete` are `timestamp_ns`, `empty_ns`
        and `is_complete` of `SocketRead`.
        """
        return self.match_wire(<Text><const char *>data, len(data), at_ns, empty_ns, complete)

    cdef object consume_wire(
        self,
        Text wire,
        Py_ssize_t size,
        long long at_ns,
        long long empty_ns,
        bint kernel,
        bint complete,
    ):
        if self.ready and kernel and self.match_wire(wire, size, at_ns, empty_ns, complete):
            return None
        if self.consumes_messages and self.store_messages(
            wire, size, at_ns, empty_ns, kernel, complete
        ):
            return None
        return Sieve.consume_wire(self, wire, size, at_ns, empty_ns, kernel, complete)

    cdef bint store_messages(
        self,
        Text wire,
        Py_ssize_t size,
        long long at_ns,
        long long empty_ns,
        bint kernel,
        bint complete,
    ) except -1:
        """Store the messages of a read, if the read has only complete frames. Return whether this
        is so.
        """
        cdef list messages = []
        cdef Py_ssize_t taken = add_messages(
            messages, wire, size, at_ns, empty_ns, kernel, complete
        )
        if taken < size or not taken:
            return False
        self.consumed += messages
        self.due = True
        return True

    def pop_messages(self):
        """Return the messages of consumed reads in the order of their arrival, and forget them.

        Call `pop_deltas` before, because the matched deltas came earlier.
        """
        messages, self.consumed = self.consumed, []
        self.due = False
        return messages

    cdef bint match_wire(
        self, Text wire, Py_ssize_t size, long long at_ns, long long empty_ns, bint complete
    ) except -1:
        cdef Py_ssize_t at = 0, header, length = 0, payload
        cdef int count = self.count, place
        cdef Entry *entry = NULL
        cdef long long now_ns
        cdef list texts = []
        cdef Template template
        if not size or not self.templates:
            return False
        now_ns = read_clock(CLOCK_MONOTONIC)
        while at < size:
            if count == ROOM:
                return False
            header = frame_header(wire + at, size - at, &length)
            if not header:
                return False
            payload = 0
            for place in range(len(self.templates)):
                template = <Template>self.templates[place]
                if template.binary == (wire[at] == FINAL_BINARY):
                    payload = template.payload_bytes(wire + at + header, length)
                if payload:
                    break
            if not payload:
                return False
            entry = &self.entries[count]
            entry.kept = True
            if template.is_sound:
                sound = template.sound(wire + at + header, length, payload)
                if sound is None:
                    return False
                texts.append(sound)
            elif self.keeps_texts or template.keeps_text:
                texts.append(PyBytes_FromStringAndSize(<const char *>wire + at + header, length))
            else:
                entry.kept = False
            entry.template = place
            entry.at_ns = at_ns
            entry.error_ns = at_ns - empty_ns
            entry.lag_ns = now_ns - at_ns
            entry.payload_bytes, entry.wire_bytes = payload, header + length
            at += header + length
            count += 1
        if complete:
            entry.error_ns = 0
        if not self.count:
            self.first_ns = now_ns
        self.texts += texts
        self.count = count
        self.due = self.keeps_texts or count >= MANY
        self.due = self.due or now_ns - self.first_ns > (SOUND_NS if self.has_sound else LONG_NS)
        return True

    def pop_deltas(self):
        """Return the matched deltas in the order of their arrival, and forget them."""
        cdef int place, texts = 0
        cdef Entry *entry
        cdef bytes data
        cdef list deltas = []
        for place in range(self.count):
            entry, data = &self.entries[place], b""
            if entry.kept:
                data, texts = self.texts[texts], texts + 1
            deltas.append(new_tuple(MatchedDelta, (
                (<Template>self.templates[entry.template]).event,
                entry.at_ns,
                entry.error_ns,
                entry.lag_ns,
                entry.payload_bytes,
                entry.wire_bytes,
                data,
            )))
        self.count, self.due = 0, False
        self.texts.clear()
        return deltas


cdef class Decrypter(Sieve):
    """The decrypter of reads. It passes the decrypted data to `matcher`, and returns what `matcher`
    leaves.

    `wakes` is True at the end of the stream. `heard` is True if the peer has sent data. `ended` is
    True if the peer sends no more data. If an error is the reason, it is `error`; otherwise `error`
    is None.
    """

    cdef public Sieve matcher
    cdef readonly bint heard, ended
    cdef readonly object error
    cdef object tls, incoming, outgoing, last
    cdef bytes early
    """The received bytes that TLS has not consumed."""
    cdef unsigned char header[RECORD_HEADER]
    cdef Py_ssize_t header_bytes, missing
    """The number of received bytes of the current record's header, and of missing bytes of its
    body."""

    def __init__(self, tls, incoming, outgoing):
        """Create a decrypter. `tls` reads from `incoming` and writes to `outgoing`.

        All connections may share `incoming`, because it is empty when no method runs.
        """
        self.tls, self.incoming, self.outgoing = tls, incoming, outgoing
        self.matcher, self.early = Sieve(), b""

    def shake_hands(self, bytes data not None):
        """Continue the handshake with the received bytes. Raise ssl.SSLError."""
        self.feed(<Text><const char *>data, len(data))
        try:
            self.tls.do_handshake()
        finally:
            self.early = self.incoming.read()

    cdef object consume_wire(
        self,
        Text wire,
        Py_ssize_t size,
        long long at_ns,
        long long empty_ns,
        bint kernel,
        bint complete,
    ):
        cdef object left = None
        cdef Py_ssize_t opened = 0 if self.ended else self.opened(wire, size)
        # the timestamp is exact for data at the end of the read only if a record also ends there
        complete = complete and not self.header_bytes
        if opened:
            self.heard = True
            left = self.matcher.consume_wire(PLAIN, opened, at_ns, empty_ns, kernel, complete)
            self.due = self.matcher.due
        self.wakes = self.ended or self.outgoing.pending
        if self.wakes:
            self.last = at_ns, empty_ns, kernel, complete
        return left

    cdef Py_ssize_t opened(self, Text wire, Py_ssize_t size) except -1:
        """Decrypt a read. Return the number of bytes in PLAIN."""
        cdef Py_ssize_t opened = 0, more
        self.feed(wire, size)
        try:
            # another read would raise an exception, which is slow
            while opened <= PLAIN_BYTES - RECORD_BYTES and self.incoming.pending:
                more = self.tls.read(
                    RECORD_BYTES,
                    PyMemoryView_FromMemory(<char *>PLAIN + opened, RECORD_BYTES, PyBUF_WRITE),
                )
                opened += more
                if not more:
                    self.ended = True
                    break
        except SSLWantReadError:
            pass
        except SSLError as error:
            self.ended, self.error = True, error.with_traceback(None)
        finally:  # also if Ctrl-C ends the read: it must be empty for the next connection
            if self.incoming.pending:
                self.early = self.incoming.read()
        self.ended = self.ended or not size
        return opened

    cdef int feed(self, Text wire, Py_ssize_t size) except -1:
        if self.early:
            self.incoming.write(self.early)
            self.early = b""
        self.incoming.write(PyMemoryView_FromMemory(<char *>wire, size, PyBUF_READ))
        self.count_records(wire, size)
        return 0

    cdef void count_records(self, Text wire, Py_ssize_t size) noexcept:
        """Count how much of the last record in these bytes has arrived. Its header has its length
        (RFC 8446 §5.1).
        """
        cdef Py_ssize_t at = 0, step
        while at < size:
            if self.header_bytes < RECORD_HEADER:
                self.header[self.header_bytes] = wire[at]
                self.header_bytes, at = self.header_bytes + 1, at + 1
                if self.header_bytes < RECORD_HEADER:
                    continue
                self.missing = self.header[3] << 8 | self.header[4]
            step = min(self.missing, size - at)
            self.missing, at = self.missing - step, at + step
            if not self.missing:
                self.header_bytes = 0

    def pass_on_consumed(self):
        """Pass on the matched deltas."""
        self.matcher.pass_on_consumed()
        self.due = self.matcher.due
        self.wakes = self.wakes or self.matcher.wakes

    def end(self):
        """Return the arrival of the last read for which `wakes` was True: the read without its
        bytes.
        """
        return new_tuple(SocketRead, (b"", *self.last))


cdef class SocketReader:
    """The reader of a connected non-blocking socket. For each read, it finds the last instant of an
    empty socket.

    `stamped_ns` is the timestamp of the last read. `drained` is True if the last read emptied the
    socket. Everything that arrived before `drained_ns` was read. `failure` is the number of the
    error that broke the connection; 0 if it did not break.
    """

    cdef int fd
    cdef object watch
    cdef public long long stamped_ns, drained_ns
    cdef public bint drained
    cdef readonly int failure

    def __init__(self, sock, watch, long long asked_ns):
        """Create a reader. `watch` is the loop's `LoopMonitor`. `asked_ns` is an instant before the
        socket connected.

        An instant after the connection would be wrong, because the peer may already have sent data.
        """
        self.fd, self.watch, self.drained_ns, self.drained = sock.fileno(), watch, asked_ns, True

    def close(self):
        """Stop reading, because another socket may soon have the same file number."""
        self.fd = -1

    def read(self, long long polled_ns, polls, Sieve sieve):
        """Read the available bytes. Return what `sieve` leaves, or None. Raise BlockingIOError if
        there are no bytes.

        If the connection broke, the result is the same as if the peer had closed it, and `failure`
        has the error. `polled_ns` is the instant of the last poll that did not report the socket as
        readable; 0 if there was none. `polls` is the number of the loop's polls when the loop
        started to watch the socket; None if no poll of the loop reported the socket, or if the
        previous read had not emptied it.
        """
        cdef char control[128]
        cdef iovec vector
        cdef msghdr message
        cdef ssize_t size
        cdef bint kernel
        # read before the call: the process may lose its core between the call and a later clock
        # reading
        cdef long long at_ns, empty_ns, stamp_ns = NO_STAMP, before_ns = read_clock(CLOCK_MONOTONIC)
        vector.iov_base, vector.iov_len = BUFFER, READ_BYTES
        memset(&message, 0, sizeof(message))
        message.msg_iov, message.msg_iovlen = &vector, 1
        message.msg_control, message.msg_controllen = control, sizeof(control)
        size = recvmsg(self.fd, &message, MSG_DONTWAIT)
        if size >= 0:
            stamp_ns = stamp_of(&message)
        elif errno == EAGAIN or errno == EINTR:
            self.drained, self.drained_ns = True, before_ns
            PyErr_SetFromErrno(OSError)
        else:
            size, self.failure = 0, errno
        kernel = stamp_ns != NO_STAMP
        # two conversions of one timestamp differ by some ns, but arrivals must not go backwards
        at_ns = stamp_ns if kernel else read_clock(CLOCK_MONOTONIC)
        at_ns = self.stamped_ns = max(self.stamped_ns, at_ns)
        if self.drained and polled_ns > self.drained_ns:
            self.drained_ns = polled_ns
        empty_ns = self.drained_ns
        if polls is not None:
            empty_ns = max(empty_ns, <long long>self.watch.empty_ns(self.fd, polls, at_ns))
        empty_ns = min(empty_ns, at_ns)
        self.drained = size < READ_BYTES
        if self.drained:
            self.drained_ns = before_ns
        if sieve is None:
            sieve = ALL
        return sieve.consume_wire(BUFFER, size, at_ns, empty_ns, kernel, self.drained)


cdef Sieve ALL = Sieve()
