"""The files of a report, and the content of summary.json.

Times are in ms, rates in B/s, sums of segments in ns, and costs in USD.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec.structs import asdict

from bench.catalogue.metrics import DEFINITIONS_VERSION
from bench.record.document import Check, ValidityStatus
from reports.analysis.summary.example_turns import SlowTurnEntry
from reports.analysis.summary.groups import GroupEntry
from reports.analysis.summary.load import RateLimits
from reports.analysis.summary.metrics import MetricSummary
from reports.analysis.summary.outcomes import OutcomesEntry
from reports.analysis.summary.run_validity import Incident, PlannedEvents, PlaybackSetup, invalid_reasons
from reports.analysis.summary.summary import RunResults, Summary, summarise
from reports.data.runs import RunFrames
from reports.data.uncertainty import UncertainMetric
from reports.pages.run_report.report import run_page
from reports.render.blocks import Page
from reports.render.files import PagePaths, write_page
from reports.results.json_entries import Count, JsonEntry, Known, Number, Version, described, text_of
from reports.results.reason import Reason
from reports.statistics.power import Variability
from reports.text.notices import notices
from reports.text.reasons import document_data
from reports.text.settings import packetisation
from reports.text.validity import verdict_reason

SUMMARY_VERSION: Literal[7] = 7


class MainVariability(Variability, frozen=True, kw_only=True):
    """The variability of a main metric of a target."""

    metric: str
    measured_from: Known
    turn_type: Known
    target: str


class PlaybackEntry(PlaybackSetup, frozen=True):
    """The playback settings. `packetisation`: why larger chunks increase the latency of VAD turns, or null."""

    packetisation: Known


class RunValidityEntry(JsonEntry, frozen=True):
    """The validity of the values; `message`: the reason in words."""

    status: ValidityStatus
    reasons: list[Reason]
    message: str
    checks: tuple[Check, ...]
    uncertain_metrics: tuple[UncertainMetric, ...] = ()


class SummaryDocument(RunResults, frozen=True, kw_only=True):
    """The content of summary.json."""

    schema: Literal[7]
    definitions_version: Version
    run_id: str | None
    state: str | None
    started_utc_ns: int
    duration_s: Number
    warmup_s: Number
    validity: RunValidityEntry
    targets: list[str]
    main_metric: Annotated[str, described("the latency that callers experience")]
    main_metrics: Annotated[
        dict[str, str], described("the same by start instant and turn type: request_sent+function_calls")
    ]
    playback: PlaybackEntry
    variability: list[MainVariability]
    groups: Annotated[
        list[GroupEntry], described("latencies of groups of turns; keys with the same value for all turns are excluded")
    ]
    planned_events: Annotated[
        tuple[PlannedEvents, ...],
        described("interruptions, sounds and expectations of scripts; empty if none was planned"),
    ]
    session_metrics: list[MetricSummary]
    outcomes: dict[str, OutcomesEntry]
    rate_limits: list[RateLimits]
    incidents: list[Incident]
    incident_counts: dict[str, Count]
    slowest: list[SlowTurnEntry]
    notices: list[str]


def run_validity_entry(summary: Summary) -> RunValidityEntry:
    """Return the validity of a run's values for a document."""
    validity = summary.validity
    return RunValidityEntry(
        *(validity.status, invalid_reasons(summary.run.metadata), verdict_reason(validity), validity.checks),
        uncertain_metrics=summary.run.uncertain_metrics,
    )


def summary_json(summary: Summary) -> str:
    return text_of(summary_data(summary))


def summary_data(summary: Summary) -> dict[str, Any]:
    """Return the summary as data for JSON: dictionaries, lists, strings, and numbers."""
    document, window, setup = summary.run.metadata, summary.window, summary.setup
    return document_data(
        SummaryDocument(
            **{name: getattr(summary, name) for name in RunResults.__struct_fields__},
            schema=SUMMARY_VERSION,
            definitions_version=document.get("definitions_version") or DEFINITIONS_VERSION,
            run_id=document.get("run_id"),
            state=document.get("state"),
            started_utc_ns=window.started_utc_ns,
            duration_s=window.duration_s,
            warmup_s=window.warmup_s,
            validity=run_validity_entry(summary),
            targets=list(summary.targets),
            main_metric=summary.main,
            main_metrics={stratum.key: metric for stratum, metric in summary.mains.items()},
            playback=PlaybackEntry(
                setup.jitter_buffers_ms, setup.vad_chunks_ms, setup.detections, packetisation(setup)
            ),
            variability=[
                MainVariability(
                    metric=f.metric,
                    measured_from=f.measured_from,
                    turn_type=f.turn_type,
                    target=f.target,
                    **asdict(variability),
                )
                for f, variability in summary.variability
            ],
            groups=[group for latency in summary.grouped_latency for group in latency.all_groups],
            planned_events=summary.data_notes.planned_events,
            session_metrics=[*summary.connect_phases, *summary.slopes],
            outcomes=dict(zip(summary.targets, summary.outcomes.targets, strict=True)),
            rate_limits=list(summary.rate_limits.targets),
            incidents=list(summary.incidents.listed),
            incident_counts=dict(summary.incidents.counts),
            slowest=list(summary.slowest),
            notices=notices(summary),
        )
    )


def write_report(run: RunFrames | Summary, page: Page | None = None) -> PagePaths:
    """Write report.html, report.md and summary.json into the run's folder.

    Raise UsageError if a file cannot be written.

    `page` is the page to write; if it is None, it is made from the run.
    """
    summary = run if isinstance(run, Summary) else summarise(run)
    paths = PagePaths(*(summary.run.folder / name for name in ("report.html", "report.md", "summary.json")))
    return write_page(page or run_page(summary), summary_json(summary), paths, "the report")
