"""A fork server: an interpreter that has imported what a command needs, and forks a process for each that is asked for.

Run as `python OPTIONS -c TEXT FD PREPARATION`, with this file as the text: it is no module of ours, so that the process
that it becomes finds none of the tests' packages. A child unwinds to the last lines and runs its program there, so it
ends as any interpreter does: its exit status, tracebacks, atexit and the warnings of the last moment are its own.
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

fork, wait4, close = os.fork, os.wait4, os.close  # before gevent replaces them by what its hub does later


def serve(doorway: socket.socket) -> dict[str, Any]:
    """Returns in a child, with what it is to be. A client's children end with it, and the server with its last client.

    A request is five descriptors: of what is wanted, as JSON; of where to say pid, wait status and µs of CPU; and the
    streams.
    """
    clients = [doorway.accept()[0]]
    children: dict[int, tuple[int, int, socket.socket]] = {}
    """By pidfd: the pid, where its status is to be said, and who asked for it."""
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
    with suppress(BrokenPipeError):  # whoever asked has killed the child, and does not listen
        os.write(status, b"%d\n" % number)


def _forked() -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # numpy's threads wait for work, and hold no lock
        pid = fork()
    if not pid and "gevent" in sys.modules:
        sys.modules["gevent"].reinit()
        sys.modules["gevent"].get_hub().loop.update_now()  # it stood still since the imports, and timers count from it
    return pid


def leave_libraries(shared: dict[str, Any]) -> None:
    """Keeps what all children share from being taken to pieces at the end of each, which would copy it page by page.

    Our own modules and those of Python go as ever, for what they hold may have a last word to say.
    """
    for name in shared:
        sys.modules.pop(name, None)


def become(wanted: dict[str, Any]) -> None:
    """All but the imports is as if this interpreter had been started for it."""
    for path in wanted["namespaces"]:
        with open(path) as namespace:
            assert ctypes.CDLL(None).setns(namespace.fileno(), 0) == 0, path
    if wanted["new_session"]:
        os.setsid()
    os.getppid = lambda: wanted["parent"]
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
    atexit.register(leave_libraries, libraries)  # before all others: it is done last
    exec(sys.argv[2])
    libraries |= {
        name: module for name, module in sys.modules.items() if "site-packages" in str(vars(module).get("__file__"))
    }
    libraries["itself"] = libraries  # which is frozen, so that nothing frees it
    gc.collect()
    gc.freeze()  # what all children share is neither looked through by each nor copied for it
    wanted = serve(doorway)
    become(wanted)
    if wanted["option"] == "-c":
        exec(compile(wanted["what"], "<string>", "exec"), {"__name__": "__main__"})
    else:
        runpy.run_module(wanted["what"], run_name="__main__", alter_sys=True)
