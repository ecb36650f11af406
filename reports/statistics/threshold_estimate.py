"""One value of one target, compared with a limit, and the numbers of turns and sessions from which
a value is computed. Pure.

Reports and checks show a value with its two-sided interval of 95 %. The decision uses two other
bounds, each with a type I error of 5 %. A limit is passed if both bounds meet it, and failed if
neither does. These bounds usually lie within the interval. Those of a rate may lie outside it,
because the variance between sessions, or between parts of the run if events come in bursts, makes
only them wider.

If a few long sessions dominate a quantile, it is also computed with equal weight for each session.
It is the smallest x at which the mean, over sessions, of the share of turns ≤ x reaches p. Each
session contributes equally, so its interval holds for sessions of any lengths. There are G
sessions. s_g is the share of turns ≤ x in session g. z and t are defined as in `quantiles`:

    v = var(s_g) / G      n_e = min(n, p(1−p)/v) · (z / t_{G−1})²

The ratio v / (p(1−p)) is computed twice: at p, and at the share that is twice as far from the end
of the distribution (`quantiles.nearer`). The larger ratio is used.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from reports.results.value import Reason
from reports.statistics.counting import Floats, Integers, count_nonzero
from reports.statistics.differences import LEVEL, Order
from reports.statistics.quantiles import Sample, effective_size, end_shares, nearer, shrink_of
from reports.statistics.verdicts import floor_reason


@dataclass(frozen=True)
class TargetCounts:
    """The numbers of turns and sessions of one target from which the value of a metric is computed.

    - `turns` are those that count for the metric, and `failed` those that failed
    - `sessions` are those (or pairs) with at least one of these turns; `effective_sessions` is
      Kish's effective number
    - `completed_share` is the share of the planned turns that have a value; NaN for rates
    - `sessions_if_all_longest` is the turns divided by those of the longest session
    - `unscored` are turns, sessions or words that should count, and could not be scored; they are
      not in `turns`
    """

    turns: int
    sessions: int
    failed: int
    completed_share: float
    effective_sessions: float
    sessions_if_all_longest: float
    unscored: int = 0


def of_equal_sessions(turns: int, sessions: int, failed: int) -> TargetCounts:
    """Return the counts of sessions that are assumed to be equally long."""
    return TargetCounts(turns, sessions, failed, math.nan, float(sessions), float(sessions))


NO_TURNS = of_equal_sessions(0, 0, 0)


def of_turns(
    turns: Integers | Floats, failed: int, completed_share: float = math.nan
) -> TargetCounts:
    """Return the counts from the number of turns of each session."""
    n = int(turns.sum())
    sessions = count_nonzero(turns)
    longest = n / float(turns.max()) if n else 0.0
    return TargetCounts(n, sessions, failed, completed_share, effective_size(turns), longest)


def of_sample(sample: Sample) -> TargetCounts:
    """Return the counts of a sample from which a quantile is computed."""
    return of_turns(np.bincount(sample.sessions), sample.failed, sample.completed_share)


TAIL = LEVEL
"""The type I error of each of the two deciding bounds."""


class BySession(NamedTuple):
    """A quantile with equal weight for each session, and its interval."""

    value: float
    low: float
    high: float


def with_equal_weights(
    values: Floats, sessions: Integers, p: float, confidence: float
) -> BySession:
    """Return the quantile of `values` with equal weight for each session.

    `values` are in ascending order, and `sessions` is the session of each value. At least two
    sessions are needed.
    """
    turns = np.bincount(sessions)
    clusters = count_nonzero(turns)
    reached = np.cumsum(1 / (turns[sessions] * clusters))

    def at(share: float) -> float:
        index = int(np.searchsorted(reached, share - 1e-12))
        return float(values[index]) if index < values.size else math.inf

    def effective(share: float) -> float:
        below = np.bincount(
            sessions[: np.searchsorted(values, at(share), "right")], minlength=turns.size
        )
        shares = below[turns > 0] / turns[turns > 0]
        variance = float(shares.var(ddof=1)) / clusters
        return share * (1 - share) / variance if variance else math.inf

    effective_size = min(values.size, effective(p), effective(nearer(p))) * shrink_of(
        clusters, confidence
    )
    (low,), (high,) = end_shares([p], np.array([effective_size]), confidence)
    first = int(np.searchsorted(reached, low, "right")) - 1
    lower_end = float(values[first]) if first >= 0 else -math.inf
    return BySession(at(p), lower_end, math.inf if math.isnan(high) else at(high))


@dataclass(frozen=True)
class ThresholdEstimate:
    """A value of a metric with its interval and its deciding bounds.

    - `value` is NaN without turns, and +inf if it lies among failed turns.
    - `low` and `high` are the ends of the interval of 95 %; ±inf if open.
    - `lower` and `upper` are the bounds that decide; ±inf if open.
    - `reason` is the reason why the value decides nothing; None if it decides.
    - `required` is the number of sessions that are needed to print a quantile.
    - `order` is the autocorrelation found in the sessions. If it is set, the bounds are computed
      from parts of the run.
    - `by_parts` is True if parts of the run give the bounds of a rate, because their variance is
      larger.
    - `by_session` is the quantile with equal weight for each session. It is set if a few long
      sessions dominate.
    """

    value: float
    low: float
    high: float
    lower: float
    upper: float
    counts: TargetCounts
    reason: Reason | None = None
    nothing_succeeded: bool = False
    required: int = 0
    order: Order | None = None
    by_parts: bool = False
    by_session: BySession | None = None


def no_estimate() -> ThresholdEstimate:
    """Return the estimate of a metric that has no turns."""
    ends = -math.inf, math.inf
    return ThresholdEstimate(math.nan, *ends, *ends, NO_TURNS, few_sessions(NO_TURNS))


def few_sessions(counts: TargetCounts) -> Reason | None:
    """Return the reason if the number of sessions, or their effective number, is too small to
    decide; else None.
    """
    return floor_reason(
        None, (), (counts.sessions,), effective_sessions=(counts.effective_sessions,)
    )
