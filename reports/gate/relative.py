"""Relative thresholds: what is asked of a candidate, what a baseline answered, and the items that come of it; pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from bench.errors import UsageError
from reports.compare.comparison import Finding
from reports.gate.items import Item, compared_item, margin_text
from reports.question import Question
from reports.sides.questions import by_origin, default_questions
from reports.sides.side import Side
from reports.statistics.baselines import no_ratio
from reports.statistics.differences import LEVEL
from reports.statistics.verdicts import Verdict, floor_reason, verdicts
from reports.thresholds.grammar import Threshold
from reports.wording.unseen import with_unseen

NO_RATIO = "no ratio to 0, which stored runs have"


@dataclass(frozen=True)
class Asked:
    """A question to candidates: with its threshold as it was written, of all targets or of one."""

    written: str
    question: Question
    target: str = ""


@dataclass(frozen=True)
class Answer:
    """What was found of one question for one target of the run. `unit`: what the arms are resampled by."""

    written: str
    target: str
    finding: Finding
    unit: Literal["session", "pair"] = "session"
    unstored: str = ""
    """why there is no baseline yet; then nothing is known, though there is data"""

    @property
    def floor(self) -> str:
        """Why it decides nothing, where there is too little of it, or nothing that it is a multiple of."""
        found = self.finding
        if found.inexact:
            return found.inexact
        few = floor_reason(found.question.p, found.turns, found.sessions, self.unit, ["the baseline", self.target])
        return few or (NO_RATIO if found.difference and no_ratio(found.difference) else "")


@dataclass(frozen=True)
class Answers:
    """All that a baseline has to say. `void`, `differs`, `notices`, `against`: as in `Checked`.

    `items`: verdicts that were made already, by looks; `answers` still want theirs.
    """

    answers: tuple[Answer, ...] = ()
    void: tuple[str, ...] = ()
    differs: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    against: str = ""
    items: tuple[Item, ...] = ()


def asked_of(thresholds: Sequence[Threshold], sides: Sequence[Side], targets: Sequence[str]) -> list[Asked]:
    """The relative thresholds as questions to these sides, of each origin one; without any the default gates.

    `targets`: the candidates. Raises UsageError for a threshold of a target that is none of them.
    """
    relative = [threshold for threshold in thresholds if threshold.margin is not None]
    for threshold in relative:
        if threshold.target and threshold.target not in targets:
            raise UsageError(
                f"{threshold.written}: {threshold.target} is no candidate; these are: {', '.join(targets)}"
            )
    if thresholds:
        return [
            Asked(threshold.written, question, threshold.target)
            for threshold in relative
            for question in by_origin(threshold.question, sides)
        ]
    defaults = [question for question in default_questions(sides) if question.gated]
    return [Asked(_default(question), question) for question in defaults]


def _default(question: Question) -> str:
    """A default gate as it would be written."""
    margin = margin_text(question.margin, question.measure).replace("\u00a0", "")
    of = "rate" if question.p is None else f"p({question.p * 100:g})"
    return f"{question.measure}: {of}<{margin.replace('point', 'pt').replace('pts', 'pt')}"


def items_of(answers: Iterable[Answer]) -> list[Item]:
    """Items with their verdicts, Holm's correction over all of them, whatever comparison they are from."""
    found = list(answers)
    judged = verdicts(
        [answer.finding.difference for answer in found],
        [True] * len(found),
        [answer.floor for answer in found],
        level=next((one.level for answer in found if (one := answer.finding.difference)), LEVEL),
    )
    return [_item(answer, verdict) for answer, verdict in zip(found, judged, strict=True)]


def _item(answer: Answer, verdict: Verdict) -> Item:
    found = answer.finding
    told = with_unseen(verdict, found.question, found.difference, found.sessions[1])
    finding = replace(found, verdict=replace(told, provisional=found.verdict.provisional))
    item = compared_item(answer.written, finding, answer.target)
    if answer.unstored and item.turns:
        return replace(item, word="inconclusive", reason=answer.unstored)
    return item
