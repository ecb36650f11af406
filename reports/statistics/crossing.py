"""The load at which a share of turns crosses its limit, from turns at many loads. Pure.

The share of turns that violate a threshold is a log-logistic function of the load x, from a
background share g to a plateau h:

    p(x) = g + (h − g) / (1 + k (c/x)^b)      k: such that p(c) is the allowed share

The crossing c is what a search looks for; b is the slope: services that slow down have a small one,
services that break or refuse calls a large one. A plateau below 1 is that of services which delay
only some of the turns. This is the estimate of a benchmark dose (U.S. EPA, Benchmark Dose Technical
Guidance, 2012: log-logistic model). The posterior of (c, b, g, h) is computed on a grid, with flat
priors for log c, log b, and the parts of g and h. So the interval is wide if there are few turns,
and the turns at one load borrow strength from the others.

Turns of a session resemble each other. So the log-likelihood is divided by the design effect, which
is the variance of the sessions' sums divided by that of independent turns (Rao and Scott, "A simple
method for the analysis of clustered binary data", Biometrics 48, 1992).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import numpy as np

from reports.statistics.counting import Flags, Floats, Integers
from reports.statistics.distributions import bdtrc, expit, logit

SLOPES = np.geomspace(1.5, 1500, 11)
BACKGROUNDS = np.array([0.0, 0.25, 0.6, 0.9])
PLATEAUS = np.array([0.06, 0.2, 0.5, 1.0])
"""The background as a part of the allowed share, and the plateau as a part of the distance from
that share to 1."""
CROSSINGS_PER_OCTAVE = 30
BEYOND = 2.0
"""The grid of crossings ends at `BEYOND` times the largest load: the threshold may hold at all
loads."""
MIN_CROSSING = 0.5
NEAR = 1.25
"""The loads up to this multiple of the first interval's upper end are used. Far above it, the curve
of a real service has another form, and would bend the curve at the crossing.
"""
MIN_NEAR = 20
"""The minimum number of turns that are used, those at the lowest loads, even if they are far above
the first interval: it may have almost no turns."""
CONFIDENCE = 0.95
MAX_DESIGN_EFFECT = 6.0


@dataclass(frozen=True)
class TurnsByLoad:
    """Turns, as arrays with one value for each.

    - `load`: the calls in progress
    - `violated`: 1 if the turn violated the threshold, otherwise 0; for a rate of words, their
      number
    - `trials`: 1, or the number of its words
    - `value`: the value of the metric; infinite if the turn failed, NaN for a rate
    """

    load: Floats
    violated: Floats
    trials: Floats
    session: Integers
    value: Floats

    @property
    def n(self) -> int:
        return int(self.load.size)

    def where(self, chosen: Flags) -> TurnsByLoad:
        return TurnsByLoad(*(getattr(self, each.name)[chosen] for each in fields(self)))


def joined(parts: Sequence[TurnsByLoad]) -> TurnsByLoad:
    """Return the turns of several runs. Sessions of different runs are different."""
    if not parts:
        none = np.zeros(0)
        return TurnsByLoad(none, none, none, np.zeros(0, int), none)
    first = np.cumsum([0, *(1 + part.session.max(initial=-1) for part in parts)])
    renumbered = [
        replace(part, session=part.session + start)
        for part, start in zip(parts, first, strict=False)
    ]
    return TurnsByLoad(
        *(
            np.concatenate([getattr(part, each.name) for part in renumbered])
            for each in fields(TurnsByLoad)
        )
    )


class Crossing(NamedTuple):
    """The load at which a share crosses its limit: its median, and the ends of its interval.

    `below` is the probability that it is at most the largest load.
    """

    median: float
    low: float
    high: float
    below: float


def crossing_of(turns: TurnsByLoad, allowed: float) -> Crossing:
    """Return the load at which more than the `allowed` share of turns violates a threshold."""
    top = max(2.0, float(turns.load.max(initial=1.0)))
    found = _crossing(turns, allowed, top)
    lowest = np.sort(turns.load)[:MIN_NEAR].max(initial=0.0)
    near = turns.where(turns.load <= max(lowest, NEAR * found.high))
    return found if near.n == turns.n else _crossing(near, allowed, top)


def _crossing(turns: TurnsByLoad, allowed: float, top: float) -> Crossing:
    octaves = math.log2(top * BEYOND / MIN_CROSSING)
    crossings = np.geomspace(MIN_CROSSING, top * BEYOND, int(octaves * CROSSINGS_PER_OCTAVE))
    loads, index = np.unique(turns.load, return_inverse=True)
    bad, good = (
        np.bincount(index, weights, loads.size)
        for weights in (turns.violated, turns.trials - turns.violated)
    )
    slope, background, plateau = (
        axis[..., None, None]
        for axis in np.meshgrid(
            SLOPES, allowed * BACKGROUNDS, allowed + (1 - allowed) * PLATEAUS, indexing="ij"
        )
    )
    at_crossing = (allowed - background) / (plateau - background)
    log_odds = logit(at_crossing) + slope * np.log(loads / crossings[:, None])
    share = np.clip(background + (plateau - background) * expit(log_odds), 1e-9, 1 - 1e-9)
    fit = np.log(share) @ bad + np.log1p(-share) @ good
    expected = np.tensordot(_normalized(fit), share, axes=4)[index]
    of_crossing = _normalized(fit / design_effect(turns, expected)).sum(axis=(0, 1, 2))
    total = np.cumsum(of_crossing)
    tail = (1 - CONFIDENCE) / 2
    low, median, high = np.interp([tail, 0.5, 1 - tail], total, crossings)
    return Crossing(float(median), float(low), float(high), float(np.interp(top, crossings, total)))


def _normalized(log_likelihood: Floats) -> Floats:
    weights: Floats = np.exp(log_likelihood - log_likelihood.max())
    normalized: Floats = weights / weights.sum()
    return normalized


def design_effect(turns: TurnsByLoad, expected: Floats) -> float:
    """Return the design effect of sessions, given the expected share of each turn."""
    _, session = np.unique(turns.session, return_inverse=True)
    excess = np.bincount(session, turns.violated - expected * turns.trials)
    variance = float((expected * (1 - expected) * turns.trials).sum())
    return float(np.clip((excess**2).sum() / variance, 1.0, MAX_DESIGN_EFFECT)) if variance else 1.0


MORE_OFTEN = 1.64
"""The z-score of a correlation with the load above which something happens more often at high
loads (one-sided, 5 %)."""


def is_rarer_at_low_loads(turns: TurnsByLoad, happened: Floats) -> bool:
    """Return whether something happened in fewer turns at low loads than at high ones.

    If it does not depend on the load, its correlation with the load has the variance 1/(n − 1) in
    all permutations (Pitman). At one load only, nothing shows that it is rarer at others.
    """
    if turns.n < MIN_TURNS or not np.ptp(turns.load) or not np.ptp(happened):
        return False
    correlation = np.corrcoef(turns.load, happened)[0, 1]
    return bool(correlation * math.sqrt(turns.n - 1) > MORE_OFTEN)


REJECTED = 0.003
"""The probability of at least as many violations, if a load passed, below which it certainly
does not pass.

A service exactly at its limit is rejected in 0.8 % of searches that test after each of 24 turns,
and in 3 to 5 % if the turns of a call, or those at one time, have an intraclass correlation of 0.3.
"""
MIN_TURNS = 2
"""The minimum number of turns. More calls at the same time have a turn each, and so many of these
turns are alike that they count as `MIN_TURNS`."""


def surely_fails(violated: float, turns: float, calls: int, allowed: float) -> bool:
    """Return whether turns of a few calls at the same time show that their load does not pass: too
    many violate the threshold.
    """
    n, k = (int(counted * MIN_TURNS / max(MIN_TURNS, calls)) for counted in (turns, violated))
    return n >= MIN_TURNS and float(bdtrc(k - 1, n, allowed)) < REJECTED
