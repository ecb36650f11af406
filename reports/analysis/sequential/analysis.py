"""Interim analyses of a comparison: the rules that find the deciding analysis and its result. Pure.

Analysis k uses the first g_k pairs that started. For each of the m primary metrics, z is the number
of standard errors by which the candidate is beyond the margin. c_k(a) is the critical value from
`reports.statistics.group_sequential`. The result, its condition, and its effect on the run are:

    regressed       z ≥ c_k(a / m), the others by Holm's step-down
                    → the run stops, exit status 1
    not regressed   the upper bound at c_k(a) is below the margin; a pass is final
                    → all of them: it stops, 0
    futile          it would stay inconclusive at N, and no target drifts or has bursts
                    → it stops, 3
    last analysis   none of these
                    → it stops, 3
    invalid         the targets may not be compared, regardless of the metrics
                    → it stops, 4
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from reports.engine.judge import Judged
from reports.metrics.metric_spec import MetricSpec
from reports.results.json_entries import ClosedJsonEntry, Number
from reports.results.value import Reason, VerdictName
from reports.statistics.autocorrelation import EARLY, FOUND
from reports.statistics.differences import LEVEL, Difference
from reports.statistics.group_sequential import (
    UNKNOWN,
    InterimStatistic,
    StatisticEntry,
    critical_values,
    is_futile,
)
from reports.statistics.verdicts import Verdict, step_down

End = Literal[
    "regressed",
    "not_regressed",
    "futility",
    "final_analysis",
    "invalid",
    "pending",
    "stopped_by_user",
    "no_analysis",
]
"""The reason why no further analysis follows.

`pending`: a further analysis will follow. `no_analysis`: the run ended before the first analysis
was possible.
"""


class AnalysisSchedule(NamedTuple):
    """The plan of the interim analyses, made before the first session starts.

    - `pairs` is the maximum number of pairs.
    - `sizes` is the number of pairs at each analysis.
    - `primary` has the specs of the primary metrics.
    - `level` is the one-sided type I error.
    """

    pairs: int
    sizes: tuple[int, ...]
    primary: tuple[MetricSpec, ...]
    level: float = LEVEL

    @property
    def shares(self) -> tuple[float, ...]:
        return tuple(size / self.pairs for size in self.sizes)

    def dependence_error(self, pairs: int) -> float:
        """Return the type I error of each test for drift and bursts at the analysis of `pairs`
        pairs.
        """
        return EARLY if pairs < self.sizes[-1] else FOUND


class AnalyzedMetricEntry(StatisticEntry, kw_only=True):
    """The statistic of one primary metric at an analysis, with the test statistic `z`."""

    name: str
    z: Number

    @property
    def is_estimated(self) -> bool:
        return math.isfinite(self.d) and not self.untested


def analyzed(name: str, statistic: InterimStatistic) -> AnalyzedMetricEntry:
    """Return the statistic of a metric with this name, as an entry of a document."""
    return AnalyzedMetricEntry(
        name=name,
        d=statistic.d,
        excess=statistic.excess,
        se=statistic.se,
        df=statistic.df,
        untested=statistic.untested,
        order=statistic.order,
        z=statistic.z,
    )


class AnalysisEntry(ClosedJsonEntry):
    """An analysis that was made. `observed_s` is 0 until the sessions of its pairs are known."""

    pairs: int
    information_fraction: float
    critical_value: Number
    """c_k(a), at which a metric passes"""
    critical_value_first: Number
    """c_k(a / m) of m metrics, which one must reach if any is to fail"""
    primary_metrics: tuple[AnalyzedMetricEntry, ...]
    observed_s: Number = 0.0
    """from the start of the first to the end of the last session of these pairs"""


def judged_pairs(
    spec: MetricSpec, verdict: Verdict, difference: Difference, **fields: Any
) -> Judged:
    """Return a primary metric that is judged by an analysis. Its targets and their values are
    added later.
    """
    return Judged(
        spec=spec,
        target="",
        targets=(),
        cluster="pair",
        verdict=verdict,
        difference=difference,
        **fields,
    )


class SequentialResult(NamedTuple):
    """All analyses up to the deciding one, the reason for the end, and the decision on each
    primary metric.
    """

    analyses: tuple[AnalysisEntry, ...]
    reason: End
    decisions: tuple[Judged, ...]

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

    - `compute_statistics` returns the statistics of all primary metrics, given the number of pairs.
    - `unfit` returns why the targets cannot be compared, given the number of pairs. The result is
      false if they can.
    - `end` is the reason why the run has ended; empty if it continues. "by hand": a person who
      could see results ended it. Then only a metric that crossed its critical value is decided.
      "blind": the end did not depend on results. Then, if no analysis has decided, the last
      complete analysis becomes the final one, and spends all the remaining error.
    """
    if not complete:
        return SequentialResult((), "no_analysis" if end else "pending", ())
    cached_statistics = lru_cache(maxsize=None)(lambda pairs: tuple(compute_statistics(pairs)))
    result = _evaluate_analyses(
        schedule,
        cached_statistics,
        unfit,
        complete,
        schedule.shares,
        "stopped_by_user" if end else "pending",
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

    `shares` is the size of each analysis as a share of N. At the last of these, all the remaining
    error is spent. `default_reason` is the reason to return if no analysis decides.
    """
    primary = len(schedule.primary)
    ladder = [critical_values(shares, schedule.level / left) for left in range(primary, 0, -1)]
    # critical values of the last analysis: to pass, and to be the first metric to regress
    final = ladder[-1][-1], ladder[0][-1]
    seen: list[tuple[InterimStatistic, ...]] = []
    passed: list[int | None] = [None] * primary
    worse: frozenset[int] = frozenset()
    reason: End | None = None
    for k, pairs in enumerate(schedule.sizes[:complete]):
        statistics = compute_statistics(pairs)
        seen.append(statistics)
        passed = [
            (
                k
                if passed_at is None
                and not statistic.untested
                and statistic.upper(ladder[-1][k]) < 0
                else passed_at
            )
            for passed_at, statistic in zip(passed, statistics, strict=True)
        ]
        # metrics beyond their margin after Holm: the farthest against a / m, the next against a /
        # (m − 1), …
        tested = [index for index, statistic in enumerate(statistics) if not statistic.untested]
        beyond = step_down(
            [statistics[index].z for index in tested], [bound[k] for bound in ladder]
        )
        worse = frozenset(
            index for index, is_beyond in zip(tested, beyond, strict=True) if is_beyond
        )
        reason = _reason(
            statistics, passed, worse, shares[k], last=k + 1 == len(shares), final=final
        )
        reason = "invalid" if unfit(pairs) else reason
        if reason is not None:
            break
    return _result(schedule, seen, reason or default_reason, passed, worse, ladder)


def _reason(
    statistics: Sequence[InterimStatistic],
    passed: Sequence[int | None],
    worse: frozenset[int],
    t: float,
    *,
    last: bool,
    final: tuple[float, float],
) -> End | None:
    """Return the reason if this analysis ends the run; otherwise None.

    - `passed` is, for each primary metric, the analysis at which it passed; None if it has not
      passed.
    - `worse` is the indices of the metrics that regressed.
    - `t` is the size of this analysis as a share of N.
    - `last` is True if no further analysis is planned.
    - `final` is two critical values of the last analysis: for a metric to pass, and for the first
      one to regress.
    """
    if worse:
        return "regressed"
    if None not in passed:
        return "not_regressed"
    if last:
        return "final_analysis"
    if any(statistic.order for statistic in statistics):
        return None  # with drift or bursts, the result at N cannot be predicted
    chances = [
        UNKNOWN if statistic.untested else statistic.conditional_power(t, *final)
        for statistic in statistics
    ]
    still_open = [
        chance for chance, passed_at in zip(chances, passed, strict=True) if passed_at is None
    ]
    return "futility" if is_futile(still_open, chances) else None


def _result(
    schedule: AnalysisSchedule,
    seen: Sequence[tuple[InterimStatistic, ...]],
    reason: End,
    passed: Sequence[int | None],
    worse: frozenset[int],
    ladder: Sequence[Sequence[float]],
) -> SequentialResult:
    """Return the result, with the decision on each primary metric.

    `seen` is the statistics of each analysis. `ladder` is the critical values of all analyses, one
    sequence for each step of Holm's test: for the first metric to regress, for the second, and so
    on.
    """
    analyses = [
        AnalysisEntry(
            pairs,
            pairs / schedule.pairs,
            ladder[-1][k],
            ladder[0][k],
            tuple(
                analyzed(spec.name, statistic)
                for spec, statistic in zip(schedule.primary, statistics, strict=True)
            ),
        )
        for k, (pairs, statistics) in enumerate(zip(schedule.sizes, seen, strict=False))
    ]
    decisions = []
    for index, (spec, passed_at) in enumerate(zip(schedule.primary, passed, strict=True)):
        k = len(seen) - 1 if passed_at is None or index in worse else passed_at
        statistic = seen[k][index]
        c = ladder[-1][k]
        verdict: VerdictName = (
            "regressed"
            if index in worse
            else "inconclusive"
            if passed_at is None
            else "not_regressed"
        )
        metric_reason = None
        if verdict == "inconclusive":
            futile = (
                Reason("would_stay_inconclusive", {"needed": schedule.pairs})
                if reason == "futility"
                else None
            )
            metric_reason = statistic.inconclusive_reason(c) or futile
        # the bounds that would have ended the run at an earlier analysis
        stopped_by = ladder[0] if index in worse else ladder[-1]
        low, high, corrected = statistic.estimates(c, schedule.shares[: k + 1], stopped_by[: k + 1])
        decided = Verdict(verdict, metric_reason, statistic.is_provisional)
        difference = Difference(spec.scale, math.nan, math.nan, statistic.d, low, high)
        decisions.append(
            judged_pairs(spec, decided, difference, analysis=k + 1, corrected=corrected)
        )
    return SequentialResult(tuple(analyses), reason, tuple(decisions))
