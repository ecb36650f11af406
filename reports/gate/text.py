"""A check for a terminal: verdict, badges, warnings, a line for each threshold, what to know, then the exit code."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from reports.gate.items import Checked, Grade, Item
from reports.gate.sentences import badges, beside, ending, glyph, headline, is_judged, mark, reason
from reports.gate.written import interval_text, limit_text, value_text
from reports.numbers import NBSP, shortened

COLOURS: dict[Grade, str] = {"passed": "32", "failed": "31", "unsure": "33", "void": "31"}
BOLD, SOFT = "1", "2"
NAMES = 44
"""Letters of a figure with its target."""


def terminal(checked: Checked, width: int = 100, colour: bool = False) -> str:
    """The check as text."""
    lines = [*_opening(checked, width, colour), *_warnings(checked, width, colour), "", *_table(checked, width, colour)]
    for remark in beside(checked):
        lines += textwrap.wrap(f"note: {remark}", width, subsequent_indent="      ")
    return "\n".join([*lines, ending(checked)]).replace(NBSP, " ") + "\n"


def _ink(text: str, code: str, colour: bool) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if colour else text


def _opening(checked: Checked, width: int, colour: bool) -> Iterable[str]:
    for line in textwrap.wrap(f"{glyph(checked)} {headline(checked)}", width, subsequent_indent="  "):
        yield _ink(line, BOLD, colour)
    against = [f"against {checked.against}"] if checked.against else []
    yield from textwrap.wrap(" · ".join([*badges(checked), checked.called, checked.run_id, *against]), width)


def _warnings(checked: Checked, width: int, colour: bool) -> Iterable[str]:
    for warning in checked.warnings:
        for line in textwrap.wrap(f"! {warning}", width, subsequent_indent="  "):
            yield _ink(line, f"{BOLD};{COLOURS['unsure']}", colour)


def _table(checked: Checked, width: int, colour: bool) -> Iterable[str]:
    items = checked.items
    if not items:
        return
    several = len({item.target for item in items}) > 1
    rows = [_row(item, several) for item in items]
    sizes = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    marks = [mark(item, checked) for item in items]
    wide = sum(sizes) + 2 * len(sizes) + 2 + max(map(len, marks)) <= width
    for item, row, verdict in zip(items, rows, marks, strict=True):
        cells = [text.rjust(size) for text, size in zip(row[1:], sizes[1:], strict=True)]
        first = [row[0].ljust(sizes[0])] if wide else []
        if not wide:  # figures on a line of their own
            yield f"  {row[0]}"
        judged = is_judged(item, checked)
        yield f"  {'  '.join([*first, *cells])}  {_ink(verdict, COLOURS[item.grade] if judged else SOFT, colour)}"
        if judged and (said := reason(item)):
            for part in textwrap.wrap(said, width - 6):
                yield _ink(f"      {part}", SOFT, colour)
    yield ""


def _row(item: Item, several: bool) -> tuple[str, ...]:
    name = f"{item.target}: {item.figure}" if several else item.figure
    return shortened(name, NAMES), value_text(item), interval_text(item), limit_text(item)
