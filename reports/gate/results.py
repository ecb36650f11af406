"""What a check says, in plain data: a result for each threshold and target, and the exit status that they come to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

import pandas as pd

from bench.run.document import ValidityStatus
from reports import finding_sentences
from reports.finding_rows import shares_of
from reports.formatting import NBSP, plural
from reports.frames import COUNT, FLAG, NUMBER, TEXT, dtypes_of, frame_of, use
from reports.looks.decision import Decision
from reports.metric_comparison import RESULT_OF_STATUS, ExitStatus, MetricComparison, Result
from reports.metric_spec import MetricSpec
from reports.notebook import frame_html
from reports.runs import called
from reports.statistics.quantiles import Shortfall
from reports.statistics.target_counts import TargetCounts
from reports.statistics.threshold_estimate import ThresholdEstimate
from reports.statistics.verdicts import InconclusiveReason, VerdictName
from reports.thresholds import Sign
from reports.wording import verdicts
from reports.wording.validity import InvalidReason
from reports.wording.verdicts import as_share
from reports.wording.verdicts import figure as figure_name

OnInconclusive = Literal["fail", "pass", "warn"]

PASSED: Final = 0
FAILED: Final = 1
INCONCLUSIVE: Final = 3
INVALID: Final = 4
"""Exit statuses, beside 2 for what cannot be asked so."""
DTYPES = dtypes_of(
    (TEXT, ("run_id", "threshold", "title", "target", "metric", "unit", "result", "verdict")),
    (FLAG, ("published", "usable")),
    (TEXT, ("reason_code", "reason")),
    (FLAG, ("provisional",)),
    (NUMBER, ("value", "low", "high", "bound")),
    (TEXT, ("operator",)),
    (NUMBER, ("limit", "baseline", "difference", "corrected")),
    (TEXT, ("margin", "direction")),
    (COUNT, ("analysis", "more_sessions")),
    (FLAG, ("in_failures",)),
    (COUNT, ("turns", "sessions", "failed")),
    (NUMBER, ("completed_share", "effective_sessions")),
    (COUNT, ("required", "available")),
    (TEXT, ("required_unit", "sentence")),
)
"""The columns of a check's frame with their dtypes."""
RESULTS: dict[VerdictName, Result] = {
    "improved": "pass",
    "equivalent": "pass",
    "not_regressed": "pass",
    "regressed": "fail",
    "inconclusive": "inconclusive",
}
"""The result of a relative threshold, by the verdict on its metric."""


class Limit(NamedTuple):
    """An absolute threshold's limit, in the unit of its metric, and on which side of it the value is to be."""

    operator: Sign
    value: float


@dataclass(frozen=True)
class ThresholdResult:
    """One threshold on one target: an estimate against a limit, or a comparison with a baseline.

    `estimate`: None if the metric is uncertain in this run. `bound`: the end that decided a pass or fail.
    """

    threshold: str
    target: str
    question: MetricSpec
    result: Result
    reason: InconclusiveReason | None = None
    note: str = ""
    limit: Limit | None = None
    estimate: ThresholdEstimate | None = None
    bound: float = math.nan
    finding: MetricComparison | None = None

    @property
    def metric(self) -> str:
        return self.question.metric

    @property
    def title(self) -> str:
        """ttfa p95 from end of speech."""
        return figure_name(self.question)

    @property
    def relative(self) -> bool:
        return self.limit is None

    @property
    def counts(self) -> TargetCounts | None:
        """What the target has of the metric; None if it is uncertain."""
        if self.finding is not None:
            return self.finding.arms[1]
        return self.estimate.counts if self.estimate else None

    @property
    def provisional(self) -> bool:
        if self.finding is not None:
            return self.finding.verdict.provisional and self.finding.difference is not None
        return self.estimate is not None and self.estimate.order is not None and self.shortfall is None

    @property
    def shortfall(self) -> Shortfall | None:
        """What there is too little of for the value to be shown; of a comparison on the target that has less of it."""
        if self.finding is not None:
            return self.finding.shortfall
        if self.estimate is None or self.result != "inconclusive" or not self.estimate.counts.turns:
            return None
        counts = self.estimate.counts
        if self.question.p is not None and counts.sessions < self.estimate.required:
            return Shortfall("sessions", counts.sessions, self.estimate.required)
        return self.question.statistic.shortfall(self.metric, counts.turns, counts.sessions)

    @property
    def reason_text(self) -> str:
        """Why it is what it is; empty if its values say it."""
        return "; ".join(filter(None, (verdicts.said(self.reason), self.note)))


def make_row(one: ThresholdResult) -> dict[str, Any]:
    """Return a result as a flat row: of check.json's entries, and of a check's frame."""
    few, counts, found = one.shortfall, one.counts, one.finding
    row: dict[str, Any] = dict.fromkeys(DTYPES) | {
        "threshold": one.threshold,
        "title": one.title,
        "target": one.target,
        "metric": one.metric,
        "unit": one.question.unit,
        "result": one.result,
        "reason_code": one.reason.kind if one.reason else None,
        "reason": one.reason_text,
        "provisional": one.provisional,
        "in_failures": False,
    }
    if counts is not None:
        row |= {"turns": counts.turns, "sessions": counts.sessions, "failed": counts.failed}
        row["completed_share"] = finite(counts.completed_share)
        row["effective_sessions"] = finite(counts.effective_sessions)
    if few is not None:
        row |= {"required": few.needs, "available": few.there, "required_unit": few.of}
    if one.limit is not None:
        row |= {"operator": one.limit.operator, "limit": one.limit.value, "bound": finite(one.bound)}
        if (estimate := one.estimate) is not None and few is None:
            row |= {"value": finite(estimate.value), "low": finite(estimate.low), "high": finite(estimate.high)}
            row["in_failures"] = estimate.value == math.inf
    if found is not None:
        row |= {
            "verdict": found.verdict.name,
            "margin": verdicts.margin(found.question.margin, found.question.metric, sign=True),
            "direction": found.known or None,
            "analysis": found.look,
            "corrected": as_share(found.corrected, found.question.scale),
            "sentence": finding_sentences.sentence(found) if found.difference else None,
            "more_sessions": found.verdict.more_sessions,
            "effective_sessions": min(counts.effective_sessions for counts in found.arms),
        }
        difference, (base_few, candidate_few) = found.difference, found.shortfalls
        if difference and not base_few:
            row["baseline"] = finite(difference.baseline)
        if difference and not candidate_few:
            row |= {"value": finite(difference.candidate), "in_failures": difference.candidate == math.inf}
        if found.published:
            row |= dict(zip(("difference", "low", "high"), shares_of(found.published), strict=True))
    return row


@dataclass(frozen=True)
class CheckResult:
    """A check of one run. `causes`: why it is invalid, whatever its thresholds say. `baseline`: in words.

    `answer`: what the relative thresholds say together, in the sentence that a comparison has.
    """

    run_id: str
    scenario: str
    simulated: bool
    validity: ValidityStatus
    """of the run"""
    thresholds: tuple[ThresholdResult, ...]
    causes: tuple[InvalidReason, ...]
    differs: tuple[str, ...]
    """of a stored baseline, what is not as it was"""
    notices: tuple[str, ...]
    baseline: str
    answer: str = ""
    on_inconclusive: OnInconclusive = "fail"
    labels: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    """what no threshold is about and must not be overlooked"""
    observed_s: float = 0.0
    """from the first session's start to the last one's end, of the target with the shortest time"""
    decision: Decision | None = field(default=None, compare=False)
    """of a run that was started with --until-decided and is checked by its interim analyses: what they found"""

    def to_frame(self) -> pd.DataFrame:
        """Return a row for each threshold on each target: `thresholds` of check.json.

        `value` and `low` are inf among failed turns. `usable` is false in an invalid check; `reason` says why.
        """
        invalid = "; ".join((*(cause.text for cause in self.causes), *self.differs)).replace(NBSP, " ")
        rows = []
        for one in self.thresholds:
            row = make_row(one)
            published = row["value"] is not None or row["in_failures"]
            row |= use(row["reason"], published=published, invalid=invalid) | {"run_id": self.run_id}
            if row["in_failures"]:
                row["value"] = math.inf
            if one.estimate is not None and one.estimate.low == math.inf and one.shortfall is None:
                row["low"] = math.inf
            rows.append(row)
        return frame_of(rows, DTYPES)

    def __repr__(self) -> str:
        """Checked(20261120T091400Z-voice_turns: inconclusive, 3 thresholds)."""
        counted = plural(len(self.thresholds), "threshold").replace(NBSP, " ")
        return f"Checked({self.run_id}: {RESULT_OF_STATUS[self.exit_status]}, {counted})"

    def _repr_html_(self) -> str:
        columns = ("threshold", "target", "result", "verdict", "value", "low", "high", "unit", "difference", "reason")
        return frame_html(repr(self), self.to_frame(), columns, [cause.line for cause in self.causes])

    @property
    def called(self) -> str:
        """The scenario with the run's labels."""
        return called(self.scenario, self.labels)

    @property
    def exit_status(self) -> ExitStatus:
        """The exit status. 4 wins over 1, that over 3: what was not measured neither passes nor fails.

        A run that is under way and not decided yet is inconclusive, and --on-inconclusive does not change that.
        """
        results = {one.result for one in self.thresholds}
        if self.causes or self.differs or not results or "not_evaluated" in results:
            return INVALID
        if "fail" in results:
            return FAILED
        waits = self.decision is not None and not (self.decision.ended or self.decision.stopped)
        return INCONCLUSIVE if "inconclusive" in results and (self.on_inconclusive == "fail" or waits) else PASSED

    @property
    def warns(self) -> bool:
        """Whether it passes although a threshold is inconclusive, and is to warn of that."""
        return self.exit_status == PASSED and self.on_inconclusive == "warn" and any(self.of("inconclusive"))

    def of(self, *results: Result) -> tuple[ThresholdResult, ...]:
        return tuple(one for one in self.thresholds if one.result in results)


def compared_result(threshold: str, finding: MetricComparison) -> ThresholdResult:
    """Return the result of a relative threshold. A target without the value is no data."""
    there = finding.difference is not None or bool(finding.inexact)
    result: Result = RESULTS[finding.verdict.name] if there else "not_evaluated"
    reason = finding.verdict.reason if there else InconclusiveReason("no_value_here")
    return ThresholdResult(threshold, finding.candidate, finding.question, result, reason, finding=finding)


def finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
