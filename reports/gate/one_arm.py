"""What an absolute limit is held against: a figure of one target by all of its sessions, with its interval."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from bench.measures import CATALOGUE
from reports.gate.kept import Figure, of_mean, of_quantile, of_rate
from reports.question import Question
from reports.sides.questions import by_origin
from reports.sides.side import Side, counts_of, sample_of, totals_of
from reports.statistics.differences import Margin
from reports.thresholds.grammar import Threshold


def figures(side: Side, threshold: Threshold) -> Iterable[tuple[Question, Figure]]:
    """The figure that a threshold limits, of a target; one for each origin where its turns have several."""
    asked = Question(threshold.measure, threshold.kind, Margin(), threshold.p, step=threshold.step)
    found = [(question, figure(side, question)) for question in by_origin(asked, [side])]
    told = [(question, one) for question, one in found if one.turns]
    return told or found[:1]


def figure(side: Side, question: Question) -> Figure:
    """One figure of a target."""
    if question.kind == "quantile":
        assert question.p is not None, "a quantile has a p"
        sample = sample_of(side, question)
        of_sessions = CATALOGUE[question.measure].scope == "session"
        return of_quantile(
            sample, question.p, int(np.unique(sample.sessions).size), "session" if of_sessions else "turn"
        )
    if question.kind == "mean":
        amounts, turns = totals_of(side, question)
        return of_mean((amounts, turns.astype(np.float64)))
    events, turns = counts_of(side, question)
    found = of_rate((events.astype(np.float64), turns.astype(np.float64)))
    return replace(found, hopeless=question.measure == "failures" and found.failed == found.turns)
