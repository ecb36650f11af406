"""The current decision on a run with planned interim analyses. It is the content of decision.json.

decision.json has the plan, the statistics of every analysis, and the result. With these, the result
can be computed again.
"""

from __future__ import annotations

from typing import Literal

from bench.base.errors import FAIL_STATUS, PASS_STATUS
from bench.record.document import SequentialPlanEntry
from reports.analysis.sequential.analysis import AnalysisEntry, End
from reports.data.runs import RunFrames
from reports.engine.judge import Judged
from reports.results.json_entries import Known
from reports.results.reason import Reason
from reports.results.value import Finding
from reports.results.verdict import Conclusion, VerdictName, VerdictStatus

STATUSES: dict[End, VerdictStatus] = {"not_regressed": PASS_STATUS, "regressed": FAIL_STATUS}
BY_ANALYSIS = "interim_analysis"
"""The `stop_reason` of a run that an interim analysis ended."""


class DecisionDocument(Conclusion, forbid_unknown_fields=True, kw_only=True):
    """The plan of a comparison that may end early, the statistics of every analysis, and the
    result.

    The differences of analyses are logs of ratios, and points for rates (0.01 is one percentage
    point).
    """

    schema: Literal[5] = 5
    run_id: str
    baseline: str
    candidate: str
    simulated: bool
    ended: bool
    """true if the run has ended"""
    stopped: bool
    """true if no further analysis will be made"""
    end: End
    """why no further analysis follows"""
    invalid: list[Reason]
    """why the targets may not be compared; empty if they may"""
    sentence: str = ""
    """the headline, and what ended the run"""
    stop_reason: Known
    """why the run ended, or interim_analysis; null if it continues, or if that is unknown"""
    stopped_by_analysis: bool
    """true if an interim analysis stopped the run"""
    analyses_made: int | None
    """those that took place; `analyses` may have more; null if unknown"""
    pairs: int
    """in the verdict"""
    pairs_after: int
    """complete pairs that are not in the verdict"""
    plan: SequentialPlanEntry
    seed: int
    analyses: tuple[AnalysisEntry, ...]
    primary_metrics: tuple[Finding, ...]

    @property
    def is_decided_by_analysis(self) -> bool:
        """True if an interim analysis gave the result. Something else may have ended the run."""
        return is_decided(self.end, self.invalid)

    @property
    def verdict(self) -> VerdictName:
        """The verdict of all primary metrics together."""
        return (
            self.end if self.end == "regressed" or self.end == "not_regressed" else "inconclusive"
        )

    @property
    def pairs_ended(self) -> int:
        """The number of measured pairs before the first pair that has not ended."""
        return self.pairs + self.pairs_after


def is_decided(end: End, invalid: object) -> bool:
    """Return whether an interim analysis gave the result. `invalid` is false if the targets may
    be compared.
    """
    return end == "invalid" if invalid else end not in ("pending", "no_analysis")


class Decision(DecisionDocument, kw_only=True, eq=False):
    """The decision, with the run and what its pages show in addition.

    `comparisons` has the comparison of both targets for each primary metric, with the values at the
    analysis that decided it.
    """

    run: RunFrames
    comparisons: tuple[Judged, ...]
