"""The limits of this machine that prevent a call: local ports, open files, memory, and threads.

A service is not responsible for a call that was never made. Therefore such a call has outcomes of
its own.
"""

import errno
import os
import socket
from typing import Any

from bench.catalogue.causes import ConnectError
from bench.catalogue.outcomes import Family, remedy_of

NO_MEMORY_LEFT = f"{Family.EXHAUSTED}:memory"
NO_MEMORY = frozenset({errno.ENOMEM, errno.ENOBUFS})
MORE_MEMORY = (
    "no memory is left: give this machine or its container more (`ulimit -v`), or run the command"
    " on another machine"
)
"""The remedy of a command without memory, which runs no sessions."""
_RESOURCES = {errno.EMFILE: "files", errno.ENFILE: "files"} | dict.fromkeys(NO_MEMORY, "memory")
_NO_PORT = frozenset({errno.EADDRNOTAVAIL, errno.EADDRINUSE, errno.EAGAIN})
"""The errors if the kernel has no free port for a socket without a port."""
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
_NO_THREAD = ("can't start new thread", "Failed to launch worker thread")
"""Texts of errors of threads, for which Python has no type. The second is PyArrow's."""
_NO_MAPPING = "failed to map segment"
"""The text of the error of a library that does not fit into the memory."""


def own_limit(error: BaseException, where: str = "") -> ConnectError | None:
    """Return the outcome of a call that a limit of this machine prevented; None if the error has
    another cause.

    `where` is what the call needed, for example an address.
    """
    # The text decides, because the loader reports a library without room by ImportError or OSError,
    # with no number.
    if isinstance(error, MemoryError) or (
        isinstance(error, (ImportError, OSError)) and _NO_MAPPING in str(error)
    ):
        return exhausted("memory", where, os.strerror(errno.ENOMEM))
    if isinstance(error, Exception) and any(text in str(error) for text in _NO_THREAD):
        return exhausted("threads", where, _NO_THREAD[0])
    number = error.errno if isinstance(error, OSError) else None
    return (
        exhausted(_RESOURCES[number], where, os.strerror(number)) if number in _RESOURCES else None
    )


def full_disk_text(error: BaseException) -> str | None:
    """Return a line on a file that could not be written because the disk has no space, or may not
    be written; None if the error has another cause.
    """
    if not isinstance(error, OSError) or error.errno not in _NO_SPACE:
        return None
    reason = os.strerror(error.errno or 0)
    return (
        f"{error.filename or 'a file'} cannot be written: {reason}; free disk space, or use another"
        " folder"
    )


def limit_text(error: BaseException, problem: str, more_memory: str = "") -> str | None:
    """Return a line on a `problem` that a limit of this machine caused; None if the error has
    another cause.

    `more_memory` is what to do if no memory is left; if it is "", this is the remedy of calls.
    """
    return _limit_text(own_limit(error, problem), more_memory)


def limit_text_of_process(error: BaseException, problem: str) -> str | None:
    """Return a line on a process that could not be started, as `limit_text`.

    The kernel reports the limit of processes by an error that has another meaning for sockets.
    """
    if isinstance(error, BlockingIOError):
        return _limit_text(exhausted("threads", problem, error.strerror or str(error)))
    return limit_text(error, problem, MORE_MEMORY)


def _limit_text(limit: ConnectError | None, more_memory: str = "") -> str | None:
    if limit is None:
        return None
    remedy = more_memory if limit.outcome == NO_MEMORY_LEFT else ""
    return f"{limit.detail}; {remedy or remedy_of(limit.outcome, limit.causes)}"


def own_limit_of_port(
    error: OSError, where: str, peer: tuple[int, Any] | None = None
) -> ConnectError | None:
    """Return the outcome if the kernel gave a socket no port, or as `own_limit`.

    `peer` is the (family, address) to which the socket was to be connected. The kernel reports an
    address without a route by the same error.
    """
    if error.errno not in _NO_PORT or (peer is not None and not _has_source(*peer)):
        return own_limit(error, where)
    return exhausted("ports", where, error.strerror or str(error))


def exhausted(resource: str, where: str, reason: str) -> ConnectError:
    return ConnectError(f"{Family.EXHAUSTED}:{resource}", ": ".join(filter(None, (where, reason))))


def hidden_limit(error: OSError) -> OSError:
    """Return the limit of open files, or of memory, if it holds now; otherwise `error`.

    The system's resolver reports these limits as names that cannot be resolved.
    """
    try:
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()
    except OSError as limit:
        return limit
    return error


# EADDRNOTAVAIL has two meanings: no port is free, or no own address has a route there. A UDP socket
# tells them apart, because it takes a port of another protocol and sends nothing.
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
