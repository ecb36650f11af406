"""Waits of groups of turns as lines, with intervals, whatever the groups are by: waits → Plot, computing nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence

from reports.bins import log_range
from reports.numbers import count, ms, percent, shortened, three
from reports.page.svg import (
    COLOURS,
    Plot,
    Point,
    Scale,
    frame,
    identity,
    linear_ticks,
    log_scale,
    log_ticks,
    shape,
    tone,
)
from reports.summary.groups import Waits
from reports.summary.rates import Rate
from reports.wording.groups import KEYS, described

WAITS, SHARES, GAP = 230, 74, 40
"""Heights of the panel of waits and of that of shares, and between them."""
COUNTS = 15
"""Height of a line of counts below the axis."""
APART = 14
"""Labels at the end of lines stand at least so far from each other."""
BESIDE = 7
"""Marks of shares at one place stand so far beside each other."""

End = tuple[float, float, str, int]
"""Where a line ends: height, place, label, colour."""


def lines(of: Sequence[Waits], w: int) -> Plot:
    """p50 with its interval and p95 (dashed) of each pool, by the places of their key.

    Below them, by calls in progress, the shares that failed; and the number of turns, there and where it thins out.
    """
    by, words = of[0].by, KEYS[of[0].by]
    shares = any(group.unopened is not None for waits in of for group in waits.groups)
    counted = (len(of) if len(of) <= COLOURS else 1) if shares or any(waits.thinned for waits in of) else 0
    plot = frame(
        w,
        (WAITS + GAP + SHARES + 64 if shares else 290) + COUNTS * counted,
        [(waits.colour, shortened(waits.target, 24)) for waits in of] if len(of) > 1 else (),
        left=56,
        right=44,
        top=22 if shares else 10,
        bottom=42 + COUNTS * counted,
        title=f"{of[0].measure}{' and failures' if shares else ''} by {words.axis}",
        desc="Median with 95 % interval, and 95th percentile dashed. " + "; ".join(map(_spoken, of)) + ".",
    )
    low = 0.0 if by in ("age", "calls") else 1.0
    x = Scale(identity, low, max(*(waits.end for waits in of), low + 1e-3), plot.x0 + 10, plot.x1)
    ground, top = plot.y0, plot.y1
    if shares:
        plot.text(plot.x0, plot.y1 - 8, of[0].measure, "lab")
        plot.y0 = top + WAITS
    _waits(plot, of, x)
    if shares:
        plot.y0, plot.y1 = ground, ground - SHARES
        _shares(plot, of, x)
    _axis(plot, of, x)
    plot.text(plot.x1, plot.h - 9, words.axis, "lab", "end")
    if counted:
        _counts(plot, of, x, named=shares)
    plot.y1 = top
    _read(plot, of, x)
    return plot


def _spoken(waits: Waits) -> str:
    if not waits.told:
        return f"{waits.target}: too few turns"
    first, last = waits.told[0], waits.told[-1]
    return f"{waits.target}: p50 {ms(first.p50.value)} at first, {ms(last.p50.value)} at last"


def _axis(plot: Plot, of: Sequence[Waits], x: Scale) -> None:
    if of[0].by == "age":
        plot.time_axis(x, 6)
    elif of[0].by == "calls":
        plot.x_axis(x, linear_ticks(0.0, x.high, 10), count)
    else:
        names = {place.at: place.name for waits in of for place in waits.places}
        plot.x_axis(x, list(names), lambda at: names[at])


def _waits(plot: Plot, of: Sequence[Waits], x: Scale) -> None:
    drawn = [end for waits in of for group in waits.told for end in (group.p50.low, group.p50.high)]
    drawn += [group.p95.value for waits in of for group in waits.tails]
    low, high = log_range(value for value in drawn if math.isfinite(value))
    y = log_scale(low, high, plot.y0, plot.y1 + 6)
    plot.y_axis(y, log_ticks(low, high, 6), ms)
    ends: list[End] = []
    for waits in of:
        with plot.of(waits.colour):
            ends += _course(plot, waits, x, y, banded=len(of) <= COLOURS)
    if len(of) <= 2:
        label_ends(plot, ends)


def _course(plot: Plot, waits: Waits, x: Scale, y: Scale, *, banded: bool) -> list[End]:
    """Draw one pool; the ends of its lines."""
    cls = f"s{tone(waits.colour)}"
    middle: list[Point] = [(x(group.place.at), y.clip(group.p50.value)) for group in waits.told]
    tail: list[Point] = [(x(group.place.at), y.clip(group.p95.value)) for group in waits.tails]
    if banded:
        lower, upper = (
            [(x(group.place.at), y.clip(end)) for group, end in zip(waits.told, ends, strict=True)]
            for ends in ([g.p50.low for g in waits.told], [g.p50.high for g in waits.told])
        )
        plot.band(lower, upper, f"band {cls}")
    plot.path(middle, f"curve {cls}")
    plot.path(tail, f"curve t-tail {cls}")
    for at, height in middle:
        plot.dot(at, height, shape(waits.colour), f"mark {cls}", 3)
    named = (("p50", middle), ("p95", tail))
    return [(points[-1][1], points[-1][0], label, waits.colour) for label, points in named if points]


def label_ends(plot: Plot, ends: list[End]) -> None:
    """Names of the lines at their right ends, moved apart."""
    below = -math.inf
    for height, at, label, colour in sorted(ends):
        below = max(height + 4, below + APART)
        with plot.of(colour):
            plot.text(at + 8, below, label, f"lab t{tone(colour)}")


def _shares(plot: Plot, of: Sequence[Waits], x: Scale) -> None:
    """The shares of turns that failed, and with open marks those of sessions that did not open, where there are any."""
    kinds = [[[(group.place.at, group.failed) for group in waits.groups] for waits in of]]
    opened = [[(group.place.at, group.unopened) for group in waits.groups if group.unopened] for waits in of]
    if any(rate.count for rates in opened for _, rate in rates):
        kinds.append(opened)
    most = max((rate.high for kind in kinds for rates in kind for _, rate in rates if rate.of), default=1.0)
    y = Scale(identity, 0.0, most, plot.y0, plot.y1)
    beside = "; open marks: sessions that did not open" if len(kinds) > 1 else ""
    plot.text(plot.x0, plot.y1 - 8, f"failed turns{beside}", "lab")
    plot.y_axis(y, linear_ticks(0.0, most, 3), lambda share: percent(share, 1) if share else "0")
    slots = len(kinds) * len(of)
    for kind, of_pools in enumerate(kinds):
        for row, (waits, rates) in enumerate(zip(of, of_pools, strict=True)):
            moved = BESIDE * (kind * len(of) + row - (slots - 1) / 2)
            with plot.of(waits.colour):
                _marks(plot, [(x(at) + moved, rate) for at, rate in rates], y, waits.colour, " open" if kind else "")


def _marks(plot: Plot, rates: Sequence[tuple[float, Rate]], y: Scale, colour: int, style: str) -> None:
    for at, rate in rates:
        if rate.of:
            plot.line(at, y(rate.low), at, y(rate.high), f"whisker s{tone(colour)}")
            plot.dot(at, y(rate.value), shape(colour), f"mark s{tone(colour)}{style}", 4)


def _counts(plot: Plot, of: Sequence[Waits], x: Scale, *, named: bool) -> None:
    """How many turns each place has, a line for each pool; of many all together. `named`: ticks are no names."""
    rows = [(waits.colour, {group.place: group.turns for group in waits.groups}) for waits in of]
    if len(rows) > COLOURS:
        places = {place for _, row in rows for place in row}
        rows = [(-1, {place: sum(row.get(place, 0) for _, row in rows) for place in places})]
    for line, (colour, row) in enumerate(rows):
        height = plot.y0 + 17 + COUNTS * (line + 1)
        plot.text(plot.x0 - 6, height, "turns", f"tiny t{tone(colour)}" if colour >= 0 else "tiny", "end")
        for place in sorted(row, key=lambda place: place.at):
            number = count(row[place]) if row[place] < 10_000 else f"{three(row[place] / 1000)}k"
            plot.text(x(place.at), height, f"{place.name}: {number}" if named else number, "tiny", "middle")


def _read(plot: Plot, of: Sequence[Waits], x: Scale) -> None:
    """A stop at each place, with what each pool says there."""
    named: dict[str, float] = {place.name: place.at for waits in of for place in waits.places}
    told = [(waits.label, {group.place.name: group for group in waits.groups}) for waits in of]
    lines = [(label, {name: described(group) for name, group in groups.items()}) for label, groups in told]
    words = {name: KEYS[of[0].by].of(group) for _, groups in told for name, group in groups.items()}
    places = sorted(named, key=lambda name: named[name])
    plot.read_lines([(name, x(named[name]), words.get(name, f"{name}: no turns")) for name in places], lines)
