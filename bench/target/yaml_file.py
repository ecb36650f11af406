"""A YAML file as plain data that knows its lines, read into a msgspec type; every refusal names file and line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import inspect
from ruamel.yaml import YAML
from ruamel.yaml.constructor import ConstructorError, SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from bench.errors import ScriptError
from bench.plain import shortened

T = TypeVar("T")
Keys = tuple[Any, ...]
TABLE = "made of `key: value`"
_STEP = re.compile(r"\[\.\.\.\]|(?<=\.)\w+")
_UNKNOWN = re.compile(r"unknown field `(.*)`$", re.DOTALL)
_MISSING = re.compile(r"missing required field `(.*)`$")


class YamlFile:
    """The one document in a file. Raises ScriptError for what cannot be read, or is no YAML."""

    def __init__(self, path: Path) -> None:
        self.path = path
        text = _text(path)
        self._root, self.data = _parsed(path, text)

    def line(self, keys: Keys) -> int:
        """Where a key stands; where it is not written itself, what it would stand in."""
        return self._found(keys)[0]

    def has(self, keys: Keys) -> bool:
        """Whether a key is written."""
        return self._found(keys)[1] == len(keys)

    def _found(self, keys: Keys) -> tuple[int, int]:
        """(line of the last key that is written, how many of the keys are)."""
        node, line = self._root, 1
        for depth, key in enumerate(keys):
            pair = next((pair for pair in _pairs(node) if pair[0].value == str(key)), None)
            if pair is None:
                return line, depth
            line, node = pair[0].start_mark.line + 1, pair[1]
        return line, len(keys)

    def refuse(self, problem: str, *keys: Any) -> ScriptError:
        return ScriptError(self.path, self.line(keys), problem)

    def read(self, kind: type[T]) -> T:
        """The document as a `kind`. Raises ScriptError that says which key, what is there and what is allowed."""
        return checked(self.data, kind, lambda keys, problem: self.refuse(problem, *keys))


def checked(
    data: Any, kind: type[T], refuse: Callable[[Keys, str], Exception], called: Mapping[str, str] | None = None
) -> T:
    """Plain data as a `kind`. `refuse` makes the error, of the place and of a sentence on it; `called`: keys' names."""
    try:
        return msgspec.convert(data, kind)
    except (msgspec.ValidationError, RecursionError):
        keys, problem = _blame(data, kind)
    name = str(keys[-1]) if keys else "the file"
    raise refuse(keys, f"{(called or {}).get(name, shortened(name))} {problem}") from None


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except FileNotFoundError:
        raise ScriptError(path, None, "no such file") from None
    except UnicodeDecodeError as error:
        raise ScriptError(path, error.object.count(b"\n", 0, error.start) + 1, "is not UTF-8 text") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise ScriptError(path, None, f"cannot be read ({getattr(error, 'strerror', None) or error})") from None


class _Constructor(SafeConstructor):
    """Makes plain data of nodes. Dates stay text: whoever wants one reads it, and says what is wrong with it."""

    def construct_object(self, node: Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError):  # of a scalar that is not what its tag or its digits say
            kind = str(node.tag).rpartition(":")[2]
            raise ConstructorError(problem=f"found no valid {kind}", problem_mark=node.start_mark) from None


_Constructor.add_constructor("tag:yaml.org,2002:timestamp", SafeConstructor.construct_yaml_str)


def _parsed(path: Path, text: str) -> tuple[Node | None, Any]:
    reader = YAML(typ="safe", pure=True)
    reader.Constructor = _Constructor
    try:
        return YAML(typ="safe", pure=True).compose(text), reader.load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = " ".join(str(error.problem).partition("with value")[0].split())  # a value might be a secret
        raise ScriptError(path, mark.line + 1 if mark else None, f"is not YAML: {problem}") from None
    except (YAMLError, RecursionError, ValueError, TypeError) as error:  # TypeError: a mapping as a key
        raise ScriptError(path, None, f"is not YAML ({type(error).__name__})") from None


def _pairs(node: Node | None) -> Iterator[tuple[Node, Node]]:
    """(key, value) of a mapping, then those that it merges in."""
    if isinstance(node, MappingNode):
        yield from node.value
        for key, merged in node.value:
            if key.value == "<<":
                yield from _pairs(merged)
    elif isinstance(node, SequenceNode):
        for item in node.value:
            yield from _pairs(item)


def _blame(data: Any, kind: Any) -> tuple[Keys, str]:
    """(keys down to what is wrong, what is wrong there): msgspec tells the type of the place, and not every key."""
    try:
        message = _refusal(data, kind)
    except RecursionError:
        return (), "holds itself"
    said, _, at = message.partition(" - at ")
    keys: Keys = ()
    for step in _STEP.findall(at) + ["[...]"] * at.startswith("`key`"):
        keys = (*keys, _culprit(data, kind, keys, message) if step == "[...]" else step)
    if unknown := _UNKNOWN.search(said):
        known = _known(_place(kind, keys)[0])
        return (*keys, unknown[1]), f"is an unknown key{_hint(unknown[1], known)} allowed: {', '.join(known)}"
    if missing := _MISSING.search(said):
        return keys, f"needs `{missing[1]}`"
    if at.startswith("`key`"):
        table = keys[-2] if len(keys) > 1 else "the file"
        return keys, f"cannot stand here: {table} must be {_place(kind, keys[:-1])[1]}"
    _, allowed, quiet = _place(kind, keys)
    return keys, f"must be {allowed}" + ("" if quiet else f", not {_shown(_at(data, keys))}")


def _refusal(data: Any, kind: Any) -> str:
    try:
        msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        return str(error)
    return ""


def _culprit(data: Any, kind: Any, keys: Keys, message: str) -> Any:
    """Which key of the mapping at `keys` the message is about: the one that brings it about alone."""
    return next(key for key in _at(data, keys) if _refusal(_with_only(data, keys, key), kind) == message)


def _at(data: Any, keys: Keys) -> Any:
    for key in keys:
        data = data[key]
    return data


def _with_only(data: Any, keys: Keys, key: Any) -> Any:
    """The data with one key alone in the mapping at `keys`."""
    if not keys:
        return {key: data[key]}
    return data | {keys[0]: _with_only(data[keys[0]], keys[1:], key)}


def _place(kind: Any, keys: Keys) -> tuple[Any, str, bool]:
    """(type at the keys, what is allowed there, whether it is not to be quoted)."""
    info, allowed, quiet = inspect.type_info(kind), TABLE, False
    for key in keys:
        info = _inner(info, key)
        if isinstance(info, inspect.Metadata):
            extra = info.extra or {}
            allowed, quiet = extra.get("allowed", allowed), extra.get("quiet", quiet)
            info = info.type
        else:
            allowed, quiet = ("text", quiet) if isinstance(info, inspect.StrType) else (TABLE, False)
    return info, allowed, quiet


def _inner(info: Any, key: Any) -> Any:
    """The type of a key's value, as far as the type of the mapping tells."""
    match info:
        case inspect.Metadata():
            return _inner(info.type, key)
        case inspect.UnionType():
            return next((found for kind in info.types if (found := _inner(kind, key)) is not None), None)
        case inspect.StructType():
            return next((field.type for field in info.fields if field.name == key), None)
        case inspect.DictType():
            return info.value_type
    return None


def _known(info: Any) -> list[str]:
    """The keys of the table that a type is, or that it is among others."""
    kinds = info.types if isinstance(info, inspect.UnionType) else (info,)
    return [field.name for kind in kinds if isinstance(kind, inspect.StructType) for field in kind.fields]


def _hint(key: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    return f"; did you mean {near[0]}?" if near else ";"


def _shown(value: Any) -> str:
    """The value as errors quote it. Text is called that, for 5 and "5" are not the same."""
    match value:
        case None:
            return "nothing"
        case bool() as flag:
            return str(flag).lower()
        case dict():
            return TABLE.removeprefix("made of ") if value else "an empty table"
        case list():
            return "a list"
        case str() as text:
            return f'the text "{shortened(text)}"'
        case other:
            return f"{shortened(str(other))}"
