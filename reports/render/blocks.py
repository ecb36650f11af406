"""The blocks of a document: plain texts that `html`, `markdown`, and `terminal` render and escape."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class Term(NamedTuple):
    """A word with a definition in the same document."""

    name: str


class Code(NamedTuple):
    """A literal text: a command, a file, an id."""

    text: str


class Link(NamedTuple):
    """A link to a file, by its path relative to the document."""

    text: Inline
    path: str


class Strong(NamedTuple):
    """An emphasized text."""

    text: str


class VerdictText(NamedTuple):
    """A verdict with its marker, in the colour of its word."""

    text: str
    verdict: str


Inline = str | Term | Code | Link | Strong | VerdictText | tuple["Inline", ...]
"""A text, or several texts that follow each other without a space."""


@dataclass(frozen=True)
class Cell:
    """A cell of a table. `brief`: the text that a terminal shows instead of `below`, if it differs."""

    text: Inline
    below: Inline = ""
    brief: str | None = None
    target: int | None = None
    """The target in whose colour the cell is shown."""
    marked: bool = False
    style: str = ""
    columns: int = 1


@dataclass(frozen=True)
class Column:
    """A column with its head; numbers are right-aligned, texts left-aligned.

    - `shorten`: if a table is too wide for a terminal, the order (from 1) in which columns lose the text below their
    cells; 0 for never
    - `leave_out`: the order in which columns are then left out; 0 for never
    - `min_width`: for a first column of names, the minimum length to which a terminal without room shortens the names
    """

    head: Inline
    left: bool = False
    style: str = ""
    target: int | None = None
    marked: bool = False
    below: str = ""
    plotted: bool = False
    """True if its cells are drawings, which only a page shows."""
    shorten: int = 0
    leave_out: int = 0
    min_width: int = 0


@dataclass(frozen=True)
class Row:
    """A row of a table; its first cell names it.

    - `ids`: names and ids that belong to the row, shown below it
    - `target`: the row is hidden together with this target
    - `more`: further blocks, shown below the ids
    """

    cells: tuple[Cell, ...]
    style: str = ""
    ids: tuple[tuple[str, Inline], ...] = ()
    target: int | None = None
    more: tuple[Block, ...] = ()


@dataclass(frozen=True)
class Table:
    """Rows under heads. `stacked`: True if a row becomes a card with the heads next to its cells when room is short.

    `answers`: True for the main results of the document. `shown`: rows after this number are folded in Markdown.
    """

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    stacked: bool = False
    style: str = ""
    caption: Inline = ""
    answers: bool = False
    shown: int | None = None


@dataclass(frozen=True)
class Paragraph:
    """A paragraph. `style`: `q` for the title of a figure or table, `note` for a remark."""

    text: Inline
    style: str = "q"


@dataclass(frozen=True)
class Fact:
    """A name and the texts next to it; it is not shown if there are no texts.

    `max_lines`: the maximum on a terminal.
    """

    name: str
    texts: Sequence[Inline]
    style: str = ""
    indent: int = 16
    max_lines: int | None = None


@dataclass(frozen=True)
class Command:
    """A command that is never wrapped, so that it can be pasted. `title`: its purpose."""

    title: str
    text: str


@dataclass(frozen=True)
class ReadingGuide:
    """An explanation of how to read figures; only shown with figures."""

    text: Inline


@dataclass(frozen=True)
class Heading:
    """The heading of a part of a section."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list of texts of one kind; a page folds those after the first `shown`."""

    texts: Sequence[Inline]
    style: str = "note"
    shown: int | None = None


@dataclass(frozen=True)
class Banner:
    """The texts to read before all others, line by line."""

    lines: Sequence[Inline]


@dataclass(frozen=True)
class Definitions:
    """Names with their definitions. `linked`: True if terms link to them."""

    entries: Sequence[tuple[str, str]]
    linked: bool = True


@dataclass(frozen=True)
class Details:
    """Blocks that are shown on demand. `open`: True if they are shown at first. `again`: True if they repeat a table.

    `stated`: True if the title is a statement, which a terminal shows.
    """

    title: str
    blocks: Sequence[Block]
    open: bool = False
    style: str = ""
    again: bool = False
    stated: bool = False


@dataclass(frozen=True)
class Drawing:
    """An SVG in its frame, one of several in a figure. `head`: its title. `narrow`: the SVG for a phone."""

    svg: str
    head: str = ""
    narrow: str = ""


@dataclass(frozen=True)
class Figure:
    """A drawing (an SVG, or "" if there is none) with its caption, and the blocks below it.

    `stops`: the texts of its readout, as rows. `numbers`: the blocks that replace it in a form without drawings; a page
    folds them.
    """

    svg: str
    caption: Inline = ""
    head: str = ""
    stops: Sequence[Sequence[str]] = ()
    below: Sequence[Block] = ()
    numbers: Sequence[Block] = ()


@dataclass(frozen=True)
class SideBySide:
    """Figures that are side by side if there is room."""

    figures: Sequence[Figure]


@dataclass(frozen=True)
class Tabs:
    """Figures of which one is shown, chosen by name: (key, name, figure)."""

    caption: Inline
    panes: Sequence[tuple[str, str, Figure]]


Block = (
    Table | Paragraph | Fact | Command | ReadingGuide | Heading | Bullets | Banner | Definitions | Details
    | Drawing | Figure | SideBySide | Tabs
)  # fmt: skip


@dataclass(frozen=True)
class Section:
    """A part of a document under a heading. `question`: the question that it answers, shown below the heading.

    `style`: the filter that hides it. `folded`: True if a page shows the heading and the question, and the rest on
    demand. `brief`: the blocks that a terminal shows.
    """

    anchor: str
    heading: str
    question: str
    blocks: Sequence[Block] = field(default_factory=tuple)
    style: str = ""
    folded: bool = False
    brief: Sequence[Block] = ()


@dataclass(frozen=True)
class Badge:
    """A word with its sign at the top of a page, and the text next to it. `style`: the name of its colours."""

    style: str
    marker: str
    text: str
    note: str


SIMULATED = Badge("sim", "◇", "SIMULATED", "rtbench simulate, no real service")
MEASURED_AGAINST: Inline = (
    Strong("◇ SIMULATED:"),
    " measured against ",
    Code("rtbench simulate"),
    ", no real service. ",
)
"""The note on a simulated run in the footer of a page."""


@dataclass(frozen=True)
class Filter:
    """A filter of a page: its name, and its values with the CSS class of the elements that each hides."""

    name: str
    values: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Page:
    """The content of a page. The lead is below its headline, the answer above its sections."""

    title: str
    badges: Sequence[Badge]
    headline: str
    lead: Sequence[Block]
    sections: Sequence[Section]
    answer: Sequence[Block] | None = None
    """None if the answer is a section."""
    next: Sequence[Block] = ()
    """The next steps: below the answer on a page, at the end on a terminal."""
    definitions: Mapping[str, str] = field(default_factory=dict)
    """The definitions that terms link to, by their names."""
    notes: str = ""
    """The text next to the badges."""
    footer: Inline = ""
    targets: Sequence[str] = ()
    """The targets that a reader can hide, in their order; empty if figures show only one."""
    filters: Sequence[Filter] = ()
    struck: bool = False
    """True if no value of the page may be used."""

    @property
    def tabs(self) -> list[str]:
        """The keys of all panes, by which the style sheet shows and hides them."""
        keys: list[str] = []
        blocks = [block for section in self.sections for block in section.blocks]
        while blocks:
            block = blocks.pop(0)
            blocks[:0] = block.blocks if isinstance(block, Details) else ()
            keys += [key for key, _, _ in block.panes] if isinstance(block, Tabs) else []
        return keys


Head = Column | Inline
Line = list[Cell | Inline]


def table(
    heads: Sequence[Head],
    rows: Iterable[Row | Sequence[Cell | Inline]],
    style: str = "",
    *,
    left: Sequence[int] = (),
    stacked: bool = False,
    caption: Inline = "",
    answers: bool = False,
    shown: int | None = None,
) -> Table:
    """Return a table; a head or a cell may be a text. `left`: the positions of further left-aligned columns."""
    texts = {index % len(heads) for index in left}
    columns = tuple(
        head if isinstance(head, Column) else Column(head, left=index in texts) for index, head in enumerate(heads)
    )
    lines = tuple(row if isinstance(row, Row) else make_row(row) for row in rows)
    return Table(columns, lines, stacked, style, caption, answers, shown)


def make_row(
    cells: Sequence[Cell | Inline],
    style: str = "",
    ids: Sequence[tuple[str, Inline]] = (),
    target: int | None = None,
    more: Sequence[Block] = (),
) -> Row:
    """Return a row; a cell may be a text."""
    row_cells = tuple(cell if isinstance(cell, Cell) else Cell(cell) for cell in cells)
    return Row(row_cells, style, tuple(ids), target, tuple(more))


def coded(text: str) -> Inline:
    """Return a text with its parts between backticks as code."""
    return tuple(Code(piece) if index % 2 else piece for index, piece in enumerate(text.split("`")))


class VerdictMarker(NamedTuple):
    """A sign, the style of a badge on a page, and the style of a word on a terminal."""

    marker: str
    badge: str
    colour: str


GOOD, BAD, UNDECIDED = (
    VerdictMarker("✓", "ok", "good"),
    VerdictMarker("✕", "no", "bad"),
    VerdictMarker("?", "hm", "warn"),
)
MARKS = {
    # verdicts on a compared metric
    **{"regressed": BAD, "improved": VerdictMarker("+", "in", "good"), "not_regressed": GOOD},
    **{"equivalent": VerdictMarker("≈", "eq", "good"), "inconclusive": UNDECIDED},
    # verdicts on a run and on a comparison
    **{"VALID": GOOD, "INVALID": BAD, "NO VERDICT": UNDECIDED, "INVALID (throttled)": UNDECIDED},
    **{"VALID COMPARISON": GOOD, "INVALID COMPARISON": BAD, "PENDING": UNDECIDED},
    # results of a threshold and of a check
    **{"pass": GOOD, "fail": BAD, "not_evaluated": BAD},
}


def more_notes(texts: Sequence[Inline]) -> str:
    """Return the title of the folded notes."""
    return f"{len(texts)} more note{'' if len(texts) == 1 else 's'}"


def with_marker(word: str) -> str:
    """Return a verdict with its sign, such as `✓ VALID` or `✓ not regressed`."""
    return f"{MARKS[word].marker} {word.replace('_', ' ')}"


def note(text: Inline) -> list[Block]:
    """Return a remark; an empty list for ""."""
    return [Paragraph(text, "note")] if text else []


def fact(name: str, texts: Iterable[Inline], max_lines: int | None = None) -> list[Block]:
    """Return a name with the texts next to it; an empty list without texts."""
    present = [text for text in texts if text]
    return [Fact(name, present, max_lines=max_lines)] if present else []


def line(text: Inline) -> list[Block]:
    """Return a paragraph about the blocks that follow; an empty list for ""."""
    return [Paragraph(text)] if text else []
