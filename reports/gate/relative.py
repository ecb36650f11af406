"""Relative thresholds: what is asked of a candidate, what a baseline answered, and the items that come of it; pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from reports.comparisons.comparison import notices_of
from reports.finding import Finding, Measured, judge, provisional
from reports.gate.items import Item, compared_item, without_few
from reports.numbers import NBSP
from reports.question import Question
from reports.sides.named import parted
from reports.sides.questions import by_stratum, default_questions
from reports.sides.side import Side, drifts_of
from reports.statistics.differences import LEVEL
from reports.summary.drift import PoolDrift
from reports.thresholds import Threshold, near, quoted
from reports.wording.remarks import drift_suspected
from reports.wording.verdicts import margin

ASSUMED = (
    "Provisional: another run, or fewer than five stored ones, do not tell the spread from run to run; "
    f"for times 5{NBSP}% was assumed. Store five to drop this."
)
DRIFTED = (
    "{}Drift of the steady phase is {}. What a run measured at one time then says less of another: such verdicts are "
    "provisional."
)


@dataclass(frozen=True)
class AskedThreshold:
    """A question to candidates: with its threshold as it was written, of all targets or of one."""

    written: str
    question: Question
    target: str = ""


@dataclass(frozen=True)
class BaselineAnswer:
    """What was measured of one question for one target of the run, beside its baseline."""

    written: str
    measured: Measured
    provisional: bool = False
    """whether something was assumed that more runs would tell"""
    unstored: str = ""
    """why there is no baseline yet; then nothing is known, though there is data"""
    baseline: str = "the stored runs"
    """what the baseline is called"""

    @property
    def target(self) -> str:
        return self.measured.candidate


@dataclass(frozen=True)
class BaselineAnswers:
    """All that a baseline has to say. `void`, `differs`, `notices`, `against`: as in `Checked`.

    `items`: verdicts that were made already, by looks, with the `sentence` that says them; `answers` still want theirs.
    `told`: runs whose own notices are among `notices`.
    """

    answers: tuple[BaselineAnswer, ...] = ()
    void: tuple[str, ...] = ()
    differs: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    against: str = ""
    items: tuple[Item, ...] = ()
    sentence: str = ""
    told: tuple[Path, ...] = ()


def asked_of(thresholds: Sequence[Threshold], sides: Sequence[Side], targets: Sequence[str]) -> list[AskedThreshold]:
    """The relative thresholds as questions to these sides, of each stratum one; without any the default gates.

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
            AskedThreshold(threshold.written, question, threshold.target)
            for threshold in relative
            for question in by_stratum(threshold.question, sides)
        ]
    defaults = [question for question in default_questions(sides) if question.gated]
    return [AskedThreshold(_default(question), question) for question in defaults]


def _default(question: Question) -> str:
    """A default gate as it would be written."""
    accepted = margin(question.margin, question.measure, sign=True).replace("\u00a0", "")
    of = "rate" if question.p is None else f"p({question.p * 100:g})"
    return f"{question.measure}: {of}<{accepted.replace('point', 'pt').replace('pts', 'pt')}"


def judged(answers: Sequence[BaselineAnswer]) -> list[Finding]:
    """Each with its verdict, Holm's correction over all of them, whatever baseline they are against."""
    level = next((apart.level for answer in answers if (apart := answer.measured.difference)), LEVEL)
    findings = judge([answer.measured for answer in answers], "the baseline", level=level)
    named = [replace(one, baseline=answer.baseline) for one, answer in zip(findings, answers, strict=True)]
    return [provisional(one) if answer.provisional else one for one, answer in zip(named, answers, strict=True)]


def relative_items(answers: Sequence[BaselineAnswer], findings: Sequence[Finding]) -> Iterable[Item]:
    """The answers as they were judged."""
    for answer, finding in zip(answers, findings, strict=True):
        item = compared_item(answer.written, finding)
        item = without_few(item, finding.question, list(zip(finding.turns, finding.sessions, strict=True)))
        unstored = answer.unstored and item.turns
        yield replace(item, word="inconclusive", reason=answer.unstored) if unstored else item


def mark_provisional(answers: BaselineAnswers, targets: Sequence[Side], before: Sequence[Side] = ()) -> BaselineAnswers:
    """What another run, whose targets are `before`, or stored ones say of a run, marked where it is provisional."""
    drifted, chosen = _drifts(targets), notices_of(targets, None)
    doubtful = {side.name for side in targets} if chosen else {drift.target for drift in drifted}
    notices = [
        *answers.notices,
        *([ASSUMED] if any(answer.provisional and answer.measured.difference for answer in answers.answers) else []),
        *_drifted(drifted, ""),
        *(_drifted(_drifts(before), f"{before[0].run.folder.name}: ") if before else []),
        *(f"{notice} The verdicts are provisional." for notice in chosen if notice not in answers.notices),
    ]
    marked = tuple(
        replace(answer, provisional=answer.provisional or answer.target in doubtful) for answer in answers.answers
    )
    return replace(answers, answers=marked, notices=tuple(notices))


def _drifts(targets: Sequence[Side]) -> list[PoolDrift]:
    """Those of a run that are suspected."""
    return [drift for drift in drifts_of(targets[0]) if drift.suspected] if targets else []


def _drifted(drifts: Sequence[PoolDrift], whose: str) -> Iterable[str]:
    if drifts:
        yield DRIFTED.format(whose, drift_suspected(drifts))


@dataclass(frozen=True)
class SameRun:
    """The other targets of an interleaved run are the candidates."""

    target: str


@dataclass(frozen=True)
class OtherRun:
    """A run's folder. `target` is empty where the one of the same label is meant, or the only one."""

    folder: Path
    target: str = ""


@dataclass(frozen=True)
class StoredRuns:
    """A folder that `rtbench baseline save` wrote. `target` is empty where the one of the same label is meant."""

    folder: Path
    target: str = ""


Against = SameRun | OtherRun | StoredRuns


def baseline_named(text: str | None, run: Path, document: dict[str, Any], targets: Sequence[str]) -> Against | None:
    """What `--baseline` names; without it the first target of an interleaved run, else None.

    `targets`: those of the run. Raises UsageError where nothing is named so.
    """
    several = bool(document.get("interleaved")) and len(targets) > 1
    if text is None:
        return SameRun(targets[0]) if several else None
    folder, target = parted(text)
    if not folder.is_dir():
        if several and text in targets:
            return SameRun(text)
        raise UsageError(
            f"--baseline {quoted(text)} is no run, no folder of stored baselines and no target of an interleaved run"
            f"{near(text, targets) if several else ';'} allowed: RUN, RUN:TARGET, a folder of `rtbench baseline save`, "
            "FOLDER:TARGET (of the first run, make it: mkdir -p FOLDER)"
            f"{f', {chr(44).join(targets)}' if several else ''}"
        )
    if (folder / "run.json").exists():
        if folder.resolve() == run.resolve():
            if several and target and target in targets:
                return SameRun(target)
            reason = f"it has the targets {', '.join(targets)}" if several else "its targets did not run in pairs"
            raise UsageError(f"--baseline {quoted(text)} is the run that is checked, and {reason}")
        return OtherRun(folder, target or "")
    return StoredRuns(folder, target or "")
