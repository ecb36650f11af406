"""What remained of the service's limits and what it throttled, over the run: frame → Plot."""

from __future__ import annotations

import numpy as np

from reports.numbers import NBSP, clock, count, percent, plural, shortened
from reports.page.svg import WIDE, Plot, Scale, glyph, identity, tone
from reports.summary.quota import Quota, Throttling

SHARE, COUNT, GAP, APART = 64, 46, 50, 28
STYLES = {"tokens": "t-mid", "requests": "t-tail"}


def limits(frame: Quota) -> Plot:
    """For each target the shares of its limits that remained, and throttled turns and sessions below them."""
    shown = [(place, one) for place, one in enumerate(frame.targets) if one.remaining or one.counts.any()]
    plot = Plot(
        WIDE,
        sum(GAP + _tall(one) for _, one in shown) + 30,
        left=56,
        right=66,
        top=0,
        bottom=30,
        title="Limits of the service over time",
        desc="For each target the least share of its limits that remained, and what was throttled. "
        + "; ".join(_spoken(one) for _, one in shown),
    )
    x = Scale(identity, 0.0, frame.length_s, plot.x0, plot.x1)
    ground, top = plot.y0, 0.0
    for place, one in shown:
        with plot.of(place):
            _target(plot, one, place, frame.bin_s, x, top)
        top += GAP + _tall(one)
    plot.y0, plot.y1 = ground, 0
    plot.run_axis(x, 10)
    _read(plot, frame, [one for _, one in shown], x)
    return plot


def _target(plot: Plot, one: Throttling, place: int, bin_s: float, x: Scale, top: float) -> None:
    plot.text(plot.x0, top + 24, f"{glyph(place)} {shortened(one.target, 60)}", f"dl t{tone(place)}")
    top += GAP
    if one.remaining:
        plot.y1, plot.y0 = int(top), int(top) + SHARE
        _shares(plot, one, place, x)
        top += SHARE + APART
    if one.counts.any():
        plot.y1, plot.y0 = int(top), int(top) + COUNT
        _counts(plot, one, place, bin_s, x)


def _tall(one: Throttling) -> int:
    both = bool(one.remaining) and bool(one.counts.any())
    return (SHARE if one.remaining else 0) + (COUNT if one.counts.any() else 0) + (APART if both else 0)


def _spoken(one: Throttling) -> str:
    least = [f"at least {percent(float(part.share.min()), 1)} of {part.limit} remained" for part in one.remaining]
    throttled = f"{plural(one.turns, 'turn')} and {plural(one.sessions, 'session')} throttled"
    return f"{one.target}: {', '.join([throttled, *least])}"


def _shares(plot: Plot, one: Throttling, place: int, x: Scale) -> None:
    y = Scale(identity, 0.0, 1.0, plot.y0, plot.y1)
    plot.text(plot.x0, plot.y1 - 7, "share of the limit that remained", "lab")
    plot.y_axis(y, (0.0, 0.5, 1.0), lambda share: f"{share * 100:.0f}{NBSP}%")
    ends = []
    for part in one.remaining:
        points = [(x.clip(at), y(share)) for at, share in zip(part.at_s, part.share, strict=True)]
        with plot.along_run():
            plot.path(points, f"curve {STYLES[part.limit]} s{tone(place)}")
            if len(points) == 1:
                plot.dot(*points[0], "circle", f"mark s{tone(place)}", 3)
        ends.append((points[-1], part.limit))
    for row, (end, limit) in enumerate(sorted(ends, key=lambda end: end[0][1])):
        below = min(y for (_, y), _ in ends) + 14 * row
        plot.text(plot.x1 + 6, max(end[1], below) + 4, limit, f"lab t{tone(place)} whole")


def _counts(plot: Plot, one: Throttling, place: int, bin_s: float, x: Scale) -> None:
    plot.text(plot.x0, plot.y1 - 7, "throttled turns and sessions", "lab")
    y = plot.count_axis(float(one.counts.max()))
    with plot.along_run():
        for place_, number in enumerate(one.counts):
            if number:
                left, right = x.clip(place_ * bin_s), x.clip((place_ + 1) * bin_s)
                tip = f"from {clock(place_ * bin_s, long=True)}: {count(number)} throttled"
                plot.rect(left, y(number), max(1.5, right - left - 1), plot.y0 - y(number), "failcell", tip)
    plot.line(plot.x0, plot.y0, plot.x1, plot.y0, "axis")


def _read(plot: Plot, frame: Quota, shown: list[Throttling], x: Scale) -> None:
    rows, stops = [], []
    for place in range(frame.targets[0].counts.size):
        told = [text for one in shown if (text := _bin(one, place, frame.bin_s))]
        if told:
            stops.append(x.clip((place + 0.5) * frame.bin_s))
            rows.append(" · ".join([f"from {clock(place * frame.bin_s, long=frame.length_s > 180)}", *told]))
    plot.readout(stops, rows)


def _bin(one: Throttling, place: int, bin_s: float) -> str:
    said = [f"{count(one.counts[place])} throttled"] if one.counts[place] else []
    for part in one.remaining:
        (here,) = np.nonzero(np.isclose(part.at_s, (place + 0.5) * bin_s))
        said += [f"{percent(float(part.share[here[0]]), 1)} of {part.limit} left"] if here.size else []
    return f"{one.target} {', '.join(said)}" if said else ""
