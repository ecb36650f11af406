"""`rtbench docs`: the documentation of the installed version in the terminal.

In a checkout, the pages are in `docs`. In an installed wheel, they are in `share/doc/rtbench` of
the environment.
"""

import os
import re
import sys
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Annotated, NamedTuple

from bench.base.errors import UsageError
from bench.base.installation import PACKAGE_ROOT
from bench.base.standard_streams import MAX_WIDTH
from bench.base.suggestions import did_you_mean
from rtbench.cli.options import argument
from rtbench.cli.report import print_blocks, wants_colour

NAME_WIDTH = 18
LESS_OPTIONS = "-RFX"
"""The options of the pager `less`: show colours, exit if the text fits, and leave the text on
the screen."""


def docs(
    page: Annotated[
        str,
        argument(
            "A page, a section (check#baselines), or an example (ci/azure-steps.yml).", "NAME"
        ),
    ] = "",
) -> None:
    """Print a page of the documentation; without a name, list the pages.

    On a terminal the page is formatted and shown in a pager. Into a pipe or file it is written as
    Markdown.
    """
    name, _, section = page.partition("#")
    if not name:
        _list_pages()
        return
    file = find(name)
    text = file.read_text(encoding="utf-8")
    text = section_of(text, section) if section else text
    if sys.stdout.isatty():
        _show(linked(text) if file.suffix == ".md" else text, markdown=file.suffix == ".md")
    else:
        sys.stdout.write(text)


def _list_pages() -> None:
    from reports.render.blocks import Fact

    index = (folder() / INDEX).read_text(encoding="utf-8")
    for group, pages in groupby(entries(index), key=lambda entry: entry.group):
        rows = [Fact(entry.name, [entry.about], indent=NAME_WIDTH) for entry in pages]
        print(group)
        print_blocks([rows], "\n")
    print("`rtbench docs NAME` prints a page, `rtbench docs NAME#SECTION` a section of it.")


def _show(text: str, *, markdown: bool) -> None:
    from rich.console import Console
    from rich.markdown import Markdown

    os.environ.setdefault("LESS", LESS_OPTIONS)
    console = Console(no_color=not wants_colour())
    console.width = min(console.width, MAX_WIDTH)
    with console.pager(styles=wants_colour()):
        console.print(
            Markdown(text, hyperlinks=False) if markdown else text, markup=False, highlight=False
        )


INDEX = "index.md"
INSTALLED = f"share/doc/rtbench/{INDEX}"
ENTRY = re.compile(r"^- \[(?P<title>[^]]+)]\((?P<name>[\w-]+)\.md\): (?P<about>.+)$")
HEADING = re.compile(r"^(#+) +(.+)$")
LINK = re.compile(r"(?<!!)\[([^]]+)]\(([^)\s]+)\)")


class Entry(NamedTuple):
    """A page in the index. `group` is the heading under which the index lists the page."""

    group: str
    name: str
    about: str


def folder() -> Path:
    """Return the folder of the documentation pages. Raise UsageError if this installation has no
    pages.
    """
    checkout = Path(PACKAGE_ROOT)
    if (checkout / "pyproject.toml").is_file() and (checkout / "docs" / INDEX).is_file():
        return checkout / "docs"
    # slow, and every command imports this module
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        installed = distribution("rtbench").files or []
    except PackageNotFoundError:
        installed = []
    for file in installed:
        if file.as_posix().endswith(INSTALLED):
            return Path(str(file.locate())).resolve().parent
    raise UsageError(
        "this installation has no documentation pages: install the rtbench wheel with pip or uv"
    )


def entries(index: str) -> list[Entry]:
    """Return the pages that `index`, the text of the index page, lists, in the order of the
    index.
    """
    pages = []
    group = ""
    for line in index.splitlines():
        if heading := HEADING.match(line):
            group = heading[2]
        elif entry := ENTRY.match(line):
            pages.append(Entry(group, entry["name"], plain(entry["about"])))
    return pages


def plain(text: str) -> str:
    """Return a line of Markdown without links, code marks and bold marks."""
    return LINK.sub(r"\1", text).replace("`", "").replace("**", "")


def find(name: str) -> Path:
    """Return the file of a page (`check`, `check.md`) or example (`ci/azure-steps.yml`). Raise
    UsageError.
    """
    root = folder()
    known = {
        path.relative_to(root)
        .with_suffix("" if path.suffix == ".md" else path.suffix)
        .as_posix(): path
        for path in (*root.glob("*.md"), *root.glob("conformance/*.md"), *root.glob("ci/**/*.*"))
        if path.is_file()
    }
    page_name = name.removeprefix("docs/").removesuffix(".md")
    if page_name not in known:
        sections = _sections(page_name, known)
        hint = (
            f"; did you mean {' or '.join(sections)}?"
            if sections
            else did_you_mean(page_name, known)
        )
        raise UsageError(
            f"there is no documentation page {name!r}{hint or '; `rtbench docs` lists the pages'}"
        )
    return known[page_name]


def _sections(anchor: str, known: Mapping[str, Path]) -> list[str]:
    """Return the arguments of `rtbench docs` for the sections of all pages that have this
    anchor.
    """
    pages = {name: path for name, path in known.items() if path.suffix == ".md"}
    return [
        f"{name}#{anchor}"
        for name, path in sorted(pages.items())
        if anchor in headings(path.read_text(encoding="utf-8"))
    ]


def section_of(text: str, anchor: str) -> str:
    """Return the section of a page that has this anchor, with its subsections. Raise UsageError
    if there is none.
    """
    lines = text.splitlines(keepends=True)
    anchors = headings(text)
    if anchor not in anchors:
        known = [f"#{known}" for known in anchors]
        hint = did_you_mean(f"#{anchor}", known) or f"; it has {', '.join(known)}"
        raise UsageError(f"the page has no section {anchor!r}{hint}")
    start, depth = anchors[anchor]
    end = next(
        (line for line, other in anchors.values() if line > start and other <= depth), len(lines)
    )
    return "".join(lines[start:end])


def headings(text: str) -> dict[str, tuple[int, int]]:
    """Return the line number (from 0) and the depth of each heading, by the heading's anchor."""
    anchors: dict[str, tuple[int, int]] = {}
    fenced = False
    for number, line in enumerate(text.splitlines()):
        fenced ^= line.startswith("```")
        if not fenced and (heading := HEADING.match(line)):
            anchors[anchor_of(heading[2])] = (number, len(heading[1]))
    return anchors


def anchor_of(heading: str) -> str:
    """Return the anchor that GitHub and the documentation site make for a heading."""
    return re.sub(r"[^\w\- ]", "", plain(heading).lower()).strip().replace(" ", "-")


def linked(text: str) -> str:
    """Return the Markdown with changed links: each link to another page becomes an argument of
    `rtbench docs`.
    """
    return re.sub(r"]\(([\w-]+)\.md(#[\w-]+)?\)", lambda link: f"]({link[1]}{link[2] or ''})", text)
