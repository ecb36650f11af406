"""The findings of the doctor about the media of a telephone call."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from bench.base.clock import Arrival
from bench.base.units import NS_PER_MS, NS_PER_S
from bench.doctor.service_checks import round_trip
from bench.protocols.rtp.rtp import RtpPacket, build_packet
from bench.protocols.sip.call_record import CallFacts
from bench.transport.sip.checks import PacketProbe, check_call, check_media
from bench.wire.addresses import HostPort
from bench.wire.connection import RtpMeasured

PUBLIC, PRIVATE, RELAY = "198.51.100.7", "10.0.0.5", "203.0.113.9"
FRAME_NS = 20 * NS_PER_MS
CALL_S = 30
GOOD = RtpMeasured(1_000, 2, 3, 4 * NS_PER_MS, 1_000, 900, 1, 2 * NS_PER_MS)


@pytest.fixture(autouse=True)
def _documentation_addresses_are_public(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the addresses of PRIVATE are private. The addresses for documentation are public in
    these tests.
    """
    monkeypatch.setattr("bench.transport.sip.checks._is_private", lambda host: host == PRIVATE)


def facts(media: str = PUBLIC, **changes: Any) -> CallFacts:
    return CallFacts("PCMU", False, True, False, HostPort(media, 4_000), PUBLIC)._replace(**changes)


def heard(
    *sources: str,
    drift_ppm: float = 0,
    jitter_ms: float = 0.1,
    seconds: float = CALL_S,
    port: int = 4_000,
) -> PacketProbe:
    """Return a probe with packets of 20 ms. The sender's clock is slower by `drift_ppm`. The
    sources take turns.
    """
    probe, random = PacketProbe(), np.random.default_rng(1)
    for number in range(int(seconds * NS_PER_S) // FRAME_NS if sources else 0):
        packet = RtpPacket(
            0, number % 65_536, (number * 160 + 2**32 - 8_000) % 2**32, 7, bytes(160), marker=False
        )
        delay_ns = number * FRAME_NS * drift_ppm / 1e6 + random.exponential(jitter_ms * NS_PER_MS)
        source = sources[number % len(sources)]
        probe.add(build_packet(*packet), (source, port), Arrival(number * FRAME_NS + int(delay_ns)))
    return probe


def results(
    probe: PacketProbe, call: CallFacts | None = None, packets: RtpMeasured = GOOD
) -> dict[str, tuple[str, str, str]]:
    found = check_media(call or facts(), packets, probe)
    return {finding.name: (finding.result, finding.message, finding.remedy) for finding in found}


def test_a_call_without_problems_passes_each_check() -> None:
    found = results(heard(PUBLIC))

    assert {result for result, _, _ in found.values()} == {"pass"}
    assert found["packets"][1] == "5 of 1,000 missing or late, jitter 4.0 ms"
    assert found["packets at agent"][1] == "1 of 900 missing, jitter 2.0 ms, by RTCP"


@pytest.mark.parametrize(
    ("media", "source", "port", "result", "message", "remedy"),
    [
        (PUBLIC, "", 4_000, "fail", "no RTP packet arrived", "a firewall or NAT"),
        (PRIVATE, "", 4_000, "fail", "which is a private address", "external_media_address"),
        (
            PRIVATE,
            PUBLIC,
            4_000,
            "warning",
            f"the private address {PRIVATE} port 4000",
            "external_media_address",
        ),
        (
            PUBLIC,
            RELAY,
            4_000,
            "warning",
            f"RTP arrives from {RELAY} port 4000",
            "behind NAT or a media relay",
        ),
        (
            PUBLIC,
            PUBLIC,
            4_002,
            "warning",
            f"RTP arrives from {PUBLIC} port 4002",
            "behind NAT or a media relay",
        ),
        ("media.example.com", RELAY, 4_000, "pass", "", ""),
    ],
    ids=[
        "nothing",
        "nothing from a private address",
        "private",
        "another address",
        "another port",
        "a name",
    ],
)
def test_the_source_of_the_packets_is_compared_with_the_sdp(
    media: str, source: str, port: int, result: str, message: str, remedy: str
) -> None:
    found = results(heard(*filter(None, [source]), port=port), facts(media))["media"]

    assert found[0] == result
    assert message in found[1]
    assert remedy in found[2]


def test_packets_from_several_addresses_are_a_warning() -> None:
    found = results(heard(PUBLIC, PUBLIC, RELAY))["media"]

    assert (found[0], found[1]) == (
        "warning",
        f"RTP arrives from 2 addresses, mainly from {PUBLIC} port 4000",
    )


def test_without_packets_the_report_of_the_agent_is_still_checked() -> None:
    found = results(heard())

    assert {name: result for name, (result, _, _) in found.items()} == {
        "media": "fail",
        "packets": "skipped",
        "packets at agent": "pass",
        "media clock": "skipped",
    }


@pytest.mark.parametrize(
    ("changes", "result", "message"),
    [
        ({"min_rtt_ns": 3 * NS_PER_MS}, "pass", "minimum 3.00 ms to the agent's RTP"),
        ({}, "skipped", "unknown: no RTCP report of the agent has what it needs (LSR, DLSR)"),
        (
            {"peer_expected": None},
            "skipped",
            "unknown: the agent has sent no RTCP report about the caller's packets",
        ),
    ],
)
def test_an_unknown_round_trip_has_its_reason(
    changes: dict[str, Any], result: str, message: str
) -> None:
    found = round_trip(msgspec.structs.replace(GOOD, **changes))

    assert (found.result, found.message) == (result, message)


@pytest.mark.parametrize("drift_ppm", [-150, 0, 150])
def test_the_drift_of_the_agent_s_clock_is_within_its_bound(drift_ppm: float) -> None:
    drift = heard(PUBLIC, drift_ppm=drift_ppm).drift_ppm(8_000)
    assert drift is not None

    ppm, bound_ppm = drift
    assert abs(ppm - drift_ppm) <= bound_ppm < 50
    assert results(heard(PUBLIC, drift_ppm=drift_ppm))["media clock"][0] == "pass"


def test_a_clock_that_differs_by_more_than_quartz_clocks_do_is_a_warning() -> None:
    result, message, remedy = results(heard(PUBLIC, drift_ppm=-2_000))["media clock"]

    assert (result, "faster" in message) == ("warning", True)
    assert "sample rate" in remedy


@pytest.mark.parametrize(
    ("probe", "reason"),
    [
        (heard(PUBLIC, seconds=1), "too few packets"),
        (heard(PUBLIC, jitter_ms=40), "a longer call or less jitter"),
    ],
    ids=["too short", "too much jitter"],
)
def test_a_drift_that_the_call_does_not_bound_is_unknown(probe: PacketProbe, reason: str) -> None:
    result, message, _ = results(probe)["media clock"]

    assert (result, message.startswith("unknown: ")) == ("skipped", True)
    assert reason in message


@pytest.mark.parametrize(
    ("changes", "name", "result", "remedy"),
    [
        ({"lost": 20}, "packets", "warning", "check the network"),
        ({"jitter_ns": 31 * NS_PER_MS}, "packets", "warning", "check the network"),
        ({"peer_lost": 100}, "packets at agent", "warning", "check the network"),
        ({"peer_lost": 900}, "packets at agent", "warning", "the agent may not hear its caller"),
        ({"peer_expected": None, "peer_lost": None}, "packets at agent", "skipped", ""),
    ],
)
def test_packets_that_callers_miss_are_a_warning(
    changes: dict[str, Any], name: str, result: str, remedy: str
) -> None:
    found = results(heard(PUBLIC), packets=msgspec.structs.replace(GOOD, **changes))[name]

    assert found[0] == result
    assert found[2].startswith(remedy)


def test_a_stream_whose_timestamps_stand_still_has_no_known_drift() -> None:
    probe = PacketProbe()
    for number in range(500):
        packet = RtpPacket(0, number, 0, 7, bytes(160), marker=False)
        probe.add(build_packet(*packet), (PUBLIC, 4_000), Arrival(number * FRAME_NS))

    assert probe.drift_ppm(8_000) is None


def test_pauses_that_the_timestamps_do_not_count_are_a_warning_and_no_drift() -> None:
    probe = PacketProbe()
    for number in range(600):
        packet = RtpPacket(0, number, number * 160, 7, bytes(160), marker=False)
        probe.add(
            build_packet(*packet),
            (PUBLIC, 4_000),
            Arrival(number * FRAME_NS + number // 150 * 3 * NS_PER_S),
        )
    found = results(probe, packets=msgspec.structs.replace(GOOD, uncounted_pauses=3))

    assert found["pauses"][:2] == (
        "warning",
        "its RTP stopped 3 × for longer than its timestamps say",
    )
    assert found["media clock"][0] == "pass"
    assert all("Wi-Fi" not in remedy for _, _, remedy in found.values())


@pytest.mark.parametrize(("ssrcs", "result"), [(1, "warning"), (2, "pass")])
def test_a_stream_that_began_again_with_the_same_source_is_a_warning(
    ssrcs: int, result: str
) -> None:
    probe = PacketProbe()
    for number in range(300):
        packet = RtpPacket(
            0, number % 150, number % 150 * 160, 7 + number // 150 % ssrcs, bytes(160), marker=False
        )
        probe.add(
            build_packet(*packet),
            (PUBLIC, 4_000),
            Arrival(number * FRAME_NS + number // 150 * NS_PER_S),
        )

    assert (
        results(probe, packets=msgspec.structs.replace(GOOD, restarts=1))["restarts"][0] == result
    )


def test_what_is_no_rtp_packet_is_no_source() -> None:
    probe = PacketProbe()
    probe.add(b"hello", (RELAY, 1), Arrival(0))

    assert not probe.sources


def test_the_codec_and_the_authentication_are_reported() -> None:
    login, codec = check_call(facts(has_signed_in=True, has_phone_keys=False))
    anonymous, _ = check_call(facts())

    assert "accepted them" in login.message
    assert codec.message.startswith("PCMU, not encrypted, without phone keys")
    assert "without user and password" in anonymous.message


def test_refused_packets_and_hosts_that_only_the_agent_named_are_reported() -> None:
    found = results(
        heard(PUBLIC),
        packets=msgspec.structs.replace(GOOD, sent=600, unsent=400, other_hosts="192.0.2.9 (SIP)"),
    )

    assert found["packets sent"][:2] == (
        "fail",
        "this machine refused 400 of 1,000 packets of the caller",
    )
    assert "no way to the address" in found["packets sent"][2]
    assert found["other hosts"][1] == "only the agent named these hosts: 192.0.2.9 (SIP)"
