"""The section of the page on calls that arrive. Nothing is computed here."""

from __future__ import annotations

from reports.blocks import Block, Column, Line, Section, Term, table
from reports.numbers import clock, count, percent, span, three
from reports.page.pieces import figure, line, marked, note, of_target, quantile_cells
from reports.page.svg import WIDE, Plot, Scale, identity
from reports.summary.offered import Arriving, Offered
from reports.summary.summary import Summary
from reports.wording import remarks as told
from reports.wording.words import sentence

CALLS = (
    *("target", "offered", "blocked", "cut off", "held", "started", "refused", "completed"),
    *("erlangs offered", "carried", "slots", "a call lasts, s", "start_lag p50, ms", "p99"),
)
WAITS = ("first wait, ms", Column("target", left=True), "p50", "p90", "p95", "p99", "slowest", "sessions", "reached")
READING = (
    "Calls that arrived in each bin; red: those that found no free slot. service_time counts from when a call was "
    "begun, response_time from when it arrived, both without the caller’s own speech and pauses."
)


def calls(summary: Summary) -> Section | None:
    """What was offered, and what its callers waited for first; None in a closed loop."""
    frame = summary.arriving
    if frame is None:
        return None
    waits = [f for f in summary.connecting if f.measure in told.WAITS]
    rows: list[Line] = [
        [Term(f.measure), of_target(summary, summary.targets.index(f.target)), *quantile_cells(f)] for f in waits
    ]
    blocks: list[Block] = [
        *line(f"{sentence(told.asked(frame))} {_said(frame)}"),
        figure(drawn(frame), READING),
        table(CALLS, [_row(summary, place, one) for place, one in enumerate(frame.targets)]),
        *([table(WAITS, rows)] if rows else []),
        *note(told.divided(frame)),
    ]
    return Section("calls", "Calls that arrive", "What load was offered, and what became of it?", blocks)


def _said(frame: Arriving) -> str:
    named = len(frame.targets) > 1
    return " ".join(f"{f'{one.target}: ' if named else ''}{sentence(told.load(frame, one))}" for one in frame.targets)


def _row(summary: Summary, place: int, one: Offered) -> Line:
    blocked = f"{count(one.blocked)} ({percent(one.blocked, one.offered)})" if one.blocked else "0"
    return [
        marked(summary, place),
        count(one.offered),
        blocked,
        *map(count, (one.cut, one.held, one.started, one.refused, one.completed)),
        *map(three, (one.offered_erlangs, one.carried_erlangs)),
        count(one.slots),
        three(one.call_s),
        *map(three, (one.start_lag_p50_ms, one.start_lag_p99_ms)),
    ]


def drawn(frame: Arriving) -> Plot:
    """Calls over time: those that were taken, and those that were blocked above them."""
    length_s = frame.bin_s * frame.calls.size
    plot = Plot(
        WIDE,
        180,
        left=56,
        right=66,
        top=26,
        bottom=30,
        title="Calls that arrived over time",
        desc=f"{count(frame.calls.sum())} calls, {count(frame.blocked.sum())} of them blocked.",
    )
    x = Scale(identity, 0.0, length_s, plot.x0, plot.x1)
    plot.text(plot.x0, plot.y1 - 9, f"calls each {span(frame.bin_s)}", "lab")
    y = plot.count_axis(float(frame.calls.max(initial=1.0)))
    long = length_s > 180
    stops, said = [], []
    with plot.along_run():
        for place, (calls, blocked) in enumerate(zip(frame.calls, frame.blocked, strict=True)):
            left, right = x.clip(place * frame.bin_s), x.clip((place + 1) * frame.bin_s)
            wide = max(1.0, right - left - 1)
            if calls > blocked:
                plot.rect(left, y(calls - blocked), wide, plot.y0 - y(calls - blocked), "cell s0 k4")
            if blocked:
                plot.rect(left, y(calls), wide, y(calls - blocked) - y(calls), "failcell")
            stops.append((left + right) / 2)
            beside = f" · {count(blocked)} blocked" if blocked else ""
            said.append(f"from {clock(place * frame.bin_s, long=long)} · {count(calls)} calls{beside}")
    plot.line(plot.x0, plot.y0, plot.x1, plot.y0, "axis")
    plot.run_axis(x, 10)
    plot.readout(stops, said)
    return plot
