"""One figure of a candidate against a baseline's: first as it was measured, then judged; plain data and pure.

Compare, check and decide answer by the same `Finding`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from reports.question import RATES, TRIALS, Question, better_of
from reports.statistics.baselines import no_ratio
from reports.statistics.counting import Floats, Integers
from reports.statistics.differences import LEVEL, Difference
from reports.statistics.quantiles import Lack, Sample, kish, lack
from reports.statistics.unseen import upper_share
from reports.statistics.verdicts import BECAUSE_OF, NOT_AFTER_HOLM, Reason, Verdict, floor_reason, verdicts


@dataclass(frozen=True)
class Arm:
    """What an arm has of a question: turns, the sessions (or pairs) that hold one, and how many of the turns failed.

    `reached`: of a quantile or mean, the share of the turns wanted that have the figure; NaN of rates.
    `effective_sessions`: sessions as Kish counts them; `longest`: sessions as long as the longest. Left out, they are
    equally long.
    """

    turns: int
    sessions: int
    failed: int
    reached: float = math.nan
    effective_sessions: float = math.nan
    longest: float = math.nan

    def __post_init__(self) -> None:
        if math.isnan(self.effective_sessions):
            vars(self).update(effective_sessions=float(self.sessions), longest=float(self.sessions))


def arm_of(turns: Integers | Floats, failed: int, reached: float = math.nan) -> Arm:
    """From the turns of each session."""
    n, sessions = int(turns.sum()), int(np.count_nonzero(turns))
    longest = n / float(turns.max()) if n else 0.0
    return Arm(n, sessions, failed, reached, kish(turns), longest)


def arm_of_sample(sample: Sample) -> Arm:
    """From the values of a quantile's metric."""
    return arm_of(np.bincount(sample.sessions), sample.failed, sample.completed_share)


@dataclass(frozen=True)
class Measured:
    """A figure of both arms, the baseline first, of which nothing is said yet.

    `difference` is None where an arm has no such figure, or where it is not exact in a run: `inexact` says why.
    """

    question: Question
    candidate: str
    difference: Difference | None
    arms: tuple[Arm, Arm]
    inexact: str = ""
    unit: Literal["session", "pair"] = "session"

    def floor(self, baseline: str) -> Reason | None:
        """Why it decides nothing, where there is too little of it, or the baseline is 0, so there is no ratio."""
        if self.inexact:
            return Reason("not exact", text=self.inexact)
        names = [baseline, self.candidate]
        if lacking := [name for name, arm in zip(names, self.arms, strict=True) if not arm.turns]:
            return Reason("no turns", arms=tuple(lacking), metric=self.question.metric)
        turns, sessions = [arm.turns for arm in self.arms], [arm.sessions for arm in self.arms]
        effective_sessions = [arm.effective_sessions for arm in self.arms]
        few = floor_reason(self.question.p, turns, sessions, self.unit, names, effective_sessions)
        return few or (Reason("no ratio") if self.difference and no_ratio(self.difference) else None)


ExitStatus = Literal[0, 1, 3, 4]
Result = Literal["pass", "fail", "inconclusive", "not_evaluated"]
RESULT_OF_STATUS: dict[ExitStatus, Result] = {0: "pass", 1: "fail", 3: "inconclusive", 4: "not_evaluated"}
"""The result that each exit status of a verdict stands for."""


@dataclass(frozen=True)
class Finding:
    """The answer to one question about one candidate."""

    question: Question
    candidate: str
    difference: Difference | None
    """None where an arm has no such figure"""
    verdict: Verdict
    arms: tuple[Arm, Arm]
    inexact: str = ""
    """why nothing is said of it: the figure is not exact in a run; then there is no difference"""
    look: int | None = None
    """the planned look that decided it, from 1"""
    corrected: float = math.nan
    """of a look: the difference without what stopping early adds to it"""
    baseline: str = "the baseline"
    """what it is called"""
    unit: Literal["session", "pair"] = "session"
    peers: bool = False
    """whether two services are compared, neither the other's baseline: slower and faster, not regressed and improved"""

    @property
    def known(self) -> Literal["worse", "better", ""]:
        """On which side of "same" the whole interval lies, whatever the margin; nothing where too little was seen."""
        found = self.difference
        if found is None or self.verdict.reason not in (None, NOT_AFTER_HOLM, *BECAUSE_OF.values()):
            return ""
        if found.low > 0 or found.high < 0:
            return "worse" if (found.low > 0) == (better_of(self.question) == "lower") else "better"
        return ""

    @property
    def needed(self) -> float:
        """About so many sessions of each arm, or pairs, would settle it; inf where no sensible number would.

        NaN where it is settled, or where it does not hang on their number. Of too few it is the least number.
        """
        verdict, reason = self.verdict, self.verdict.reason
        if verdict.word != "inconclusive":
            return math.nan
        if reason and reason.kind == "too few":
            each = [n / g for n, g in zip(self.turns, self.sessions, strict=True) if g] if reason.unit == "turn" else []
            return math.ceil(reason.needed / min(each, default=1.0))
        if self.difference is not None and verdict.more_sessions:
            return max(self.sessions) + verdict.more_sessions
        found = self.difference
        bounded = found is not None and math.isfinite(found.low) and math.isfinite(found.high)
        return math.inf if bounded and (not reason or reason.kind == "none seen") else math.nan

    @property
    def turns(self) -> tuple[int, int]:
        """Of the baseline and of the candidate, as all such pairs."""
        return self.arms[0].turns, self.arms[1].turns

    @property
    def sessions(self) -> tuple[int, int]:
        return self.arms[0].sessions, self.arms[1].sessions

    @property
    def failed(self) -> tuple[int, int]:
        return self.arms[0].failed, self.arms[1].failed

    @property
    def reached(self) -> tuple[float, float]:
        return self.arms[0].reached, self.arms[1].reached

    @property
    def lacks(self) -> tuple[Lack | None, Lack | None]:
        """What either arm has too few of for its figure to be printed; nothing where it is decided all the same."""
        if self.difference is None or self.verdict.word != "inconclusive":
            return None, None
        rate = RATES.get(self.question.metric) if self.question.kind == "rate" else None
        if rate and rate.column:
            base, candidate = (Lack(rate.trials, n, TRIALS) if n < TRIALS else None for n in self.turns)
            return base, candidate
        if (p := self.question.p) is None:
            return None, None
        base, candidate = (lack(p, *counts) for counts in zip(self.turns, self.sessions, strict=True))
        return base, candidate


def judge(measured: Sequence[Measured], baseline: str, *, level: float = LEVEL) -> list[Finding]:
    """Each with its verdict. Holm's correction is over those that are gated and may decide.

    `baseline`: what it is called where a reason names an arm.
    """
    judged = verdicts(
        [one.difference for one in measured],
        [one.question.primary for one in measured],
        [one.floor(baseline) for one in measured],
        level=level,
    )
    return [
        Finding(
            one.question,
            one.candidate,
            one.difference,
            _with_unseen(one, verdict),
            one.arms,
            one.inexact,
            baseline=baseline,
            unit=one.unit,
        )
        for one, verdict in zip(measured, judged, strict=True)
    ]


def _with_unseen(one: Measured, verdict: Verdict) -> Verdict:
    """The verdict, with why it is inconclusive where the candidate showed none of a rate."""
    found, question = one.difference, one.question
    if question.kind != "rate" or verdict.word != "inconclusive" or verdict.reason or not found or found.candidate:
        return verdict
    if better_of(question) != "lower":
        return verdict
    arm = one.arms[1]
    needed = arm.sessions + found.more_sessions if found.more_sessions else None
    return replace(verdict, reason=none_seen(question.metric, arm.sessions, found.level, needed, arm.longest))


def none_seen(metric: str, sessions: int, level: float, needed: int | None, longest: float) -> Reason:
    """What a rate of nothing leaves open: that none was seen is no proof that there are none.

    `longest`: sessions as long as the longest; `needed`: sessions that would settle it.
    """
    most = upper_share(0.0, 0.0, longest, level)
    return Reason("none seen", needed=needed or 0, there=(sessions,), metric=metric, upper=most)


def provisional(finding: Finding) -> Finding:
    """The same, where something was assumed that more runs would tell."""
    return replace(finding, verdict=replace(finding.verdict, provisional=True))
