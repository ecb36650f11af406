"""Name lookups with the system's resolver. Each lookup runs in its own thread, which also reads the clock.

With the system's resolver, /etc/hosts, nsswitch.conf and search domains have the same effect as in all other programs.
The resolver blocks, so it needs threads. gevent's pool has only ten threads for all purposes. If ten lookups occupied
them, the next lookup would wait in this process, and that wait is not network time.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any, NamedTuple

import gevent
from gevent import monkey
from gevent.event import AsyncResult
from gevent.threadpool import ThreadPool

from bench.base.clock import monotonic_ns
from bench.base.errors import ConnectError
from bench.base.units import NS_PER_S
from bench.catalogue.outcomes import LOOKUPS_FULL, OWN_FAULT
from bench.catalogue.timeouts import Timeouts
from bench.transport.event_loop import HubLocal

getaddrinfo = monkey.get_original("socket", "getaddrinfo")
MAX_LOOKUPS = 500
"""The maximum number of lookups in progress in a process.

After its timeout, a lookup still occupies its thread until the resolver gives up.
"""
IDLE_S = 60.0
"""The idle time after which a thread ends."""
STOPPED_NS = 20_000_000
"""The maximum delay after which a wait normally ends.

If the delay was longer, this process did not run, and neither did the lookup's thread.
"""


class Lookup(NamedTuple):
    """The addresses of a name, as `getaddrinfo` returns them, and when the lookup started and ended."""

    addresses: list[Any]
    started_ns: int
    done_ns: int


def look_up(host: str, port: int, limit_s: float, family: int = socket.AF_UNSPEC) -> Lookup:
    """Look up a host. If the host is an address, return this address.

    Raise ConnectError `connect_failed:dns`, `timeout:dns` or `failed:load_generator`.
    """
    start_ns = monotonic_ns()
    try:  # an address needs no resolver, and so no thread, for which a busy process would wait
        addresses = list(getaddrinfo(host, port, family, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST))
    except (OSError, UnicodeError):
        return Resolver.of_hub().look_up(_Query(host, port, family), limit_s)
    return Lookup(addresses, start_ns, monotonic_ns())


def warm_up() -> None:
    """Start the first thread now, so that the first connection does not have to wait for it."""
    with suppress(ConnectError):  # the result does not matter
        look_up("localhost", 0, Timeouts.tcp)


class _Query:
    """A lookup to do. `started_ns` is the instant at which its thread started the lookup; 0 before that."""

    def __init__(self, host: str, port: int, family: int) -> None:
        self.host, self.started_ns = host, 0
        self._query = host, port, family, socket.SOCK_STREAM

    def run(self) -> Lookup | OSError | UnicodeError:
        """Do the lookup in the thread. Return an error instead of raising it, because gevent would print it."""
        self.started_ns = monotonic_ns()
        try:
            addresses = list(getaddrinfo(*self._query))
        except (OSError, UnicodeError) as error:
            return error
        return Lookup(addresses, self.started_ns, monotonic_ns())


class _Threads(ThreadPool):  # type: ignore[misc]  # gevent has no types
    """A thread pool that stops growing when the machine's limit is reached.

    Further lookups then wait for free threads.
    """

    def _add_thread(self) -> None:
        try:
            super()._add_thread()
        except RuntimeError:  # for example a container's limit of processes
            if not self.size:
                raise
            self._maxsize = self.size


class Resolver(HubLocal):
    """A pool of threads for name lookups."""

    def __init__(self) -> None:
        super().__init__()
        self._threads = _Threads(MAX_LOOKUPS, idle_task_timeout=IDLE_S)

    def look_up(self, query: _Query, limit_s: float) -> Lookup:
        """Look up a host, as the function `look_up` does.

        `limit_s` applies to the wait for a thread, and then again to the lookup.
        """
        limit_error = ConnectError(OWN_FAULT, f"{MAX_LOOKUPS} {LOOKUPS_FULL} within {limit_s:g} s")
        with gevent.Timeout(limit_s, limit_error):
            async_result = self._threads.spawn(query.run)
        if not _wait_for_answer(async_result, query, int(limit_s * NS_PER_S)):
            raise ConnectError("timeout:dns", f"looking up {query.host} took over {limit_s:g} s")
        result: Lookup | OSError | UnicodeError = async_result.get()
        if isinstance(result, Lookup):
            return result
        raise ConnectError("connect_failed:dns", f"{query.host}: {getattr(result, 'strerror', None) or result}")


def _wait_for_answer(async_result: AsyncResult, query: _Query, limit_ns: int) -> bool:
    """Wait for the result of a lookup. Return False if the lookup takes longer than the limit.

    Pauses of this process do not count.
    """
    paused_ns = 0
    while not async_result.ready():
        until_ns = (query.started_ns or monotonic_ns()) + limit_ns + paused_ns
        left_ns = until_ns - monotonic_ns()
        if left_ns <= 0:
            return False
        async_result.wait(left_ns / NS_PER_S)
        overslept_ns = monotonic_ns() - until_ns
        if overslept_ns > STOPPED_NS:
            paused_ns += 2 * overslept_ns  # the lost time, and the same time again, in which the thread can run
    return True
