"""How much is kept of what a service says: it is cut where it enters, so that no row, page or line is endless. Pure.

Services use ids of some thirty characters and names of at most sixty. What is cut has no mark, for it may be a key.
"""

from __future__ import annotations

from typing import Any

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


def shortened(settings: dict[str, Any], size: int) -> dict[str, Any]:
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
