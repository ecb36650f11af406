"""Functions for the generated parts of pages of docs/: they replace the text between two markers and lay out tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

SECTION = "<!-- made: {} -->\n{}<!-- end -->"


def made_anew(page: str, sections: Mapping[str, str]) -> str:
    """Return the page in which these sections, given by their names, are replaced."""
    for name, text in sections.items():
        section = SECTION.format(name, text).replace("\\", r"\\")
        page = re.sub(SECTION.format(name, "(?s:.*?)"), section, page)
    return page


def listed(entries: Iterable[tuple[str, str]]) -> str:
    """Return a Markdown list of terms with their meanings, between blank lines."""
    return "\n" + "".join(f"- {term}: {meaning}\n" for term, meaning in entries) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines) + "\n"
