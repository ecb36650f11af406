"""The pause from which an agent cuts its callers off. Pure.

Each turn has a pause within the caller's speech, and was cut off in it or not. The cut-off pause is
the shortest pause from which at least half of the turns are cut off. The share need not increase
with longer pauses: if an agent stops its reply during the reply's initial silence, because the
caller continues, the turn does not count as cut off. Most such turns have pauses of about the
silence that ends a turn plus the agent's latency.

The estimate is the change-point of a cumulative sum (Page, Continuous inspection schemes,
Biometrika 41, 1954). From the shortest pause on, the sum increases by 1 for a turn that was cut
off, and decreases by 1 for others. If a turn is misclassified with the probability ε on both sides
of the change, these steps are its log-likelihood ratio, in units of log((1 − ε) / ε). The change is
detected when the sum has risen `RISE` above its minimum, and the change-point is this minimum,
which has the largest likelihood. Later turns have no effect. Before the change, the sum rises by 4
above a given value with the probability (ε / (1 − ε))⁴, which is 1 / 6,561 if ε is 10 %. If no
change is detected, the change-point is the minimum for all pauses. If the minimum is at several
lengths, it is the middle of the first and the last.

The interval is the percentile bootstrap over sessions, extended to the next tested pause.
"""

import math
from typing import NamedTuple

import numpy as np

from reports.statistics.counting import Floats, Integers, without_warnings

RISE = 4
DRAWS = 2_000
TAIL = 0.025


class CutOffPause(NamedTuple):
    """A pause with its interval of 95 %, in the unit of the pauses.

    −inf if more than half of the turns with the shortest pause are cut off, and inf if less than
    half of those with the longest one are.
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
    differences = np.bincount(cells, 2 * cut - 1, minlength=names.size * levels.size).reshape(shape)
    rng = np.random.default_rng(0)
    weights = rng.multinomial(names.size, np.full(names.size, 1 / names.size), DRAWS)
    first, last = _best(np.vstack([np.ones(names.size), weights]) @ differences)
    below = np.append(-math.inf, levels)
    above = np.append(levels, math.inf)
    low = np.sort(below[first[1:]])
    high = np.sort(above[last[1:]])
    tail = int(TAIL * DRAWS)
    with without_warnings():
        middle = (_position(below, above, first[0]) + _position(below, above, last[0])) / 2
    return CutOffPause(float(middle), float(low[tail]), float(high[-tail - 1]))


def _best(differences: Floats) -> tuple[Integers, Integers]:
    """Return the first and the last boundary at which the sum is minimal before the change is
    detected, by row.
    """
    sums = np.hstack([np.zeros((len(differences), 1)), differences.cumsum(axis=1)])
    has_risen = sums >= np.minimum.accumulate(sums, axis=1) + RISE
    before = np.where(np.logical_or.accumulate(has_risen, axis=1), math.inf, sums)
    best = before == before.min(axis=1, keepdims=True)
    return best.argmax(axis=1), sums.shape[1] - 1 - best[:, ::-1].argmax(axis=1)


def _position(below: Floats, above: Floats, boundary: int) -> float:
    return float((below[boundary] + above[boundary]) / 2)
