"""The blocks of a document. Their texts are plain; `html`, `markdown`, and `terminal` render and
escape them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple


class Term(NamedTuple):
    """A word with a definition in the same document."""

    name: str


class Code(NamedTuple):
    """A literal text: a command, a file, an id."""

    text: str


class Link(NamedTuple):
    """A link to a file. The path is relative to the document."""

    text: Inline
    path: str


class WebLink(NamedTuple):
    """A link to an address. `url` is already a URL: the characters that a URL must not contain
    are encoded.
    """

    text: Inline
    url: str


class Strong(NamedTuple):
    """An emphasized text."""

    text: str


class VerdictText(NamedTuple):
    """A verdict with its marker. `word` determines its colour."""

    text: str
    verdict: str


Inline = str | Term | Code | Link | WebLink | Strong | VerdictText | tuple["Inline", ...]
"""A text, or several texts that follow each other without a space."""


@dataclass(frozen=True)
class Cell:
    """A cell of a table. `brief` is the text that a terminal shows instead of `below`, if these
    two differ.
    """

    text: Inline
    below: Inline = ""
    brief: str | None = None
    target: int | None = None
    """The number of the target whose colour the cell has."""
    marked: bool = False
    style: str = ""
    columns: int = 1


@dataclass(frozen=True)
class Column:
    """A column with its head, right-aligned, as numbers are, unless it is a TextColumn.

    A terminal shortens a table that is too wide step by step, from step 1 on; 0 is never:

    - `shorten` is the step at which the column loses the text below its cells
    - `leave_out` is the step at which it is left out
    - `inline`: the names of a first column stay in their rows if the table fits. Otherwise long
      names are above them.
    """

    head: Inline
    left: bool = False
    style: str = ""
    target: int | None = None
    marked: bool = False
    below: str = ""
    plotted: bool = False
    """True if the cells of the column are drawings, which only a page shows."""
    shorten: int = 0
    leave_out: int = 0
    inline: bool = False


@dataclass(frozen=True)
class TextColumn(Column):
    left: bool = True


@dataclass(frozen=True)
class Row:
    """A row of a table. Its first cell is its name. If a reader hides its target, it is hidden too.

    `ids` is names and ids, and `more` is further blocks, which are shown below it.
    """

    cells: tuple[Cell, ...]
    style: str = ""
    ids: tuple[tuple[str, Inline], ...] = ()
    target: int | None = None
    more: tuple[Block, ...] = ()


@dataclass(frozen=True)
class Table:
    """A table: rows below the heads of columns.

    - `stacked`: a row becomes a card, with the heads next to the cells, when there is little room
    - `answers`: it has the main results of the document
    - `shown`: in Markdown and on a page, the rows after the first ones of this number are folded
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
    """A paragraph. `style` is `q` for the title of a figure or table, and `note` for a remark."""

    text: Inline
    style: str = "q"


@dataclass(frozen=True)
class Fact:
    """A name and the texts next to it, which take at most `max_lines` on a terminal; not shown
    without texts.
    """

    name: str
    texts: Sequence[Inline]
    style: str = ""
    indent: int = 16
    max_lines: int | None = None


@dataclass(frozen=True)
class Command:
    """A command that is never wrapped, so that a user can paste it. `title` is the purpose of
    the command.
    """

    title: str
    text: str


@dataclass(frozen=True)
class ReadingGuide:
    """An explanation of how to read figures. It is only shown if figures are shown."""

    text: Inline


@dataclass(frozen=True)
class Heading:
    """The heading of a part of a section."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list of texts of one kind. A page folds the texts after the first `shown` ones."""

    texts: Sequence[Inline]
    style: str = "note"
    shown: int | None = None


@dataclass(frozen=True)
class Banner:
    """The texts to read before all others, each on its own line."""

    lines: Sequence[Inline]


@dataclass(frozen=True)
class Definitions:
    """Names with their definitions. `linked` is True if terms link to these definitions."""

    entries: Sequence[tuple[str, str]]
    linked: bool = True


@dataclass(frozen=True)
class Details:
    """Blocks that a reader can fold, and that are unfolded at first if `open`.

    `again` is True if they repeat the values of a figure or table. A terminal shows a title that is
    `stated`.
    """

    title: str
    blocks: Sequence[Block]
    open: bool = False
    style: str = ""
    again: bool = False
    stated: bool = False


WHY = "Why these verdicts"


@dataclass(frozen=True)
class Explanation:
    """Texts that explain the error rates of verdicts. A page folds them. A terminal shows them
    on request.
    """

    texts: Sequence[Inline]


@dataclass(frozen=True)
class Drawing:
    """An SVG in its frame, one of several in a figure. `head` is its title. `narrow` is the SVG
    for a phone.
    """

    svg: str
    head: str = ""
    narrow: str = ""


@dataclass(frozen=True)
class Figure:
    """A drawing with its caption, the texts of its readout (`stops`), and the blocks below it.

    `svg` is "" if there is no drawing, and `narrow` is the SVG for a phone. `numbers` replace it in
    a format without drawings; a page folds them.
    """

    svg: str
    caption: Inline = ""
    stops: Sequence[Sequence[str]] = ()
    below: Sequence[Block] = ()
    numbers: Sequence[Block] = ()
    narrow: str = ""


Block = (
    Table
    | Paragraph
    | Fact
    | Command
    | ReadingGuide
    | Heading
    | Bullets
    | Banner
    | Definitions
    | Details
    | Explanation
    | Drawing
    | Figure
)


@dataclass(frozen=True)
class Section:
    """A part of a document with a heading, and the question that it answers.

    If `folded`, a page shows only these at first. `brief` is the blocks that a terminal shows
    instead. `group` is the name of the link to it and to its neighbours of the same group.
    """

    anchor: str
    heading: str
    question: str
    blocks: Sequence[Block] = field(default_factory=tuple)
    folded: bool = False
    brief: Sequence[Block] = ()
    group: str = ""


@dataclass(frozen=True)
class Badge:
    """A word with its sign at the top of a page, and the text next to it. `style` is the name of
    its colours.
    """

    style: str
    marker: str
    text: str
    note: str


SIMULATED = Badge("sim", "◇", "SIMULATED", "by rtbench simulate")
RECORDED = Badge("sim", "◉", "RECORDED", "calls, imported by rtbench runs import")


def source_badges(*, simulated: bool | None, recorded: bool) -> list[Badge]:
    """Return the badge of a page whose values are not those of a live service."""
    return [SIMULATED] if simulated else [RECORDED] if recorded else []


def source_marks(*, simulated: bool | None, recorded: bool) -> list[str]:
    """Return `source_badges` as texts, such as `◇ SIMULATED`."""
    return [
        f"{badge.marker} {badge.text}"
        for badge in source_badges(simulated=simulated, recorded=recorded)
    ]


MEASURED_AGAINST: Inline = (
    Strong("◇ SIMULATED:"),
    " measured against ",
    Code("rtbench simulate"),
    ", no real service. ",
)
"""The note in the footer of a page that reports a simulated run."""


@dataclass(frozen=True)
class Page:
    """The content of a page. `lead` is shown below the headline and the badges. `answer` is shown
    above the sections.
    """

    title: str
    badges: Sequence[Badge]
    headline: str
    lead: Sequence[Block]
    sections: Sequence[Section]
    answer: Sequence[Block] | None = None
    """The blocks of the answer; None if the answer is one of the sections."""
    next: Sequence[Block] = ()
    """The next steps. A page shows them below the answer, a terminal at the end."""
    definitions: Mapping[str, str] = field(default_factory=dict)
    """The definitions to which terms link, by the name of the term."""
    second: Sequence[Inline] = ()
    """The sentences between the headline and the badges."""
    notes: str = ""
    """The text next to the badges."""
    footer: Inline = ""
    targets: Sequence[str] = ()
    """The targets that a reader can hide, in the order of their numbers. It is empty if figures
    show only one target.
    """
    struck: bool = False
    """True if no value of the page may be used; its values are then struck through."""

    @property
    def links(self) -> dict[str, str]:
        """The anchors to which the page links at its top, by the name of the group of sections."""
        links: dict[str, str] = {}
        for section in self.sections:
            links.setdefault(section.group or section.heading, section.anchor)
        return links


Blocks = list[Block]
Head = Column | Inline | None
Heads = list[Head]
Entry = Cell | Inline | None
Line = list[Entry]


def table(
    heads: Sequence[Head],
    rows: Iterable[Row | Sequence[Entry]],
    style: str = "",
    *,
    stacked: bool = False,
    caption: Inline = "",
    answers: bool = False,
    shown: int | None = None,
) -> Table:
    """Return a table. A head, or a cell, that is None is left out."""
    columns = tuple(
        head if isinstance(head, Column) else Column(head) for head in heads if head is not None
    )
    lines = tuple(row if isinstance(row, Row) else make_row(row) for row in rows)
    return Table(columns, lines, stacked, style, caption, answers, shown)


def make_row(
    cells: Sequence[Entry],
    style: str = "",
    ids: Sequence[tuple[str, Inline]] = (),
    target: int | None = None,
    more: Sequence[Block] = (),
) -> Row:
    row_cells = tuple(
        cell if isinstance(cell, Cell) else Cell(cell) for cell in cells if cell is not None
    )
    return Row(row_cells, style, tuple(ids), target, tuple(more))


def coded(text: str) -> Inline:
    """Return a text in which each part between backticks becomes code; an empty inline if the
    text is "".
    """
    return (
        tuple(Code(piece) if index % 2 else piece for index, piece in enumerate(text.split("`")))
        if text
        else ()
    )


class VerdictMarker(NamedTuple):
    """The marker of a verdict, the style of its badge on a page, and the style of its word on a
    terminal.
    """

    marker: str
    badge: str
    colour: str


GOOD = VerdictMarker("✓", "ok", "good")
BAD = VerdictMarker("✕", "no", "bad")
UNDECIDED = VerdictMarker("?", "hm", "warn")
MARKS = {
    # verdicts on a compared metric
    "regressed": BAD,
    "improved": VerdictMarker("+", "in", "good"),
    "not_regressed": GOOD,
    "equivalent": VerdictMarker("≈", "eq", "good"),
    "inconclusive": UNDECIDED,
    # verdicts on a run and on a comparison
    "VALID": GOOD,
    "INVALID": BAD,
    "NO VERDICT": UNDECIDED,
    "INVALID (throttled)": UNDECIDED,
    "VALID COMPARISON": GOOD,
    "INVALID COMPARISON": BAD,
    "PENDING": UNDECIDED,
    # results of a threshold and of a check
    "pass": GOOD,
    "fail": BAD,
    "not_evaluated": BAD,
}


def others(title: str, named: Iterable[tuple[str, Block]]) -> Blocks:
    """Return a fold with blocks, each below its name, which Markdown omits; [] without any."""
    blocks = [block for name, block in named for block in (Heading(name), block)]
    return [Details(title, blocks, again=True)] if blocks else []


def more_rows(table: Table, shown: int) -> Details:
    """Return a fold with the rows of a table after the first ones."""
    left = replace(table, rows=table.rows[shown:], shown=None, caption="")
    number = sum(len(row.cells) > 1 for row in left.rows)
    return Details(f"{number} more row{'s'[number == 1 :]}", [left])


def more_notes(texts: Sequence[Inline]) -> str:
    return f"{len(texts)} more note{'' if len(texts) == 1 else 's'}"


def with_marker(word: str) -> str:
    """Return a verdict with its marker, such as `✓ VALID` or `✓ not regressed`."""
    return f"{MARKS[word].marker} {word.replace('_', ' ')}"


def note(text: Inline) -> Blocks:
    return [Paragraph(text, "note")] if text else []


def fact(name: str, texts: Iterable[Inline]) -> Blocks:
    """Return a list with the fact `name` and its texts; [] if there are no texts."""
    present = [text for text in texts if text]
    return [Fact(name, present)] if present else []


def facts(name: str, texts: Iterable[Inline], max_lines: int | None = None) -> Blocks:
    """Return a fact `name` for each of these texts."""
    return [Fact(name, [text], max_lines=max_lines) for text in texts]


def line(text: Inline) -> Blocks:
    return [Paragraph(text)] if text else []
