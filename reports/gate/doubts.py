"""Why verdicts against another time are provisional: spread that was assumed, a run that drifted, or chose its end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from reports.compare.decided import notices_of
from reports.gate.relative import Answers
from reports.numbers import NBSP
from reports.sides.side import Side, drifts_of
from reports.summary.drift import Drift, suspected

ASSUMED = (
    "Provisional: another run, or fewer than five stored ones, do not tell the spread from run to run; "
    f"for times 5{NBSP}% was assumed. Store five to drop this."
)
DRIFTED = (
    "{}Drift of the steady phase is {}. What a run measured at one time then says less of another: such verdicts are "
    "provisional."
)


def doubted(answers: Answers, targets: Sequence[Side], before: Sequence[Side] = ()) -> Answers:
    """What another run, whose targets are `before`, or stored ones say of a run, marked where it is provisional."""
    drifted, chosen = _drifts(targets), notices_of(targets, None)
    doubtful = {side.name for side in targets} if chosen else {one.target for one in drifted}
    notices = [
        *answers.notices,
        *([ASSUMED] if any(one.provisional and one.measured.difference for one in answers.answers) else []),
        *_said(drifted, ""),
        *(_said(_drifts(before), f"{before[0].run.folder.name}: ") if before else []),
        *(f"{notice} The verdicts are provisional." for notice in chosen if notice not in answers.notices),
    ]
    marked = tuple(replace(one, provisional=one.provisional or one.target in doubtful) for one in answers.answers)
    return replace(answers, answers=marked, notices=tuple(notices))


def _drifts(targets: Sequence[Side]) -> list[Drift]:
    """Those of a run that are suspected."""
    return [one for one in drifts_of(targets[0]) if one.suspected] if targets else []


def _said(found: Sequence[Drift], whose: str) -> Iterable[str]:
    if found:
        yield DRIFTED.format(whose, suspected(found))
