"""The comparison of a metric between a candidate and its baseline, and its entry in compare.json and check.json. Pure.

The difference is measured first, and then gets its verdict. `compare`, `check`, and interim analyses use these classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from bench.catalogue.metrics import CATALOGUE
from reports.metrics.metric_spec import MetricSpec, MetricSpecEntry, better_direction
from reports.results.json_entries import ClosedJsonEntry, Count, Known, Rounded, described, entry_from
from reports.results.reason import Reason
from reports.results.verdict import VerdictName
from reports.statistics.baselines import no_ratio
from reports.statistics.differences import LEVEL, Difference, Margin, Scale, as_share
from reports.statistics.target_counts import TargetCounts
from reports.statistics.verdicts import BECAUSE_OF, NOT_AFTER_HOLM, Verdict, floor_reason, verdicts


@dataclass(frozen=True)
class MeasuredDifference:
    """The difference of one metric between two targets, before it has a verdict.

    Pairs of values have the baseline first.
    """

    spec: MetricSpec
    candidate: str
    difference: Difference | None
    """The difference; None if a target has no value of the metric, or the metric is too uncertain in a run."""
    targets: tuple[TargetCounts, TargetCounts]
    uncertain: Reason | None = None
    """The reason why the metric is too uncertain in a run; None if it is certain enough."""
    unit: Literal["session", "pair"] = "session"
    widened_by: str = ""
    """The maximum errors of values for which the bounds of the difference allow, as text; "" if exact."""

    def floor(self, baseline: str) -> Reason | None:
        """Return the reason why the metric cannot be decided; None if it can be decided.

        The reasons are an uncertain metric, no or too few turns, and a baseline of 0, to which there is no ratio.
        """
        if self.uncertain:
            return self.uncertain
        names = [baseline, self.candidate]
        if lacking := [name for name, target in zip(names, self.targets, strict=True) if not target.turns]:
            return Reason("no_turns", {"metric": self.spec.metric, "targets": lacking})
        counts = [(target.turns, target.sessions, target.effective_sessions) for target in self.targets]
        turns, sessions, effective_sessions = zip(*counts, strict=True)
        reason = floor_reason(self.spec.p, turns, sessions, self.unit, names, effective_sessions)
        if reason and reason.unit == "turn" and CATALOGUE[self.spec.metric].scope == "session":
            return Reason(reason.code, reason.numbers | {"unit": "session"})
        return reason or (Reason("no_ratio") if self.difference and no_ratio(self.difference) else None)


@dataclass(frozen=True, kw_only=True)
class MetricComparison(MeasuredDifference):
    """The comparison of one metric of one candidate, with its verdict."""

    verdict: Verdict
    analysis: int | None = None
    """The number of the interim analysis that decided the metric, from 1."""
    corrected: float = math.nan
    """The difference at an interim analysis, corrected for the bias of stopping early; NaN without interim analyses."""
    baseline: str = "the baseline"
    peers: bool = False
    """True if two services are compared and neither is the baseline of the other.

    The verdicts are then "slower" and "faster", not "regressed" and "improved".
    """

    @property
    def direction(self) -> Literal["worse", "better", ""]:
        """The direction of the difference if the whole interval is on one side of 0; the margin does not matter.

        It is "" if the interval contains 0, or if there are too few data.
        """
        difference = self.difference
        if difference is None or self.verdict.reason not in (None, NOT_AFTER_HOLM, *BECAUSE_OF.values()):
            return ""
        if difference.low > 0 or difference.high < 0:
            return "worse" if (difference.low > 0) == (better_direction(self.spec) == "lower") else "better"
        return ""

    @property
    def required_sessions(self) -> float:
        """The approximate number of sessions per target (or of pairs) that would decide the metric.

        It is inf if no number would decide the metric, and NaN if it is decided.
        """
        verdict, reason = self.verdict, self.verdict.reason
        if verdict.name != "inconclusive":
            return math.nan
        if reason and reason.code == "too_few":
            turns_per_session = (
                [n / g for n, g in zip(self.turns, self.sessions, strict=True) if g] if reason.unit == "turn" else []
            )
            return math.ceil(reason.needed / min(turns_per_session, default=1.0))
        difference = self.difference
        if difference is not None and verdict.more_sessions:
            return max(self.sessions) + verdict.more_sessions
        bounded = difference is not None and math.isfinite(difference.low) and math.isfinite(difference.high)
        return math.inf if bounded and (not reason or reason.code == "none_seen") else math.nan

    @property
    def turns(self) -> tuple[int, int]:
        """The number of turns of the baseline and of the candidate. Every pair in this class has the baseline first."""
        return self.targets[0].turns, self.targets[1].turns

    @property
    def sessions(self) -> tuple[int, int]:
        return self.targets[0].sessions, self.targets[1].sessions

    @property
    def failed(self) -> tuple[int, int]:
        return self.targets[0].failed, self.targets[1].failed

    @property
    def completed_shares(self) -> tuple[float, float]:
        return self.targets[0].completed_share, self.targets[1].completed_share

    @property
    def shortfalls(self) -> tuple[Reason | None, Reason | None]:
        """For each target, how many turns or sessions its value lacks to be shown.

        A shortfall is None if the value has enough of them. Both are None if the metric is decided or has no
        difference.
        """
        if self.difference is None or self.verdict.name != "inconclusive":
            return None, None
        statistic, metric = self.spec.statistic, self.spec.metric
        base, candidate = (statistic.shortfall(metric, target.turns, target.sessions) for target in self.targets)
        return base, candidate

    @property
    def shortfall(self) -> Reason | None:
        """The larger of the two shortfalls, relative to the number that is needed; None without a shortfall."""
        return min(filter(None, self.shortfalls), key=lambda one: one.there / one.needed, default=None)

    @property
    def published(self) -> Difference | None:
        """The difference; None if it does not exist, or if a target has too few turns or sessions to show it."""
        return None if self.shortfall else self.difference


def add_verdicts(
    differences: Sequence[MeasuredDifference], baseline: str, *, level: float = LEVEL
) -> list[MetricComparison]:
    """Return each measured difference with its verdict. Holm's correction covers only the primary metrics.

    `baseline` is the name of the baseline, which the texts of reasons use.
    """
    judged = verdicts(
        [measured.difference for measured in differences],
        [measured.spec.primary for measured in differences],
        [measured.floor(baseline) for measured in differences],
        level=level,
    )
    comparisons = []
    for measured, verdict in zip(differences, judged, strict=True):
        if (difference := measured.difference) and verdict.name == "inconclusive" and not verdict.reason:
            unseen = measured.spec.statistic.nothing_seen(measured.spec, difference, measured.targets[1])
            if needed := difference.baseline_sessions:
                unseen = Reason("few_baseline", {"needed": needed, "there": [measured.targets[0].sessions]})
            verdict = replace(verdict, reason=unseen)
        comparisons.append(MetricComparison(**vars(measured), verdict=verdict, baseline=baseline))
    return comparisons


def provisional(comparison: MetricComparison) -> MetricComparison:
    """Return the comparison with a provisional verdict. It depends on an assumption that more runs would test."""
    return replace(comparison, verdict=replace(comparison.verdict, provisional=True))


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


def entry_of(comparison: MetricComparison, sentence: str) -> ComparisonEntry:
    """Return a comparison as an entry of a document, with its text."""
    spec, verdict, difference, entry = comparison.spec, comparison.verdict, comparison.published, None
    if difference:
        estimate, low, high = (math.nan if end is None else end for end in difference.shares)
        infinite = {f"{name}_in_failures": math.isinf(getattr(difference, name)) for name in ("baseline", "candidate")}
        entry = entry_from(
            DifferenceEntry, difference, confidence=round(1 - difference.level, 12), estimate=estimate, low=low,
            high=high, worse_low=difference.worse.low, worse_high=difference.worse.high, p_worse=difference.worse.p,
            better_low=difference.better.low, p_better=difference.better.p, **infinite,
        )  # fmt: skip
    corrected = as_share(comparison.corrected, spec.scale)
    names: dict[str, type[CountsEntry | SharesEntry]] = {
        "turns": CountsEntry, "sessions": CountsEntry, "failed": CountsEntry,
        "completed_share": SharesEntry, "effective_sessions": SharesEntry,
    }  # fmt: skip
    both = {name: kind(*(getattr(target, name) for target in comparison.targets)) for name, kind in names.items()}
    return entry_from(
        ComparisonEntry, spec, verdict, comparison, **spec.entry_fields, verdict=verdict.name, sentence=sentence,
        direction=comparison.direction or None, difference=entry, **both,
        corrected=math.nan if corrected is None else corrected,
    )  # fmt: skip
