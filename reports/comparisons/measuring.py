"""Each question put to a baseline and a candidate: how far they lie apart, and where in the distribution; pure.

Quantiles of one metric are resampled together. Every metric has a generator of its own from the comparison's seed, so
that no verdict depends on what else was asked.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from bench.metrics import CATALOGUE, SLOPE
from reports.finding import Arm, Finding, Measured, arm_of, arm_of_sample
from reports.numbers import nines
from reports.question import RATES, Question, better_of
from reports.sides.mix import arms_of
from reports.sides.side import Side, as_floats, counts_of, inexact, sample_of, totals_of
from reports.statistics.centre import (
    WORST_MARGIN,
    LogRatio,
    StepLatencies,
    centre,
    logs_of,
    slope_differences,
    trimmed_mean,
    worst_step,
)
from reports.statistics.differences import Difference, Inference, Margin, StandardError, quantile_differences
from reports.statistics.quantiles import Sample, quantile
from reports.statistics.rates import ArmSums, log_difference
from reports.statistics.serial import mean_by_order, rate_by_order, waits_by_order
from reports.statistics.verdicts import Verdict, verdicts
from reports.summary.curves import Curve, curve_of


@dataclass(frozen=True)
class StepChange:
    """One step of both arms, which are the samples. `question`: p50 of the step."""

    question: Question
    difference: Difference
    verdict: Verdict
    arms: tuple[Sample, Sample]


def waits_of(side: Side, question: Question) -> StepLatencies:
    """A metric of a side, with the step and the pair of each value."""
    parts = [(at, step_sample(side, question, label)) for at, label in enumerate(step_names(side))]
    return StepLatencies(
        np.concatenate([np.zeros(0), *(sample.values for _, sample in parts)]),
        np.concatenate([np.zeros(0, np.int64), *(np.full(sample.values.size, at) for at, sample in parts)]),
        np.concatenate([np.zeros(0, np.int64), *(sample.sessions for _, sample in parts)]),
    )


def step_names(side: Side) -> list[str]:
    """The steps of a run by name, each once: one name may stand for steps of several strata."""
    return list(dict.fromkeys(side.turns.steps))


def step_sample(side: Side, question: Question, label: str) -> Sample:
    return sample_of(side, replace(question, step=label))


def step_changes(base: Side, cand: Side, about: Question, how: Inference) -> list[StepChange]:
    """Every step with turns enough, the likeliest to be worse first; none where arms are not paired, or of one step.

    `about`: names the metric and the stratum.
    """
    if not base.paired:
        return []
    asked = Question(about.metric, "quantile", Margin(ratio=WORST_MARGIN), 0.5, stratum=about.stratum)
    arms = waits_of(base, asked), waits_of(cand, asked)
    rng = np.random.default_rng(how.seed)
    medians = worst_step(*arms, base.sessions, rng, draws=min(how.draws, STEP_DRAWS))
    if len(medians) < 2:
        return []
    labels = [step_names(base)[one.step] for one in medians]
    samples = [(step_sample(base, asked, label), step_sample(cand, asked, label)) for label in labels]
    apart = []
    for one, (first, second) in zip(medians, samples, strict=True):
        values = quantile(first.values, 0.5), quantile(second.values, 0.5)
        apart.append(by_change(one.change, base.sessions, values, asked.margin, how.level))
    judged = verdicts(apart, [True] * len(apart), [None] * len(apart), level=how.level)
    return [
        StepChange(replace(asked, step=label), difference, verdict, pair)
        for label, difference, verdict, pair in zip(labels, apart, judged, samples, strict=True)
    ]


def by_change(change: LogRatio, pairs: int, values: tuple[float, float], margin: Margin, level: float) -> Difference:
    """A change over pairs as a difference of these values, of which less is better, with bounds d ∓ t·SE."""
    return log_difference(values, StandardError(change.se, pairs - 1.0, pairs), margin, "lower", level)


STEP_DRAWS = 2_000
"""Resamples for the standard error of a step's median."""
FAILINGS = ("throttle_rate", "failure_rate")
"""Rates whose events are failed turns."""


def measured(base: Side, cand: Side, questions: Sequence[Question], how: Inference) -> list[Measured]:
    """In the order of the questions; without the difference of a figure that is not exact in a run."""
    by_question: dict[Question, Measured] = {}
    # questions that need the same sample
    groups: dict[tuple[Hashable, ...], list[Question]] = {}
    for one in dict.fromkeys(questions):
        groups.setdefault((one.kind, one.metric, one.stratum, one.step), []).append(one)
    for group in groups.values():
        kind = {"quantile": _quantiles, "mean": _means, "rate": _rates, "centre": _centres}[group[0].kind]
        arms, apart = kind(base, cand, group, how)
        for question, difference in zip(group, apart, strict=True):
            unfit = inexact((base, cand), question)
            unit: Literal["session", "pair"] = "pair" if base.paired else "session"
            by_question[question] = Measured(question, cand.label, None if unfit else difference, arms, unfit, unit)
    return [by_question[question] for question in questions]


Found = tuple[tuple[Arm, Arm], Sequence[Difference | None]]
"""What a group of questions finds: both arms, and a difference for each; None where an arm has no such figure."""


def _quantiles(base: Side, cand: Side, group: list[Question], how: Inference) -> Found:
    samples = sample_of(base, group[0]), sample_of(cand, group[0])
    arms = arm_of_sample(samples[0]), arm_of_sample(samples[1])
    if not (arms[0].turns and arms[1].turns):
        return arms, [None] * len(group)
    differences = slope_differences if CATALOGUE[group[0].metric].unit == SLOPE else waits_by_order
    asked = [(question.p or 0.5, question.margin) for question in group]
    return arms, differences(arms_of(base, cand, group[0], samples), asked, better_of(group[0]), how)


def _means(base: Side, cand: Side, group: list[Question], how: Inference) -> Found:
    totals = totals_of(base, group[0]), totals_of(cand, group[0])
    # failed turns have no part in a mean: they are counted beside it
    samples = sample_of(base, group[0]), sample_of(cand, group[0])
    first, second = (arm_of(n, one.failed, one.completed_share) for (_, n), one in zip(totals, samples, strict=True))
    arms = first, second
    if not (arms[0].turns and arms[1].turns):
        return arms, [None] * len(group)
    sums = ArmSums(as_floats(totals[0]), as_floats(totals[1]), base.paired)
    return arms, [mean_by_order(sums, one.margin, better_of(one), how) for one in group]


def _rates(base: Side, cand: Side, group: list[Question], how: Inference) -> Found:
    counts = counts_of(base, group[0]), counts_of(cand, group[0])
    failing = group[0].metric in FAILINGS
    first, second = (arm_of(n, int(events.sum()) if failing else 0) for events, n in counts)
    if not (first.turns and second.turns):
        return (first, second), [None] * len(group)
    words = bool(RATES[group[0].metric].words)
    sums = ArmSums(as_floats(counts[0]), as_floats(counts[1]), base.paired, words)
    return (first, second), [rate_by_order(sums, one.margin, better_of(one), how) for one in group]


def _centres(base: Side, cand: Side, group: list[Question], how: Inference) -> Found:
    """The typical change over all steps. The baseline's value is its trimmed mean of logs, as a time."""
    samples = sample_of(base, group[0]), sample_of(cand, group[0])
    arms = arm_of_sample(samples[0]), arm_of_sample(samples[1])
    change = LogRatio(math.nan, math.nan)
    if base.paired and arms[0].turns and arms[1].turns:
        change = centre(waits_of(base, group[0]), waits_of(cand, group[0]), base.sessions)
    if math.isnan(change.d):
        return arms, [None] * len(group)
    typical = math.exp(trimmed_mean(logs_of(samples[0].values)))
    values = typical, typical * math.exp(change.d)
    return arms, [by_change(change, base.sessions, values, one.margin, how.level) for one in group]


BEYOND = 20
"""The difference is known as far as so many turns of either arm lie beyond: what gates a quantile, too."""
FIRST = 0.05
"""The first percentile, in nines: p11."""
STEPS = 24
DRAWS = 2_000


@dataclass(frozen=True)
class RatioCurve:
    """One candidate's quantiles as multiples of the baseline's, with their interval."""

    candidate: str
    colour: int
    ps: tuple[float, ...]
    differences: tuple[Difference, ...]

    def at(self, p: float) -> Difference | None:
        return next((d for q, d in zip(self.ps, self.differences, strict=True) if abs(p - q) < 1e-9), None)

    @property
    def drawable(self) -> bool:
        """Whether it has any value."""
        return any(math.isfinite(difference.d) for difference in self.differences)


@dataclass(frozen=True)
class Shift:
    """The sides of a comparison at every percentile of the figure that a question is about."""

    question: Question
    curves: tuple[Curve, ...]
    """of the sides that have turns; the first is the baseline"""
    ratios: tuple[RatioCurve, ...]
    """of the candidates whose curve has any value"""


def shift_of(sides: Sequence[Side], findings: Sequence[Finding], how: Inference) -> Shift | None:
    """Of the main figure of these findings; None where there is no quantile among them, or no good turn."""
    question = main_question(findings)
    if question is None:
        return None
    samples = [sample_of(side, question) for side in sides]
    both = zip(sides, samples, strict=True)
    curves = tuple(curve_of(side.label, place, sample) for place, (side, sample) in enumerate(both) if sample.n)
    if not any(curve.n > curve.failed for curve in curves):
        return None
    asked = [f.question.p for f in findings if f.question.p and f.question.metric == question.metric]
    ratios = ratio_curves(sides, question, samples, asked, how)
    return Shift(question, curves, tuple(ratio for ratio in ratios if ratio.drawable))


def main_question(findings: Sequence[Finding]) -> Question | None:
    """The first quantile that is gated, else the first there is."""
    quantiles = [finding.question for finding in findings if finding.question.kind == "quantile"]
    return next((question for question in quantiles if question.primary), next(iter(quantiles), None))


def grid(n: int, asked: Sequence[float]) -> tuple[float, ...]:
    """24 percentiles, even in nines, as far as 20 of n turns lie beyond; those asked for take their neighbours' place.

    Empty where n is too small for the median.
    """
    last = 1 - BEYOND / n if n else 0.0
    if last < 0.5:
        return ()
    ps = 1 - 10.0 ** -np.linspace(FIRST, nines(last), STEPS)
    for p in asked:
        if p <= last:
            ps[np.abs(nines(p) + np.log10(1 - ps)).argmin()] = p
    return tuple(float(p) for p in np.unique(ps))


def ratio_curves(
    sides: Sequence[Side], question: Question, samples: Sequence[Sample], asked: Sequence[float], how: Inference
) -> Iterable[RatioCurve]:
    """Each candidate against the baseline at every percentile of the grid, by the method of the verdicts."""
    for place, (side, sample) in enumerate(zip(sides[1:], samples[1:], strict=True), start=1):
        ps = grid(min(samples[0].n, sample.n), asked)
        if ps:
            arms = arms_of(sides[0], side, question, (samples[0], sample))
            few = replace(how, draws=min(DRAWS, how.draws))
            differences = quantile_differences(arms, [(p, Margin()) for p in ps], "lower", few)
            yield RatioCurve(side.label, place, ps, tuple(differences))
