"""The evidence of a run for a service's support: its content as plain data, and the files.

`rtbench report --evidence` writes it. It contains no transcripts and no settings of sessions. Of an endpoint it has the
host, the API version, and the deployment or model.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal
from urllib.parse import parse_qsl, urlsplit

from msgspec import structs

from bench.catalogue.metrics import DEFINITIONS_VERSION
from reports.analysis.check.absolute import limit_results
from reports.analysis.check.results import ThresholdResult
from reports.analysis.evidence.exclusions import ExclusionEntry, exclusions
from reports.analysis.evidence.failures import FailureEntry, Failures, failures_of
from reports.analysis.evidence.secrets import without_credentials
from reports.analysis.evidence.shares import FailureShare, PeriodShare, failure_shares, period_shares
from reports.analysis.summary.example_turns import SlowTurn, SlowTurnEntry
from reports.analysis.summary.groups import GroupEntry
from reports.analysis.summary.summary import MainResult, Summary
from reports.analysis.summary.tools import thresholds_of
from reports.analysis.targets.named import targets_of
from reports.data.runs import run_id_of
from reports.formatting import NBSP
from reports.pages.check.document import ThresholdEntry, threshold_entry
from reports.pages.run_report.document import RunValidityEntry, run_validity_entry
from reports.render.blocks import Page
from reports.render.files import PagePaths, write_page
from reports.results.json_entries import Count, JsonEntry, Known, Rounded, Version, described, text_of
from reports.text import cells
from reports.text.reasons import document_data
from reports.text.sentences import load_line

EVIDENCE_VERSION: Literal[2] = 2


class EndpointEntry(JsonEntry, frozen=True, kw_only=True):
    """A target as the service's support knows it; null if unknown."""

    target: str
    host: Known
    dialect: Known
    requested: Annotated[Known, described("the deployment or model of the address")]
    api_version: Known
    model: Annotated[Known, described("the models that the service reported")]
    region: Annotated[Known, described("the regions that the service reported, otherwise the configured one")]


class ScriptDigest(JsonEntry, frozen=True):
    """A script that was played, with its SHA-256."""

    name: str
    target: Known
    digest: str
    turns: Count


class EvidenceDocument(JsonEntry, frozen=True, kw_only=True):
    """The content of evidence.json."""

    schema: Literal[2]
    definitions_version: Version
    run_id: str
    tool_version: Known
    simulated: bool
    state: str | None
    started_utc_ns: Count
    ended_utc_ns: Annotated[Count | None, described("null if the run has not ended, or if its end is unknown")]
    warmup_s: Annotated[Rounded, described("the time from the start to the first measured turn")]
    usable: Annotated[bool, described("false if the page must not be used as evidence against the service")]
    validity: RunValidityEntry
    load: Annotated[str, described("the load in words: users or arrivals, calls, turns, and the measured time")]
    endpoints: tuple[EndpointEntry, ...]
    scripts: tuple[ScriptDigest, ...]
    receive_timestamp_source: Known
    timestamp_uncertainty_p99_ms: Rounded
    shares: tuple[FailureShare, ...]
    results: Annotated[tuple[MainResult, ...], described("the latencies that callers experience, as in summary.json")]
    thresholds: Annotated[
        tuple[ThresholdEntry, ...], described("the absolute thresholds that the run was started with")
    ]
    failures: Annotated[
        tuple[FailureEntry, ...], described("an example of each kind, the most frequent first; then others")
    ]
    failures_total: Annotated[Count, described("all failures: turns, and sessions without such a turn")]
    failures_not_listed: Count
    slowest: Annotated[tuple[SlowTurnEntry, ...], described("the slowest successful turns")]
    by_context: Annotated[tuple[GroupEntry, ...], described("groups of turns by the input tokens of the conversation")]
    by_period: tuple[PeriodShare, ...]
    exclusions: tuple[ExclusionEntry, ...]


@dataclass(frozen=True)
class Evidence:
    """The evidence of one run: the data of evidence.json, and what the page shows in another form."""

    document: EvidenceDocument
    summary: Summary
    failures: Failures
    thresholds: tuple[ThresholdResult, ...]


def evidence_of(summary: Summary) -> Evidence:
    """Return the evidence of a run."""
    run, window, validity = summary.run, summary.window, summary.validity
    failures, thresholds = failures_of(summary), threshold_results(summary)
    ended = run.metadata.get("ended_utc_ns")
    uncertainty = next((row.p99 for row in summary.load_generator if row.metric == "timestamp_uncertainty"), math.nan)
    document = EvidenceDocument(
        schema=EVIDENCE_VERSION,
        definitions_version=run.metadata.get("definitions_version") or DEFINITIONS_VERSION,
        run_id=run_id_of(run),
        tool_version=str((run.metadata.get("tool") or {}).get("version") or ""),
        simulated=summary.simulated,
        state=run.metadata.get("state"),
        started_utc_ns=window.started_utc_ns,
        ended_utc_ns=int(ended) if ended else None,
        warmup_s=window.warmup_s,
        usable=validity.status == "valid",
        validity=run_validity_entry(summary),
        load=load_line(summary).replace(NBSP, " "),
        endpoints=tuple(_endpoints(summary)),
        scripts=tuple(
            ScriptDigest(
                str(script.get("name") or ""),
                str(script.get("target") or ""),
                str(script.get("digest") or ""),
                int(script.get("turns") or 0),
            )
            for script in run.metadata.get("scripts") or []
        ),
        receive_timestamp_source=str(run.metadata.get("receive_timestamp_source") or ""),
        timestamp_uncertainty_p99_ms=uncertainty,
        shares=tuple(failure_shares(summary)),
        results=tuple(result for group in cells.tables(summary) for result in group.rows),
        thresholds=tuple(map(threshold_entry, thresholds)),
        failures=(*failures.examples, *failures.others),
        failures_total=failures.total,
        failures_not_listed=failures.not_listed,
        slowest=tuple(map(_without_credentials, summary.slowest)),
        by_context=tuple(group for of in summary.grouped_latency if of.by == "context" for group in of.all_groups),
        by_period=tuple(period_shares(summary)),
        exclusions=tuple(exclusions(summary)),
    )
    return Evidence(document, summary, failures, thresholds)


def threshold_results(summary: Summary) -> tuple[ThresholdResult, ...]:
    """Return the results of the absolute thresholds that the run was started with, on each target."""
    absolute = [threshold for threshold in thresholds_of(summary.run) if threshold.limit is not None]
    targets = targets_of(summary.run) if absolute else ()
    return tuple(result for threshold in absolute for target in targets for result in limit_results(threshold, target))


def _endpoints(summary: Summary) -> Iterable[EndpointEntry]:
    """Yield the endpoint of each target."""
    known = {str(target.get("name")): target for target in summary.run.metadata.get("targets") or []}
    for facts in summary.target_facts:
        target = known.get(facts.target, {})
        host, query = _address(str(target.get("url") or ""))
        models = sorted({model for of, model in summary.data_notes.models if of == facts.target and model})
        yield EndpointEntry(
            target=facts.target,
            host=host,
            dialect=facts.dialect or "",
            requested=str(target.get("model") or query.get("deployment") or query.get("model") or ""),
            api_version=query.get("api-version", ""),
            model=without_credentials(", ".join(models)),
            region=without_credentials(facts.region or ""),
        )


def _address(url: str) -> tuple[str, dict[str, str]]:
    """Return the host of a URL with its port, and the parameters of its query; ("", {}) if it is no URL."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "", {}
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    return f"{host}{port}", dict(parse_qsl(parts.query))


def _without_credentials(slow: SlowTurn) -> SlowTurn:
    texts = {name: without_credentials(getattr(slow, name)) for name in ("service_session", "response", "request")}
    return structs.replace(slow, region=without_credentials(slow.region), **texts)


def evidence_json(evidence: Evidence) -> str:
    return text_of(document_data(evidence.document))


def write_evidence(evidence: Evidence, page: Page) -> PagePaths:
    """Write evidence.html, evidence.md and evidence.json into the run's folder.

    Raise UsageError if a file cannot be written.
    """
    folder = evidence.summary.run.folder
    paths = PagePaths(*(folder / f"evidence.{form}" for form in ("html", "md", "json")))
    return write_page(page, evidence_json(evidence), paths, "the evidence")
