"""A page as plain data, and as HTML: one template and one set of macros pour every page of this project."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from reports.blocks import Block, Code, Fold, Inline, Panes, Section, Strong, kinds
from reports.page.svg import GLYPHS


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
    def contents(self) -> list[Section]:
        """The sections that a list of contents names."""
        return [section for section in self.sections if section.name]

    @property
    def tabs(self) -> list[str]:
        """The keys of all panes, which the style sheet shows and hides by."""
        return [key for panes in self._panes() for key, _, _ in panes.panes]

    def _panes(self) -> Iterable[Panes]:
        blocks = [block for section in self.sections for block in section.blocks]
        while blocks:
            block = blocks.pop(0)
            blocks[:0] = block.blocks if isinstance(block, Fold) else ()
            if isinstance(block, Panes):
                yield block


@cache
def environment() -> Environment:
    """Templates of this package; everything is escaped, what is missing is an error."""
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=select_autoescape(("html.j2",)),
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    made.filters["kind"] = kinds
    made.globals["glyphs"] = GLYPHS
    return made


def poured(page: Page) -> str:
    """The page: one file that needs nothing else."""
    return environment().get_template("page.html.j2").render(page=page, defs=page.definitions, tabs=page.tabs)
