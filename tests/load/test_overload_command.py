"""The command that starts a load with a peak."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.base.errors import UsageError
from bench.base.installation import EXAMPLES
from rtbench.overload import OVERLOAD
from tests.command_line import call_or_raise


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text("steps: [{text: Hello}]")
    return path


def started(
    monkeypatch: pytest.MonkeyPatch, *words: object
) -> tuple[list[str], dict[str, Any], str]:
    """Return the command that `rtbench overload` starts, the settings that it passes, and its
    output.
    """
    found: list[Any] = []

    def execve(path: str, command: list[str], environ: dict[str, str]) -> None:
        found.extend([command, json.loads(environ[OVERLOAD])])

    monkeypatch.setattr(os, "execve", execve)
    monkeypatch.setattr("signal.pthread_sigmask", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["rtbench", "overload", *map(str, words)])
    output = call_or_raise("overload", *words)[1]
    command, settings = found
    return command, settings, output


def test_the_command_starts_a_run_with_its_other_options(
    script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--load", 4, "--peak", 12, "--peak-time", "30s", "--yes", "--targets", "a,b")
    command, settings, _ = started(monkeypatch, script, *options)

    assert command[-3:] == ["--yes", "--targets", "a,b"]
    assert settings["peak"] == {
        "load": 4,
        "peak": 12,
        "before_s": 240.0,
        "peak_s": 30.0,
        "after_s": 300.0,
        "margin": 0.1,
    }
    assert settings["probe"] == {"asks": str(script), "fixed_count": 8, "spacing_s": 2.0}


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ((), r"within 10.% in this time if their p95 is below 2\.\d × their p50, else longer"),
        (("--margin", "0.3"), r"within 30.% in this time if their p95 is below \d\.\d × their p50"),
        (("--after", "20s"), r"within 10.% in this time only with longer --before and --after"),
    ],
)
def test_the_command_says_before_the_run_what_it_can_show(
    script: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    shown: str,
) -> None:
    _, _, output = started(monkeypatch, script, "--load", 4, "--peak", 12, *options)

    assert re.search(shown, output)


@pytest.mark.parametrize("passed", [(20, None), (None, {"numbers": {"low": 20}})])
def test_the_load_may_be_that_of_a_finished_search(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passed: tuple[Any, Any]
) -> None:
    found: dict[str, Any] = {"plan": {"by": "concurrency"}}
    found |= dict(zip(("highest_pass", "estimate"), passed, strict=True))
    (tmp_path / "capacity.json").write_text(json.dumps(found))
    _, settings, _ = started(monkeypatch, script, "--load", tmp_path, "--peak", 60)

    assert settings["peak"]["load"] == 20


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--load", "4", "--peak", "4"), "--peak 4 must be more than the load, 4"),
        (("--load", "many", "--peak", "4"), "neither a number of calls nor the folder"),
        (("--load", "1", "--peak", "4", "--before", "soon"), "--before 'soon' is not a time"),
        (("--load", "9" * 5_000, "--peak", "4"), "neither a number of calls nor the folder"),
        (("--load", "999999", "--peak", "4"), "--load must be from 1 to 99,999 calls"),
        (("--load", "1", "--peak", "4", "--before", "9" * 16 + "h"), "the maximum is 50,000"),
        (("--load", "1", "--peak", "4", "--probe-spacing", "0.001"), "must be from 0.1s to 1800s"),
        (("--load", "1", "--peak", "4", "--probe-spacing", "1h"), "must be from 0.1s to 1800s"),
    ],
)
def test_wrong_options_are_refused_in_one_line(
    script: Path, words: tuple[str, ...], problem: str
) -> None:
    with pytest.raises(UsageError, match=problem):
        call_or_raise("overload", script, *words)


PLAN = b'{"plan":{"by":"concurrency"},'


@pytest.mark.parametrize(
    "content",
    [
        b"",
        PLAN,
        PLAN + b'"highest_pass":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
        PLAN + b'"highest_pass":1e999}',
        PLAN + b'"highest_pass":Infinity}',
        PLAN + b'"highest_pass":true}',
        PLAN + b'"highest_pass":"20"}',
        PLAN + b'"highest_pass":20.5}',
        PLAN + b'"highest_pass":-20}',
        PLAN + b'"highest_pass":' + b"9" * 400 + b"}",
        PLAN + b'"estimate":{"numbers":[]}}',
        PLAN + b'"schema":99,"highest_pass":20}',
        b'{"plan":[],"highest_pass":20}',
        b'{"plan":{"by":"arrival_rate"},"highest_pass":20}',
        b'{"highest_pass":20}',
        b"[]",
        b'{"plan":{"by":"concurrency\xff"}}',
    ],
)
def test_a_search_that_is_damaged_or_of_a_newer_version_is_refused_in_one_line(
    script: Path, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "capacity.json").write_bytes(content)
    with pytest.raises(UsageError, match="--load") as raised:
        call_or_raise("overload", script, "--load", tmp_path, "--peak", 60)

    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("overload no.yaml --load 1 --peak 4", r"no\.yaml: no such file"),
        ("overload folder --load 1 --peak 4", "folder is a folder: name scripts"),
        ("overload a.csv --load 1 --peak 4", r"a\.csv is not a script or a Locust file"),
        ("sweep no.yaml --vary session.voice=a,b", r"no\.yaml: no such file"),
        ("capacity no.yaml --thresholds ttfa:p(95)<9s", r"no\.yaml: no such file"),
        ("overload reference2 --load 1 --peak 4", r"no such file; did you mean reference\?"),
    ],
)
def test_each_command_that_plays_scripts_refuses_other_files_in_one_line(
    line: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "a.csv").touch()

    with pytest.raises(UsageError, match=problem):
        call_or_raise(*line.split())


@pytest.mark.parametrize("word", ["turn-taking", "text_turns.py"])
def test_a_peak_may_have_the_callers_of_any_file_of_a_run(
    word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(EXAMPLES)
    _, settings, _ = started(monkeypatch, word, "--load", 4, "--peak", 12)

    assert Path(settings["probe"]["asks"]).is_file()
