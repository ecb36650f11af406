"""Relative thresholds against targets of the same run, or of another run: `reports.compare` compares them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bench.errors import UsageError
from reports.compare.comparison import Comparison, compared
from reports.gate.against import OtherRun, SameRun
from reports.gate.relative import Answer, Answers, Asked, asked_of
from reports.question import Question
from reports.runs import Run, load
from reports.sides.named import known_targets
from reports.sides.side import Side, sides_of
from reports.statistics.differences import LEVEL
from reports.thresholds.grammar import Threshold


def against_targets(
    run: Run, targets: Sequence[str], base: SameRun, thresholds: Sequence[Threshold], level: float = LEVEL
) -> Answers:
    """The other targets of an interleaved run against one of them."""
    candidates = [name for name in targets if name != base.target]
    named = [f"{run.folder}:{name}" for name in (base.target, *candidates)]
    found = _answers(named, candidates, thresholds, level, run)
    return replace(found, against=f"{base.target}, in the same run")


def against_run(
    run: Run, targets: Sequence[str], base: OtherRun, thresholds: Sequence[Threshold], level: float = LEVEL
) -> Answers:
    """Each target against the one of the same label in another run, or against its only one."""
    pairs: dict[str, list[str]] = {}
    known = known_targets(load(base.folder, everything=False))
    for target in targets:
        if not thresholds or any(one.margin is not None and one.target in ("", target) for one in thresholds):
            pairs.setdefault(_partner(base, target, known), []).append(target)
    parts = [
        _answers(
            [f"{base.folder}:{other}", *(f"{run.folder}:{one}" for one in mine)],
            mine,
            [one for one in thresholds if not one.target or one.target in mine],
            level,
            run,
        )
        for other, mine in pairs.items()
    ]
    return Answers(
        answers=tuple(answer for part in parts for answer in part.answers),
        void=tuple(dict.fromkeys(line for part in parts for line in part.void)),
        notices=tuple(dict.fromkeys(line for part in parts for line in part.notices)),
        against=f"{', '.join(pairs)} of {base.folder.name}",
    )


def _partner(base: OtherRun, target: str, known: Sequence[str]) -> str:
    """The target of the baseline's run that a candidate is held against."""
    if base.target:
        return base.target
    if target in known:
        return target
    if len(known) == 1:
        return known[0]
    raise UsageError(
        f"{base.folder} has no target {target}: say which one is the baseline, "
        + " or ".join(f"{base.folder}:{name}" for name in known or ["TARGET"])
    )


def _answers(
    named: Sequence[str], candidates: Sequence[str], thresholds: Sequence[Threshold], level: float, run: Run
) -> Answers:
    """Of one comparison. What is the fault of the run that is checked is said by the check itself."""
    sides = sides_of(named)
    asked = asked_of(thresholds, sides, candidates)
    comparison = compared(sides, _distinct(asked), level=level)
    answers = tuple(_of(comparison, sides[1:], candidates, asked))
    void = tuple(cause.line for cause in comparison.causes if cause.folder != run.folder)
    return Answers(answers, void, notices=comparison.notices)


def _distinct(asked: Sequence[Asked]) -> list[Question]:
    return list(dict.fromkeys(one.question for one in asked))


def _of(
    comparison: Comparison, sides: Sequence[Side], candidates: Sequence[str], asked: Sequence[Asked]
) -> list[Answer]:
    """The findings that were asked for, in the order of the thresholds."""
    unit = "pair" if comparison.method.design == "pairs" else "session"
    found = {(finding.question, finding.candidate): finding for finding in comparison.findings}
    return [
        Answer(one.written, name, found[one.question, side.label], "pair" if unit == "pair" else "session")
        for one in asked
        for side, name in zip(sides, candidates, strict=True)
        if one.target in ("", name) and (one.question, side.label) in found
    ]
