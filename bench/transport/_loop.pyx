# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The Linux calls of `event_loop.py`, in C: readable sockets, the times of a thread, and timers as
files.
"""

from cpython.exc cimport PyErr_SetFromErrno
from libc.string cimport memset

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
    READY = 1024  # maximum number of events of one poll

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
    clockid_t CLOCK_MONOTONIC, CLOCK_THREAD_CPUTIME_ID

    cdef struct itimerspec:
        timespec it_interval, it_value

cdef extern from "<sys/timerfd.h>" nogil:
    int timerfd_create(clockid_t clock, int flags)
    int timerfd_settime(int fd, int flags, const itimerspec *value, itimerspec *before)
    int TFD_NONBLOCK, TFD_CLOEXEC, TFD_TIMER_ABSTIME


def make_alarm():
    """Return an alarm: a timer that is a file. It becomes readable at the instant that is set.
    Raise OSError.
    """
    cdef int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)
    if fd < 0:
        PyErr_SetFromErrno(OSError)
    return fd


def set_alarm(int fd, long long at_ns):
    """Set the instant of an alarm; 0 for never. The alarm is not readable before `at_ns`."""
    cdef itimerspec value
    memset(&value, 0, sizeof(value))
    value.it_value.tv_sec, value.it_value.tv_nsec = at_ns // 1_000_000_000, at_ns % 1_000_000_000
    timerfd_settime(fd, TFD_TIMER_ABSTIME, &value, NULL)


def readable(int epoll):
    """Return the sockets of libev's epoll set that are readable or closed. Each other ready file is
    returned as -1.

    Return [] if no file of the set is ready, and None if there are too many events for one poll. Do
    not block. libev stores a file's number in the lower half of the data of an event
    (`ev_epoll.c`).
    """
    cdef epoll_event events[READY]
    cdef int count = epoll_wait(epoll, events, READY, 0), place
    if count < 0 or count == READY:
        return None
    if count == 0:
        return []
    return [
        <int>(events[place].data.u64 & 0xFFFFFFFF)
        if events[place].events & (EPOLLIN | EPOLLHUP)
        else -1
        for place in range(count)
    ]


def thread_use(int schedstat):
    """Return (the number of times that this thread left its core, the time for which it was awake,
    in ns).

    A thread is awake while it runs on a core or waits for one. `schedstat` is the thread's own file
    in /proc. The clock is read last, so that the time includes the current run. The time is 0 if
    the kernel does not count it.
    """
    cdef rusage usage
    cdef char text[64]
    cdef long long ran_ns, waited_ns, times = 0
    cdef timespec now
    cdef ssize_t size = pread(schedstat, text, sizeof(text) - 1, 0)
    getrusage(RUSAGE_THREAD, &usage)
    if size > 0:
        text[size] = 0
        sscanf(text, "%lld %lld %lld", &ran_ns, &waited_ns, &times)
    if not times:
        return usage.ru_nvcsw + usage.ru_nivcsw, 0
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now)
    return usage.ru_nvcsw + usage.ru_nivcsw, waited_ns + now.tv_sec * 1_000_000_000 + now.tv_nsec
