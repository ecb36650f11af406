"""A plot of one metric over time. It shows each run with its interval, and the changes between
runs.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

from bench.base.units import NS_PER_S
from reports.analysis.trends.metric_trend import MetricTrend
from reports.formatting import format_utc, join_present, log_range, ms, plural
from reports.render.markers import colour_class, curve_class, marker_shape
from reports.render.svg import WIDE, PixelScale, Plot, linear_ticks, log_scale, log_ticks
from reports.text.reasons import reasons_text
from reports.text.trend_sentences import (
    change_sentence,
    change_size,
    day,
    marker,
    number_text,
    series_name,
    unit_text,
    value_text,
)

ROOM_S = 3600.0
"""The time before and after the run that the plot shows if there is only one run, in seconds."""
LABEL_HEIGHT = 15
LABEL_WIDTH = 62.0
LABEL_ROWS = 3
"""The height and the width of the label of a change, and the number of rows in which labels are
placed to avoid overlaps."""
RATE_MAX_MIN = 0.01
"""The minimum upper end of the value axis for a rate. It is one percentage point."""
RADIUS = 4.0
DATE_WIDTH = 170.0
"""The minimum distance between two dates on the time axis."""


def plot_over_time(metrics: Sequence[MetricTrend], numbers: Mapping[str, int]) -> Plot:
    """Return the plot of one metric for several series.

    Each run is a marker with its interval, each level is a line, and each change is a dashed line
    between two runs. `numbers` is the number of each series on the page.
    """
    changes = sum(len(metric.changes) for metric in metrics)
    names = [series_name(metric.series) for metric in metrics]
    counts = "; ".join(
        f"{name}: {plural(len(metric.compared), 'run')} compared,"
        f" {plural(len(metric.changes), 'change')}"
        for name, metric in zip(names, metrics, strict=True)
    )
    title = f"{metrics[0].title} over time"
    desc = f"Horizontal: start of the runs, UTC. {counts}."
    named = [(numbers[name], name) for name in names]
    top = 12 + LABEL_HEIGHT * min(LABEL_ROWS, changes)
    plot = Plot(WIDE, 300, named, left=60, right=60, top=top, title=title, desc=desc)
    x, y = _axes(plot, metrics)
    for (number, _), metric in zip(named, metrics, strict=True):
        with plot.of(number):
            _runs(plot, metric, number, x, y)
            for level in metric.levels if not metric.not_searched else ():
                starts = (
                    (level.first_started_utc_ns, level.value),
                    (level.last_started_utc_ns, level.last_value),
                )
                plot.path(
                    [(x(at / NS_PER_S), y.clip(value)) for at, value in starts], curve_class(number)
                )
    _changes(plot, metrics, numbers, x)
    started = sorted({point.started_utc_ns for metric in metrics for point in metric.series.points})
    lines = [
        (
            name,
            {
                point.started_utc_ns: (
                    value_text(run, metric.spec) + (f", {marker(point)}" if point.excluded else "")
                )
                for point, run in zip(metric.series.points, metric.values, strict=True)
            },
        )
        for name, metric in zip(names, metrics, strict=True)
    ]
    plot.read_lines([(at, x(at / NS_PER_S), format_utc(at)) for at in started], lines)
    return plot


def _axes(plot: Plot, metrics: Sequence[MetricTrend]) -> tuple[PixelScale, PixelScale]:
    """Draw the axes of time and of values. That of values contains all compared runs with their
    intervals.
    """
    started = sorted(point.started_utc_ns for metric in metrics for point in metric.series.points)
    first = started[0] / NS_PER_S
    last = started[-1] / NS_PER_S
    room = (last - first) * 0.02 or ROOM_S
    x = plot.along_x(first - room, last + room)
    dated = started[:1]
    for at in started:
        if x(at / NS_PER_S) >= x(dated[-1] / NS_PER_S) + DATE_WIDTH:
            dated.append(at)
    plot.x_axis(
        x,
        [at / NS_PER_S for at in dated],
        lambda at: day(round(at * NS_PER_S)),
        "start of run, UTC",
    )
    runs = [metric.values[index] for metric in metrics for index in metric.compared]
    runs = runs or [run for metric in metrics for run in metric.values]
    ends = [end for run in runs for end in (run.value, run.low, run.high) if math.isfinite(end)]
    spec = metrics[0].spec
    if spec.scale == "points":
        y = plot.along_y(0.0, max([RATE_MAX_MIN, *ends]))
        ticks = linear_ticks(0.0, y.high, 5)
    else:
        y = log_scale(*log_range(ends), plot.y0, plot.y1)
        ticks = log_ticks(y.low, y.high)
    write = (
        ms
        if spec.shown_unit == "ms"
        else lambda value: f"{number_text(value, spec)} {unit_text(spec)}".rstrip()
    )
    plot.y_axis(y, ticks, write)
    return x, y


def _runs(plot: Plot, metric: MetricTrend, number: int, x: PixelScale, y: PixelScale) -> None:
    """Draw the runs of a series. Lines connect the compared runs in order of time.

    A run that is INVALID is drawn as a cross. A run is drawn as a ring if it has NO VERDICT, was
    throttled, or has its value among failed turns. Values outside the axis are drawn at its end.
    """
    points = metric.series.points
    colour = colour_class(number)
    shape = marker_shape(number)
    positions = [
        (x(point.started_utc_ns / NS_PER_S), y.clip(run.value))
        for point, run in zip(points, metric.values, strict=True)
    ]
    for before, after in pairwise(metric.compared):
        plot.line(*positions[before], *positions[after], f"run {colour}")
    for index, (point, run) in enumerate(zip(points, metric.values, strict=True)):
        if math.isnan(run.value):
            continue
        at, value = positions[index]
        verdict = join_present(": ", marker(point), reasons_text(point.excluded))
        tip = f"{point.name}: {value_text(run, metric.spec)}, {verdict}"
        if index in metric.compared:
            if not math.isnan(run.low):
                plot.line(at, y.clip(run.low), at, y.clip(run.high), f"whisker thin {colour}")
            plot.dot(at, value, shape, f"mark {colour}", RADIUS, tip)
        elif point.validity == "invalid":
            plot.dot(at, value, "cross", "unfit", RADIUS, tip)
        else:
            plot.dot(at, value, shape, f"mark open {colour}", RADIUS, tip)


def _changes(
    plot: Plot, metrics: Sequence[MetricTrend], numbers: Mapping[str, int], x: PixelScale
) -> None:
    """Draw each change with its size above it. The sizes are placed in several rows, so that
    they do not overlap.
    """
    free = [-math.inf] * LABEL_ROWS
    changes = [(metric, change) for metric in metrics for change in metric.changes]
    for metric, change in sorted(changes, key=lambda item: item[1].first_started_utc_ns):
        at = (
            x(change.last_started_utc_ns / NS_PER_S) + x(change.first_started_utc_ns / NS_PER_S)
        ) / 2
        row = next((row for row, end in enumerate(free) if end < at), LABEL_ROWS - 1)
        free[row] = at + LABEL_WIDTH
        colour = {"worse": "w-regressed", "better": "w-improved", None: ""}[change.direction]
        top = plot.y1 - LABEL_HEIGHT * row
        anchor = "end" if at > plot.x1 - 60 else "start"
        with plot.of(numbers[series_name(metric.series)]):
            plot.line(at, plot.y0, at, top - 4, "moved")
            plot.text(at + 4, top - 5, change_size(change, metric.spec), f"num {colour}", anchor)
            plot.rect(at - 4, plot.y1, 8, plot.y0 - plot.y1, "k0", change_sentence(metric, change))
