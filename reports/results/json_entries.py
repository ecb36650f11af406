"""JSON documents that programs read. One Python type defines a document: its JSON and its JSON
Schema are made from it. A text below a field is its description in the schema.

    class Row(JsonEntry):
        target: str
        failed: Count = field(name="turns_failed")      # the attribute `failed`, under another key
        \"\"\"turns that failed\"\"\"
        usd_per_turn: Rounded

This module is the only place where NaN and infinity become null. `optional_keys` makes the type of
a reader that accepts documents with missing keys.
"""

import json
import math
import typing
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass, replace
from functools import reduce
from operator import or_
from types import UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    NotRequired,
    TypeAlias,
    TypedDict,
    TypeVar,
    cast,
    dataclass_transform,
)

import msgspec

from bench.files.safe_io import read_json

DIGITS = 6


Count = Annotated[int, msgspec.Meta(ge=0)]
Version = Annotated[int, msgspec.Meta(ge=1, description="version of the metrics' definitions")]


if TYPE_CHECKING:
    Number: TypeAlias = float
    Rounded: TypeAlias = float
    Known: TypeAlias = str
else:

    class Number(float):
        """An unrounded number; null if it is NaN or infinite."""

    class Rounded(float):
        """A value that is rounded to six digits; null if it is NaN or infinite."""

    class Known(str):
        """A text; null if it is empty."""

        __slots__ = ()


ABSENT: dict[type, object] = {Number: math.nan, Rounded: math.nan, Known: ""}
"""For each of these types, the value that a reader uses for null."""
Read = TypeVar("Read", bound=msgspec.Struct)
AnyValue = TypeVar("AnyValue")


@dataclass_transform(frozen_default=True, field_specifiers=(msgspec.field,))
class JsonEntry(msgspec.Struct, frozen=True):
    """An object with a key for each field. Later versions may add keys, which readers of this
    version skip. Its subclasses are frozen, too.
    """


class ClosedJsonEntry(JsonEntry, forbid_unknown_fields=True):
    """An object with a key for each field and no other keys."""


def narrowed(kind: type[Read], entry: Read, **values: Any) -> Read:
    """Return the part of an entry that its base type has, with other `values` of some fields."""
    names = kind.__struct_fields__
    return kind(**{name: getattr(entry, name) for name in names} | values)


def to_json_data(document: JsonEntry) -> dict[str, Any]:
    """Return a document as lists, dictionaries, strings, and numbers. Raise ValidationError if a
    type is wrong.
    """
    plain = msgspec.to_builtins(document, enc_hook=_builtin)
    try:
        return _through_json(plain, type(document))
    except UnicodeEncodeError:
        # a file name may contain any byte: each byte that is not valid UTF-8 is written as `\udcff`
        escaped = map_values(
            plain, str, lambda text: text.encode("utf-8", "backslashreplace").decode()
        )
        return _through_json(escaped, type(document))


def _through_json(plain: Any, kind: type[JsonEntry]) -> dict[str, Any]:
    typed = msgspec.convert(plain, kind, dec_hook=lambda kind, value: kind(value))
    data: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(typed, enc_hook=_plain))
    return data


def read_document(data: bytes, kind: type[Read]) -> Read:
    """Read a document of this type. Raise JsonError if it is invalid. If the type was made by
    `optional_keys`, the document may lack keys, and a key with null counts as missing.
    """
    return cast("Read", read_json(data, kind, make_value=_build))


def _build(kind: type, value: Any) -> Any:
    return kind(ABSENT[kind] if value is None else value)


def text_of(data: dict[str, Any]) -> str:
    """Return the text to write to the file of a document."""
    # msgspec makes the indents, because the json module makes them in Python, which takes five
    # times as long
    return (
        msgspec.json.format(json.dumps(data, ensure_ascii=False, allow_nan=False), indent=2) + "\n"
    )


def _builtin(value: Any) -> Any:
    """Convert a value of numpy or of the types above to a str, float, int, or list of Python."""
    if isinstance(value, str | float | int):
        return next(plain(value) for plain in (str, float, int) if isinstance(value, plain))
    return value.tolist()


def _plain(value: Any) -> Any:
    """Return the JSON value for a value of the types above."""
    if isinstance(value, Known):
        return str(value) or None
    return (
        float(f"{value:.{DIGITS}g}" if isinstance(value, Rounded) else value)
        if math.isfinite(value)
        else None
    )


def optional_keys(kind: Any) -> Any:
    """Return the same type with optional keys. A key that may be missing may also be null."""
    origin = typing.get_origin(kind)
    inner = typing.get_args(kind)
    if origin is NotRequired:
        return optional_keys(inner[0])
    if origin is Annotated:
        return Annotated[optional_keys(inner[0]), *kind.__metadata__]
    if origin is UnionType:
        return reduce(or_, map(optional_keys, inner))
    if origin in (list, dict):
        return origin[tuple(map(optional_keys, inner))]
    if is_dataclass(kind):
        optional = {field.name for field in fields(kind) if field.default is not MISSING}
    elif isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        optional = {field.name for field in msgspec.structs.fields(kind) if not field.required}
    elif not typing.is_typeddict(kind):
        return kind
    else:
        optional = set()
    keys = {}
    for name, hint in typing.get_type_hints(kind, include_extras=True).items():
        may_be_null = name in optional or typing.get_origin(hint) is NotRequired
        keys[name] = optional_keys(hint) | None if may_be_null else optional_keys(hint)
    return TypedDict(kind.__name__, keys, total=False)  # type: ignore[operator]


def map_values(
    result: AnyValue, kind: type[Read] | type[str], change: Callable[[Any], Any]
) -> AnyValue:
    """Return a struct, a dataclass, or a collection in which `change` has replaced each value of
    this type.
    """
    made: Any = result
    if isinstance(result, kind):
        made = change(result)
    elif result is None or isinstance(result, str | int | float):
        pass
    elif isinstance(result, tuple | list):
        items = [map_values(item, kind, change) for item in result]
        made = type(result)(*items) if hasattr(result, "_fields") else type(result)(items)
    elif isinstance(result, dict):
        made = {
            map_values(key, kind, change): map_values(value, kind, change)
            for key, value in result.items()
        }
    elif isinstance(result, msgspec.Struct):
        mapped = {
            name: map_values(getattr(result, name), kind, change)
            for name in result.__struct_fields__
        }
        made = msgspec.structs.replace(result, **mapped)
    elif is_dataclass(result) and not isinstance(result, type):
        made = replace(
            result,
            **{name: map_values(value, kind, change) for name, value in vars(result).items()},
        )
    return cast("AnyValue", made)
