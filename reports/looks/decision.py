"""A decision in plain data: what may be said of a run by its plan, now."""

from __future__ import annotations

from dataclasses import dataclass

from reports.looks.plan import DecisionPlan
from reports.looks.sequence import LookCourse
from reports.question import Question
from reports.runs import Run
from reports.wording.unusable import Cause

INVALID = 4
STATUSES = {"not regressed": 0, "regressed": 1}


@dataclass(frozen=True)
class Decision:
    """What may be said of a run by its plan, now. `gates`: what is asked, in the order of the course's rulings.

    `pairs`: measured pairs that have ended, in a row from the first; `invalid`: why the figures may not be used, none
    where they may, or the run has not ended.
    """

    run: Run
    targets: tuple[str, str]
    plan: DecisionPlan
    gates: tuple[Question, ...]
    course: LookCourse
    pairs: int
    seed: int
    ended: bool
    invalid: tuple[Cause, ...]

    @property
    def stopped(self) -> bool:
        """Whether there is nothing more to be learned from this run."""
        return self.course.stopped or bool(self.invalid)

    @property
    def by_look(self) -> bool:
        """Whether it was a look that said so."""
        reason = self.course.reason
        return reason == "invalid" if self.invalid else reason not in ("waiting", "no look")

    @property
    def status(self) -> int:
        """As `rtbench decide` exits: 4 invalid, 1 regressed, 0 every gate passes, 3 neither."""
        return INVALID if self.invalid else STATUSES.get(self.course.reason, 3)

    @property
    def used(self) -> int:
        """Pairs in the verdict."""
        return self.course.looks[-1].pairs if self.course.looks else 0

    @property
    def after(self) -> int:
        """Whole pairs beside them: they ended after the decision, or belong to a look that was not held."""
        return self.pairs - self.used
