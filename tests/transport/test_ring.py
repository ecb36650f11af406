"""Receiving by io_uring: bytes, timestamps and bounds, and what is left when a part of it ends.

The kernel of this machine is the real one. Where it has no io_uring, or forbids it, nothing is
tested.
"""

from __future__ import annotations

import errno
import gc
import itertools
import os
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.base.clock import enable_timestamps, monotonic_ns
from bench.base.errors import UsageError
from bench.transport.fast.reader import Sieve
from bench.transport.parser import READ_BYTES, SocketRead
from bench.transport.ring import choice
from bench.transport.ring.choice import ReaderChoice, chosen_reader
from bench.transport.ring.shortages import Shortages
from tests.simulator_process import GUARD_S

pytestmark = pytest.mark.skipif(
    chosen_reader().name == "epoll", reason=f"no io_uring here: {chosen_reader().reason}"
)
if chosen_reader().name == "io_uring":
    from bench.transport.ring._ring import Ring, RingReader
    from bench.transport.ring.hub_ring import LOOK_NS, HubRing

Pair = tuple[socket.socket, socket.socket]


def nothing() -> None:
    """Stand in for what the loop does."""


@contextmanager
def new_ring(buffers: int = 64, **sizes: int) -> Iterator[Ring]:
    ring = Ring(nothing, nothing, buffers, **sizes)
    try:
        yield ring
    finally:
        ring.close()


@contextmanager
def tcp_pair() -> Iterator[Pair]:
    """Yield a non-blocking socket with timestamps, and its peer."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        with ours, server.accept()[0] as theirs:
            enable_timestamps(ours)
            ours.setblocking(False)
            theirs.settimeout(GUARD_S)
            theirs.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            yield ours, theirs


def reader_of(ring: Ring, sock: socket.socket) -> RingReader:
    return ring.receive(sock.fileno(), monotonic_ns(), 0)


def wait_for_arrival(ring: Ring) -> None:
    """Wait until the ring has something to receive."""
    if ring.arm_wakeup():
        assert select.select([ring.fileno()], [], [], GUARD_S)[0]
        ring.wake_up()


def read(ring: Ring, reader: RingReader) -> SocketRead:
    """Wait for a read."""
    while True:
        try:
            got = reader.read(0, None, None)
        except BlockingIOError:
            wait_for_arrival(ring)
            continue
        assert got is not None
        return got


def read_bytes(ring: Ring, reader: RingReader, count: int) -> list[SocketRead]:
    reads: list[SocketRead] = []
    while sum(len(each.data) for each in reads) < count:
        reads.append(read(ring, reader))
        assert reads[-1].data, "the peer has closed too early"
    return reads


@given(st.lists(st.integers(1, 60_000), min_size=1, max_size=8), st.sampled_from([512, 4096]))
@settings(max_examples=25, deadline=None)
def test_all_bytes_arrive_in_order_and_each_read_is_after_the_one_before(
    sizes: list[int], buffer_bytes: int
) -> None:
    with new_ring(16, buffer_bytes=buffer_bytes) as ring, tcp_pair() as (ours, theirs):
        reader = reader_of(ring, ours)
        sent = [bytes([number]) * size for number, size in enumerate(sizes)]
        reads: list[SocketRead] = []
        for data in sent:
            before_ns = monotonic_ns()
            theirs.sendall(data)
            reads += read_bytes(ring, reader, len(data))
            assert not reads[-1].is_kernel or before_ns <= reads[-1].timestamp_ns <= monotonic_ns()
        reader.close()

    assert b"".join(each.data for each in reads) == b"".join(sent)
    assert all(
        each.empty_ns <= each.timestamp_ns and len(each.data) <= READ_BYTES for each in reads
    )
    assert all(a.timestamp_ns <= b.timestamp_ns for a, b in itertools.pairwise(reads))
    assert reads[-1].is_complete


def test_a_bound_reaches_back_to_the_last_look_at_the_ring_or_to_the_last_arrival() -> None:
    with new_ring() as ring, tcp_pair() as (ours, theirs):
        reader = reader_of(ring, ours)
        theirs.sendall(b"a")
        first = read(ring, reader)
        ring.sync()
        looked_ns = ring.synced_ns
        theirs.sendall(b"b")
        second = read(ring, reader)
        theirs.sendall(b"c")
        third = read(ring, reader)
        reader.close()

    assert first.timestamp_ns <= looked_ns
    assert looked_ns <= second.empty_ns <= second.timestamp_ns
    assert second.empty_ns <= third.empty_ns <= third.timestamp_ns


def test_a_ring_that_rests_tells_the_next_arrival_and_none_before() -> None:
    with new_ring() as ring, tcp_pair() as (ours, theirs):
        reader = reader_of(ring, ours)
        theirs.sendall(b"a")
        read(ring, reader)
        theirs.sendall(b"b")

        assert not ring.arm_wakeup()
        assert not select.select([ring.fileno()], [], [], 0)[0]
        assert read(ring, reader).data == b"b"
        assert ring.arm_wakeup()
        assert not select.select([ring.fileno()], [], [], 0)[0]
        theirs.sendall(b"c")
        assert select.select([ring.fileno()], [], [], GUARD_S)[0]
        ring.wake_up()
        assert not select.select([ring.fileno()], [], [], 0)[0]
        assert read(ring, reader).data == b"c"
        reader.close()


def test_a_look_receives_from_all_sockets_however_many() -> None:
    with new_ring(256) as ring, ExitStack() as opened:
        pairs = [opened.enter_context(tcp_pair()) for _ in range(70)]
        readers = [reader_of(ring, ours) for ours, _ in pairs]
        for _, theirs in pairs:
            theirs.sendall(b"x")
        arrived_ns = monotonic_ns()
        ring.sync()

        assert ring.synced_ns >= arrived_ns
        assert not any(reader.drained for reader in readers)
        for reader in readers:
            reader.close()


def test_a_bound_of_bytes_that_arrived_before_the_ring_received_reaches_back_to_before_them() -> (
    None
):
    with new_ring() as ring, tcp_pair() as (ours, theirs):
        empty_ns = monotonic_ns()
        theirs.sendall(b"a")
        reader = ring.receive(ours.fileno(), empty_ns, 0)
        got = read(ring, reader)
        reader.close()

    assert got.empty_ns == empty_ns


def test_a_ring_that_runs_dry_is_armed_again_and_counts_it() -> None:
    """One buffer serves twenty sockets: all bytes arrive, and the bound reaches back over the
    dry time.
    """
    with new_ring(1) as ring, ExitStack() as opened:
        pairs = [opened.enter_context(tcp_pair()) for _ in range(20)]
        readers = [reader_of(ring, ours) for ours, _ in pairs]
        before_ns = monotonic_ns()
        for _, theirs in pairs:
            theirs.sendall(b"x" * 10)
        sent_ns = monotonic_ns()
        for reader in readers:
            (got,) = read_bytes(ring, reader, 10)
            assert got.empty_ns <= sent_ns
            assert not got.is_kernel or before_ns <= got.timestamp_ns <= monotonic_ns()
        assert ring.buffer_shortages > 0
        assert ring.armed == len(readers)
        for reader in readers:
            reader.close()


def test_completions_beyond_the_queue_are_counted_and_not_lost() -> None:
    """The kernel receives for several sockets at once, several times for each."""
    with new_ring(1024, buffer_bytes=256, completions=256) as ring, ExitStack() as opened:
        pairs = [socket.socketpair() for _ in range(40)]
        for sock in (each for pair in pairs for each in pair):
            opened.enter_context(sock)
        readers = [reader_of(ring, ours) for ours, _ in pairs]
        for number, (_, theirs) in enumerate(pairs):
            theirs.sendall(bytes([number]) * 4_000)
        for number, reader in enumerate(readers):
            data = b"".join(each.data for each in read_bytes(ring, reader, 4_000))
            assert data == bytes([number]) * 4_000
        assert ring.overflowed > 0
        for reader in readers:
            reader.close()
        assert ring.armed == 0


def test_a_socket_whose_bytes_nobody_reads_is_not_received_without_limit() -> None:
    """Then the peer waits, as for any other client that does not read."""
    size = 24 << 20
    with new_ring() as ring, tcp_pair() as (ours, theirs):
        reader = reader_of(ring, ours)
        theirs.setblocking(False)
        sent = 0
        while True:
            ring.sync()
            try:
                sent += theirs.send(bytes(1 << 16))
            except BlockingIOError:
                if not ring.armed:  # the kernel has ended the request, and its own buffer is full
                    break
            assert sent < size
        theirs.setblocking(True)
        theirs.settimeout(GUARD_S)
        assert sum(len(each.data) for each in read_bytes(ring, reader, sent)) == sent
        assert ring.armed == 1
        theirs.sendall(b"end")
        assert read(ring, reader).data == b"end"
        reader.close()


def test_a_delivery_is_limited_and_the_rest_is_announced() -> None:
    """Otherwise a peer that never pauses would stop the loop."""
    woken: list[int] = []
    ring = Ring(lambda: woken.append(1), nothing, 64)
    with tcp_pair() as (ours, theirs):
        reader = reader_of(ring, ours)
        theirs.sendall(bytes(400_000))
        wait_for_arrival(ring)
        came: list[SocketRead] = []

        def receive(read: SocketRead) -> bool:
            came.append(read)
            return False

        def wake(error: BaseException | None) -> None:
            raise AssertionError from error

        reader.listen(Sieve(), receive, wake, False)
        rounds = 0
        while sum(len(each.data) for each in came) < 400_000:
            before = sum(len(each.data) for each in came)
            ring.sync()
            ring.pass_on(False)
            assert sum(len(each.data) for each in came) - before <= 2 * READ_BYTES
            rounds += 1
        assert rounds > 3
        assert woken
        reader.close()
    ring.close()


def test_the_end_of_a_connection_follows_its_bytes_and_remains() -> None:
    with new_ring() as ring, tcp_pair() as (ours, theirs):
        reader = reader_of(ring, ours)
        theirs.sendall(b"last")
        theirs.shutdown(socket.SHUT_WR)
        assert read(ring, reader).data == b"last"
        assert [read(ring, reader).data for _ in range(2)] == [b"", b""]
        assert reader.failure == 0
        assert ring.armed == 0
        reader.close()


def test_a_broken_connection_has_its_error() -> None:
    with new_ring() as ring, tcp_pair() as (ours, theirs):
        reader = reader_of(ring, ours)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        theirs.close()
        assert read(ring, reader).data == b""
        assert reader.failure == errno.ECONNRESET
        reader.close()


def test_a_closed_socket_leaves_nothing_to_the_next_one_with_its_number() -> None:
    """Its completions are in flight when it is closed: no reader gets them."""
    with new_ring() as ring, ExitStack() as opened:
        for number in range(50):
            ours, theirs = opened.enter_context(tcp_pair())
            reader = reader_of(ring, ours)
            fd = ours.fileno()
            theirs.sendall(b"old")
            reader.close()
            ours.close()
            assert ring.armed == 0
            with tcp_pair() as (ours, theirs):
                reader = reader_of(ring, ours)
                theirs.sendall(b"new %d" % number)
                assert read(ring, reader).data == b"new %d" % number
                reader.close()
            assert fd >= 0


def test_the_peer_of_a_closed_socket_sees_its_end_at_once() -> None:
    """A request that remained armed would keep the connection open."""
    with new_ring() as ring, tcp_pair() as (ours, theirs):
        reader = reader_of(ring, ours)
        reader.close()
        ours.close()
        assert theirs.recv(1) == b""


def test_a_closed_reader_with_completions_in_the_queue_gives_its_buffers_back() -> None:
    with new_ring(4) as ring:
        for _ in range(20):
            with tcp_pair() as (ours, theirs):
                reader = reader_of(ring, ours)
                theirs.sendall(b"x" * 10_000)
                ring.sync()
                theirs.sendall(b"y" * 10_000)
                reader.close()
        with tcp_pair() as (ours, theirs):
            reader = reader_of(ring, ours)
            theirs.sendall(b"z" * 10_000)
            read_bytes(ring, reader, 10_000)
            reader.close()


def test_the_loop_sleeps_until_a_pass_if_arrivals_are_frequent_and_else_until_the_next_arrival(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    passes: list[int] = []
    hub_ring = HubRing.of_hub()
    looked = SimpleNamespace(synced_ns=0, arm_wakeup=lambda: True)
    monkeypatch.setattr(hub_ring, "ring", looked)
    monkeypatch.setattr(hub_ring._scheduler, "pass_by", passes.append)
    monkeypatch.setattr(hub_ring, "_found_ns", 0)

    def rests(found: bool, at_ns: int) -> bool:
        looked.has_received_since_asked = lambda: found
        looked.synced_ns = at_ns
        return hub_ring._before_poll()

    far_ns = 100 * LOOK_NS
    assert rests(False, far_ns)
    assert rests(True, 2 * far_ns)
    assert not rests(True, 2 * far_ns + LOOK_NS)
    assert passes == [2 * far_ns + 2 * LOOK_NS]
    assert rests(False, 2 * far_ns + 2 * LOOK_NS)
    assert rests(True, 3 * far_ns)
    looked.arm_wakeup = lambda: False  # something has arrived since the look
    assert not rests(False, 3 * far_ns + 1)
    assert passes[1:] == [0]


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def mappings() -> int:
    with open("/proc/self/maps", encoding="ascii") as lines:
        return sum("io_uring" in line for line in lines)


def test_a_closed_ring_leaves_no_descriptor_and_no_mapping() -> None:
    gc.collect()
    files, mapped = open_files(), mappings()
    for _ in range(20):
        with new_ring() as ring, tcp_pair() as (ours, theirs):
            reader = reader_of(ring, ours)
            theirs.sendall(b"x")
            read(ring, reader)
    del ring, reader
    gc.collect()

    assert (open_files(), mappings()) == (files, mapped)


# The choice.


@pytest.fixture
def choosing() -> Callable[[], ReaderChoice]:
    """Return a choice that is made again."""
    return choice.chosen_reader.__wrapped__


def test_the_variable_forces_epoll(
    choosing: Callable[[], ReaderChoice], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RTBENCH_READER", "epoll")

    assert choosing() == ReaderChoice("epoll", "RTBENCH_READER=epoll")


def test_another_value_of_the_variable_is_refused(
    choosing: Callable[[], ReaderChoice], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RTBENCH_READER", "kqueue")

    with pytest.raises(UsageError, match="RTBENCH_READER=kqueue: it must be io_uring or epoll"):
        choosing()


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (errno.EPERM, "does not permit io_uring"),
        (errno.ENOSYS, "Function not implemented"),
        (errno.EINVAL, "Linux 6.0 or later"),
    ],
)
def test_a_kernel_without_io_uring_gets_epoll_with_the_reason(
    choosing: Callable[[], ReaderChoice], monkeypatch: pytest.MonkeyPatch, number: int, text: str
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.delenv("RTBENCH_READER", raising=False)
    monkeypatch.setattr("bench.transport.ring._ring.Ring", refuse)

    assert choosing().name == "epoll"
    assert text in choosing().reason
    monkeypatch.setenv("RTBENCH_READER", "io_uring")
    with pytest.raises(UsageError, match=text):
        choosing()


def test_a_trial_without_timestamps_gets_epoll(
    choosing: Callable[[], ReaderChoice], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RTBENCH_READER", raising=False)
    monkeypatch.setattr(choice, "enable_timestamps", lambda sock: False)
    monkeypatch.setattr(choice, "TRIAL_NS", 50_000_000)

    assert choosing().name == "epoll"
    assert "multishot receives do not work with timestamps" in choosing().reason


def test_a_trial_leaves_no_descriptor(
    choosing: Callable[[], ReaderChoice], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RTBENCH_READER", raising=False)
    choosing()  # the first one opens what keeps timestamps enabled
    files = open_files()

    assert choosing() == ReaderChoice("io_uring", "")
    assert open_files() == files


def test_shortages_are_reported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Counted:
        buffer_shortages, overflowed = 2, 0

    class Monitor:
        ring: Counted | None = Counted()
        without_ring, ring_error = 0, ""

    monkeypatch.setattr("bench.transport.loop_monitor.LoopMonitor.of_hub", Monitor)
    shortages = Shortages()

    assert shortages.new() == "io_uring: no buffer was free 2 times: arrivals were merged"
    assert shortages.new() == ""
    Counted.buffer_shortages, Counted.overflowed = 3, 1
    assert "1 times, and the queue of completions was full 1 times" in shortages.new()
    Monitor.ring, Monitor.without_ring, Monitor.ring_error = None, 2, "No space"
    assert (
        shortages.new()
        == "io_uring: a ring could not be opened (No space): epoll reads 2 connections"
    )
    assert shortages.new() == ""
