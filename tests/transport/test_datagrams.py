"""The readers of datagrams in C and in Python return the same datagrams, each with its own
arrival.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from types import ModuleType

import pytest

from bench.base.clock import enable_timestamps, monotonic_ns
from bench.protocols.rtp.rtp import build_packet
from bench.transport import _datagrams_interpreted, datagrams
from bench.transport._datagrams_interpreted import HANDFUL
from bench.transport.datagrams import (
    DatagramSocket,
    family_of,
    is_this_machine,
    own_addresses,
    udp_socket,
)
from bench.transport.rtp_track import RtpTrack
from bench.wire.addresses import is_loopback
from tests.transport.media.path import PLAIN

EACH = pytest.mark.parametrize("kind", [datagrams, _datagrams_interpreted], ids=["C", "Python"])
HOSTS = pytest.mark.parametrize("host", ["127.0.0.1", "::1"])


@pytest.fixture
def sockets() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


@EACH
@HOSTS
def test_a_read_returns_all_datagrams_with_their_sources_and_arrivals(
    kind: ModuleType, host: str, sockets: ExitStack
) -> None:
    ours, one, other = (sockets.enter_context(udp_socket(host)) for _ in range(3))
    ours.setblocking(False)
    enable_timestamps(ours)
    reader = kind.DatagramReader(ours)
    assert reader.receive(0) == ([], errno.EAGAIN)
    sent = [(one, b""), (other, b"x" * 60_000), (one, b"last")]
    instants_ns = [monotonic_ns()]
    for sock, data in sent:
        sock.sendto(data, ours.getsockname())
        instants_ns.append(monotonic_ns())
    received, _ = reader.receive(0)

    assert [(data, source) for data, source, _ in received] == [
        (data, sock.getsockname()) for sock, data in sent
    ]
    for place, (_, _, (at_ns, uncertainty_ns, is_kernel)) in enumerate(received):
        if is_kernel:
            assert instants_ns[place] - 1_000 <= at_ns <= instants_ns[place + 1] + 1_000
        assert is_kernel is (uncertainty_ns == 0)


@EACH
def test_a_datagram_without_a_timestamp_of_the_kernel_may_have_arrived_since_the_socket_was_empty(
    kind: ModuleType, sockets: ExitStack
) -> None:
    ours, peer = (sockets.enter_context(udp_socket("127.0.0.1")) for _ in range(2))
    ours.setblocking(False)
    reader, empty_ns = kind.DatagramReader(ours), monotonic_ns()
    peer.sendto(b"x", ours.getsockname())
    ((_, _, (at_ns, uncertainty_ns, is_kernel)),), _ = reader.receive(empty_ns)

    assert (at_ns - uncertainty_ns, is_kernel) == (empty_ns, False)


@HOSTS
def test_a_socket_returns_a_limited_number_of_datagrams_at_once(host: str) -> None:
    ours = DatagramSocket(udp_socket(host))
    with socket.socket(family_of(host), socket.SOCK_DGRAM) as peer:
        for number in range(HANDFUL + 2):
            peer.sendto(b"%d" % number, ours.address)
    numbers = [[int(data) for data, _, _ in ours.receive()] for _ in range(3)]
    ours.close()

    assert numbers == [list(range(HANDFUL)), [HANDFUL, HANDFUL + 1], []]


@EACH
def test_a_read_leaves_the_datagrams_beyond_its_limit_in_the_socket(
    kind: ModuleType, sockets: ExitStack
) -> None:
    ours, peer = (sockets.enter_context(udp_socket("127.0.0.1")) for _ in range(2))
    ours.setblocking(False)
    reader = kind.DatagramReader(ours)
    for number in range(3):
        peer.sendto(b"%d" % number, ours.getsockname())
    numbers = [[int(data) for data, _, _ in reader.receive(0, most)[0]] for most in (1, 2, 1)]

    assert numbers == [[0], [1, 2], []]


@EACH
@HOSTS
def test_a_datagram_is_sent_to_its_address_which_may_change_with_each_one(
    kind: ModuleType, host: str, sockets: ExitStack
) -> None:
    ours, one, other = (sockets.enter_context(udp_socket(host)) for _ in range(3))
    writer = kind.DatagramWriter(ours)
    for sock in (one, other, one, one):
        for address in (sock.getsockname(), (host, sock.getsockname()[1])):
            before_ns = monotonic_ns()
            at_ns, width_ns, ticket = writer.send(b"data", address)
            assert before_ns <= at_ns <= at_ns + width_ns <= monotonic_ns()
            assert ticket == 0
            assert sock.recvfrom(100) == (b"data", ours.getsockname())


@EACH
def test_a_datagram_that_the_kernel_refuses_has_the_number_of_the_error(
    kind: ModuleType, sockets: ExitStack
) -> None:
    ours = sockets.enter_context(udp_socket("127.0.0.1"))
    writer = kind.DatagramWriter(ours)

    assert writer.send(b"x" * 65_535, ("127.0.0.1", 9)) == errno.EMSGSIZE
    assert writer.send(b"x", ("127.0.0.1", 9)) != errno.EMSGSIZE
    assert isinstance(writer.send(b"x", ("not an address", 9)), int)


@HOSTS
def test_datagrams_that_this_process_did_not_read_in_time_are_counted(
    host: str, sockets: ExitStack
) -> None:
    raw, peer = (sockets.enter_context(udp_socket(host)) for _ in range(2))
    ours = DatagramSocket(raw)
    assert ours.dropped == 0
    sent = fill(raw, peer)

    assert len(ours.receive()) + (ours.dropped or 0) == sent
    assert ours.dropped


def test_packets_that_this_machine_dropped_are_no_loss_of_the_network() -> None:
    track = RtpTrack("127.0.0.1", range(1 << 14, 1 << 15))
    try:
        with udp_socket("127.0.0.1") as peer:
            track.use(replace(PLAIN, address="127.0.0.1", port=peer.getsockname()[1]), 0)
            packets = [
                build_packet(0, number, 160 * number, 7, b"\xd5" * 160) for number in range(80)
            ]
            track.rtp._raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            for packet in packets[:60]:
                peer.sendto(packet, track.rtp.address)
            track.read_audio()
            for packet in packets[63:]:  # three are lost on the way
                peer.sendto(packet, track.rtp.address)
                track.read_audio()
            found = track.measured("")
    finally:
        track.close()

    assert found is not None
    assert found.dropped
    assert (found.expected, found.lost) == (80, 3)


def fill(raw: socket.socket, peer: socket.socket) -> int:
    """Send more datagrams than a socket with the smallest buffer holds. Return their number."""
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    for number in range(HANDFUL):
        peer.sendto(b"%d" % number, raw.getsockname())
    return HANDFUL


FURTHER = [host for host in own_addresses(socket.AF_INET) if not is_loopback(host)]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost", *FURTHER])
def test_all_addresses_of_this_machine_are_of_one_host(host: str) -> None:
    assert is_this_machine(host)


@pytest.mark.parametrize(
    "host",
    [
        "192.0.2.99",
        "255.255.255.255",
        "224.0.0.1",
        "0.0.0.0",
        "::",
        "2001:db8::1",
        "fe80::1%1",
        "pbx.example",
        "",
    ],
)
def test_a_host_to_which_no_socket_is_bound_is_another_one(host: str) -> None:
    """A socket can be bound to some of them, but none is the address of one machine."""
    assert not is_this_machine(host)


def test_own_addresses_are_those_of_this_machine() -> None:
    for family in (socket.AF_INET, socket.AF_INET6):
        hosts = own_addresses(family)
        assert all(map(is_this_machine, hosts))
        assert len(set(hosts)) == len(hosts)
