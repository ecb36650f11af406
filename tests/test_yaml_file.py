"""The reader of all YAML files of a user. An error has the same message, with its position, in
every type of file.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.base.errors import ScriptError
from bench.files.yaml_file import LocatedValue, PythonValue, read_yaml, yaml_text
from bench.plan.script import load_script
from bench.target.price_table import load_price_table
from bench.target.target_settings import ServiceOptions
from bench.target.targets import resolve_targets
from reports.metrics import thresholds as grammar
from rtbench_simulator.profile import load_profile

READERS: dict[str, Callable[[Path], object]] = {
    "script": load_script,
    "targets": lambda path: resolve_targets({}, ServiceOptions(targets=("one",), target_file=path)),
    "prices": load_price_table,
    "profile": load_profile,
    "thresholds": grammar.read_thresholds,
}
LAUGHS = "".join(f"a{n}: &a{n + 1} [1{f', *a{n}' * 9 * (n > 0)}]\n" for n in range(8))


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize(
    ("content", "place", "problem"),
    [
        (
            "generation_speed: 1\ngeneration_speed: 2\n",
            ":2:1",
            "the (file|script|profile) has the key 'generation_speed' twice",
        ),
        ("1: 2\n", ":1:1", "the (file|script|profile) has a key that is not a string"),
        ("a: {b: [}\n", ":1:9", "is not YAML: "),
        ("a:\n\tb: 1\n", ":2:1", "is not YAML: .*; indent with spaces, not with tabs"),
        (
            "a:\n  - b\n c: 2\n",
            ":3:2",
            "is not YAML: expected <block end>, .* \\(usually wrong indentation\\)$",
        ),
        ('a:\n- "b\n- c\n', ":2:3", "is not YAML: this quote is not closed"),
        (
            'a: 1\nb: "open\nc:\n  - d: "Hello, what?"\n    e: "f"\n',
            ":2:4",
            "is not YAML: this quote is not closed before line 4$",
        ),
        (
            'b: "open\nc: {d: "e", f: "g"}\n',
            ":1:4",
            "is not YAML: this quote is not closed before line 2$",
        ),
        (
            "b: 'open\nc: it's\nd: 'Say: x'\n",
            ":1:4",
            "is not YAML: this quote is not closed before line 2$",
        ),
        (
            "a: 1\nb: 'it's'\n",
            ":2:4",
            "is not YAML: text follows this quoted text: write a quote inside it as ''$",
        ),
        (
            'a: "the "big" one"\n',
            ":1:4",
            r'is not YAML: text follows this quoted text: write a quote inside it as \\"$',
        ),
        ('a: {b: "c" ]\n', ":1:12", "is not YAML: expected ',' or '}', but got ']'$"),
        ("a: *b\n", ":1:4", "is not YAML: found undefined alias"),
        (f"a: *{'b' * 600}\n", ":1:4", "is not YAML: found undefined alias '[b]{100,180}…$"),
        ("%YAML 1.9\n---\na: 1\n", "", "is not YAML: its %YAML line names an unknown version"),
        ("a: &a [*a]\n", ":1:4", "refers to itself: an alias is inside the value that it repeats"),
        (LAUGHS, ":6:5", "has more than 100000 values or 64 levels, with aliases expanded"),
        (f"a: {'[' * 65}{']' * 65}\n", r":1:\d+", "has more than 100000 values or 64 levels"),
        (f"# {'x' * (4 << 20)}", "", "is larger than 4 MiB"),
        (b"a: 1\nb: Gr\xfc\xdfe\n", ":2", "is not UTF-8 text"),
    ],
    ids=lambda value: repr(value[:20]),
)
def test_every_reader_reports_the_same_mistake_with_the_same_message(
    tmp_path: Path, kind: str, content: str | bytes, place: str, problem: str
) -> None:
    path = tmp_path / "any.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())

    with pytest.raises(ScriptError) as caught:
        READERS[kind](path)
    assert re.match(rf"{re.escape(str(path))}{place}: {problem}", str(caught.value)), str(
        caught.value
    )


@pytest.mark.parametrize("kind", READERS)
def test_every_reader_reports_a_missing_file(tmp_path: Path, kind: str) -> None:
    with pytest.raises(ScriptError, match=r"none\.yaml: no such file$"):
        READERS[kind](tmp_path / "none.yaml")
    with pytest.raises(ScriptError, match="cannot be read: Is a directory"):
        READERS[kind](tmp_path)


def value_of(folder: Path, text: str) -> LocatedValue:
    path = folder / "any.yaml"
    path.write_text(text, encoding="utf-8")
    return read_yaml(path, "it")


def content_of(value: LocatedValue) -> object:
    """Return the content of a value. The content of its inner values is included."""
    content = value.content()
    if isinstance(content, dict):
        return {name: content_of(inner) for name, inner in content.items()}
    return [content_of(item) for item in content] if isinstance(content, list) else content


def test_scalars_without_a_supported_python_type_have_an_opaque_content(tmp_path: Path) -> None:
    items = value_of(
        tmp_path, "[0o14, .nan, .inf, 2026-13-45, 2026-11-01T10:00:00, !!binary aGk=]"
    ).content()

    assert isinstance(items, list)
    for item in items:
        assert not isinstance(item.content(), str | int | float | bool | date | list | dict | None)


def test_merged_keys_have_lower_precedence_and_keep_their_position(tmp_path: Path) -> None:
    root = value_of(
        tmp_path, "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc:\n  <<: [*a, *b]\n  x: 3\n"
    )

    assert content_of(root.nearest("c")) == {"x": 3, "y": 1, "z": 2}
    assert [root.nearest("c", key).position.rpartition("any.yaml")[2] for key in "xyz"] == [
        ":5:3",
        ":1:14",
        ":2:14",
    ]


def test_an_empty_file_is_null(tmp_path: Path) -> None:
    assert value_of(tmp_path, "# nothing\n").content() is None
    assert str(value_of(tmp_path, "").refuse("is wrong")) == f"{tmp_path}/any.yaml:1:1: it is wrong"


def test_an_unquoted_value_and_its_contents_do_not_appear_in_messages(tmp_path: Path) -> None:
    for value in (PythonValue("it", {"a": {"b": "s3cr3t"}}), value_of(tmp_path, "a: {b: s3cr3t}")):
        inner = value.unquoted().nearest("a", "b")

        assert "s3cr3t" in str(value.nearest("a", "b").type_error("a number"))
        assert str(inner.type_error("a number")).endswith("b must be a number")


def as_python(located: LocatedValue) -> object:
    content = located.content()
    if isinstance(content, list):
        return [as_python(item) for item in content]
    return (
        {key: as_python(item) for key, item in content.items()}
        if isinstance(content, dict)
        else content
    )


def test_tables_and_lists_of_tables_are_written_with_a_line_for_each_value() -> None:
    content = {
        "session": {"turn_detection": "full_duplex"},
        "steps": [{"audio": "a.wav", "speech": {"start": 0.2}}],
    }

    assert yaml_text(content).splitlines() == [
        "session: {turn_detection: full_duplex}",
        "steps:",
        "- audio: a.wav",
        "  speech: {start: 0.2}",
    ]


CHARACTERS = st.characters(codec="utf-8", exclude_characters="\x00")
AMBIGUOUS = (
    "yes",
    "null",
    "~",
    "1",
    "0x1f",
    "1e3",
    ".nan",
    "1:30",
    "2025-03-01",
    "=",
    "<<",
    "- a",
    "a: b",
    "# a",
    " a ",
    "a\nb\n",
    "{",
    "'",
    '"',
    "\x85",
    "\u2028",
    "\t",
    "?a",
    "? a",
)
TEXTS = st.text(CHARACTERS, max_size=30) | st.sampled_from(AMBIGUOUS)
VALUES = st.recursive(
    TEXTS
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@given(content=st.dictionaries(TEXTS, VALUES, min_size=1, max_size=4))
def test_what_is_written_is_read_again(
    content: dict[str, object], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "round.yaml"
    path.write_text(yaml_text(content), encoding="utf-8")

    assert as_python(read_yaml(path, "the file")) == content
