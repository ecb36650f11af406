"""The JSON Schema of scripts agrees with the loader. The reference of scripts agrees with both
of them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from ruamel.yaml import YAML

from bench.base.errors import UsageError
from bench.catalogue.timeouts import Timeouts
from bench.files.yaml_file import PythonValue
from bench.plan.script import SCRIPT, load_script, script_schema
from bench.plan.script_keys import TIMEOUTS
from bench.plan.steps import EXPECTED_EVENTS, STEP_TABLES
from tests.examples import thorough
from tests.plan.missing_texts import missing_texts
from tests.simulator_process import AUDIO

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scenarios" / "scripts"
VALIDATOR = Draft202012Validator(script_schema())
BEYOND_A_SCHEMA = (
    "speech must start before it ends",
    "speech is for one WAV",
    "max must not be below the median",
    "no such file",
    "is not UTF-8 text",
    "there is none during silence",
    "sets the instant, and",
    "belongs to a turn, but an interruption",
    "needs a message of the user",
    "in one of its words",
    "has no effect, because no word",
    "must end in /v1",
    "needs the key `synthesizer`",
    "url contains characters that a URL cannot have",
    "url is not a URL",
    "url has an invalid host name",
)
"""Parts of the errors that no schema can report, because these errors depend on other values or
on files."""


def loaded(tree: object) -> str | None:
    """Return the error with which the loader refuses a tree; None if the loader accepts the tree.

    Paths in the tree are relative to the folder of the WAV files.
    """
    try:
        SCRIPT.read(PythonValue("the script", tree, AUDIO))
    except UsageError as error:
        return str(error)
    return None


def check_agrees(tree: object) -> None:
    refusal = loaded(tree)
    problem = next(VALIDATOR.iter_errors(tree), None)

    if refusal is None:
        assert problem is None
    elif not any(words in refusal for words in BEYOND_A_SCHEMA):
        assert problem is not None, refusal


def test_the_stored_schema_is_up_to_date() -> None:
    stored = (SCRIPTS / "script.schema.json").read_text(encoding="utf-8")

    assert json.loads(stored) == script_schema(), "run `make schema`"


WAV = "late_parcel.wav"
HERE = Path(__file__).parent
FULL: dict[str, Any] = json.loads(
    (HERE / "full_script.json")
    .read_text(encoding="utf-8")
    .replace("think_times.txt", str(HERE / "think_times.txt"))
)
SEMANTIC = FULL | {"session": {"turn_detection": {"type": "semantic_vad", "eagerness": "high"}}}
WORD = {"session": {"turn_detection": "none"}, "timeouts": None, "steps": [{"text": "hi"}]}
BY_COMMAND = WORD | {"synthesizer": {"command": ["speak", "-v{voice}", "{file}"], "voice": "anna"}}
BY_SERVICE = WORD | {
    "synthesizer": {
        "url": "https://a.example/v1",
        "model": "tts",
        "api_key_env": "TTS_KEY",
        "voice": "alloy",
    }
}
GOOD = [FULL, SEMANTIC, WORD, BY_COMMAND, BY_SERVICE]
NAMES = ["full", "semantic", "word", "by command", "by service"]

Path_ = tuple[str | int, ...]


def places(tree: Any, at: Path_ = ()) -> Iterator[Path_]:
    """Yield the path of each value of a tree."""
    yield at
    children: Iterable[tuple[str | int, Any]] = ()
    if isinstance(tree, dict):
        children = tree.items()
    elif isinstance(tree, list):
        children = enumerate(tree)
    for key, child in children:
        yield from places(child, (*at, key))


def changed(tree: Any, at: Path_, change: Callable[[Any], Any]) -> Any:
    """Return a copy of the tree in which the value at one path is changed."""
    if not at:
        return change(tree)
    copy = dict(tree) if isinstance(tree, dict) else list(tree)
    copy[at[0]] = changed(tree[at[0]], at[1:], change)
    return copy


def without(tree: Any, at: Path_) -> Any:
    *above, key = at
    return changed(tree, tuple(above), lambda inner: _dropped(inner, key))


def _dropped(inner: Any, key: str | int) -> Any:
    if isinstance(inner, dict):
        return {name: value for name, value in inner.items() if name != key}
    return [value for number, value in enumerate(inner) if number != key]


def near(tree: Any, at: Path_) -> tuple[dict[str, Any], Path_]:
    """Return a smaller valid tree and a path in it. The path leads to the value that has the path
    `at` in `tree`.

    The smaller tree has only the steps that matter for this value.
    """
    if len(tree["steps"]) == 1:
        return tree, at
    if at[:1] != ("steps",) or len(at) == 1:
        return tree | {"steps": [{"text": "hi"}]}, at
    number = int(at[1])
    steps = [{"text": "hi"}, *tree["steps"][: number + 1][-2:]]
    return {"steps": steps}, ("steps", len(steps) - 1, *at[2:])


@pytest.mark.parametrize("tree", GOOD, ids=NAMES)
def test_loader_and_schema_agree_on_required_keys(tree: dict[str, Any]) -> None:
    for place in places(tree):
        if place:
            check_agrees(without(*near(tree, place)))


@pytest.mark.parametrize("tree", GOOD, ids=NAMES)
def test_loader_and_schema_refuse_unknown_keys(tree: dict[str, Any]) -> None:
    for place in places(tree):
        if {"extra", "send", "metadata"} & {*place}:
            continue  # any value or any name is permitted there
        right, at = near(tree, place)
        odd = changed(
            right, at, lambda inner: inner | {"odd": 1} if isinstance(inner, dict) else {"odd": 1}
        )

        assert loaded(right) is None
        assert loaded(odd) is not None
        assert not VALIDATOR.is_valid(odd)


WORDS = st.sampled_from(
    [
        "audio",
        "none",
        "server_vad",
        "semantic_vad",
        "low",
        "g711_alaw",
        *EXPECTED_EVENTS,
        WAV,
        " ",
        "",
    ]
)
NUMBERS = st.sampled_from(
    [-11, -1, 0, 0.001, 0.5, 1, 1.5, 2.0, 19, 61, 200.0, 201, 2_001, 4_097, 5_000, 30_001]
)
LEAVES = st.none() | st.booleans() | NUMBERS | WORDS
OF_INNER_TABLES = {
    "type",
    "end",
    "event",
    "median",
    "sigma",
    "role",
    "text",
    "input",
    "effort",
    "retention_ratio",
}
KEYS = st.sampled_from(
    sorted({key for table in STEP_TABLES.values() for key in table.fields} | OF_INNER_TABLES)
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


@thorough
@given(data=st.data())
def test_loader_and_schema_agree_on_any_value_at_any_place(data: st.DataObject) -> None:
    tree = data.draw(st.sampled_from(GOOD))
    place = data.draw(st.sampled_from(list(places(tree))))
    value = data.draw(TREES)
    check_agrees(changed(tree, place, lambda _: value))


@given(
    tree=TREES
    | st.fixed_dictionaries(
        {"steps": st.lists(st.dictionaries(KEYS, TREES, max_size=3), max_size=3)}
    )
)
def test_loader_and_schema_agree_on_any_tree(tree: object) -> None:
    check_agrees(tree)


@pytest.mark.parametrize("step", [{"audio": 0}, {"audio": [WAV, 0]}, {"interrupt": {"audio": [0]}}])
@pytest.mark.parametrize(
    ("say", "accepted"),
    [
        ({"say": "Hello"}, True),
        ({"say": "Hello", "voice": "anna"}, True),
        ({"voice": "anna"}, False),
        ({"say": 5}, False),
        ({"say": ""}, False),
        ({"say": "Hello", "voice": None}, False),
        ({"say": "Hello", "speed": 1}, False),
    ],
)
def test_the_schema_accepts_a_text_to_say_in_place_of_a_wav(
    step: dict[str, Any], say: dict[str, Any], accepted: bool
) -> None:
    *_, at = places(step)
    tree = {"steps": [{"text": "hi"}, changed(step, at, lambda _: say)]}

    assert VALIDATOR.is_valid(tree) is accepted
    assert ("needs the key `synthesizer`" in str(loaded(tree))) is accepted


def test_python_and_yaml_scripts_are_read_as_the_same_objects(tmp_path: Path) -> None:
    shutil.copytree(AUDIO, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "full.yaml"
    text = StringIO()
    YAML(typ="safe", pure=True).dump(FULL, text)
    path.write_text(text.getvalue(), encoding="utf-8")
    parts = SCRIPT.read(PythonValue("the script", FULL, tmp_path))

    script = load_script(path)
    assert (script.session, script.timeouts, script.steps) == (
        parts["session"],
        parts["timeouts"],
        parts["steps"],
    )
    assert (script.background_noise, script.jitter_buffer_ms) == (
        parts["background_noise"],
        parts["jitter_buffer_ms"],
    )


REFERENCE = (ROOT / "docs" / "scripts.md").read_text(encoding="utf-8")
METRICS = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")


def keys_of(schema: Any) -> Iterator[str]:
    """Yield every key that may occur in a script."""
    if isinstance(schema, dict):
        yield from schema.get("properties", ())
    for inner in (
        schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ()
    ):
        yield from keys_of(inner)


def test_the_reference_names_every_key_and_every_expected_event() -> None:
    keys = set(keys_of(script_schema()))

    assert len(keys) > 40
    assert [key for key in sorted(keys | set(EXPECTED_EVENTS)) if f"`{key}`" not in REFERENCE] == []
    for name in TIMEOUTS.fields:
        assert f"| `{name}` | {getattr(Timeouts(), name):g} |" in METRICS


def test_the_examples_of_the_reference_load(tmp_path: Path) -> None:
    shutil.copytree(AUDIO, tmp_path / "audio")
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "customers.csv").write_text("name,order\nAda,4711\n", encoding="utf-8")
    (tmp_path / "scripts" / "think_times.txt").write_text("1.5\n", encoding="utf-8")
    examples = [block.partition("```")[0] for block in REFERENCE.split("```yaml\n")[1:]]

    assert len(examples) == 13
    for example in examples:
        path = tmp_path / "scripts" / "example.yaml"
        path.write_text(example, encoding="utf-8")
        for speech in missing_texts(path):
            speech.path.parent.mkdir(exist_ok=True)
            shutil.copy(AUDIO / WAV, speech.path)
        assert load_script(path).steps
        VALIDATOR.validate(YAML(typ="safe", pure=True).load(example))


# The schemas for editors name the wrong key. They do not only report that some key is wrong.


OF_SCRIPTS = Draft202012Validator(script_schema())
STEPS: dict[str, Any] = {
    "text": {"text": "Hello"},
    "audio": {"audio": "a.wav"},
    "request_response": {"request_response": None},
    "wait_for": {"wait_for": "greeting"},
    "interrupt": {"interrupt": {"after": 1}},
    "sound": {"sound": {"audio": "a.wav", "kind": "noise"}},
    "pause": {"pause": 1},
    "expect": {"expect": {"event": "committed", "within": 1}},
    "message": {"message": {"role": "user", "text": "Hello"}},
    "send": {"send": {"type": "response.cancel"}},
}
UNKNOWN = "('naxme' was unexpected)"


def best(validator: Draft202012Validator, tree: Any) -> Any:
    return best_match(validator.iter_errors(tree))


def script(step: Any) -> dict[str, Any]:
    return {"steps": [{"text": "Hello"}, step]}


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_a_misspelt_key_of_a_step_is_named(step: dict[str, Any]) -> None:
    assert best(OF_SCRIPTS, script(step)) is None

    found = best(OF_SCRIPTS, script(step | {"naxme": "x"}))
    assert UNKNOWN in found.message
    assert list(found.path) == ["steps", 1]
