"""Relative thresholds: what is asked of a candidate, what a baseline answered, and the items that come of it; pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from bench.errors import UsageError
from reports.finding import Finding, Measured, judge, provisional
from reports.gate.items import Item, compared_item, without_few
from reports.question import Question
from reports.sides.questions import by_origin, default_questions
from reports.sides.side import Side
from reports.statistics.differences import LEVEL
from reports.thresholds.grammar import Threshold
from reports.wording.differences import margin


@dataclass(frozen=True)
class Asked:
    """A question to candidates: with its threshold as it was written, of all targets or of one."""

    written: str
    question: Question
    target: str = ""


@dataclass(frozen=True)
class Answer:
    """What was measured of one question for one target of the run, beside its baseline."""

    written: str
    measured: Measured
    provisional: bool = False
    """whether something was assumed that more runs would tell"""
    unstored: str = ""
    """why there is no baseline yet; then nothing is known, though there is data"""

    @property
    def target(self) -> str:
        return self.measured.candidate


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
    accepted = margin(question.margin, question.measure, sign=True).replace("\u00a0", "")
    of = "rate" if question.p is None else f"p({question.p * 100:g})"
    return f"{question.measure}: {of}<{accepted.replace('point', 'pt').replace('pts', 'pt')}"


def items_of(answers: Iterable[Answer]) -> list[Item]:
    """Items with their verdicts, Holm's correction over all of them, whatever baseline they are against."""
    found = list(answers)
    level = next((one.level for answer in found if (one := answer.measured.difference)), LEVEL)
    findings = judge([answer.measured for answer in found], "the baseline", level=level)
    return [_item(answer, finding) for answer, finding in zip(found, findings, strict=True)]


def _item(answer: Answer, finding: Finding) -> Item:
    item = without_few(compared_item(answer.written, provisional(finding) if answer.provisional else finding), finding)
    if answer.unstored and item.turns:
        return replace(item, word="inconclusive", reason=answer.unstored)
    return item
