"""Blocks as lines of a terminal: at most so many columns, in colour only where it is wanted."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from bench.untrusted.sanitize import escape_control
from reports.numbers import NBSP, shortened
from reports.render import blocks as b
from reports.render.markers import colour_class, marker_char

INKS = {
    **{"good": "32", "bad": "31", "warn": "33", "sim": "35", "bold": "1", "soft": "2"},
    **{"ok": "32", "in": "32", "eq": "32", "no": "31", "hm": "33"},
    **{"t0": "34", "t1": "33", "t2": "36", "t3": "37"},
}
"""Codes of styles: of words, of badges, of targets (t0 to t3, as on pages)."""
INDENT, BELOW = 16, 6
"""Columns before the text beside a name, and before what belongs to a row."""
GAP = 2
BETWEEN_BADGES = "     "
KEPT_MOST = 59
"""Letters of a text beside a name that is kept on one line."""
NARROWEST = 20
FIRST_MOST = 20
"""Letters of the first cell of a table's row; a longer one is above its row."""


@dataclass(frozen=True)
class Badges:
    """Texts with their styles, and a text at the other end of the line: before them where the badges are `last`."""

    badges: Sequence[tuple[str, str]]
    text: str
    last: bool = False


@dataclass(frozen=True)
class Grid:
    """Rows in columns; `left` are the places of columns of text. A row of one cell is a line of its own.

    The first of the layouts that fits is shown: the places of its columns. A first cell of more than `most` letters, or
    one that the layout leaves out, stands above its row.

    If no layout fits and `least` is given, first cells are cut to so many letters at the least. `ending` of them are
    those of their end, all if it is None; others if rows would look alike. If every cut makes rows alike, first cells
    stand above them.
    """

    rows: Sequence[b.Row]
    left: Sequence[int] = ()
    layouts: Sequence[Sequence[int]] = ()
    indent: str = ""
    most: int | None = None
    least: int | None = None
    ending: int | None = None


Part = b.Block | Badges | Grid


def render_page(page: b.Page, width: int = 100, colour: bool = False) -> str:
    """Return a page in at most so many columns: its answer, what is brief of its sections, and its notes."""
    badges = Badges([(f"{badge.glyph} {badge.word}", badge.style) for badge in page.badges], page.beside, last=True)
    notes = [block for block in page.lead if isinstance(block, b.Bullets)]
    opening = [badges, b.Paragraph(page.headline, "bold"), *(block for block in page.lead if block not in notes)]
    briefs = [block for section in page.sections for block in section.brief]
    body = [*(page.answer or ()), *briefs, *notes]
    parts = (list(part) for _, part in groupby(body, key=lambda block: isinstance(block, b.Table) and id(block)))
    return render_lines((opening, *parts, page.next), width, colour)  # a table is a part by itself


def essentials(page: b.Page) -> str:
    """Return a page in one line: its badges, and what is beside them."""
    badges = (f"{badge.glyph} {badge.word}" for badge in page.badges)
    return " · ".join(filter(None, (*badges, page.beside))).replace(NBSP, " ")


def render_lines(parts: Iterable[Iterable[Part]], width: int = 100, colour: bool = False) -> str:
    """The text: a blank line stands between its parts, of which empty ones are left out."""
    texts = ("\n".join(line for block in part for line in _lines(block, width, colour)) for part in parts)
    return "\n\n".join(filter(None, texts)).replace(NBSP, " ") + "\n"


def coloured(text: str, style: str, colour: bool = True) -> str:
    """The text in the colours of its style, words of INKS, where colour is wanted."""
    for code in filter(None, map(INKS.get, style.split())) if colour else ():
        text = f"\x1b[{code}m{text}\x1b[0m"
    return text


def _lines(block: Part, width: int, colour: bool) -> Iterable[str]:
    """The lines of a block; none of one that only a page shows."""
    match block:
        case b.Paragraph(text, style):
            yield from (coloured(line, style, colour) for line in _wrapped(_text(text), width))
        case b.Heading(text):
            yield from _lines(b.Paragraph(text, "soft"), width, colour)
        case b.Banner(lines):
            for text in lines:
                yield from _lines(b.Paragraph(text, "bad"), width, colour)
        case b.Bullets(texts):
            for text in texts:
                yield from _fact(b.Fact("note", [text]), width, colour)
        case b.Details(title, stated=True):
            yield from _fact(b.Fact("note", [title]), width, colour)
        case b.Fact():
            yield from _fact(block, width, colour)
        case b.Command(title, text):
            yield from (f"{'':<{INDENT}}{title}:", text)
        case b.Table(rows=rows) if rows:
            yield from _lines(b.Paragraph(block.caption, "soft"), width, colour)
            yield from _grid(_grid_of(block), width, colour)
        case Grid():
            yield from _grid(block, width, colour)
        case Badges(words, said, last):
            badges, beside = BETWEEN_BADGES.join(coloured(*word, colour) for word in words), _text(said)
            space = width - len(BETWEEN_BADGES.join(word for word, _ in words)) - len(beside)
            wrapped = _wrapped(beside.replace(NBSP, " "), width)
            shown = [*wrapped, badges] if last else [badges, *wrapped]
            yield from shown if space < 3 else [(" " * space).join(shown)]


def _grid_of(table: b.Table) -> Grid:
    """A table for a terminal: each column with what is below its cells, and without."""
    columns = [(place, column) for place, column in enumerate(table.columns) if not column.drawn]
    rows = [b.Row(tuple(b.Cell(column.head) for _, column in columns for _ in range(2)), "soft")]
    for row in table.rows:
        if len(row.cells) == 1:
            rows.append(b.Row((b.Cell(row.cells[0].text, style="soft"),)))
            continue
        cells: list[b.Cell] = []
        for cell in (row.cells[place] for place, _ in columns):
            below = _text(cell.below if cell.brief is None else cell.brief).replace(" – ", "–")
            short = replace(cell, below="")
            cells += [replace(short, text=f"{_text(cell.text)} ({below})") if below else short, short]
        rows.append(b.Row(tuple(cells), row.style, more=row.more))
    shown = {place: 2 * at for at, (place, _) in enumerate(columns)}
    layouts = [tuple(shown.values())]
    for step in range(1, 1 + max(max(column.shorten, column.leave_out) for _, column in columns)):
        for at, (place, column) in enumerate(columns):
            if column.leave_out == step:
                del shown[place]
            elif column.shorten == step and place in shown:
                shown[place] = 2 * at + 1
        layouts.append(tuple(shown.values()))
    texts = [place for place, (_, column) in enumerate(columns) if column.left or not place]
    left = [at for place in texts for at in (2 * place, 2 * place + 1)]
    return Grid(rows, left, layouts, indent="  ", most=FIRST_MOST)


def _text(inline: b.Inline) -> str:
    """A text without control characters, which are escaped here alone."""
    if isinstance(inline, str):
        return escape_control(inline)
    return "".join(map(_text, inline)) if type(inline) is tuple else _text(inline[0])


def _wrapped(text: str, width: int, most: int | None = None) -> list[str]:
    """Lines of whole words; a no-break space holds a number and its unit together."""
    return textwrap.wrap(text, max(NARROWEST, width), break_on_hyphens=False, max_lines=most, placeholder="…")


def _fact(block: b.Fact, width: int, colour: bool) -> Iterable[str]:
    """`name   a · b · c`, further lines under the first."""
    indent = min(block.indent, max(0, width - NARROWEST))
    room, name = width - indent, block.name
    if len(name) >= indent > 0:  # it stands above the texts
        yield coloured(name, block.style, colour)
        name = ""
    texts = map(_text, block.texts)
    kept = [text.replace(" ", NBSP) if len(text) <= min(KEPT_MOST, room) else text for text in texts]
    for place, line in enumerate(_wrapped(" · ".join(kept), room, block.max_lines)):
        yield coloured(f"{'' if place else name:<{indent}}{line}", block.style, colour)


def _grid(block: Grid, width: int, colour: bool) -> Iterable[str]:
    texts = [
        [(f"{marker_char(c.target)} " if c.marked and c.target is not None else "") + _text(c.text) for c in row.cells]
        for row in block.rows
    ]
    shown, sizes = _fitting(block, [cells for cells in texts if len(cells) > 1], width)
    is_cut = block.least is not None and 0 in shown
    firsts = _cut_apart([cells[0] for cells in texts], sizes[0], block.ending) if is_cut else {}
    for row, cells in zip(block.rows, texts, strict=True):
        styles = [cell.style if cell.target is None else colour_class(cell.target, "t") for cell in row.cells]
        if len(cells) == 1:
            yield from (coloured(line, styles[0], colour) for line in _wrapped(cells[0], width) or [""])
            continue
        cells[0] = firsts.get(cells[0], cells[0])
        if len(cells[0]) > sizes[0]:  # it stands above the others
            yield coloured(block.indent + shortened(cells[0].rstrip(), width - len(block.indent)), styles[0], colour)
            cells[0] = styles[0] = ""
        padded = [cells[at].ljust(sizes[at]) if at in block.left else cells[at].rjust(sizes[at]) for at in shown]
        padded[0] = block.indent + padded[0]
        padded[-1] = padded[-1].rstrip()
        line = (" " * GAP).join(coloured(text, styles[at], colour) for text, at in zip(padded, shown, strict=True))
        yield coloured(line.rstrip(), row.style, colour)
        below = [cell.below for cell in row.cells] + [
            block.text for block in row.more if isinstance(block, b.Paragraph)
        ]
        for text in below:
            yield from _fact(b.Fact("", [text], "soft", BELOW), width, colour)


def _fitting(block: Grid, rows: Sequence[Sequence[str]], width: int) -> tuple[Sequence[int], list[int]]:
    """The layout that is shown, and how wide each column is: 0 of a first one that is left out."""
    widest = [max(map(len, column)) for column in zip(*rows, strict=True)]
    if block.most is not None:
        widest[0] = max((len(cells[0]) for cells in rows if len(cells[0]) <= block.most), default=0)
    for shown in block.layouts or [range(len(widest))]:
        over = len(block.indent) + sum(widest[at] + GAP for at in shown) - GAP - width
        if over <= 0:
            break
    else:
        if block.least is not None:
            widest[0] = max(min(widest[0], block.least), widest[0] - over)
    return shown, widest if 0 in shown else [0, *widest[1:]]


def cut(text: str, room: int, ending: int | None) -> str:
    """The text without its middle, or its beginning."""
    begin = 0 if ending is None else room - ending - 1
    return text if len(text) <= room else f"{text[:begin]}…{text[len(text) - room + begin + 1 :]}"


def _cut_apart(texts: Sequence[str], room: int, ending: int | None) -> dict[str, str]:
    """What is shown of each text in so much room: cut where no two become alike; nothing if they do wherever it is."""
    whole = set(texts)
    for end in (ending, *range(room)):
        shown = {text: cut(text, room, end) for text in whole}
        if len(set(shown.values())) == len(whole):
            return shown
    return {}
