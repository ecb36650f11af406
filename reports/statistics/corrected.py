"""What to print after an early stop: an interval that agrees with the verdict, and an estimate that is not too far out.

Who stops because a figure lies far from its margin stops on a lucky day as well: the plain estimate overstates the
distance. The corrected one is median-unbiased in the stage-wise order: with S = z·√t at the look that decided and w the
drift of the Brownian motion, P(w) is the probability of a stop above before that look, plus that of reaching it with at
least S. The estimate is the w at which P(w) = 1/2.

After: Tsiatis, Rosner, Mehta, "Exact confidence intervals following a group sequential test" (1984).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from scipy.optimize import brentq  # type: ignore[import-untyped, unused-ignore]
from scipy.special import ndtr  # type: ignore[import-untyped, unused-ignore]

from reports.statistics.looks import moved, spread_of_level
from reports.statistics.quantiles import Floats

NODES = 100
AWAY = 12.0
"""The drift is looked for within so many standard errors of the plain one."""


def interval(d: float, se: float, df: float, c: float) -> tuple[float, float]:
    """d ∓ T⁻¹(Φ(c)) · SE, `c` being the critical value of the look that decided."""
    half = spread_of_level(c, df) * se
    return d - half, d + half


def distance(z: float, se: float, t: Sequence[float], c: Sequence[float]) -> float:
    """The corrected distance from the margin, on the scale of `se`.

    `t`, `c`: fractions and critical values of the looks up to the one that decided, which saw `z`. At the first look
    nothing is to be corrected. `z` is a normal deviate: where it was made of t, `se` is the distance that was seen / z.
    """
    if not math.isfinite(z) or len(t) == 1:
        return z * se
    return math.copysign(1.0, z) * _drift(abs(z) * math.sqrt(t[-1]), t, c) * se * math.sqrt(t[-1])


def _drift(s: float, t: Sequence[float], c: Sequence[float]) -> float:
    """The drift at which ending so high is as likely as not. `s`: not below 0."""
    plain, width = s / t[-1], AWAY / math.sqrt(t[0])
    return float(brentq(lambda w: above(w, s, t, c) - 0.5, plain - width, plain + width, xtol=1e-6))


def above(w: float, s: float, t: Sequence[float], c: Sequence[float]) -> float:
    """P(w): a stop above before the last of these looks, or the last one reached with at least `s`."""
    bounds = [*(critical * math.sqrt(share) for share, critical in zip(t[:-1], c, strict=False)), s]
    reached, before = 0.0, 0.0
    for (at, mass), bound, share in zip(_open(tuple(t[:-1]), tuple(c)), bounds, t, strict=True):
        drifted = mass * np.exp(w * at - w**2 * before / 2)
        reached += float(drifted @ ndtr((at + w * (share - before) - bound) / math.sqrt(share - before)))
        before = share
    return reached


@lru_cache(maxsize=256)
def _open(t: tuple[float, ...], c: tuple[float, ...]) -> list[tuple[Floats, Floats]]:
    """Before each look and after the last: where paths without drift still are, between both bounds, and their mass.

    A drift w only weighs a path that is at S at time t by exp(w·S − w²·t/2).
    """
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    found, before = [(np.zeros(1), np.ones(1))], 0.0
    for share, critical in zip(t, c, strict=False):
        bound, (at, mass) = critical * math.sqrt(share), found[-1]
        found.append((nodes * bound, moved(at, mass, nodes * bound, math.sqrt(share - before)) * weights * bound))
        before = share
    return found
