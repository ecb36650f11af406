"""The section on turn-taking: the pause from which callers are cut off, and the rates of each
step.
"""

import math
from collections.abc import Iterable, Sequence

from reports.analysis.summary.summary import Summary
from reports.analysis.summary.turn_taking import ALL_PAUSES, CUT_OFF, CUT_OFF_PAUSE
from reports.data.samples import VOICE_TO_VOICE
from reports.formatting import NONE, count, format_number, join_present, ms, percent
from reports.metrics.rate_metrics import MIN_RATE_UNITS
from reports.pages.run_report import charts
from reports.pages.run_report.metric_tables import TARGET, target_cell
from reports.render import blocks as b
from reports.render.svg import plot_figure
from reports.results.value import Group, Value, by_subject
from reports.text import cells, phrases

EVENT_TEXTS = {
    CUT_OFF: "cut off",
    "no_answer": "no answer",
    "false_reply_rate": "reply to a sound",
    "false_yield_rate": "stopped by a sound",
    "yield_rate": "stopped by an interruption",
}
MEANING = (
    "A turn is cut off if a reply is played, or if the service commits the audio, before the speech"
    " has ended. The cut-off pause is the shortest pause from which at least half of the turns are"
    " cut off. If a service reports no commits, only replies that are heard count."
)


def turn_taking(summary: Summary) -> b.Section | None:
    """Return the section on turn-taking; None if no speech has pauses of a set length."""
    values = by_subject(summary.turn_taking)
    if not any(subject.group for subject in values):
        return None
    heads: b.Heads = [
        "pause, ms",
        TARGET,
        "cut off",
        "end of turn p50",
        "reply p50",
    ]
    lengths: list[b.Line] = [
        [
            _length_text(subject.group),
            target_cell(summary, subject.target),
            share_cell(row[CUT_OFF]),
            *(format_number(row[delay].value) for delay in ("end_of_turn_delay", VOICE_TO_VOICE)),
        ]
        for subject, row in values.items()
        if subject.group and subject.group.name != ALL_PAUSES
    ]
    of_steps: list[b.Line] = [
        [
            subject.step,
            target_cell(summary, subject.target),
            *(share_cell(row[name]) for name in EVENT_TEXTS),
        ]
        for subject, row in values.items()
        if subject.step
    ]
    table = b.table(["step", TARGET, *EVENT_TEXTS.values()], of_steps)
    lines = cut_off_pause_texts(summary.turn_taking, summary.targets)
    blocks = [
        *pause_blocks(summary.turn_taking, summary.targets),
        table,
        b.Details("Each length of the pause, in ms", [b.table(heads, lengths)]),
        *b.note(
            f"{MEANING} Intervals of 95 % over sessions; fewer than {MIN_RATE_UNITS} turns have"
            " only counts."
        ),
    ]
    brief = [*b.fact("cut-off pause", lines), table]
    return b.Section(
        "turn-taking", "Turn-taking", "When does the agent cut callers off?", blocks, brief=brief
    )


def _length_text(pause: Group) -> str:
    return format_number(pause.start) + (
        f" – {format_number(pause.end)}" if pause.end > pause.start else ""
    )


def pause_blocks(values: Sequence[Value], targets: Sequence[str]) -> b.Blocks:
    """Return the cut-off pauses as texts, and their plot. `targets` are all targets of the page."""
    plot = charts.cut_off_by_pause(values, targets)
    return [
        *(b.Paragraph(f"{line}.") for line in cut_off_pause_texts(values, targets)),
        plot_figure(plot, "Share of turns that were cut off, by the pause in the caller's speech."),
    ]


def cut_off_pause_texts(values: Iterable[Value], targets: Sequence[str]) -> list[str]:
    """Return the cut-off pause of each target that has turns with pauses, with its name if the
    page has several.
    """
    texts = []
    for subject, row in by_subject(values).items():
        if subject.group and subject.group.name == ALL_PAUSES:
            text = cut_off_pause_text(row[CUT_OFF], row[f"{CUT_OFF} {CUT_OFF_PAUSE}"])
            texts.append(f"{subject.target}: {text}" if len(targets) > 1 else text)
    return texts


def cut_off_pause_text(cut_off: Value, pause: Value) -> str:
    """Return the cut-off pause as a sentence without its period, such as `half of the turns are
    cut off in …`.
    """
    tested = join_present("; ", f"{count(cut_off.n)} turns", cells.not_scored(cut_off.unscored))
    if cut_off.group:
        tested += f" with {ms(cut_off.group.start)} to {ms(cut_off.group.end)}"
    if math.isnan(pause.value):
        more = "more" if cut_off.value >= 0.5 else "less"
        return f"{more} than half of the turns are cut off with each pause ({tested})"
    ends = phrases.interval(pause.low, pause.high, ms)
    return f"half of the turns are cut off in a pause of {ms(pause.value)} (95 %: {ends}; {tested})"


def share_cell(share: Value, style: str = "") -> b.Cell | str:
    """Return a share with its interval, or only the two counts if there are too few turns."""
    missing = cells.not_scored(share.unscored)
    if not share.n:
        return missing or NONE
    if share.n < MIN_RATE_UNITS:
        return b.Cell(cells.rate_events(share), style=style)
    below = join_present("; ", cells.share_interval(share), missing)
    return b.Cell(percent(share.value, 1), below, style=style)
