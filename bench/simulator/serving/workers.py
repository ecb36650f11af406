"""Serves one port by several processes: each accepts and serves by itself; the parent watches and ends them.

The kernel deals connections out to the listeners of a port by a hash (SO_REUSEPORT), so evenly only on average. Workers
share no state but the ground-truth log, to which whole lines are appended. They are forked, so that they share one
certificate and the memory of the replies.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import secrets
import signal
import socket
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from typing import Any

from bench.errors import UsageError
from bench.installation import KILLED_S
from bench.simulator.ground_truth_log import ServedCounts, ServerProgress
from bench.simulator.serving.connection import ServerConfig
from bench.simulator.serving.server import BACKLOG, TAG_BITS, ServerWorker, TellStanding, listen, serve

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
    offer: ServerConfig,
    held: socket.socket,
    count: int,
    ready: Callable[[str | None, list[int]], None],
    told: TellStanding | None = None,
) -> list[ServedCounts]:
    """Serve by `count` workers until SIGINT or SIGTERM; `ready` is told their ids once all listen, `told` how they do.

    Each is at the other end of a pipe: it says READY, how it stands, then what it did; a word ends it. Returns what
    each did. Raises WorkerDiedError if one died; then the others are ended, too.
    """
    workers: dict[Connection, ForkProcess] = {}
    tag, served, listening = secrets.randbits(TAG_BITS), dict[Connection, ServedCounts](), 0
    for number in range(count):
        ours, process = _forked([*workers], offer, held, ServerWorker(number, count, tag), told is not None)
        workers[ours] = process

    def stop(*_: object) -> None:
        for pipe in workers:
            with contextlib.suppress(OSError):  # it has ended
                pipe.send(None)

    for signal_number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signal_number, stop)
    try:
        while len(served) < count:
            heard: list[Any] = wait([pipe for pipe in workers if pipe not in served])
            for pipe in heard:
                said = _said(pipe, workers[pipe])
                if said == READY:
                    listening += 1
                    if listening == count:
                        ready(None, [process.pid or 0 for process in workers.values()])
                elif isinstance(said, tuple):
                    if told:
                        told(*said)
                else:
                    served[pipe] = said
                    stop()
        return [served[pipe] for pipe in workers]
    finally:
        stop()
        for process in workers.values():
            process.join(END_S)
            if process.is_alive():
                process.kill()
                process.join(KILLED_S)


def _forked(
    others: list[Connection], offer: ServerConfig, held: socket.socket, worker: ServerWorker, shown: bool
) -> tuple[Connection, ForkProcess]:
    """A worker that was started, and our end of its pipe."""
    ours, theirs = multiprocessing.Pipe()
    work = (theirs, [*others, ours], offer, held, worker, shown)
    process = multiprocessing.get_context("fork").Process(target=_work, args=work, daemon=True)
    with warnings.catch_warnings():  # of threads that a fork leaves behind: numpy's, idle, and not needed
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()
    theirs.close()
    return ours, process


def _said(pipe: Connection, process: ForkProcess) -> Any:
    try:
        return pipe.recv()
    except (EOFError, ConnectionResetError):
        process.join(END_S)
        status = process.exitcode or 0
        how = f"by signal {-status}" if status < 0 else f"with status {status}"
        raise WorkerDiedError(f"a worker of the simulator ended {how}; the others were ended, too") from None


def _work(
    pipe: Connection,
    inherited: list[Connection],
    offer: ServerConfig,
    held: socket.socket,
    worker: ServerWorker,
    shown: bool,
) -> None:
    for other in inherited:  # so that the pipe ends with the parent, however that ends
        other.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # until it serves
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    address = held.getsockname()[:2]

    def told(number: int, standing: ServerProgress) -> None:
        with contextlib.suppress(OSError):  # nobody is there any more
            pipe.send((number, standing))

    with socket.create_server(address, family=held.family, backlog=BACKLOG, reuse_port=True) as listener:
        listener.setblocking(False)
        tally = serve(offer, listener, lambda *_: pipe.send(READY), worker, pipe.fileno(), told if shown else None)
    with contextlib.suppress(OSError):  # nobody is there any more
        pipe.send(tally)
