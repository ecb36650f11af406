"""A comparison in plain data: what compare.json, the terminal, the comment and the page say, computed once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from reports.compare.answers import Answer, Resampling, answers
from reports.compare.decided import decision_on, notices_of
from reports.compare.failing import any_failure
from reports.compare.steps import StepChange, step_changes
from reports.looks.decision import Decision
from reports.numbers import listed
from reports.question import Question
from reports.sides.fairness import Check as Check
from reports.sides.fairness import causes_of, checks_of, notices_on, one_run, refuse_other_definitions
from reports.sides.questions import by_origin, default_questions
from reports.sides.side import Side, inexact, matched
from reports.statistics.baselines import RUN_SD
from reports.statistics.differences import LEVEL, Difference
from reports.statistics.resample import DRAWS, seed_of
from reports.statistics.verdicts import Verdict, floor_reason, verdicts
from reports.wording.unseen import with_unseen
from reports.wording.unusable import Cause

Design = Literal["pairs", "sessions", "stored runs"]

DRIFTING = (
    "An arm drifts by itself ({0}): {1} that follow one another are alike. So quarters of the run are counted, not "
    "{1}, and the verdicts on it are provisional: pairs protect from a drift that both arms share, and from no other. "
    "A longer run tells more."
)
STEP_DRAWS = 2_000
"""Resamples for the standard error of a step's median."""


@dataclass(frozen=True)
class Finding:
    """The answer to one question about one candidate. Counts are of the baseline and of the candidate."""

    question: Question
    candidate: str
    difference: Difference | None
    """None where an arm has no such figure"""
    verdict: Verdict
    turns: tuple[int, int]
    sessions: tuple[int, int]
    failed: tuple[int, int]
    inexact: str = ""
    """why nothing is said of it: the figure is not exact in a run; then there is no difference"""


@dataclass(frozen=True)
class Method:
    """How it was computed: enough to compute it again."""

    design: Design
    unit: int
    """pairs, or sessions of the smaller arm"""
    draws: int
    seed: int
    level: float
    holm: int
    """gated questions that Holm's correction is over"""
    run_sd: float = 0.0
    """spread from run to run that was assumed, on the log scale; 0 for none"""


@dataclass(frozen=True)
class Comparison:
    """The first side is the baseline. Findings are those of every candidate, gated ones first."""

    sides: tuple[Side, ...]
    findings: tuple[Finding, ...]
    checks: tuple[Check, ...]
    method: Method
    notices: tuple[str, ...]
    simulated: bool
    decision: Decision | None = None
    """what planned looks decided; then theirs is the verdict, and the findings are beside it"""
    steps: tuple[Finding, ...] = ()
    """each step's own p50, not gated, Holm's correction over the steps; of each candidate the worst first"""

    @property
    def unfair(self) -> tuple[Check, ...]:
        """What makes it invalid."""
        return tuple(check for check in self.checks if check.fair is False)

    @property
    def causes(self) -> tuple[Cause, ...]:
        """Why it is, each once, about the side that it is true of."""
        return causes_of(self.checks)

    @property
    def gated(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.question.gated)

    @property
    def status(self) -> int:
        """As `rtbench check` exits: 4 invalid, 1 regressed, 3 inconclusive, 0 every gated figure passes."""
        if self.unfair or not self.gated:
            return 4
        if self.decision is not None:
            return self.decision.status
        if any(finding.verdict.word == "regressed" for finding in self.gated):
            return 1
        return 0 if all(finding.verdict.passes for finding in self.gated) else 3


def compared(
    sides: Sequence[Side],
    questions: Sequence[Question] | None = None,
    *,
    level: float = LEVEL,
    draws: int = DRAWS,
    run_sd: float | None = None,
) -> Comparison:
    """Every candidate against the first side; without questions, by `default_questions`.

    `run_sd`: the spread of a log quantile from run to run; by default none inside one run, and RUN_SD between two,
    whose verdicts are provisional. Each candidate is compared as it would be alone with the baseline; Holm's correction
    is over all. Raises UsageError where the sides' measures are defined differently.
    """
    refuse_other_definitions(sides)
    by_default = questions is None
    decision = decision_on(sides) if questions is None else None
    if questions is None:
        questions = default_questions(sides)
    asked = list(dict.fromkeys(one for question in questions for one in by_origin(question, sides)))
    single = one_run(sides)
    spread = run_sd if run_sd is not None else 0.0 if single else RUN_SD
    how = Resampling(draws, seed_of(run_id(sides[0])), level, spread)
    each = [matched(sides[0], side) for side in sides[1:]] if len(sides) > 2 else [(sides[0], sides[1])]
    found = [
        (base, side, _exact(base, side, answer)) for base, side in each for answer in answers(base, side, asked, how)
    ]
    found.sort(key=lambda one: not one[2].question.gated)
    floors = [_floor(base, side, answer) for base, side, answer in found]
    gated = [answer.question.gated for _, _, answer in found]
    judged = verdicts([answer.difference for _, _, answer in found], gated, floors, level=level)
    deciding = zip(gated, [answer.difference for _, _, answer in found], floors, strict=True)
    return Comparison(
        sides=tuple(sides),
        findings=tuple(
            _finding(
                side,
                answer,
                replace(verdict, provisional=verdict.provisional or not single),
                inexact((base, side), answer.question),
            )
            for (base, side, answer), verdict in zip(found, judged, strict=True)
        ),
        checks=(*checks_of(sides), *any_failure(each, level)),
        method=Method(
            design="pairs" if all(base.paired for base, _ in each) else "sessions",
            unit=min(side.sessions for two in each for side in two),
            draws=draws,
            seed=how.seed,
            level=level,
            holm=sum(bool(gate and difference and not floor) for gate, difference, floor in deciding),
            run_sd=spread,
        ),
        notices=(*notices_on(sides), *drift_notices(found), *notices_of(sides, decision)),
        simulated=any(side.simulated for side in sides),
        decision=decision,
        steps=tuple(_steps(each, asked, how)) if by_default else (),
    )


def _steps(each: Sequence[tuple[Side, Side]], asked: Sequence[Question], how: Resampling) -> Iterable[Finding]:
    """Every step of the main measure, candidate by candidate."""
    main = next((one for one in asked if one.gated and one.kind == "quantile"), None)
    if main is None:
        return
    for base, side in each:
        found = step_changes(base, side, main, seed=how.seed, draws=min(how.draws, STEP_DRAWS), level=how.level)
        yield from (_step(side, one) for one in found)


def _step(side: Side, found: StepChange) -> Finding:
    base, cand = found.arms
    return Finding(
        question=found.question,
        candidate=side.label,
        difference=found.difference,
        verdict=found.verdict,
        turns=(base.n, cand.n),
        sessions=(int(np.unique(base.sessions).size), int(np.unique(cand.sessions).size)),
        failed=(base.failed, cand.failed),
    )


def drift_notices(found: Sequence[tuple[Side, Side, Answer]]) -> Iterable[str]:
    """What was found of arms that drift by themselves."""
    names = dict.fromkeys(one.question.measure for _, _, one in found if one.difference and one.difference.drifts)
    if names:
        unit = "pairs" if all(base.paired for base, _, _ in found) else "sessions"
        yield DRIFTING.format(listed(list(names)), unit)


def run_id(side: Side) -> str:
    """The run's own name."""
    return str(side.run.document.get("run_id") or side.run.folder.name)


def _exact(base: Side, cand: Side, answer: Answer) -> Answer:
    """Without the difference of a figure that is not exact."""
    return replace(answer, difference=None) if inexact((base, cand), answer.question) else answer


def _floor(base: Side, cand: Side, answer: Answer) -> str:
    """Why a figure decides nothing; empty where it may."""
    if unfit := inexact((base, cand), answer.question):
        return unfit
    lacking = [side.label for side, arm in zip((base, cand), answer.arms, strict=True) if not arm.turns]
    if lacking:
        return f"no {answer.question.measure} on {listed(lacking)}"
    return floor_reason(
        answer.question.p,
        [arm.turns for arm in answer.arms],
        [arm.clusters for arm in answer.arms],
        "pair" if base.paired else "session",
        [base.label, cand.label],
    )


def _finding(side: Side, answer: Answer, verdict: Verdict, unfit: str) -> Finding:
    base, cand = answer.arms
    return Finding(
        question=answer.question,
        candidate=side.label,
        difference=answer.difference,
        verdict=with_unseen(verdict, answer.question, answer.difference, cand.clusters),
        turns=(base.turns, cand.turns),
        sessions=(base.clusters, cand.clusters),
        failed=(base.failed, cand.failed),
        inexact=unfit,
    )
