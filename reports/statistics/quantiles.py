"""Quantiles of clustered samples, their intervals, and whether they may be published; pure.

A quantile is the inverse CDF: the smallest x with F(x) ≥ p. Failed turns are +inf; unfinished ones are left out.
Sessions are the sampling unit: turns of one session resemble each other, so an interval is that of order statistics
with a design effect. For G sessions with n_g turns each, S_g of them ≤ q, and F = ΣS_g / n, the share of all:

    v = (G−1)/G · Σ((S_g − F·n_g) / (n − n_g))²     deff = max(1, v·n / (p(1−p)))     n_e = n/deff · (z / t_{K−1})²
    p_L = BetaInv(a/2; p·n_e, n_e − p·n_e + 1)     p_U = BetaInv(1−a/2; p·n_e + 1, n_e − p·n_e)

and the bounds are the values at ranks floor(p_L·n) and ceil(p_U·n). An end is open where that rank does not exist, and
the upper one also where p^n_e > a/2, for then even the largest value is no bound at this confidence (with independent
turns: p50 6, p90 36, p95 72, p99 368 turns). One session alone says nothing about sessions: both ends are open.

v is the jackknife's, each session left out (CR3; of sessions of one length G/(G−1)·Σ(S_g − F·n_g)²/n²), and degrees of
freedom count sessions as Kish does, K = n² / Σn_g²: of sixty sessions of which one has half of the turns that is 4.
After: Kish, Survey Sampling (1965); Bell, McCaffrey, "Bias reduction in standard errors for linear regression with
multi-stage samples" (2002).

F is p as closely as n turns can have it, but for ties: where many values are equal to q, all sessions have more than
p·n_g turns ≤ q, and that is no difference between sessions.

Whole sessions that fail are rare and weigh much: v is too small in a run with few of them by chance. So, if half of the
turns of a session failed, and two or more, the upper end is at least the least value x at which the share of turns
above x, with one session more that was not seen (`reports.statistics.unseen`), has its upper bound at the error a/2
below 1 − p. If long sessions differ from short ones, both ends allow for such a session.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import numpy as np
from msgspec.structs import replace
from scipy.special import betaincinv, ndtri, stdtrit  # type: ignore[import-untyped, unused-ignore]

from bench.errors import UsageError
from bench.metrics import BEYOND, sessions_to_publish
from reports.json_entries import Count, JsonEntry, Positive, Rounded, about
from reports.statistics.counting import Floats, Integers
from reports.statistics.unseen import differ_by_length, lower_share, upper_share

CONFIDENCE = 0.95
"""Of the two-sided interval: it holds the true value in this share of runs."""
COUNTS_AT_ONCE = 1 << 14
"""Of sessions by quantiles: so many, 128 kB, stay in a core's cache."""

Status = Literal["reported", "in_failures", "too_few_turns", "too_few_sessions", "unbounded"]


@dataclass(frozen=True)
class Sample:
    """Values of one metric, ascending, failed ones as +inf at the end, and the code of the session of each.

    `failed` and `unfinished` count also those that are not among the values; `not_started` is a part of `failed`.
    """

    values: Floats
    sessions: Integers
    failed: int = 0
    unfinished: int = 0
    not_started: int = 0
    whole_sessions: bool = True
    """Whether it has all turns of its sessions; the number of some says nothing of a session that was not seen."""

    @property
    def n(self) -> int:
        return int(self.values.size)

    @property
    def succeeded(self) -> Floats:
        """The finite values, ascending."""
        return self.values[: int(np.searchsorted(self.values, np.inf))]

    @property
    def planned(self) -> int:
        """Good values, and all that failed."""
        return int(self.succeeded.size) + self.failed

    @property
    def completed_share(self) -> float:
        """The share of what was wanted that has a value; NaN of nothing."""
        return self.succeeded.size / self.planned if self.planned else math.nan


class QuantileEstimate(JsonEntry, frozen=True):
    """A quantile with its interval, in the unit of the metric: what is computed is what pages print and JSON holds.

    `value` is +inf if the quantile lies among failed turns, NaN if the sample is empty; `low` is −inf and `high` +inf
    if the interval has no end on that side. JSON has null for all of them: `in_failures` and `status` say why.
    """

    p: float
    value: Rounded
    low: Rounded
    high: Rounded
    deff: Annotated[Rounded, about("design effect")]
    status: Annotated[Status, about("unbounded: printed, with an interval that has no end above or below")]
    required: Annotated[Positive, about("sessions of too_few_sessions and unbounded, turns of too_few_turns")]
    sessions: Annotated[Count, about("those with a value")] = 0
    effective_sessions: Annotated[Rounded, about("these as Kish counts them")] = 0.0
    by_length: Annotated[bool, about("long sessions differ from short ones, and few have many of the turns")] = False
    in_failures: Annotated[bool, about("the quantile is infinite, because it lies among failed turns")] = False
    reported: Annotated[bool, about("may be compared: it has an interval with two ends")] = False
    successes: Annotated[Rounded, about("the same quantile of successful turns alone")] = math.nan

    def published(self) -> QuantileEstimate:
        """Return the same without the numbers that may not be printed; infinity may be."""
        if self.bounded:
            return self
        return replace(self, value=self.value if self.in_failures else math.nan, low=math.nan, high=math.nan)

    @property
    def bounded(self) -> bool:
        """Whether it has an interval, closed or open."""
        return self.status in ("reported", "unbounded")

    @property
    def lacks(self) -> bool:
        """Whether it has too few turns or sessions to be reported."""
        return self.status in ("too_few_turns", "too_few_sessions")

    @property
    def told(self) -> float:
        """The quantile; where its interval has no end on one side, the other end, which it is not beyond."""
        return self.value if self.status != "unbounded" else self.low if math.isfinite(self.low) else self.high


NOTHING = Sample(np.zeros(0), np.zeros(0, dtype=np.int64))


def kish(turns: Floats | Integers) -> float:
    """The effective number of sessions, which equally long ones would be: (Σn)² / Σn²; 0 of nothing."""
    squares = float(np.square(turns, dtype=np.float64).sum())
    return float(turns.sum()) ** 2 / squares if squares else 0.0


def sample(values: Floats, sessions: Integers, *, failed: int = 0, censored: int = 0) -> Sample:
    """Sort values, and their sessions with them."""
    order = np.argsort(values, kind="stable")
    return Sample(values[order], sessions[order], failed, censored)


def rank(p: float, n: int) -> int:
    """The rank, from 1, of the p-quantile among n values; the slack forgives 0.07 · 100 = 7.000000000000001."""
    return min(n, max(1, math.ceil(p * n - 1e-9)))


def quantile(ascending: Floats, p: float) -> float:
    """Inverse CDF; NaN of nothing."""
    return float(ascending[rank(p, ascending.size) - 1]) if ascending.size else math.nan


def quantiles(
    sample: Sample, ps: Sequence[float], confidence: float = CONFIDENCE, *, unseen: bool = True
) -> list[QuantileEstimate]:
    """Return quantiles at these `ps` with their two-sided intervals, each of which has this confidence.

    `unseen`: allow for a session that was not seen, if the sample has whole sessions; False if the clusters are parts
    of a run. Raises UsageError if a share is not between 0 and 1.
    """
    unseen = unseen and sample.whole_sessions
    if not all(0 < share < 1 for share in (*ps, confidence)):
        wrong = next(share for share in (*ps, confidence) if not 0 < share < 1)
        raise UsageError(f"quantiles and their confidence lie between 0 and 1, such as 0.95, not {wrong:g}")
    if not sample.n:
        nothing = math.nan, -math.inf, math.inf, math.nan
        return [QuantileEstimate(p, *nothing, "too_few_turns", turns_to_publish(p)) for p in ps]
    of_session = np.bincount(sample.sessions)
    effective_sessions, clusters = kish(of_session), int(np.count_nonzero(of_session))
    effects = _design_effects(sample, of_session, sorted({*ps, *map(nearer, ps)}))
    deffs = [max(effects[p], effects[nearer(p)]) for p in ps]
    shrink = shrink_of(effective_sessions, confidence)
    ends, needs = [(-math.inf, math.inf)] * len(ps), [math.inf] * len(ps)
    by_length = unseen and differ_by_length(sample.sessions)
    if clusters > 1 and shrink:
        ends = bounds(sample.values, ps, sample.n / np.array(deffs) * shrink, confidence)
        longest = int(of_session.max()) if by_length else 0
        needs = [
            max(turns_to_publish(p), math.ceil(max(deff / shrink, longest) * smallest(p, confidence)))
            for p, deff in zip(ps, deffs, strict=True)
        ]
    if unseen and (by_length or fails_together(sample, of_session)):
        error = (1 - confidence) / 2
        for place, (p, (low, high)) in enumerate(zip(ps, ends, strict=True)):
            least = lower_with_unseen(sample, of_session, p, error, low) if by_length else low
            ends[place] = least, upper_with_unseen(sample, of_session, p, error, high)
    found, succeeded = [], sample.succeeded
    for p, deff, (low, high), turns in zip(ps, deffs, ends, needs, strict=True):
        needed = sessions_to_publish(p, sample.n, clusters, effective_sessions)
        value, (status, required) = quantile(sample.values, p), _status(sample, p, (low, high), turns, clusters, needed)
        found.append(
            QuantileEstimate(
                *(p, value, low, high, deff, status, required, clusters, effective_sessions, by_length),
                in_failures=value == math.inf,
                reported=status == "reported",
                successes=quantile(succeeded, p),
            )
        )
    return found


def fails_together(sample: Sample, of_session: Integers) -> bool:
    """Whether half of the turns of a session failed, and two or more: by chance alone single failures rarely do."""
    failed = np.bincount(sample.sessions[sample.succeeded.size :], minlength=of_session.size)
    return bool(((failed > 1) & (2 * failed >= of_session)).any())


def upper_with_unseen(sample: Sample, of_session: Integers, p: float, error: float, high: float) -> float:
    """Return the upper end of the p-quantile with a session that was not seen, at least `high`; +inf if it has none."""

    def holds(place: int) -> bool:
        above = np.searchsorted(sample.values, sample.values[place], side="right")
        return upper_share(*_share_from(int(above), sample, of_session), error) <= 1 - p

    succeeded, known = sample.succeeded.size, int(np.searchsorted(sample.values, high))
    if high == math.inf or holds(known):
        return high
    first = max(rank(p, sample.n) - 1, known + 1)
    place = first + bisect_left(range(first, succeeded), True, key=holds)
    return float(sample.values[place]) if place < succeeded else math.inf


def lower_with_unseen(sample: Sample, of_session: Integers, p: float, error: float, low: float) -> float:
    """Return the lower end of the p-quantile with a session that was not seen, at most `low`; −inf if it has none."""

    def fails(place: int) -> bool:
        first = np.searchsorted(sample.values, sample.values[place])
        return lower_share(*_share_from(int(first), sample, of_session), error) < 1 - p

    known = int(np.searchsorted(sample.values, low))
    if low == -math.inf or not fails(known):
        return low
    place = bisect_left(range(known), True, key=fails)
    return float(sample.values[place - 1]) if place else -math.inf


def _share_from(first: int, sample: Sample, of_session: Integers) -> tuple[float, float, float]:
    """Return what `upper_share` takes of the values from a place on: their share, its square, and the sessions."""
    rest = np.bincount(sample.sessions[first:], minlength=of_session.size)
    square = float((rest**2 / np.maximum(1, of_session)).sum()) / sample.n
    return float(rest.sum()) / sample.n, square, sample.n / float(of_session.max())


def nearer(p: float) -> float:
    """Twice as far from the end of the distribution, at most in its middle: 0.95 → 0.9, 0.05 → 0.1, 0.6 → 0.5."""
    return max(0.5, 1 - 2 * (1 - p)) if p >= 0.5 else min(0.5, 2 * p)


def _design_effects(sample: Sample, of_session: Integers, ps: Sequence[float]) -> dict[float, float]:
    """Design effect of each of these quantiles, ascending, several in one step."""
    effects: dict[float, float] = {}
    reached, below = 0, np.zeros_like(of_session)
    at_once = max(1, COUNTS_AT_ONCE // of_session.size)
    sizes = sizes_of(of_session)
    for some in (ps[first : first + at_once] for first in range(0, len(ps), at_once)):
        ends = sample.values.searchsorted([quantile(sample.values, p) for p in some], side="right")
        cells = sample.sessions[reached : ends[-1]]
        if len(some) > 1:
            cells = cells + np.repeat(np.arange(len(some)), np.diff(ends, prepend=reached)) * of_session.size
        counts = np.bincount(cells, minlength=len(some) * of_session.size)
        each = counts.reshape(len(some), -1)
        for of_one in each:  # ten times as fast as numpy's cumsum where sessions are many
            of_one += below
            below = of_one
        effects |= zip(some, design_effect(sizes, each, np.array(some)).tolist(), strict=True)
        reached = ends[-1]
    return effects


class Sizes(NamedTuple):
    """The turns of each session, and those of all others; how many turns and sessions there are."""

    of_session: Floats
    others: Floats
    turns: float
    sessions: int


def sizes_of(of_session: Integers) -> Sizes:
    """Some of these sessions may have no turn."""
    sizes = of_session.astype(np.float64)
    return Sizes(sizes, sizes.sum() - sizes, float(sizes.sum()), int(np.count_nonzero(sizes)))


def design_effect(sizes: Sizes, below: Integers, p: float | Floats) -> Floats:
    """Return how much wider than independent turns the sessions make it; NaN with fewer than two sessions.

    `below`: the sessions' counts, by p if there are several.
    """
    of_session, others, n, clusters = sizes
    if clusters < 2:
        return np.full(below.shape[:-1], math.nan)
    errors = below.sum(axis=-1, keepdims=True) / n * of_session
    np.subtract(below, errors, out=errors)  # in place, because there may be a hundred thousand sessions
    errors /= others
    errors *= errors
    squares = errors.sum(axis=-1)
    effects: Floats = np.maximum(1.0, (clusters - 1) / clusters * squares * n / (p * (1 - p)))
    return effects


def shrink_of(effective_sessions: float, confidence: float) -> float:
    """(z / t)²: what not knowing the variance between a few sessions costs; 0 where so few say nothing."""
    tail = 1 - (1 - confidence) / 2
    return float((ndtri(tail) / stdtrit(effective_sessions - 1, tail)) ** 2) if effective_sessions > 1 + 1e-3 else 0.0


def end_shares(ps: Sequence[float], effective: Floats, confidence: float) -> tuple[Floats, Floats]:
    """Return the shares at which intervals end, for each effective number of independent values; NaN if open above."""
    a, p = 1 - confidence, np.array(ps)
    lower = np.asarray(betaincinv(p * effective, effective - p * effective + 1, a / 2), dtype=np.float64)
    upper = np.asarray(betaincinv(p * effective + 1, effective - p * effective, 1 - a / 2), dtype=np.float64)
    reachable = [enough >= smallest(one, confidence) for one, enough in zip(ps, effective.tolist(), strict=True)]
    return lower, np.where(reachable, upper, np.nan)


def bounds(ascending: Floats, ps: Sequence[float], effective: Floats, confidence: float) -> list[tuple[float, float]]:
    """The intervals' ends for each effective number of independent values; −inf and +inf where open."""
    n, (lower, upper) = ascending.size, end_shares(ps, effective, confidence)
    first, last = np.floor(lower * n).astype(int), np.ceil(np.nan_to_num(upper, nan=2.0) * n).astype(int)
    return [
        (float(ascending[low - 1]) if low >= 1 else -math.inf, float(ascending[high - 1]) if high <= n else math.inf)
        for low, high in zip(first.tolist(), last.tolist(), strict=True)
    ]


def smallest(p: float, confidence: float = CONFIDENCE) -> float:
    """Independent values from which on the largest bounds the p-quantile: p^n ≤ a/2."""
    return math.log((1 - confidence) / 2) / math.log(p)


def turns_to_publish(p: float) -> int:
    """Turns that a published quantile needs at least: p90 50, p95 100, p99 500; p50 has no floor of its own."""
    return math.ceil(smallest(p)) if p <= 0.5 else math.ceil(BEYOND / (1 - p) - 1e-9)


def sessions_needed(p: float, of_session: Integers | Floats) -> int:
    """Sessions with so many turns each that a published quantile needs at least: of the median 6 of one length; of ten
    turns p90 20, p95 40, p99 198; of one p90 50, p95 100, p99 500.
    """
    n = round(of_session.sum())  # a share of turns in each session adds up to nearly a whole number
    return sessions_to_publish(p, n, int(np.count_nonzero(of_session)), kish(of_session)) if n else 0


class Shortfall(NamedTuple):
    """What a quantile has too few of to be printed, how many of them there are, and how many it needs."""

    of: Literal["sessions", "turns", "words"]
    there: int
    needs: int


def shortfall(p: float, turns: int, sessions: int) -> Shortfall | None:
    """What an arm of so many turns, alike in all of its sessions, lacks to have the quantile printed; None: nothing."""
    if sessions and sessions < (needs := sessions_needed(p, np.full(sessions, turns / sessions))):
        return Shortfall("sessions", sessions, needs)
    return Shortfall("turns", turns, turns_to_publish(p)) if turns < turns_to_publish(p) else None


def _status(
    sample: Sample, p: float, ends: tuple[float, float], turns: float, clusters: int, sessions: int
) -> tuple[Status, int]:
    """Why it is not published, and how many sessions or turns it needs. `turns`: so many would bound it."""
    near, far = ends if p >= 0.5 else ends[::-1]
    if sample.values[0] == math.inf:
        return "in_failures", 0  # all of them failed: no number of turns is too few to say so
    if clusters < sessions:
        return "too_few_sessions", sessions
    if quantile(sample.values, p) == math.inf:
        return "in_failures", 0
    if sample.n < turns_to_publish(p):
        return "too_few_turns", turns_to_publish(p)
    if math.isfinite(far):
        return "reported", 0
    needed = math.ceil(clusters * turns / sample.n) if sample.n < turns < math.inf else 0
    return ("unbounded" if math.isfinite(near) else "too_few_sessions"), needed
