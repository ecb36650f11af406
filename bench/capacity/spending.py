"""Shares out what a search may spend, time and the chance of an error, over its levels and over their looks; pure.

A level may take an equal share of what is left, by the number of levels that may still come; the hold counts as two.
What a level leaves over goes to those that follow. What a level may spend depends on earlier ones alone, so the errors
of all together stay below ERROR, whatever the way of the search (Bonferroni's inequality, level by level given those
before it).

Within a level there are looks at fixed parts t of its time. By a look a·t² of the level's error a is spent, so the
look has the error a·(t² − t_before²): the spending function of `reports.statistics.looks` (Lan, DeMets, "Discrete
sequential boundaries for clinical trials", 1983), and again Bonferroni's inequality over looks instead of its
integration, which assumes normal figures; a few failures are not.
"""

from __future__ import annotations

from itertools import pairwise

ERROR = 0.05
"""The chance that any answer of a search is wrong."""
LOOKS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
"""When a level is looked at, in parts of its time."""
FUTILE_FROM = 1 / 4
"""From this part of a level's measured time on it is ended where no answer is to be expected of it."""
HOLD_SHARES = 2
"""How many levels the hold counts as."""


def share(left: float, levels_left: int) -> float:
    """What a level may spend of what is left. `levels_left`: this one among them, without the hold."""
    return left / (levels_left + HOLD_SHARES)


def look_errors(error: float) -> tuple[float, ...]:
    """The error of each look at a level, which together may be wrong with a chance of `error`."""
    return tuple(error * (t**2 - before**2) for before, t in pairwise((0.0, *LOOKS)))
