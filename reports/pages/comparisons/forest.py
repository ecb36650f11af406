"""Two kinds of plots of differences: forest plots with margins, one for each `ForestPanel`, and
plots by percentile.
"""

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Literal

from bench.catalogue.metrics import SLOPE
from reports.analysis.comparisons.comparison import Comparison
from reports.analysis.comparisons.measurements import RatioCurve
from reports.formatting import NBSP, change, excerpt, format_number, join_present, nines
from reports.metrics.metric_spec import MetricSpec
from reports.render.markers import COLOURS, colour_class, marker_char
from reports.render.svg import (
    LETTER,
    WIDE,
    PixelScale,
    Plot,
    clean,
    linear_ticks,
    log_scale,
)
from reports.results.value import Scale
from reports.statistics.differences import LEVEL, Difference
from reports.text.comparison_rows import ComparisonRow, is_lower
from reports.text.comparison_sentences import interval_text
from reports.text.definitions import definition
from reports.text.phrases import interval

Axis = Literal["lower", "higher", "points", "more points", "slope"]
TITLES: dict[Axis, str] = {
    "lower": "Latencies, in percent",
    "higher": "Metrics of which more is better, in percent",
    "points": "Rates, in percentage points",
    "more points": "Rates of which more is better, in percentage points",
    "slope": f"Growth of latency with the conversation, in {SLOPE}",
}
LINEAR: tuple[Axis, ...] = ("points", "more points", "slope")
HIGHER: tuple[Axis, ...] = ("higher", "more points")


@dataclass(frozen=True)
class ForestPanel:
    """The rows that share an axis. They are in the order of the comparisons, grouped by candidate.

    Ratios have two panels: one for metrics of which less is better, and one for metrics of which
    more is better. Rates, whose differences are percentage points, have two such panels too. Slopes
    have one panel. `colours` are the colours of the targets.
    """

    axis: Axis
    rows: tuple[ComparisonRow, ...]
    level: float = LEVEL
    colours: Mapping[str, int] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return TITLES[self.axis]


def colours_of(comparison: Comparison) -> dict[str, int]:
    """Return the colour of each target: its number among the targets."""
    return {target.label: index for index, target in enumerate(comparison.targets)}


def panels(comparison: Comparison) -> tuple[ForestPanel, ...]:
    """Return the panels of a comparison. Panels without rows are left out."""
    colours = colours_of(comparison)
    level = comparison.method.level
    usable = not comparison.failed_checks
    ordered = sorted(comparison.comparisons, key=lambda compared: colours.get(compared.target, 0))
    rows = [ComparisonRow(compared, usable) for compared in ordered]
    by_axis = {
        axis: tuple(r for r in rows if axis_of(r.comparison.spec) == axis) for axis in TITLES
    }
    return tuple(ForestPanel(axis, mine, level, colours) for axis, mine in by_axis.items() if mine)


def panels_of(all_panels: Iterable[ForestPanel], *, primary: bool) -> tuple[ForestPanel, ...]:
    """Return the panels with only primary, or only secondary, rows. Panels without such rows are
    left out.
    """
    rows = (
        (panel, tuple(row for row in panel.rows if row.comparison.spec.primary == primary))
        for panel in all_panels
    )
    return tuple(replace(panel, rows=mine) for panel, mine in rows if mine)


def axis_of(spec: MetricSpec) -> Axis:
    """Return the axis on which a metric spec is plotted."""
    axes: dict[Scale, tuple[Axis, Axis]] = {
        "points": ("points", "more points"),
        "ratio": ("lower", "higher"),
        "slope": ("slope", "slope"),
    }
    return axes[spec.scale][not is_lower(spec)]


PERCENT = (
    -90,
    -80,
    -70,
    -60,
    -50,
    -40,
    -30,
    -20,
    -10,
    -5,
    5,
    10,
    15,
    20,
    30,
    40,
    50,
    60,
    80,
    100,
    150,
    200,
    300,
    400,
)
"""The possible ticks of the axis of ratios, in percent. A tick that is too close to another one
is left out."""
MAX_PERCENT = math.log(5)
"""The maximum of the axis of ratios. An interval that extends beyond it is truncated and ends in
an arrow."""
LEFT = 316
RIGHT = 356
HEAD = 34
FOOT = 26
GROUP = 30
PITCH = 44
NARROW = 360
NARROW_PITCH = 96
NARROW_EDGE = 8
"""The layout on a phone: the width, the height of a row, and the left and right edges, in pixels.

The name and the verdict are above each bar. Both values, the difference, and then the reason are
below it.
"""
NAMED = 30
"""The minimum distance in pixels between "same" and an end of the axis, so that the direction of
this end has a label.
"""
NAME_LETTER = 7.6
VALUE_LETTER = 6.9
"""The mean width of a letter in a row's name and in its values, in pixels."""
MAX_REASON_CHARACTERS = 38
NARROW_LONGEST = 50
LINE = 15
"""The maximum number of characters in a line of a reason: below a verdict, and on a phone. LINE is
the height of a line."""


def forest(panel: ForestPanel, *, narrow: bool = False) -> Plot:
    """Plot a row for each metric, with its verdict. Each end of an interval is a one-sided bound.

    The estimate is a dot, the interval is a line, and the margin is a zone that ends in a line.
    """

    def pitch(row: ComparisonRow) -> int:
        lines = len(_reason_lines(row, narrow=narrow))
        return NARROW_PITCH + LINE * lines if narrow else PITCH + LINE * max(0, lines - 1)

    groups = [
        (name, list(rows))
        for name, rows in groupby(panel.rows, key=lambda row: row.comparison.target)
    ]
    titled = GROUP * len(groups) if len(groups) > 1 else 0
    plot = Plot(
        NARROW if narrow else WIDE,
        HEAD + titled + sum(map(pitch, panel.rows)) + FOOT,
        left=NARROW_EDGE if narrow else LEFT,
        right=NARROW_EDGE if narrow else RIGHT,
        top=HEAD,
        bottom=FOOT,
        title="Differences with their margins" + (", narrow" if narrow else ""),
        desc="; ".join(
            (f"{row.comparison.target}, " if len(groups) > 1 else "")
            + f"{row.name}: {row.change_text}, margin {row.margin_text}, {row.outcome}"
            for row in panel.rows
        )
        + ".",
    )
    low, high = ends(panel)
    x = plot.along_x(low, high)
    _axis(plot, x, panel.axis)
    if not narrow:
        plot.text(LEFT - 22, plot.y1 - 10, "baseline → candidate", "lab", "end")
        plot.text(
            plot.x1 + 22, plot.y1 - 10, f"difference ({interval_text(panel.level)} interval)", "lab"
        )
        plot.text(plot.w, plot.y1 - 10, "verdict", "lab", "end")
    top = float(plot.y1)
    for name, rows in groups:
        if titled:
            plot.line(0, top, plot.w, top, "grid")
            colour = panel.colours.get(name, 1)
            marked = f"{marker_char(colour)} {excerpt(name, 40)}"
            plot.text(0, top + 20, marked, f"dl {colour_class(colour, 't')}")
            top += GROUP
        for row in rows:
            plot.line(0, top, plot.w, top, "grid")
            _bar_with_margin(
                plot, row, x, panel.axis, top + (NARROW_PITCH - 14 if narrow else PITCH) / 2
            )
            (_texts_around if narrow else _texts)(plot, row, top)
            top += pitch(row)
    return plot


def ends(panel: ForestPanel) -> tuple[float, float]:
    """Return the ends of the axis. The axis contains all margins and all dots, but not all
    intervals.

    It contains the intervals of primary metrics and of conclusive metrics. The interval of a
    secondary, inconclusive metric, such as a p99 of few turns, is truncated if it would make the
    other intervals too short to read.
    """
    axis_rows = [
        row
        for row in panel.rows
        if row.comparison.spec.primary or row.verdict_name != "inconclusive"
    ]
    dots = [row.ends[0] for row in panel.rows if math.isfinite(row.ends[0])]
    deciding = [abs(row.ends[0]) for row in axis_rows if math.isfinite(row.ends[0])]
    bounds = [end for row in axis_rows for end in row.ends[1:] if math.isfinite(end)]
    max_margin = max(row.margin for row in panel.rows) or (0.5 if panel.axis in LINEAR else 0.05)
    limit = max(3 * max_margin, 1.6 * max(deciding, default=0.0))
    limit = limit if panel.axis in LINEAR else min(limit, MAX_PERCENT)
    low = max(min([*bounds, *dots, -1.2 * max_margin]), -limit)
    high = min(max([*bounds, *dots, 1.2 * max_margin]), limit)
    padding = 0.04 * (high - low)
    return low - padding, high + padding


def _axis(plot: Plot, x: PixelScale, axis: Axis) -> None:
    """Plot the ticks, the label "same" at 0, and the labels of the better and the worse
    direction.
    """
    for value, text in _ticks(x, axis, 56):
        plot.line(x(value), plot.y1, x(value), plot.y0, "grid")
        half = LETTER * len(text) / 2 + 3  # a percent sign is wider than a letter
        plot.text(min(max(x(value), half), plot.w - half), plot.y0 + 17, text, "tick", "middle")
    plot.text(x(0), plot.y0 + 17, "same", "tick", "middle")
    labels = ("← worse", "better →") if axis in HIGHER else ("← better", "worse →")
    if x(0) - plot.x0 > NAMED:
        plot.text(x(0) - 8, plot.y1 - 10, labels[0], "lab", "end")
    if plot.x1 - x(0) > NAMED:
        plot.text(x(0) + 8, plot.y1 - 10, labels[1], "lab")


def _ticks(x: PixelScale, axis: Axis, min_distance: float) -> list[tuple[float, str]]:
    """Return round changes with their texts, at least `min_distance` pixels from each other and
    from "same".
    """
    if axis in LINEAR:
        values: Iterable[float] = linear_ticks(
            x.low, x.high, max(2, int((x.end - x.start) / min_distance))
        )
        all_ticks = [(value, f"{format_number(abs(value))}", value) for value in values]
    else:
        all_ticks = [
            (math.log1p(percent / 100), f"{abs(percent)}{NBSP}%", percent) for percent in PERCENT
        ]
    ticks: list[tuple[float, str]] = []
    for sign in (-1, 1):
        last = x(0)
        for value, text, signed in sorted(
            (n for n in all_ticks if n[2] * sign > 0), key=lambda n: abs(n[0])
        ):
            if x.low <= value <= x.high and abs(x(value) - last) >= min_distance:
                ticks.append((value, f"{'−' if signed < 0 else '+'}{text}"))
                last = x(value)
    return sorted(ticks)


def _bar_with_margin(
    plot: Plot, row: ComparisonRow, x: PixelScale, axis: Axis, middle: float
) -> None:
    zone = x.clip(-row.margin), x.clip(row.margin)
    plot.rect(zone[0], middle - 11, zone[1] - zone[0], 22, "margin", f"margin {row.margin_text}")
    margin_x = x.clip(-row.margin if axis in HIGHER else row.margin)
    plot.line(margin_x, middle - 14, margin_x, middle + 14, "marginline")
    plot.line(x(0), middle - 14, x(0), middle + 14, "zero")
    d, low, high = row.ends
    if math.isnan(d):
        return
    ink = f"v-{row.verdict_name.replace(' ', '-')}"
    plot.line(x.clip(low), middle, x.clip(high), middle, f"ci {ink}")
    for end, beyond, tip in ((x(x.low), low < x.low, 7), (x(x.high), high > x.high, -7)):
        if beyond:  # beyond the axis
            plot.path(
                [(end + tip, middle - 6), (end, middle), (end + tip, middle + 6)], f"ci {ink} arrow"
            )
    if x.low <= d <= x.high:
        plot.dot(x(d), middle, "circle", f"dotv {ink}", 5.5, f"{row.name}: {row.short}")


def _texts(plot: Plot, row: ComparisonRow, top: float) -> None:
    """Add the texts of a bar: its name and both values on the left, its difference and its
    verdict on the right.
    """
    middle = top + PITCH / 2
    cls = f"dl w-{row.verdict_name.replace(' ', '-')}"
    measured = _measured(row)
    upper = middle + (-2 if row.note else 4)
    plot.add(f"<g><title>{clean(definition(row.comparison.spec.metric))}</title>")  # shown on hover
    room = LEFT - 26 - VALUE_LETTER * len(measured)
    plot.text(0, upper, excerpt(row.name, min(27, int(room / NAME_LETTER))), "rowlab")
    plot.add("</g>")
    plot.text(0, middle + 13, row.note, "tiny")
    plot.text(LEFT - 22, upper, measured, "num", "end")
    plot.text(plot.x1 + 22, middle - 2, row.short, "num")
    plot.text(plot.x1 + 22, middle + 13, f"margin {row.margin_text}", "tiny")
    lines = _reason_lines(row)
    plot.text(plot.w, middle + (-2 if lines else 4), row.signed, cls, "end")
    for index, line in enumerate(lines):
        plot.text(plot.w, middle + 13 + LINE * index, line, "tiny", "end")


def _texts_around(plot: Plot, row: ComparisonRow, top: float) -> None:
    """Add the name and the verdict above the bar. Add the values, difference, margin and reason
    below it.
    """
    plot.text(0, top + 18, excerpt(row.name, 24), "rowlab")
    plot.text(plot.w, top + 18, row.signed, f"dl w-{row.verdict_name.replace(' ', '-')}", "end")
    plot.text(0, top + 71, _measured(row), "num")
    plot.text(plot.w, top + 71, row.short, "num", "end")
    plot.text(0, top + 87, join_present(", ", f"margin {row.margin_text}", row.note), "tiny")
    for index, line in enumerate(_reason_lines(row, narrow=True), start=1):
        plot.text(0, top + 87 + LINE * index, line, "tiny")


def _reason_lines(row: ComparisonRow, *, narrow: bool = False) -> list[str]:
    """Return the lines below a verdict: `provisional`, and the reason or, for "equivalent", the
    margin.
    """
    text = join_present(
        "; ", "provisional" if row.is_doubted else "", row.reason or row.within.strip(" ()")
    )
    return textwrap.wrap(text, NARROW_LONGEST if narrow else MAX_REASON_CHARACTERS)


def _measured(row: ComparisonRow) -> str:
    """Return the values of both targets as text. The unit of a slope is left out, because the
    axis has it.
    """
    return row.measured.removesuffix(f"{NBSP}{SLOPE}")


def reading_guide(panels: Sequence[ForestPanel]) -> str:
    """Return sentences that explain the bars."""
    rows = [row for panel in panels for row in panel.rows]
    bound = f"{format_number(100 * (1 - panels[0].level))}{NBSP}%"
    parts = [
        f"Bar: {interval_text(panels[0].level)} interval of the difference, so each end is a"
        f" one-sided {bound} bound. Grey zone: the margin, which is accepted. A bar wholly beyond"
        " the dashed line has regressed; one that ends before it has not."
    ]
    if any(
        not math.isfinite(end)
        for row in rows
        if not math.isnan(row.ends[0])
        for end in row.ends[1:]
    ):
        parts.append("Arrow: the interval is unbounded there, or extends beyond the axis.")
    if any(row.after_holm for row in rows):
        parts.append(
            "(Holm): beyond the line, but not after the correction for several primary metrics."
        )
    return " ".join(parts)


MAX_RATIO = 8.0
"""The maximum multiple on the axis of multiples. The minimum is 1 / MAX_RATIO."""
RATIOS = (0.125, 0.25, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.05, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 8.0)


def curves_sentence(ratios: Sequence[RatioCurve]) -> str:
    """Return a sentence such as `p50 −1 %, largest difference +102 % at p97.`, with a part for
    each candidate.
    """
    texts = []
    for ratio in ratios:
        finite = [
            k for k, difference in enumerate(ratio.differences) if math.isfinite(difference.d)
        ]
        if finite:
            top = max(finite, key=lambda k: abs(ratio.differences[k].d))
            middle = ratio.at(0.5)
            parts = (
                [f"p50 {change(math.exp(middle.d))}"] if middle and math.isfinite(middle.d) else []
            )
            parts.append(
                f"largest difference {change(math.exp(ratio.differences[top].d))} at"
                f" {_name(ratio.ps[top])}"
            )
            whose = f"{ratio.candidate}: " if len(ratios) > 1 else ""
            texts.append(whose + ", ".join(parts))
    return f"{'; '.join(texts)}." if texts else ""


def by_percentile(ratios: Sequence[RatioCurve], metric: str) -> Plot:
    """Plot the candidates' quantiles as multiples of the baseline's, over the percentiles on a
    log scale of 1 − p.
    """
    plot = Plot(
        WIDE,
        304,
        [(ratio.colour, excerpt(ratio.candidate)) for ratio in ratios],
        left=58,
        right=16,
        title=f"Difference of {metric} by percentile",
        desc=(
            "Candidate compared with baseline at each percentile, with intervals."
            f" {curves_sentence(ratios)}"
        ),
    )
    last = max(p for ratio in ratios for p in ratio.ps)
    x = PixelScale(nines, 0.0, last, plot.x0, plot.x1)
    y = log_scale(*ratio_ends(ratios), plot.y0, plot.y1)
    ticks = [p for p in (0.0, 0.5, 0.9, 0.99, 0.999) if p <= last]
    plot.x_axis(
        x, ticks, lambda p: "min" if not p else f"p{p * 100:g}", "percentile (log scale)", grid=True
    )
    # round multiples, not too close to each other or to "same"
    multiples = [1.0]
    for value in sorted(RATIOS, key=lambda ratio: abs(math.log(ratio)), reverse=True):
        if y.low <= value <= y.high and all(abs(y(value) - y(other)) >= 24 for other in multiples):
            multiples.append(value)
    plot.y_axis(y, sorted(multiples[1:]), lambda ratio: change(ratio))
    plot.line(plot.x0, y(1), plot.x1, y(1), "zero")
    plot.text(plot.x0 - 6, y(1) + 4, "same", "tick", "end")
    for ratio in ratios:
        cls = colour_class(ratio.colour)
        points = [
            (p, difference)
            for p, difference in zip(ratio.ps, ratio.differences, strict=True)
            if not math.isnan(difference.d)
        ]
        if len(ratios) < COLOURS:
            lower = [(x(p), y.clip(_multiple(difference.low))) for p, difference in points]
            plot.band(
                lower,
                [(x(p), y.clip(_multiple(difference.high))) for p, difference in points],
                f"band {cls}",
            )
        finite = [
            (x(p), y.clip(_multiple(difference.d)))
            for p, difference in points
            if math.isfinite(difference.d)
        ]
        plot.path(finite, f"curve {cls}{' again' if ratio.colour >= COLOURS else ''}")
    ps = sorted({p for ratio in ratios for p in ratio.ps})
    lines = [
        (r.candidate, {p: in_words(d) for p, d in zip(r.ps, r.differences, strict=True)})
        for r in ratios
    ]
    plot.read_lines([(p, x(p), _name(p)) for p in ps], lines)
    return plot


def ratio_ends(ratios: Sequence[RatioCurve]) -> tuple[float, float]:
    """Return the ends of the axis of multiples, which contains all lines, and their bands unless
    these are too wide.
    """
    points = [d for ratio in ratios for d in ratio.differences]
    lines = [d.d for d in points if math.isfinite(d.d)] or [0.0]
    limit = min(max(2.5 * max(map(abs, lines)), math.log(1.25)), math.log(MAX_RATIO))
    bands = [end for d in points for end in (d.low, d.high) if not math.isnan(end)]
    low = max(min([*bands, -0.1]), -limit)
    high = min(max([*bands, 0.1]), limit)
    return math.exp(low - 0.03), math.exp(high + 0.03)


def _multiple(d: float) -> float:
    return math.exp(min(max(d, -50.0), 50.0))


def in_words(difference: Difference) -> str:
    """Return a difference as text, such as `+65 % (+47 to +87 %)`. An infinite difference is
    written as `failed`.
    """
    if math.isnan(difference.d):
        return "failed in both"
    middle = change(math.exp(difference.d)) if math.isfinite(difference.d) else "failed"
    return (
        f"{middle} ({interval(difference.low, difference.high, lambda end: change(math.exp(end)))})"
    )


def _name(p: float) -> str:
    return f"p{p * 100:.0f}" if p < 0.9 else f"p{p * 100:.3g}" if p < 0.99 else f"p{p * 100:.4g}"
