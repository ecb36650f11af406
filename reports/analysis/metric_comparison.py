"""The comparison of a metric between a candidate and its baseline. Pure.

The difference is measured first, and then gets its verdict. `compare`, `check`, and interim analyses use these classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from bench.catalogue.metrics import CATALOGUE
from reports.metrics.metric_spec import MetricSpec, better_direction
from reports.results.reason import Reason
from reports.statistics.baselines import no_ratio
from reports.statistics.differences import LEVEL, Difference
from reports.statistics.target_counts import TargetCounts
from reports.statistics.verdicts import BECAUSE_OF, NOT_AFTER_HOLM, Verdict, floor_reason, verdicts


@dataclass(frozen=True)
class MeasuredDifference:
    """The difference of one metric between two targets, before it has a verdict.

    Pairs of values have the baseline first.
    """

    spec: MetricSpec
    candidate: str
    difference: Difference | None
    """The difference; None if a target has no value of the metric, or the metric is too uncertain in a run."""
    targets: tuple[TargetCounts, TargetCounts]
    uncertain: Reason | None = None
    """The reason why the metric is too uncertain in a run; None if it is certain enough."""
    unit: Literal["session", "pair"] = "session"
    widened_by: str = ""
    """The maximum errors of values for which the bounds of the difference allow, as text; "" if exact."""

    def floor(self, baseline: str) -> Reason | None:
        """Return the reason why the metric cannot be decided; None if it can be decided.

        The reasons are an uncertain metric, no or too few turns, and a baseline of 0, to which there is no ratio.
        """
        if self.uncertain:
            return self.uncertain
        names = [baseline, self.candidate]
        if lacking := [name for name, target in zip(names, self.targets, strict=True) if not target.turns]:
            return Reason("no_turns", {"metric": self.spec.metric, "targets": lacking})
        counts = [(target.turns, target.sessions, target.effective_sessions) for target in self.targets]
        turns, sessions, effective_sessions = zip(*counts, strict=True)
        reason = floor_reason(self.spec.p, turns, sessions, self.unit, names, effective_sessions)
        if reason and reason.unit == "turn" and CATALOGUE[self.spec.metric].scope == "session":
            return Reason(reason.code, reason.numbers | {"unit": "session"})
        return reason or (Reason("no_ratio") if self.difference and no_ratio(self.difference) else None)


@dataclass(frozen=True, kw_only=True)
class MetricComparison(MeasuredDifference):
    """The comparison of one metric of one candidate, with its verdict."""

    verdict: Verdict
    analysis: int | None = None
    """The number of the interim analysis that decided the metric, from 1."""
    corrected: float = math.nan
    """The difference at an interim analysis, corrected for the bias of stopping early; NaN without interim analyses."""
    baseline: str = "the baseline"
    peers: bool = False
    """True if two services are compared and neither is the baseline of the other.

    The verdicts are then "slower" and "faster", not "regressed" and "improved".
    """

    @property
    def direction(self) -> Literal["worse", "better", ""]:
        """The direction of the difference if the whole interval is on one side of 0; the margin does not matter.

        It is "" if the interval contains 0, or if there are too few data.
        """
        difference = self.difference
        if difference is None or self.verdict.reason not in (None, NOT_AFTER_HOLM, *BECAUSE_OF.values()):
            return ""
        if difference.low > 0 or difference.high < 0:
            return "worse" if (difference.low > 0) == (better_direction(self.spec) == "lower") else "better"
        return ""

    @property
    def required_sessions(self) -> float:
        """The approximate number of sessions per target (or of pairs) that would decide the metric.

        It is inf if no number would decide the metric, and NaN if it is decided.
        """
        verdict, reason = self.verdict, self.verdict.reason
        if verdict.name != "inconclusive":
            return math.nan
        if reason and reason.code == "too_few":
            turns_per_session = (
                [n / g for n, g in zip(self.turns, self.sessions, strict=True) if g] if reason.unit == "turn" else []
            )
            return math.ceil(reason.needed / min(turns_per_session, default=1.0))
        difference = self.difference
        if difference is not None and verdict.more_sessions:
            return max(self.sessions) + verdict.more_sessions
        bounded = difference is not None and math.isfinite(difference.low) and math.isfinite(difference.high)
        return math.inf if bounded and (not reason or reason.code == "none_seen") else math.nan

    @property
    def turns(self) -> tuple[int, int]:
        """The number of turns of the baseline and of the candidate. Every pair in this class has the baseline first."""
        return self.targets[0].turns, self.targets[1].turns

    @property
    def sessions(self) -> tuple[int, int]:
        return self.targets[0].sessions, self.targets[1].sessions

    @property
    def failed(self) -> tuple[int, int]:
        return self.targets[0].failed, self.targets[1].failed

    @property
    def completed_shares(self) -> tuple[float, float]:
        return self.targets[0].completed_share, self.targets[1].completed_share

    @property
    def shortfalls(self) -> tuple[Reason | None, Reason | None]:
        """For each target, how many turns or sessions its value lacks to be shown.

        A shortfall is None if the value has enough of them. Both are None if the metric is decided or has no
        difference.
        """
        if self.difference is None or self.verdict.name != "inconclusive":
            return None, None
        statistic, metric = self.spec.statistic, self.spec.metric
        base, candidate = (statistic.shortfall(metric, target.turns, target.sessions) for target in self.targets)
        return base, candidate

    @property
    def shortfall(self) -> Reason | None:
        """The larger of the two shortfalls, relative to the number that is needed; None without a shortfall."""
        return min(filter(None, self.shortfalls), key=lambda one: one.there / one.needed, default=None)

    @property
    def published(self) -> Difference | None:
        """The difference; None if it does not exist, or if a target has too few turns or sessions to show it."""
        return None if self.shortfall else self.difference


def add_verdicts(
    differences: Sequence[MeasuredDifference], baseline: str, *, level: float = LEVEL
) -> list[MetricComparison]:
    """Return each measured difference with its verdict. Holm's correction covers only the primary metrics.

    `baseline` is the name of the baseline, which the texts of reasons use.
    """
    judged = verdicts(
        [measurement.difference for measurement in differences],
        [measurement.spec.primary for measurement in differences],
        [measurement.floor(baseline) for measurement in differences],
        level=level,
    )
    findings = []
    for measurement, verdict in zip(differences, judged, strict=True):
        if verdict.name == "inconclusive" and not verdict.reason and measurement.difference:
            unseen = measurement.spec.statistic.nothing_seen(
                measurement.spec, measurement.difference, measurement.targets[1]
            )
            if needed := measurement.difference.baseline_sessions:
                unseen = Reason("few_baseline", {"needed": needed, "there": [measurement.targets[0].sessions]})
            verdict = replace(verdict, reason=unseen)
        findings.append(MetricComparison(**vars(measurement), verdict=verdict, baseline=baseline))
    return findings


def provisional(finding: MetricComparison) -> MetricComparison:
    """Return the comparison with a provisional verdict. It depends on an assumption that more runs would test."""
    return replace(finding, verdict=replace(finding.verdict, provisional=True))
