"""Processes that receive by io_uring: killed, stopped, and forked."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bench.base.clock import monotonic_ns
from bench.transport.ring.choice import chosen_reader
from tests.simulator_process import GUARD_S

pytestmark = pytest.mark.skipif(chosen_reader().name == "epoll", reason="no io_uring here")

PROGRAM = """
    import os, signal, socket, sys
    from bench.base.clock import enable_timestamps, monotonic_ns
    from bench.transport.ring._ring import Ring
    ring = Ring(lambda: None, lambda: None)
    sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    enable_timestamps(sock)
    sock.setblocking(False)
    reader = ring.receive(sock.fileno(), monotonic_ns(), 0)
    def all_reads(count):
        import select
        reads = []
        while sum(len(each.data) for each in reads) < count:
            try:
                reads.append(reader.read(0, None, None))
            except BlockingIOError:
                if ring.arm_wakeup():
                    select.select([ring.fileno()], [], [])
                    ring.wake_up()
        return reads
"""


@contextmanager
def other_process(program: str) -> Iterator[tuple[subprocess.Popen[str], socket.socket]]:
    """Yield a process that runs a program after `PROGRAM`, and the peer of its socket."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(GUARD_S)
        text = textwrap.dedent(PROGRAM) + textwrap.dedent(program)
        command = [sys.executable, "-c", text, str(server.getsockname()[1])]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                with server.accept()[0] as peer:
                    peer.settimeout(GUARD_S)
                    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    yield process, peer
            finally:
                process.kill()


def test_the_connection_of_a_killed_process_ends() -> None:
    with other_process("print('ready', flush=True); all_reads(1 << 30)") as (process, peer):
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGKILL)
        assert peer.recv(1) == b""


def test_a_stopped_process_receives_everything_and_bounds_it_by_the_stop() -> None:
    """While it is stopped, it receives nothing: what arrived meanwhile has one timestamp."""
    program = """
        print('ready', flush=True)
        for each in all_reads(20):
            print(each.empty_ns, each.timestamp_ns, int(each.is_kernel), len(each.data), flush=True)
    """
    with other_process(program) as (process, peer):
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGSTOP)
        assert os.waitpid(process.pid, os.WUNTRACED)[0] == process.pid
        sent_ns = []
        for _ in range(20):
            sent_ns.append(monotonic_ns())
            peer.sendall(b"x")
        sent_by_ns = monotonic_ns()
        process.send_signal(signal.SIGCONT)
        reads = [tuple(map(int, process.stdout.readline().split()))]
        while sum(size for *_, size in reads) < 20:
            reads.append(tuple(map(int, process.stdout.readline().split())))

    at = 0
    for empty_ns, at_ns, is_kernel, size in reads:
        assert empty_ns <= at_ns
        assert empty_ns <= sent_ns[at] + 1_000_000
        assert not is_kernel or at_ns <= sent_by_ns
        at += size


WITHOUT_RING = """
    import os, resource, sys
    from bench.base.clock import monotonic_ns
    from bench.transport.connect import look_up, open_stream
    from bench.transport.ring import stream
    from bench.transport.ring.choice import chosen_reader
    from bench.transport.ring.shortages import Shortages

    addresses = look_up("127.0.0.1", int(sys.argv[1]), 600).addresses
    assert chosen_reader().name == "io_uring"
    limit = resource.getrlimit(resource.RLIMIT_AS)
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 20), limit[1]))
    first = open_stream(addresses, 600)
    resource.setrlimit(resource.RLIMIT_AS, limit)
    said = []
    while len(b"".join(said)) < 4:
        first.receive_until(monotonic_ns() + 600_000_000_000, lambda read: said.append(read.data) or True)
    print(type(first).__name__, b"".join(said).decode(), Shortages().new(), sep=": ")
    print(type(open_stream(addresses, 600)).__name__)
"""


def test_a_connection_for_which_no_ring_can_be_opened_is_read_by_epoll_and_reported() -> None:
    """Other processes of the same user may have used up the memory since the trial. A later
    connection gets the ring if there is memory again.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(GUARD_S)
        command = [
            sys.executable,
            "-c",
            textwrap.dedent(WITHOUT_RING),
            str(server.getsockname()[1]),
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                with server.accept()[0] as peer:
                    peer.sendall(b"said")
                    shown, _ = process.communicate(timeout=GUARD_S)
            finally:
                process.kill()

    assert shown.splitlines() == [
        "TcpStream: said: io_uring: a ring could not be opened (Cannot allocate memory):"
        " epoll reads 1 connections",
        "RingStream",
    ]


FORKING = """
    import os, socket, sys
    import gevent
    from bench.base.clock import monotonic_ns
    from bench.transport.connect import look_up, open_stream
    from bench.transport.loop_monitor import LoopMonitor
    from bench.transport.ring.stream import RingStream

    def open_one():
        return open_stream(look_up("127.0.0.1", int(sys.argv[1]), 600).addresses, 600)

    def hear(stream, count):
        said = []
        until_ns = monotonic_ns() + 600_000_000_000
        while len(b"".join(said)) < count:
            assert stream.receive_until(until_ns, lambda read: said.append(read.data) or True)
        return b"".join(said).decode()

    parents = open_one()
    assert isinstance(parents, RingStream)
    said = hear(parents, 1)
    ring = LoopMonitor.of_hub().ring
    child = gevent.fork()
    if child == 0:
        gevent.reinit()
        own = open_one()
        print("child", hear(own, 1), LoopMonitor.of_hub().ring is ring, flush=True)
        own.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    print("parent", said + hear(parents, 1), ring.armed, flush=True)
    parents.close()
    print("closed", ring.armed, flush=True)
"""


IO_URING_SETUP, IO_URING_ENTER, IO_URING_REGISTER = 425, 426, 427
CHOOSING = """
    import ctypes, os, resource, struct, sys
    import bench.transport.ring.stream
    from bench.transport.ring.choice import chosen_reader

    def refuse(call, number):  # seccomp: the kernel refuses this call with this error
        filters = struct.pack(
            "HBBIHBBIHBBIHBBI",
            0x20, 0, 0, 0,  # the number of the call
            0x15, 0, 1, call,
            0x06, 0, 0, 0x00050000 | number,
            0x06, 0, 0, 0x7FFF0000,
        )
        held = ctypes.create_string_buffer(filters)
        program = struct.pack("HxxxxxxP", 4, ctypes.addressof(held))
        libc = ctypes.CDLL(None)
        assert libc.prctl(38, 1, 0, 0, 0) == 0
        assert libc.prctl(22, 2, program, 0, 0) == 0

    def limit(bytes):  # of memory, to this much more
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + bytes, -1))

    def limit_files():
        free = os.open("/dev/null", os.O_RDONLY)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, 4096))

    exec(sys.argv[1])
    print(*chosen_reader(), sep=": ")
"""


@pytest.mark.parametrize(
    ("shortage", "number"),
    [
        *(
            (f"refuse({call}, {number})", number)
            for call in (IO_URING_SETUP, IO_URING_ENTER, IO_URING_REGISTER)
            for number in (errno.EPERM, errno.ENOSYS)
        ),
        ("limit(1 << 20)", errno.ENOMEM),
        ("limit_files()", errno.EMFILE),
    ],
)
def test_a_process_without_a_ring_reads_by_epoll_and_names_what_it_lacks(
    shortage: str, number: int
) -> None:
    program = textwrap.dedent(CHOOSING)
    shown = subprocess.run(
        [sys.executable, "-c", program, shortage], capture_output=True, text=True, timeout=GUARD_S
    )

    assert shown.stderr == ""
    assert shown.stdout.startswith("epoll: ")
    assert shown.stdout.endswith(f": {os.strerror(number)}\n")


def test_a_forked_process_gets_a_ring_of_its_own_and_its_parent_continues() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(GUARD_S)
        command = [sys.executable, "-c", textwrap.dedent(FORKING), str(server.getsockname()[1])]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                with server.accept()[0] as parents:
                    parents.sendall(b"a")
                    with server.accept()[0] as own:
                        own.sendall(b"b")
                        assert process.stdout.readline() == "child b False\n"
                    parents.sendall(b"c")
                    assert process.stdout.readline() == "parent ac 1\n"
                    assert process.stdout.readline() == "closed 0\n"
                    assert process.wait(GUARD_S) == 0
            finally:
                process.kill()
