"""Whether a document is made as its schema says: readers need its types, and do without missing keys. Pure."""

from __future__ import annotations

import math
from typing import Any

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
    if isinstance(value, int | float) and not _is_in_reach(value):
        return f"{at or 'it'} must be a number that can be reckoned with"
    if choices := schema.get("anyOf"):
        misfits = [_misfit(value, choice, at, types) for choice in choices]
        return "" if "" in misfits else misfits[0]
    if "enum" in schema:
        allowed = ", ".join(map(str, schema["enum"]))
        return "" if value in schema["enum"] else f"{at} must be one of {allowed}"
    kind = schema.get("type")
    if kind is not None and not _is_a(value, kind):
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


def _is_a(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, KINDS[kind])


def _is_in_reach(number: float) -> bool:
    """JSON has no infinity and no NaN, though Python reads them."""
    return math.isfinite(number) if isinstance(number, float) else abs(number) < MOST
