"""Answers of a hostile peer: each is refused with a reason, or what is wrong in it is ignored."""

from __future__ import annotations

import re

import pytest

from bench.protocols.webrtc.description import (
    MAX_CANDIDATE_LINES,
    RemotePeer,
    accepted_answer,
    answer_to,
    write_offer,
)
from bench.wire.addresses import HostPort
from tests.transport.webrtc.pair import CALLER, SERVICE, local_peer

LOCAL = local_peer(CALLER)
ANSWER, _ = answer_to(local_peer(SERVICE, is_lite=True), write_offer(LOCAL))
CANDIDATE = rb"a=candidate:[^\r]*\r\n"


def read(pattern: bytes, replacement: bytes) -> RemotePeer:
    changed, count = re.subn(pattern, lambda _: replacement, ANSWER)
    assert count, "the answer has no such line"
    return accepted_answer(LOCAL, changed)


@pytest.mark.parametrize(
    ("pattern", "replacement", "problem"),
    [
        (rb"(?s)\A.+", b"", "."),
        (rb"(?s)\A.+", b"<html>not what was asked for</html>", "."),
        (rb"(?s)\A.+", b"\x00" * 500, "."),
        (rb"m=audio \d+ \S+", b"m=audio 0 UDP/TLS/RTP/SAVPF", "refuses the audio"),
        (rb"m=audio \d+ \S+", b"m=audio 9 RTP/AVP", "refuses the audio"),
        (rb"m=audio \d+ \S+", b"m=video 9 UDP/TLS/RTP/SAVPF", "refuses the audio"),
        (rb"m=audio \d+ \S+", b"m=audio 9 UDP/TLS/RTP/SAVPF 18 ;", "."),
        (rb"a=ice-ufrag:[^\r]*\r\n", b"", "no valid login"),
        (rb"a=ice-ufrag:[^\r]*\r\n", b"a=ice-ufrag:" + b"u" * 300 + b"\r\n", "no valid login"),
        (rb"a=ice-pwd:[^\r]*\r\n", b"a=ice-pwd:short\r\n", "no valid login"),
        (rb"a=ice-pwd:[^\r]*\r\n", b"a=ice-pwd:" + b" " * 30 + b"\r\n", "no valid login"),
        (rb"a=fingerprint:[^\r]*\r\n", b"", "no DTLS fingerprint"),
        (rb"a=fingerprint:sha-256", b"a=fingerprint:sha-1", "no DTLS fingerprint"),
        (rb"a=fingerprint:[^\r]*\r\n", b"a=fingerprint:sha-256 00:11\r\n", "no DTLS fingerprint"),
        (rb"a=setup:\S+\r\n", b"", "role in DTLS"),
        (rb"a=setup:\S+\r\n", b"a=setup:actpass\r\n", "role in DTLS"),
        (rb"a=setup:\S+\r\n", b"a=setup:holdconn\r\n", "role in DTLS"),
        (rb"a=rtcp-mux\r\n", b"", "another port for RTCP"),
    ],
)
def test_an_answer_without_a_possible_call_is_refused(
    pattern: bytes, replacement: bytes, problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        read(pattern, replacement)


@pytest.mark.parametrize(
    "text",
    [
        "224.0.0.1 9",
        "255.255.255.255 9",
        "0.0.0.0 9",
        ":: 9",
        "ff02::1 9",
        "fe80::1%eth0 9",
        "host.local 9",
        "198.51.100.7 0",
        "198.51.100.7 65536",
        "198.51.100.7 -1",
        "999.1.1.1 9",
        "127.1 9",
        "0x7f.0.0.1 9",
        "2130706433 9",
    ],
)
def test_a_candidate_that_is_no_address_gets_no_packet(text: str) -> None:
    remote = read(CANDIDATE, b"a=candidate:1 1 udp 1 " + text.encode() + b" typ host\r\n")

    assert remote.candidates == ()


@pytest.mark.parametrize(
    "line",
    [
        "a=candidate:1 1 tcp 1 198.51.100.7 443 typ host tcptype passive",
        "a=candidate:1 2 udp 1 198.51.100.7 9 typ host",
        "a=candidate:1 1 udp 99999999999 198.51.100.7 9 typ host",
        "a=candidate:",
    ],
)
def test_a_candidate_that_cannot_carry_the_audio_gets_no_packet(line: str) -> None:
    assert read(CANDIDATE, line.encode() + b"\r\n").candidates == ()


def test_only_the_first_candidates_of_many_are_read() -> None:
    lines = b"".join(
        b"a=candidate:1 1 udp 1 198.51.100.7 %d typ host\r\n" % port for port in range(1, 90)
    )

    candidates = read(CANDIDATE, lines).candidates

    assert len(candidates) <= MAX_CANDIDATE_LINES
    assert candidates[0].address == HostPort("198.51.100.7", 1)
