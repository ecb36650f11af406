"""The scales, axes, and markers of the SVG plots of a page.

There is no chart library. In headless Chromium, a page with our SVG was 0.4 MB and loaded in 0.1 s.
With plotly, it was 4.8 MB and loaded in 1.3 to 2 s, and a keyboard or a screen reader could not
reach its plots. CI artifacts, mail, and print run no script. No chart library has an axis of nines
with room for failed turns.

Colours are CSS classes, so that one drawing serves both themes: `s0` to `s3` for strokes and fills,
`t0` to `t3` for texts. A plot is drawn once. On a phone, its text keeps its size, and the plot is
scrolled.
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from html import escape
from typing import Any, TypeVar

from markupsafe import Markup

from reports.formatting import count, excerpt, instant, ms, nice, time_step
from reports.render.blocks import Drawing, Figure, Inline
from reports.render.markers import colour_class, marker_char

WIDE = 1080
"""The width of figures in pixels."""
FAILED_BAND = 12
"""The height of the band for failed turns at the top of a plot."""
LEGEND_PITCH = 16
LEGEND_LETTERS = 32
LEGEND_LEFT = 56
LEGEND_RIGHT = 356
"""The ends of a legend, in pixels. A phone shows all of it."""
LETTER = 7.2
"""The maximum width of a letter in the label of a tick, in pixels."""
Point = tuple[float, float]
Write = Callable[[float], str]
Stop = TypeVar("Stop")
LegendEntry = tuple[int, str]
"""An entry of a legend: the number of the target, and its name."""
_FORBIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")


def clean(text: object) -> str:
    """Return a text escaped for XML, without the characters that XML forbids."""
    return escape(_FORBIDDEN.sub("", str(text)))


def identity(value: float) -> float:
    return value


class PixelScale:
    """A map from values to pixels. Each value is transformed by `f`, then scaled linearly."""

    def __init__(
        self, f: Callable[[float], float], low: float, high: float, start: float, end: float
    ) -> None:
        self.f = f
        self.a = f(low)
        self.b = f(high)
        self.start = start
        self.end = end
        self.low = low
        self.high = high

    def __call__(self, value: float) -> float:
        return self.start + (self.f(value) - self.a) / (self.b - self.a) * (self.end - self.start)

    def clip(self, value: float) -> float:
        """Return the pixel of a value, or of the end that it lies beyond."""
        return self(min(max(value, self.low), self.high))


def log_scale(low: float, high: float, start: float, end: float) -> PixelScale:
    return PixelScale(math.log10, low, high, start, end)


def log_ticks(low: float, high: float, max_ticks: int = 7) -> list[float]:
    """Return round numbers between the ends of a logarithmic axis."""
    decades = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    ticks: list[float] = []
    for mantissas in (
        (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9),
        (1, 1.5, 2, 3, 5, 7),
        (1, 2, 5),
        (1, 3),
        (1,),
    ):
        ticks = [m * 10.0**d for d in decades for m in mantissas if low <= m * 10.0**d <= high]
        if len(ticks) <= max_ticks:
            return ticks
    return ticks[:: math.ceil(len(ticks) / max_ticks)]


def linear_ticks(low: float, high: float, max_steps: int = 6) -> list[float]:
    """Return equidistant round numbers between the ends, with at most `max_steps` steps."""
    step = nice((high - low) / max_steps)
    first = math.ceil(low / step - 1e-9)
    return [step * k for k in range(first, math.floor(high / step + 1e-9) + 1)]


def even_ticks(length: float, step: float) -> list[float]:
    """Return the ticks 0, step, 2 · step, … that are not beyond `length`."""
    return [step * k for k in range(int(length / step + 1e-9) + 1)]


class Plot:
    """A drawing to which elements are added. `named` is the legend, whose rows increase `h` and
    `top`.
    """

    def __init__(
        self,
        w: int,
        h: int,
        named: Sequence[LegendEntry] = (),
        *,
        left: int,
        right: int,
        top: int = 10,
        bottom: int = 42,
        title: str,
        desc: str = "",
    ) -> None:
        entries = [
            (target, f"{marker_char(target)} {excerpt(name, LEGEND_LETTERS)}")
            for target, name in named
        ]
        start = float(min(left, LEGEND_LEFT))
        rows = in_rows(entries, LEGEND_RIGHT - start, _width)
        above = LEGEND_PITCH * len(rows)
        self.w = w
        self.h = h + above
        self.title = title
        self.desc = desc
        self.x0 = left
        self.x1 = w - right
        self.y0 = h + above - bottom
        self.y1 = top + above
        self.parts: list[str] = []
        self.stops: dict[str, list[Any]] = {}
        self.run = ""
        """The axis of the run's time as text: its first pixel, its last pixel, its length in
        seconds, and its height on the plot."""
        for row, row_entries in enumerate(rows):
            x = start
            for target, text in row_entries:
                self.text(
                    x, 14 + LEGEND_PITCH * row, text, f"dl {colour_class(target, 't')} n{target}"
                )
                x += _width(text)

    def add(self, element: str) -> None:
        self.parts.append(element)

    @contextmanager
    def _within(self, opening: str, closing: str = "</g>") -> Iterator[None]:
        self.add(opening)
        yield
        self.add(closing)

    def of(self, target: int) -> AbstractContextManager[None]:
        """Return a context manager. The elements added in its block belong to a target, which a
        reader may hide.
        """
        return self._within(f'<g class="o{target}">')

    def along_run(self) -> AbstractContextManager[None]:
        """Return a context manager. The elements added in its block, no texts, move if a reader
        zooms in on the run.
        """
        return self._within(f'<g class="stretch" data-y="{self.y1:g} {self.y0:g}"><g>', "</g></g>")

    def text(self, x: float, y: float, text: str, cls: str = "", anchor: str = "start") -> None:
        self.add(
            f'<text x="{x:.1f}" y="{y:.1f}" class="{cls}"'
            f' text-anchor="{anchor}">{clean(text)}</text>'
        )

    def rect(self, x: float, y: float, w: float, h: float, cls: str, tip: str = "") -> None:
        box = (
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(w, 0):.1f}" height="{max(h, 0):.1f}"'
            f' class="{cls}"'
        )
        self.add(f"{box}><title>{clean(tip)}</title></rect>" if tip else f"{box}/>")

    def line(self, x1: float, y1: float, x2: float, y2: float, cls: str) -> None:
        self.add(f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" class="{cls}"/>')

    def path(self, points: Sequence[Point], cls: str, *, close: bool = False) -> None:
        if points:
            steps = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
            self.add(f'<path d="M{steps}{"Z" if close else ""}" class="{cls}"/>')

    def band(self, lower: Sequence[Point], upper: Sequence[Point], cls: str) -> None:
        self.path([*lower, *reversed(upper)], cls, close=True)

    def dot(self, x: float, y: float, shape: str, cls: str, r: float = 4.2, tip: str = "") -> None:
        title = f"<title>{clean(tip)}</title>" if tip else ""
        if shape == "circle":
            self.add(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r}" class="{cls}">{title}</circle>')
        else:
            self.add(f'<path d="{_outline(x, y, shape, r)}" class="{cls}">{title}</path>')

    def point(self, x: float, y: float, cls: str) -> None:
        """Draw a dot as a line of length 0 with round ends. It stays round if the axis is
        stretched.
        """
        self.add(f'<path d="M{x:.1f} {y:.1f}h0" class="point {cls}"/>')

    def along_x(self, low: float, high: float) -> PixelScale:
        """Return a linear scale from the left end of the plot to its right end."""
        return PixelScale(identity, low, high, self.x0, self.x1)

    def along_y(self, low: float, high: float) -> PixelScale:
        """Return a linear scale from the bottom of the plot to its top."""
        return PixelScale(identity, low, high, self.y0, self.y1)

    def latency_axis(
        self, low: float, high: float, max_ticks: int, *, above: int = 0
    ) -> PixelScale:
        """Draw a logarithmic axis of latencies, and return its scale. `above` is the room that it
        leaves at the top of the plot.
        """
        scale = log_scale(low, high, self.y0, self.y1 + above)
        self.y_axis(scale, log_ticks(low, high, max_ticks), ms)
        return scale

    def y_axis(self, scale: PixelScale, ticks: Sequence[float], write: Write) -> None:
        for value in ticks:
            y = scale(value)
            self.line(self.x0, y, self.x1, y, "grid")
            self.text(self.x0 - 6, y + 4, write(value), "tick", "end")

    def x_axis(
        self,
        scale: PixelScale,
        ticks: Sequence[float],
        write: Write,
        label: str = "",
        *,
        grid: bool = False,
    ) -> None:
        self.line(self.x0, self.y0, self.x1, self.y0, "axis")
        free_x = -math.inf
        for value in ticks:
            x = scale(value)
            self.line(x, self.y1 if grid else self.y0, x, self.y0 + 4, "grid" if grid else "axis")
            text = write(value)
            width = LETTER * len(text)
            # a label in the middle would cover the labels of the other axis
            is_start = x - width / 2 < self.x0
            begin_x = x if is_start else x - width / 2
            if begin_x >= free_x:
                self.text(x, self.y0 + 17, text, "tick", "start" if is_start else "middle")
                free_x = begin_x + width
        if label:
            self.text(self.x1, self.y0 + 35, label, "lab", "end")

    def time_axis(self, scale: PixelScale, max_steps: int) -> None:
        """Draw an axis of seconds from 0, with ticks at round instants."""
        step = time_step(scale.high, max_steps)
        self.x_axis(scale, even_ticks(scale.high, step), lambda s: instant(s, step))

    def run_axis(self, scale: PixelScale) -> None:
        """Draw the axis of the run's time. A reader may zoom in on a part of it."""
        with self._within('<g class="times">'):
            self.time_axis(scale, 10)
        self.run = f"{scale.start:g} {scale.end:g} {scale.high:g} {self.y0:g}"

    def count_axis(self, largest: float) -> PixelScale:
        """Draw an axis of integers, from 0 to `largest` or 1, and return its scale."""
        top = max(1.0, largest)
        scale = self.along_y(0.0, top * 1.05)
        self.y_axis(scale, [tick for tick in linear_ticks(0.0, top, 2) if tick == int(tick)], count)
        return scale

    def read_lines(
        self,
        stops: Sequence[tuple[Stop, float, str]],
        lines: Sequence[tuple[str, Mapping[Stop, str]]],
    ) -> None:
        """Add a readout with a stop for each (key, x, name), and the label and text of each line
        that has this key.
        """
        # a dot separates the cells of a row
        labelled = [(label.replace(" · ", ", "), texts) for label, texts in lines]
        rows = []
        for key, _, name in stops:
            values = [f"{label} {texts[key]}" for label, texts in labelled if key in texts]
            rows.append(" · ".join([name, *values]))
        self.readout([x for _, x, _ in stops], rows)

    def readout(self, xs: Sequence[float], rows: Sequence[str]) -> None:
        """Set the positions of the crosshair's stops, and the texts that are shown and spoken
        there.
        """
        self.stops = {
            "x": [round(x, 1) for x in xs],
            "t": list(rows),
            "y": [round(self.y1, 1), round(self.y0, 1)],
        }

    def svg(self, cls: str = "figure") -> str:
        """Return the SVG element. It can get the keyboard focus if it has a readout."""
        live = ""
        if self.stops:
            stops = json.dumps(self.stops, separators=(",", ":"), ensure_ascii=False)
            live = f' tabindex="0" data-stops="{clean(stops)}"'
        live += f' data-run="{self.run}"' if self.run else ""
        label = clean(f"{self.title}. {self.desc}".strip())
        return (
            f'<svg class="{cls}" viewBox="0 0 {self.w} {self.h}" width="{self.w}" height="{self.h}"'
            f' role="img" aria-label="{label}"{live}>{"".join(self.parts)}</svg>'
        )


def in_rows(
    entries: Iterable[LegendEntry], room: float, width: Callable[[str], float]
) -> list[list[LegendEntry]]:
    """Return the entries of a legend in rows that are not wider than `room`."""
    rows: list[list[LegendEntry]] = []
    for entry in entries:
        if not rows or sum(width(text) for _, text in [*rows[-1], entry]) > room:
            rows.append([])
        rows[-1].append(entry)
    return rows


def _width(text: str) -> float:
    return 12 + 8.5 * len(text)


def _outline(x: float, y: float, shape: str, r: float) -> str:
    q = r * (1.25 if shape == "diamond" else 1.1)
    if shape == "diamond":
        return f"M{x:.1f} {y - q:.1f}l{q} {q}l{-q} {q}l{-q} {-q}Z"
    if shape == "triangle":
        return f"M{x:.1f} {y - q:.1f}l{q} {1.8 * q:.1f}h{-2 * q}Z"
    if shape == "wedge":
        return f"M{x:.1f} {y + q:.1f}l{q} {-1.8 * q:.1f}h{-2 * q}Z"
    if shape == "cross":
        a = 0.4 * q
        b = 0.75 * q
        return (
            f"M{x - a:.1f}"
            f" {y - a - b:.1f}h{2 * a:.1f}v{b:.1f}h{b:.1f}v{2 * a:.1f}h{-b:.1f}v{b:.1f}h"
            f"{-2 * a:.1f}"
            f"v{-b:.1f}h{-b:.1f}v{-2 * a:.1f}h{b:.1f}Z"
        )
    if shape in ("star", "hexagon"):
        rays, outer, inner = (5, 1.25 * q, 0.55 * q) if shape == "star" else (6, 1.05 * q, 0.91 * q)
        # the first ray points up
        turns = [(math.pi * k / rays, inner if k % 2 else outer) for k in range(2 * rays)]
        return (
            "M"
            + "L".join(f"{x + r * math.sin(a):.1f} {y - r * math.cos(a):.1f}" for a, r in turns)
            + "Z"
        )
    return f"M{x - 0.9 * q:.1f} {y - 0.9 * q:.1f}h{1.8 * q:.1f}v{1.8 * q:.1f}h{-1.8 * q:.1f}Z"


def plot_figure(plot: Plot, caption: Inline = "", **more: Any) -> Figure:
    """Return a figure with the plot and its readout. `more` is further fields."""
    stops = [text.split(" · ") for text in plot.stops.get("t", ())]
    return Figure(Markup(plot.svg()), caption, **{"stops": stops, **more})


def drawing(plot: Plot, head: str, narrow: Plot) -> Drawing:
    """Return the plot as a drawing. `narrow` replaces it on a phone."""
    return Drawing(Markup(plot.svg()), head, Markup(narrow.svg()))
