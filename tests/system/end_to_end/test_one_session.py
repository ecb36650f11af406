"""`rtbench probe` and `rtbench replay` from outside: what is printed, what is left behind, and how they exit."""

from __future__ import annotations

import os
import subprocess
import sys
import wave
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.run.replay import replay
from tests import forked
from tests.simulator_process import Ready
from tests.system.end_to_end.locust_process import AZURE, GUARD_S
from tests.system.end_to_end.quoting_service import holders, quoting_service
from tests.system.end_to_end.voices import silence, tone, write_sound

SECRET = "sk-quoted-5d07"


def rtbench(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name not in AZURE}
    return forked.run(
        [sys.executable, "-W", "error", "-m", "bench.cli.app", *map(str, arguments)],
        env=clean | {"COLUMNS": "100", "THE_KEY": SECRET},
        capture_output=True,
        text=True,
        timeout=GUARD_S,
        check=False,
    )


@pytest.fixture
def word(tmp_path: Path) -> Path:
    write_sound(tmp_path / "word.wav", tone(0.3), silence(0.1), tone(0.2))
    return tmp_path / "word.wav"


@pytest.fixture(scope="module")
def quoting() -> Iterator[dict[str, str]]:
    with quoting_service() as urls:
        yield urls


def assert_told_again(again: str, shown: str) -> None:
    """The same lines, but for the first, which says that it is a replay, and for the hint, which is the target's."""
    first, *rest = again.splitlines()
    assert first.startswith("replay of ")
    assert rest == without_hint(shown.splitlines()[1:])


def without_hint(lines: list[str]) -> list[str]:
    """What to do about a refusal, and the lines that it goes on in, hang on a target that a replay does not know."""
    begin = next((place for place, line in enumerate(lines) if line.startswith("hint  ")), len(lines))
    end = next((place for place in range(begin + 1, len(lines)) if not lines[place].startswith("  ")), len(lines))
    return lines[:begin] + lines[end:]


@pytest.mark.parametrize(
    ("dialect", "options", "measured"),
    [
        ("preview", ("--say", "Hello."), {"ttfa", "response_total"}),
        ("ga", ("--wav", "word.wav"), {"ttfa", "voice_to_voice", "turn_detection"}),
        ("ga", ("--wav", "word.wav", "--manual"), {"ttfa", "voice_to_voice"}),
    ],
)
def test_a_replay_prints_what_the_probe_printed_and_the_saved_reply_is_what_came(
    dialect: str, options: tuple[str, ...], measured: set[str], simulator: Ready, word: Path
) -> None:
    log, saved = word.parent / "call.jsonl", word.parent / "reply.wav"
    where = ("--url", simulator.urls[dialect], "--log", log, "--save", saved)
    shown = rtbench("probe", *where, *(str(word) if option == word.name else option for option in options))
    again = rtbench("replay", log)

    (turn,) = replay(log).turns
    with wave.open(str(saved)) as file:
        seconds = file.getnframes() / file.getframerate()
    assert (shown.returncode, shown.stderr) == (again.returncode, again.stderr) == (0, "")
    assert_told_again(again.stdout, shown.stdout)
    assert all(f"{measure} " in shown.stdout for measure in measured)
    assert ("turn_detection " in shown.stdout) == ("turn_detection" in measured)
    assert seconds == turn.audio_bytes_received / 48_000 > 0


@pytest.mark.parametrize("place", ["handshake", "event", "nonsense"])
def test_a_key_that_the_service_quotes_is_neither_shown_nor_logged(
    place: str, quoting: dict[str, str], tmp_path: Path
) -> None:
    log = tmp_path / "call.jsonl"
    shown = rtbench("probe", "--url", quoting[place], "--api-key-env", "THE_KEY", "--log", log, "--keep-audio")
    again = rtbench("replay", log)

    assert (shown.returncode, again.returncode) == (1, 0)
    assert_told_again(again.stdout, shown.stdout)
    assert "no such key: ***" in log.read_text()
    assert SECRET not in shown.stdout + shown.stderr
    assert holders(tmp_path, SECRET) == []


def test_nothing_to_probe_or_to_replay_exits_with_2(tmp_path: Path) -> None:
    for arguments in (("probe",), ("replay", tmp_path / "nowhere.jsonl")):
        shown = rtbench(*arguments)
        assert (shown.returncode, shown.stdout, len(shown.stderr.splitlines())) == (2, "", 1)
