"""`load_script`: every error in a script is reported with its line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import dedent
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from bench.base.errors import ScriptError
from bench.catalogue.timeouts import Timeouts
from bench.files.sanitize import escape_control
from bench.plan.script import load_script
from bench.plan.turns import TextTurn
from tests.helpers import png

WAV = Path(__file__).parents[2] / "scenarios" / "audio" / "late_parcel.wav"


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """Return the path of a script that a test writes.

    The script's folder contains valid and invalid files for scripts.
    """
    shutil.copy(WAV, tmp_path / "a.wav")
    write(tmp_path / "rows.csv", "name,order\nAda,4711\n")
    write(tmp_path / "bad.csv", "name,order\nAda,4711\nBob\n")
    write(tmp_path / "bad.jsonl", '{"role": "user", "text": "Hello"}\n{"role": "user"}\n')
    (tmp_path / "dot.png").write_bytes(png(1, 1))
    return tmp_path / "talk.yaml"


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


TABLE = Path(__file__).with_name("refused_scripts.txt").read_text(encoding="utf-8")
ROWS = TABLE.split("\n\n")[1:]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.partition("\n")[0])
def test_an_error_in_a_script_is_reported_with_its_line(script: Path, row: str) -> None:
    head, _, lines = row.partition("\n")
    number, _, words = head.partition(": ")
    line = None if number == "-" else int(number)
    _, is_escaped, escaped = lines.partition("    escaped ")
    text = json.loads(escaped) if is_escaped else f"{dedent(lines)}\n"

    with pytest.raises(ScriptError) as caught:
        load_script(write(script, text))

    assert words in caught.value.error_text
    assert caught.value.line == line
    place = (
        f"{script}:{line}:{caught.value.column}: " if caught.value.column else f"{script}:{line}: "
    )
    assert str(caught.value).startswith(place if line else f"{script}: ")


def test_anchors_and_a_byte_order_mark_are_accepted(script: Path) -> None:
    write(script, "\ufeffsteps:\n- text: &a hi\n- text: *a\n- text: &a ho\n")

    assert [step.text for step in load_script(script).steps if isinstance(step, TextTurn)] == [
        "hi",
        "hi",
        "ho",
    ]


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    with TemporaryDirectory() as folder:
        yield Path(folder) / "any.yaml"


def script_error(path: Path, text: str) -> ScriptError | None:
    """Return the ScriptError with which the loader refuses a text; None if the loader accepts it.

    Raise any other error.
    """
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        load_script(path)
    except ScriptError as error:
        return error
    return None


def check_is_one_line(error: ScriptError | None, text: str) -> None:
    if error is not None:
        assert escape_control(str(error)) == str(error)
        assert error.line is None or 1 <= error.line <= len(text.splitlines()) + 1


@given(text=st.text(max_size=200) | st.text("steps:text- []{}'\"&*!%#|>\n\t ~?,", max_size=200))
@example("steps:\n- text: hi")
@example('"a\\nb": 1')
def test_any_text_is_loaded_or_refused_in_one_line(scratch: Path, text: str) -> None:
    check_is_one_line(script_error(scratch, text), text)


WORDS = st.sampled_from(
    "session timeouts steps text request_response audio pause message send history name output"
    " instructions max_output_tokens chunk_ms paced voice temperature input_transcription"
    " turn_detection type server_vad semantic_vad threshold eagerness variables background_noise"
    " snr_db speech start end expect event within median sigma max file"
    f" {' '.join(vars(Timeouts()))}".split()
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | WORDS
    | st.dates()
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | LEAVES, inner, max_size=4),
    max_leaves=25,
)


@given(
    tree=TREES
    | st.fixed_dictionaries({"steps": st.lists(st.dictionaries(WORDS, LEAVES, max_size=3))})
)
@example({"steps": [{"text": "hi"}]})
def test_any_tree_is_loaded_or_refused_in_one_line(scratch: Path, tree: Any) -> None:
    text = StringIO()
    YAML(typ="safe", pure=True).dump(tree, text)
    check_is_one_line(script_error(scratch, text.getvalue()), text.getvalue())
