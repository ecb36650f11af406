"""The specification of a value to compare: its statistic, its metric, its turns, and its margin.
Pure.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

import numpy as np

from bench.base.errors import UsageError
from bench.catalogue.metrics import CATALOGUE, SLOPE
from bench.catalogue.metrics import Better as Direction
from reports.formatting import NBSP, format_number
from reports.metrics.strata import NO_STRATUM, Stratum
from reports.results.json_entries import JsonEntry, Known
from reports.statistics.differences import Better, Difference, Inference, Margin
from reports.statistics.threshold_estimate import TAIL, TargetCounts, ThresholdEstimate

if TYPE_CHECKING:
    from reports.metrics.stored import Baseline
    from reports.results.value import Reason, Scale, Sign
    from reports.statistics.arms import TwoSamples
    from reports.statistics.group_sequential import InterimStatistic
    from reports.statistics.power import Pilot
    from reports.statistics.quantiles import Sample
    from reports.statistics.rates import PerCluster

POINTS = 0.01
"""One percentage point: the default margin of a rate, and the minimum difference of shares that
is reported."""
NO_MARGIN = Margin()
WRITTEN_NUMBER = r"\d{1,18}(?:\.\d{1,18})?|\.\d{1,18}"
"""The pattern of a number in a threshold. `int` and `float` refuse many more digits."""


class Source(Protocol):
    """The turns of one target, grouped by cluster. A cluster is a session, or a pair of
    sessions.
    """

    @property
    def sessions(self) -> int:
        """The number of clusters."""

    @property
    def paired(self) -> bool:
        """True if the clusters are pairs."""

    @property
    def step_names(self) -> list[str]: ...

    def sample(self, spec: MetricSpec) -> Sample:
        """Return the values of a metric; +inf for a failed turn."""

    def totals(self, spec: MetricSpec) -> PerCluster:
        """Return for each cluster the sum of the values of a metric and the number of values."""

    def counts(self, spec: MetricSpec) -> PerCluster:
        """Return for each cluster the events and the trials of a rate."""

    def in_time(self, spec: MetricSpec, deadline: float) -> PerCluster:
        """Return for each cluster the turns that have a metric by a deadline, and all turns that
        should have it.
        """

    def of_parts(self, metric: str, tail: float) -> ThresholdEstimate:
        """Return a value of a run with a peak of load, or with events, with bounds of this type I
        error.
        """


class Sources(Protocol):
    """A baseline and a candidate that have the same kind of clusters."""

    @property
    def base(self) -> Source: ...

    @property
    def candidate(self) -> Source: ...

    @property
    def is_weighted_by_number(self) -> bool:
        """True if the sessions of both targets differ in length, so that turns are weighted by
        their number.
        """

    @property
    def weighted(self) -> tuple[Source, Source]:
        """The baseline and the candidate, with weighted turns in rates and means if sessions
        differ in length.
        """

    def targets(self, spec: MetricSpec) -> TwoSamples:
        """Return the samples of both targets.

        The steps are included if the candidate's turns must be weighted to the shares that the
        steps, or the steps and the turn numbers, have in the baseline.
        """


class MeasuredDifferences(NamedTuple):
    """The result of a comparison for several specs that have the same statistic and metric.

    `differences` has one difference for each spec; None if a target has no value of the metric.
    """

    counts: tuple[TargetCounts, TargetCounts]
    differences: Sequence[Difference | None]


class StoredComparison(NamedTuple):
    """The result of a comparison with stored runs. `runs` is the number of stored runs that have
    the metric.

    `counts` has the counts of the stored runs and of the target. Those of the stored runs are the
    smallest counts of any of these runs, so that they show whether every run has enough.
    """

    runs: int
    counts: tuple[TargetCounts, TargetCounts]
    difference: Difference | None


class Statistic(ABC):
    """A kind of statistic of a metric, such as a quantile, which computes and compares values.

    A method raises UsageError with a remedy if the kind of statistic does not support it.
    """

    kind: ClassVar[str]
    per_stratum: ClassVar[bool] = False
    """True if the statistic is computed separately for each stratum of turns."""
    is_monotone: ClassVar[bool] = False
    """True if the statistic never decreases, or never increases, when a value of the metric
    increases."""

    has_extremes: ClassVar[bool] = False
    """True if the statistic has a lowest and a highest value over all possible scores of unscored
    turns."""

    is_grouped: ClassVar[bool] = False
    """True if all statistics of this kind on a metric are compared together, from one sample."""

    @property
    def p(self) -> float | None:
        """The level of the quantile; None if the statistic is no quantile."""
        return None

    @property
    def deadline_ms(self) -> float | None:
        """The deadline of a share of turns by a deadline; None for other statistics."""
        return None

    @property
    def aggregate(self) -> str:
        """The name of the statistic in a threshold, such as `p(95)`, `rate`, or `avg`."""
        return self.kind

    @classmethod
    def aggregates(cls, unit: str, better: Direction) -> tuple[str, ...]:
        """Return the names of the statistic in thresholds on a metric; () if it has none.

        `unit` is the unit of the metric, and `better` is its better direction.
        """
        return ()

    @classmethod
    def read(cls, aggregate: str) -> Statistic | None:
        """Return the statistic that a threshold names; None if the text names no statistic of
        this class.
        """
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
        """Return which values of the statistic are better: `lower`, `higher`, or `neither`."""
        return CATALOGUE[metric].better

    def scale(self, metric: str) -> Scale:
        """Return the scale on which two values of the statistic are compared."""
        return "slope" if CATALOGUE[metric].unit == SLOPE else "ratio"

    @abstractmethod
    def counts(self, source: Source, spec: MetricSpec) -> TargetCounts:
        """Return how many turns and sessions of a target the statistic is computed from."""

    @abstractmethod
    def value(self, source: Source, spec: MetricSpec) -> float:
        """Return the value of the statistic for a target; NaN if the target has no such turns."""

    def compare(
        self, sources: Sources, group: Sequence[MetricSpec], inference: Inference
    ) -> MeasuredDifferences:
        """Compare a candidate with its baseline. The specs in `group` differ only in quantile
        level and margin.
        """
        counts = self.counts(sources.base, group[0]), self.counts(sources.candidate, group[0])
        if not (counts[0].turns and counts[1].turns):
            return MeasuredDifferences(counts, [None] * len(group))
        return MeasuredDifferences(counts, self.differences(sources, group, inference))

    def differences(
        self, sources: Sources, group: Sequence[MetricSpec], inference: Inference
    ) -> Sequence[Difference | None]:
        """Return the difference of each spec of a group. Both targets have values."""
        raise NotImplementedError

    def shortfall(self, metric: str, turns: int, sessions: int) -> Reason | None:
        """Return how many more turns or sessions the value needs to be displayed; None if there
        are enough.
        """
        return None

    def bad_event(self, metric: str) -> str:
        """Return the name of the events that a pass must exclude, as `metric` of a reason; "" if
        unnamed.
        """
        return ""

    def nothing_seen(
        self, spec: MetricSpec, difference: Difference, candidate: TargetCounts
    ) -> Reason | None:
        """Return the reason if a comparison is inconclusive because the candidate had no event;
        None otherwise.
        """
        return None

    def estimate(self, source: Source, spec: MetricSpec, tail: float = TAIL) -> ThresholdEstimate:
        """Return the value of the statistic for a target, and the bounds that are compared with a
        limit.

        `tail` is the type I error of each bound.
        """
        raise UsageError(f"{spec.name} has no limit: compare it with a baseline")

    def explain_limit(
        self, spec: MetricSpec, estimate: ThresholdEstimate, limit: float
    ) -> Reason | None:
        """Return a specific reason why a limit that lies between the bounds is inconclusive;
        None if there is none.
        """
        return None

    def allowed_misses(self, sign: Sign, limit: float) -> float | None:
        """Return the share of turns that may miss a limit; None if the statistic states no share
        of turns.
        """
        return None

    def misses(self, source: Source, spec: MetricSpec, sign: Sign, limit: float) -> PerCluster:
        """Return for each cluster the turns that miss a limit, and all turns. `allowed_misses`
        states their share.
        """
        raise NotImplementedError

    def lost_shares(
        self, source: Source, spec: MetricSpec, limit: float
    ) -> tuple[float, float] | None:
        """Return two shares of sessions whose turns all fail, although no session of the run did.

        From the first share on, the value would be above an upper limit. The second is the upper
        bound of the share. Return None if no session can matter that a run has none of by chance.
        """
        return None

    def default_margin(self, metric: str) -> Margin:
        """Return the margin that is used if the user gives no margin."""
        raise UsageError(
            f"a {self.kind} has no sample size to plan for: plan for a quantile, such as p50"
        )

    def sessions_to_pass(self, margin: Margin, error: float) -> int | None:
        """Return how many sessions are needed to pass if no turn fails; None if no number of
        sessions is enough.
        """
        return 0

    def min_sessions(self, source: Source, spec: MetricSpec) -> int:
        """Return the minimum number of sessions for a decision, if the sessions are like those
        of `source`.
        """
        from reports.statistics.group_sequential import pairs_needed

        return pairs_needed(None, 1.0)

    def pilot(
        self, sources: Sequence[Source], spec: MetricSpec, effect: float, rng: np.random.Generator
    ) -> Pilot:
        """Return the variance of a difference, estimated from a pilot run.

        `sources` has one target, or two targets whose sessions are paired.
        """
        raise UsageError(
            f"a {self.kind} has no sample size to plan for: plan for a quantile, such as p50"
        )

    def interim(
        self, sources: Sources, group: Sequence[MetricSpec], inference: Inference, error: float
    ) -> list[InterimStatistic]:
        """Return the statistic of each spec at an interim analysis. Only the resamples and the seed
        of `inference` are used. `error` is the type I error of the drift tests.
        """
        names = ", ".join(spec.name for spec in group)
        raise UsageError(f"{names} cannot be tested at an interim analysis: use rtbench compare")

    def against_stored(
        self,
        source: Source,
        spec: MetricSpec,
        runs: Sequence[Baseline],
        inference: Inference,
    ) -> StoredComparison:
        """Compare a target with stored runs."""
        raise UsageError(
            f"{spec.name}: stored baselines contain no {self.kind}; use a run as the baseline"
        )


@dataclass(frozen=True)
class MetricSpec:
    """A value to compare. `stratum` is None for all turns. `step` is "" for all steps."""

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
        """The displayed name, such as `ttfa p95`, `failure_rate`, or `audio_speed mean`."""
        return self.statistic.title(f"{self.metric} {self.step}".rstrip())

    @property
    def title(self) -> str:
        """The name with the turns, such as `ttfa p95 from end of speech, with function calls` or
        `failure_rate`.
        """
        if self.stratum is None:
            return self.name
        since = self.stratum.measured_from_text
        if not since:
            return f"{self.name} of {self.stratum.turns}"
        start = CATALOGUE[self.metric].begin if self.metric in CATALOGUE else ""
        return f"{self.name} {'' if start == 'measured_from' else 'of turns '}{since}"

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

    def margin_text(self, *, sign: bool = False) -> str:
        """Return the margin as a text, such as `20 %`, `30 ms`, `20 % and 30 ms`, or `1 point`.

        `sign` adds the sign that a threshold has. If more is better, the margin limits a decrease:
        10 % is a ratio of 1/0.9.
        """
        accepted = self.margin
        if self.scale == "points":
            size = 100 * accepted.points
            more = "−" if self.better == "higher" else "+"
            return (
                f"{more if sign else ''}{format_number(size)}{NBSP}point"
                f"{'' if round(size, 9) == 1 else 's'}"
            )
        if self.better == "higher":
            return (
                f"{'−' if sign else ''}{format_number(100 * (1 - 1 / (1 + accepted.ratio)))}{NBSP}%"
            )
        parts = (
            [f"{format_number(100 * accepted.ratio)}{NBSP}%"]
            if accepted.ratio or not accepted.plus
            else []
        )
        parts += [f"{format_number(accepted.plus)}{NBSP}{self.unit}"] if accepted.plus else []
        return " and ".join(f"{'+' if sign else ''}{text}" for text in parts)

    @property
    def statistic_name(self) -> str:
        """The name of the statistic in a `Value`, such as `p95`, `rate`, or `within(2000)`."""
        if self.statistic.deadline_ms:
            return self.statistic.aggregate
        return f"p{100 * self.p:g}" if self.p else self.kind

    @property
    def entry_fields(self) -> dict[str, Any]:
        own = {
            "metric": self.metric,
            "kind": self.kind,
            "p": self.p,
            "deadline_ms": self.statistic.deadline_ms,
        }
        return own | (self.stratum or NO_STRATUM)._asdict()


def by_sample(specs: Iterable[MetricSpec]) -> list[list[MetricSpec]]:
    """Group the specs that need the same sample."""
    groups: dict[tuple[object, ...], list[MetricSpec]] = {}
    for spec in specs:
        key = (
            spec.kind if spec.statistic.is_grouped else spec.statistic,
            spec.metric,
            spec.stratum,
            spec.step,
        )
        groups.setdefault(key, []).append(spec)
    return list(groups.values())


class MetricSpecEntry(JsonEntry):
    """The statistic, the metric, and the turns of a value."""

    metric: str
    kind: str
    """the kind of statistic, such as quantile, mean, or rate"""
    p: float | None
    measured_from: Known
    """the instant that latency is measured from, if a run has several"""
    turn_type: Known
    """the turn type; null for regular turns, and if a run has no others"""
    deadline_ms: float | None
    """of within, the share of turns that have the metric by a deadline"""


def better_direction(spec: MetricSpec) -> Better:
    """Return which values of the metric are better: `lower` or `higher`. Raise UsageError if
    neither is better.
    """
    if spec.better == "neither":
        raise UsageError(f"{spec.metric} cannot be compared: neither more nor less of it is better")
    return spec.better
