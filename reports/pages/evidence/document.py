"""The evidence of a run for a service's support: its content as plain data, and the files.

`rtbench report --evidence` writes it. A key that summary.json has too contains the same results,
with hidden credentials. There are no transcripts and no settings of sessions. Of an endpoint it has
the host, the API version, and the deployment or model.
"""

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Literal, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from msgspec.structs import replace as with_fields

from bench.catalogue.outcomes import OWN_FAULT
from reports.analysis.evidence import failures
from reports.analysis.evidence.exclusions import ExclusionEntry, exclusions
from reports.analysis.evidence.failures import ListedFailures
from reports.analysis.evidence.secrets import hidden
from reports.analysis.summary.failures import WITH_CONTENT
from reports.analysis.summary.outcomes import OutcomeCount, OutcomesEntry
from reports.analysis.summary.summary import SharedResults, Summary
from reports.data.runs import part_of, scripts_of, target_entries
from reports.formatting import breakable
from reports.pages.run_report.document import validity_with_message
from reports.render.blocks import Page
from reports.render.files import PagePaths, write_page
from reports.results.json_entries import (
    Count,
    JsonEntry,
    Known,
    Rounded,
    entry_from,
    text_of,
)
from reports.text.reasons import document_data
from reports.text.sentences import load_line

EVIDENCE_VERSION: Literal[4] = 4
NOT_SHARED = {*WITH_CONTENT, OWN_FAULT}
"""The outcomes whose messages may contain words of the conversation, or of the user's code."""


class EndpointEntry(JsonEntry, kw_only=True):
    """A target as the service's support knows it; null if unknown."""

    target: str
    host: Known
    dialect: Known
    requested: Known
    """the deployment or model of the address"""
    api_version: Known
    model: Known
    """the models that the service reported"""
    region: Known
    """the regions that the service reported, otherwise the configured one"""


class ScriptDigest(JsonEntry):
    """A script that was played, with its SHA-256."""

    name: str
    target: Known
    digest: str
    turns: Count


class EvidenceDocument(SharedResults, kw_only=True):
    """The content of evidence.json. The results are those of summary.json, with hidden
    credentials.
    """

    schema: Literal[4]
    tool_version: Known
    ended_utc_ns: Count | None
    """null if the run has not ended, or if its end is unknown"""
    load: str
    """the load in words: users or arrivals, calls, turns, and the measured time"""
    endpoints: tuple[EndpointEntry, ...]
    scripts: tuple[ScriptDigest, ...]
    receive_timestamp_source: Known
    timestamp_uncertainty_p99_ms: Rounded
    failures: ListedFailures
    exclusions: tuple[ExclusionEntry, ...]


class Evidence(NamedTuple):
    """The content of evidence.json, and the results of the run without texts that must not leave
    the company.
    """

    document: EvidenceDocument
    summary: Summary


def evidence_of(results: Summary) -> Evidence:
    """Return the evidence of a run."""
    summary = shareable(results)
    metadata = summary.run.metadata
    ended = summary.run.metadata.get("ended_utc_ns")
    uncertainty = (
        row.at(0.99) for row in summary.load_generator if row.metric == "timestamp_uncertainty"
    )
    document = entry_from(
        EvidenceDocument,
        summary,
        schema=EVIDENCE_VERSION,
        validity=validity_with_message(summary),
        tool_version=str(part_of(metadata, "tool").get("version") or ""),
        ended_utc_ns=int(ended) if ended else None,
        load=breakable(load_line(summary)),
        endpoints=tuple(hidden(list(_endpoints(summary)))),
        scripts=tuple(
            ScriptDigest(
                str(script.get("name") or ""),
                str(script.get("target") or ""),
                str(script.get("digest") or ""),
                int(script.get("turns") or 0),
            )
            for script in scripts_of(metadata)
        ),
        receive_timestamp_source=str(metadata.get("receive_timestamp_source") or ""),
        timestamp_uncertainty_p99_ms=next(uncertainty, math.nan),
        failures=failures.failures_of(summary),
        exclusions=tuple(exclusions(summary)),
    )
    return Evidence(document, summary)


def shareable(summary: Summary) -> Summary:
    """Return the results without credentials, words of conversations, and files that stay in the
    run's folder.
    """
    endings = summary.endings
    turns, sessions = (
        tuple(map(_shareable_ending, of)) for of in (endings.turns, endings.sessions)
    )
    return with_fields(
        summary,
        slowest=tuple(hidden(with_fields(slow, event_log="")) for slow in summary.slowest),
        slowest_of_steps=(),
        context_failures=tuple(map(failures.shareable, summary.context_failures)),
        groups=tuple(
            value for value in summary.groups if value.group and value.group.by == "context"
        ),
        endings=replace(endings, turns=turns, sessions=sessions),
        outcomes={target: _shareable_outcomes(entry) for target, entry in summary.outcomes.items()},
    )


def _shareable_ending(ending: OutcomeCount) -> OutcomeCount:
    return hidden(replace(ending, cause="") if ending.outcome in NOT_SHARED else ending)


def _shareable_outcomes(entry: OutcomesEntry) -> OutcomesEntry:
    messages = {
        outcome: text
        for outcome, text in entry.service_message.items()
        if outcome not in NOT_SHARED
    }
    return hidden(with_fields(entry, service_message=messages))


def _endpoints(summary: Summary) -> Iterable[EndpointEntry]:
    """Yield the endpoint of each target."""
    known = target_entries(summary.run.metadata)
    for facts in summary.target_settings:
        target = known.get(facts.target, {})
        host, query = _address(str(target.get("url") or ""))
        models = sorted(
            {model for of, model in summary.data_notes.models if of == facts.target and model}
        )
        yield EndpointEntry(
            target=facts.target,
            host=host,
            dialect=facts.dialect or "",
            requested=str(
                target.get("model") or query.get("deployment") or query.get("model") or ""
            ),
            api_version=query.get("api-version", ""),
            model=", ".join(models),
            region=facts.region or "",
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


def evidence_json(evidence: Evidence) -> str:
    return text_of(document_data(evidence.document))


def write_evidence(evidence: Evidence, page: Page) -> PagePaths:
    """Write evidence.html, evidence.md and evidence.json into the run's folder.

    Raise UsageError if a file cannot be written.
    """
    path = evidence.summary.run.folder / "evidence.html"
    return write_page(page, evidence_json(evidence), path, "the evidence")
