"""One value of one target, compared with a limit. Pure.

Reports and checks show a value with its two-sided interval of 95 %. One bound with an error of 5 % decides: the limit
is met if the bound on its far side meets it, and missed if the bound on its near side does not. Such a bound lies
within the interval unless sessions drift or events come in bursts, which make it wider.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from reports.statistics.by_session import BySession
from reports.statistics.differences import LEVEL, Order
from reports.statistics.target_counts import NO_TURNS, TargetCounts
from reports.statistics.verdicts import InconclusiveReason, floor_reason

TAIL = LEVEL
"""The type I error of each bound."""
BOUNDS = 1 - 2 * TAIL
"""The confidence of both bounds together."""


@dataclass(frozen=True)
class ThresholdEstimate:
    """A value with its interval and the deciding bounds; NaN without turns, ±inf for open ends and among failures.

    - `reason`: why the value decides nothing
    - `required`: the number of sessions that are needed to print a quantile
    - `order`: the autocorrelation found in the sessions; if set, the bounds are those of parts of the run
    - `by_session`: the quantile with equal weight for each session, if a few long sessions dominate
    """

    value: float
    low: float
    high: float
    lower: float
    upper: float
    counts: TargetCounts
    reason: InconclusiveReason | None = None
    nothing_succeeded: bool = False
    required: int = 0
    order: Order | None = None
    by_session: BySession | None = None


def no_estimate() -> ThresholdEstimate:
    """Return the estimate of a metric without any turn."""
    ends = -math.inf, math.inf
    return ThresholdEstimate(math.nan, *ends, *ends, NO_TURNS, few_sessions(NO_TURNS))


def few_sessions(counts: TargetCounts, unit: Literal["session", "pair"] = "session") -> InconclusiveReason | None:
    """Return the reason if the sessions, or their effective number, are too few to decide; None otherwise."""
    return floor_reason(None, (), (counts.sessions,), unit, (), (counts.effective_sessions,))
