"""Makes what others said fit to be shown: one line that steers no terminal and no CI, and words for names. Pure.

Services, proxies and files of others put anything into texts: line breaks, escape sequences, marks that turn the order
of writing round, commands to whoever reads a CI's log. Here that becomes visible, and stays readable.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

LONGEST_WORD = 64
LONGEST_LINE = 600
ENDING = 200
"""What is kept of a long line's end: what to do stands there."""
MOST_KINDS = 5
"""Kinds that are named of those that somebody else made up."""
_COMMAND = re.compile(r":(?=:[A-Za-z])|#(?=#(?:vso)?\[)")
"""What a CI takes for a command: GitHub Actions `::name` at the start of a line, Azure Pipelines `##vso[` anywhere."""
SUSPECT = r"[^ -~]|::|##"
"""A text in which this is not found is escape_control as it stands. For RE2, too, which looks through many at once."""
_NO_WORD = re.compile("[^A-Za-z0-9_.-]")


def escape_control(text: str) -> str:
    r"""The text on one line: control and format characters, line and paragraph separators as in `\x1b`, `\u2028`.

    A command to a CI is broken by a backslash. Doing it twice changes nothing.
    """
    if not text.isprintable():
        text = "".join(one if _is_shown(one) else repr(one)[1:-1] for one in text)
    return _COMMAND.sub(r"\g<0>\\", text)


def _is_shown(character: str) -> bool:
    """Letters and signs, and spaces of any width."""
    return character.isprintable() or unicodedata.category(character) == "Zs"


def one_line(text: str) -> str:
    """An error as it is printed: on one line, which lacks its middle where it is long."""
    shown = escape_control(text.strip())
    return shown if len(shown) <= LONGEST_LINE else f"{shown[: LONGEST_LINE - ENDING]} … {shown[-ENDING:]}"


def to_safe_json(value: Any) -> str:
    """JSON as a command prints it: of ASCII, and without what a CI takes for a command, which is spelt otherwise."""
    return json.dumps(value, indent=2, allow_nan=False).replace("##", r"#\u0023")


def excerpt(text: str, longest: int = 40) -> str:
    """What somebody wrote, as errors quote it: on one line, and cut where it is long."""
    return escape_control(text if len(text) <= longest else f"{text[:longest]}…")


def top_counts(kinds: Mapping[str, int]) -> str:
    """The commonest of kinds that somebody else named, each with its count: restart 400, ping 12, 3 more kinds 7."""
    named = sorted(kinds.items(), key=lambda kind: (-kind[1], kind[0]))
    shown = [f"{excerpt(name) or 'without a name'} {count:,}" for name, count in named[:MOST_KINDS]]
    if more := named[MOST_KINDS:]:
        shown.append(f"{len(more)} more {'kind' if len(more) == 1 else 'kinds'} {sum(count for _, count in more):,}")
    return ", ".join(shown)


def slug(text: str) -> str:
    """A code or reason as part of an outcome: at most 64 of A-Z a-z 0-9 _ . -, others as _; "" stays empty."""
    return _NO_WORD.sub("_", text[:LONGEST_WORD])
