"""The command that starts a run once more, as run.json has it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.load.planning import command
from bench.load.planning.command import COMMAND, repeating_command
from bench.load.planning.run_options import add_options
from tests.load.test_run_options import Parser


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shell finds every program."""
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")


def parser() -> Any:
    """Some options of Locust's, and ours."""
    made = Parser()
    made.add_argument("-f", "--locustfile", default="locustfile")
    made.add_argument("-u", "--users", type=int, dest="num_users")
    made.add_argument("-r", "--spawn-rate", type=float)
    made.add_argument("--tags", nargs="*")
    made.add_argument("--web-login-secret")
    for name in ("--headless", "--master", "--worker"):
        made.add_argument(name, action="store_true")
    made.add_argument("--processes", type=int)
    add_options(made)
    return made


def repeated(words: str, *, judged: bool = False, environ: dict[str, str] | None = None) -> str:
    made = parser()
    given = vars(made.parse_args(words.split(), env_vars={}))
    return " ".join(repeating_command(given, made._actions, environ or {}, judged=judged))


def test_the_command_has_the_options_in_force_by_their_long_names() -> None:
    given = "-f mine.py -u 4 -r 2.5 --headless --tags x y --sessions 12 --targets a,b --yes --name night --label k=v"
    words = repeated(given).split()

    assert words[:10] == ["locust", "-f", "mine.py", "--headless", "--users", "4", "--spawn-rate", "2.5", "--tags", "x"]
    for asked in ("--sessions 12", "--targets a,b", "--yes", "--name night", "--label k=v"):
        assert asked in " ".join(words)
    assert repeated(" ".join(words[1:])).split() == words


@pytest.mark.parametrize(("file", "judged"), [("mine.yaml", False), ("mine.py", True)])
def test_a_script_or_a_run_that_is_judged_is_played_by_rtbench_run(file: str, judged: bool) -> None:
    assert repeated(f"-f {file} --headless --sessions 3", judged=judged) == f"rtbench run {file} --sessions 3"


def test_a_command_that_starts_runs_says_how_it_was_called_itself() -> None:
    words = "rtbench quickstart --simulator"

    assert repeated("-f x.py --headless", environ={COMMAND: json.dumps(words.split())}) == words


def test_what_may_hold_a_secret_is_not_repeated() -> None:
    assert "hush" not in repeated("-f x.py --headless --web-login-secret hush --users 3")


@pytest.mark.parametrize("words", ["-f x.py", "-f x.py --headless --master", "-f x.py --headless --worker"])
def test_there_is_no_command_for_the_web_ui_or_several_machines(words: str) -> None:
    assert repeated(words) == ""


def test_processes_of_one_command_are_one_command() -> None:
    asked = "locust -f x.py --headless --processes 2"
    assert repeated("-f x.py --headless --master --processes 2") == asked


def test_a_program_that_the_shell_does_not_find_is_called_by_its_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/rtbench").touch()
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr("sys.executable", str(tmp_path / ".venv/bin/python"))
    monkeypatch.chdir(tmp_path)

    assert command.program("rtbench") == ".venv/bin/rtbench"
    assert command.program("locust") == "locust"
