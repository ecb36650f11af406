"""compare.md, fit for a comment on a pull request: the verdict, a table of at most ten lines, the rest folded away."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from reports.compare import sentences
from reports.compare.comparison import Comparison
from reports.compare.forest_rows import Row, row_of, with_unit
from reports.compare.text import design
from reports.labels import all_called
from reports.numbers import NBSP, count, listed, percent, plural, three
from reports.text.markdown import folded, plain, table
from reports.wording.differences import figure

ROWS_MOST = 10


def markdown(comparison: Comparison) -> str:
    """The file's text."""
    lines = [*_head(comparison), "", *_answer(comparison), "", *_details(comparison)]
    return "\n".join(lines).rstrip().replace(NBSP, " ") + "\n"


def _head(comparison: Comparison) -> Iterable[str]:
    yield f"### {plain(sentences.title(comparison))}"
    simulated = ["◇ **SIMULATED**: `rtbench simulate`, no real service"] if comparison.simulated else []
    valid = sentences.unusable_mark(comparison) if comparison.unfair else "✓ VALID"
    named = all_called(side.run.document for side in comparison.sides)
    known = [plain(listed(named))] if named else []
    yield " · ".join([*simulated, valid, *known, design(comparison), f"`rtbench check` exits with {comparison.status}"])
    if not comparison.unfair:
        said = " ".join(filter(None, (sentences.headline(comparison), sentences.second(comparison))))
        yield from ("", plain(said))
    elif remedies := sentences.second(comparison):
        yield from ("", f"**What to do:** {plain(remedies)}")
    if assumed := sentences.provisional(comparison):
        yield from ("", plain(assumed))


def _answer(comparison: Comparison) -> Iterable[str]:
    """The gated figures; where there are more than ten, those that did not pass come first."""
    rows = sorted(_rows(comparison, gated=True), key=lambda one: sentences.WORST.index(one.word) > 1)
    if rows:
        yield from _table(comparison, rows[:ROWS_MOST], "gated figure")
    if len(rows) > ROWS_MOST:
        yield f"\n{len(rows) - ROWS_MOST} more gated figures: below."


def _rows(comparison: Comparison, *, gated: bool) -> list[Row]:
    return [row_of(one, comparison) for one in comparison.findings if one.question.gated == gated]


def _by_step(comparison: Comparison) -> list[Row]:
    return [row_of(one, comparison) for one in comparison.steps]


def _table(comparison: Comparison, rows: Sequence[Row], first: str) -> Iterable[str]:
    several, strike = len(comparison.sides) > 2, "~~" if comparison.unfair else ""
    interval = percent(1 - 2 * comparison.method.level, 1)
    whose = ["candidate"] if several else []
    head = [first, *whose, plain(comparison.sides[0].label), "it" if several else plain(comparison.sides[1].label)]
    yield from table(
        [*head, f"difference ({interval} interval)", "margin", "verdict"],
        (
            [
                figure(one.finding.question),
                *([one.candidate] if several else []),
                *(f"{strike}{with_unit(value, one.unit)}{strike}" for value in one.values),
                f"{strike}{one.told}{strike}",
                one.margin_text,
                one.judged + (f": {one.why}" if one.why else ""),
            ]
            for one in rows
        ),
        left=1 + len(whose),
        last="---",
    )


def _details(comparison: Comparison) -> Iterable[str]:
    more = sorted(_rows(comparison, gated=True), key=lambda one: sentences.WORST.index(one.word) > 1)[ROWS_MOST:]
    if more:
        yield from folded("More gated figures", _table(comparison, more, "gated figure"))
    others = _rows(comparison, gated=False)
    if others:
        yield from folded("Figures that are not gated", _table(comparison, others, "figure"))
    if comparison.steps:
        body = [
            *(f"- {plain(worst)}" for worst in sentences.worst_steps(comparison)),
            "",
            *_table(comparison, _by_step(comparison), "step"),
        ]
        yield from folded("Which step changed most? Not gated", body)
    yield from folded("Was the comparison fair?", _fairness(comparison))
    if comparison.notices:
        yield from folded("Notes", (f"- {plain(notice)}" for notice in comparison.notices))
    yield from folded("Method", (plain(_method(comparison)),))


def _fairness(comparison: Comparison) -> Iterable[str]:
    words = {True: "✓ passed", False: "✕ failed", None: "for information"}
    labels = [plain(side.label) for side in comparison.sides]
    rows = [[check.name, *check.texts, words[check.fair]] for check in comparison.checks]
    yield from table(["check", *labels, "result"], rows, left=len(labels) + 1, last="---")


def _method(comparison: Comparison) -> str:
    """Enough to compute it again."""
    method = comparison.method
    unit = "pairs of sessions" if method.design == "pairs" else "sessions"
    assumed = f" {three(100 * method.run_sd)}{NBSP}% of run-to-run spread was assumed." if method.run_sd else ""
    return (
        f"{count(method.draws)} resamples of {unit}, seed {method.seed}, one-sided level {percent(method.level, 1)}, "
        f"Holm over {plural(method.holm, 'gated figure')}.{assumed}"
    )
