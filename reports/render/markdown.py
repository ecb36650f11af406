"""The rendering of a page or of blocks as Markdown, without figures and repetitions. All texts
are escaped here.
"""

import html
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import pairwise

from bench.files.sanitize import escape_control
from reports.formatting import breakable, capitalize
from reports.render import blocks as b

ANSWER = "answer"
"""The anchor of the only section that is not folded."""
CLOSE = {
    (b.Heading, b.Paragraph),
    (b.Paragraph, b.Bullets),
    (b.Details, b.Details),
}
"""The pairs of consecutive blocks that have no blank line between them."""
MAX_CHARACTERS = 65_000
"""The maximum length of a page. GitHub refuses a comment with more than 65,536 characters."""
MAX_ROWS = 10_000
MARKUP = re.compile(r"[\\|`*\[_]")


def render_markdown(page: b.Page) -> str:
    """Return the page as Markdown: headline, badges, answer, and the sections, which are folded.

    If it is too long for a comment, the last rows of its tables and lists are left out, first in
    the sections.
    """
    text = _page(page, MAX_ROWS, MAX_ROWS)
    if len(text) <= MAX_CHARACTERS:
        return text
    in_sections = _most_rows(lambda most: _page(page, MAX_ROWS, most))
    in_answer = MAX_ROWS if in_sections else _most_rows(lambda most: _page(page, most, 0))
    return _page(page, in_answer, in_sections)


def _most_rows(rendered: Callable[[int], str]) -> int:
    """Return the largest number of rows with which the text is not too long; 0 if there is none."""
    rows = range(1, MAX_ROWS)
    return bisect_left(rows, True, key=lambda most: len(rendered(most)) > MAX_CHARACTERS)


def _page(page: b.Page, in_answer: int, in_sections: int) -> str:
    opening: list[b.Inline] = []
    for badge in page.badges:
        opening += [
            b.Strong(f"{badge.marker} {badge.text}"),
            f" {badge.note}" if badge.note else "",
            " · ",
        ]
    blocks = [
        b.Heading(f"{page.badges[0].marker} {page.headline}"),
        *map(b.Paragraph, page.second),
        b.Paragraph((*opening, page.notes) if page.notes else tuple(opening[:-1])),
        *_shortened([*page.lead, *(page.answer or ())], in_answer),
        *page.next,
    ]
    for section in page.sections:
        if section.anchor == ANSWER:
            blocks += _shortened(section.blocks, in_answer)
        else:
            blocks.append(b.Details(section.heading, [*_shortened(section.blocks, in_sections)]))
    return markdown_blocks([*blocks, b.Paragraph(page.footer)])


def _shortened(blocks: Iterable[b.Block], most: int) -> Iterator[b.Block]:
    """Yield the blocks with at most `most` rows in each table and list, and the number of the
    others.
    """
    for block in _without_figures(blocks):
        match block:
            case b.Table(rows=rows) if len(rows) > most:
                yield replace(block, rows=rows[:most])
                yield _left_out(len(rows) - most)
            case b.Bullets(texts) | b.Explanation(texts) if len(texts) > most:
                yield replace(block, texts=texts[:most])
                yield _left_out(len(texts) - most)
            case b.Details(blocks=inner):
                yield replace(block, blocks=[*_shortened(inner, most)])
            case _:
                yield block


def _left_out(count: int) -> b.Paragraph:
    rows = "1 more row is" if count == 1 else f"{count} more rows are"
    reason = "a comment has at most 65,536 characters. The JSON file has all of them."
    return b.Paragraph(f"{rows} left out here: {reason}")


def markdown_blocks(blocks: Iterable[b.Block]) -> str:
    return breakable(f"{_rendered(blocks)}\n")


def plain(text: str) -> str:
    """Return a text escaped for Markdown and HTML, because labels may contain any characters."""
    return html.escape(MARKUP.sub(r"\\\g<0>", escape_control(text)), quote=False)


def _rendered(blocks: Iterable[b.Block], within: bool = False) -> str:
    """Return the text of blocks, without a heading that has no content. Folds `within` a fold
    are open.
    """
    parts = [
        (type(block), text) for block in _without_figures(blocks) if (text := _block(block, within))
    ]
    kinds = [kind for kind, _ in parts] + [b.Heading]
    displayed = [
        entry
        for entry, after in zip(parts, kinds[1:], strict=True)
        if (entry[0], after) != (b.Heading, b.Heading)
    ]
    gaps = [
        "\n" if (first, second) in CLOSE else "\n\n"
        for (first, _), (second, _) in pairwise(displayed)
    ]
    return "".join(f"{text}{gap}" for (_, text), gap in zip(displayed, [*gaps, ""], strict=False))


def _without_figures(blocks: Iterable[b.Block]) -> Iterable[b.Block]:
    """Yield the blocks with the numbers of a figure in its place."""
    for block in blocks:
        if isinstance(block, b.Figure):
            yield from _without_figures(block.below)
            yield from block.numbers
        else:
            yield block


def _block(block: b.Block, within: bool) -> str:
    match block:
        case b.Heading(text):
            return f"{'####' if within else '###'} {plain(text)}"
        case b.Paragraph(text):
            return _inline(text)
        case b.Bullets(texts, shown=shown):
            listed = "\n".join(f"- {_inline(text)}" for text in texts[:shown])
            more = b.Bullets(texts[shown:]) if shown is not None and len(texts) > shown else None
            return (
                f"{listed}\n\n{_block(b.Details(b.more_notes(texts[shown:]), [more]), within)}"
                if more
                else listed
            )
        case b.Fact(name, texts) if texts:
            return f"**{plain(capitalize(name))}** {' · '.join(map(_inline, texts))}"
        case b.Command(title, text):
            return f"**{plain(capitalize(title))}** {_inline(b.Code(text))}"
        case b.Banner(lines):
            return "\n\n".join(map(_inline, lines))
        case b.Table(rows=rows, shown=shown) if shown is not None and len(rows) > shown:
            return (
                f"{_table(replace(block, rows=rows[:shown]))}\n\n"
                f"{_block(b.more_rows(block, shown), within)}"
            )
        case b.Table(rows=rows) if rows:
            return _table(block)
        case b.Explanation(texts):
            return _block(
                b.Bullets(texts) if within else b.Details(b.WHY, [b.Bullets(texts)]), within
            )
        case b.Details(title, blocks, again=False) if body := _rendered(blocks, within=True):
            opened = " open" if within else ""
            return (
                f"<details{opened}><summary>{html.escape(title, quote=False)}</"
                f"summary>\n\n{body}\n\n</details>"
            )
    return ""


def _table(table: b.Table) -> str:
    """Return a table as Markdown. The ids of rows are in an additional column."""
    ids = any(row.ids for row in table.rows)
    displayed = [
        (index, column) for index, column in enumerate(table.columns) if not column.plotted
    ]
    columns = [column for _, column in displayed] + ([b.TextColumn("ids")] if ids else [])
    alignments = "|".join(
        "---" if column.left or not index else "--:" for index, column in enumerate(columns)
    )
    lines = [f"| {' | '.join(_inline(column.head) for column in columns)} |", f"|{alignments}|"]
    for row in table.rows:
        cells = [
            cell for of_row in row.cells for cell in (of_row, *[b.Cell("")] * (of_row.columns - 1))
        ]
        texts = []
        for index, column in ((index, column) for index, column in displayed if index < len(cells)):
            cell = cells[index]
            struck = table.style == "struck" and index and not column.left
            has_text = cell.text or cell.below
            strike = "~~" if has_text and (struck or "struck" in cell.style.split()) else ""
            below = f" ({_inline(cell.below)})" if cell.below else ""
            texts.append(f"{strike}{_inline(cell.text)}{below}{strike}")
        if ids:
            texts.append(", ".join(f"{plain(name)} {_inline(text)}" for name, text in row.ids))
        lines.append(f"| {' | '.join(texts)} |")
    if caption := _inline(table.caption):
        lines = [caption, "", *lines]
    return "\n".join(lines)


def _inline(inline: b.Inline) -> str:
    match inline:
        case str():
            return plain(inline)
        case b.Strong(text):
            return f"**{_inline(text)}**"
        case b.WebLink(text, url):
            return f"[{_inline(text)}](<{url}>)"
        case b.Code(text):
            # a text that would end the code span is not code
            return plain(text) if set("`|\n\r") & set(text) else f"`{escape_control(text)}`"
    return "".join(map(_inline, inline)) if type(inline) is tuple else _inline(inline[0])
