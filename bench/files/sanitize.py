"""Texts and values from others, made safe. Pure.

Texts from services, proxies and the files of others may contain line breaks, escape sequences, characters that change
the writing direction, and commands to the program that reads a CI log. Here these become visible, or a text becomes a
name.

A value that a service sends must have the required type; else it is treated as missing. If it is too long, it is
truncated on arrival, so that rows, pages and lines have a limited length. No mark is added to a truncated value,
because the value may be a key.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

import msgspec

MAX_SLUG_CHARACTERS = 64
MAX_LINE_CHARACTERS = 600
ENDING = 200
"""The number of characters at the end of a long line that are not removed. The end of an error states what to do."""
MAX_KINDS = 5
"""The maximum number of kinds in a list, if others chose the names of the kinds."""
_COMMAND = re.compile(r":(?=:[A-Za-z])|#(?=#(?:vso)?\[)")
"""CI commands: `::name` of GitHub Actions at the start of a line, and `##vso[` of Azure Pipelines at any position."""
SUSPECT = r"[^ -~]|::|##"
"""The pattern, also for RE2, which searches many texts at once, of texts that `escape_control` may change."""
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
"""The control characters of ASCII, except the tab."""
_NO_WORD = re.compile("[^A-Za-z0-9_.-]")


def escape_control(text: str) -> str:
    r"""Return the text on one line. Control and format characters and line separators become escapes: `\x1b`, `\u2028`.

    In a CI command, a backslash is inserted, so that it is no longer a command. A second call changes nothing.
    """
    if not text.isprintable():
        text = "".join(character if _is_shown(character) else repr(character)[1:-1] for character in text)
    return _COMMAND.sub(r"\g<0>\\", text)


def _is_shown(character: str) -> bool:
    """Return whether a character is a letter, a sign, or a space of any width."""
    return character.isprintable() or unicodedata.category(character) == "Zs"


def one_line(text: str) -> str:
    """Return an error text as it is printed: on one line. If it is long, its middle is left out."""
    line = escape_control(text.strip())
    return line if len(line) <= MAX_LINE_CHARACTERS else f"{line[: MAX_LINE_CHARACTERS - ENDING]} … {line[-ENDING:]}"


def to_safe_json(value: Any) -> str:
    """Return JSON as commands print it: in ASCII. `##` may start a CI command, so it is escaped."""
    return json.dumps(value, indent=2, allow_nan=False).replace("##", r"#\u0023")


def excerpt(text: str, longest: int = 40) -> str:
    """Return a text from others as errors quote it: on one line, and truncated if it is long."""
    return escape_control(text if len(text) <= longest else f"{text[:longest]}…")


def top_counts(kinds: Mapping[str, int]) -> str:
    """Return the most frequent kinds, whose names others chose: `restart 400, ping 12, 3 more kinds 7`."""
    ranked = sorted(kinds.items(), key=lambda kind: (-kind[1], kind[0]))
    texts = [f"{excerpt(name) or 'without a name'} {count:,}" for name, count in ranked[:MAX_KINDS]]
    if more := ranked[MAX_KINDS:]:
        texts.append(f"{len(more)} more {'kind' if len(more) == 1 else 'kinds'} {sum(count for _, count in more):,}")
    return ", ".join(texts)


def slug(text: str) -> str:
    """Return a text as a part of an outcome: at most 64 characters, and `_` for all but A-Z a-z 0-9 _ . -."""
    return _NO_WORD.sub("_", text[:MAX_SLUG_CHARACTERS])


# The values of a service.

MAX_ID_CHARACTERS = 128
"""The maximum length, in characters, of an id, the name of an event, a code, or a status."""
MAX_MESSAGE_CHARACTERS = 1_000
"""The maximum length, in characters, of a message for people, and of each text in a session's settings."""
MAX_TEXT_CHARACTERS = 100_000
"""The maximum length, in characters, of a turn's transcript. It is enough for an hour of speech."""
MAX_ARGUMENTS_CHARACTERS = 100_000
"""The maximum length, in characters, of the arguments of a function call."""
MAX_SETTINGS_CHARACTERS = 65_536
"""The maximum size, in bytes, of a session's settings. If settings are larger, only their top level is stored."""
MAX_ENTRIES, MAX_DEPTH = 100, 8
"""The maximum number of entries of an object or list in the settings, and the maximum depth of nesting."""


def shortened_settings(settings: dict[str, Any], size: int) -> dict[str, Any]:
    """Return a session's settings with truncated texts and lists. `size` is the number of bytes of their JSON."""
    shortened: dict[str, Any] = _shortened(settings, MAX_DEPTH if size <= MAX_SETTINGS_CHARACTERS else 1)
    return shortened


def _shortened(value: Any, depth: int) -> Any:
    """Return a value of settings, truncated. Return None for an object or list that is nested too deep."""
    match value:
        case str():
            return value[:MAX_MESSAGE_CHARACTERS]
        case list() | dict() if not depth:
            return None
        case list():
            return [_shortened(item, depth - 1) for item in value[:MAX_ENTRIES]]
        case dict():
            entries = list(value.items())[:MAX_ENTRIES]
            return {name[:MAX_ID_CHARACTERS]: _shortened(item, depth - 1) for name, item in entries}
    return value


def object_in(raw: msgspec.Raw) -> dict[str, Any]:
    """Return the object in raw JSON; an empty object if the JSON is no object or is missing."""
    value = msgspec.json.decode(raw) if len(raw) else None
    return value if isinstance(value, dict) else {}


def string_in(raw: msgspec.Raw) -> str:
    """Return the string in raw JSON; an empty string if the JSON is no string or is missing."""
    value = msgspec.json.decode(raw) if len(raw) else None
    return value if isinstance(value, str) else ""


def milliseconds_in(raw: msgspec.Raw) -> int | None:
    """Return the number in raw JSON, without its fraction; None if the JSON is no number or is missing."""
    value = msgspec.json.decode(raw) if len(raw) else None
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def get_object(parent: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the object with this name in `parent`; an empty object if there is no object with this name."""
    value = parent.get(name)
    return value if isinstance(value, dict) else {}


def get_text(parent: Mapping[str, Any], name: str, longest: int = MAX_ID_CHARACTERS) -> str:
    """Return the string with this name in `parent`, truncated to `longest` characters; empty if there is none."""
    value = parent.get(name)
    return value[:longest] if isinstance(value, str) else ""
