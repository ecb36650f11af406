"""The section on telephone calls: whether and when they were set up, how they ended, and their
packets.
"""

import math
from collections.abc import Callable, Sequence

from bench.catalogue.metrics import JITTER_BUFFER_MS
from reports.analysis.summary.calls import TelephoneCalls
from reports.analysis.summary.metrics import MetricSummary
from reports.analysis.summary.summary import Summary
from reports.formatting import NONE, count, format_ms_list, ms, percent, plural
from reports.pages.run_report.metric_tables import TARGET, metrics
from reports.render import blocks as b
from reports.results.value import Value
from reports.text import cells

SETUP = {
    "post_dial_delay": "ringing after {}",
    "connect_total": "connected after {}",
    "connect_ice": "ICE {}",
    "connect_dtls": "DTLS {}",
    "session_update": "session set up in {}",
    "answer_to_greeting": "greeting {} after the answer",
}
"""The metrics of the setup of a call, each with its text."""
PACKETS = {"rtp_loss": "rtp_jitter", "rtp_late_share": "", "peer_rtp_loss": "peer_rtp_jitter"}
"""The metrics of the packets of a call: the shares that are missing, and the jitter of each
direction."""
UNKNOWN = {"rtp_loss": "no packet arrived", "peer_rtp_loss": "the agent sent no RTCP report"}
"""The reason why the loss of a direction is unknown."""
COUNTS: tuple[tuple[str, Callable[[TelephoneCalls], int], str], ...] = (
    (
        "tried",
        lambda of: of.answered.n,
        "without those that the end of the run cut before an answer",
    ),
    ("answered", lambda of: of.answered.events, "200 OK, and the audio was agreed"),
    ("refused", lambda of: of.refused, "a SIP status instead of an answer"),
    ("not answered", lambda of: of.unanswered, "no answer within the time limit (timeout:upgrade)"),
    ("not set up", lambda of: of.failed, "other failures before the answer"),
    (
        "answered, no RTP",
        lambda of: of.without_packets,
        "no packet with audio ever (timeout:media)",
    ),
    (
        "answered, no sound",
        lambda of: of.without_sound,
        "packets, but nothing audible (timeout:sound)",
    ),
    (
        "hung up by this tool",
        lambda of: of.hung_up,
        "before the end of the script (failed:hung_up)",
    ),
    (
        "ended by the agent",
        lambda of: of.ended_by_agent,
        "before the end of the script (closed:1000)",
    ),
)
"""The rows of the table: a name, the number of calls, and its meaning."""
LOSSES = {
    "rtp_loss": "never arrived, of the agent's RTP packets",
    "rtp_late_share": f"too late for a jitter buffer of {JITTER_BUFFER_MS} ms",
    "peer_rtp_loss": "missing, of the caller's packets, by RTCP",
}
DISTURBANCES = {
    "unsent_packets": ("packets not sent", "refused by the kernel of this machine"),
    "dropped_packets": ("packets dropped here", "not read in time by the load generator"),
    "uncounted_pauses": ("pauses not counted", "by the timestamps of the agent's RTP"),
    "without_line": ("refused, no free line", "calls of the agent; add lines with `-u`"),
    "restarts": ("RTP began again", "another source, numbers, timestamps or delay"),
}
ALWAYS = 2
"""The number of rows of counts that are shown even if they are 0: the calls tried and answered."""
NO_WORDS = "no reason given"
SHOWN_REASONS = 3
"""The maximum number of reasons that a terminal shows."""


def telephone_calls(summary: Summary) -> b.Section | None:
    """Return the section on telephone calls; None if no target is called by telephone."""
    if not summary.calls:
        return None
    called = summary.calls
    heads: b.Heads = [
        "calls",
        *(of.target for of in called),
        b.TextColumn("meaning", style="narrowout"),
    ]
    rows: list[b.Line] = []
    for index, (name, number, meaning) in enumerate(COUNTS):
        if index < ALWAYS or any(map(number, called)):
            rows.append([name, *(count(number(of)) for of in called), meaning])
    rows.append(
        ["share answered", *(_share_cell(of.answered) for of in called), "of the calls tried"]
    )
    if any(of.answered.events for of in called):
        for name, meaning in LOSSES.items():
            rows.append([b.Term(name), *(_packet_cell(of.by_loss[name]) for of in called), meaning])
    for field, (name, meaning) in DISTURBANCES.items():
        counts = [getattr(of, field) for of in called]
        if any(counts):
            rows.append([name, *(NONE if n is None else count(n) for n in counts), meaning])
    blocks: b.Blocks = [b.table(heads, rows)]
    kinds: list[b.Line] = [
        [
            of.part,
            of.target,
            count(of.n + of.unscored),
            count(of.n - of.events),
            count(of.events),
            count(of.unscored),
        ]
        for calls in called
        for of in calls.verdicts
    ]
    if kinds:
        verdicts = (b.TextColumn("callee"), TARGET, "calls", "right", "wrong", "not scored")
        blocks += [b.Heading("Verdicts of the agent"), b.table(verdicts, kinds)]
    others: list[b.Line] = [
        [hosts.part, of.target, count(hosts.n)] for of in called for hosts in of.other_hosts
    ]
    if others:
        named = (b.TextColumn("hosts"), TARGET, "calls")
        blocks += [b.Heading("Hosts that only the agent named"), b.table(named, others)]
    for title, reasons in (
        ("Calls that were not set up", [(of, reason) for of in called for reason in of.not_set_up]),
        ("Calls that the agent ended", [(of, reason) for of in called for reason in of.endings]),
        ("Calls that this tool hung up", [(of, reason) for of in called for reason in of.hang_ups]),
    ):
        listed: list[b.Line] = [
            [b.Code(reason.metric), of.target, count(reason.n), reason.part or NO_WORDS]
            for of, reason in reasons
        ]
        if listed:
            columns = (
                "outcome",
                TARGET,
                "calls",
                b.TextColumn("reason"),
            )
            blocks += [b.Heading(title), b.table(columns, listed)]
    for title, names in (
        ("Setup of each call", SETUP),
        ("Packets of each call", {*PACKETS, *PACKETS.values()}),
    ):
        if of_calls := [
            row
            for row in summary.connect_phases
            if row.metric in names and is_of_calls(summary, row)
        ]:
            blocks += [b.Details(title, [metrics(summary, of_calls)], open=True)]
    answered = [calls for calls in called if calls.answered.events]
    brief = [
        *b.fact("calls", [_named(summary, calls, _counts_text(calls)) for calls in called]),
        *b.fact(
            "setup", [_named(summary, calls, _setup_text(summary, calls)) for calls in answered]
        ),
        *b.fact(
            "packets", [_named(summary, calls, _packet_text(summary, calls)) for calls in answered]
        ),
    ]
    return b.Section(
        "telephone",
        "Calls with RTP",
        "Were the calls set up, and could both hear?",
        blocks,
        brief=brief,
    )


def is_of_calls(summary: Summary, row: MetricSummary) -> bool:
    """Return whether a metric of sessions is that of a target that is called by telephone."""
    return any(row.target == calls.target for calls in summary.calls)


def _share_cell(share: Value) -> b.Cell:
    if not share.n:
        return b.Cell(NONE)
    counts = f"{count(share.events)} of {count(share.n)}"
    return b.Cell(percent(share.events, share.n), f"{cells.share_interval(share)}; {counts}")


def _packet_cell(packets: Value) -> b.Cell:
    if not packets.n:
        return b.Cell(NONE)
    return b.Cell(percent(packets.events, packets.n), _of_expected(packets))


def _of_expected(packets: Value) -> str:
    return f"{count(packets.events)} of {count(packets.n)}"


def _counts_text(calls: TelephoneCalls) -> str:
    """Return how calls were set up and ended, such as `36 tried, 31 answered (86.1 %, 70 to 95
    %); 5 refused: …`.
    """
    share = calls.answered
    rate = f" ({percent(share.events, share.n)}, {cells.share_interval(share)})" if share.n else ""
    parts = [f"{count(share.n)} tried, {count(share.events)} answered{rate}"]
    of_setup = (
        (calls.refused, "refused"),
        (calls.unanswered, "not answered"),
        (calls.failed, "not set up"),
    )
    if missing := [f"{count(n)} {what}" for n, what in of_setup if n]:
        parts.append(f"{', '.join(missing)}: {_reasons_text(calls.not_set_up)}")
    silent = (
        (calls.without_packets, "answered without RTP"),
        (calls.without_sound, "answered without a sound"),
    )
    parts += [f"{plural(n, 'call')} {what}" for n, what in silent if n]
    unsent, dropped, pauses, without_line, restarts = (
        getattr(calls, name) or 0 for name in DISTURBANCES
    )
    parts += [f"no line was free for {plural(without_line, 'call')}"] if without_line else []
    parts += [f"this machine could not send {plural(unsent, 'packet')}"] if unsent else []
    parts += (
        [f"this machine dropped {plural(dropped, 'packet')} that had arrived"] if dropped else []
    )
    parts += (
        [f"the timestamps of the agent's RTP do not count {plural(pauses, 'pause')}"]
        if pauses
        else []
    )
    parts += [f"the agent's RTP began again {restarts:,} ×"] if restarts else []
    if calls.other_hosts:
        hosts = ", ".join(
            f"{each.part} in {plural(each.n, 'call')}" for each in calls.other_hosts[:SHOWN_REASONS]
        )
        parts.append(f"hosts that only the agent named: {hosts}")
    if calls.ended_by_agent:
        parts.append(
            f"{count(calls.ended_by_agent)} ended by the agent: {_reasons_text(calls.endings)}"
        )
    if calls.hung_up:
        parts.append(_reasons_text(calls.hang_ups))
    return "; ".join(parts)


def _setup_text(summary: Summary, calls: TelephoneCalls) -> str:
    """Return when calls were set up, such as `ringing after 2.1 ms, connected after 3 s, … (p50)`.
    Without medians, the text has the lowest and the highest values.
    """
    known = [row for name in SETUP if (row := _row(summary, calls, name))]
    texts, kind = _typical(known)
    parts = [SETUP[row.metric].format(text) for row, text in zip(known, texts, strict=True)]
    return f"{', '.join(parts)}{kind}" if parts else ""


def _row(summary: Summary, calls: TelephoneCalls, metric: str) -> MetricSummary | None:
    """Return the summary of a metric of these calls; None if no call has a value."""
    rows = (
        row for row in summary.connect_phases if (row.target, row.metric) == (calls.target, metric)
    )
    return next((row for row in rows if math.isfinite(row.smallest)), None)


def _typical(rows: Sequence[MetricSummary]) -> tuple[list[str], str]:
    """Return a text for each metric, and a text for their kind: medians or, unless all have one,
    ranges.
    """
    medians = [row.at(0.5) for row in rows]
    if all(median.has_interval for median in medians):
        return [
            f"{cells.open_end_sign(median)}{ms(median.reported_value)}" for median in medians
        ], " (p50)"
    return [
        " to ".join(dict.fromkeys(format_ms_list(row.smallest, row.largest))) for row in rows
    ], ""


def _packet_text(summary: Summary, calls: TelephoneCalls) -> str:
    """Return the packets of both directions: `rtp_loss 0.03 % (12 of 43,000 packets), rtp_jitter
    1.2 ms (p50); rtp_late_share 0 % (0 of 43,000 packets); …`.
    """
    texts = []
    for loss, jitter in PACKETS.items():
        packets = calls.by_loss[loss]
        row = _row(summary, calls, jitter)
        if not packets.n:
            texts += [f"{loss} unknown: {UNKNOWN[loss]}"] if loss in UNKNOWN else []
            continue
        text = f"{loss} {percent(packets.events, packets.n)} ({_of_expected(packets)} packets)"
        values, kind = _typical([row] if row else [])
        texts.append(f"{text}, {jitter} {values[0]}{kind}" if values else text)
    return "; ".join(texts)


def _reasons_text(reasons: Sequence[Value]) -> str:
    texts = [
        f"{count(reason.n)} × {reason.part or reason.metric}" for reason in reasons[:SHOWN_REASONS]
    ]
    return ", ".join([*texts, *(["…"] if len(reasons) > SHOWN_REASONS else [])])


def _named(summary: Summary, calls: TelephoneCalls, text: str) -> str:
    return f"{calls.target}: {text}" if len(summary.calls) > 1 else text
