"""Polls the sockets of replies that go on, all together every few milliseconds.

The kernel has stamped what came meanwhile, so nothing is lost by looking late, and a process that wakes up for every
delta spends most of its time on waking up.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import gevent
from gevent import monkey

from bench.clock import monotonic_ns

PERIOD_S = 0.002
"""How long a reply that goes on is not looked at: a delta that shares a read with another may be so much older."""
READABLE = 1  # EPOLLIN of linux/eventpoll.h, which gevent takes out of the module select


class Poller:
    """Polls sockets with Linux's epoll. One per hub: `Poller.of_hub()`."""

    def __init__(self, hub: Any) -> None:
        self._process = os.getpid()
        self._epoll = monkey.get_original("select", "epoll")()
        self._hearers: dict[int, Callable[[int], None]] = {}
        self._polled_ns = 0
        # before all else of the loop
        self._timer = hub.loop.timer(PERIOD_S, PERIOD_S, ref=False, priority=hub.loop.MAXPRI)

    @staticmethod
    def of_hub() -> Poller | None:
        """The poller of this process's hub, made at first use; None where the platform has no epoll.

        After a fork the hub is the same, and the epoll set would be both processes'.
        """
        hub = gevent.get_hub()
        poller = getattr(hub, "rtbench_poller", None)
        if isinstance(poller, Poller) and poller._process == os.getpid():
            return poller
        hub.rtbench_poller = poller = Poller(hub) if _has_epoll() else None
        return poller

    def add(self, fd: int, hear: Callable[[int], None]) -> None:
        """Poll this socket as well, until it is removed.

        `hear` reads what there is, and waits for nothing; it is told when the sockets were polled before this time.
        """
        self._hearers[fd] = hear
        self._epoll.register(fd, READABLE)
        if not self._timer.active:
            self._timer.start(self._poll)

    def remove(self, fd: int) -> None:
        """Poll this socket no longer; it is still open."""
        del self._hearers[fd]
        self._epoll.unregister(fd)
        if not self._hearers:
            self._timer.stop()

    def _poll(self) -> None:
        before_ns, self._polled_ns = self._polled_ns, monotonic_ns()
        for fd, _ in self._epoll.poll(0, len(self._hearers)):  # all of them: who is not told of was empty
            self._hearers[fd](before_ns)


def _has_epoll() -> bool:
    try:
        monkey.get_original("select", "epoll")
    except AttributeError:
        return False
    return True
