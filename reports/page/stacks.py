"""Stacked bars of means: the phases of connecting, and the segments of voice_to_voice."""

from __future__ import annotations

from collections.abc import Sequence

from bench.measures import VAD_SEGMENTS
from reports.numbers import ms, plural, shortened, three
from reports.page.frames import PHASES, Stack
from reports.page.svg import WIDE, Plot, Scale, glyph, identity, linear_ticks, tone
from reports.summary.segments import Breakdown

PITCH = 42
BAR = 18
SWATCH = 18
ROWS_MOST = 32
SHADES = {
    "speech_stopped": 0,
    "committed": 1,
    "response_created": 2,
    "first_audio": 3,
    "first_audible": 4,
    "requested": 5,
}
"""The colour of a segment, by the instant that ends it."""


def connect(stacks: Sequence[Stack]) -> Plot:
    """Mean phases of connecting as stacked bars; a phase that took no time is not named."""
    used = [j for j in range(len(PHASES)) if any(stack.parts[j] > 0 for stack in stacks)]
    longest = max(sum(stack.parts) for stack in stacks) or 1.0
    plot = _plot(
        len(stacks),
        [(j, PHASES[j]) for j in used],
        (0.0, longest),
        title="Phases of connecting",
        desc="Mean phases of typical and of slow session starts. "
        + "; ".join(f"{s.target} p{s.p * 100:g}: {ms(sum(s.parts))}" for s in stacks)
        + ".",
    )
    for row, stack in enumerate(stacks):
        word = "typical start (p50)" if stack.p == 0.5 else f"slow start (p{stack.p * 100:g})"
        label = f"{shortened(stack.target, 24)}, {word}"
        parts = [(j, PHASES[j], value) for j, value in enumerate(stack.parts)]
        with plot.of(stack.colour):
            _bar(plot, row, label, stack.colour, (0.0, longest), parts)
    return plot


def segments(rows: Sequence[Breakdown], targets: Sequence[str]) -> Plot:
    """Mean segments of voice_to_voice; those below zero lie to the left of it, and the tick is the sum."""
    rows = rows[:ROWS_MOST]
    shades = {segment.name: SHADES[segment.end] for row in rows for segment in row.segments}
    low, high = min(_extent(row, -1) for row in rows), max(_extent(row, 1) for row in rows) or 1.0
    plot = _plot(
        len(rows),
        [(shades[name], name) for name in names_of(rows)],
        (low, high),
        title="Segments of voice_to_voice",
        desc="Mean segments from the end of speech to the first audible sample. "
        + "; ".join(f"{targets[row.target]}, {row.title}: {ms(row.mean_ms())}" for row in rows)
        + ".",
    )
    for place, row in enumerate(rows):
        target, title = shortened(targets[row.target], 40), shortened(row.title, 80)
        label = f"{target}, {title}: {plural(row.turns, 'turn')}"
        parts = [(SHADES[segment.end], segment.name, row.mean_ms(segment)) for segment in row.segments]
        with plot.of(row.target):
            _bar(plot, place, label, row.target, (low, high), parts)
    return plot


def names_of(rows: Sequence[Breakdown]) -> list[str]:
    """The names of all segments, in the order of their ends; the longer of two that end together first."""
    ends = {segment.name: (segment.end, segment.begin) for row in rows for segment in row.segments}
    return sorted(ends, key=lambda name: [VAD_SEGMENTS.index(instant) for instant in ends[name]])


def _extent(row: Breakdown, sign: int) -> float:
    """How far its bar reaches to one side of zero."""
    return sum((value for segment in row.segments if (value := row.mean_ms(segment)) * sign > 0), 0.0)


def _plot(rows: int, named: Sequence[tuple[int, str]], ends: tuple[float, float], *, title: str, desc: str) -> Plot:
    """An empty figure with its axis, and what each colour means above it."""
    lines = _lines(named, WIDE - 8)
    top = 12 + SWATCH * len(lines)
    plot = Plot(WIDE, top + 28 + PITCH * rows, left=4, right=60, top=top, bottom=28, title=title, desc=desc)
    x = Scale(identity, *ends, plot.x0, plot.x1)
    plot.x_axis(x, linear_ticks(*ends, 5), lambda v: ms(v) if v else "0", grid=True)
    if ends[0] < 0:
        plot.line(x(0.0), plot.y1, x(0.0), plot.y0, "zero")
    for row, line in enumerate(lines):
        at = plot.x0 + 0.0
        for shade, name in line:
            plot.rect(at, 2 + SWATCH * row, 10, 10, f"g{shade}")
            plot.text(at + 13, 11 + SWATCH * row, name, "lab")
            at += _width(name)
    return plot


def _lines(named: Sequence[tuple[int, str]], room: float) -> list[list[tuple[int, str]]]:
    lines: list[list[tuple[int, str]]] = [[]]
    for entry in named:
        if lines[-1] and sum(_width(name) for _, name in [*lines[-1], entry]) > room:
            lines.append([])
        lines[-1].append(entry)
    return lines


def _width(name: str) -> float:
    return 13 + len(name) * 7.3 + 10


def _bar(
    plot: Plot, row: int, label: str, colour: int, ends: tuple[float, float], parts: Sequence[tuple[int, str, float]]
) -> None:
    x = Scale(identity, *ends, plot.x0, plot.x1)
    y = plot.y1 + 20 + row * PITCH
    plot.text(plot.x0, y - 5, f"{glyph(colour)} {label}", f"rowlab t{tone(colour)}")
    right, left, whole = 0.0, 0.0, sum(value for _, _, value in parts)
    for shade, name, value in parts:
        begin = right if value > 0 else left + value
        right, left = right + max(value, 0.0), left + min(value, 0.0)
        width = x(begin + abs(value)) - x(begin)
        if value:
            plot.rect(x(begin), y, max(width - 1, 0.8), BAR, f"g{shade}", f"{name}: {ms(value)}")
        if width > 34:
            plot.text(x(begin) + width / 2, y + 13, three(value), f"in{shade}", "middle")
    if left < 0:
        plot.line(x(whole), y - 3, x(whole), y + BAR + 3, "zero")
    plot.text(x(right) + 5, y + 13, ms(whole), "dl")
