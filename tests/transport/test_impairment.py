"""The models of a caller's line, in virtual time, and a session whose messages a line delays."""

from __future__ import annotations

import math
from dataclasses import fields
from itertools import groupby, pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.base.errors import UsageError
from bench.base.units import NS_PER_MS, NS_PER_S
from bench.services.registry import DIALECTS
from bench.session.session import Session
from bench.transport.impaired import impaired
from bench.transport.impairment.line import NetworkCounts, PacketLine, StreamLine
from bench.transport.impairment.profiles import (
    KEYS,
    OF_PACKETS,
    OF_STREAMS,
    PROFILES,
    NetworkProfile,
    network_of,
)
from bench.transport.interface import Transport
from tests.helpers import Listening
from tests.memory_transport import TransmitDelays, VirtualClock
from tests.talking import (
    START_NS,
    PatientTransport,
    SessionStart,
    Simulator,
    Timeline,
    build_script,
    quiet_profile,
    speak,
)

GA = DIALECTS["ga"]
PACKETS = 50_000
SEEDS = st.integers(0, 2**32)


def packets(
    network: NetworkProfile, seed: int = 1, number: int = PACKETS
) -> tuple[list[int | None], NetworkCounts]:
    counts = NetworkCounts()
    line = PacketLine(network, Random(seed).random, counts)
    return [line.delay_ns() for _ in range(number)], counts


@pytest.mark.parametrize(
    ("loss", "burst"), [(0.01, None), (0.2, None), (0.01, 1), (0.02, 2), (0.05, 10), (0.5, 3)]
)
def test_losses_have_the_share_and_the_mean_length_that_are_set(
    loss: float, burst: float | None
) -> None:
    delays_ns, counts = packets(
        NetworkProfile(loss=loss, burst=burst, jitter_ms=10), number=round(PACKETS * (burst or 2))
    )
    lengths = [
        len(list(run))
        for is_lost, run in groupby(delay_ns is None for delay_ns in delays_ns)
        if is_lost
    ]

    assert counts.dropped == delays_ns.count(None) == sum(lengths)
    assert sum(lengths) / len(delays_ns) == pytest.approx(loss, rel=0.1)
    assert sum(lengths) / len(lengths) == pytest.approx(burst or 1 / (1 - loss), rel=0.1)


@given(SEEDS, st.floats(0, 0.5), st.floats(1, 1_000), st.floats(0, 1_000))
def test_a_seed_determines_each_packet_and_jitter_changes_no_loss(
    seed: int, loss: float, burst: float, jitter_ms: float
) -> None:
    network = NetworkProfile(loss=loss, burst=burst, jitter_ms=jitter_ms)
    delays_ns, counts = packets(network, seed, 500)

    assert delays_ns == packets(network, seed, 500)[0]
    delayed = [delay_ns for delay_ns in delays_ns if delay_ns]
    assert counts.delayed == len(delayed)
    assert max(delayed, default=0) <= jitter_ms * NS_PER_MS
    without, _ = packets(NetworkProfile(loss=loss, burst=burst), seed, 500)
    assert [each is None for each in without] == [each is None for each in delays_ns]


def test_delays_of_packets_are_even_from_none_to_the_maximum() -> None:
    delays_ns, counts = packets(NetworkProfile(jitter_ms=40))

    known = [delay_ns for delay_ns in delays_ns if delay_ns is not None]
    assert (len(known), counts.dropped, counts.stalls) == (PACKETS, 0, None)
    assert sum(known) / len(known) == pytest.approx(20 * NS_PER_MS, rel=0.02)
    assert max(known) > 39.9 * NS_PER_MS


@st.composite
def streams(draw: st.DrawFn) -> tuple[NetworkProfile, int, list[tuple[int, int]]]:
    """Return a network, a seed, and messages: the time since the last one in ns, and the size in
    bytes.
    """
    network = NetworkProfile(
        stall_ms=draw(st.none() | st.integers(1, 2_000)),
        stall_every_s=draw(st.floats(0.1, 5)),
        rate_kbit=draw(st.none() | st.integers(10, 5_000)),
    )
    steps = st.tuples(st.sampled_from([0, 1, 20 * NS_PER_MS, NS_PER_S]), st.integers(0, 10_000))
    return network, draw(SEEDS), draw(st.lists(steps, min_size=1, max_size=60))


@given(streams())
def test_a_stream_keeps_its_order_and_never_exceeds_its_rate(
    stream: tuple[NetworkProfile, int, list[tuple[int, int]]],
) -> None:
    network, seed, steps = stream

    def departures() -> tuple[list[tuple[int, int, int]], NetworkCounts]:
        counts, now_ns, found = NetworkCounts(), 0, []
        line = StreamLine(network, Random(seed).random, counts, 0)
        for gap_ns, size in steps:
            now_ns += gap_ns
            found.append((now_ns, line.departure_ns(now_ns, size), size))
        return found, counts

    messages, counts = departures()
    assert (messages, counts) == departures()
    assert all(before[1] <= after[1] for before, after in pairwise(messages))
    assert all(now_ns <= left_ns for now_ns, left_ns, _ in messages)
    assert counts.delayed == sum(now_ns < left_ns for now_ns, left_ns, _ in messages)
    assert counts.dropped is None
    if network.rate_kbit is not None:
        for first in range(len(messages)):
            start_ns = messages[first][0]
            bits = 8 * sum(size for _, _, size in messages[first:])
            assert (messages[-1][1] - start_ns) * network.rate_kbit >= (bits - 0.001) * NS_PER_MS
    elif network.stall_ms is None:
        assert all(now_ns == left_ns for now_ns, left_ns, _ in messages)


def test_stalls_have_their_duration_and_their_mean_distance() -> None:
    counts = NetworkCounts()
    line = StreamLine(NetworkProfile(stall_ms=200, stall_every_s=5), Random(3).random, counts, 0)
    step_ns, hours = NS_PER_MS, 2
    delays_ns = [
        line.departure_ns(at_ns, 100) - at_ns
        for at_ns in range(0, hours * 3_600 * NS_PER_S, 10 * step_ns)
    ]
    stalls = [list(run) for is_stalled, run in groupby(delays_ns, bool) if is_stalled]

    assert counts.stalls == pytest.approx(hours * 3_600 / 5.2, rel=0.1)
    assert all(190 * NS_PER_MS < run[0] <= 200 * NS_PER_MS for run in stalls if len(run) == 20)
    assert sum(map(len, stalls)) / len(delays_ns) == pytest.approx(0.2 / 5.2, rel=0.1)


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("in_packets", [False, True])
def test_a_profile_has_only_the_values_for_its_transport(name: str, in_packets: bool) -> None:
    network = network_of(name, in_packets=in_packets)
    others = OF_STREAMS if in_packets else OF_PACKETS

    assert network.name == name
    assert not any(getattr(network, key) for key in others)
    assert any(getattr(network, key) for key in KEYS) is (name != "good")
    assert {field.name for field in fields(network)} == {*KEYS, "name"}


@pytest.mark.parametrize(
    ("own", "in_packets", "problem"),
    [
        (
            {"loss": 0.01},
            False,
            "must not have loss: a WebSocket has only stall_ms, stall_every_s, rate_kbit",
        ),
        (
            {"rate_kbit": 64},
            True,
            "must not have rate_kbit: audio in RTP packets has only loss, burst, jitter_ms",
        ),
        ({"burst": 2}, True, "has burst, which needs loss"),
        ({"stall_ms": 2}, False, "has stall_ms, which needs stall_every_s"),
    ],
)
def test_a_key_without_effect_is_refused(
    own: dict[str, Any], in_packets: bool, problem: str
) -> None:
    with pytest.raises(UsageError, match=problem):
        network_of(NetworkProfile(**own), in_packets=in_packets)


def talk(
    network: NetworkProfile | None, seed: int, transmit: TransmitDelays | None = None
) -> dict[str, Any]:
    """Speak one turn over a network that is impaired, or not if it is None."""
    simulator = Simulator(GA, quiet_profile(), 1)
    transport = PatientTransport(simulator, VirtualClock(START_NS))
    transport.transmit = transmit
    counts, lags_ns = NetworkCounts(), list[int | None]()
    line: Transport = transport
    if network is not None:
        line = impaired(
            transport, network, str(seed), counts, lambda _, __, lags: lags_ns.extend(lags)
        )
    script = build_script(speak(100, 1_950, 150))
    timeline = Timeline(SessionStart(START_NS, 1, script.limits), GA)
    listening = Listening()
    Session(script, line, timeline, listening, lambda: False).run()
    (turn,) = listening.turns
    assert turn.outcome == "ok"
    return {"turn": turn, "sent": transport.sent, "lags_ns": lags_ns, "counts": counts}


@given(SEEDS, st.sampled_from([None, TransmitDelays(2 * NS_PER_MS, 5 * NS_PER_MS)]))
def test_a_delayed_turn_states_its_speech_as_spoken_and_as_it_left(
    seed: int, transmit: TransmitDelays | None
) -> None:
    network = NetworkProfile(stall_ms=700, stall_every_s=0.5, rate_kbit=600)
    clean, delayed = talk(None, seed, transmit), talk(network, seed, transmit)
    spoken, late = clean["turn"].instants, delayed["turn"].instants

    assert [message for _, message in delayed["sent"]] == [message for _, message in clean["sent"]]
    assert "speech_left" not in spoken
    for instant in ("speech_start", "speech_end"):
        assert late[instant] - delayed["turn"].start_ns == spoken[instant] - clean["turn"].start_ns
    opened_ns = delayed["turn"].start_ns - clean["turn"].start_ns
    number = next(n for n, (at_ns, _) in enumerate(clean["sent"]) if at_ns >= spoken["speech_end"])
    delay_ns = delayed["sent"][number][0] - clean["sent"][number][0] - opened_ns
    assert late["speech_left"] - late["speech_end"] == delay_ns > 0
    assert set(delayed["lags_ns"]) <= {0}
    assert delayed["counts"].delayed >= 20


def test_a_good_network_changes_nothing() -> None:
    clean, good = talk(None, 1), talk(PROFILES["good"], 1)

    assert good["sent"] == clean["sent"]
    instants = dict(good["turn"].instants)
    assert instants.pop("speech_left") == instants["speech_end"]
    assert instants == clean["turn"].instants
    assert (good["counts"], good["lags_ns"]) == (NetworkCounts(None, 0, 0), [])


def test_the_rate_of_a_line_is_that_of_its_frames() -> None:
    counts = NetworkCounts()
    line = StreamLine(NetworkProfile(rate_kbit=640), Random(1).random, counts, 0)

    assert line.departure_ns(5, 1_600) == 5 + 20 * NS_PER_MS
    assert line.departure_ns(6, 1_600) == 5 + 40 * NS_PER_MS
    assert math.isclose(line.departure_ns(NS_PER_S, 80), NS_PER_S + NS_PER_MS)
