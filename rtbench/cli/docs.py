"""`rtbench docs`: the documentation of the installed version in the terminal."""

from __future__ import annotations

import os
import re
import sys
from itertools import groupby, pairwise
from pathlib import Path
from typing import Annotated

import typer

from bench.base import manual
from bench.base.status_line import MAX_WIDTH, text_width
from bench.files.sanitize import escape_control
from rtbench.cli.report import wants_colour

NAME_WIDTH = 18
LESS_OPTIONS = "-RFX"
"""The options of the pager `less`: show colours, exit if the text fits, and leave the text on the screen."""
COMMENT = re.compile(r"^<!--.*?-->\n", re.MULTILINE | re.DOTALL)
STYLE = """
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
pre { overflow-x: auto; padding: .75rem; background: color-mix(in srgb, currentColor 7%, transparent) }
table { border-collapse: collapse; display: block; overflow-x: auto }
td, th { padding: .25rem .75rem; text-align: left; vertical-align: top }
td, th { border-bottom: 1px solid color-mix(in srgb, currentColor 20%, transparent) }
img { max-width: 100% }
"""


def docs(
    page: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="A page, a section (check#baselines), or an example (ci/azure-steps.yml).",
            show_default=False,
        ),
    ] = "",
    open_page: Annotated[
        bool, typer.Option("--open", help="Open the page in the browser; without a browser, print its path.")
    ] = False,
) -> None:
    """Print a page of the documentation; without a name, list the pages.

    On a terminal the page is formatted and shown in a pager. Into a pipe or file it is written as Markdown.
    """
    name, _, section = page.partition("#")
    if not name:
        _list_pages()
        return
    file = manual.find(name)
    if open_page:
        _open(file, section)
        return
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
    """Show a page in the pager of this terminal."""
    from rich.console import Console
    from rich.markdown import Markdown

    os.environ.setdefault("LESS", LESS_OPTIONS)
    console = Console(no_color=not wants_colour())
    console.width = min(console.width, MAX_WIDTH)
    with console.pager(styles=wants_colour()):
        console.print(Markdown(text, hyperlinks=False) if markdown else text, markup=False, highlight=False)


def _open(file: Path, section: str) -> None:
    """Open a page as HTML. All pages are written to the same folder, so that the links between the pages work."""
    import tempfile
    import webbrowser

    target = file
    if file.suffix == ".md":
        folder = Path(tempfile.mkdtemp(prefix="rtbench-docs-"))
        for source in file.parent.glob("*.md"):
            page = html_of(source.stem, source.read_text(encoding="utf-8"))
            (folder / f"{source.stem}.html").write_text(page, encoding="utf-8")
        target = folder / f"{file.stem}.html"
    webbrowser.open(target.as_uri() + (f"#{section}" if section else ""))
    print(escape_control(str(target)))


def html_of(name: str, text: str) -> str:
    """Return a page as an HTML document that loads no other file. Its links lead to pages in the same folder."""
    from markdown_it import MarkdownIt

    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = markdown.parse(COMMENT.sub("", text))
    for opening, content in pairwise(tokens):
        if opening.type == "heading_open":
            opening.attrSet("id", manual.anchor_of(content.content))
    for link in (child for token in tokens for child in token.children or () if child.type == "link_open"):
        link.attrSet("href", re.sub(r"^([\w-]+)\.md(?=#|$)", r"\1.html", str(link.attrGet("href"))))
    body = markdown.renderer.render(tokens, markdown.options, {})
    return f"<!doctype html>\n<meta charset=utf-8>\n<title>{name} · rtbench</title>\n<style>{STYLE}</style>\n{body}"
