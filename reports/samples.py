"""The samples of metrics: they convert turns to `statistics.Sample`.

A successful turn has its value. If it has none (an `ok` turn without text has no ttft), it is not in the sample of that
metric. Failed turns, and planned turns that did not start, are +inf if the metric *applies*. The metric applies if any
successful turn of the same target and step has it. If there is no such turn, the same rule is used for that step on the
other targets. If the step never succeeded, only the main metric and response_total apply. For metrics that are no
latencies (audio_speed, transcript_lead, stall, request_ack), infinity has no meaning, so such turns are counted
separately. Unfinished turns are excluded and counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.metrics import BYTES_PER_S, CATALOGUE, TRANSCRIPT_METRICS, Metric, is_throttled
from reports.frames import by_label
from reports.rate_metrics import RATES
from reports.runs import RunFrames
from reports.statistics.counting import Floats, Integers, order_of_values, split
from reports.statistics.quantiles import Sample, sample
from reports.strata import STARTED_BY, Stratum
from reports.turns import (
    FAILED,
    GOOD,
    UNFINISHED,
    Flags,
    Pool,
    TurnArrays,
    column_of,
    measured_turns,
    of_rows,
    pool_label,
)

ALWAYS = "response_total"
TRANSCRIPT_OUTPUT = "transcript"
"""The output of scripts that only transcribe, in run.json."""
VOICE_TO_VOICE = "voice_to_voice"
ANSWER_VOICE_TO_VOICE = "answer_voice_to_voice"
"""The latency until the first audible sample of the answer, after any preamble."""


@dataclass(frozen=True)
class MetricSample:
    """The values of one metric over the whole run, ascending, so that the sample of any part needs no further sort.

    `values`, `index` and `failed` are about the turns that started. A sample also contains the turns that did not
    start.
    """

    metric: Metric
    turns: TurnArrays
    values: Floats
    index: Integers
    """For each value, the index of its turn in `turns`."""
    failed: npt.NDArray[np.int64]
    censored: npt.NDArray[np.int64]
    applies: Flags
    """True if the metric applies, by target (row) and step (column)."""

    def part(self, target: int, steps: Flags) -> tuple[Floats, Integers]:
        """Return the values of some steps of a target, ascending, and the index in `turns` of each."""
        wanted = np.zeros_like(self.applies)
        wanted[target] = steps
        if wanted.all():
            return self.values, self.index
        here = np.flatnonzero(wanted.ravel()[self.turns.group[self.index]])
        return self.values[here], self.index[here]

    def not_started(self, target: int, steps: Flags) -> Integers:
        """Return the indexes in `turns.not_started` of some steps of a target to which the metric applies."""
        return np.flatnonzero(self.turns.not_started.of(target, steps & self.applies[target]))

    def of(self, target: int, steps: Flags, part: tuple[Floats, Integers] | None = None) -> Sample:
        """Return the sample of some steps of a target. `part`: the values of these steps, if known already."""
        return self._sample(*(part or self.part(target, steps)), target, steps)

    def by_step(
        self, target: int, steps: Flags, part: tuple[Floats, Integers] | None = None
    ) -> Iterable[tuple[int, Sample]]:
        """Yield each step that has the metric, with its sample. `part`: the values of these steps, if known already."""
        values, index = part or self.part(target, steps)
        places = dict(split(self.turns.step[index]))
        for place in np.flatnonzero(self.applies[target] & steps).tolist():
            here = places.get(place, index[:0])
            yield place, self._sample(values[here], index[here], target, np.arange(steps.size) == place)

    def by_group(self, target: int, steps: Flags, of_turn: Integers, of_lost: Integers) -> Iterable[tuple[int, Sample]]:
        """Yield each group with turns of some steps of a target, and its sample. −1 in `of_turn` means no group."""
        turns, steps = self.turns, steps & self.applies[target]
        size = 1 + max(of_turn.max(initial=-1), of_lost.max(initial=-1))
        failed, censored = (
            np.bincount(of_turn[places[mine & (of_turn[places] >= 0)]], minlength=size)
            for places in (turns.failed, turns.unfinished)
            for mine in [(turns.target[places] == target) & steps[turns.step[places]]]
        )
        lost_here = self.not_started(target, steps)
        never = lost_here[of_lost[lost_here] >= 0]
        lost, counts_lost = np.bincount(of_lost[never], minlength=size), is_latency(self.metric)
        values, index = self.part(target, steps)
        of_session = np.bincount(turns.session[index], minlength=turns.sessions)
        if counts_lost:
            of_session = of_session + np.bincount(turns.not_started.session[lost_here], minlength=turns.sessions)
        drawn_by = dict(split(of_turn[index] + 1))  # 0 is no group
        there = np.isin(np.arange(1, size + 1), [*drawn_by])
        for group in np.flatnonzero(there | (failed + censored + lost > 0)).tolist():
            rows = drawn_by.get(group + 1, index[:0])
            drawn, sessions = values[rows], turns.session[index[rows]]
            if lost[group] and counts_lost:
                drawn = np.append(drawn, np.full(lost[group], np.inf))
                sessions = np.append(sessions, turns.not_started.session[never[of_lost[never] == group]])
            failures, unfinished, never_begun = int(failed[group] + lost[group]), int(censored[group]), int(lost[group])
            sizes = np.bincount(sessions, minlength=turns.sessions)
            whole = bool(((sizes == of_session) | (sizes == 0)).all())
            yield group, Sample(drawn, sessions, failures, unfinished, never_begun, whole)

    def _sample(self, values: Floats, index: Integers, target: int, steps: Flags) -> Sample:
        """Return the sample of these values of turns that started, and of turns that did not start."""
        failed, censored = (int(counts[target][steps].sum()) for counts in (self.failed, self.censored))
        sessions, lost = self.turns.session[index], self.turns.not_started.session[self.not_started(target, steps)]
        if lost.size and is_latency(self.metric):
            values, sessions = np.append(values, np.full(lost.size, np.inf)), np.append(sessions, lost)
        return Sample(values, sessions, failed + lost.size, censored, lost.size)

    def pools(self) -> Iterable[Pool]:
        """Yield the pools of this metric for each target that has it.

        Turns are never pooled if their types differ, if they are measured from different instants, or if the script
        starts the responses of some and the service starts those of others.
        """
        begin = self.metric.begin
        for target, label in enumerate(self.turns.targets):
            mine = [pool for pool in self.turns.pools if pool.target == target]
            having = [p for p in mine if (p.steps & self.applies[target]).any()]
            if begin == "measured_from":
                yield from having
            elif begin == "speech_end":
                strata = [pool.stratum for pool in having]
                yield from (replace(pool, label=pool_label(label, pool.stratum, strata, STARTED_BY)) for pool in having)
            else:
                strata = list(dict.fromkeys(Stratum("", pool.stratum.turn_type) for pool in having))
                for stratum in strata:
                    yield Pool(target, stratum, pool_label(label, stratum, strata, {}), self.turns.steps_in(stratum))


def sampled(turns: TurnArrays, name: str, mains: Mapping[Stratum, str]) -> MetricSample:
    """Return the sample of one metric over the run.

    If a step has no successful turn, only its main metric and the metrics in ALWAYS apply.
    """
    metric, values = CATALOGUE[name], turns.value(name)
    main_of_step = np.array([mains[turns.strata[place]] for place in turns.stratum], dtype=object)
    always = (main_of_step == name) | (name == ALWAYS)
    there = turns.succeeded & ~np.isnan(values)
    has, good = turns.by_group(there) > 0, turns.by_group(turns.succeeded) > 0
    elsewhere = np.where(good.any(axis=0), has.any(axis=0), always)
    applies: Flags = np.where(good, has, elsewhere[None, :])
    drawn, index = values[there], np.flatnonzero(there).astype(np.int32)
    order = order_of_values(drawn)
    drawn, index = drawn[order], index[order]
    if is_latency(metric):
        failed = turns.failed[applies.ravel()[turns.group[turns.failed]]]
        drawn, index = np.append(drawn, np.full(failed.size, np.inf)), np.append(index, failed)
    counts, censored = (turns.by_group(places) * applies for places in (turns.failed, turns.unfinished))
    return MetricSample(metric, turns, drawn, index, counts, censored, applies)


@dataclass(frozen=True, eq=False)
class MetricSamples:
    """The metrics of a run's turns, each sampled at its first use. `mains`: the main metric of each stratum."""

    turns: TurnArrays
    mains: Mapping[Stratum, str]
    known: dict[str, MetricSample] = field(default_factory=dict)

    def __getitem__(self, name: str) -> MetricSample:
        if name not in self.known:
            self.known[name] = sampled(self.turns, name, self.mains)
        return self.known[name]


def samples_of(run: RunFrames) -> MetricSamples:
    """Return the samples of measured turns. Raise UsageError if rows name no target.

    The main metric is ttfa if turns have audio, otherwise ttft. It is voice_to_voice if audio is the only output that
    the service reports. If sessions only transcribe, it is that of the finished transcript. If no turn succeeded, it
    follows from the output that the scripts requested.
    """
    turns = measured_turns(run)
    asked = {script.get("output") for script in run.metadata.get("scripts") or []}
    heard_alone = all(target.get("full_duplex") for target in run.metadata.get("targets") or [{}])
    unknown = VOICE_TO_VOICE if heard_alone else "ttft" if asked == {"text"} else "ttfa"
    names: tuple[str, ...] = ("ttfa", "ttft", VOICE_TO_VOICE)
    if TRANSCRIPT_OUTPUT in asked:
        names = (*names, *TRANSCRIPT_METRICS)
        unknown = TRANSCRIPT_METRICS[0] if asked == {TRANSCRIPT_OUTPUT} else unknown
    having = {}
    for name in names:
        there = turns.succeeded & ~np.isnan(turns.value(name))
        having[name] = set(turns.stratum[turns.step[there]].tolist())
    mains = {
        stratum: next((name for name, places in having.items() if at in places), unknown)
        for at, stratum in enumerate(turns.strata)
    }
    return MetricSamples(turns, mains)


def is_latency(metric: Metric) -> bool:
    """Return whether the metric is a latency: a time between two instants, better if less, and not stored."""
    return metric.is_latency and metric.better == "lower" and not metric.column


OF_SAMPLE = ["outcome_class", "turns_started"]
"""The columns of sessions that a sample needs, in addition to the columns of its metric."""


def session_sample(frame: pd.DataFrame, name: str, chosen: Flags | None = None) -> Sample | None:
    """Return the sample of one metric of sessions; None if no session has the metric. Each session is its own cluster.

    `chosen`: the sessions to use, by default all. A session that failed before the end of the metric counts as +inf; a
    session that failed later has its value. If the metric ends with the first reply, a session whose first turn failed
    also counts as +inf. session_duration is no latency, so failed sessions are excluded from it and counted. Throughput
    has its value whether the session failed or not. If no session carried the bytes, such as audio in a run of text,
    there is no such metric.
    """
    values = frame[column_of(name)].to_numpy(dtype=np.float64)
    kind, there = frame["outcome_class"].cat.codes.to_numpy(), ~np.isnan(values)
    carried = CATALOGUE[name].unit == BYTES_PER_S
    if not there.any() or (carried and not values[there].any()):
        return None
    waits = CATALOGUE[name].better == "lower"
    failed = (kind == FAILED) & (~there if waits or carried else np.ones_like(there))
    if CATALOGUE[name].end == "first_reply":
        failed |= (kind == GOOD) & ~there & (frame["turns_started"].to_numpy(dtype=np.float64, na_value=0.0) > 0)
    mine = np.ones_like(there) if chosen is None else chosen
    kept = np.flatnonzero(mine & ((there & ~failed) | (failed if waits else False)))
    drawn = np.where(failed[kept], np.inf, values[kept])
    cut = mine & (kind == UNFINISHED) & ~there
    return sample(drawn, kept, failed=int((mine & failed).sum()), censored=int(cut.sum()))


def rate_counts(turns: TurnArrays, name: str) -> tuple[Floats, Floats]:
    """Return each started turn's events and trials (words, or 1) of a rate; NaN if the turn does not count."""
    rate, every = RATES[name], np.ones(turns.rows.size)
    if rate.column:
        values = turns.column(rate.column)
        events, of = values, turns.column(rate.words_column) if rate.words_column else every
        counts = ~np.isnan(events) & ~np.isnan(of)
    elif name == "stall_rate":
        events, of = turns.value("stall_count"), every
        counts = turns.succeeded & ~np.isnan(events)
    elif name == "throttle_rate":
        throttled = by_label(turns.frame["outcome"].cat, is_throttled, False, np.bool_)
        counts, events, of = turns.kind != UNFINISHED, of_rows(throttled, turns.rows), every
    else:
        counts, events, of = turns.kind != UNFINISHED, turns.kind == FAILED, every
    return np.where(counts, events if rate.words_column else events > 0, np.nan), np.where(counts, of, np.nan)
