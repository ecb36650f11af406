"""The specification of a compared value: its statistic, its metric, the turns it covers, and its margin. Pure."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple, Protocol

import numpy as np

from bench.errors import UsageError
from bench.metrics import CATALOGUE, SLOPE
from bench.metrics import Better as Direction
from reports.json_entries import JsonEntry, Known, about
from reports.statistics.arms import TwoSamples
from reports.statistics.differences import Better, Difference, Inference, Margin, Scale
from reports.statistics.group_sequential import pairs_needed
from reports.statistics.interim import InterimStatistic
from reports.statistics.power import Pilot
from reports.statistics.quantiles import Sample, Shortfall
from reports.statistics.rates import PerCluster
from reports.statistics.target_counts import TargetCounts
from reports.statistics.threshold_estimate import ThresholdEstimate
from reports.statistics.verdicts import InconclusiveReason
from reports.stored import Baseline
from reports.strata import NO_STRATUM, Stratum

POINTS = 0.01
NO_MARGIN = Margin()


class Source(Protocol):
    """The turns of one target by cluster: its sessions, or pairs of sessions."""

    @property
    def sessions(self) -> int:
        """The number of clusters."""

    @property
    def paired(self) -> bool:
        """True if the clusters are pairs."""

    @property
    def step_names(self) -> list[str]: ...

    def sample(self, spec: MetricSpec) -> Sample:
        """Return the values of a metric, with failed turns as +inf."""

    def totals(self, spec: MetricSpec) -> PerCluster:
        """Return the sum of the values of a metric and their number, by cluster."""

    def counts(self, spec: MetricSpec) -> PerCluster:
        """Return the events and the trials of a rate, by cluster."""

    def worst_bound(self, spec: MetricSpec) -> float:
        """Return the maximum error of a value of a metric; inf if it is unknown."""


class Sources(Protocol):
    """A baseline and a candidate with the same kind of clusters."""

    @property
    def base(self) -> Source: ...

    @property
    def candidate(self) -> Source: ...

    def targets(self, spec: MetricSpec, samples: tuple[Sample, Sample]) -> TwoSamples:
        """Return both samples, with their steps if the candidate's turns are weighted to the baseline's shares."""


class MeasuredDifferences(NamedTuple):
    """The result of a comparison for a group of specs that have the same statistic and metric."""

    counts: tuple[TargetCounts, TargetCounts]
    differences: Sequence[Difference | None]
    """One difference for each spec; None if a target has no value of the metric."""


class StoredComparison(NamedTuple):
    """The result of a comparison with stored runs. `runs`: the number of stored runs that have the metric."""

    runs: int
    counts: tuple[TargetCounts, TargetCounts]
    """The counts of both targets. For the stored runs these are the smallest counts, which show if all runs have
    enough."""
    difference: Difference | None


class Statistic(ABC):
    """A statistic of a metric, such as a quantile. Each kind is a subclass, which names, computes, and compares it.

    A method raises UsageError with a remedy if the statistic does not support it.
    """

    kind: ClassVar[str]
    per_stratum: ClassVar[bool] = False
    """True if the statistic is computed separately for each stratum of turns."""

    @property
    def p(self) -> float | None:
        """The level of the quantile; None if the statistic is no quantile."""
        return None

    @property
    def aggregate(self) -> str:
        """The text of the statistic in a threshold: p(95), rate, avg."""
        return self.kind

    @classmethod
    def aggregates(cls, unit: str) -> tuple[str, ...]:
        """Return the texts of the statistic in thresholds on a metric of this unit; () if it cannot be a threshold."""
        return ()

    @classmethod
    def read(cls, aggregate: str) -> Statistic | None:
        """Return the statistic that a threshold names; None if the text is no aggregate of this class."""
        return None

    @abstractmethod
    def title(self, metric: str) -> str:
        """Return the name of the statistic of a metric, such as `ttfa p95`."""

    def unit(self, metric: str) -> str:
        return CATALOGUE[metric].unit

    def shown_unit(self, metric: str) -> str:
        """Return the unit in which the statistic is displayed."""
        return self.unit(metric)

    def better(self, metric: str) -> Direction:
        """Return the direction in which the statistic is better: `lower`, `higher`, or `neither`."""
        return CATALOGUE[metric].better

    def scale(self, metric: str) -> Scale:
        """Return the scale on which two values of the statistic are compared."""
        return "slope" if CATALOGUE[metric].unit == SLOPE else "ratio"

    @abstractmethod
    def counts(self, source: Source, spec: MetricSpec) -> TargetCounts:
        """Return the numbers of turns and sessions of a target from which the statistic is computed."""

    @abstractmethod
    def value(self, source: Source, spec: MetricSpec) -> float:
        """Return the value of the statistic on a target; NaN if there are no turns."""

    @abstractmethod
    def compare(self, sources: Sources, group: Sequence[MetricSpec], inference: Inference) -> MeasuredDifferences:
        """Compare a candidate with its baseline. `group`: the specs to compare, which differ only in p and margin."""

    def shortfall(self, metric: str, turns: int, sessions: int) -> Shortfall | None:
        """Return the turns or sessions that are missing to display the value; None if there are enough."""
        return None

    def nothing_seen(
        self, spec: MetricSpec, difference: Difference, candidate: TargetCounts
    ) -> InconclusiveReason | None:
        """Return why a comparison without any event on the candidate is inconclusive; None without such a reason."""
        return None

    def estimate(self, source: Source, spec: MetricSpec) -> ThresholdEstimate:
        """Return the value of the statistic on a target, with the bounds that are compared with a limit."""
        raise UsageError(f"{spec.name} has no limit: compare it with a baseline")

    def explain_limit(self, spec: MetricSpec, estimate: ThresholdEstimate, limit: float) -> InconclusiveReason | None:
        """Return a more specific reason why a limit between the bounds is inconclusive; None without such a reason."""
        return None

    def worst_bound(self, source: Source, spec: MetricSpec) -> float:
        """Return the maximum error of the statistic's value on a target; inf if it is unknown."""
        return math.inf

    def default_margin(self, metric: str) -> Margin:
        """Return the margin that applies if the user gives none."""
        raise UsageError(f"a {self.kind} has no sample size to plan for: plan for a quantile, such as p50")

    def sessions_to_pass(self, margin: Margin, error: float) -> int | None:
        """Return the sessions needed to pass if no turn fails; None if no number is enough."""
        return 0

    def min_sessions(self, source: Source, spec: MetricSpec) -> int:
        """Return the minimum number of sessions for a decision, if they are like those of `source`."""
        return pairs_needed(None, 1.0)

    def pilot(self, sources: Sequence[Source], spec: MetricSpec, effect: float, rng: np.random.Generator) -> Pilot:
        """Return the variance of a difference, estimated from a pilot run of one target, or of two targets in pairs."""
        raise UsageError(f"a {self.kind} has no sample size to plan for: plan for a quantile, such as p50")

    def interim(
        self, sources: Sources, group: Sequence[MetricSpec], draws: int, rng: np.random.Generator, error: float
    ) -> list[InterimStatistic]:
        """Return the statistic of each spec at an interim analysis. `error`: the type I error of the drift tests."""
        names = ", ".join(spec.name for spec in group)
        raise UsageError(f"{names} cannot be tested at an interim analysis: use rtbench compare")

    def against_stored(
        self, source: Source, spec: MetricSpec, runs: Sequence[Baseline], rng: np.random.Generator, inference: Inference
    ) -> StoredComparison:
        """Compare a target with stored runs."""
        raise UsageError(f"{spec.name}: stored baselines do not contain it; use a run as the baseline")


@dataclass(frozen=True)
class MetricSpec:
    """The specification of a compared value. `stratum`: None for all turns; `step`: "" for all steps."""

    metric: str
    statistic: Statistic
    margin: Margin = NO_MARGIN
    primary: bool = False
    stratum: Stratum | None = None
    step: str = ""

    @property
    def kind(self) -> str:
        return self.statistic.kind

    @property
    def p(self) -> float | None:
        return self.statistic.p

    @property
    def name(self) -> str:
        """The name, such as `ttfa p95`, `failure_rate`, or `audio_speed mean`."""
        return self.statistic.title(f"{self.metric} {self.step}".rstrip())

    @property
    def unit(self) -> str:
        return self.statistic.unit(self.metric)

    @property
    def shown_unit(self) -> str:
        return self.statistic.shown_unit(self.metric)

    @property
    def scale(self) -> Scale:
        return self.statistic.scale(self.metric)

    @property
    def better(self) -> Direction:
        return self.statistic.better(self.metric)

    @property
    def entry_fields(self) -> tuple[str, str, float | None, str, str]:
        """The values of the fields of a `MetricSpecEntry`, in their order."""
        return (self.metric, self.kind, self.p, *(self.stratum or NO_STRATUM))


def by_sample(specs: Iterable[MetricSpec]) -> list[list[MetricSpec]]:
    """Return the specs in groups that need the same sample."""
    groups: dict[tuple[object, ...], list[MetricSpec]] = {}
    for spec in specs:
        groups.setdefault((spec.kind, spec.metric, spec.stratum, spec.step), []).append(spec)
    return list(groups.values())


class MetricSpecEntry(JsonEntry, frozen=True):
    """The statistic, the metric, and the turns of a value."""

    metric: str
    kind: Annotated[str, about("quantile, mean, rate, or typical_change")]
    p: float | None
    measured_from: Annotated[Known, about("the instant that latency is measured from, if a run has several")]
    turn_type: Annotated[Known, about("the turn type; null for regular turns, and if a run has no others")]


def better_direction(spec: MetricSpec) -> Better:
    """Return the direction in which the metric is better. Raise UsageError if it has none."""
    if spec.better == "neither":
        raise UsageError(f"{spec.metric} cannot be compared: neither more nor less of it is better")
    return spec.better
