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

    def sample(self, question: MetricSpec) -> Sample:
        """Return the values of a metric, with failed turns as +inf."""

    def totals(self, question: MetricSpec) -> PerCluster:
        """Return the sum of the values of a metric and their number, by cluster."""

    def counts(self, question: MetricSpec) -> PerCluster:
        """Return the events and the trials of a rate, by cluster."""

    def worst_bound(self, question: MetricSpec) -> float:
        """Return the maximum error of a value of a metric; inf if it is unknown."""


class Sources(Protocol):
    """A baseline and a candidate with the same kind of clusters."""

    @property
    def base(self) -> Source: ...

    @property
    def candidate(self) -> Source: ...

    def targets(self, question: MetricSpec, samples: tuple[Sample, Sample]) -> TwoSamples:
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
    """A statistic of a metric: how it is named, measured, limited, compared, and stored; a class for each kind.

    A method raises UsageError with a remedy if the statistic does not support it.
    """

    kind: ClassVar[str]
    per_stratum: ClassVar[bool] = False
    """True if, for turns of several strata, the statistic is computed separately for each stratum."""

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
        """Return the direction in which the statistic is better, if any."""
        return CATALOGUE[metric].better

    def scale(self, metric: str) -> Scale:
        """Return the scale on which two values of the statistic are compared."""
        return "slope" if CATALOGUE[metric].unit == SLOPE else "ratio"

    @abstractmethod
    def counts(self, source: Source, question: MetricSpec) -> TargetCounts:
        """Return the numbers of turns and sessions of a target from which the statistic is computed."""

    @abstractmethod
    def value(self, source: Source, question: MetricSpec) -> float:
        """Return the value of the statistic on a target; NaN if there are no turns."""

    @abstractmethod
    def compare(self, both: Sources, group: Sequence[MetricSpec], how: Inference) -> MeasuredDifferences:
        """Compare a candidate with its baseline. `group`: the specs to compare, which differ only in p and margin."""

    def shortfall(self, metric: str, turns: int, sessions: int) -> Shortfall | None:
        """Return the shortfall of turns or sessions because of which the value is not shown; None if there is none."""
        return None

    def nothing_seen(
        self, question: MetricSpec, found: Difference, candidate: TargetCounts
    ) -> InconclusiveReason | None:
        """Return why a comparison is inconclusive if no counted event occurred on the candidate."""
        return None

    def estimate(self, source: Source, question: MetricSpec) -> ThresholdEstimate:
        """Return the value of the statistic on a target, with the bounds that are compared with a limit."""
        raise UsageError(f"{question.name} has no limit: compare it with a baseline")

    def explain_limit(self, question: MetricSpec, found: ThresholdEstimate, limit: float) -> InconclusiveReason | None:
        """Return a more specific reason why a limit between the bounds is inconclusive; None if there is none."""
        return None

    def worst_bound(self, source: Source, question: MetricSpec) -> float:
        """Return the maximum error of the statistic's value on a target; inf if it is unknown."""
        return math.inf

    def default_margin(self, metric: str) -> Margin:
        """Return the margin that applies if the user gives none."""
        raise UsageError(f"a {self.kind} has no sample size to plan for: plan for a quantile, such as p50")

    def sessions_to_pass(self, margin: Margin, error: float) -> int | None:
        """Return the sessions needed to pass if no turn fails; None if no number is enough."""
        return 0

    def min_sessions(self, source: Source, question: MetricSpec) -> int:
        """Return the minimum number of sessions, each like those of `source`, for a decision."""
        return pairs_needed(None, 1.0)

    def pilot(self, sources: Sequence[Source], question: MetricSpec, effect: float, rng: np.random.Generator) -> Pilot:
        """Return the expected error of a difference, from a pilot run of one target, or of two targets in pairs."""
        raise UsageError(f"a {self.kind} has no sample size to plan for: plan for a quantile, such as p50")

    def interim(
        self, both: Sources, group: Sequence[MetricSpec], draws: int, rng: np.random.Generator, error: float
    ) -> list[InterimStatistic]:
        """Return the statistics of an interim analysis of `group`. `error`: the error of the drift tests."""
        names = ", ".join(one.name for one in group)
        raise UsageError(f"{names} cannot be tested at an interim analysis: use rtbench compare")

    def against_stored(
        self, source: Source, question: MetricSpec, runs: Sequence[Baseline], rng: np.random.Generator, how: Inference
    ) -> StoredComparison:
        """Compare a target with stored runs."""
        raise UsageError(f"{question.name}: stored baselines do not contain it; use a run as the baseline")


@dataclass(frozen=True)
class MetricSpec:
    """A statistic of a metric, to be compared. `stratum`: None for all turns; `step`: "" for all steps."""

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
        """The values of the first fields of a `MetricSpecEntry`."""
        return (self.metric, self.kind, self.p, *(self.stratum or NO_STRATUM))


def by_sample(questions: Iterable[MetricSpec]) -> list[list[MetricSpec]]:
    """Group specs that need the same sample."""
    groups: dict[tuple[object, ...], list[MetricSpec]] = {}
    for one in questions:
        groups.setdefault((one.kind, one.metric, one.stratum, one.step), []).append(one)
    return list(groups.values())


class MetricSpecEntry(JsonEntry, frozen=True):
    """The statistic, the metric, and the turns of a value."""

    metric: str
    kind: Annotated[str, about("quantile, mean, rate, or typical_change")]
    p: float | None
    measured_from: Annotated[Known, about("the instant that latency is measured from, if a run has several")]
    turn_type: Annotated[Known, about("the turn type; null for regular turns, and if a run has no others")]


def better_direction(question: MetricSpec) -> Better:
    """Return the better direction. Raise UsageError for a metric without one."""
    if question.better == "neither":
        raise UsageError(f"{question.metric} cannot be compared: neither more nor less of it is better")
    return question.better
