"""Plots of percentile curves, and plots of latency and rates by a key such as the turn number.

They compute no values.
"""

import math
from collections.abc import Iterable, Sequence

from reports.analysis.summary.distributions import PercentileCurve
from reports.analysis.summary.groups import GroupedLatency
from reports.analysis.summary.turn_taking import ALL_PAUSES, CUT_OFF, CUT_OFF_PAUSE
from reports.formatting import count, excerpt, format_number, log_range, ms, nines, percent
from reports.render.markers import COLOURS, colour_class, curve_class, marker_shape
from reports.render.svg import (
    FAILED_BAND,
    WIDE,
    PixelScale,
    Plot,
    Point,
    identity,
    linear_ticks,
)
from reports.results.value import LEVELS, Value
from reports.statistics.quantiles import QuantileEstimate
from reports.text.groups import description, key_text
from reports.text.phrases import interval

MARKED = {*LEVELS, 0.75}
TICKS = (0.0, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 0.9999)
LABELLED = 2
"""The maximum number of targets with failures whose names fit into the band of failed turns. With
more such targets, the legend has their shares."""


def percentiles(curves: Sequence[PercentileCurve], metric: str) -> Plot:
    """Plot latency over percentiles on an axis of nines. A curve meets the red band at a point. The
    turns beyond this point failed.
    """
    failing = [curve for curve in curves if curve.failed]
    is_crowded = len(failing) > LABELLED  # their shares do not fit into the band of failed turns
    spoken = [
        f"{curve.target}: {count(curve.n)} turns, {count(curve.failed)} failed" for curve in curves
    ]
    desc = (
        "Horizontal: percentile on a logarithmic scale. Vertical: latency, logarithmic."
        f" {'; '.join(spoken)}."
    )
    shares = [f" {percent(c.failed, c.n)}" if is_crowded and c.failed else "" for c in curves]
    named = [
        (c.colour, f"{excerpt(c.target)}{share}") for c, share in zip(curves, shares, strict=True)
    ]
    title = f"Percentile curve of {metric}"
    top = 10 if is_crowded else 10 + 15 * len(failing)
    plot = Plot(WIDE, 374, named, left=56, right=84, top=top, title=title, desc=desc)
    low, high = log_range(
        end for curve in curves for e in curve.points for end in (e.value, e.low, e.high)
    )
    end = min(0.9999, max(0.9, 1 - 1 / max(curve.n for curve in curves)))
    # far beyond the last successful turn there are only failed turns
    if len(failing) == len(curves):
        end = min(end, max(0.96, 1 - min(curve.failed / curve.n for curve in curves) / 3))
    x = PixelScale(nines, 0.0, end, plot.x0, plot.x1)
    y = plot.latency_axis(low, high, 7, above=20)
    if failing:
        plot.rect(plot.x0, plot.y1, plot.x1 - plot.x0, FAILED_BAND, "failed-band")
        plot.text(plot.x0 + 5, plot.y1 + 10, "failed turns", "tiny")
    ticks = [p for p in TICKS if p <= end + 1e-9]
    plot.x_axis(
        x,
        ticks,
        lambda p: "min" if p == 0 else f"p{p * 100:g}",
        "percentile (log scale)",
        grid=True,
    )
    for curve in curves:
        with plot.of(curve.colour):
            _curve(plot, curve, x, y, bands=len(curves) <= COLOURS)
            if len(curves) > COLOURS:
                for estimate in curve.points:  # markers distinguish more curves than colours do
                    if (
                        estimate.p in MARKED
                        and estimate.p <= curve.solid_to
                        and estimate.value < math.inf
                    ):
                        style = f"mark {colour_class(curve.colour)}"
                        at = x.clip(estimate.p), y.clip(estimate.value)
                        plot.dot(*at, marker_shape(curve.colour), style, 4, curve.target)
    # labels in rows never overlap
    for row, curve in enumerate(sorted(failing, key=lambda c: -c.failed / c.n)):
        with plot.of(curve.colour):
            _meets_failed_band(plot, curve, x, row=row, of=len(failing))
    ps = sorted({e.p for curve in curves for e in curve.points if e.p <= x.high})
    lines = [(curve.target, {e.p: _read(e, curve) for e in curve.points}) for curve in curves]
    names = (f"p{p * 100:.{0 if p < 0.9 else 1 if p < 0.99 else 2}f}" for p in ps)
    plot.read_lines([(p, x(p), name) for p, name in zip(ps, names, strict=True)], lines)
    return plot


def _curve(
    plot: Plot, curve: PercentileCurve, x: PixelScale, y: PixelScale, *, bands: bool
) -> None:
    visible = [e for e in curve.points if e.value < math.inf and e.p <= x.high]
    solid = [e for e in visible if e.p <= curve.solid_to]
    banded = [
        e for e in curve.points if e.p <= min(curve.solid_to, x.high) and not math.isnan(e.deff)
    ]
    cls = colour_class(curve.colour)
    if bands:
        plot.band(
            [(x(e.p), y.clip(e.low)) for e in banded],
            [(x(e.p), y.clip(e.high)) for e in banded],
            f"band {cls}",
        )
    plot.path([(x(e.p), y.clip(e.value)) for e in solid], curve_class(curve.colour))
    plot.path(
        [(x(e.p), y.clip(e.value)) for e in solid[-1:] + visible[len(solid) :]], f"curve thin {cls}"
    )
    share = 1 - curve.failed / curve.n
    if curve.failed and visible and share <= x.high:
        plot.line(
            x(share),
            y.clip(visible[-1].value),
            x(share),
            plot.y1 + FAILED_BAND,
            f"curve thin {cls}",
        )


def _meets_failed_band(
    plot: Plot, curve: PercentileCurve, x: PixelScale, *, row: int, of: int
) -> None:
    """Mark the point at which a curve meets the band of failed turns, and write the share of
    failed turns.
    """
    at = x.clip(1 - curve.failed / curve.n)
    tip = f"{curve.target}: {count(curve.failed)} of {count(curve.n)} turns failed"
    plot.dot(
        at, plot.y1 + 6, marker_shape(curve.colour), f"mark {colour_class(curve.colour)}", 4, tip
    )
    if of > LABELLED:
        return
    text = f"{excerpt(curve.target, 18)} {percent(curve.failed, curve.n)} failed"
    lift = 5 if of == 1 else 5 + 15 * max(0, 1 - row)
    offset, anchor = (4, "end") if at > (plot.x0 + plot.x1) / 2 else (-4, "start")
    plot.text(at + offset, plot.y1 - lift, text, f"lab {colour_class(curve.colour, 't')}", anchor)


def _read(estimate: QuantileEstimate, curve: PercentileCurve) -> str:
    value = "failed" if estimate.value == math.inf else ms(estimate.value)
    if estimate.p > curve.solid_to:
        return f"{value} (too few turns or sessions)"
    return f"{value} ({interval(estimate.low, estimate.high, ms)})"


WAITS = 230
SHARES = 74
GAP = 40
"""The heights of the panel of latencies, of the panel of shares, and of the gap between these."""
COUNTS = 15
"""The height of a line of counts below the axis."""
TINY = 6.5
"""The maximum width of a character in a line of counts."""
MIN_LABEL_GAP = 14
"""The minimum vertical distance of two labels at the ends of lines."""
MARKER_GAP = 7
"""The horizontal distance of the markers of shares that belong to the same group."""


def latency_lines(latencies: Sequence[GroupedLatency]) -> Plot:
    """Plot p50 with its interval, and p95 as a dashed line, by a key. Below, plot failed shares
    and counts of turns.
    """
    by = latencies[0].by
    words = key_text(latencies[0].by)
    shares = any(group.unopened is not None for latency in latencies for group in latency.groups)
    counted = (
        (len(latencies) if len(latencies) <= COLOURS else 1)
        if shares or any(latency.thinned for latency in latencies)
        else 0
    )
    ends = [
        (latency.target, latency.published[0].p50.value, latency.published[-1].p50.value)
        for latency in latencies
        if latency.published
    ]
    spoken = [
        f"{target}: p50 {ms(first)} at the start, {ms(last)} at the end"
        for target, first, last in ends
    ]
    spoken += [f"{latency.target}: too few turns" for latency in latencies if not latency.published]
    named = (
        [(latency.colour, excerpt(latency.target, 24)) for latency in latencies]
        if len(latencies) > 1
        else ()
    )
    height = (WAITS + GAP + SHARES + 64 if shares else 290) + COUNTS * counted
    top = 22 if shares else 10
    bottom = 42 + COUNTS * counted
    title = f"{latencies[0].metric}{' and failures' if shares else ''} by {words.axis}"
    desc = f"Median with 95 % interval, and 95th percentile dashed. {'; '.join(spoken)}."
    plot = Plot(
        WIDE, height, named, left=56, right=44, top=top, bottom=bottom, title=title, desc=desc
    )
    low = 0.0 if by in ("age", "calls") else 1.0
    x = PixelScale(
        identity,
        low,
        max(*(latency.end for latency in latencies), low + 1e-3),
        plot.x0 + 10,
        plot.x1,
    )
    ground = plot.y0
    top = plot.y1
    if shares:
        plot.text(plot.x0, plot.y1 - 8, latencies[0].metric, "lab")
        plot.y0 = top + WAITS
    _latencies(plot, latencies, x)
    if shares:
        plot.y0 = ground
        plot.y1 = ground - SHARES
        _shares(plot, latencies, x)
    if latencies[0].by == "age":
        plot.time_axis(x, 6)
    elif latencies[0].by == "calls":
        plot.x_axis(x, linear_ticks(0.0, x.high, 10), count)
    else:
        names = {bin_.at: bin_.name for latency in latencies for bin_ in latency.places}
        plot.x_axis(x, list(names), lambda at: names[at])
    plot.text(plot.x1, plot.h - 9, words.axis, "lab", "end")
    if counted:
        _counts(plot, latencies, x, named=shares)
    plot.y1 = top
    positions = {bin_.name: bin_.at for latency in latencies for bin_ in latency.places}
    groups_of_label = [
        (latency.label, {group.bin.name: group for group in latency.groups})
        for latency in latencies
    ]
    lines = [
        (label, {name: description(group) for name, group in groups.items()})
        for label, groups in groups_of_label
    ]
    heads = {
        name: words.of(group) for _, groups in groups_of_label for name, group in groups.items()
    }
    stops = [(name, x(at), heads.get(name, f"{name}: no turns")) for name, at in positions.items()]
    plot.read_lines(sorted(stops, key=lambda stop: positions[stop[0]]), lines)
    return plot


def _latencies(plot: Plot, latencies: Sequence[GroupedLatency], x: PixelScale) -> None:
    plotted_values = [
        end
        for latency in latencies
        for group in latency.published
        for end in (group.p50.low, group.p50.high)
    ]
    plotted_values += [group.p95.value for latency in latencies for group in latency.tails]
    low, high = log_range(value for value in plotted_values if math.isfinite(value))
    y = plot.latency_axis(low, high, 6, above=6)
    # the end of each line: height, x position, label, colour
    ends: list[tuple[float, float, str, int]] = []
    for latency in latencies:
        with plot.of(latency.colour):
            cls = colour_class(latency.colour)
            middle: list[Point] = [
                (x(group.bin.at), y.clip(group.p50.value)) for group in latency.published
            ]
            tail: list[Point] = [
                (x(group.bin.at), y.clip(group.p95.value)) for group in latency.tails
            ]
            if len(latencies) <= COLOURS:
                lower = [(x(group.bin.at), y.clip(group.p50.low)) for group in latency.published]
                upper = [(x(group.bin.at), y.clip(group.p50.high)) for group in latency.published]
                plot.band(lower, upper, f"band {cls}")
            plot.path(middle, f"curve {cls}")
            plot.path(tail, f"curve t-tail {cls}")
            for at, height in middle:
                plot.dot(at, height, marker_shape(latency.colour), f"mark {cls}", 3)
            named = (("p50", middle), ("p95", tail))
            ends += [
                (points[-1][1], points[-1][0], label, latency.colour)
                for label, points in named
                if points
            ]
    if len(latencies) <= 2:
        below = -math.inf
        for height, at, label, colour in sorted(ends):  # moved so that they do not overlap
            below = max(height + 4, below + MIN_LABEL_GAP)
            with plot.of(colour):
                plot.text(at + 8, below, label, f"lab {colour_class(colour, 't')}")


def _shares(plot: Plot, latencies: Sequence[GroupedLatency], x: PixelScale) -> None:
    """Draw the shares of failed turns. If there are any, also draw the shares of sessions that did
    not open. The markers of sessions are open.
    """
    kinds = [[[(group.bin.at, group.failed) for group in latency.groups] for latency in latencies]]
    opened = [
        [(group.bin.at, group.unopened) for group in latency.groups if group.unopened]
        for latency in latencies
    ]
    if any(rate.count for rates in opened for _, rate in rates):
        kinds.append(opened)
    largest = max(
        (rate.high for kind in kinds for rates in kind for _, rate in rates if rate.n), default=1.0
    )
    y = plot.along_y(0.0, largest)
    offset = "; open marks: sessions that did not open" if len(kinds) > 1 else ""
    plot.text(plot.x0, plot.y1 - 8, f"failed turns{offset}", "lab")
    plot.y_axis(y, linear_ticks(0.0, largest, 3), lambda share: percent(share, 1) if share else "0")
    slots = len(kinds) * len(latencies)
    for kind, rates_of_latency in enumerate(kinds):
        for row, (latency, rates) in enumerate(zip(latencies, rates_of_latency, strict=True)):
            moved = MARKER_GAP * (kind * len(latencies) + row - (slots - 1) / 2)
            with plot.of(latency.colour):
                for at, rate in ((x(position) + moved, rate) for position, rate in rates if rate.n):
                    plot.line(
                        at, y(rate.low), at, y(rate.high), f"whisker {colour_class(latency.colour)}"
                    )
                    style = f"mark {colour_class(latency.colour)}{' open' if kind else ''}"
                    plot.dot(at, y(rate.value), marker_shape(latency.colour), style, 4)


def _counts(plot: Plot, latencies: Sequence[GroupedLatency], x: PixelScale, *, named: bool) -> None:
    """Write the number of turns of each group. Each target has a line; many targets have one line
    with their sums. If `named`, the name of the group is written before its number.
    """
    rows = [
        (latency.colour, {group.bin: group.turns for group in latency.groups})
        for latency in latencies
    ]
    if len(rows) > COLOURS:
        bins = {bin_ for _, row in rows for bin_ in row}
        rows = [(-1, {bin_: sum(row.get(bin_, 0) for _, row in rows) for bin_ in bins})]
    for line, (colour, row) in enumerate(rows):
        height = plot.y0 + 17 + COUNTS * (line + 1)
        plot.text(
            plot.x0 - 20,
            height,
            "turns",
            f"tiny {colour_class(colour, 't')}" if colour >= 0 else "tiny",
            "end",
        )
        ends = -math.inf
        for bin_ in sorted(row, key=lambda bin_: bin_.at):
            number = (
                count(row[bin_]) if row[bin_] < 10_000 else f"{format_number(row[bin_] / 1000)}k"
            )
            text = f"{bin_.name}: {number}" if named else number
            half = len(text) * TINY / 2
            # so that a group with a name stays recognizable
            at = max(x(bin_.at), ends + half) if named else x(bin_.at)
            plot.text(at, height, text, "tiny", "middle")
            ends = at + half + TINY


def cut_off_by_pause(values: Iterable[Value], targets: Sequence[str]) -> Plot:
    """Plot the share of turns that were cut off over the pause. A vertical line marks the
    cut-off pause.
    """
    of_cuts = [(value, value.group) for value in values if value.metric == CUT_OFF and value.group]
    named = [
        (list(targets).index(target), target)
        for target in dict.fromkeys(value.target for value, _ in of_cuts)
    ]
    desc = (
        "Horizontal: pause in the speech, in ms. Vertical: share of turns. Vertical line: cut-off"
        " pause."
    )
    plot = Plot(WIDE, 300, named, left=56, right=24, title="Turns cut off by pause", desc=desc)
    shortest = min(group.start for _, group in of_cuts)
    longest = max(group.end for _, group in of_cuts)
    x = plot.along_x(min(shortest, longest - 1), longest)
    y = plot.along_y(0.0, 1.0)
    plot.y_axis(y, [0.0, 0.25, 0.5, 0.75, 1.0], lambda share: percent(share, 1))
    plot.x_axis(
        x,
        [tick for tick in linear_ticks(0, longest) if tick >= shortest],
        ms,
        "pause in the speech",
    )
    for colour, target in named:
        with plot.of(colour):
            points = []
            edge = math.nan
            for value, group in (
                (value, group) for value, group in of_cuts if value.target == target
            ):
                if value.statistic == CUT_OFF_PAUSE:
                    edge = value.value
                elif group.name != ALL_PAUSES and value.n:
                    at = x((group.start + group.end) / 2)
                    plot.line(
                        at, y(value.low), at, y(value.high), f"whisker {colour_class(colour)}"
                    )
                    tip = (
                        f"{target}, {ms(group.start)} to {ms(group.end)}: {count(value.events)} of"
                        f" {value.n}"
                    )
                    plot.dot(
                        at,
                        y(value.value),
                        marker_shape(colour),
                        f"mark {colour_class(colour)}",
                        4,
                        tip,
                    )
                    points.append((at, y(value.value)))
            plot.path(points, curve_class(colour))
            if math.isfinite(edge):
                plot.line(x(edge), plot.y0, x(edge), plot.y1, f"curve thin {colour_class(colour)}")
    return plot
