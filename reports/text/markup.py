"""Markdown: pours blocks into it, and is the one place that escapes their texts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from bench.plain import printable
from reports.blocks import Block, Bullets, Cell, Code, Column, Fold, Heading, Inline, Paragraph, Strong, Table, row_of
from reports.numbers import NBSP

_MARKUP = re.compile(r"[\\|`*\[_]")
SIMULATED: Inline = ("◇ ", Strong("SIMULATED"), ": ", Code("rtbench simulate"), ", no real service · ")
CLOSE: Sequence[tuple[type, type]] = ((Heading, Paragraph), (Paragraph, Bullets), (Fold, Fold))
"""Parts that follow each other without a blank line."""


def pour(parts: Iterable[Block]) -> str:
    """The text of a file; parts without rows, texts or parts are left out."""
    return f"{_poured(parts)}\n".replace(NBSP, " ")


def table(heads: Sequence[Inline], rows: Iterable[Sequence[Cell | Inline]], left: Sequence[int] = (0,)) -> Table:
    """A table; `left` are the places of columns of text, negative ones from the end."""
    texts = {place % len(heads) for place in left}
    columns = tuple(Column(head, left=place in texts) for place, head in enumerate(heads))
    return Table(columns, tuple(row_of(list(row)) for row in rows))


def coded(text: str) -> Inline:
    """A text whose parts between backticks are code."""
    return tuple(Code(part) if place % 2 else part for place, part in enumerate(text.split("`")))


def plain(text: str) -> str:
    """Text that Markdown and HTML leave as it is: labels are anyone's."""
    return _html(_MARKUP.sub(r"\\\g<0>", printable(text)))


def _html(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _poured(parts: Iterable[Block]) -> str:
    text = ""
    last: type = str
    for part in parts:
        if poured := _part(part):
            between = "\n" if (last, type(part)) in CLOSE else "\n\n"
            text, last = f"{text}{between}{poured}" if text else poured, type(part)
    return text


def _part(part: Block) -> str:
    match part:
        case Heading(text):
            return f"### {plain(text)}"
        case Paragraph(text):
            return _inline(text)
        case Bullets(texts):
            return "\n".join(f"- {_inline(text)}" for text in texts)
        case Table(rows=rows) if rows:
            return _table(part)
        case Fold(title, blocks) if body := _poured(blocks):
            return f"<details><summary>{_html(title)}</summary>\n\n{body}\n\n</details>"
    return ""


def _table(table: Table) -> str:
    heads = " | ".join(_inline(column.head) for column in table.columns)
    sides = "|".join("---" if column.left else "--:" for column in table.columns)
    rows = (" | ".join(map(_cell, row.cells)) for row in table.rows)
    return "\n".join([f"| {heads} |", f"|{sides}|", *(f"| {row} |" for row in rows)])


def _cell(cell: Cell) -> str:
    strike = "~~" if cell.style == "struck" else ""
    below = f" ({_inline(cell.below)})" if cell.below else ""
    return f"{strike}{_inline(cell.text)}{below}{strike}"


def _inline(inline: Inline) -> str:
    match inline:
        case str():
            return plain(inline)
        case Strong(text):
            return f"**{_inline(text)}**"
        case Code(text):
            return plain(text) if set("`|\n\r") & set(text) else f"`{printable(text)}`"  # what would end it is no code
    return "".join(map(_inline, inline)) if type(inline) is tuple else _inline(inline[0])
