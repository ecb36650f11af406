"""Quantiles of clustered samples, their intervals, and the rules for printing them. Pure.

A quantile is the inverse CDF: the smallest x with F(x) ≥ p. Failed turns are +inf; unfinished turns
are left out. Sessions are the sampling unit: turns of one session resemble each other, so an
interval uses order statistics with a design effect. There are G sessions with n turns in total.
Session g has n_g turns, and S_g of these are ≤ q. F = ΣS_g / n is the share of all turns that are ≤
q:

    v = (G−1)/G · Σ((S_g − F·n_g) / (n − n_g))²     deff = max(1, v·n / (p(1−p)))
    n_e = n/deff · (z / t_{K−1})²
    p_L = BetaInv(a/2; p·n_e, n_e − p·n_e + 1)     p_U = BetaInv(1−a/2; p·n_e + 1, n_e − p·n_e)

The bounds are the values at ranks floor(p_L·n) and ceil(p_U·n). An end is open if its rank does not
exist. The upper end is also open if p^n_e > a/2, because then even the largest value is no bound at
this confidence. (To have an upper end, independent turns must number 6 for p50, 36 for p90, 72 for
p95, and 368 for p99.) With one session, both ends are open, because it gives no information about
other sessions.

v is the jackknife variance: each session is left out once (CR3). For sessions of equal length it is
G/(G−1)·Σ(S_g − F·n_g)²/n². K = n² / Σn_g² is Kish's effective number of sessions: 60 sessions, one
of which has half of the turns, count as 4. After: Kish, Survey Sampling (1965); Bell, McCaffrey,
"Bias reduction in standard errors for linear regression with multi-stage samples" (2002).

v uses F, not p, because of ties. If many values are equal to q, all sessions have more than p·n_g
turns ≤ q. This is not a difference between sessions, so it must not increase v. Without ties, F is
as close to p as n turns allow.

Sessions that fail completely are rare and have a large effect. If a run has few of them by chance,
v is too small. So if at least half of the turns of a session failed, and at least two turns, the
upper end must also allow for one more, unseen session (`reports.statistics.unseen`). Take the share
of turns above x, and its upper bound at error a/2. The upper end is then at least the smallest x
for which this bound is at most 1 − p. If long sessions differ from short ones, both ends of the
interval allow for an unseen session.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from dataclasses import replace as replace_sample
from typing import NamedTuple

import numpy as np
from msgspec.structs import replace

from bench.base.errors import UsageError
from bench.catalogue.metrics import MIN_TURNS_BEYOND, sessions_to_publish
from reports.results.json_entries import Count, JsonEntry, Rounded
from reports.results.value import IN_FAILURES, Estimate, Reason, too_few_to_print
from reports.statistics.counting import Floats, Integers, count_nonzero
from reports.statistics.distributions import betaincinv, ndtri, stdtrit
from reports.statistics.unseen import differ_by_length, lower_share, upper_share

CONFIDENCE = 0.95
"""The confidence of the two-sided interval."""
COUNTS_AT_ONCE = 1 << 14
"""The maximum number of counts (sessions × quantiles) that are computed in one step. This many take
128 kB, which fit in a core's cache."""


@dataclass(frozen=True)
class Sample:
    """The values of one metric in ascending order, and the session of each value, as a code.

    The values include failed turns as +inf, at the end. `failed` and `unfinished` are numbers of
    turns; they also count turns that are not among the values. `not_started` is the part of
    `failed` that did not start. `unscored_sessions` has the session of each successful turn
    that should have a value and has none; these turns are not among the values.
    """

    values: Floats
    sessions: Integers
    failed: int = 0
    unfinished: int = 0
    not_started: int = 0
    has_whole_sessions: bool = True
    """True if the sample has all turns of its sessions.

    False if it is a subset of the turns. Then the numbers of turns per session give no information
    about an unseen session.
    """
    unscored_sessions: Integers = field(default_factory=lambda: np.zeros(0, int))

    def __repr__(self) -> str:
        """Return a text such as `Sample(400 values of 40 sessions)`."""
        return f"Sample({self.n:,} values of {np.unique(self.sessions).size:,} sessions)"

    @property
    def n(self) -> int:
        return int(self.values.size)

    @property
    def unscored(self) -> int:
        """The number of turns that should have a value and have none."""
        return int(self.unscored_sessions.size)

    def scored_as(self, value: float) -> Sample:
        """Return the sample if all unscored turns had this value, which is −inf or +inf."""
        unscored = np.full(self.unscored, value)
        values = (unscored, self.values) if value < 0 else (self.values, unscored)
        sessions = (
            (self.unscored_sessions, self.sessions)
            if value < 0
            else (self.sessions, self.unscored_sessions)
        )
        return replace_sample(
            self,
            values=np.concatenate(values),
            sessions=np.concatenate(sessions),
            unscored_sessions=self.unscored_sessions[:0],
        )

    @property
    def succeeded(self) -> Floats:
        """The finite values, ascending."""
        return self.values[: int(np.searchsorted(self.values, np.inf))]

    @property
    def planned(self) -> int:
        """The number of planned turns: those with a finite value, and all failed and unscored
        turns.
        """
        return int(self.succeeded.size) + self.failed + self.unscored

    @property
    def completed_share(self) -> float:
        """The share of the planned turns that have a finite value; NaN if no turn was planned."""
        return self.succeeded.size / self.planned if self.planned else math.nan


class QuantileEstimate(Estimate, JsonEntry):
    """A quantile with its interval, in the unit of the metric. Pages print and JSON stores the
    computed values.

    `value` is +inf if the quantile lies among failed turns, and NaN if the sample is empty. `low`
    is −inf and `high` +inf if the interval is open on that side. JSON has null for all of these
    values: `in_failures` and `reason` state why.
    """

    p: float
    value: Rounded
    low: Rounded
    high: Rounded
    deff: Rounded
    """design effect"""
    reason: Reason | None
    """null if it is reported with an interval that has two ends; unbounded: an end is missing"""
    sessions: Count = 0
    """those with a value"""
    effective_sessions: Rounded = 0.0
    """Kish's effective number of these sessions"""
    by_length: bool = False
    """long sessions differ from short ones, and a few contain many of the turns"""
    in_failures: bool = False
    """the quantile is infinite because too many turns failed"""
    reported: bool = False
    """can be compared: it has an interval with two ends"""
    successes: Rounded = math.nan
    """the same quantile of successful turns alone"""

    def published(self) -> QuantileEstimate:
        """Return a copy in which the numbers that may not be printed are NaN. A value of +inf
        may be printed.
        """
        if self.has_interval:
            return self
        return replace(
            self, value=self.value if self.in_failures else math.nan, low=math.nan, high=math.nan
        )


def settled(estimate: QuantileEstimate, sample: Sample) -> QuantileEstimate:
    """Return the estimate with the reason that it lies among failed turns if, by the lower bound of
    their share, so many fail that no number of sessions makes it finite.
    """
    if not estimate.in_failures:
        return estimate
    share = _share_from(sample.succeeded.size, sample, np.bincount(sample.sessions), None)
    known = lower_share(*share, (1 - CONFIDENCE) / 2) >= 1 - estimate.p
    return replace(estimate, reason=IN_FAILURES) if known else estimate


NO_VALUES = Sample(np.zeros(0), np.zeros(0, int))


def effective_size(turns: Floats | Integers) -> float:
    """Return Kish's effective number of sessions, (Σn)² / Σn²; 0 without turns."""
    squares = float(np.square(turns, dtype=float).sum())
    return float(turns.sum()) ** 2 / squares if squares else 0.0


def sample(
    values: Floats,
    sessions: Integers,
    *,
    failed: int = 0,
    censored: int = 0,
    unscored_sessions: Integers | None = None,
) -> Sample:
    """Return a sample of these values, sorted together with their sessions.

    `censored` is the number of unfinished turns.
    """
    order = np.argsort(values, kind="stable")
    made = Sample(values[order], sessions[order], failed, censored)
    return (
        made
        if unscored_sessions is None
        else replace_sample(made, unscored_sessions=unscored_sessions)
    )


def rank(p: float, n: int) -> int:
    """Return the rank of the p-quantile of n values. The first rank is 1.

    A tolerance of 1e-9 corrects rounding errors such as 0.07 · 100 = 7.000000000000001.
    """
    return min(n, max(1, math.ceil(p * n - 1e-9)))


def quantile(ascending: Floats, p: float) -> float:
    """Return the p-quantile of values in ascending order (the inverse CDF at p); NaN without
    values.
    """
    return float(ascending[rank(p, ascending.size) - 1]) if ascending.size else math.nan


def quantiles(
    sample: Sample, ps: Sequence[float], confidence: float = CONFIDENCE, *, unseen: bool = True
) -> list[QuantileEstimate]:
    """Return the quantile at each p of `ps`, with a two-sided interval at this confidence.

    Give False for `unseen` if the clusters are parts of a run. If True, the intervals allow for an
    unseen session, as this module's docstring describes. They do not if the sample is a subset of
    its sessions' turns. Raise UsageError if a p or the confidence is not between 0 and 1.
    """
    unseen = unseen and sample.has_whole_sessions
    if not all(0 < share < 1 for share in (*ps, confidence)):
        wrong = next(share for share in (*ps, confidence) if not 0 < share < 1)
        raise UsageError(
            f"quantiles and their confidence must be between 0 and 1, such as 0.95, not {wrong:g}"
        )
    if not sample.n:
        nothing = math.nan, -math.inf, math.inf, math.nan
        return [
            QuantileEstimate(p, *nothing, too_few_to_print("turn", turns_to_publish(p), 0))
            for p in ps
        ]
    of_session = np.bincount(sample.sessions)
    effective_sessions = effective_size(of_session)
    clusters = count_nonzero(of_session)
    effects = _design_effects(sample, of_session, sorted({*ps, *map(nearer, ps)}))
    deffs = [max(effects[p], effects[nearer(p)]) for p in ps]
    shrink = shrink_of(effective_sessions, confidence)
    ends = [(-math.inf, math.inf)] * len(ps)
    needs = [math.inf] * len(ps)
    by_length = unseen and differ_by_length(sample.sessions)
    if clusters > 1 and shrink:
        ends = bounds(sample.values, ps, sample.n / np.array(deffs) * shrink, confidence)
        longest = int(of_session.max()) if by_length else 0
        needs = [
            max(
                turns_to_publish(p),
                math.ceil(max(deff / shrink, longest) * smallest_publishable(p, confidence)),
            )
            for p, deff in zip(ps, deffs, strict=True)
        ]
    if unseen and (by_length or fail_together(sample, of_session)):
        error = (1 - confidence) / 2
        for index, (p, (low, high)) in enumerate(zip(ps, ends, strict=True)):
            lower_end = lower_with_unseen(sample, of_session, p, error, low) if by_length else low
            ends[index] = lower_end, upper_with_unseen(sample, of_session, p, error, high)
    estimates = []
    succeeded = sample.succeeded
    for p, deff, (low, high), turns in zip(ps, deffs, ends, needs, strict=True):
        needed = sessions_to_publish(p, sample.n, clusters, effective_sessions)
        value = quantile(sample.values, p)
        reason = _reason(sample, p, (low, high), turns, clusters, needed)
        estimates.append(
            QuantileEstimate(
                p,
                value,
                low,
                high,
                deff,
                reason,
                clusters,
                effective_sessions,
                by_length,
                in_failures=value == math.inf,
                reported=reason is None,
                successes=quantile(succeeded, p),
            )
        )
    return estimates


def fail_together(sample: Sample, of_session: Integers) -> bool:
    """Return whether in any session at least half of the turns failed, and at least two. This is
    rarely due to chance.

    `of_session` is the number of turns of each session.
    """
    return longest_failure(sample, of_session) > 0


def longest_failure(sample: Sample, of_session: Integers) -> int:
    """Return the largest number of such sessions that follow each other. Sessions are in the
    order of their start.
    """
    failed = np.bincount(sample.sessions[sample.succeeded.size :], minlength=of_session.size)
    edges = np.flatnonzero(
        np.concatenate(([True], (failed < 2) | (2 * failed < of_session), [True]))
    )
    return int(np.diff(edges).max()) - 1


def upper_with_unseen(
    sample: Sample,
    of_session: Integers | Floats,
    p: float,
    error: float,
    high: float,
    weights: Floats | None = None,
) -> float:
    """Return the upper end of the p-quantile's interval that allows for an unseen session; +inf if
    it is open.

    - `of_session` is the number of turns of each session, or the sum of their weights.
    - `error` is the type I error of the end.
    - `high` is the upper end without an unseen session; the result is at least this.
    - `weights` is the weight of each turn. If it is None, all are 1.
    """

    def holds(index: int) -> bool:
        above = np.searchsorted(sample.values, sample.values[index], "right")
        return upper_share(*_share_from(int(above), sample, of_session, weights), error) <= 1 - p

    succeeded = sample.succeeded.size
    known = int(np.searchsorted(sample.values, high))
    if high == math.inf or holds(known):
        return high
    index = known + 1 + bisect_left(range(known + 1, succeeded), True, key=holds)
    return float(sample.values[index]) if index < succeeded else math.inf


def lower_with_unseen(
    sample: Sample,
    of_session: Integers | Floats,
    p: float,
    error: float,
    low: float,
    weights: Floats | None = None,
) -> float:
    """Return the lower end of the p-quantile's interval that allows for an unseen session; −inf if
    it is open.

    `low` is the lower end without an unseen session; the result is at most this. The other
    parameters are those of `upper_with_unseen`.
    """

    def fails(index: int) -> bool:
        first = np.searchsorted(sample.values, sample.values[index])
        return lower_share(*_share_from(int(first), sample, of_session, weights), error) < 1 - p

    known = int(np.searchsorted(sample.values, low))
    if low == -math.inf or not fails(known):
        return low
    index = bisect_left(range(known), True, key=fails)
    return float(sample.values[index - 1]) if index else -math.inf


def _share_from(
    first: int, sample: Sample, of_session: Integers | Floats, weights: Floats | None
) -> tuple[float, float, float]:
    """Return the first three arguments of `unseen.upper_share`, for the values from index
    `first` on.
    """
    of_values = None if weights is None else weights[first:]
    turns = np.bincount(sample.sessions[first:], of_values, of_session.size)
    total = float(of_session.sum())
    square = float((turns**2 / np.where(of_session > 0, of_session, 1)).sum()) / total
    return float(turns.sum()) / total, square, total / float(of_session.max())


def nearer(p: float) -> float:
    """Return the share that is twice as far as p from its end of the distribution, but at most 0.5
    from it.

    Examples: 0.95 → 0.9, 0.05 → 0.1, 0.6 → 0.5.
    """
    return max(0.5, 1 - 2 * (1 - p)) if p >= 0.5 else min(0.5, 2 * p)


def _design_effects(
    sample: Sample, of_session: Integers, ps: Sequence[float]
) -> dict[float, float]:
    """Return the design effect of each of the quantiles `ps`, which must ascend. They are computed
    in one step.

    `of_session` is the number of turns of each session.
    """
    effects: dict[float, float] = {}
    reached = 0
    below = np.zeros_like(of_session)
    at_once = max(1, COUNTS_AT_ONCE // of_session.size)
    sizes = sizes_of(of_session)
    for chunk in (ps[first : first + at_once] for first in range(0, len(ps), at_once)):
        ends = sample.values.searchsorted([quantile(sample.values, p) for p in chunk], "right")
        cells = sample.sessions[reached : ends[-1]]
        if len(chunk) > 1:
            cells = (
                cells
                + np.repeat(np.arange(len(chunk)), np.diff(ends, prepend=reached)) * of_session.size
            )
        counts = np.bincount(cells, minlength=len(chunk) * of_session.size)
        counts_by_p = counts.reshape(len(chunk), -1)
        # a loop over rows is ten times as fast as numpy's cumsum if there are many sessions
        for row in counts_by_p:
            row += below
            below = row
        effects |= zip(
            chunk, design_effect(sizes, counts_by_p, np.array(chunk)).tolist(), strict=True
        )
        reached = ends[-1]
    return effects


class Sizes(NamedTuple):
    """The lengths of sessions.

    - `of_session` is the number of turns of each session.
    - `others` is, for each session, the number of turns of all other sessions.
    - `turns` is the total number of turns.
    - `sessions` is the number of sessions with a turn.
    """

    of_session: Floats
    others: Floats
    turns: float
    sessions: int


def sizes_of(of_session: Integers) -> Sizes:
    """Return the lengths of sessions, given the number of turns of each, which may be 0."""
    sizes = of_session.astype(float)
    return Sizes(sizes, sizes.sum() - sizes, float(sizes.sum()), count_nonzero(sizes))


def design_effect(sizes: Sizes, below: Integers, p: float | Floats) -> Floats:
    """Return the design effect of a share: its variance relative to that of independent turns.

    It is at least 1; NaN with one session. `below` is the number of turns in each session that are
    at most the quantile. For several p, it has one row per p.
    """
    of_session, others, n, clusters = sizes
    if clusters < 2:
        return np.full(below.shape[:-1], math.nan)
    errors = below.sum(axis=-1, keepdims=True) / n * of_session
    # in place, because there may be a hundred thousand sessions
    np.subtract(below, errors, out=errors)
    errors /= others
    errors *= errors
    squares = errors.sum(axis=-1)
    effects: Floats = np.maximum(1.0, (clusters - 1) / clusters * squares * n / (p * (1 - p)))
    return effects


def shrink_of(effective_sessions: float, confidence: float) -> float:
    """Return (z / t)², the factor that reduces the effective size, because the variance is
    estimated from few sessions.

    Return 0 if there are too few sessions to estimate the variance.
    """
    tail = 1 - (1 - confidence) / 2
    return (
        float((ndtri(tail) / stdtrit(effective_sessions - 1, tail)) ** 2)
        if effective_sessions > 1 + 1e-3
        else 0.0
    )


def end_shares(ps: Sequence[float], effective: Floats, confidence: float) -> tuple[Floats, Floats]:
    """Return, for each p, the shares of values below the lower end and below the upper end of its
    interval.

    The upper share is NaN if the upper end is open. `effective` is the effective number of
    independent values, one number for each p.
    """
    a = 1 - confidence
    p = np.array(ps)
    lower = np.asarray(betaincinv(p * effective, effective - p * effective + 1, a / 2), float)
    upper = np.asarray(betaincinv(p * effective + 1, effective - p * effective, 1 - a / 2), float)
    reachable = [
        enough >= smallest_publishable(share, confidence)
        for share, enough in zip(ps, effective.tolist(), strict=True)
    ]
    return lower, np.where(reachable, upper, np.nan)


def bounds(
    ascending: Floats, ps: Sequence[float], effective: Floats, confidence: float
) -> list[tuple[float, float]]:
    """Return both ends of each interval, ±inf if open, given the effective number of independent
    values for each p.
    """
    n = ascending.size
    lower, upper = end_shares(ps, effective, confidence)
    first = np.floor(lower * n).astype(int)
    last = np.ceil(np.nan_to_num(upper, nan=2.0) * n).astype(int)
    return [
        (
            float(ascending[low - 1]) if low >= 1 else -math.inf,
            float(ascending[high - 1]) if high <= n else math.inf,
        )
        for low, high in zip(first.tolist(), last.tolist(), strict=True)
    ]


def smallest_publishable(p: float, confidence: float = CONFIDENCE) -> float:
    """Return the minimum number n of independent values whose largest value is an upper bound of
    the p-quantile.

    The condition is p^n ≤ a/2, with a = 1 − confidence.
    """
    return math.log((1 - confidence) / 2) / math.log(p)


def turns_to_publish(p: float) -> int:
    """Return the minimum number of turns to print a quantile. It is 50 for p90, 100 for p95, and
    500 for p99.

    Up to p50, it is the number of turns that an interval needs.
    """
    return (
        math.ceil(smallest_publishable(p))
        if p <= 0.5
        else math.ceil(MIN_TURNS_BEYOND / (1 - p) - 1e-9)
    )


def sessions_needed(p: float, of_session: Integers | Floats) -> int:
    """Return the minimum number of sessions to print a quantile. `of_session` is the number of
    turns of each session.

    If sessions are equally long, the median needs 6 sessions with ten turns, p90 20, p95 40, p99
    198. With one turn per session, the median needs 9, p90 50, p95 100, p99 500.
    """
    n = round(of_session.sum())  # if the sizes are shares, their sum is almost an integer
    return (
        sessions_to_publish(p, n, count_nonzero(of_session), effective_size(of_session)) if n else 0
    )


def shortfall(p: float, turns: int, sessions: int) -> Reason | None:
    """Return which unit a target lacks to print the quantile, sessions or turns; None if it has
    enough of both.

    The turns are assumed to be distributed equally over the sessions.
    """
    if sessions and sessions < (needs := sessions_needed(p, np.full(sessions, turns / sessions))):
        return too_few_to_print("session", needs, sessions)
    return (
        too_few_to_print("turn", turns_to_publish(p), turns)
        if turns < turns_to_publish(p)
        else None
    )


def _reason(
    sample: Sample, p: float, ends: tuple[float, float], turns: float, clusters: int, sessions: int
) -> Reason | None:
    """Return why a quantile is not reported with an interval that has two ends; None if it is.

    - `ends` is the interval of the quantile.
    - `turns` is the number of turns from which the interval has both ends.
    - `clusters` is the number of sessions.
    - `sessions` is the number of sessions that the quantile needs to be printed.
    """
    near, far = ends if p >= 0.5 else ends[::-1]
    if sample.values[0] == math.inf:
        # if all turns failed, any number of turns is enough to report the failure
        return IN_FAILURES
    if clusters < sessions:
        return too_few_to_print("session", sessions, clusters)
    if quantile(sample.values, p) == math.inf:
        return IN_FAILURES
    if sample.n < turns_to_publish(p):
        return too_few_to_print("turn", turns_to_publish(p), sample.n)
    if math.isfinite(far):
        return None
    needed = math.ceil(clusters * turns / sample.n) if sample.n < turns < math.inf else 0
    if not math.isfinite(near):
        return too_few_to_print("session", needed, clusters)
    return Reason(
        "unbounded", {"unit": "session", "needed": needed, "there": [clusters]} if needed else {}
    )
