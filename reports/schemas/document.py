"""Documents for programs: a type says what stands in one, and both its JSON and its JSON Schema are made from it.

    class Row(Record):
        target: str
        failed: Count = field(name="turns_failed")      # the attribute `failed` of what is written, under another key
        usd_per_turn: Figure

Here alone it is ruled how a number is written that does not exist, NaN or infinite: as null.
"""

from __future__ import annotations

import json
import math
from typing import Annotated, Any

import msgspec

DRAFT = "https://json-schema.org/draft/2020-12/schema"
DIGITS = 6


def about(description: str) -> msgspec.Meta:
    """What a schema says of a field: Annotated[Figure, about("null where the interval is open")]."""
    return msgspec.Meta(description=description)


Count = Annotated[int, msgspec.Meta(ge=0)]
Version = Annotated[int, msgspec.Meta(ge=1), about("version of the measures' definitions")]


class Number(float):
    """A number as it is; null where it is NaN or infinite."""


class Figure(float):
    """A figure in six digits; null where it is NaN or infinite."""


class Known(str):
    """Text; null where it is empty."""

    __slots__ = ()


class Record(msgspec.Struct):
    """An object with a key for each field. Later versions may add some: readers skip them."""


class Closed(Record, forbid_unknown_fields=True):
    """The same, with no other keys."""


class Values:
    """What fields are taken from by their names: those given here, else attributes of the first object that has one."""

    def __init__(self, *objects: object, **given: object) -> None:
        self._objects = objects
        self.__dict__.update(given)

    def __getattr__(self, name: str) -> Any:
        holder = next((one for one in self._objects if hasattr(one, name)), None)
        return getattr(holder, name)


def data_of(kind: type[Record], values: object) -> dict[str, Any]:
    """A document as lists, dictionaries, strings and numbers, from objects with an attribute for each field.

    Raises msgspec.ValidationError where one is missing or is of another type.
    """
    document = msgspec.convert(values, kind, from_attributes=True, dec_hook=_typed)
    data: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(document, enc_hook=_plain))
    return data


def text_of(data: dict[str, Any]) -> str:
    """A document as its file has it."""
    return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def schema_of(kind: Any, name: str, title: str) -> dict[str, Any]:
    """The JSON Schema of a document of this type, as its file has it."""
    return {"$schema": DRAFT, "$id": f"rtbench:{name}", "title": title} | msgspec.json.schema(kind, schema_hook=_schema)


def _typed(kind: type, value: Any) -> Any:
    return kind(value)


def _plain(value: Any) -> Any:
    """What JSON has for a value of the types above, or for a number of numpy."""
    if isinstance(value, str):
        return str(value) or None
    if isinstance(value, Figure):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    raise NotImplementedError(f"{type(value).__name__} has no JSON")


def _schema(kind: type) -> dict[str, Any]:
    return {"type": ["string" if issubclass(kind, str) else "number", "null"]}
