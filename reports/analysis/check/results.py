"""The results of a check: a result for each threshold and target, and the exit status.

`CheckDocument` is the content of check.json. A `CheckResult` is such a document whose sentences are still empty, with
the objects from which they are written.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any

from msgspec import Meta

from bench.base.errors import FAIL_STATUS, INCONCLUSIVE_STATUS, INVALID_STATUS, PASS_STATUS, OnInconclusive
from bench.record.document import ValidityStatus
from reports.analysis.metric_comparison import ComparisonEntry, MetricComparison
from reports.analysis.sequential.decision import Decision
from reports.analysis.summary.run_validity import DataNotes
from reports.analysis.targets.compared_target import ComparedTarget
from reports.data.runs import RunFrames
from reports.metrics.metric_spec import MetricSpec, Sign
from reports.results.json_entries import ClosedJsonEntry, Count, Known, Rounded, described, entry_from
from reports.results.reason import Reason, too_few_to_print
from reports.results.verdict import (
    RESULT_OF_STATUS,
    RESULTS,
    Conclusion,
    Result,
    ValidityEntry,
    VerdictStatus,
    validity_entry,
)
from reports.statistics.target_counts import NO_TURNS, SampleCounts, TargetCounts
from reports.statistics.threshold_estimate import ThresholdEstimate

SCHEMA = 5
BY_SEVERITY: tuple[Result, ...] = ("fail", "not_evaluated", "inconclusive", "pass")


class LimitEntry(ClosedJsonEntry, frozen=True):
    """A value and its limit, both in the unit of the metric; null if a value does not exist or is infinite."""

    operator: Sign
    limit: float
    value: Rounded
    low: Annotated[Rounded, described("lower end of the 95 % interval, as in a report")]
    high: Rounded
    bound: Annotated[Rounded, described("the one-sided bound that decided, type I error 5 %; null if none did")]
    in_failures: Annotated[
        bool, described("true if the value is infinite because too many turns failed; then it is null")
    ]


class ThresholdTexts(ClosedJsonEntry, frozen=True):
    """A result as the texts that pages show. `distance` is from the value to the limit."""

    baseline: Known = ""
    value: str = ""
    interval: str = ""
    limit: str = ""
    distance: Known = ""
    verdict: str = ""
    reason: Known = ""


class ThresholdEntry(SampleCounts, frozen=True, kw_only=True):
    """One threshold on one target. An absolute one has a `limit`, a relative one a `comparison`."""

    threshold: str
    title: str
    target: str
    metric: str
    unit: str
    result: Result
    reason: Annotated[Reason | None, described("why it is inconclusive or not evaluated")]
    note: Annotated[Known, described("what the values of the result do not show")]
    provisional: bool
    shortfall: Annotated[
        Reason | None, described("the samples that the value lacks to be printed; null if there are enough")
    ]
    limit: LimitEntry | None
    comparison: Annotated[ComparisonEntry | None, described("as in compare.json")]
    texts: Annotated[ThresholdTexts, described("the result as pages show it")] = ThresholdTexts()


class ThresholdResult(ThresholdEntry, frozen=True, kw_only=True):
    """The result of one threshold on one target.

    - `shortfall` of a comparison is the larger shortfall of the two targets
    - `estimate` is None if the threshold is relative, or if the metric is uncertain in this run
    - `compared` is the comparison with a baseline; None if the threshold is absolute
    - `notes` are the remarks of which `note` is the text
    """

    spec: MetricSpec
    estimate: ThresholdEstimate | None = None
    compared: MetricComparison | None = None
    notes: tuple[Reason, ...] = ()

    @property
    def relative(self) -> bool:
        return self.limit is None


def _threshold_result(
    source_text: str, target: str, spec: MetricSpec, counts: TargetCounts, **fields: Any
) -> ThresholdResult:
    given = {"threshold": source_text, "target": target, "spec": spec, "note": "", "comparison": None} | fields
    return entry_from(ThresholdResult, counts, spec, **given)


def limit_result(
    source_text: str,
    target: str,
    spec: MetricSpec,
    limit: tuple[Sign, float],
    estimate: ThresholdEstimate | None,
    *,
    result: Result,
    reason: Reason | None = None,
    notes: tuple[Reason, ...] = (),
    bound: float = math.nan,
) -> ThresholdResult:
    """Return the result of an absolute threshold. `bound` is the bound by which it passed or failed.

    If the value has too few turns, sessions or words to be printed, the result contains no values.
    """
    counts = estimate.counts if estimate else NO_TURNS
    shortfall = None
    if estimate and result == "inconclusive" and counts.turns:
        shortfall = spec.statistic.shortfall(spec.metric, counts.turns, counts.sessions)
        if spec.p is not None and counts.sessions < estimate.required:
            shortfall = too_few_to_print("session", estimate.required, counts.sessions)
    values = (estimate.value, estimate.low, estimate.high) if estimate and not shortfall else (math.nan,) * 3
    return _threshold_result(
        source_text, target, spec, counts, result=result, reason=reason, notes=notes, estimate=estimate,
        provisional=estimate is not None and estimate.order is not None and shortfall is None, shortfall=shortfall,
        limit=LimitEntry(*limit, *values, bound, values[0] == math.inf),
    )  # fmt: skip


def compared_result(source_text: str, comparison: MetricComparison) -> ThresholdResult:
    """Return the result of a relative threshold. It is `not_evaluated` if a target has no value of the metric."""
    verdict, has_difference = comparison.verdict, comparison.difference is not None
    result, reason = RESULTS[verdict.name], verdict.reason
    if not has_difference and comparison.uncertain is None:
        result, reason = "not_evaluated", Reason("no_value_here")
    widened = (Reason("widened", {"errors": comparison.widened_by}),) if comparison.widened_by else ()
    return _threshold_result(
        source_text, comparison.candidate, comparison.spec, comparison.targets[1], result=result, reason=reason,
        notes=widened, provisional=verdict.provisional and has_difference, shortfall=comparison.shortfall, limit=None,
        compared=comparison,
    )  # fmt: skip


class CheckDocument(Conclusion, frozen=True):
    """The file of a check."""

    schema: Annotated[int, Meta(ge=1)]
    run_id: str
    scenario: str
    labels: dict[str, str]
    simulated: bool
    recorded: bool
    validity: ValidityEntry
    baseline: Known
    on_inconclusive: OnInconclusive
    observed_s: float
    rows: Annotated[Count, described("the number of checked rows of turns and sessions")]
    result_counts: dict[Result, int]
    thresholds: Sequence[ThresholdEntry]
    differs: Annotated[tuple[Reason, ...], described("how the run differs from the stored baseline, if it may not")]
    notices: tuple[str, ...]
    explanations: Annotated[tuple[str, ...], described("the error rates of the verdicts, and what widens the bounds")]
    warnings: tuple[str, ...]


class CheckResult(CheckDocument, frozen=True, kw_only=True):
    """The check of one run.

    - `observed_s` is the seconds from the start of the first session to the end of the last one, for the target with
    the shortest time
    - `status` is the validity of the run, and `run` has its rows
    - `against` is the baseline
    - `compared` is the targets of each comparison of runs. The notices on these runs are also notices of the check.
    - `notes` is the notices on the check. `data_notes` is what the notices on the run are about; None if those of
    `compared` include them.
    - `alerts` is the warnings that a user must not overlook. They are on facts that no threshold covers.
    - `decision` is the decision of the interim analyses, if the run was started with --until-decided and they decide
    the check
    """

    thresholds: tuple[ThresholdResult, ...]
    status: ValidityStatus
    run: RunFrames | None
    against: Reason | None
    compared: tuple[tuple[ComparedTarget, ...], ...]
    notes: tuple[Reason, ...]
    data_notes: DataNotes | None
    alerts: tuple[Reason, ...]
    decision: Decision | None

    @property
    def causes(self) -> tuple[Reason, ...]:
        """The reasons why the run is invalid. That stored baselines have other conditions is none of them."""
        return tuple(reason for reason in self.validity.reasons if reason.code != "conditions_differ")

    @property
    def warns(self) -> bool:
        """True if the check passes with a warning because a threshold is inconclusive."""
        return self.exit_status == PASS_STATUS and self.on_inconclusive == "warn" and any(self.of("inconclusive"))

    def of(self, *results: Result) -> tuple[ThresholdResult, ...]:
        return tuple(result for result in self.thresholds if result.result in results)


def check_result(
    thresholds: Sequence[ThresholdResult],
    causes: Sequence[Reason] = (),
    differs: Sequence[Reason] = (),
    *,
    status: ValidityStatus = "valid",
    on_inconclusive: OnInconclusive = "fail",
    decision: Decision | None = None,
    is_aborted: bool = False,
    **fields: Any,
) -> CheckResult:
    """Return the result of a check with its exit status. `causes` is the reasons why the run is invalid.

    Status 4 has priority over 1, and 1 over 3, because an unmeasured metric neither passes nor fails. If `is_aborted`,
    a threshold stopped the run. Then a metric may be unmeasured for this reason, and 1 has priority.

    A run is inconclusive if it is still open and its interim analyses have not decided yet, even if --on-inconclusive
    accepts inconclusive results.
    """
    reasons = [*causes, *([Reason("conditions_differ", {"conditions": list(differs)})] if differs else [])]
    counts = {result: sum(item.result == result for item in thresholds) for result in BY_SEVERITY}
    is_pending = decision is not None and not (decision.ended or decision.stopped)
    exit_status: VerdictStatus = PASS_STATUS
    is_unmeasured = counts["not_evaluated"] and not (is_aborted and counts["fail"])
    if reasons or not thresholds or is_unmeasured:
        exit_status = INVALID_STATUS
    elif counts["fail"]:
        exit_status = FAIL_STATUS
    elif counts["inconclusive"] and (on_inconclusive == "fail" or is_pending):
        exit_status = INCONCLUSIVE_STATUS
    return CheckResult(
        schema=SCHEMA, result=RESULT_OF_STATUS[exit_status], exit_status=exit_status, result_counts=counts,
        validity=validity_entry(status, reasons), status=status,
        thresholds=tuple(thresholds), differs=tuple(differs), on_inconclusive=on_inconclusive, decision=decision,
        headline="", baseline="", notices=(), explanations=(), warnings=(), **fields,
    )  # fmt: skip
