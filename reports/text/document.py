"""The files of a report, and the content of summary.json.

Times are in ms, rates in B/s, sums of segments in ns, and costs in USD.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from bench.catalogue.metrics import DEFINITIONS_VERSION
from bench.record.document import Check, ValidityStatus
from reports.json_entries import Count, JsonEntry, Known, Number, Rounded, Version, about, text_of
from reports.render.blocks import Page
from reports.render.files import PagePaths, write_page
from reports.results.reason import Reason
from reports.run_report.report import run_page
from reports.runs import RunFrames
from reports.strata import MainMetric
from reports.summary.calls import TelephoneCalls
from reports.summary.cost import RunCost
from reports.summary.drift import Drift
from reports.summary.example_turns import FailedTurnEntry, SlowTurnEntry
from reports.summary.groups import GroupEntry
from reports.summary.load import ArrivalSummary, RateLimits
from reports.summary.metrics import HistogramSummary, MetricSummary, Throughput, TurnCounts, TurnRate
from reports.summary.outcomes import OutcomesEntry
from reports.summary.run_validity import HostAccuracy, HostCpu, Incident, PlannedEvents, PlaybackSetup, invalid_reasons
from reports.summary.segments import Breakdown, PercentileBand
from reports.summary.summary import MainResult, Summary, summarise
from reports.summary.targets import Interleaving, TargetFacts, TargetsQuantile
from reports.summary.tools import DeadlineShare, ToolTurns
from reports.summary.transcription import Transcription
from reports.uncertainty import UncertainMetric
from reports.wording.notices import notices
from reports.wording.reasons import document_data
from reports.wording.settings import packetisation
from reports.wording.validity import verdict_reason

SUMMARY_VERSION: Literal[7] = 7


class VariabilityEntry(MainMetric, frozen=True):
    """The variability of latencies, as in `reports.statistics.power.Variability`."""

    sigma: Rounded
    icc: Rounded
    deff50: Rounded
    deff95: Rounded
    effective_sessions: Rounded


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


class SummaryDocument(JsonEntry, frozen=True, kw_only=True):
    """The content of summary.json."""

    schema: Literal[7]
    definitions_version: Version
    run_id: str | None
    scenario: str | None
    labels: Annotated[dict[str, str], about("the labels of the run (--label)")]
    simulated: bool
    recorded: Annotated[bool, about("whether the run consists of imported recordings of calls")]
    state: str | None
    started_utc_ns: int
    duration_s: Number
    warmup_s: Number
    validity: RunValidityEntry
    targets: list[str]
    main_metric: Annotated[str, about("the latency that callers experience")]
    main_metrics: Annotated[
        dict[str, str], about("the same by start instant and turn type: request_sent+function_calls")
    ]
    playback: PlaybackEntry
    results: list[MainResult]
    voice_to_voice: list[MainResult]
    transcript_first: list[MainResult]
    transcripts: Annotated[
        list[MainResult], about("first text and lag of transcripts, if sessions only transcribe; otherwise empty")
    ]
    transcription: Annotated[list[Transcription], about("of each target, if sessions only transcribe; otherwise empty")]
    turn_metrics: list[MetricSummary]
    segments: list[Breakdown]
    segments_around: Annotated[list[PercentileBand], about("of the turns around this percentile of voice_to_voice")]
    variability: list[VariabilityEntry]
    drift: list[Drift]
    groups: Annotated[
        list[GroupEntry], about("latencies of groups of turns; keys with the same value for all turns are excluded")
    ]
    context_failures: Annotated[
        tuple[FailedTurnEntry, ...],
        about("failed turns with the shortest contexts from which a target fails more often; empty if none does"),
    ] = ()
    hosts: Annotated[tuple[HostAccuracy, ...], about("hosts that recorded the run; empty if there was only one")] = ()
    machines: Annotated[tuple[HostCpu, ...], about("which programs used the CPU of each host")] = ()
    counts: list[TurnCounts]
    rates: Annotated[tuple[TurnRate, ...], about("rates of turns, by column; empty if no turn counts")] = ()
    within: Annotated[
        tuple[DeadlineShare, ...], about("shares of turns by a deadline: those that the run's thresholds limit")
    ] = ()
    tools: Annotated[
        tuple[ToolTurns, ...], about("turns with function calls or delegated tasks, by target and by step")
    ] = ()
    planned_events: Annotated[
        tuple[PlannedEvents, ...], about("interruptions, sounds and expectations of scripts; empty if none was planned")
    ] = ()
    calls: Annotated[
        tuple[TelephoneCalls, ...], about("calls of the targets that are called by telephone; empty if none is")
    ] = ()
    session_metrics: list[MetricSummary]
    event_metrics: list[HistogramSummary]
    load_generator: list[HistogramSummary]
    throughput: list[Throughput]
    outcomes: dict[str, OutcomesEntry]
    target_settings: list[TargetFacts]
    interleaving: Interleaving | None
    differences: list[TargetsQuantile]
    cost: RunCost
    rate_limits: list[RateLimits]
    arrivals: Annotated[ArrivalSummary | None, about("null in a closed loop")]
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
            schema=SUMMARY_VERSION,
            definitions_version=document.get("definitions_version") or DEFINITIONS_VERSION,
            run_id=document.get("run_id"),
            scenario=summary.scenario,
            labels=summary.labels,
            simulated=summary.simulated,
            recorded=summary.recorded,
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
            results=list(summary.answers),
            voice_to_voice=list(summary.voice_to_voice),
            transcript_first=list(summary.transcript_first),
            transcripts=list(summary.transcripts),
            transcription=list(summary.transcription),
            turn_metrics=list(summary.metrics),
            segments=list(summary.breakdowns),
            segments_around=list(summary.bands),
            variability=[
                VariabilityEntry(f.metric, *f.stratum, f.target, **vars(variability))
                for f, variability in summary.variability
            ],
            drift=list(summary.drifts),
            groups=[group for latency in summary.grouped_latency for group in latency.all_groups],
            context_failures=summary.context_failures,
            hosts=summary.hosts,
            machines=summary.machines,
            counts=list(summary.counts),
            rates=summary.rates,
            within=summary.within,
            tools=summary.tools,
            planned_events=summary.data_notes.planned_events,
            calls=summary.calls,
            session_metrics=[*summary.connect_phases, *summary.slopes],
            event_metrics=list(summary.events),
            load_generator=list(summary.load_generator),
            throughput=list(summary.throughput),
            outcomes=dict(zip(summary.targets, summary.outcomes.targets, strict=True)),
            target_settings=list(summary.target_facts),
            interleaving=summary.interleaving,
            differences=list(summary.differences),
            cost=summary.cost,
            rate_limits=list(summary.rate_limits.targets),
            arrivals=summary.arrivals,
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
