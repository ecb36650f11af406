"""Pools the shares of a search's levels: where an edge seems to lie, and whether levels contradict one another; pure.

A share of turns that miss an objective does not fall with the load, whatever its curve. So levels are pooled until it
does not: isotonic regression (Barlow, Bartholomew, Bremner, Brunk, Statistical Inference under Order Restrictions,
1972). How far levels lie from that says whether the service changed by itself between them: given the b blocks of the
fit, the sum of squared deviations over k levels, in standard errors, is chi-squared with k − b degrees of freedom where
the order is true (the conditional test; Wollan, Dykstra, "Conditional tests with an order restriction as a null
hypothesis", 1986). A standard error is that of turns with the design effect of sessions and batches.

Where they contradict one another a level alone shows nothing of the time before and after it. Then each level is one
look at the service: the logs of the shares are pooled, each level alike, and with s² their mean square from the fit,
the log of a block of m levels lies within t · s/√(m/2), with k − b degrees of freedom, of what is meant; s²/2 is from
the median of a log-normal share to its mean. A load holds where the upper end of its block lies below what is allowed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import isotonic_regression
from scipy.special import chdtrc, stdtrit  # type: ignore[import-untyped, unused-ignore]

from bench.capacity.document import LevelOutcome, RoughEdge, SloShare
from bench.capacity.ladder import ABOUT_THE_SERVICE, Bracket, bracket_of
from bench.capacity.search import ends_of
from reports.statistics.quantiles import Floats, Integers

CONTRADICT = 0.01
"""Levels that lie so seldom so far from any rising share by chance contradict one another."""
TAIL, ALIKE = 0.01, 2
"""The error of each end of a block; and of so many levels one counts there, for those that follow one another may lie
in the same slow minutes. Tried in `tests/benchmark/capacity.py`."""


class _Ends(NamedTuple):
    """What holds and what breaks by all levels together; 0 and None for none."""

    holds: int
    breaks: int | None


class _Fit(NamedTuple):
    """A rising curve through levels: the loads of each of its blocks, their values, and that of each level."""

    blocks: list[Integers]
    values: list[float]
    of_level: Floats


def rough_edge(levels: Sequence[LevelOutcome]) -> RoughEdge | None:
    """Where the edge seems to lie, by the shares that levels showed, whatever their bounds; None where none tells."""
    loads, shares = _told(levels)
    if not shares:
        return None
    over: set[int] = set()
    for of_levels in shares:
        fit = _rising(loads, _values(of_levels), _turns(of_levels))
        beyond = [block for block, value in zip(fit.blocks, fit.values, strict=True) if value > of_levels[0].allowed]
        over.update(int(load) for block in beyond for load in block)
    return RoughEdge(max((int(load) for load in loads if load not in over), default=None), min(over, default=None))


def shown(levels: Sequence[LevelOutcome]) -> tuple[Bracket, bool]:
    """What levels have shown, and whether they agree; where they do not, it is what all of them show together."""
    bracket = bracket_of(ends_of(levels))
    loads, shares = _told(levels)
    if not any(_contradict(loads, of_levels) < CONTRADICT / len(shares) for of_levels in shares):
        return bracket, True
    found = [_ends(loads, of_levels) for of_levels in shares]
    breaks = [ends.breaks for ends in found if ends.breaks is not None]
    return bracket._replace(holds=min(ends.holds for ends in found), breaks=min(breaks, default=None)), False


def _contradict(loads: Integers, shares: Sequence[SloShare]) -> float:
    """How often levels lie so far from any rising share by chance."""
    values, turns = _values(shares), _turns(shares)
    deffs = np.array([share.deff for share in shares])
    fit = _rising(loads, values, turns)
    free = loads.size - len(fit.blocks)
    if not free:
        return 1.0
    least = 1 / (turns + 2)
    p = np.clip(fit.of_level, least, 1 - least)
    variance = np.maximum(deffs, np.median(deffs)) * p * (1 - p) / turns
    return float(chdtrc(free, ((values - fit.of_level) ** 2 / variance).sum()))


def _ends(loads: Integers, shares: Sequence[SloShare]) -> _Ends:
    turns, allowed = _turns(shares), math.log(shares[0].allowed)
    logs = np.log((_values(shares) * turns + 0.5) / (turns + 0.5))
    fit = _rising(loads, logs, np.ones(loads.size))
    free = max(1, loads.size - len(fit.blocks))
    square = float(((logs - fit.of_level) ** 2).sum()) / free
    holds, breaks = 0, None
    for block, value in zip(fit.blocks, fit.values, strict=True):
        looks = max(1.0, float(np.isin(loads, block).sum()) / ALIKE)
        reach = float(stdtrit(free, 1 - TAIL)) * math.sqrt(square / looks)
        if value + square / 2 + reach < allowed:
            holds = int(block[-1])
        if breaks is None and value + square / 2 - reach > allowed:
            breaks = int(block[0])
    return _Ends(holds, breaks)


def _rising(loads: Integers, values: Floats, weights: Floats) -> _Fit:
    known, place = np.unique(loads, return_inverse=True)
    together = np.bincount(place, weights)
    fit = isotonic_regression(np.bincount(place, weights * values) / together, weights=together)
    ends = list(zip(fit.blocks[:-1], fit.blocks[1:], strict=True))
    return _Fit([known[first:last] for first, last in ends], [float(fit.x[first]) for first, _ in ends], fit.x[place])


def _told(levels: Sequence[LevelOutcome]) -> tuple[Integers, list[list[SloShare]]]:
    """The loads of the levels that show a share of each objective, and of each objective their shares."""
    telling = [level for level in levels if _tells(level)]
    shares = [list(of_levels) for of_levels in zip(*(level.shares for level in telling), strict=True)]
    return np.array([level.load for level in telling], dtype=np.int64), shares


def _tells(level: LevelOutcome) -> bool:
    shown = all(share.value is not None and share.turns for share in level.shares)
    return level.answer in ABOUT_THE_SERVICE and bool(level.shares) and shown


def _values(shares: Sequence[SloShare]) -> Floats:
    return np.array([share.value or 0.0 for share in shares])


def _turns(shares: Sequence[SloShare]) -> Floats:
    return np.array([share.turns for share in shares], dtype=np.float64)
