# Messages of the kernel with their arrival timestamps, on CLOCK_MONOTONIC, for the compiled modules
# that include this.

from libc.string cimport memcpy

from bench.base import clock

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
        void *msg_name
        unsigned int msg_namelen
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

cdef long long ABSURD_LAG_NS = clock.MAX_LAG_NS, APART_NS = clock.MAX_CLOCK_GAP_NS
cdef int TRIES = clock.TRIES, SO_TIMESTAMPNS = clock.SO_TIMESTAMPNS
cdef long long NO_STAMP = -1


cdef long long read_clock(clockid_t clock) noexcept nogil:
    cdef timespec now
    clock_gettime(clock, &now)
    return now.tv_sec * 1_000_000_000 + now.tv_nsec


cdef void read_clocks(long long *monotonic_ns, long long *realtime_ns) noexcept nogil:
    """Read both clocks as close to each other as `bench.base.clock.monotonic_of` does."""
    cdef long long before, wall, after, closest = 1 << 62
    cdef int tried
    for tried in range(TRIES):
        before = read_clock(CLOCK_MONOTONIC)
        wall = read_clock(CLOCK_REALTIME)
        after = read_clock(CLOCK_MONOTONIC)
        if after - before < closest:
            closest, monotonic_ns[0], realtime_ns[0] = after - before, after, wall
        if closest <= APART_NS:
            break


cdef long long monotonic_of(long long realtime_ns) noexcept nogil:
    """Do the same as `bench.base.clock.monotonic_of`."""
    cdef long long now_ns = 0, wall_ns = 0, lag_ns
    read_clocks(&now_ns, &wall_ns)
    lag_ns = wall_ns - realtime_ns
    return now_ns - lag_ns if 0 <= lag_ns <= ABSURD_LAG_NS else NO_STAMP


cdef long long realtime_stamp_of(msghdr *message) noexcept nogil:
    """Return the kernel's receive timestamp on CLOCK_REALTIME; NO_STAMP if it is missing."""
    cdef cmsghdr *header = CMSG_FIRSTHDR(message)
    cdef timespec stamp
    while header != NULL:
        if (
            header.cmsg_level == SOL_SOCKET and header.cmsg_type == SO_TIMESTAMPNS
            and header.cmsg_len >= CMSG_LEN(sizeof(timespec))
        ):
            memcpy(&stamp, CMSG_DATA(header), sizeof(timespec))
            return stamp.tv_sec * 1_000_000_000 + stamp.tv_nsec
        header = CMSG_NXTHDR(message, header)
    return NO_STAMP


cdef long long stamp_of(msghdr *message) noexcept nogil:
    """Return the kernel's receive timestamp on CLOCK_MONOTONIC; NO_STAMP if missing or unusable."""
    cdef long long realtime_ns = realtime_stamp_of(message)
    return NO_STAMP if realtime_ns == NO_STAMP else monotonic_of(realtime_ns)
