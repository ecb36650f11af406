"""compare.md, fit for a comment on a pull request: the verdict, a table of at most ten lines, the rest folded away."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from reports.blocks import Block, Bullets, Cell, Code, Fold, Heading, Paragraph, Strong, Table
from reports.comparisons import sentences
from reports.comparisons.comparison import Comparison
from reports.comparisons.forest_rows import ForestRow, row_of, with_unit
from reports.comparisons.text import design
from reports.labels import all_called
from reports.numbers import NBSP, count, listed, percent, plural, three
from reports.text.markup import SIMULATED, pour, table
from reports.wording.differences import figure

ROWS_MOST = 10


def markdown(comparison: Comparison) -> str:
    """The file's text."""
    return pour((*_head(comparison), *_tables(comparison)))


def _head(comparison: Comparison) -> Iterable[Block]:
    yield Heading(sentences.title(comparison))
    valid = sentences.unusable_mark(comparison) if comparison.unfair else "✓ VALID"
    named = listed(all_called(side.run.document for side in comparison.sides))
    about = " · ".join(filter(None, (valid, named, design(comparison))))
    status = Code("rtbench check"), f" exits with {comparison.status}"
    yield Paragraph((SIMULATED if comparison.simulated else "", f"{about} · ", *status))
    if not comparison.unfair:
        yield Paragraph(" ".join(filter(None, (sentences.headline(comparison), sentences.second(comparison)))))
    elif remedies := sentences.second(comparison):
        yield Paragraph((Strong("What to do:"), f" {remedies}"))
    yield Paragraph(sentences.provisional(comparison))


def _tables(comparison: Comparison) -> Iterable[Block]:
    """The gated figures, ten at most and those that did not pass first; all else is folded away."""
    rows = sorted(_rows(comparison, gated=True), key=lambda row: sentences.WORST.index(row.word) > 1)
    yield _table(comparison, rows[:ROWS_MOST], "gated figure")
    if len(rows) > ROWS_MOST:
        yield Paragraph(f"{len(rows) - ROWS_MOST} more gated figures: below.")
    yield Fold("More gated figures", [_table(comparison, rows[ROWS_MOST:], "gated figure")])
    yield Fold("Figures that are not gated", [_table(comparison, _rows(comparison, gated=False), "figure")])
    steps = _table(comparison, [row_of(step, comparison) for step in comparison.steps], "step")
    yield Fold("Which step changed most? Not gated", [Bullets(sentences.worst_steps(comparison)), steps])
    yield Fold("Was the comparison fair?", [_fairness(comparison)])
    yield Fold("Notes", [Bullets(comparison.notices)])
    yield Fold("Method", [Paragraph(_method(comparison))])


def _rows(comparison: Comparison, *, gated: bool) -> list[ForestRow]:
    return [row_of(finding, comparison) for finding in comparison.findings if finding.question.gated == gated]


def _table(comparison: Comparison, rows: Sequence[ForestRow], first: str) -> Table:
    several, style = len(comparison.sides) > 2, "struck" if comparison.unfair else ""
    base, candidate = (side.label for side in comparison.sides[:2])
    whose = ["candidate"] if several else []
    interval = f"difference ({percent(1 - 2 * comparison.method.level, 1)} interval)"
    return table(
        [first, *whose, base, "it" if several else candidate, interval, "margin", "verdict"],
        (
            [
                figure(row.finding.question),
                *([row.candidate] if several else []),
                *(Cell(with_unit(value, row.unit), style=style) for value in row.values),
                Cell(row.told, style=style),
                row.margin_text,
                row.judged + (f": {row.why}" if row.why else ""),
            ]
            for row in rows
        ),
        left=(*range(1 + len(whose)), -1),
    )


def _fairness(comparison: Comparison) -> Table:
    words = {True: "✓ passed", False: "✕ failed", None: "for information"}
    labels = [side.label for side in comparison.sides]
    rows = [[check.name, *check.texts, words[check.fair]] for check in comparison.checks]
    return table(["check", *labels, "result"], rows, left=range(len(labels) + 2))


def _method(comparison: Comparison) -> str:
    """Enough to compute it again."""
    method = comparison.method
    unit = "pairs of sessions" if method.design == "pairs" else "sessions"
    assumed = f" {three(100 * method.run_sd)}{NBSP}% of run-to-run spread was assumed." if method.run_sd else ""
    return (
        f"{count(method.draws)} resamples of {unit}, seed {method.seed}, one-sided level {percent(method.level, 1)}, "
        f"Holm over {plural(method.holm, 'gated figure')}.{assumed}"
    )
