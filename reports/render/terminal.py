"""The rendering of blocks as lines of a terminal with a maximum width. They are in colour only
if `colour` is True.
"""

import textwrap
from collections.abc import Iterable, Sequence
from itertools import groupby

from bench.files.sanitize import escape_control
from reports.formatting import NBSP, breakable, join_present
from reports.render import blocks as b
from reports.render.markers import colour_class, marker_char

COLOURS = {
    "good": "32",
    "bad": "31",
    "warn": "33",
    "sim": "35",
    "bold": "1",
    "soft": "2",
    "ok": "32",
    "in": "32",
    "eq": "32",
    "no": "31",
    "hm": "33",
    "t0": "34",
    "t1": "33",
    "t2": "36",
    "t3": "37",
}
"""The colour codes of the styles of words, of badges, and of targets."""
INDENT = 16
BELOW = 6
"""The width of the indent before a text next to a name, and before a text below a row, in
columns."""
GAP = 2
BETWEEN_BADGES = "     "
MAX_KEPT_COLUMNS = 59
"""The maximum length of a text next to a name that is never split over two lines."""
MIN_WIDTH = 20
MAX_FIRST_WIDTH = 20
"""The maximum length of the first cell of a row. A longer one is on a line of its own, above its
row."""


def render_page(
    page: b.Page, width: int = 100, colour: bool = False, *, explain: bool = False
) -> str:
    """Return a page in lines of at most `width` columns: its answer, the `brief` of its sections,
    and its notes.

    Explanations are shown only if `explain`.
    """
    notes = [block for block in page.lead if isinstance(block, b.Bullets | b.Explanation)]
    lead = [block for block in page.lead if block not in notes]
    briefs = [block for section in page.sections for block in section.brief]
    body = [*(page.answer or ()), *briefs, *notes]
    body = [block for block in body if explain or not isinstance(block, b.Explanation)]
    groups = (
        list(group)
        for _, group in groupby(body, key=lambda block: isinstance(block, b.Table) and id(block))
    )
    answer = [
        *_lines(b.Paragraph(page.headline, "bold"), width, colour),
        *(line for text in page.second for line in _lines(b.Paragraph(text), width, colour)),
        *_badges(page, width, colour),
    ]
    opening = breakable("".join(f"{line}\n" for line in answer))
    gap = "" if lead else "\n"
    # a table is a separate group
    return opening + gap + render_lines((lead, *groups, page.next), width, colour)


def essentials(page: b.Page) -> str:
    """Return the essentials of a page in one line: its badges and the text next to these."""
    badges = (f"{badge.marker} {badge.text}" for badge in page.badges)
    return breakable(join_present(" · ", *badges, page.notes))


def render_lines(
    groups: Iterable[Iterable[b.Block]], width: int = 100, colour: bool = False
) -> str:
    """Return the text of groups of blocks. There is a blank line between two groups; empty
    groups are left out.
    """
    texts = (
        "\n".join(line for block in group for line in _lines(block, width, colour))
        for group in groups
    )
    return breakable(join_present("\n\n", *texts)) + "\n"


def coloured(text: str, style: str, colour: bool) -> str:
    """Return the text in the colours of `style`, which is words of COLOURS.

    If `colour` is False, return it unchanged.
    """
    for code in (
        (COLOURS.get(word.removesuffix("-ink")) for word in style.split()) if colour else ()
    ):
        text = f"\x1b[{code}m{text}\x1b[0m" if code else text
    return text


def _lines(block: b.Block, width: int, colour: bool) -> Iterable[str]:
    """Yield the lines of a block. A block that only a page shows has no lines."""
    match block:
        case b.Paragraph(text, style):
            yield from (coloured(line, style, colour) for line in _wrapped(plain_text(text), width))
        case b.Heading(text):
            yield from _lines(b.Paragraph(text, "soft"), width, colour)
        case b.Banner(lines):
            for text in lines:
                yield from _lines(b.Paragraph(text, "bad"), width, colour)
        case b.Bullets(texts):
            for text in texts:
                yield from _fact(b.Fact("note", [text]), width, colour)
        case b.Explanation(texts):
            for text in texts:
                yield from _fact(b.Fact("why", [text]), width, colour)
        case b.Details(title, stated=True):
            yield from _fact(b.Fact("note", [title]), width, colour)
        case b.Fact():
            yield from _fact(block, width, colour)
        case b.Command(title, text):
            yield from (f"{'':<{INDENT}}{title}:", text)
        case b.Table(rows=rows) if rows:
            yield from _lines(b.Paragraph(block.caption, "soft"), width, colour)
            yield from _table(block, width, colour)


def _badges(page: b.Page, width: int, colour: bool) -> list[str]:
    """Return the notes of a page, and its badges at the end of the line or, without room, on the
    next one.
    """
    words = [
        join_present(" ", badge.marker, badge.text, badge.note if badge.style == "sim" else "")
        for badge in page.badges
    ]
    badges = BETWEEN_BADGES.join(
        coloured(word, own.style, colour) for word, own in zip(words, page.badges, strict=True)
    )
    text = breakable(plain_text(page.notes))
    space = width - len(BETWEEN_BADGES.join(words)) - len(text)
    return [*_wrapped(text, width), badges] if space < 3 else [f"{text}{' ' * space}{badges}"]


def _both(cell: b.Cell) -> tuple[str, str]:
    """Return the text of a cell twice: first with the text below it, then without."""
    marker = f"{marker_char(cell.target)} " if cell.marked and cell.target is not None else ""
    below = plain_text(cell.below if cell.brief is None else cell.brief).replace(" – ", "–")
    text = marker + plain_text(cell.text)
    return f"{text} ({below})" if below else text, text


def plain_text(inline: b.Inline) -> str:
    """Return a text with control characters escaped. This is the only place that escapes them
    for a terminal.
    """
    if isinstance(inline, str):
        return escape_control(inline)
    return "".join(map(plain_text, inline)) if type(inline) is tuple else plain_text(inline[0])


def _wrapped(text: str, width: int, max_lines: int | None = None) -> list[str]:
    """Return a text in lines without splitting words. A no-break space keeps a number and its
    unit together.
    """
    return textwrap.wrap(
        text, max(MIN_WIDTH, width), break_on_hyphens=False, max_lines=max_lines, placeholder="…"
    )


def _fact(block: b.Fact, width: int, colour: bool) -> Iterable[str]:
    """Yield the lines of a fact, such as `name   a · b · c`. All lines of texts have the same
    indent.
    """
    indent = min(block.indent, max(0, width - MIN_WIDTH))
    room = width - indent
    name = block.name
    if len(name) >= indent > 0:  # the name is above the texts
        yield coloured(name, block.style, colour)
        name = ""
    texts = map(plain_text, block.texts)
    unbroken = [
        text.replace(" ", NBSP) if len(text) <= min(MAX_KEPT_COLUMNS, room) else text
        for text in texts
    ]
    for index, line in enumerate(_wrapped(" · ".join(unbroken), room, block.max_lines)):
        yield coloured(f"{'' if index else name:<{indent}}{line}", block.style, colour)


def _table(table: b.Table, width: int, colour: bool) -> Iterable[str]:
    """Yield a table in the widest layout that fits. A row with only one cell is a line of text.

    A first cell that is too long, or that the layout leaves out, is on a line above its row.
    """
    rows = [b.make_row([column.head for column in table.columns], "soft"), *table.rows]
    lines = [[_both(cell) for cell in row.cells] for row in rows]
    full = [line for line in lines if len(line) > 1]
    layout, sizes = _fitting(table.columns, full, width)
    for row, line in zip(rows, lines, strict=True):
        if len(line) == 1:
            yield from (
                coloured(text, "soft", colour) for text in _wrapped(line[0][1], width) or [""]
            )
            continue
        styles = [
            cell.style if cell.target is None else colour_class(cell.target, "t")
            for cell in row.cells
        ]
        texts = {0: line[0][0]} | {index: line[index][short] for index, short in layout.items()}
        if len(texts[0]) > sizes.get(0, 0):
            above = _wrapped(texts[0].rstrip(), width - 2)
            yield from (coloured(f"  {part}", styles[0], colour) for part in above)
            texts[0] = styles[0] = ""
        padded = {
            index: (
                texts[index].ljust(size)
                if table.columns[index].left or not index
                else texts[index].rjust(size)
            )
            for index, size in sizes.items()
        }
        padded[max(padded)] = padded[max(padded)].rstrip()
        cells = (" " * GAP).join(
            coloured(text, styles[index], colour) for index, text in padded.items()
        )
        yield coloured(f"  {cells}".rstrip(), row.style, colour)
        for block in row.more:
            if isinstance(block, b.Paragraph):
                yield from _fact(b.Fact("", [block.text], "soft", BELOW), width, colour)


def _layouts(columns: Sequence[b.Column]) -> Iterable[dict[int, bool]]:
    """Yield the layouts of a table, the widest first: for each shown column, whether it loses
    the text below cells.
    """
    layout = {index: False for index, column in enumerate(columns) if not column.plotted}
    yield layout
    for step in range(1, 1 + max(max(column.shorten, column.leave_out) for column in columns)):
        layout = {
            index: short or columns[index].shorten == step
            for index, short in layout.items()
            if columns[index].leave_out != step
        }
        yield layout


def _fitting(
    columns: Sequence[b.Column], rows: Sequence[Sequence[tuple[str, str]]], width: int
) -> tuple[dict[int, bool], dict[int, int]]:
    """Return the layout of a table that fits, and the width of each column in it."""
    layout = dict[int, bool]()
    sizes = dict[int, int]()
    for layout in _layouts(columns):
        sizes = {
            index: max(len(row[index][short]) for row in rows) for index, short in layout.items()
        }
        short = max(
            (len(row[0][0]) for row in rows if len(row[0][0]) <= MAX_FIRST_WIDTH), default=0
        )
        for first in (sizes.get(0, 0), short) if columns[0].inline else (short,):
            sizes |= {0: first} if 0 in layout else {}
            if 2 + sum(size + GAP for size in sizes.values()) - GAP <= width:
                return layout, sizes
    return layout, sizes
