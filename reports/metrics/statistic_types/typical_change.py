"""The typical change over all steps. It needs paired sessions
(`reports.statistics.typical_change`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from reports.metrics.metric_spec import MetricSpec, Source, Sources, Statistic
from reports.statistics.differences import Difference, Inference, Margin, StandardError
from reports.statistics.rates import log_difference
from reports.statistics.threshold_estimate import TargetCounts, of_sample
from reports.statistics.typical_change import (
    LogRatio,
    StepLatencies,
    logs_of,
    trimmed_mean,
    typical_change,
)

if TYPE_CHECKING:
    from reports.statistics.arms import TwoSamples
    from reports.statistics.quantiles import Sample


@dataclass(frozen=True)
class TypicalChange(Statistic):
    """The change of a typical turn, independent of its step."""

    kind = "typical_change"

    def title(self, metric: str) -> str:
        return f"{metric}_typical_change"

    def counts(self, source: Source, spec: MetricSpec) -> TargetCounts:
        return of_sample(source.sample(spec))

    def value(self, source: Source, spec: MetricSpec) -> float:
        """Return the typical value of one target: the exponential of the trimmed mean of the
        logs.
        """
        return math.exp(trimmed_mean(logs_of(source.sample(spec).values)))

    def differences(
        self, sources: Sources, group: Sequence[MetricSpec], inference: Inference
    ) -> Sequence[Difference | None]:
        base = sources.base
        change = LogRatio(math.nan, math.nan)
        if base.paired:
            latencies = step_latencies(base, group[0]), step_latencies(sources.candidate, group[0])
            if sources.is_weighted_by_number:
                latencies = _by_cell(sources.targets(group[0])) or latencies
            change = typical_change(*latencies, base.sessions)
        if math.isnan(change.d):
            return [None] * len(group)
        typical = self.value(base, group[0])
        values = typical, typical * math.exp(change.d)
        return [
            by_change(change, base.sessions, values, spec.margin, inference.level) for spec in group
        ]


def _by_cell(samples: TwoSamples) -> tuple[StepLatencies, StepLatencies] | None:
    """Return the values of both targets, with their cells as steps; None if the values have no
    cells.
    """
    if samples.steps is None:
        return None
    first, second = samples.steps
    return (
        StepLatencies(samples.base.values, first, samples.base.sessions),
        StepLatencies(samples.cand.values, second, samples.cand.sessions),
    )


def step_latencies(source: Source, spec: MetricSpec) -> StepLatencies:
    """Return the values of a metric for one target, with the step and the pair of each value."""
    samples = [step_sample(source, spec, step) for step in source.step_names]
    values = [sample.values for sample in samples]
    codes = [np.full(part.size, code) for code, part in enumerate(values)]
    sessions = [sample.sessions for sample in samples]
    # a target without steps has no arrays to join
    return StepLatencies(
        np.concatenate([np.zeros(0), *values]),
        np.concatenate([np.zeros(0, np.int64), *codes]),
        np.concatenate([np.zeros(0, np.int64), *sessions]),
    )


def step_sample(source: Source, spec: MetricSpec, step: str) -> Sample:
    return source.sample(replace(spec, step=step))


def by_change(
    change: LogRatio, pairs: int, values: tuple[float, float], margin: Margin, level: float
) -> Difference:
    """Compare two values, the baseline's first, by the log of their ratio and its standard error
    over pairs.

    Less is better. The bounds are d ∓ t·SE.
    """
    return log_difference(
        values, StandardError(change.se, pairs - 1.0, pairs), margin, "lower", level
    )
