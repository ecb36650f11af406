"""JSON Schema in few words. A record requires its keys but those of `more`, and allows others: readers skip them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Schema = dict[str, Any]

DRAFT = "https://json-schema.org/draft/2020-12/schema"
TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
WHOLE: Schema = {"type": "integer"}
COUNT: Schema = {"type": "integer", "minimum": 0}
FLAG: Schema = {"type": "boolean"}
ANYTHING: Schema = {}


def record(keys: Mapping[str, Schema], more: Mapping[str, Schema] | None = None) -> Schema:
    """An object with these keys; `more` are those that need not be there."""
    return {"type": "object", "required": list(keys), "properties": {**keys, **(more or {})}}


def each(names: Iterable[str], schema: Schema) -> dict[str, Schema]:
    """Keys of one kind."""
    return dict.fromkeys(names, schema)


def many(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def by_name(values: Schema) -> Schema:
    """An object whose keys are names, such as labels of targets."""
    return {"type": "object", "additionalProperties": values}


def one_of(*words: object) -> Schema:
    return {"enum": list(words)}


def maybe(schema: Schema) -> Schema:
    """The same, or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def said(schema: Schema, words: str) -> Schema:
    """The same with its description."""
    return schema | {"description": words}


def document(name: str, title: str, schema: Schema) -> Schema:
    """A schema as it stands in a file."""
    return {"$schema": DRAFT, "$id": f"rtbench:{name}", "title": title} | schema
