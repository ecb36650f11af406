"""What a check says, in plain data: an item for each threshold and target, and the exit status that they come to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import pandas as pd

from reports import finding_sentences
from reports.finding import ExitStatus, Finding
from reports.frames import COUNT, FLAG, LABEL, NUMBER, TEXT, dtypes_of, frame_of
from reports.looks.decision import Decision
from reports.numbers import NBSP, plural
from reports.question import Question
from reports.runs import called
from reports.statistics.differences import Difference
from reports.statistics.quantiles import lack
from reports.summary.trust import RunWord
from reports.thresholds import GATED, Sign
from reports.wording import verdicts
from reports.wording.verdicts import as_share, margin, scale_of
from reports.wording.verdicts import figure as figure_name

ItemWord = Literal[
    "kept", "broken", "regressed", "improved", "equivalent", "not regressed", "inconclusive", "no data"
]  # fmt: skip
Grade = Literal["passed", "failed", "unsure", "void"]
OnInconclusive = Literal["fail", "pass", "warn"]

NO_DATA = "the run or its baseline has no such figure"
PASSED: Literal[0]
FAILED: Literal[1]
INCONCLUSIVE: Literal[3]
VOID: Literal[4]
PASSED, FAILED, INCONCLUSIVE, VOID = 0, 1, 3, 4
"""Exit statuses, beside 2 for what cannot be asked so."""
DTYPES = dtypes_of(
    (TEXT, ("threshold",)),
    (LABEL, ("figure", "target", "unit", "word")),
    (NUMBER, ("value", "low", "high", "limit")),
    (LABEL, ("sign", "measure")),
    (NUMBER, ("baseline", "difference")),
    (TEXT, ("margin", "reason")),
    (FLAG, ("provisional",)),
    (COUNT, ("more_sessions", "turns", "sessions", "failed")),
    (FLAG, ("among_failures",)),
    (NUMBER, ("corrected",)),
    (COUNT, ("look",)),
    (FLAG, ("low_endless",)),
    (COUNT, ("needs", "too_few")),
    (LABEL, ("lacks",)),
    (NUMBER, ("reached",)),
    (LABEL, ("known",)),
    (TEXT, ("sentence",)),
    (FLAG, ("peers",)),
    (NUMBER, ("worth",)),
    (LABEL, ("grade",)),
)
"""The columns of a check's frame, the fields of an item and its grade, with their dtypes."""
GRADES: dict[ItemWord, Grade] = {
    "kept": "passed",
    "improved": "passed",
    "equivalent": "passed",
    "not regressed": "passed",
    "broken": "failed",
    "regressed": "failed",
    "inconclusive": "unsure",
    "no data": "void",
}


@dataclass(frozen=True)
class Item:
    """One threshold on one target. Figures are in `unit`, those of rates shares; None where there is none.

    `limit`: of an absolute threshold; then `low` and `high` are the interval of `value`. Else they are those of
    `difference`: a share of the baseline (0.2 is +20 %), or a difference of rates; None for an open end.
    """

    threshold: str
    figure: str
    target: str
    unit: str
    word: ItemWord
    value: float | None
    low: float | None
    high: float | None
    limit: float | None = None
    sign: Sign = "<"
    """of a limit, on which side of it the figure is to be"""
    measure: str = ""
    baseline: float | None = None
    difference: float | None = None
    margin: str = ""
    reason: str = ""
    provisional: bool = False
    more_sessions: int | None = None
    turns: int = 0
    sessions: int = 0
    failed: int = 0
    among_failures: bool = False
    """the figure lies in the failed share: `value` is null, and endless"""
    corrected: float | None = None
    """`difference` without what stopping early adds to it; of a run that was ended by its looks"""
    look: int | None = None
    """the look that decided, from 1"""
    low_endless: bool = False
    """all of the interval lies in the failed share: `low` is null, and endless"""
    needs: int | None = None
    """turns that each arm needs for the figure to be told at all, where one has fewer; then there are no figures"""
    too_few: int | None = None
    """turns of the arm that has the fewest, where those are too few"""
    lacks: Literal["turns", "sessions", "words"] = "turns"
    """what `needs` and `too_few` count: of a tail sessions"""
    reached: float | None = None
    """of a quantile or mean, the share of the turns wanted that have it: failed ones have not, nor those never begun"""
    known: Literal["worse", "better", ""] = ""
    """of a difference, on which side of none its whole interval lies"""
    sentence: str = ""
    """of a relative threshold, its verdict in a sentence; empty if there is too little for one"""
    peers: bool = False
    """as of `Finding`: what its verdict is called on screens"""
    worth: float | None = None
    """sessions of one length that tell as much as these do, (Σn)² / Σn²; of two arms in the one that has fewest"""

    @property
    def grade(self) -> Grade:
        return GRADES[self.word]

    @property
    def relative(self) -> bool:
        return self.limit is None


@dataclass(frozen=True)
class Checked:
    """A check of one run. `void`: why it says nothing, whatever the items say. `against`: the baseline, in words.

    `answer`: what the relative thresholds say together, in the sentence that a comparison has.
    """

    run_id: str
    scenario: str
    simulated: bool
    verdict: RunWord
    items: tuple[Item, ...]
    void: tuple[str, ...]
    differs: tuple[str, ...]
    """of a stored baseline, what is not as it was"""
    notices: tuple[str, ...]
    against: str
    answer: str = ""
    on_inconclusive: OnInconclusive = "fail"
    labels: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    """what no threshold is about and is to be said loudly"""
    decision: Decision | None = field(default=None, compare=False)
    """of a run that was started with --until-decided and is checked by its interim analyses: what they found"""

    def to_frame(self) -> pd.DataFrame:
        """A row for each threshold on each target, with its `grade`: what check.json has as `items`."""
        return frame_of([{name: getattr(item, name) for name in DTYPES} for item in self.items], DTYPES)

    def __repr__(self) -> str:
        """Checked(20261120T091400Z-voice_turns: inconclusive, 3 thresholds)."""
        word = {PASSED: "passed", FAILED: "failed", INCONCLUSIVE: "inconclusive", VOID: "invalid"}[self.status]
        return f"Checked({self.run_id}: {word}, {plural(len(self.items), 'threshold').replace(NBSP, ' ')})"

    @property
    def called(self) -> str:
        """The scenario with the run's labels."""
        return called(self.scenario, self.labels)

    @property
    def status(self) -> ExitStatus:
        """The exit status. 4 wins over 1, that over 3: what was not measured neither passes nor fails.

        A run that is under way and not decided yet is inconclusive, and --on-inconclusive does not change that.
        """
        grades = {item.grade for item in self.items}
        if self.void or self.differs or not grades or "void" in grades:
            return VOID
        if "failed" in grades:
            return FAILED
        waits = self.decision is not None and not (self.decision.ended or self.decision.stopped)
        return INCONCLUSIVE if "unsure" in grades and (self.on_inconclusive == "fail" or waits) else PASSED

    @property
    def warns(self) -> bool:
        """Whether it passes and something is not settled that is to be said loudly."""
        return self.status == PASSED and self.on_inconclusive == "warn" and any(self.of("unsure"))

    def of(self, *grades: Grade) -> tuple[Item, ...]:
        return tuple(item for item in self.items if item.grade in grades)


def not_exact(item: Item, why: str) -> Item:
    """Without its figures, and with why: they are not exact in this run, so it is neither kept nor broken."""
    return replace(
        item, word="inconclusive", reason=why, value=None, low=None, high=None, baseline=None, difference=None,
        corrected=None, more_sessions=None, among_failures=False, low_endless=False, needs=None, too_few=None,
        known="", sentence="",
    )  # fmt: skip


def without_few(item: Item, question: Question, arms: Sequence[tuple[int, int]]) -> Item:
    """Without the figures of a quantile that may not be printed of any of the arms, by their turns and sessions.

    The first arm is the baseline where there are two, and the last the target itself.
    """
    if question.p is None or item.word != "inconclusive" or not min(turns for turns, _ in arms):
        return item
    lacks = [lack(question.p, turns, sessions) for turns, sessions in arms]
    least = min((one for one in lacks if one), key=lambda one: one.there / one.needs, default=None)
    if least is None:
        return item
    shown = lacks[-1] is None
    return replace(
        item, value=item.value if shown else None, low=None, high=None, difference=None,
        baseline=item.baseline if lacks[0] is None else None, more_sessions=None,
        among_failures=shown and item.among_failures, low_endless=False,
        needs=least.needs, too_few=least.there, lacks=least.of, sentence="",
    )  # fmt: skip


def compared_item(threshold: str, finding: Finding) -> Item:
    """A relative threshold on one target. An arm without the figure is no data."""
    question, difference, verdict = finding.question, finding.difference, finding.verdict
    there = difference is not None or bool(finding.inexact)
    word: ItemWord = verdict.word if there else "no data"
    reason = verdicts.said(verdict.reason) if there else NO_DATA
    value = difference.candidate if difference else math.nan
    low, high = (_share(difference, end) for end in (difference.low, difference.high)) if difference else (None, None)
    return Item(
        threshold, figure_name(question), finding.candidate, GATED[question.measure].unit, word,
        finite(value), low, high,
        measure=question.measure, baseline=finite(difference.baseline) if difference else None,
        difference=_share(difference, difference.d) if difference else None,
        margin=margin(question.margin, question.measure, sign=True), reason=reason,
        provisional=verdict.provisional and difference is not None,
        more_sessions=verdict.more_sessions, turns=finding.turns[1], sessions=finding.sessions[1],
        failed=finding.failed[1], among_failures=value == math.inf,
        low_endless=difference is not None and difference.low == math.inf and difference.baseline > 0,
        reached=finite(finding.reached[1]), look=finding.look,
        corrected=as_share(finding.corrected, scale_of(question)),
        worth=min(arm.worth for arm in finding.arms), known=finding.known,
        sentence=finding_sentences.sentence(finding) if there and not finding.inexact else "", peers=finding.peers,
    )  # fmt: skip


def finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _share(difference: Difference, end: float) -> float | None:
    return as_share(end, difference.scale, difference.candidate)
