"""RTCP packets, and the reports of a call."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.base.clock import Arrival
from bench.base.units import NS_PER_MS, NS_PER_S
from bench.protocols.rtp.rtcp import (
    Goodbye,
    Report,
    ReportBlock,
    RtcpSession,
    SenderInfo,
    SourceDescription,
    build_compound,
    parse_compound,
)
from bench.protocols.rtp.rtp import CODECS, RtpReceiver, RtpSender, StreamNumbers
from tests.examples import thorough

WORD = st.integers(0, 0xFFFFFFFF)
BLOCKS = st.builds(
    ReportBlock,
    WORD,
    st.integers(0, 255),
    st.integers(-(1 << 23), (1 << 23) - 1),
    WORD,
    WORD,
    WORD,
    WORD,
)
SENDERS = st.builds(SenderInfo, st.integers(0, (1 << 64) - 1), WORD, WORD, WORD)
REPORTS = st.builds(Report, WORD, st.lists(BLOCKS, max_size=31).map(tuple), st.none() | SENDERS)
SHORT_TEXT = st.text(max_size=40)
OTHERS = (
    REPORTS
    | st.builds(SourceDescription, WORD, SHORT_TEXT)
    | st.builds(Goodbye, st.lists(WORD, max_size=31).map(tuple), SHORT_TEXT)
)
EXAMPLE = build_compound(
    Report(1, (ReportBlock(2, 25, 3, 65_536 + 7, 80, 9, 10),), SenderInfo(1 << 40, 160, 5, 800)),
    SourceDescription(1, "a@b"),
    Goodbye((1,), "over"),
)


@thorough
@given(REPORTS, st.lists(OTHERS, max_size=4))
def test_a_compound_packet_is_read_as_it_was_built(first: Report, others: list) -> None:
    wire = build_compound(first, *others)

    assert len(wire) % 4 == 0
    assert parse_compound(wire) == [
        first,
        *(packet for packet in others if isinstance(packet, Report)),
    ]


def test_a_sender_report_has_the_layout_of_rfc_3550() -> None:
    wire = bytes.fromhex(
        "81c8000c 00000001 83aa7e80 80000000 000000a0 00000005 00000320"
        "00000002 40ffffff 00010007 00000050 7e808000 00010000"
    )

    block = ReportBlock(2, 64, -1, 65_536 + 7, 80, 0x7E808000, 65_536)
    assert parse_compound(wire) == [
        Report(1, (block,), SenderInfo(0x83AA7E8080000000, 160, 5, 800))
    ]
    assert build_compound(Report(1, (block,), SenderInfo(0x83AA7E8080000000, 160, 5, 800))) == wire


def test_descriptions_padding_and_unknown_packets_are_passed_over() -> None:
    description = "82ca0005 00000001 02016e 01026162 00 00000002 01016d 00"
    wire = bytes.fromhex(
        f"80c90001 00000001 {description} 81cc0002 00000001 6e616d65 a1cb0002 00000001 00000004"
    )

    assert parse_compound(wire) == [Report(1)]


@pytest.mark.parametrize(
    "wire",
    [
        "",
        "80c9",
        "40c90001 00000001",  # version 1
        "80c90002 00000001",  # too long
        "81c90001 00000001",  # a block that is missing
        "80c80001 00000001",  # a sender report without its facts
        "81ca0001 00000001",  # no report first
        "a0c90002 00000001 00000004",  # padding in the first packet
        "80c90001 00000001 a1cb0001 00000001 80cb0000",  # padding before the last packet
        "80c90001 00000001 a0cb0001 00000005",  # more padding than content
        "80c90001 00000001 a0cb0000",  # padding of no bytes
        "80c90001 00000001 80",
    ],
)
def test_a_packet_that_is_not_valid_is_refused(wire: str) -> None:
    assert parse_compound(bytes.fromhex(wire)) is None


@thorough
@given(
    st.binary(max_size=80)
    | st.tuples(st.integers(0, len(EXAMPLE) - 1), st.integers(0, 255)).map(
        lambda change: EXAMPLE[: change[0]] + bytes([change[1]]) + EXAMPLE[change[0] + 1 :]
    )
)
def test_random_bytes_raise_no_error(data: bytes) -> None:
    sender, receiver = stream(1), RtpReceiver(8_000, {0})
    session = RtcpSession(sender, receiver, "a@b", 0)
    parse_compound(data)
    session.receive(data, NS_PER_S)

    assert session.bad + session.received == 1


# a call of two members

UTC_NS = 1_700_000_000 * NS_PER_S


def stream(ssrc: int) -> RtpSender:
    return RtpSender(CODECS["PCMU"], 0, StreamNumbers(ssrc, 65_530, 0))


class Member:
    """A member of a call, whose clock starts at another instant."""

    def __init__(self, ssrc: int, clock_ns: int) -> None:
        self.clock_ns = clock_ns
        self.sender, self.receiver = stream(ssrc), RtpReceiver(8_000, {0})
        self.rtcp = RtcpSession(
            self.sender, self.receiver, f"{ssrc}@example.invalid", UTC_NS - clock_ns
        )

    def hear(self, other: Member, frames: int, lost: int = 0, at_ns: int = 0) -> None:
        for number in range(frames):
            data = other.sender.audio(bytes(160))
            if not 0 < number <= lost:
                arrival_ns = at_ns + number * 20 * NS_PER_MS + number % 2 * 4 * NS_PER_MS
                self.receiver.receive(data, Arrival(self.clock_ns + arrival_ns))

    def report(self, at_ns: int, **facts: bool) -> bytes:
        return self.rtcp.report(self.clock_ns + at_ns, self.sender.timestamp, **facts)

    def read(self, data: bytes, at_ns: int) -> None:
        self.rtcp.receive(data, self.clock_ns + at_ns)


def own_report(member: Member, at_ns: int) -> Report:
    reports = parse_compound(member.report(at_ns))
    assert reports is not None
    return reports[0]


def test_both_members_learn_loss_and_jitter_of_both_directions() -> None:
    caller, agent = Member(1, 5 * NS_PER_S), Member(2, 900 * NS_PER_S)
    caller.hear(agent, 101, lost=10)
    agent.hear(caller, 51, lost=1)
    caller.read(agent.report(3 * NS_PER_S), 3 * NS_PER_S)
    agent.read(caller.report(3 * NS_PER_S), 3 * NS_PER_S)

    assert (caller.receiver.lost, agent.receiver.lost) == (10, 1)
    assert (caller.rtcp.peer.cumulative_lost, agent.rtcp.peer.cumulative_lost) == (1, 10)
    assert caller.rtcp.peer.fraction_lost == pytest.approx(1 / 51, abs=1 / 256)
    assert agent.rtcp.peer.fraction_lost == pytest.approx(10 / 101, abs=1 / 256)
    assert agent.rtcp.peer.jitter == caller.receiver.jitter > 20


def test_a_round_trip_excludes_the_time_in_the_peer() -> None:
    caller, agent = Member(1, 5 * NS_PER_S), Member(2, 900 * NS_PER_S)
    caller.hear(agent, 5)
    agent.hear(caller, 5)
    agent.read(caller.report(NS_PER_S), NS_PER_S + 30 * NS_PER_MS)
    caller.read(agent.report(3 * NS_PER_S), 3 * NS_PER_S + 40 * NS_PER_MS)

    assert caller.rtcp.peer.round_trip_ns == pytest.approx(70 * NS_PER_MS, abs=50_000)
    assert agent.rtcp.peer.round_trip_ns is None
    assert caller.rtcp.peer.min_round_trip_ns == caller.rtcp.peer.round_trip_ns


def test_a_sender_report_has_the_utc_of_the_call_in_the_format_of_ntp() -> None:
    caller = Member(1, 77 * NS_PER_S)
    caller.sender.audio(bytes(160))
    sender = own_report(caller, NS_PER_S // 4).sender

    assert sender == SenderInfo(
        (1_700_000_000 + 2_208_988_800) * (1 << 32) + (1 << 30), 160, 1, 160
    )
