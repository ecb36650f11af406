"""The share of turns (or sessions) that have a metric by a deadline, such as the turns that were
answered within 2 s.

It is a rate, of which more is better, so its inference is that of rates. A turn that failed or did
not start is late, as in quantiles. So p(95)<2000 and within(2000)>0.95 ask the same, but they print
a time and a share.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import ClassVar

from bench.base.errors import UsageError
from bench.catalogue.metrics import CATALOGUE
from bench.catalogue.metrics import Better as Direction
from bench.files.sanitize import excerpt
from reports.metrics.metric_spec import WRITTEN_NUMBER, MetricSpec, Source, StoredComparison
from reports.metrics.rate_metrics import MIN_RATE_UNITS
from reports.metrics.statistic_types.rate import Rate
from reports.metrics.stored import Baseline
from reports.results.value import Counted, Reason, too_few_to_print
from reports.statistics.differences import Inference
from reports.statistics.rates import PerCluster
from reports.statistics.threshold_estimate import TAIL, TargetCounts, ThresholdEstimate, of_turns
from reports.statistics.verdicts import LATE

_WRITTEN = re.compile(rf"within\(\s*({WRITTEN_NUMBER})\s*(ms|s)?\s*\)")


@dataclass(frozen=True)
class Within(Rate):
    """The share of turns whose value is at most `deadline`, in ms."""

    kind: ClassVar[str] = "within"
    per_stratum: ClassVar[bool] = True
    is_monotone: ClassVar[bool] = True
    deadline: float

    @property
    def deadline_ms(self) -> float:
        return self.deadline

    @property
    def aggregate(self) -> str:
        return f"within({self.deadline:.12g})"

    @classmethod
    def aggregates(cls, unit: str, better: Direction) -> tuple[str, ...]:
        return ("within(N)",) if (unit, better) == ("ms", "lower") else ()

    @classmethod
    def read(cls, aggregate: str) -> Within | None:
        match = _WRITTEN.fullmatch(aggregate)
        if match is None:
            return None
        deadline = float(Fraction(match[1]) * (1000 if match[2] == "s" else 1))
        if not deadline:
            raise UsageError(
                f'"{excerpt(aggregate, 60)}" is not a deadline: N of within(N) must be more than'
                " 0 ms"
            )
        return Within(deadline)

    def title(self, metric: str) -> str:
        return f"{metric} within {self.deadline:,.12g} ms"

    def better(self, metric: str) -> Direction:
        return "higher"

    def of_words(self, metric: str) -> bool:
        return False

    def bad_event(self, metric: str) -> str:
        return LATE[CATALOGUE[metric].scope]

    def events(self, source: Source, spec: MetricSpec) -> PerCluster:
        return source.in_time(spec, self.deadline)

    def counts(self, source: Source, spec: MetricSpec) -> TargetCounts:
        return of_turns(self.events(source, spec)[1], source.sample(spec).failed)

    def shortfall(self, metric: str, turns: int, sessions: int) -> Reason | None:
        unit: Counted = "session" if CATALOGUE[metric].scope == "session" else "turn"
        return too_few_to_print(unit, MIN_RATE_UNITS, turns) if turns < MIN_RATE_UNITS else None

    def estimate(self, source: Source, spec: MetricSpec, tail: float = TAIL) -> ThresholdEstimate:
        estimate = super().estimate(source, spec, tail)
        return replace(estimate, counts=replace(estimate.counts, failed=source.sample(spec).failed))

    def against_stored(
        self,
        source: Source,
        spec: MetricSpec,
        runs: Sequence[Baseline],
        inference: Inference,
    ) -> StoredComparison:
        raise UsageError(
            f"{spec.name}: stored baselines contain no shares by a deadline; use a run as the"
            " baseline, or a threshold on a quantile"
        )
