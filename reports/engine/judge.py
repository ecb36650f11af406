"""A metric of a target that is judged against a limit, or against the same metric of a baseline.
Pure.

The difference from a baseline is measured first, and then gets its verdict, because Holm's
correction covers several metrics. `compare`, `check`, and interim analyses judge in the same way.
Their documents contain a `Finding` for each.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from msgspec.structs import asdict

from bench.catalogue.metrics import CATALOGUE
from reports.metrics.metric_spec import MetricSpec, better_direction
from reports.metrics.strata import NO_STRATUM
from reports.results.value import (
    IN_FAILURES,
    RESULTS,
    AnyFinding,
    BaselineFinding,
    Finding,
    FindingTexts,
    LimitFinding,
    Reason,
    Reasons,
    Result,
    Sign,
    StoredFinding,
    Value,
    as_share,
    too_few_to_print,
)
from reports.statistics.differences import Difference, OneSidedBounds
from reports.statistics.threshold_estimate import TargetCounts, ThresholdEstimate
from reports.statistics.verdicts import BECAUSE_OF, NOT_AFTER_HOLM, Verdict, floor_reason, verdicts

NO_VERDICT = Verdict("inconclusive")
NO_VALUE = Reason("no_value_here")
"""The reason of a relative threshold that is not evaluated, because a target has no value of the
metric."""
STORED_RUNS = "the stored runs"
"""The name of the baseline if a target is compared with stored runs."""
UNTESTED = OneSidedBounds(math.nan, math.nan, math.nan)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One metric of one target, with its verdict.

    - `targets` has the counts of the baseline, then those of the target; only the latter if there
      is a `limit`
    - `threshold` is the text of the threshold; "" if no threshold asks for the verdict
    - `estimate` is None if there is no limit, or if the metric is too uncertain in the run
    - `bound` is the bound by which a limit was passed or failed
    - `difference` is None if there is a limit, if a target has no value, or if the metric is too
      uncertain in a run
    - `unfit` is the reason why the metric cannot be compared: it is too uncertain, or no run is
      stored
    - `cluster` is the unit that is resampled
    - `assumes` is True if the verdict depends on an assumption that more runs would make
      unnecessary
    - `analysis` is the number of the interim analysis that decided, from 1. `corrected` is then the
      difference, corrected for the bias of stopping early.
    - `peers` is True if two services are compared and neither is the baseline of the other. The
      verdicts are then "slower" and "faster", not "regressed" and "improved".
    - `notes` are what the values do not show
    """

    spec: MetricSpec
    target: str
    targets: tuple[TargetCounts, ...]
    threshold: str = ""
    operator: Sign = "<"
    limit: float | None = None
    estimate: ThresholdEstimate | None = None
    bound: float = math.nan
    difference: Difference | None = None
    unfit: Reason | None = None
    cluster: Literal["session", "pair"] = "session"
    assumes: bool = False
    verdict: Verdict = NO_VERDICT
    analysis: int | None = None
    corrected: float = math.nan
    baseline: str = "the baseline"
    peers: bool = False
    notes: Reasons = ()

    @property
    def title(self) -> str:
        return self.spec.title

    @property
    def relative(self) -> bool:
        return self.limit is None

    @property
    def result(self) -> Result:
        return "not_evaluated" if self.reason == NO_VALUE else RESULTS[self.verdict.name]

    @property
    def reason(self) -> Reason | None:
        return self.verdict.reason

    @property
    def provisional(self) -> bool:
        return self.verdict.provisional and (self.difference or self.estimate) is not None

    @property
    def counts(self) -> TargetCounts:
        """The counts of the target, which is not the baseline."""
        return self.targets[-1]

    def each(self, name: Literal["turns", "sessions", "failed", "completed_share"]) -> list[float]:
        """Return a count of each target, the baseline first."""
        return [getattr(target, name) for target in self.targets]

    def floor(self, baseline: str) -> Reason | None:
        """Return the reason why the difference cannot be decided; None if it can be decided.

        The reasons are an uncertain metric, no or too few turns, and a baseline of 0, to which
        there is no ratio.
        """
        from reports.statistics.baselines import no_ratio

        if self.unfit:
            return self.unfit
        names = [baseline, self.target]
        if lacking := [
            name for name, target in zip(names, self.targets, strict=True) if not target.turns
        ]:
            return Reason("no_turns", {"metric": self.spec.metric, "targets": lacking})
        counts = [
            (target.turns, target.sessions, target.effective_sessions) for target in self.targets
        ]
        turns, sessions, effective_sessions = zip(*counts, strict=True)
        reason = floor_reason(self.spec.p, turns, sessions, self.cluster, names, effective_sessions)
        if reason and reason.unit == "turn" and CATALOGUE[self.spec.metric].scope == "session":
            return Reason(reason.code, reason.numbers | {"unit": "session"})
        return reason or (
            Reason("no_ratio") if self.difference and no_ratio(self.difference) else None
        )

    @property
    def direction(self) -> Literal["worse", "better", ""]:
        """The direction of the difference if the whole interval is on one side of 0; the margin
        does not matter.

        It is "" if the interval contains 0, or if there are too few data.
        """
        difference = self.difference
        if difference is None or self.reason not in (None, NOT_AFTER_HOLM, *BECAUSE_OF.values()):
            return ""
        if difference.low > 0 or difference.high < 0:
            return (
                "worse"
                if (difference.low > 0) == (better_direction(self.spec) == "lower")
                else "better"
            )
        return ""

    @property
    def runs_differ(self) -> bool:
        """True if no number of sessions would decide, because runs of one service differ."""
        return (
            math.isinf(self.required_sessions)
            and self.verdict.provisional
            and self.difference is not None
            and not self.difference.order
        )

    @property
    def required_sessions(self) -> float:
        """The approximate number of sessions per target (or of pairs) that would decide the metric.

        It is inf if no number would decide the metric, and NaN if it is decided.
        """
        difference = self.difference
        reason = self.reason
        if self.verdict.name != "inconclusive":
            return math.nan
        if reason and reason.code == "too_few":
            of_turns = [
                target for target in self.targets if target.sessions and reason.unit == "turn"
            ]
            return math.ceil(
                reason.needed / min((of.turns / of.sessions for of in of_turns), default=1.0)
            )
        if difference is not None and self.verdict.more_sessions:
            return max(self.each("sessions")) + self.verdict.more_sessions
        bounded = (
            difference is not None
            and math.isfinite(difference.low)
            and math.isfinite(difference.high)
        )
        return math.inf if bounded and (not reason or reason.code == "none_seen") else math.nan

    @property
    def shortfalls(self) -> list[Reason | None]:
        """For each target, how many turns or sessions its value lacks to be shown.

        A shortfall is None if the value has enough of them. All are None if the metric is decided
        or has no value.
        """
        found = self.difference or self.estimate
        counts = self.counts
        if found is None or self.verdict.name != "inconclusive" or not counts.turns:
            return [None] * len(self.targets)
        if self.estimate and self.spec.p is not None and counts.sessions < self.estimate.required:
            return [too_few_to_print("session", self.estimate.required, counts.sessions)]
        return [
            self.spec.statistic.shortfall(self.spec.metric, target.turns, target.sessions)
            for target in self.targets
        ]

    @property
    def shortfall(self) -> Reason | None:
        """The largest shortfall, relative to the number that is needed; None without a
        shortfall.
        """
        return min(
            filter(None, self.shortfalls), key=lambda one: one.there / one.needed, default=None
        )

    @property
    def published(self) -> Difference | None:
        """The difference; None if it does not exist, or if a target has too few turns or
        sessions to show it.
        """
        return None if self.shortfall else self.difference

    @property
    def measured(self) -> tuple[float, float, float]:
        """The value that has a limit, and its interval of 95 %; NaN if there are too few samples
        to show it.
        """
        estimate = self.estimate
        return (
            (estimate.value, estimate.low, estimate.high)
            if estimate and not self.shortfall
            else (math.nan,) * 3
        )


def add_verdicts(differences: Sequence[Judged], baseline: str, *, level: float) -> list[Judged]:
    """Return each measured difference with its verdict. Holm's correction covers only the primary
    metrics.

    `baseline` is the name of the baseline, which the texts of reasons use.
    """
    judged = verdicts(
        [measured.difference for measured in differences],
        [measured.spec.primary for measured in differences],
        [measured.floor(baseline) for measured in differences],
        level=level,
    )
    found = []
    for measured, verdict in zip(differences, judged, strict=True):
        if (
            (difference := measured.difference)
            and verdict.name == "inconclusive"
            and not verdict.reason
        ):
            unseen = measured.spec.statistic.nothing_seen(
                measured.spec, difference, measured.counts
            )
            if needed := difference.baseline_sessions:
                unseen = Reason(
                    "few_baseline", {"needed": needed, "there": [measured.targets[0].sessions]}
                )
            unscored = next((note for note in measured.notes if note.code == "unscored"), None)
            if unscored:
                notes = tuple(note for note in measured.notes if note != unscored)
                measured = replace(measured, notes=notes)
            verdict = replace(verdict, reason=unscored or unseen)
        verdict = replace(verdict, provisional=verdict.provisional or measured.assumes)
        found.append(replace(measured, verdict=verdict))
    return found


def _value_of(
    spec: MetricSpec, target: str, counts: TargetCounts, measured: tuple[float, float, float]
) -> Value:
    """Return a value of a target, and its interval."""
    stratum = spec.stratum or NO_STRATUM
    value, low, high = measured
    return Value(
        target=target,
        measured_from=stratum.measured_from,
        turn_type=stratum.turn_type,
        step=spec.step,
        metric=spec.metric,
        statistic=spec.statistic_name,
        value=value,
        low=low,
        high=high,
        n=counts.turns,
        failed=counts.failed,
        unscored=counts.unscored,
        sessions=counts.sessions,
        effective_sessions=counts.effective_sessions,
        reason=IN_FAILURES if value == math.inf else None,
    )


def finding_of(
    judged: Judged, sentence: str = "", note: str = "", texts: FindingTexts | None = None
) -> AnyFinding:
    """Return a judged metric as an entry of a document, with its texts."""
    if judged.limit is None:
        return baseline_finding(judged, sentence, note, texts)
    finding = _finding(judged, judged.measured, sentence, note, texts)
    return LimitFinding(
        **asdict(finding), operator=judged.operator, limit=judged.limit, bound=judged.bound
    )


def _finding(
    judged: Judged,
    measured: tuple[float, float, float],
    sentence: str,
    note: str,
    texts: FindingTexts | None,
) -> Finding:
    """Return what a finding against a limit has in common with one against a baseline. `measured`
    is the value of the target, and its interval.
    """
    spec = judged.spec
    return Finding(
        threshold=judged.threshold,
        title=judged.title,
        value=_value_of(spec, judged.target, judged.counts, measured),
        unit=spec.unit,
        primary=spec.primary,
        result=judged.result,
        verdict=judged.verdict.name,
        reason=judged.reason,
        provisional=judged.provisional,
        shortfall=judged.shortfall,
        more_sessions=judged.verdict.more_sessions,
        completed_shares=judged.each("completed_share"),
        sentence=sentence,
        note=note,
        texts=texts,
    )


def baseline_finding(
    judged: Judged, sentence: str = "", note: str = "", texts: FindingTexts | None = None
) -> BaselineFinding:
    """Return a metric that is judged against a baseline, as an entry of a document."""
    spec = judged.spec
    difference = judged.published
    of_baseline = difference.baseline if difference else math.nan, math.nan, math.nan
    of_target = difference.candidate if difference else math.nan, math.nan, math.nan
    finding = _finding(judged, of_target, sentence, note, texts)
    d, low, high = (
        math.nan if end is None else end
        for end in (difference.shares if difference else (None,) * 3)
    )
    corrected = as_share(judged.corrected, spec.scale)
    # the bounds of an interim analysis are those of its critical value
    tested = difference if judged.analysis is None else None
    worse = tested.worse if tested else UNTESTED
    better = tested.better if tested else UNTESTED
    kind = StoredFinding if judged.baseline == STORED_RUNS else BaselineFinding
    return kind(
        **asdict(finding),
        against=_value_of(spec, judged.baseline, judged.targets[0], of_baseline),
        scale=spec.scale,
        difference=d,
        low=low,
        high=high,
        confidence=round(1 - tested.level, 12) if tested else math.nan,
        margin=vars(spec.margin),
        direction=judged.direction or None,
        se=tested.se if tested else math.nan,
        df=tested.df if tested else math.nan,
        worse_low=worse.low,
        worse_high=worse.high,
        p_worse=worse.p,
        better_low=better.low,
        p_better=better.p,
        analysis=judged.analysis,
        corrected=math.nan if corrected is None else corrected,
    )
