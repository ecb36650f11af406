"""Which step changed most: every step's own median against a margin, Holm's correction over the steps. Not gated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from reports.question import Question
from reports.sides.side import Side, sample_of
from reports.statistics.centre import WORST_MARGIN, Change, Waits, worst_step
from reports.statistics.differences import Difference, Margin
from reports.statistics.quantiles import Sample, quantile
from reports.statistics.rates import log_difference
from reports.statistics.verdicts import Verdict, verdicts


@dataclass(frozen=True)
class StepChange:
    """One step of both arms, which are the samples. `question`: p50 of the step."""

    question: Question
    difference: Difference
    verdict: Verdict
    arms: tuple[Sample, Sample]


def waits_of(side: Side, question: Question) -> Waits:
    """A measure of a side, with the step and the pair of each value."""
    parts = [(at, step_sample(side, question, label)) for at, label in enumerate(labels_of(side))]
    return Waits(
        np.concatenate([np.zeros(0), *(sample.values for _, sample in parts)]),
        np.concatenate([np.zeros(0, np.int64), *(np.full(sample.values.size, at) for at, sample in parts)]),
        np.concatenate([np.zeros(0, np.int64), *(sample.sessions for _, sample in parts)]),
    )


def labels_of(side: Side) -> list[str]:
    """The steps of a run by name, each once: one name may stand for steps of several strata."""
    return list(dict.fromkeys(side.turns.steps))


def step_sample(side: Side, question: Question, label: str) -> Sample:
    return sample_of(side, replace(question, step=label))


def step_changes(base: Side, cand: Side, about: Question, *, seed: int, draws: int, level: float) -> list[StepChange]:
    """Every step with turns enough, the likeliest to be worse first; none where arms are not paired, or of one step.

    `about`: names the measure and the stratum.
    """
    if not base.paired:
        return []
    asked = Question(about.measure, "quantile", Margin(ratio=WORST_MARGIN), 0.5, stratum=about.stratum)
    arms = waits_of(base, asked), waits_of(cand, asked)
    medians = worst_step(*arms, base.sessions, np.random.default_rng(seed), draws=draws)
    if len(medians) < 2:
        return []
    labels = [labels_of(base)[one.step] for one in medians]
    samples = [(step_sample(base, asked, label), step_sample(cand, asked, label)) for label in labels]
    apart = [
        _difference(one.change, pair, asked.margin, base.sessions, level)
        for one, pair in zip(medians, samples, strict=True)
    ]
    judged = verdicts(apart, [True] * len(apart), [None] * len(apart), level=level)
    return [
        StepChange(replace(asked, step=label), difference, verdict, pair)
        for label, difference, verdict, pair in zip(labels, apart, judged, samples, strict=True)
    ]


def _difference(change: Change, arms: Sequence[Sample], margin: Margin, pairs: int, level: float) -> Difference:
    values = [quantile(arm.values, 0.5) for arm in arms]
    return by_change(change, pairs, (values[0], values[1]), margin, level)


def by_change(change: Change, pairs: int, values: tuple[float, float], margin: Margin, level: float) -> Difference:
    """A change over pairs as a difference of these values, of which less is better, with bounds d ∓ t·SE."""
    return log_difference(*values, change.se, float(pairs - 1), pairs, margin, "lower", level)
