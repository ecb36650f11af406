"""A YAML file of settings, every value of which is checked: a mistake is a UsageError that says file and line."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Union

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.reader import ReaderError

from bench.errors import UsageError
from bench.plain import shortened

Check = Callable[[object], Any]
Table = Mapping[str, Union[Check, "Table"]]
"""A check takes a value and returns what is stored, or raises BadValueError; a further table stands for a mapping."""


class BadValueError(Exception):
    """What is wrong with a value; becomes a UsageError once its file and line are known."""


def quoted(value: object) -> str:
    """A value as errors quote it."""
    return shortened(repr(value))


def number(value: object, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise BadValueError(f"must be a number from {low:g} to {high:g}, not {quoted(value)}")
    return float(value)


def whole(value: object, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise BadValueError(f"must be a whole number from {low} to {high}, not {quoted(value)}")
    return int(value)


def flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise BadValueError(f"must be true or false, not {quoted(value)}")
    return value


def one_of(value: object, names: Collection[str]) -> str:
    if not isinstance(value, str) or value not in names:
        raise BadValueError(f"must be one of {', '.join(names)}, not {quoted(value)}")
    return str(value)


def read_settings(path: Path, table: Table) -> dict[str, Any]:
    """What the file holds, checked; mappings within it become dicts."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from error
    try:
        document = YAML(typ="rt").load(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UsageError(f"{path}:{line}: not YAML: {error.problem}") from error
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise UsageError(f"{path}:{line}: not YAML: {error.reason}") from error
    except (YAMLError, RecursionError, ValueError, LookupError, TypeError) as error:  # of what no reader expects
        raise UsageError(f"{path}: not YAML ({type(error).__name__})") from error
    if not isinstance(document, CommentedMap):
        raise UsageError(f"{path}:1: a profile is a mapping of settings, e.g. `speed: 4.0`")
    return _checked(path, document, table)


def _checked(path: Path, mapping: CommentedMap, table: Table) -> dict[str, Any]:
    values = {}
    for key, value in mapping.items():
        where = f"{path}:{int(mapping.lc.key(key)[0]) + 1}"
        if key not in table:
            raise UsageError(f"{where}: unknown key {quoted(key)}; known are {', '.join(table)}")
        entry = table[key]
        try:
            values[key] = entry(value) if callable(entry) else _checked(path, _mapping(value, entry), entry)
        except BadValueError as problem:
            raise UsageError(f"{where}: {key} {problem}") from None
    return values


def _mapping(value: object, table: Table) -> CommentedMap:
    if not isinstance(value, CommentedMap):
        raise BadValueError(f"must hold some of {', '.join(table)}, not {quoted(value)}")
    return value
