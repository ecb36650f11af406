"""The section on a recorded call, with its plot: the sound of the caller and of the service, and
the waits.
"""

from collections.abc import Iterator

import numpy as np

from bench.base.errors import UsageError
from reports.analysis.summary.summary import Summary
from reports.formatting import NBSP, count, excerpt, format_number, ms, plural
from reports.pages.run_report.sections.slowest import log_link
from reports.pages.run_report.waveform.recorded_call import (
    Envelope,
    RecordedCall,
    Wait,
    recorded_call,
)
from reports.render import blocks as b
from reports.render.markers import colour_class
from reports.render.svg import WIDE, PixelScale, Plot, linear_ticks, plot_figure

LEFT, RIGHT = 70, 10
COLUMNS = WIDE - LEFT - RIGHT
"""The columns of an envelope: one for each pixel."""
LANE = 64
"""The height of the sound of a channel."""
GAP = 10
LABEL = 16
"""The height of a row of labels."""
LETTER = 7.6
MAX_FAILURE_LETTERS = 24


def waveform(call: RecordedCall, colour: int) -> Plot:
    """Draw the call: a band for each wait with its duration above it, and the lanes of the caller
    and the service. The loudest sample of a channel has the height of its lane. `colour` is the
    number of the target.
    """
    shown = [wait for wait in call.waits if call.start_s < wait.end_s and wait.start_s < call.end_s]
    text = "; ".join(f"turn {wait.turn} {label(wait)}" for wait in shown)
    plot = Plot(
        WIDE,
        2 * LABEL + 2 * LANE + 3 * GAP + 30,
        left=LEFT,
        right=RIGHT,
        top=2 * LABEL + GAP,
        bottom=30,
        title="Recorded call",
        desc=f"The sound of the caller and of the service, and the latencies: {text}.",
    )
    x = plot.along_x(call.start_s, call.end_s)
    ticks = linear_ticks(call.start_s, call.end_s, 9)
    plot.x_axis(x, ticks, lambda s: f"{format_number(s)}{NBSP}s")
    ends = [-np.inf, -np.inf]  # of the last label in each row
    for wait in shown:
        _wait(plot, x, wait, ends, is_slowest=wait == call.slowest)
    middle = plot.y1 + LANE / 2
    lanes = (("caller", call.caller, "said"), ("service", call.service, colour_class(colour)))
    for name, envelope, cls in lanes:
        plot.text(plot.x0 - 8, middle + 4, name, "lab", "end")
        plot.line(plot.x0, middle, plot.x1, middle, "lane")
        plot.add(f'<path d="{sound(envelope, plot.x0, round(middle))}" class="wave {cls}"/>')
        middle += LANE + GAP
    return plot


def label(wait: Wait) -> str:
    if wait.failure:
        return excerpt(wait.failure, MAX_FAILURE_LETTERS)
    return f"{format_number(wait.wait_ms)}{NBSP}ms"


def _wait(plot: Plot, x: PixelScale, wait: Wait, ends: list[float], *, is_slowest: bool) -> None:
    """Draw a wait, and its label in the first row that has room. `ends` is the right end of the
    last label of each row.
    """
    left, right = x.clip(wait.start_s), x.clip(wait.end_s)
    cls = "failed-band" if wait.failure else "wait"
    tip = f"turn {wait.turn}, {wait.step}: {label(wait)}"
    plot.rect(left, plot.y1 - 4, max(1.0, right - left), plot.y0 - plot.y1 + 4, cls, tip)
    half = LETTER * len(label(wait)) / 2
    middle = min(max((left + right) / 2, plot.x0 + half), plot.x1 - half)
    row = next((row for row in (1, 0) if middle - half > ends[row]), 0)
    ends[row] = middle + half
    colour = "dl bad" if wait.failure else "dl" if is_slowest else "lab"
    plot.text(middle, LABEL * (row + 1), label(wait), colour, "middle")


def sound(envelope: Envelope, x: int, y: int) -> str:
    """Return the path of an envelope: a vertical stroke in each column that is not silent, in
    relative integers, which are short. The middle of the lane is at `y`.
    """
    loudest = max(1, int(np.abs(envelope.astype(np.int32)).max(initial=0)))
    heights = np.rint(envelope * (LANE / 2 / loudest)).astype(int)
    return "".join(_strokes(heights.tolist(), x, y))


def _strokes(heights: list[list[int]], x: int, y: int) -> Iterator[str]:
    at_x, at_y = 0, 0
    yield f"M{x}.5 {y}"
    for column, (low, high) in enumerate(heights):
        if low < high:
            yield f"m{column - at_x} {-high - at_y}v{high - low}"
            at_x, at_y = column, -low


LEGEND = (
    "Bands: latencies. Above: what the caller said. Below: what the caller heard, at the instants"
    " of the simulated player. Each channel has its own scale."
)


def waveform_of_call(summary: Summary) -> b.Section | None:
    """Return the section; None if no audio was recorded."""
    try:
        call = recorded_call(summary, COLUMNS)
    except UsageError as error:
        return _section([b.Paragraph(f"The sound of the slowest turn is not shown: {error}.")])
    if call is None:
        return None
    plot = waveform(call, summary.targets.index(call.target))
    replay = f"rtbench runs replay {summary.run.folder / call.event_log} --wav call.wav"
    below = [b.ReadingGuide(LEGEND), b.Command("to hear it", replay)]
    figure = plot_figure(plot, _caption(summary, call), below=below, numbers=[_table(call)])
    return _section([figure])


def _section(blocks: b.Blocks) -> b.Section:
    return b.Section("waveform", "Recorded call", "What did the slowest call sound like?", blocks)


def _caption(summary: Summary, call: RecordedCall) -> b.Inline:
    slowest = call.slowest
    target = f" on {call.target}" if summary.has_several_targets else ""
    return (
        f"The call with the slowest turn of {plural(call.calls, 'recorded call')}{target}:"
        f" {slowest.step}, turn {slowest.turn}, {ms(slowest.wait_ms)} of ",
        b.Term(call.metric),
        ". Event log: ",
        log_link(call.event_log),
        ".",
    )


def _table(call: RecordedCall) -> b.Table:
    lines = [
        [wait.step, count(wait.turn), format_number(wait.start_s), label(wait)]
        for wait in call.waits
    ]
    return b.table(
        ["step", "turn", "caller ended, s after the start of the call", "latency"], lines
    )
