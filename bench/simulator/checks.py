"""Checks of what clients send. A check takes a value and its dotted path; it returns what is stored, or raises
RejectedError. A table maps a key to a check, or to a further table for a nested object.

An update is merged into a copy: it is taken whole or not at all. A null is as if its key were not there, unless the key
is `Nullable`: the official SDK's types allow null for all that may be left out, and some clients send it. Keys that are
tolerated but mean nothing are in no table: `merged` is told to drop them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from bench.simulator.wire import Json, RejectedError

Check = Callable[[Any, str], Any]
CheckTable = Mapping[str, "Check | CheckTable"]


@dataclass(frozen=True)
class Nullable:
    """A check of a value for which null means something."""

    check: Check

    def __call__(self, value: Any, path: str) -> Any:
        return None if value is None else self.check(value, path)


def rejected_value(path: str, value: object, supported: Collection[object]) -> RejectedError:
    names = ", ".join(f"'{name}'" for name in supported)
    return RejectedError("invalid_value", f"Invalid value: '{value}'. Supported values are: {names}.", path)


def rejected_type(path: str, wanted: str) -> RejectedError:
    return RejectedError("invalid_type", f"Invalid type for '{path}': expected {wanted}.", path)


def missing(path: str) -> RejectedError:
    return RejectedError("missing_required_parameter", f"Missing required parameter: '{path}'.", path)


def merged(table: CheckTable, current: Json, update: Any, path: str, ignored: Collection[str] = ()) -> Json:
    """`current` with `update` merged in. Raises RejectedError; `current` is left as it was."""
    if not isinstance(update, dict):
        raise rejected_type(path, "an object")
    result = dict(current)
    for key, value in update.items():
        where = f"{path}.{key}"
        entry = table.get(key)
        if entry is None:
            if key in ignored:
                continue
            raise RejectedError("unknown_parameter", f"Unknown parameter: '{where}'.", where)
        if value is None and not isinstance(entry, Nullable):
            continue
        result[key] = entry(value, where) if callable(entry) else merged(entry, result.get(key, {}), value, where)
    return result


def text(value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise rejected_type(path, "a string")
    return value


def flag(value: Any, path: str) -> bool:
    if not isinstance(value, bool):
        raise rejected_type(path, "a boolean")
    return value


def anything(value: Any, path: str) -> Any:
    return value


def choice(*supported: str) -> Check:
    def check(value: Any, path: str) -> Any:
        if value not in supported:
            raise rejected_value(path, value, supported)
        return value

    return check


def number(low: float, high: float) -> Check:
    def check(value: Any, path: str) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise rejected_type(path, "a number")
        if not low <= value <= high:
            raise RejectedError("invalid_value", f"Invalid value: {value}. Expected {low:g} to {high:g}.", path)
        return value

    return check


def whole(low: int, high: int) -> Check:
    def check(value: Any, path: str) -> Any:
        if isinstance(value, float):
            problem = f"Invalid type for '{path}': expected an integer, but got a decimal number instead."
            raise RejectedError("invalid_type", problem, path)
        return number(low, high)(value, path)

    return check


def objects(value: Any, path: str) -> list[Json]:
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise rejected_type(path, "an array of objects")
    return value


def strings_by_name(value: Any, path: str) -> Json:
    if not isinstance(value, dict) or not all(isinstance(entry, str) for entry in value.values()):
        raise rejected_type(path, "an object of strings")
    return value


def settings_object(*keys: str) -> Check:
    """An object or null whose values are not looked into, e.g. noise reduction."""
    return Nullable(lambda value, path: merged(dict.fromkeys(keys, anything), {}, value, path))
