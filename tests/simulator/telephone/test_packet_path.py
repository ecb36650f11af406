"""The simulated network path drops, delays, reorders and duplicates the packets of a call, as
its settings state.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from bench.base.units import NEVER_NS, NS_PER_MS
from rtbench_simulator.delay import LogNormal
from rtbench_simulator.profile import NETWORK_PATHS, PacketPathSettings
from rtbench_simulator.server_events import OutgoingEvent
from rtbench_simulator.services.telephone.call_faults import PacketPath, PathPacket

FRAME_NS = 20 * NS_PER_MS
PACKETS = 2_000
START_NS = 1_000_000_000


def path(seed: int = 1, dropped: Counter[str] | None = None, **settings: Any) -> PacketPath:
    sent_rng, received_rng = np.random.default_rng(seed).spawn(2)
    counts = Counter[str]() if dropped is None else dropped
    return PacketPath(PacketPathSettings(**settings), sent_rng, received_rng, counts)


def added(on: PacketPath, packets: int = PACKETS) -> list[PathPacket]:
    events = (
        OutgoingEvent(START_NS + number * FRAME_NS, "audio", b"") for number in range(packets)
    )
    return [on.add(event, str(number).encode()) for number, event in enumerate(events)]


def departed(on: PacketPath) -> list[int]:
    """Return the numbers of the packets that leave, in their order."""
    return [int(packet.data) for packet in on.pop(NEVER_NS)]


def test_a_packet_leaves_when_its_delay_has_passed() -> None:
    late = path(jitter_ms=20)
    (packet,) = added(late, 1)

    assert packet.delay_ns > 0
    assert late.next_ns == packet.departure_ns
    assert list(late.pop(packet.departure_ns - 1)) == []
    assert list(late.pop(packet.departure_ns)) == [packet]
    assert late.next_ns == NEVER_NS


def test_a_dropped_packet_is_counted_and_never_leaves() -> None:
    dropped = Counter[str]()
    lossy = path(loss=0.05, dropped=dropped)
    lost = {
        number for number, packet in enumerate(added(lossy)) if packet.facts == {"dropped": True}
    }

    assert 60 < len(lost) < 140
    assert dropped == {"sent": len(lost)}
    assert departed(lossy) == sorted(set(range(PACKETS)) - lost)


def test_packets_are_dropped_from_the_caller_too() -> None:
    dropped = Counter[str]()
    lossy = path(loss=0.05, dropped=dropped)
    lost = sum(lossy.drops_received() for _ in range(PACKETS))

    assert 60 < lost < 140
    assert dropped == {"received": lost}


def test_a_share_of_the_packets_is_sent_twice() -> None:
    twice = [packet for packet in added(path(duplicate=0.05)) if packet.copies == 2]

    assert 60 < len(twice) < 140
    assert {str(packet.facts) for packet in twice} == {"{'duplicated': True}"}


def test_a_path_is_the_same_with_the_same_seed_and_different_with_another() -> None:
    first, again, other = (
        added(path(seed, loss=0.05, jitter_ms=20, reorder=0.05)) for seed in (1, 1, 2)
    )

    assert first == again
    assert first != other


def test_what_happens_to_a_packet_does_not_depend_on_the_other_settings() -> None:
    alone = [packet.copies for packet in added(path(loss=0.05))]
    together = [packet.copies for packet in added(path(loss=0.05, jitter_ms=50, reorder=0.1))]

    assert alone == together


def test_the_path_of_a_carrier_has_its_measured_jitter_and_loss() -> None:
    """RFC 3550 §6.4.1: the jitter is a running mean of the differences of the delays."""
    carrier, jitters_ms, packets = NETWORK_PATHS["carrier"], [], 1_500
    for seed in range(60):
        sent_rng, received_rng = np.random.default_rng(seed).spawn(2)
        call = PacketPath(carrier, sent_rng, received_rng, Counter())
        delays_ms = [packet.delay_ns / NS_PER_MS for packet in added(call, packets)]
        jitter_ms = 0.0
        for before_ms, delay_ms in pairwise(delays_ms):
            jitter_ms += (abs(delay_ms - before_ms) - jitter_ms) / 16
        jitters_ms.append(jitter_ms)

    assert np.quantile(jitters_ms, [0.5, 0.95]) == pytest.approx([1.94, 2.17], rel=0.1)
    assert carrier.loss == 0.000_01
    assert carrier.set_up_ms == LogNormal(384, 460)
