"""Absolute thresholds: a figure of one target by all of its sessions, with its interval, against a limit.

The interval is one of 90 %, 5 % on either side. A quantile's is that of order statistics with a design effect
(`reports.statistics.quantiles`); if sessions drift, or events come in bursts, the wider one of that and of the parts'
(`reports.statistics.serial`). Of rates and means the error is that between sessions (`reports.statistics.rates`), and
the ends are x ± t · SE. Few events tell little of how they cluster, so a rate's upper end is the larger one of that and
of the bound with one session more, unseen (`reports.statistics.unseen`). Where a metric is not exact in the run,
each end is moved by how far one of its values is off at most."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
from scipy.special import stdtrit  # type: ignore[import-untyped, unused-ignore]

from bench.metrics import CATALOGUE, Better
from reports.finding import Result, none_seen
from reports.gate.items import Item, finite, not_exact, without_few
from reports.gate.sentences import in_unit
from reports.numbers import NBSP, three
from reports.question import RATES, TRIALS, Question
from reports.sides.questions import asked_by
from reports.sides.side import Side, counts_of, sample_of, totals_of
from reports.statistics.by_session import BySession, with_equal_weights
from reports.statistics.differences import Order
from reports.statistics.quantiles import Sample, quantiles, sessions_needed
from reports.statistics.rates import PerCluster, Ratio, ratio_of
from reports.statistics.serial import BATCHES, PARTS, by_part, in_parts, order_of, shares_burst
from reports.statistics.unseen import sessions_without
from reports.statistics.verdicts import SESSIONS, turns_to_decide, unequal
from reports.thresholds import GATED, Sign, Threshold, near
from reports.wording.verdicts import figure as figure_name
from reports.wording.verdicts import said
from reports.wording.words import interval

CONFIDENCE = 0.90
BY_LENGTH = "Long sessions differ from short ones, and few sessions have many of the turns"
TAIL = (1 - CONFIDENCE) / 2


@dataclass(frozen=True)
class LimitEstimate:
    """A figure of one arm in its unit, NaN where there is none; ±inf for open ends and among failures.

    `missing`: what the floor lacks, in words; empty where it decides. `hopeless`: nothing of it ever succeeded.
    `needs`: sessions that it takes for the figure to be told at all, of a quantile. `order`: found in the
    sessions, and the ends are those of parts of the run. `reached`: of a quantile or mean, the share of
    the turns wanted that have the figure. `effective_sessions`, `longest`: as of `rates.Ratio`. `by_session`: of a
    quantile that depends on few long sessions, that with equal weight for each.
    """

    value: float
    low: float
    high: float
    turns: int
    sessions: int
    failed: int = 0
    missing: str = ""
    hopeless: bool = False
    needs: int = 0
    order: Order | None = None
    reached: float = math.nan
    effective_sessions: float = math.nan
    longest: float = math.nan
    by_session: BySession | None = None


def estimate_quantile(
    sample: Sample, p: float, sessions: int, unit: Literal["turn", "session"] = "turn"
) -> LimitEstimate:
    """`sessions`: those with a value, whose codes are in the order of their start. `unit`: what the sample has one
    value of.
    """
    clusters = int(sample.sessions.max(initial=-1)) + 1
    estimate, order = quantiles(sample, [p], CONFIDENCE)[0], order_of(sample, clusters, p)
    low, high = estimate.low, estimate.high
    if order:
        of_parts = quantiles(in_parts(sample, clusters, PARTS[order]), [p], CONFIDENCE, unseen=False)[0]
        low, high = min(low, of_parts.low), max(high, of_parts.high)
    needs = sessions_needed(p, np.bincount(sample.sessions))
    missing = _few_sessions(sessions, estimate.effective_sessions)
    if sessions < needs:
        missing = f"too few sessions to decide: p{p * 100:g} needs {needs:,}, this run has {sessions:,}"
    if 0 < sample.n < (turns := turns_to_decide(p)):
        deciding = max(needs, math.ceil(turns * sessions / sample.n))
        about = f" (about {deciding:,} sessions)" if unit == "turn" else ""
        missing = f"too few {unit}s to decide: p{p * 100:g} needs {turns:,}{about}, this run has {sample.n:,}"
        needs = deciding if sessions < needs else needs
    failed, hopeless = sample.failed, not sample.succeeded.size
    return LimitEstimate(
        estimate.value,
        low,
        high,
        sample.n,
        sessions,
        failed,
        missing,
        hopeless,
        needs,
        order,
        sample.completed_share,
        estimate.effective_sessions,
        by_session=with_equal_weights(sample.values, sample.sessions, p, CONFIDENCE) if estimate.by_length else None,
    )


def estimate_rate(arm: PerCluster, better: Better = "lower") -> LimitEstimate:
    """The share of turns that are events, from both numbers of each session.

    Few events make its standard error too small, so the end on the bad side is that of the rule for rates.
    """
    rate = ratio_of(arm)
    if not rate.turns:
        return _nothing()
    order: Order | None = "bursts" if shares_burst(arm) else None
    reach = max(_reach(rate), _reach(ratio_of(by_part(arm, BATCHES)))) if order else _reach(rate)
    low, high = rate.value - reach, rate.value + reach
    if better != "higher":
        high = max(high, rate.upper(TAIL))
    if better != "lower":
        low = min(low, rate.lower(TAIL))
    few, events = _few_sessions(rate.clusters, rate.effective_sessions), int(arm[0].sum())
    high = high if rate.value > 1 else min(1.0, high)  # of words there may be more errors than words
    return LimitEstimate(
        rate.value, max(0.0, low), high, int(rate.turns), rate.clusters, events, few, order=order,
        effective_sessions=rate.effective_sessions, longest=rate.longest,
    )  # fmt: skip


def estimate_mean(arm: PerCluster) -> LimitEstimate:
    """The mean of a figure over turns, from its total and their number in each session."""
    mean = ratio_of(arm)
    if not mean.turns:
        return _nothing()
    reach = _reach(mean)
    ends = mean.value - reach, mean.value + reach
    few = _few_sessions(mean.clusters, mean.effective_sessions)
    return LimitEstimate(
        mean.value, *ends, int(mean.turns), mean.clusters, missing=few, effective_sessions=mean.effective_sessions
    )


def judge_limit(figure: LimitEstimate, sign: Sign, limit: float) -> tuple[Result, str]:
    """Whether the limit is kept, and why nothing can be said where it is not known."""
    if not figure.turns:
        return "not_evaluated", "nothing was measured"
    if figure.missing:
        return (
            ("not_evaluated", f"nothing succeeded; {figure.missing}")
            if figure.hopeless
            else ("inconclusive", figure.missing)
        )
    within = _WITHIN[sign]
    ends = [within(figure.low, limit), within(figure.high, limit)]
    if all(ends):
        return "pass", ""
    return ("inconclusive", "the limit lies within the interval") if any(ends) else ("fail", "")


_WITHIN: dict[Sign, Callable[[float, float], bool]] = {
    "<": lambda value, limit: value < limit,
    "<=": lambda value, limit: value <= limit,
    ">": lambda value, limit: value > limit,
    ">=": lambda value, limit: value >= limit,
}


def _nothing() -> LimitEstimate:
    return LimitEstimate(math.nan, -math.inf, math.inf, 0, 0, missing=_few_sessions(0, 0.0))


def _few_sessions(sessions: int, effective_sessions: float) -> str:
    if sessions < SESSIONS:
        return f"too few sessions to decide: needs {SESSIONS}, this run has {sessions}"
    return (
        "" if round(effective_sessions) >= SESSIONS else f"{unequal(sessions, effective_sessions)}: {SESSIONS} needed"
    )


def _reach(ratio: Ratio) -> float:
    """t · SE; endless of one session, which tells nothing of others."""
    if ratio.clusters < 2:
        return math.inf
    return float(stdtrit(ratio.effective_sessions - 1, 1 - TAIL)) * math.sqrt(ratio.variance)


def limit_results(threshold: Threshold, side: Side) -> list[Item]:
    """An absolute threshold on a target; one for each stratum."""
    if threshold.target not in ("", side.name):
        return []
    items = []
    for question, figure in limit_estimates(side, threshold):
        why = side.inexact(question)
        off = side.off(question) if why else 0.0
        if math.isfinite(off):  # the truth lies between these ends however far each of its values is off
            figure = replace(figure, low=figure.low - off, high=figure.high + off)
        item = _item(threshold, side.name, question, figure)
        if why and item.turns:
            item = not_exact(item, why) if math.isinf(off) else _with_room(item, off)
        items.append(item)
    steps = side.turns.steps
    if threshold.step and threshold.step not in steps:
        reason = f"no turn of a step {threshold.step} was measured{near(threshold.step, steps)} there are: "
        return [replace(item, reason=reason + (", ".join(steps) or "none")) for item in items]
    return items


def _with_room(item: Item, off: float) -> Item:
    """With what its interval holds besides, where it has one."""
    if item.low is None and item.high is None:
        return item
    room = f"each end leaves room for {three(off)}{NBSP}{item.unit}, by which it can be off at most"
    return replace(item, reason="; ".join(filter(None, (item.reason, room))))


def _item(threshold: Threshold, target: str, question: Question, figure: LimitEstimate) -> Item:
    """An absolute threshold on one target."""
    assert threshold.limit is not None, f"{threshold.text} is relative"
    result, reason = judge_limit(figure, threshold.sign, threshold.limit)
    unseen = question.kind == "rate" and RATES[question.metric].better == "lower" and not figure.value
    if result == "inconclusive" and unseen and not figure.missing:
        needed = sessions_without(threshold.limit, TAIL, figure.sessions / figure.longest)
        reason = said(none_seen(question.metric, figure.sessions, TAIL, needed, figure.longest))
    if result == "inconclusive" and figure.by_session and not figure.missing:
        unit = GATED[threshold.metric].unit
        value, low, high = figure.by_session
        shown = f"{in_unit(unit, value)} ({interval(low, high, partial(in_unit, unit))})"
        reason = f"{reason}. {BY_LENGTH}; with equal weight for each session it is {shown}"
    item = Item(
        threshold.written, figure_name(question), target, GATED[threshold.metric].unit, result, None,
        finite(figure.value), finite(figure.low), finite(figure.high),
        threshold.limit, threshold.sign, question.metric, reason=reason,
        turns=figure.turns, sessions=figure.sessions, failed=figure.failed,
        in_failures=figure.value == math.inf, low_infinite=figure.low == math.inf, provisional=figure.order is not None,
        completed_share=finite(figure.reached),
        effective_sessions=finite(figure.effective_sessions),
    )  # fmt: skip
    if question.kind == "rate" and RATES[question.metric].column and 0 < figure.turns < TRIALS:
        trials = RATES[question.metric].trials
        few = f"too few {trials} to decide: {figure.failed} of {figure.turns}, and a rate needs {TRIALS}"
        item = replace(item, value=None, low=None, high=None, reason=few)
        return replace(item, required=TRIALS, available=figure.turns, required_unit=trials)
    if result == "inconclusive" and figure.sessions < figure.needs:
        return replace(
            item, value=None, low=None, high=None, in_failures=False, low_infinite=False, provisional=False,
            required=figure.needs, available=figure.sessions, required_unit="sessions",
        )  # fmt: skip
    return without_few(item, question, [(figure.turns, figure.sessions)])


def limit_estimates(side: Side, threshold: Threshold) -> Iterable[tuple[Question, LimitEstimate]]:
    """The figure that a threshold limits, of a target; one for each stratum where its turns have several."""
    by_question = [
        (question, limit_estimate(side, question)) for question in asked_by(threshold, threshold.about, [side])
    ]
    return [pair for pair in by_question if pair[1].turns] or by_question[:1]


def limit_estimate(side: Side, question: Question) -> LimitEstimate:
    """One figure of a target."""
    if question.kind == "quantile":
        assert question.p is not None, "a quantile has a p"
        sample = sample_of(side, question)
        of_sessions = CATALOGUE[question.metric].scope == "session"
        return estimate_quantile(
            sample, question.p, int(np.unique(sample.sessions).size), "session" if of_sessions else "turn"
        )
    if question.kind == "mean":
        amounts, turns = totals_of(side, question)
        sample = sample_of(side, question)  # failed turns have no part in a mean: they are counted beside it
        mean = estimate_mean((amounts, turns.astype(np.float64)))
        return replace(mean, failed=sample.failed, reached=sample.completed_share)
    events, turns = counts_of(side, question)
    rate = estimate_rate((events.astype(np.float64), turns.astype(np.float64)), RATES[question.metric].better)
    return replace(rate, hopeless=question.metric == "failure_rate" and rate.failed == rate.turns)
