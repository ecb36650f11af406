"""Absolute thresholds: a figure of one target by all of its sessions, with its interval, against a limit."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from bench.measures import CATALOGUE
from reports.finding import none_seen
from reports.gate.items import Item, finite, not_exact, without_few
from reports.gate.kept import TAIL, Figure, judged, of_mean, of_quantile, of_rate
from reports.question import RATES, TRIALS, Question
from reports.sides.questions import by_stratum
from reports.sides.side import Side, counts_of, sample_of, totals_of
from reports.statistics.shares import sessions_without
from reports.thresholds.gated import GATED, near
from reports.thresholds.grammar import Threshold
from reports.wording.differences import figure as figure_name
from reports.wording.reasons import said


def items_of(threshold: Threshold, side: Side) -> list[Item]:
    """An absolute threshold on a target; one for each stratum."""
    if threshold.target not in ("", side.name):
        return []
    items = [_held(threshold, side, question, figure) for question, figure in figures(side, threshold)]
    steps = side.turns.steps
    if threshold.step and threshold.step not in steps:
        reason = f"no turn of a step {threshold.step} was measured{near(threshold.step, steps)} there are: "
        return [replace(item, reason=reason + (", ".join(steps) or "none")) for item in items]
    return items


def _held(threshold: Threshold, side: Side, question: Question, figure: Figure) -> Item:
    """One figure; where it is not exact in this run, neither kept nor broken."""
    item, why = _item(threshold, side.name, question, figure), side.inexact(question)
    return not_exact(item, why) if why and item.turns else item


def _item(threshold: Threshold, target: str, question: Question, figure: Figure) -> Item:
    """An absolute threshold on one target."""
    assert threshold.limit is not None, f"{threshold.text} is relative"
    word, reason = judged(figure, threshold.sign, threshold.limit)
    unseen = question.kind == "rate" and RATES[question.measure].better == "lower" and not figure.value
    if word == "inconclusive" and unseen and not figure.missing:
        needed = sessions_without(threshold.limit, TAIL, figure.sessions / figure.longest)
        reason = said(none_seen(question.measure, figure.sessions, TAIL, needed, figure.longest))
    item = Item(
        threshold.written, figure_name(question), target, GATED[threshold.measure].unit, word,
        finite(figure.value), finite(figure.low), finite(figure.high),
        threshold.limit, threshold.sign, question.measure, reason=reason,
        turns=figure.turns, sessions=figure.sessions, failed=figure.failed,
        among_failures=figure.value == math.inf, low_endless=figure.low == math.inf, provisional=figure.drifts,
        reached=finite(figure.reached),
        worth=finite(figure.worth),
    )  # fmt: skip
    if question.kind == "rate" and RATES[question.measure].column and 0 < figure.turns < TRIALS:
        trials = RATES[question.measure].trials
        few = f"too few {trials} to decide: {figure.failed} of {figure.turns}, and a rate needs {TRIALS}"
        item = replace(item, value=None, low=None, high=None, reason=few)
        return replace(item, needs=TRIALS, too_few=figure.turns, lacks=trials)
    if word == "inconclusive" and figure.sessions < figure.needs:
        return replace(
            item, value=None, low=None, high=None, among_failures=False, low_endless=False, provisional=False,
            needs=figure.needs, too_few=figure.sessions, lacks="sessions",
        )  # fmt: skip
    return without_few(item, question, [(figure.turns, figure.sessions)])


def figures(side: Side, threshold: Threshold) -> Iterable[tuple[Question, Figure]]:
    """The figure that a threshold limits, of a target; one for each stratum where its turns have several."""
    by_question = [(question, figure(side, question)) for question in by_stratum(threshold.about, [side])]
    return [pair for pair in by_question if pair[1].turns] or by_question[:1]


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
    rate = of_rate((events.astype(np.float64), turns.astype(np.float64)), RATES[question.measure].better)
    return replace(rate, hopeless=question.measure == "failures" and rate.failed == rate.turns)
