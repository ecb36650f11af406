"""Where in the distribution the arms differ: the curve of each side, and the difference at each percentile; pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from reports.bins import nines
from reports.comparisons.measuring import Resampling
from reports.finding import Finding
from reports.question import Question
from reports.sides.side import Side, sample_of
from reports.statistics.differences import Difference, Margin, quantile_differences
from reports.statistics.quantiles import Sample
from reports.summary.curves import Curve, curve_of

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


def shift_of(sides: Sequence[Side], findings: Sequence[Finding], how: Resampling, *, paired: bool) -> Shift | None:
    """Of the main figure of these findings; None where there is no quantile among them, or no good turn."""
    question = main_question(findings)
    if question is None:
        return None
    samples = [sample_of(side, question) for side in sides]
    both = zip(sides, samples, strict=True)
    curves = tuple(curve_of(side.label, place, sample) for place, (side, sample) in enumerate(both) if sample.n)
    if not any(curve.n > curve.failed for curve in curves):
        return None
    asked = [f.question.p for f in findings if f.question.p and f.question.measure == question.measure]
    ratios = ratio_curves(sides, samples, asked, how, paired=paired)
    return Shift(question, curves, tuple(ratio for ratio in ratios if ratio.drawable))


def main_question(findings: Sequence[Finding]) -> Question | None:
    """The first quantile that is gated, else the first there is."""
    quantiles = [finding.question for finding in findings if finding.question.kind == "quantile"]
    return next((question for question in quantiles if question.gated), next(iter(quantiles), None))


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
    sides: Sequence[Side], samples: Sequence[Sample], asked: Sequence[float], how: Resampling, *, paired: bool
) -> Iterable[RatioCurve]:
    """Each candidate against the baseline at every percentile of the grid, by the method of the verdicts."""
    for place, (side, sample) in enumerate(zip(sides[1:], samples[1:], strict=True), start=1):
        ps = grid(min(samples[0].n, sample.n), asked)
        if ps:
            differences = quantile_differences(
                samples[0],
                sample,
                [(p, Margin()) for p in ps],
                paired=paired,
                base_clusters=sides[0].sessions,
                cand_clusters=side.sessions,
                better="lower",
                rng=np.random.default_rng(how.seed),
                draws=min(DRAWS, how.draws),
                level=how.level,
                run_sd=how.run_sd,
            )
            yield RatioCurve(side.label, place, ps, tuple(differences))
