"""Sessions of very unequal length whose values depend on their length; pure.

A quantile over turns weights each session by its length. If few sessions have many of the turns, and long sessions
differ from short ones, it depends on sessions of which a run has hardly any, and no variance inside the run shows that.
So its interval then allows for one more session that was not seen (`reports.statistics.quantiles`).

Both must be true: the longest session has at least four times the mean number of turns, and Spearman's test finds a
correlation of the sessions' lengths and the mean ranks of their turns at 10 %. That is more than 5 %, because it is the
missed correlation that makes an interval too narrow.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import stdtr  # type: ignore[import-untyped, unused-ignore]

from reports.statistics.counting import Integers, ranks

LONGEST = 4.0
"""Turns of the longest session, as a multiple of their mean, from which the lengths matter."""
FOUND = 0.1
"""The error of the test of a correlation."""
LEAST = 10
"""Sessions that the test needs."""


def differ_by_length(sessions: Integers) -> bool:
    """Return whether long sessions differ from short ones, and the longest is so long that it matters.

    `sessions`: the code of each turn's session, in ascending order of the turns' values.
    """
    turns = np.bincount(sessions)
    lengths = turns[turns > 0]
    if lengths.size < LEAST or lengths.max() < LONGEST * lengths.mean():
        return False
    levels = np.bincount(sessions, weights=np.arange(sessions.size))[turns > 0] / lengths
    r = float(np.corrcoef(ranks(lengths), ranks(levels))[0, 1])
    t = abs(r) * math.sqrt((lengths.size - 2) / max(1e-12, 1 - r**2))
    return bool(2 * stdtr(lengths.size - 2, -t) < FOUND)
