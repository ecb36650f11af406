"""The sections of the evidence: failures, slow turns, and what was excluded. They compute no values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from bench.base.units import NS_PER_S
from reports.analysis.evidence.exclusions import Exclusion
from reports.analysis.evidence.failures import FailureEntry
from reports.analysis.summary.example_turns import SlowTurnEntry
from reports.analysis.summary.summary import Summary
from reports.formatting import NBSP, NONE, count, format_duration, format_utc_ms, ms, plural
from reports.pages.evidence.document import Evidence
from reports.pages.run_report.context_sections import checks
from reports.pages.run_report.metric_tables import target_cell
from reports.render import blocks as b
from reports.text import cells, groups

UNKNOWN = "unknown"
CREDENTIALS = (
    "Errors are the texts that the service sent, as received: the code and the message of the body, on one line, with "
    "control characters escaped. If a connection broke, they are those of our operating system. Possible credentials "
    "are replaced by ***."
)
NO_IDS = {"date", "x-ms-region"}
"""The listed headers that do not identify a request."""
BRIEF_ROWS = 5
"""The maximum number of outcomes, and of examples, that a terminal shows."""
SLOW_ROWS = 10


class ExclusionText(NamedTuple):
    """The name of a reason, its explanation, and whether it has a number of turns and a number of sessions."""

    name: str
    meaning: str
    has_turns: bool = True
    has_sessions: bool = True


EXCLUSIONS: dict[Exclusion, ExclusionText] = {
    "warm_up": ExclusionText("warm-up", "started before the measured phase"),
    "unfinished": ExclusionText("cut by the end of the run", "our client closed the session; no fault of the service"),
    "starved": ExclusionText(
        "starved", "a time limit passed while our process did not run; the outcome is unknown", has_sessions=False
    ),
    "not_recorded": ExclusionText("turns without a row", "started, but not recorded", has_sessions=False),
    "missing_workers": ExclusionText(
        "missing workers", "the maximum number of turns that processes of our client did not report", has_sessions=False
    ),
    "parts": ExclusionText("parts that could not be read", "the run was merged from several machines"),
    "blocked": ExclusionText(
        "calls that our client did not start", "all slots were busy, or the run ended", has_turns=False
    ),
    "load_generator": ExclusionText("faults of our client", "failed:load_generator; not listed above"),
    "network": ExclusionText(
        "no request reached the service",
        "sign-in, proxy, DNS, TCP or TLS failed; the cause may be our network",
        has_turns=False,
    ),
}


def instant(utc_ns: int | None) -> str:
    """Return an instant in UTC with its milliseconds."""
    return UNKNOWN if utc_ns is None else format_utc_ms(utc_ns)


def failures(evidence: Evidence) -> b.Section:
    """Return the section on failed turns and sessions: an example of each kind, then others in a fold."""
    listed, summary = evidence.failures, evidence.summary
    heading, question = "Failed turns and sessions", "Which requests failed?"
    if not listed.total:
        return b.Section("failures", heading, question, [b.Paragraph("No turn and no session failed.")])
    blocks: list[b.Block] = [b.Paragraph(CREDENTIALS), *b.line(_unknown_ids(evidence))]
    blocks += [b.Heading(f"An example of each kind ({count(len(listed.examples))} of {count(listed.kinds)})")]
    blocks += [_failure_table(summary, listed.examples)]
    if listed.others:
        title = f"{plural(len(listed.others), 'more failure')}, by time"
        blocks += [b.Details(title, [_failure_table(summary, listed.others)])]
    if listed.not_listed:
        more: b.Inline = (
            f"{plural(listed.not_listed, 'more failure')} of {count(listed.total)} are not listed: ",
            b.Code("rtbench export"),
            " writes all rows (turns.csv, sessions.csv).",
        )
        blocks += [b.Paragraph(more)]
    texts = [_failure_text(entry) for entry in listed.examples[:BRIEF_ROWS]]
    brief = [block for text in texts for block in b.fact("example", [text], 4)]
    return b.Section("failures", heading, question, blocks, brief=brief)


def _failure_table(summary: Summary, entries: Sequence[FailureEntry]) -> b.Table:
    several = len(summary.targets) > 1
    heads: list[b.Head] = [
        b.Column("outcome", left=True, below="failed at (UTC)"),
        *([b.Column("target", left=True)] if several else []),
        b.Column("step, turn", left=True),
        *("input tokens", "HTTP", "close code"),
    ]
    rows = []
    for entry in entries:
        tokens = NONE if entry.context_tokens is None else f"{count(entry.context_tokens)}"
        parts: b.Line = [
            b.Cell(b.Code(entry.outcome), instant(entry.failed_utc_ns)),
            *([target_cell(summary, entry.target)] if several else []),
            f"{entry.step}, {entry.turn}" if entry.scope == "turn" else "session",
            f"≥{NBSP}{tokens}" if entry.context_is_lower_bound and entry.context_tokens is not None else tokens,
            NONE if entry.http_status is None else str(entry.http_status),
            NONE if entry.close_code is None else str(entry.close_code),
        ]
        rows.append(b.make_row(parts, ids=list(_ids(entry)), target=summary.targets.index(entry.target)))
    return b.table(heads, rows, stacked=True, style="slow")


def _ids(entry: FailureEntry) -> Iterable[tuple[str, b.Inline]]:
    """Yield the error of a failure as received, and its IDs. An ID that the service did not send is `unknown`."""
    if entry.message:
        cut = " (cut: only its first characters were stored)" if entry.message_is_cut else ""
        yield "error", (b.Code(entry.message), cut)
    if entry.close_reason and entry.close_reason != entry.message:
        yield "close reason", b.Code(entry.close_reason)
    yield "started", b.Code(format_utc_ms(entry.started_utc_ns))
    for name, value in _named_ids(entry):
        yield name, b.Code(value) if value else UNKNOWN


def _named_ids(entry: FailureEntry) -> Iterable[tuple[str, str]]:
    """Yield the IDs of a failure with their names; "" if an ID is unknown. The headers of the upgrade follow."""
    yield "our session", entry.session
    yield "service’s session", entry.service_session
    if entry.scope == "turn":
        yield "response", entry.response
    if entry.request not in entry.headers.values():
        yield "request", entry.request
    if entry.region not in entry.headers.values():
        yield "region", entry.region
    names: dict[str, list[str]] = {}
    for name, value in entry.headers.items():
        names.setdefault(value, []).append(name)
    yield from ((", ".join(of_value), value) for value, of_value in names.items())


def _failure_text(entry: FailureEntry) -> str:
    """Return a failure as a text of a terminal: the outcome, the instant, the most important IDs, and the error."""
    ids = (
        *(("request", entry.request), ("service’s session", entry.service_session), ("response", entry.response)),
        ("our session", entry.session),
    )
    named = ", ".join(f"{name} {value}" for name, value in ids if value)
    error = f"; {entry.message}" if entry.message else ""
    return f"{entry.outcome} at {instant(entry.failed_utc_ns)}: {named}{error}"


def _unknown_ids(evidence: Evidence) -> str:
    """Return how many of the listed failures have no ID of a kind; "" if all have one."""
    entries = evidence.document.failures
    turns = [entry for entry in entries if entry.scope == "turn"]
    parts = (
        ("request ID", sum(not (entry.request or entry.headers.keys() - NO_IDS) for entry in entries), len(entries)),
        ("session ID of the service", sum(not entry.service_session for entry in entries), len(entries)),
        ("response ID", sum(not entry.response for entry in turns), len(turns)),
    )
    missing = [f"the {name} of {count(n)} of {plural(of, 'listed failure')}" for name, n, of in parts if n]
    return f"Unknown, because the service sent none before the failure: {', '.join(missing)}." if missing else ""


def context(summary: Summary) -> b.Section | None:
    """Return the section on failures by the input tokens of the conversation; None if these are unknown."""
    frames = summary.latency_by("context")
    heading, question = "Failures by context length", "Do longer conversations fail more often?"
    if not frames:
        return None
    rising = groups.rising_failures(summary)
    blocks: list[b.Block] = [*b.line(rising)]
    for frame in frames:
        title = cells.metric_title(frame[0].metric, frame[0].stratum)
        blocks += [b.Heading(title)] if len(frames) > 1 else []
        blocks += groups.failure_blocks(frame, summary.targets)
    return b.Section("context", heading, question, blocks, brief=b.fact("by context", [rising]))


def periods(evidence: Evidence) -> b.Section | None:
    """Return the section on failures over time; None if nothing was measured."""
    listed, summary = evidence.document.by_period, evidence.summary
    if not listed:
        return None
    several, length = len(summary.targets) > 1, format_duration(listed[0].duration_s)
    heads: list[b.Head] = [
        b.Column("start (UTC)", left=True),
        *([b.Column("target", left=True)] if several else []),
        *("planned turns", "failed or not started", "sessions started", "not opened"),
    ]
    rows = []
    for period in listed:
        parts: b.Line = [
            f"{format_utc_ms(period.start_utc_ns)[:16]}Z",
            *([target_cell(summary, period.target)] if several else []),
            count(period.failed.total),
            groups.interval_cell(period.failed),
            count(period.unopened.total),
            groups.interval_cell(period.unopened),
        ]
        rows.append(b.make_row(parts, target=summary.targets.index(period.target)))
    what = f"In periods of {length}, with 95 % intervals over sessions. The warm-up is excluded."
    blocks: list[b.Block] = [b.Paragraph(what), b.table(heads, rows, stacked=True)]
    return b.Section("periods", "Failures over time", "When did it fail?", blocks)


def slowest(evidence: Evidence) -> b.Section | None:
    """Return the section on the slowest successful turns; None if no turn succeeded. It is folded after failures."""
    turns, summary = evidence.document.slowest[:SLOW_ROWS], evidence.summary
    if not turns:
        return None
    several = len(summary.targets) > 1
    heads: list[b.Head] = [
        b.Column("started at (UTC)", left=True),
        *([b.Column("target", left=True)] if several else []),
        b.Column("step, turn", left=True),
        b.Column("metric", left=True),
        "value",
        "network_rtt",
    ]
    rows = []
    for slow in turns:
        parts: b.Line = [
            format_utc_ms(summary.window.started_utc_ns + round(slow.at_s * NS_PER_S)),
            *([target_cell(summary, slow.target)] if several else []),
            f"{slow.step}, {slow.turn}",
            cells.metric_title(slow.metric, slow.stratum),
            ms(slow.value_ms),
            ms(slow.network_rtt_ms),
        ]
        ids: list[tuple[str, b.Inline]] = [
            (name, b.Code(value) if value else UNKNOWN) for name, value in _slow_ids(slow)
        ]
        rows.append(b.make_row(parts, ids=ids, target=summary.targets.index(slow.target)))
    folded = bool(evidence.failures.total)
    blocks: list[b.Block] = [
        b.Paragraph("Successful turns, the slowest first."),
        b.table(heads, rows, stacked=True, style="slow"),
    ]
    brief = b.fact("slowest", [_slow_text(slow) for slow in turns[:1]], 4) if not folded else []
    return b.Section("slowest", "Slowest turns", "Which requests were slow?", blocks, folded=folded, brief=brief)


def _slow_ids(slow: SlowTurnEntry) -> Iterable[tuple[str, str]]:
    yield from (("our session", slow.session), ("service’s session", slow.service_session))
    yield from (("response", slow.response), ("request", slow.request), ("region", slow.region))


def _slow_text(slow: SlowTurnEntry) -> str:
    ids = ", ".join(f"{name} {value}" for name, value in _slow_ids(slow) if value)
    return f"{slow.metric} {ms(slow.value_ms)}, {slow.step}, turn {slow.turn}; {ids}"


def excluded(evidence: Evidence) -> b.Section:
    """Return the section on what the shares exclude, and on the checks of the load generator."""
    document, summary = evidence.document, evidence.summary
    rows, listed = list[b.Row](), list[str]()
    for entry in document.exclusions:
        text = EXCLUSIONS[entry.reason]
        numbers = [
            NONE if not has_number else UNKNOWN if number is None else count(number)
            for has_number, number in ((text.has_turns, entry.turns), (text.has_sessions, entry.sessions))
        ]
        note = f"{text.meaning}{f' ({entry.note})' if entry.note else ''}"
        included = "counted as failed" if entry.included else "excluded"
        rows.append(b.make_row([b.Cell(text.name, note), *numbers, included]))
        if entry.turns or entry.sessions:
            parts = [plural(n, noun) for n, noun in ((entry.turns, "turn"), (entry.sessions, "session")) if n]
            listed.append(f"{text.name} {', '.join(parts)}")
    heads = ("what", "turns", "sessions", b.Column("in the shares", left=True))
    recorded = (
        f"{plural(len(summary.run.turns), 'turn')} and {plural(len(summary.run.sessions), 'session')} were recorded. "
        "The table has everything that the shares exclude, and the failures that they include although the service may "
        "not be their cause. Nothing else was left out."
    )
    events = (summary.run.metadata.get("totals") or {}).get("events")
    fallbacks = (summary.run.metadata.get("totals") or {}).get("timestamp_fallbacks")
    timestamped = (
        f"{count(events)} events were received, {count(fallbacks or 0)} without a kernel timestamp." if events else ""
    )
    blocks: list[b.Block] = [
        b.Paragraph(recorded),
        b.table(heads, rows, style="facts", stacked=True),
        b.Heading("Checks of our load generator"),
        *(checks(summary.validity.checks) or [b.Paragraph("No check was evaluated.")]),
        *b.note(timestamped),
    ]
    brief = b.fact("our client", listed or ["nothing excluded"])
    return b.Section("excluded", "What was excluded", "Is anything else left out?", blocks, brief=brief)
