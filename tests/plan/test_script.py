"""`load_script`: what a script means, and that whatever is wrong with one is said with its line."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import asdict
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from bench.errors import ScriptError
from bench.measures import LIMIT_NAMES, Limits
from bench.plan.script import SESSION_KEYS, STEP_KEYS, AskTurn, Pause, TextTurn, WavTurn, load_script
from bench.protocol.dialects import ResponseSettings, SessionSettings

SCENARIOS = Path(__file__).parents[2] / "scenarios"
WAV = SCENARIOS / "audio" / "late_parcel.wav"


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """A path for a script, beside which `a.wav` stands."""
    shutil.copy(WAV, tmp_path / "a.wav")
    return tmp_path / "talk.yaml"


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_a_script_holds_what_its_file_says(script: Path) -> None:
    write(
        script,
        """
session:
  instructions: Be brief.
  output: text
  voice: alloy
  max_output_tokens: 400
  temperature: 0.8
  input_transcription: whisper-1
limits: {first_delta: 2, done: 60.5}
steps:
  - say: "Hello"
    label: greeting
    output: audio
  - respond: {instructions: Help., output: text, max_output_tokens: 9}
  - pause: 2.5
  - play: a.wav
    chunk_ms: 40
    paced: false
    instructions: Listen.
""",
    )
    loaded = load_script(script)

    assert (loaded.name, loaded.path, loaded.temperature_line) == ("talk", script, 7)
    assert loaded.session == SessionSettings(
        instructions="Be brief.",
        output="text",
        voice="alloy",
        max_output_tokens=400,
        temperature=0.8,
        input_transcription="whisper-1",
    )
    assert loaded.limits == Limits(first_delta=2.0, done=60.5)
    say, respond, pause, play = loaded.steps
    assert say == TextTurn("greeting", "Hello", ResponseSettings(output="audio"))
    assert respond == AskTurn("turn_2", ResponseSettings(instructions="Help.", output="text", max_output_tokens=9))
    assert pause == Pause(2_500_000_000)
    assert isinstance(play, WavTurn)
    assert (play.label, play.chunk_ms, play.paced) == ("turn_3", 40, False)
    assert play.response == ResponseSettings(instructions="Listen.")
    assert round(play.audio.seconds, 2) == 1.56


def test_what_a_script_leaves_out_has_defaults(script: Path) -> None:
    loaded = load_script(write(script, "session:\nsteps:\n- play: a.wav\n- respond:\n"))

    assert (loaded.session, loaded.limits, loaded.temperature_line) == (SessionSettings(), Limits(), None)
    play, respond = loaded.steps
    assert isinstance(play, WavTurn)
    assert (play.chunk_ms, play.paced) == (100, True)
    assert respond == AskTurn("turn_2", ResponseSettings())


def test_labels_beyond_thirty_two_share_one(script: Path) -> None:
    steps = "".join(f"- {{say: hi, label: l{number}}}\n" for number in (*range(34), 0))
    labels = [step.label for step in load_script(write(script, f"steps:\n{steps}")).steps if isinstance(step, TextTurn)]

    assert labels == [f"l{number}" for number in range(32)] + ["other", "other", "l0"]


def test_the_digest_follows_the_script_and_its_audio_and_nothing_else(script: Path) -> None:
    def digest() -> str:
        return load_script(script).digest

    write(script, "steps:\n- play: a.wav\n")
    before = digest()
    assert digest() == before
    assert len(bytes.fromhex(before)) == 32

    moved = script.with_name("elsewhere.yaml")
    shutil.copy(script, moved)
    assert load_script(moved).digest == before

    shutil.copy(SCENARIOS / "audio" / "goodbye.wav", script.with_name("a.wav"))
    after = digest()
    assert after != before

    write(script, "steps:\n- play: a.wav  # again\n")
    assert digest() not in (before, after)


@pytest.mark.parametrize("path", sorted((SCENARIOS / "scripts").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_scripts_that_come_with_the_tool_load(path: Path) -> None:
    assert load_script(path).steps


def test_the_reference_names_every_key_and_its_example_loads(tmp_path: Path) -> None:
    reference = (SCENARIOS.parent / "docs" / "scripts.md").read_text(encoding="utf-8")
    keys = {*SESSION_KEYS, *LIMIT_NAMES, *STEP_KEYS, *(key for keys in STEP_KEYS.values() for key in keys)}
    assert [key for key in sorted(keys) if f"`{key}`" not in reference] == []
    for name, seconds in asdict(Limits()).items():
        assert f"| `{name}` | {seconds:g} |" in reference

    shutil.copytree(SCENARIOS / "audio", tmp_path / "audio")
    (tmp_path / "scripts").mkdir()
    _, example, _ = reference.replace("```yaml", "```").split("```")
    assert len(load_script(write(tmp_path / "scripts" / "example.yaml", example)).steps) == 4


WRONG: list[tuple[str, int | None, str]] = [
    # (script, line, words of the error)
    ("", 1, "is empty; a script needs `steps`"),
    ("# nothing but this\n", 1, "is empty"),
    ("steps:\n\t- say: hi\n", 2, "indent with spaces, not with tabs"),
    ("steps: [\n", 2, "is not YAML"),
    ("steps: *nothing\n", 1, "is not YAML: found undefined alias"),
    ("steps:\n- say: hi\n---\nsteps:\n", 3, "is not YAML: but found another document"),
    ("steps:\n- say: \x07\n", 2, "special characters are not allowed"),
    ("[" * 500, None, "is not YAML"),
    ("- say: hi\n", 1, "the script must be made of `key: value`, not a list"),
    ("hello\n", 1, "must be made of `key: value`, not 'hello'"),
    ("session: {}\n", 1, "there is no turn"),
    ("session: {}\nsteps: []\n", 2, "there is no turn: `steps` needs a `say`, `respond` or `play`"),
    ("session: {}\nsteps:\n- pause: 1\n", 2, "there is no turn"),
    ("steps:\n", 1, "steps must be a list, not nothing"),
    ("steps: {say: hi}\n", 1, "steps must be a list, not `key: value`"),
    ("steps:\n- say: hi\nstep:\n", 3, "unknown key 'step'; did you mean steps? allowed: session, limits, steps"),
    ("steps:\n- say: hi\nsteps: []\n", 3, "the script has the key 'steps' twice"),
    ("steps:\n- say: hi\n  say: ho\n", 3, "step 1 has the key 'say' twice"),
    ("steps:\n- say: hi\n1: 2\n", 3, "has a key that is not a word"),
    ("steps:\n- say: hi\n? [a]\n: b\n", 3, "has a key that is not a word"),
    ("steps:\n- say: hi\n- hello\n", 3, "step 2 must be made of `key: value`, not 'hello'"),
    ("steps:\n- label: hi\n", 2, "step 1 must have exactly one of say, respond, play, pause, not none"),
    ("steps:\n- say: hi\n  pause: 1\n", 2, "exactly one of say, respond, play, pause, not say and pause"),
    ("steps:\n- say: hi\n  lable: x\n", 3, "unknown key 'lable'; did you mean label? allowed: say, label, output"),
    ("steps:\n- say: hi\n  chunk_ms: 100\n", 3, "unknown key 'chunk_ms'; allowed: say, label"),
    ("steps:\n- pause: 1\n  label: x\n", 3, "unknown key 'label'; allowed: pause"),
    ("steps:\n- respond:\n    voice: alloy\n", 3, "respond has an unknown key 'voice'; allowed: output, instr"),
    ("steps:\n- respond: hello\n", 2, "respond must be made of `key: value`, not 'hello'"),
    ("steps:\n- say: 5\n", 2, "say must be text, not '5' (quotes"),
    ("steps:\n- say: 2024-12-17\n", 2, "say must be text, not '2024-12-17'"),
    ("steps:\n- say:\n", 2, "say must be text, not nothing"),
    ("steps:\n- say:\n    - hi\n", 2, "say must be text, not a list"),
    ("steps:\n- say: '  '\n", 2, "say must not be empty"),
    ('steps:\n- say: "\\ud800"\n', 2, "say must be Unicode text"),
    ("steps:\n- say: hi\n  label: a b\n", 3, "label must be 1 to 64 of the characters A-Z a-z 0-9 . _ -, not 'a b'"),
    (f"steps:\n- say: hi\n  label: {'x' * 65}\n", 3, "label must be 1 to 64"),
    ("steps:\n- say: hi\n  output: both\n", 3, "output must be audio or text, not 'both'"),
    ("steps:\n- say: hi\n  max_output_tokens: 0\n", 3, "must be a whole number from 1 to 4096, not '0'"),
    ("steps:\n- say: hi\n  max_output_tokens: 4097\n", 3, "must be a whole number from 1 to 4096"),
    ("steps:\n- say: hi\n  max_output_tokens: 1.5\n", 3, "must be a whole number"),
    ("steps:\n- say: hi\n  max_output_tokens: true\n", 3, "must be a whole number from 1 to 4096, not 'true'"),
    (f"steps:\n- say: hi\n  max_output_tokens: {'9' * 5000}\n", 3, "must be a whole number from 1 to 4096, not '999"),
    ("steps:\n- pause: 0\n", 2, "pause must be a number of seconds from 0.001 to 3600, not '0'"),
    ("steps:\n- pause: -1\n", 2, "pause must be a number of seconds"),
    ("steps:\n- pause: .nan\n", 2, "pause must be a number of seconds"),
    ("steps:\n- pause: 1e999\n", 2, "pause must be a number of seconds"),
    ("steps:\n- pause: 0o14\n", 2, "pause must be a number of seconds"),
    ("steps:\n- pause: '1'\n", 2, "pause must be a number of seconds"),
    ("steps:\n- play: none.wav\n", 2, "none.wav: no such file"),
    ("steps:\n- play: talk.yaml\n", 2, "talk.yaml: is not audio"),
    ('steps:\n- play: "a\\0.wav"\n', 2, "play must be the path of a file"),
    ("steps:\n- play: a.wav\n  chunk_ms: 19\n", 3, "chunk_ms must be a whole number from 20 to 200, not '19'"),
    ("steps:\n- play: a.wav\n  chunk_ms: 201\n", 3, "chunk_ms must be a whole number from 20 to 200"),
    ("steps:\n- play: a.wav\n  paced: yes\n", 3, "paced must be true or false, not 'yes'"),
    ("%YAML 1.1\n---\nsteps:\n- play: a.wav\n  paced: yes\n", 5, "paced must be true or false, not 'yes'"),
    ("session: hello\nsteps:\n- say: hi\n", 1, "session must be made of `key: value`"),
    ("session:\n  temperature: 2\nsteps:\n- say: hi\n", 2, "temperature must be a number from 0.6 to 1.2, not '2'"),
    ("session:\n  modalities: [text]\nsteps:\n- say: hi\n", 2, "session has an unknown key 'modalities'"),
    ("limits: {fist_delta: 3}\nsteps:\n- say: hi\n", 1, "did you mean first_delta? allowed: tcp, tls, upgrade"),
    ("limits:\n  done: 0\nsteps:\n- say: hi\n", 2, "done must be a number of seconds from 0.001 to 3600, not '0'"),
]


@pytest.mark.parametrize(("text", "line", "words"), WRONG, ids=[repr(text[:50]) for text, _, _ in WRONG])
def test_what_is_wrong_with_a_script_is_said_with_its_line(
    script: Path, text: str, line: int | None, words: str
) -> None:
    with pytest.raises(ScriptError) as caught:
        load_script(write(script, text))

    assert words in caught.value.problem
    assert caught.value.line == line
    assert str(caught.value).startswith(f"{script}:{line}: " if line else f"{script}: ")


def test_a_script_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScriptError, match="no such script"):
        load_script(tmp_path / "none.yaml")
    with pytest.raises(ScriptError, match="cannot be read"):
        load_script(tmp_path)


def test_a_script_in_another_encoding_is_refused_with_the_line(script: Path) -> None:
    script.write_bytes("steps:\n- say: Grüße\n".encode("latin-1"))

    with pytest.raises(ScriptError, match="is not UTF-8") as caught:
        load_script(script)
    assert caught.value.line == 2


def test_anchors_and_a_byte_order_mark_are_fine(script: Path) -> None:
    write(script, "\ufeffsteps:\n- say: &a hi\n- say: *a\n- say: &a ho\n")

    assert [step.text for step in load_script(script).steps if isinstance(step, TextTurn)] == ["hi", "hi", "ho"]


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    with TemporaryDirectory() as folder:
        yield Path(folder) / "any.yaml"


def script_error(path: Path, text: str) -> ScriptError | None:
    """What the loader says about a text; None where it takes it. Any other error is passed on, and fails the test."""
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        load_script(path)
    except ScriptError as error:
        return error
    return None


def check_is_one_line(error: ScriptError | None, text: str) -> None:
    if error is not None:
        assert str(error).isprintable()
        assert error.line is None or 1 <= error.line <= len(text.splitlines()) + 1


@given(text=st.text(max_size=200) | st.text("steps:say- []{}'\"&*!%#|>\n\t ~?,", max_size=200))
@example("steps:\n- say: hi")
@example('"a\\nb": 1')
def test_no_text_makes_the_loader_fail_in_another_way(scratch: Path, text: str) -> None:
    check_is_one_line(script_error(scratch, text), text)


WORDS = st.sampled_from(
    "session limits steps say respond play pause label output instructions max_output_tokens chunk_ms paced voice "
    f"temperature input_transcription {' '.join(LIMIT_NAMES)}".split()
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | WORDS | st.dates()
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | LEAVES, inner, max_size=4),
    max_leaves=25,
)


@given(tree=TREES | st.fixed_dictionaries({"steps": st.lists(st.dictionaries(WORDS, LEAVES, max_size=3))}))
@example({"steps": [{"say": "hi"}]})
def test_no_tree_makes_the_loader_fail_in_another_way(scratch: Path, tree: Any) -> None:
    text = StringIO()
    YAML(typ="safe", pure=True).dump(tree, text)
    check_is_one_line(script_error(scratch, text.getvalue()), text.getvalue())
