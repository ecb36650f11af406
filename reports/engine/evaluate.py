"""Values of turns: which turns, which rate of them, and its interval.

A rate is given as the events and the trials of each turn, as `reports.data.samples.rate_counts`
returns them. What cannot be scored is not zero: the interval of a rate is the widest of those with
only the scored trials, with no event in any unscored trial, and with an event in each.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from msgspec.structs import asdict, replace

from reports.data.parts import Parts
from reports.data.samples import Events, rate_unit
from reports.data.turns import FAILED, UNFINISHED, Pool, TurnArrays
from reports.metrics.rate_metrics import MIN_RATE_UNITS, RATES
from reports.results.value import COUNT, LEVEL_NAMES, MEAN, MEDIAN, RATE, Group, Subject, Value
from reports.statistics.counting import Flags, Floats, Integers, dense_codes, distinct
from reports.statistics.quantiles import CONFIDENCE, Sample, quantiles, settled
from reports.statistics.rates import ratio_of

AVERAGES: Mapping[str, Callable[[Floats], Any]] = {MEDIAN: np.median, MEAN: np.mean}


def events_of(happened: Flags, known: Flags, due: Flags | None = None) -> Events:
    """Return the events of turns. A turn counts if it is `known` whether it `happened` in the
    turn. Other turns are unscored if they are `due`.
    """
    trials = np.where(known, 1.0, np.nan)
    unscored = np.zeros(trials.size) if due is None else (due & ~known).astype(float)
    return Events(trials * happened, trials, unscored)


class ChosenTurns(NamedTuple):
    """Some turns of a run, as a mask, and what they are."""

    subject: Subject
    turns: Flags


RatesByPart = Mapping[Subject, tuple[Flags, Mapping[str, Events]]]
"""The turns of each part of a run, without a target, and the rates of the part."""


def by_target(turns: TurnArrays) -> Iterator[ChosenTurns]:
    """Yield the turns of each target."""
    for index, target in enumerate(turns.targets):
        yield ChosenTurns(Subject(target=target), turns.target == index)


def by_step(turns: TurnArrays) -> Iterator[ChosenTurns]:
    """Yield the turns of each step that a target has. Steps of one name are one step."""
    for subject, of_target in by_target(turns):
        for label in dict.fromkeys(turns.labels):
            mine = of_target & turns.steps_named(label)[turns.step]
            if mine.any():
                yield ChosenTurns(Subject(target=subject.target, step=label), mine)


def subject_of(turns: TurnArrays, pool: Pool, step: str = "") -> Subject:
    """Return the subject of the turns of a pool. `step` is the name of its steps; "" for all."""
    return Subject(
        target=turns.targets[pool.target], title=pool.label, step=step, **pool.stratum._asdict()
    )


def parts_of(turns: TurnArrays, pool: Pool) -> Iterator[tuple[ChosenTurns, Pool]]:
    """Yield the turns of a pool, then those of each of its steps if it has several, each with
    its own pool.
    """
    yield ChosenTurns(subject_of(turns, pool), turns.of(pool)), pool
    steps = np.unique(turns.step[turns.of(pool)]).tolist()
    for step in steps if len(steps) > 1 else ():
        part = dataclasses.replace(pool, steps=np.arange(pool.steps.size) == step)
        yield ChosenTurns(subject_of(turns, part, turns.steps[step]), turns.of(part)), part


def by_value(of: ChosenTurns, key: str, values: Floats, parts: int) -> Iterator[ChosenTurns]:
    """Divide turns by a value that all of them have: a group of each distinct value, or `parts`
    ranges of them.
    """
    distinct = np.unique(values[of.turns])
    for part in np.array_split(distinct, min(parts, distinct.size)):
        start = float(part[0])
        end = float(part[-1])
        group = Group(
            by=key, name=f"{start:g}–{end:g}" if end > start else f"{start:g}", start=start, end=end
        )
        mine = of.turns & (values >= start) & (values <= end)
        yield ChosenTurns(Subject(target=of.subject.target, group=group), mine)


def of_part(subject: Subject, part: str) -> Subject:
    """Return a subject in one part of a run."""
    return replace(subject, group=Group(by="part", name=part))


def by_part(of: ChosenTurns, parts: Parts, at_ns: Floats) -> Iterator[ChosenTurns]:
    """Divide turns by the part of the run in which the instant of each lies. A part without turns
    is also a part.
    """
    index = parts.part_at(at_ns)
    for part, name in enumerate(parts.names):
        yield ChosenTurns(of_part(of.subject, name), of.turns & (index == part))


def rates(
    turns: TurnArrays, selections: Iterable[ChosenTurns], of_rates: Mapping[str, Events]
) -> Iterator[Value]:
    """Yield each rate of each selection of turns."""
    for subject, mine in selections:
        for name, events in of_rates.items():
            rows = np.flatnonzero(mine & events.counted)
            value = rate(subject, name, events.of(rows), turns.session[rows])
            yield replace(value, unit=rate_unit(turns, name, rows)) if name in RATES else value


def rate(
    subject: Subject, metric: str, of: Events, sessions: Integers, confidence: float = CONFIDENCE
) -> Value:
    """Return a rate of turns, or sessions, with its interval. `of` and `sessions` have one
    element for each of them.
    """
    codes, size = dense_codes(sessions)
    totals = Events(*(np.bincount(codes, np.nan_to_num(each), size).astype(float) for each in of))
    value = rate_of_clusters(subject, metric, totals, confidence)
    return value if totals.unscored.any() else replace(value, sessions=size)


def share(
    subject: Subject, metric: str, chosen: Flags, sessions: Integers, confidence: float = CONFIDENCE
) -> Value:
    """Return the share of turns, or of sessions, that are `chosen`, with its interval."""
    return rate(
        subject,
        metric,
        Events(chosen.astype(float), np.ones(chosen.size), np.zeros(chosen.size)),
        sessions,
        confidence,
    )


def rate_of_clusters(
    subject: Subject, metric: str, totals: Events, confidence: float = CONFIDENCE
) -> Value:
    """Return a rate with its interval. `totals` are the sums of each session, or pair of
    sessions. The interval includes the worst cases of unscored trials.
    """
    known = ratio_of((totals.events, totals.trials))
    tail = (1 - confidence) / 2
    estimates = [known] if known.turns else []
    unscored = float(totals.unscored.sum())
    if unscored:
        worst = (totals.scored_as(event) for event in (0.0, 1.0))
        estimates += (ratio_of((of.events, of.trials)) for of in worst)
    return Value(
        **asdict(subject),
        metric=metric,
        statistic=RATE,
        value=known.value,
        low=min((each.lower(tail) for each in estimates), default=math.nan),
        high=max((each.upper(tail) for each in estimates), default=math.nan),
        count=int(totals.events.sum()),
        n=int(known.turns),
        unscored=int(unscored),
        sessions=known.clusters,
    )


def published(value: Value) -> Value:
    """Return a rate without its numbers if it has too few units to print it. Its counts stay."""
    if value.n >= MIN_RATE_UNITS:
        return value
    return replace(value, value=math.nan, low=math.nan, high=math.nan)


def counted(subject: Subject, metric: str, number: int, sessions: int = 0) -> Value:
    """Return a number of turns as a value. `sessions` is the number of their sessions, if it is
    known.
    """
    return Value(
        **asdict(subject),
        metric=metric,
        statistic=COUNT,
        value=number,
        n=number,
        sessions=sessions,
    )


class PlannedTurns(NamedTuple):
    """Whether each planned turn failed or did not start, and its session. Unfinished turns are
    left out.
    """

    failed: Flags
    sessions: Integers
    not_started: int

    def joined(self, other: PlannedTurns) -> PlannedTurns:
        """Return the turns of both."""
        failed = np.append(self.failed, other.failed)
        sessions = np.append(self.sessions, other.sessions)
        return PlannedTurns(failed, sessions, self.not_started + other.not_started)


def planned_turns(turns: TurnArrays, started: Integers, not_started: Integers) -> PlannedTurns:
    """Return the planned turns among those that started and those that did not, given by their
    indexes.
    """
    ended = started[turns.kind[started] != UNFINISHED]
    failed = np.append(turns.kind[ended] == FAILED, np.ones(not_started.size, bool))
    sessions = np.append(turns.session[ended], turns.not_started.session[not_started])
    return PlannedTurns(failed, sessions, not_started.size)


def failures(subject: Subject, of: PlannedTurns, confidence: float = CONFIDENCE) -> Value:
    """Return the share of planned turns that failed or did not start."""
    value = share(subject, "failure_rate", of.failed, of.sessions, confidence)
    return replace(value, failed=value.events - of.not_started, not_started=of.not_started)


def quantile_values(
    subject: Subject,
    metric: str,
    of: Sample,
    levels: Sequence[float],
    confidence: float = CONFIDENCE,
) -> Iterator[Value]:
    """Yield quantiles of a metric, in its unit. One that may not be printed has no numbers, but
    a reason.
    """
    for level, estimate in zip(levels, quantiles(of, levels, confidence), strict=True):
        shown = settled(estimate, of).published()
        yield Value(
            **asdict(subject),
            metric=metric,
            statistic=LEVEL_NAMES[level],
            value=shown.value,
            low=shown.low,
            high=shown.high,
            n=of.n,
            failed=of.failed,
            not_started=of.not_started,
            unscored=of.unscored,
            sessions=shown.sessions,
            effective_sessions=shown.effective_sessions,
            deff=shown.deff,
            by_length=shown.by_length,
            successes=shown.successes,
            reason=shown.reason,
        )


def average(
    turns: TurnArrays, of: ChosenTurns, metric: str, values: Floats, statistic: str = MEDIAN
) -> Value:
    """Return the median or the mean of the selected turns that have a value, without an
    interval.
    """
    rows = np.flatnonzero(of.turns & ~np.isnan(values))
    return Value(
        **asdict(of.subject),
        metric=metric,
        statistic=statistic,
        value=float(AVERAGES[statistic](values[rows])) if rows.size else math.nan,
        n=rows.size,
        sessions=distinct(turns.session[rows]).size,
    )
