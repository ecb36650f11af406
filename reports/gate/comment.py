"""check.md: a comment for a pull request, the verdict first, a table of ten lines at most, the rest folded away."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from reports.blocks import Block, Bullets, Code, Fold, Heading, Inline, Paragraph, Strong, Table
from reports.gate.items import Checked, Item
from reports.gate.sentences import badges, beside, ending, glyph, headline, is_judged, mark, reason
from reports.gate.written import interval_text, limit_text, reached_text, value_text, written
from reports.numbers import count, plural
from reports.text.markup import pour, table

ROWS_MOST = 10
WORST_FIRST = ("failed", "void", "unsure", "passed")


def markdown(checked: Checked) -> str:
    """The file's text."""
    return pour(_parts(checked))


def _parts(checked: Checked) -> Iterable[Block]:
    items = sorted(checked.items, key=lambda item: WORST_FIRST.index(item.grade))
    shown, more = items[:ROWS_MOST], items[ROWS_MOST:]
    against = [f"against {checked.against}"] if checked.against else []
    yield Heading(f"{glyph(checked)} {headline(checked)}")
    yield Paragraph(" · ".join([*badges(checked), checked.called, checked.run_id, *against, ending(checked)]))
    yield from (Paragraph(Strong(f"! {warning}")) for warning in checked.warnings)
    yield _table(shown, checked)
    yield Fold("Why, and what to do", [Bullets(_reasons(checked))])
    yield Fold(plural(len(more), "more threshold"), [_table(more, checked)])
    yield Fold("Turns, sessions and failures", [_sizes(items)])


def _table(items: Sequence[Item], checked: Checked) -> Table:
    return table(
        ("threshold", "target", "baseline", "figure", "interval (90 %)", "limit", "verdict"),
        (
            [
                Code(item.threshold),
                item.target,
                written(item, item.baseline) if item.relative else "",
                value_text(item),
                interval_text(item),
                limit_text(item),
                _verdict(item, checked),
            ]
            for item in items
        ),
        left=(0, 1, -1),
    )


def _verdict(item: Item, checked: Checked) -> Inline:
    verdict: Inline = mark(item, checked)
    if not is_judged(item, checked):
        return verdict
    if item.grade in ("failed", "void"):
        sign, word = mark(item, checked).split(" ", 1)
        verdict = (f"{sign} ", Strong(word))
    return (verdict, ", provisional") if item.provisional else verdict


def _reasons(checked: Checked) -> list[str]:
    judged = [item for item in checked.items if is_judged(item, checked)]
    return [*beside(checked), *(f"{item.target}: {item.figure}: {why}" for item in judged if (why := reason(item)))]


def _sizes(items: Sequence[Item]) -> Table:
    sizes = [(count(item.turns), count(item.sessions), count(item.failed), reached_text(item)) for item in items]
    rows = [[item.figure, item.target, *size] for item, size in zip(items, sizes, strict=True)]
    return table(("figure", "target", "turns", "sessions", "failed", "reached"), rows, left=(0, 1))
