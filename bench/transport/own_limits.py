"""The limits of this machine that prevent a call: local ports, open files, memory, and threads.

A service is not responsible for a call that was never made. Therefore such a call has outcomes of its own.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

from bench.base.errors import ConnectError
from bench.catalogue.outcomes import EXHAUSTED

NO_MEMORY = frozenset({errno.ENOMEM, errno.ENOBUFS})
_RESOURCES = {errno.EMFILE: "files", errno.ENFILE: "files"} | dict.fromkeys(NO_MEMORY, "memory")
_NO_PORT = frozenset({errno.EADDRNOTAVAIL, errno.EADDRINUSE, errno.EAGAIN})
"""The errors if the kernel has no free port for a socket without a port."""
_NO_THREAD, _NO_MAPPING = "can't start new thread", "failed to map segment"
"""Texts of errors for which Python has no type: of a thread, and of a library that does not fit into the memory."""


def own_limit(error: BaseException, where: str = "") -> ConnectError | None:
    """Return the outcome of a call that a limit of this machine prevented; None if the error has another cause.

    `where` is what the call needed, for example an address.
    """
    if isinstance(error, MemoryError) or (isinstance(error, (ImportError, OSError)) and _NO_MAPPING in str(error)):
        return exhausted("memory", where, os.strerror(errno.ENOMEM))
    if isinstance(error, RuntimeError) and _NO_THREAD in str(error):
        return exhausted("threads", where, _NO_THREAD)
    number = error.errno if isinstance(error, OSError) else None
    return exhausted(_RESOURCES[number], where, os.strerror(number)) if number in _RESOURCES else None


def own_limit_of_port(error: OSError, where: str, peer: tuple[int, Any] | None = None) -> ConnectError | None:
    """Return the outcome if the kernel gave a socket no port, or as `own_limit`.

    `peer` is the (family, address) to which the socket was to be connected. The kernel reports an address without a
    route by the same error.
    """
    if error.errno not in _NO_PORT or (peer is not None and not _has_source(*peer)):
        return own_limit(error, where)
    return exhausted("ports", where, error.strerror or str(error))


def exhausted(resource: str, where: str, reason: str) -> ConnectError:
    return ConnectError(f"{EXHAUSTED}{resource}", ": ".join(filter(None, (where, reason))))


def hidden_limit(error: OSError) -> OSError:
    """Return the limit of open files, or of memory, if it holds now; otherwise `error`.

    The system's resolver reports these limits as names that cannot be resolved.
    """
    try:
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()
    except OSError as limit:
        return limit
    return error


def _has_source(family: int, address: Any) -> bool:
    """Return False if this machine has no address from which packets can be sent to `address`.

    The ports of UDP are not those of TCP.
    """
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(address)
    except OSError as error:
        return error.errno != errno.EADDRNOTAVAIL
    return True
