"""The comparison of a metric between a candidate and its baseline, as an entry of compare.json and check.json."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from reports.analysis.metric_comparison import MetricComparison
from reports.metrics.metric_spec import MetricSpecEntry
from reports.results.json_entries import ClosedJsonEntry, Count, Known, Rounded, described
from reports.results.reason import Reason
from reports.results.verdict import VerdictName
from reports.statistics.differences import Margin, Scale
from reports.text.finding_rows import shares_of
from reports.text.finding_sentences import sentence
from reports.text.verdicts import as_share, metric_text


class DifferenceEntry(ClosedJsonEntry, frozen=True):
    """The difference of the candidate from the baseline, with its bounds."""

    scale: Annotated[Scale, described("ratio: candidate / baseline − 1; points: candidate − baseline, of shares")]
    confidence: Annotated[float, described("type I error of each one-sided bound")]
    baseline: Annotated[Rounded, described("in the unit of the metric; null if infinite because too many turns failed")]
    candidate: Rounded
    estimate: Annotated[Rounded, described("on the scale: 0.2 is +20 %, or 20 points")]
    low: Annotated[Rounded, described("lower one-sided bound; null if it is unbounded")]
    high: Rounded
    se: Annotated[Rounded, described("standard error; of a ratio, that of its logarithm")]
    df: Rounded
    worse_low: Annotated[
        Rounded,
        described(
            "lower bound of the candidate's excess over the margin (of a ratio, its logarithm): worse if above 0"
        ),
    ]
    worse_high: Rounded
    better_low: Rounded
    p_worse: Rounded
    p_better: Rounded
    baseline_in_failures: bool
    candidate_in_failures: bool


class CountsEntry(ClosedJsonEntry, frozen=True):
    """A count for each of the two targets."""

    baseline: Count
    candidate: Count


class SharesEntry(ClosedJsonEntry, frozen=True):
    """A share for each of the two targets; null for rates."""

    baseline: Rounded
    candidate: Rounded


class ComparisonEntry(MetricSpecEntry, frozen=True, forbid_unknown_fields=True):
    """One metric of a candidate compared with its baseline. Values are in the unit of the metric; rates are shares."""

    candidate: str
    title: str
    step: Known
    unit: str
    primary: bool
    margin: Margin
    verdict: VerdictName
    passes: bool
    direction: Annotated[
        Literal["worse", "better"] | None,
        described("the direction of the difference; null if the interval contains 0"),
    ]
    provisional: Annotated[bool, described("run-to-run variation was assumed, or the latency of one target drifted")]
    reason: Annotated[Reason | None, described("why it is inconclusive, if the interval does not show it")]
    more_sessions: Annotated[
        int | None, described("estimated number of further sessions per target, or pairs, for a verdict")
    ]
    sentence: str
    difference: Annotated[DifferenceEntry | None, described("null if a target has no such value")]
    turns: CountsEntry
    sessions: CountsEntry
    failed: CountsEntry
    completed_share: Annotated[SharesEntry, described("share of the planned turns that have a value")]
    effective_sessions: Annotated[SharesEntry, described("effective number of sessions, if they are of unequal length")]
    analysis: Annotated[int | None, described("the interim analysis that decided, from 1")]
    corrected: Annotated[Rounded, described("at an interim analysis, the estimate corrected for the early stop")]


def entry_of(finding: MetricComparison) -> ComparisonEntry:
    """Return a comparison as an entry of a document."""
    spec, difference, verdict, difference_entry = finding.spec, finding.published, finding.verdict, None
    if difference:
        estimate, low, high = (math.nan if end is None else end for end in shares_of(difference))
        difference_entry = DifferenceEntry(
            scale=difference.scale,
            confidence=round(1 - difference.level, 12),
            baseline=difference.baseline,
            candidate=difference.candidate,
            estimate=estimate,
            low=low,
            high=high,
            se=difference.se,
            df=difference.df,
            worse_low=difference.worse.low,
            worse_high=difference.worse.high,
            better_low=difference.better.low,
            p_worse=difference.worse.p,
            p_better=difference.better.p,
            baseline_in_failures=math.isinf(difference.baseline),
            candidate_in_failures=math.isinf(difference.candidate),
        )
    return ComparisonEntry(
        **spec.entry_fields,
        candidate=finding.candidate,
        title=metric_text(spec),
        step=spec.step,
        unit=spec.unit,
        primary=spec.primary,
        margin=spec.margin,
        verdict=verdict.name,
        passes=verdict.passes,
        direction=finding.direction or None,
        provisional=verdict.provisional,
        reason=verdict.reason,
        more_sessions=verdict.more_sessions,
        sentence=sentence(finding),
        difference=difference_entry,
        turns=CountsEntry(*finding.turns),
        sessions=CountsEntry(*finding.sessions),
        failed=CountsEntry(*finding.failed),
        completed_share=SharesEntry(*finding.completed_shares),
        effective_sessions=SharesEntry(*(counts.effective_sessions for counts in finding.targets)),
        analysis=finding.analysis,
        corrected=math.nan if (corrected := as_share(finding.corrected, spec.scale)) is None else corrected,
    )
