"""`load_script`: whatever is wrong with a script is said with its line."""

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

from bench.errors import ScriptError
from bench.limits import Limits
from bench.plain import printable
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
    """A path for a script, beside which `a.wav`, `rows.csv` and `bad.csv` stand."""
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
    # (script, line, words of the error)
    ("", 1, "the script needs `steps`"),
    ("# nothing but this\n", 1, "the script needs `steps`"),
    ("steps:\n\t- say: hi\n", 2, "indent with spaces, not with tabs"),
    ("steps: [\n", 2, "is not YAML"),
    ("steps: *nothing\n", 1, "is not YAML: found undefined alias"),
    ("steps:\n- say: hi\n---\nsteps:\n", 3, "is not YAML: but found another document"),
    ("steps:\n- say: \x07\n", 2, "special characters are not allowed"),
    ("[" * 500, None, "is not YAML"),
    ("- say: hi\n", 1, "the script must be made of `key: value`, not a list"),
    ("hello\n", 1, 'must be made of `key: value`, not the text "hello"'),
    ("session: {}\n", 1, "the script needs `steps`"),
    ("~\n", 1, "the script needs `steps`"),
    ("session: {}\nsteps: []\n", 2, "steps has no turn: it needs a `say`, `respond`, `play` or `hear`"),
    ("session: {}\nsteps:\n- pause: 1\n", 2, "steps has no turn"),
    ("steps:\n- hear: greeting\n", 2, "hear needs `turn_detection: full_duplex`: any other service is to be asked"),
    ("session: {turn_detection: full_duplex}\nsteps:\n- say: hi\n- pause: 1\n- hear: greeting\n", 5,
     "hear is what is heard before any other turn: put it first"),
    ("steps:\n- hear: goodbye\n", 2, 'hear must be greeting, not the text "goodbye"'),
    ("steps:\n", 1, "steps must be a list, not nothing"),
    ("steps: {say: hi}\n", 1, "steps must be a list, not `key: value`"),
    ("steps:\n- say: hi\nstep:\n", 3, "unknown key 'step'; did you mean steps? allowed: session, limits, variables"),
    ("steps:\n- say: hi\nsteps: []\n", 3, "the script has the key 'steps' twice"),
    ("steps:\n- say: hi\n  say: ho\n", 3, "step 1 has the key 'say' twice"),
    ("steps:\n- say: hi\n1: 2\n", 3, "has a key that is not a word"),
    ("steps:\n- say: hi\n? [a]\n: b\n", 3, "has a key that is not a word"),
    ("steps:\n- say: hi\n- hello\n", 3, 'step 2 must be made of `key: value`, not the text "hello"'),
    ("steps:\n- label: hi\n", 2,
     "step 1 must have exactly one of say, respond, play, hear, interrupt, sound, pause, expect, message, send, not"),
    ("steps:\n- say: hi\n- label: x\n  paws: 0.5\n", 4,
     "sound, pause, expect, message, send, not the unknown key 'paws'; did you mean pause?"),
    ("steps:\n- silence: 1\n", 2, "interrupt, sound, pause, expect, message, send, not the unknown key 'silence'"),
    ("session:\n  turn_detection: {type: server_vad, silence_duration_ms: '400'}\n", 2, 'not the text "400"'),
    ("steps:\n- say: hi\n  pause: 1\n", 2,
     "exactly one of say, respond, play, hear, interrupt, sound, pause, expect, message, send, not say and pause"),
    ("steps:\n- say: hi\n  lable: x\n", 3,
     "unknown key 'lable'; did you mean label? allowed: say, label, expected_reply"),
    ("steps:\n- say: hi\n  chunk_ms: 100\n", 3, "unknown key 'chunk_ms'; allowed: say, label, expected_reply"),
    ("steps:\n- play: a.wav\n  words: [one, two]\n", 3,
     "words must be those of each WAV: `play` has 1, and there are 2"),
    ("steps:\n- play: a.wav\n  words: '?!'\n", 3, "words has no word in it"),
    ("steps:\n- say: hi\n  words: hi\n", 3, "unknown key 'words'"),
    ("steps:\n- say: hi\n  expected_reply: '...'\n", 3, "expected_reply has no word in it"),
    ("steps:\n- say: hi\n  success: {reply_matches: '('}\n", 3, "reply_matches is no regular expression: missing ),"),
    ("steps:\n- say: hi\n  success: {reply_contains: []}\n", 3, "reply_contains must not be an empty list"),
    ("steps:\n- say: hi\n  success: {reply_contains: [hello, '-']}\n", 3, "has no word in it"),
    ("steps:\n- say: hi\n  calls: find_parcel\n", 3,
     "calls names the function find_parcel, which `tools` does not have"),
    ("steps:\n- say: hi\n  success: {}\n", 3, "must have exactly one of reply_matches, reply_contains, not none"),
    ("steps:\n- say: hi\n  success: {reply_is: x}\n", 3, "not the unknown key 'reply_is'"),
    ("steps:\n- pause: 1\n  label: x\n", 3, "unknown key 'label'; allowed: pause"),
    ("steps:\n- say: hi\n- sound: {play: a.wav, kind: aside, during: silence}\n- say: ho\n", 3,
     "sound needs `turn_detection` in the session: without it the service hears nothing but what is committed"),
    ("steps:\n- say: hi\n- sound: {play: a.wav, kind: aside}\n", 3,
     "sound needs `turn_detection` in the session: without it the service hears nothing but what is committed"),
    ("session: {turn_detection: server_vad}\nsteps:\n- say: hi\n"
     "- sound: {play: a.wav, kind: aside, during: silence}\n- pause: 1\n", 4,
     "during silence belongs to the turn after it, and none follows: add a `say`, `respond` or `play` behind it"),
    ("session: {turn_detection: server_vad}\nsteps:\n- sound: {play: a.wav, kind: aside}\n- say: hi\n", 3,
     "is about no turn: it must follow a `say`, `respond`, `play` or `hear`"),
    ("session: {turn_detection: server_vad}\nsteps:\n- say: hi\n"
     "- sound: {play: a.wav, kind: aside, during: silence}\n- interrupt: {after: 1}\n- say: ho\n", 5,
     "is about no turn: it must follow a `say`, `respond`, `play` or `hear`"),
    ("steps:\n- say: hi\n- sound: {play: a.wav, kind: aside, during: silence, after: 1}\n", 3,
     "after needs a reply, and during silence there is none: remove one of the two"),
    ("steps:\n- say: hi\n- sound: {play: a.wav, kind: aside, during: pause}\n", 3, "during must be reply or silence"),
    ("steps:\n- say: hi\n- interrupt: {verify: please}\n", 3, "verify must be true or false"),
    ("steps:\n- respond:\n    voice: alloy\n", 3, "respond has an unknown key 'voice'; allowed: output, instr"),
    ("steps:\n- respond: hello\n", 2, 'respond must be made of `key: value`, not the text "hello"'),
    ("steps:\n- say: 5\n", 2, "say must be text, not 5 (quotes"),
    ("steps:\n- say: 2024-12-17\n", 2, "say must be text, not 2024-12-17"),
    ("steps:\n- say:\n", 2, "say must be text, not nothing"),
    ("steps:\n- say:\n    - hi\n", 2, "say must be text, not a list"),
    ("steps:\n- say: '  '\n", 2, "say must not be empty"),
    ('steps:\n- say: "\\ud800"\n', 2, "say must be Unicode text"),
    ("steps:\n- say: hi\n  label: a b\n", 3,
     'label must be 1 to 64 of the characters A-Z a-z 0-9 . _ -, not the text "a b"'),
    (f"steps:\n- say: hi\n  label: {'x' * 65}\n", 3, "label must be 1 to 64"),
    ("steps:\n- say: hi\n  output: both\n", 3, 'output must be audio or text, not the text "both"'),
    ("steps:\n- say: hi\n  max_output_tokens: 0\n", 3,
     "must be a whole number of tokens (or inf) from 1 to 1000000, not 0"),
    ("steps:\n- say: hi\n  max_output_tokens: 1000001\n", 3,
     "must be a whole number of tokens (or inf) from 1 to 1000000"),
    ("steps:\n- say: hi\n  max_output_tokens: 1.5\n", 3, "must be a whole number"),
    ("steps:\n- say: hi\n  max_output_tokens: true\n", 3,
     "must be a whole number of tokens (or inf) from 1 to 1000000, not true"),
    (f"steps:\n- say: hi\n  max_output_tokens: {'9' * 5000}\n", 3, "must be a whole number of tokens"),
    ("steps:\n- pause: 0\n", 2, "pause must be a number of seconds from 0.001 to 3600, not 0"),
    ("steps:\n- pause: -1\n", 2, "pause must be a number of seconds"),
    ("steps:\n- pause: .nan\n", 2, "pause must be a number of seconds"),
    ("steps:\n- pause: 1e999\n", 2, "pause must be a number of seconds"),
    ("steps:\n- pause: 0o14\n", 2, "pause must be a number of seconds"),
    ("steps:\n- pause: '1'\n", 2, "pause must be a number of seconds"),
    ("steps:\n- pause: [1]\n", 2, "pause must be a number of seconds from 0.001 to 3600, not a list"),
    ("steps:\n- pause: {}\n", 2, "pause must have exactly one of median, file, not none"),
    ("steps:\n- pause:\n    medians: 2\n", 3, "not the unknown key 'medians'; did you mean median?"),
    ("steps:\n- pause: {median: 2, file: a.txt}\n", 2, "must have exactly one of median, file, not median and file"),
    ("steps:\n- pause: {median: 2}\n", 2, "pause needs `sigma`"),
    ("steps:\n- pause:\n    median: 0\n    sigma: 1\n", 3, "median must be a number of seconds from 0.001 to"),
    ("steps:\n- pause:\n    median: 2\n    sigma: -0.5\n", 4, "sigma must be a number from 0 to 2, not -0.5"),
    ("steps:\n- pause:\n    median: 2\n    sigma: 3\n", 4, "sigma must be a number from 0 to 2, not 3"),
    ("steps:\n- pause: {median: 2, sigma: 1, most: 1.5}\n", 2, "most must not be below the median, which is 2 s"),
    ("steps:\n- pause: {median: 2, sigma: 1, most: 3601}\n", 2, "most must be a number of seconds from 0.001 to 3600"),
    ("steps:\n- pause: {median: 2, sigma: 1, least: 1}\n", 2, "unknown key 'least'; allowed: median, sigma, most"),
    ("steps:\n- pause: {file: none.txt}\n", 2, "none.txt: no such file"),
    ("steps:\n- pause: {file: talk.yaml}\n", 2, "talk.yaml:1: must be a number of seconds from 0 to 3600, not steps:"),
    ("steps:\n- play: none.wav\n", 2, "none.wav: no such file"),
    ("steps:\n- play: talk.yaml\n", 2, "talk.yaml: is not audio"),
    ('steps:\n- play: "a\\0.wav"\n', 2, "play must be the path of a file"),
    ("steps:\n- play: a.wav\n  chunk_ms: 19\n", 3, "chunk_ms must be a whole number from 20 to 200, not 19"),
    ("steps:\n- play: a.wav\n  chunk_ms: 201\n", 3, "chunk_ms must be a whole number from 20 to 200"),
    ("steps:\n- play: a.wav\n  paced: yes\n", 3, 'paced must be true or false, not the text "yes"'),
    ("%YAML 1.1\n---\nsteps:\n- play: a.wav\n  paced: yes\n", 5, "paced must be true or false, not yes"),
    ("session:\n  turn_detection: vad\n", 2,
     f'must be none, {DETECTORS}, or a table with a `type`, not the text "vad"'),
    ("session:\n  turn_detection:\n", 2, f"none, {DETECTORS}, or a table with a `type`, not nothing"),
    ("session:\n  turn_detection: []\n", 2, "or a table with a `type`, not a list"),
    ("session:\n  turn_detection: {threshold: 1}\n", 2, f"turn_detection needs `type`: {DETECTORS}"),
    ("session:\n  turn_detection: {type: none}\n", 2, f'type must be {DETECTORS}, not the text "none"'),
    ("session:\n  turn_detection:\n    type: server_vad\n    eagerness: high\n", 4,
     "eagerness needs semantic_vad; server_vad does not support it"),
    ("session:\n  turn_detection: {type: server_vad, prefix_padding: 3}\n", 2,
     "unknown key 'prefix_padding'; did you mean prefix_padding_ms?"),
    *(
        (
            f"session:\n  turn_detection:\n    type: semantic_vad\n    {key}: 1\n",
            4,
            f"{key} needs server_vad; semantic_vad does not support it",
        )
        for key in ("threshold", "prefix_padding_ms", "silence_duration_ms", "idle_timeout_ms")
    ),
    *(
        (f"session:\n  turn_detection:\n    type: server_vad\n    {key}: {value}\n", 4, f"{key} must be a {allowed}")
        for key, value, allowed in [
            ("threshold", 1.01, "number from 0 to 1, not 1.01"),
            ("prefix_padding_ms", 5001, "whole number from 0 to 5000, not 5001"),
            ("silence_duration_ms", -1, "whole number from 0 to 10000, not -1"),
            ("idle_timeout_ms", 4999, "whole number from 5000 to 30000, not 4999"),
            ("idle_timeout_ms", 30001, "whole number from 5000 to 30000, not 30001"),
        ]
    ),
    ("session:\n  turn_detection: {type: semantic_vad, eagerness: eager}\n", 2,
     'eagerness must be low, medium, high or auto, not the text "eager"'),
    ("session:\n  input_format: pcm\n", 2,
     'input_format must be pcm16, pcm16@8000, pcm16@16000, pcm16@48000, g711_ulaw or g711_alaw, not the text "pcm"'),
    ("session: {turn_detection: server_vad}\nsteps:\n- say: hi\n- play: a.wav\n  paced: false\n", 5,
     "paced must be true with turn detection, because audio that is sent all at once has no instant at which "
     "speech ends"),
    ("steps:\n- play: []\n", 2, "play must not be an empty list"),
    ("steps:\n- play: [a.wav,\n    none.wav]\n", 3, "none.wav: no such file"),
    ("steps:\n- play: [[a.wav]]\n", 2, "play must be text, not a list"),
    ("steps:\n- play: a.wav\n  speech: {begin: 1}\n", 3, "speech needs `end`"),
    ("steps:\n- play: a.wav\n  speech: {begin: 1, end: 1}\n", 3, "speech must begin before it ends"),
    ("steps:\n- play: a.wav\n  speech: {begin: 1, end: 1.6}\n", 3, "a.wav lasts 1.563 s"),
    ("steps:\n- play: [a.wav, a.wav]\n  speech: {begin: 0, end: 1}\n", 3, "speech is for one WAV, and `play` has 2"),
    ("steps:\n- say: hi\n  speech: {begin: 0, end: 1}\n", 3, "unknown key 'speech'"),
    ("steps:\n- expect: {event: committed, within: 1}\n- say: hi\n", 2, "expect is about no turn"),
    ("steps:\n- say: hi\n- pause: 1\n- expect: {event: committed, within: 1}\n", 4,
     "expect is about no turn: it must follow a `say`, `respond`, `play` or `hear`"),
    ("steps:\n- say: hi\n- expect:\n    within: 1\n    event: text_delta\n", 5,
     "event text_delta can never come: the turn before it asks for audio, whose words come as transcript_delta"),
    *(
        (
            f"session: {{output: text}}\nsteps:\n- say: hi\n- expect: {{event: {event}, within: 1}}\n",
            4,
            f"event {event} can never come: the turn before it asks for an answer in text",
        )
        for event in ("audio_delta", "audio_done", "transcript_delta", "transcript_done")
    ),
    *(
        (
            f"session: {{turn_detection: server_vad}}\nsteps:\n- play: a.wav\n- say: hi\n"
            f"- expect: {{event: audio_delta, within: 1}}\n- expect: {{event: {event}, within: 1}}\n",
            6,
            f"event {event} can never come: the turn before it has no audio",
        )
        for event in ("speech_started", "speech_stopped", "committed")
    ),
    *(
        (
            f"steps:\n- play: a.wav\n- expect: {{event: {event}, within: 1}}\n",
            3,
            f"event {event} can never come: the turn before it is ended by this tool: there is no turn detection",
        )
        for event in ("speech_started", "speech_stopped")
    ),
    ("steps:\n- send: {type: x}\n- expect: {event: committed, within: 1}\n- say: hi\n", 3, "is about no turn"),
    ("steps:\n- send: hello\n- say: hi\n", 2, 'send must be made of `key: value`, not the text "hello"'),
    ("steps:\n- send: {event_id: x}\n- say: hi\n", 2, "send needs `type`, as text: which event it is"),
    ("steps:\n- message: {text: Hello}\n- say: hi\n", 2, "message needs `role`"),
    ("steps:\n- message: {role: system}\n- say: hi\n", 2, "message needs `text`"),
    ("steps:\n- message: {role: tool, text: x}\n", 2, "role must be system, assistant or user, not the text"),
    ("steps:\n- message:\n    role: system\n    text: x\n    image: dot.png\n", 5,
     "image goes with a message of the user's, not of the role system"),
    ("steps:\n- message: {role: user, text: x, image: none.png}\n", 2, "none.png: no such file"),
    ("steps:\n- say: hi\n  image: a.wav\n", 3, "a.wav: is neither PNG nor JPEG"),
    ("steps:\n- message: {role: user, text: x}\n", 1,
     "steps has no turn: it needs a `say`, `respond`, `play` or `hear`"),
    ("variables: rows.csv\nsteps:\n- say: hi\n- message: {role: user, text: '${x}'}\n", 4, "text has ${x}"),
    ("steps:\n- respond: {conversation: both}\n", 2, 'conversation must be auto or none, not the text "both"'),
    ("steps:\n- respond: {input: Hello}\n", 2, 'input must be a list, not the text "Hello"'),
    ("steps:\n- respond: {input: [{role: user}]}\n", 2, "input needs `text`"),
    ("steps:\n- respond: {metadata: {a: 1}}\n", 2, "a must be at most 512 characters, not 1"),
    ("session:\n  reasoning: {effort: huge}\n", 2, "effort must be minimal, low, medium, high or xhigh"),
    ("session:\n  truncation: {retention_ratio: 1.5}\n", 2, "retention_ratio must be a number from 0 to 1"),
    ("session:\n  truncation: always\n", 2, 'truncation must be auto or disabled, not the text "always"'),
    ("history: none.jsonl\n", 1, "none.jsonl: no such file"),
    ("history: bad.jsonl\n", 1, "bad.jsonl:2: the message needs `text`"),
    ("pipelined: yes\n", 1, 'pipelined must be true or false, not the text "yes"'),
    ("steps:\n- say: hi\n- expect:\n", 3, "expect needs `event`"),
    ("steps:\n- say: hi\n- expect: {event: audio_delta}\n", 3, "expect needs `within`"),
    ("steps:\n- say: hi\n- expect: {event: hello, within: 1}\n", 3, "event must be speech_started, speech_stopped,"),
    ("steps:\n- say: hi\n- expect: {event: audio_delta, within: 0}\n", 3, "within must be a number of seconds from"),
    ("steps:\n- say: hi\n- expect: {event: audio_delta, within: 1}\n  label: x\n", 4, "unknown key 'label'"),
    ("jitter_buffer_ms: 2001\n", 1, "jitter_buffer_ms must be a number from 0 to 2000, not 2001"),
    ("background: {noise: a.wav}\n", 1, "background needs `snr_db`"),
    ("background: {snr_db: 3}\n", 1, "background needs `noise`"),
    ("background:\n  noise: a.wav\n  snr_db: 61\n", 3, "snr_db must be a number from -10 to 60, not 61"),
    ("background:\n  noise: none.wav\n  snr_db: 6\n", 2, "none.wav: no such file"),
    ("variables: none.csv\n", 1, "none.csv: no such file"),
    ("variables: a.wav\n", 1, "a.wav: variables are read from .csv and .jsonl files"),
    ("variables: bad.csv\n", 1, "bad.csv:3: must have 2 cells, one for each name, not 1"),
    ("variables: rows.csv\nsteps:\n- say: hi\n- say: |\n    To ${city}\n", 4,
     "say has ${city}, the variables have only name, order (write $${city} for the words themselves)"),
    ("variables: rows.csv\nsession:\n  instructions: ${Name}\nsteps:\n- say: hi\n", 3,
     "instructions has ${Name}, the variables have only name, order"),
    ("variables: rows.csv\nsteps:\n- respond:\n    instructions: ${x}\n", 4, "instructions has ${x}"),
    ("session: hello\nsteps:\n- say: hi\n", 1, "session must be made of `key: value`"),
    ("session:\n  temperature: 2\nsteps:\n- say: hi\n", 2, "temperature must be a number from 0.6 to 1.2, not 2"),
    ("session:\n  modalities: [text]\nsteps:\n- say: hi\n", 2, "session has an unknown key 'modalities'"),
    ("session:\n  extra: hello\nsteps:\n- say: hi\n", 2, 'extra must be made of `key: value`, not the text "hello"'),
    ("session:\n  extra:\n    a: 2024-12-17\n", 3,
     "a must be what JSON has (text, a number, true, false, null), not 2024"),
    ("session:\n  extra:\n    a: [1,\n      .nan]\n", 4, "a must be what JSON has"),
    ("session:\n  extra: {a: 1e999}\n", 2, "a must be what JSON has"),
    (f"session:\n  extra: {{a: {2**64}}}\n", 2, "a must be what JSON has"),
    ('session:\n  extra: {a: "\\ud800"}\n', 2, "a must be Unicode text"),
    ("session:\n  extra: {a: {1: 2}}\n", 2, "a has a key that is not a word"),
    ("session:\n  extra: {a: 1, a: 2}\n", 2, "extra has the key 'a' twice"),
    ("session:\n  extra: &a {b: *a}\n", 2, "refers to itself: an alias stands inside what it repeats"),
    ("session:\n  extra: {<<: 5}\n", 2, "extra merges in what is no mapping"),
    (f"session:\n  extra: {'[' * 70}{']' * 70}\n", 2, "holds over 100000 values or 64 levels of them"),
    ("a: &a0 [1, 1, 1, 1]\n" + "".join(f"b: &a{n + 1} [*a{n}, *a{n}, *a{n}, *a{n}]\n" for n in range(9)), 9,
     "holds over 100000 values"),
    (f"say: {'x' * (4 << 20)}", None, "is larger than 4 MiB"),
    ("limits: {fist_delta: 3}\nsteps:\n- say: hi\n", 1, "did you mean first_delta? allowed: tcp, tls, upgrade"),
    ("limits:\n  done: 0\nsteps:\n- say: hi\n", 2, "done must be a number of seconds from 0.001 to 3600, not 0"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "words"), WRONG, ids=[repr(text[:50]) for text, _, _ in WRONG])
def test_what_is_wrong_with_a_script_is_said_with_its_line(
    script: Path, text: str, line: int | None, words: str
) -> None:
    with pytest.raises(ScriptError) as caught:
        load_script(write(script, text))

    assert words in caught.value.problem
    assert caught.value.line == line
    place = f"{script}:{line}:{caught.value.column}: " if caught.value.column else f"{script}:{line}: "
    assert str(caught.value).startswith(place if line else f"{script}: ")


def test_a_script_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScriptError, match="no such file"):
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

    assert [step.say for step in load_script(script).steps if isinstance(step, TextTurn)] == ["hi", "hi", "ho"]


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
        assert printable(str(error)) == str(error)
        assert error.line is None or 1 <= error.line <= len(text.splitlines()) + 1


@given(text=st.text(max_size=200) | st.text("steps:say- []{}'\"&*!%#|>\n\t ~?,", max_size=200))
@example("steps:\n- say: hi")
@example('"a\\nb": 1')
def test_no_text_makes_the_loader_fail_in_another_way(scratch: Path, text: str) -> None:
    check_is_one_line(script_error(scratch, text), text)


WORDS = st.sampled_from(
    "session limits steps say respond play pause message send history label output instructions "
    "max_output_tokens chunk_ms paced voice "
    "temperature input_transcription turn_detection type server_vad semantic_vad threshold eagerness variables "
    "background noise snr_db speech begin end expect event within median sigma most file "
    f"{' '.join(vars(Limits()))}".split()
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
