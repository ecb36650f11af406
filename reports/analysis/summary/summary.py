"""All results of one run. They are computed once and used by all forms of its report. Times are in ms, rates in B/s."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, NamedTuple

import pandas as pd
from msgspec import field
from msgspec.structs import asdict

from bench.base.units import NS_PER_S
from bench.catalogue.metrics import TRANSCRIPT_METRICS
from bench.record.metric_values import CARRIED
from reports.analysis.summary import metrics, run_validity
from reports.analysis.summary.calls import TelephoneCalls, telephone_calls
from reports.analysis.summary.cost import RunCost, money_of
from reports.analysis.summary.drift import PoolDrift, drifts
from reports.analysis.summary.example_turns import FailedTurnEntry, SlowTurn, failures_by_context, slowest_turns
from reports.analysis.summary.groups import GroupDifference, GroupedLatency, latency_by
from reports.analysis.summary.load import ArrivalSummary, RateLimitSeries, arriving_of, rate_limits_of
from reports.analysis.summary.metrics import (
    ALL,
    LOAD_GENERATOR,
    HistogramSummary,
    MetricSummary,
    Throughput,
    TurnCounts,
    TurnRate,
)
from reports.analysis.summary.outcomes import Outcomes, outcomes_of
from reports.analysis.summary.segments import Breakdown, PercentileBand, breakdowns, percentile_bands
from reports.analysis.summary.targets import (
    Interleaving,
    TargetFacts,
    TargetsQuantile,
    facts_of_targets,
    interleaving_of,
    quantiles_of_targets,
)
from reports.analysis.summary.tools import DeadlineShare, ToolTurns, deadline_shares, tool_turns
from reports.analysis.summary.transcription import Transcription, are_answered, transcription_of
from reports.data.planned_turns import expected_greetings
from reports.data.runs import SESSION_METRICS, TURN_METRICS, RunFrames, labels_of, title_of
from reports.data.samples import ANSWER_VOICE_TO_VOICE, VOICE_TO_VOICE, MetricSamples, sampled, samples_of
from reports.data.turns import FAILED, UNFINISHED, Pool, TurnArrays, measured_sessions
from reports.metrics.strata import Stratum
from reports.results.json_entries import Count, JsonEntry, described
from reports.statistics.counting import distinct
from reports.statistics.power import Variability, variability_of
from reports.statistics.quantiles import NO_VALUES

READ = "transcript_first"
"""The metric for callers who read captions."""
GREETING = "greeting"
"""The metric for callers of a service that speaks first."""
TRANSCRIPT_RESULTS = ("input_transcript_first", "transcript_lag")
"""The metrics of a stream of transcripts, in addition to the main metric of sessions that only transcribe."""
PLOTTED = ("ttfa", "ttft", VOICE_TO_VOICE, "response_total", "transcript_total")
PLOTTED_OF_TRANSCRIPTS = (*TRANSCRIPT_METRICS, "transcript_lag")
"""The metrics that are plotted, for sessions with replies and for sessions that only transcribe."""
CONNECTING = tuple(metric.name for metric in SESSION_METRICS if metric.scope == "session")


class MainResult(MetricSummary, frozen=True, kw_only=True):
    """The values of a metric that callers of one target wait for, measured from one instant, with numbers of turns."""

    turns: Count
    sessions: Count
    turns_failed: Count
    turns_not_started: Annotated[Count, described("planned turns that did not start")]
    turns_planned: Annotated[Count, described("planned turns, started or not, without unfinished ones")]

    @property
    def failed_or_not_started(self) -> int:
        return self.turns_failed + self.turns_not_started


@dataclass(frozen=True)
class RunPeriod:
    """The start, the duration and the warm-up of a run."""

    started_utc_ns: int
    duration_s: float
    warmup_s: float
    """The time from the start of the run to its first measured turn; 0 if there was no warm-up."""

    @property
    def measured_s(self) -> float:
        return max(0.0, self.duration_s - self.warmup_s)


class RunResults(JsonEntry, frozen=True, kw_only=True):
    """The results of one run that summary.json contains as they are computed."""

    scenario: str
    labels: Annotated[dict[str, str], described("the labels of the run (--label)")]
    simulated: bool
    recorded: Annotated[bool, described("whether the run consists of imported recordings of calls")]
    metrics: Annotated[
        tuple[MetricSummary, ...], described("all metrics of turns, for each pool, and for each step of a pool")
    ] = field(name="turn_metrics")
    answers: Annotated[tuple[MainResult, ...], described("the main metrics, one for each target and stratum")] = field(
        name="results"
    )
    voice_to_voice: Annotated[
        tuple[MainResult, ...], described("for the strata with spoken turns whose main metric is another one")
    ]
    transcript_first: Annotated[
        tuple[MainResult, ...], described("for each target and stratum whose replies have a transcript")
    ]
    transcripts: Annotated[
        tuple[MainResult, ...],
        described("first text and lag of transcripts, if sessions only transcribe; otherwise empty"),
    ]
    transcription: Annotated[
        tuple[Transcription, ...], described("of each target, if sessions only transcribe; otherwise empty")
    ]
    differences: tuple[TargetsQuantile, ...]
    drifts: Annotated[
        tuple[PoolDrift, ...], described("the later half of the turns of each pool, relative to the earlier half")
    ] = field(name="drift")
    context_failures: Annotated[
        tuple[FailedTurnEntry, ...],
        described("failed turns with the shortest contexts from which a target fails more often; empty if none does"),
    ]
    breakdowns: tuple[Breakdown, ...] = field(name="segments")
    bands: Annotated[tuple[PercentileBand, ...], described("of the turns around this percentile of voice_to_voice")] = (
        field(name="segments_around")
    )
    calls: Annotated[
        tuple[TelephoneCalls, ...], described("calls of the targets that are called by telephone; empty if none is")
    ]
    rates: Annotated[tuple[TurnRate, ...], described("rates of turns, by column; empty if no turn counts")]
    within: Annotated[
        tuple[DeadlineShare, ...], described("shares of turns by a deadline: those that the run's thresholds limit")
    ]
    tools: Annotated[
        tuple[ToolTurns, ...], described("turns with function calls or delegated tasks, by target and by step")
    ]
    counts: tuple[TurnCounts, ...]
    events: tuple[HistogramSummary, ...] = field(name="event_metrics")
    load_generator: tuple[HistogramSummary, ...]
    throughput: tuple[Throughput, ...]
    hosts: Annotated[
        tuple[run_validity.HostAccuracy, ...], described("hosts that recorded the run; empty if there was only one")
    ]
    machines: Annotated[tuple[run_validity.HostCpu, ...], described("which programs used the CPU of each host")]
    target_facts: tuple[TargetFacts, ...] = field(name="target_settings")
    interleaving: Interleaving | None
    cost: RunCost
    arrivals: Annotated[ArrivalSummary | None, described("null in a closed loop")]


class Summary(RunResults, frozen=True, kw_only=True, eq=False):
    """The results of one run, and the data from which they were computed. Curves and plots need these data."""

    run: RunFrames
    samples: MetricSamples
    """The samples of the metrics in PLOTTED and of the main metrics.

    Samples of other metrics are not kept, because a sample of a million turns takes 12 MB.
    """
    sessions: pd.DataFrame
    """The measured sessions."""
    window: RunPeriod
    validity: run_validity.RunValidity
    setup: run_validity.PlaybackSetup
    plotted: tuple[str, ...]
    answered: tuple[MainResult, ...]
    """The results of `answer_voice_to_voice`. Empty unless a script sets the minimum duration of an answer."""
    greeting: tuple[MainResult, ...]
    """The results of `greeting`, if services speak first. They count calls, not turns."""
    variability: tuple[tuple[MetricSummary, Variability], ...]
    """The variability of each main metric with more than one value. The required size of a comparison depends on it."""
    slopes: tuple[MetricSummary, ...]
    """The growth of the main metrics with the length of the conversation, for each target and stratum that reports its
    tokens."""
    grouped_latency: tuple[GroupedLatency, ...]
    """The main metrics of each target and stratum, grouped by each key of `group_keys.KEYS`."""
    group_differences: tuple[GroupDifference, ...]
    """The groups of turns that differ significantly.

    If there are any, the values of the whole run mix different groups.
    """
    slowest: tuple[SlowTurn, ...]
    """The slowest turns by voice_to_voice. Turns that lack voice_to_voice are ranked by their main metric."""
    slowest_of_steps: tuple[SlowTurn, ...]
    outcomes: Outcomes
    connect_phases: tuple[MetricSummary, ...]
    carried: tuple[MetricSummary, ...]
    rate_limits: RateLimitSeries
    incidents: run_validity.Incidents
    data_notes: run_validity.DataNotes

    def __repr__(self) -> str:
        return f"Summary({self.run!r})"

    @property
    def turns(self) -> TurnArrays:
        return self.samples.turns

    @property
    def targets(self) -> tuple[str, ...]:
        return self.turns.targets

    @property
    def mains(self) -> Mapping[Stratum, str]:
        """The main metric of each stratum.

        It is ttfa if there is audio, and otherwise ttft. For agents it is voice_to_voice. If sessions only transcribe,
        it is that of the finished transcript.
        """
        return self.samples.mains

    @property
    def main(self) -> str:
        """The main metric of the largest stratum."""
        return self.mains[self.turns.strata[self.turns.commonest]]

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
            [latency for latency in self.grouped_latency if (latency.by, latency.stratum) == (by, s)]
            for s in self.turns.strata
        )
        return [latencies for latencies in of_strata if latencies]


def summarise(run: RunFrames) -> Summary:
    """Compute all results of a run. Raise UsageError if its rows name no target."""
    samples, sessions, metadata = samples_of(run), measured_sessions(run), run.metadata
    turns, mains, targets = samples.turns, samples.mains, samples.turns.targets
    window, outcomes = window_of(run, turns, sessions), outcomes_of(turns, sessions, metadata)
    caller = _MainResults(run, samples, sessions, outcomes, {})
    turn_metrics = tuple(summary for metric in TURN_METRICS for summary in caller.metric(metric.name).figures)
    answers, voice_to_voice = (
        tuple(caller.of(pool, mains[pool.stratum]) for pool in turns.pools),
        caller.of_others(VOICE_TO_VOICE),
    )
    defines_answers = any(script.get("answer_min_ms") for script in metadata.get("scripts") or [])
    pairs = zip(turns.pools, answers, strict=True)
    of_answers = ((summary, samples[mains[pool.stratum]].of(pool.target, pool.steps)) for pool, summary in pairs)
    transcribing = not are_answered(metadata.get("scripts") or [])
    connecting = tuple(
        metrics.session_metrics(sessions, targets, CONNECTING, run.uncertain_metrics, expected_greetings(metadata))
    )
    grouped_latency, group_differences = latency_by(run, samples)
    slowest, slowest_of_steps = slowest_turns(run, samples, window.started_utc_ns)
    began_s = window.started_utc_ns / NS_PER_S
    measured_from_s, ended_s = began_s + float(metadata.get("warmup_s") or 0.0), began_s + window.duration_s
    return Summary(
        run=run,
        samples=samples,
        sessions=sessions,
        scenario=str(metadata.get("scenario") or metadata.get("run_id") or run.folder_name),
        labels=labels_of(metadata),
        simulated=run.simulated,
        recorded=run.recorded,
        window=window,
        validity=run_validity.validity_of(metadata),
        setup=run_validity.setup_of(metadata, turns),
        metrics=turn_metrics,
        plotted=tuple(
            name for name in (PLOTTED_OF_TRANSCRIPTS if transcribing else PLOTTED) if caller.metric(name).figures
        ),
        answers=answers,
        voice_to_voice=voice_to_voice,
        answered=caller.of_others(ANSWER_VOICE_TO_VOICE) if defines_answers else (),
        transcript_first=caller.of_others(READ),
        transcripts=tuple(answer for name in TRANSCRIPT_RESULTS if transcribing for answer in caller.of_others(name)),
        transcription=tuple(transcription_of(turns, window.measured_s)) if transcribing else (),
        greeting=tuple(
            _main_result(calls, calls.planned, calls.planned, calls.failed, 0, calls.planned)
            for calls in connecting
            if calls.metric == GREETING
        ),
        differences=tuple(quantiles_of_targets((*answers, *voice_to_voice))),
        variability=tuple(
            (summary, variability_of(sample, summary.p50, summary.p95))
            for summary, sample in of_answers
            if sample.n > 1
        ),
        drifts=tuple(drifts(run, samples)),
        slopes=tuple(metrics.slopes(samples, run.uncertain_metrics)),
        grouped_latency=grouped_latency,
        group_differences=group_differences,
        context_failures=failures_by_context(run, turns, group_differences),
        breakdowns=breakdowns(turns),
        bands=percentile_bands(turns),
        slowest=slowest,
        slowest_of_steps=slowest_of_steps,
        outcomes=outcomes,
        calls=tuple(telephone_calls(metadata, sessions, targets)),
        rates=tuple(metrics.turn_rates(turns)),
        within=tuple(deadline_shares(run, samples, sessions)),
        tools=tool_turns(run, samples),
        counts=tuple(metrics.turn_counts(turns)),
        connect_phases=connecting,
        carried=tuple(metrics.session_metrics(sessions, targets, tuple(CARRIED))),
        events=tuple(metrics.events(run, targets)),
        load_generator=tuple(summary for name in LOAD_GENERATOR if (summary := metrics.distribution(run, name)).n),
        throughput=tuple(metrics.throughputs(run, targets)),
        hosts=tuple(run_validity.hosts_in(run, turns, sessions)),
        machines=tuple(run_validity.machines(run)),
        target_facts=facts_of_targets(metadata, sessions, targets),
        interleaving=interleaving_of(metadata, sessions, len(targets)),
        cost=money_of(run, targets),
        rate_limits=rate_limits_of(run, targets, window.started_utc_ns, window.duration_s),
        arrivals=arriving_of(run, targets, measured_from_s, ended_s),
        incidents=run_validity.incidents_of(metadata, window.started_utc_ns),
        data_notes=run_validity.data_notes(run, turns, sessions),
    )


class TurnMetric(NamedTuple):
    """A metric of turns: its summaries, and its pools. A pool has only the steps that have the metric."""

    pools: tuple[Pool, ...]
    figures: tuple[MetricSummary, ...]


@dataclass(frozen=True)
class _MainResults:
    """The object that computes the results for metrics of turns.

    `known` are the metrics that were already computed, by name.
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
            samples, main = self.samples, name in self.samples.mains.values()
            sample = samples[name] if main or name in PLOTTED else sampled(samples.turns, name, samples.mains)
            pools = tuple(replace(pool, steps=pool.steps & sample.applies[pool.target]) for pool in sample.pools())
            summaries = metrics.turn_metrics(sample, self.run.uncertain_metrics) if main or sample.applies.any() else ()
            self.known[name] = TurnMetric(pools, tuple(summaries))
        return self.known[name]

    def of_others(self, metric: str) -> tuple[MainResult, ...]:
        """Return the results of a metric for the strata whose main metric is another one.

        Only the steps that have the metric count.
        """
        mains = self.samples.mains.items()
        return tuple(
            self.of(pool, metric)
            for pool in self.metric(metric).pools
            if any(main != metric for stratum, main in mains if pool.stratum.covers(stratum))
        )

    def of(self, pool: Pool, metric: str) -> MainResult:
        """Return the result of a metric for all turns of a pool, including failed turns.

        For `voice_to_voice` and `answer_voice_to_voice`, only turns of steps that have the metric count.
        """
        turns, label = self.samples.turns, self.samples.turns.targets[pool.target]
        if metric in (VOICE_TO_VOICE, ANSWER_VOICE_TO_VOICE):
            pool = replace(pool, steps=pool.steps & self.samples[metric].applies[pool.target])
        is_of_pool = turns.of(pool)
        is_only_pool = sum(other.target == pool.target for other in turns.pools) == 1
        opened = int((self.sessions["target"] == label).sum()) if len(self.sessions) and is_only_pool else 0
        ended, failed = (int((is_of_pool & kind).sum()) for kind in (turns.kind != UNFINISHED, turns.kind == FAILED))
        not_started = self.outcomes.targets[pool.target].turns_not_started
        if turns.steps:  # the steps of turns that did not start are known only if some turn of the run started
            not_started = int(turns.not_started_by_group[pool.target][pool.steps].sum())
        key = label, ALL
        known = (f for f in self.metric(metric).figures if f.stratum.covers(pool.stratum) and (f.target, f.step) == key)
        summary = next(known, None) or metrics.metric_summaries(
            NO_VALUES, metric, label, self.run.uncertain_metrics, pool=pool
        )
        sessions = max(opened, distinct(turns.session[is_of_pool]).size)
        return _main_result(summary, int(is_of_pool.sum()), sessions, failed, not_started, ended + not_started)


def _main_result(
    summary: MetricSummary, turns: int, sessions: int, failed: int, not_started: int, planned: int
) -> MainResult:
    known = asdict(summary) | {"turns": turns, "sessions": sessions}
    return MainResult(**known, turns_failed=failed, turns_not_started=not_started, turns_planned=planned)


def window_of(run: RunFrames, turns: TurnArrays, sessions: pd.DataFrame) -> RunPeriod:
    """Return the start, the duration and the warm-up of a run. `sessions` are the measured sessions.

    A killed run ends with its last stored second.
    """
    known = [frame["start_utc_ns"] for frame in (run.turns, run.sessions) if len(frame)]
    began = int(run.metadata.get("started_utc_ns") or min((starts.min() for starts in known), default=0))
    seconds = [(int(run.seconds["second"].max()) + 1) * NS_PER_S] if len(run.seconds) else []
    latest = max([began, *seconds, *(int(starts.max()) for starts in known)])
    ended = run.metadata.get("ended_utc_ns") or latest
    warm = 0.0
    if turns.rows.size and turns.rows.size < len(run.turns):
        starts = sessions["start_utc_ns"] if len(sessions) else run.turns["start_utc_ns"].iloc[turns.rows]
        first = int(starts.min())
        warm = (first - began) / NS_PER_S if (run.turns["phase"] == "warmup").any() else 0.0
    return RunPeriod(began, max(0.0, (int(ended) - began) / NS_PER_S), max(0.0, warm))
