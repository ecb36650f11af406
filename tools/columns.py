"""The generated lists of columns and instants in docs/conformance/columns.md.

`python -m tools.columns` writes these lists.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from bench.catalogue.columns import (
    IDENTITY,
    SECONDS,
    SESSION_INSTANT_GROUPS,
    SESSIONS,
    TURN_INSTANT_GROUPS,
    TURNS,
    ColumnGroup,
    InstantGroup,
)
from tools.made_page import listed, made_anew

DOCS = Path(__file__).parents[1] / "docs"
PAGES = (DOCS / "conformance" / "columns.md",)
STAMPS = {"arrival": "", "send": " ↑", "clock": " ◷"}
"""The symbol for each source of a timestamp. Most timestamps are arrivals, so arrivals have no
symbol."""


def written(page: str) -> str:
    """Return the page with new text in its generated lists."""
    turns = [some for some in TURNS if some not in IDENTITY]
    described = {*IDENTITY, *turns}
    return made_anew(
        page,
        {
            "columns of both": _columns(IDENTITY),
            "columns of turns": _columns(some for some in turns if not some.audit),
            "columns of bounds": _columns(some for some in turns if some.audit),
            "columns of sessions": _columns(some for some in SESSIONS if some not in described),
            "columns of seconds": _columns(some for some in SECONDS if some not in described),
            "instants of turns": _instants(TURN_INSTANT_GROUPS),
            "instants of sessions": _instants(SESSION_INSTANT_GROUPS),
        },
    )


def _columns(columns: Iterable[ColumnGroup]) -> str:
    return _from_folder(listed((_named(some.names), some.sentence) for some in columns))


def _named(names: tuple[str, ...]) -> str:
    """Return the names of columns as text.

    If more than three columns have the name of an instant and the same ending, return one pattern
    instead. The names of the instants are on the same page.
    """
    endings = [
        ending
        for ending in ("_at_ns", "_uncertainty_ns")
        if all(name.endswith(ending) for name in names)
    ]
    return _code([f"<instant>{endings[0]}"] if endings and len(names) > 3 else names)


def _instants(instants: Iterable[InstantGroup]) -> str:
    entries = ((_code(some.names) + STAMPS[some.source], some.sentence) for some in instants)
    return _from_folder(listed(entries))


def _from_folder(text: str) -> str:
    """Return the text with links from a page in a folder: a link without a page leads to the
    definitions of metrics.
    """
    return re.sub(r"]\((?=[\w/-]+\.md)", "](../", text.replace("](#", "](metrics.md#"))


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(written(path.read_text(encoding="utf-8")), encoding="utf-8")
