"""All results of one run. They are computed once and used by all forms of its report. Times are
in ms, rates in B/s.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Literal, NamedTuple

import pandas as pd
from msgspec import structs
from msgspec.structs import asdict

from bench.base.units import NS_PER_S
from bench.catalogue.metrics import DEFINITIONS_VERSION, TRANSCRIPT_METRICS
from bench.record.metric_values import CARRIED
from reports.analysis.events import event_values
from reports.analysis.overload import overload_values
from reports.analysis.summary import metrics, run_validity
from reports.analysis.summary.calls import TelephoneCalls, telephone_calls
from reports.analysis.summary.cost import RunCost, money_of
from reports.analysis.summary.drift import Drift, drifts
from reports.analysis.summary.example_turns import SlowTurnEntry, slowest_turns
from reports.analysis.summary.failures import FailureEntry, failures_by_context
from reports.analysis.summary.groups import GroupDifference, GroupedLatency, latency_by
from reports.analysis.summary.listed_failures import ListedFailures, listed_failures
from reports.analysis.summary.load import (
    ArrivalSummary,
    RateLimits,
    RateLimitSeries,
    arriving_of,
    rate_limits_of,
)
from reports.analysis.summary.metrics import (
    ALL,
    LOAD_GENERATOR,
    HistogramSummary,
    MetricSummary,
    Throughput,
)
from reports.analysis.summary.outcomes import Outcomes, OutcomesEntry, outcomes_of
from reports.analysis.summary.segments import (
    Breakdown,
    breakdowns,
    percentile_bands,
)
from reports.analysis.summary.sweep import sweep_values
from reports.analysis.summary.targets import (
    Interleaving,
    TargetFacts,
    TargetsQuantile,
    facts_of_targets,
    interleaving_of,
    quantiles_of_targets,
)
from reports.analysis.summary.tools import deadline_shares, tool_turns
from reports.analysis.summary.transcription import (
    are_answered,
    interpreting_of,
    transcription_of,
)
from reports.analysis.summary.turn_taking import turn_taking
from reports.data.planned_turns import expected_greetings
from reports.data.runs import (
    SESSION_METRICS,
    TURN_METRICS,
    RunFrames,
    labels_of,
    scripts_of,
    title_of,
)
from reports.data.samples import (
    ANSWER_VOICE_TO_VOICE,
    VOICE_TO_VOICE,
    MetricSamples,
    sampled,
    samples_of,
)
from reports.data.turns import FAILED, UNFINISHED, Pool, TurnArrays, measured_sessions
from reports.engine.evaluate import subject_of
from reports.metrics.strata import Stratum
from reports.results.json_entries import Count, JsonEntry, Number, Version
from reports.results.value import Value
from reports.statistics.counting import distinct
from reports.statistics.power import variability_of
from reports.statistics.quantiles import NO_VALUES

SUMMARY_VERSION: Literal[9] = 9
READ = "transcript_first"
"""The metric for callers who read captions."""
GREETING = "greeting"
"""The metric for callers of a service that speaks first."""
TRANSCRIPT_RESULTS = ("input_transcript_first", "transcript_lag")
"""The metrics of a stream of transcripts, in addition to the main metric of sessions that only
transcribe."""
PLOTTED = ("ttfa", "ttft", VOICE_TO_VOICE, "response_total", "transcript_total")
PLOTTED_OF_TRANSCRIPTS = (*TRANSCRIPT_METRICS, "transcript_lag")
"""The metrics that are plotted, for sessions with replies and for sessions that only transcribe."""
CONNECTING = tuple(metric.name for metric in SESSION_METRICS if metric.scope == "session")


class MainResult(MetricSummary, kw_only=True):
    """The values of a metric that callers of one target wait for, measured from one instant,
    with numbers of turns.
    """

    turns: Count
    sessions: Count
    turns_failed: Count
    turns_not_started: Count
    """planned turns that did not start"""
    turns_planned: Count
    """planned turns, started or not, without unfinished ones"""

    @property
    def failed_or_not_started(self) -> int:
        return self.turns_failed + self.turns_not_started


class RunPeriod(NamedTuple):
    """The start, the duration and the warm-up of a run."""

    started_utc_ns: int
    duration_s: float
    warmup_s: float
    """The time from the start of the run to its first measured turn; 0 if there was no warm-up."""

    @property
    def measured_s(self) -> float:
        return max(0.0, self.duration_s - self.warmup_s)


class ValuesOfTargets(JsonEntry, kw_only=True):
    """The part of a summary.json that a trend reads, also that of version 8."""

    schema: Literal[8, 9]
    turn_metrics: tuple[MetricSummary, ...]
    """all metrics of turns, for each pool, and for each step of a pool"""
    rates: tuple[Value, ...]
    """rates of turns, by column, and of dropped calls; empty if none counts"""
    outcomes: dict[str, OutcomesEntry]
    scenario: str
    counts: tuple[Value, ...]
    """stalls, turn detection and TCP retransmissions of each target; dropped calls that gave up,
    by reason"""
    target_settings: tuple[TargetFacts, ...]
    targets: tuple[str, ...]
    session_metrics: tuple[MetricSummary, ...]


class RunResults(ValuesOfTargets, kw_only=True):
    """The results of one run: the content of summary.json. Its texts for people are empty until
    it is written.
    """

    simulated: bool
    results: tuple[MainResult, ...]
    """the main metrics, one for each target and stratum"""
    voice_to_voice: tuple[MainResult, ...]
    """for the strata with spoken turns whose main metric is another one"""
    transcript_first: tuple[MainResult, ...]
    """for each target and stratum whose replies have a transcript"""
    transcripts: tuple[MainResult, ...]
    """first text and lag of transcripts, if sessions only transcribe; otherwise empty"""
    definitions_version: Version
    run_id: str | None
    state: str | None
    started_utc_ns: int
    warmup_s: Number
    validity: run_validity.RunValidity
    groups: tuple[Value, ...]
    """latencies of groups of turns; keys with the same value for all turns are excluded"""
    slowest: tuple[SlowTurnEntry, ...]
    """by voice_to_voice, or else by the main metric"""
    labels: dict[str, str]
    """the labels of the run (--label)"""
    recorded: bool
    """whether the run consists of imported recordings of calls"""
    transcription: tuple[Value, ...]
    """of each target, if sessions only transcribe; otherwise empty"""
    interpreting: tuple[Value, ...]
    """segments and growth of the lag of each target that interprets"""
    differences: tuple[TargetsQuantile, ...]
    drift: tuple[Drift, ...]
    """the later half of the turns of each pool, relative to the earlier half"""
    failures: ListedFailures
    context_failures: tuple[FailureEntry, ...]
    """failed turns with the shortest contexts from which a target fails more often; empty if none
    does"""
    segments: tuple[Breakdown, ...]
    segments_around: tuple[Breakdown, ...]
    """of the turns around this percentile of voice_to_voice"""
    calls: tuple[TelephoneCalls, ...]
    """calls of the targets that are called by telephone; empty if none is"""
    within: tuple[Value, ...]
    """shares of turns by a deadline: those that the run's thresholds limit"""
    tools: tuple[Value, ...]
    """of turns with function calls or delegated tasks, by target and by step"""
    turn_taking: tuple[Value, ...]
    """of scripts with pauses of a set length in the caller's speech: rates of each step, and values
    by pause; otherwise empty"""
    overload: tuple[Value, ...]
    """of a load with a peak: calls, latency, harm and recovery; otherwise empty"""
    events: tuple[Value, ...]
    """of each event of the run: what happened to callers; otherwise empty"""
    sweep: tuple[Value, ...]
    """of a run with --vary: latencies and cut-offs of each setting, and how they follow it"""
    event_metrics: tuple[HistogramSummary, ...]
    load_generator: tuple[HistogramSummary, ...]
    throughput: tuple[Throughput, ...]
    hosts: tuple[run_validity.HostAccuracy, ...]
    """hosts that recorded the run; empty if there was only one"""
    machines: tuple[run_validity.HostCpu, ...]
    """which programs used the CPU of each host"""
    interleaving: Interleaving | None
    cost: RunCost
    arrivals: ArrivalSummary | None
    """null in a closed loop"""
    duration_s: Number
    main_metric: str
    """the latency that callers experience"""
    main_metrics: dict[str, str]
    """the same by start instant and turn type: request_sent+function_calls"""
    playback: run_validity.PlaybackSetup
    variability: tuple[Value, ...]
    """of the main metrics: `sigma`, the sd of the log of successful latencies; `icc`, the share of
    the variance that is between sessions"""
    planned_events: tuple[run_validity.PlannedEvents, ...]
    """interruptions, sounds and expectations of scripts; empty if none was planned"""
    rate_limits: tuple[RateLimits, ...]
    incidents: tuple[run_validity.Incident, ...]
    incident_counts: dict[str, Count]
    notices: tuple[str, ...]


class Summary(RunResults, kw_only=True, eq=False):
    """The results of one run, and the data from which they were computed. Curves and plots need
    these data.
    """

    run: RunFrames
    samples: MetricSamples
    """The samples of the metrics in PLOTTED and of the main metrics. Samples of other metrics are
    not kept, because a sample of a million turns takes 12 MB."""
    sessions: pd.DataFrame
    """The measured sessions."""
    plotted: tuple[str, ...]
    answered: tuple[MainResult, ...]
    """The results of `answer_voice_to_voice`. Empty unless a script sets the minimum duration of
    an answer."""
    greeting: tuple[MainResult, ...]
    """The results of `greeting`, if services speak first. They count calls, not turns."""
    grouped_latency: tuple[GroupedLatency, ...]
    """The main metrics of each target and stratum, grouped by each key of `group_keys.KEYS`."""
    group_differences: tuple[GroupDifference, ...]
    """The groups of turns that differ significantly. If there are any, the values of the whole run
    mix different groups."""
    slowest_of_steps: tuple[SlowTurnEntry, ...]
    endings: Outcomes
    carried: tuple[MetricSummary, ...]
    throttling: RateLimitSeries
    data_notes: run_validity.DataNotes

    def __repr__(self) -> str:
        return f"Summary({self.run!r})"

    @property
    def turns(self) -> TurnArrays:
        return self.samples.turns

    @property
    def measured_s(self) -> float:
        return RunPeriod(self.started_utc_ns, self.duration_s, self.warmup_s).measured_s

    @property
    def mains(self) -> Mapping[Stratum, str]:
        """The main metric of each stratum. It is ttfa if there is audio, and otherwise ttft. For
        agents it is voice_to_voice. If sessions only transcribe, it is that of the finished
        transcript.
        """
        return self.samples.mains

    @property
    def connect_phases(self) -> tuple[MetricSummary, ...]:
        return tuple(row for row in self.session_metrics if row.metric not in metrics.SLOPES)

    @property
    def slopes(self) -> tuple[MetricSummary, ...]:
        """The growth of the main metrics with the length of the conversation, in ms per 1,000
        tokens.

        It has a row for each target and stratum that reports its tokens.
        """
        return tuple(row for row in self.session_metrics if row.metric in metrics.SLOPES)

    @property
    def has_several_targets(self) -> bool:
        return len(self.targets) > 1

    @property
    def only_telephone(self) -> bool:
        """True if every target is called by telephone."""
        return len(self.calls) == len(self.targets)

    @property
    def called(self) -> str:
        return title_of(self.scenario, self.labels)

    def latency_by(self, by: str) -> list[list[GroupedLatency]]:
        """Return the latencies grouped by one key: one list for each stratum that has them."""
        of_strata = (
            [
                latency
                for latency in self.grouped_latency
                if (latency.by, latency.stratum) == (by, s)
            ]
            for s in self.turns.strata
        )
        return [latencies for latencies in of_strata if latencies]


def summarise(run: RunFrames) -> Summary:
    """Compute all results of a run. Raise UsageError if its rows name no target."""
    samples = samples_of(run)
    sessions = measured_sessions(run)
    metadata = run.metadata
    turns = samples.turns
    targets = samples.turns.targets
    period = period_of(run, turns, sessions)
    started_utc_ns, duration_s, _ = period
    began_s = started_utc_ns / NS_PER_S
    endings = outcomes_of(turns, sessions, metadata)
    of_metrics = _MainResults(run, samples, sessions, endings, {})
    results = tuple(of_metrics.of(pool, samples.mains[pool.stratum]) for pool in turns.pools)
    voice_to_voice = of_metrics.of_others(VOICE_TO_VOICE)
    scripts = scripts_of(metadata)
    transcribing = not are_answered(scripts)
    connecting = tuple(
        metrics.session_metrics(
            sessions, targets, CONNECTING, run.uncertain_metrics, expected_greetings(metadata)
        )
    )
    grouped_latency, group_differences = latency_by(run, samples)
    slowest, slowest_of_steps = slowest_turns(run, samples, started_utc_ns)
    throttling = rate_limits_of(run, targets, started_utc_ns, duration_s)
    incidents = run_validity.incidents_of(metadata, started_utc_ns)
    notes = run_validity.data_notes(run, turns, sessions, endings.ignored)
    return Summary(
        run=run,
        samples=samples,
        sessions=sessions,
        schema=SUMMARY_VERSION,
        definitions_version=metadata.get("definitions_version") or DEFINITIONS_VERSION,
        run_id=metadata.get("run_id"),
        state=metadata.get("state"),
        scenario=str(metadata.get("scenario") or metadata.get("run_id") or run.folder_name),
        labels=labels_of(metadata),
        simulated=run.simulated,
        recorded=run.recorded,
        **period._asdict(),
        validity=structs.replace(
            run_validity.validity_of(metadata), uncertain_metrics=run.uncertain_metrics
        ),
        targets=targets,
        main_metric=samples.mains[turns.strata[turns.commonest]],
        main_metrics={stratum.key: metric for stratum, metric in samples.mains.items()},
        playback=run_validity.setup_of(metadata, turns),
        turn_metrics=tuple(
            row for metric in TURN_METRICS for row in of_metrics.metric(metric.name).rows
        ),
        plotted=tuple(
            name
            for name in (PLOTTED_OF_TRANSCRIPTS if transcribing else PLOTTED)
            if of_metrics.metric(name).rows
        ),
        results=results,
        voice_to_voice=voice_to_voice,
        answered=(
            of_metrics.of_others(ANSWER_VOICE_TO_VOICE)
            if any(s.get("answer_min_ms") for s in scripts)
            else ()
        ),
        transcript_first=of_metrics.of_others(READ),
        transcripts=tuple(
            row for name in TRANSCRIPT_RESULTS if transcribing for row in of_metrics.of_others(name)
        ),
        transcription=tuple(transcription_of(turns, period.measured_s) if transcribing else ()),
        interpreting=tuple(interpreting_of(turns, metadata.get("targets") or ())),
        greeting=tuple(
            _main_result(calls, calls.planned, calls.planned, calls.failed, 0, calls.planned)
            for calls in connecting
            if calls.metric == GREETING
        ),
        differences=tuple(quantiles_of_targets((*results, *voice_to_voice))),
        variability=tuple(_variability(samples)),
        drift=tuple(drifts(run, samples)),
        groups=tuple(value for latency in grouped_latency for value in latency.values),
        grouped_latency=grouped_latency,
        group_differences=group_differences,
        failures=listed_failures(run, turns, sessions),
        context_failures=failures_by_context(run, turns, group_differences),
        segments=breakdowns(turns),
        segments_around=percentile_bands(turns),
        slowest=slowest,
        slowest_of_steps=slowest_of_steps,
        outcomes=dict(zip(targets, endings.targets, strict=True)),
        endings=endings,
        planned_events=notes.planned_events,
        data_notes=notes,
        calls=tuple(telephone_calls(metadata, sessions, targets, turns.frame)),
        rates=(*metrics.turn_rates(turns), *metrics.call_rates(sessions, targets)),
        within=tuple(deadline_shares(run, samples, sessions)),
        tools=tuple(tool_turns(run, samples)),
        turn_taking=tuple(turn_taking(turns)),
        overload=tuple(overload_values(run, samples)),
        events=tuple(event_values(run, samples)),
        sweep=tuple(sweep_values(run, samples)),
        counts=(*metrics.turn_counts(turns), *metrics.gave_up(sessions, targets)),
        session_metrics=(*connecting, *metrics.slopes(samples, run.uncertain_metrics)),
        carried=tuple(metrics.session_metrics(sessions, targets, tuple(CARRIED))),
        event_metrics=tuple(metrics.events(run, targets)),
        load_generator=tuple(
            row for name in LOAD_GENERATOR if (row := metrics.distribution(run, name)).n
        ),
        throughput=tuple(metrics.throughputs(run, targets)),
        hosts=tuple(run_validity.hosts_in(run, turns, sessions)),
        machines=tuple(run_validity.machines(run)),
        target_settings=facts_of_targets(metadata, sessions, targets),
        interleaving=interleaving_of(metadata, sessions, len(targets)),
        cost=money_of(run, targets),
        rate_limits=throttling.targets,
        throttling=throttling,
        arrivals=arriving_of(
            run, targets, began_s + float(metadata.get("warmup_s") or 0.0), began_s + duration_s
        ),
        incidents=incidents.listed,
        incident_counts=dict(incidents.counts),
        notices=(),
    )


def _variability(samples: MetricSamples) -> Iterable[Value]:
    """Yield the variability of each main metric with more than one value. The size of a
    comparison depends on it.
    """
    for pool in samples.turns.pools:
        metric = samples.mains[pool.stratum]
        sample = samples[metric].of(pool.target, pool.steps)
        for statistic, value in variability_of(sample)._asdict().items() if sample.n > 1 else ():
            yield Value(
                **asdict(subject_of(samples.turns, pool)),
                metric=metric,
                statistic=statistic,
                value=value,
                n=sample.n,
                sessions=distinct(sample.sessions).size,
            )


class TurnMetric(NamedTuple):
    """A metric of turns: its summaries, and its pools. A pool has only the steps that have the
    metric.
    """

    pools: tuple[Pool, ...]
    rows: tuple[MetricSummary, ...]


class _MainResults(NamedTuple):
    """The object that computes the results for metrics of turns. `known` are the metrics that were
    already computed, by name.
    """

    run: RunFrames
    samples: MetricSamples
    sessions: pd.DataFrame
    outcomes: Outcomes
    known: dict[str, TurnMetric]

    def metric(self, name: str) -> TurnMetric:
        """Return a metric of turns.

        It has summaries only if any turn can have the metric, or if it is a main metric.

        """
        if name not in self.known:
            samples = self.samples
            main = name in self.samples.mains.values()
            sample = (
                samples[name]
                if main or name in PLOTTED
                else sampled(samples.turns, name, samples.mains)
            )
            pools = tuple(
                replace(pool, steps=pool.steps & sample.applies[pool.target])
                for pool in sample.pools()
            )
            summaries = (
                metrics.turn_metrics(sample, self.run.uncertain_metrics)
                if main or sample.applies.any()
                else ()
            )
            self.known[name] = TurnMetric(pools, tuple(summaries))
        return self.known[name]

    def of_others(self, metric: str) -> tuple[MainResult, ...]:
        """Return the results of a metric for the strata whose main metric is another one. Only the
        steps that have the metric count.
        """
        mains = self.samples.mains.items()
        return tuple(
            self.of(pool, metric)
            for pool in self.metric(metric).pools
            if any(main != metric for stratum, main in mains if pool.stratum.covers(stratum))
        )

    def of(self, pool: Pool, metric: str) -> MainResult:
        """Return the result of a metric for all turns of a pool, including failed turns. For
        `voice_to_voice` and `answer_voice_to_voice`, only turns of steps that have the metric
        count.
        """
        turns = self.samples.turns
        label = self.samples.turns.targets[pool.target]
        if metric in (VOICE_TO_VOICE, ANSWER_VOICE_TO_VOICE):
            pool = replace(pool, steps=pool.steps & self.samples[metric].applies[pool.target])
        is_of_pool = turns.of(pool)
        is_only_pool = sum(other.target == pool.target for other in turns.pools) == 1
        opened = (
            int((self.sessions["target"] == label).sum())
            if len(self.sessions) and is_only_pool
            else 0
        )
        ended, failed = (
            int((is_of_pool & kind).sum())
            for kind in (turns.kind != UNFINISHED, turns.kind == FAILED)
        )
        not_started = self.outcomes.targets[pool.target].turns_not_started
        # the steps of turns that did not start are known only if some turn of the run started
        if turns.steps:
            not_started = int(turns.not_started_by_group[pool.target][pool.steps].sum())
        rows = self.metric(metric).rows
        key = (label, ALL)
        known = (
            row
            for row in rows
            if row.stratum.covers(pool.stratum) and (row.target, row.step) == key
        )
        summary = next(known, None) or metrics.metric_summaries(
            NO_VALUES, metric, label, self.run.uncertain_metrics, pool=pool
        )
        sessions = max(opened, distinct(turns.session[is_of_pool]).size)
        return _main_result(
            summary, int(is_of_pool.sum()), sessions, failed, not_started, ended + not_started
        )


def _main_result(
    summary: MetricSummary, turns: int, sessions: int, failed: int, not_started: int, planned: int
) -> MainResult:
    known = asdict(summary) | {"turns": turns, "sessions": sessions}
    return MainResult(
        **known, turns_failed=failed, turns_not_started=not_started, turns_planned=planned
    )


def period_of(run: RunFrames, turns: TurnArrays, sessions: pd.DataFrame) -> RunPeriod:
    """Return the start, the duration and the warm-up of a run. `sessions` are the measured
    sessions. A killed run ends with its last stored second.
    """
    known = [frame["start_utc_ns"] for frame in (run.turns, run.sessions) if len(frame)]
    began = int(
        run.metadata.get("started_utc_ns") or min((starts.min() for starts in known), default=0)
    )
    seconds = [(int(run.seconds["second"].max()) + 1) * NS_PER_S] if len(run.seconds) else []
    latest = max([began, *seconds, *(int(starts.max()) for starts in known)])
    ended = run.metadata.get("ended_utc_ns") or latest
    warm = 0.0
    if turns.rows.size and turns.rows.size < len(run.turns):
        starts = (
            sessions["start_utc_ns"]
            if len(sessions)
            else run.turns["start_utc_ns"].iloc[turns.rows]
        )
        first = int(starts.min())
        warm = (first - began) / NS_PER_S if (run.turns["phase"] == "warmup").any() else 0.0
    return RunPeriod(began, max(0.0, (int(ended) - began) / NS_PER_S), max(0.0, warm))
