"""The current decision on a run with planned interim analyses, as a sentence, as a table, and as decision.json.

decision.json has the plan, the statistics of every analysis, and the result. With these, the result can be computed
again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from bench.base.errors import FAIL_STATUS, INCONCLUSIVE_STATUS, INVALID_STATUS, PASS_STATUS, UsageError
from bench.files.safe_io import replace_text
from bench.record.document import GIVEN_UP, INTERRUPTED
from reports.analysis.metric_comparison import MetricComparison
from reports.analysis.sequential.analysis import End, SequentialResult
from reports.analysis.sequential.plan import SequentialPlan
from reports.data.runs import RunFrames, run_id_of
from reports.formatting import NBSP, NONE, count, format_duration, plural
from reports.metrics.metric_spec import MetricSpec, MetricSpecEntry
from reports.render.blocks import MARKS, Block, Paragraph, make_row, table
from reports.results.json_entries import ClosedJsonEntry, Known, Number, described, text_of
from reports.results.reason import Reason, unique
from reports.results.verdict import RESULT_OF_STATUS, Conclusion, VerdictName, VerdictStatus
from reports.statistics.differences import Margin, Order, Scale
from reports.text.finding_sentences import answer, answer_details
from reports.text.reasons import document_data, reason_text
from reports.text.validity import do_not_use
from reports.text.verdicts import metric_text

STATUSES: dict[End, VerdictStatus] = {"not_regressed": PASS_STATUS, "regressed": FAIL_STATUS}


@dataclass(frozen=True)
class Decision:
    """The current decision on a run with planned interim analyses.

    - `primary_metrics` are the gates, in the same order as the decisions in `result`.
    - `pairs` is the number of measured pairs before the first pair that has not ended.
    - `invalid` are the reasons why the values of a run must not be used; empty if they may.
    """

    run: RunFrames
    targets: tuple[str, str]
    plan: SequentialPlan
    primary_metrics: tuple[MetricSpec, ...]
    result: SequentialResult
    pairs: int
    seed: int
    ended: bool
    invalid: tuple[Reason, ...]
    findings: tuple[MetricComparison, ...]
    """The comparison of both targets for each gate. Its values are those at the analysis that decided the gate."""
    observed_s: tuple[float, ...]
    """For each analysis, the time from the start of the first session to the end of the last session of its pairs."""

    @property
    def stopped(self) -> bool:
        """True if no further interim analysis of this run will follow."""
        return self.result.stopped or bool(self.invalid)

    @property
    def is_decided_by_analysis(self) -> bool:
        """True if an interim analysis gave the result. Something else may have ended the run."""
        reason = self.result.reason
        return reason == "invalid" if self.invalid else reason not in ("pending", "no_analysis")

    @property
    def stopped_by_analysis(self) -> bool:
        """True if an interim analysis gave the result and ended the run, or was the final one of all planned pairs."""
        if not self.is_decided_by_analysis:
            return False
        document = self.run.metadata
        if not self.ended or self.used == self.plan.analyses[-1]:
            return True
        if (during := document.get("interim_analyses")) is not None:
            return bool(during["stopped"])
        ended_otherwise = document.get("aborted_because") or document.get("stop_reason") == INTERRUPTED
        return self.result.reason not in ("final_analysis", "stopped_by_user") and not ended_otherwise

    @property
    def analyses_made(self) -> int | None:
        """The number of analyses that took place; None if it is unknown.

        After an early end, the data may be enough for analyses that were not made during the run. In a run that is
        invalid for another reason, they do not count.
        """
        computed = len(self.result.analyses)
        if not self.ended or self.is_decided_by_analysis or not self.invalid:
            return computed
        during = self.run.metadata.get("interim_analyses")
        return None if during is None else min(computed, during["made"])

    @property
    def stop_reason(self) -> str:
        """Why the run ended, in words; "" if it continues, or if that is unknown."""
        during = self.run.metadata.get("interim_analyses")
        if during is not None and during["stopped"]:
            return "an interim analysis stopped it"
        return str(self.run.metadata.get("stop_reason") or "").removeprefix(GIVEN_UP).rstrip(".")

    @property
    def verdict(self) -> VerdictName:
        """The verdict of all gates together."""
        reason = self.result.reason
        return reason if reason == "regressed" or reason == "not_regressed" else "inconclusive"

    @property
    def exit_status(self) -> VerdictStatus:
        """The exit status of `rtbench check`.

        It is 4 if the run is invalid, 1 if a metric regressed, 0 if every primary metric passes, otherwise 3.
        """
        return INVALID_STATUS if self.invalid else STATUSES.get(self.result.reason, INCONCLUSIVE_STATUS)

    @property
    def used(self) -> int:
        """The number of pairs that the last analysis used; 0 without an analysis."""
        return self.result.analyses[-1].pairs if self.result.analyses else 0

    @property
    def after(self) -> int:
        """The number of complete pairs that the last analysis did not use."""
        return self.pairs - self.used


WITHOUT_RUN_SD = f"; {NONE}: all pairs are equal, so there is no standard error, and only the bound decides"

FOR_INFORMATION = "For information only, not a verdict: interim analyses of these pairs, computed after the run."
DRIFTED = "Provisional: one target drifted or had bursts."


def decision_sentence(decision: Decision) -> str:
    """Return the answer, its details, and the analysis that gave the result, as sentences."""
    return " ".join(filter(None, (decision_headline(decision), decision_details(decision))))


def decision_headline(decision: Decision) -> str:
    """Return the answer as one sentence."""
    reason, planned = decision.result.reason, decision.plan.analyses
    if decision.invalid:
        return do_not_use(decision.invalid)
    if reason == "pending":
        analysis_count = len(decision.result.analyses)
        status = f"Not decided after {analysis_place(decision)}" if analysis_count else "No interim analysis yet"
        ended = f"{plural(decision.pairs, 'pair')} ended so far"
        return f"{status}: {ended}, the next analysis is at {count(planned[analysis_count])}."
    if reason == "no_analysis":
        pairs = f"{count(decision.pairs)} of {count(planned[0])} pairs"
        return f"Inconclusive: the run ended before its first interim analysis, with {pairs}{_because(decision)}."
    return answer(decision.findings)


def decision_details(decision: Decision) -> str:
    """Return the text after the headline: the confidence, the other metrics, and what ended the run.

    Return "" if the run has not ended, or ended before its first analysis.
    """
    if not decision.is_decided_by_analysis:
        return end_sentence(decision) if decision.ended and decision.invalid else ""
    drifted = not decision.invalid and any(metric_decision.provisional for metric_decision in decision.result.decisions)
    return " ".join(filter(None, (_details(decision), DRIFTED if drifted else "", end_sentence(decision))))


def _details(decision: Decision) -> str:
    """Return the confidence and the other metrics.

    Return "" if no analysis gave the result, or if the run is invalid.

    """
    decided = decision.is_decided_by_analysis and not decision.invalid
    return answer_details(decision.findings, settle=False) if decided else ""


def outcome(decision: Decision) -> str:
    """Return the answer and its confidence, without the sentence about the end of the run."""
    return " ".join(filter(None, (decision_headline(decision), _details(decision))))


def end_sentence(decision: Decision) -> str:
    """Return a sentence that states what ended the run, and the last analysis or the number of analyses."""
    plan = decision.plan
    if decision.stopped_by_analysis and decision.result.reason == "futility":
        futile = f"it would stay inconclusive at {plural(plan.pairs, 'pair')}"
        return f"Stopped for futility at {analysis_place(decision)}: {futile}."
    if decision.stopped_by_analysis:
        return f"Stopped at {analysis_place(decision)}."
    ended = f"The run ended at {count(decision.pairs)} of {count(plan.pairs)} pairs{_because(decision)}"
    if decision.is_decided_by_analysis:
        return f"{ended}; its last analysis was {analysis_place(decision)}."
    return f"{ended}{made}." if (made := made_text(decision)) else f"{ended}."


def made_text(decision: Decision) -> str:
    """Return the number of analyses, such as `; 0 of 5 interim analyses took place`; "" if it is unknown."""
    planned = plural(len(decision.plan.analyses), "interim analysis", "interim analyses")
    return "" if decision.analyses_made is None else f"; {count(decision.analyses_made)} of {planned} took place"


def _because(decision: Decision) -> str:
    """Return why the run ended, in parentheses; "" if it is unknown, or if the headline states it."""
    reason, causes = decision.stop_reason, map(reason_text, decision.invalid)
    return f" ({reason})" if reason and reason not in causes else ""


def analysis_place(decision: Decision) -> str:
    """Return the last analysis that was made, such as `interim analysis 3 of 10, 150 pairs over 5 min`."""
    analysis_count, planned = len(decision.result.analyses), len(decision.plan.analyses)
    kind = "final" if analysis_count == planned else "interim"
    pairs = f"{plural(decision.used, 'pair')} over {format_duration(decision.observed_s[-1])}"
    return f"{kind} analysis{NBSP}{analysis_count} of {planned}, {pairs}"


def analyses(decision: Decision) -> Iterable[Block]:
    """Yield a table of the interim analyses: the critical values, and the z-score of each primary metric."""
    if not decision.result.analyses:
        return
    if decision.invalid and not decision.is_decided_by_analysis:
        yield Paragraph(FOR_INFORMATION)
    rows = []
    for k, analysis in enumerate(decision.result.analyses):
        cells = [
            ("n/a" if statistic.untested else NONE if statistic.se == 0 else _signed(statistic.z))
            + (
                f" {MARKS[metric_decision.verdict].marker}"
                if k >= metric_decision.analysis and metric_decision.verdict in STATUSES
                else "  "
            )
            for statistic, metric_decision in zip(analysis.statistics, decision.result.decisions, strict=True)
        ]
        place = f"{k + 1}", count(analysis.pairs), format_duration(decision.observed_s[k])
        rows.append(make_row([*place, _signed(analysis.c_first), _signed(-analysis.c), *cells]))
    yield table(
        ("analysis", "pairs", "over", "fail above", "pass below", *map(metric_text, decision.primary_metrics)), rows
    )
    has_no_se = any(
        not statistic.untested and statistic.se == 0
        for analysis in decision.result.analyses
        for statistic in analysis.statistics
    )
    yield Paragraph(f"z-scores relative to the margin{WITHOUT_RUN_SD if has_no_se else ''}.", "soft")


def _signed(z: float) -> str:
    return ("+∞" if z > 0 else "−∞") if math.isinf(z) else f"{z:+.2f}".replace("-", "−")


SCHEMA: Literal[3] = 3
NAME = "decision.json"


class AnalyzedMetricEntry(ClosedJsonEntry, frozen=True):
    """The statistic of one primary metric at an analysis."""

    name: str
    d: Number
    excess: Number
    se: Number
    df: Number
    z: Number
    untested: Reason | None
    order: Annotated[Order | None, described("found in one target: the standard error is that of parts of the run")]


class AnalysisEntry(ClosedJsonEntry, frozen=True):
    """An analysis that was made."""

    pairs: int
    observed_s: Annotated[
        Number, described("from the start of the first to the end of the last session of these pairs")
    ]
    information_fraction: float
    critical_value: Number
    critical_value_first: Number
    primary_metrics: list[AnalyzedMetricEntry]


class DecidedMetricEntry(MetricSpecEntry, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The decision on one primary metric."""

    name: str
    step: Known
    margin: Margin
    scale: Scale
    verdict: VerdictName
    reason: Reason | None
    provisional: Annotated[bool, described("drift or bursts were found at the analysis that decided")] = False
    analysis: int
    pairs: int
    d: Number
    low: Number
    high: Number
    corrected: Number


class DecisionDocument(Conclusion, frozen=True, forbid_unknown_fields=True):
    """The plan of a comparison that may end early, the statistics of every analysis, and the result.

    Differences are logs of ratios, and points for rates (0.01 is one percentage point); null if open or unknown.
    """

    schema: Literal[3]
    run_id: str
    baseline: str
    candidate: str
    simulated: bool
    ended: Annotated[bool, described("true if the run has ended")]
    stopped: Annotated[bool, described("true if no further analysis will be made")]
    end: Annotated[End, described("why no further analysis follows")]
    invalid: Annotated[list[Reason], described("why the targets may not be compared; empty if they may")]
    sentence: Annotated[str, described("the headline, and what ended the run")]
    stop_reason: Annotated[Known, described("why the run ended; null if it continues, or if that is unknown")]
    stopped_by_analysis: Annotated[bool, described("true if an interim analysis stopped the run")]
    analyses_made: Annotated[int | None, described("those that took place; `analyses` may have more; null if unknown")]
    pairs: Annotated[int, described("in the verdict")]
    pairs_after: Annotated[int, described("complete pairs that are not in the verdict")]
    plan: SequentialPlan
    seed: int
    analyses: list[AnalysisEntry]
    primary_metrics: list[DecidedMetricEntry]


def write_decision(decision: Decision, folder: Path) -> Path:
    """Write decision.json. Raise UsageError if the folder is not writable."""
    path = folder / NAME
    try:
        replace_text(path, text_of(decision_data(decision)))
    except OSError as error:
        raise UsageError(f"the decision cannot be written to {folder}: {error.strerror}") from None
    return path


def decision_data(decision: Decision) -> dict[str, Any]:
    """Return the decision as data for JSON: dictionaries, lists, strings, and numbers."""
    run, result = decision.run, decision.result
    return document_data(
        DecisionDocument(
            schema=SCHEMA,
            run_id=run_id_of(run),
            baseline=decision.targets[0],
            candidate=decision.targets[1],
            simulated=run.simulated,
            ended=decision.ended,
            stopped=decision.stopped,
            result=RESULT_OF_STATUS[decision.exit_status],
            exit_status=decision.exit_status,
            headline=outcome(decision),
            end=result.reason,
            invalid=unique(decision.invalid),
            sentence=decision_sentence(decision),
            stop_reason=decision.stop_reason,
            stopped_by_analysis=decision.stopped_by_analysis,
            analyses_made=decision.analyses_made,
            pairs=decision.used,
            pairs_after=decision.after,
            plan=decision.plan,
            seed=decision.seed,
            analyses=[
                AnalysisEntry(
                    analysis.pairs,
                    observed_s,
                    analysis.pairs / decision.plan.pairs,
                    analysis.c,
                    analysis.c_first,
                    [
                        AnalyzedMetricEntry(
                            gate.name,
                            statistic.d,
                            statistic.excess,
                            statistic.se,
                            statistic.df,
                            statistic.z,
                            statistic.untested,
                            statistic.order,
                        )
                        for gate, statistic in zip(decision.primary_metrics, analysis.statistics, strict=True)
                    ],
                )
                for analysis, observed_s in zip(result.analyses, decision.observed_s, strict=True)
            ],
            primary_metrics=[
                DecidedMetricEntry(
                    **gate.entry_fields,
                    name=gate.name,
                    step=gate.step,
                    margin=gate.margin,
                    scale=gate.scale,
                    verdict=metric_decision.verdict,
                    reason=metric_decision.reason,
                    provisional=metric_decision.provisional,
                    analysis=metric_decision.analysis + 1,
                    pairs=result.analyses[metric_decision.analysis].pairs,
                    d=metric_decision.d,
                    low=metric_decision.low,
                    high=metric_decision.high,
                    corrected=metric_decision.corrected,
                )
                for gate, metric_decision in zip(decision.primary_metrics, result.decisions, strict=False)
            ],
        )
    )
