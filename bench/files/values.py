"""Reading the values that a service sends. A value must have the required type, and its length is
limited. Pure.

A value of another type is treated as missing. A value that is too long is truncated on arrival, so
that rows, pages and lines have a limited length. Services use ids of about thirty characters, and
names of at most sixty. No mark is added to a truncated value, because the value may be a key.
"""

# The limits are ours, not those of a service. They bound what one message can cost in memory, in a
# row and on a page, for any number of sessions. Each is far above what services send, so a limit
# that is reached is a sign of a fault, and no text is lost in practice. A value is cut where it
# enters, in the dialect, because later code copies it freely.

from collections.abc import Mapping
from typing import Any

import msgspec

MAX_ID_CHARACTERS = 128
"""The maximum length, in characters, of an id, the name of an event, a code, or a status."""
MAX_MESSAGE_CHARACTERS = 1_000
"""The maximum length, in characters, of a message for people, and of each text in a session's
settings."""
MAX_TEXT_CHARACTERS = 100_000
"""The maximum length, in characters, of a turn's transcript. It is enough for an hour of speech."""
MAX_ARGUMENTS_CHARACTERS = 100_000
"""The maximum length, in characters, of the arguments of a function call."""
MAX_SETTINGS_CHARACTERS = 65_536
"""The maximum size, in bytes, of a session's settings. If settings are larger, only their top
level is stored."""
MAX_ENTRIES = 100
MAX_DEPTH = 8
"""The maximum number of entries of an object or list in the settings, and the maximum depth of
nesting."""

MAX_LIFE_S = 86_400.0
"""The maximum life of a key or a session whose stated end is believed. Services permit hours.

A larger number is usually an end in milliseconds.
"""


def stated_end_s(end: object, now_s: float) -> float | None:
    """Return the end of a key or a session, in seconds since 1970 UTC.

    Return None if none is stated, or if it is further away than MAX_LIFE_S.
    """
    if not isinstance(end, int | float) or isinstance(end, bool):
        return None
    return end if end <= now_s + MAX_LIFE_S else None


def shortened_settings(settings: dict[str, Any], size: int) -> dict[str, Any]:
    """Return a session's settings with truncated texts and lists. `size` is the number of bytes
    of their JSON.
    """
    shortened: dict[str, Any] = _shortened(
        settings, MAX_DEPTH if size <= MAX_SETTINGS_CHARACTERS else 1
    )
    return shortened


def _shortened(value: Any, depth: int) -> Any:
    """Return a value of settings, truncated. Return None for an object or list that is nested
    too deep.
    """
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
    """Return the number in raw JSON, without its fraction; None if the JSON is no number or is
    missing.
    """
    value = msgspec.json.decode(raw) if len(raw) else None
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def get_object(parent: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the object with this name in `parent`; an empty object if there is no object with
    this name.
    """
    value = parent.get(name)
    return value if isinstance(value, dict) else {}


def get_text(parent: Mapping[str, Any], name: str, longest: int = MAX_ID_CHARACTERS) -> str:
    """Return the string with this name in `parent`, truncated to `longest` characters; empty if
    there is none.
    """
    value = parent.get(name)
    return value[:longest] if isinstance(value, str) else ""
