"""The patching of this process by gevent, and a time limit for library code that has none."""

import os
import signal
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import Future
from importlib import metadata
from typing import Any, TypeVar

import gevent
import gevent.subprocess
from gevent import monkey

READABLE = 1
SIGNALS_BYTES = 512
T = TypeVar("T")
LimitReached = gevent.Timeout
"""The exception in `work` at the limit of `with_timeout`. `work` may raise an error in its
place."""


def patch_all() -> None:
    """Patch the standard library as `import locust` does, which then finds nothing to patch.

    gevent asks 25 times for plugins, and reads the entry points of all packages each time: a third
    of Locust's import. Here they are read once.
    """
    entry_points = metadata.entry_points
    found = entry_points()
    metadata.entry_points = found.select
    try:
        monkey.patch_all()
    finally:
        metadata.entry_points = entry_points


def patch() -> None:
    """Patch the standard library. A command that opens connections must call this first.

    Modules that import names from `ssl` (azure's, requests) must be imported after the patch. After
    it, Ctrl-C ends the command without gevent's own messages.
    """
    patch_all()
    hub = gevent.get_hub()
    hub.NOT_ERROR = (*hub.NOT_ERROR, KeyboardInterrupt)
    # Between the loop's check of signals and its poll, a signal is only recorded, and what the main
    # greenlet then requests of the loop is too late for this poll. A byte in the pipe ends the poll
    # at once.
    signals, wake = os.pipe()  # macOS has no `pipe2`
    for end in (signals, wake):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    hub.loop.io(signals, READABLE, ref=False).start(os.read, signals, SIGNALS_BYTES)


def keep_error_output() -> None:
    """Let a failed `subprocess.check_output` state what its program printed, as without gevent.

    gevent's own (26.9) raises errors without `stderr`, so a library that shows it, such as
    azure-identity, shows its default text.
    """
    if monkey.is_module_patched("subprocess"):
        subprocess.check_output = _check_output


def _check_output(*args: Any, timeout: float | None = None, **options: Any) -> Any:
    # as in the standard library, which starts no second way of running a program
    run = gevent.subprocess.run
    return run(*args, stdout=subprocess.PIPE, timeout=timeout, check=True, **options).stdout


def with_timeout(limit_s: float, work: Callable[[], T]) -> T:
    """Run `work` and return its result. Raise TimeoutError if it takes longer than the limit.

    If gevent has patched the standard library, the limit interrupts `work` while it waits.
    Otherwise `work` runs in a thread, which cannot be interrupted: it continues after the limit,
    and its result is ignored.
    """
    if not monkey.is_module_patched("threading"):
        return _by_thread(work).result(limit_s)
    # a BaseException, so no library handles it as its own error
    with gevent.Timeout(limit_s, False):
        return work()
    raise TimeoutError


def _by_thread(work: Callable[[], T]) -> Future[T]:
    future: Future[T] = Future()

    def settle() -> None:
        try:
            future.set_result(work())
        except (
            BaseException
        ) as error:  # raised where the result is read: a thread would only print it
            future.set_exception(error)

    threading.Thread(target=settle, daemon=True).start()
    return future
