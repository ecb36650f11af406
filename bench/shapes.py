"""Shapes that a value of a script can have.

Each reads a value, or refuses it with what is allowed; and it describes itself as JSON Schema (draft 2020-12), so that
editors know what the loader knows.
"""

from __future__ import annotations

import difflib
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from bench.plain import shortened
from bench.yaml_file import Value

DEEPEST_JSON = 32
T = TypeVar("T")
Schema = dict[str, Any]


class Shape(ABC, Generic[T]):
    """What a place of a script expects."""

    @abstractmethod
    def read(self, value: Value) -> T:
        """What the value means. Raises UsageError that says what is wrong, where, and what is allowed."""

    @abstractmethod
    def schema(self) -> Schema:
        """The same as JSON Schema, as far as that can say it."""


@dataclass(frozen=True)
class Text(Shape[str]):
    """A string with something in it."""

    def read(self, value: Value) -> str:
        text = value.content()
        if not isinstance(text, str):
            raise value.refuse(f"must be text, not {value.shown()} (quotes make anything text)")
        if not text.strip():
            raise value.refuse("must not be empty")
        return unicode_text(value, text)

    def schema(self) -> Schema:
        return {"type": "string", "pattern": r"\S"}


def unicode_text(value: Value, text: str) -> str:
    """The text of a value. Raises UsageError where UTF-8 cannot hold it."""
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise value.refuse("must be Unicode text, without surrogates")
    return text


@dataclass(frozen=True)
class Matching(Shape[str]):
    """Text of a regular expression, which `allowed` says in words."""

    pattern: str
    allowed: str

    def read(self, value: Value) -> str:
        text = Text().read(value)
        if not re.fullmatch(self.pattern, text):
            raise value.refuse(f"must be {self.allowed}, not {value.shown()}")
        return text

    def schema(self) -> Schema:
        return {"type": "string", "pattern": f"^{self.pattern}$"}


@dataclass(frozen=True)
class Number(Shape[float]):
    """A number from `least` to `most`, both included. `unit`: in words, as in `of seconds`."""

    least: float
    most: float
    unit: str = ""

    def read(self, value: Value) -> float:
        number = _number(value)
        if number is None or not self.least <= number <= self.most:
            wanted = " ".join(filter(None, ("a number", self.unit, f"from {self.least:g} to {self.most:g}")))
            raise value.refuse(f"must be {wanted}, not {value.shown()}")
        return float(number)

    def schema(self) -> Schema:
        return {"type": "number", "minimum": self.least, "maximum": self.most}


@dataclass(frozen=True)
class Whole(Shape[int]):
    """A whole number from `least` to `most`, both included."""

    least: int
    most: int

    def read(self, value: Value) -> int:
        number = _number(value)
        if number is None or not self.least <= number <= self.most or number != int(number):
            raise value.refuse(f"must be a whole number from {self.least} to {self.most}, not {value.shown()}")
        return int(number)

    def schema(self) -> Schema:
        return {"type": "integer", "minimum": self.least, "maximum": self.most}


def _number(value: Value) -> int | float | None:
    content = value.content()
    return content if isinstance(content, int | float) and not isinstance(content, bool) else None


@dataclass(frozen=True)
class Flag(Shape[bool]):
    """True or false."""

    def read(self, value: Value) -> bool:
        flag = value.content()
        if not isinstance(flag, bool):
            raise value.refuse(f"must be true or false, not {value.shown()}")
        return flag

    def schema(self) -> Schema:
        return {"type": "boolean"}


@dataclass(frozen=True)
class Choice(Shape[str]):
    """One of some words."""

    words: tuple[str, ...]

    def read(self, value: Value) -> str:
        word = value.content()
        if not isinstance(word, str) or word not in self.words:
            raise value.refuse(f"must be {either(self.words)}, not {value.shown()}")
        return word

    def schema(self) -> Schema:
        return {"enum": list(self.words)}


@dataclass(frozen=True)
class OneOrMore(Shape[tuple[T, ...]]):
    """A value, or a list of such values."""

    shape: Shape[T]

    def read(self, value: Value) -> tuple[T, ...]:
        content = value.content()
        if not isinstance(content, list):
            return (self.shape.read(value),)
        if not content:
            raise value.refuse("must not be an empty list")
        return tuple(self.shape.read(item) for item in content)

    def schema(self) -> Schema:
        one = self.shape.schema()
        return {"oneOf": [one, {"type": "array", "items": one, "minItems": 1}]}


@dataclass(frozen=True)
class JsonObject(Shape[dict[str, Any]]):
    """A mapping of any values that JSON has, kept as they are written."""

    def read(self, value: Value) -> dict[str, Any]:
        return {key: _json(entry, DEEPEST_JSON) for key, entry in entries_of(value).items()}

    def schema(self) -> Schema:
        return {"type": ["object", "null"]}


def _json(value: Value, depth: int) -> Any:
    """`depth`: how many levels there may be below it."""
    match value.content():
        case dict() | list() if not depth:
            raise value.refuse(f"is nested more than {DEEPEST_JSON} levels deep")
        case dict() as entries:
            return {key: _json(entry, depth - 1) for key, entry in entries.items()}
        case list() as items:
            return [_json(item, depth - 1) for item in items]
        case str() as text:
            return unicode_text(value, text)
        case bool() | None as constant:
            return constant
        case int() as whole if -(1 << 63) <= whole < 1 << 64:
            return whole
        case float() as number if math.isfinite(number):
            return number
    raise value.refuse(f"must be what JSON has (text, a number, true, false, null), not {value.shown()}; quote text")


@dataclass(frozen=True)
class Field(Generic[T]):
    """What stands at a key of a table. `note`: one line for people. `default`: what it means to leave the key out."""

    shape: Shape[T]
    note: str
    required: bool = False
    default: T | None = None

    def schema(self) -> Schema:
        default = {} if self.default is None else {"default": self.default}
        return self.shape.schema() | {"description": self.note} | default


class UnfitError(Exception):
    """Values of a table are each right, and do not go together: the one at `key` is to be refused."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(problem)
        self.key, self.problem = key, problem


@dataclass(frozen=True)
class Table(Shape[T]):
    """A mapping of the keys of `fields`, and no others. `build` makes the result; it may raise UnfitError."""

    fields: Mapping[str, Field[Any]]
    build: Callable[..., T]

    def read(self, value: Value) -> T:
        entries = entries_of(value)
        given = {key: field.default for key, field in self.fields.items() if field.default is not None}
        for key, entry in entries.items():
            if key not in self.fields:
                hint = f"{_hint(key, self.fields) or ';'} allowed: {', '.join(self.fields)}"
                raise value.refuse(f"has an unknown key '{shortened(key)}'{hint}", entry)
            given[key] = self.fields[key].shape.read(entry)
        for key in self.required:
            if key not in entries:
                raise value.refuse(f"needs `{key}`")
        try:
            return self.build(**given)
        except UnfitError as error:
            raise entries[error.key].refuse(error.problem) from None

    @property
    def required(self) -> list[str]:
        return [key for key, field in self.fields.items() if field.required]

    def schema(self) -> Schema:
        return {
            "type": "object" if self.required else ["object", "null"],
            "properties": {key: field.schema() for key, field in self.fields.items()},
            "additionalProperties": False,
        } | ({"required": self.required} if self.required else {})


@dataclass(frozen=True)
class OneKeyOf(Shape[T]):
    """A mapping that has exactly one of these keys, which says of what table it is."""

    tables: Mapping[str, Table[T]]

    def read(self, value: Value) -> T:
        entries = entries_of(value)
        given = [key for key in entries if key in self.tables]
        if len(given) == 1:
            return self.tables[given[0]].read(value)
        wanted = f"must have exactly one of {', '.join(self.tables)}"
        unknown = next((key for key in entries if not self._knows(key)), None)
        if given or unknown is None:
            raise value.refuse(f"{wanted}, not {' and '.join(given) or 'none'}")
        hint = f"not the unknown key '{shortened(unknown)}'{_hint(unknown, self.tables)}"
        raise value.refuse(f"{wanted}, {hint}", entries[unknown])

    def _knows(self, key: str) -> bool:
        return any(key in table.fields for table in self.tables.values())

    def schema(self) -> Schema:
        return {"oneOf": [table.schema() for table in self.tables.values()]}


def entries_of(value: Value) -> dict[str, Value]:
    """The values of a mapping; nothing at all counts as an empty one."""
    content = value.content()
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise value.refuse(f"must be made of `key: value`, not {value.shown()}")
    return content


def either(words: Iterable[str]) -> str:
    """Words as in `a, b or c`."""
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last


def _hint(key: str, allowed: Iterable[str]) -> str:
    """Which of these keys is meant, as far as one is."""
    near = difflib.get_close_matches(key, list(allowed), n=1)
    return f"; did you mean {near[0]}?" if near else ""
