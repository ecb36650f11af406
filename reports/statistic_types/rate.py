"""A rate: a share of turns, or of words.

Few events show little about their clustering. So the bound on the bad side is the larger of two: that of the standard
error between sessions, and that with one more, unseen session (`reports.statistics.unseen`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from scipy.special import ndtr  # type: ignore[import-untyped, unused-ignore]

from bench.metrics import Better as Direction
from reports.metric_spec import (
    POINTS,
    MeasuredDifferences,
    MetricSpec,
    Source,
    Sources,
    Statistic,
    StoredComparison,
    better_direction,
)
from reports.rate_metrics import MIN_RATE_UNITS, RATES
from reports.statistics.autocorrelation import BATCHES, FOUND, by_part, rate_by_order, shares_burst
from reports.statistics.baselines import rate_against_stored
from reports.statistics.differences import Better, Difference, Inference, Margin, Order, Scale
from reports.statistics.interim import InterimStatistic, few_pairs, untestable
from reports.statistics.power import Pilot, pilot_of_rate
from reports.statistics.quantiles import CONFIDENCE, Shortfall
from reports.statistics.rates import ClusterTotals, PerCluster, RatioEstimate, complement, ratio_of, upper_of_points
from reports.statistics.target_counts import TargetCounts, of_turns
from reports.statistics.threshold_estimate import TAIL, ThresholdEstimate, few_sessions, no_estimate
from reports.statistics.unseen import sessions_without, upper_share
from reports.statistics.verdicts import InconclusiveReason
from reports.stored import Baseline

FAILINGS = ("throttle_rate", "failure_rate")
"""Rates whose events are failed turns."""


@dataclass(frozen=True)
class Rate(Statistic):
    """The share of turns, or of words, that are events."""

    kind: ClassVar[str] = "rate"

    @classmethod
    def aggregates(cls, unit: str) -> tuple[str, ...]:
        return ("rate",) if unit == "share" else ()

    @classmethod
    def read(cls, aggregate: str) -> Rate | None:
        return cls() if aggregate == "rate" else None

    def title(self, metric: str) -> str:
        return metric

    def unit(self, metric: str) -> str:
        return "share"

    def shown_unit(self, metric: str) -> str:
        return "%"

    def better(self, metric: str) -> Direction:
        return RATES[metric].better

    def scale(self, metric: str) -> Scale:
        return "points"

    def counts(self, source: Source, question: MetricSpec) -> TargetCounts:
        return _counts(question.metric, source.counts(question))

    def value(self, source: Source, question: MetricSpec) -> float:
        events, turns = source.counts(question)
        return float(events.sum() / turns.sum()) if turns.any() else math.nan

    def shortfall(self, metric: str, turns: int, sessions: int) -> Shortfall | None:
        rate = RATES[metric]
        return Shortfall(rate.units, turns, MIN_RATE_UNITS) if rate.column and turns < MIN_RATE_UNITS else None

    def compare(self, both: Sources, group: Sequence[MetricSpec], how: Inference) -> MeasuredDifferences:
        base, candidate = both.base.counts(group[0]), both.candidate.counts(group[0])
        counts = _counts(group[0].metric, base), _counts(group[0].metric, candidate)
        if not (counts[0].turns and counts[1].turns):
            return MeasuredDifferences(counts, [None] * len(group))
        sums = ClusterTotals(base, candidate, both.base.paired, bool(RATES[group[0].metric].words_column))
        return MeasuredDifferences(
            counts, [rate_by_order(sums, one.margin, better_direction(one), how) for one in group]
        )

    def nothing_seen(
        self, question: MetricSpec, found: Difference, candidate: TargetCounts
    ) -> InconclusiveReason | None:
        if found.candidate or better_direction(question) != "lower":
            return None
        needed = candidate.sessions + found.more_sessions if found.more_sessions else None
        longest = candidate.sessions_if_all_longest
        return none_seen(question.metric, candidate.sessions, found.level, needed, longest)

    def default_margin(self, metric: str) -> Margin:
        return Margin(points=POINTS)

    def sessions_to_pass(self, margin: Margin, error: float) -> int | None:
        return sessions_without(margin.points, error)

    def pilot(self, sources: Sequence[Source], question: MetricSpec, effect: float, rng: np.random.Generator) -> Pilot:
        counts = sources[0].counts(question)
        events, turns = complement(counts) if better_direction(question) == "higher" else counts
        if not turns.any():
            return Pilot(math.nan, np.zeros(0), sources[0].sessions)
        return pilot_of_rate(events, turns, effect, rng)

    def estimate(self, source: Source, question: MetricSpec) -> ThresholdEstimate:
        found = estimate_rate(source.counts(question), self.better(question.metric))
        hopeless = question.metric == "failure_rate" and found.counts.failed == found.counts.turns
        return replace(found, nothing_succeeded=hopeless)

    def explain_limit(self, question: MetricSpec, found: ThresholdEstimate, limit: float) -> InconclusiveReason | None:
        if found.value or self.better(question.metric) != "lower":
            return None
        sessions, longest = found.counts.sessions, found.counts.sessions_if_all_longest
        needed = sessions_without(limit, TAIL, sessions / longest)
        return replace(none_seen(question.metric, sessions, TAIL, needed, longest), kind="no_event")

    def interim(
        self, both: Sources, group: Sequence[MetricSpec], draws: int, rng: np.random.Generator, error: float
    ) -> list[InterimStatistic]:
        base, candidate = both.base.counts(group[0]), both.candidate.counts(group[0])
        return [rate_seen(base, candidate, one.margin, one.metric, better_direction(one), error) for one in group]

    def against_stored(
        self, source: Source, question: MetricSpec, runs: Sequence[Baseline], rng: np.random.Generator, how: Inference
    ) -> StoredComparison:
        words = bool(RATES[question.metric].words_column)
        rows = [rate for one in runs for rate in one.rates if rate.name == question.metric]
        now = ratio_of(source.counts(question), words=words)
        then = [
            RatioEstimate(
                row.share, math.nan if row.variance is None else row.variance, row.n, row.sessions, words=words
            )
            for row in rows
        ]
        difference = None
        if rows and now.turns:
            difference = rate_against_stored(now, then, question.margin, better=better_direction(question), how=how)
        smallest = TargetCounts(
            min((row.n for row in rows), default=0), min((row.sessions for row in rows), default=0), 0
        )
        failed = round(now.value * now.turns) if now.turns else 0
        counts = TargetCounts(
            int(now.turns), now.clusters, failed, math.nan, now.effective_sessions, now.sessions_if_all_longest
        )
        return StoredComparison(len(rows), (smallest, counts), difference)


def _counts(metric: str, by_cluster: PerCluster) -> TargetCounts:
    events, turns = by_cluster
    return of_turns(turns, int(events.sum()) if metric in FAILINGS else 0)


def estimate_rate(arm: PerCluster, better: Direction = "lower") -> ThresholdEstimate:
    """Return a rate with its bounds, from the numbers of events and turns of each session."""
    rate = ratio_of(arm)
    if not rate.turns:
        return no_estimate()
    order: Order | None = "bursts" if shares_burst(arm) else None
    reach = max(rate.reach(TAIL), ratio_of(by_part(arm, BATCHES)).reach(TAIL)) if order else rate.reach(TAIL)
    lower, upper = rate.value - reach, rate.value + reach
    if better != "higher":
        upper = max(upper, rate.upper(TAIL))
    if better != "lower":
        lower = min(lower, rate.lower(TAIL))
    upper = upper if rate.value > 1 else min(1.0, upper)  # there may be more word errors than words
    counts = TargetCounts(
        int(rate.turns),
        rate.clusters,
        int(arm[0].sum()),
        math.nan,
        rate.effective_sessions,
        rate.sessions_if_all_longest,
    )
    tail = (1 - CONFIDENCE) / 2
    return ThresholdEstimate(
        rate.value, rate.lower(tail), rate.upper(tail), max(0.0, lower), upper, counts, few_sessions(counts),
        order=order,
    )  # fmt: skip


def none_seen(metric: str, sessions: int, level: float, needed: int | None, longest: float) -> InconclusiveReason:
    """Return the reason for a rate without any event: its true value may still be above 0.

    - `longest`: turns as a multiple of those of the longest session
    - `needed`: the number of sessions for a conclusive result
    """
    most = upper_share(0.0, 0.0, longest, level)
    return InconclusiveReason("none_seen", needed=needed or 0, there=(sessions,), metric=metric, upper=most)


def rate_seen(
    base: PerCluster,
    cand: PerCluster,
    margin: Margin,
    metric: str = "failure_rate",
    better: Better = "lower",
    error: float = FOUND,
) -> InterimStatistic:
    """Return a rate at an interim analysis; if more is better, by its complement.

    With few failures the standard error is too small, so the upper bound is that of the rule for rates.
    """
    if few := few_pairs(base, cand):
        return untestable(few)
    if better == "higher":
        left = rate_seen(complement(base), complement(cand), margin, metric, error=error)
        return replace(left, d=-left.d, better=-1, unsettled=lambda c: None)
    words = bool(RATES[metric].words_column)
    sums = ClusterTotals(base, cand, paired=True, words=words)
    difference, (one, other) = rate_by_order(sums, margin, "lower", Inference(), error), sums.ratios

    def upper(c: float) -> float:
        return upper_of_points(one, other, difference.se, difference.df, float(ndtr(-c))) - margin.points

    def unsettled(c: float) -> InconclusiveReason | None:
        if other.value:
            return None
        level = float(ndtr(-c))
        needed = (
            None
            if one.value
            else sessions_without(margin.points, level, other.clusters / other.sessions_if_all_longest)
        )
        return none_seen(metric, other.clusters, level, needed, other.sessions_if_all_longest)

    return InterimStatistic(
        difference.d,
        difference.d - margin.points,
        difference.se,
        difference.df,
        upper,
        unsettled=unsettled,
        order=difference.order,
    )
