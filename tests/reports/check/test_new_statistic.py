"""A new kind of statistic is a class and its row in `STATISTICS`. All other code asks its
methods.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from bench.base.errors import UsageError
from bench.catalogue.metrics import Better
from reports.analysis.check.check import check_of
from reports.analysis.sample_size import power_spec
from reports.analysis.trends.trend import trend_spec
from reports.metrics import thresholds
from reports.metrics.metric_spec import MeasuredDifferences, MetricSpec, Source, Sources, Statistic
from reports.metrics.statistic_types.mean import estimate_mean
from reports.statistics.autocorrelation import mean_by_order
from reports.statistics.differences import Inference
from reports.statistics.rates import ClusterTotals, PerCluster
from reports.statistics.threshold_estimate import TAIL, TargetCounts, ThresholdEstimate, of_sample
from rtbench.capacity.load_thresholds import allowed_share
from tests.reports.synthetic import Plan, write

BASELINE = "20261119T091400Z-voice_turns"


@dataclass(frozen=True)
class Trimmed(Statistic):
    """The mean without a share of the slowest turns, which include the failed ones."""

    kind: ClassVar[str] = "trimmed"
    per_stratum: ClassVar[bool] = True
    share: float

    @property
    def aggregate(self) -> str:
        return f"trimmed({self.share:g})"

    @classmethod
    def aggregates(cls, unit: str, better: Better) -> tuple[str, ...]:
        return ("trimmed(N)",) if unit == "ms" else ()

    @classmethod
    def read(cls, aggregate: str) -> Trimmed | None:
        match = re.fullmatch(r"trimmed\((0\.\d+)\)", aggregate)
        return Trimmed(float(match[1])) if match else None

    def title(self, metric: str) -> str:
        return f"{metric} {self.aggregate}"

    def totals(self, source: Source, spec: MetricSpec) -> PerCluster:
        sample = source.sample(spec)
        fast = slice(sample.n - math.ceil(self.share * sample.n))
        sessions = sample.sessions[fast]
        turns = np.bincount(sessions, minlength=source.sessions).astype(np.float64)
        return np.bincount(sessions, sample.values[fast], source.sessions).astype(np.float64), turns

    def counts(self, source: Source, spec: MetricSpec) -> TargetCounts:
        return of_sample(source.sample(spec))

    def value(self, source: Source, spec: MetricSpec) -> float:
        amounts, turns = self.totals(source, spec)
        return float(amounts.sum() / turns.sum())

    def compare(
        self, sources: Sources, group: Sequence[MetricSpec], inference: Inference
    ) -> MeasuredDifferences:
        both = sources.base, sources.candidate
        base, candidate = (self.totals(source, group[0]) for source in both)
        sums, (spec,) = ClusterTotals(base, candidate, sources.base.paired), group
        counts = self.counts(both[0], spec), self.counts(both[1], spec)
        return MeasuredDifferences(counts, [mean_by_order(sums, spec.margin, "lower", inference)])

    def estimate(self, source: Source, spec: MetricSpec, tail: float = TAIL) -> ThresholdEstimate:
        return estimate_mean(self.totals(source, spec), tail)


@pytest.fixture(autouse=True)
def _trimmed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thresholds, "STATISTICS", (*thresholds.STATISTICS, Trimmed))


def test_a_check_decides_limits_and_margins_of_a_new_statistic(tmp_path: Path) -> None:
    run = write(tmp_path / "run", Plan(sessions=60, turns=5, median_ms=900))
    base = write(tmp_path / "base", Plan(sessions=60, turns=5, median_ms=500), run_id=BASELINE)
    texts = ("trimmed(0.1)<5s", "trimmed(0.3)<100", "trimmed(0.1)<+10%")
    checked = check_of(run, [thresholds.parse("ttfa", text) for text in texts], str(base))

    assert {item.threshold: item.result for item in checked.thresholds} == {
        "ttfa: trimmed(0.1)<5s": "pass",
        "ttfa: trimmed(0.3)<100": "fail",
        "ttfa: trimmed(0.1)<+10%": "fail",
    }


def test_commands_refuse_a_statistic_that_does_not_support_them() -> None:
    with pytest.raises(UsageError, match="a trimmed has no sample size"):
        power_spec("ttfa:trimmed0.1", None, None, 0.9, 3)
    with pytest.raises(UsageError, match="is not in the summaries of runs"):
        trend_spec("ttfa:trimmed0.1")
    with pytest.raises(UsageError, match=r"trimmed\(0.1\) states no share of turns"):
        allowed_share(thresholds.parse("ttfa", "trimmed(0.1)<800"))
