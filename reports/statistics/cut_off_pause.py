"""The pause from which an agent cuts its callers off. Pure.

Each turn has a pause within the caller's speech, and was cut off in it or not. The cut-off pause is the boundary
between two lengths of pauses that misclassifies the fewest turns, if all turns with longer pauses are cut off and
others are not. It estimates the pause at which half of the turns are cut off. If several boundaries are equal, it is
the middle of the first and the last. The interval is the percentile bootstrap over sessions, extended to the next
tested pause.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from reports.statistics.counting import Floats, Integers

DRAWS = 2_000
TAIL = 0.025


class CutOffPause(NamedTuple):
    """A pause with its interval of 95 %, in the unit of the pauses.

    −inf if more than half of the turns with the shortest pause are cut off, and inf if less than half of those with the
    longest one are.
    """

    value: float
    low: float
    high: float


def cut_off_pause(pauses: Floats, cut: Floats, sessions: Integers) -> CutOffPause:
    """Return the cut-off pause. `cut` is 1 for a turn that was cut off in its pause, and else 0."""
    levels, level = np.unique(pauses, return_inverse=True)
    names, session = np.unique(sessions, return_inverse=True)
    cells = session * levels.size + level
    shape = names.size, levels.size
    # the loss of a boundary is that of no boundary, plus these differences before it
    differences = np.bincount(cells, 2 * cut - 1, minlength=names.size * levels.size).reshape(shape)
    rng = np.random.default_rng(0)
    weights = rng.multinomial(names.size, np.full(names.size, 1 / names.size), DRAWS)
    first, last = _best(np.vstack([np.ones(names.size), weights]) @ differences)
    below, above = np.append(-math.inf, levels), np.append(levels, math.inf)
    low, high = np.sort(below[first[1:]]), np.sort(above[last[1:]])
    tail = int(TAIL * DRAWS)
    with np.errstate(invalid="ignore"):
        middle = (_position(below, above, first[0]) + _position(below, above, last[0])) / 2
    return CutOffPause(float(middle), float(low[tail]), float(high[-tail - 1]))


def _best(differences: Floats) -> tuple[Integers, Integers]:
    """Return the first and the last boundary with the smallest loss, for each row."""
    losses = np.hstack([np.zeros((len(differences), 1)), differences.cumsum(axis=1)])
    best = losses == losses.min(axis=1, keepdims=True)
    return best.argmax(axis=1), losses.shape[1] - 1 - best[:, ::-1].argmax(axis=1)


def _position(below: Floats, above: Floats, boundary: int) -> float:
    return float((below[boundary] + above[boundary]) / 2)
