"""The page evidence.html: what a service's support needs to find the failed and the slow turns of a
run.

Its reader is an engineer of the service who does not know this tool. The sections on results are
those of the report.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from reports.analysis.evidence.exclusions import Exclusion
from reports.analysis.evidence.failures import ListedFailures
from reports.analysis.summary.summary import Summary
from reports.data.runs import run_id_of
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
from reports.pages.evidence.document import Evidence, EvidenceDocument
from reports.pages.run_report.metric_tables import UNKNOWN, failure_table, failure_text, instant
from reports.pages.run_report.report import METHOD, badges_of, main_results, sections_by
from reports.pages.run_report.sections import conversation, health, latency, outcomes, slowest
from reports.render import blocks as b
from reports.text import cells, phrases, validity
from reports.text.definitions import definitions
from reports.text.notices import unread_notice

PURPOSE = (
    "This page is for an engineer of the service’s support. It lists failures that a load test"
    " received as a client, with their instants, the IDs that the service gave them, and its errors"
    " as received."
)
NO_SERVICE = (
    b.Strong("◇ SIMULATED:"),
    " no real service was measured, so this page is only an example. ",
    PURPOSE,
)
MUST_NOT = "This page must not be used as evidence against the service"
CREDENTIALS = (
    "Errors are the texts that the service sent, as received: the code and the message of the body,"
    " on one line, with control characters escaped. If a connection broke, they are those of our"
    " operating system. Possible credentials are replaced by ***."
)
VALIDITY = "A run is valid if our load generator was not the bottleneck."
CLOCK = (
    "Instants in UTC come from the clock of our machine, which may differ from the service’s:"
    " search by ID first. The header date is the service’s own time of the upgrade."
)
TIMESTAMPS = {
    "kernel": (
        "The kernel of our machine timestamps received data on arrival: latencies exclude delays of"
        " our process."
    ),
    "userspace": (
        "Our process timestamps received data, so latencies may include delays of our process."
    ),
    "mixed": (
        "The kernel of our machine timestamps received data on arrival, but our process timestamps"
        " some of them."
    ),
}
BRIEF_ROWS = 5
"""The maximum number of examples that a terminal shows."""


def evidence_page(evidence: Evidence) -> b.Page:
    """Return the page of a run's evidence."""
    document, summary = evidence
    run_id = run_id_of(summary.run)
    period = f"{format_utc_ms(document.started_utc_ns)} to {instant(document.ended_utc_ns)}"
    terms = _terms(evidence)
    of_report = (
        outcomes.outcomes,
        latency.time,
        conversation.context_failures,
        slowest.slowest,
        health.health,
    )
    results = main_results(summary)
    definitions = b.Details(plural(len(terms), "definition"), [b.Definitions(list(terms.items()))])
    sections = [
        measured(evidence),
        failures(document.failures, summary.targets),
        *(section for make in of_report for section in sections_by(make, summary)),
        excluded(evidence),
        b.Section("how", "Definitions", "What do the words mean?", [definitions]),
    ]
    folded = {"slow", "health"} if document.failures.total else {"health"}
    return b.Page(
        title=(
            f"Evidence · {summary.validity.title}{' · SIMULATED' if summary.simulated else ''} ·"
            f" {run_id}"
        ),
        badges=badges_of(summary),
        notes=f"Evidence · {run_id} · {period}",
        headline=headline(summary),
        lead=[
            *_warning(evidence),
            b.Paragraph(NO_SERVICE if summary.simulated else PURPOSE, "lead"),
        ],
        answer=[b.Heading("Latency"), *results] if results else [],
        sections=[replace(section, folded=section.anchor in folded) for section in sections],
        definitions=terms,
        footer=(
            b.MEASURED_AGAINST if summary.simulated else "",
            (
                f"Written by rtbench {document.tool_version or UNKNOWN}, a load test of voice"
                " services. The same data are in "
            ),
            b.Code("evidence.json"),
            (
                f". Version of the metric definitions: {document.definitions_version}. All times"
                " are UTC."
            ),
        ),
        targets=summary.targets if summary.has_several_targets else (),
        struck=summary.validity.status == "invalid",
    )


def headline(summary: Summary) -> str:
    """Return the failures of all targets in one sentence, or why the page must not be used."""
    if summary.validity.status == "invalid":
        return f"{MUST_NOT}: {validity.verdict_reason(summary.validity)}."
    parts = []
    for target, known in summary.outcomes.items():
        if known.turns_planned:
            whose = f" of {target}" if summary.has_several_targets else ""
            ends = phrases.interval(
                known.failure_rate_low, known.failure_rate_high, lambda share: percent(share, 1)
            )
            of = (
                f"{count(known.failed_or_not_started)} of"
                f" {plural(known.turns_planned, 'planned turn')}{whose}"
            )
            parts.append(
                f"{of} failed ({percent(known.failure_rate, 1)}; 95{NBSP}% interval: {ends})"
            )
    return f"{'; '.join(parts)}." if parts else "Nothing was measured."


def _warning(evidence: Evidence) -> b.Blocks:
    """Return what a reader must know before the values: an unusable run, or faults of our own."""
    verdict = evidence.summary.validity
    lines = list[b.Inline]()
    if verdict.status == "invalid":
        lines.append(
            (b.Strong("The run is INVALID:"), " our load generator may have caused its values.")
        )
        lines += [
            f"{capitalize(phrases.CHECKS[check.name].failure)}: {phrases.check_values(check)}."
            for check in verdict.failed
        ]
    elif verdict.status == "no_verdict":
        reason = validity.verdict_reason(verdict)
        lines.append(
            (
                b.Strong(f"{MUST_NOT} alone."),
                f" It is unknown whether our load generator kept up: {reason}.",
            )
        )
    own = next(entry for entry in evidence.document.exclusions if entry.reason == "load_generator")
    if own.turns or own.sessions:
        what = f"{plural(own.turns or 0, 'turn')} and {plural(own.sessions or 0, 'session')}"
        lines.append(
            f"{what} failed because of our client. They count as failed, but are not the service’s"
            " failures."
        )
    lines += filter(None, [unread_notice(evidence.summary.run.metadata)])
    return [b.Banner(lines)] if lines else []


def measured(evidence: Evidence) -> b.Section:
    """Return the section on the endpoints and the run."""
    document, summary = evidence
    facts = {
        "endpoint host": "host",
        "dialect of the API": "dialect",
        "deployment or model, as requested": "requested",
        "model, as reported": "model",
        "API version": "api_version",
        "region": "region",
    }
    columns = [b.TextColumn(name, target=i, marked=True) for i, name in enumerate(summary.targets)]
    rows = [
        b.make_row([fact, *(getattr(entry, key) or UNKNOWN for entry in document.endpoints)])
        for fact, key in facts.items()
    ]
    warm_up = (
        f", of which {format_duration(document.warmup_s)} are warm-up" if document.warmup_s else ""
    )
    scripts = dict.fromkeys(
        f"{script.name or UNKNOWN}: {plural(script.turns, 'turn')}, SHA-256"
        f" {script.digest or UNKNOWN}"
        for script in document.scripts
    )
    run = [
        ("start", format_utc_ms(document.started_utc_ns)),
        ("end", f"{instant(document.ended_utc_ns)}{warm_up}"),
        ("load", document.load or UNKNOWN),
        (
            "validity of the run",
            f"{summary.validity.title}: {validity.verdict_reason(summary.validity)}. {VALIDITY}",
        ),
        ("timestamps", _timestamps(document)),
        ("scripts", "; ".join(scripts) or UNKNOWN),
        ("tool", f"rtbench {document.tool_version or UNKNOWN}"),
    ]
    endpoints = b.table([b.Column("target", style="vh"), *columns], rows, style="facts")
    of_run = b.table(
        [b.Column("run", style="vh"), b.TextColumn(run_id_of(summary.run))],
        run,
        style="facts",
    )
    blocks: b.Blocks = [b.Heading("Endpoints"), endpoints] if columns else []
    hosts = [
        f"{entry.host or UNKNOWN}, {entry.requested or entry.model or 'model unknown'}, "
        f"region {entry.region or UNKNOWN}"
        for entry in document.endpoints
    ]
    brief = [*b.fact("endpoint", hosts), *b.fact("load", [document.load])]
    blocks += [b.Heading("Run"), of_run]
    return b.Section("measured", "What was measured", "Where, when, and how?", blocks, brief=brief)


def _timestamps(document: EvidenceDocument) -> str:
    how = TIMESTAMPS.get(document.receive_timestamp_source, "The source of timestamps is unknown.")
    uncertainty = document.timestamp_uncertainty_p99_ms
    if uncertainty == uncertainty:
        how += (
            f" They are at most {format_number(uncertainty)}{NBSP}ms late (p99 of the uncertainty)."
        )
    return f"{how} {CLOCK}"


def failures(of: ListedFailures, targets: Sequence[str]) -> b.Section:
    """Return the section on failed turns and sessions: an example of each kind, then others in a
    fold.
    """
    heading = "Failed turns and sessions"
    question = "Which requests failed?"
    if not of.total:
        return b.Section(
            "failures", heading, question, [b.Paragraph("No turn and no session failed.")]
        )
    blocks: b.Blocks = [b.Paragraph(CREDENTIALS)]
    blocks += [
        b.Heading(f"An example of each kind ({count(len(of.examples))} of {count(of.kinds)})")
    ]
    blocks += [failure_table(of.examples, targets)]
    if of.others:
        title = f"{plural(len(of.others), 'more failure')}, by time"
        blocks += [b.Details(title, [failure_table(of.others, targets)])]
    if not_listed := of.total - len(of.listed):
        more: b.Inline = (
            f"{plural(not_listed, 'more failure')} of {count(of.total)} are not listed: ",
            b.Code("rtbench runs export"),
            " writes all rows (turns.csv, sessions.csv).",
        )
        blocks += [b.Paragraph(more)]
    brief = b.facts("example", map(failure_text, of.examples[:BRIEF_ROWS]), 4)
    return b.Section("failures", heading, question, blocks, brief=brief)


class ExclusionText(NamedTuple):
    """The name of a reason, its explanation, and whether it has a number of turns and a number
    of sessions.
    """

    name: str
    meaning: str
    has_turns: bool = True
    has_sessions: bool = True


EXCLUSIONS: dict[Exclusion, ExclusionText] = {
    "warm_up": ExclusionText("warm-up", "started before the measured phase"),
    "unfinished": ExclusionText(
        "cut by the end of the run", "our client closed the session; no fault of the service"
    ),
    "starved": ExclusionText(
        "starved",
        "a time limit passed while our process did not run; the outcome is unknown",
        has_sessions=False,
    ),
    "own_limits": ExclusionText(
        "prevented by a limit of our machine", "ports, open files, memory or threads"
    ),
    "not_recorded": ExclusionText(
        "turns without a row", "started, but not recorded", has_sessions=False
    ),
    "missing_workers": ExclusionText(
        "missing workers",
        "the maximum number of turns that processes of our client did not report",
        has_sessions=False,
    ),
    "parts": ExclusionText(
        "parts that could not be read", "the run was merged from several machines"
    ),
    "blocked": ExclusionText(
        "calls that our client did not start",
        "all slots were busy, or the run ended",
        has_turns=False,
    ),
    "load_generator": ExclusionText(
        "faults of our client", "failed:load_generator; not listed above"
    ),
    "network": ExclusionText(
        "no request reached the service",
        "sign-in, proxy, DNS, TCP or TLS failed; the cause may be our network",
        has_turns=False,
    ),
}


def excluded(evidence: Evidence) -> b.Section:
    """Return the section on what the results exclude."""
    run = evidence.summary.run
    rows = list[b.Row]()
    listed = list[str]()
    for entry in evidence.document.exclusions:
        text = EXCLUSIONS[entry.reason]
        numbers = [
            NONE if not has_number else UNKNOWN if number is None else count(number)
            for has_number, number in (
                (text.has_turns, entry.turns),
                (text.has_sessions, entry.sessions),
            )
        ]
        note = f"{text.meaning}{f' ({entry.note})' if entry.note else ''}"
        included = "counted as failed" if entry.included else "excluded"
        rows.append(b.make_row([b.Cell(text.name, note), *numbers, included]))
        if entry.turns or entry.sessions:
            parts = [
                plural(n, noun)
                for n, noun in ((entry.turns, "turn"), (entry.sessions, "session"))
                if n
            ]
            listed.append(f"{text.name} {', '.join(parts)}")
    heads = ("what", "turns", "sessions", b.TextColumn("in the failure rate"))
    recorded = (
        f"{plural(len(run.turns), 'turn')} and {plural(len(run.sessions), 'session')} were"
        " recorded. The table has everything that the results exclude, and the failures that they"
        " include although the service may not be their cause. Nothing else was left out."
    )
    blocks: b.Blocks = [
        b.Paragraph(recorded),
        b.table(heads, rows, style="facts", stacked=True),
    ]
    brief = b.fact("our client", listed or ["nothing excluded"])
    return b.Section(
        "excluded", "What was excluded", "Is anything else left out?", blocks, brief=brief
    )


def _terms(evidence: Evidence) -> dict[str, str]:
    """Return the definitions to which the page links."""
    names = sorted(cells.main_metrics(evidence.summary))
    names += [check.name for check in evidence.summary.validity.checks]
    names += [distribution.metric for distribution in evidence.summary.load_generator]
    return definitions([*names, "failure_rate"]) | METHOD
