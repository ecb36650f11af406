"""Texts to say in scripts: their WAVs, their mistakes, and the words that they give to the
turns. No process runs.
"""

from __future__ import annotations

import struct
import wave
from dataclasses import replace
from pathlib import Path

import pytest

from bench.base.errors import UsageError, each_error
from bench.files.yaml_file import PythonValue
from bench.load.planning.workload import script_notices
from bench.plan.script import Script, load_script
from bench.plan.steps import StepReader
from bench.plan.synthesizer import (
    SYNTHESIZER,
    CommandSynthesizer,
    HttpSynthesizer,
    SpeechSource,
    missing_speech,
)
from bench.plan.turns import AudioTurn
from tests.plan.missing_texts import missing_texts

COMMAND = 'synthesizer: {command: [speak, -v, "{voice}", "{file}", --, "{text}"], voice: anna}'
SERVICE = "synthesizer: {url: 'http://localhost:9/v1', model: MODEL, voice: anna}"
HEAD = (
    f"{COMMAND}\nsession: {{turn_detection: server_vad, input_transcription: whisper-1}}\nsteps:\n"
)


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def write_wav(path: Path, value: int = 9_000, frames: int = 12_000) -> None:
    path.parent.mkdir(exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 24_000, 0, "NONE", ""))
        file.writeframes(struct.pack("<2h", value, -value) * frames)


def mistakes(path: Path) -> list[str]:
    with pytest.raises(UsageError) as caught:
        load_script(path)
    return [str(error).removeprefix(f"{path}:") for error in each_error(caught.value)]


def loaded(path: Path) -> Script:
    """Load a script after making a WAV of each of its texts."""
    for number, speech in enumerate(missing_texts(path)):
        write_wav(speech.path, 9_000 + number)
    return load_script(path)


def test_a_wav_is_named_by_its_text_voice_and_command(tmp_path: Path) -> None:
    def name(step: str, head: str = HEAD) -> str:
        [speech] = missing_texts(written(tmp_path, f"{head}  - audio: {step}\n"))
        assert speech.path.parent == tmp_path / "speech"
        return speech.path.name

    first = name("{say: Hello}")
    others = {
        name("{say: Hello!}"),
        name("{say: Hello, voice: berta}"),
        name("{say: Hello}", HEAD.replace("speak,", "speak, -s9,")),
        *(
            name("{say: Hello}", HEAD.replace(COMMAND, SERVICE.replace("MODEL", model)))
            for model in ("tts", "tts-hd")
        ),
    }

    assert len(others - {first}) == 5
    assert len(first) == len("0123456789abcdef.wav")
    assert name("{say: Hello, voice: anna}") == name('{say: " Hello\\n "}') == first


@pytest.mark.parametrize(
    ("head", "step", "line"),
    [
        (
            "",
            "audio: {say: Hi}",
            (
                "3:13: say needs the key `synthesizer` in the script: the command or service "
                "that makes the WAV; see `rtbench docs scripts#speech-from-text`"
            ),
        ),
        (COMMAND, "audio: {say: '...'}", "3:13: say has no word in it"),
        (COMMAND, 'audio: {say: "Hi\\0"}', "3:13: say contains a NUL, which a command cannot get"),
        (COMMAND, "audio: {say: 5}", "3:13: say must be a string, not 5 (put it in quotes)"),
        (COMMAND, "audio: {voice: anna}", "3:5: audio needs `say`"),
        (
            COMMAND,
            "audio: {say: 'Hi ${name}'}",
            (
                "3:13: say contains ${name}, but the words of a WAV are the same in all sessions:"
                " write the words, or list several texts"
            ),
        ),
        (
            COMMAND.replace(", voice: anna", ""),
            "audio: {say: Hi}",
            (
                "3:13: say needs `voice`, here or in `synthesizer`, because a word of `command`"
                " contains {voice}"
            ),
        ),
        (
            "synthesizer: {url: 'https://api.openai.com/v1', model: m}",
            "audio: {say: Hi}",
            "3:13: say needs `voice`, here or in `synthesizer`",
        ),
        (
            'synthesizer: {command: [speak, "{file}"]}',
            "audio: {say: Hi, voice: anna}",
            (
                "3:13: say has a `voice` without effect, because no word of `command` contains"
                " {voice}: add it, or remove voice"
            ),
        ),
        (
            'synthesizer: {command: [speak, "{file}", "{text}"]}',
            "audio: {say: -h}",
            (
                "3:13: say begins with -, so the command would take it for an option: put the word"
                ' "--" before "{text}", or leave "{text}" out; then the text goes to the standard'
                " input of the command"
            ),
        ),
    ],
)
def test_a_text_that_cannot_be_said_is_one_line(
    tmp_path: Path, head: str, step: str, line: str
) -> None:
    assert mistakes(written(tmp_path, f"{head}\nsteps:\n  - {step}\n"))[0] == line


@pytest.mark.parametrize(
    ("synthesizer", "line"),
    [
        ("{}", "1:1: synthesizer must have exactly one of command, url, not none"),
        (
            '{command: [a, "{file}"], url: "https://a.b/v1", model: m}',
            "1:1: synthesizer must have exactly one of command, url, not command and url",
        ),
        (
            "{command: espeak-ng}",
            (
                '1:15: command must be a list of words, as in [espeak-ng, -w, "{file}", --,'
                ' "{text}"], not the string "espeak-ng"'
            ),
        ),
        (
            "{command: [speak, {file}]}",
            "1:32: each word of command must be a string, not `key: value`: put it in quotes",
        ),
        (
            '{command: [speak, "{text}"]}',
            (
                '1:15: command needs "{file}" in one of its words: the path of the WAV that the'
                " command must write"
            ),
        ),
        ('{command: ["", "{file}"]}', "1:15: command must begin with the name of a program"),
        (
            '{command: [speak, "{file}"], voice: a}',
            "1:43: voice has no effect, because no word of `command` contains {voice}",
        ),
        ("{url: 'https://a.b/v1'}", "1:1: synthesizer needs `model`"),
        ("{url: 'ftp://a.b/v1', model: m}", "1:15: url must begin with https:// or http://"),
        (
            "{url: 'https://a.b/tts', model: m}",
            "1:15: url must end in /v1 or /audio/speech, as in https://api.openai.com/v1",
        ),
        (
            "{url: 'http://api.openai.com/v1', model: m}",
            "1:15: url must begin with https://: otherwise the key is sent without encryption",
        ),
        (
            "{url: 'https://u:secret@a.b/v1', model: m}",
            "1:15: url contains a user or password, which would be written to files: remove it",
        ),
    ],
)
def test_a_mistake_in_the_synthesizer_is_one_line(
    tmp_path: Path, synthesizer: str, line: str
) -> None:
    path = written(tmp_path, f"synthesizer: {synthesizer}\nsteps:\n  - audio: {{say: Hi}}\n")

    assert mistakes(path) == [line]


@pytest.mark.parametrize(
    ("url", "complete", "key"),
    [
        ("https://api.openai.com/v1", "https://api.openai.com/v1/audio/speech", "OPENAI_API_KEY"),
        (
            "https://api.openai.com/v1/audio/speech/",
            "https://api.openai.com/v1/audio/speech",
            "OPENAI_API_KEY",
        ),
        (
            "https://a.openai.azure.com/openai/v1",
            "https://a.openai.azure.com/openai/v1/audio/speech",
            "AZURE_OPENAI_API_KEY",
        ),
        (
            "https://a.openai.azure.com/openai/deployments/d/audio/speech?api-version=1",
            "https://a.openai.azure.com/openai/deployments/d/audio/speech?api-version=1",
            "AZURE_OPENAI_API_KEY",
        ),
        ("http://tts.example:8880/v1", "http://tts.example:8880/v1/audio/speech", None),
    ],
)
def test_a_key_is_sent_by_default_only_to_the_service_that_it_belongs_to(
    url: str, complete: str, key: str | None
) -> None:
    synthesizer = SYNTHESIZER.read(
        PythonValue("synthesizer", {"url": url, "model": "m", "voice": "v"})
    )

    assert synthesizer == HttpSynthesizer(complete, "m", key, "v")
    assert (synthesizer.key_header.name == "api-key") is (key == "AZURE_OPENAI_API_KEY")


def test_the_text_is_the_transcript_unless_the_script_states_another(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav")
    steps = (
        "  - audio: {say: Hello there}\n"
        "  - audio: {say: Hello there}\n    transcript: Hallo\n"
        "  - audio: [a.wav, {say: Two}]\n"
        "  - audio: a.wav\n"
        "  - interrupt: {audio: {say: Stop}}\n"
    )
    script = loaded(written(tmp_path, HEAD + steps))

    assert [turn.expected_words for turn in script.turns] == [
        ("Hello there",),
        ("Hallo",),
        ("", "Two"),
        (),
        ("Stop",),
    ]
    assert script.compares_words


def test_a_text_causes_no_notice_in_a_script_that_transcribes_nothing(tmp_path: Path) -> None:
    script = loaded(written(tmp_path, f"{COMMAND}\nsteps:\n  - audio: {{say: Hello}}\n"))

    assert script_notices([script]) == []
    turns = [turn for turn in script.turns if isinstance(turn, AudioTurn)]
    stated = replace(script, steps=tuple(replace(turn, transcript=("Hello",)) for turn in turns))
    assert len(script_notices([stated])) == 1


def test_a_damaged_wav_is_one_line_that_names_the_remedy(tmp_path: Path) -> None:
    path = written(tmp_path, HEAD + "  - audio: {say: Hello}\n")
    [speech] = missing_texts(path)
    write_wav(speech.path, 0)

    assert mistakes(path) == [
        f"4:5: {speech.path}: is silent: its peak is -inf dBFS, that of speech is above -60 dBFS;"
        f" delete this file and run rtbench validate --synthesize {path}"
    ]


def test_a_task_in_python_says_a_text(tmp_path: Path) -> None:
    synthesizer = SYNTHESIZER.read(PythonValue("synthesizer", {"command": ["speak", "{file}"]}))
    reader = StepReader(tmp_path, SpeechSource(tmp_path / "calls.py", synthesizer))
    with pytest.raises(
        UsageError,
        match=r'^the speech "Hello" is not synthesized yet: run rtbench validate --synthesize',
    ) as caught:
        reader.read("audio", audio=[{"say": "Hello"}])
    speech = missing_speech(caught.value)
    assert speech is not None
    write_wav(speech.path)

    assert [pcm.text for pcm in reader.read("audio", audio=[{"say": "Hello"}]).recordings] == [
        "Hello"
    ]


def test_each_place_of_a_command_is_filled_once() -> None:
    command = CommandSynthesizer(("speak", "--voice={voice}", "{text}", "{file}", "{speed}"))

    words = command.words("say {file} {voice}", "{text}", Path("/a/b.wav"))
    assert words == ["speak", "--voice={text}", "say {file} {voice}", "/a/b.wav", "{speed}"]
    assert not command.reads_text_from_stdin
