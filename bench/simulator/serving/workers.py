"""Serves one port by several processes: each accepts and serves by itself; the parent watches and ends them.

The kernel deals connections out to the listeners of a port by a hash (SO_REUSEPORT), so evenly only on average. Workers
share no state but the ground-truth log, to which whole lines are appended. They are forked, so that they share one
certificate
and the memory of the replies.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import socket
import warnings
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from typing import Any

from bench.errors import UsageError
from bench.installation import KILLED_S
from bench.simulator.serving.connection import Offer
from bench.simulator.serving.server import BACKLOG, ServerWorker, TellStanding, listen, new_tag, serve
from bench.simulator.truth import Served, Standing

READY = "ready"
END_S = 30.0
"""Seconds that a worker may take to end once it was told to, or once its pipe is closed."""


class WorkerDiedError(Exception):
    """A worker ended and was not asked to."""


def reserve(host: str, port: int) -> socket.socket:
    """A socket that holds a port for workers to share; it never listens. Raises UsageError."""
    if not hasattr(socket, "SO_REUSEPORT"):
        raise UsageError("--workers: this platform has no SO_REUSEPORT, so none can share a port; use one worker")
    with listen(host, port) as free:  # sharing is not for those who hold the port already
        family, address = free.family, free.getsockname()
    holder = socket.socket(family)
    try:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(address)
    except OSError as error:  # somebody was quicker
        holder.close()
        raise UsageError(f"cannot share port {address[1]} on {address[0]}: {error.strerror}; choose another") from None
    return holder


def serve_by_workers(
    offer: Offer,
    held: socket.socket,
    count: int,
    ready: Callable[[str | None, list[int]], None],
    told: TellStanding | None = None,
) -> list[Served]:
    """Serve by `count` workers until SIGINT or SIGTERM; `ready` is told their ids once all listen, `told` how they do.

    Returns what each did. Raises WorkerDiedError if one died; then the others are ended, too.
    """
    crew = _Crew(offer, held, count, told)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: crew.stop())
    try:
        return crew.watch(partial(ready, None))
    finally:
        crew.stop()
        crew.join()


class _Crew:
    """The workers, each at the other end of a pipe: it says READY, how it stands, then what it did. A word ends it."""

    def __init__(self, offer: Offer, held: socket.socket, count: int, told: TellStanding | None) -> None:
        self._told = told
        self._processes: dict[Connection, ForkProcess] = {}
        tag = new_tag()
        for number in range(count):
            ours, theirs = multiprocessing.Pipe()
            work = (theirs, [*self._processes, ours], offer, held, ServerWorker(number, count, tag), told is not None)
            process = multiprocessing.get_context("fork").Process(target=_work, args=work, daemon=True)
            with warnings.catch_warnings():  # of threads that a fork leaves behind: numpy's, idle, and not needed
                warnings.simplefilter("ignore", DeprecationWarning)
                process.start()
            theirs.close()
            self._processes[ours] = process

    def stop(self) -> None:
        for pipe in self._processes:
            with contextlib.suppress(OSError):  # it has ended
                pipe.send(None)

    def join(self) -> None:
        for process in self._processes.values():
            process.join(END_S)
            if process.is_alive():
                process.kill()
                process.join(KILLED_S)

    def watch(self, ready: Callable[[list[int]], None]) -> list[Served]:
        """Until all have ended, or one has died."""
        served: dict[Connection, Served] = {}
        listening = 0
        while len(served) < len(self._processes):
            heard: list[Any] = wait([pipe for pipe in self._processes if pipe not in served])
            for pipe in heard:
                said = self._said(pipe)
                if said == READY:
                    listening += 1
                    if listening == len(self._processes):
                        ready([process.pid or 0 for process in self._processes.values()])
                elif isinstance(said, tuple) and self._told:
                    self._told(*said)
                elif not isinstance(said, tuple):
                    served[pipe] = said
                    self.stop()
        return [served[pipe] for pipe in self._processes]

    def _said(self, pipe: Connection) -> Any:
        try:
            return pipe.recv()
        except (EOFError, ConnectionResetError):
            process = self._processes[pipe]
            process.join(END_S)
            status = process.exitcode or 0
            how = f"by signal {-status}" if status < 0 else f"with status {status}"
            raise WorkerDiedError(f"a worker of the simulator ended {how}; the others were ended, too") from None


def _work(
    pipe: Connection,
    inherited: list[Connection],
    offer: Offer,
    held: socket.socket,
    worker: ServerWorker,
    shown: bool,
) -> None:
    for other in inherited:  # so that the pipe ends with the parent, however that ends
        other.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # until it serves
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    address = held.getsockname()[:2]

    def told(number: int, standing: Standing) -> None:
        with contextlib.suppress(OSError):  # nobody is there any more
            pipe.send((number, standing))

    with socket.create_server(address, family=held.family, backlog=BACKLOG, reuse_port=True) as listener:
        listener.setblocking(False)
        tally = serve(offer, listener, lambda *_: pipe.send(READY), worker, pipe.fileno(), told if shown else None)
    with contextlib.suppress(OSError):  # nobody is there any more
        pipe.send(tally)
