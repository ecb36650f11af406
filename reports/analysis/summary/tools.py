"""How callers experience turns with tools: function calls, or the tasks that GPT-Live delegates; shares by a deadline.

A caller first hears a sound, which may be a filler ("let me check that"), and later the answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import pandas as pd
from msgspec.structs import asdict

from bench.catalogue.metrics import CATALOGUE
from reports.analysis.summary.metrics import ALL, ShareEstimate, TargetShare, rate_of
from reports.analysis.summary.outcomes import PlannedTurns
from reports.data.runs import RunFrames
from reports.data.samples import (
    FUNCTION_VOICE_TO_VOICE,
    VOICE_TO_VOICE,
    MetricSample,
    MetricSamples,
    rate_counts,
    sampled,
    session_sample,
)
from reports.data.turns import FAILED, UNFINISHED, Flags, Pool, TurnArrays, pool_label
from reports.data.uncertainty import uncertain_reason
from reports.metrics.rate_metrics import MIN_RATE_UNITS
from reports.metrics.strata import NO_STRATUM, STARTED_BY, MainMetric
from reports.metrics.thresholds import recorded
from reports.results.json_entries import Count, JsonEntry, Known, Rounded, described
from reports.results.reason import Reason
from reports.statistics.counting import Floats, Integers, distinct
from reports.statistics.quantiles import CONFIDENCE, QuantileEstimate, quantiles

TURN_TYPE = "function_calls"
DEADLINE_MS = 2_000.0
"""The deadline of the answer if no threshold of the run has one."""
EXPERIENCED = {
    **{"first_sound": VOICE_TO_VOICE, "answer": FUNCTION_VOICE_TO_VOICE, "task_to_answer": "function_call_to_answer"},
    **{"longest_silence": "dead_air", "own_functions": "function_execution"},
}
"""The metric of each field of `ToolTurns` that is a latency."""


class DeadlineShare(TargetShare, frozen=True, kw_only=True):
    """The share of a target's turns (or sessions) that have a metric by a deadline; `count` are in time. Turns that
    failed or did not start are late. The share is null if there are fewer than ten turns.
    """

    metric: str
    measured_from: Known
    turn_type: Known
    title: Annotated[str, described("the target, with what distinguishes these turns from others of the run")]
    step: str
    deadline_ms: float


class ToolLatency(JsonEntry, frozen=True):
    """The quantiles of a metric of turns with tools, in ms."""

    metric: str
    n: Count
    failed: Count
    p50: QuantileEstimate
    p95: QuantileEstimate
    uncertain: Annotated[Reason | None, described("why the values are uncertain in this run; null if they are not")] = (
        None
    )


class ToolTurns(PlannedTurns, frozen=True, kw_only=True):
    """The turns of one target, or of one of its steps, in which the service called functions or delegated tasks."""

    target: str
    title: Annotated[str, described("the target, with what distinguishes these turns from others with tools")]
    measured_from: Known
    turn_type: Known
    step: str
    turns: Count
    sessions: Count
    first_sound: Annotated[ToolLatency, described("voice_to_voice: until the first sound, which may be a filler")]
    answer: Annotated[ToolLatency, described("function_voice_to_voice: from the end of speech to the spoken answer")]
    task_to_answer: Annotated[
        ToolLatency, described("function_call_to_answer: from the call or delegation to the answer")
    ]
    longest_silence: Annotated[ToolLatency, described("dead_air: the longest silence before a sound")]
    own_functions: Annotated[ToolLatency, described("function_execution: how long our own functions took")]
    tasks_per_turn: Annotated[Rounded, described("mean of delegations: tasks, or responses that called functions")]
    fillers: Annotated[ShareEstimate, described("preamble_rate: successful turns with a sound before the answer")]
    in_time: Annotated[DeadlineShare, described("turns whose answer was heard by the deadline")]


def tool_turns(run: RunFrames, samples: MetricSamples) -> tuple[ToolTurns, ...]:
    """Return the turns with tools: for each target its turns of all steps, then those of each step if it has several.
    The deadline is that of the run's first threshold `within` on the answer, else DEADLINE_MS.
    """
    turns = samples.turns
    pools = [pool for pool in turns.pools if TURN_TYPE in pool.stratum.turn_type.split("+") and turns.of(pool).any()]
    if not pools:
        return ()
    answers = (
        t.statistic.deadline_ms for t in recorded(run.metadata).thresholds if t.metric == FUNCTION_VOICE_TO_VOICE
    )
    of_metrics = {field: sampled(turns, name, samples.mains) for field, name in EXPERIENCED.items()}
    preambles = rate_counts(turns, "preamble_rate")[0]
    rows = _Rows(run, turns, of_metrics, preambles, next(filter(None, answers), DEADLINE_MS), pools)
    return tuple(row for pool in pools for row in rows.of(pool))


@dataclass(frozen=True)
class _Rows:
    """The object that computes the rows. `of_metrics` are the samples of EXPERIENCED, and `pools` those of all rows."""

    run: RunFrames
    turns: TurnArrays
    of_metrics: dict[str, MetricSample]
    preambles: Floats
    deadline_ms: float
    pools: Sequence[Pool]

    def of(self, pool: Pool) -> Iterator[ToolTurns]:
        yield self.row(pool, ALL)
        steps = np.unique(self.turns.step[self.turns.of(pool)]).tolist()
        for step in steps if len(steps) > 1 else ():
            yield self.row(replace(pool, steps=np.arange(pool.steps.size) == step), self.turns.steps[step])

    def row(self, pool: Pool, step: str) -> ToolTurns:
        turns, mine, target = self.turns, self.turns.of(pool), self.turns.targets[pool.target]
        ended, failed = (int((mine & kind).sum()) for kind in (turns.kind != UNFINISHED, turns.kind == FAILED))
        not_started = int(turns.not_started_by_group[pool.target][pool.steps].sum())
        strata = [other.stratum for other in self.pools]
        answered, tasks = mine & ~np.isnan(self.preambles), turns.column("delegations")[mine]
        known = tasks[~np.isnan(tasks)]
        pool = replace(pool, label=pool_label(target, pool.stratum, strata, STARTED_BY))
        return ToolTurns(
            target=target,
            title=pool.label,
            measured_from=pool.stratum.measured_from,
            turn_type=pool.stratum.turn_type,
            step=step,
            turns=int(mine.sum()),
            sessions=distinct(turns.session[mine]).size,
            turns_failed=failed,
            turns_not_started=not_started,
            turns_planned=ended + not_started,
            **{field: self.latency(sample, pool) for field, sample in self.of_metrics.items()},
            tasks_per_turn=float(known.mean()) if known.size else math.nan,
            fillers=rate_of(self.preambles[answered] > 0, turns.session[answered], CONFIDENCE),
            in_time=deadline_share(self.of_metrics["answer"], pool, step, self.deadline_ms),
        )

    def latency(self, sample: MetricSample, pool: Pool) -> ToolLatency:
        values, name = sample.of(pool.target, pool.steps), sample.metric.name
        p50, p95 = (estimate.published() for estimate in quantiles(values, (0.5, 0.95)))
        because = uncertain_reason(self.run.uncertain_metrics, self.turns.targets[pool.target], name)
        return ToolLatency(name, values.n, values.failed, p50, p95, because)


def deadline_shares(run: RunFrames, samples: MetricSamples, sessions: pd.DataFrame) -> Iterator[DeadlineShare]:
    """Yield the shares by a deadline that the thresholds of a run limit, for each target and stratum. `sessions` are
    the measured sessions.
    """
    turns, thresholds = samples.turns, recorded(run.metadata).thresholds
    asked = dict.fromkeys((t.metric, t.statistic, t.step) for t in thresholds)
    for metric, statistic, step in asked:
        if (deadline_ms := statistic.deadline_ms) is None:
            continue
        if CATALOGUE[metric].scope == "session":
            yield from _of_sessions(turns.targets, sessions, metric, deadline_ms)
            continue
        named = turns.steps_named(step) if step else np.ones(len(turns.steps), dtype=bool)
        of_metric = sampled(turns, metric, samples.mains)
        for pool in of_metric.pools():
            pool = replace(pool, steps=pool.steps & named)
            if (share := deadline_share(of_metric, pool, step or ALL, deadline_ms)).total:
                yield share


def deadline_share(sample: MetricSample, pool: Pool, step: str, deadline_ms: float) -> DeadlineShare:
    """Return the share of the turns of a pool that have a metric by a deadline. `step` is the name of its steps."""
    in_time, started, not_started = sample.in_time(pool.target, pool.steps, deadline_ms)
    turns, target = sample.turns, sample.turns.targets[pool.target]
    sessions = np.append(turns.session[started], turns.not_started.session[not_started])
    of = MainMetric(sample.metric.name, *pool.stratum, target)
    return _share(in_time, sessions, of, pool.label, step, deadline_ms)


def _of_sessions(
    targets: Sequence[str], sessions: pd.DataFrame, metric: str, deadline_ms: float
) -> Iterator[DeadlineShare]:
    for target in targets:
        sample = session_sample(sessions[(sessions["target"] == target).to_numpy()], metric)
        if sample is not None:
            in_time = sample.values <= deadline_ms
            yield _share(in_time, sample.sessions, MainMetric(metric, *NO_STRATUM, target), target, ALL, deadline_ms)


def _share(
    in_time: Flags, sessions: Integers, of: MainMetric, title: str, step: str, deadline_ms: float
) -> DeadlineShare:
    share = rate_of(in_time, sessions, CONFIDENCE)
    value, low, high = (share.share, share.low, share.high) if share.total >= MIN_RATE_UNITS else (math.nan,) * 3
    return DeadlineShare(
        **asdict(of),
        title=title,
        step=step,
        deadline_ms=deadline_ms,
        count=share.count,
        total=share.total,
        unit="sessions" if CATALOGUE[of.metric].scope == "session" else "turns",
        sessions=distinct(sessions).size,
        value=value,
        low=low,
        high=high,
    )
