"""What a check says, in plain data: an item for each threshold and target, and the exit status that they come to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import pandas as pd

from bench.run.document import ValidityStatus
from reports import finding_sentences
from reports.finding import RESULT_OF_STATUS, ExitStatus, Finding, Result
from reports.frames import COUNT, FLAG, NUMBER, TEXT, dtypes_of, frame_of, use
from reports.looks.decision import Decision
from reports.numbers import NBSP, plural
from reports.page.notebook import frame_html
from reports.question import Question
from reports.runs import called
from reports.statistics.differences import Difference
from reports.statistics.quantiles import lack
from reports.statistics.verdicts import Word
from reports.thresholds import GATED, Sign
from reports.wording import verdicts
from reports.wording.validity import Cause
from reports.wording.verdicts import as_share, margin, scale_of
from reports.wording.verdicts import figure as figure_name

OnInconclusive = Literal["fail", "pass", "warn"]

NO_DATA = "the run or its baseline has no such value"
PASSED: Literal[0]
FAILED: Literal[1]
INCONCLUSIVE: Literal[3]
VOID: Literal[4]
PASSED, FAILED, INCONCLUSIVE, VOID = 0, 1, 3, 4
"""Exit statuses, beside 2 for what cannot be asked so."""
DTYPES = dtypes_of(
    (TEXT, ("run_id", "threshold", "title", "target", "unit", "result", "verdict")),
    (NUMBER, ("value", "low", "high", "limit")),
    (TEXT, ("operator", "metric")),
    (NUMBER, ("baseline", "difference")),
    (TEXT, ("margin",)),
    (FLAG, ("published", "usable")),
    (TEXT, ("reason",)),
    (FLAG, ("provisional",)),
    (COUNT, ("more_sessions", "turns", "sessions", "failed")),
    (FLAG, ("in_failures",)),
    (NUMBER, ("corrected",)),
    (COUNT, ("analysis",)),
    (FLAG, ("low_infinite",)),
    (COUNT, ("required", "available")),
    (TEXT, ("required_unit",)),
    (NUMBER, ("completed_share",)),
    (TEXT, ("direction", "sentence")),
    (FLAG, ("peers",)),
    (NUMBER, ("effective_sessions",)),
)
"""The columns of a check's frame with their dtypes."""
RESULTS: dict[Word, Result] = {
    "improved": "pass",
    "equivalent": "pass",
    "not_regressed": "pass",
    "regressed": "fail",
    "inconclusive": "inconclusive",
}
"""The result of a relative threshold, by the verdict on its metric."""


@dataclass(frozen=True)
class Item:
    """One threshold on one target. Figures are in `unit`, those of rates shares; None where there is none.

    `limit`: of an absolute threshold; then `low` and `high` are the interval of `value`. Else they are those of
    `difference`: a share of the baseline (0.2 is +20 %), or a difference of rates; None for an open end.
    """

    threshold: str
    title: str
    target: str
    unit: str
    result: Result
    verdict: Word | None
    value: float | None
    low: float | None
    high: float | None
    limit: float | None = None
    operator: Sign = "<"
    """of a limit, on which side of it the figure is to be"""
    metric: str = ""
    baseline: float | None = None
    difference: float | None = None
    margin: str = ""
    reason: str = ""
    provisional: bool = False
    more_sessions: int | None = None
    turns: int = 0
    sessions: int = 0
    failed: int = 0
    in_failures: bool = False
    """the figure lies in the failed share: `value` is null, and endless"""
    corrected: float | None = None
    """`difference` without what stopping early adds to it; of a run that was ended by its looks"""
    analysis: int | None = None
    """the look that decided, from 1"""
    low_infinite: bool = False
    """all of the interval lies in the failed share: `low` is null, and endless"""
    required: int | None = None
    """turns that each arm needs for the figure to be told at all, where one has fewer; then there are no figures"""
    available: int | None = None
    """turns of the arm that has the fewest, where those are too few"""
    required_unit: Literal["turns", "sessions", "words"] = "turns"
    """what `needs` and `too_few` count: of a tail sessions"""
    completed_share: float | None = None
    """of a quantile or mean, the share of the turns wanted that have it: failed ones have not, nor those never begun"""
    direction: Literal["worse", "better", ""] = ""
    """of a difference, on which side of none its whole interval lies"""
    sentence: str = ""
    """of a relative threshold, its verdict in a sentence; empty if there is too little for one"""
    peers: bool = False
    """as of `Finding`: what its verdict is called on screens"""
    effective_sessions: float | None = None
    """sessions of one length that tell as much as these do, (Σn)² / Σn²; of two arms in the one that has fewest"""

    @property
    def relative(self) -> bool:
        return self.limit is None


@dataclass(frozen=True)
class Checked:
    """A check of one run. `causes`: why it is invalid, whatever its thresholds say. `baseline`: in words.

    `answer`: what the relative thresholds say together, in the sentence that a comparison has.
    """

    run_id: str
    scenario: str
    simulated: bool
    validity: ValidityStatus
    """of the run"""
    thresholds: tuple[Item, ...]
    causes: tuple[Cause, ...]
    differs: tuple[str, ...]
    """of a stored baseline, what is not as it was"""
    notices: tuple[str, ...]
    baseline: str
    answer: str = ""
    on_inconclusive: OnInconclusive = "fail"
    labels: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    """what no threshold is about and is to be said loudly"""
    observed_s: float = 0.0
    """from the first session's start to the last one's end, of the target with the shortest time"""
    decision: Decision | None = field(default=None, compare=False)
    """of a run that was started with --until-decided and is checked by its interim analyses: what they found"""

    def to_frame(self) -> pd.DataFrame:
        """Return a row for each threshold on each target: `thresholds` of check.json.

        `value` and `low` are inf among failed turns. `usable` is false in an invalid check; `reason` says why.
        """
        invalid = "; ".join((*(cause.text for cause in self.causes), *self.differs)).replace(NBSP, " ")
        rows = [
            vars(item)
            | use(item.reason, published=item.value is not None or item.in_failures, invalid=invalid)
            | {"run_id": self.run_id}
            | ({"value": math.inf} if item.in_failures else {})
            | ({"low": math.inf} if item.low_infinite else {})
            for item in self.thresholds
        ]
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
        results = {item.result for item in self.thresholds}
        if self.causes or self.differs or not results or "not_evaluated" in results:
            return VOID
        if "fail" in results:
            return FAILED
        waits = self.decision is not None and not (self.decision.ended or self.decision.stopped)
        return INCONCLUSIVE if "inconclusive" in results and (self.on_inconclusive == "fail" or waits) else PASSED

    @property
    def warns(self) -> bool:
        """Whether it passes and something is not settled that is to be said loudly."""
        return self.exit_status == PASSED and self.on_inconclusive == "warn" and any(self.of("inconclusive"))

    def of(self, *results: Result) -> tuple[Item, ...]:
        return tuple(item for item in self.thresholds if item.result in results)


def not_exact(item: Item, why: str) -> Item:
    """Without its figures, and with why: they are not exact in this run, so it is neither kept nor broken."""
    return replace(
        item, result="inconclusive", verdict="inconclusive" if item.relative else None, reason=why,
        value=None, low=None, high=None, baseline=None, difference=None,
        corrected=None, more_sessions=None, in_failures=False, low_infinite=False, required=None, available=None,
        direction="", sentence="",
    )  # fmt: skip


def without_few(item: Item, question: Question, arms: Sequence[tuple[int, int]]) -> Item:
    """Without the figures of a quantile that may not be printed of any of the arms, by their turns and sessions.

    The first arm is the baseline where there are two, and the last the target itself.
    """
    if question.p is None or item.result != "inconclusive" or not min(turns for turns, _ in arms):
        return item
    lacks = [lack(question.p, turns, sessions) for turns, sessions in arms]
    least = min((one for one in lacks if one), key=lambda one: one.there / one.needs, default=None)
    if least is None:
        return item
    shown = lacks[-1] is None
    return replace(
        item, value=item.value if shown else None, low=None, high=None, difference=None,
        baseline=item.baseline if lacks[0] is None else None, more_sessions=None,
        in_failures=shown and item.in_failures, low_infinite=False,
        required=least.needs, available=least.there, required_unit=least.of, sentence="",
    )  # fmt: skip


def compared_item(threshold: str, finding: Finding) -> Item:
    """A relative threshold on one target. An arm without the figure is no data."""
    question, difference, verdict = finding.question, finding.difference, finding.verdict
    there = difference is not None or bool(finding.inexact)
    result: Result = RESULTS[verdict.word] if there else "not_evaluated"
    reason = verdicts.said(verdict.reason) if there else NO_DATA
    value = difference.candidate if difference else math.nan
    low, high = (_share(difference, end) for end in (difference.low, difference.high)) if difference else (None, None)
    return Item(
        threshold, figure_name(question), finding.candidate, GATED[question.metric].unit,
        result, verdict.word if there else None, finite(value), low, high,
        metric=question.metric, baseline=finite(difference.baseline) if difference else None,
        difference=_share(difference, difference.d) if difference else None,
        margin=margin(question.margin, question.metric, sign=True), reason=reason,
        provisional=verdict.provisional and difference is not None,
        more_sessions=verdict.more_sessions, turns=finding.turns[1], sessions=finding.sessions[1],
        failed=finding.failed[1], in_failures=value == math.inf,
        low_infinite=difference is not None and difference.low == math.inf and difference.baseline > 0,
        completed_share=finite(finding.reached[1]), analysis=finding.look,
        corrected=as_share(finding.corrected, scale_of(question)),
        effective_sessions=min(arm.effective_sessions for arm in finding.arms), direction=finding.known,
        sentence=finding_sentences.sentence(finding) if there and not finding.inexact else "", peers=finding.peers,
    )  # fmt: skip


def finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _share(difference: Difference, end: float) -> float | None:
    return as_share(end, difference.scale, difference.candidate)
