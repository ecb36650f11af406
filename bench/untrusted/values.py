"""Reads what a service says as far as it is fit to be kept: of the wanted type, and no longer than needed. Pure.

What is of another type is as if it were not there. What is too long is cut where it enters, so that no row, page or
line is endless. Services use ids of some thirty characters and names of at most sixty. What is cut has no mark, for it
may be a key.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

LONGEST_ID = 128
"""Characters of an id, of an event's name, of a code or status."""
LONGEST_WORDS = 1_000
"""Characters of a message for people, and of each text in a session's settings."""
LONGEST_TEXT = 100_000
"""Characters of what was said in a turn: an hour of it."""
LONGEST_ARGUMENTS = 100_000
"""Characters of a function call's arguments."""
LONGEST_SETTINGS = 65_536
"""Bytes of a session's settings; of longer ones what stands in them directly is kept."""
MOST_PARTS, DEEPEST = 100, 8
"""How many entries an object or list of settings has at most, and how deep they are nested."""


def shortened_settings(settings: dict[str, Any], size: int) -> dict[str, Any]:
    """A session's settings, of so many bytes of JSON, with their texts and lists cut."""
    kept: dict[str, Any] = _shortened(settings, DEEPEST if size <= LONGEST_SETTINGS else 1)
    return kept


def _shortened(value: Any, depth: int) -> Any:
    """Cut a value of settings; None where it is nested too deep."""
    match value:
        case str():
            return value[:LONGEST_WORDS]
        case list() | dict() if not depth:
            return None
        case list():
            return [_shortened(part, depth - 1) for part in value[:MOST_PARTS]]
        case dict():
            kept = list(value.items())[:MOST_PARTS]
            return {name[:LONGEST_ID]: _shortened(part, depth - 1) for name, part in kept}
    return value


def object_in(raw: msgspec.Raw) -> dict[str, Any]:
    """The object that is written there."""
    value = msgspec.json.decode(raw) if len(raw) else None
    return value if isinstance(value, dict) else {}


def string_in(raw: msgspec.Raw) -> str:
    """The string that is written there."""
    value = msgspec.json.decode(raw) if len(raw) else None
    return value if isinstance(value, str) else ""


def milliseconds_in(raw: msgspec.Raw) -> int | None:
    """The number that is written there."""
    value = msgspec.json.decode(raw) if len(raw) else None
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def part_of(parent: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The object of this name."""
    value = parent.get(name)
    return value if isinstance(value, dict) else {}


def text_of(parent: Mapping[str, Any], name: str, longest: int = LONGEST_ID) -> str:
    """The string of this name, up to so many characters."""
    value = parent.get(name)
    return value[:longest] if isinstance(value, str) else ""
