# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Datagrams in C: many are read in one call. `_datagrams_interpreted.py` does the same without a
compiler.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport EINTR, EIO, errno
from libc.string cimport memcmp, memset

from bench.base.clock import Arrival, SendTime

include "fast/stamps.pxi"

cdef extern from "<sys/socket.h>" nogil:
    ctypedef unsigned int socklen_t
    cdef struct sockaddr:
        unsigned short sa_family
    int AF_INET, AF_INET6
    ssize_t c_sendto "sendto"(
        int fd,
        const void *data,
        size_t size,
        int flags,
        const sockaddr *destination,
        socklen_t length,
    )

cdef extern from "<netinet/in.h>" nogil:
    cdef struct in_addr:
        unsigned int s_addr
    cdef struct in6_addr:
        pass
    cdef struct sockaddr_in:
        unsigned short sin_family, sin_port
        in_addr sin_addr
    cdef struct sockaddr_in6:
        unsigned short sin6_family, sin6_port
        unsigned int sin6_flowinfo, sin6_scope_id
        in6_addr sin6_addr
    unsigned short ntohs(unsigned short number)
    unsigned short htons(unsigned short number)
    unsigned int htonl(unsigned int number)
    unsigned int ntohl(unsigned int number)

cdef extern from "<arpa/inet.h>" nogil:
    const char *inet_ntop(int family, const void *address, char *text, socklen_t size)
    int inet_pton(int family, const char *text, void *address)

cdef extern from *:
    """
    #define _GNU_SOURCE
    #include <sys/socket.h>
    static int receive_several(int fd, struct mmsghdr *messages, unsigned int count)
    {
        return recvmmsg(fd, messages, count, MSG_DONTWAIT, NULL);
    }
    """
    cdef struct mmsghdr:
        msghdr msg_hdr
        unsigned int msg_len
    int receive_several(int fd, mmsghdr *messages, unsigned int count) nogil

cdef enum:
    HANDFUL = 64  # as in _datagrams_interpreted.py
    MAX_DATAGRAM_BYTES = 65535
    CONTROL_BYTES = 128
    NAME_BYTES = 128

cdef object new_tuple = tuple.__new__

cdef unsigned char DATA[HANDFUL][MAX_DATAGRAM_BYTES]
cdef char CONTROL[HANDFUL][CONTROL_BYTES]
cdef char NAMES[HANDFUL][NAME_BYTES]
cdef iovec VECTORS[HANDFUL]
cdef mmsghdr MESSAGES[HANDFUL]
"""The buffers of all sockets. No other reader runs before their content is copied."""


cdef void make_room(int place) noexcept:
    """Let a message have the sizes of its buffers, because the kernel has replaced them by those of
    a datagram.
    """
    VECTORS[place].iov_base, VECTORS[place].iov_len = DATA[place], MAX_DATAGRAM_BYTES
    MESSAGES[place].msg_hdr.msg_name, MESSAGES[place].msg_hdr.msg_namelen = NAMES[place], NAME_BYTES
    MESSAGES[place].msg_hdr.msg_iov, MESSAGES[place].msg_hdr.msg_iovlen = &VECTORS[place], 1
    MESSAGES[place].msg_hdr.msg_control = CONTROL[place]
    MESSAGES[place].msg_hdr.msg_controllen = CONTROL_BYTES


cdef int number
for number in range(HANDFUL):
    make_room(number)

cdef object address_of(const char *name):
    """Return an address as the socket module has it."""
    cdef char text[64]
    cdef const sockaddr_in *four = <const sockaddr_in *>name
    cdef const sockaddr_in6 *six = <const sockaddr_in6 *>name
    if (<const sockaddr *>name).sa_family == AF_INET6:
        inet_ntop(AF_INET6, &six.sin6_addr, text, sizeof(text))
        return text.decode(), ntohs(six.sin6_port), ntohl(six.sin6_flowinfo), six.sin6_scope_id
    inet_ntop(AF_INET, &four.sin_addr, text, sizeof(text))
    return text.decode(), ntohs(four.sin_port)


cdef class DatagramReader:
    """The reader of a UDP socket that never blocks."""

    cdef int fd
    cdef char last_name[NAME_BYTES]
    cdef object last_address

    def __init__(self, sock):
        self.fd = sock.fileno()
        self.last_address = None

    def close(self):
        """Stop reading, because another socket may soon have the same file number."""
        self.fd = -1

    def receive(self, long long empty_ns, int most=HANDFUL):
        """Return (the datagrams that have arrived, at most `most` of up to `HANDFUL`; the error
        number of the read, 0 without one).

        Each datagram has its data, its source, and its arrival. `empty_ns` is the last instant at
        which the socket was empty.
        """
        cdef int place, count
        cdef socklen_t size
        cdef long long at_ns, now_ns
        cdef list datagrams = []
        count = receive_several(self.fd, MESSAGES, most)
        if count < 0:
            return datagrams, errno
        for place in range(count):
            at_ns = stamp_of(&MESSAGES[place].msg_hdr)
            if at_ns != NO_STAMP:
                arrival = new_tuple(Arrival, (at_ns, 0, True))
            else:
                now_ns = read_clock(CLOCK_MONOTONIC)
                arrival = new_tuple(Arrival, (now_ns, now_ns - empty_ns, False))
            size = MESSAGES[place].msg_hdr.msg_namelen
            if self.last_address is None or memcmp(self.last_name, NAMES[place], size):
                memset(self.last_name, 0, NAME_BYTES)
                memcpy(self.last_name, NAMES[place], size)
                self.last_address = address_of(NAMES[place])
            datagrams.append((
                PyBytes_FromStringAndSize(<const char *>DATA[place], MESSAGES[place].msg_len),
                self.last_address,
                arrival,
            ))
            make_room(place)
        return datagrams, 0


cdef class DatagramWriter:
    """The writer of a UDP socket that never blocks. It converts an address only if it is not that
    of the last datagram.
    """

    cdef object sock, last
    cdef int fd, family
    cdef socklen_t length
    cdef char name[NAME_BYTES]
    """The address `last`, as the kernel has it."""

    def __init__(self, sock):
        self.sock, self.last, self.fd, self.family = sock, None, sock.fileno(), sock.family

    def close(self):
        """Stop sending, because another socket may soon have the same file number."""
        self.fd = -1

    cdef bint find(self, destination) except -1:
        """Convert an address. Return False if it is not an IP address with a port, or if it has a
        zone.
        """
        cdef sockaddr_in *four = <sockaddr_in *>self.name
        cdef sockaddr_in6 *six = <sockaddr_in6 *>self.name
        cdef int is_address
        host, port = destination[:2]
        if not (isinstance(host, str) and host.isascii()):
            return False
        if not (isinstance(port, int) and 0 <= port <= 0xFFFF):
            return False
        text = (<str>host).encode()
        self.last = None
        memset(self.name, 0, NAME_BYTES)
        if self.family == AF_INET:
            self.length, four.sin_family, four.sin_port = sizeof(sockaddr_in), AF_INET, htons(port)
            is_address = inet_pton(AF_INET, PyBytes_AS_STRING(text), &four.sin_addr)
        else:
            self.length = sizeof(sockaddr_in6)
            six.sin6_family = AF_INET6
            six.sin6_port = htons(port)
            is_address = inet_pton(AF_INET6, PyBytes_AS_STRING(text), &six.sin6_addr)
            if len(destination) == 4:
                six.sin6_flowinfo, six.sin6_scope_id = htonl(destination[2]), destination[3]
        if is_address != 1:
            return False
        self.last = destination
        return True

    def send(self, bytes data not None, destination):
        """Send a datagram. Return its `SendTime`, or the number of the error with which the kernel
        refused it.
        """
        cdef long long before_ns
        cdef ssize_t sent = -1
        if destination is not self.last and not self.find(destination):
            before_ns = read_clock(CLOCK_MONOTONIC)
            try:
                self.sock.sendto(data, destination)
            except OSError as error:
                return error.errno or EIO
            return new_tuple(SendTime, (before_ns, read_clock(CLOCK_MONOTONIC) - before_ns, 0))
        before_ns = read_clock(CLOCK_MONOTONIC)
        while sent < 0:
            sent = c_sendto(
                self.fd,
                PyBytes_AS_STRING(data),
                PyBytes_GET_SIZE(data),
                0,
                <const sockaddr *>self.name,
                self.length,
            )
            if sent < 0 and errno != EINTR:
                return errno
        return new_tuple(SendTime, (before_ns, read_clock(CLOCK_MONOTONIC) - before_ns, 0))
