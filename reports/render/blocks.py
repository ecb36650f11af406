"""The blocks of a document: plain texts, which `html`, `markdown` and `terminal` render and escape."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class Term(NamedTuple):
    """A word with a definition in the same document."""

    name: str


class Code(NamedTuple):
    """A text as a machine has it: a command, a file, an id."""

    text: str


class Link(NamedTuple):
    """What leads to a file beside the document, by its path from there."""

    text: Inline
    path: str


class Strong(NamedTuple):
    """What stands out of its line."""

    text: str


class VerdictText(NamedTuple):
    """A verdict with its mark, in the colour of its word."""

    text: str
    word: str


Inline = str | Term | Code | Link | Strong | VerdictText | tuple["Inline", ...]
"""A text, or parts that follow each other without a space."""


@dataclass(frozen=True)
class Cell:
    """What one place of a table contains. `brief`: what a terminal shows in the place of `below`, if not the same."""

    text: Inline
    below: Inline = ""
    brief: str | None = None
    target: int | None = None
    """shown in the colour of this target"""
    marked: bool = False
    style: str = ""
    columns: int = 1


@dataclass(frozen=True)
class Column:
    """A column by its head; numbers are aligned on the right, texts on the left.

    `shorten`, `leave_out`: in which order, from 1 on, columns of a table that is too wide for a terminal lose what is
    below their cells, and are left out; 0: never. `least`: a first column of names that are cut on a terminal if there
    is no room, to so many letters at the least.
    """

    head: Inline
    left: bool = False
    style: str = ""
    target: int | None = None
    marked: bool = False
    below: str = ""
    drawn: bool = False
    """its cells are drawings, which only a page has"""
    shorten: int = 0
    leave_out: int = 0
    least: int = 0


@dataclass(frozen=True)
class Row:
    """A line of a table, whose first cell says what it is of; `ids`: names and ids that belong to it, below it.

    `target`: the line is switched off and on with it. `more`: what else belongs to it, below its ids.
    """

    cells: tuple[Cell, ...]
    style: str = ""
    ids: tuple[tuple[str, Inline], ...] = ()
    target: int | None = None
    more: tuple[Block, ...] = ()


@dataclass(frozen=True)
class Table:
    """Rows under heads. `stacked`: where there is no room, a row becomes a card with the heads beside its cells.

    `answers`: its figures are what the document is read for. `shown`: rows after these are folded away in Markdown.
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
    """A text of its own; `style`: q what a figure or table is of, note what to know beside it."""

    text: Inline
    style: str = "q"


@dataclass(frozen=True)
class Fact:
    """A name and the texts beside it; nothing if there are no texts. On a terminal at most so many lines."""

    name: str
    texts: Sequence[Inline]
    style: str = ""
    indent: int = 16
    max_lines: int | None = None


@dataclass(frozen=True)
class Command:
    """A command, which no form wraps, so that it can be pasted; `title`: what it is for."""

    title: str
    text: str


@dataclass(frozen=True)
class ReadingGuide:
    """How figures are read: nothing where none is drawn."""

    text: Inline


@dataclass(frozen=True)
class Heading:
    """The head of a part of a section."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """Texts of one kind, one below the other; on a page those after the first `shown` are folded away."""

    texts: Sequence[Inline]
    style: str = "note"
    shown: int | None = None


@dataclass(frozen=True)
class Banner:
    """What must be read before anything else, line by line."""

    lines: Sequence[Inline]


@dataclass(frozen=True)
class Definitions:
    """Names with what they are; `linked`: terms lead here."""

    entries: Sequence[tuple[str, str]]
    linked: bool = True


@dataclass(frozen=True)
class Details:
    """Blocks that are shown on demand; `open`: they are at first. `again`: rows that another table of the page has.

    `stated`: the title is a statement, which a terminal shows.
    """

    title: str
    blocks: Sequence[Block]
    open: bool = False
    style: str = ""
    again: bool = False
    stated: bool = False


@dataclass(frozen=True)
class Drawing:
    """An SVG in its frame, one of several in a figure; `head`: what it is of. `narrow`: what a phone shows instead."""

    svg: str
    head: str = ""
    narrow: str = ""


@dataclass(frozen=True)
class Figure:
    """A drawing (SVG, empty where there is none) with its caption, and what belongs below it.

    `stops`: what its readout says, as rows. `numbers`: what stands for it where nothing is drawn; else
    folded away, as it is below other blocks.
    """

    drawn: str
    caption: Inline = ""
    head: str = ""
    stops: Sequence[Sequence[str]] = ()
    below: Sequence[Block] = ()
    numbers: Sequence[Block] = ()


@dataclass(frozen=True)
class SideBySide:
    """Figures that stand side by side, where there is room."""

    figures: Sequence[Figure]


@dataclass(frozen=True)
class Tabs:
    """Figures one of which is shown, by the name that a reader chooses: (key, name, figure)."""

    caption: Inline
    panes: Sequence[tuple[str, str, Figure]]


Block = (
    Table | Paragraph | Fact | Command | ReadingGuide | Heading | Bullets | Banner | Definitions | Details
    | Drawing | Figure | SideBySide | Tabs
)  # fmt: skip


@dataclass(frozen=True)
class Section:
    """A part of a document under a heading that can be searched for; `question`: what it answers, below the heading.

    `style`: the filter that hides it. `folded`: a page shows its heading and question, and the rest on demand.
    `brief`: what a terminal shows of it.
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
    """What is seen first: a word with its mark, and what belongs beside it; `style` names its colours."""

    style: str
    glyph: str
    word: str
    beside: str


SIMULATED = Badge("sim", "◇", "SIMULATED", "rtbench simulate, no real service")
MEASURED_AGAINST: Inline = (
    Strong("◇ SIMULATED:"),
    " measured against ",
    Code("rtbench simulate"),
    ", no real service. ",
)
"""What the foot of a page says of a simulated run."""


@dataclass(frozen=True)
class Filter:
    """What a reader may leave out by: its name, and its values with the class of what each of them hides."""

    name: str
    values: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Page:
    """Everything of a page. The lead stands below its headline, the answer above its sections."""

    title: str
    badges: Sequence[Badge]
    headline: str
    lead: Sequence[Block]
    sections: Sequence[Section]
    answer: Sequence[Block] | None = None
    """None where a section is called so"""
    next: Sequence[Block] = ()
    """what to do next: below the answer of a page, at the end of a terminal"""
    definitions: Mapping[str, str] = field(default_factory=dict)
    """what terms lead to, by their names"""
    beside: str = ""
    """said beside the badges"""
    footer: Inline = ""
    targets: Sequence[str] = ()
    """of a page whose figures show several: what is switched off and on, in their order"""
    filters: Sequence[Filter] = ()
    struck: bool = False
    """no figure of it may be used"""

    @property
    def tabs(self) -> list[str]:
        """The keys of all panes, which the style sheet shows and hides by."""
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
    """A table from heads and rows whose plain parts are texts; `left`: places of further columns of text."""
    texts = {place % len(heads) for place in left}
    columns = tuple(
        head if isinstance(head, Column) else Column(head, left=place in texts) for place, head in enumerate(heads)
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
    """A row whose plain parts are texts."""
    own = tuple(cell if isinstance(cell, Cell) else Cell(cell) for cell in cells)
    return Row(own, style, tuple(ids), target, tuple(more))


def coded(text: str) -> Inline:
    """A text whose parts between backticks are code."""
    return tuple(Code(part) if place % 2 else part for place, part in enumerate(text.split("`")))


class VerdictMarker(NamedTuple):
    """A sign, the style of a badge on a page, and that of a word on a terminal."""

    glyph: str
    badge: str
    ink: str


GOOD, BAD, UNSURE = VerdictMarker("✓", "ok", "good"), VerdictMarker("✕", "no", "bad"), VerdictMarker("?", "hm", "warn")
MARKS = {
    # of a figure that is compared
    **{"regressed": BAD, "improved": VerdictMarker("+", "in", "good"), "not_regressed": GOOD},
    **{"equivalent": VerdictMarker("≈", "eq", "good"), "inconclusive": UNSURE},
    # of a run, of a comparison
    **{"VALID": GOOD, "INVALID": BAD, "NO VERDICT": UNSURE, "INVALID (throttled)": UNSURE},
    **{"VALID COMPARISON": GOOD, "INVALID COMPARISON": BAD, "PENDING": UNSURE},
    # of a threshold, of a check
    **{"pass": GOOD, "fail": BAD, "not_evaluated": BAD},
}


def more_notes(texts: Sequence[Inline]) -> str:
    """Return the title of the notes that are folded away."""
    return f"{len(texts)} more note{'' if len(texts) == 1 else 's'}"


def with_marker(word: str) -> str:
    """Return a verdict with its sign: ✓ VALID, ✓ not regressed."""
    return f"{MARKS[word].glyph} {word.replace('_', ' ')}"


def note(text: Inline) -> list[Block]:
    """A remark; nothing where there is no text."""
    return [Paragraph(text, "note")] if text else []


def fact(name: str, texts: Iterable[Inline], max_lines: int | None = None) -> list[Block]:
    """A name with the texts beside it; nothing if there are none."""
    present = [text for text in texts if text]
    return [Fact(name, present, max_lines=max_lines)] if present else []


def line(text: Inline) -> list[Block]:
    """A paragraph about what follows; nothing where there is no text."""
    return [Paragraph(text)] if text else []
