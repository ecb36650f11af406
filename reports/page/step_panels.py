"""Each step over the run, a panel per step: frame → Plot, computing nothing."""

from __future__ import annotations

import math

from reports.numbers import clock, ms, shortened
from reports.page.steps_over_time import StepsOverTime
from reports.page.svg import WIDE, Plot, Scale, frame, identity, log_scale, log_ticks, tone

TALL, GAP = 62, 26


def steps_over_time(course: StepsOverTime) -> Plot:
    """For each step the medians of its bins, a line for each target, all on one scale."""
    named = sorted({(one.target, shortened(course.targets[one.target], 24)) for one in course.courses})
    plot = frame(
        WIDE,
        len(course.steps) * (TALL + GAP) + 30,
        named if len(named) > 1 else (),
        left=56,
        right=24,
        top=0,
        bottom=30,
        title=f"{course.measure} of each step over time",
        desc=f"One panel for each step: {', '.join(course.steps)}. Lines are medians of turns that began together.",
    )
    x = Scale(identity, 0.0, course.length_s, plot.x0, plot.x1)
    ground, top = plot.y0, plot.y1
    for row, step in enumerate(course.steps):
        plot.y1 = top + row * (TALL + GAP) + GAP
        plot.y0 = plot.y1 + TALL
        _panel(plot, course, step, x)
    plot.y0, plot.y1 = ground, top
    plot.run_axis(x, 10)
    _read(plot, course, x)
    return plot


def _panel(plot: Plot, course: StepsOverTime, step: str, x: Scale) -> None:
    y = log_scale(course.low, course.high, plot.y0, plot.y1)
    plot.text(plot.x0, plot.y1 - 7, shortened(step, 60), "rowlab")
    plot.y_axis(y, log_ticks(course.low, course.high, 3), ms)
    for one in course.courses:
        if one.step == step:
            points = [(x.clip(bin_.begin_s + course.bin_s / 2), y.clip(bin_.p50)) for bin_ in one.bins]
            with plot.of(one.target), plot.along_run():
                plot.path(points, f"curve s{tone(one.target)}")
                for at, height in points:
                    plot.speck(at, height, f"solid s{tone(one.target)}")


def _read(plot: Plot, course: StepsOverTime, x: Scale) -> None:
    """At each bin a line for each step: greeting ● 480 ms ◆ 510 ms."""
    begins = sorted({bin_.begin_s for one in course.courses for bin_ in one.bins})
    long = course.length_s > 180
    places = [(begin, x.clip(begin + course.bin_s / 2), f"from {clock(begin, long=long)}") for begin in begins]
    lines = []
    for step in course.steps:
        texts: dict[float, str] = {}
        for one in course.courses:
            for bin_ in one.bins if one.step == step else ():
                said = f"{course.targets[one.target]} " if len(course.targets) > 1 else ""
                said += "failed" if bin_.p50 == math.inf else ms(bin_.p50)
                texts[bin_.begin_s] = f"{texts[bin_.begin_s]}, {said}" if bin_.begin_s in texts else said
        lines.append((step, texts))
    plot.read_lines(places, lines)
