"""The sections on connecting, on the network, on throughput, and on all metrics."""

from bench.base.units import byte_unit
from bench.catalogue.metrics import CATALOGUE
from reports.analysis.summary.metrics import ALL, SLOPES
from reports.analysis.summary.summary import Summary
from reports.formatting import (
    NONE,
    count,
    format_number,
    join_present,
    join_words,
    ms,
    percent,
    plural,
    quantity,
)
from reports.pages.run_report.metric_tables import (
    TARGET,
    metrics,
    rows_of,
    target_cell,
    texts_by_target,
)
from reports.pages.run_report.sections.telephone import PACKETS, SETUP, is_of_calls
from reports.render import blocks as b
from reports.results.value import by_subject
from reports.text.cells import open_end_sign, quantile_cell
from reports.text.phrases import as_sentence, interval

NETWORK = ("network_rtt", "request_ack", "ttfa_minus_rtt", "retransmits")


def network(summary: Summary) -> b.Section | None:
    """Return the section on the network between the load generator and the service. Return None if
    the kernel reported no round trips.
    """
    rows = rows_of(summary, NETWORK)
    if not any(row.metric == "network_rtt" for row in rows):
        return None
    resent: dict[str, list[str]] = {}
    for subject, row in by_subject(summary.counts).items():
        turns = row["turns_with_retransmits"]
        segments = row["retransmits"].n
        if turns.n:
            again = f"{plural(segments, 'TCP segment')} retransmitted in {count(turns.events)} of"
            nothing = "nothing was retransmitted in"
            resent[subject.target] = [f"{again if segments else nothing} {plural(turns.n, 'turn')}"]
    sent = texts_by_target(summary, resent)
    sent = f"{sent}." if sent and summary.has_several_targets else as_sentence(sent)
    shares = []  # the shares of ttfa, from the p50 of both metrics
    # of several strata, the first counts
    known = [row for row in reversed(rows) if row.at(0.5).has_interval]
    p50s = {(row.target, row.metric): row.at(0.5).reported_value for row in known}
    for target in summary.targets:
        rtt, remainder = (
            p50s.get((target, name), 0.0) for name in ("network_rtt", "ttfa_minus_rtt")
        )
        if rtt and remainder:
            named = f" on {target}" if summary.has_several_targets else ""
            shares.append(f"{ms(rtt)}{named}, {percent(rtt, rtt + remainder)} of ttfa")
    share = f"The p50 of network_rtt is {'; '.join(shares)}." if shares else ""
    text = join_present(" ", share, round_trips(summary), sent)
    blocks: b.Blocks = [
        b.Paragraph(text),
        b.Details("Network metrics", [metrics(summary, rows)], open=True, again=True),
    ]
    return b.Section("network", "Network", "How much of the latency is the network?", blocks)


OF_CALLS = (
    "greeting",
    "answer_to_greeting",
    "session_duration",
    "service_time",
    "response_time",
    "renewal_gap",
    "idle_prompt",
    *(metric.name for metric in CATALOGUE.values() if metric.due == "dropped"),
    *SLOPES,
)
"""The metrics of sessions that are not about connecting."""
OF_WEBSOCKETS = ("connect_upgrade", "session_ready")
"""The metrics of connecting that repeat `connect_total` for a telephone call."""
CARRIED = (
    "rate",
    TARGET,
    "total",
    "mean",
    "p50 of seconds",
    "peak",
    "p50 of sessions",
    "max",
)


def other_metrics(summary: Summary) -> b.Section | None:
    """Return the section on all metrics except those of connecting, over all steps together. Return
    None if no turn or session has such a metric.
    """
    summaries = [
        row for row in (*summary.turn_metrics, *summary.session_metrics) if row.step == ALL
    ]
    of_turns = [
        row for row in summaries if CATALOGUE[row.metric].scope == "turn" or row.metric in OF_CALLS
    ]
    of_events = [
        event for event in summary.event_metrics if CATALOGUE[event.metric].scope == "event"
    ]
    if not of_turns:
        return None
    names = {row.metric for row in of_turns}
    counted = {event.metric for event in of_events}
    text = (
        f"{plural(len(names | counted), 'metric')}, separately for each target and start instant."
    )
    blocks: b.Blocks = [
        b.Paragraph(text),
        b.Details("All metrics", [metrics(summary, of_turns, of_events)]),
    ]
    return b.Section("all", "All metrics", "What was measured?", blocks)


def connect(summary: Summary) -> b.Section | None:
    """Return the section on how long connecting takes; None if no session opened."""
    shown_there = {*SETUP, *PACKETS, *PACKETS.values(), *OF_WEBSOCKETS}
    rows = [
        row
        for row in summary.connect_phases
        if row.metric not in OF_CALLS
        and (row.metric != "auth_wait" or row.largest)
        and not (row.metric in shown_there and is_of_calls(summary, row))
    ]
    if not rows:
        return None
    phases = ("connect_dns", "connect_tcp", "connect_tls", "connect_upgrade")
    totals, parts = (
        [row for row in rows if (row.metric in phases) == of_phase] for of_phase in (False, True)
    )
    ready = [row for row in rows if row.metric == "session_ready" and row.at(0.5).has_interval]
    named = len({row.target for row in rows}) > 1
    medians = [(f"{row.target} " if named else "", row.at(0.5)) for row in ready]
    p50s = ", ".join(
        f"{target}{open_end_sign(median)}{ms(median.reported_value)}" for target, median in medians
    )
    blocks = [
        *b.line(f"From the start of connecting to session.created, p50: {p50s}." if p50s else ""),
        *([b.Details("Data table", [metrics(summary, totals)], open=True)] if totals else []),
        *([b.Details("Phases", [metrics(summary, parts)])] if parts else []),
    ]
    return b.Section("connect", "Connecting", "How long does connecting take?", blocks)


def flow(summary: Summary) -> b.Section | None:
    """Return the section on the bytes sent and received; None if there were none."""
    parts = []
    for kind, what in (
        ("audio", "decoded audio"),
        ("wire", "RTP packets" if summary.only_telephone else "WebSocket frames"),
    ):
        sent, received = (
            sum(
                rate.total_bytes
                for rate in summary.throughput
                if rate.metric == f"{kind}_{direction}"
            )
            for direction in ("sent", "received")
        )
        parts += (
            [f"{quantity(sent)} of {what} sent, {quantity(received)} received"]
            if sent or received
            else []
        )
    text = "; ".join(parts)
    volume = b.line(f"{text}, over the measured phase." if text else "")
    blocks = [*volume, *_carried(summary)]
    return (
        b.Section("flow", "Throughput", "How much was sent and received?", blocks)
        if summary.throughput
        else None
    )


def _carried(summary: Summary) -> b.Blocks:
    """Return a table of the bytes in total, and of their rates over the run and over each
    session.
    """
    rates = [rate for rate in summary.throughput if rate.total_bytes]
    if not rates:
        return []
    size, unit = byte_unit(max(rate.mean_bytes_per_s for rate in rates) / 10)
    of_sessions: dict[tuple[str, str], b.Line] = {}
    for row in summary.carried:
        median = row.at(0.5)
        ends = interval(median.low / size, median.high / size, format_number, " – ")
        interval_cell = b.Cell(
            f"{open_end_sign(median)}{format_number(median.reported_value / size)}", ends
        )
        cell = interval_cell if median.has_interval else quantile_cell(row, 0.5, "")
        of_sessions[row.metric, row.target] = [cell, format_number(row.largest / size)]
    rows: list[b.Row | b.Line] = []
    for rate in rates:
        target = target_cell(summary, rate.target)
        over_run = (rate.mean_bytes_per_s, rate.per_second.at(0.5), rate.per_second.largest)
        of_run = [quantity(rate.total_bytes), *(format_number(value / size) for value in over_run)]
        rows.append(
            [
                b.Term(rate.metric),
                target,
                *of_run,
                *of_sessions.get((rate.metric, rate.target), (NONE, NONE)),
            ]
        )
    note_text = (
        f"Rates in {unit}/s. Peak: the target’s busiest second. Sessions: over their length, with"
        " 95 % intervals."
    )
    return [b.table(CARRIED, rows), *b.note(note_text)]


def proxy_text(summary: Summary) -> tuple[str, ...]:
    """Return the names of the targets that are behind a proxy. Their round trips are measured
    only to the proxy.
    """
    frame = summary.run.turns
    behind = frame.loc[(frame["rtt_scope"] == "proxy").to_numpy(), "target"].unique()
    return tuple(label for label in summary.targets if label in set(behind))


def round_trips(summary: Summary) -> str:
    """Return a sentence that names the end point of the measured round trips, and how they are
    measured.
    """
    called = [calls.target for calls in summary.calls]
    behind = proxy_text(summary)
    by_rtcp = "by RTCP, to the server that sends RTP"
    if summary.only_telephone:
        return f"Round trips are measured {by_rtcp}."
    where = (
        f"to the nearest TLS terminator; on {join_words(list(behind))} to the proxy, so there is no"
        " ttfa_minus_rtt"
    )
    if not behind:
        where = "to the nearest TLS terminator"
    elif len(behind) == len(summary.targets):
        where = "only to the proxy, so there is no ttfa_minus_rtt"
    on_calls = f"; on {join_words(called)} {by_rtcp}" if called else ""
    return f"Round trips are measured by the kernel, {where}{on_calls}."
