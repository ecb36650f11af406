"""A finished search for the capacity."""

from __future__ import annotations

import math

from reports.results.value import Result, Value
from rtbench.capacity.conclusion import conclude
from rtbench.capacity.search import CapacityDocument, LevelEntry
from tests.capacity.models import build_latency, build_level, build_plan, build_share


def level(load: int, answer: Result, p50: float, *, hold: bool = False) -> LevelEntry:
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
        hold=hold,
        turns=900,
        sessions=180,
        latency_p50=wait,
        latency_p95=tail,
        failure_rate=failures,
        violations=[build_share()],
        run=f"run-{load}",
        simulated=True,
    )


LEVELS = [
    level(8, "pass", 400),
    level(16, "fail", 1200),
    level(11, "inconclusive", 700),
    level(8, "pass", 410, hold=True),
]


def searched(levels: list[LevelEntry]) -> CapacityDocument:
    return conclude(build_plan(), levels, date_utc="2026-11-21", target="<west>", scenario="calls")
