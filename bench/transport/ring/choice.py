"""The choice of what reads the sockets of sessions: io_uring, or epoll and recvmsg.

io_uring is chosen if a trial with a connection to this machine succeeds. A container's seccomp
profile or the sysctl `kernel.io_uring_disabled` may forbid it, and it needs Linux 6.0.
"""

import errno
import os
import socket
import sys
from functools import cache
from typing import Any, Literal, NamedTuple

from gevent import monkey

from bench.base.clock import enable_timestamps, monotonic_ns
from bench.base.compiled import compiled_module
from bench.base.errors import UsageError
from bench.base.units import NS_PER_S
from bench.transport.loop_monitor import LoopMonitor
from bench.transport.parser import SocketRead
from bench.transport.tcp import PeerScope, TcpStream

VARIABLE = "RTBENCH_READER"
"""The environment variable that forces a reader."""
TRIAL_NS = NS_PER_S
"""The maximum duration of the trial. The kernel turns timestamps on asynchronously."""
TRIAL_POLL_MS = 20

ReaderName = Literal["io_uring", "epoll"]


class ReaderChoice(NamedTuple):
    """What reads sockets, and why it is not io_uring; "" if it is."""

    name: ReaderName
    reason: str


@cache
def chosen_reader() -> ReaderChoice:
    """Return the reader of this process. Raise UsageError if the variable has another value."""
    forced = os.environ.get(VARIABLE, "")
    if forced not in ("", "io_uring", "epoll"):
        raise UsageError(f"{VARIABLE}={forced}: it must be io_uring or epoll, or not set")
    if forced == "epoll":
        return ReaderChoice("epoll", f"{VARIABLE}=epoll")
    reason = _obstacle()
    if forced and reason:
        raise UsageError(f"{VARIABLE}=io_uring: {reason}; use epoll, or do not set it")
    return ReaderChoice("epoll", reason) if reason else ReaderChoice("io_uring", "")


def new_stream(sock: Any, connect_start_ns: int, scope: PeerScope) -> TcpStream:
    """Return the stream of a connected socket. The arguments are those of `TcpStream`."""
    if chosen_reader().name == "epoll":
        return TcpStream(sock, connect_start_ns, scope)
    from bench.transport.ring.hub_ring import HubRing
    from bench.transport.ring.stream import RingStream

    try:
        HubRing.of_hub()
    except OSError as error:  # other processes may have used up the memory since the trial
        LoopMonitor.of_hub().read_without_ring(os.strerror(error.errno or 0))
        return TcpStream(sock, connect_start_ns, scope)
    return RingStream(sock, connect_start_ns, scope)


def _obstacle() -> str:
    """Return why io_uring cannot be used; "" if it can."""
    if sys.platform != "linux":
        return "io_uring is part of Linux"
    compiled = compiled_module("bench.transport.ring._ring")
    if compiled is None:
        return "rtbench was installed without a compiler"
    try:
        ring = compiled.Ring(_do_nothing, _do_nothing)  # as large as that of a hub
    except OSError as error:
        if error.errno == errno.EINVAL:
            return "the kernel's io_uring lacks what is needed (Linux 6.0 or later)"
        return f"the kernel does not permit io_uring: {os.strerror(error.errno or 0)}"
    try:
        return _trial(ring)
    except OSError as error:
        return f"the trial of io_uring failed: {os.strerror(error.errno or 0)}"
    finally:
        ring.close()


def _trial(ring: Any) -> str:
    """Receive two messages by a ring. Return what is wrong; "" if both have a timestamp."""
    new_socket = monkey.get_original("socket", "socket")
    with new_socket() as server, new_socket() as client:
        server.bind(("127.0.0.1", 0))
        server.listen(1)
        client.connect(server.getsockname())
        peer, _ = server.accept()
        with peer:
            enable_timestamps(client)
            client.setblocking(False)
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            reader = ring.receive(client.fileno(), monotonic_ns(), 0)
            try:
                reads = _stamped_reads(ring, reader, peer)
            finally:
                reader.close()
    return (
        "" if reads >= 2 else "multishot receives do not work with timestamps (Linux 6.0 or later)"
    )


def _stamped_reads(ring: Any, reader: Any, peer: socket.socket) -> int:
    """Send until two messages have a timestamp. Return how many have one."""
    waiting = monkey.get_original("select", "poll")()
    waiting.register(ring.fileno(), 1)
    until_ns = monotonic_ns() + TRIAL_NS
    stamped = 0
    while stamped < 2 and monotonic_ns() < until_ns:
        if not ring.arm_wakeup():
            ring.sync()
            continue
        peer.send(b"x")
        if not waiting.poll(TRIAL_POLL_MS):
            continue
        ring.wake_up()
        try:
            read: SocketRead = reader.read(0, None, None)
        except BlockingIOError:
            continue
        # Both conditions: without a timestamp, the ring would be worse than epoll, and two bytes in
        # one read would mean that the ring merges arrivals.
        stamped += read.is_kernel and read.data == b"x"
    return stamped


def _do_nothing() -> None:
    """Do nothing: the trial looks at the ring itself."""
