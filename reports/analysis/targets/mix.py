"""The shares of steps that two targets played, and the samples of both targets with weights for
their steps and turns.

Scripts may choose steps at random, and callers may choose them too. If a slow step has a larger
share on one target, quantiles over all turns differ although the latency of each step is the same.
So if the shares differ by more than MIN_SHARE_DIFFERENCE, the candidate's steps are weighted to the
baseline's shares (`reports.statistics.arms`). A share that differs significantly is reported.

Latency may also depend on the number of the turn in its session, because the context grows. So if
the sessions of two targets differ significantly in length, turns are weighted by their step and
their number together. Turns whose number only one target has are excluded (`cells_of`). Rates and
means then use the sums of weighted turns of each session, and their standard errors take the
weights as constants.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from bench.catalogue.metrics import CATALOGUE, SLOPE
from reports.analysis.targets.compared_target import ABSENT, ComparedTarget, Targets, TurnWeights
from reports.data.samples import is_latency
from reports.metrics.metric_spec import POINTS, MetricSpec
from reports.statistics.arms import TwoSamples, weights_of
from reports.statistics.counting import Flags, Floats, Integers, count_nonzero
from reports.statistics.distributions import stdtr
from reports.statistics.quantiles import Sample
from reports.statistics.rates import ClusterTotals, PerCluster, se_of_rates

MIN_SHARE_DIFFERENCE = 0.005
"""The distance of the shares above which steps are weighted. The distance is half the sum of the
absolute differences.
"""
MIN_STEP_TURNS = 20
"""The minimum number of turns that a step needs on both targets to have its own weight.

All steps with fewer turns share one weight.
"""
FIRST_NUMBERS = 11
CLASS_RATIO = 1.1
MAX_CLASS = 99
"""The classes of turn numbers. Each of the FIRST_NUMBERS numbers has its own class. Each further
class ends at CLASS_RATIO times the number at which the class before it ends."""
LENGTHS_FOUND = 0.05
"""The type I error of the test for a difference in the length of sessions. It is larger than FOUND,
because a missed difference may change a verdict."""
FOUND = 0.01
"""FOUND is the type I error of the test for a difference of shares, for all steps together
(Bonferroni)."""


class ShareChange(NamedTuple):
    """A step whose share of the planned turns differs between two targets. `shares` has the
    baseline's first.
    """

    step: str
    shares: tuple[float, float]


def changed_shares(base: ComparedTarget, cand: ComparedTarget) -> list[ShareChange]:
    """Return the steps whose shares differ significantly between two targets. The largest
    difference is the first.
    """
    labels = _labels(base, cand)
    if ABSENT in (base.target, cand.target) or len(labels) < 2:
        return []
    shares_by_step = differing((_by_step(base, labels), _by_step(cand, labels)), paired=base.paired)
    changes = [ShareChange(labels[step], shares) for step, shares in shares_by_step.items()]
    return sorted(changes, key=lambda change: -abs(change.shares[1] - change.shares[0]))


def differing(turns: tuple[Floats, Floats], *, paired: bool) -> dict[int, tuple[float, float]]:
    """Return the steps whose shares differ significantly, with the shares of both targets.

    `turns` has an array for each target: the number of turns of each step (row) in each cluster
    (column).
    """
    shares_by_step = {}
    of_base, of_cand = (counts.sum(axis=0) for counts in turns)
    for step, (first, second) in enumerate(zip(*turns, strict=True)):
        sums = ClusterTotals((first, of_base), (second, of_cand), paired)
        base, cand = sums.ratios
        if abs(cand.value - base.value) >= POINTS and _p_value(sums) < FOUND / len(turns[0]):
            shares_by_step[step] = base.value, cand.value
    return shares_by_step


def _by_step(target: ComparedTarget, labels: Sequence[str]) -> Floats:
    """Return the number of planned turns of each step (row, in the order of `labels`) in each
    cluster (column).
    """
    planned = _planned(target)
    size = target.clusters.count
    row = _codes(target, labels)[planned.step]
    counts = np.bincount(row * size + planned.cluster, minlength=len(labels) * size)
    return counts.reshape(len(labels), size).astype(float)


def _labels(base: ComparedTarget, cand: ComparedTarget) -> list[str]:
    return sorted({*base.turns.labels, *cand.turns.labels})


def _codes(target: ComparedTarget, labels: Sequence[str]) -> Integers:
    """Return the index in `labels` of each step of the target's run."""
    return np.array([labels.index(label) for label in target.turns.labels], int)


EXCLUDED = -1
"""The cell of turns that are not compared."""


def classes_of(numbers: Integers) -> Integers:
    """Return the class of each turn number. Numbers begin at 1."""
    beyond = np.log(np.maximum(numbers, FIRST_NUMBERS) / FIRST_NUMBERS) / np.log(CLASS_RATIO)
    classes = np.where(
        numbers <= FIRST_NUMBERS, np.maximum(numbers, 1), FIRST_NUMBERS + beyond.astype(int)
    )
    return np.minimum(classes, MAX_CLASS)


def cells_of(turns: Integers) -> Integers:
    """Return the cell of each step (row) and class of turn numbers (column); EXCLUDED if no cell
    has its turns.

    `turns` is the number of turns of each target, step, and class. Adjacent classes of a step share
    a cell until it has MIN_STEP_TURNS turns of both targets. Steps with fewer turns of a target
    share cell 0; steps that only one target has are excluded. If one target has MIN_STEP_TURNS
    turns beyond the last cell, and the other has fewer, these turns are excluded.
    """
    cells = np.zeros(turns.shape[1:], int)
    last = 0
    for step, of_step in enumerate(turns.transpose(1, 2, 0)):
        if (of_targets := of_step.sum(axis=0)).min() < MIN_STEP_TURNS:
            is_shared = of_targets.min() or of_targets.max() < MIN_STEP_TURNS
            cells[step] = 0 if is_shared else EXCLUDED
            continue
        first = 0
        sums = np.zeros(2, int)
        for position, of_class in enumerate(of_step):
            sums += of_class
            if sums.min() >= MIN_STEP_TURNS:
                last += 1
                cells[step, first : position + 1] = last
                first = position + 1
                sums = np.zeros(2, int)
        cells[step, first:] = EXCLUDED if sums.max() >= MIN_STEP_TURNS else last
    return cells


def differ_in_length(base: PerCluster, cand: PerCluster, *, paired: bool) -> bool:
    """Return whether the mean class of turn numbers differs significantly between two targets.

    Each target has the sum of the classes, and the number of turns, in each cluster.
    """
    return _p_value(ClusterTotals(base, cand, paired)) < LENGTHS_FOUND


def _p_value(sums: ClusterTotals) -> float:
    """Return the two-sided p-value of "the means of both targets are equal"."""
    base, cand = sums.ratios
    error = se_of_rates(sums)
    return float(2 * stdtr(error.df, -abs(cand.value - base.value) / max(error.se, 1e-12)))


def changed_lengths(base: ComparedTarget, cand: ComparedTarget) -> tuple[int, int] | None:
    """Return the numbers of planned turns that are not compared, because the sessions differ in
    length.

    The baseline's number is the first. Return None if the difference is not significant, or a
    target has no turns.
    """
    if ABSENT in (base.target, cand.target):
        return None
    both = (base, cand)
    labels = _labels(base, cand)
    planned = [_planned(target) for target in both]
    if not all(turns.cluster.size for turns in planned):
        return None
    numbers = [np.bincount(turns.number_class, minlength=MAX_CLASS + 1) for turns in planned]
    if _share_distance(*numbers) <= MIN_SHARE_DIFFERENCE:
        return None
    of_base, of_cand = (
        (
            np.bincount(turns.cluster, turns.number_class, target.sessions).astype(float),
            np.bincount(turns.cluster, minlength=target.sessions).astype(float),
        )
        for target, turns in zip(both, planned, strict=True)
    )
    if not differ_in_length(of_base, of_cand, paired=base.paired):
        return None
    table = _planned_table(both, labels)
    excluded = table * (cells_of(table) == EXCLUDED)
    return int(excluded[0].sum()), int(excluded[1].sum())


def _planned_table(both: Targets, labels: Sequence[str]) -> Integers:
    """Return the number of planned turns of each target, step, and class."""
    planned = [_planned(target) for target in both]
    return _table(
        [
            (_codes(t, labels)[turns.step], turns.number_class)
            for t, turns in zip(both, planned, strict=True)
        ]
    )


def table_weights(turns: Integers) -> Floats:
    """Return the weight of a turn of each target, step, and class. The argument is that of
    `cells_of`.

    The candidate has the baseline's shares of cells. The weight of turns that are not compared is
    0. If nothing would remain, all weights are 1.
    """
    cells = cells_of(turns)
    compared = cells != EXCLUDED
    if not turns[:, compared].sum(axis=1).all():
        return np.ones(turns.shape)
    base, cand = (np.bincount(cells[compared], of_target[compared]) for of_target in turns)
    of_cell = weights_of(base[:, None].astype(float), cand[:, None])[:, 0] * cand.sum()
    return np.array([compared, np.where(compared, of_cell[cells], 0.0)])


def _with_weights(
    base: ComparedTarget, cand: ComparedTarget
) -> tuple[ComparedTarget, ComparedTarget]:
    """Return both targets with weights of their turns, by the numbers of planned turns."""
    labels = _labels(base, cand)
    weighted = []
    for target, weights in zip(
        (base, cand), table_weights(_planned_table((base, cand), labels)), strict=True
    ):
        codes = _codes(target, labels)
        of_turns = (
            weights[codes[rows.step], classes_of(rows.number)]
            for rows in (target.turns, target.turns.not_started)
        )
        weighted.append(replace(target, weights=TurnWeights(*of_turns)))
    return weighted[0], weighted[1]


def mean_turns(target: ComparedTarget) -> float:
    """Return the mean number of planned turns of a session; NaN if no turn was planned."""
    clusters = _planned(target).cluster
    return clusters.size / np.unique(clusters).size if clusters.size else math.nan


class Planned(NamedTuple):
    """The planned turns of a target: the step, the class of the turn number, and the cluster of
    each.
    """

    step: Integers
    number_class: Integers
    cluster: Integers


def _planned(target: ComparedTarget) -> Planned:
    turns = target.turns
    not_started = target.turns.not_started
    rows = target.turn_mask
    others = not_started.target == target.target
    cluster = target.clusters.of_code[np.append(turns.session[rows], not_started.session[others])]
    counted = cluster >= 0
    step = np.append(turns.step[rows], not_started.step[others])[counted]
    number = np.append(turns.number[rows], not_started.number[others])[counted]
    return Planned(step, classes_of(number), cluster[counted])


def _table(codes: Sequence[tuple[Integers, Integers]]) -> Integers:
    """Return the number of turns of each target, step, and class, given the step and the class
    of each turn.
    """
    size = MAX_CLASS + 1
    steps = 1 + max(int(step.max(initial=0)) for step, _ in codes)
    tables = [
        np.bincount(step * size + number, minlength=steps * size).reshape(steps, size)
        for step, number in codes
    ]
    return np.array(tables)


def _share_distance(first: Integers | Floats, second: Integers | Floats) -> float:
    """Return the distance of two distributions, given as counts; 0 if one is empty."""
    if not (first.any() and second.any()):
        return 0.0
    return float(np.abs(first / first.sum() - second / second.sum()).sum()) / 2


@dataclass(frozen=True, eq=False)
class ComparedTargets:
    """A baseline and a candidate. The clusters of both are sessions, or the clusters of both are
    pairs.
    """

    base: ComparedTarget
    candidate: ComparedTarget

    @cached_property
    def is_weighted_by_number(self) -> bool:
        """True if the sessions of both targets differ in length."""
        return changed_lengths(self.base, self.candidate) is not None

    @cached_property
    def weighted(self) -> tuple[ComparedTarget, ComparedTarget]:
        """Both targets. In rates and means, their turns are weighted if the sessions differ in
        length.
        """
        both = self.base, self.candidate
        return _with_weights(*both) if self.is_weighted_by_number else both

    def targets(self, spec: MetricSpec) -> TwoSamples:
        """Return the samples of both targets.

        If the candidate's turns must be weighted, the result has the cell of each value: its step,
        or its step and its turn number. Values of excluded cells are left out.
        """
        both = self.base, self.candidate
        samples = self.base.sample(spec), self.candidate.sample(spec)
        sessions = self.base.sessions, self.candidate.sessions
        two_samples = TwoSamples(*samples, sessions, self.base.paired)
        metric = CATALOGUE[spec.metric]
        if metric.scope != "turn" or metric.unit == SLOPE:
            return two_samples
        labels = _labels(*both)
        if not self.is_weighted_by_number and (
            spec.step or len(labels) < 2 or _distance(*both, spec, labels) <= MIN_SHARE_DIFFERENCE
        ):
            return two_samples
        positions = [_positions(target, spec) for target in both]
        steps = [
            _codes(target, labels)[step] for target, (step, _) in zip(both, positions, strict=True)
        ]
        if self.is_weighted_by_number:
            return in_cells(
                two_samples,
                [(step, numbers) for step, (_, numbers) in zip(steps, positions, strict=True)],
            )
        turns = np.array([np.bincount(codes, minlength=len(labels)) for codes in steps])
        groups = np.where(own := (turns >= MIN_STEP_TURNS).all(axis=0), np.cumsum(own), 0)
        first, second = (groups[codes] for codes in steps)
        return (
            replace(two_samples, steps=(first, second))
            if np.unique(first).size > 1
            else two_samples
        )


def in_cells(samples: TwoSamples, codes: Sequence[tuple[Integers, Integers]]) -> TwoSamples:
    """Return the samples with the cell of each value, without the excluded values.

    `codes` has the steps and the classes of the turn numbers of the values of each target. If
    nothing would remain, return the samples unchanged.
    """
    cells = cells_of(_table(codes))
    first, second = (cells[step, number_class] for step, number_class in codes)
    if not ((first >= 0).any() and (second >= 0).any()):
        return samples
    return replace(
        samples,
        base=_part(samples.base, first >= 0),
        cand=_part(samples.cand, second >= 0),
        steps=(first[first >= 0], second[second >= 0]),
    )


def _part(sample: Sample, chosen: Flags) -> Sample:
    """Return the chosen values of a sample. Failed turns without a value are still counted."""
    if chosen.all():
        return sample
    failed = sample.failed - count_nonzero(np.isinf(sample.values[~chosen]))
    return replace(
        sample, values=sample.values[chosen], sessions=sample.sessions[chosen], failed=failed
    )


def _distance(
    base: ComparedTarget, cand: ComparedTarget, spec: MetricSpec, labels: Sequence[str]
) -> float:
    """Return the distance between the shares of steps on two targets; 0 if a target has no planned
    turns.

    Only the planned turns that the metric spec includes count.
    """
    planned = []
    for target in (base, cand):
        not_started = (
            target.turns.not_started_by_group[target.target] if target.target != ABSENT else 0
        )
        of_step = (target.turns_started_by_step + not_started) * target.steps(spec)
        planned.append(np.bincount(_codes(target, labels), of_step, len(labels)))
    return _share_distance(*planned)


def _positions(target: ComparedTarget, spec: MetricSpec) -> tuple[Integers, Integers]:
    """Return the step and the class of the turn number of each value in the target's sample of
    the metric spec.
    """
    samples = target.samples[spec.metric]
    turns = target.turns
    spec_steps = target.steps(spec)
    _, index = samples.part(target.target, spec_steps)
    steps = turns.step[index]
    numbers = turns.number[index]
    session = turns.session[index]
    if is_latency(samples.metric):
        not_started = turns.not_started
        mine = not_started.of(target.target, spec_steps & samples.applies[target.target])
        steps = np.append(steps, not_started.step[mine])
        session = np.append(session, not_started.session[mine])
        numbers = np.append(numbers, not_started.number[mine])
    counted = target.clusters.of_code[session] >= 0
    return steps[counted], classes_of(numbers[counted])
