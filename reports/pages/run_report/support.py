"""The page of `rtbench report RUN --only failed`: what a service's support needs to find the failed
or the slow turns of a run.

Its reader is an engineer of the service who does not know this tool. Its sections are those of the
report, without files of the run's folder. Nothing on it has words of a conversation or settings of
a session, and possible credentials are hidden.
"""

from dataclasses import replace
from typing import Literal
from urllib.parse import parse_qsl, urlsplit

from msgspec import structs

from bench.base.units import NS_PER_S
from bench.catalogue.outcomes import OWN_FAULT
from reports.analysis.summary.example_turns import SlowTurnEntry
from reports.analysis.summary.failures import FailureEntry
from reports.analysis.summary.secrets import hidden
from reports.analysis.summary.summary import Summary
from reports.data.runs import run_id_of, target_entries
from reports.formatting import NBSP, capitalize, count, format_utc_ms, ms, percent, plural
from reports.pages.run_report.metric_tables import UNKNOWN, failure_text
from reports.pages.run_report.report import badges_of, sections_by
from reports.pages.run_report.sections.failed import all_failed
from reports.pages.run_report.sections.slowest import slowest
from reports.render import blocks as b
from reports.render.files import PagePaths, write_page
from reports.text import phrases, validity
from reports.text.notices import unread_notice

Part = Literal["failed", "slow"]
PURPOSE = (
    "This page is for an engineer of the service’s support. It lists turns that a load test"
    " measured as a client, with their instants and the IDs that the service gave them. Instants in"
    " UTC come from the clock of our machine, which may differ from the service’s: search by ID"
    " first. The header date is the service’s own time of the upgrade."
)
EXAMPLE = "No real service was measured, so this page is only an example. "
MUST_NOT = "This page must not be used as evidence against the service"


def support_page(results: Summary, part: Part) -> b.Page:
    """Return a page with one part of a run's report, and where the service was called."""
    summary = _shareable(results)
    if part == "failed":
        sections = sections_by(all_failed, summary)
        lines = [failure_text(entry) for entry in summary.failures.listed]
    else:
        sections = sections_by(slowest, summary)
        lines = [_slow_text(summary, slow) for slow in summary.slowest]
    run_id = run_id_of(summary.run)
    marks = [badge.text for badge in badges_of(summary)]
    return b.Page(
        title=" · ".join([f"{part.capitalize()} turns", *marks, run_id]),
        badges=badges_of(summary),
        notes=f"{run_id} · {format_utc_ms(summary.started_utc_ns)}",
        headline=_headline(summary),
        lead=[
            *_warnings(summary),
            b.Paragraph((EXAMPLE if summary.simulated else "", PURPOSE), "lead"),
        ],
        answer=[],
        sections=[
            _endpoints(summary),
            *(replace(section, brief=b.facts(part, lines)) for section in sections),
        ],
        footer=(b.MEASURED_AGAINST if summary.simulated else "", "All times are UTC."),
        targets=summary.targets if summary.has_several_targets else (),
        struck=summary.validity.status == "invalid",
    )


def write_support_page(summary: Summary, page: b.Page, part: Part) -> PagePaths:
    """Write the page as HTML and as Markdown into the run's folder. Raise UsageError if that
    fails.
    """
    path = summary.run.folder / f"report-{part}.html"
    return write_page(page, "", path, "the report")


def _shareable(summary: Summary) -> Summary:
    """Return the results with hidden credentials, and without the files that stay in the run's
    folder.
    """

    def without_log(entry: FailureEntry) -> FailureEntry:
        return structs.replace(entry, event_log="")

    listed = summary.failures
    return structs.replace(
        summary,
        slowest=tuple(hidden(structs.replace(slow, event_log="")) for slow in summary.slowest),
        slowest_of_steps=(),
        failures=structs.replace(
            listed,
            examples=tuple(map(without_log, listed.examples)),
            others=tuple(map(without_log, listed.others)),
        ),
    )


def _headline(summary: Summary) -> str:
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
            parts.append(
                f"{count(known.failed_or_not_started)} of"
                f" {plural(known.turns_planned, 'planned turn')}{whose} failed"
                f" ({percent(known.failure_rate, 1)}; 95{NBSP}% interval: {ends})"
            )
    return f"{'; '.join(parts)}." if parts else "Nothing was measured."


def _warnings(summary: Summary) -> b.Blocks:
    """Return what a reader must know first: an unusable run, or faults of our own."""
    verdict = summary.validity
    reason = validity.verdict_reason(verdict)
    lines: list[b.Inline] = []
    if verdict.status == "invalid":
        lines.append("Our load generator may have caused the failures and the latencies.")
        lines += [
            f"{capitalize(phrases.CHECKS[check.name].failure)}: {phrases.check_values(check)}."
            for check in verdict.failed
        ]
    elif verdict.status == "no_verdict":
        lines.append(
            f"{MUST_NOT} alone: it is unknown whether our load generator kept up: {reason}."
        )
    own = (of for of in summary.endings.turns if of.outcome == OWN_FAULT)
    if turns := sum(sum(of.counts) for of in own):
        lines.append(f"{plural(turns, 'turn')} failed because of our client, and are not listed.")
    lines += filter(None, [unread_notice(summary.run.metadata)])
    return [b.Banner(lines)] if lines else []


def _endpoints(summary: Summary) -> b.Section:
    """Return the section on where the service was called."""
    entries = target_entries(summary.run.metadata)
    known = [(facts, entries.get(facts.target, {})) for facts in summary.target_settings]
    addresses = [_address(str(entry.get("url") or "")) for _, entry in known]
    rows: dict[str, list[str]] = {
        "host": [host for host, _ in addresses],
        "deployment or model, as requested": [
            str(entry.get("model") or query.get("deployment") or query.get("model") or "")
            for (_, entry), (_, query) in zip(known, addresses, strict=True)
        ],
        "model": [facts.model or "" for facts, _ in known],
        "API version": [query.get("api-version", "") for _, query in addresses],
        "dialect": [facts.dialect or "" for facts, _ in known],
        "region": [facts.region or "" for facts, _ in known],
    }
    texts = {name: [hidden(value or UNKNOWN) for value in of] for name, of in rows.items()}
    columns = [b.TextColumn(name, target=i, marked=True) for i, name in enumerate(summary.targets)]
    table = b.table(
        [b.Column("endpoint", style="vh"), *columns],
        [b.make_row([name, *of]) for name, of in texts.items()],
        style="facts",
    )
    lines = (
        ", ".join(f"{name} {text}" for name, text in zip(texts, of, strict=True) if text != UNKNOWN)
        for of in zip(*texts.values(), strict=True)
    )
    return b.Section(
        "endpoints",
        "Endpoints",
        "Where was the service called?",
        [table],
        brief=b.facts("endpoint", lines),
    )


def _address(url: str) -> tuple[str, dict[str, str]]:
    """Return the host of a URL with its port, and the parameters of its query; ("", {}) if it is
    no URL.
    """
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "", {}
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    return f"{host}{port}", dict(parse_qsl(parts.query))


def _slow_text(summary: Summary, slow: SlowTurnEntry) -> str:
    """Return a slow turn as a text of a terminal."""
    ids = (
        ("request", slow.request),
        ("service’s session", slow.service_session),
        ("response", slow.response),
        ("our session", slow.session),
    )
    named = ", ".join(f"{name} {value}" for name, value in ids if value)
    started = format_utc_ms(summary.started_utc_ns + round(slow.at_s * NS_PER_S))
    return f"{slow.metric} {ms(slow.value_ms)} of {slow.target}, started at {started}: {named}"
