"""How the waits of a run scatter, drift and change along a session, for summary.json."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from reports.statistics.quantiles import Estimate
from reports.summary.along import AGES, Along, SessionCourse
from reports.summary.summary import Summary


def as_data(summary: Summary) -> dict[str, Any]:
    """The keys of summary.json that this module makes. Times in ms, of the main measure of each origin."""
    frames = summary.alongs
    return {
        "spread": [
            {"measure": figures.measure, "origin": figures.origin or None, "target": figures.target}
            | {name: _finite(value) for name, value in vars(spread).items()}
            for figures, spread in summary.spreads
        ],
        "drift": [
            {"measure": one.measure, "origin": one.origin or None, "target": one.target, "suspected": one.suspected}
            | {"ratio": _finite(one.ratio), "low": _finite(one.low), "high": _finite(one.high)}
            for one in summary.drifts
        ],
        "by_turn": [row for frame in frames if frame.by == "turn" for row in _rows(frame)],
        "by_age": [row for frame in frames if frame.by == "age" for row in _rows(frame)],
    }


def _rows(frame: Along) -> Iterable[dict[str, Any]]:
    """A row for each target and place that has turns."""
    for course in frame.courses:
        yield from _stops(frame, course)


def _stops(frame: Along, course: SessionCourse) -> Iterable[dict[str, Any]]:
    for stop in course.stops:
        yield {
            "measure": frame.measure,
            "origin": frame.origin or None,
            "target": course.label,
            **_place(frame, stop.place),
            "n": stop.n,
            "failed": stop.failed,
            "p50": _estimate(stop.p50),
            "p95_ms": _finite(stop.tail),
        }


def _place(frame: Along, place: int) -> dict[str, Any]:
    if frame.by == "turn":
        return {"turn": place + 1, "and_later": frame.names[place].endswith("+")}
    return {"from_s": _finite(frame.end * place / AGES), "to_s": _finite(frame.end * (place + 1) / AGES)}


def _estimate(estimate: Estimate) -> dict[str, Any]:
    told = estimate.published
    return {
        "value": _finite(estimate.value) if told else None,
        "low": _finite(estimate.low) if told else None,
        "high": _finite(estimate.high) if told else None,
        "published": told,
    }


def _finite(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None
