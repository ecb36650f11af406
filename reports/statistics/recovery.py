"""The time until a service is as before a peak of load, from probe callers with evenly spaced
turns. Pure.

The score of a turn is the log of its latency ÷ the median of its caller before the peak, within
±log 4; a failed turn has log 4. The scores of all callers are averaged in slots of one spacing, so
that what callers have in common counts once. The service is recovered from the first instant after
which the mean score exceeds that before the peak by at most m = log(1 + margin). It is assumed that
the excess does not increase again.

    window of w slots     d = mean − mean before      SE = s · √(k · (1/w + 1/n))
    k = (1 + r)/(1 − r)   r: lag-1 autocorrelation    s: standard deviation, before or after

s² · k is the largest of those of slots, and of means of two, four and eight slots, because an
autocorrelation that all callers share is small between slots, and lasts.

If d of a window exceeds m by c · SE, the service is not recovered at the start of the window; if d
is below m by c · SE, it is recovered at its end. The interval reaches from the last such start to
the first such end after it. All windows of 4, 8, 16, … slots are tested together: c is the quantile
of the largest of their statistics in simulated series with n, r, and the same number of slots.
So each end of the interval is wrong in at most the share `tail` of runs. Without an end, recovery
is not shown within the run.

The service never left the margin if d of the peak, too, is below m by its standard error (Student's
t), and d of each third of the peak is below m.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Literal, NamedTuple

import numpy as np

from reports.statistics.change_points import autocorrelation
from reports.statistics.counting import Floats, Integers
from reports.statistics.distributions import ndtri, stdtrit

CAP = math.log(4)
MIN_SLOTS = 4
"""The shortest window, and the shortest part of the peak, in slots."""
MIN_BEFORE = 12
"""The minimum number of slots before the peak."""
PARTS_OF_PEAK = 3
SIZES = (1, 2, 4, 8)
SERIES = 1_000
SEED = 20261129
TAIL = 0.025
DF_MIN = 3.0

Outcome = Literal["recovered", "not_recovered", "never_left", "too_few"]


class ProbeTurns(NamedTuple):
    """The turns of all probe callers, in any order. `at_s` is 0 at the end of the peak. `latency`
    is +inf for a failed turn. `callers` are codes.
    """

    at_s: Floats
    latency: Floats
    callers: Integers


Recovery = tuple[Outcome, float, float, float]
"""A recovery time in seconds after the end of the peak: its outcome, its value, and its interval.
The upper end is infinite unless the service recovered. The value is infinite if no slot is as
before."""


def changes_of(turns: ProbeTurns, peak_s: float, spacing_s: float) -> list[list[float]] | None:
    """Return latency ÷ that before the peak, with its interval, in the peak and after it. Turns are
    paired by caller, and a failed turn is four times as slow as usual. Return None with too few.
    """
    _, (before, *others) = _parts(turns, peak_s, spacing_s)
    if not _are_enough(before, *others):
        return None
    noise = _noise(before, others[-1])
    return [np.exp(_change(part, before, noise, TAIL)).tolist() for part in others]


def _change(part: Floats, before: Floats, noise: _Noise, tail: float) -> Floats:
    """Return the difference of the mean of a part from that before the peak, and its interval."""
    change = float(part.mean() - before.mean())
    error = -float(stdtrit(noise.df(before.size), tail)) * float(noise.se(part.size, before.size))
    return np.array([change, change - error, change + error])


def scores(turns: ProbeTurns, peak_s: float) -> Floats:
    """Return the score of each turn; NaN without any turn that succeeded before the peak."""
    is_before = (turns.at_s < -peak_s) & np.isfinite(turns.latency)
    if not is_before.any():
        return np.full(turns.at_s.size, np.nan)
    usual = np.full(turns.at_s.size, float(np.median(turns.latency[is_before])))
    for caller in np.unique(turns.callers[is_before]):
        mine = turns.callers == caller
        usual[mine] = np.median(turns.latency[is_before & mine])
    of_turns: Floats = np.clip(np.log(turns.latency / usual), -CAP, CAP)
    return of_turns


def recovery_of(
    turns: ProbeTurns, peak_s: float, spacing_s: float, margin: float, tail: float = TAIL
) -> Recovery:
    """Return when the service was as before. `margin` is a share, such as 0.1. `tail` is the error
    of each end of the interval.
    """
    from scipy.optimize import isotonic_regression  # type: ignore[import-untyped, unused-ignore]

    slots, (before, peak, after) = _parts(turns, peak_s, spacing_s)
    if not _are_enough(before, after):
        return "too_few", math.nan, 0.0, math.inf
    noise = _noise(before, after)
    limit = math.log1p(margin)
    excess = after - before.mean() - limit
    starts, ends, statistics = _windows(excess, noise, before.size)
    correlation = math.ceil(10 * noise.correlation) / 10
    critical = _critical_value(before.size, after.size, correlation, tail)
    starts_s = slots[starts]
    ends_s = slots[ends - 1] + 1
    low = float(starts_s[statistics > critical].max(initial=0)) * spacing_s
    is_end = (statistics < -critical) & (starts_s * spacing_s >= low)
    high = float(ends_s[is_end].min()) * spacing_s if is_end.any() else math.inf
    fitted = np.flatnonzero(isotonic_regression(excess, increasing=False).x <= 0)
    value = float(slots[fitted[0]]) * spacing_s if fitted.size else math.inf
    if not math.isfinite(high):
        return "not_recovered", max(value, low), low, math.inf
    if not low and _stayed(peak, before, limit, noise, tail):
        return "never_left", 0.0, 0.0, 0.0
    return "recovered", min(max(value, low), high), low, high


def tolerable_sd(callers: int, before: int, after: int, margin: float) -> float:
    """Return the standard deviation of the logs of latencies with which a service that is as before
    is shown to be within the margin in 90 % of runs. 0: never. `before` and `after` are slots.
    """
    if min(before, after) < MIN_BEFORE:
        return 0.0
    longest = MIN_SLOTS << int(math.log2(after / MIN_SLOTS))
    errors = _critical_value(before, after, 0.0, TAIL) - float(ndtri(0.1))
    return math.log1p(margin) * math.sqrt(callers / (1 / longest + 1 / before)) / errors


def _parts(turns: ProbeTurns, peak_s: float, spacing_s: float) -> tuple[Integers, list[Floats]]:
    """Return the slots after the peak that have turns, in ascending order, and the means of the
    slots before, in and after it. Slot 0 begins at the end of the peak.
    """
    slots, codes = np.unique(np.floor(turns.at_s / spacing_s).astype(int), return_inverse=True)
    means = np.bincount(codes, scores(turns, peak_s)) / np.bincount(codes)
    edges = np.searchsorted(slots, [-math.ceil(peak_s / spacing_s), 0])
    return slots[edges[1] :], np.split(means, edges)


def _are_enough(before: Floats, *others: Floats) -> bool:
    is_known = not np.isnan(before).any()
    return before.size >= MIN_BEFORE and is_known and min(map(len, others)) >= MIN_SLOTS


class _Noise(NamedTuple):
    """The noise of slots: the square root of s² · k, and the autocorrelation r."""

    sd: float
    correlation: float

    def se(self, slots: Integers | float, before: int) -> Floats | float:
        of_windows: Floats = self.sd * np.sqrt(1 / np.asarray(slots) + 1 / before)
        return of_windows

    def df(self, before: int) -> float:
        return max(DF_MIN, before / _cost(self.correlation) - 1)


def _noise(before: Floats, after: Floats) -> _Noise:
    """Return the noise of slots. After the peak, only neighbours are compared, because the level
    changes.
    """
    correlation = autocorrelation(before, [])
    of_steps = float((np.diff(after) ** 2).mean()) / 2 / (1 - correlation)
    variances = [of_steps * _cost(correlation), 1e-12]
    for size in (size for size in SIZES if before.size >= MIN_BEFORE * size):
        means = before[before.size % size :].reshape(-1, size).mean(axis=1)
        variances.append(float(means.var(ddof=1)) * size * _cost(autocorrelation(means, [])))
    return _Noise(math.sqrt(max(variances)), correlation)


def _cost(correlation: float) -> float:
    return (1 + correlation) / (1 - correlation)


def _windows(excess: Floats, noise: _Noise, before: int) -> tuple[Integers, Integers, Floats]:
    """Return the first slot of each window, the slot after its last one, and its statistic."""
    size = excess.shape[-1]
    longest = max(0, int(math.log2(size / MIN_SLOTS)))
    lengths = [MIN_SLOTS << power for power in range(longest + 1)]
    starts = np.concatenate([np.arange(size - length + 1) for length in lengths])
    widths = np.repeat(lengths, [size - length + 1 for length in lengths])
    sums = np.concatenate(([0.0], np.cumsum(excess)))
    means = (sums[starts + widths] - sums[starts]) / widths
    return starts, starts + widths, means / noise.se(widths, before)


@cache
def _critical_value(before: int, after: int, correlation: float, tail: float) -> float:
    """Return the quantile of the largest statistic of a service without any change."""
    from scipy.signal import lfilter  # type: ignore[import-untyped, unused-ignore]

    rng = np.random.default_rng([SEED, before, after])
    largest = []
    for _ in range(SERIES):  # one by one: a run of a day has many slots
        shocks = rng.standard_normal(before + after)
        shocks[1:] *= math.sqrt(1 - correlation**2)
        row = lfilter([1.0], [1.0, -correlation], shocks)
        first, rest = row[:before], row[before:]
        _, _, statistics = _windows(rest - first.mean(), _noise(first, rest), before)
        largest.append(float(statistics.max()))
    return float(np.quantile(largest, 1 - tail))


def _stayed(peak: Floats, before: Floats, limit: float, noise: _Noise, tail: float) -> bool:
    """Return whether the mean of the peak is below the margin. A part of it must seem so, too."""
    parts = min(PARTS_OF_PEAK, peak.size // MIN_SLOTS)
    if not parts or _change(peak, before, noise, tail)[-1] >= limit:
        return False
    return all(part.mean() - before.mean() < limit for part in np.array_split(peak, parts))
