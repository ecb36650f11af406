"""The values of a YAML file with their positions, so that every error states file, line and column.

This module does not know what a value means: validators (`bench.files.validation`) read the values.
Values from a Python program have the same interface.
"""

# The parser gives nodes with marks, and no Python objects, because objects have no lines. A
# `LocatedValue` is a node with its name. Its content is made only when a validator asks for it.
# Aliases are expanded then, so the whole file is measured before (`_refuse_too_much`): ten lines of
# nested aliases can stand for a billion values.
#
# Python programs pass the same values as objects (`PythonValue`). Validators do not see the
# difference, except that errors then have no position.

from __future__ import annotations

import io
import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any, Self

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, ReusedAnchorWarning, StringMark, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError
from ruamel.yaml.scalarstring import DoubleQuotedScalarString
from ruamel.yaml.tokens import ScalarToken

from bench.base.errors import INVALID_TYPE, INVALID_VALUE, ScriptError, UsageError
from bench.base.suggestions import no_such_file
from bench.files.sanitize import excerpt

YAML_SUFFIXES = (".yaml", ".yml")
MAX_BYTES = 4 << 20
MAX_VALUES = 100_000
"""The maximum number of values, with aliases expanded. Few lines of nested aliases could fill
the memory."""
MAX_DEPTH = 64
"""The maximum depth of nested lists and mappings."""
TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True)
class LocatedValue(ABC):
    """A value and its position, with the name that errors use, such as its key.

    Errors quote no value that `is_hidden`. `context` is data about the whole file, which inner
    values have, too.
    """

    name: str
    is_hidden: bool = field(default=False, kw_only=True)
    context: object = field(default=None, kw_only=True, repr=False)

    @property
    @abstractmethod
    def folder(self) -> Path:
        """The folder to which paths in the value are relative."""

    @property
    @abstractmethod
    def position(self) -> str:
        """The position FILE:LINE:COLUMN of the value's key, or of the value without one; ""
        without a file.
        """

    @property
    @abstractmethod
    def source_text(self) -> str | None:
        """The source text of a scalar; None for a list or a mapping."""

    @abstractmethod
    def content(self) -> object:
        """Return the value: scalars, list[LocatedValue], dict[str, LocatedValue]; another object
        for other types.

        Raise UsageError for a mapping that contains a key twice, or a key that is not a string.
        """

    @abstractmethod
    def error(self, problem: str, code: str = INVALID_VALUE) -> UsageError:
        """Return the error for a problem at this position.

        `code` names the kind of problem for programs. Only values that a program sent have errors
        with a code.
        """

    def refuse(self, problem: str, code: str = INVALID_VALUE) -> UsageError:
        """Return the error for a problem with this value. The message begins with the value's
        name.
        """
        return self.error(f"{self.name} {problem}", code)

    def type_error(self, allowed: str, hint: str = "", code: str = INVALID_TYPE) -> UsageError:
        """Return the error for a value that does not have the allowed form. `allowed` describes
        this form.
        """
        return self.refuse(
            f"must be {allowed}{'' if self.is_hidden else f', not {self.displayed()}'}{hint}", code
        )

    def missing(self, key: str) -> UsageError:
        """Return the error for a mapping that needs this key."""
        return self.refuse(f"needs `{key}`")

    def unknown(self, table: str, hint: str) -> UsageError:
        """Return the error for a value at a key that its table does not have."""
        return self.error(f"{table} has an unknown key '{excerpt(self.name)}'{hint}")

    def displayed(self) -> str:
        """Return the value as errors quote it. Strings are marked as strings, because 5 and "5"
        differ.
        """
        match self.content():
            case None:
                return "nothing"
            case list():
                return "a list"
            case dict() as entries:
                return "`key: value`" if entries else "an empty table"
            case str() as text:
                return f'the string "{excerpt(text)}"'
        return excerpt(str(self.source_text))

    def renamed(self, name: str) -> Self:
        """Return the same value under another name."""
        return replace(self, name=name)

    def unquoted(self) -> Self:
        """Return the same value, but marked so that errors do not quote it."""
        return replace(self, is_hidden=True)

    def within(self, *keys: str) -> LocatedValue | None:
        """Follow the keys through nested mappings. Return the value at the last key; None if a
        key is absent.
        """
        values = self._along(keys)
        return values[-1] if len(values) > len(keys) else None

    def nearest(self, *keys: str) -> LocatedValue:
        """Follow the keys through nested mappings. Return the last value that exists, which may
        be this value.
        """
        return self._along(keys)[-1]

    def _along(self, keys: tuple[str, ...]) -> list[LocatedValue]:
        """Return this value, and the value at each of the nested keys, up to the first key that
        is absent.
        """
        content = self.content() if keys else None
        inner = content.get(keys[0]) if isinstance(content, dict) else None
        return [self, *inner._along(keys[1:])] if isinstance(inner, LocatedValue) else [self]


@dataclass(frozen=True)
class PythonValue(LocatedValue):
    """A value from a Python program."""

    data: object
    base: Path = Path()

    @property
    def folder(self) -> Path:
        return self.base

    @property
    def position(self) -> str:
        return ""

    @property
    def source_text(self) -> str | None:
        return None if isinstance(self.data, list | tuple | Mapping) else str(self.data)

    def content(self) -> object:
        match self.data:
            case Path():
                return str(self.data)
            case list() | tuple():
                return [replace(self, data=item) for item in self.data]
            case Mapping():
                if not all(isinstance(key, str) for key in self.data):
                    raise self.refuse("has a key that is not a string")
                return {key: replace(self, name=key, data=item) for key, item in self.data.items()}
        return self.data

    def error(self, problem: str, code: str = INVALID_VALUE) -> UsageError:
        return UsageError(problem)


@dataclass(frozen=True)
class YamlValue(LocatedValue):
    """A node of a YAML file. The start of `mark`, which is its key if it has one, is the
    position in errors.
    """

    path: Path
    node: Node
    mark: Node

    @property
    def folder(self) -> Path:
        return self.path.parent

    @property
    def line(self) -> int:
        return int(self.mark.start_mark.line) + 1

    @property
    def position(self) -> str:
        return f"{self.path}:{self.line}:{self._column}"

    @property
    def _column(self) -> int:
        return int(self.mark.start_mark.column) + 1

    @property
    def source_text(self) -> str | None:
        return str(self.node.value) if isinstance(self.node, ScalarNode) else None

    def content(self) -> object:
        match self.node:
            case ScalarNode():
                return _scalar(self.node)
            case SequenceNode():
                return [replace(self, node=node, mark=node) for node in self.node.value]
            case MappingNode():
                return self._entries(self.node)
        return self.node

    def _entries(self, mapping: MappingNode) -> dict[str, LocatedValue]:
        """Return the own entries, and those merged in (`<<`), of which the first with a name
        counts.
        """
        own: dict[str, LocatedValue] = {}
        merged: dict[str, LocatedValue] = {}
        for key, node in mapping.value:
            at_key = replace(self, mark=key)
            if _is_a(key, "merge"):
                for source in node.value if isinstance(node, SequenceNode) else [node]:
                    if not isinstance(source, MappingNode):
                        raise at_key.refuse("merges (`<<`) a value that is not a mapping")
                    merged = self._entries(source) | merged
            elif not _is_a(key, "str"):
                raise at_key.refuse("has a key that is not a string")
            elif key.value in own:
                raise at_key.refuse(f"has the key '{excerpt(key.value)}' twice")
            else:
                own[key.value] = replace(self, name=key.value, node=node, mark=key)
        return merged | own

    def error(self, problem: str, code: str = INVALID_VALUE) -> ScriptError:
        return ScriptError(self.path, self.line, problem, self._column)


def yaml_text(content: Mapping[str, Any]) -> str:
    """Return YAML with one line for each value of a table, and for each value of a list of
    tables.
    """
    yaml = YAML(typ="rt", pure=True)
    written = io.StringIO()
    yaml.width = 10_000
    yaml.default_flow_style = None
    yaml.dump(_quoted(content), written)
    return written.getvalue()


def _quoted(value: Any) -> Any:
    """Quote texts that the library writes plain and reads in another way: control characters,
    and a first `?`.
    """
    match value:
        case str():
            is_safe = value.isprintable() and not value.startswith("?")
            return value if is_safe else DoubleQuotedScalarString(value)
        case Mapping():
            return {_quoted(key): _quoted(inner) for key, inner in value.items()}
        case list():
            return [_quoted(inner) for inner in value]
    return value


def read_yaml(path: Path, name: str) -> YamlValue:
    """Return the content of a YAML file; null if it is empty. Raise ScriptError if it is
    unreadable or not YAML.
    """
    return parsed_yaml(path, read_text(path, scripts=name == "the script"), name)


def read_text(
    path: Path, suffixes: Collection[str] = YAML_SUFFIXES, *, scripts: bool | None = None
) -> str:
    """Return the text of a UTF-8 file. Raise ScriptError if the file cannot be read, is too
    large, or is not UTF-8. `suffixes` are those of its kind, and `scripts` is whether it is a
    script; None if both are possible.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ScriptError(path, None, no_such_file(path, suffixes, scripts=scripts)) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise ScriptError(
            path, None, f"cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from None
    if len(data) > MAX_BYTES:
        raise ScriptError(
            path, None, f"is larger than {MAX_BYTES >> 20} MiB: is it the right file?"
        )
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ScriptError(
            path, data.count(b"\n", 0, error.start) + 1, "is not UTF-8 text"
        ) from None


def parsed_yaml(path: Path, text: str, name: str) -> YamlValue:
    """Return the YAML document in `text`, the text of a file. Raise ScriptError, as `read_yaml`
    does.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ReusedAnchorWarning)  # YAML 1.2 allows it
            root: Node | None = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = (
            error.context_mark
            if error.context == UNCLOSED
            else error.problem_mark or error.context_mark
        )
        problem = _syntax_problem(error)
        if mark and (quote := _quote_problem(text, mark.index)):
            mark, problem = quote[0], f"is not YAML: {quote[1]}"
        line, column = (mark.line + 1, mark.column + 1) if mark else (None, None)
        raise ScriptError(path, line, problem, column) from None
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ScriptError(path, line, f"is not YAML: {error.reason}") from None
    except (KeyError, AssertionError):
        raise ScriptError(
            path, None, "is not YAML: its %YAML line names an unknown version"
        ) from None
    # unexpected errors of the parser
    except (YAMLError, RecursionError, ValueError, TypeError, AttributeError) as error:
        raise ScriptError(path, None, f"is not YAML ({type(error).__name__})") from None
    if root is None:
        beginning = YAML(typ="safe", pure=True).compose("~")
        return YamlValue(name, path, beginning, beginning)
    _refuse_too_much(path, root)
    return YamlValue(name, path, root, root)


UNCLOSED = "while scanning a quoted scalar"
UNENDED = "expected <block end>"
"""The start of the parser's error if a line is indented less or more than its neighbours."""


ENDS = ("", *",:]}#\n")
"""What may follow a quoted text and blanks, with "" for the end of the file."""
_KEY = re.compile(r"\n\s*(- +)*[\w.-]+:(?=\s)")


def _quote_problem(text: str, index: int) -> tuple[StringMark, str] | None:
    """Return the start of a quoted text that causes the syntax error at `index`, and the problem;
    None if there is none.
    """
    with suppress(YAMLError):
        for token in YAML(typ="safe", pure=True).scan(text):
            start, end = token.start_mark, token.end_mark
            if start.index >= index:
                break
            if not isinstance(token, ScalarToken) or token.plain:
                continue
            if _KEY.search(text, start.index, end.index):  # the quote of a further line ends it
                return start, f"this quote is not closed before line {end.line + 1}"
            if not text[end.index : index].strip(" ") and text[index : index + 1] not in ENDS:
                inner = "''" if token.style == "'" else '\\"'
                return start, f"text follows this quoted text: write a quote inside it as {inner}"
    return None


def _syntax_problem(error: MarkedYAMLError) -> str:
    if error.context == UNCLOSED:
        return "is not YAML: this quote is not closed"
    problem = excerpt(" ".join(str(error.problem).split()), 200)
    if r"'\t'" in problem:
        return f"is not YAML: {problem}; indent with spaces, not with tabs"
    return (
        "is not YAML:"
        f" {problem}{' (usually wrong indentation)' if problem.startswith(UNENDED) else ''}"
    )


def _refuse_too_much(path: Path, root: Node) -> None:
    """Raise ScriptError if a node contains itself, or, with aliases expanded, has too many
    values or levels.
    """
    measured: dict[int, tuple[int, int] | None] = {}

    def measure(node: Node) -> tuple[int, int]:
        """Return (number of values, depth) of a node. In `measured`, None marks nodes that are
        being counted.
        """
        known = measured.get(id(node), (0, 0))
        if known is None:
            raise YamlValue("", path, node, node).error(
                "refers to itself: an alias is inside the value that it repeats"
            )
        if known != (0, 0):
            return known
        measured[id(node)] = None
        parts = [measure(child) for child in _count_values(node)]
        values = 1 + sum(count for count, _ in parts)
        levels = 1 + max((depth for _, depth in parts), default=0)
        if values > MAX_VALUES or levels > MAX_DEPTH:
            problem = (
                f"has more than {MAX_VALUES} values or {MAX_DEPTH} levels, with aliases expanded"
            )
            raise YamlValue("", path, node, node).error(problem)
        measured[id(node)] = values, levels
        return values, levels

    measure(root)


def _count_values(node: Node) -> Iterator[Node]:
    match node:
        case SequenceNode():
            yield from node.value
        case MappingNode():
            for pair in node.value:
                yield from pair


def _scalar(node: ScalarNode) -> object:
    """Return the value of a scalar; the node for a date or number that Python cannot read
    (`0o14`, `.nan`).
    """
    if _is_a(node, "str"):
        return str(node.value)
    if _is_a(node, "null"):
        return None
    if _is_a(node, "bool"):  # YAML 1.1 has others: yes, off
        return {"true": True, "false": False}.get(node.value.lower(), node)
    if _is_a(node, "timestamp"):
        return _first_read(node, date.fromisoformat)
    return _first_read(node, int, float) if _is_a(node, "int", "float") else node


def _first_read(node: ScalarNode, *readers: Callable[[str], object]) -> object:
    """Return the result of the first reader that can read the scalar; the node itself if no
    reader can.
    """
    for read in readers:
        try:
            return read(node.value)
        except ValueError:
            continue
    return node


def _is_a(node: Node, *types: str) -> bool:
    """Return whether a node is a scalar of one of these types: str, int, float, bool, null,
    timestamp, merge.
    """
    return isinstance(node, ScalarNode) and node.tag in {TAG + name for name in types}
