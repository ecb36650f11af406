"""The shares of steps that two targets played, and the samples of both targets with weights for their steps.

Scripts may choose steps at random, and callers may choose them too. If a slow step has a larger share on one target,
quantiles over all turns differ although the latency of each step is the same. So if the shares differ by more than
MIN_SHARE_DIFFERENCE, the candidate's steps are weighted to the baseline's shares (`reports.statistics.mix`). A share
that differs significantly is reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import stdtr  # type: ignore[import-untyped, unused-ignore]

from bench.metrics import CATALOGUE, SLOPE
from reports.metric_spec import MetricSpec
from reports.samples import is_latency
from reports.statistics.arms import TwoSamples
from reports.statistics.counting import Floats, Integers
from reports.statistics.quantiles import Sample
from reports.statistics.rates import ClusterTotals, se_of_rates
from reports.targets.clusters import ABSENT
from reports.targets.compared_target import ComparedTarget

MIN_SHARE_DIFFERENCE = 0.005
"""The distance of the shares above which steps are weighted. The distance is half the sum of the absolute differences.
"""
MIN_STEP_TURNS = 20
"""The minimum number of turns that a step needs on both targets to have its own weight.

All steps with fewer turns share one weight.
"""
FOUND, POINT = 0.01, 0.01
"""FOUND is the type I error of the test for a difference of shares, for all steps together (Bonferroni).

POINT is the minimum difference that is reported.
"""


@dataclass(frozen=True)
class ShareChange:
    """A step whose share of the planned turns differs between two targets.

    `shares` has the share on the baseline, and then the share on the candidate.
    """

    step: str
    shares: tuple[float, float]


def changed_shares(base: ComparedTarget, cand: ComparedTarget) -> list[ShareChange]:
    """Return the steps whose shares differ significantly between two targets. The largest difference is the first."""
    labels = _labels(base, cand)
    if ABSENT in (base.target, cand.target) or len(labels) < 2:
        return []
    shares_by_step = differing((_by_step(base, labels), _by_step(cand, labels)), paired=base.paired)
    changes = [ShareChange(labels[step], shares) for step, shares in shares_by_step.items()]
    return sorted(changes, key=lambda change: -abs(change.shares[1] - change.shares[0]))


def differing(turns: tuple[Floats, Floats], *, paired: bool) -> dict[int, tuple[float, float]]:
    """Return the steps whose shares differ significantly, with the shares of both targets.

    `turns` has an array for each target: the number of turns of each step (row) in each cluster (column).
    """
    shares_by_step = {}
    of_base, of_cand = (counts.sum(axis=0) for counts in turns)
    for step, (first, second) in enumerate(zip(*turns, strict=True)):
        sums = ClusterTotals((first, of_base), (second, of_cand), paired)
        base, cand = sums.ratios
        error, distance = se_of_rates(sums), abs(cand.value - base.value)
        if distance >= POINT and 2 * stdtr(error.df, -distance / max(error.se, 1e-12)) < FOUND / len(turns[0]):
            shares_by_step[step] = base.value, cand.value
    return shares_by_step


def _by_step(target: ComparedTarget, labels: Sequence[str]) -> Floats:
    """Return the number of planned turns of each step (row) in each cluster (column).

    The rows have the order of `labels`.
    """
    turns, size = target.turns, target.clusters.count
    not_started = turns.not_started.target == target.target
    steps = np.append(turns.step[target.turn_mask], turns.not_started.step[not_started])
    cluster = target.clusters.of_code[
        np.append(turns.session[target.turn_mask], turns.not_started.session[not_started])
    ]
    row = _codes(target, labels)[steps[cluster >= 0]]
    counts = np.bincount(row * size + cluster[cluster >= 0], minlength=len(labels) * size)
    return counts.reshape(len(labels), size).astype(np.float64)


def _labels(base: ComparedTarget, cand: ComparedTarget) -> list[str]:
    return sorted({*base.turns.labels, *cand.turns.labels})


def _codes(target: ComparedTarget, labels: Sequence[str]) -> Integers:
    """Return the index in `labels` of each step of the target's run."""
    return np.array([labels.index(label) for label in target.turns.labels], dtype=np.int64)


@dataclass(frozen=True)
class ComparedTargets:
    """A baseline and a candidate. The clusters of both are sessions, or the clusters of both are pairs."""

    base: ComparedTarget
    candidate: ComparedTarget

    def targets(self, spec: MetricSpec, samples: tuple[Sample, Sample]) -> TwoSamples:
        """Return the samples of both targets.

        If the candidate's steps must be weighted, the result has the step of each value.
        """
        both = self.base, self.candidate
        two_samples = TwoSamples(*samples, (self.base.sessions, self.candidate.sessions), self.base.paired)
        metric = CATALOGUE[spec.metric]
        if spec.step or metric.scope != "turn" or metric.unit == SLOPE:
            return two_samples
        labels = _labels(*both)
        if len(labels) < 2 or _distance(*both, spec, labels) <= MIN_SHARE_DIFFERENCE:
            return two_samples
        steps = [_codes(target, labels)[_steps_of_values(target, spec)] for target in both]
        turns = np.array([np.bincount(codes, minlength=len(labels)) for codes in steps])
        groups = np.where(own := (turns >= MIN_STEP_TURNS).all(axis=0), np.cumsum(own), 0)
        first, second = (groups[codes] for codes in steps)
        return replace(two_samples, steps=(first, second)) if np.unique(first).size > 1 else two_samples


def _distance(base: ComparedTarget, cand: ComparedTarget, spec: MetricSpec, labels: Sequence[str]) -> float:
    """Return the distance between the shares of steps on two targets; 0 if a target has no planned turns.

    Only the planned turns that the metric spec includes count.
    """
    planned = []
    for target in (base, cand):
        not_started = target.turns.not_started_by_group[target.target] if target.target != ABSENT else 0
        of_step = (target.turns_started_by_step + not_started) * target.steps(spec)
        planned.append(np.bincount(_codes(target, labels), of_step, len(labels)))
    first, second = planned
    if not (first.any() and second.any()):
        return 0.0
    return float(np.abs(first / first.sum() - second / second.sum()).sum()) / 2


def _steps_of_values(target: ComparedTarget, spec: MetricSpec) -> Integers:
    """Return the step of each value in the target's sample of the metric spec."""
    samples, turns, spec_steps = target.samples[spec.metric], target.turns, target.steps(spec)
    _, index = samples.part(target.target, spec_steps)
    steps, session = turns.step[index], turns.session[index]
    if is_latency(samples.metric):
        not_started = turns.not_started
        mine = not_started.of(target.target, spec_steps & samples.applies[target.target])
        steps, session = np.append(steps, not_started.step[mine]), np.append(session, not_started.session[mine])
    counted: Integers = steps[target.clusters.of_code[session] >= 0]
    return counted
