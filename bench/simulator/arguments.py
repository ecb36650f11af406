"""Makes up the arguments of a function call from the function's JSON Schema. Pure.

A value that the schema gives counts first: `const`, an example, the default, the first of an enumeration; else a value
of its type is drawn. Only required properties are there. A schema may say anything: what is not understood is null.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.simulator.wire import Json

DEEPEST = 16  # schemas within schemas; one may refer to itself
MOST_VALUES = 500
MOST_LETTERS = 1000


def arguments(parameters: Any, rng: np.random.Generator) -> Json:
    """The arguments of a call of a function whose `parameters` are a JSON Schema, or nothing."""
    schema = parameters if isinstance(parameters, dict) else {}
    return _Sample(schema, rng).object(schema, 0)


def unfit_arguments(parameters: Any, rng: np.random.Generator) -> Json:
    """Arguments that do not fit: without the first of those that are required, and with one that nobody declared."""
    fit = arguments(parameters, rng)
    return dict(list(fit.items())[1:]) | {"undeclared": True}


class _Sample:
    """Values for the schemas within `root`, which may refer to each other."""

    def __init__(self, root: Json, rng: np.random.Generator) -> None:
        self._root, self._rng = root, rng
        self._left = MOST_VALUES

    def object(self, schema: Json, depth: int) -> Json:
        properties, required = schema.get("properties"), schema.get("required")
        if not isinstance(properties, dict) or not isinstance(required, list):
            return {}
        names = [name for name in required if isinstance(name, str)]
        return {name: self.value(properties.get(name), depth + 1) for name in names}

    def value(self, schema: Any, depth: int) -> Any:
        self._left -= 1
        if not isinstance(schema, dict) or depth > DEEPEST or self._left < 0:
            return None
        for key in ("const", "example", "default"):
            if key in schema:
                return schema[key]
        for key in ("examples", "enum"):
            if isinstance(schema.get(key), list) and schema[key]:
                return schema[key][0]
        inner = self._inner(schema)
        return self._of_type(schema, depth) if inner is None else self.value(inner, depth + 1)

    def _inner(self, schema: Json) -> Any:
        """The schema that stands for this one: what it refers to, or the first of its choices that is not null."""
        reference = schema.get("$ref")
        if isinstance(reference, str):
            target: Any = self._root
            for key in reference.removeprefix("#/").split("/"):
                target = target.get(key) if isinstance(target, dict) else None
            return target or {}
        for key in ("anyOf", "oneOf", "allOf"):
            if isinstance(schema.get(key), list):
                return next((choice for choice in schema[key] if choice != {"type": "null"}), {})
        return None

    def _of_type(self, schema: Json, depth: int) -> Any:
        types = schema.get("type")
        match next((name for name in types if name != "null"), None) if isinstance(types, list) else types:
            case "string":
                return self._text(schema)
            case "integer":
                return self._whole(schema)
            case "number":
                return float(self._whole(schema))
            case "boolean":
                return bool(self._rng.integers(2))
            case "array":
                count = min(max(_limit(schema, "minItems", 0), 0), self._left + 1)
                return [self.value(schema.get("items"), depth + 1) for _ in range(count)]
            case "object":
                return self.object(schema, depth)
        return None

    def _text(self, schema: Json) -> str:
        text = f"simulated {self._rng.integers(1000)}"
        text = text.ljust(min(_limit(schema, "minLength", 0), MOST_LETTERS), ".")
        return text[: max(_limit(schema, "maxLength", MOST_LETTERS), 0)]

    def _whole(self, schema: Json) -> int:
        least = _limit(schema, "minimum", 0)
        return least + int(self._rng.integers(max(1, _limit(schema, "maximum", least + 99) - least + 1)))


def _limit(schema: Json, key: str, default: int) -> int:
    value = schema.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1 << 52:
        return default
    return int(value)
