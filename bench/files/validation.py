"""Validators: the forms that a value in a file can have. Scripts, targets, prices and profiles are
made of these forms.

Each validator reads a value, or rejects it with a message that states what is allowed. It also
describes its form as JSON Schema (draft 2020-12), so that editors check the same rules.
"""

# Validators are values, composed from each other as the file is: a table of fields, of which each
# has a validator. One declaration gives three things: the reading, the errors, and the JSON Schema.
# A test compares the schema with the reading, so an editor and this tool agree.
#
# An error belongs to the smallest value that is wrong, and states its line. `gather` continues
# after an error, so that a user sees all errors of a file at once, except those that could follow
# from another one: combinations are checked (`build`) only if each value is valid.

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import date
from functools import cached_property
from keyword import iskeyword
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from bench.base.errors import INVALID_TYPE, INVALID_VALUE, Mistakes, UsageError
from bench.base.suggestions import did_you_mean
from bench.files.sanitize import excerpt

if TYPE_CHECKING:
    from bench.files.yaml_file import LocatedValue

ENTRY = "entry"
ENTRIES = "entries"
T = TypeVar("T")
Schema = dict[str, Any]
END = r"$(?!\n)"
"""The end of a regular expression in a schema. `$` alone also matches before a final line break."""


class Validator(ABC, Generic[T]):
    """The form that the value at one position of a file must have."""

    @abstractmethod
    def read(self, value: LocatedValue) -> T:
        """Return the converted value. Raise UsageError with the problem, the position, and what
        is allowed.
        """

    @abstractmethod
    def schema(self) -> Schema:
        """Return the form as JSON Schema, as far as JSON Schema can express it."""


@dataclass(frozen=True)
class String(Validator[str]):
    """A string, also empty or white space if `blank` is True. `allowed` describes the form in
    messages.
    """

    allowed: str = "a string"
    blank: bool = False

    def read(self, value: LocatedValue) -> str:
        text = value.content()
        if not isinstance(text, str):
            raise value.type_error(self.allowed, " (put it in quotes)" if value.source_text else "")
        if not self.blank and not text.strip():
            raise value.refuse("must not be empty")
        return unicode_text(value, text)

    def schema(self) -> Schema:
        return {"type": "string"} | ({} if self.blank else {"pattern": r"\S"})


def unicode_text(value: LocatedValue, text: str) -> str:
    """Return the text of a value. Raise UsageError if UTF-8 cannot encode it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise value.refuse("must be Unicode text, without surrogates") from None
    return text


@dataclass(frozen=True)
class RegexString(Validator[str]):
    """A string that matches the regular expression `pattern`. `allowed` describes this form in
    messages.
    """

    pattern: str
    allowed: str

    def read(self, value: LocatedValue) -> str:
        text = String(self.allowed, blank=True).read(value)
        if not re.fullmatch(self.pattern, text):
            raise value.type_error(self.allowed, code=INVALID_VALUE)
        return text

    def schema(self) -> Schema:
        return {"type": "string", "pattern": f"^{self.pattern}{END}"}


@dataclass(frozen=True)
class Date(Validator[date]):
    """A date, with or without quotes."""

    def read(self, value: LocatedValue) -> date:
        content = value.content()
        try:
            return content if isinstance(content, date) else date.fromisoformat(str(content))
        except ValueError:
            raise value.type_error("a date, as in 2026-11-01") from None

    def schema(self) -> Schema:
        return {"type": "string", "format": "date"}


@dataclass(frozen=True)
class Number(Validator[float]):
    """A number from `minimum` to `maximum`, both included. `unit` is its unit in messages, such
    as `of seconds`.
    """

    minimum: float
    maximum: float
    unit: str = ""
    description = "a number"
    kind = "decimal"

    def read(self, value: LocatedValue) -> float:
        number = value.content()
        if (
            not isinstance(number, int | float)
            or isinstance(number, bool)
            or not self._is_of_kind(number)
        ):
            raise self._error(value, INVALID_TYPE)
        if not self.minimum <= number <= self.maximum:
            bound = "below_min" if number < self.minimum else "above_max"
            raise self._error(value, f"{self.kind}_{bound}_value")
        return float(number)

    def _is_of_kind(self, number: float) -> bool:
        return True

    def _error(self, value: LocatedValue, code: str) -> UsageError:
        bounds = f"from {self.minimum:.10g} to {self.maximum:.10g}"
        return value.type_error(
            " ".join(filter(None, (self.description, self.unit, bounds))), code=code
        )

    def schema(self) -> Schema:
        return {"type": "number", "minimum": self.minimum, "maximum": self.maximum}


@dataclass(frozen=True)
class Integer(Number):
    description = "a whole number"
    kind = "integer"

    def read(self, value: LocatedValue) -> int:
        return int(super().read(value))

    def _is_of_kind(self, number: float) -> bool:
        return isinstance(number, int) or number.is_integer()

    def schema(self) -> Schema:
        return super().schema() | {"type": "integer"}


@dataclass(frozen=True)
class Boolean(Validator[bool]):
    def read(self, value: LocatedValue) -> bool:
        flag = value.content()
        if not isinstance(flag, bool):
            raise value.type_error("true or false")
        return flag

    def schema(self) -> Schema:
        return {"type": "boolean"}


@dataclass(frozen=True)
class Choice(Validator[str]):
    """A word out of a list of allowed words."""

    keywords: tuple[str, ...]

    def read(self, value: LocatedValue) -> str:
        word = value.content()
        if not isinstance(word, str) or word not in self.keywords:
            hint = (
                did_you_mean(word, self.keywords)
                if isinstance(word, str) and not value.is_hidden
                else ""
            )
            raise value.type_error(either(self.keywords), hint, INVALID_VALUE)
        return word

    def schema(self) -> Schema:
        return {"enum": list(self.keywords)}


@dataclass(frozen=True)
class OneOrMore(Validator[tuple[T, ...]]):
    """A value of the form `shape`, or a non-empty list of such values."""

    shape: Validator[T]

    def read(self, value: LocatedValue) -> tuple[T, ...]:
        content = value.content()
        if not isinstance(content, list):
            return (self.shape.read(value),)
        if not content:
            raise value.refuse("must not be an empty list")
        return _read_each(self.shape, content)

    def schema(self) -> Schema:
        single = self.shape.schema()
        return {"if": {"type": "array"}, "then": {"items": single, "minItems": 1}, "else": single}


def _read_each(shape: Validator[T], items: Iterable[LocatedValue]) -> tuple[T, ...]:
    """Read the items of a list. Raise the errors of all items together."""
    read = []
    mistakes = Mistakes()
    for item in items:
        with mistakes.gather():
            read.append(shape.read(item))
    mistakes.refuse()
    return tuple(read)


@dataclass(frozen=True)
class ListOf(Validator[tuple[T, ...]]):
    """A list of values of the form `shape`. It may be empty."""

    shape: Validator[T]

    def read(self, value: LocatedValue) -> tuple[T, ...]:
        content = value.content()
        if not isinstance(content, list):
            raise value.type_error("a list")
        return _read_each(self.shape, content)

    def schema(self) -> Schema:
        return {"type": "array", "items": self.shape.schema()}


@dataclass(frozen=True)
class MapOf(Validator[dict[str, T]]):
    """A mapping of names that match `pattern` to values of the form `shape`. `allowed` describes
    all rules.
    """

    pattern: str
    shape: Validator[T]
    allowed: str = "a table (`name: settings`)"
    minimum: int = 0
    maximum: int | None = None

    def read(self, value: LocatedValue) -> dict[str, T]:
        entries = value.content()
        if not isinstance(entries, dict) or not self.minimum <= len(entries) <= (
            self.maximum or len(entries)
        ):
            raise value.type_error(self.allowed)
        read = {}
        mistakes = Mistakes()
        for name, entry in entries.items():
            with mistakes.gather():
                if not re.fullmatch(self.pattern, name):
                    raise entry.error(
                        f"{excerpt(name)} is not allowed here: {value.name} must be {self.allowed}"
                    )
                read[name] = self.shape.read(entry)
        mistakes.refuse()
        return read

    def schema(self) -> Schema:
        return {
            "type": "object",
            "propertyNames": {"pattern": f"^({self.pattern}){END}"},
            "additionalProperties": self.shape.schema(),
            **({"minProperties": self.minimum} if self.minimum else {}),
            **({} if self.maximum is None else {"maxProperties": self.maximum}),
        }


@dataclass(frozen=True)
class AnyJson(Validator[Any]):
    """Any JSON value, unchanged."""

    def read(self, value: LocatedValue) -> Any:
        match value.content():
            case dict() as entries:
                return {key: self.read(entry) for key, entry in entries.items()}
            case list() as items:
                return [self.read(item) for item in items]
            case str() as text:
                return unicode_text(value, text)
            case bool() | None as constant:
                return constant
            case int() as whole if -(1 << 63) <= whole < 1 << 64:
                return whole
            case float() as number if math.isfinite(number):
                return number
        raise value.type_error(
            "a JSON value (text, a number, true, false, null)",
            "; to make it text, put it in quotes",
        )

    def schema(self) -> Schema:
        return {}


@dataclass(frozen=True)
class JsonObject(Validator[dict[str, Any]]):
    """A mapping of which the values are any JSON values."""

    def read(self, value: LocatedValue) -> dict[str, Any]:
        return {key: AnyJson().read(entry) for key, entry in entries_of(value).items()}

    def schema(self) -> Schema:
        return {"type": ["object", "null"]}


@dataclass(frozen=True)
class Converted(Validator[T]):
    """A value of the form `shape` that `make` converts, from the located value and the read one.

    `more` is what the schema has in addition to the schema of the form.
    """

    shape: Validator[Any]
    make: Callable[[LocatedValue, Any], T]
    more: Schema = field(default_factory=dict, hash=False)

    def read(self, value: LocatedValue) -> T:
        return self.make(value, self.shape.read(value))

    def schema(self) -> Schema:
        return self.shape.schema() | self.more


@dataclass(frozen=True)
class Deferred(Validator[T]):
    """A value of the form that `make` returns. `make` is called at each use, because it imports
    a slow module.
    """

    make: Callable[[], Validator[T]]

    def read(self, value: LocatedValue) -> T:
        return self.make().read(value)

    def schema(self) -> Schema:
        return self.make().schema()


@dataclass(frozen=True)
class Field(Generic[T]):
    """The value at a key of a table, with a note of one line, and the default for an absent key.

    If `nothing` is True, null is an absent key. If `is_hidden` is True, errors must not quote the
    value.
    """

    shape: Validator[T]
    note: str
    required: bool = False
    default: T | None = None
    nothing: bool = False
    is_hidden: bool = False

    def read(self, value: LocatedValue) -> T:
        return self.shape.read(value.unquoted() if self.is_hidden else value)

    def schema(self) -> Schema:
        shape = self.shape.schema()
        default = {} if self.default is None else {"default": self.default}
        return (_or_null(shape) if self.nothing else shape) | {"description": self.note} | default


def _or_null(schema: Schema) -> Schema:
    """Return a schema that also permits null. It reports the same errors as the given schema
    alone.
    """
    if "enum" in schema:
        return schema | {"enum": [*schema["enum"], None]}
    if isinstance(schema.get("type"), str):
        return schema | {"type": [schema["type"], "null"]}
    return {"if": {"type": "null"}, "else": schema}


def one_of_tables(key: str, tables: Mapping[str, Schema]) -> Schema:
    """Return the schema of a mapping whose value at `key` selects one of `tables`, which reports
    the errors.
    """
    chosen = [
        {"if": {"properties": {key: {"const": name}}, "required": [key]}, "then": schema}
        for name, schema in tables.items()
    ]
    return {
        "type": "object",
        "required": [key],
        "properties": {key: {"enum": list(tables)}},
        "allOf": chosen,
    }


# Tables. A table reports all of its errors: unknown keys with a similar one, missing keys, and the
# errors of each value (`gather`). The combination is built only if there is none (`read`), because
# its error could be a consequence of them. A dataclass can be the table (`struct_of`), so that a
# key, its type and its text are one line.
class InvalidCombinationError(Exception):
    """An error in a combination of values of a table. Each value alone is valid. The error is
    reported at `key`.
    """

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(problem)
        self.key = key
        self.error_text = problem


@dataclass(frozen=True)
class StructOf(Validator[T]):
    """A mapping that has only the keys of `fields`, or null for an empty one if `nothing` is True.

    `build` makes the result, and may raise InvalidCombinationError.
    """

    fields: Mapping[str, Field[Any]]
    build: Callable[..., T]
    nothing: bool = True

    def read(self, value: LocatedValue) -> T:
        mistakes = Mistakes()
        values = self.gather(value, mistakes)
        mistakes.refuse()
        try:
            return self.build(**values)
        except InvalidCombinationError as error:
            raise entries_of(value)[error.key].refuse(error.error_text) from None

    def gather(self, value: LocatedValue, mistakes: Mistakes) -> dict[str, Any]:
        """Return the values of the readable keys, and the defaults of the others. Add the errors
        to `mistakes`.
        """
        values = dict(self._defaults)
        try:
            entries = entries_of(value, self._hint, nothing=self.nothing or bool(self.required))
        except UsageError as error:
            mistakes.errors.append(error)
            return values
        for key, entry in entries.items():
            known = self.fields.get(key)
            if known is None:
                hint = (did_you_mean(key, self.fields) or ";") + self._hint.removeprefix(";")
                mistakes.add(entry.unknown(value.name, hint))
            elif not known.nothing or entry.content() is not None:
                try:
                    values[key] = known.read(entry)
                except UsageError as error:
                    mistakes.add(error)
        for key in self.required:
            if key not in entries:
                mistakes.add(value.missing(key))
        return values

    @cached_property
    def _hint(self) -> str:
        return f"; allowed: {', '.join(self.fields)}"

    @cached_property
    def _defaults(self) -> Mapping[str, Any]:
        return {
            key: field.default for key, field in self.fields.items() if field.default is not None
        }

    @cached_property
    def required(self) -> list[str]:
        return [key for key, field in self.fields.items() if field.required]

    def schema(self) -> Schema:
        return {
            "type": ["object", "null"] if self.nothing and not self.required else "object",
            "properties": {key: field.schema() for key, field in self.fields.items()},
            "additionalProperties": False,
        } | ({"required": self.required} if self.required else {})


def field_key(
    shape: Validator[Any],
    note: str,
    default: Any = None,
    *,
    required: bool = False,
    quiet: bool = False,
    absent: Any = None,
) -> Any:
    """Return a field of a dataclass that describes a table of a file.

    The key in the file has the name of the field, without the final underscore of a keyword of
    Python. The value at the key has the form `shape`. `absent` is the value of an absent key
    without a default.
    """
    entry = Field(shape, note, required=required, default=default, is_hidden=quiet)
    value = absent if default is None else default
    return (
        field(metadata={ENTRY: entry})
        if required
        else field(default=value, metadata={ENTRY: entry})
    )


def field_keys(table: StructOf[Any]) -> Any:
    """Return a field of a dataclass that has several keys of a table, at the level of the
    dataclass's other keys.
    """
    return field(default=table.build(), metadata={ENTRIES: table})


def struct_of(kind: type[T], *, nulls: bool = True) -> StructOf[T]:
    """Return the table that a dataclass with `field_key` and `field_keys` describes.

    If `nulls` is True, null is an absent key, if that is optional without a default. Otherwise, the
    table may be null.
    """
    entries: dict[str, Field[Any]] = {}
    groups: dict[str, StructOf[Any]] = {}
    for dataclass_field in fields(kind):  # type: ignore[arg-type]
        if ENTRY in dataclass_field.metadata:
            entry = dataclass_field.metadata[ENTRY]
            entries[dataclass_field.name.removesuffix("_")] = replace(
                entry, nothing=nulls and entry.default is None and not entry.required
            )
        elif ENTRIES in dataclass_field.metadata:
            groups[dataclass_field.name] = dataclass_field.metadata[ENTRIES]
            entries |= groups[dataclass_field.name].fields

    def build(**values: Any) -> T:
        group_values = {
            name: table.build(**{key: values.pop(key) for key in table.fields if key in values})
            for name, table in groups.items()
        }
        named = {f"{key}_" if iskeyword(key) else key: value for key, value in values.items()}
        return kind(**named, **group_values)

    return StructOf(entries, build, nothing=not nulls)


@dataclass(frozen=True)
class OrKeyword(Validator[Any]):
    """A value of the form `shape`, or the word `keyword`, which is then itself the value."""

    shape: Validator[Any]
    keyword: str

    def read(self, value: LocatedValue) -> Any:
        return self.keyword if value.content() == self.keyword else self.shape.read(value)

    def schema(self) -> Schema:
        return {
            "if": {"type": "string"},
            "then": {"const": self.keyword},
            "else": self.shape.schema(),
        }


@dataclass(frozen=True)
class OrStruct(Validator[Any]):
    """A value of the form `shape`, or a mapping of the form `table` that expresses the same in
    more detail.
    """

    shape: Validator[Any]
    table: Validator[Any]

    def read(self, value: LocatedValue) -> Any:
        return (self.table if isinstance(value.content(), dict) else self.shape).read(value)

    def schema(self) -> Schema:
        return {"if": {"type": "object"}, "then": self.table.schema(), "else": self.shape.schema()}


@dataclass(frozen=True)
class OrNull(Validator[T | None]):
    """A value of the form `shape`, or null, which is then itself the value."""

    shape: Validator[T]

    def read(self, value: LocatedValue) -> T | None:
        return None if value.content() is None else self.shape.read(value)

    def schema(self) -> Schema:
        return _or_null(self.shape.schema())


@dataclass(frozen=True)
class KindOf(Validator[T]):
    """A mapping in which the word at `key` selects the form. `default` is the word if there is
    none.
    """

    kinds: Mapping[str, Validator[T]]
    key: str = "type"
    default: str | None = None

    def read(self, value: LocatedValue) -> T:
        hint = f"; its `{self.key}` determines which other keys are allowed"
        word = entries_of(value, hint, nothing=False).get(self.key)
        if word is not None and word.content() is not None:
            return self.kinds[Choice(tuple(self.kinds)).read(word)].read(value)
        if self.default is None:
            raise value.missing(self.key)
        return self.kinds[self.default].read(value)

    def schema(self) -> Schema:
        return one_of_tables(self.key, {kind: shape.schema() for kind, shape in self.kinds.items()})


@dataclass(frozen=True)
class OneKeyOf(Validator[T]):
    """A mapping that has exactly one of the keys of `tables`. This key selects the table that
    reads the mapping.
    """

    tables: Mapping[str, StructOf[T]]

    def read(self, value: LocatedValue) -> T:
        entries = entries_of(value)
        selected = [key for key in entries if key in self.tables]
        if len(selected) == 1:
            return self.tables[selected[0]].read(value)
        requirement = f"must have exactly one of {', '.join(self.tables)}"
        known = {key for table in self.tables.values() for key in table.fields}
        unknown = next((key for key in entries if key not in known), None)
        if selected or unknown is None:
            raise value.refuse(f"{requirement}, not {' and '.join(selected) or 'none'}")
        hint = f"not the unknown key '{excerpt(unknown)}'{did_you_mean(unknown, self.tables)}"
        raise entries[unknown].error(f"{value.name} {requirement}, {hint}")

    def schema(self) -> Schema:
        known = {key: True for table in self.tables.values() for key in table.fields}
        return {
            "type": "object",
            "properties": known,
            "additionalProperties": False,
            "oneOf": [{"required": [key]} for key in self.tables],
            "allOf": [
                {"if": {"required": [key]}, "then": table.schema()}
                for key, table in self.tables.items()
            ],
        }


def entries_of(
    value: LocatedValue, hint: str = "", *, nothing: bool = True
) -> dict[str, LocatedValue]:
    """Return the values of a mapping; of null, if `nothing` is True, an empty one. Otherwise
    raise UsageError.
    """
    content = value.content()
    if content is None and nothing:
        return {}
    if not isinstance(content, dict):
        raise value.type_error("a table (`key: value`)", hint)
    return content


def either(words: Iterable[str]) -> str:
    """Return the words as an English list, such as `a, b or c`."""
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last
