"""Makes this process gevent's, and sets a limit in time to work of libraries that have none."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

import gevent
from gevent import monkey

READABLE = 1
SIGNALS_BYTES = 512
T = TypeVar("T")


def patch() -> None:
    """Patch the standard library: the first thing a command does that opens connections.

    Modules that take `ssl` for themselves (azure's, requests) must not have been imported before. Ctrl-C ends such a
    command without gevent's own lines about it.
    """
    monkey.patch_all()
    hub = gevent.get_hub()
    hub.NOT_ERROR = (*hub.NOT_ERROR, KeyboardInterrupt)
    # Between the loop's look at the signals and its poll a signal is only noted, and what the main greenlet then asks
    # of the loop comes too late for this poll: a byte ends it at once.
    signals, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    hub.loop.io(signals, READABLE, ref=False).start(os.read, signals, SIGNALS_BYTES)


def with_timeout(limit_s: float, work: Callable[[], T]) -> T:
    """Do `work` and return what it gives. Raises TimeoutError where that takes longer.

    Where gevent has patched the standard library, the work is broken off in its wait. A thread cannot be: it is left
    to itself, and what it gives later is dropped.
    """
    if not monkey.is_module_patched("threading"):
        return _by_thread(work).result(limit_s)
    with gevent.Timeout(limit_s, False):  # a BaseException on its way, so no library takes it for a fault of its own
        return work()
    raise TimeoutError


def _by_thread(work: Callable[[], T]) -> Future[T]:
    future: Future[T] = Future()

    def settle() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # raised where the result is asked for: a thread would only print it
            future.set_exception(error)

    threading.Thread(target=settle, daemon=True).start()
    return future
