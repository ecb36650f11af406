"""Folders that cannot be read. They do not hide other folders, are named in the output, and do
not count as missing.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from bench.base.errors import UsageError
from bench.record.merging.merge import run_folders_of
from bench.record.presence import is_folder, is_run
from bench.record.run_list import list_runs, newest_run
from reports.analysis.trends.trend import in_folders
from rtbench.cli.app import main
from tests.command_line import call
from tests.locked import lock
from tests.record.builders import run, under_way

REFUSED = "cannot be read: Permission denied"


def status_and_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str
) -> tuple[object, str]:
    """Run a command in the way a user does. Return its exit status and its stderr."""
    monkeypatch.setattr("sys.argv", ["rtbench", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code, capsys.readouterr().err


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a user's working folder. Its folder `runs` contains two runs."""
    run(tmp_path / "runs" / "one")
    run(tmp_path / "runs" / "two", 1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LOCUST_RUNS_DIR", raising=False)
    return tmp_path


def test_the_newest_run_is_one_that_can_be_read(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock(home / "runs" / "two", monkeypatch)
    assert newest_run(home / "runs") == home / "runs" / "one"
    lock(home / "runs" / "one", monkeypatch)

    with pytest.raises(
        UsageError,
        match=rf"none of the completed runs in .* can be read: .*{REFUSED} \(and 1 more\)",
    ):
        newest_run(home / "runs")


def test_a_merge_with_an_unreadable_part_is_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock(home / "runs" / "two", monkeypatch)

    assert [folder.name for folder in run_folders_of([home / "runs"])] == ["one", "two"]
    assert REFUSED in str(call("runs", "merge", home / "runs", "--out", home / "merged").exception)
    assert not (home / "merged").exists()


def test_a_trend_names_the_unreadable_run(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        call("report", home / "runs" / name)
    lock(home / "runs" / "two", monkeypatch)

    assert [folder.name for folder in in_folders([home / "runs"])[0]] == ["one", "two"]
    shown = call("trend", home / "runs")
    assert shown.exit_code == 0
    assert REFUSED in " ".join(shown.stdout.split())


@pytest.mark.parametrize(
    "command",
    [
        "check",
        "check one",
        "check runs/one",
        "check runs/one:sim",
        "check one --junit junit.xml",
        "report",
        "report one",
        "report runs/one",
        "compare",
        "compare one two",
        "compare runs/one:sim runs/two:sim",
        "trend",
        "trend runs",
        "trend runs/one runs/two",
        "report --open",
        "report --open one",
        "runs",
        "sample-size --pilot runs/one",
        "runs export one",
        "runs replay runs/one",
        "baseline save one",
        "runs merge runs/one runs/two --out merged",
    ],
)
def test_with_an_unreadable_runs_folder_each_command_ends_in_one_line(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    lock(home / "runs", monkeypatch)
    status, output = status_and_output(monkeypatch, capsys, *command.split())

    assert (status, output.count("\n")) == (2, 1), output
    assert output.startswith("rtbench: ")
    assert "Permission denied" in output


def test_a_run_in_an_unlistable_folder_is_under_way_while_its_writer_runs(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = under_way(home / "runs" / "live", pid=os.getpid())
    opened = os.open

    def refused(path: str | Path, *given: int, **named: int | None) -> int:
        if Path(path) == live:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return opened(path, *given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", refused)

    assert {each.name: each.under_way for each in list_runs(home / "runs").runs} == {
        "one": False,
        "two": False,
        "live": True,
    }


def test_a_name_too_long_for_a_file_is_no_run(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "x" * 5000

    assert not is_run(home / name)
    assert not is_folder(home / name)
    status, output = status_and_output(monkeypatch, capsys, "report", name)
    assert (status, output.count("\n")) == (2, 1)
    assert "there is no run" in output
