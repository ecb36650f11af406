"""Interim analyses of a run that stops when a threshold fails (`abort: true`).

An analysis tests each of these thresholds as the check does, with the sessions that started first,
when all of them have ended (`reports.analysis.sequential.decide.leading`). The run stops if both
bounds are beyond a limit at the critical value of the analysis. After a share t of the run, the
analyses so far may use an error of LEVEL · t². All thresholds, targets and strata share it equally
(Bonferroni).

run.json stores the analyses that were made. If one of them stopped the run, the check computes it
again from the rows. If none did, the check of the run is not affected: it has its own error.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from bench.record.document import AbortAnalysisEntry, AbortEntry
from reports.analysis.check.absolute import limit_results
from reports.analysis.sequential.decide import leading, run_of_pairs
from reports.analysis.targets.metric_specs import specs_of_thresholds
from reports.analysis.targets.named import known_targets, targets_of
from reports.data.runs import RunFrames
from reports.engine.judge import Judged
from reports.metrics.thresholds import Threshold, by_metric, parse_all
from reports.results.value import Reason
from reports.statistics.counting import Integers
from reports.statistics.distributions import ndtr
from reports.statistics.group_sequential import SPENDING, critical_values_so_far
from reports.statistics.verdicts import SESSIONS

LEVEL = 0.025
"""The nominal share of runs that stop early although all values are exactly at their limits."""
ANALYSES = 10
"""An analysis is due after each tenth of the run, except the last one: then the run has ended."""


class AbortAnalysis(NamedTuple):
    """An interim analysis of a run.

    - `sessions` is the number of sessions with each target that it used; 0 if there were too few
      for an analysis.
    - `failed` is the thresholds that failed.
    - `reason` is the reason why the run stops; None if it continues.
    """

    sessions: int
    failed: tuple[Judged, ...] = ()
    reason: Reason | None = None


def plan_abort(thresholds: Iterable[Threshold]) -> AbortEntry | None:
    """Return the plan of the analyses, as run.json stores it; None if no threshold has `abort`."""
    stopping = by_metric(threshold for threshold in thresholds if threshold.abort)
    if not stopping:
        return None
    return AbortEntry(
        thresholds=stopping, alpha=LEVEL, spending=SPENDING, analyses=ANALYSES, made=[], reason=None
    )


def analyse(run: RunFrames, made: Sequence[AbortAnalysisEntry], share: float) -> AbortAnalysis:
    """Make an interim analysis of a run that continues.

    `made` has the analyses before this one. `share` is the share of the run that is over.
    """
    numbers = leading(run.sessions, ended=False, targets=len(known_targets(run)))
    before = made[-1]["sessions"] if made else 0
    if numbers.size < max(SESSIONS, before + 1):
        return AbortAnalysis(0)
    plan = run.metadata["abort"]
    analyses = [*made, AbortAnalysisEntry(sessions=int(numbers.size), share=share)]
    failed = _failed(run, plan, analyses, numbers)
    reason = (
        _reason(plan, analyses, failed, several=len(known_targets(run)) > 1) if failed else None
    )
    return AbortAnalysis(int(numbers.size), failed, reason)


def repeated_analysis(run: RunFrames, plan: AbortEntry) -> AbortAnalysis:
    """Return the analysis that stopped a run, from its rows, with the thresholds that failed."""
    assert plan["reason"] is not None
    made = plan["made"]
    numbers = leading(run.sessions, ended=True, targets=len(known_targets(run)))[
        : made[-1]["sessions"]
    ]
    return AbortAnalysis(
        int(numbers.size), _failed(run, plan, made, numbers), Reason(**plan["reason"])
    )


def error_of(analyses: Sequence[AbortAnalysisEntry], alpha: float, tests: int) -> float:
    """Return the type I error of each bound at the last of these analyses, if `tests` tests
    share the error `alpha`.
    """
    shares = [made["share"] for made in analyses]
    sizes = [made["sessions"] for made in analyses]
    return float(ndtr(-critical_values_so_far(shares, sizes, alpha / tests)[-1]))


def _failed(
    run: RunFrames, plan: AbortEntry, analyses: Sequence[AbortAnalysisEntry], numbers: Integers
) -> tuple[Judged, ...]:
    """Return the results that failed at the last of `analyses`. `numbers` is the numbers of its
    pairs.
    """
    targets = targets_of(run_of_pairs(run, numbers))
    tests = [
        (threshold, target) for threshold in parse_all(plan["thresholds"]) for target in targets
    ]
    strata = sum(
        len(specs_of_thresholds(threshold, threshold.about, [target]))
        for threshold, target in tests
    )
    error = error_of(analyses, plan["alpha"], max(1, strata))
    results = (
        result for threshold, target in tests for result in limit_results(threshold, target, error)
    )
    return tuple(
        _decided_early(result, analyses, error) for result in results if result.result == "fail"
    )


def _decided_early(result: Judged, analyses: Sequence[AbortAnalysisEntry], error: float) -> Judged:
    """Return a failed result with a note on the analysis and the bound that decided it."""
    numbers = {"analysis": len(analyses), "sessions": analyses[-1]["sessions"], "error": error}
    note = Reason("decided_early", numbers | _values(result))
    others = (other for other in result.notes if other.code != "decided_by")
    return replace(result, notes=(note, *others))


def _values(result: Judged) -> dict[str, Any]:
    """Return the value and the bound of a failed result, which are finite or None, and their
    unit.
    """
    value, bound = (
        number if math.isfinite(number) else None for number in (result.measured[0], result.bound)
    )
    return {
        "value": value,
        "bound": bound,
        "is_upper": result.operator in (">", ">="),
        "unit": result.spec.unit,
    }


def _reason(
    plan: AbortEntry,
    analyses: Sequence[AbortAnalysisEntry],
    failed: Sequence[Judged],
    *,
    several: bool,
) -> Reason:
    """Return the reason why a run stops. `several` is True if the run has several targets."""
    thresholds = [
        {"threshold": result.threshold, "target": result.target if several else None}
        | _values(result)
        for result in failed
    ]
    return Reason(
        "stopped_early", {**analyses[-1], "planned": plan.get("sessions"), "failed": thresholds}
    )
