"""The results of a check: a result for each threshold and target, and the exit status.

`CheckDocument` is the content of check.json. A `CheckResult` is such a document whose findings and
sentences are still empty, with the objects from which they are written.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta

from bench.base.errors import (
    FAIL_STATUS,
    INCONCLUSIVE_STATUS,
    INVALID_STATUS,
    PASS_STATUS,
    OnInconclusive,
)
from bench.record.document import ValidityStatus
from reports.analysis.summary.run_validity import DataNotes
from reports.analysis.targets.compared_target import ComparedTarget
from reports.data.runs import RunFrames
from reports.engine.judge import Judged
from reports.results.json_entries import Count, Known
from reports.results.value import (
    RESULT_OF_STATUS,
    AnyFinding,
    Conclusion,
    Finding,
    Reason,
    Reasons,
    Result,
    ValidityEntry,
    VerdictStatus,
    validity_entry,
)

if TYPE_CHECKING:
    from reports.analysis.sequential.decide import Decision

SCHEMA = 7
WITHOUT_KINDS = 6
"""The schema whose findings do not state their kind, and which is still read."""
BY_SEVERITY: tuple[Result, ...] = ("fail", "not_evaluated", "inconclusive", "pass")


class CheckDocument(Conclusion):
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
    rows: Count
    """the number of checked rows of turns and sessions"""
    result_counts: dict[Result, int]
    findings: tuple[AnyFinding, ...]
    differs: Reasons
    """how the run differs from the stored baseline, if it may not"""
    notices: tuple[str, ...]
    explanations: tuple[str, ...]
    """the error rates of the verdicts, and what widens the bounds"""
    warnings: tuple[str, ...]


def by_threshold(findings: Iterable[Finding]) -> list[list[Finding]]:
    """Return the findings of each threshold and target, the worst first. There are several if the
    turns are of several types. A finding without a threshold is alone.
    """
    groups: dict[tuple[object, ...], list[Finding]] = {}
    for number, finding in enumerate(sorted(findings, key=severity)):
        is_part = finding.threshold and finding.title != finding.value.name
        key = (finding.threshold, finding.value.target) if is_part else (number,)
        groups.setdefault(key, []).append(finding)
    return [*groups.values()]


def severity(finding: Finding) -> int:
    return BY_SEVERITY.index(finding.result)


class CheckResult(CheckDocument, kw_only=True):
    """The check of one run.

    - `observed_s` is the seconds from the start of the first session to the end of the last one,
      for the target with the shortest time
    - `status` is the validity of the run, and `run` has its rows
    - `against` is the baseline
    - `compared` is the targets of each comparison of runs. The notices on these runs are also
      notices of the check.
    - `notes` is the notices on the check. `data_notes` is what the notices on the run are about;
      None if those of `compared` include them.
    - `alerts` is the warnings that a user must not overlook. They are on facts that no threshold
      covers.
    - `decision` is the decision of the interim analyses, if the run was started with
      --until-decided and they decide the check
    """

    thresholds: tuple[Judged, ...]
    status: ValidityStatus
    run: RunFrames | None
    against: Reason | None
    compared: tuple[tuple[ComparedTarget, ...], ...]
    notes: Reasons
    data_notes: DataNotes | None
    alerts: Reasons
    decision: Decision | None

    @property
    def causes(self) -> Reasons:
        """The reasons why the run is invalid. That stored baselines have other conditions is
        none of them.
        """
        return tuple(
            reason for reason in self.validity.reasons if reason.code != "conditions_differ"
        )

    @property
    def warns(self) -> bool:
        """True if the check passes with a warning because a threshold is inconclusive."""
        return (
            self.exit_status == PASS_STATUS
            and self.on_inconclusive == "warn"
            and any(self.of("inconclusive"))
        )

    def of(self, *results: Result) -> tuple[Judged, ...]:
        return tuple(result for result in self.thresholds if result.result in results)


def check_result(
    thresholds: Sequence[Judged],
    causes: Sequence[Reason] = (),
    differs: Sequence[Reason] = (),
    *,
    status: ValidityStatus = "valid",
    on_inconclusive: OnInconclusive = "fail",
    decision: Decision | None = None,
    fails_first: bool = False,
    **fields: Any,
) -> CheckResult:
    """Return the result of a check with its exit status. `causes` is the reasons why the run is
    invalid.

    Status 4 has priority over 1, and 1 over 3, because an unmeasured metric neither passes nor
    fails. If `fails_first`, a threshold stopped the run, or no turn succeeded. Then a metric may be
    unmeasured for this reason, and 1 has priority.

    A run is inconclusive if it is still open and its interim analyses have not decided yet, even if
    --on-inconclusive accepts inconclusive results.
    """
    reasons = [
        *causes,
        *([Reason("conditions_differ", {"conditions": list(differs)})] if differs else []),
    ]
    counts = {result: sum(item.result == result for item in thresholds) for result in BY_SEVERITY}
    is_pending = decision is not None and not (decision.ended or decision.stopped)
    exit_status: VerdictStatus = PASS_STATUS
    is_unmeasured = counts["not_evaluated"] and not (fails_first and counts["fail"])
    if reasons or not thresholds or is_unmeasured:
        exit_status = INVALID_STATUS
    elif counts["fail"]:
        exit_status = FAIL_STATUS
    elif counts["inconclusive"] and (on_inconclusive == "fail" or is_pending):
        exit_status = INCONCLUSIVE_STATUS
    return CheckResult(
        schema=SCHEMA,
        result=RESULT_OF_STATUS[exit_status],
        exit_status=exit_status,
        result_counts=counts,
        validity=validity_entry(status, reasons),
        status=status,
        thresholds=tuple(thresholds),
        differs=tuple(differs),
        on_inconclusive=on_inconclusive,
        decision=decision,
        headline="",
        baseline="",
        findings=(),
        notices=(),
        explanations=(),
        warnings=(),
        **fields,
    )
