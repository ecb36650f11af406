"""What the planned looks decided of a run that is compared: theirs is the verdict, whatever one more test would say."""

from __future__ import annotations

import math
from collections.abc import Sequence

from reports.looks.decide import decision_of
from reports.looks.decision import Decision
from reports.looks.text import apart, place, sentence
from reports.sides.fairness import one_run
from reports.sides.named import known_targets
from reports.sides.side import Side
from reports.statistics.verdicts import Word
from reports.wording.differences import figure

LOOKED = (
    "This run is judged by looks that were planned before it began; theirs is the verdict that counts. "
    "The figures below are of all its pairs, as one test would see them."
)
CHOSEN = (
    "{} was ended by looks at its figures, so a test that takes its size as given errs more often than its level says; "
    "what its looks decided is told by `rtbench decide {}`."
)


def decision_on(sides: Sequence[Side]) -> Decision | None:
    """The decision of the one run whose targets these are, in its order; None where there is none to take.

    Raises UsageError where the run's plan cannot be followed.
    """
    run = sides[0].run
    if not one_run(sides) or not _planned(sides[0]) or not run.document.get("interleaved"):
        return None
    if [side.name for side in sides] != list(known_targets(run)):
        return None
    return decision_of(run, str(run.folder))


def notices_of(sides: Sequence[Side], decision: Decision | None) -> list[str]:
    """That a run was ended by its looks, where it is compared in another way than they did."""
    if decision is not None:
        return []
    folders = dict.fromkeys(side.run.folder for side in sides if _planned(side))
    return [CHOSEN.format(folder.name, folder) for folder in folders]


def word_of(decision: Decision) -> Word:
    """The verdict of all gates together."""
    reason = decision.course.reason
    if reason == "regressed" or reason == "not regressed":
        return reason
    return "inconclusive"


def said(decision: Decision) -> str:
    """Its sentence as it stands alone: with a capital letter, unless it begins with the candidate's name."""
    text, named = sentence(decision), decision.course.reason in ("regressed", "not regressed")
    return f"{text if named and not decision.invalid else text[:1].upper() + text[1:]}."


def brief(decision: Decision) -> str:
    """gateway regressed: ttfa p50 +44 %, ttfa p95 +50 %: the figures that say so, and nothing of how surely.

    The whole sentence where none of them has a difference.
    """
    word = word_of(decision)
    rulings = zip(decision.gates, decision.course.rulings, strict=bool(decision.course.rulings))
    figures = [
        f"{figure(gate)} {apart(gate, ruling.d)}"
        for gate, ruling in rulings
        if ruling.word == word and not math.isnan(ruling.d)
    ]
    if not figures or decision.invalid:
        return said(decision)
    begins = {
        "regressed": f"{decision.targets[1]} regressed",
        "not regressed": f"{decision.targets[1]} has not regressed",
    }
    return f"{begins.get(word, 'Inconclusive')}: {', '.join(figures)}."


def stop_of(decision: Decision) -> str:
    """stopped at look 3 of 10, 150 pairs."""
    return f"stopped at {place(decision)}" if decision.course.looks else "no look was held"


def _planned(side: Side) -> bool:
    return side.run.document.get("decision_plan") is not None
