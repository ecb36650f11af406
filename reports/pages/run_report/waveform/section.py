"""The section on a recorded call."""

from __future__ import annotations

from bench.base.errors import UsageError
from reports.analysis.summary.summary import Summary
from reports.formatting import count, format_number, ms, plural
from reports.pages.run_report.sections.slowest import log_link
from reports.pages.run_report.waveform.plot import COLUMNS, label, waveform
from reports.pages.run_report.waveform.recorded_call import RecordedCall, recorded_call
from reports.render import blocks as b
from reports.render.svg import plot_figure

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
    target = f" on {call.target}" if len(summary.targets) > 1 else ""
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
