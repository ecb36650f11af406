"""The display of a search: line by line in a terminal of 100 columns, and as a page with two
charts and tables.
"""

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from reports.formatting import (
    NBSP,
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
from reports.render.blocks import SIMULATED, Block, Code, Line, Page, Paragraph, Section, table
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
from reports.results.value import Finding, Reason, Value
from reports.text.phrases import as_sentence
from reports.text.verdicts import NOT_SHOWN
from rtbench.capacity.load_thresholds import allowed_share
from rtbench.capacity.search import (
    CapacityDocument,
    LevelEntry,
    SearchPlan,
    allowed_by,
    min_level_s,
    min_time_s,
)
from rtbench.capacity.text import UNITS, headline_parts, reason_text, result_word, unit
from rtbench.load_search import SYMBOLS, LoadPoint, draw_curve, head_row, row

COLUMNS = 100
HEADS = (
    ("level", 11),
    ("result", 15),
    ("calls", 7),
    ("turns", 8),
    ("p50", 7),
    ("p95", 7),
    ("failed", 8),
)
SHARE = 27
TOOK = 8


def opening(plan: SearchPlan, folder: str, costs: Sequence[str] = ()) -> list[str]:
    budget = "" if plan.budget_usd is None else f" and {usd(plan.budget_usd)}"
    thresholds = " and ".join(plan.thresholds)
    passes = "pass" if len(plan.thresholds) > 1 else "passes"
    if plan.first == plan.max:
        purpose = f"tests whether {thresholds} {passes} at {unit(plan.by, plan.first)}"
    else:
        limits = f"from {count(plan.first)} up to {count(plan.max)}, to within {plan.precision:.0%}"
        purpose = (
            f"finds the highest number of {UNITS[plan.by][1]} at which {thresholds} {passes},"
            f" {limits}"
        )
    min_s = min_time_s(plan)
    short = (
        f"levels of {format_duration(min_level_s(plan))} until the time ends: an answer needs"
        f" {format_duration(min_s)} or more, and `--quick` gives a rough one"
    )
    sure = (
        f"the answer is wrong in at most {plan.error:.0%} of searches, over all levels and analyses"
        " together"
    )
    lines = [
        purpose,
        f"up to {plural(plan.max_levels, 'level')} and a longer run, in"
        f" {format_duration(plan.time_s)}{budget}".replace(NBSP, " "),
        short if plan.time_s < min_s else sure,
        *costs,
    ]
    return opening_lines(lines, folder)


def opening_lines(texts: Sequence[str], folder: str) -> list[str]:
    """Return what is printed before a search: these texts, then the place of its report."""
    lines = [line for text in texts for line in wrapped(text, "")]
    return [*lines, f"the report will be {folder}/capacity.html"]


def level_heads(plan: SearchPlan) -> str:
    """Return the column heads for the lines of levels. The columns p50 and p95 are in ms."""
    allowed = list(map(allowed_share, requested_thresholds(plan.thresholds)))
    missed = (
        f"violations (max {_percents(allowed[0])} %)"
        if len(allowed) == 1
        else "worst violations, max"
    )
    return head_row(HEADS) + missed.rjust(SHARE + 2) + "time".rjust(TOOK)


def level_lines(level: LevelEntry) -> list[str]:
    """Return the lines of a level: its values, the share of its worst threshold, and its reason."""
    waits = [_value(wait, format_number) for wait in (level.latency_p50, level.latency_p95)]
    load = f"{'confirm ' if level.confirmation_run else ''}{count(level.load)}"
    result = _result(level).replace(NBSP, " ")
    counts = (count(level.sessions), count(level.turns))
    cells = [load, result, *counts, *waits, as_percent(level.failure_rate)]
    worst = max(
        level.violations, key=lambda share: share.value.high / allowed_by(share), default=None
    )
    allowed = (
        ""
        if worst is None or len(level.violations) == 1
        else f" of {_percents(allowed_by(worst))} %"
    )
    missed = NONE if worst is None else share_text(worst) + (allowed if worst.value.n else "")
    line = (
        row(cells, HEADS)
        + missed.rjust(SHARE + 2)
        + format_duration(level.duration_s).replace(NBSP, " ").rjust(TOOK)
    )
    return [line, *wrapped(reason_text(level.why), "    ")]


def share_text(share: Finding) -> str:
    if not share.value.n:
        return NONE
    value, low, high = map(_percents, (share.value.value, share.value.low, share.value.high))
    return f"{value} % ({low} to {high} %)"


def _percents(share: float) -> str:
    return format_number(float(f"{100 * share:.2g}"))


def as_percent(interval: Value) -> str:
    return _value(interval, lambda share: percent(share, 1).replace(NBSP, " "))


def _value(interval: Value, write: Write) -> str:
    return write(interval.value) if math.isfinite(interval.value) else NONE


def closing_lines(capacity: CapacityDocument) -> list[str]:
    """Return the lines of the result: the answer, then the notes. A command has its own line, to
    be pasted.
    """
    lines = wrapped(as_sentence("; ".join(headline_parts(capacity))), "")
    for note in capacity.notes:
        lines += wrapped(reason_text(note), "  ", first="· ")
        if command := note.numbers.get("command"):
            lines.append(f"  {command}")
    return lines


def wrapped(text: str, indent: str, first: str = "") -> list[str]:
    return textwrap.wrap(
        text.replace(NBSP, " "),
        COLUMNS,
        initial_indent=first or indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


HEIGHT = 300
MAIN = "the main metric"
LEVELS = (
    "level",
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
SHARES = ("threshold", "level", "violations", "allowed", "turns", "slow", "failed", "throttled")
LATENCIES = (
    "with 95 % intervals by session, of the most frequent kind of turns. Horizontal lines are the"
    " thresholds. Hollow marks: levels that did not pass. The band contains the breaking point."
)


def capacity_page(capacity: CapacityDocument) -> Page:
    plan = capacity.plan
    answer, *details = headline_parts(capacity)
    levels = sorted(capacity.levels, key=lambda level: (level.load, level.confirmation_run))
    spent = format_duration(sum(level.duration_s for level in levels))
    method = f"{plural(len(levels), 'level')} in {spent}"
    if capacity.estimate is None:
        method += f" (at most {plan.max_levels} and a longer run in {format_duration(plan.time_s)})"
    if capacity.highest_pass is not None or capacity.lowest_fail is not None:
        chance = percent(plan.error, 1)
        method += "; verdicts by intervals between sessions, with a probability of error of "
        method += f"at most {chance} over all levels and interim analyses together"
    facts = f"{capacity.date_utc} · {capacity.scenario} · {capacity.target}"
    lines = [_level(level) for level in levels]
    known = [index for index, _ in enumerate(LEVELS) if any(line[index] != NONE for line in lines)]
    levels_table = table(
        [LEVELS[index] for index in known],
        [[line[index] for index in known] for line in lines],
        caption="95 % intervals in brackets",
    )
    thresholds = table(SHARES, _shares(levels))
    plotted = [level for level in levels if level.turns]
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
            *(Paragraph(as_sentence(detail), "lead") for detail in details),
            *map(_note, capacity.notes),
            Paragraph(f"{method}."),
            Paragraph(facts, "meta"),
        ],
        sections=[
            Section("answer", "Latency by load level", "What is the latency at each load?", waits),
            Section("failures", "Failures by load level", "What fails at each load?", failed),
            Section("levels", "Load levels", "What did each level show?", [levels_table]),
            Section(
                "thresholds",
                "Threshold results by level",
                "Which thresholds pass at each level?",
                [thresholds],
            ),
        ],
    )


def _note(note: Reason) -> Block:
    text = as_sentence(reason_text(note))
    command = note.numbers.get("command")
    return Paragraph((text.removesuffix("."), " ", Code(command)) if command else text, "lead")


def _level(level: LevelEntry) -> Line:
    left = ", ".join(
        f"{name} {percent(remaining, 1)}" for name, remaining in level.rate_limits_remaining.items()
    )
    return [
        _named(level),
        ": ".join(filter(None, (_result(level), reason_text(level.why)))),
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


def _named(level: LevelEntry) -> str:
    return f"{count(level.load)}{' (confirmation run)' if level.confirmation_run else ''}"


def _result(level: LevelEntry) -> str:
    return f"{SYMBOLS[level.result][0]}{NBSP}{result_word(level)}"


def _shares(levels: Sequence[LevelEntry]) -> list[Line]:
    shares = [(share, level) for level in levels for share in level.violations]
    thresholds = list(dict.fromkeys(share.threshold for share, _ in shares))
    return [
        [
            share.threshold,
            _named(level),
            share_text(share),
            percent(allowed_by(share), 1),
            *map(count, (share.value.n, *level.causes(share).values())),
        ]
        for share, level in sorted(shares, key=lambda pair: thresholds.index(pair[0].threshold))
    ]


def _with_ends(interval: Value, write: Write) -> str:
    if not math.isfinite(interval.value):
        return f"{NOT_SHOWN} ({reason_text(interval.reason)})" if interval.reason else NONE
    low, high = (
        write(end) if math.isfinite(end) else NONE for end in (interval.low, interval.high)
    )
    return f"{write(interval.value)} ({low}–{high})"


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
    write = partial(percent, total=1)
    return _chart(capacity, levels, "Failures", {"failed": rates}, scale, ticks, write)


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
    """Draw values over the load, with limits as lines, and a band: the range of a quick search, or
    from the highest load that passes to the lowest one that fails. `scale` is that of the values,
    for the first and the last pixel of the axis.
    """
    unit_name = UNITS[capacity.plan.by][1]
    description = "; ".join(
        f"{unit(capacity.plan.by, level.load)}: {result_word(level)}, p50"
        f" {_value(level.latency_p50, ms)}, p95 {_value(level.latency_p95, ms)},"
        f" {as_percent(level.failure_rate)} failed"
        for level in levels
    )
    plot = Plot(
        WIDE,
        HEIGHT,
        list(enumerate(series)),
        left=64,
        right=24,
        top=18,
        title=f"{subject} over {unit_name}",
        desc=description,
    )
    loads = [level.load for level in levels]
    x = log_scale(min(loads) / 1.2, max(loads) * 1.2, plot.x0, plot.x1)
    quick = capacity.estimate.numbers if capacity.estimate else {}
    both = quick.get("low", capacity.highest_pass), quick.get("high", capacity.lowest_fail)
    ends = [end for end in both if end]  # without a load of 0, which the axis has not
    marked = list[float]()
    for load in (*ends, *loads):
        if all(abs(x(load) - x(tick)) >= MIN_TICK_DISTANCE_PX for tick in marked):
            marked.append(load)
    plot.x_axis(x, marked, count, unit_name)
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
    """Draw a line through the levels. If one ran twice, the line goes through the second run, which
    was longer.

    The marker of the confirmation run is slightly to the right of its load.
    """
    markers = []
    later = {
        level.load: level
        for level, at in points
        if not level.confirmation_run and math.isfinite(at.value)
    }
    for level, at in points:
        if math.isfinite(at.value):
            ends = (y.clip(at.low), y.clip(at.high)) if math.isfinite(at.low) else None
            run_note = ", the confirmation run" if level.confirmation_run else ""
            tip = f"{count(level.load)}{run_note}, {result_word(level)}: {_with_ends(at, write)}"
            across = x(level.load) + (6 if level.confirmation_run else 0)
            joined = level is later.get(level.load)
            markers.append(
                LoadPoint(
                    across, y.clip(at.value), level.result == "pass", tip, ends, is_connected=joined
                )
            )
    draw_curve(plot, colour, markers)
