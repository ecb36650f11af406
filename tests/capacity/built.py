"""Plans, levels, and values of searches."""

from __future__ import annotations

import msgspec

from reports.metrics.thresholds import Threshold, requested_thresholds
from reports.results.value import LimitFinding, Result, Value
from rtbench.capacity.document import VIOLATIONS, LevelEntry, SearchPlan, unknown
from rtbench.capacity.verification import ERROR

ALLOWED = 0.05
"""The maximum share of turns that may violate the threshold."""


def threshold_of(text: str) -> Threshold:
    """Return the threshold that is written in one line."""
    return requested_thresholds([text])[0]


def build_plan(
    first: int = 1, most: int = 256, time_s: float = 1800.0, **changes: object
) -> SearchPlan:
    plan = SearchPlan(["ttfa: p(95)<800"], "ttfa", first, most, False, ERROR, time_s, None, None)
    return msgspec.structs.replace(plan, **changes)


def build_share(
    value: float = 0.5,
    *,
    threshold: str = "ttfa: p(95)<800",
    slow: int = 50,
    failed: int = 0,
    turns: int = 100,
) -> LimitFinding:
    share = msgspec.structs.replace(
        unknown(VIOLATIONS, "rate"),
        value=value,
        low=value * 0.8,
        high=min(1.0, value * 1.2),
        n=turns,
        sessions=20,
        count=slow + failed,
        failed=failed,
    )
    return LimitFinding(threshold=threshold, value=share, operator="<", limit=ALLOWED)


def build_latency(value: float, low: float, high: float) -> Value:
    return msgspec.structs.replace(unknown("ttfa", "p50"), value=value, low=low, high=high)


def build_level(load: int, answer: Result | None = None, **more: object) -> LevelEntry:
    level = LevelEntry(
        first=load, load=load, result=answer, run=f"run-{load}", duration_s=60.0, sessions=20
    )
    return msgspec.structs.replace(level, **more)
