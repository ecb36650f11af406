"""The server of the simulator. It listens until it is stopped, and returns its counts and its
lateness.

The server is one asyncio loop in one process. The module `workers` runs several such processes on
one port. Timers are exact to about 0.1 ms. The timeout of epoll is in whole milliseconds, so the
loop waits for the epoll descriptor in `select`, whose timeout is in microseconds.

One heap contains the next due event of every connection, and one timer of the loop serves the heap.
A timer for each connection would cost a handle and an iteration of the loop for each event. With
the heap, all events that are due at one reading of the clock are sent in one iteration, and input
is read between two iterations.
"""

import asyncio
import contextlib
import errno
import gc
import heapq
import os
import resource
import secrets
import select
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from typing import Any, Generic, TypeVar

from bench.base.clock import enable_timestamps, monotonic_ns
from bench.base.errors import UsageError
from bench.base.units import NS_PER_S
from bench.wire.addresses import HostPort
from rtbench_simulator.faults.injection import FaultEntry
from rtbench_simulator.faults.kinds import OF_SERVER, Fault
from rtbench_simulator.ground_truth_log import ServedCounts, ServerProgress
from rtbench_simulator.refusals import GOING_AWAY
from rtbench_simulator.serving.connection import Connection
from rtbench_simulator.serving.service import (
    TAG_BITS,
    Sender,
    ServedConnection,
    ServerConfig,
    ServerState,
    ServerWorker,
)
from rtbench_simulator.serving.token_issuer import serving

BACKLOG = 1024
FLUSH_S = 0.5
ABSENCES = ("refused", "restart")
"""The kinds of faults during which nothing listens."""
OnProgress = Callable[[int, ServerProgress], None]
"""A function that receives the number of a process, and the progress of this process."""
MAX_ACCEPTS = 32
"""The maximum number of connections that are accepted in one iteration of the loop."""
ACCEPT_PAUSE_S = 0.1  # after an accept failed because there were no file descriptors


class Server:
    def __init__(
        self,
        config: ServerConfig,
        listener: socket.socket,
        loop: asyncio.AbstractEventLoop,
        worker: ServerWorker,
    ) -> None:
        self._listener = listener
        self._loop = loop
        self._is_shared = worker.count > 1
        self._address = listener.getsockname()[:2]
        self._stopping = False
        self.state = ServerState(config, loop, worker, SenderTimer(loop).plan)
        loop.add_reader(listener, self._accept)
        self.state.lines = [
            service.listen(self.state, self._address, worker.count)
            for service in config.services
            if service.listen
        ]
        for fault in config.profile.faults:
            if fault.kind in OF_SERVER:
                self._plan(fault)

    async def stop(self) -> None:
        """Close all connections, and wait until they have ended."""
        self._stopping = True
        self.state.servers.end()
        for line in self.state.lines:
            line.close()
        self._stop_listening()
        for connection in list(self.state.connections):
            connection.close(GOING_AWAY)
        while self.state.connections:
            await asyncio.sleep(0.01)

    @property
    def is_idle(self) -> bool:
        """True if no connection and no call is open."""
        state = self.state
        return not state.connections and not any(line.has_calls for line in state.lines)

    @property
    def progress(self) -> ServerProgress:
        state = self.state
        servers = state.servers
        late_p99_ms = state.lateness.quantile_ms(0.99)
        return ServerProgress(
            servers.sessions, state.sessions, servers.responses, state.lateness.count, late_p99_ms
        )

    def _accept(self) -> None:
        for _ in range(MAX_ACCEPTS):
            try:
                sock, address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:
                self._loop.remove_reader(self._listener)
                self._loop.call_later(ACCEPT_PAUSE_S, self._accept_again)
                return
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            enable_timestamps(sock)
            connections = self.state.connections
            connections.add(
                Connection(self.state, sock, HostPort(*address[:2]), connections.discard)
            )

    def _stop_listening(self) -> None:
        if self._listener.fileno() != -1:
            self._loop.remove_reader(self._listener)
            self._listener.close()

    def _plan(self, fault: Fault) -> None:
        first, last = fault.during_s.first, fault.during_s.last
        if first:
            self._loop.call_later(first, self._begin, fault)
        else:
            self._begin(fault)  # before any client can connect
        end = {"blackhole": self._accept_again} | dict.fromkeys(ABSENCES, self._listen_again)
        if last is not None and fault.kind in end:
            self._loop.call_later(last, end[fault.kind])

    def _begin(self, fault: Fault) -> None:
        """Begin a fault of the server, and log it; then log each connection that it strikes."""
        if fault.kind in ABSENCES:
            self._stop_listening()
        number = self.state.connection_count
        self.state.struck(
            FaultEntry(None, "fault", fault.kind, fault.at, monotonic_ns(), number, None)
        )
        connections = sorted(self.state.connections, key=attrgetter("number"))
        match fault.kind:
            case "drain":
                left_s = fault.during_s.length or 0.0
                for connection in connections:
                    connection.go_away(left_s)
                self._loop.call_later(left_s, self._strike, fault, connections)
            case "half":
                self._strike(fault, connections[::2])
            case "blackhole" | "restart":
                self._strike(fault, connections)
        if fault.kind == "blackhole":
            self._loop.remove_reader(self._listener)

    def _strike(self, fault: Fault, connections: Sequence[ServedConnection]) -> None:
        for connection in connections:
            if connection in self.state.connections:
                connection.strike(fault)

    def _listen_again(self) -> None:
        if not self._stopping:
            self._listener = _listening(
                self._address, self._listener.family, shared=self._is_shared
            )
            self._loop.add_reader(self._listener, self._accept)

    def _accept_again(self) -> None:
        if self._listener.fileno() != -1:
            self._loop.add_reader(self._listener, self._accept)


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Port 0 selects a free port. Raise UsageError."""
    try:
        return _listening((host, port), socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            remedy = (
                "a simulator that already runs there needs no second one; otherwise choose another,"
                " or --port 0"
            )
            raise UsageError(f"port {port} on {host} is in use: {remedy}") from error
        raise UsageError(f"cannot listen on {host} port {port}: {error}") from error


def _listening(address: tuple[str, int], family: int, *, shared: bool = False) -> socket.socket:
    """Return a listening socket. `shared`: True if other processes listen on the same port."""
    listener = socket.create_server(address, family=family, backlog=BACKLOG, reuse_port=shared)
    listener.setblocking(False)
    return listener


def serve(
    config: ServerConfig,
    listener: socket.socket,
    ready: Callable[[str | None, list[int]], None],
    worker: ServerWorker | None = None,
    stop: int | None = None,
    on_progress: OnProgress | None = None,
) -> ServedCounts:
    """Serve until SIGINT or SIGTERM, or until the descriptor `stop` is readable.

    The function `ready` is called when the server answers clients. Its arguments are the URL of the
    identity endpoint (None if there is none), and the ids of the processes that serve. The function
    `on_progress` receives the progress of this process at intervals.
    """
    with contextlib.suppress(ValueError, OSError):  # as many sockets as the system allows
        max_files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (max_files, max_files))
    this_worker = worker or ServerWorker(0, 1, secrets.randbits(TAG_BITS))

    async def run() -> ServedCounts:
        loop = asyncio.get_running_loop()
        stopped = _stop_requested(loop, stop)
        server = Server(config, listener, loop, this_worker)
        gc.collect()
        gc.freeze()  # the replies never become garbage
        # With hundreds of sessions, a garbage collection takes 10 ms or more. None is needed: ended
        # sessions clear their references.
        gc.disable()
        async with serving(config.identity, listener.family) as endpoint:
            start_cpu_s = time.process_time()
            ready(endpoint, [os.getpid()])
            while not stopped.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stopped.wait(), FLUSH_S)
                if config.truth:
                    config.truth.flush()
                if on_progress:
                    on_progress(this_worker.number, server.progress)
                if server.is_idle:
                    gc.collect()
        await server.stop()
        cpu_s = time.process_time() - start_cpu_s
        state = server.state
        dropped = sum(line.dropped_packets for line in state.lines)
        counts = ServedCounts(
            state.sessions, state.refusals, state.faults, cpu_s, state.lateness, dropped
        )
        if config.truth:
            config.truth.ended(counts)
        return counts

    with asyncio.Runner(
        loop_factory=lambda: asyncio.SelectorEventLoop(MicrosecondSelector())
    ) as runner:
        return runner.run(run())


def _stop_requested(loop: asyncio.AbstractEventLoop, stop: int | None) -> asyncio.Event:
    """Return an event that is set by SIGINT, by SIGTERM, or by input on the descriptor `stop`."""
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)

    def on_input(descriptor: int) -> None:
        loop.remove_reader(descriptor)
        stopped.set()

    if stop is not None:
        loop.add_reader(stop, on_input, stop)
    return stopped


class MicrosecondSelector(selectors.DefaultSelector):
    """An epoll selector with a timeout in microseconds. Selectors of other platforms already
    have such a timeout.
    """

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, Any]]:
        if timeout is not None and timeout > 0 and hasattr(self, "fileno"):
            ready, _, _ = select.select([self.fileno()], [], [], timeout)
            if not ready:
                return []
            timeout = 0
        return super().select(timeout)


Who = TypeVar("Who")


# A heap cannot change an entry. A sender that is planned again gets a further entry, and the old
# one is recognized by its instant when it comes up (lazy deletion). Therefore `pop` may find
# nothing.
class Timetable(Generic[Who]):
    """The next due instant of each sender that has one. Pure."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Who]] = []
        self._due_ns: dict[Who, int] = {}  # heap entries with other instants were replaced
        self._planned = 0

    def plan(self, sender: Who, due_ns: int | None) -> None:
        """Replace the due instant of a sender. If `due_ns` is None, remove the sender."""
        if due_ns is None:
            self._due_ns.pop(sender, None)
        elif self._due_ns.get(sender) != due_ns:
            self._due_ns[sender] = due_ns
            self._planned += 1
            heapq.heappush(self._heap, (due_ns, self._planned, sender))

    def next_due_ns(self) -> int | None:
        """Return the instant at which to call `pop` next.

        The instant may belong to a sender that was removed or planned again. In this case, `pop`
        may yield no sender.
        """
        return self._heap[0][0] if self._heap else None

    def pop(self, now_ns: int) -> Iterator[Who]:
        """Yield the due senders, in the order of their instants.

        If a sender is planned again during the iteration, and is already due, it is yielded again.
        """
        heap = self._heap
        due = self._due_ns
        while heap and heap[0][0] <= now_ns:
            due_ns, _, sender = heapq.heappop(heap)
            if due.get(sender) == due_ns:
                del due[sender]
                yield sender


# While senders run, they plan themselves again; the timer is set once, after the last of them.
class SenderTimer:
    """The timer on `loop` that wakes the senders of a timetable."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timetable: Timetable[Sender] = Timetable()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ns = 0
        self._running = False

    def plan(self, sender: Sender, due_ns: int | None) -> None:
        self._timetable.plan(sender, due_ns)
        if not self._running:
            self._set()

    def _run_due(self) -> None:
        self._timer = None
        self._running = True
        now_ns = monotonic_ns()
        try:
            for sender in self._timetable.pop(now_ns):
                sender.send_due(now_ns)
        finally:  # if a sender raises, the loop reports it, and the timer is set for the others
            self._running = False
            self._set()

    def _set(self) -> None:
        due_ns = self._timetable.next_due_ns()
        if due_ns is None or (self._timer is not None and self._timer_ns <= due_ns):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_ns = due_ns
        self._timer = self._loop.call_at(due_ns / NS_PER_S, self._run_due)
