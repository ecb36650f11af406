"""Answers of a hostile peer: each is refused with a reason, or what is wrong in it is ignored."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.protocols.webrtc.description import (
    MAX_CANDIDATE_LINES,
    RemotePeer,
    accepted_answer,
    answer_to,
    write_offer,
)
from bench.wire.addresses import HostPort
from tests.attack.cases import unescaped
from tests.transport.webrtc.pair import CALLER, SERVICE, local_peer

LOCAL = local_peer(CALLER)
ANSWER, _ = answer_to(local_peer(SERVICE, is_lite=True), write_offer(LOCAL))
TABLE = Path(__file__).with_name("refused_answers.txt").read_text(encoding="utf-8")
CANDIDATE = rb"a=candidate:[^\r]*\r\n"


def read(pattern: bytes, replacement: bytes) -> RemotePeer:
    changed, count = re.subn(pattern, lambda _: replacement, ANSWER)
    assert count, "the answer has no such line"
    return accepted_answer(LOCAL, changed)


@pytest.mark.parametrize("row", re.findall("^[^#\n].*$", TABLE, re.MULTILINE))
def test_an_answer_without_a_possible_call_is_refused(row: str) -> None:
    pattern, replacement, problem = row.split(" → ")
    with pytest.raises(ValueError, match=problem):
        read(pattern.encode(), unescaped(replacement))


@pytest.mark.parametrize(
    "text",
    [
        "224.0.0.1 9",
        "255.255.255.255 9",
        "0.0.0.0 9",
        ":: 9",
        "ff02::1 9",
        "fe80::1%eth0 9",
        "fe80::1%2 5",
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
