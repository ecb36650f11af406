"""The wait along a session: (frame, width) → Plot, computing nothing."""

from __future__ import annotations

import math

from reports.numbers import count, ms, shortened, three
from reports.page.svg import (
    COLOURS,
    Plot,
    Point,
    Scale,
    frame,
    identity,
    log_range,
    log_scale,
    log_ticks,
    shape,
    tone,
)
from reports.summary.along import Along, SessionCourse, Stop

AXES = {
    "turn": "turn number in the session",
    "age": "age of the session at the turn’s start",
    "context": "input tokens of the turn’s first response",
}
COUNTS = 15
"""Height of a line of counts below the axis."""
APART = 14
"""Labels at the end of lines stand at least so far from each other."""


End = tuple[float, float, str, int]
"""Where a line ends: height, place, label, colour."""


def along(trend: Along, w: int) -> Plot:
    """p50 with its interval and p95 (dashed) by a place along the session; the number of turns where it thins out."""
    named = [(course.colour, shortened(course.label, 24)) for course in trend.courses]
    counted = (len(trend.courses) if len(trend.courses) <= COLOURS else 1) if trend.thinned else 0
    what = AXES[trend.by]
    plot = frame(
        w,
        290 + COUNTS * counted,
        named if len(named) > 1 else (),
        left=56,
        right=44,
        bottom=42 + COUNTS * counted,
        title=f"{trend.measure} by {what}",
        desc="Median with 95 % interval, and 95th percentile dashed. " + "; ".join(map(_spoken, trend.courses)) + ".",
    )
    low, high = log_range(value for course in trend.courses for value in _drawn(course))
    x = _x(trend, plot)
    y = log_scale(low, high, plot.y0, plot.y1 + 6)
    plot.y_axis(y, log_ticks(low, high, 6), ms)
    _axis(plot, trend, x, what)
    ends: list[End] = []
    for course in trend.courses:
        with plot.of(course.colour):
            ends += _course(plot, course, trend, x, y, banded=len(trend.courses) <= COLOURS)
    if len(trend.courses) <= 2:
        label_ends(plot, ends)
    if counted:
        _counts(plot, trend, x)
    _read(plot, trend, x)
    return plot


def _spoken(course: SessionCourse) -> str:
    if not course.told:
        return f"{course.label}: too few turns"
    first, last = course.told[0], course.told[-1]
    return f"{course.label}: p50 {ms(first.p50.value)} at first, {ms(last.p50.value)} at last"


def _drawn(course: SessionCourse) -> list[float]:
    """What the axis must hold: the ends of the intervals, and p95 where it is a line."""
    ends = [end for stop in course.told for end in (stop.p50.low, stop.p50.high)]
    return [value for value in (*ends, *(stop.tail for stop in course.tails)) if math.isfinite(value)]


def _x(trend: Along, plot: Plot) -> Scale:
    low = 0.0 if trend.by == "age" else 1.0
    return Scale(identity, low, max(trend.end, low + 1e-3), plot.x0 + 10, plot.x1)


def _axis(plot: Plot, trend: Along, x: Scale, what: str) -> None:
    if trend.by == "age":
        plot.time_axis(x, 6)
    else:
        names = dict(zip(trend.at, trend.names, strict=True))
        plot.x_axis(x, list(trend.at), lambda n: names[n])
    plot.text(plot.x1, plot.h - 9, what, "lab", "end")


def _course(plot: Plot, course: SessionCourse, trend: Along, x: Scale, y: Scale, *, banded: bool) -> list[End]:
    """Draw one target; the ends of its lines."""
    cls, told = f"s{tone(course.colour)}", course.told
    places = [x(trend.at[stop.place]) for stop in told]
    middle: list[Point] = [(at, y.clip(s.p50.value)) for at, s in zip(places, told, strict=True)]
    tail: list[Point] = [(x(trend.at[stop.place]), y.clip(stop.tail)) for stop in course.tails]
    if banded:
        lower = [(at, y.clip(s.p50.low)) for at, s in zip(places, told, strict=True)]
        upper = [(at, y.clip(s.p50.high)) for at, s in zip(places, told, strict=True)]
        plot.band(lower, upper, f"band {cls}")
    plot.path(middle, f"curve {cls}")
    plot.path(tail, f"curve t-tail {cls}")
    for at, height in middle:
        plot.dot(at, height, shape(course.colour), f"mark {cls}", 3)
    lines = (("p50", middle), ("p95", tail))
    return [(points[-1][1], points[-1][0], label, course.colour) for label, points in lines if points]


def label_ends(plot: Plot, ends: list[End]) -> None:
    """Names of the lines at their right ends, moved apart."""
    below = -math.inf
    for height, at, label, colour in sorted(ends):
        below = max(height + 4, below + APART)
        with plot.of(colour):
            plot.text(at + 8, below, label, f"lab t{tone(colour)}")


def _counts(plot: Plot, trend: Along, x: Scale) -> None:
    """How many turns each place has, a line for each target; of many targets all together."""
    rows = [(course.colour, {s.place: s.n for s in course.stops}) for course in trend.courses]
    if len(rows) > COLOURS:
        places = {place for _, row in rows for place in row}
        rows = [(-1, {place: sum(row.get(place, 0) for _, row in rows) for place in places})]
    for line, (colour, row) in enumerate(rows):
        height = plot.y0 + 17 + COUNTS * (line + 1)
        plot.text(plot.x0 - 6, height, "turns", f"tiny t{tone(colour)}" if colour >= 0 else "tiny", "end")
        for place in sorted(row):
            plot.text(x(trend.at[place]), height, _short(row[place]), "tiny", "middle")


def _short(number: int) -> str:
    return count(number) if number < 10_000 else f"{three(number / 1000)}k"


def _read(plot: Plot, trend: Along, x: Scale) -> None:
    by_place = [{stop.place: stop for stop in course.stops} for course in trend.courses]
    rows = []
    for place, name in enumerate(trend.names):
        told = [f"{c.label} {_say(b[place])}" for c, b in zip(trend.courses, by_place, strict=True) if place in b]
        named = {"turn": f"turn {name}", "age": name, "context": f"{name} tokens"}[trend.by]
        rows.append(" · ".join([named, *(told or ["no turns"])]))
    plot.readout([x(at) for at in trend.at], rows)


def _say(stop: Stop) -> str:
    if stop.p50.value == math.inf:
        return f"{stop.failed} of {stop.n} turns failed"
    low, high = (ms(end) if math.isfinite(end) else "open" for end in (stop.p50.low, stop.p50.high))
    tail = "" if math.isnan(stop.tail) else f", p95 {'failed' if stop.tail == math.inf else ms(stop.tail)}"
    return f"p50 {ms(stop.p50.value)} ({low} to {high}){tail}, {count(stop.n)} turn{'' if stop.n == 1 else 's'}"
