"""Documents for programs: a type says what stands in one, and both its JSON and its JSON Schema are made from it.

    class Row(Record):
        target: str
        failed: Count = field(name="turns_failed")      # the attribute `failed`, under another key
        usd_per_turn: Rounded

Here alone it is ruled how a number is written that does not exist, NaN or infinite: as null.

Documents that the measuring half writes have schemas in few words: a record requires its keys but those of `more`, and
allows others. `misfit` says whether a document that is read is made so: readers need types, and skip missing keys.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, TypeVar, cast

import msgspec

from bench.untrusted.safe_io import read_json

DRAFT = "https://json-schema.org/draft/2020-12/schema"
DIGITS = 6


def about(description: str) -> msgspec.Meta:
    """What a schema says of a field: Annotated[Rounded, about("null where the interval is open")]."""
    return msgspec.Meta(description=description)


Count = Annotated[int, msgspec.Meta(ge=0)]
Version = Annotated[int, msgspec.Meta(ge=1), about("version of the metrics' definitions")]


if TYPE_CHECKING:
    Number: TypeAlias = float
    Rounded: TypeAlias = float
    Known: TypeAlias = str
    Positive: TypeAlias = int
else:

    class Number(float):
        """A number as it is; null where it is NaN or infinite."""

    class Rounded(float):
        """A figure in six digits; null where it is NaN or infinite."""

    class Known(str):
        """Text; null where it is empty."""

        __slots__ = ()

    class Positive(int):
        """A count; null where it is 0."""

        __slots__ = ()


ABSENT: dict[type, object] = {Number: math.nan, Rounded: math.nan, Known: "", Positive: 0}
"""What null stands for."""
Read = TypeVar("Read", bound=msgspec.Struct)


class Record(msgspec.Struct, frozen=True):
    """An object with a key for each field. Later versions may add some: readers skip them."""


class Closed(Record, frozen=True, forbid_unknown_fields=True):
    """The same, with no other keys."""


def data_of(document: Record) -> dict[str, Any]:
    """A document as lists, dictionaries, strings and numbers.

    Raises msgspec.ValidationError where a field is not of its type.
    """
    plain = msgspec.to_builtins(document, enc_hook=_builtin)
    try:
        return _through_json(plain, type(document))
    except UnicodeEncodeError:
        return _through_json(_unicode(plain), type(document))


def _through_json(plain: Any, kind: type[Record]) -> dict[str, Any]:
    typed = msgspec.convert(plain, kind, dec_hook=lambda kind, value: kind(value))
    data: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(typed, enc_hook=_plain))
    return data


def _unicode(value: Any) -> Any:
    r"""Return the same with `\udcff` for a byte that is not UTF-8: the name of a file may hold any."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_unicode(key): _unicode(held) for key, held in value.items()}
    return [_unicode(held) for held in value] if isinstance(value, list | tuple) else value


def read_document(data: bytes, kind: type[Read]) -> Read:
    """A document of this type, or of one that has some of its fields; what is null there does not exist.

    Raises JsonError for what is no such document.
    """
    return cast("Read", read_json(data, kind, made=lambda kind, value: kind(ABSENT[kind] if value is None else value)))


def text_of(data: dict[str, Any]) -> str:
    """A document as its file has it."""
    # indented by msgspec, for json indents in Python: five times as long
    return msgspec.json.format(json.dumps(data, ensure_ascii=False, allow_nan=False), indent=2) + "\n"


def schema_of(kind: Any, name: str, title: str) -> dict[str, Any]:
    """The JSON Schema of a document of this type, as its file has it."""
    return {"$schema": DRAFT, "$id": f"rtbench:{name}", "title": title} | msgspec.json.schema(kind, schema_hook=_schema)


def _builtin(value: Any) -> Any:
    """A text, or a number of numpy's or of the types above, as Python's own."""
    if isinstance(value, str | float | int):
        return next(plain(value) for plain in (str, float, int) if isinstance(value, plain))
    return value.item()


def _plain(value: Any) -> Any:
    """What JSON has for a value of the types above."""
    if isinstance(value, Known):
        return str(value) or None
    if isinstance(value, Positive):
        return int(value) or None
    return float(f"{value:.{DIGITS}g}" if isinstance(value, Rounded) else value) if math.isfinite(value) else None


def _schema(kind: type) -> dict[str, Any]:
    if issubclass(kind, Positive):
        return {"type": ["integer", "null"], "minimum": 0}
    return {"type": ["string" if issubclass(kind, str) else "number", "null"]}


Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
WHOLE: Schema = {"type": "integer"}
COUNT: Schema = {"type": "integer", "minimum": 0}
FLAG: Schema = {"type": "boolean"}


def record(keys: Mapping[str, Schema], more: Mapping[str, Schema] | None = None) -> Schema:
    """An object with these keys; `more` are those that need not be there."""
    return {"type": "object", "required": list(keys), "properties": {**keys, **(more or {})}}


def each(names: Iterable[str], schema: Schema) -> dict[str, Schema]:
    """Keys of one kind."""
    return dict.fromkeys(names, schema)


def many(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def one_of(*words: object) -> Schema:
    return {"enum": list(words)}


def maybe(schema: Schema) -> Schema:
    """The same, or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def file_schema(name: str, title: str, schema: Schema) -> Schema:
    """A schema as it stands in a file."""
    return {"$schema": DRAFT, "$id": f"rtbench:{name}", "title": title} | schema


MOST = 2**63
"""What is larger is no instant and no count: it fits into no column."""
KINDS: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
CALLED = {"object": "an object", "array": "a list", "string": "text", "integer": "a whole number", "number": "a number"}


def misfit(value: Any, schema: dict[str, Any]) -> str:
    """Where the first value stands that is not of its schema's type or range, and what it must be; "" where none is.

    Which keys there must be is not asked.
    """
    return _misfit(value, schema, "", schema.get("$defs", {}))


def _misfit(value: Any, schema: dict[str, Any], at: str, types: dict[str, Any]) -> str:
    """The same of the value at a place; `types` are those that schemas refer to."""
    schema = types[schema["$ref"].removeprefix("#/$defs/")] if "$ref" in schema else schema
    in_reach = abs(value) < MOST if isinstance(value, int) else not isinstance(value, float) or math.isfinite(value)
    if not in_reach:  # JSON has no infinity and no NaN, though Python reads them
        return f"{at or 'it'} must be a number that can be reckoned with"
    if choices := schema.get("anyOf"):
        misfits = [_misfit(value, choice, at, types) for choice in choices]
        return "" if "" in misfits else misfits[0]
    if "enum" in schema:
        allowed = ", ".join(map(str, schema["enum"]))
        return "" if value in schema["enum"] else f"{at} must be one of {allowed}"
    kind = schema.get("type")
    if kind is not None and not (kind == "boolean" if isinstance(value, bool) else isinstance(value, KINDS[kind])):
        return f"{at or 'it'} must be {CALLED.get(kind, kind)}"
    if "minimum" in schema and value < schema["minimum"]:
        return f"{at or 'it'} must be {schema['minimum']} or more"
    if isinstance(value, list):
        inner = (_misfit(part, schema.get("items", {}), f"{at}[{place}]", types) for place, part in enumerate(value))
        return next(filter(None, inner), "")
    if isinstance(value, dict):
        known, others = schema.get("properties", {}), schema.get("additionalProperties", {})
        spare = known.keys() - set(schema.get("required", ()))  # null there is as good as nothing
        parts = [(key, part) for key, part in value.items() if part is not None or key not in spare]
        inner = (_misfit(part, known.get(key, others), f"{at}.{key}" if at else key, types) for key, part in parts)
        return next(filter(None, inner), "")
    return ""
