"""The page of a search, with two charts and two tables."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from reports.formatting import (
    NONE,
    count,
    format_duration,
    format_number,
    log_range,
    ms,
    percent,
    plural,
    usd,
)
from reports.metrics.thresholds import requested_thresholds
from reports.render.blocks import SIMULATED, Block, Line, Page, Paragraph, Section, coded, table
from reports.render.svg import (
    WIDE,
    PixelScale,
    Plot,
    Write,
    identity,
    linear_ticks,
    log_scale,
    log_ticks,
    plot_figure,
)
from reports.results.value import LimitFinding, Value
from reports.text.phrases import as_sentence
from reports.text.verdicts import NOT_SHOWN
from rtbench.capacity.document import CapacityDocument, LevelEntry
from rtbench.capacity.text import (
    concurrent,
    headline_parts,
    percents,
    reason_text,
    result_text,
    result_word,
)
from rtbench.load_display import LoadPoint, draw_curve

HEIGHT = 300
MAIN = "the main metric"
CALLS = "concurrent calls"
LOADS = (
    "calls",
    "result",
    "concurrency",
    "sessions",
    "turns",
    "p50, ms",
    "p95, ms",
    "failed, %",
    "rate limits left",
    "cost",
    "duration",
    "run",
)
SHARES = ("threshold", "calls", "violations", "allowed", "turns", "slow", "failed", "throttled")
LATENCIES = (
    "with 95 % intervals by session, of the most frequent kind of turns. Horizontal lines are the"
    " thresholds. The curve is that of the ramps. Filled marks: levels that passed. The band"
    " contains the breaking point."
)


def capacity_page(capacity: CapacityDocument) -> Page:
    plan = capacity.plan
    answer, *details = headline_parts(capacity)
    entries = sorted([*capacity.curve, *capacity.levels], key=lambda entry: entry.load)
    method = f"ramps in {_duration(capacity.curve)}"
    if capacity.levels:
        method += f", {plural(len(capacity.levels), 'level')} in {_duration(capacity.levels)}"
    if capacity.highest_pass is not None or capacity.lowest_fail is not None:
        method += "; verdicts by intervals between sessions, with a probability of error of"
        method += f" at most {percent(plan.error, 1)} over all levels and interim analyses together"
    facts = f"{capacity.date_utc} · {capacity.scenario} · {capacity.target}"
    lines = [_level(entry) for entry in entries]
    known = [index for index, _ in enumerate(LOADS) if any(line[index] != NONE for line in lines)]
    loads_table = table(
        [LOADS[index] for index in known],
        [[line[index] for index in known] for line in lines],
        caption="95 % intervals in brackets",
    )
    thresholds = table(SHARES, _shares(entries))
    plotted = [entry for entry in entries if entry.turns]
    waits: list[Block] = [Paragraph(f"p50 and p95 of {plan.metric or MAIN}, {LATENCIES}")]
    failed: list[Block] = [Paragraph("The share of turns that failed or did not start.")]
    if plotted:
        waits.append(plot_figure(latency_chart(capacity, plotted)))
        failed.append(plot_figure(failure_chart(capacity, plotted)))
    return Page(
        title=f"Capacity, {capacity.date_utc}",
        badges=[SIMULATED] if capacity.simulated else [],
        headline=as_sentence(answer),
        lead=[
            *(Paragraph(coded(as_sentence(detail)), "lead") for detail in details),
            *(Paragraph(coded(as_sentence(reason_text(note))), "lead") for note in capacity.notes),
            Paragraph(f"{method}."),
            Paragraph(facts, "meta"),
        ],
        sections=[
            Section("answer", "Latency by load", "What is the latency at each load?", waits),
            Section("failures", "Failures by load", "What fails at each load?", failed),
            Section("levels", "Loads", "What did each load show?", [loads_table]),
            Section(
                "thresholds",
                "Thresholds by load",
                "How many turns violate each threshold?",
                [thresholds],
            ),
        ],
    )


def _duration(entries: Sequence[LevelEntry]) -> str:
    return format_duration(sum(entry.duration_s for entry in entries))


def _level(level: LevelEntry) -> Line:
    left = ", ".join(
        f"{name} {percent(remaining, 1)}" for name, remaining in level.rate_limits_remaining.items()
    )
    return [
        _named(level),
        ": ".join(filter(None, (result_text(level), reason_text(level.why)))),
        format_number(level.in_progress),
        count(level.sessions),
        count(level.turns),
        _with_ends(level.latency_p50, format_number),
        _with_ends(level.latency_p95, format_number),
        _with_ends(level.failure_rate, lambda share: format_number(100 * share)),
        left or NONE,
        NONE if level.usd is None else usd(level.usd),
        format_duration(level.duration_s),
        level.run or NONE,
    ]


def _named(entry: LevelEntry) -> str:
    if entry.result is not None:
        return f"{count(entry.load)} (level)"
    return f"{entry.first}–{entry.load}" if entry.first < entry.load else count(entry.load)


def _shares(levels: Sequence[LevelEntry]) -> list[Line]:
    shares = [(share, level) for level in levels for share in level.violations]
    thresholds = list(dict.fromkeys(share.threshold for share, _ in shares))
    return [
        [
            share.threshold,
            _named(level),
            share_text(share),
            percent(share.limit, 1),
            *map(count, (share.value.n, *level.causes(share).values())),
        ]
        for share, level in sorted(shares, key=lambda pair: thresholds.index(pair[0].threshold))
    ]


def share_text(share: LimitFinding) -> str:
    if not share.value.n:
        return NONE
    value, low, high = map(percents, (share.value.value, share.value.low, share.value.high))
    return f"{value} % ({low} to {high} %)"


def _value(interval: Value, write: Write) -> str:
    return write(interval.value) if math.isfinite(interval.value) else NONE


def _with_ends(interval: Value, write: Write) -> str:
    if not math.isfinite(interval.value):
        return f"{NOT_SHOWN} ({reason_text(interval.reason)})" if interval.reason else NONE
    low, high = (
        write(end) if math.isfinite(end) else NONE for end in (interval.low, interval.high)
    )
    return f"{write(interval.value)} ({low}–{high})"


share_percent = partial(percent, total=1)
"""Return a share in percent."""
MIN_TICK_DISTANCE_PX = 44
"""The minimum distance between two ticks, so that their labels do not overlap."""


def latency_chart(capacity: CapacityDocument, levels: Sequence[LevelEntry]) -> Plot:
    """Draw p50 and p95 over the load, with their intervals and the thresholds' limits. Both axes
    are logarithmic.
    """
    plan = capacity.plan
    waits = {
        "p50": [level.latency_p50 for level in levels],
        "p95": [level.latency_p95 for level in levels],
    }
    ends = [
        end
        for values in waits.values()
        for wait in values
        for end in (wait.value, wait.low, wait.high)
    ]
    thresholds = requested_thresholds(plan.thresholds)
    limits = [
        threshold.limit or 0.0
        for threshold in thresholds
        if threshold.metric == plan.metric and threshold.about.scale != "points"
    ]
    low, high = log_range([*ends, *limits])
    scale = partial(log_scale, low, high)
    ticks = log_ticks(low, high, 6)
    return _chart(capacity, levels, plan.metric or MAIN, waits, scale, ticks, ms, limits)


def failure_chart(capacity: CapacityDocument, levels: Sequence[LevelEntry]) -> Plot:
    """Draw the share of failed turns over the load."""
    rates = [level.failure_rate for level in levels]
    top = max((end for rate in rates for end in (rate.value, rate.high) if end > 0), default=0.01)
    scale = partial(PixelScale, identity, 0.0, min(1.0, top * 1.05))
    ticks = linear_ticks(0.0, min(1.0, top), 5)
    return _chart(capacity, levels, "Failures", {"failed": rates}, scale, ticks, share_percent)


def _chart(
    capacity: CapacityDocument,
    levels: Sequence[LevelEntry],
    subject: str,
    series: Mapping[str, Sequence[Value]],
    scale: Callable[[float, float], PixelScale],
    ticks: Sequence[float],
    write: Write,
    limits: Sequence[float] = (),
) -> Plot:
    """Draw values over the load, with limits as lines, and a band: from the highest load that
    passes to the lowest one that fails, or the range of the ramps. `scale` is that of the values,
    for the first and the last pixel of the axis.
    """
    description = "; ".join(
        f"{concurrent(level.load)}: {result_word(level)}, p50"
        f" {_value(level.latency_p50, ms)}, p95 {_value(level.latency_p95, ms)},"
        f" {_value(level.failure_rate, share_percent)} failed"
        for level in levels
    )
    plot = Plot(
        WIDE,
        HEIGHT,
        list(enumerate(series)),
        left=64,
        right=24,
        top=18,
        title=f"{subject} over {CALLS}",
        desc=description,
    )
    loads = [level.load for level in levels]
    x = log_scale(min(loads) / 1.2, max(loads) * 1.2, plot.x0, plot.x1)
    both = capacity.highest_pass, capacity.lowest_fail
    if None in both:
        numbers = capacity.estimate.numbers
        both = numbers.get("low"), numbers.get("high")
    ends = [end for end in both if end]  # without a load of 0, which the axis has not
    marked = list[float]()
    for load in (*ends, *loads):
        if all(abs(x(load) - x(tick)) >= MIN_TICK_DISTANCE_PX for tick in marked):
            marked.append(load)
    plot.x_axis(x, sorted(marked), count, CALLS)
    y = scale(plot.y0, plot.y1)
    plot.y_axis(y, ticks, write)
    if len(ends) == 2:
        lower, upper = ([(x(end), pixel) for end in ends] for pixel in (plot.y0, plot.y1))
        plot.band(lower, upper, "band s0")
    for limit in limits:
        plot.line(plot.x0, y(limit), plot.x1, y(limit), "zero")
        plot.text(plot.x1, y(limit) - 4, f"limit {write(limit)}", "label", "end")
    for colour, values in enumerate(series.values()):
        _curve(plot, x, y, colour, list(zip(levels, values, strict=True)), write)
    return plot


def _curve(
    plot: Plot,
    x: PixelScale,
    y: PixelScale,
    colour: int,
    points: Sequence[tuple[LevelEntry, Value]],
    write: Write,
) -> None:
    """Draw a line through the parts of the ramps, and a marker for each level."""
    markers = []
    for level, at in points:
        if math.isfinite(at.value):
            ends = (y.clip(at.low), y.clip(at.high)) if math.isfinite(at.low) else None
            tip = f"{_named(level)}, {result_word(level)}: {_with_ends(at, write)}"
            is_ramp = level.result is None
            markers.append(
                LoadPoint(
                    x(level.load), y.clip(at.value), level.result == "pass", tip, ends, is_ramp
                )
            )
    draw_curve(plot, colour, markers)
