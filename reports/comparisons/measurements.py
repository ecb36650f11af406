"""The differences between a baseline and a candidate for each metric spec, and their distribution. Pure.

Quantiles of one metric are resampled together. Each metric has its own random generator from the comparison's seed, so
that no verdict depends on the other metrics.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from reports.formatting import nines
from reports.metric_comparison import MeasuredDifference, MetricComparison
from reports.metric_spec import MetricSpec, by_sample
from reports.statistic_types.quantile import Quantile
from reports.statistic_types.typical_change import by_change, step_latencies, step_sample
from reports.statistics.differences import Difference, Inference, Margin, quantile_differences
from reports.statistics.quantiles import Sample, quantile
from reports.statistics.target_counts import of_sample
from reports.statistics.typical_change import WORST_STEP_MARGIN, worst_step
from reports.statistics.verdicts import verdicts
from reports.summary.distributions import PercentileCurve, curve_of
from reports.targets.compared_target import ComparedTarget, uncertainty_text
from reports.targets.mix import ComparedTargets


def step_changes(
    base: ComparedTarget, cand: ComparedTarget, about: MetricSpec, how: Inference
) -> list[MetricComparison]:
    """Compare the p50 of each step that has enough turns, the step most likely to be worse first.

    Return [] if the targets are not paired, or fewer than two steps have enough turns. `about`: a metric spec with the
    metric and the stratum.
    """
    if not base.paired:
        return []
    asked = MetricSpec(about.metric, Quantile(0.5), Margin(ratio=WORST_STEP_MARGIN), stratum=about.stratum)
    arms = step_latencies(base, asked), step_latencies(cand, asked)
    rng = np.random.default_rng(how.seed)
    medians = worst_step(*arms, base.sessions, rng, draws=min(how.resamples, STEP_DRAWS))
    if len(medians) < 2:
        return []
    labels = [base.step_names[one.step] for one in medians]
    samples = [(step_sample(base, asked, label), step_sample(cand, asked, label)) for label in labels]
    differences = []
    for one, (first, second) in zip(medians, samples, strict=True):
        values = quantile(first.values, 0.5), quantile(second.values, 0.5)
        differences.append(by_change(one.change, base.sessions, values, asked.margin, how.level))
    judged = verdicts(differences, [True] * len(labels), [None] * len(labels), level=how.level)
    found = []
    for label, difference, verdict, (first, second) in zip(labels, differences, judged, samples, strict=True):
        question, counts = replace(asked, step=label), (of_sample(first), of_sample(second))
        found.append(
            MetricComparison(question, cand.label, difference, counts, "", "pair", verdict=verdict, baseline=base.label)
        )
    return found


STEP_DRAWS = 2_000
"""The number of resamples for the standard error of a step's median."""


def measured(
    base: ComparedTarget, cand: ComparedTarget, questions: Sequence[MetricSpec], how: Inference
) -> list[MeasuredDifference]:
    """Return the results in the order of the metric specs.

    A result has no difference if the metric is not exact in a run.
    """
    by_question: dict[MetricSpec, MeasuredDifference] = {}
    unit: Literal["session", "pair"] = "pair" if base.paired else "session"
    for group in by_sample(dict.fromkeys(questions)):
        counts, differences = group[0].statistic.compare(ComparedTargets(base, cand), group, how)
        for question, difference in zip(group, differences, strict=True):
            unfit = uncertainty_text((base, cand), question)
            by_question[question] = MeasuredDifference(
                question, cand.label, None if unfit else difference, counts, unfit, unit
            )
    return [by_question[question] for question in questions]


BEYOND = 20
"""The minimum number of turns of each target beyond the last percentile, as for the decision on a quantile."""
FIRST = 0.05
"""The first percentile, as −log₁₀(1 − p): p11."""
STEPS = 24
DRAWS = 2_000


@dataclass(frozen=True)
class RatioCurve:
    """The quantiles of one candidate as multiples of the baseline's, with their intervals."""

    candidate: str
    colour: int
    ps: tuple[float, ...]
    differences: tuple[Difference, ...]

    def at(self, p: float) -> Difference | None:
        return next((d for q, d in zip(self.ps, self.differences, strict=True) if abs(p - q) < 1e-9), None)


@dataclass(frozen=True)
class Shift:
    """The targets of a comparison at every percentile of a metric."""

    question: MetricSpec
    curves: tuple[PercentileCurve, ...]
    """The curves of the targets that have turns; the first curve is that of the baseline."""
    ratios: tuple[RatioCurve, ...]
    """The curves of the candidates with any finite difference."""


def shift_of(sides: Sequence[ComparedTarget], findings: Sequence[MetricComparison], how: Inference) -> Shift | None:
    """Return the shift of the main metric of these findings; None without a quantile, or without a successful turn."""
    question = main_question(findings)
    if question is None:
        return None
    samples = [side.sample(question) for side in sides]
    both = zip(sides, samples, strict=True)
    curves = tuple(curve_of(side.label, place, sample) for place, (side, sample) in enumerate(both) if sample.n)
    if not any(curve.n > curve.failed for curve in curves):
        return None
    asked = [f.question.p for f in findings if f.question.p and f.question.metric == question.metric]
    ratios = ratio_curves(sides, question, samples, asked, how)
    return Shift(question, curves, tuple(one for one in ratios if any(math.isfinite(d.d) for d in one.differences)))


def main_question(findings: Sequence[MetricComparison]) -> MetricSpec | None:
    """Return the first primary quantile, or else the first quantile."""
    quantiles = [finding.question for finding in findings if finding.question.p is not None]
    return next((question for question in quantiles if question.primary), next(iter(quantiles), None))


def grid(n: int, asked: Sequence[float]) -> tuple[float, ...]:
    """Return 24 percentiles, equidistant in −log₁₀(1 − p), up to the last one with 20 of n turns beyond.

    Each of `asked` replaces the nearest one. Return () if n is too small for the median.
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
    sides: Sequence[ComparedTarget],
    question: MetricSpec,
    samples: Sequence[Sample],
    asked: Sequence[float],
    how: Inference,
) -> Iterable[RatioCurve]:
    """Compare each candidate with the baseline at every percentile of the grid, by the method of the verdicts."""
    for place, (side, sample) in enumerate(zip(sides[1:], samples[1:], strict=True), start=1):
        ps = grid(min(samples[0].n, sample.n), asked)
        if ps:
            arms = ComparedTargets(sides[0], side).targets(question, (samples[0], sample))
            few = replace(how, resamples=min(DRAWS, how.resamples))
            differences = quantile_differences(arms, [(p, Margin()) for p in ps], "lower", few)
            yield RatioCurve(side.label, place, ps, tuple(differences))
