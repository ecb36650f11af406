"""Does in Python what `_compiled.pyx` does in C, but for deltas: none is taken by its form."""

from __future__ import annotations

import os
import resource

from bench.clock import thread_cpu_ns
from bench.protocol.events import Event
from bench.transport.frames import leading_texts as leading_texts
from bench.transport.received import DeltaArrival

READABLE = 1 | 16  # EPOLLIN or EPOLLHUP of linux/eventpoll.h
READY = 1024
_THIS_THREAD = getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF)  # Linux tells threads apart


def readable(epoll: int) -> list[int] | None:
    """As in C."""
    from gevent import monkey  # here, for who only reads messages needs no event loop

    with monkey.get_original("select", "epoll").fromfd(os.dup(epoll)) as asked:
        ready = asked.poll(0, READY)
    return [fd if events & READABLE else -1 for fd, events in ready] if len(ready) < READY else None


def thread_use(schedstat: int) -> tuple[int, int]:
    """As in C."""
    try:
        _, waited_ns, times = map(int, os.pread(schedstat, 64, 0).split())
    except (OSError, ValueError):
        waited_ns = times = 0
    usage = resource.getrusage(_THIS_THREAD)
    return usage.ru_nvcsw + usage.ru_nivcsw, waited_ns + thread_cpu_ns() if times else 0


def make_alarm() -> int:
    """Raises OSError: Python has no such timers before 3.13."""
    raise OSError("no alarms")


def set_alarm(fd: int, at_ns: int) -> None:
    raise NotImplementedError


class ReadState:
    """What is known of a socket by the reads so far, as `bench.transport.tcp` explains."""

    stamped_ns = drained_ns = 0
    drained = False


class DeltaTaker:
    """Takes no deltas."""

    count = size = at_ns = empty_ns = 0
    due = kernel = False

    def learn(self, event: Event, head: bytes, middle: bytes, tail: bytes, base64: bool) -> None:
        pass

    def forget(self) -> None:
        pass

    def take(self, data: bytes, at_ns: int, empty_ns: int, complete: bool) -> bool:
        return False

    def hear(self, fd: int, state: ReadState, polled_ns: int) -> bool:
        raise NotImplementedError

    def received(self) -> bytes:
        return b""

    def hand_out(self) -> list[DeltaArrival]:
        return []
