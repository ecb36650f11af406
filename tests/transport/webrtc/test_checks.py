"""What the doctor reports about the audio of a call over WebRTC."""

from __future__ import annotations

from typing import Any

import pytest

from bench.base.units import NS_PER_MS
from bench.catalogue.causes import in_words
from bench.doctor.diagnosis import Refusal, explain
from bench.target.target_settings import ServiceOptions
from bench.target.targets import resolve_targets
from bench.transport.webrtc.checks import MediaFacts, check_packets, check_path
from bench.wire.addresses import HostPort
from bench.wire.connection import RtpMeasured

OWN, SERVICE, OTHER = (
    HostPort("10.0.0.2", 16_384),
    HostPort("203.0.113.4", 3_478),
    HostPort("10.9.9.9", 9),
)


def facts(*refused: HostPort, mapped: HostPort | None = OWN) -> MediaFacts:
    times = 30 * NS_PER_MS, 60 * NS_PER_MS
    return MediaFacts("PCMU", SERVICE, (SERVICE, *refused), refused, OWN, mapped, *times)


def test_the_path_names_the_address_that_answers_and_a_nat() -> None:
    by_name = {
        each.name: each for each in check_path(facts(mapped=HostPort("198.51.100.7", 40_000)))
    }

    assert {each.result for each in by_name.values()} == {"pass"}
    assert by_name["UDP"].message == (
        "203.0.113.4:3478 answers after 30.0 ms; a NAT maps 10.0.0.2:16384 to 198.51.100.7:40000"
    )
    assert "60.0 ms" in by_name["DTLS"].message
    assert by_name["codec"].message == "PCMU"


def test_candidates_without_packets_are_named_with_the_setting_that_permits_them() -> None:
    first, *_ = check_path(facts(*[OTHER] * 9))

    assert (first.result, first.name) == ("warning", "candidates")
    assert first.message.count("10.9.9.9:9") == 5
    assert "call_hosts" in first.remedy


def packets(expected: int, lost: int = 0, **peer: Any) -> RtpMeasured:
    numbers = {
        "late": 0,
        "jitter_ns": 0,
        "sent": 100,
        "peer_expected": None,
        "peer_lost": None,
        "peer_jitter_ns": None,
    }
    return RtpMeasured(expected=expected, lost=lost, rtt_ns=None, min_rtt_ns=None, **numbers | peer)


@pytest.mark.parametrize(
    ("measured", "received", "at_peer"),
    [
        (packets(100), "pass", "skipped"),
        (packets(0), "fail", "skipped"),
        (packets(100, lost=9), "warning", "skipped"),
        (packets(100, peer_expected=100, peer_lost=100, peer_jitter_ns=0), "pass", "warning"),
        (packets(100, peer_expected=100, peer_lost=0, peer_jitter_ns=0), "pass", "pass"),
    ],
)
def test_audio_in_one_direction_is_found(
    measured: RtpMeasured, received: str, at_peer: str
) -> None:
    findings = list(check_packets(measured))

    assert [each.result for each in findings] == [received, at_peer]
    assert all(each.remedy for each in findings if each.result in ("fail", "warning"))


@pytest.mark.parametrize(
    ("outcome", "remedy"),
    [
        ("timeout:ice", "UDP"),
        ("connect_failed:ice", "UDP"),
        ("timeout:dtls", "UDP"),
        ("connect_failed:dtls", "encryption"),
        ("connect_failed:media", "--codec"),
        ("connect_failed:host", "call_hosts"),
    ],
)
def test_each_step_that_fails_has_a_remedy_of_its_own(outcome: str, remedy: str) -> None:
    options = ServiceOptions(
        url="wss://api.openai.com/v1/realtime?model=m", transport="webrtc", api_key_env=None
    )
    (target,) = resolve_targets({}, options)

    assert remedy in explain(Refusal(outcome, [in_words("")]), target)
