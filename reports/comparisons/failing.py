"""How many sessions had any failed turn, beside the rate of failed turns: a caller counts bad calls, not bad turns.

Sessions do not cluster, so the share is plainly binomial, and Newcombe's interval of a difference holds as it stands.
"""

from __future__ import annotations

from collections.abc import Sequence

from reports.numbers import NONE, percent
from reports.question import Question
from reports.sides.fairness import Check
from reports.sides.side import Side, as_floats, counts_of
from reports.statistics.differences import Margin
from reports.statistics.rates import any_event, newcombe
from reports.wording.differences import interval

NAME = "sessions with a failed turn"
FAILURES = Question("failures", "rate", Margin())


def any_failure(each: Sequence[tuple[Side, Side]], level: float) -> list[Check]:
    """A line for information, none where nothing failed. A turn that was wanted and never begun counts as failed.

    `each`: the baseline with every candidate, whose text says as well between which percentage points the difference
    lies.
    """
    shares = [[any_event(as_floats(counts_of(side, FAILURES))) for side in two] for two in each]
    if not any(one.value > 0 for two in shares for one in two):
        return []
    base = shares[0][0]
    texts = [percent(base.value, 1) if base.clusters else NONE]
    for one, other in shares:
        if one.clusters and other.clusters:
            ends = interval(*newcombe(one, other, level), "points")
            texts.append(f"{percent(other.value, 1)} ({ends} points)")
        else:
            texts.append(percent(other.value, 1) if other.clusters else NONE)
    return [Check(NAME, tuple(texts), None)]
