"""Validators of the values that clients send, made of those of `bench.files.validation`.

An update is merged into a copy of the session, so the update is applied completely or not at all. A
null is the same as a missing key, because some clients send null for all keys that they omit. The
exception is a key with `OrNull`, for which null has a meaning.
"""

# The validators are those of the files of rtbench, with other errors: a value that is wrong in a
# client event becomes a RejectedError with the code, text, and `param` of the services. So one
# declaration checks a key, names its path, and documents it.
#
# Four kinds of keys have no effect: `IGNORED` (none at the service either), `NOT_SIMULATED` (the
# log names it, so that a user learns what the simulator cannot show), `UNKNOWN` (the service
# refuses it), and null, which is a missing key.

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from bench.base.errors import INVALID_VALUE
from bench.files.validation import (
    AnyJson,
    Boolean,
    Choice,
    Converted,
    Field,
    Integer,
    ListOf,
    Number,
    OrNull,
    OrStruct,
    String,
    StructOf,
    Validator,
    either,
)
from bench.files.yaml_file import LocatedValue, PythonValue
from rtbench_simulator.server_events import Json, RejectedError


@dataclass(frozen=True, init=False)
class EventValue(PythonValue):
    """A value in a client's event. `name` is its path, which is "" for the event itself.

    `context` is a list to which validators add the paths that are not simulated.
    """

    def __init__(self, name: str, data: object, context: object = None) -> None:
        fields = self.__dict__  # for speed: a session sends 50 appends per second
        fields["name"] = name
        fields["data"] = data
        fields["context"] = context

    def content(self) -> object:
        if isinstance(self.data, dict):
            prefix = self.path_of("")
            context = self.context
            return {key: EventValue(prefix + key, item, context) for key, item in self.data.items()}
        if isinstance(self.data, list):
            return [
                EventValue(f"{self.name}[{i}]", item, self.context)
                for i, item in enumerate(self.data)
            ]
        return self.data

    def path_of(self, key: str) -> str:
        return f"{self.name}.{key}" if self.name else key

    def error(self, problem: str, code: str = INVALID_VALUE) -> RejectedError:
        return RejectedError(code, problem, self.name or None)

    def refuse(self, problem: str, code: str = INVALID_VALUE) -> RejectedError:
        return self.error(f"'{self.name}' {problem}.", code)

    def missing(self, key: str) -> RejectedError:
        path = self.path_of(key)
        return RejectedError(
            "missing_required_parameter", f"Missing required parameter: '{path}'.", path
        )

    def unknown(self, table: str, hint: str) -> RejectedError:
        return self.error(f"Unknown parameter: '{self.name}'{hint}.", "unknown_parameter")


class Unchanged(AnyJson):
    """Any JSON value, unchanged. It was checked when the event was read."""

    def read(self, value: LocatedValue) -> Any:
        return value.data if isinstance(value, PythonValue) else super().read(value)


DROPPED = object()
"""The result of a validator whose value is not stored."""


def note(value: LocatedValue) -> None:
    """Note that a value is not simulated."""
    if isinstance(value.context, list):
        value.context.append(value.name)


def _noted(value: LocatedValue, _: Any) -> object:
    note(value)
    return DROPPED


def _refused(value: LocatedValue, _: Any) -> object:
    raise value.unknown("", "")


ANYTHING = Unchanged()
LATER: Validator[Any] = Converted(ANYTHING, lambda value, _: value)
"""A value that is read later, when its form is known."""
IGNORED = Converted(ANYTHING, lambda value, _: DROPPED)
"""A value that has no meaning for the service."""
NOT_SIMULATED = Converted(ANYTHING, _noted)
"""A value that has a meaning for services, but no effect in the simulator."""
UNKNOWN = Converted(ANYTHING, _refused)
"""A key that clients may only set to null."""
TEXT = String(blank=True)
FLAG = Boolean()


# Objects

SettingTable = Mapping[str, "Validator[Any] | SettingTable"]


@dataclass(frozen=True)
class ObjectOf(StructOf[Json]):
    """A JSON object."""

    def read(self, value: LocatedValue) -> Json:
        sent = value.data if isinstance(value, EventValue) else None
        if not isinstance(sent, dict):
            raise value.type_error("an object")
        for key in self.required:  # these errors come first, as at the service
            if sent.get(key) is None:
                raise value.missing(key)
        return super().read(value)


class SettingsOf(ObjectOf):
    """Settings of which an update may have any part."""

    def merged(self, current: Json, update: Json) -> Json:
        """Return a copy of `current` with the settings in `update`, which were read."""
        inner = {
            key: field.shape.merged(current.get(key, {}), update[key])
            for key, field in self.fields.items()
            if key in update and isinstance(field.shape, SettingsOf)
        }
        return current | update | inner


def object_of(table: SettingTable, *required: str, **default: Any) -> ObjectOf:
    """Return a validator of an object. `required`: keys that must be present. `default`: values
    of missing keys.
    """
    return ObjectOf(_fields(table, required), partial(_built, default), nothing=False)


def settings_of(table: SettingTable, *required: str) -> SettingsOf:
    return SettingsOf(_fields(table, required), partial(_built, {}), nothing=False)


def _fields(table: SettingTable, required: Collection[str]) -> Mapping[str, Field[Any]]:
    shapes = {
        key: shape if isinstance(shape, Validator) else settings_of(shape)
        for key, shape in table.items()
    }
    return {
        key: Field(shape, "", required=key in required, nothing=not isinstance(shape, OrNull))
        for key, shape in shapes.items()
    }


def _built(default: Json, /, **values: Any) -> Json:
    return default | {key: value for key, value in values.items() if value is not DROPPED}


def _object(value: LocatedValue, read: Any) -> Json:
    if not isinstance(read, dict):
        raise value.type_error("an object")
    return read


OBJECT: Validator[Json] = Converted(ANYTHING, _object)


def _texts(value: LocatedValue, read: Json) -> Json:
    if not all(isinstance(entry, str) for entry in read.values()):
        raise value.type_error("an object of strings")
    return read


TEXTS_BY_NAME: Validator[Json] = Converted(OBJECT, _texts)

# Arrays and single values


def _filled(value: LocatedValue, read: tuple[Any, ...]) -> list[Any]:
    if not read:
        raise value.refuse("must not be an empty array", "empty_array")
    return list(read)


def array(shape: Validator[Any], *, empty: bool = True) -> Validator[list[Any]]:
    return Converted(ListOf(shape), (lambda value, read: list(read)) if empty else _filled)


def short(max_letters: int, pattern: str = ".+") -> Validator[str]:
    """Return a validator of a string with at most `max_letters` characters, which matches the
    pattern.
    """

    def check(value: LocatedValue, text: str) -> str:
        if len(text) > max_letters:
            raise value.refuse(
                f"must have at most {max_letters} characters", "string_above_max_length"
            )
        if not re.fullmatch(pattern, text, re.DOTALL):
            raise value.type_error(f"a string that matches {pattern}", code=INVALID_VALUE)
        return text

    return Converted(TEXT, check)


def choice(*words: str) -> Choice:
    return Choice(words)


def choice_or(shape: Validator[Any], *words: str) -> Validator[Any]:
    """Return a validator of one of the words, or of an object of the form `shape`."""
    return OrStruct(Choice(words), shape)


def number(low: float, high: float) -> Validator[Any]:
    """Return a validator of a number, which stays an integer if it is one."""
    return Converted(Number(low, high), lambda value, _: value.content())


def whole(low: int, high: int, supported: Collection[int] | None = None) -> Validator[int]:
    """Return a validator of an integer, also in `supported`. A decimal number is refused even if
    it is whole.
    """

    def check(value: LocatedValue, read: int) -> int:
        if isinstance(value.content(), float):
            raise value.type_error("an integer")
        if supported is not None and read not in supported:
            raise value.type_error(either(map(str, supported)), code=INVALID_VALUE)
        return read

    return Converted(Integer(low, high), check)
