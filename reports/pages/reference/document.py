"""The document reference.json: the listed targets of both forms, with all that is needed to check their values."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlsplit

from bench.base.errors import UsageError
from bench.catalogue.metrics import CATALOGUE
from bench.catalogue.reference_workload import VERSION, Form
from bench.files.sanitize import escape_control
from bench.record.document import ValidityStatus
from reports.analysis.reference.listing import METRICS, ListedTarget, UnlistedTarget
from reports.analysis.reference.run_digest import run_digest
from reports.data.runs import run_id_of
from reports.formatting import NBSP
from reports.results.json_entries import ClosedJsonEntry, Count, Known, Rounded, Version, described, text_of
from reports.results.reason import Reason
from reports.statistics.quantiles import QuantileEstimate
from reports.text.reasons import document_data, remedies
from reports.text.sentences import offered_load

REFERENCE_VERSION: Literal[2] = 2


class MetricRow(ClosedJsonEntry, frozen=True):
    """A published metric with its percentiles and their 95 % intervals, in the unit of the metric."""

    metric: str
    turn_type: Annotated[Known, described("the type of the turns; null for regular turns")]
    title: str
    unit: str
    turns: Annotated[Count, described("turns with a value, and failed turns, which count as infinite latencies")]
    failed: Annotated[Count, described("failed turns that should have the metric, started or not")]
    p50: QuantileEstimate
    p95: QuantileEstimate


class ReferenceRow(ClosedJsonEntry, frozen=True):
    """A target of a run: a service with its settings."""

    form: Form
    workload_version: str
    target: str
    address: Known
    model: Annotated[Known, described("the model that the service reported; else the one that the target names")]
    region: Known
    dialect: Known
    settings: Annotated[Known, described("settings that the target replaces, such as the voice; null if none")]
    tool_version: str
    definitions_version: Version
    started_utc_ns: int
    load: Annotated[Known, described("as in the report of the run, such as `8 users`")]
    sessions: Count
    turns_planned: Count
    turns_failed: Annotated[Count, described("failed, or not started")]
    failure_rate: Rounded
    failure_rate_low: Annotated[Rounded, described("of the 95 % interval")]
    failure_rate_high: Rounded
    metrics: list[MetricRow]
    simulated: bool
    validity: ValidityStatus
    run_id: str
    link: Annotated[str, described("URL of the run's folder; a relative one begins at the folder of this file")]
    digest: Annotated[str, described("SHA-256 over the digests of the run's raw files")]


class UnlistedRow(ClosedJsonEntry, frozen=True):
    """A target of a run that is not listed."""

    run_id: str
    target: Known
    reasons: list[Reason]
    remedies: list[str]


class ReferenceDocument(ClosedJsonEntry, frozen=True):
    """The table of the reference workload. Rows of different forms, or of different versions, are not comparable."""

    schema: Literal[2]
    workload_version: str
    listed: list[ReferenceRow]
    not_listed: list[UnlistedRow]


def row_of(listed: ListedTarget, link: str) -> ReferenceRow:
    """Return the row of a target. `link` is the URL of the folder of its run."""
    summary, run = listed.summary, listed.summary.run
    facts, outcomes = summary.target_facts[listed.index], summary.outcomes.targets[listed.index]
    return ReferenceRow(
        form=listed.form,
        workload_version=VERSION,
        target=listed.target,
        address=facts.address or "",
        model=facts.model or "",
        region=facts.region or "",
        dialect=facts.dialect or "",
        settings=facts.variant_settings or "",
        tool_version=str((run.metadata.get("tool") or {}).get("version") or "unknown"),
        definitions_version=int(run.metadata.get("definitions_version") or 1),
        started_utc_ns=summary.window.started_utc_ns,
        load=offered_load(summary).replace(NBSP, " "),
        sessions=outcomes.sessions_started,
        turns_planned=outcomes.turns_planned,
        turns_failed=outcomes.failed_or_not_started,
        failure_rate=outcomes.failure_rate,
        failure_rate_low=outcomes.failure_rate_low,
        failure_rate_high=outcomes.failure_rate_high,
        metrics=[
            MetricRow(
                metric=metric.name,
                turn_type=metric.turn_type,
                title=metric.title,
                unit=CATALOGUE[metric.name].unit,
                turns=values.n,
                failed=values.failed,
                p50=values.p50,
                p95=values.p95,
            )
            for metric, values in zip(METRICS[listed.form], listed.metrics, strict=True)
        ],
        simulated=summary.simulated,
        validity=summary.validity.status,
        run_id=run_id_of(run),
        link=link,
        digest=run_digest(run.folder),
    )


def link_of(folder: Path, page_folder: Path, base_url: str | None) -> str:
    """Return the URL of a run's folder: below `base_url` if that is given, else relative to the folder of the page.

    Raise UsageError if `base_url` is not an address of the web.
    """
    name = folder.resolve().name
    if base_url is None:
        return quote(os.fsencode(os.path.relpath(folder.resolve(), page_folder.resolve())))
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.username or parts.query or parts.fragment:
        raise UsageError(
            f"--link {escape_control(base_url)} must be the address of the folder that contains the runs, such as "
            "https://example.com/runs"
        )
    return f"{quote(base_url.rstrip('/'), safe='/:%[]@')}/{quote(os.fsencode(name))}"


def document_of(rows: Sequence[ReferenceRow], not_listed: Sequence[UnlistedTarget]) -> ReferenceDocument:
    """Return the document of these rows, and of the targets that are not listed."""
    return ReferenceDocument(
        schema=REFERENCE_VERSION,
        workload_version=VERSION,
        listed=list(rows),
        not_listed=[
            UnlistedRow(
                run_id_of(unlisted.run),
                unlisted.target,
                list(unlisted.reasons),
                remedies(unlisted.reasons),
            )
            for unlisted in not_listed
        ],
    )


def reference_data(document: ReferenceDocument) -> dict[str, Any]:
    """Return the document as data for JSON: dictionaries, lists, strings, and numbers."""
    return document_data(document)


def reference_json(document: ReferenceDocument) -> str:
    return text_of(reference_data(document))
