"""The mean of a metric over successful turns. Failed turns have no value and are only counted.

The bounds of a mean x are x ± t · SE. SE is the standard error computed from sessions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from bench.catalogue.metrics import SLOPE
from bench.catalogue.metrics import Better as Direction
from reports.metrics.metric_spec import (
    MetricSpec,
    Source,
    Sources,
    Statistic,
    better_direction,
)
from reports.results.value import Reason
from reports.statistics.autocorrelation import FOUND, mean_by_order, means_drift
from reports.statistics.differences import Better, Difference, Inference, Margin, excess_over_margin
from reports.statistics.quantiles import CONFIDENCE
from reports.statistics.rates import ClusterTotals, PerCluster, ratio_of
from reports.statistics.threshold_estimate import (
    TAIL,
    TargetCounts,
    ThresholdEstimate,
    few_sessions,
    no_estimate,
    of_turns,
)

if TYPE_CHECKING:
    from reports.statistics.group_sequential import InterimStatistic


@dataclass(frozen=True)
class Mean(Statistic):
    kind = "mean"
    per_stratum = True

    @property
    def aggregate(self) -> str:
        return "avg"

    @classmethod
    def aggregates(cls, unit: str, better: Direction) -> tuple[str, ...]:
        return () if unit in ("share", "ms", SLOPE) else ("avg",)

    @classmethod
    def read(cls, aggregate: str) -> Mean | None:
        return cls() if aggregate == "avg" else None

    def title(self, metric: str) -> str:
        return f"{metric} mean"

    def counts(self, source: Source, spec: MetricSpec) -> TargetCounts:
        sample = source.sample(spec)
        return of_turns(source.totals(spec)[1], sample.failed, sample.completed_share)

    def value(self, source: Source, spec: MetricSpec) -> float:
        amounts, turns = source.totals(spec)
        return float(amounts.sum() / turns.sum()) if turns.any() else math.nan

    def differences(
        self, sources: Sources, group: Sequence[MetricSpec], inference: Inference
    ) -> Sequence[Difference | None]:
        first, second = (source.totals(group[0]) for source in sources.weighted)
        sums = ClusterTotals(first, second, sources.base.paired)
        return [
            mean_by_order(sums, spec.margin, better_direction(spec), inference) for spec in group
        ]

    def estimate(self, source: Source, spec: MetricSpec, tail: float = TAIL) -> ThresholdEstimate:
        mean = estimate_mean(source.totals(spec), tail)
        sample = source.sample(spec)
        counts = replace(mean.counts, failed=sample.failed, completed_share=sample.completed_share)
        return replace(mean, counts=counts)

    def interim(
        self, sources: Sources, group: Sequence[MetricSpec], inference: Inference, error: float
    ) -> list[InterimStatistic]:
        base, candidate = (source.totals(group[0]) for source in sources.weighted)
        return [
            mean_seen(base, candidate, spec.margin, better_direction(spec), error) for spec in group
        ]


def estimate_mean(totals: PerCluster, tail: float = TAIL) -> ThresholdEstimate:
    """Return a mean with its bounds. `totals` is the sum and the number of turns of each session.

    `tail` is the type I error of each deciding bound.
    """
    mean = ratio_of(totals)
    if not mean.turns:
        return no_estimate()
    counts = of_turns(totals[1], 0)
    printed_reach = mean.reach((1 - CONFIDENCE) / 2)
    reach = mean.reach(tail)
    ends = (
        mean.value - printed_reach,
        mean.value + printed_reach,
        mean.value - reach,
        mean.value + reach,
    )
    return ThresholdEstimate(mean.value, *ends, counts, few_sessions(counts))


def mean_seen(
    base: PerCluster, cand: PerCluster, margin: Margin, better: Better, error: float = FOUND
) -> InterimStatistic:
    """Return the statistic of a mean over successful turns at an interim analysis."""
    from reports.statistics.group_sequential import by_se, few_pairs, untestable

    if reason := few_pairs(base, cand):
        return untestable(reason)
    sums = ClusterTotals(base, cand, paired=True)
    difference = mean_by_order(sums, margin, better, Inference(), error)
    means = np.array([difference.baseline]), np.array([difference.candidate])
    excess = float(excess_over_margin(means, margin, better)[0])
    if not math.isfinite(excess):
        return untestable(Reason("not_positive"), difference.d)
    is_provisional = difference.order is not None and means_drift(sums)
    statistic = difference.d, excess, difference.se, difference.df, 1 if better == "lower" else -1
    return by_se(*statistic, order=difference.order, is_provisional=is_provisional)
