"""HTML: one template and one set of macros pour every page of this project."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from reports.blocks import Page, kinds
from reports.page.svg import GLYPHS


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
