"""Pages of docs/ of which parts are made: what stands between two marks is written anew, and tables are laid out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

SECTION = "<!-- made: {} -->\n{}<!-- end -->"


def made_anew(page: str, sections: Mapping[str, str]) -> str:
    """The page with these sections, by their names, as they are now."""
    for name, text in sections.items():
        section = SECTION.format(name, text).replace("\\", r"\\")
        page = re.sub(SECTION.format(name, "(?s:.*?)"), section, page)
    return page


def listed(entries: Iterable[tuple[str, str]]) -> str:
    """Return a Markdown list of terms and what each means, between blank lines."""
    return "\n" + "".join(f"- {term}: {meaning}\n" for term, meaning in entries) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines) + "\n"
