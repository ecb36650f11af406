"""Each question put to a baseline and a candidate: how far they lie apart, and how much there is of either; pure.

Quantiles of one measure are resampled together. Every measure has a generator of its own from the comparison's seed, so
that no verdict depends on what else was asked.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from reports.compare.steps import by_change, waits_of
from reports.question import Question, better_of
from reports.sides.side import Side, as_floats, counts_of, sample_of, totals_of
from reports.statistics.centre import Change, centre, trimmed_mean
from reports.statistics.differences import Difference
from reports.statistics.ordered import mean_by_order, waits_by_order
from reports.statistics.quantiles import Integers, Sample
from reports.statistics.rates import rate_difference

FAILINGS = ("throttled", "failures")
"""Rates whose events are failed turns."""


@dataclass(frozen=True)
class Resampling:
    """How intervals are made; the fields of `Method`."""

    draws: int
    seed: int
    level: float
    run_sd: float


@dataclass(frozen=True)
class Arm:
    """What a side has of a question: turns, the clusters that hold one, and how many of the turns failed."""

    turns: int
    clusters: int
    failed: int


@dataclass(frozen=True)
class Answer:
    """`difference` None where an arm has no such figure."""

    question: Question
    difference: Difference | None
    arms: tuple[Arm, Arm]


def answers(base: Side, cand: Side, questions: Sequence[Question], how: Resampling) -> list[Answer]:
    """In the order of the questions."""
    found: dict[Question, Answer] = {}
    for group in _together(questions):
        kind = {"quantile": _quantiles, "mean": _means, "rate": _rates, "centre": _centres}[group[0].kind]
        found |= {answer.question: answer for answer in kind(base, cand, group, how)}
    return [found[question] for question in questions]


def _together(questions: Sequence[Question]) -> Iterable[list[Question]]:
    """Questions that need the same sample."""
    groups: dict[tuple[str, ...], list[Question]] = {}
    for one in dict.fromkeys(questions):
        groups.setdefault((one.kind, one.measure, one.origin, one.step), []).append(one)
    return groups.values()


def _quantiles(base: Side, cand: Side, group: list[Question], how: Resampling) -> Iterable[Answer]:
    samples = sample_of(base, group[0]), sample_of(cand, group[0])
    arms = _arm(samples[0]), _arm(samples[1])
    better = better_of(group[0])
    found: Sequence[Difference | None] = [None] * len(group)
    if arms[0].turns and arms[1].turns:
        found = waits_by_order(
            *samples,
            [(question.p or 0.5, question.margin) for question in group],
            paired=base.paired,
            base_clusters=base.clusters.count,
            cand_clusters=cand.clusters.count,
            better=better,
            rng=np.random.default_rng(how.seed),
            draws=how.draws,
            level=how.level,
            run_sd=how.run_sd,
        )
    return [Answer(question, difference, arms) for question, difference in zip(group, found, strict=True)]


def _arm(sample: Sample) -> Arm:
    return Arm(sample.n, int(np.unique(sample.sessions).size), sample.failed)


def _means(base: Side, cand: Side, group: list[Question], how: Resampling) -> Iterable[Answer]:
    totals = totals_of(base, group[0]), totals_of(cand, group[0])
    arms = _counted(totals[0][1], 0), _counted(totals[1][1], 0)
    one, other = map(as_floats, totals)
    for question in group:
        found = None
        if arms[0].turns and arms[1].turns:
            better = better_of(question)
            found = mean_by_order(
                one, other, question.margin, paired=base.paired, better=better, level=how.level, run_sd=how.run_sd
            )
        yield Answer(question, found, arms)


def _rates(base: Side, cand: Side, group: list[Question], how: Resampling) -> Iterable[Answer]:
    counts = counts_of(base, group[0]), counts_of(cand, group[0])
    failing = group[0].measure in FAILINGS
    arms = tuple(_counted(n, int(events.sum()) if failing else 0) for events, n in counts)
    one, other = map(as_floats, counts)
    for question in group:
        found = None
        if arms[0].turns and arms[1].turns:
            found = rate_difference(one, other, question.margin, paired=base.paired, level=how.level)
        yield Answer(question, found, (arms[0], arms[1]))


def _centres(base: Side, cand: Side, group: list[Question], how: Resampling) -> Iterable[Answer]:
    """The typical change over all steps. The baseline's value is its trimmed mean of logs, as a time."""
    samples = sample_of(base, group[0]), sample_of(cand, group[0])
    arms = _arm(samples[0]), _arm(samples[1])
    found = Change(math.nan, math.nan)
    if base.paired and arms[0].turns and arms[1].turns:
        found = centre(waits_of(base, group[0]), waits_of(cand, group[0]), base.sessions)
    for question in group:
        if math.isnan(found.d):
            yield Answer(question, None, arms)
            continue
        typical = math.exp(trimmed_mean(np.log(samples[0].values)))
        values = typical, typical * math.exp(found.d)
        yield Answer(question, by_change(found, base.sessions, values, question.margin, how.level), arms)


def _counted(n: Integers, failed: int) -> Arm:
    return Arm(int(n.sum()), int(np.count_nonzero(n)), failed)
