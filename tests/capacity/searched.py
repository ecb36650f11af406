"""A finished search for the capacity."""

from __future__ import annotations

import math

from reports.results.value import Reason, Result, Value
from rtbench.capacity.conclusion import conclude
from rtbench.capacity.document import CapacityDocument, LevelEntry
from tests.capacity.built import build_latency, build_level, build_plan, build_share


def level(load: int, answer: Result | None, p50: float, first: int = 0) -> LevelEntry:
    wait = build_latency(p50, 0.9 * p50, 1.1 * p50)
    tail = build_latency(1.5 * p50, 1.3 * p50, math.inf)
    failures = Value(
        target="west",
        metric="failure_rate",
        statistic="rate",
        value=0.01,
        low=0.002,
        high=0.03,
        n=900,
        sessions=180,
    )
    return build_level(
        load,
        answer,
        first=first or load,
        turns=900,
        sessions=180,
        latency_p50=wait,
        latency_p95=tail,
        failure_rate=failures,
        violations=[build_share()],
        simulated=True,
    )


CURVE = [level(4, None, 390), level(8, None, 420, 5), level(16, None, 1100, 9)]
LEVELS = [level(11, "inconclusive", 700), level(7, "pass", 400), level(16, "fail", 1200)]
CROSSED = Reason(
    "crossed",
    {
        "threshold": "ttfa: p(95)<800",
        "title": "p95 of ttfa",
        "limit": "800 ms",
        "low": 11,
        "high": 16,
        "load": 13.2,
        "top": 16,
        "confidence": 0.95,
    },
)


def searched(
    levels: list[LevelEntry], curve: list[LevelEntry] = CURVE, estimate: Reason = CROSSED
) -> CapacityDocument:
    return conclude(
        build_plan(verify=bool(levels)),
        estimate,
        curve,
        levels,
        ended="complete",
        notes=[],
        date_utc="2026-11-21",
        target="<west>",
        scenario="calls",
    )
