"""`rtbench docs`: the documentation of the installed version in the terminal."""

from __future__ import annotations

import os
import sys
from itertools import groupby
from typing import Annotated

from bench.base import manual
from bench.base.status_line import MAX_WIDTH, text_width
from rtbench.cli.options import argument
from rtbench.cli.report import wants_colour

NAME_WIDTH = 18
LESS_OPTIONS = "-RFX"
"""The options of the pager `less`: show colours, exit if the text fits, and leave the text on the screen."""


def docs(
    page: Annotated[
        str, argument("A page, a section (check#baselines), or an example (ci/azure-steps.yml).", "NAME")
    ] = "",
) -> None:
    """Print a page of the documentation; without a name, list the pages.

    On a terminal the page is formatted and shown in a pager. Into a pipe or file it is written as Markdown.
    """
    name, _, section = page.partition("#")
    if not name:
        _list_pages()
        return
    file = manual.find(name)
    text = file.read_text(encoding="utf-8")
    text = manual.section_of(text, section) if section else text
    if sys.stdout.isatty():
        _show(manual.linked(text) if file.suffix == ".md" else text, markdown=file.suffix == ".md")
    else:
        sys.stdout.write(text)


def _list_pages() -> None:
    from reports.render.blocks import Fact
    from reports.render.terminal import render_lines

    index = (manual.folder() / manual.INDEX).read_text(encoding="utf-8")
    for group, pages in groupby(manual.entries(index), key=lambda entry: entry.group):
        rows = [Fact(entry.name, [entry.about], indent=NAME_WIDTH) for entry in pages]
        sys.stdout.write(f"{group}\n" + render_lines([rows], text_width(), wants_colour()) + "\n")
    sys.stdout.write("`rtbench docs NAME` prints a page, `rtbench docs NAME#SECTION` a section of it.\n")


def _show(text: str, *, markdown: bool) -> None:
    from rich.console import Console
    from rich.markdown import Markdown

    os.environ.setdefault("LESS", LESS_OPTIONS)
    console = Console(no_color=not wants_colour())
    console.width = min(console.width, MAX_WIDTH)
    with console.pager(styles=wants_colour()):
        console.print(Markdown(text, hyperlinks=False) if markdown else text, markup=False, highlight=False)
