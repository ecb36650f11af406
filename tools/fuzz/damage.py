"""Damage to valid input. Bytes are flipped, cut, doubled or replaced; JSON values get another
type or place.
"""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any

HOSTILE = (
    b"%YAML 9.9\n---\n",
    b"\x00",
    b"\x1b[2J",
    b"\xff\xfe",
    b"1" + b"0" * 400,
    b"1e400",
    b"-1",
    b"null",
    b"{}",
    b"[]",
    b'"',
    b"&a [*a]",
    b"!!python/object:x",
    b"\xc2\xb2",
    b"\xe2\x80\xa8",
    b"\n",
    b"true",
    b".nan",
    b"0o777777",
    b"'",
    b"<<: *x",
    b"5" * 5000,
    b"2026-13-45",
    b"!!int x",
    b"\t",
    b"...",
    b"{" * 500,
    b"[" * 400 + b"]" * 400,
    b"9223372036854775808",
    b"18446744073709551615",
    b"\n::set-output name=a::b\n",
    b"##vso[task.complete]",
)
"""Content that does not belong in a file."""
DEEP = {"<deep>": 0}
WRONG: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    10**400,
    2**63,
    2**64 - 1,
    -(2**63),
    1e308,
    float("nan"),
    0.5,
    "text",
    "\x1b[2J\n",
    "",
    "\n::set-output name=a::b",
    "##vso[task.complete]",
    "x" * 5_000,
    [],
    [[]],
    [1],
    {},
    {"a": 1},
    {"": None},
    DEEP,
)
"""Values that do not belong in a document."""
LEVELS = (60, 900, 5_000)
"""The possible depths of DEEP."""
MOST = 4
"""The maximum number of faults in a case."""


def damaged_bytes(random: Random, content: bytes, hostile: tuple[bytes, ...] = HOSTILE) -> bytes:
    """Return the bytes with one to four faults."""
    data = bytearray(content)
    for _ in range(random.randint(1, MOST)):
        at = random.randint(0, len(data))
        match random.choice(("flip", "cut", "insert", "replace", "repeat")):
            case "flip" if at < len(data):
                data[at] ^= random.randint(1, 255)
            case "cut":
                del data[at:]
            case "repeat":
                data[at:at] = data[at : at + random.randint(1, 80)]
            case how:
                until = at + random.randint(1, 30) * (how == "replace")
                data[at:until] = random.choice(hostile)
    return bytes(data)


def damaged_document(random: Random, document: Any) -> Any:
    """Return a JSON document with one to four faults: values that are replaced, removed, renamed
    or exchanged.
    """
    damaged = copy.deepcopy(document)
    for _ in range(random.randint(1, MOST)):
        positions = list(_places(damaged))
        if not positions:
            return damaged
        holder, key = random.choice(positions)
        match random.choice(("wrong", "wrong", "missing", "renamed", "exchanged")):
            case "wrong":
                holder[key] = copy.deepcopy(random.choice(WRONG))
            case "missing":
                del holder[key]
            case "renamed" if isinstance(holder, dict):
                holder[f"{key}_"] = holder.pop(key)
            case _:
                other, other_key = random.choice(positions)
                holder[key] = copy.deepcopy(other[other_key])
    return damaged


def dumped(document: Any, levels: int = 5_000) -> str:
    """Return the document as JSON; DEEP becomes `levels` nested lists, which no encoder writes."""
    return json.dumps(document).replace(json.dumps(DEEP), "[" * levels + "]" * levels)


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Return (holder, key) of every value inside."""
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [pair for key, item in inner for pair in ((value, key), *_places(item))]
