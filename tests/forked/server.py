"""A fork server: an interpreter that has imported what a command needs, and that forks a process
for each request.

The server runs as `python OPTIONS -c TEXT FD PREPARATION`, where TEXT is the text of this file. The
server is not a module of the tests, so that a new process has imported none of the packages of the
tests. A child returns to the last lines of this file and runs its program there. Therefore the
child ends like any interpreter, with its own exit status, tracebacks, atexit functions and
warnings.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import json
import os
import runpy
import socket
import sys
import warnings
from contextlib import suppress
from select import select
from typing import Any

# before gevent replaces them by versions that need its hub
fork, wait4, close = os.fork, os.wait4, os.close


def serve(doorway: socket.socket) -> dict[str, Any]:
    """Serve requests. Return only in a child, with the request of this child.

    When a client ends, kill the children that the client requested. When the last client ends, end
    this process. A request consists of five descriptors: a file with the request as JSON; a socket
    to which the child's pid, wait status and CPU time in µs are written; and the child's three
    standard streams.
    """
    clients = [doorway.accept()[0]]
    children: dict[int, tuple[int, int, socket.socket]] = {}
    """The running children. The key is a pidfd. The value is the child's pid, its status socket,
    and the client."""
    while True:
        ready, _, _ = select(list[Any]([doorway, *clients, *children]), [], [])
        for pidfd in children.keys() & set(ready):
            pid, status, _ = children.pop(pidfd)
            _, ended, used = wait4(pid, 0)
            _tell(status, ended)
            _tell(status, round(1e6 * (used.ru_utime + used.ru_stime)))
            close(status)
            close(pidfd)
        if doorway in ready:
            clients.append(doorway.accept()[0])
        for client in [client for client in clients if client in ready]:
            asked, descriptors, _, _ = socket.recv_fds(client, 1, 5)
            if not asked:
                for pid, _, of in children.values():
                    if of is client:
                        os.kill(pid, 9)
                clients.remove(client)
                client.close()
                if not clients:
                    os._exit(0)
                continue
            wanted, status, *streams = descriptors
            pid = _forked()
            if pid:
                _tell(status, pid)
                children[os.pidfd_open(pid)] = pid, status, client
                for descriptor in (wanted, *streams):
                    close(descriptor)
                continue
            for place, stream in enumerate(streams):
                os.dup2(stream, place)
            sockets = [s.detach() for s in (doorway, *clients)]
            statuses = [status, *(status for _, status, _ in children.values())]
            for descriptor in (*sockets, *statuses, *streams, *children):
                close(descriptor)
            with open(wanted, encoding="utf-8") as file:
                return dict(json.load(file))


def _tell(status: int, number: int) -> None:
    with suppress(BrokenPipeError):  # the client that killed the child no longer receives
        os.write(status, b"%d\n" % number)


def _forked() -> int:
    with warnings.catch_warnings():
        # numpy's threads only wait for work and hold no lock, so a fork is safe
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = fork()
    if not pid and "gevent" in sys.modules:
        sys.modules["gevent"].reinit()
        # the loop's time has not advanced since the imports, and timers count from it
        sys.modules["gevent"].get_hub().loop.update_now()
    return pid


def leave_libraries(shared: dict[str, Any]) -> None:
    """Prevent the destruction of the shared libraries at the end of a child, because it would copy
    them page by page.

    Our own modules and those of Python are destroyed as usual, because some of their objects act at
    exit.
    """
    for name in shared:
        sys.modules.pop(name, None)


def become(wanted: dict[str, Any]) -> None:
    """Make this process equal to an interpreter started for the request, except that it has done
    the imports.
    """
    for path in wanted["namespaces"]:
        with open(path) as namespace:
            assert ctypes.CDLL(None).setns(namespace.fileno(), 0) == 0, path
    if wanted["new_session"]:
        os.setsid()
    os.chdir(wanted["cwd"])
    os.environ.clear()
    os.environ.update(wanted["env"])
    sys.orig_argv[:] = wanted["command"]
    sys.argv[:] = [wanted["option"], *wanted["words"]]
    if not sys.flags.safe_path:
        sys.path[0] = "" if wanted["option"] == "-c" else wanted["cwd"]


if __name__ == "__main__":
    doorway = socket.socket(fileno=int(sys.argv[1]))
    libraries: dict[str, Any] = {"itself": None}
    atexit.register(leave_libraries, libraries)  # registered first, so it runs last
    exec(sys.argv[2])
    libraries |= {
        name: module
        for name, module in sys.modules.items()
        if "site-packages" in str(vars(module).get("__file__"))
    }
    libraries["itself"] = libraries  # a frozen cycle, which is never freed
    gc.collect()
    gc.freeze()  # the garbage collector of a child neither scans nor copies what all children share
    wanted = serve(doorway)
    become(wanted)
    if wanted["option"] == "-c":
        exec(compile(wanted["what"], "<string>", "exec"), {"__name__": "__main__"})
    else:
        runpy.run_module(wanted["what"], run_name="__main__", alter_sys=True)
