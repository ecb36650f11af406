"""Makes this process gevent's."""

from __future__ import annotations

import os
import signal

import gevent
from gevent import monkey

READABLE = 1
SIGNALS_BYTES = 512


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
