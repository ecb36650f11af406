"""Checks of the values that clients send.

A check is a function of a value and its path. The function returns the value to store, or raises RejectedError. A table
maps each key of an object to a check; for a nested object, to another table.

An update is merged into a copy of the session, so the update is applied completely or not at all. A null is the same as
a missing key, because some clients send null for all keys that they omit. The exception is a `Nullable` key, for which
null has a meaning. An `unknown` key accepts only null. An `ignored` or `not_simulated` key is accepted and has no
effect. The path of a `not_simulated` key is recorded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

from bench.simulator.server_events import Json, RejectedError


class EventPath(NamedTuple):
    """The path of a value in a client's event. `noted`: a list to which checks add the paths that are not simulated."""

    path: str = ""
    noted: list[str] | None = None

    def key(self, name: str) -> EventPath:
        return EventPath(f"{self.path}.{name}" if self.path else name, self.noted)

    def entry(self, number: int) -> EventPath:
        return EventPath(f"{self.path}[{number}]", self.noted)


SettingCheck = Callable[[Any, EventPath], Any]
CheckTable = Mapping[str, "SettingCheck | CheckTable"]


@dataclass(frozen=True)
class Nullable:
    """A check of a value for which null has a meaning."""

    check: SettingCheck

    def __call__(self, value: Any, event_path: EventPath) -> Any:
        return None if value is None else self.check(value, event_path)


# Errors


def rejected_value(event_path: EventPath, value: object, supported: Collection[object]) -> RejectedError:
    names = ", ".join(f"'{name}'" for name in supported)
    return RejectedError("invalid_value", f"Invalid value: '{value}'. Supported values are: {names}.", event_path.path)


def rejected_type(event_path: EventPath, expected: str) -> RejectedError:
    return RejectedError("invalid_type", f"Invalid type for '{event_path.path}': expected {expected}.", event_path.path)


def missing(event_path: EventPath) -> RejectedError:
    problem = f"Missing required parameter: '{event_path.path}'."
    return RejectedError("missing_required_parameter", problem, event_path.path)


def _outside(code: str, event_path: EventPath, problem: str) -> RejectedError:
    return RejectedError(code, f"Invalid '{event_path.path}': {problem}", event_path.path)


# Objects


def accepted(
    table: CheckTable,
    current: Json,
    update: Any,
    event_path: EventPath,
    *,
    required: Collection[str] = (),
) -> Json:
    """Return a copy of `current` with `update` merged in. Raise RejectedError if a value is invalid."""
    free_object(update, event_path)
    for key in required:
        if update.get(key) is None:
            raise missing(event_path.key(key))
    result = dict(current)
    for key, value in update.items():
        key_path, entry = event_path.key(key), table.get(key)
        if entry is None:
            unknown(value, key_path)
        elif entry is ignored or (value is None and not isinstance(entry, Nullable)):
            continue
        elif entry is not_simulated:
            if event_path.noted is not None:
                event_path.noted.append(key_path.path)
        else:
            result[key] = (
                entry(value, key_path) if callable(entry) else accepted(entry, result.get(key, {}), value, key_path)
            )
    return result


def shape(table: CheckTable, *required: str, **default: Any) -> SettingCheck:
    """Return a check of an object with the keys of the table.

    `required`: the keys that must be present. `default`: the values of missing keys.
    """
    return lambda value, event_path: accepted(table, default, value, event_path, required=required)


def by_type(kinds: Mapping[str, SettingCheck], default: str | None = None, key: str = "type") -> SettingCheck:
    """Return a check of an object that has several types. The value of `key` selects the check in `kinds`."""

    def check(value: Any, event_path: EventPath) -> Any:
        free_object(value, event_path)
        kind = default if value.get(key) is None else value[key]
        if kind is None:
            raise missing(event_path.key(key))
        return kinds[choice(*kinds)(kind, event_path.key(key))](value, event_path)

    return check


def of_type(kind: type, expected: str) -> SettingCheck:
    def check(value: Any, event_path: EventPath) -> Any:
        if not isinstance(value, kind):
            raise rejected_type(event_path, expected)
        return value

    return check


free_object, text, flag = of_type(dict, "an object"), of_type(str, "a string"), of_type(bool, "a boolean")


def strings_by_name(value: Any, event_path: EventPath) -> Json:
    if not isinstance(value, dict) or not all(isinstance(entry, str) for entry in value.values()):
        raise rejected_type(event_path, "an object of strings")
    return value


# Arrays


def array(check: SettingCheck, *, empty: bool = True) -> SettingCheck:
    """Return a check of an array. `check`: the check of each element. `empty`: True if the array may be empty."""
    a_list = of_type(list, "an array")

    def check_each(value: Any, event_path: EventPath) -> list[Any]:
        if value == [] and not empty:
            problem = "empty array. Expected an array with minimum length 1, but got an empty array instead."
            raise _outside("empty_array", event_path, problem)
        return [check(entry, event_path.entry(number)) for number, entry in enumerate(a_list(value, event_path))]

    return check_each


# Single values


def anything(value: Any, event_path: EventPath) -> Any:
    return value


def ignored(value: Any, event_path: EventPath) -> Any:
    """Accept a key that has no meaning for the service."""
    return value


def not_simulated(value: Any, event_path: EventPath) -> Any:
    """Accept a key that has a meaning for services, but no effect in the simulator."""
    return value


def unknown(value: Any, event_path: EventPath) -> NoReturn:
    raise RejectedError("unknown_parameter", f"Unknown parameter: '{event_path.path}'.", event_path.path)


def short(max_letters: int, pattern: str = ".+") -> SettingCheck:
    """Return a check of a string with at most `max_letters` characters. The string must match the pattern."""

    def check(value: Any, event_path: EventPath) -> str:
        if len(text(value, event_path)) > max_letters:
            problem = (
                f"string too long. Expected a string with maximum length {max_letters}, but got a string with length "
            )
            raise _outside("string_above_max_length", event_path, f"{problem}{len(value)} instead.")
        if not re.fullmatch(pattern, value, re.DOTALL):
            problem = f"string does not match pattern. Expected a string that matches the pattern '{pattern}'."
            raise _outside("invalid_value", event_path, problem)
        return str(value)

    return check


def choice(*supported: str) -> SettingCheck:
    def check(value: Any, event_path: EventPath) -> Any:
        if value not in supported:
            raise rejected_value(event_path, value, supported)
        return value

    return check


def one_of_whole(supported: Collection[int], low: int = 0, high: int = 1 << 20) -> SettingCheck:
    """Return a check of an integer, which must be in `supported`.

    An error for a value below `low` or above `high` states this limit, as at the service.
    """

    def check(value: Any, event_path: EventPath) -> int:
        if whole(low, high)(value, event_path) not in supported:
            raise rejected_value(event_path, value, supported)
        return int(value)

    return check


def choice_or(other: SettingCheck, *supported: str) -> SettingCheck:
    """Return a check of one of the words `supported`, or of an object or array that passes the check `other`."""
    return lambda value, event_path: (other if isinstance(value, dict | list) else choice(*supported))(
        value, event_path
    )


def number(low: float, high: float, kind: str = "decimal") -> SettingCheck:
    def check(value: Any, event_path: EventPath) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise rejected_type(event_path, "a number")
        if value < low:
            problem = f"{kind} below minimum value. Expected a value >= {low:g}, but got {value} instead."
            raise _outside(f"{kind}_below_min_value", event_path, problem)
        if value > high:
            problem = f"{kind} above maximum value. Expected a value <= {high:g}, but got {value} instead."
            raise _outside(f"{kind}_above_max_value", event_path, problem)
        return value

    return check


def whole(low: int, high: int) -> SettingCheck:
    def check(value: Any, event_path: EventPath) -> Any:
        if isinstance(value, float):
            raise rejected_type(event_path, "an integer, but got a decimal number instead")
        return number(low, high, "integer")(value, event_path)

    return check
