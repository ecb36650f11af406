"""`rtbench report`: the files it writes, the last lines it prints, what it says when it cannot."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bench.cli.report import report
from bench.errors import UsageError
from reports import render
from tests.reports import synthetic
from tests.reports.synthetic import Plan


def test_the_last_line_is_the_path_of_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report(synthetic.write(tmp_path, Plan()))
    lines = capsys.readouterr().out.splitlines()

    assert lines[-1] == str(tmp_path / "report.html")
    assert all((tmp_path / name).stat().st_size for name in ("report.html", "report.md", "summary.json"))
    assert "\x1b[" not in "".join(lines)


def test_an_invalid_run_says_so_before_the_last_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report(synthetic.write(tmp_path, Plan(valid=False)))
    lines = capsys.readouterr().out.splitlines()

    assert lines[-2].startswith(
        "✕ INVALID · ◇ SIMULATED · do not use these figures: the load generator could not keep up"
    )
    assert lines[-1] == str(tmp_path / "report.html")


def test_a_run_without_turns_still_has_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report(synthetic.write(tmp_path, Plan(sessions=0)))

    assert "This run holds no turns and no sessions." in capsys.readouterr().out


def test_a_folder_that_is_no_run_is_said_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a run folder"):
        report(tmp_path)


def test_a_folder_that_cannot_be_written_is_said_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, text: str) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(render, "write_text", refuse)
    with pytest.raises(UsageError, match=r"cannot be written to .*: Permission denied"):
        report(synthetic.write(tmp_path, Plan()))


@pytest.mark.parametrize("gone", [True, False])
def test_a_run_whose_writer_is_gone_is_closed_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: bool
) -> None:
    closed: list[Path] = []
    stand_in: Any = ModuleType("bench.run.close")
    stand_in.writer_is_gone = lambda folder, document: gone
    stand_in.close = closed.append
    monkeypatch.setitem(sys.modules, "bench.run.close", stand_in)
    monkeypatch.setattr("bench.run.close", stand_in, raising=False)
    report(synthetic.write_killed(tmp_path, Plan(sessions=20)))

    assert closed == ([tmp_path] if gone else [])
    assert (tmp_path / "report.html").exists()
