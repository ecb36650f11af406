"""How callers experience turns with tools: function calls, or the tasks that GPT-Live delegates;
shares by a deadline.

A caller first hears a sound, which may be a filler ("let me check that"), and later the answer.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from msgspec import structs

from bench.catalogue.metrics import CATALOGUE
from reports.data.runs import RunFrames
from reports.data.samples import (
    FUNCTION_VOICE_TO_VOICE,
    VOICE_TO_VOICE,
    Events,
    MetricSample,
    MetricSamples,
    rate_counts,
    sampled,
    session_sample,
)
from reports.data.turns import Pool, pool_label, rows_of
from reports.engine.evaluate import (
    average,
    counted,
    failures,
    parts_of,
    planned_turns,
    published,
    quantile_values,
    rate,
    rates,
    subject_of,
)
from reports.metrics.statistic_types.rate import Within
from reports.metrics.strata import STARTED_BY
from reports.metrics.thresholds import recorded
from reports.results.value import MEAN, TYPICAL_LEVELS, Subject, Value
from reports.statistics.counting import Flags, Integers, distinct

TURN_TYPE = "function_calls"
DEADLINE_MS = 2_000.0
"""The deadline of the answer if no threshold of the run has one."""
EXPERIENCED = (
    VOICE_TO_VOICE,
    FUNCTION_VOICE_TO_VOICE,
    "function_call_to_answer",
    "dead_air",
    "function_execution",
)
"""The latencies of turns with tools: until the first sound, which may be a filler, until the
answer, from the call or delegation to the answer, the longest silence before a sound, and how long
our own functions took."""


def tool_turns(run: RunFrames, samples: MetricSamples) -> Iterator[Value]:
    """Yield the values of turns with tools: for each target those of all steps, then those of each
    step if it has several. The deadline is that of the run's first threshold `within` on the
    answer, else DEADLINE_MS.
    """
    turns = samples.turns
    pools = [
        pool
        for pool in turns.pools
        if TURN_TYPE in pool.stratum.turn_type.split("+") and turns.of(pool).any()
    ]
    if not pools:
        return
    limits = [
        t.statistic
        for t in recorded(run.metadata).thresholds
        if t.metric == FUNCTION_VOICE_TO_VOICE
    ]
    within = next((of for of in limits if isinstance(of, Within)), Within(DEADLINE_MS))
    latencies = {name: sampled(turns, name, samples.mains) for name in EXPERIENCED}
    preambles = {"preamble_rate": rate_counts(turns, "preamble_rate")}
    for pool in pools:
        strata = [other.stratum for other in pools]
        label = pool_label(turns.targets[pool.target], pool.stratum, strata, STARTED_BY)
        for of, part in parts_of(turns, replace(pool, label=label)):
            rows = np.flatnonzero(of.turns)
            yield counted(of.subject, "turns", rows.size, distinct(turns.session[rows]).size)
            planned = planned_turns(turns, rows, np.flatnonzero(turns.not_started_in(part)))
            yield failures(of.subject, planned)
            for name, sample in latencies.items():
                yield from quantile_values(
                    of.subject, name, sample.of(part.target, part.steps), TYPICAL_LEVELS
                )
            yield average(turns, of, "delegations", turns.column("delegations"), MEAN)
            yield from rates(turns, [of], preambles)
            yield deadline_share(latencies[FUNCTION_VOICE_TO_VOICE], part, of.subject.step, within)


def deadline_shares(
    run: RunFrames, samples: MetricSamples, sessions: pd.DataFrame
) -> Iterator[Value]:
    """Yield the shares by a deadline that the thresholds of a run limit, for each target and
    stratum. `sessions` are the measured sessions.
    """
    turns = samples.turns
    thresholds = recorded(run.metadata).thresholds
    for metric, statistic, step in dict.fromkeys(
        (t.metric, t.statistic, t.step) for t in thresholds
    ):
        if not isinstance(statistic, Within):
            continue
        if CATALOGUE[metric].scope == "session":
            yield from _of_sessions(turns.targets, sessions, metric, statistic)
            continue
        named = turns.steps_named(step) if step else np.ones(len(turns.steps), bool)
        of_metric = sampled(turns, metric, samples.mains)
        for pool in of_metric.pools():
            value = deadline_share(
                of_metric, replace(pool, steps=pool.steps & named), step, statistic
            )
            yield from [value] if value.n else []


def deadline_share(sample: MetricSample, pool: Pool, step: str, within: Within) -> Value:
    """Return the share of the turns of a pool that have a metric by a deadline. Turns that failed
    or did not start are late. `step` is the name of the pool's steps; "" for all.
    """
    in_time, started, not_started = sample.in_time(pool.target, pool.steps, within.deadline)
    turns = sample.turns
    sessions = np.append(turns.session[started], turns.not_started.session[not_started])
    unscored = turns.session[sample.unscored_of(pool.target, pool.steps)]
    subject = subject_of(turns, pool, step)
    return _in_time(subject, sample.metric.name, within, in_time, sessions, unscored)


def _of_sessions(
    targets: Sequence[str], sessions: pd.DataFrame, metric: str, within: Within
) -> Iterator[Value]:
    for target in targets:
        sample = session_sample(rows_of(sessions, target), metric)
        if sample is not None:
            subject = Subject(target=target, title=target)
            in_time = sample.values <= within.deadline
            unscored = sample.unscored_sessions
            yield structs.replace(
                _in_time(subject, metric, within, in_time, sample.sessions, unscored),
                unit="sessions",
            )


def _in_time(
    subject: Subject,
    metric: str,
    within: Within,
    in_time: Flags,
    sessions: Integers,
    unscored: Integers,
) -> Value:
    """Return the share of turns that are `in_time`. `sessions` has the session of each turn, and
    `unscored` that of each unscored turn.
    """
    no_events = np.full(unscored.size, np.nan)
    events = Events(
        np.append(in_time.astype(float), no_events),
        np.append(np.ones(in_time.size), no_events),
        np.append(np.zeros(in_time.size), np.ones(unscored.size)),
    )
    value = rate(subject, metric, events, np.append(sessions, unscored))
    return published(structs.replace(value, statistic=within.aggregate))
