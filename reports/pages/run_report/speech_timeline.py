"""The plot of the speech timeline. It computes no values."""

import math
from collections.abc import Sequence
from itertools import pairwise

from reports.analysis.summary.example_turns import ExampleTurn
from reports.formatting import NBSP, excerpt, format_number, ms, nice, time_step
from reports.render.markers import colour_class, marker_char
from reports.render.svg import WIDE, PixelScale, Plot, even_ticks
from reports.text.cells import example_name

MAX_TIMELINE_S = 20.0
"""The maximum end of the axis, in seconds. A longer bar is marked by two strokes, and its end is
written as text."""
SPOKEN_S = 4.0
"""The maximum duration of the caller's speech in the plot, in seconds. The readout has the
actual duration."""
LANE = 20
LETTER = 7.3
PITCH = 112
TRIANGLES = (("end of turn detected", "noticed_s", 0), ("first audio delta", "first_delta_s", 3))


def speech(examples: Sequence[ExampleTurn]) -> Plot:
    """Plot two lanes for each turn, all on one time axis. One lane shows the caller. The other
    shows the reply with its stalls. The latency is between the two lanes.
    """
    spoken = ". ".join(
        f"{example_name(example)}: {example.step} on {example.target}, {_s(example.wait_s)} of"
        " latency" + (f", {_s(example.stall_s)} of stall_count" if example.stall_s else "")
        for example in examples
    )
    desc = (
        "The caller’s speech, the latency and the reply of a few turns, aligned at the end of"
        f" speech. {spoken}."
    )
    height = 34 + len(examples) * PITCH + 34
    plot = Plot(
        WIDE, height, left=190, right=60, top=34, bottom=34, title="Speech timeline", desc=desc
    )
    speech_s = max(
        (example.speech_s for example in examples if example.speech_s == example.speech_s),
        default=0.0,
    )
    ends = [
        end
        for example in examples
        for end in (example.wait_s * 1.1, example.answer_s * 1.1, example.end_s)
        if end == end
    ]
    low = min(max(0.4, speech_s), SPOKEN_S)
    x = plot.along_x(-low, min(MAX_TIMELINE_S, max([1.0, *ends])))
    step = time_step(x.high - x.low, 9) if x.high > 2 else nice(x.high / 4)
    ticks = [*(-s for s in even_ticks(-x.low, step)[:0:-1]), *even_ticks(x.high, step)]
    plot.x_axis(
        x,
        ticks,
        lambda s: f"{'+' if s > 0 else ''}{format_number(s)}{NBSP}s" if s else "0",
        grid=True,
    )
    for row, example in enumerate(examples):
        top = plot.y1 + 4 + row * PITCH
        if row:
            plot.line(0, top - 2, plot.x1, top - 2, "grid")
        with plot.of(example.colour):
            plot.text(0, top + 28, example_name(example), "rowlab")
            name = f"{marker_char(example.colour)} {excerpt(example.target, 20)}"
            plot.text(0, top + 45, name, f"lab {colour_class(example.colour, 't')}")
            plot.text(0, top + 61, f"{excerpt(example.step, 20)}, turn {example.turn}", "lab")
            _turn(plot, example, x, top + 34, top + 76)
    room = x(0) - plot.x0 > LETTER * len("end of speech") / 2
    plot.text(x(0), plot.y1 - 12, "end of speech", "lab", "middle" if room else "start")
    return plot


def breaks(examples: Sequence[ExampleTurn]) -> bool:
    """Return whether a bar is longer than the axis."""
    return any(
        max(example.wait_s, example.end_s if example.end_s == example.end_s else 0.0)
        > MAX_TIMELINE_S
        for example in examples
    )


def has_triangles(examples: Sequence[ExampleTurn]) -> bool:
    """Return whether the plot has triangles: at least one of the instants that they mark is
    known.
    """
    return any(
        not math.isnan(getattr(example, field)) for example in examples for _, field, _ in TRIANGLES
    )


def turn_numbers(example: ExampleTurn) -> list[str]:
    """Return the values of one turn as texts. The first text is the name of the turn."""
    texts = [example_name(example), example.target, f"{example.step}, turn {example.turn}"]
    texts += (
        [f"caller spoke {_s(example.speech_s)}"] if example.speech_s == example.speech_s else []
    )
    texts += [
        f"{name} {_s(value)}"
        for name, field, _ in TRIANGLES
        if not math.isnan(value := getattr(example, field))
    ]
    texts += [f"reply audible from {_s(example.wait_s)}"]
    texts += (
        [f"to {_s(example.end_s)}"] if example.end_s == example.end_s else ["its end is unknown"]
    )
    texts += [f"its answer from {_s(example.answer_s)}"] if example.in_parts else []
    if example.asked_on_s > example.called_s:
        texts.append(
            f"functions called at {_s(example.called_s)}, answered at {_s(example.asked_on_s)}"
        )
    if example.silent_s == example.silent_s:
        texts.append(f"interrupted at {_s(example.barge_in_s)}, silent at {_s(example.silent_s)}")
    return [
        *texts,
        (
            f"stalled {_s(example.stall_s)} in {example.stall_count}"
            if example.stall_s
            else "no stall"
        ),
    ]


def _s(seconds: float) -> str:
    return ms(1e3 * seconds)


def _turn(plot: Plot, example: ExampleTurn, x: PixelScale, caller_y: float, reply_y: float) -> None:
    for lane, word in ((caller_y, "caller"), (reply_y, "reply")):
        plot.line(plot.x0, lane, plot.x1, lane, "lane")
        plot.text(plot.x0 - 8, lane + 4, word, "tiny", "end")
    if example.speech_s == example.speech_s:
        start = x.clip(-example.speech_s)
        tip = f"the caller speaks for {_s(example.speech_s)}"
        plot.rect(start, caller_y - LANE / 2, x(0) - start, LANE, "caller", tip)
        if -example.speech_s < x.low:
            _broken(plot, start + 6, caller_y)
    reply_x = x.clip(example.wait_s)
    plot.rect(
        x(0),
        caller_y + LANE / 2 + 3,
        reply_x - x(0),
        reply_y - caller_y - LANE - 6,
        "wait",
        f"{_s(example.wait_s)} of latency",
    )
    inside = reply_x - x(0) > 80
    middle = (x(0) + reply_x) / 2 if inside else reply_x + 5
    plot.text(
        middle,
        (caller_y + reply_y) / 2 + 4,
        f"{_s(example.wait_s)} latency",
        "dl",
        "middle" if inside else "start",
    )
    plot.line(x(0), caller_y - LANE / 2 - 4, x(0), reply_y + LANE / 2 + 12, "zero")
    _reply(plot, example, x, reply_y)
    _functions(plot, example, x, caller_y)
    _interruption(plot, example, x, caller_y, reply_y)
    for name, field, shade in TRIANGLES:
        at = getattr(example, field)
        if x.low <= at <= x.high:
            plot.dot(x(at), reply_y + 16, "triangle", f"tri g{shade}", 5, f"{name} {_s(at)}")


def _labels(plot: Plot, x: float, fallback_y: float, y: float, text: str, cls: str) -> None:
    """Write a text to the right of a marker. If it does not fit there, write it at the height
    `fallback_y`, so that it ends at the right edge of the plot.
    """
    if x + LETTER * len(text) <= plot.w:
        plot.text(x, y, text, cls)
    else:
        plot.text(plot.w, fallback_y, text, cls, "end")


def _functions(plot: Plot, example: ExampleTurn, x: PixelScale, lane: float) -> None:
    """Draw the time of functions, ours or those of MCP servers, on the caller's lane: the
    service waits for them.
    """
    if not example.asked_on_s > example.called_s or example.called_s >= x.high:
        return
    start = x(example.called_s)
    took = _s(example.asked_on_s - example.called_s)
    width = max(3.0, x.clip(example.asked_on_s) - start)
    plot.rect(start, lane - LANE / 2 + 4, width, LANE - 8, "own", f"functions {took}")
    _labels(plot, start, lane - LANE / 2, lane - LANE / 2, f"functions {took}", "tiny")


def _interruption(
    plot: Plot, example: ExampleTurn, x: PixelScale, caller_y: float, reply_y: float
) -> None:
    """Draw the caller's speech that interrupts the reply. The bar ends when the reply is silent."""
    if example.silent_s != example.silent_s or example.barge_in_s >= x.high:
        return
    start = x(example.barge_in_s)
    silent = x.clip(example.silent_s)
    took = _s(example.silent_s - example.barge_in_s)
    tip = f"the caller interrupts: silent after {took}"
    plot.rect(start, caller_y - LANE / 2, max(3.0, silent - start), LANE, "caller", tip)
    plot.line(silent, caller_y - LANE / 2 - 4, silent, reply_y + LANE / 2 + 6, "zero")
    _labels(
        plot,
        silent + 6,
        caller_y + LANE / 2 + 12,
        caller_y + 4,
        f"interrupts, silent after {took}",
        "dl",
    )


def _reply(plot: Plot, example: ExampleTurn, x: PixelScale, lane: float) -> None:
    """Draw the played reply as one bar, with its stalls hatched. If its end is unknown, mark only
    the start of each part.
    """
    cls = f"replyw {colour_class(example.colour)}"
    end_s = example.end_s
    if example.wait_s >= x.high:
        _broken(plot, plot.x1 - 6, lane)
        plot.text(plot.x1 - 16, lane + 4, f"reply from {_s(example.wait_s)}", "dl", "end")
        return
    if math.isnan(end_s):
        in_parts = example.in_parts and example.answer_s < x.high
        name = "preamble" if in_parts else "length unknown"
        markers = [(example.wait_s, "the reply; its length is unknown", name)]
        markers += (
            [(example.answer_s, f"the answer from {_s(example.answer_s)}", "answer")]
            if in_parts
            else []
        )
        for at_s, tip, name in markers:
            plot.rect(x(at_s), lane - LANE / 2, 6, LANE, cls, tip)
            _labels(plot, x(at_s) + 12, lane - LANE / 2 - 5, lane + 4, name, "tiny")
        return
    start = x(example.wait_s)
    end = x.clip(end_s)
    tip = f"the reply plays from {_s(example.wait_s)} to {_s(end_s)}"
    plot.rect(start, lane - LANE / 2, end - start, LANE, cls, tip)
    gaps = _gaps(example, x, start, end)
    for left, right in gaps:
        _hatched(plot, left, lane - LANE / 2 - 2, max(3.0, right - left), LANE + 4)
    if gaps:
        label = (
            f"{'stall' if example.stall_count == 1 else f'{example.stall_count} stalls,'}"
            f" {_s(example.stall_s)}"
        )
        clear = x.clip(example.first_delta_s) + 10  # right of the triangles
        middle = (gaps[0][0] + gaps[-1][1]) / 2
        plot.text(
            max(clear, middle - LETTER * len(label) / 2), lane + LANE / 2 + 16, label, "dl bad"
        )
    if end_s > x.high:
        _broken(plot, end - 6, lane)
        plot.text(end, lane - LANE / 2 - 5, f"to {_s(end_s)}", "lab", "end")


def _gaps(
    example: ExampleTurn, x: PixelScale, start: float, end: float
) -> list[tuple[float, float]]:
    """Return the start and end of each stall. If they are unknown, return one stall with the total
    length, in the middle of the reply.
    """
    if example.heard:
        ends = [(x.clip(before[1]), x.clip(after[0])) for before, after in pairwise(example.heard)]
        return [(left, right) for left, right in ends if start <= left < end]
    width = min((end - start) * 0.8, x(example.stall_s) - x(0))
    return [((start + end - width) / 2, (start + end + width) / 2)] if example.stall_s else []


def _hatched(plot: Plot, x: float, y: float, w: float, h: float) -> None:
    """Draw a rectangle with diagonal lines, one by one, because an SVG pattern would need a
    reference.
    """
    plot.rect(x, y, w, h, "stall")
    lines = ""
    for offset in even_ticks(w + h, 5.0):
        left = max(0.0, offset - h)
        right = min(w, offset)
        if right > left:
            lines += (
                f"M{x + left:.1f} {y + offset - left:.1f}L{x + right:.1f} {y + offset - right:.1f}"
            )
    if lines:
        plot.add(f'<path d="{lines}" class="hatch"/>')


def _broken(plot: Plot, x: float, lane: float) -> None:
    """Draw two slanted strokes across a bar that continues beyond the axis."""
    for offset in (-3, 3):
        plot.line(
            x + offset - 3, lane + LANE / 2 + 3, x + offset + 3, lane - LANE / 2 - 3, "broken"
        )
