"""The page's section on telephone calls: whether they were set up, how they ended, and their packets."""

from __future__ import annotations

from collections.abc import Sequence

from reports.formatting import NONE, count, percent, plural
from reports.render import blocks as b
from reports.run_report.metric_tables import metrics
from reports.summary.calls import PacketCount, ReasonCount, TelephoneCalls
from reports.summary.metrics import ShareEstimate
from reports.summary.summary import Summary
from reports.wording import cells

PACKETS = ("rtp_loss", "rtp_jitter", "peer_rtp_loss", "peer_rtp_jitter")
"""The metrics of the packets of a call."""
NO_REPORT = "unknown: the agent sent no RTCP report"
NO_WORDS = "no reason given"
SHOWN_REASONS = 3
"""The maximum number of reasons that a terminal shows."""


def telephone_calls(summary: Summary) -> b.Section | None:
    """Return the section on telephone calls; None if no target is called by telephone."""
    if not summary.calls:
        return None
    called = summary.calls
    heads: list[b.Head] = ["calls", *(of.target for of in called), b.Column("meaning", left=True, style="narrowout")]
    rows: list[b.Line] = [
        [name, *(count(each) for each in counts), meaning]
        for name, counts, meaning in (
            (
                "tried",
                [of.answered.total for of in called],
                "without those that the end of the run cut before an answer",
            ),
            ("answered", [of.answered.count for of in called], "200 OK, and the audio was agreed"),
            ("refused", [of.refused for of in called], "a SIP status instead of an answer"),
            ("not answered", [of.unanswered for of in called], "no answer within the time limit (timeout:upgrade)"),
            ("not set up", [of.failed for of in called], "other failures before the answer"),
            ("answered, no RTP", [of.without_packets for of in called], "no packet with audio ever (timeout:media)"),
            ("answered, no sound", [of.without_sound for of in called], "packets, but nothing audible (timeout:sound)"),
            ("ended by the agent", [of.ended_by_agent for of in called], "before the end of the script (closed:1000)"),
        )
    ]
    rows += [
        ["share answered", *(_share_cell(of.answered) for of in called), "of the calls tried"],
        ["missing or late", *(_packet_cell(of.packets) for of in called), "of the agent's RTP packets"],
        ["missing at the agent", *(_packet_cell(of.peer_packets) for of in called), "of the caller's packets, by RTCP"],
    ]
    blocks: list[b.Block] = [b.table(heads, rows)]
    for title, reasons in (
        ("Calls that were not set up", [(of, reason) for of in called for reason in of.not_set_up]),
        ("Calls that the agent ended", [(of, reason) for of in called for reason in of.endings]),
    ):
        listed = [_reason_row(of, reason) for of, reason in reasons]
        if listed:
            columns = ("outcome", b.Column("target", left=True), "calls", b.Column("reason", left=True))
            blocks += [b.Heading(title), b.table(columns, listed)]
    packets = [row for row in summary.connect_phases if row.metric in PACKETS]
    if packets:
        blocks += [b.Details("Packets of each call", [metrics(summary, packets)], open=True)]
    brief = [
        *b.fact("calls", [_setup_text(summary, calls) for calls in called]),
        *b.fact("packets", [_packet_text(summary, calls) for calls in called]),
    ]
    return b.Section("telephone", "Telephone calls", "Were the calls set up, and could both hear?", blocks, brief=brief)


def _share_cell(share: ShareEstimate) -> b.Cell:
    if not share.total:
        return b.Cell(NONE)
    counts = f"{count(share.count)} of {count(share.total)}"
    return b.Cell(percent(share.count, share.total), f"{_interval(share)}; {counts}")


def _packet_cell(packets: PacketCount) -> b.Cell:
    if not packets.expected:
        return b.Cell(NONE)
    return b.Cell(percent(packets.missing, packets.expected), _of_expected(packets))


def _of_expected(packets: PacketCount) -> str:
    return f"{count(packets.missing)} of {count(packets.expected)}"


def _interval(share: ShareEstimate) -> str:
    return cells.interval(share.low, share.high, lambda end: percent(end, 1))


def _reason_row(calls: TelephoneCalls, reason: ReasonCount) -> b.Line:
    return [b.Code(reason.outcome), calls.target, count(reason.calls), reason.text or NO_WORDS]


def _setup_text(summary: Summary, calls: TelephoneCalls) -> str:
    """Return how calls were set up and ended, such as `36 tried, 31 answered (86.1 %, 70 to 95 %); 5 refused: …`."""
    share = calls.answered
    rate = f" ({percent(share.count, share.total)}, {_interval(share)})" if share.total else ""
    parts = [f"{count(share.total)} tried, {count(share.count)} answered{rate}"]
    if missing := [
        f"{count(n)} {what}"
        for n, what in (
            (calls.refused, "refused"),
            (calls.unanswered, "not answered"),
            (calls.failed, "not set up"),
        )
        if n
    ]:
        parts.append(f"{', '.join(missing)}: {_reasons_text(calls.not_set_up)}")
    parts += [
        f"{plural(n, 'call')} {what}"
        for n, what in (
            (calls.without_packets, "answered without RTP"),
            (calls.without_sound, "answered without a sound"),
        )
        if n
    ]
    if calls.ended_by_agent:
        parts.append(f"{count(calls.ended_by_agent)} ended by the agent: {_reasons_text(calls.endings)}")
    return _named(summary, calls, "; ".join(parts))


def _packet_text(summary: Summary, calls: TelephoneCalls) -> str:
    """Return the packet loss of both directions, such as `rtp_loss 0.03 % (12 of 43,000); peer_rtp_loss unknown …`."""
    texts = []
    for name, packets, unknown in (
        ("rtp_loss", calls.packets, "unknown: no packet arrived"),
        ("peer_rtp_loss", calls.peer_packets, NO_REPORT),
    ):
        counts = f"{percent(packets.missing, packets.expected)} ({_of_expected(packets)} packets)"
        texts.append(f"{name} {counts if packets.expected else unknown}")
    return _named(summary, calls, "; ".join(texts))


def _reasons_text(reasons: Sequence[ReasonCount]) -> str:
    texts = [f"{count(reason.calls)} × {reason.text or reason.outcome}" for reason in reasons[:SHOWN_REASONS]]
    return ", ".join([*texts, *(["…"] if len(reasons) > SHOWN_REASONS else [])])


def _named(summary: Summary, calls: TelephoneCalls, text: str) -> str:
    return f"{calls.target}: {text}" if len(summary.calls) > 1 else text
