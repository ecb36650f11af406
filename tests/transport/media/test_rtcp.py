"""RTCP packets, and the reports of a call."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.base.clock import Arrival
from bench.base.units import NS_PER_MS, NS_PER_S
from bench.transport.media.rtcp import (
    MIN_INTERVAL_NS,
    Goodbye,
    Report,
    ReportBlock,
    RtcpSession,
    SenderInfo,
    SourceDescription,
    build_compound,
    parse_compound,
    report_delay_ns,
)
from bench.transport.media.rtp import CODECS, RtpPacket, RtpReceiver, RtpSender, StreamNumbers, build_packet
from tests.examples import thorough

WORD = st.integers(0, 0xFFFFFFFF)
BLOCKS = st.builds(
    ReportBlock, WORD, st.integers(0, 255), st.integers(-(1 << 23), (1 << 23) - 1), WORD, WORD, WORD, WORD
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
    assert parse_compound(wire) == [first, *(packet for packet in others if isinstance(packet, Report))]


def test_a_sender_report_has_the_layout_of_rfc_3550() -> None:
    wire = bytes.fromhex(
        "81c8000c 00000001 83aa7e80 80000000 000000a0 00000005 00000320"
        "00000002 40ffffff 00010007 00000050 7e808000 00010000"
    )

    block = ReportBlock(2, 64, -1, 65_536 + 7, 80, 0x7E808000, 65_536)
    assert parse_compound(wire) == [Report(1, (block,), SenderInfo(0x83AA7E8080000000, 160, 5, 800))]
    assert build_compound(Report(1, (block,), SenderInfo(0x83AA7E8080000000, 160, 5, 800))) == wire


def test_descriptions_padding_and_unknown_packets_are_passed_over() -> None:
    description = "82ca0005 00000001 02016e 01026162 00 00000002 01016d 00"
    wire = bytes.fromhex(f"80c90001 00000001 {description} 81cc0002 00000001 6e616d65 a1cb0002 00000001 00000004")

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
@given(st.binary(max_size=80) | st.tuples(st.integers(0, len(EXAMPLE) - 1), st.integers(0, 255)).map(
    lambda change: EXAMPLE[: change[0]] + bytes([change[1]]) + EXAMPLE[change[0] + 1 :]
))  # fmt: skip
def test_random_bytes_raise_no_error(data: bytes) -> None:
    sender, receiver = stream(1), RtpReceiver(8_000, {0})
    session = RtcpSession(sender, receiver, "a@b", 0)
    parse_compound(data)
    session.receive(data, NS_PER_S)

    assert session.bad + session.received == 1


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.75, 1.0])
def test_reports_are_five_seconds_apart_on_average_and_the_first_comes_earlier(share: float) -> None:
    """RFC 3550 §6.3.1 divides the interval by e − 3/2, because its timers compensate for that with many members."""
    delay_ns = report_delay_ns(share, is_first=False)

    assert delay_ns == pytest.approx(MIN_INTERVAL_NS * (0.5 + share) / 1.21828, abs=1)
    assert report_delay_ns(share, is_first=True) == pytest.approx(delay_ns / 2, abs=1)


# a call of two members

UTC_NS = 1_700_000_000 * NS_PER_S


def stream(ssrc: int) -> RtpSender:
    return RtpSender(CODECS["PCMU"], 0, StreamNumbers(ssrc, 65_530, 0))


class Member:
    """A member of a call, whose clock starts at another instant."""

    def __init__(self, ssrc: int, clock_ns: int) -> None:
        self.clock_ns = clock_ns
        self.sender, self.receiver = stream(ssrc), RtpReceiver(8_000, {0})
        self.rtcp = RtcpSession(self.sender, self.receiver, f"{ssrc}@example.invalid", UTC_NS - clock_ns)

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

    assert (caller.receiver.counts.lost, agent.receiver.counts.lost) == (10, 1)
    assert (caller.rtcp.peer.cumulative_lost, agent.rtcp.peer.cumulative_lost) == (1, 10)
    assert caller.rtcp.peer.fraction_lost == pytest.approx(1 / 51, abs=1 / 256)
    assert agent.rtcp.peer.fraction_lost == pytest.approx(10 / 101, abs=1 / 256)
    assert agent.rtcp.peer.jitter == caller.receiver.jitter > 20


def test_the_peer_expected_our_packets_until_the_last_one_that_it_received() -> None:
    caller, agent = Member(1, 0), Member(2, 0)
    agent.hear(caller, 51, lost=1)
    report = agent.report(3 * NS_PER_S)
    agent.hear(caller, 10, at_ns=3 * NS_PER_S)
    caller.read(report, 3 * NS_PER_S)

    assert (caller.rtcp.peer.expected, caller.rtcp.peer.cumulative_lost) == (51, 1)


def test_the_fraction_is_that_since_the_report_before() -> None:
    caller, agent = Member(1, 0), Member(2, 0)
    caller.hear(agent, 100, lost=50)
    agent.read(caller.report(2 * NS_PER_S), 2 * NS_PER_S)
    caller.hear(agent, 100, lost=25, at_ns=2 * NS_PER_S)
    agent.read(caller.report(4 * NS_PER_S), 4 * NS_PER_S)

    assert (agent.rtcp.peer.reports, agent.rtcp.peer.fraction_lost, agent.rtcp.peer.cumulative_lost) == (2, 0.25, 75)


def test_the_highest_number_is_extended_and_duplicates_make_the_loss_negative() -> None:
    caller, agent = Member(1, 0), Member(2, 0)
    caller.hear(agent, 10)
    again = build_packet(*RtpPacket(0, 3, 9 * 160, 2, bytes(160)))
    caller.receiver.receive(again, Arrival(NS_PER_S))
    report = own_report(caller, NS_PER_S)

    assert report.blocks[0].highest_sequence == 65_536 + 3
    assert (report.blocks[0].cumulative_lost, report.blocks[0].fraction_lost) == (-1, 0)


def test_the_loss_of_a_stream_that_begins_again_counts_from_there() -> None:
    caller = Member(1, 0)
    caller.hear(Member(2, 0), 80, lost=8)
    own_report(caller, 2 * NS_PER_S)
    caller.hear(Member(2, 0), 60, lost=15, at_ns=9 * NS_PER_S)
    (block,) = own_report(caller, 12 * NS_PER_S).blocks

    assert (block.cumulative_lost, block.fraction_lost) == (15, 15 * 256 // 60)
    assert caller.receiver.source == 1


def test_a_round_trip_excludes_the_time_in_the_peer() -> None:
    caller, agent = Member(1, 5 * NS_PER_S), Member(2, 900 * NS_PER_S)
    caller.hear(agent, 5)
    agent.hear(caller, 5)
    agent.read(caller.report(NS_PER_S), NS_PER_S + 30 * NS_PER_MS)
    caller.read(agent.report(3 * NS_PER_S), 3 * NS_PER_S + 40 * NS_PER_MS)

    assert caller.rtcp.peer.round_trip_ns == pytest.approx(70 * NS_PER_MS, abs=50_000)
    assert agent.rtcp.peer.round_trip_ns is None
    assert caller.rtcp.peer.min_round_trip_ns == caller.rtcp.peer.round_trip_ns


def test_a_round_trip_starts_only_with_a_report_that_was_sent() -> None:
    caller = Member(1, 0)
    caller.hear(Member(2, 0), 5)
    caller.sender.audio(bytes(160))
    caller.report(NS_PER_S)
    caller.read(build_compound(Report(2, (ReportBlock(1, 0, 0, 0, 0, 0x1234, 0),))), 2 * NS_PER_S)

    assert caller.rtcp.peer.reports == 1
    assert caller.rtcp.peer.round_trip_ns is None


def test_a_report_of_an_earlier_source_is_not_confirmed() -> None:
    caller, agent, other = Member(1, 0), Member(2, 0), Member(3, 0)
    caller.hear(agent, 5)
    caller.read(agent.report(NS_PER_S), NS_PER_S)
    assert own_report(caller, 3 * NS_PER_S).blocks[0].delay == 2 * 65_536
    caller.hear(other, 5, at_ns=3 * NS_PER_S)

    block = own_report(caller, 4 * NS_PER_S).blocks[0]
    assert (block.ssrc, block.last_report, block.delay) == (3, 0, 0)


def test_the_fraction_starts_again_with_a_new_source() -> None:
    caller, agent, other = Member(1, 0), Member(2, 0), Member(3, 0)
    caller.hear(agent, 100)
    own_report(caller, NS_PER_S)
    caller.hear(other, 2)  # the first packet of a new source is only its announcement
    caller.hear(other, 10, lost=5, at_ns=NS_PER_S)

    block = own_report(caller, 4 * NS_PER_S).blocks[0]
    assert (block.fraction_lost, block.cumulative_lost) == (5 * 256 // 11, 5)


def test_a_sender_report_has_the_utc_of_the_call_in_the_format_of_ntp() -> None:
    caller = Member(1, 77 * NS_PER_S)
    caller.sender.audio(bytes(160))
    sender = own_report(caller, NS_PER_S // 4).sender

    assert sender == SenderInfo((1_700_000_000 + 2_208_988_800) * (1 << 32) + (1 << 30), 160, 1, 160)


def test_long_texts_are_cut() -> None:
    wire = build_compound(Report(1), SourceDescription(1, "n" * 300), Goodbye((1,), "r" * 300))

    assert wire == build_compound(Report(1), SourceDescription(1, "n" * 255), Goodbye((1,), "r" * 255))


def test_a_member_that_has_not_sent_and_received_sends_an_empty_receiver_report() -> None:
    silent = Member(1, 0)

    assert silent.report(0) == build_compound(Report(1), SourceDescription(1, "1@example.invalid"))


def test_a_goodbye_names_the_own_stream() -> None:
    agent = Member(2, 0)

    farewell = build_compound(Report(2), SourceDescription(2, "2@example.invalid"), Goodbye((2,)))
    assert agent.report(NS_PER_S, goodbye=True) == farewell


def test_bad_packets_and_reports_about_others_are_counted() -> None:
    caller = Member(1, 0)
    caller.read(b"nonsense", 0)
    caller.read(build_compound(Report(2, (ReportBlock(7, 255, 9, 9, 9),))), 0)

    assert (caller.rtcp.bad, caller.rtcp.received) == (1, 1)
    assert caller.rtcp.peer.reports == 0
