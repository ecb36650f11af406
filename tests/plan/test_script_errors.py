"""`load_script`: every error in a script is reported with its line."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
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

DETECTORS = (
    "server_vad, semantic_vad, full_duplex, azure_semantic_vad, azure_semantic_vad_en or "
    "azure_semantic_vad_multilingual"
)

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


WRONG: list[tuple[str, int | None, str]] = [
    # (script, line, part of the error)
    ("", 1, "the script needs `steps`"),
    ("steps:\n- text: \x07\n", 2, "special characters are not allowed"),
    ("[" * 500, None, "is not YAML"),
    ("- text: hi\n", 1, "the script must be a table (`key: value`), not a list"),
    ("session: {}\n", 1, "the script needs `steps`"),
    (
        "mcp_servers: {docs: {}}\nsteps:\n- text: hi\n",
        1,
        "docs needs exactly one of `url`, `connector_id` and `tunnel_id`",
    ),
    (
        "mcp_servers:\n  docs: {connector_id: a, tunnel_id: b}\nsteps:\n- text: hi\n",
        2,
        "docs needs exactly one of `url`, `connector_id` and `tunnel_id`",
    ),
    (
        "mcp_servers:\n  docs: {url: a, connector_id: b}\nsteps:\n- text: hi\n",
        2,
        "docs needs exactly one of `url`, `connector_id` and `tunnel_id`",
    ),
    (
        "mcp_servers: {docs: {url: a, authorization: secret}}\nsteps:\n- text: hi\n",
        1,
        "unknown key 'authorization'; did you mean authorization_env?",
    ),
    (
        "mcp_servers: {docs: {url: a, authorization_env: sk-secret}}\nsteps:\n- text: hi\n",
        1,
        "must be the name of an environment variable",
    ),
    (
        "session: {}\nsteps: []\n",
        2,
        "steps has no turn: it needs a `text`, `audio`, `request_response` or `wait_for`",
    ),
    (
        "steps:\n- wait_for: greeting\n",
        2,
        "wait_for needs `turn_detection: full_duplex`: for other services request a greeting",
    ),
    (
        (
            "session: {turn_detection: full_duplex}\nsteps:\n- text: hi\n- pause: 1\n- wait_for:"
            " greeting\n"
        ),
        5,
        "wait_for must be the first turn: put it first",
    ),
    ("steps:\n- wait_for: goodbye\n", 2, 'wait_for must be greeting, not the string "goodbye"'),
    ("steps:\n", 1, "steps must be a list, not nothing"),
    (
        "steps:\n- text: hi\nstep:\n",
        3,
        "unknown key 'step'; did you mean steps? allowed: session, timeouts, variables",
    ),
    (
        "steps:\n- name: hi\n",
        2,
        (
            "step 1 must have exactly one of text, audio, request_response, wait_for, interrupt,"
            " sound, pause, expect, message, send, not"
        ),
    ),
    (
        "steps:\n- text: hi\n- name: x\n  paws: 0.5\n",
        4,
        "sound, pause, expect, message, send, not the unknown key 'paws'; did you mean pause?",
    ),
    (
        "session:\n  turn_detection: {type: server_vad, silence_duration_ms: '400'}\n",
        2,
        'not the string "400"',
    ),
    (
        "steps:\n- text: hi\n  pause: 1\n",
        2,
        (
            "exactly one of text, audio, request_response, wait_for, interrupt, sound, pause,"
            " expect, message, send, not text and pause"
        ),
    ),
    (
        "steps:\n- text: hi\n  lable: x\n",
        3,
        "unknown key 'lable'; allowed: text, name, expected_reply",
    ),
    (
        "steps:\n- audio: a.wav\n  transcript: [one, two]\n",
        3,
        "transcript must have one text per WAV: `audio` has 1, `transcript` has 2",
    ),
    ("steps:\n- audio: a.wav\n  transcript: '?!'\n", 3, "transcript has no word in it"),
    ("steps:\n- text: hi\n  expected_reply: '...'\n", 3, "expected_reply has no word in it"),
    (
        "steps:\n- text: hi\n  success: {reply_matches: '('}\n",
        3,
        "reply_matches is not a regular expression: missing ),",
    ),
    (
        "steps:\n- text: hi\n  expected_calls: find_parcel\n",
        3,
        "calls names the function find_parcel, which is not in `tools`",
    ),
    (
        "steps:\n- text: hi\n  success: {}\n",
        3,
        "must have exactly one of reply_matches, reply_contains, not none",
    ),
    (
        (
            "steps:\n- text: hi\n- sound: {audio: a.wav, kind: talking_to_others, during:"
            " silence}\n- text: ho\n"
        ),
        3,
        (
            "sound needs `turn_detection` in the session: without it the service processes only"
            " committed audio"
        ),
    ),
    (
        (
            "session: {turn_detection: server_vad}\nsteps:\n- text: hi\n"
            "- sound: {audio: a.wav, kind: talking_to_others, during: silence}\n- pause: 1\n"
        ),
        4,
        (
            "during silence needs a turn after it, and there is none: add a `text`, `audio` or"
            " `request_response` step"
        ),
    ),
    (
        (
            "session: {turn_detection: server_vad}\nsteps:\n- sound: {audio: a.wav, kind:"
            " talking_to_others}\n- text: hi\n"
        ),
        3,
        "must come after a turn: put it after a `text`, `audio`, `request_response` or `wait_for`",
    ),
    (
        (
            "steps:\n- text: hi\n- sound: {audio: a.wav, kind: talking_to_others, during: silence,"
            " after: 1}\n"
        ),
        3,
        "after needs a reply, but there is none during silence: remove one of the two",
    ),
    ("steps:\n- text: 5\n", 2, "text must be a string, not 5 (put it in quotes"),
    ("steps:\n- text: '  '\n", 2, "text must not be empty"),
    ('steps:\n- text: "\\ud800"\n', 2, "text must be Unicode text"),
    (
        "steps:\n- text: hi\n  name: a b\n",
        3,
        'name must be 1 to 64 of the characters A-Z a-z 0-9 . _ -, not the string "a b"',
    ),
    (
        "steps:\n- text: hi\n  output: both\n",
        3,
        'output must be audio or text, not the string "both"',
    ),
    (
        "steps:\n- text: hi\n  max_output_tokens: 0\n",
        3,
        "must be a whole number of tokens (or inf) from 1 to 1000000, not 0",
    ),
    ("steps:\n- pause: 0\n", 2, "pause must be a number of seconds from 0.001 to 3600, not 0"),
    (
        "steps:\n- pause: {median: 2, file: a.txt}\n",
        2,
        "must have exactly one of median, file, not median and file",
    ),
    ("steps:\n- pause: {median: 2}\n", 2, "pause needs `sigma`"),
    (
        "steps:\n- pause: {median: 2, sigma: 1, max: 1.5}\n",
        2,
        "max must not be below the median, which is 2 s",
    ),
    (
        "steps:\n- pause: {file: talk.yaml}\n",
        2,
        "talk.yaml:1: must be a number of seconds from 0 to 3600, not steps:",
    ),
    ("steps:\n- audio: none.wav\n", 2, "none.wav: no such file"),
    ("steps:\n- audio: talk.yaml\n", 2, "talk.yaml: is not readable audio"),
    ('steps:\n- audio: "a\\0.wav"\n', 2, "audio must be the path of a file"),
    (
        "steps:\n- audio: a.wav\n  chunk_ms: 19\n",
        3,
        "chunk_ms must be a whole number from 20 to 200, not 19",
    ),
    (
        "steps:\n- audio: a.wav\n  paced: yes\n",
        3,
        'paced must be true or false, not the string "yes"',
    ),
    (
        "%YAML 1.1\n---\nsteps:\n- audio: a.wav\n  paced: yes\n",
        5,
        "paced must be true or false, not yes",
    ),
    (
        "session:\n  turn_detection: vad\n",
        2,
        f'must be none, {DETECTORS}, or a table with a `type`, not the string "vad"',
    ),
    (
        "session:\n  turn_detection: {type: server_vda}\n",
        2,
        'the string "server_vda"; did you mean server_vad?',
    ),
    (
        "session:\n  turn_detection: {threshold: 1}\n",
        2,
        f"turn_detection needs `type`: {DETECTORS}",
    ),
    (
        "session:\n  turn_detection:\n    type: server_vad\n    eagerness: high\n",
        4,
        "eagerness needs semantic_vad; server_vad does not support it",
    ),
    (
        "session:\n  turn_detection:\n    type: semantic_vad\n    idle_timeout_ms: 6000\n",
        4,
        "idle_timeout_ms needs server_vad; semantic_vad does not support it",
    ),
    (
        "session:\n  input_format: pcm\n",
        2,
        (
            "input_format must be pcm16, pcm16@8000, pcm16@16000, pcm16@48000, g711_ulaw or"
            ' g711_alaw, not the string "pcm"'
        ),
    ),
    (
        (
            "session: {turn_detection: server_vad}\nsteps:\n- text: hi\n- audio: a.wav\n  paced:"
            " false\n"
        ),
        5,
        (
            "paced must be true with turn detection, because speech has no end if all of its audio"
            " is sent at once"
        ),
    ),
    ("steps:\n- audio: [a.wav,\n    none.wav]\n", 3, "none.wav: no such file"),
    (
        "steps:\n- audio: a.wav\n  speech: {start: 1, end: 1}\n",
        3,
        "speech must start before it ends",
    ),
    ("steps:\n- audio: a.wav\n  speech: {start: 1, end: 1.6}\n", 3, "a.wav lasts 1.563 s"),
    (
        "steps:\n- audio: [a.wav, a.wav]\n  speech: {start: 0, end: 1}\n",
        3,
        "speech is for one WAV, but `audio` has 2",
    ),
    (
        (
            "steps:\n- audio: a.wav\n- interrupt:\n    after: 1\n    audio: a.wav\n    speech:"
            " {start: 1, end: 1.6}\n"
        ),
        6,
        "a.wav lasts 1.563 s",
    ),
    (
        (
            "steps:\n- audio: a.wav\n- interrupt:\n    after: 1\n    audio: [a.wav, a.wav]\n   "
            " speech: {start: 0, end: 1}\n"
        ),
        6,
        "speech is for one WAV, but `audio` has 2",
    ),
    (
        "steps:\n- audio: a.wav\n- interrupt:\n    after: 1\n    speech: {start: 0, end: 1}\n",
        5,
        "speech is for one WAV, but `audio` has 0",
    ),
    (
        "steps:\n- text: hi\n- pause: 1\n- expect: {event: committed, within: 1}\n",
        4,
        (
            "expect must come after a turn: put it after a `text`, `audio`, `request_response` or"
            " `wait_for`"
        ),
    ),
    (
        "steps:\n- text: hi\n- expect:\n    within: 1\n    event: text_delta\n",
        5,
        (
            "event text_delta can never be received: the turn before it requests audio, whose words"
            " arrive as transcript_delta"
        ),
    ),
    (
        "session: {output: text}\nsteps:\n- text: hi\n- expect: {event: audio_done, within: 1}\n",
        4,
        "event audio_done can never be received: the turn before it requests an answer in text",
    ),
    (
        (
            "session: {turn_detection: server_vad}\nsteps:\n- audio: a.wav\n- text: hi\n"
            "- expect: {event: audio_delta, within: 1}\n- expect: {event: committed, within: 1}\n"
        ),
        6,
        "event committed can never be received: the turn before it has no audio",
    ),
    (
        "steps:\n- audio: a.wav\n- expect: {event: speech_started, within: 1}\n",
        3,
        (
            "event speech_started can never be received: the turn before it is committed by this"
            " tool, as there is no turn detection"
        ),
    ),
    (
        "steps:\n- send: {event_id: x}\n- text: hi\n",
        2,
        "send needs `type`, a text: the name of the event",
    ),
    (
        "steps:\n- message:\n    role: system\n    text: x\n    image: dot.png\n",
        5,
        "image needs a message of the user, not of the role system",
    ),
    ("steps:\n- text: hi\n  image: a.wav\n", 3, "a.wav: is neither a PNG nor a JPEG"),
    (
        "steps:\n- message: {role: user, text: x}\n",
        1,
        "steps has no turn: it needs a `text`, `audio`, `request_response` or `wait_for`",
    ),
    (
        "variables: rows.csv\nsteps:\n- text: hi\n- message: {role: user, text: '${x}'}\n",
        4,
        "text contains ${x}",
    ),
    (
        "steps:\n- request_response: {metadata: {a: 1}}\n",
        2,
        "a must be at most 512 characters, not 1",
    ),
    ("history: bad.jsonl\n", 1, "bad.jsonl:2: the message needs `text`"),
    (
        "steps:\n- text: hi\n- expect: {event: hello, within: 1}\n",
        3,
        "event must be speech_started, speech_stopped,",
    ),
    ("variables: bad.csv\n", 1, "bad.csv:3: must have 2 cells, one for each name, not 1"),
    (
        "variables: rows.csv\nsteps:\n- text: hi\n- text: |\n    To ${city}\n",
        4,
        (
            "text contains ${city}, but the variables are only name, order (for the literal text"
            " write $${city})"
        ),
    ),
    (
        "variables: rows.csv\nsession:\n  instructions: ${Name}\nsteps:\n- text: hi\n",
        3,
        "instructions contains ${Name}, but the variables are only name, order",
    ),
    (
        "session:\n  extra:\n    a: 2024-12-17\n",
        3,
        "a must be a JSON value (text, a number, true, false, null), not 2024",
    ),
    ('session:\n  extra: {a: "\\ud800"}\n', 2, "a must be Unicode text"),
    ("session:\n  extra: {<<: 5}\n", 2, "extra merges (`<<`) a value that is not a mapping"),
    (
        "timeouts: {fist_delta: 3}\nsteps:\n- text: hi\n",
        1,
        "did you mean first_delta? allowed: tcp, tls, upgrade",
    ),
]


@pytest.mark.parametrize(
    ("text", "line", "words"), WRONG, ids=[repr(text[:50]) for text, _, _ in WRONG]
)
def test_an_error_in_a_script_is_reported_with_its_line(
    script: Path, text: str, line: int | None, words: str
) -> None:
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
