"""Sets a limit in time to work of libraries that have none."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

import gevent
from gevent import monkey

T = TypeVar("T")


def within(limit_s: float, work: Callable[[], T]) -> T:
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
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=settle, daemon=True).start()
    return future
