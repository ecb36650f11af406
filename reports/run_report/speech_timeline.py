"""The speech timeline: frame → Plot, without computing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from reports.formatting import NBSP, excerpt, format_number, ms, nice, time_step
from reports.render.markers import colour_class, marker_char
from reports.render.svg import WIDE, PixelScale, Plot, even_ticks, identity
from reports.summary.example_turns import ExampleTurn
from reports.wording.cells import example_name

MAX_TIMELINE_S = 20.0
"""The maximum of the axis; longer bars are interrupted, with their end as text."""
SPOKEN_S = 4.0
"""The maximum of the caller's speech that is drawn; the numbers contain its duration."""
LANE = 20
LETTER = 7.3
PITCH = 112
TRIANGLES = (("end of turn detected", "noticed_s", 0), ("first audio delta", "first_delta_s", 3))


def speech(talks: Sequence[ExampleTurn]) -> Plot:
    """Plot two lanes for each turn on one time axis: the caller, the latency, and the reply with its stalls."""
    spoken = ". ".join(
        f"{example_name(talk)}: {talk.step} on {talk.target}, {_s(talk.wait_s)} of latency"
        + (f", {_s(talk.stall_s)} of stall_count" if talk.stall_s else "")
        for talk in talks
    )
    desc = f"The caller’s speech, the latency and the reply of a few turns, aligned at the end of speech. {spoken}."
    height = 34 + len(talks) * PITCH + 34
    plot = Plot(WIDE, height, left=190, right=60, top=34, bottom=34, title="Speech timeline", desc=desc)
    speech_s = max((talk.speech_s for talk in talks if talk.speech_s == talk.speech_s), default=0.0)
    ends = [end for talk in talks for end in (talk.wait_s * 1.1, talk.answer_s * 1.1, talk.end_s) if end == end]
    low = min(max(0.4, speech_s), SPOKEN_S)
    x = PixelScale(identity, -low, min(MAX_TIMELINE_S, max([1.0, *ends])), plot.x0, plot.x1)
    step = time_step(x.high - x.low, 9) if x.high > 2 else nice(x.high / 4)
    ticks = [*(-s for s in even_ticks(-x.low, step)[:0:-1]), *even_ticks(x.high, step)]
    plot.x_axis(x, ticks, lambda s: f"{'+' if s > 0 else ''}{format_number(s)}{NBSP}s" if s else "0", grid=True)
    for row, talk in enumerate(talks):
        top = plot.y1 + 4 + row * PITCH
        if row:
            plot.line(0, top - 2, plot.x1, top - 2, "grid")
        with plot.of(talk.colour):
            plot.text(0, top + 28, example_name(talk), "rowlab")
            name = f"{marker_char(talk.colour)} {excerpt(talk.target, 20)}"
            plot.text(0, top + 45, name, f"lab {colour_class(talk.colour, 't')}")
            plot.text(0, top + 61, f"{excerpt(talk.step, 20)}, turn {talk.turn}", "lab")
            _turn(plot, talk, x, top + 34, top + 76)
    room = x(0) - plot.x0 > LETTER * len("end of speech") / 2
    plot.text(x(0), plot.y1 - 12, "end of speech", "lab", "middle" if room else "start")
    return plot


def breaks(talks: Sequence[ExampleTurn]) -> bool:
    """Return whether a bar is longer than the axis."""
    return any(max(talk.wait_s, talk.end_s if talk.end_s == talk.end_s else 0.0) > MAX_TIMELINE_S for talk in talks)


def has_triangles(talks: Sequence[ExampleTurn]) -> bool:
    """Return whether any instant that a triangle marks is known."""
    return any(not math.isnan(getattr(talk, field)) for talk in talks for _, field, _ in TRIANGLES)


def turn_numbers(talk: ExampleTurn) -> list[str]:
    """Return the numbers of one turn: its name, then each value in words."""
    said = [example_name(talk), talk.target, f"{talk.step}, turn {talk.turn}"]
    said += [f"caller spoke {_s(talk.speech_s)}"] if talk.speech_s == talk.speech_s else []
    said += [f"{name} {_s(value)}" for name, field, _ in TRIANGLES if not math.isnan(value := getattr(talk, field))]
    said += [f"reply audible from {_s(talk.wait_s)}"]
    said += [f"to {_s(talk.end_s)}"] if talk.end_s == talk.end_s else ["its end is unknown"]
    said += [f"its answer from {_s(talk.answer_s)}"] if talk.in_parts else []
    if talk.asked_on_s > talk.called_s:
        said.append(f"functions called at {_s(talk.called_s)}, answered at {_s(talk.asked_on_s)}")
    if talk.silent_s == talk.silent_s:
        said.append(f"interrupted at {_s(talk.barge_in_s)}, silent at {_s(talk.silent_s)}")
    return [*said, f"stalled {_s(talk.stall_s)} in {talk.stall_count}" if talk.stall_s else "no stall"]


def _s(seconds: float) -> str:
    return ms(1e3 * seconds)


def _turn(plot: Plot, talk: ExampleTurn, x: PixelScale, call: float, reply: float) -> None:
    for lane, word in ((call, "caller"), (reply, "reply")):
        plot.line(plot.x0, lane, plot.x1, lane, "lane")
        plot.text(plot.x0 - 8, lane + 4, word, "tiny", "end")
    if talk.speech_s == talk.speech_s:
        begin = x.clip(-talk.speech_s)
        tip = f"the caller speaks for {_s(talk.speech_s)}"
        plot.rect(begin, call - LANE / 2, x(0) - begin, LANE, "caller", tip)
        if -talk.speech_s < x.low:
            _broken(plot, begin + 6, call)
    heard = x.clip(talk.wait_s)
    plot.rect(x(0), call + LANE / 2 + 3, heard - x(0), reply - call - LANE - 6, "wait", f"{_s(talk.wait_s)} of latency")
    inside = heard - x(0) > 80
    middle = (x(0) + heard) / 2 if inside else heard + 5
    plot.text(middle, (call + reply) / 2 + 4, f"{_s(talk.wait_s)} latency", "dl", "middle" if inside else "start")
    plot.line(x(0), call - LANE / 2 - 4, x(0), reply + LANE / 2 + 12, "zero")
    _reply(plot, talk, x, reply)
    _functions(plot, talk, x, call)
    _interruption(plot, talk, x, call, reply)
    for name, field, shade in TRIANGLES:
        at = getattr(talk, field)
        if x.low <= at <= x.high:
            plot.dot(x(at), reply + 16, "triangle", f"tri g{shade}", 5, f"{name} {_s(at)}")


def _labels(plot: Plot, x: float, apart: float, y: float, text: str, cls: str) -> None:
    """Write a text after a marker; without room, write it at the height `apart`, ending with the figure."""
    if x + LETTER * len(text) <= plot.w:
        plot.text(x, y, text, cls)
    else:
        plot.text(plot.w, apart, text, cls, "end")


def _functions(plot: Plot, talk: ExampleTurn, x: PixelScale, lane: float) -> None:
    """Draw the time of our own functions on the caller's lane: it is no latency of the service."""
    if not talk.asked_on_s > talk.called_s or talk.called_s >= x.high:
        return
    begin, took = x(talk.called_s), _s(talk.asked_on_s - talk.called_s)
    width = max(3.0, x.clip(talk.asked_on_s) - begin)
    plot.rect(begin, lane - LANE / 2 + 4, width, LANE - 8, "own", f"our functions {took}")
    _labels(plot, begin, lane - LANE / 2, lane - LANE / 2, f"functions {took}", "tiny")


def _interruption(plot: Plot, talk: ExampleTurn, x: PixelScale, call: float, reply: float) -> None:
    """Draw the caller's speech during the reply, until the reply is silent."""
    if talk.silent_s != talk.silent_s or talk.barge_in_s >= x.high:
        return
    begin, silent, took = x(talk.barge_in_s), x.clip(talk.silent_s), _s(talk.silent_s - talk.barge_in_s)
    tip = f"the caller interrupts: silent after {took}"
    plot.rect(begin, call - LANE / 2, max(3.0, silent - begin), LANE, "caller", tip)
    plot.line(silent, call - LANE / 2 - 4, silent, reply + LANE / 2 + 6, "zero")
    _labels(plot, silent + 6, call + LANE / 2 + 12, call + 4, f"interrupts, silent after {took}", "dl")


def _reply(plot: Plot, talk: ExampleTurn, x: PixelScale, lane: float) -> None:
    """Draw the played reply as one bar with its stalls hatched; if its end is unknown, only where its parts begin."""
    cls, end_s = f"replyw {colour_class(talk.colour)}", talk.end_s
    if talk.wait_s >= x.high:
        _broken(plot, plot.x1 - 6, lane)
        plot.text(plot.x1 - 16, lane + 4, f"reply from {_s(talk.wait_s)}", "dl", "end")
        return
    if math.isnan(end_s):
        in_parts = talk.in_parts and talk.answer_s < x.high
        name = "preamble" if in_parts else "length unknown"
        marks = [(talk.wait_s, "the reply; its length is unknown", name)]
        marks += [(talk.answer_s, f"the answer from {_s(talk.answer_s)}", "answer")] if in_parts else []
        for at_s, tip, name in marks:
            plot.rect(x(at_s), lane - LANE / 2, 6, LANE, cls, tip)
            _labels(plot, x(at_s) + 12, lane - LANE / 2 - 5, lane + 4, name, "tiny")
        return
    begin, end = x(talk.wait_s), x.clip(end_s)
    tip = f"the reply plays from {_s(talk.wait_s)} to {_s(end_s)}"
    plot.rect(begin, lane - LANE / 2, end - begin, LANE, cls, tip)
    gaps = _gaps(talk, x, begin, end)
    for left, right in gaps:
        _hatched(plot, left, lane - LANE / 2 - 2, max(3.0, right - left), LANE + 4)
    if gaps:
        said = f"{'stall' if talk.stall_count == 1 else f'{talk.stall_count} stalls,'} {_s(talk.stall_s)}"
        clear = x.clip(talk.first_delta_s) + 10  # right of the triangles
        middle = (gaps[0][0] + gaps[-1][1]) / 2
        plot.text(max(clear, middle - LETTER * len(said) / 2), lane + LANE / 2 + 16, said, "dl bad")
    if end_s > x.high:
        _broken(plot, end - 6, lane)
        plot.text(end, lane - LANE / 2 - 5, f"to {_s(end_s)}", "lab", "end")


def _gaps(talk: ExampleTurn, x: PixelScale, begin: float, end: float) -> list[tuple[float, float]]:
    """Return the positions of the stalls; if unknown, one of their total length in the reply's middle."""
    if talk.heard:
        ends = [(x.clip(before[1]), x.clip(after[0])) for before, after in pairwise(talk.heard)]
        return [(left, right) for left, right in ends if begin <= left < end]
    width = min((end - begin) * 0.8, x(talk.stall_s) - x(0))
    return [((begin + end - width) / 2, (begin + end + width) / 2)] if talk.stall_s else []


def _hatched(plot: Plot, x: float, y: float, w: float, h: float) -> None:
    """Draw a rectangle with diagonal lines. An SVG pattern would need a reference, and the page has none."""
    plot.rect(x, y, w, h, "stall")
    lines = ""
    for offset in even_ticks(w + h, 5.0):
        left, right = max(0.0, offset - h), min(w, offset)
        if right > left:
            lines += f"M{x + left:.1f} {y + offset - left:.1f}L{x + right:.1f} {y + offset - right:.1f}"
    if lines:
        plot.add(f'<path d="{lines}" class="hatch"/>')


def _broken(plot: Plot, x: float, lane: float) -> None:
    """Draw two slanted strokes across a bar that continues beyond the axis."""
    for offset in (-3, 3):
        plot.line(x + offset - 3, lane + LANE / 2 + 3, x + offset + 3, lane - LANE / 2 - 3, "broken")
