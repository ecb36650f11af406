"""Group sequential looks: critical values by alpha spending, estimates corrected for stopping early; pure.

A comparison is looked at while it runs, at planned sizes, without more errors than one test at the end. A plan is made
before the run: at most N pairs, looks at g_1 < … < g_K = N of them. At a look the share t = g/N of the information is
there, and a·t² of the error a may have been spent. The critical values c_k follow from Brownian motion S without drift:

    P(S(t_j)/√t_j first reaches c_j at j = k) = a·t_k² − a·t_{k−1}²

The other side is ignored: a stop there only lowers the error. The last look takes all that is left, whatever its size.

After: Lan, DeMets, "Discrete sequential boundaries for clinical trials" (1983), by numerical integration as in
Armitage, McPherson, Rowe, "Repeated significance tests on accumulating data" (1969).

After an early stop the interval agrees with the verdict, and the estimate is corrected. Who stops because a figure lies
far from its margin stops on a lucky day as well: the plain estimate overstates the distance. The corrected one is
median-unbiased in the stage-wise order: with S = z·√t at the look that decided and w the drift of the Brownian motion,
P(w) is the probability of a stop above before that look, plus that of reaching it with at least S. The estimate is the
w at which P(w) = 1/2.

After: Tsiatis, Rosner, Mehta, "Exact confidence intervals following a group sequential test" (1984).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import ndtr, ndtri, stdtr, stdtrit  # type: ignore[import-untyped, unused-ignore]

from reports.statistics.counting import Floats
from reports.statistics.verdicts import SESSIONS, turns_to_decide

SPENDING = "a t^2"
EVERY = 50
"""Pairs from look to look; the number of the first one, and of N, is a multiple of it."""
HOPELESS = 0.1
"""Below such a chance of ever passing, and of ever being found worse, a look ends the run."""
PATH_NODES = 200
REACH = 8.0
"""Standard deviations of the paths that are followed."""


def look_sizes(pairs_most: int, every: int = EVERY, first: int = 0) -> tuple[int, ...]:
    """Sizes of the looks: `first` or `every`, then each `every` more, and N. (100, 150, …) for first = 100."""
    sizes = range(max(first, every), pairs_most, every)
    return (*sizes, pairs_most)


def pairs_needed(p: float | None, values_per_session: float) -> int:
    """Pairs from which on a quantile may be tested, of which a session has so many values; None: a rate or a mean."""
    return max(SESSIONS, math.ceil(turns_to_decide(p) / values_per_session - 1e-9) if p is not None else 0)


def first_look(needed: Sequence[int], every: int = EVERY) -> int:
    """Pairs from which on every gate may be tested, rounded up to a multiple of `every`."""
    return math.ceil(max(needed) / every) * every


def critical_values(t: Sequence[float], a: float) -> list[float]:
    """The critical value of each look, for one-sided error `a`. `t`: rising fractions of N, each in (0, 1].

    The last look takes all of `a` that is left, so a run that ends early, blind to its result, hands in the looks that
    it held. Paths still under way are a density on Gauss-Legendre nodes below the bound.
    """
    return list(_critical_values(tuple(t), a))


@lru_cache(maxsize=256)
def _critical_values(t: tuple[float, ...], a: float) -> tuple[float, ...]:
    spent = [0.0, *(a * one**2 for one in t[:-1]), a]
    nodes, weights = _nodes(PATH_NODES)
    found, at, mass = [], np.zeros(1), np.ones(1)
    for k, share in enumerate(t):
        sd = math.sqrt(share - (t[k - 1] if k else 0.0))
        bound = _bound(at, mass, sd, spent[k + 1] - spent[k])
        found.append(bound / math.sqrt(share))
        low = -REACH * math.sqrt(share)
        to = low + (nodes + 1) / 2 * (bound - low)
        at, mass = to, moved(at, mass, to, sd) * weights * (bound - low) / 2
    return tuple(found)


@lru_cache(maxsize=4)
def _nodes(grid: int) -> tuple[Floats, Floats]:
    """Gauss-Legendre nodes and their weights, cached: 200 of them take 100 ms."""
    nodes, weights = np.polynomial.legendre.leggauss(grid)
    return nodes, weights


def _bound(at: Floats, mass: Floats, sd: float, increment: float) -> float:
    """Where a path at `at`, moving on by a normal step, lies above with this probability."""
    from scipy.optimize import brentq  # type: ignore[import-untyped, unused-ignore]

    return float(brentq(lambda bound: mass @ ndtr((at - bound) / sd) - increment, -10, 12, xtol=1e-10))


def moved(at: Floats, mass: Floats, to: Floats, sd: float) -> Floats:
    """The density at `to` of what was at `at`, after a normal step."""
    return np.exp(-(((to[:, None] - at) / sd) ** 2) / 2) @ mass / (sd * math.sqrt(2 * math.pi))


def z_of(excess: float, se: float, df: float) -> float:
    """Return the standard errors beyond the margin as a normal deviate, Φ⁻¹(T_df(excess / SE)); ±inf without spread."""
    if se == 0 or math.isinf(excess):
        return math.copysign(math.inf, excess) if excess else 0.0
    return math.copysign(float(ndtri(stdtr(df, -abs(excess / se)))), excess)


def spread_of_level(c: float, df: float) -> float:
    """How many standard errors a bound at critical value `c` lies from the estimate: T_df⁻¹(Φ(c))."""
    return -float(stdtrit(df, float(ndtr(-c))))


@dataclass(frozen=True)
class ConditionalPower:
    """What a gate may still become at N, from a look on; the drift is taken one standard error in favour of each."""

    passing: float
    red: float


UNKNOWN = ConditionalPower(1.0, 1.0)
"""Chances of a gate that could not be tested yet."""


def chances(z: float, t: float, c_pass: float, c_red: float) -> ConditionalPower:
    """`c_pass`, `c_red`: critical values of the last look, at level a and at a divided by the number of gates."""
    if t >= 1 or not math.isfinite(z):
        return ConditionalPower(float(z <= -c_pass), float(z >= c_red))
    at, left = z * math.sqrt(t), 1 - t
    drift, error = at / t, 1 / math.sqrt(t)
    passing = ndtr((-c_pass - at - (drift - error) * left) / math.sqrt(left))
    red = ndtr(-(c_red - at - (drift + error) * left) / math.sqrt(left))
    return ConditionalPower(float(passing), float(red))


def futile(open_gates: Sequence[ConditionalPower], all_gates: Sequence[ConditionalPower]) -> bool:
    """Return whether some gate that has not passed hardly will, and none turns red. It changes no verdict's error."""
    return any(one.passing < HOPELESS for one in open_gates) and all(one.red < HOPELESS for one in all_gates)


NODES = 100
AWAY = 12.0
"""The drift is looked for within so many standard errors of the plain one."""


def distance(z: float, se: float, t: Sequence[float], c: Sequence[float]) -> float:
    """The corrected distance from the margin, on the scale of `se`.

    `t`, `c`: fractions and critical values of the looks up to the one that decided, which saw `z`. At the first look
    nothing is to be corrected. `z` is a normal deviate: where it was made of t, `se` is the distance that was seen / z.
    """
    if not math.isfinite(z) or len(t) == 1:
        return z * se
    from scipy.optimize import brentq  # type: ignore[import-untyped, unused-ignore]

    s, width = abs(z) * math.sqrt(t[-1]), AWAY / math.sqrt(t[0])
    plain = s / t[-1]
    drift = float(brentq(lambda w: above(w, s, t, c) - 0.5, plain - width, plain + width, xtol=1e-6))
    return math.copysign(1.0, z) * drift * se * math.sqrt(t[-1])


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
    nodes, weights = _nodes(NODES)
    found, before = [(np.zeros(1), np.ones(1))], 0.0
    for share, critical in zip(t, c, strict=False):
        bound, (at, mass) = critical * math.sqrt(share), found[-1]
        found.append((nodes * bound, moved(at, mass, nodes * bound, math.sqrt(share - before)) * weights * bound))
        before = share
    return found
