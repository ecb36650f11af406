"""Scripts that are built in Python. They give the same objects as a file, and have the same
checks.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.base.errors import ScriptError, UsageError
from bench.files.yaml_file import PythonValue
from bench.plan.script import build_script, load_script, unfilled_names
from bench.plan.script_keys import SESSION
from bench.plan.steps import (
    NO_TURN_AFTER,
    step_of,
)
from bench.plan.turns import Step
from bench.wire.settings import SessionSettings
from tests.simulator_process import AUDIO


def wav(paths: Any = "late_parcel.wav", **arguments: Any) -> Any:
    return step_of("audio", AUDIO, audio=paths, name="late", **arguments)


def say(text: Any, label: str = "hi", **options: Any) -> Any:
    return step_of("text", text=text, name=label, **options)


def respond(label: str = "ask", **options: Any) -> Any:
    return step_of("request_response", name=label, **options)


def expect(event: str, within: float) -> Step:
    return step_of("expect", event=event, within=within)


def pause(seconds: float | None = None, folder: Path = AUDIO, **drawn: Any) -> Step:
    return step_of("pause", folder, pause=seconds, **drawn)


def sound(**options: Any) -> Step:
    return step_of("sound", AUDIO, audio="uh_huh.wav", **options)


def session_settings(given: Any) -> SessionSettings:
    return SESSION.read(PythonValue("session", given))


WRONG: list[tuple[Callable[[], object], str]] = [
    (lambda: say(""), "text must not be empty"),
    (lambda: wav("none.wav"), f"audio {AUDIO}/none.wav: no such file"),
    (
        lambda: wav(speech={"start": 0, "end": 2}),
        "speech must start before it ends, and must not end after the WAV",
    ),
    (lambda: pause(float("nan")), "pause must be a number of seconds from 0.001 to 3600, not nan"),
    (lambda: pause(None), "pause must have exactly one of median, p50, file, not none"),
    (lambda: session_settings({1: 2}), "session has a key that is not a string"),  # type: ignore[dict-item]
    (
        lambda: build_script(Path(__file__), {"steps": []}, []),
        "the script has an unknown key 'steps'",
    ),
    (
        lambda: build_script(Path(__file__), {}, [pause(1), expect("audio_delta", 1)]),
        (
            "expect must come after a turn: put it after a `text`, `audio`, `request_response` or"
            " `wait_for`"
        ),
    ),
    (
        lambda: build_script(
            Path(__file__), {}, [sound(kind="talking_to_others", during="silence"), say("Hi")]
        ),
        "sound needs `turn_detection` in the session",
    ),
]


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (400, "400"),
        ("400", 'the string "400"'),
        (Path("a.wav"), 'the string "a.wav"'),
        (None, "nothing"),
        ("a\nb\u202e", r'the string "a\nb\u202e"'),
        ("x" * 50, f'the string "{"x" * 40}…"'),
    ],
)
def test_a_value_in_a_message_is_on_one_line_with_its_type(data: object, shown: str) -> None:
    assert PythonValue("x", data, Path()).displayed() == shown


def test_variables_in_a_text_must_exist(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("name\nAda\n", encoding="utf-8")
    steps = [
        say("To ${name}, for ${price}, $${x}"),
        respond(instructions="${name}"),
    ]
    path = tmp_path / "talk.py"
    path.touch()

    assert unfilled_names(build_script(path, {}, steps)) == ["name", "price"]
    assert unfilled_names(build_script(path, {"variables": "rows.csv"}, steps[1:])) == []
    with pytest.raises(
        UsageError, match=r"a text contains \$\{price\}, but the variables are only name"
    ):
        build_script(path, {"variables": "rows.csv"}, steps)


@pytest.mark.parametrize(("call", "words"), WRONG, ids=[words[:40] for _, words in WRONG])
def test_an_error_in_a_python_script_names_its_key(call: Callable[[], object], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        call()

    assert str(caught.value).startswith(words)
    assert not isinstance(caught.value, ScriptError)


UNKNOWN = "names the function book, which is not in `tools`"
SENSELESS: dict[str, tuple[list[Step], str, str]] = {
    "a call of an undeclared function": (
        [say("Book it.", label="book", expected_calls="book")],
        "steps: [{text: Book it., expected_calls: book}]",
        UNKNOWN,
    ),
    "a sound after the last turn": (
        [say("Hi"), sound(kind="talking_to_others", during="silence")],
        (
            f"steps: [{{text: Hi}}, {{sound: {{audio: {AUDIO / 'uh_huh.wav'}, kind:"
            " talking_to_others, during: silence}}]"
        ),
        NO_TURN_AFTER,
    ),
    "one name for a text turn and a voice turn": (
        [say("Hi"), step_of("audio", AUDIO, audio="uh_huh.wav", name="hi")],
        f"steps: [{{text: Hi, name: hi}}, {{audio: {AUDIO / 'uh_huh.wav'}, name: hi}}]",
        "name is the name of a text turn and of a voice turn",
    ),
}


@pytest.mark.parametrize("kind", SENSELESS)
def test_files_and_python_scripts_are_refused_for_the_same_reasons(
    tmp_path: Path, kind: str
) -> None:
    steps, written, problem = SENSELESS[kind]
    path = tmp_path / "talk.yaml"
    path.write_text(f"session: {{turn_detection: server_vad}}\n{written}\n")

    with pytest.raises(ScriptError, match=re.escape(problem)):
        load_script(path)
    with pytest.raises(UsageError, match=re.escape(problem)):
        build_script(path, {"session": {"turn_detection": "server_vad"}}, steps)
