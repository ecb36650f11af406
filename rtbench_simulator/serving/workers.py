"""Several processes that serve one port. Each accepts and serves independently; the parent watches
and ends them.

The kernel distributes connections over the listeners of a port by a hash (SO_REUSEPORT). So the
workers have equal numbers of connections only on average. Workers share no state except the
ground-truth log, to which they append whole lines. They are forked, so that they share one
certificate and the memory of the replies.
"""

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

from bench.base.errors import UsageError
from bench.base.installation import KILLED_S
from rtbench_simulator.ground_truth_log import ServedCounts, ServerProgress
from rtbench_simulator.serving.server import (
    BACKLOG,
    OnProgress,
    listen,
    serve,
)
from rtbench_simulator.serving.service import TAG_BITS, ServerConfig, ServerWorker

READY = "ready"
END_S = 30.0
"""The maximum time, in seconds, that a worker may take to end after a request to end, or after
its pipe was closed."""


class WorkerDiedError(Exception):
    """The error that a worker ended although it was not requested to end."""


def reserve(host: str, port: int) -> socket.socket:
    """Return a socket that reserves a port for several workers. The socket itself never listens.
    Raise UsageError.
    """
    if not hasattr(socket, "SO_REUSEPORT"):
        raise UsageError(
            "--workers: this platform has no SO_REUSEPORT, so workers cannot share a port; use one"
            " worker"
        )
    with listen(host, port) as free:  # fails if another process has the port
        family = free.family
        address = free.getsockname()
    holder = socket.socket(family)
    try:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(address)
    except OSError as error:  # another process took the port meanwhile
        holder.close()
        raise UsageError(
            f"cannot share port {address[1]} on {address[0]}: {error.strerror}; choose another"
        ) from None
    return holder


def serve_by_workers(
    config: ServerConfig,
    reserved: socket.socket,
    count: int,
    ready: Callable[[str | None, list[int]], None],
    on_progress: OnProgress | None = None,
) -> list[ServedCounts]:
    """Serve with `count` workers until SIGINT or SIGTERM. Return the counts of each worker.

    The function `ready` is called with the ids of the workers when all workers listen. The function
    `on_progress` receives their progress. A pipe connects the parent with each worker. Through it,
    the worker sends READY, then its progress, and at its end its counts. Any message from the
    parent ends the worker. If a worker dies, end the others and raise WorkerDiedError.
    """
    workers: dict[Connection, ForkProcess] = {}
    tag = secrets.randbits(TAG_BITS)
    served = dict[Connection, ServedCounts]()
    listening = 0
    for number in range(count):
        ours, process = _forked(
            [*workers], config, reserved, ServerWorker(number, count, tag), on_progress is not None
        )
        workers[ours] = process

    def stop(*_: object) -> None:
        for pipe in workers:
            with contextlib.suppress(OSError):  # the worker has ended
                pipe.send(None)

    for signal_number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signal_number, stop)
    try:
        while len(served) < count:
            ready_pipes: list[Any] = wait([pipe for pipe in workers if pipe not in served])
            for pipe in ready_pipes:
                message = _reported(pipe, workers[pipe])
                if message == READY:
                    listening += 1
                    if listening == count:
                        ready(None, [process.pid or 0 for process in workers.values()])
                elif isinstance(message, tuple):
                    if on_progress:
                        on_progress(*message)
                else:
                    served[pipe] = message
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
    others: list[Connection],
    config: ServerConfig,
    reserved: socket.socket,
    worker: ServerWorker,
    sends_progress: bool,
) -> tuple[Connection, ForkProcess]:
    """Start a worker. Return the parent's end of the pipe, and the process."""
    ours, theirs = multiprocessing.Pipe()
    work = (theirs, [*others, ours], config, reserved, worker, sends_progress)
    process = multiprocessing.get_context("fork").Process(target=_work, args=work, daemon=True)
    # about threads that a fork does not copy: numpy's, which are idle and not needed
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()
    theirs.close()
    return ours, process


def _reported(pipe: Connection, process: ForkProcess) -> Any:
    try:
        return pipe.recv()
    except (EOFError, ConnectionResetError):
        process.join(END_S)
        status = process.exitcode or 0
        how = f"by signal {-status}" if status < 0 else f"with status {status}"
        raise WorkerDiedError(
            f"a worker of the simulator ended {how}; the others were stopped"
        ) from None


def _work(
    pipe: Connection,
    inherited: list[Connection],
    config: ServerConfig,
    reserved: socket.socket,
    worker: ServerWorker,
    sends_progress: bool,
) -> None:
    for other in inherited:  # so that the pipe ends with the parent in all cases
        other.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # until `serve` handles it
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    address = reserved.getsockname()[:2]

    def send_progress(number: int, progress: ServerProgress) -> None:
        with contextlib.suppress(OSError):  # the parent has ended
            pipe.send((number, progress))

    with socket.create_server(
        address, family=reserved.family, backlog=BACKLOG, reuse_port=True
    ) as listener:
        listener.setblocking(False)
        counts = serve(
            config,
            listener,
            lambda *_: pipe.send(READY),
            worker,
            pipe.fileno(),
            send_progress if sends_progress else None,
        )
    with contextlib.suppress(OSError):  # the parent has ended
        pipe.send(counts)
