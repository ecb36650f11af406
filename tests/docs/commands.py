"""The commands in the README and in the documents."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```sh[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
REDIRECTED = re.compile(r"\s+[>&|].*$")


class Command(NamedTuple):
    """A command on a page. `words` leaves out comments and redirections.

    `block` is the index of the command's code block.
    """

    page: str
    block: int
    words: tuple[str, ...]


def commands() -> Iterator[Command]:
    """Yield every command of every page, in the order of the pages and of their lines."""
    for page in PAGES:
        for block, text in enumerate(
            BLOCK.findall(page.read_text(encoding="utf-8").replace("\\\n", " "))
        ):
            for line in text.splitlines():
                for command in line.split(" && "):
                    words = tuple(shlex.split(REDIRECTED.sub("", command), comments=True))
                    if words:
                        yield Command(page.name, block, words)
