"""The results of a check as plain data: a result for each threshold and target, and the exit status."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import pandas as pd

from bench.base.errors import FAIL_STATUS, INCONCLUSIVE_STATUS, INVALID_STATUS, PASS_STATUS
from bench.record.document import ValidityStatus
from reports.analysis.metric_comparison import MetricComparison
from reports.analysis.sequential.decision import Decision
from reports.data.frames import COUNT, FLAG, NUMBER, REASON, TEXT, dtypes_of, frame_of
from reports.data.runs import title_of
from reports.formatting import NBSP, plural
from reports.metrics.metric_spec import MetricSpec, Sign
from reports.render.notebook import frame_html
from reports.results.reason import Reason, too_few_to_print
from reports.results.verdict import RESULT_OF_STATUS, RESULTS, Result, VerdictStatus
from reports.statistics.target_counts import TargetCounts
from reports.statistics.threshold_estimate import ThresholdEstimate
from reports.text import finding_sentences, reasons, verdicts
from reports.text.finding_rows import shares_of
from reports.text.verdicts import as_share
from reports.text.verdicts import metric_text as figure_name

OnInconclusive = Literal["fail", "pass", "warn"]

DTYPES = dtypes_of(
    (TEXT, ("run_id", "threshold", "title", "target", "metric", "unit", "result", "verdict")),
    (FLAG, ("published", "usable")),
    (TEXT, REASON),
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
"""The columns of a check's frame, with their dtypes."""


class Limit(NamedTuple):
    """The limit of an absolute threshold, in the unit of its metric, with the operator of the comparison."""

    operator: Sign
    value: float


@dataclass(frozen=True)
class ThresholdResult:
    """The result of one threshold on one target. It has an estimate and a limit, or a comparison with a baseline.

    - `estimate` is None if the metric is uncertain in this run
    - `bound` is the end of the interval by which the threshold passed or failed
    """

    threshold: str
    target: str
    spec: MetricSpec
    result: Result
    reason: Reason | None = None
    note: str = ""
    limit: Limit | None = None
    estimate: ThresholdEstimate | None = None
    bound: float = math.nan
    finding: MetricComparison | None = None

    @property
    def metric(self) -> str:
        return self.spec.metric

    @property
    def title(self) -> str:
        """The name of the metric, such as "ttfa p95 from end of speech"."""
        return figure_name(self.spec)

    @property
    def relative(self) -> bool:
        return self.limit is None

    @property
    def counts(self) -> TargetCounts | None:
        """The counts of turns and sessions for the metric on the target; None if the metric is uncertain."""
        if self.finding is not None:
            return self.finding.targets[1]
        return self.estimate.counts if self.estimate else None

    @property
    def provisional(self) -> bool:
        if self.finding is not None:
            return self.finding.verdict.provisional and self.finding.difference is not None
        return self.estimate is not None and self.estimate.order is not None and self.shortfall is None

    @property
    def shortfall(self) -> Reason | None:
        """The number of turns, sessions or words that the value lacks to be printed; None if it has enough.

        In a comparison, it is the larger shortfall of the two targets.
        """
        if self.finding is not None:
            return self.finding.shortfall
        if self.estimate is None or self.result != "inconclusive" or not self.estimate.counts.turns:
            return None
        counts = self.estimate.counts
        if self.spec.p is not None and counts.sessions < self.estimate.required:
            return too_few_to_print("session", self.estimate.required, counts.sessions)
        return self.spec.statistic.shortfall(self.metric, counts.turns, counts.sessions)

    @property
    def reason_text(self) -> str:
        """The reason for the result; "" if the values of the result show it."""
        return "; ".join(filter(None, (reasons.reason_text(self.reason), self.note)))


def make_row(result: ThresholdResult) -> dict[str, Any]:
    """Return a result as a flat row, which entries of check.json and the frame of a check use."""
    shortfall, counts, finding = result.shortfall, result.counts, result.finding
    row: dict[str, Any] = dict.fromkeys(DTYPES) | {
        "threshold": result.threshold,
        "title": result.title,
        "target": result.target,
        "metric": result.metric,
        "unit": result.spec.unit,
        "result": result.result,
        "provisional": result.provisional,
        "in_failures": False,
    }
    if counts is not None:
        row |= {"turns": counts.turns, "sessions": counts.sessions, "failed": counts.failed}
        row["completed_share"] = finite(counts.completed_share)
        row["effective_sessions"] = finite(counts.effective_sessions)
    if shortfall is not None:
        row |= {"required": shortfall.needed, "available": shortfall.there, "required_unit": f"{shortfall.unit}s"}
    if result.limit is not None:
        row |= {"operator": result.limit.operator, "limit": result.limit.value, "bound": finite(result.bound)}
        if (estimate := result.estimate) is not None and shortfall is None:
            row |= {"value": finite(estimate.value), "low": finite(estimate.low), "high": finite(estimate.high)}
            row["in_failures"] = estimate.value == math.inf
    if finding is not None:
        row |= {
            "verdict": finding.verdict.name,
            "margin": verdicts.margin(finding.spec, sign=True),
            "direction": finding.direction or None,
            "analysis": finding.analysis,
            "corrected": as_share(finding.corrected, finding.spec.scale),
            "sentence": finding_sentences.sentence(finding) if finding.difference else None,
            "more_sessions": finding.verdict.more_sessions,
            "effective_sessions": min((of.effective_sessions for of in finding.targets if of.sessions), default=None),
        }
        difference, (base_shortfall, candidate_shortfall) = finding.difference, finding.shortfalls
        if difference and not base_shortfall:
            row["baseline"] = finite(difference.baseline)
        if difference and not candidate_shortfall:
            row |= {"value": finite(difference.candidate), "in_failures": difference.candidate == math.inf}
        if finding.published:
            row |= dict(zip(("difference", "low", "high"), shares_of(finding.published), strict=True))
    return row


@dataclass(frozen=True)
class CheckResult:
    """The check of one run.

    - `causes` is the reasons why the run is invalid, regardless of its thresholds
    - `baseline` is the baseline as a text
    - `baseline_sentence` is the joint result of the relative thresholds, in the sentence that a comparison would have
    """

    run_id: str
    scenario: str
    simulated: bool
    recorded: bool
    validity: ValidityStatus
    """The validity of the run."""
    thresholds: tuple[ThresholdResult, ...]
    causes: tuple[Reason, ...]
    differs: tuple[str, ...]
    """The conditions of the run that differ from those of the stored baseline."""
    notices: tuple[str, ...]
    baseline: str
    baseline_sentence: str = ""
    on_inconclusive: OnInconclusive = "fail"
    labels: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    """Warnings that a user must not overlook. They are on facts that no threshold covers."""
    observed_s: float = 0.0
    """The seconds from the start of the first session to the end of the last one, for the target with the shortest
    time."""
    decision: Decision | None = field(default=None, compare=False)
    """The decision of the interim analyses, if the run was started with --until-decided and they decide the check."""

    def to_frame(self) -> pd.DataFrame:
        """Return the `thresholds` of check.json as a frame. It has a row for each threshold on each target.

        `value` or `low` is inf if it lies among the failed turns. If the check is invalid, `usable` is false, and
        `reason` states why.
        """
        invalid, rows = self.invalid_reasons, []
        for result in self.thresholds:
            row = make_row(result)
            published = row["value"] is not None or row["in_failures"]
            row |= reasons.use(result.reason, published=published, invalid=invalid, note=result.note)
            row["run_id"] = self.run_id
            if row["in_failures"]:
                row["value"] = math.inf
            if result.estimate is not None and result.estimate.low == math.inf and result.shortfall is None:
                row["low"] = math.inf
            rows.append(row)
        return frame_of(rows, DTYPES)

    def __repr__(self) -> str:
        """Return a summary: Checked(20261120T091400Z-voice_turns: inconclusive, 3 thresholds)."""
        counted = plural(len(self.thresholds), "threshold").replace(NBSP, " ")
        return f"Checked({self.run_id}: {RESULT_OF_STATUS[self.exit_status]}, {counted})"

    def _repr_html_(self) -> str:
        columns = (
            "threshold",
            "target",
            "result",
            "verdict",
            "value",
            "low",
            "high",
            "unit",
            "difference",
            "reason_text",
        )
        return frame_html(repr(self), self.to_frame(), columns, [*map(reasons.reason_line, self.causes)])

    @property
    def invalid_reasons(self) -> list[Reason]:
        """The reasons why the check is invalid. That stored baselines have other conditions is the last one."""
        differs = [Reason("conditions_differ", {"conditions": list(self.differs)})] if self.differs else []
        return [*self.causes, *differs]

    @property
    def called(self) -> str:
        """The name of the scenario with the labels of the run."""
        return title_of(self.scenario, self.labels)

    @property
    def exit_status(self) -> VerdictStatus:
        """The exit status.

        Status 4 has priority over 1, and 1 over 3, because an unmeasured metric neither passes nor fails.

        A run is inconclusive if it is still open and its interim analyses have not decided yet, even if
        --on-inconclusive accepts inconclusive results.
        """
        results = {result.result for result in self.thresholds}
        if self.causes or self.differs or not results or "not_evaluated" in results:
            return INVALID_STATUS
        if "fail" in results:
            return FAIL_STATUS
        is_pending = self.decision is not None and not (self.decision.ended or self.decision.stopped)
        return (
            INCONCLUSIVE_STATUS
            if "inconclusive" in results and (self.on_inconclusive == "fail" or is_pending)
            else PASS_STATUS
        )

    @property
    def warns(self) -> bool:
        """True if the check passes with a warning because a threshold is inconclusive."""
        return self.exit_status == PASS_STATUS and self.on_inconclusive == "warn" and any(self.of("inconclusive"))

    def of(self, *results: Result) -> tuple[ThresholdResult, ...]:
        return tuple(result for result in self.thresholds if result.result in results)


def compared_result(threshold: str, finding: MetricComparison) -> ThresholdResult:
    """Return the result of a relative threshold. It is `not_evaluated` if a target has no value of the metric."""
    there = finding.difference is not None or finding.uncertain is not None
    result: Result = RESULTS[finding.verdict.name] if there else "not_evaluated"
    reason = finding.verdict.reason if there else Reason("no_value_here")
    note = f"the bounds allow for the uncertainty of each value: {finding.widened_by}" if finding.widened_by else ""
    return ThresholdResult(threshold, finding.candidate, finding.spec, result, reason, note, finding=finding)


def finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
