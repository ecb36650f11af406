"""The samples of metrics, which are made from turns. A sample is a
`reports.statistics.quantiles.Sample`.

A successful turn contributes its value. If it has no value of the metric, it is not in the sample:
for example, a turn without text has no ttft. If it should have one (`bench.catalogue.metrics.Due`),
it is counted as unscored. A failed turn, and a planned turn that did not start,
contributes +inf if the metric *applies* to its target and step:

- If the target has successful turns of the step, the metric applies if one of these turns has a
  value.
- If only other targets have successful turns of the step, the metric applies if one of those turns
  has a value.
- If no target has a successful turn of the step, only the main metric and response_total apply. To
  a step in which the service speaks first, no metric applies: `greeting` is a metric of sessions.

For metrics that are no latencies (audio_speed, transcript_lead, stall, request_ack), +inf has no
meaning, so their failed turns are only counted. Unfinished turns are not in any sample, but are
counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from bench.catalogue.metrics import BYTES_PER_S, CATALOGUE, TRANSCRIPT_METRICS, Metric
from bench.catalogue.outcomes import ABANDONED, is_throttled
from bench.record.metric_values import floats
from reports.data.runs import RunFrames, by_label, scripts_of
from reports.data.turns import (
    FAILED,
    GOOD,
    UNFINISHED,
    Pool,
    TurnArrays,
    column_of,
    measured_turns,
    of_rows,
    pool_label,
)
from reports.metrics.rate_metrics import RATES, DueTurns, RateUnit
from reports.metrics.strata import STARTED_BY, Stratum
from reports.statistics.counting import (
    Flags,
    Floats,
    Integers,
    count_nonzero,
    order_of_values,
    split,
)
from reports.statistics.quantiles import Sample, sample

ALWAYS = "response_total"
TRANSCRIPT_OUTPUT = "transcript"
"""The output of scripts that only transcribe, in run.json."""
VOICE_TO_VOICE = "voice_to_voice"
MAINS = ("ttfa", "ttft", VOICE_TO_VOICE)
"""The metrics that may be the main metric of a stratum. An earlier one has priority."""
FUNCTION_VOICE_TO_VOICE = "function_voice_to_voice"
"""The latency until the first audible sample of the answer, of turns with function calls or
delegated tasks."""
ANSWER_VOICE_TO_VOICE = "answer_voice_to_voice"
"""The latency until the first audible sample of the answer. The answer begins after the
preamble, if there is one."""


@dataclass(frozen=True)
class MetricSample:
    """The values of one metric in the whole run, in ascending order. So a sample of some of the
    values needs no sort.

    `values`, `index` and `failed` are about the turns that started. A `Sample` also contains the
    turns that did not start.
    """

    metric: Metric
    turns: TurnArrays
    values: Floats
    index: Integers
    """For each value, the index of its turn in `turns`."""
    failed: Integers
    censored: Integers
    applies: Flags
    """True if the metric applies, by target (row) and step (column)."""
    unscored: Integers
    """The indexes in `turns` of the successful turns that should have a value and have none."""

    def part(self, target: int, steps: Flags) -> tuple[Floats, Integers]:
        """Return the ascending values of some steps of a target, and the index of each value's
        turn in `turns`.
        """
        is_included = np.zeros_like(self.applies)
        is_included[target] = steps
        if is_included.all():
            return self.values, self.index
        positions = np.flatnonzero(is_included.ravel()[self.turns.group[self.index]])
        return self.values[positions], self.index[positions]

    def unscored_of(self, target: int, steps: Flags) -> Integers:
        """Return the indexes in `turns` of the unscored turns of some steps of a target."""
        turns = self.turns
        found: Integers = self.unscored[
            (turns.target[self.unscored] == target) & steps[turns.step[self.unscored]]
        ]
        return found

    def not_started(self, target: int, steps: Flags) -> Integers:
        """Return the indexes in `turns.not_started` of the turns of some steps of a target. Steps
        to which the metric does not apply are left out.
        """
        return np.flatnonzero(self.turns.not_started.of(target, steps & self.applies[target]))

    def of(
        self, target: int, steps: Flags, selection: tuple[Floats, Integers] | None = None
    ) -> Sample:
        """Return the sample of some steps of a target. `selection` is the result of `part` for
        these steps, if it is known.
        """
        return self._sample(*(selection or self.part(target, steps)), target, steps)

    def by_step(
        self, target: int, steps: Flags, selection: tuple[Floats, Integers] | None = None
    ) -> Iterable[tuple[int, Sample]]:
        """Yield the sample of each step that has the metric, with the index of the step.
        `selection` is the result of `part` for these steps, if it is known.
        """
        values, index = selection or self.part(target, steps)
        rows_by_step = dict(split(self.turns.step[index]))
        for step in np.flatnonzero(self.applies[target] & steps).tolist():
            positions = rows_by_step.get(step, index[:0])
            yield (
                step,
                self._sample(
                    values[positions], index[positions], target, np.arange(steps.size) == step
                ),
            )

    def by_group(
        self, target: int, steps: Flags, turn_groups: Integers, not_started_groups: Integers
    ) -> Iterable[tuple[int, Sample]]:
        """Yield the sample of each group, with its number. The samples contain only turns of some
        steps of a target.

        Groups without such turns are left out.

        - `turn_groups` is the group of each turn that started; −1 for no group
        - `not_started_groups` is the group of each turn that did not start; −1 for no group
        """
        turns = self.turns
        steps = steps & self.applies[target]
        size = 1 + max(turn_groups.max(initial=-1), not_started_groups.max(initial=-1))
        failed, censored = (
            np.bincount(
                turn_groups[indices[is_included & (turn_groups[indices] >= 0)]], minlength=size
            )
            for indices in (turns.failed, turns.unfinished)
            for is_included in [(turns.target[indices] == target) & steps[turns.step[indices]]]
        )
        not_started = self.not_started(target, steps)
        grouped = not_started[not_started_groups[not_started] >= 0]
        not_started_counts = np.bincount(not_started_groups[grouped], minlength=size)
        has_infinite = is_latency(self.metric)
        values, index = self.part(target, steps)
        of_session = np.bincount(turns.session[index], minlength=turns.sessions)
        if has_infinite:
            of_session = of_session + np.bincount(
                turns.not_started.session[not_started], minlength=turns.sessions
            )
        lacking = self.unscored_of(target, steps)
        rows_by_group = dict(split(turn_groups[index] + 1))  # 0 is no group
        has_group = np.isin(np.arange(1, size + 1), [*rows_by_group])
        for group in np.flatnonzero(
            has_group | (failed + censored + not_started_counts > 0)
        ).tolist():
            rows = rows_by_group.get(group + 1, index[:0])
            group_values = values[rows]
            sessions = turns.session[index[rows]]
            if not_started_counts[group] and has_infinite:
                group_values = np.append(group_values, np.full(not_started_counts[group], np.inf))
                sessions = np.append(
                    sessions,
                    turns.not_started.session[grouped[not_started_groups[grouped] == group]],
                )
            never_started = int(not_started_counts[group])
            failures = int(failed[group]) + never_started
            unfinished = int(censored[group])
            sizes = np.bincount(sessions, minlength=turns.sessions)
            has_whole_sessions = bool(((sizes == of_session) | (sizes == 0)).all())
            yield (
                group,
                Sample(
                    group_values,
                    sessions,
                    failures,
                    unfinished,
                    never_started,
                    has_whole_sessions,
                    turns.session[lacking[turn_groups[lacking] == group]],
                ),
            )

    def _sample(self, values: Floats, index: Integers, target: int, steps: Flags) -> Sample:
        failed, censored = (
            int(counts[target][steps].sum()) for counts in (self.failed, self.censored)
        )
        sessions = self.turns.session[index]
        not_started = self.turns.not_started.session[self.not_started(target, steps)]
        if not_started.size and is_latency(self.metric):
            values = np.append(values, np.full(not_started.size, np.inf))
            sessions = np.append(sessions, not_started)
        return Sample(
            values,
            sessions,
            failed + not_started.size,
            censored,
            not_started.size,
            unscored_sessions=self.turns.session[self.unscored_of(target, steps)],
        )

    def in_time(
        self, target: int, steps: Flags, deadline: float
    ) -> tuple[Flags, Integers, Integers]:
        """Return whether each turn of some steps of a target has a value of at most `deadline`.

        A turn that failed or did not start has no value, even if the metric is no latency. The
        other results are the indexes of these turns: in `turns` of those that started, which are
        the first, and in `turns.not_started`.
        """
        turns = self.turns
        not_started = self.not_started(target, steps)
        values, started = self.part(target, steps)
        if not is_latency(self.metric):
            steps = steps & self.applies[target]
            failed = turns.failed[
                (turns.target[turns.failed] == target) & steps[turns.step[turns.failed]]
            ]
            started = np.append(started, failed)
        values = np.append(values, np.full(started.size + not_started.size - values.size, np.inf))
        return values <= deadline, started, not_started

    def pools(self) -> Iterable[Pool]:
        """Yield the pools of this metric for each target that has it.

        Turns of different turn types are never pooled. Turns whose response the script starts are
        pooled with turns whose response the service starts only if the metric does not depend on
        it: a latency from `measured_from` or from the end of speech has a pool for each.
        """
        start = self.metric.begin
        for target, label in enumerate(self.turns.targets):
            target_pools = [pool for pool in self.turns.pools if pool.target == target]
            having = [p for p in target_pools if (p.steps & self.applies[target]).any()]
            if start == "measured_from":
                yield from having
            elif start == "speech_end":
                strata = [pool.stratum for pool in having]
                yield from (
                    replace(pool, label=pool_label(label, pool.stratum, strata, STARTED_BY))
                    for pool in having
                )
            else:
                strata = list(dict.fromkeys(Stratum("", pool.stratum.turn_type) for pool in having))
                for stratum in strata:
                    yield Pool(
                        target,
                        stratum,
                        pool_label(label, stratum, strata, {}),
                        self.turns.steps_in(stratum),
                    )


def sampled(
    turns: TurnArrays, name: str, mains: Mapping[Stratum, str], changes: Floats | None = None
) -> MetricSample:
    """Return the sample of one metric over the run. `mains` is the main metric of each stratum.

    If a step has no successful turn on any target, only its main metric and the metric ALWAYS
    apply. `changes` is added to the value of each turn.
    """
    metric = CATALOGUE[name]
    values = turns.value(name)
    if changes is not None:
        values = values + changes
    main_of_step = np.array([mains[turns.strata[position]] for position in turns.stratum], object)
    always = ((main_of_step == name) | (name == ALWAYS)) & ~turns.is_greeting
    has_value = turns.succeeded & ~np.isnan(values)
    has = turns.by_group(has_value) > 0
    succeeded = turns.succeeded_by_group > 0
    elsewhere = np.where(succeeded.any(axis=0), has.any(axis=0), always)
    applies: Flags = np.where(succeeded, has, elsewhere[None, :])
    sorted_values = values[has_value]
    index = np.flatnonzero(has_value).astype(np.int32)
    order = order_of_values(sorted_values)
    sorted_values = sorted_values[order]
    index = index[order]
    if is_latency(metric):
        failed = turns.failed[applies.ravel()[turns.group[turns.failed]]]
        sorted_values = np.append(sorted_values, np.full(failed.size, np.inf))
        index = np.append(index, failed)
    counts, censored = (
        turns.by_group(indices) * applies for indices in (turns.failed, turns.unfinished)
    )
    unscored = np.flatnonzero(turns.succeeded & np.isnan(values) & has.ravel()[turns.group])
    if unscored.size:
        unscored = unscored[turns.due(metric)[unscored]]
    return MetricSample(metric, turns, sorted_values, index, counts, censored, applies, unscored)


@dataclass(frozen=True, eq=False)
class MetricSamples:
    """The sample of each metric of a run's turns, made when it is first used. `mains` is the main
    metric of each stratum.
    """

    turns: TurnArrays
    mains: Mapping[Stratum, str]
    known: dict[str, MetricSample] = field(default_factory=dict)

    def __getitem__(self, name: str) -> MetricSample:
        if name not in self.known:
            self.known[name] = sampled(self.turns, name, self.mains)
        return self.known[name]


def samples_of(run: RunFrames) -> MetricSamples:
    """Return the samples of measured turns. Raise UsageError if a row has no target.

    The main metric of a stratum is the first of ttfa, ttft, and voice_to_voice that every target
    with successful turns of the stratum has. So a target without turn events can be compared with
    others. If they have none in common, it is the first of these that any successful turn has. If
    no turn has one, it is voice_to_voice if all targets are full duplex, ttft if the scripts
    requested only text, and otherwise ttfa. If sessions only transcribe, it is that of the finished
    transcript.
    """
    turns = measured_turns(run)
    requested_outputs = {script.get("output") for script in scripts_of(run.metadata)}
    is_audio_only = all(target.get("full_duplex") for target in run.metadata.get("targets") or [{}])
    unknown = (
        VOICE_TO_VOICE if is_audio_only else "ttft" if requested_outputs == {"text"} else "ttfa"
    )
    names: tuple[str, ...] = MAINS
    if TRANSCRIPT_OUTPUT in requested_outputs:
        names = (*names, *TRANSCRIPT_METRICS)
        unknown = TRANSCRIPT_METRICS[0] if requested_outputs == {TRANSCRIPT_OUTPUT} else unknown
    having = {
        name: turns.by_group(turns.succeeded & ~np.isnan(turns.value(name))) for name in names
    }
    mains = {}
    for index, stratum in enumerate(turns.strata):
        steps = turns.stratum == index
        succeeded = np.flatnonzero(turns.succeeded_by_group[:, steps].sum(axis=1))
        counts = {
            name: of[:, steps].sum(axis=1) for name, of in having.items() if of[:, steps].any()
        }
        common = (name for name, of_target in counts.items() if of_target[succeeded].all())
        mains[stratum] = next(common, next(iter(counts), unknown))
    return MetricSamples(turns, mains)


def is_latency(metric: Metric) -> bool:
    """Return whether the metric is a latency that is computed as a time between two instants,
    and is better if less.
    """
    return metric.is_latency and metric.better == "lower" and not metric.column


OF_DROPS = ["attempt", "session_updated_at_ns", "gave_up", "renewed", "turns_succeeded"]
OF_SAMPLE = ["outcome_class", "turns_started", *OF_DROPS]
"""The columns of sessions that every sample needs, in addition to the column of its metric."""


def session_sample(
    frame: pd.DataFrame, name: str, chosen: Flags | None = None, *, expected: bool = False
) -> Sample | None:
    """Return the sample of one metric of sessions; None if no session has the metric. Each session
    is a cluster.

    `chosen` is a mask of the sessions to use; by default, all sessions are used. If the metric is
    `expected`, the sample contains the failed sessions even if none of the sessions has the metric.

    - A session that failed before the end of the metric counts as +inf. A session that failed later
      has its value.
    - If the metric ends with the first reply, a session that started a turn but has no value also
      counts as +inf.
    - session_duration is no latency, so failed sessions are not in its sample, but are counted.
    - A metric of a column (jitter, packet loss) is no latency either: failed sessions with a value
      are in its sample, and those without are only counted. A successful session without a value is
      unscored if other sessions have one.
    - A metric of dropped calls has a value for each that came back, and +inf for each that gave up.
      Others, whose run ended before, are unscored.
    - A throughput has its value even if the session failed. If no session carried such bytes, for
      example audio in a run of text, no session has the metric.
    """
    values = floats(frame, column_of(name))
    metric = CATALOGUE[name]
    is_chosen = np.ones(values.size, bool) if chosen is None else chosen
    if metric.due == "dropped":
        return _of_drops(frame, metric, values, is_chosen)
    kind = frame["outcome_class"].cat.codes.to_numpy()
    has_value = ~np.isnan(values)
    carried = metric.unit == BYTES_PER_S
    if not (has_value.any() or (expected and has_value.size)) or (
        carried and not values[has_value].any()
    ):
        return None
    is_wait = is_latency(metric)
    failed = (kind == FAILED) & (
        ~has_value if is_wait or metric.column or carried else np.ones_like(has_value)
    )
    if metric.end == "first_reply":
        failed |= (
            (kind == GOOD) & ~has_value & (frame["turns_started"].to_numpy(float, na_value=0.0) > 0)
        )
    rows = np.flatnonzero(is_chosen & ((has_value & ~failed) | (failed if is_wait else False)))
    sample_values = np.where(failed[rows], np.inf, values[rows])
    is_unfinished = is_chosen & (kind == UNFINISHED) & ~has_value
    is_unscored = is_chosen & (kind == GOOD) & ~has_value & ~failed
    return sample(
        sample_values,
        rows,
        failed=count_nonzero(is_chosen & failed),
        censored=count_nonzero(is_unfinished),
        unscored_sessions=np.flatnonzero(is_unscored & (metric.due == "always")),
    )


def _of_drops(frame: pd.DataFrame, metric: Metric, values: Floats, chosen: Flags) -> Sample | None:
    """Return the sample of a metric of dropped calls. A session with which a call came back may
    also end another drop. An attempt that another one followed ends none.
    """
    is_attempt, is_open, has_end = (frame[name].notna().to_numpy() for name in OF_DROPS[:3])
    is_renewed, has_success = (
        (floats(frame, name) > 0) & chosen for name in ("renewed", "turns_succeeded")
    )
    is_last = chosen & ~is_renewed & ~has_end
    returned = is_attempt & is_open & (is_last | has_success)
    is_unknown = (frame["gave_up"] == "unfinished").to_numpy() & chosen
    failed = np.flatnonzero(has_end & chosen & ~is_unknown)
    is_unknown |= is_attempt & ~is_open & is_last
    good = np.flatnonzero(returned & ~np.isnan(values))
    lacking = np.flatnonzero(returned & np.isnan(values))
    unscored = np.append(np.flatnonzero(is_unknown), lacking)
    if not (good.size or failed.size or unscored.size):
        return None
    waiting = failed if is_latency(metric) else failed[:0]
    return sample(
        np.append(values[good], np.full(waiting.size, np.inf)),
        np.append(good, waiting),
        failed=failed.size,
        unscored_sessions=unscored,
    )


class Events(NamedTuple):
    """The events and the trials of a rate for each turn (or session); both are NaN if it does not
    count.

    `unscored` are the trials of which the events are unknown. They are 0 if the turn is scored, and
    if the rate does not apply to it. As sums over the turns of a cluster, all three add up.
    """

    events: Floats
    trials: Floats
    unscored: Floats

    def of(self, rows: Integers) -> Events:
        """Return the events of some turns."""
        return Events(*(counts[rows] for counts in self))

    @property
    def counted(self) -> Flags:
        """A mask of the turns to which the rate applies."""
        flags: Flags = ~np.isnan(self.trials) | (self.unscored > 0)
        return flags

    def scored_as(self, event: float) -> Events:
        """Return the events if all unscored trials had no event (0), or had one each (1)."""
        is_unscored = self.unscored > 0
        events, trials = (
            np.where(is_unscored, np.nan_to_num(known) + added, known)
            for known, added in (
                (self.events, event * self.unscored),
                (self.trials, self.unscored),
            )
        )
        return Events(events, trials, np.zeros(trials.size))


def rate_counts(turns: TurnArrays, name: str) -> Events:
    """Return the events of a rate for each started turn. The trials of a turn are its words if the
    rate is a share of words, and otherwise 1.
    """
    rate = RATES[name]
    ones = np.ones(turns.rows.size)
    is_last = True
    if rate.of_calls:
        start_ns = turns.column("start_ns")
        last_ns = np.full(turns.sessions, -np.inf)
        np.maximum.at(last_ns, turns.session, start_ns)
        is_last = start_ns == last_ns[turns.session]
    if name == "abandonment_rate":
        abandoned = by_label(turns.frame["outcome"].cat, ABANDONED.__eq__, False, np.bool_)
        counts = is_last & ~np.isnan(turns.column(rate.column)) & (turns.kind != UNFINISHED)
        events = of_rows(abandoned, turns.rows)
        units = ones
    elif rate.column:
        values = turns.column(rate.column)
        events = values
        units = turns.column(rate.words_column) if rate.words_column else ones
        counts = is_last & ~np.isnan(events) & ~np.isnan(units)
    elif name == "stall_rate":
        events = turns.value("stall_count")
        units = ones
        counts = turns.succeeded & ~np.isnan(events)
    elif name == "throttle_rate":
        throttled = by_label(turns.frame["outcome"].cat, is_throttled, False, np.bool_)
        counts = turns.kind != UNFINISHED
        events = of_rows(throttled, turns.rows)
        units = ones
    else:
        counts = turns.kind != UNFINISHED
        events = turns.kind == FAILED
        units = ones
    unscored = np.zeros(turns.rows.size)
    if rate.due is not None:
        due = due_turns(turns, rate.due, counts) & is_last & ~counts & ~np.isnan(units)
        unscored = np.where(due, units, 0.0)
    return Events(
        np.where(counts, events if rate.words_column else events > 0, np.nan),
        np.where(counts, units, np.nan),
        unscored,
    )


def due_turns(turns: TurnArrays, due: DueTurns, known: Flags) -> Flags:
    """Return the turns to which a rate applies. `known` are the turns whose events are known."""
    applies: Flags = (
        turns.labelled(due.column, *due.labels)
        if due.labels
        else np.nan_to_num(turns.column(due.column)) != 0
    )
    if due.kind == "ended":
        applies = applies & (turns.kind != UNFINISHED)
    else:
        applies = applies & (turns.kind == (FAILED if due.kind == "failed" else GOOD))
    if due.by_step:
        applies = applies & (turns.by_group(known) > 0).ravel()[turns.group]
    return applies


def rate_unit(turns: TurnArrays, name: str, chosen: Integers) -> RateUnit:
    """Return the unit of a rate's denominator over these turns."""
    rate = RATES[name]
    if not rate.words_column:
        return rate.units
    words, characters = (
        turns.column(column)[chosen] for column in (rate.words_column, rate.characters_column)
    )
    return rate.unit(np.nansum(words), np.nansum(characters))
