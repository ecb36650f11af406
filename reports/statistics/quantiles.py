"""Quantiles of clustered samples, their intervals, and whether they may be published; pure.

A quantile is the inverse CDF: the smallest x with F(x) ≥ p. Failed turns are +inf; censored ones are not in the sample.
Sessions are the sampling unit: turns of one session resemble each other, so an interval is that of order statistics
with a design effect. For G sessions with n_g turns each, S_g of them ≤ q, and F = ΣS_g / n, the share of all:

    v = (G−1)/G · Σ((S_g − F·n_g) / (n − n_g))²     deff = max(1, v·n / (p(1−p)))     n_e = n/deff · (z / t_{K−1})²
    p_L = BetaInv(a/2; p·n_e, n_e − p·n_e + 1)     p_U = BetaInv(1−a/2; p·n_e + 1, n_e − p·n_e)

and the bounds are the values at ranks floor(p_L·n) and ceil(p_U·n). An end is open where that rank does not exist, and
the upper one also where p^n_e > a/2, for then even the largest value is no bound at this level (with independent turns:
p50 6, p90 36, p95 72, p99 368 turns). One session alone says nothing about sessions: both ends are open.

v is the jackknife's, each session left out (CR3; of sessions of one length G/(G−1)·Σ(S_g − F·n_g)²/n²), and degrees of
freedom count sessions as Kish does, K = n² / Σn_g²: of sixty sessions of which one has half of the turns that is 4.
After: Kish, Survey Sampling (1965); Bell, McCaffrey, "Bias reduction in standard errors for linear regression with
multi-stage samples" (2002).

F is p as closely as n turns can have it, but for ties: where many values are equal to q, all sessions have more than
p·n_g turns ≤ q, and that is no difference between sessions.

The turns of a tail lie in few sessions, and whether they lie together is known the worse the fewer these are. So deff
is the larger one of that at p and that twice as far from the end (p95: at p90). A quantile is published by the design
of a run and not by its outcome, for one that came out short would else be the one that is told: it takes six sessions
as Kish counts them (2^−6 < 2.5 %), and a tail as many as bound it where turns of one are half alike,
n / (1 + (Σn_g²/n − 1)/2) ≥ 3.6 / (1−p), and 5 turns beyond. Where its interval then has no end, that is told as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv, ndtri, stdtrit  # type: ignore[import-untyped, unused-ignore]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer]

LEVEL = 0.95
BEYOND = 5
"""Turns that must lie beyond a quantile that is not the median before it is published: n(1−p) ≥ 5."""
ALIKE, INDEPENDENT = 0.5, 3.6
"""The correlation inside a session that is taken for a tail to be published, and the independent turns beyond it that
bound a quantile: p^n ≤ 2.5 % at n(1−p) ≈ 3.7."""
LEAST_SESSIONS = 6
"""Sessions, as Kish counts them, below which the largest of their medians bounds none: 2^−6 < 2.5 %."""

Status = Literal["published", "failed share", "too few turns", "too few sessions", "open"]


@dataclass(frozen=True)
class Sample:
    """Values of one measure, ascending, failed ones as +inf at the end; beside each the code of its session.

    `failed` and `censored` are counted whether or not they are among the values; `lost` are those of the failed that
    were wanted and never begun.
    """

    values: Floats
    sessions: Integers
    failed: int = 0
    censored: int = 0
    lost: int = 0

    @property
    def n(self) -> int:
        return int(self.values.size)

    @property
    def good(self) -> Floats:
        """The finite values, ascending."""
        return self.values[: int(np.searchsorted(self.values, np.inf))]

    @property
    def wanted(self) -> int:
        """Good values, and all that failed."""
        return int(self.good.size) + self.failed

    @property
    def reached(self) -> float:
        """The share of what was wanted that has a value; NaN of nothing."""
        return self.good.size / self.wanted if self.wanted else math.nan


@dataclass(frozen=True)
class Estimate:
    """A quantile with its interval, in the unit of the measure; NaN where the sample is empty, ±inf for open ends."""

    p: float
    value: float
    low: float
    high: float
    deff: float
    status: Status
    """"open": published, with an interval that has no end on one side"""
    needs: int
    """sessions of "too few sessions" and (to close it) "open", turns of "too few turns"; 0 where it lacks none"""
    sessions: int = 0
    """those with a value"""

    worth: float = 0.0
    """these as Kish counts them"""

    @property
    def published(self) -> bool:
        return self.status == "published"

    @property
    def bounded(self) -> bool:
        """Whether it has an interval that may be told, closed or open."""
        return self.status in ("published", "open")

    @property
    def told(self) -> float:
        """The quantile; where its interval has no end on one side, the other end, which it is not beyond."""
        return self.value if self.status != "open" else self.low if math.isfinite(self.low) else self.high


def kish(turns: Floats | Integers) -> float:
    """Sessions that are worth as many as there are, were they equally long: (Σn)² / Σn²; 0 of nothing."""
    squares = float(np.square(turns, dtype=np.float64).sum())
    return float(turns.sum()) ** 2 / squares if squares else 0.0


def sample(values: Floats, sessions: Integers, *, failed: int = 0, censored: int = 0) -> Sample:
    """Sort values, keeping the session of each beside it."""
    order = np.argsort(values, kind="stable")
    return Sample(values[order], sessions[order], failed, censored)


def rank(p: float, n: int) -> int:
    """The rank, from 1, of the p-quantile among n values; the slack forgives 0.07 · 100 = 7.000000000000001."""
    return min(n, max(1, math.ceil(p * n - 1e-9)))


def quantile(ascending: Floats, p: float) -> float:
    """Inverse CDF; NaN of nothing."""
    return float(ascending[rank(p, ascending.size) - 1]) if ascending.size else math.nan


def estimates(sample: Sample, ps: Sequence[float], level: float = LEVEL) -> list[Estimate]:
    """Quantiles at these `ps`. The counts per session grow along the sorted values, so all take one pass."""
    if not sample.n:
        return [Estimate(p, math.nan, -math.inf, math.inf, math.nan, "too few turns", floor(p)) for p in ps]
    of_session = np.bincount(sample.sessions)
    deffs = _design_effects(sample, of_session, {*ps, *map(nearer, ps)})
    return [_estimate(sample, p, max(deffs[p], deffs[nearer(p)]), of_session, level) for p in ps]


def nearer(p: float) -> float:
    """Twice as far from the end of the distribution, at most in its middle: 0.95 → 0.9, 0.05 → 0.1, 0.6 → 0.5."""
    return max(0.5, 1 - 2 * (1 - p)) if p >= 0.5 else min(0.5, 2 * p)


def _design_effects(sample: Sample, of_session: Integers, ps: set[float]) -> dict[float, float]:
    below, reached, effects = np.zeros_like(of_session), 0, {}
    for p in sorted(ps):
        upto = int(sample.values.searchsorted(quantile(sample.values, p), side="right"))
        below += np.bincount(sample.sessions[reached:upto], minlength=below.size)
        reached = upto
        effects[p] = design_effect(of_session, below, p)
    return effects


def design_effect(of_session: Integers, below: Integers, p: float) -> float:
    """How much wider than independent turns the sessions make it; NaN with fewer than two sessions."""
    n, clusters = int(of_session.sum()), int(np.count_nonzero(of_session))
    if clusters < 2:
        return math.nan
    share = int(below.sum()) / n
    variance = (clusters - 1) / clusters * float((((below - share * of_session) / (n - of_session)) ** 2).sum())
    return max(1.0, variance * n / (p * (1 - p)))


def _estimate(sample: Sample, p: float, deff: float, of_session: Integers, level: float) -> Estimate:
    low, high, turns, clusters = -math.inf, math.inf, math.inf, int(np.count_nonzero(of_session))
    worth = kish(of_session)
    if not math.isnan(deff) and (shrink := _shrink(worth, level)) > 0:
        low, high = bounds(sample.values, p, sample.n / deff * shrink, level)
        turns = max(floor(p), math.ceil(smallest(p, level) * deff / shrink))
    value = quantile(sample.values, p)
    status, needs = _status(sample, p, value, (low, high), turns, of_session)
    return Estimate(p, value, low, high, deff, status, needs, clusters, worth)


def _shrink(worth: float, level: float) -> float:
    """(z / t)²: what not knowing the variance between a few sessions costs; 0 where so few say nothing."""
    tail = 1 - (1 - level) / 2
    return float((ndtri(tail) / stdtrit(worth - 1, tail)) ** 2) if worth > 1 + 1e-3 else 0.0


def bounds(ascending: Floats, p: float, effective: float, level: float = LEVEL) -> tuple[float, float]:
    """The interval's ends for an effective number of independent values; −inf and +inf where open."""
    n, a = ascending.size, 1 - level
    lower = math.floor(betaincinv(p * effective, effective - p * effective + 1, a / 2) * n)
    upper = math.ceil(betaincinv(p * effective + 1, effective - p * effective, 1 - a / 2) * n)
    low = float(ascending[lower - 1]) if lower >= 1 else -math.inf
    reachable = upper <= n and effective >= smallest(p, level)
    return low, float(ascending[upper - 1]) if reachable else math.inf


def smallest(p: float, level: float = LEVEL) -> float:
    """Independent values from which on the largest bounds the p-quantile: p^n ≤ a/2."""
    return math.log((1 - level) / 2) / math.log(p)


def floor(p: float) -> int:
    """Turns that a published quantile needs at least: p90 50, p95 100, p99 500; p50 has no floor of its own."""
    return math.ceil(smallest(p)) if p <= 0.5 else math.ceil(BEYOND / (1 - p) - 1e-9)


def sessions_needed(p: float, of_session: Integers | Floats) -> int:
    """Sessions with so many turns each that a published quantile needs at least: of the median 6 of one length; of ten
    turns p90 20, p95 40, p99 198; of one p90 50, p95 100, p99 500.
    """
    if not of_session.sum():
        return 0
    n, tail, sessions = int(of_session.sum()), min(p, 1 - p), int(np.count_nonzero(of_session))
    counted = kish(of_session)
    times = LEAST_SESSIONS / counted
    if p != 0.5:
        worth = n / (1 + ALIKE * (n / counted - 1))
        times = max(times, INDEPENDENT / tail / worth, BEYOND / tail / n)
    return math.ceil(sessions * times - 1e-9)


class Lack(NamedTuple):
    """What a quantile has too few of to be printed, how many of them there are, and how many it needs."""

    of: Literal["sessions", "turns", "words"]
    there: int
    needs: int


def lack(p: float, turns: int, sessions: int) -> Lack | None:
    """What an arm of so many turns, alike in all of its sessions, lacks to have the quantile printed; None: nothing."""
    if sessions and sessions < (needs := sessions_needed(p, np.full(sessions, turns / sessions))):
        return Lack("sessions", sessions, needs)
    return Lack("turns", turns, floor(p)) if turns < floor(p) else None


def _status(
    sample: Sample, p: float, value: float, ends: tuple[float, float], turns: float, of_session: Integers
) -> tuple[Status, int]:
    """Why it is not published, and how many sessions or turns it needs. `turns`: so many would bound it."""
    clusters, sessions = int(np.count_nonzero(of_session)), sessions_needed(p, of_session)
    near, far = ends if p >= 0.5 else ends[::-1]
    if sample.values[0] == math.inf:
        return "failed share", 0  # all of them failed: no number of turns is too few to say so
    if clusters < sessions:
        return "too few sessions", sessions
    if value == math.inf:
        return "failed share", 0
    if sample.n < floor(p):
        return "too few turns", floor(p)
    if math.isfinite(far):
        return "published", 0
    needed = math.ceil(clusters * turns / sample.n) if sample.n < turns < math.inf else 0
    return ("open" if math.isfinite(near) else "too few sessions"), needed
