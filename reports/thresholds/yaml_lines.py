"""A YAML file of measures with texts, each with the line that it stands in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from bench.errors import ScriptError

SHAPE = 'write a measure with one text or a list of texts, such as ttfa: ["p(95)<800"]'


def entries(path: Path) -> Iterator[tuple[int, str, str]]:
    """(line, measure, text) of each threshold. Raises ScriptError, which is a UsageError with file and line."""
    root = _composed(path)
    if root is None:
        return
    if not isinstance(root, MappingNode):
        raise ScriptError(path, _line(root), SHAPE)
    for key, value in root.value:
        if not isinstance(key, ScalarNode):
            raise ScriptError(path, _line(key), SHAPE)
        items = value.value if isinstance(value, SequenceNode) else [value]
        if not items:
            raise ScriptError(path, _line(key), f"{key.value} has no threshold: {SHAPE}")
        for item in items:
            if not isinstance(item, ScalarNode) or not str(item.value).strip():
                raise ScriptError(path, _line(key if item is value else item), SHAPE)
            yield _line(item), str(key.value), str(item.value)


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1


def _composed(path: Path) -> Node | None:
    text = _text(path)
    try:
        root: Node | None = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = " ".join(str(error.problem).split())
        raise ScriptError(path, mark.line + 1 if mark else None, f"is not YAML: {problem}") from None
    except (YAMLError, RecursionError, ValueError, TypeError, AttributeError) as error:
        raise ScriptError(path, None, f"is not YAML ({type(error).__name__})") from None
    return root


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except FileNotFoundError:
        raise ScriptError(path, None, "no such file") from None
    except UnicodeDecodeError as error:
        raise ScriptError(path, error.object.count(b"\n", 0, error.start) + 1, "is not UTF-8 text") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise ScriptError(path, None, f"cannot be read ({getattr(error, 'strerror', None) or error})") from None
