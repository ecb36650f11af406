"""Makes this process gevent's."""

from __future__ import annotations

import gevent
from gevent import monkey


def patch() -> None:
    """Patch the standard library: the first thing a command does that opens connections.

    Modules that take `ssl` for themselves (azure's, requests) must not have been imported before. Ctrl-C ends such a
    command without gevent's own lines about it.
    """
    monkey.patch_all()
    hub = gevent.get_hub()
    hub.NOT_ERROR = (*hub.NOT_ERROR, KeyboardInterrupt)
