"""Why verdicts against another time are provisional: spread that was assumed, a run that drifted, or chose its end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from reports.compare.decided import notices_of
from reports.gate.relative import Answer, Answers
from reports.numbers import NBSP
from reports.runs import Run
from reports.sides.side import Side
from reports.summary.drift import Drift, suspected
from reports.summary.summary import summarise

ASSUMED = (
    "Provisional: another run, or fewer than five stored ones, do not tell the spread from run to run; "
    f"for times 5{NBSP}% was assumed. Store five to drop this."
)
DRIFTED = (
    "{}Drift of the steady phase is {}. What a run measured at one time then says less of another: such verdicts are "
    "provisional."
)


def doubted(answers: Answers, sides: Sequence[Side], base: Run | None = None) -> Answers:
    """What another run, `base`, or stored ones say of the targets of a run, marked where it is provisional."""
    drifted, chosen = drifts_of(sides[0].run) if sides else [], notices_of(sides, None)
    doubtful = {side.name for side in sides} if chosen else {one.target for one in drifted}
    before = drifts_of(base) if base is not None else []
    told = [
        *answers.notices,
        *([ASSUMED] if any(_assumed(answer) for answer in answers.answers) else []),
        *_said(drifted, ""),
        *(_said(before, f"{base.folder.name}: ") if base is not None else []),
        *(f"{notice} The verdicts are provisional." for notice in chosen if notice not in answers.notices),
    ]
    marked = tuple(_provisional(one) if one.target in doubtful else one for one in answers.answers)
    return replace(answers, answers=marked, notices=tuple(told))


def drifts_of(run: Run) -> list[Drift]:
    """Those that are suspected."""
    return [one for one in summarise(run).drifts if one.suspected]


def _said(found: Sequence[Drift], whose: str) -> Iterable[str]:
    if found:
        yield DRIFTED.format(whose, suspected(found))


def _assumed(answer: Answer) -> bool:
    return answer.finding.verdict.provisional and answer.finding.difference is not None


def _provisional(answer: Answer) -> Answer:
    verdict = replace(answer.finding.verdict, provisional=True)
    return replace(answer, finding=replace(answer.finding, verdict=verdict))
