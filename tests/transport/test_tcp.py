"""The real socket, with a real server on loopback: sources of timestamps, effects of TLS, and
failures to connect.

The server runs in its own threads. gevent does not patch the standard library here. So the sockets
of the server block only the threads of the server, while the loop of gevent runs in this thread.
"""

from __future__ import annotations

import gc
import itertools
import os
import select
import socket
import ssl
import struct
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import gevent
import pytest
from websockets.sync.server import ServerConnection, serve

from bench.base.clock import MAX_CLOCK_GAP_NS, Arrival, monotonic_ns
from bench.base.units import NEVER_NS
from bench.catalogue.causes import ConnectError
from bench.catalogue.timeouts import Timeouts
from bench.services.openai.dialect import GA
from bench.transport import connect as connecting
from bench.transport import tcp, websocket
from bench.transport.connect import Lookup, connect, connect_first
from bench.transport.event_loop import Poller
from bench.transport.interface import ConnectRequest, ConnectTimings
from bench.transport.loop_monitor import LoopMonitor
from bench.transport.parser import READ_BYTES, SocketRead
from bench.transport.ring import choice
from bench.transport.tcp import ByteStream, TcpStream
from bench.transport.tls import TRUNCATED, TlsStream, tls_context
from bench.transport.websocket import WebSocket, open_websocket
from bench.wire.connection import MatchedDelta, NetworkMeasured, ReceivedMessage
from tests.compiled import needs_compiler
from tests.helpers import MS, delta, receive
from tests.transport.certificates import Certificate
from tests.transport.refusals import refusal
from tests.transport.tcp_peers import (
    ENOUGH,
    GUARD_S,
    KINDS,
    Peer,
    _tcp_of,
    connected,
    connected_websocket,
    listener,
    wait_until_there,
)
from tools.peers.agents.ports import free_port

TOO_MUCH = bytes(1 << 26)
"""More bytes than the kernel buffers of both ends can hold together."""
LINGER = struct.pack("ii", 1, 0)
"""The value of a socket option with which a close is immediate: the peer then receives a reset."""
SOON = Timeouts(tcp=0.05, tls=0.05, upgrade=0.05)
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="kernel stamps are Linux's")


Linked = tuple[ByteStream, Peer]


@pytest.fixture(autouse=True, params=["epoll", "io_uring"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run each test with each reader."""
    name: choice.ReaderName = request.param
    if choice.chosen_reader().name != name == "io_uring":
        pytest.skip("io_uring is not available")
    monkeypatch.setattr(choice, "chosen_reader", lambda: choice.ReaderChoice(name, ""))
    return name


@pytest.fixture
def plain(certificate: Certificate) -> Iterator[Linked]:
    with connected(False, certificate) as both:
        yield both


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def linked(request: pytest.FixtureRequest, certificate: Certificate) -> Iterator[Linked]:
    """Yield a stream and its peer: once without TLS, and once with TLS."""
    with connected(request.param, certificate) as both:
        yield both


def tcp_info(*, rtt_us: int, min_rtt_us: int, retransmits: int) -> bytes:
    """Return the bytes of a `struct tcp_info` of linux/tcp.h, up to tcpi_min_rtt."""
    fields = {68: rtt_us, 100: retransmits, 148: min_rtt_us}
    return b"".join(fields.get(place, 0).to_bytes(4, sys.byteorder) for place in range(0, 152, 4))


def far_ns() -> int:
    return monotonic_ns() + GUARD_S * 1_000_000_000


def read_all(stream: ByteStream, count: int) -> tuple[bytes, list[SocketRead]]:
    reads: list[SocketRead] = []
    while sum(len(read.data) for read in reads) < count:
        read = stream.read(far_ns())
        assert read is not None
        assert read.data, "the peer has closed too early"
        reads.append(read)
    return b"".join(read.data for read in reads), reads


def stamped(stream: ByteStream, peer: Peer) -> tuple[SocketRead, int, int]:
    """Return a read that has a kernel timestamp, an instant before the timestamp, and an instant
    after it.

    Read several times, because the first reads may have no kernel timestamp.
    """
    for _ in range(1_000):
        before_ns, _ = peer.send(b"hello")
        there_ns = wait_until_there(stream)
        read = stream.read(far_ns())
        assert read is not None
        assert read.data == b"hello"
        if read.is_kernel:
            return read, before_ns, there_ns
    pytest.fail("the kernel never stamped a read")


# Timestamps.


@LINUX
def test_a_wait_until_an_instant_ignores_data_that_arrived_later(linked: Linked) -> None:
    stream, peer = linked
    peer.send(b"a")
    _, (*_, first) = read_all(stream, 1)
    peer.send(b"b")
    wait_until_there(stream)

    assert stream.watermark_ns >= first.timestamp_ns - 1
    assert stream.read(first.timestamp_ns - 1) is None
    assert read_all(stream, 1)[0] == b"b"


def test_a_peer_that_accepts_no_tls_answer_has_ended_the_stream(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(data: bytes, *, stamped: bool = False, until_ns: int = NEVER_NS) -> None:
        raise TimeoutError("the peer accepted no data")

    with connected(True, certificate) as (stream, peer):
        peer.send(b"a")
        wait_until_there(stream)
        stream._outgoing.write(b"as for a key update")  # type: ignore[attr-defined]
        monkeypatch.setattr(stream._tcp, "write", full)  # type: ignore[attr-defined]

        for _ in range(2):
            read = stream.read(far_ns())
            assert read is not None
            assert read.data == b""


def test_other_greenlets_run_if_the_loop_was_blocked_for_long(
    plain: Linked, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, _ = plain
    ran: list[int] = []
    gevent.spawn(ran.append, 1)
    monkeypatch.setattr(tcp, "SHARE_NS", 1 << 62)
    stream.yield_to_loop()
    assert ran == []
    monkeypatch.setattr(tcp, "SHARE_NS", 0)
    stream.yield_to_loop()
    assert ran == [1]


def test_a_read_has_the_kernel_timestamp_of_its_arrival(linked: Linked) -> None:
    stream, peer = linked
    read, before_ns, there_ns = stamped(stream, peer)

    assert before_ns <= read.timestamp_ns <= there_ns - 50 * MAX_CLOCK_GAP_NS + MAX_CLOCK_GAP_NS
    assert read.empty_ns <= read.timestamp_ns
    assert read.is_complete


def test_without_kernel_timestamps_a_read_has_the_clock_after_it(
    monkeypatch: pytest.MonkeyPatch, certificate: Certificate
) -> None:
    monkeypatch.setattr("bench.transport.tcp.enable_timestamps", lambda sock: False)
    with connected(False, certificate) as (stream, peer):
        peer.send(b"x")
        there_ns = wait_until_there(stream)
        read = stream.read(far_ns())

        assert read is not None
        assert (read.is_kernel, read.is_complete) == (False, True)
        assert there_ns <= read.timestamp_ns <= monotonic_ns()


# Bytes.


def test_a_read_that_fills_the_buffer_is_not_complete(plain: Linked) -> None:
    data = bytes(READ_BYTES + 10)
    stream, peer = plain
    peer.order(lambda sock: sock.sendall(data))
    _, reads = read_all(stream, len(data))
    peer.report()

    assert all(read.is_complete == (len(read.data) < READ_BYTES) for read in reads)


def test_a_read_from_a_silent_peer_returns_none_at_its_deadline(linked: Linked) -> None:
    stream, _ = linked
    until_ns = monotonic_ns() + 5_000_000

    assert stream.read(until_ns) is None
    assert stream.read(0) is None
    assert monotonic_ns() >= until_ns - 1_000_000  # a timer of the loop may be slightly early


@KINDS
def test_the_instant_of_the_last_byte_follows_bytes_of_both_directions(
    tls: bool, certificate: Certificate
) -> None:
    with connected(tls, certificate) as (stream, peer):
        for write in (stream.write, stream.try_write):
            before_ns = monotonic_ns()
            write(b"hello")
            sent_ns = stream.active_ns
            assert before_ns <= sent_ns <= monotonic_ns()
            assert stream.active_ns == sent_ns
        there_ns, _ = peer.send(b"hello")
        assert read_all(stream, 5)[0] == b"hello"
        assert stream.active_ns >= max(sent_ns, there_ns - MAX_CLOCK_GAP_NS)


@KINDS
@pytest.mark.parametrize("how", ["hears", "says", "offers"])
def test_a_reset_connection_ends_the_session_when_it_receives_sends_or_offers(
    tls: bool, how: str, certificate: Certificate
) -> None:
    with connected_websocket(tls, certificate) as (transport, peer):
        peer.do(_reset)
        while transport.closed is None:
            if how == "hears":
                transport.receive_until(far_ns(), lambda message: True)
            elif how == "says":
                transport.send(b"{}")
            elif (
                transport.try_send(b"{}") is None
            ):  # the kernel reports a reset once: `finish` must remember it
                transport.flush()

    assert (transport.closed.code, transport.closed.cause) == (1006, "reset")
    assert transport.closed.reason.endswith(("reset by peer", "Broken pipe"))


@LINUX
def test_network_data_are_available_while_the_socket_is_open(linked: Linked) -> None:
    stream, peer = linked
    before_ns = monotonic_ns()
    peer.send(b"hello")
    assert read_all(stream, 5)[0] == b"hello"
    network = stream.network()
    stream.close()

    assert network is not None
    assert (
        0
        < network.min_rtt_ns
        <= network.rtt_ns
        < monotonic_ns() - before_ns + GUARD_S * 1_000_000_000
    )
    assert network.retransmits == 0
    assert stream.network() is None


@pytest.mark.parametrize(
    ("info", "network"),
    [
        (tcp_info(rtt_us=900, min_rtt_us=700, retransmits=3), NetworkMeasured(900_000, 700_000, 3)),
        pytest.param(
            tcp_info(rtt_us=0, min_rtt_us=0xFFFF_FFFF, retransmits=1),
            None,
            id="no round trip was measured",
        ),
        pytest.param(
            tcp_info(rtt_us=900, min_rtt_us=700, retransmits=3)[:104], None, id="an older kernel"
        ),
    ],
)
def test_network_data_that_the_kernel_does_not_have_are_none(
    info: bytes, network: NetworkMeasured | None
) -> None:
    class Socket:
        def getsockopt(self, *asked: int) -> bytes:
            return info

    stream = TcpStream.__new__(TcpStream)
    stream._raw, stream._scope = Socket(), "service"

    assert stream.network() == (network if sys.platform.startswith("linux") else None)


# Connecting.


def test_a_port_without_a_listener_is_refused_by_tcp() -> None:
    port, phases = free_port(), ConnectTimings()
    error = refusal(
        lambda: connect("127.0.0.1", port, ConnectRequest("", (), None, ENOUGH, phases))
    )

    assert error.outcome == "connect_failed:tcp"
    assert f"127.0.0.1:{port}" in error.detail
    assert "dns_done" in phases.instants
    assert "tcp_done" not in phases.instants


def refusal_of(
    listening: socket.socket,
    context: ssl.SSLContext,
    limits: Timeouts = ENOUGH,
    phases: ConnectTimings | None = None,
) -> ConnectError:
    """Return the error of a connection with TLS to this listener."""
    request = ConnectRequest("", (), context, limits, phases or ConnectTimings())
    return refusal(lambda: connect("127.0.0.1", listening.getsockname()[1], request))


def loopback_addresses(*ports: int) -> list[Any]:
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]


def test_a_certificate_of_an_unknown_authority_is_refused_with_a_remedy(
    certificate: Certificate,
) -> None:
    with listener() as listening:
        thread = threading.Thread(
            target=fail_to_shake_hands, args=(listening, certificate[0]), daemon=True
        )
        thread.start()
        error = refusal_of(listening, tls_context(None))
        thread.join(GUARD_S)

    assert error.outcome == "connect_failed:tls"
    assert "--ca-file" in error.detail


def test_a_certificate_for_another_host_is_refused(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    with listener() as listening:
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", listening.getsockname())]
        monkeypatch.setattr(connecting, "look_up", lambda *asked: Lookup(found, 0, 0))
        thread = threading.Thread(
            target=fail_to_shake_hands, args=(listening, certificate[0]), daemon=True
        )
        thread.start()
        context = tls_context(str(certificate[1]))
        error = refusal(
            lambda: connect(
                "service.example", 443, ConnectRequest("", (), context, ENOUGH, ConnectTimings())
            )
        )
        thread.join(GUARD_S)

    assert error.outcome == "connect_failed:tls"
    assert "service.example" in error.detail


def fail_to_shake_hands(listening: socket.socket, context: ssl.SSLContext) -> None:
    sock, _ = listening.accept()
    sock.settimeout(GUARD_S)
    try:
        context.wrap_socket(sock, server_side=True).close()
    except OSError:
        sock.close()


def _asked_and_reset(sock: Any) -> None:
    sock.recv(1)  # unread data make the close a reset
    _reset(sock)


def test_a_peer_that_resets_the_tls_handshake_is_reported(
    certificate: Certificate,
) -> None:
    with listener() as listening:
        peer = Peer(listening, None)
        peer.order(_asked_and_reset)
        context = tls_context(str(certificate[1]))
        error = refusal_of(listening, context)
        peer.end()

    assert (error.outcome, error.detail) == (
        "connect_failed:tls",
        f"127.0.0.1: {TRUNCATED}: Connection reset by peer",
    )


def test_a_peer_that_resets_the_upgrade_is_reported() -> None:
    with listener() as listening:
        peer = Peer(listening, None)
        peer.order(_asked_and_reset)
        url = f"ws://127.0.0.1:{listening.getsockname()[1]}/v1/realtime"
        error = refusal(
            lambda: open_websocket(ConnectRequest(url, [], None, ENOUGH, ConnectTimings()))
        )
        peer.end()

    assert (error.outcome, error.detail) == (
        "connect_failed:upgrade",
        "the connection broke: Connection reset by peer",
    )


@pytest.mark.parametrize("says", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""])
def test_a_peer_that_does_not_speak_tls_is_refused(says: bytes, certificate: Certificate) -> None:
    with listener() as listening:
        peer = Peer(listening, None)
        peer.order(
            lambda sock: (sock.recv(9_999), sock.sendall(says), sock.shutdown(socket.SHUT_WR))
        )
        context = tls_context(str(certificate[1]))
        error = refusal_of(listening, context)
        peer.end()

    assert error.outcome == "connect_failed:tls"


def test_a_peer_that_does_not_answer_the_tls_handshake_times_out(
    certificate: Certificate,
) -> None:
    with listener() as listening:
        phases = ConnectTimings()
        context = tls_context(str(certificate[1]))
        error = refusal_of(listening, context, SOON, phases)

    assert error.outcome == "timeout:tls"
    assert {"connect_start", "dns_done", "tcp_done"} == set(phases.instants)


def test_the_time_of_this_process_does_not_count_towards_the_tls_timeout(
    certificate: Certificate,
) -> None:
    """The first half of the server's answer arrived long ago, but this process reads it only
    now.
    """
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = certificate[0].wrap_bio(incoming, outgoing, server_side=True)
    halves: list[bytes] = []
    limits_ns: list[int] = []

    class Below:
        failure, problem = 0, ""
        yield_to_loop = flush = transmitted = network = close = keep_rest = None

        def write(self, data: bytes, **_: Any) -> None:
            incoming.write(data)
            with suppress(ssl.SSLWantReadError):
                server.do_handshake()
            written = outgoing.read()
            halves[:] = [written[: len(written) // 2], written[len(written) // 2 :]]

        def read(self, until_ns: int) -> SocketRead:
            limits_ns.append(until_ns)
            return SocketRead(halves.pop(0), monotonic_ns() - 10_000 * MS, 0, True, True)

    tls = TlsStream(Below(), tls_context(str(certificate[1])), "127.0.0.1")  # type: ignore[arg-type]
    tls.handshake(5)

    assert limits_ns[0] == 5
    assert limits_ns[1] >= 5 + 10_000 * MS


def test_a_connection_made_while_this_process_was_suspended_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def overslept(self: Any, address: Any) -> None:
        self._sock.connect_ex(address)
        raise TimeoutError("timed out")

    monkeypatch.setattr(gevent.socket.socket, "connect", overslept)
    with listener() as listening:
        address = listening.getsockname()
        sock = connect_first(loopback_addresses(address[1]), 0.001)
        assert sock.getpeername() == address
        sock.close()


def test_the_next_address_has_its_time_after_a_suspended_attempt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given_s: list[float] = []

    def overslept(self: Any, address: Any) -> None:
        given_s.append(self.gettimeout())
        until_ns = monotonic_ns() + 100 * MS
        while monotonic_ns() < until_ns:  # five times the timeout of both addresses
            pass
        raise TimeoutError("timed out")

    monkeypatch.setattr(gevent.socket.socket, "connect", overslept)
    port = free_port()
    error = refusal(lambda: connect_first(loopback_addresses(port, port), 0.02))

    assert error.outcome == "timeout:tcp"
    assert given_s == pytest.approx([0.01, 0.01])


def test_a_peer_that_does_not_answer_the_upgrade_times_out() -> None:
    with listener() as listening:
        phases = ConnectTimings()
        url = f"ws://127.0.0.1:{listening.getsockname()[1]}/v1/realtime"
        error = refusal(lambda: open_websocket(ConnectRequest(url, [], None, SOON, phases)))

    assert error.outcome == "timeout:upgrade"
    assert {"connect_start", "dns_done", "tcp_done"} == set(phases.instants)


# All layers together.


def echo(connection: ServerConnection) -> None:
    for message in connection:
        connection.send(message)


@contextmanager
def echoing(tls: bool, certificate: Certificate) -> Iterator[WebSocket]:
    """Open a connection to a server that returns every message."""
    context, ca = certificate
    with serve(echo, "127.0.0.1", 0, ssl=context if tls else None) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        url = f"{'wss' if tls else 'ws'}://127.0.0.1:{server.socket.getsockname()[1]}/v1/realtime"
        trusted = tls_context(str(ca)) if tls else None
        yield open_websocket(
            ConnectRequest(url, [("api-key", "k")], trusted, ENOUGH, ConnectTimings())
        )
        server.shutdown()
        thread.join(GUARD_S)


def echo_once(transport: WebSocket, data: bytes) -> tuple[int, Any]:
    sent = transport.send(data)
    assert sent is not None
    (came,) = receive(transport, far_ns())
    return sent.handed.at_ns, came


@KINDS
def test_messages_are_sent_and_received_over_a_real_connection(
    tls: bool, certificate: Certificate
) -> None:
    with echoing(tls, certificate) as transport:
        for size in (2, 300, 70_000):
            handed_ns, came = echo_once(transport, b"x" * size)
            assert came.data == b"x" * size
            assert handed_ns <= came.arrival.at_ns <= monotonic_ns()
        transport.close()

    names = ["connect_start", "dns_done", "tcp_done", *(["tls_done"] if tls else []), "opened"]
    instants = transport.handshake.instants
    assert list(instants) == names
    assert list(instants.values()) == sorted(instants.values())
    assert transport.closed is not None
    assert transport.closed.code == 1000
    assert transport.send(b"too late") is None


# Open replies.


class Reply:
    """An open reply that records which of its deltas are matched."""

    has_begun = True

    def __init__(self) -> None:
        self.streaming, self.wakes = True, False
        self.on_streaming: Callable[[bool], object] = bool
        self.matched: list[MatchedDelta] = []

    def on_deltas(self, deltas: Sequence[MatchedDelta]) -> bool:
        self.matched += deltas
        return self.wakes


@LINUX
@KINDS
def test_a_wait_is_polled_while_its_reply_streams(tls: bool, certificate: Certificate) -> None:
    with echoing(tls, certificate) as transport:
        reply, polled, before = Reply(), list[int](), Poller.of_hub().count
        reply.streaming = False

        def take(message: ReceivedMessage) -> bool:
            reply.on_streaming(not polled)
            polled.append(Poller.of_hub().count - before)
            assert transport.send(b"{}") is not None
            return len(polled) == 3

        assert transport.send(b"{}") is not None
        transport.receive_until(far_ns(), take, reply)
        transport.close()

    assert polled == [1, 0, 0]


@LINUX
@KINDS
def test_an_open_reply_is_polled_and_each_arrival_is_bounded_by_the_last_check(
    tls: bool, certificate: Certificate
) -> None:
    with connected(tls, certificate) as (stream, peer):
        first, _, _ = stamped(stream, peer)
        looked_ns = first.timestamp_ns
        for _ in range(20):
            came: list[SocketRead] = []
            peer.order(lambda sock: sock.sendall(b"x"))
            assert stream.receive_until(
                far_ns(),
                lambda read: came.append(read) or True,  # noqa: B023
                polled=True,
            )
            sent_ns, _, _ = peer.report()
            (read,) = came
            assert read.data == b"x"
            assert looked_ns <= read.empty_ns <= read.timestamp_ns
            assert sent_ns <= read.timestamp_ns <= monotonic_ns()
            looked_ns = read.empty_ns
        poller = Poller.of_hub()
        assert poller is not None
        assert poller.count == 1
    assert not poller.count
    assert poller.due_ns == NEVER_NS


@LINUX
def test_a_listener_without_an_open_reply_is_not_polled(linked: Linked) -> None:
    poller = Poller.of_hub()
    assert poller is not None
    stream, peer = linked
    while not poller.count:  # a deadline in the past starts no polling
        # The only data it may receive are TLS messages that follow the handshake.
        stream.receive_until(monotonic_ns() + MS, lambda read: True, polled=True)
    assert poller.count == 1
    came: list[bytes] = []
    peer.order(lambda sock: sock.sendall(b"x"))
    while b"".join(came) != b"x":
        stream.receive_until(far_ns(), lambda read: came.append(read.data) or True)
    assert not poller.count
    peer.report()


@LINUX
def test_a_child_process_has_its_own_poller(monkeypatch: pytest.MonkeyPatch) -> None:
    """The child inherits the hub of its parent, as it does after a fork."""
    found: list[Poller] = []

    def fork() -> None:
        found.extend([Poller.of_hub(), Poller.of_hub()])
        monkeypatch.setattr("os.getpid", lambda: -1)
        found.extend([Poller.of_hub(), Poller.of_hub()])

    own_hub = threading.Thread(target=fork)  # the hub of the other tests must keep its objects
    own_hub.start()
    own_hub.join()

    parents, again, of_the_child, same = found
    assert parents is again
    assert of_the_child is not parents
    assert same is of_the_child


@pytest.mark.parametrize("comes", [False, True], ids=["by the time", "by a read"])
def test_a_session_that_is_woken_first_checks_the_other_sockets(
    plain: Linked, monkeypatch: pytest.MonkeyPatch, reader: str, comes: bool
) -> None:
    """Hundreds of sessions may be woken, one after another, before the loop polls again."""
    stream, peer = plain
    if reader == "io_uring":
        pytest.skip("the ring looks at all sockets")
    done: list[str] = []
    monkeypatch.setattr(LoopMonitor.of_hub(), "check_if_due", lambda: done.append("check"))
    if comes:
        peer.send(b"x")
    until_ns = far_ns() if comes else monotonic_ns() + MS
    assert stream.receive_until(until_ns, lambda read: bool(done.append("read") or True)) is comes

    assert done == (["check", "read", "check"] if comes else ["check"])


def test_listening_until_a_past_instant_returns_all_data_that_arrived_before_it(
    linked: Linked,
) -> None:
    stream, peer = linked
    stamped(stream, peer)
    peer.send(b"x")
    passed_ns = wait_until_there(stream)
    came: list[bytes] = []
    while stream.receive_until(passed_ns, lambda read: came.append(read.data) or True):
        pass

    assert b"".join(came) == b"x"
    assert stream.watermark_ns >= passed_ns


@needs_compiler
@LINUX
@KINDS
@pytest.mark.parametrize("keeps_texts", [False, True], ids=["lengths", "texts"])
def test_deltas_over_a_real_connection_are_matched_and_other_messages_are_passed_on(
    tls: bool, keeps_texts: bool, certificate: Certificate
) -> None:
    known = delta(GA, "audio", "r1")
    (event,) = GA.decode(known)
    reply = Reply()
    came: list[bytes] = []
    with echoing(tls, certificate) as transport:
        transport.add_template(ReceivedMessage(known, Arrival(0), 0), event)
        transport.keeps_texts = keeps_texts
        sent = 0
        # the kernel enables timestamps with a delay
        while sent < 40 or (not reply.matched and sent < 2_000):
            assert transport.send(known, stamped=True) is not None
            sent += 1
            transport.receive_until(
                monotonic_ns() + MS, lambda message: came.append(message.data) or True, reply
            )
        if keeps_texts:  # then each delta is passed on at once, and its listener may wake
            # the last echoes may be on their way
            while came.count(known) + len(reply.matched) < sent:
                transport.receive_until(
                    monotonic_ns() + MS, lambda message: came.append(message.data) or True, reply
                )
            reply.wakes, matched = True, len(reply.matched)
            assert transport.send(known) is not None
            sent += 1
            transport.receive_until(
                far_ns(), lambda message: bool(came.append(message.data)), reply
            )
            assert len(reply.matched) == matched + 1
        assert transport.send(b"{}") is not None
        while b"{}" not in came:
            transport.receive_until(
                far_ns(), lambda message: came.append(message.data) or True, reply
            )
        transport.close()

    assert came.count(known) + len(reply.matched) == sent
    assert {(one.payload_bytes, one.data) for one in reply.matched} == {
        (event.payload_bytes, known if keeps_texts else b"")
    }
    assert all(before.at_ns <= after.at_ns for before, after in itertools.pairwise(reply.matched))


def found_when_the_wait_ends(linked: Linked, take: Callable[[SocketRead], bool]) -> bool:
    """Listen while the loop is blocked until after the deadline.

    Return whether the data are found in the iteration of the loop that ends the wait.
    """
    stream, peer = linked
    until_ns = monotonic_ns() + 5 * MS

    def hold_up() -> None:
        peer.send(b"x")
        while wait_until_there(stream) <= until_ns:
            pass

    blocked = gevent.spawn(hold_up)
    try:
        return stream.receive_until(until_ns, take)
    finally:
        blocked.get()


def test_an_error_raised_while_taking_a_read_as_the_wait_ends_is_propagated(linked: Linked) -> None:
    def refuse(read: SocketRead) -> bool:
        raise ValueError("no room")

    with pytest.raises(ValueError, match="no room"):
        found_when_the_wait_ends(linked, refuse)


def test_an_error_raised_while_taking_a_read_is_propagated_to_the_listener(linked: Linked) -> None:
    def refuse(read: SocketRead) -> bool:
        raise ValueError("no room")

    stream, peer = linked
    peer.order(lambda sock: sock.sendall(b"x"))
    with pytest.raises(ValueError, match="no room"):
        stream.receive_until(far_ns(), refuse)
    peer.report()


class Pacing:
    """A paced sender. It sends a letter every 2 ms, and wakes the listener after the last
    letter.
    """

    plain = None

    def __init__(self, stream: ByteStream, letters: str) -> None:
        self._stream, self._left = stream, list(letters)
        self.due_ns: int | None = monotonic_ns()
        self.calls = 0

    def send_due(self) -> bool:
        self.calls += 1
        assert self.due_ns is not None
        assert monotonic_ns() >= self.due_ns
        self.due_ns += 2 * MS
        assert self._stream.try_write(self._left.pop(0).encode()) is not None
        return not self._left


def test_due_data_are_sent_while_a_listener_waits(linked: Linked) -> None:
    stream, peer = linked
    pacing = Pacing(stream, "abcdefgh")
    peer.order(lambda sock: b"".join(iter(lambda: sock.recv(1), b"h")))

    assert stream.receive_until(far_ns(), lambda read: False, pacing)
    assert pacing.calls == 8
    assert peer.report()[2] == b"abcdefg"
    assert not stream.receive_until(monotonic_ns() + MS, lambda read: False)


@KINDS
def test_a_closed_connection_leaves_no_reference_cycles(
    tls: bool, certificate: Certificate
) -> None:
    gc.disable()
    try:
        with echoing(tls, certificate) as transport:
            transport.send(b"{}")
            pacing = Pacing(transport._stream, "")
            pacing.due_ns = far_ns()
            transport.receive_until(far_ns(), lambda message: True, Reply(), pacing)
            gone = [weakref.ref(one) for one in (transport, transport._stream, pacing)]
            transport.close()
            del transport, pacing
            assert [one() for one in gone] == [None, None, None]
    finally:
        gc.enable()


def test_an_error_raised_while_sending_is_propagated_to_the_listener(linked: Linked) -> None:
    stream, _ = linked
    pacing = Pacing(stream, "")
    with pytest.raises(IndexError):
        stream.receive_until(far_ns(), lambda read: False, pacing)


@KINDS
@pytest.mark.parametrize("between", [b"", b"another write in between"])
def test_data_that_a_peer_does_not_accept_at_once_are_finished_in_order(
    tls: bool, between: bytes, certificate: Certificate
) -> None:
    with connected(tls, certificate) as (stream, peer):
        offered, before_ns = 0, monotonic_ns()
        while stream.try_write(b"%06d" % offered * 10_000) is not None:
            offered += 1
        size = (offered + 1) * 60_000 + len(between)
        peer.order(lambda sock: _received(sock, size))
        if between:
            stream.write(between)
        handed = stream.flush()
        came = peer.report()[2]

        assert (
            came == b"".join(b"%06d" % number * 10_000 for number in range(offered + 1)) + between
        )
        assert before_ns <= handed.at_ns <= handed.at_ns + handed.width_ns <= monotonic_ns()


def _reset(sock: Any) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
    sock.close()


def _received(sock: Any, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += sock.recv(1 << 20)
    return data


@KINDS
def test_data_are_received_while_a_write_waits_for_a_peer_that_only_sends(
    tls: bool, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ends write more bytes than the kernel buffers can hold.

    If no end read data while it writes, both ends would wait forever.
    """
    monkeypatch.setattr(tcp, "SEND_LIMIT_NS", GUARD_S * 1_000_000_000)
    sent = bytes(range(256)) * 8_000
    with connected(tls, certificate) as (stream, peer):
        first, _, _ = stamped(stream, peer)

        def speak_first(sock: Any) -> bytes:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
            sock.sendall(sent)
            return _received(sock, len(sent))

        _tcp_of(stream)._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
        peer.order(speak_first)
        handed = stream.write(sent)
        written_ns = monotonic_ns()
        assert stream.watermark_ns < written_ns
        came, reads = read_all(stream, len(sent))
        spoken_ns, _, received = peer.report()

    assert (came, received) == (sent, sent)
    assert handed.at_ns <= written_ns
    assert (
        spoken_ns - MAX_CLOCK_GAP_NS <= reads[0].timestamp_ns <= written_ns
    )  # not the instant at which it was delivered
    assert reads[0].empty_ns >= first.empty_ns
    for before, after in itertools.pairwise(reads):
        assert before.timestamp_ns <= after.timestamp_ns + MAX_CLOCK_GAP_NS


@pytest.mark.parametrize("passes", ["the first", "all"])
def test_data_received_while_a_write_waited_are_passed_on_first(plain: Linked, passes: str) -> None:
    stream, peer = plain
    assert isinstance(stream, TcpStream)
    for word in (b"a", b"b"):
        peer.send(word)
        wait_until_there(stream)
        stream._hold(None)
    peer.send(b"c")
    wait_until_there(stream)
    held_ns = [read.empty_ns for read in stream._held]
    came: list[bytes] = []

    assert stream.watermark_ns == held_ns[0]
    assert stream.read(held_ns[0]) is None
    while len(came) < 3:
        assert stream.receive_until(
            far_ns(), lambda read: came.append(read.data) or passes == "the first" or len(came) == 3
        )
    assert came == [b"a", b"b", b"c"]
    assert (len(stream._held), stream._held_bytes) == (0, 0)


def test_held_data_are_passed_on_only_up_to_the_given_instant(plain: Linked) -> None:
    stream, peer = plain
    assert isinstance(stream, TcpStream)
    for word in (b"a", b"b"):
        peer.send(word)
        wait_until_there(stream)
        stream._hold(None)
    _, until_ns = (read.empty_ns for read in stream._held)
    came: list[bytes] = []

    assert not stream.receive_until(until_ns, lambda read: bool(came.append(read.data)))
    assert came == [b"a"]
    assert stream.watermark_ns >= until_ns


def test_the_data_held_while_a_write_waits_are_limited(
    plain: Linked, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, peer = plain
    assert isinstance(stream, TcpStream)
    monkeypatch.setattr(tcp, "MAX_HELD_BYTES", 100_000)
    stopped = threading.Event()

    def flood(sock: Any) -> None:
        sock.settimeout(0.01)
        while not stopped.is_set():
            with suppress(TimeoutError):
                sock.send(bytes(65_536))

    peer.order(flood)
    with pytest.raises(TimeoutError):
        stream.write(TOO_MUCH, until_ns=monotonic_ns() + 200 * MS)
    stopped.set()
    peer.report()

    assert stream._held_bytes < 100_000 + READ_BYTES


def test_data_that_a_peer_read_while_this_process_was_suspended_count(
    plain: Linked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each wait ends at its timeout, because this process is suspended until the peer has read
    the data.
    """
    stream, peer = plain
    waits = 0

    def oversleep(kind: int, until_ns: int) -> bool:
        nonlocal waits
        waits += 1
        assert select.select([], [_tcp_of(stream)._sock.fileno()], [], GUARD_S)[1]
        return False

    monkeypatch.setattr(stream, "_wait", oversleep)
    peer.order(lambda sock: len(_received(sock, len(TOO_MUCH))))
    stream.write(TOO_MUCH)

    assert peer.report()[2] == len(TOO_MUCH)
    assert waits


def test_a_tls_error_is_named_in_the_close_reason(certificate: Certificate) -> None:
    with connected_websocket(True, certificate) as (transport, peer):
        # not a record of this session
        peer.do(lambda sock: os.write(sock.fileno(), b"\x17\x03\x03\x00\x20" + bytes(32)))
        while transport.closed is None:
            transport.receive_until(far_ns(), lambda message: True)

    assert (transport.closed.code, transport.closed.cause) == (1006, "")
    # the latter by OpenSSL 3.5
    named = ("TLS: decryption failed or bad record mac", "TLS: record layer failure")
    assert transport.closed.reason in named


@KINDS
def test_close_waits_at_most_for_the_goodbye_limit(
    tls: bool, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp, "SEND_LIMIT_NS", NEVER_NS // 2)
    monkeypatch.setattr(websocket, "GOODBYE_NS", MS)
    with connected_websocket(tls, certificate) as (transport, _), gevent.Timeout(GUARD_S):
        assert transport.try_send(TOO_MUCH) is None
        transport.close()

    assert transport.closed is not None


def test_data_offered_to_a_closed_peer_fail_when_they_are_finished(linked: Linked) -> None:
    stream, peer = linked
    peer.do(_reset)
    while stream.try_write(b"hello") is not None:
        pass
    with pytest.raises(OSError, match=r"reset|Broken"):
        stream.flush()
