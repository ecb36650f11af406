"""A figure of a candidate against a baseline's, measured, then judged: the same in compare, check and decide; pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from reports.metric_spec import MetricSpec, better_of
from reports.statistics.baselines import no_ratio
from reports.statistics.differences import LEVEL, Difference
from reports.statistics.quantiles import Shortfall
from reports.statistics.target_counts import TargetCounts
from reports.statistics.verdicts import BECAUSE_OF, NOT_AFTER_HOLM, InconclusiveReason, Verdict, floor_reason, verdicts


@dataclass(frozen=True)
class MeasuredDifference:
    """A figure of both targets, the baseline first, of which nothing is said yet."""

    question: MetricSpec
    candidate: str
    difference: Difference | None
    """None if a target has no such figure, or it is uncertain in a run"""
    arms: tuple[TargetCounts, TargetCounts]
    inexact: str = ""
    unit: Literal["session", "pair"] = "session"

    def floor(self, baseline: str) -> InconclusiveReason | None:
        """Why it decides nothing, where there is too little of it, or the baseline is 0, so there is no ratio."""
        if self.inexact:
            return InconclusiveReason("uncertain", text=self.inexact)
        names = [baseline, self.candidate]
        if lacking := [name for name, arm in zip(names, self.arms, strict=True) if not arm.turns]:
            return InconclusiveReason("no_turns", arms=tuple(lacking), metric=self.question.metric)
        counts = [(arm.turns, arm.sessions, arm.effective_sessions) for arm in self.arms]
        turns, sessions, effective_sessions = zip(*counts, strict=True)
        few = floor_reason(self.question.p, turns, sessions, self.unit, names, effective_sessions)
        return few or (InconclusiveReason("no_ratio") if self.difference and no_ratio(self.difference) else None)


ExitStatus = Literal[0, 1, 3, 4]
Result = Literal["pass", "fail", "inconclusive", "not_evaluated"]
RESULT_OF_STATUS: dict[ExitStatus, Result] = {0: "pass", 1: "fail", 3: "inconclusive", 4: "not_evaluated"}
"""The result that each exit status of a verdict stands for."""


@dataclass(frozen=True, kw_only=True)
class MetricComparison(MeasuredDifference):
    """The answer to one question about one candidate."""

    verdict: Verdict
    look: int | None = None
    """the interim analysis that decided it, from 1"""
    corrected: float = math.nan
    """of an interim analysis: the difference without what stopping early adds to it"""
    baseline: str = "the baseline"
    peers: bool = False
    """whether two services are compared, neither the other's baseline: slower and faster, not regressed and improved"""

    @property
    def known(self) -> Literal["worse", "better", ""]:
        """On which side of "same" the whole interval lies, whatever the margin; nothing where too little was seen."""
        found = self.difference
        if found is None or self.verdict.reason not in (None, NOT_AFTER_HOLM, *BECAUSE_OF.values()):
            return ""
        if found.low > 0 or found.high < 0:
            return "worse" if (found.low > 0) == (better_of(self.question) == "lower") else "better"
        return ""

    @property
    def needed(self) -> float:
        """About how many sessions of each arm, or pairs, would settle it; inf if none would, NaN if it is settled."""
        verdict, reason = self.verdict, self.verdict.reason
        if verdict.name != "inconclusive":
            return math.nan
        if reason and reason.kind == "too_few":
            each = [n / g for n, g in zip(self.turns, self.sessions, strict=True) if g] if reason.unit == "turn" else []
            return math.ceil(reason.needed / min(each, default=1.0))
        found = self.difference
        if found is not None and verdict.more_sessions:
            return max(self.sessions) + verdict.more_sessions
        bounded = found is not None and math.isfinite(found.low) and math.isfinite(found.high)
        return math.inf if bounded and (not reason or reason.kind == "none_seen") else math.nan

    @property
    def turns(self) -> tuple[int, int]:
        """Of the baseline and of the candidate, as all such pairs."""
        return self.arms[0].turns, self.arms[1].turns

    @property
    def sessions(self) -> tuple[int, int]:
        return self.arms[0].sessions, self.arms[1].sessions

    @property
    def failed(self) -> tuple[int, int]:
        return self.arms[0].failed, self.arms[1].failed

    @property
    def reached(self) -> tuple[float, float]:
        return self.arms[0].completed_share, self.arms[1].completed_share

    @property
    def shortfalls(self) -> tuple[Shortfall | None, Shortfall | None]:
        """What either target has too few of for its value to be shown; nothing if it is decided all the same."""
        if self.difference is None or self.verdict.name != "inconclusive":
            return None, None
        statistic, metric = self.question.statistic, self.question.metric
        base, candidate = (statistic.shortfall(metric, arm.turns, arm.sessions) for arm in self.arms)
        return base, candidate

    @property
    def shortfall(self) -> Shortfall | None:
        """That of the target that has less of what it needs."""
        return min(filter(None, self.shortfalls), key=lambda one: one.there / one.needs, default=None)

    @property
    def published(self) -> Difference | None:
        """The difference; None as well if a value may not be shown."""
        return None if self.shortfall else self.difference


def add_verdicts(
    measured: Sequence[MeasuredDifference], baseline: str, *, level: float = LEVEL
) -> list[MetricComparison]:
    """Return each with its verdict, by Holm's correction over the primary ones. `baseline`: its name in reasons."""
    judged = verdicts(
        [one.difference for one in measured],
        [one.question.primary for one in measured],
        [one.floor(baseline) for one in measured],
        level=level,
    )
    found = []
    for one, verdict in zip(measured, judged, strict=True):
        if verdict.name == "inconclusive" and not verdict.reason and one.difference:
            unseen = one.question.statistic.nothing_seen(one.question, one.difference, one.arms[1])
            verdict = replace(verdict, reason=unseen)
        found.append(MetricComparison(**vars(one), verdict=verdict, baseline=baseline))
    return found


def provisional(finding: MetricComparison) -> MetricComparison:
    """The same, where something was assumed that more runs would tell."""
    return replace(finding, verdict=replace(finding.verdict, provisional=True))
