"""The JSON Schema of targets agrees with the reader of targets. The example and the reference
agree with the schema.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from bench.base.errors import UsageError
from bench.files.yaml_file import PythonValue
from bench.target.target_settings import TARGETS, ServiceOptions, targets_schema
from bench.target.targets import resolve_targets

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "scenarios" / "targets.example.yaml"
PAGES = ("targets.md", "other-services.md", "agents.md", "webrtc.md", "money.md")
REFERENCE = "".join((ROOT / "docs" / page).read_text(encoding="utf-8") for page in PAGES)
VALIDATOR = Draft202012Validator(targets_schema())
TREE: dict[str, Any] = YAML(typ="safe", pure=True).load(EXAMPLE.read_text(encoding="utf-8"))


def refused(tree: Any) -> str | None:
    """Return the error with which the reader refuses a tree; None if the reader accepts the
    tree.
    """
    try:
        TARGETS.read(PythonValue("the file", tree))
    except UsageError as error:
        return str(error)
    return None


def test_the_stored_schema_is_up_to_date() -> None:
    stored = (ROOT / "scenarios" / "targets.schema.json").read_text(encoding="utf-8")

    assert json.loads(stored) == targets_schema(), "run `make schema`"


def test_the_example_references_the_schema_and_is_valid() -> None:
    assert EXAMPLE.read_text(encoding="utf-8").startswith(
        "# yaml-language-server: $schema=targets.schema.json\n"
    )
    VALIDATOR.validate(TREE)


KEYS = {
    "AZURE_OPENAI_API_KEY": "a-key-of-azure",
    "OPENAI_API_KEY": "a-key-of-openai",
    "GATEWAY_KEY": "a-key-of-a-gateway",
}


def test_the_targets_of_the_example_can_be_resolved() -> None:
    names = ("eastus2", "sweden", "sweden.quick", "sweden.mini", "openai", "gateway")

    targets = resolve_targets(KEYS, ServiceOptions(targets=names, target_file=EXAMPLE))

    assert [target.label for target in targets] == list(names)


Path_ = tuple[Any, ...]


def places(tree: Any, at: Path_ = ()) -> Iterator[Path_]:
    """Yield the path of each value of a tree."""
    yield at
    for key, child in tree.items() if isinstance(tree, dict) else ():
        yield from places(child, (*at, key))


def changed(tree: Any, at: Path_, value: Any) -> Any:
    """Return a copy of the tree in which the value at one path is replaced."""
    return value if not at else {**tree, at[0]: changed(tree[at[0]], at[1:], value)}


LEAVES = (
    st.none()
    | st.booleans()
    | st.sampled_from([-1, 0, 0.5, 60, 100_001, 1_000_001])
    | st.sampled_from(
        ["ga", "entra", "key", "deflate", "a.b", "a b", "", "x" * 65, "a\n", "gpt-realtime"]
    )
)
NAMES = st.sampled_from(
    ["one", "a.b", "endpoint", "auth", "type", "headers", "variants", "session", "text_in", "a b"]
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=12),
    max_leaves=6,
)


@settings(max_examples=300)
@given(data=st.data())
def test_schema_and_reader_agree_on_any_changed_value(data: st.DataObject) -> None:
    place = data.draw(st.sampled_from(list(places(TREE))))
    tree = changed(TREE, place, data.draw(TREES))

    refusal = refused(tree)
    assert (refusal is None) == VALIDATOR.is_valid(tree), refusal


def properties(schema: Any) -> Iterator[str]:
    """Yield every key that may occur in a target file."""
    if isinstance(schema, dict):
        yield from schema.get("properties", ())
    for inner in (
        schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ()
    ):
        yield from properties(inner)


def test_the_reference_documents_each_key_and_enum_value() -> None:
    words = {
        word
        for text in json.dumps(targets_schema()).split('"enum": [')[1:]
        for word in text.split("]")[0].split('"')
    }
    words -= {"", ", ", ", null"}

    keys = set(properties(targets_schema()))
    assert len(keys) > 25
    assert len(words) > 8
    assert [word for word in sorted(keys | words) if f"`{word}`" not in REFERENCE] == []
