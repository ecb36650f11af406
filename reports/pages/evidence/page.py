"""The page evidence.html: what a service's support needs to find the failed and the slow turns of a run.

Its reader is an engineer of the service who does not know this tool. The page computes no values.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench.catalogue.metrics import CATALOGUE
from bench.catalogue.outcomes import meaning
from reports.analysis.evidence.shares import NOT_OPENED, NOT_STARTED, FailureShare
from reports.analysis.summary.outcomes import by_outcome
from reports.analysis.summary.summary import Summary
from reports.formatting import (
    NBSP,
    NONE,
    capitalize,
    count,
    format_duration,
    format_number,
    format_utc_ms,
    percent,
    plural,
)
from reports.metrics.rate_metrics import RATES
from reports.metrics.thresholds import unread_notice
from reports.pages.evidence import sections
from reports.pages.evidence.document import Evidence, EvidenceDocument
from reports.pages.evidence.sections import UNKNOWN, instant
from reports.pages.run_report.metric_tables import target_cell
from reports.pages.run_report.report import METHOD, badges_of, main_results
from reports.render import blocks as b
from reports.text import cells, validity
from reports.text import check_sentences as thresholds
from reports.text.cells import interval

PURPOSE = (
    "This page is for an engineer of the service’s support. It lists failures that a load test received as a client, "
    "with their instants, the IDs that the service gave them, and its errors as received."
)
NO_SERVICE = (b.Strong("◇ SIMULATED:"), " no real service was measured, so this page is only an example. ", PURPOSE)
MUST_NOT = "This page must not be used as evidence against the service"
VALIDITY = "A run is valid if our load generator was not the bottleneck."
CLOCK = (
    "Instants in UTC come from the clock of our machine, which may differ from the service’s: search by ID first. "
    "The header date is the service’s own time of the upgrade."
)
TIMESTAMPS = {
    "kernel": "The kernel of our machine timestamps received data on arrival: latencies exclude delays of our process.",
    "userspace": "Our process timestamps received data, so latencies may include delays of our process.",
    "mixed": "The kernel of our machine timestamps received data on arrival, but our process timestamps some of them.",
}
INTERVALS = (
    "Intervals are 95 %, over sessions, because failures of one session are not independent. A planned turn whose "
    "session had ended before is not started, and counts as failed."
)


def evidence_page(evidence: Evidence) -> b.Page:
    """Return the page of a run's evidence."""
    document, summary = evidence.document, evidence.summary
    made = [
        _measured(evidence),
        sections.failures(evidence),
        sections.context(summary),
        sections.periods(evidence),
        sections.slowest(evidence),
        sections.excluded(evidence),
        _definitions(evidence),
    ]
    period = f"{format_utc_ms(document.started_utc_ns)} to {instant(document.ended_utc_ns)}"
    return b.Page(
        title=f"Evidence · {summary.validity.title}{' · SIMULATED' if summary.simulated else ''} · {document.run_id}",
        badges=badges_of(summary),
        notes=f"Evidence · {document.run_id} · {period}",
        headline=headline(evidence),
        lead=[*_warning(evidence), b.Paragraph(NO_SERVICE if summary.simulated else PURPOSE, "lead")],
        answer=[*_shares(evidence), *_latency(evidence)],
        sections=[section for section in made if section is not None],
        definitions=_terms(evidence),
        footer=(
            b.MEASURED_AGAINST if summary.simulated else "",
            f"Written by rtbench {document.tool_version or UNKNOWN}, a load test of voice services. The same data are "
            "in ",
            b.Code("evidence.json"),
            f". Version of the metric definitions: {document.definitions_version}. All times are UTC.",
        ),
        targets=summary.targets if len(summary.targets) > 1 else (),
        struck=summary.validity.status == "invalid",
    )


def headline(evidence: Evidence) -> str:
    """Return the failures of all targets in one sentence, or why the page must not be used."""
    document, summary = evidence.document, evidence.summary
    if summary.validity.status == "invalid":
        return f"{MUST_NOT}: {validity.verdict_reason(summary.validity)}."
    several, parts = len(summary.targets) > 1, list[str]()
    for outcome, noun, verb in (("failure_rate", "planned turn", "failed"), (NOT_OPENED, "session", "did not open")):
        for entry in document.shares:
            share = entry.share
            if entry.outcome == outcome and share.total and (share.count or outcome != NOT_OPENED):
                whose = f" of {entry.target}" if several else ""
                of = f"{count(share.count)} of {plural(share.total, noun)}{whose}"
                parts.append(f"{of} {verb} ({percent(share.share, 1)})")
    return f"{'; '.join(parts)}." if parts else "Nothing was measured."


def _warning(evidence: Evidence) -> list[b.Block]:
    """Return what a reader must know before the values: an unusable run, or faults of our own."""
    verdict, lines = evidence.summary.validity, list[b.Inline]()
    if verdict.status == "invalid":
        lines.append((b.Strong("The run is INVALID:"), " our load generator may have caused its values."))
        lines += [
            f"{capitalize(cells.CHECKS[check.name].failure)}: {cells.check_values(check)}." for check in verdict.failed
        ]
    elif verdict.status == "no_verdict":
        reason = validity.verdict_reason(verdict)
        lines.append((b.Strong(f"{MUST_NOT} alone."), f" It is unknown whether our load generator kept up: {reason}."))
    own = next(entry for entry in evidence.document.exclusions if entry.reason == "load_generator")
    if own.turns or own.sessions:
        what = f"{plural(own.turns or 0, 'turn')} and {plural(own.sessions or 0, 'session')}"
        lines.append(
            f"{what} failed because of our client. They count in the shares, but are not the service’s failures."
        )
    lines += filter(None, [unread_notice(evidence.summary.run.metadata)])
    return [b.Banner(lines)] if lines else []


def _shares(evidence: Evidence) -> list[b.Block]:
    """Return a table of the shares of turns, and one of those of sessions."""
    blocks: list[b.Block] = []
    for unit, of in (("turns", "Shares of the planned turns"), ("sessions", "Shares of the sessions that ended")):
        shares = [share for share in evidence.document.shares if share.unit == unit and share.share.total]
        if shares:
            blocks += [b.Heading(of), _share_table(evidence.summary, shares)]
    return [*(b.line(INTERVALS) if blocks else []), *blocks]


def _share_table(summary: Summary, shares: Sequence[FailureShare]) -> b.Table:
    several = len(summary.targets) > 1
    heads: list[b.Head] = [
        b.Column("outcome", min_width=24),
        *([b.Column("target", left=True)] if several else []),
        b.Column("share", below="95 % interval"),
        b.Column("counts", style="nowrap", leave_out=2),
        b.Column("meaning", left=True, style="wrap narrowout", leave_out=1),
    ]
    rows: list[b.Row] = []
    for entry in shares:
        share = entry.share
        is_total = entry.outcome in (*RATES, NOT_STARTED, NOT_OPENED)
        name: b.Inline = b.Term(entry.outcome) if is_total else b.Code(entry.outcome)
        parts: b.Line = [
            name,
            *([target_cell(summary, entry.target, marked=True)] if several else []),
            b.Cell(percent(share.share, 1), interval(share.low, share.high, lambda end: percent(end, 1))),
            f"{count(share.count)} of {count(share.total)}",
            _meaning(summary, entry),
        ]
        rows.append(b.make_row(parts, "bold" if is_total else "", target=summary.targets.index(entry.target)))
    return b.table(heads, rows)


MEANINGS = {
    "failure_rate": "(failed + not started) ÷ planned turns",
    "throttle_rate": "limited by the service’s rate limits, of the turns that ended",
    NOT_STARTED: "planned, but their session had ended",
    NOT_OPENED: "failed before the service confirmed the session’s settings",
}


def _meaning(summary: Summary, entry: FailureShare) -> str:
    """Return what an outcome means. For turns that did not start, add how their sessions ended."""
    if entry.outcome == NOT_STARTED:
        counts = by_outcome(summary.outcomes.not_started_turns, summary.targets.index(entry.target))
        ended = ", ".join(f"{outcome} {count(number)}" for outcome, number in counts.items())
        return f"{MEANINGS[NOT_STARTED]}: {ended}"
    return MEANINGS.get(entry.outcome) or meaning(entry.outcome) or NONE


def _latency(evidence: Evidence) -> list[b.Block]:
    """Return the main latencies, and the thresholds that they should meet."""
    results = main_results(evidence.summary)
    blocks: list[b.Block] = [b.Heading("Latency"), *results] if results else []
    if not evidence.thresholds:
        return blocks
    rows = []
    for result in evidence.thresholds:
        mark = b.MARKS[result.result]
        rows.append(
            b.make_row(
                [
                    result.title,
                    result.target,
                    thresholds.value_text(result),
                    thresholds.interval_text(result),
                    thresholds.limit_text(result),
                    b.Cell(b.with_marker(result.result), style=f"{mark.colour} {mark.colour}-ink"),
                ]
            )
        )
    heads = ("threshold", "target", "value", "95 % interval", "limit", b.Column("result", left=True))
    return [*blocks, b.Heading("Our thresholds"), b.table(heads, rows, left=(0, 1))]


def _measured(evidence: Evidence) -> b.Section:
    document, summary = evidence.document, evidence.summary
    facts = [
        ("endpoint host", [entry.host for entry in document.endpoints]),
        ("dialect of the API", [entry.dialect for entry in document.endpoints]),
        ("deployment or model, as requested", [entry.requested for entry in document.endpoints]),
        ("model, as reported", [entry.model for entry in document.endpoints]),
        ("API version", [entry.api_version for entry in document.endpoints]),
        ("region", [entry.region for entry in document.endpoints]),
    ]
    columns = [b.Column(name, left=True, target=i, marked=True) for i, name in enumerate(summary.targets)]
    rows = [b.make_row([name, *(text or UNKNOWN for text in texts)]) for name, texts in facts]
    endpoint_table = b.table([b.Column("target", style="vh"), *columns], rows, style="facts")
    warm_up = f", of which {format_duration(document.warmup_s)} are warm-up" if document.warmup_s else ""
    scripts = dict.fromkeys(
        f"{script.name or UNKNOWN}: {plural(script.turns, 'turn')}, SHA-256 {script.digest or UNKNOWN}"
        for script in document.scripts
    )
    run = [
        ("start", format_utc_ms(document.started_utc_ns)),
        ("end", f"{instant(document.ended_utc_ns)}{warm_up}"),
        ("load", document.load or UNKNOWN),
        ("validity of the run", f"{summary.validity.title}: {validity.verdict_reason(summary.validity)}. {VALIDITY}"),
        ("timestamps", _timestamps(document)),
        ("scripts", "; ".join(scripts) or UNKNOWN),
        ("tool", f"rtbench {document.tool_version or UNKNOWN}"),
    ]
    blocks: list[b.Block] = [b.Heading("Endpoints"), endpoint_table] if columns else []
    blocks += [
        b.Heading("Run"),
        b.table([b.Column("run", style="vh"), b.Column(document.run_id, left=True)], run, style="facts"),
    ]
    hosts = [
        f"{entry.host or UNKNOWN}, {entry.requested or entry.model or 'model unknown'}, "
        f"region {entry.region or UNKNOWN}"
        for entry in document.endpoints
    ]
    brief = [*b.fact("endpoint", hosts), *b.fact("load", [document.load])]
    return b.Section("measured", "What was measured", "Where, when, and how?", blocks, brief=brief)


def _timestamps(document: EvidenceDocument) -> str:
    how = TIMESTAMPS.get(document.receive_timestamp_source, "The source of timestamps is unknown.")
    uncertainty = document.timestamp_uncertainty_p99_ms
    if uncertainty == uncertainty:
        how += f" They are at most {format_number(uncertainty)}{NBSP}ms late (p99 of the uncertainty)."
    return f"{how} {CLOCK}"


def _terms(evidence: Evidence) -> dict[str, str]:
    """Return the definitions to which the page links."""
    metrics = {result.metric: CATALOGUE[result.metric].sentence for result in evidence.document.results}
    known = {
        check.name: CATALOGUE[check.name].sentence
        for check in evidence.summary.validity.checks
        if check.name in CATALOGUE
    }
    rates = {name: RATES[name].sentence for name in ("failure_rate", "throttle_rate")}
    more = {NOT_STARTED: METHOD["not started"], NOT_OPENED: f"{capitalize(MEANINGS[NOT_OPENED])}."}
    return metrics | known | rates | more | {"interval": METHOD["interval"]}


def _definitions(evidence: Evidence) -> b.Section:
    terms = list(_terms(evidence).items())
    blocks = [b.Details(plural(len(terms), "definition"), [b.Definitions(terms)])]
    return b.Section("how", "Definitions", "What do the words mean?", blocks)
