"""check.md: a comment for a pull request, the verdict first, a table of ten lines at most, the rest folded away."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from reports.gate.items import Checked, Item
from reports.gate.sentences import badges, beside, ending, glyph, headline, is_judged, mark, reason
from reports.gate.written import interval_text, limit_text, value_text, written
from reports.numbers import NBSP, count, plural
from reports.text.markdown import folded, plain, table

ROWS_MOST = 10
HEAD = ("threshold", "target", "baseline", "figure", "interval (90 %)", "limit")
WORST_FIRST = ("failed", "void", "unsure", "passed")


def markdown(checked: Checked) -> str:
    """The file's text."""
    items = sorted(checked.items, key=lambda item: WORST_FIRST.index(item.grade))
    shown, more = items[:ROWS_MOST], items[ROWS_MOST:]
    lines = [
        f"### {glyph(checked)} {plain(headline(checked))}",
        " · ".join(plain(part) for part in [*badges(checked), *_about(checked), ending(checked)]),
        *(f"\n**! {plain(warning)}**" for warning in checked.warnings),
        "",
        *(_rows(shown, checked) if shown else ()),
        "",
        *folded("Why, and what to do", _reasons(checked)),
        *folded(f"{plural(len(more), 'more threshold')}", list(_rows(more, checked)) if more else []),
        *folded("Turns, sessions and failures", list(_sizes(items))),
    ]
    return "\n".join(lines).rstrip().replace(NBSP, " ") + "\n"


def _about(checked: Checked) -> list[str]:
    against = [f"against {checked.against}"] if checked.against else []
    return [checked.called, checked.run_id, *against]


def _rows(items: Sequence[Item], checked: Checked) -> Iterable[str]:
    rows = [
        [
            _code(item.threshold),
            plain(item.target),
            plain(written(item, item.baseline)) if item.relative else "",
            plain(value_text(item)),
            plain(interval_text(item)),
            plain(limit_text(item)),
            _verdict(item, checked),
        ]
        for item in items
    ]
    yield f"| {' | '.join((*HEAD, 'verdict'))} |"
    yield "|---|---|--:|--:|--:|--:|---|"
    yield from (f"| {' | '.join(row)} |" for row in rows)


def _verdict(item: Item, checked: Checked) -> str:
    told = mark(item, checked)
    if not is_judged(item, checked):
        return told
    if item.grade in ("failed", "void"):
        glyph, word = told.split(" ", 1)
        told = f"{glyph} **{word}**"
    return f"{told}, provisional" if item.provisional else told


def _code(text: str) -> str:
    """As code; a text that would end it as plain text."""
    return plain(text) if set("`|\n\r") & set(text) else f"`{text}`"


def _reasons(checked: Checked) -> list[str]:
    judged = [item for item in checked.items if is_judged(item, checked)]
    of_items = [f"{item.target}: {item.figure}: {said}" for item in judged if (said := reason(item))]
    return [f"- {plain(text)}" for text in (*beside(checked), *of_items)]


def _sizes(items: Sequence[Item]) -> Iterable[str]:
    if items:
        rows = [
            [item.figure, item.target, count(item.turns), count(item.sessions), count(item.failed)] for item in items
        ]
        yield from table(("figure", "target", "turns", "sessions", "failed"), rows, left=2)
