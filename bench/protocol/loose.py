"""Reads values of JSON that may be of any type: what is not of the type that is wanted is as if it were not there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from bench.protocol.lengths import LONGEST_ID


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
