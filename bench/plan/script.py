"""A script: the turns of one session, as YAML and the WAVs that it names. Format: docs/scripts.md.

The file is read as YAML nodes, which know their line, and each value reads itself as what its place expects. So every
error is a `ScriptError` that names the line and says what is allowed.
"""

from __future__ import annotations

import difflib
import hashlib
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, ReusedAnchorWarning, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from bench.errors import ScriptError, UsageError
from bench.measures import LIMIT_NAMES, Limits
from bench.plan.audio import Pcm, load_pcm
from bench.protocol.dialects import ResponseSettings, SessionSettings

MAX_LABELS = 32  # each has histograms of its own; the labels beyond share one
OTHER_LABEL = "other"
LABEL = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True)
class TextTurn:
    """The caller's words as text."""

    label: str
    text: str
    response: ResponseSettings


@dataclass(frozen=True)
class AskTurn:
    """No words of the caller: only a response is asked for."""

    label: str
    response: ResponseSettings


@dataclass(frozen=True)
class WavTurn:
    """The caller's words as audio, committed at their end. `paced`: as a microphone would send, else all at once."""

    label: str
    audio: Pcm
    chunk_ms: int
    paced: bool
    response: ResponseSettings


@dataclass(frozen=True)
class Pause:
    """The caller is silent, and nothing is sent."""

    duration_ns: int


Turn = TextTurn | AskTurn | WavTurn
Step = Turn | Pause


@dataclass(frozen=True)
class Script:
    """What one session does. `digest`: SHA-256 over the file and the WAVs it plays, hex."""

    name: str
    path: Path
    session: SessionSettings
    limits: Limits
    steps: tuple[Step, ...]
    digest: str
    temperature_line: int | None = None
    """Where `temperature` stands: whether it is an error is known once there is a dialect."""


def load_script(path: Path) -> Script:
    """Read and check a script and the WAVs it names; a session then needs no file.

    Raises ScriptError for whatever is wrong with either.
    """
    content = _read(path)
    root = _Value(path, "the script", 1, _compose(path, content))
    parts = root.table({"session": _session, "limits": _limits, "steps": _steps})
    steps: tuple[Step, ...] = parts.get("steps", ())
    if all(isinstance(step, Pause) for step in steps):
        raise ScriptError(
            path, root.line_of("steps") or 1, "there is no turn: `steps` needs a `say`, `respond` or `play`"
        )
    return Script(
        name=path.stem,
        path=path,
        session=parts.get("session", SessionSettings()),
        limits=parts.get("limits", Limits()),
        steps=_with_few_labels(steps),
        digest=_digest(content, steps),
        temperature_line=root.line_of("session", "temperature"),
    )


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except FileNotFoundError:
        raise ScriptError(path, None, "no such script") from None
    except UnicodeDecodeError as error:
        raise ScriptError(path, error.object.count(b"\n", 0, error.start) + 1, "is not UTF-8 text") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise ScriptError(path, None, f"cannot be read ({error})") from None


def _compose(path: Path, content: str) -> Node:
    """The YAML nodes of the one document in the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ReusedAnchorWarning)  # YAML 1.2 allows it
            root: Node | None = YAML(typ="rt", pure=True).compose(content)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ScriptError(path, mark.line + 1 if mark else None, _yaml_problem(error)) from None
    except ReaderError as error:
        line = content.count("\n", 0, error.position) + 1
        raise ScriptError(path, line, f"is not YAML: {error.reason}") from None
    except (YAMLError, RecursionError) as error:
        raise ScriptError(path, None, f"is not YAML ({type(error).__name__})") from None
    if root is None:
        raise ScriptError(path, 1, "is empty; a script needs `steps`")
    return root


def _yaml_problem(error: MarkedYAMLError) -> str:
    problem = " ".join(str(error.problem).split())
    hint = "; indent with spaces, not with tabs" if r"'\t'" in problem else ""
    return f"is not YAML: {problem}{hint}"


def _with_few_labels(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    labels = dict.fromkeys(step.label for step in steps if not isinstance(step, Pause))
    kept = set(list(labels)[:MAX_LABELS])
    return tuple(
        step if isinstance(step, Pause) or step.label in kept else replace(step, label=OTHER_LABEL) for step in steps
    )


def _digest(content: str, steps: Iterable[Step]) -> str:
    digest = hashlib.sha256(content.encode())
    for step in steps:
        if isinstance(step, WavTurn):
            digest.update(bytes.fromhex(step.audio.digest))
    return digest.hexdigest()


@dataclass(frozen=True)
class _Value:
    """One value of the file: reads itself as what is expected of it, or refuses with its line and what is allowed."""

    path: Path
    name: str
    """As errors call it: its key, or `step 3`."""
    line: int
    """Of its key, where it has one: what the key holds may begin lines below."""
    node: Node

    def refuse(self, problem: str, line: int | None = None) -> ScriptError:
        return ScriptError(self.path, line or self.line, f"{self.name} {problem}")

    def text(self) -> str:
        """A string with something in it."""
        if not self.is_a("str"):
            raise self.refuse(f"must be text, not {self.shown()} (quotes make anything text)")
        text = str(self.node.value)
        if not text.strip():
            raise self.refuse("must not be empty")
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise self.refuse("must be Unicode text, without surrogates")
        return text

    def number(self, least: float, most: float, unit: str = "") -> float:
        """A decimal number from `least` to `most`, both included."""
        number = _decimal(self.node.value) if self.is_a("int", "float") else None
        if number is None or not least <= number <= most:
            raise self.refuse(f"must be a number {unit}from {least:g} to {most:g}, not {self.shown()}")
        return number

    def whole(self, least: int, most: int) -> int:
        number = _decimal(self.node.value) if self.is_a("int") else None
        if number is None or not least <= number <= most:
            raise self.refuse(f"must be a whole number from {least} to {most}, not {self.shown()}")
        return int(number)

    def flag(self) -> bool:
        if not self.is_a("bool") or self.node.value.lower() not in ("true", "false"):
            raise self.refuse(f"must be true or false, not {self.shown()}")
        return str(self.node.value).lower() == "true"

    def choice(self, *allowed: str) -> str:
        if not self.is_a("str") or self.node.value not in allowed:
            raise self.refuse(f"must be {' or '.join(allowed)}, not {self.shown()}")
        return str(self.node.value)

    def items(self) -> list[_Value]:
        if not isinstance(self.node, SequenceNode):
            raise self.refuse(f"must be a list, not {self.shown()}")
        nodes = enumerate(self.node.value, 1)
        return [_Value(self.path, f"step {number}", _line(node), node) for number, node in nodes]

    def table(self, readers: Mapping[str, Callable[[_Value], Any]]) -> dict[str, Any]:
        """A mapping, each key read by its reader; a key without one is refused."""
        values = {}
        for key, value in self.entries().items():
            if key not in readers:
                raise self.refuse(f"has an unknown key {_shortened(key)}{_hint(key, readers)}", value.line)
            values[key] = readers[key](value)
        return values

    def entries(self) -> dict[str, _Value]:
        """The values of a mapping; nothing at all counts as an empty one."""
        if self.is_a("null"):
            return {}
        if not isinstance(self.node, MappingNode):
            raise self.refuse(f"must be made of `key: value`, not {self.shown()}")
        entries: dict[str, _Value] = {}
        for key, node in self.node.value:
            if not _is_a(key, "str"):
                raise self.refuse("has a key that is not a word", _line(key))
            if key.value in entries:
                raise self.refuse(f"has the key {_shortened(key.value)} twice", _line(key))
            entries[key.value] = _Value(self.path, key.value, _line(key), node)
        return entries

    def line_of(self, key: str, *inner: str) -> int | None:
        """The line of a key, or of one inside it; None where there is none."""
        value = self.entries().get(key)
        if value is None:
            return None
        return value.line_of(*inner) if inner else value.line

    def is_a(self, *types: str) -> bool:
        return _is_a(self.node, *types)

    def shown(self) -> str:
        if isinstance(self.node, ScalarNode):
            return "nothing" if self.is_a("null") else _shortened(self.node.value)
        return "a list" if isinstance(self.node, SequenceNode) else "`key: value`"


def _is_a(node: Node, *types: str) -> bool:
    """True for a scalar that YAML takes for one of these: str, int, float, bool, null."""
    return isinstance(node, ScalarNode) and node.tag in {f"tag:yaml.org,2002:{name}" for name in types}


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1


def _decimal(text: str) -> float | None:
    """None where Python reads no number: YAML's `0o14`, `.nan`, thousands of digits."""
    try:
        return float(text)
    except ValueError:
        return None


def _shortened(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}…")


def _hint(key: str, allowed: Iterable[str]) -> str:
    names = list(allowed)
    near = difflib.get_close_matches(key, names, n=1)
    return (f"; did you mean {near[0]}?" if near else ";") + f" allowed: {', '.join(names)}"


def _output(value: _Value) -> str:
    return value.choice("audio", "text")


def _max_output_tokens(value: _Value) -> int:
    return value.whole(1, 4_096)


def _temperature(value: _Value) -> float:
    return value.number(0.6, 1.2)


def _seconds(value: _Value) -> float:
    return value.number(0.001, 3_600, "of seconds ")


def _chunk_ms(value: _Value) -> int:
    return value.whole(20, 200)


def _label(value: _Value) -> str:
    if not LABEL.fullmatch(value.text()):
        raise value.refuse(f"must be 1 to 64 of the characters A-Z a-z 0-9 . _ -, not {value.shown()}")
    return value.text()


def _audio(value: _Value) -> Pcm:
    if not value.text().isprintable():
        raise value.refuse(f"must be the path of a file, not {value.shown()}")
    try:
        return load_pcm(value.path.parent / value.text())
    except UsageError as error:
        raise value.refuse(str(error)) from None


RESPONSE_KEYS = {"output": _output, "instructions": _Value.text, "max_output_tokens": _max_output_tokens}
SESSION_KEYS = RESPONSE_KEYS | {"voice": _Value.text, "temperature": _temperature, "input_transcription": _Value.text}


def _session(value: _Value) -> SessionSettings:
    return SessionSettings(**value.table(SESSION_KEYS))


def _limits(value: _Value) -> Limits:
    return Limits(**value.table(dict.fromkeys(LIMIT_NAMES, _seconds)))


def _response(value: _Value) -> ResponseSettings:
    return ResponseSettings(**value.table(RESPONSE_KEYS))


# What a step does is its one key of these; beside it stand the keys that go with it.
STEP_KEYS: dict[str, dict[str, Callable[[_Value], Any]]] = {
    "say": {"say": _Value.text, "label": _label, **RESPONSE_KEYS},
    "respond": {"respond": _response, "label": _label},
    "play": {"play": _audio, "label": _label, "chunk_ms": _chunk_ms, "paced": _Value.flag, **RESPONSE_KEYS},
    "pause": {"pause": _seconds},
}


def _steps(value: _Value) -> tuple[Step, ...]:
    steps: list[Step] = []
    for item in value.items():
        number = 1 + sum(not isinstance(step, Pause) for step in steps)
        steps.append(_step(item, f"turn_{number}"))
    return tuple(steps)


def _step(value: _Value, default_label: str) -> Step:
    actions = [key for key in value.entries() if key in STEP_KEYS]
    if len(actions) != 1:
        raise value.refuse(f"must have exactly one of {', '.join(STEP_KEYS)}, not {' and '.join(actions) or 'none'}")
    given = value.table(STEP_KEYS[actions[0]])
    label = given.get("label", default_label)
    response = ResponseSettings(**{key: given[key] for key in RESPONSE_KEYS if key in given})
    match actions[0]:
        case "say":
            return TextTurn(label, given["say"], response)
        case "respond":
            return AskTurn(label, given["respond"])
        case "play":
            return WavTurn(label, given["play"], given.get("chunk_ms", 100), given.get("paced", True), response)
    return Pause(round(given["pause"] * 1_000_000_000))
