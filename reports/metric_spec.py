"""What is asked of a target: a statistic of a metric, of which turns, with which margin; pure."""

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
    """The turns of one target, by cluster: its sessions, or pairs of sessions."""

    @property
    def sessions(self) -> int:
        """How many clusters there are."""

    @property
    def paired(self) -> bool:
        """Whether they are pairs."""

    @property
    def step_names(self) -> list[str]: ...

    def sample(self, question: MetricSpec) -> Sample:
        """Return the values of a metric, failed turns as +inf."""

    def totals(self, question: MetricSpec) -> PerCluster:
        """Return the sum of the values of a metric and their number, by cluster."""

    def counts(self, question: MetricSpec) -> PerCluster:
        """Return the events and the trials of a rate, by cluster."""

    def worst_bound(self, question: MetricSpec) -> float:
        """Return how far a value of a metric is off at most; inf if that is not known."""


class Sources(Protocol):
    """A baseline and a candidate, clustered alike."""

    @property
    def base(self) -> Source: ...

    @property
    def candidate(self) -> Source: ...

    def arms(self, question: MetricSpec, samples: tuple[Sample, Sample]) -> TwoSamples:
        """Return both samples, with their steps if the candidate's are weighted to the baseline's shares."""


class MeasuredDifferences(NamedTuple):
    """What a comparison finds of some questions of one statistic and metric."""

    counts: tuple[TargetCounts, TargetCounts]
    differences: Sequence[Difference | None]
    """one for each question; None where a target has no such value"""


class StoredComparison(NamedTuple):
    """What a comparison with stored runs finds. `runs`: how many of them have the value."""

    runs: int
    counts: tuple[TargetCounts, TargetCounts]
    """of the stored runs the smallest numbers, which say whether they suffice"""
    difference: Difference | None


class Statistic(ABC):
    """What is computed of a metric, a class each: how it is named, measured, limited, compared, and stored.

    What it cannot do raises UsageError that says what to do.
    """

    kind: ClassVar[str]
    per_stratum: ClassVar[bool] = False
    """whether it is computed of each stratum by itself if turns have several"""

    @property
    def p(self) -> float | None:
        """Which quantile it is; None if it is none."""
        return None

    @property
    def aggregate(self) -> str:
        """How a threshold writes it: p(95), rate, avg."""
        return self.kind

    @classmethod
    def aggregates(cls, unit: str) -> tuple[str, ...]:
        """Return how a threshold on a metric of this unit may write it; nothing if no threshold may."""
        return ()

    @classmethod
    def read(cls, aggregate: str) -> Statistic | None:
        """Return the statistic that a threshold names; None if the text is no aggregate of this class."""
        return None

    @abstractmethod
    def title(self, metric: str) -> str:
        """Return the name of the statistic of a metric: ttfa p95."""

    def unit(self, metric: str) -> str:
        return CATALOGUE[metric].unit

    def shown_unit(self, metric: str) -> str:
        """Return its unit as people read it."""
        return self.unit(metric)

    def better(self, metric: str) -> Direction:
        """Return which way is better, if any."""
        return CATALOGUE[metric].better

    def scale(self, metric: str) -> Scale:
        """Return how its differences are shown."""
        return "slope" if CATALOGUE[metric].unit == SLOPE else "ratio"

    @abstractmethod
    def counts(self, source: Source, question: MetricSpec) -> TargetCounts:
        """Return how many turns and sessions of a target it is of."""

    @abstractmethod
    def value(self, source: Source, question: MetricSpec) -> float:
        """Return its value on a target; NaN without turns."""

    @abstractmethod
    def compare(self, both: Sources, group: Sequence[MetricSpec], how: Inference) -> MeasuredDifferences:
        """Compare a candidate with its baseline. `group`: questions that differ in p and margin alone."""

    def shortfall(self, metric: str, turns: int, sessions: int) -> Shortfall | None:
        """Return what there is too little of for its value to be shown."""
        return None

    def nothing_seen(
        self, question: MetricSpec, found: Difference, candidate: TargetCounts
    ) -> InconclusiveReason | None:
        """Return why a comparison is inconclusive if the candidate had none of the events that are counted."""
        return None

    def estimate(self, source: Source, question: MetricSpec) -> ThresholdEstimate:
        """Return its value on a target, with the bounds that decide against a limit."""
        raise UsageError(f"{question.name} has no limit: compare it with a baseline")

    def explain_limit(self, question: MetricSpec, found: ThresholdEstimate, limit: float) -> InconclusiveReason | None:
        """Return why a limit within the bounds is inconclusive, if there is more to say than that."""
        return None

    def worst_bound(self, source: Source, question: MetricSpec) -> float:
        """Return how far its value is off at most; inf if that is not known."""
        return math.inf

    def default_margin(self, metric: str) -> Margin:
        """Return how much worse is accepted if nobody says it."""
        raise UsageError(f"a {self.kind} has no sample size to plan for: plan for a quantile, such as p50")

    def sessions_to_pass(self, margin: Margin, error: float) -> int | None:
        """Return the sessions that it takes to pass even if nothing fails; None if no number does."""
        return 0

    def min_sessions(self, source: Source, question: MetricSpec) -> int:
        """Return the sessions like these that it takes to decide anything."""
        return pairs_needed(None, 1.0)

    def pilot(self, sources: Sequence[Source], question: MetricSpec, effect: float, rng: np.random.Generator) -> Pilot:
        """Return what a pilot run, of one target or of two in pairs, says of the error of a difference."""
        raise UsageError(f"a {self.kind} has no sample size to plan for: plan for a quantile, such as p50")

    def interim(
        self, both: Sources, group: Sequence[MetricSpec], draws: int, rng: np.random.Generator, error: float
    ) -> list[InterimStatistic]:
        """Return what an interim analysis sees. `error`: of the tests of drift; the others are as in `compare`."""
        names = ", ".join(one.name for one in group)
        raise UsageError(f"{names} cannot be tested at an interim analysis: use rtbench compare")

    def against_stored(
        self, source: Source, question: MetricSpec, runs: Sequence[Baseline], rng: np.random.Generator, how: Inference
    ) -> StoredComparison:
        """Compare a target with stored runs."""
        raise UsageError(f"{question.name}: stored baselines do not hold it; name a run as the baseline")


@dataclass(frozen=True)
class MetricSpec:
    """A statistic of a metric. `stratum`: None for all there is; `step`: empty for all."""

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
        """ttfa p95, failure_rate, audio_speed mean."""
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
    def asked(self) -> tuple[str, str, float | None, str, str]:
        """What an `MetricSpecEntry` begins with."""
        return (self.metric, self.kind, self.p, *(self.stratum or NO_STRATUM))


def by_sample(questions: Iterable[MetricSpec]) -> list[list[MetricSpec]]:
    """Group questions that need the same sample."""
    groups: dict[tuple[object, ...], list[MetricSpec]] = {}
    for one in questions:
        groups.setdefault((one.kind, one.metric, one.stratum, one.step), []).append(one)
    return list(groups.values())


class MetricSpecEntry(JsonEntry, frozen=True):
    """Which statistic of which metric and turns a value is."""

    metric: str
    kind: Annotated[str, about("quantile, mean, rate, or typical_change")]
    p: float | None
    measured_from: Annotated[Known, about("what the turns count from, where a run has several")]
    turn_type: Annotated[Known, about("which turns they are; null of plain ones, and where a run has no others")]


def better_of(question: MetricSpec) -> Better:
    """Which way is better. Raises UsageError for a metric of which neither more nor less is."""
    if question.better == "neither":
        raise UsageError(f"{question.metric} cannot be compared: neither more nor less of it is better")
    return question.better
