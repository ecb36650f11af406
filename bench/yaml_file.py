"""Values of a script before anything is known of their meaning: nodes of a YAML file, or Python's own.

Both look alike to the shapes (`shapes.py`) that read them. A node knows its line, so an error in a file names it.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, ReusedAnchorWarning, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from bench.errors import ScriptError, UsageError
from bench.plain import shortened


class Value(ABC):
    """One value and its place. `name`: as errors call it, e.g. its key."""

    name: str

    @property
    @abstractmethod
    def folder(self) -> Path:
        """Where paths are seen from."""

    @property
    @abstractmethod
    def line(self) -> int | None:
        """Of its key, where it has one: what the key holds may begin lines below."""

    @abstractmethod
    def content(self) -> object:
        """str, bool, int, float, None, list[Value], or dict[str, Value]; another object where it is none of these.

        Raises UsageError for a mapping whose keys are no words, or stand twice.
        """

    @abstractmethod
    def shown(self) -> str:
        """The value as errors quote it."""

    @abstractmethod
    def refuse(self, problem: str, at: Value | None = None) -> UsageError:
        """The error that this value (at the place of another one inside it) has the problem."""

    @abstractmethod
    def called(self, name: str) -> Value:
        """The same value by another name."""

    def within(self, *keys: str) -> Value | None:
        """The value at the end of nested keys; None where there is none."""
        content = self.content()
        inner = content.get(keys[0]) if isinstance(content, dict) else None
        return inner.within(*keys[1:]) if isinstance(inner, Value) and len(keys) > 1 else inner


@dataclass(frozen=True)
class PlainValue(Value):
    """A value that a Python program gave."""

    name: str
    data: object
    base: Path

    @property
    def folder(self) -> Path:
        return self.base

    @property
    def line(self) -> None:
        return None

    def content(self) -> object:
        match self.data:
            case Path():
                return str(self.data)
            case list() | tuple():
                return [replace(self, data=item) for item in self.data]
            case Mapping():
                if not all(isinstance(key, str) for key in self.data):
                    raise self.refuse("has a key that is not a word")
                return {key: PlainValue(key, item, self.base) for key, item in self.data.items()}
        return self.data

    def shown(self) -> str:
        return _shown(self.content(), self.data)

    def refuse(self, problem: str, at: Value | None = None) -> UsageError:
        return UsageError(f"{self.name} {problem}")

    def called(self, name: str) -> Value:
        return replace(self, name=name)


@dataclass(frozen=True)
class YamlValue(Value):
    """A node of a file."""

    name: str
    path: Path
    at_line: int
    node: Node

    @property
    def folder(self) -> Path:
        return self.path.parent

    @property
    def line(self) -> int:
        return self.at_line

    def content(self) -> object:
        match self.node:
            case ScalarNode():
                return _scalar(self.node)
            case SequenceNode():
                return [replace(self, at_line=_line(node), node=node) for node in self.node.value]
            case MappingNode():
                return self._entries(self.node)
        return self.node

    def _entries(self, mapping: MappingNode) -> dict[str, Value]:
        entries: dict[str, Value] = {}
        for key, node in mapping.value:
            if not _is_a(key, "str"):
                raise self._refuse_at(_line(key), "has a key that is not a word")
            if key.value in entries:
                raise self._refuse_at(_line(key), f"has the key '{shortened(key.value)}' twice")
            entries[key.value] = YamlValue(key.value, self.path, _line(key), node)
        return entries

    def shown(self) -> str:
        return _shown(self.content(), self.node.value)

    def refuse(self, problem: str, at: Value | None = None) -> ScriptError:
        return self._refuse_at((at or self).line, problem)

    def _refuse_at(self, line: int | None, problem: str) -> ScriptError:
        return ScriptError(self.path, line, f"{self.name} {problem}")

    def called(self, name: str) -> Value:
        return replace(self, name=name)


def read_yaml(path: Path) -> tuple[str, YamlValue]:
    """(text of the file, the value that it holds). Raises ScriptError for what cannot be read, or is no YAML."""
    text = read_text(path)
    return text, YamlValue("the script", path, 1, _composed(path, text))


def _shown(content: object, written: object) -> str:
    """Text is called that, for 5 and "5" are not the same; other scalars as they are `written`."""
    match content:
        case None:
            return "nothing"
        case list():
            return "a list"
        case dict():
            return "`key: value`"
        case str():
            return f'the text "{shortened(content)}"'
    return shortened(str(written))


def read_text(path: Path) -> str:
    """The text of a script's file. Raises ScriptError where it cannot be read."""
    try:
        return path.read_bytes().decode()
    except FileNotFoundError:
        raise ScriptError(path, None, "no such script") from None
    except UnicodeDecodeError as error:
        raise ScriptError(path, error.object.count(b"\n", 0, error.start) + 1, "is not UTF-8 text") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise ScriptError(path, None, f"cannot be read ({error})") from None


def _composed(path: Path, text: str) -> Node:
    """The one document in the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ReusedAnchorWarning)  # YAML 1.2 allows it
            root: Node | None = YAML(typ="rt", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ScriptError(path, mark.line + 1 if mark else None, _yaml_problem(error)) from None
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ScriptError(path, line, f"is not YAML: {error.reason}") from None
    except KeyError:
        raise ScriptError(path, None, "is not YAML: its %YAML line names a version that nobody knows") from None
    except (YAMLError, RecursionError, ValueError) as error:
        raise ScriptError(path, None, f"is not YAML ({type(error).__name__})") from None
    if root is None:
        raise ScriptError(path, 1, "is empty; a script needs `steps`")
    return root


def _yaml_problem(error: MarkedYAMLError) -> str:
    problem = " ".join(str(error.problem).split())
    hint = "; indent with spaces, not with tabs" if r"'\t'" in problem else ""
    return f"is not YAML: {problem}{hint}"


def _scalar(node: ScalarNode) -> object:
    """The node itself where it is a number to YAML but not to Python (`0o14`, `.nan`), or a date."""
    if _is_a(node, "str"):
        return str(node.value)
    if _is_a(node, "null"):
        return None
    if _is_a(node, "bool"):  # YAML 1.1 has others: yes, off
        return {"true": True, "false": False}.get(node.value.lower(), node)
    return _number(node) if _is_a(node, "int", "float") else node


def _number(node: ScalarNode) -> object:
    for read in (int, float):
        try:
            return read(node.value)
        except ValueError:
            continue
    return node


def _is_a(node: Node, *types: str) -> bool:
    """True for a scalar that YAML takes for one of these: str, int, float, bool, null."""
    return isinstance(node, ScalarNode) and node.tag in {f"tag:yaml.org,2002:{name}" for name in types}


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1
