"""The sections on latency and failures along a session, by the length of the conversation, and
by other groups.
"""

from collections.abc import Iterable, Sequence

from reports.analysis.summary.groups import GroupedLatency
from reports.analysis.summary.summary import Summary
from reports.formatting import change
from reports.pages.run_report import charts
from reports.pages.run_report.metric_tables import (
    BRIEF_ROWS,
    failure_table,
    failure_text,
    metrics,
    rows_of,
)
from reports.render import blocks as b
from reports.render.markers import COLOURS
from reports.render.svg import plot_figure
from reports.text import cells, groups

CONTEXT = (
    "The input tokens of a turn’s first response contain the whole conversation, including cached"
    " tokens. In a fixed script, a longer conversation is also a later step: compare with latency"
    " by step, or shuffle the steps."
)
NO_RISE = (
    "No target certainly fails more often in longer conversations. More sessions would make the"
    " intervals narrower."
)
SUPPORT = (
    "Give the service’s support these failed turns, with the region and the model of the deployment"
    " (section Targets). They have the shortest contexts from which turns fail more often."
)


def along_session(summary: Summary) -> b.Section | None:
    """Return the section on latency by turn number and by session age; None if sessions are too
    short for both.
    """
    frames = _plottable(summary, "turn", "age")
    if not frames:
        return None
    banded = " with its 95 % interval" if len(summary.targets) <= COLOURS else ""
    tails = "; dashed: p95" if any(latency.tails for frame in frames for latency in frame) else ""
    by_step = (
        "In a fixed script, the turn number also determines the step: compare with latency by step."
    )
    blocks = [*_lines(summary, frames), b.ReadingGuide(f"Solid: p50{banded}{tails}. {by_step}")]
    return b.Section(
        "along",
        "Latency by turn number and session age",
        "Does latency change along a session?",
        blocks,
    )


def context(summary: Summary) -> b.Section | None:
    """Return the section on latency by the number of tokens of the conversation. Return None if the
    conversations have similar lengths.
    """
    frames = _plottable(summary, "context")
    if not frames and not summary.slopes:
        return None
    rows = [*summary.slopes, *rows_of(summary, ("cached_share",))]
    blocks = [
        *_lines(summary, frames),
        *b.line("; ".join(cells.slope_lines(summary))),
        *(
            [b.Details("Data table", [metrics(summary, rows)], open=not frames, again=True)]
            if rows
            else []
        ),
        *b.note(CONTEXT),
    ]
    question = "How does latency grow with the conversation?"
    brief = b.fact("slope", cells.slope_lines(summary))
    return b.Section("context", "Latency by conversation length", question, blocks, brief=brief)


def context_failures(summary: Summary) -> b.Section | None:
    """Return the section on failed turns by the number of tokens of the conversation. Return None
    if no turn failed, or if the conversations have similar lengths.
    """
    frames = [
        frame for frame in summary.latency_by("context") if any(row.has_failures for row in frame)
    ]
    if not frames:
        return None
    blocks = [*b.line(groups.rising_failures(summary) or NO_RISE)]
    for frame in frames:
        title = cells.metric_title(frame[0].metric, frame[0].stratum)
        blocks += [b.Heading(title)] if len(frames) > 1 else []
        blocks += groups.failure_blocks(frame, summary.targets)
    if failures := summary.context_failures:
        blocks += [b.Heading("For the service’s support"), b.Paragraph(SUPPORT)]
        blocks += [failure_table(failures, summary.targets)]
    rows = [row for frame in frames for row in frame if row.has_failures]
    lines = [f"{row.label}: {groups.failures_line(row)}" for row in rows]
    of_targets = {failure.target: failure for failure in reversed(failures)}
    ids = [failure_text(failure) for failure in reversed(of_targets.values())]
    brief = [
        *b.facts("by context", lines[:BRIEF_ROWS]),
        *b.facts("for support", ids[:BRIEF_ROWS]),
    ]
    question = "Do longer conversations fail more often?"
    return b.Section(
        "context-failures", "Failures by context length", question, blocks, brief=brief
    )


PLOTTED = ("turn", "age", "context", "calls", "host")
"""The keys of groups that have a separate section, with figures or with hosts."""


def by_others(summary: Summary) -> Iterable[b.Section]:
    """Yield a section for each key of groups that is not in PLOTTED. It has a table for each
    stratum.
    """
    for by in dict.fromkeys(
        latency.by for latency in summary.grouped_latency if latency.by not in PLOTTED
    ):
        blocks = [
            block
            for frame in summary.latency_by(by)
            for block in groups.latency_blocks(frame, summary.targets)
        ]
        key = groups.key_text(by)
        question = f"Does latency depend on the {key.head}?"
        brief = groups.compared_blocks(summary, by)
        yield b.Section(by, f"Latency by {key.head}", question, blocks, brief=brief)


def _plottable(summary: Summary, *keys: str) -> list[list[GroupedLatency]]:
    """Return the latencies of each key and stratum, if a target has a median for at least two
    groups.
    """
    frames = (frame for key in keys for frame in summary.latency_by(key))
    return [frame for frame in frames if any(len(latency.published) > 1 for latency in frame)]


def _lines(summary: Summary, frames: Sequence[Sequence[GroupedLatency]]) -> b.Blocks:
    blocks: b.Blocks = []
    for stratum in summary.turns.strata:
        stratum_frames = [frame for frame in frames if frame[0].stratum == stratum]
        if stratum_frames:
            blocks += [b.Heading(cells.metric_title(summary.mains[stratum], stratum))]
            blocks += [
                plot_figure(charts.latency_lines(frame), _caption(frame))
                for frame in stratum_frames
            ]
    return blocks


def _caption(frame: Sequence[GroupedLatency]) -> b.Inline:
    """Return a caption and notes for a figure.

    Example: `By turn number. p50 of turn 10 against turn 1: direct −3 %, gateway +4 %.`
    """
    change_text = ""
    pairs = {
        row.target: (row.published[0], row.published[-1]) for row in frame if len(row.published) > 1
    }
    if len({(first.bin, last.bin) for first, last in pairs.values()}) == 1:
        first, last = (group.bin.name for group in next(iter(pairs.values())))
        places = {
            "turn": f"turn {last} against turn {first}",
            "age": f"turns at {last} against {first}",
        }
        where = places.get(frame[0].by, f"turns of {last} tokens against {first}")
        changes = [
            f"{f'{target} ' if len(frame) > 1 else ''}{change(late.p50.value / early.p50.value)}"
            for target, (early, late) in pairs.items()
        ]
        change_text = f"p50 of {where}: {', '.join(changes)}."
    because = "; they become fewer, and only long sessions remain"
    thinned = f" Below the axis: turns{because if frame[0].by != 'context' else ''}."
    thinned_text = thinned if any(latency.thinned for latency in frame) else ""
    unplaced = f" {ungrouped}" if (ungrouped := groups.ungrouped_text(frame)) else ""
    return (
        b.Strong(f"{groups.key_text(frame[0].by).title}."),
        f" {change_text}",
        thinned_text,
        unplaced,
    )
