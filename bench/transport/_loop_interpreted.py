"""The Python implementation of `_loop.pyx`. The docstrings of `_loop.pyx` have the details."""

import os
import resource

from gevent import monkey

from bench.base.clock import thread_cpu_ns

READABLE = 1 | 16  # EPOLLIN or EPOLLHUP of linux/eventpoll.h
READY = 1024
# only Linux has a usage per thread
_THIS_THREAD = getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF)


def readable(epoll: int) -> list[int] | None:
    with monkey.get_original("select", "epoll").fromfd(os.dup(epoll)) as poller:
        ready = poller.poll(0, READY)
    return [fd if events & READABLE else -1 for fd, events in ready] if len(ready) < READY else None


def thread_use(schedstat: int) -> tuple[int, int]:
    try:
        _, waited_ns, times = map(int, os.pread(schedstat, 64, 0).split())
    except (OSError, ValueError):
        waited_ns = times = 0
    usage = resource.getrusage(_THIS_THREAD)
    return usage.ru_nvcsw + usage.ru_nivcsw, waited_ns + thread_cpu_ns() if times else 0


def make_alarm() -> int:
    """Raise OSError, because Python has no such timers before 3.13."""
    raise OSError("no alarms")


def set_alarm(fd: int, at_ns: int) -> None:
    raise NotImplementedError
