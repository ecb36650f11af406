"""Functions for generated parts of the pages of docs/.

They replace the text between two markers, and lay out tables.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

SECTION = "<!-- made: {} -->\n{}<!-- end -->"


def made_anew(page: str, sections: Mapping[str, str]) -> str:
    """Return the page with new text in these sections. The key of a section is the name in its
    marker.
    """
    for name, text in sections.items():
        section = SECTION.format(name, text).replace("\\", r"\\")
        page = re.sub(SECTION.format(name, "(?s:.*?)"), section, page)
    return page


def listed(entries: Iterable[tuple[str, str]]) -> str:
    """Return a Markdown list with one item for each (term, meaning), and a blank line before and
    after the list.
    """
    return "\n" + "".join(f"- {term}: {meaning}\n" for term, meaning in entries) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    first, *others = ["| " + " | ".join(cells) + " |" for cells in (head, *rows)]
    return "\n".join([first, "|" + "---|" * len(head), *others]) + "\n"
