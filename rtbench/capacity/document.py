"""A capacity search: its plan and its result, as in capacity.json. Pure."""

import math
from typing import Literal

from msgspec import field

from reports.results.json_entries import Count, JsonEntry
from reports.results.value import RATE, Conclusion, LimitFinding, Reason, Result, Value

SCHEMA_VERSION = 7
CRASHED = "crashed"
"""The code of the reason for a level whose run crashed. If a level is not evaluated for another
reason, the load generator was its limit.
"""
Ended = Literal["complete", "time", "budget", "load_generator", "crashed", "interrupted"]
"""The reason why a search ended: it was complete, its time or its money was used up, the load
generator was the limit, the run of a level crashed, or the user ended it.
"""
VIOLATIONS = "violations"
"""The metric of a level whose rate is the share of turns that violated a threshold."""


def unknown(metric: str, statistic: str) -> Value:
    """Return a value of no turns."""
    return Value(target="", metric=metric, statistic=statistic, value=math.nan, n=0, sessions=0)


class LevelEntry(JsonEntry, frozen=True, kw_only=True):
    """The turns at a level, or in a part of the ramps.

    - `first`, `load`: the lowest and the highest number of concurrent calls, which are equal for a
      level
    - `result`: null for a part of the ramps; not_evaluated if a level shows nothing about the
      service, because the load generator was its limit, or because its run crashed
    - `run`: the folder of its run, or those of the ramps; "" if there is none
    - `duration_s`: the time from the start of its run until the run was finalized; of the ramps,
      the seconds at these loads
    - `in_progress`: the median of concurrent calls over seconds
    - `throttled`: the planned turns that the service throttled
    - `violations`: for each threshold, the share of turns that violated it against the allowed
      share (`limit`). Each bound of a level is one-sided, at the error of its last analysis, and
      `result` is that of this threshold alone. The bounds of a part of the ramps are a 95 %
      interval, which is no verdict.
    - `latency_p50`, `latency_p95`: percentiles of the search's metric, in ms, with 95 % intervals
    - `failure_rate`: with a 95 % interval
    - `rate_limits_remaining`: the lowest remaining share of each limit, by the service's name for
      the limit
    - `usd`: the cost of its tokens; null if a price is unknown
    """

    first: int
    load: int
    result: Result | None = None
    why: Reason | None = None
    run: str = ""
    duration_s: float = 0.0
    sessions: int = 0
    turns: int = 0
    in_progress: float | None = None
    throttled: Count = 0
    violations: list[LimitFinding] = field(default_factory=list)
    latency_p50: Value = unknown("", "p50")
    latency_p95: Value = unknown("", "p95")
    failure_rate: Value = unknown("failure_rate", RATE)
    rate_limits_remaining: dict[str, float] = field(default_factory=dict)
    simulated: bool = False
    usd: float | None = None

    @property
    def crashed(self) -> bool:
        return self.why is not None and self.why.code == CRASHED

    def causes(self, share: LimitFinding) -> dict[str, int]:
        """Return the turns that violated a threshold, by cause. Throttled turns are also failed
        ones.
        """
        failed = share.value.failed
        return {
            "slow": share.value.events - failed,
            "failed": failed,
            "throttled": min(self.throttled, failed),
        }


class SearchPlan(JsonEntry, frozen=True):
    """The request of a search.

    - `metric`: the metric for which p50 and p95 are reported; "" for each run's main metric
    - `first`, `max`: the first load of the ramps, and the highest load
    - `verify`: true if levels verify the range of the ramps
    - `error`: the maximum probability that the result of any level is wrong
    - `time_s`: the maximum time of the search
    - `call_s`: the duration of a call, in seconds, as expected before the search
    """

    thresholds: list[str]
    metric: str
    first: int
    max: int
    verify: bool
    error: float
    time_s: float
    budget_usd: float | None
    required: int | None
    call_s: float = 0.0


class CapacityDocument(Conclusion, frozen=True, kw_only=True):
    """The result of a search.

    - `estimate`: the answer of the ramps, with its range (`low`, `high`)
    - `curve`: the parts of the ramps, by load
    - `levels`: the levels that verified the range, in their order
    - `highest_pass`, `lowest_fail`: the loads that levels showed to pass and to fail; null if none
      was
    - `breaking_point`: why the lowest failing level failed: latency, failures or quota, and the
      threshold that was violated by the largest factor
    - `exit_status`: 0 a load passes, 1 the breaking point is lower, 3 inconclusive, 4 the load
      generator was the limit
    """

    schema: int
    date_utc: str
    target: str
    scenario: str
    simulated: bool
    plan: SearchPlan
    estimate: Reason
    curve: list[LevelEntry]
    levels: list[LevelEntry]
    highest_pass: int | None
    lowest_fail: int | None
    breaking_point: Reason | None
    ended: Ended
    notes: list[Reason]
