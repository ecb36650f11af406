"""The Locust file that plays YAML scripts: `scenarios/script.py`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from locust import events
from locust.argument_parser import get_parser
from locust.util.load_locustfile import load_locustfile

from bench.base.installation import EXAMPLES

FILE = EXAMPLES / "script.py"


@pytest.fixture(autouse=True)
def without_listeners(monkeypatch: pytest.MonkeyPatch) -> None:
    listeners: list[Any] = []
    monkeypatch.setattr(events.init_command_line_parser, "_handlers", listeners)


@pytest.mark.parametrize(
    ("words", "environ", "names"),
    [
        (["--script", "a.yaml", "--headless"], {}, ["a"]),
        (["-u", "3", "--script=a.yaml", "--script", "b/c.yaml"], {}, ["a", "c"]),
        ([], {"LOCUST_SCRIPT": "a.yaml"}, ["a"]),
    ],
)
def test_the_locust_file_of_scripts_plays_those_of_its_option(
    words: list[str],
    environ: dict[str, str],
    names: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["locust", "-f", str(FILE), *words])
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    (caller,) = load_locustfile(str(FILE))[0].values()

    assert [task.does.stem for task in caller.tasks] == names
    assert all(task.does.is_relative_to(tmp_path) for task in caller.tasks)
    assert caller.scenario_name() == "_and_".join(names)
    assert "--script" in {flag for one in get_parser()._actions for flag in one.option_strings}


def test_without_a_script_the_locust_file_of_scripts_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["locust", "-f", str(FILE)])

    with pytest.raises(SystemExit) as ended:
        load_locustfile(str(FILE))
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        "rtbench: name the YAML scripts that callers play: --script mine.yaml; also on each"
        " worker\n"
    )
