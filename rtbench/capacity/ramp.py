"""The ramps of concurrent calls, when they end, and the answer. Pure.

The first ramp doubles the load in equal times, until the threshold is surely crossed. The second
ramp spends the time that is left on the loads between the ends of the first estimate, in a straight
line. Turns of both are used.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from bench.base.units import NS_PER_S
from reports.results.value import Reason
from reports.statistics.crossing import (
    CONFIDENCE,
    Crossing,
    TurnsByLoad,
    crossing_of,
    surely_fails,
)
from reports.statistics.quantiles import QuantileEstimate, quantiles, sample
from rtbench.capacity.document import SearchPlan

START_S = 2.0
REPORT_S = 10.0
"""The time before the start of the search (of Python), and after its last ramp."""
RAMPS_S = 180.0
MAX_RAMPS_SHARE = 1 / 2
"""The time of the ramps if levels follow: at most `RAMPS_S`, and this share of the search."""
FIRST_SHARE = 0.5
"""The share of the time of the ramps in which the first one reaches the largest load."""
MAX_DOUBLING_S = 20.0
HOLD_CALLS = 1.5
"""The calls for which the first ramp stays at the first load. The expected duration of a call is a
lower bound."""
MAX_HOLD_SHARE = 1 / 3
"""The largest share of the first ramp's time in which it stays at the first load."""
OVERSHOOT = 1.3
"""The first ramp ends above this multiple of the estimate, if it is above the upper end of the
interval, too."""
MARGIN = 1.15
"""The second ramp begins below the lower end of the first interval, and ends above its upper
end, by this factor."""
MIN_RAMP_S = 15.0
HOLD_S = 3.0
EVERY_S = 2.0
"""The time between two interim analyses of a ramp."""
HOLD_EVERY_S = 1.0
"""The same at the first load, which may end the search."""
FIRST = 2
"""The default of the first load. Two calls at once have two turns in the time of one, and one of
them still has turns if the service never answers the other."""


class Ramp(NamedTuple):
    """A ramp of concurrent calls: its first load, and its stages as (duration in seconds, load
    at the end).
    """

    first: int
    stages: tuple[tuple[float, int], ...]

    @property
    def top(self) -> int:
        return max(load for _, load in self.stages)

    @property
    def duration_s(self) -> float:
        return sum(duration_s for duration_s, _ in self.stages)

    @property
    def yaml(self) -> str:
        lines = [
            f"  - {{duration: {duration_s:.1f}s, target: {load}}}"
            for duration_s, load in self.stages
        ]
        return "\n".join([f"start: {self.first}", "stages:", *lines, ""])

    @property
    def analyses(self) -> tuple[float, ...]:
        hold_s, *_ = self.stages[0]
        alone, later = (
            np.arange(HOLD_EVERY_S, hold_s, HOLD_EVERY_S),
            np.arange(hold_s, self.duration_s, EVERY_S),
        )
        return (*np.concatenate([alone, later]) / self.duration_s, 1.0)


def ramps_s(plan: SearchPlan) -> float:
    """Return the time of a search's ramps, in seconds."""
    return min(RAMPS_S, MAX_RAMPS_SHARE * plan.time_s) if plan.verify else plan.time_s


def ends_ns(start_ns: int, time_s: float) -> int:
    """Return when a run must be finalized, so that the search ends `time_s` after the start of the
    command, `start_ns`.
    """
    return start_ns + int((time_s - START_S - REPORT_S) * NS_PER_S)


def first_ramp(first: int, top: int, time_s: float, call_s: float) -> Ramp:
    """Return the ramp that doubles the load. It stays at the first load for a call, so that
    turns of it end there.
    """
    loads = [first]
    while loads[-1] < top:
        loads.append(min(2 * loads[-1], top))
    ramp_s = FIRST_SHARE * time_s
    hold_s = min(max(HOLD_CALLS * call_s, ramp_s / len(loads)), MAX_HOLD_SHARE * ramp_s)
    doubling_s = min(MAX_DOUBLING_S, (ramp_s - hold_s) / max(1, len(loads) - 1))
    return Ramp(first, ((hold_s, first), *((doubling_s, load) for load in loads[1:])))


def second_ramp(crossing: Crossing, top: int, left_s: float) -> Ramp | None:
    """Return the ramp through the interval of the first estimate; None if no time is left for
    it.
    """
    if left_s < MIN_RAMP_S:
        return None
    low = max(1, math.floor(crossing.low / MARGIN))
    high = max(low, min(top, math.ceil(crossing.high * MARGIN)))
    return Ramp(low, ((HOLD_S, low), (left_s - HOLD_S, high)))


def fails_at_first(turns: TurnsByLoad, first: int, allowed: float) -> bool:
    """Return whether the first load violates the threshold, so that no load from it on can pass."""
    lowest = turns.where(turns.load <= first)
    return surely_fails(lowest.violated.sum(), lowest.trials.sum(), first, allowed)


def is_crossed(turns: TurnsByLoad, first: int, allowed: float) -> bool:
    """Return whether the first ramp may end, because the threshold is surely crossed below its
    load.
    """
    if not turns.violated.any() or turns.load.max() <= first:  # `fails_at_first` decides it
        return False
    crossing = crossing_of(turns, allowed)
    load = float(turns.load.max())
    return load > max(crossing.high, OVERSHOOT * crossing.median)


class Estimate(NamedTuple):
    """The answer for one threshold. `crossing` contains the timestamp uncertainty of values; its
    median is 0 if already the first load violates the threshold. `top` is the largest load that was
    reached.
    """

    threshold: str
    crossing: Crossing
    top: int

    @property
    def fails_at_first(self) -> bool:
        return self.crossing.median == 0

    @property
    def is_crossed(self) -> bool:
        """True if the threshold is rather crossed up to the largest load than not."""
        return self.crossing.below >= 0.5

    @property
    def low(self) -> int:
        """The lower end of the interval: this load passes; 0 if even one call may not pass."""
        return math.floor(self.crossing.low)

    @property
    def high(self) -> int | None:
        """The upper end of the interval; None if it is above the largest load."""
        return None if self.crossing.high > self.top else math.ceil(self.crossing.high)


def estimate_of(
    threshold: str, measured: Sequence[TurnsByLoad], first: int, allowed: float
) -> Estimate | None:
    """Return the answer from turns as measured, and with each value moved by its uncertainty;
    None without turns.
    """
    turns, *moved = measured
    if not turns.n:
        return None
    top = int(turns.load.max())
    if fails_at_first(turns, first, allowed):
        return Estimate(threshold, Crossing(median=0.0, low=0.0, high=first, below=1.0), first)
    crossing = crossing_of(turns, allowed)
    changed = [other for other in moved if not np.array_equal(other.violated, turns.violated)]
    ends = [crossing, *(crossing_of(other, allowed) for other in changed)]
    crossing = crossing._replace(
        low=min(end.low for end in ends), high=max(end.high for end in ends)
    )
    return Estimate(threshold, crossing, top)


def lowest(estimates: Sequence[Estimate]) -> Estimate:
    """Return the answer of the threshold that is crossed first."""
    return min(estimates, key=lambda estimate: estimate.crossing.median)


class Band(NamedTuple):
    """Some loads, from `first` to `last`."""

    first: int
    last: int

    def turns(self, turns: TurnsByLoad) -> TurnsByLoad:
        """Return the turns at these loads."""
        return turns.where((turns.load >= self.first) & (turns.load <= self.last))

    @property
    def name(self) -> str:
        return f"{self.first}" if self.first == self.last else f"{self.first}–{self.last}"


def bands(turns: TurnsByLoad) -> Iterator[Band]:
    """Yield the bands of loads that have turns, two in each doubling, such as 5–6 and 7–8."""
    low = 1
    step = 1
    while low <= turns.load.max(initial=0):
        high = low + step - 1
        if Band(low, high).turns(turns).n:
            yield Band(low, high)
        low = high + 1
        step = max(1, (high & -high) // 2) if high & (high - 1) == 0 else step


def quantiles_of(turns: TurnsByLoad, ps: Sequence[float]) -> list[QuantileEstimate]:
    """Return quantiles of the values, without numbers that may not be printed."""
    known = turns.where(~np.isnan(turns.value))
    return [each.published() for each in quantiles(sample(known.value, known.session), ps)]


def answer(estimate: Estimate, about: Mapping[str, Any]) -> Reason:
    """Return the answer as a reason. `about` has its further numbers."""
    code = "crossed" if estimate.is_crossed else "not_crossed"
    if estimate.fails_at_first:
        code = "fails_at_first"
    numbers = {
        "low": estimate.low,
        "high": estimate.high,
        "load": estimate.crossing.median,
        "top": estimate.top,
        "confidence": CONFIDENCE,
    }
    return Reason(code, {"threshold": estimate.threshold, **numbers, **about})
