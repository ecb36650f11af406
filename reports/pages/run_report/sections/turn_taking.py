"""The section on turn-taking: the pause from which callers are cut off, and the shares of each step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from reports.analysis.summary.metrics import ShareEstimate
from reports.analysis.summary.summary import Summary
from reports.analysis.summary.turn_taking import PauseLadder, TurnEvent
from reports.formatting import NONE, count, format_number, ms, percent
from reports.metrics.rate_metrics import MIN_RATE_UNITS
from reports.pages.run_report import charts
from reports.pages.run_report.metric_tables import target_cell
from reports.render import blocks as b
from reports.render.svg import plot_figure
from reports.text import cells

EVENT_TEXTS: Mapping[TurnEvent, str] = {
    "cut_off": "cut off",
    "no_answer": "no answer",
    "false_reply": "reply to a sound",
    "false_yield": "stopped by a sound",
    "yielded": "stopped by an interruption",
}
MEANING = (
    "A turn is cut off if a reply is played, or if the service commits the audio, before the speech has ended. The "
    "cut-off pause is the shortest pause from which at least half of the turns are cut off. If a service reports no "
    "commits, only replies that are heard count."
)


def turn_taking(summary: Summary) -> b.Section | None:
    """Return the section on turn-taking; None if no speech has pauses of a set length."""
    ladders, steps = summary.turn_taking.ladders, summary.turn_taking.steps
    if not ladders:
        return None
    heads: list[b.Head] = ["pause, ms", b.Column("target", left=True), "cut off", "end of turn p50", "reply p50"]
    rungs: list[b.Line] = [
        [
            format_number(rung.from_ms) + (f" – {format_number(rung.to_ms)}" if rung.to_ms > rung.from_ms else ""),
            target_cell(summary, ladder.target),
            share_cell(rung.cut_off),
            format_number(rung.end_of_turn_delay_ms),
            format_number(rung.voice_to_voice_ms),
        ]
        for ladder in ladders
        for rung in ladder.rungs
    ]
    of_steps: list[b.Line] = [
        [row.step, target_cell(summary, row.target), *(share_cell(getattr(row, name)) for name in EVENT_TEXTS)]
        for row in steps
    ]
    table = b.table(["step", b.Column("target", left=True), *EVENT_TEXTS.values()], of_steps)
    lines = cut_off_pause_texts(ladders, summary.targets)
    blocks = [
        *pause_blocks(ladders, summary.targets),
        table,
        b.Details("Each length of the pause, in ms", [b.table(heads, rungs)]),
        *b.note(f"{MEANING} Intervals of 95 % over sessions; fewer than {MIN_RATE_UNITS} turns have only counts."),
    ]
    brief = [*b.fact("cut-off pause", lines), table]
    return b.Section("turn-taking", "Turn-taking", "When does the agent cut callers off?", blocks, brief=brief)


def pause_blocks(ladders: Sequence[PauseLadder], targets: Sequence[str]) -> list[b.Block]:
    """Return the cut-off pauses as texts, and the plot of the ladders. `targets` are all targets of the page."""
    plot = charts.pause_ladders(ladders, targets)
    read = "Share of turns that were cut off, by the pause in the caller's speech."
    return [*(b.Paragraph(f"{line}.") for line in cut_off_pause_texts(ladders, targets)), plot_figure(plot, read)]


def cut_off_pause_texts(ladders: Sequence[PauseLadder], targets: Sequence[str]) -> list[str]:
    """Return the cut-off pause of each ladder, with the name of its target if the page has several."""
    named = len(targets) > 1
    return [f"{f'{ladder.target}: ' if named else ''}{cut_off_pause_text(ladder)}" for ladder in ladders]


def cut_off_pause_text(ladder: PauseLadder) -> str:
    """Return the cut-off pause as a sentence without its period, such as `half of the turns are cut off in …`."""
    if math.isnan(ladder.cut_off_pause_ms):
        more = "more" if ladder.cut_off.share >= 0.5 else "less"
        return f"{more} than half of the turns are cut off with each pause ({_tested(ladder)})"
    ends = cells.interval(ladder.cut_off_pause_low_ms, ladder.cut_off_pause_high_ms, ms)
    return (
        f"half of the turns are cut off in a pause of {ms(ladder.cut_off_pause_ms)} (95 %: {ends}; {_tested(ladder)})"
    )


def _tested(ladder: PauseLadder) -> str:
    return f"{count(ladder.cut_off.total)} turns with {ms(ladder.shortest_ms)} to {ms(ladder.longest_ms)}"


def share_cell(share: ShareEstimate, style: str = "") -> b.Cell | str:
    """Return a share with its interval, or only the two counts if there are too few turns."""
    if not share.total:
        return NONE
    counts = f"{count(share.count)} of {count(share.total)}"
    if share.total < MIN_RATE_UNITS:
        return b.Cell(counts, style=style)
    interval = cells.interval(share.low, share.high, lambda end: percent(end, 1))
    return b.Cell(percent(share.share, 1), interval, style=style)
