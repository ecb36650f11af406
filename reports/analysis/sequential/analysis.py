"""Interim analyses of a comparison: the rules that find the deciding analysis and its result. Pure.

Analysis k uses the first g_k pairs that started. For each gate (a primary metric), z is the number of standard errors
by which the candidate is beyond the margin. c_k(a) is the critical value from `reports.statistics.group_sequential`.
The result, its condition, and its effect on the run are:

    regressed       z ≥ c_k(a / number of gates), the others by Holm's step-down          the run stops, exit status 1
    not regressed   the upper bound at c_k(a) is below the margin; a pass is final        all of them: it stops, 0
    futile          it would stay inconclusive at N, and no target drifts or has bursts   it stops, 3
    last analysis   none of these                                                         it stops, 3
    invalid         the targets may not be compared, regardless of the gates              it stops, 4
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from reports.results.reason import Reason
from reports.results.verdict import VerdictName
from reports.statistics import group_sequential
from reports.statistics.autocorrelation import EARLY, FOUND
from reports.statistics.interim import InterimStatistic
from reports.statistics.verdicts import step_down

End = Literal[
    "regressed", "not_regressed", "futility", "final_analysis", "invalid", "pending", "stopped_by_user", "no_analysis"
]
"""The reason why no further analysis follows.

`pending`: a further analysis will follow. `no_analysis`: the run ended before the first analysis was possible.
"""


@dataclass(frozen=True)
class AnalysisSchedule:
    """The plan of the interim analyses, made before the first session starts.

    - `pairs` is the maximum number of pairs.
    - `sizes` is the number of pairs at each analysis.
    - `primary_metrics` is the number of gates.
    - `level` is the one-sided type I error.
    """

    pairs: int
    sizes: tuple[int, ...]
    primary_metrics: int
    level: float = 0.05

    @property
    def shares(self) -> tuple[float, ...]:
        return tuple(size / self.pairs for size in self.sizes)

    def dependence_error(self, pairs: int) -> float:
        """Return the type I error of each test for drift and bursts at the analysis of `pairs` pairs."""
        return EARLY if pairs < self.sizes[-1] else FOUND


@dataclass(frozen=True)
class InterimAnalysis:
    """An interim analysis that was made.

    - `statistics` has the statistic of each gate.
    - `c` is the critical value c_k(a), at which a gate passes.
    - `c_first` is the critical value c_k(a / gates), which at least one gate must reach if any is to fail.
    """

    pairs: int
    statistics: tuple[InterimStatistic, ...]
    c: float
    c_first: float


@dataclass(frozen=True)
class MetricDecision:
    """The decision on one gate.

    - `analysis` is the index of the analysis that decided it, from 0.
    - `d` is the difference at this analysis. `low` and `high` are its bounds, and `corrected` is its corrected
    estimate.
    """

    verdict: VerdictName
    reason: Reason | None
    analysis: int
    d: float
    low: float
    high: float
    corrected: float
    provisional: bool = False
    """True if drift or bursts of this gate were found at the analysis that decided it."""


@dataclass(frozen=True)
class SequentialResult:
    """All analyses up to the deciding one, the reason for the end, and the decision on each gate."""

    analyses: tuple[InterimAnalysis, ...]
    reason: End
    decisions: tuple[MetricDecision, ...]

    @property
    def stopped(self) -> bool:
        return self.reason != "pending"


def run_analyses(
    schedule: AnalysisSchedule,
    compute_statistics: Callable[[int], Sequence[InterimStatistic]],
    complete: int,
    end: Literal["", "by hand", "blind"] = "",
    *,
    unfit: Callable[[int], object] = lambda pairs: False,
) -> SequentialResult:
    """Make the first `complete` planned analyses, one after another, until one of them decides.

    - `compute_statistics` returns the statistics of all gates, given the number of pairs.
    - `unfit` returns why the targets cannot be compared, given the number of pairs. The result is false if they can.
    - `end` is the reason why the run has ended; empty if it continues. "by hand": a person who could see results ended
    it. Then only a metric that crossed its critical value is decided. "blind": the end did not depend on results. Then,
    if no analysis has decided, the last complete analysis becomes the final one, and spends all the remaining error.
    """
    if not complete:
        return SequentialResult((), "no_analysis" if end else "pending", ())
    cached_statistics = lru_cache(maxsize=None)(lambda pairs: tuple(compute_statistics(pairs)))
    result = _evaluate_analyses(
        schedule, cached_statistics, unfit, complete, schedule.shares, "stopped_by_user" if end else "pending"
    )
    if end != "blind" or result.reason != "stopped_by_user":
        return result
    return _evaluate_analyses(
        schedule, cached_statistics, unfit, complete, schedule.shares[:complete], "final_analysis"
    )


def _evaluate_analyses(
    schedule: AnalysisSchedule,
    compute_statistics: Callable[[int], tuple[InterimStatistic, ...]],
    unfit: Callable[[int], object],
    complete: int,
    shares: Sequence[float],
    default_reason: End,
) -> SequentialResult:
    """Make the first `complete` analyses, until one of them decides.

    `shares` is the size of each analysis as a share of N. At the last of these, all the remaining error is spent.
    `default_reason` is the reason to return if no analysis decides.
    """
    ladder = [
        group_sequential.critical_values(shares, schedule.level / remaining_gates)
        for remaining_gates in range(schedule.primary_metrics, 0, -1)
    ]
    # critical values of the last analysis: to pass, and to be the first gate to regress
    final = ladder[-1][-1], ladder[0][-1]
    analyses: list[InterimAnalysis] = []
    passed: list[int | None] = [None] * schedule.primary_metrics
    worse: frozenset[int] = frozenset()
    reason: End | None = None
    for k, pairs in enumerate(schedule.sizes[:complete]):
        analysis = InterimAnalysis(pairs, compute_statistics(pairs), ladder[-1][k], ladder[0][k])
        analyses.append(analysis)
        passed = [
            k if passed_at is None and not statistic.untested and statistic.upper(analysis.c) < 0 else passed_at
            for passed_at, statistic in zip(passed, analysis.statistics, strict=True)
        ]
        # gates beyond their margin after Holm: the farthest against a / gates, the next against a / (gates − 1), …
        tested = [gate for gate, statistic in enumerate(analysis.statistics) if not statistic.untested]
        beyond = step_down([analysis.statistics[gate].z for gate in tested], [bound[k] for bound in ladder])
        worse = frozenset(gate for gate, is_beyond in zip(tested, beyond, strict=True) if is_beyond)
        reason = _reason(analysis, passed, worse, shares[k], last=k + 1 == len(shares), final=final)
        reason = "invalid" if unfit(pairs) else reason
        if reason is not None:
            break
    return _result(schedule, analyses, reason or default_reason, passed, worse, ladder)


def _reason(
    analysis: InterimAnalysis,
    passed: Sequence[int | None],
    worse: frozenset[int],
    t: float,
    *,
    last: bool,
    final: tuple[float, float],
) -> End | None:
    """Return the reason if this analysis ends the run; otherwise None.

    - `passed` is, for each gate, the analysis at which it passed; None if it has not passed.
    - `worse` is the gates that regressed.
    - `t` is the size of this analysis as a share of N.
    - `last` is True if no further analysis is planned.
    - `final` is two critical values of the last analysis: for a gate to pass, and for the first gate to regress.
    """
    if worse:
        return "regressed"
    if None not in passed:
        return "not_regressed"
    if last:
        return "final_analysis"
    if any(statistic.order for statistic in analysis.statistics):
        return None  # with drift or bursts, the result at N cannot be predicted
    chances = [
        group_sequential.UNKNOWN if statistic.untested else statistic.conditional_power(t, *final)
        for statistic in analysis.statistics
    ]
    still_open = [chance for chance, passed_at in zip(chances, passed, strict=True) if passed_at is None]
    return "futility" if group_sequential.is_futile(still_open, chances) else None


def _result(
    schedule: AnalysisSchedule,
    analyses: Sequence[InterimAnalysis],
    reason: End,
    passed: Sequence[int | None],
    worse: frozenset[int],
    ladder: Sequence[Sequence[float]],
) -> SequentialResult:
    """Return the result, with the decision on each gate.

    `ladder` is the critical values of all analyses, one sequence for each step of Holm's test: for the first gate to
    regress, for the second, and so on.
    """
    decisions = []
    for gate, passed_at in enumerate(passed):
        k = len(analyses) - 1 if passed_at is None or gate in worse else passed_at
        statistic, c = analyses[k].statistics[gate], analyses[k].c
        verdict: VerdictName = (
            "regressed" if gate in worse else "inconclusive" if passed_at is None else "not_regressed"
        )
        metric_reason = None
        if verdict == "inconclusive":
            futile = Reason("would_stay_inconclusive", {"needed": schedule.pairs}) if reason == "futility" else None
            metric_reason = statistic.inconclusive_reason(c) or futile
        # the bounds that would have ended the run at an earlier analysis
        stopped_by = ladder[0] if gate in worse else ladder[-1]
        estimates = statistic.estimates(c, schedule.shares[: k + 1], stopped_by[: k + 1])
        provisional = statistic.is_provisional
        decisions.append(MetricDecision(verdict, metric_reason, k, statistic.d, *estimates, provisional=provisional))
    return SequentialResult(tuple(analyses), reason, tuple(decisions))
