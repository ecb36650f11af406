"""The impairment of a track's packets, with sockets on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any, cast

import pytest
from gevent.event import Event

from bench.base.clock import Arrival, monotonic_ns
from bench.base.units import NS_PER_MS
from bench.transport.datagrams import DatagramSocket, udp_socket
from bench.transport.event_loop import CallbackScheduler, Listener
from bench.transport.impaired import impaired
from bench.transport.impairment.line import NetworkCounts, PacketLine
from bench.transport.impairment.profiles import NetworkProfile
from bench.transport.rtp_track import RtpTrack, TrackTransport
from bench.wire.connection import SendReceipt

PORTS = range(40_000, 60_000, 2)
NETWORK = NetworkProfile(loss=0.3, burst=2, jitter_ms=30)
PACKETS = 200


@pytest.fixture
def track() -> Iterator[RtpTrack]:
    track = RtpTrack("127.0.0.1", PORTS)
    yield track
    track.close()


@pytest.fixture
def peer() -> Iterator[DatagramSocket]:
    socket = DatagramSocket(udp_socket("127.0.0.1"))
    yield socket
    socket.close()


def sent(track: RtpTrack, peer: DatagramSocket, lags_ns: list[int | None]) -> list[SendReceipt]:
    """Send packets whose content is their number over an impaired network."""
    impaired(
        cast(Any, TrackTransport(track)),
        NETWORK,
        "7",
        NetworkCounts(),
        lambda _, __, lags: lags_ns.extend(lags),
    )
    return [
        track.send_packet(track.rtp, str(number).encode(), peer.address)
        for number in range(PACKETS)
    ]


def received(peer: DatagramSocket, number: int) -> dict[int, Arrival]:
    """Wait for a number of packets."""
    packets: dict[int, Arrival] = {}

    def on_readable(sock: DatagramSocket) -> bool:
        packets.update((int(data), arrival) for data, _, arrival in sock.receive())
        return len(packets) >= number

    listener = Listener((peer,))
    try:
        listener.listen(
            monotonic_ns() + 60_000 * NS_PER_MS, on_readable, lambda: 1 << 62, lambda: False
        )
    finally:
        listener.close()
    return packets


def test_the_peer_gets_the_packets_that_the_line_keeps_each_after_its_delay(
    track: RtpTrack, peer: DatagramSocket
) -> None:
    lags_ns: list[int | None] = []
    receipts = sent(track, peer, lags_ns)
    line = PacketLine(NETWORK, Random("7").random, NetworkCounts())
    delays_ns = [line.delay_ns() for _ in range(PACKETS)]
    kept = {number: delay_ns for number, delay_ns in enumerate(delays_ns) if delay_ns is not None}
    packets = received(peer, len(kept))

    assert [receipt.delay_ns for receipt in receipts] == delays_ns
    assert packets.keys() == kept.keys()
    assert 0 < len(kept) < PACKETS
    for number, arrival in packets.items():
        assert arrival.at_ns >= receipts[number].handed.at_ns + kept[number]
    assert len(lags_ns) == sum(delay_ns > 0 for delay_ns in kept.values())
    assert all(lag_ns is not None and lag_ns >= 0 for lag_ns in lags_ns)
    assert not any(receipt.unsent for receipt in receipts)


def test_packets_on_the_line_are_gone_when_the_call_is_over(
    track: RtpTrack, peer: DatagramSocket
) -> None:
    lags_ns: list[int | None] = []
    sent(track, peer, lags_ns)
    track.close()
    before, over = len(lags_ns), Event()
    CallbackScheduler.of_hub().at(monotonic_ns() + 31 * NS_PER_MS, over.set)  # after all others
    assert over.wait(60)

    assert len(lags_ns) == before
    assert track.rtp.unsent == 0
