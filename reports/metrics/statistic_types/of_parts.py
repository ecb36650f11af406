"""A value of parts of a run, such as the recovery time after a peak of load, or the calls that an
event dropped. It has a limit, no baseline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.base.errors import UsageError
from bench.catalogue.metrics import Better as Direction
from reports.metrics.metric_spec import MeasuredDifferences, MetricSpec, Source, Sources, Statistic
from reports.statistics.threshold_estimate import TAIL, TargetCounts, ThresholdEstimate

if TYPE_CHECKING:
    from reports.results.value import Scale
    from reports.statistics.differences import Inference

OF_PARTS = {
    "recovery_time": ("ms", "value"),
    "refused_share": ("share", "rate"),
    "harm": ("%", "p(95)"),
    "dropped_share": ("share", "rate"),
    "new_failed_share": ("share", "rate"),
    "failed_turn_share": ("share", "rate"),
}
"""The unit of each value, and its aggregate in thresholds. Less of each is better."""


@dataclass(frozen=True)
class OfParts(Statistic):
    """The value `metric` of a run with a peak, or of its worst event."""

    kind = "of_parts"
    metric: str

    @property
    def aggregate(self) -> str:
        return OF_PARTS[self.metric][1]

    def title(self, metric: str) -> str:
        return metric

    def unit(self, metric: str) -> str:
        return OF_PARTS[self.metric][0]

    def better(self, metric: str) -> Direction:
        return "lower"

    def scale(self, metric: str) -> Scale:
        return "points" if self.unit(metric) == "share" else "ratio"

    def counts(self, source: Source, spec: MetricSpec) -> TargetCounts:
        return self.estimate(source, spec).counts

    def value(self, source: Source, spec: MetricSpec) -> float:
        return self.estimate(source, spec).value

    def estimate(self, source: Source, spec: MetricSpec, tail: float = TAIL) -> ThresholdEstimate:
        return source.of_parts(self.metric, tail)

    def compare(
        self, sources: Sources, group: Sequence[MetricSpec], inference: Inference
    ) -> MeasuredDifferences:
        raise UsageError(f"{self.metric} cannot be compared with a baseline: give it a limit")
