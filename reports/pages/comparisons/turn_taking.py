"""The section of a comparison on turn-taking: the cut-off pause of each target, and the
differences of the shares.
"""

from __future__ import annotations

import math

from reports.analysis.comparisons.comparison import Comparison
from reports.pages.comparisons.forest import colours_of
from reports.pages.run_report.sections.turn_taking import (
    EVENT_TEXTS,
    MEANING,
    cut_off_pause_texts,
    pause_blocks,
    share_cell,
)
from reports.render import blocks as b
from reports.results.value import Finding
from reports.text.comparison_sentences import interval_text
from reports.text.verdicts import NOT_SHOWN, difference_interval, signed

HEADING = "Turn-taking"
QUESTION = "Which target cuts callers off?"


def turn_taking(comparison: Comparison) -> b.Section | None:
    """Return the section; None if no speech has pauses of a set length."""
    pauses = comparison.pauses
    if not pauses:
        return None
    labels = [target.label for target in comparison.targets]
    several = len(comparison.targets) > 2
    heads: b.Heads = [
        b.Column("step", left=True, inline=True),
        b.Column("turns", left=True),
        *([b.Column("candidate", left=True)] if several else []),
        b.Column(labels[0], below="baseline", shorten=1),
        b.Column(
            "its share" if several else labels[1], below="" if several else "candidate", shorten=1
        ),
        "difference",
        b.Column(f"{interval_text(comparison.method.level)} interval", leave_out=2),
    ]
    table = b.table(
        heads, [_row(row, comparison, several=several) for row in comparison.turn_taking]
    )
    blocks = [
        *pause_blocks(pauses, labels),
        table,
        *b.note(f"{MEANING} Shares have intervals of 95 %."),
    ]
    brief = [*b.fact("cut-off pause", cut_off_pause_texts(pauses, labels)), table]
    return b.Section("turn-taking", HEADING, QUESTION, blocks, brief=brief)


def _row(row: Finding, comparison: Comparison, *, several: bool) -> b.Row:
    style = "fig nowrap struck" if comparison.failed_checks else "fig nowrap"
    is_shown = not math.isnan(row.difference)
    texts = [
        signed(row.difference, "points") if is_shown else NOT_SHOWN,
        difference_interval(row.low, row.high, "points") if is_shown else "",
    ]
    return b.make_row(
        [
            row.value.step or "all pauses",
            EVENT_TEXTS[row.value.metric],
            *(
                [b.Cell(row.value.target, target=colours_of(comparison)[row.value.target])]
                if several
                else []
            ),
            *(share_cell(value, style) for value in (row.against, row.value) if value),
            *(b.Cell(text, style=style) for text in texts),
        ]
    )
