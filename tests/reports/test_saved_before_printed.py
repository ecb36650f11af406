"""What a command has measured or computed is saved before it is printed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reports.data.runs import load_for_report
from reports.pages.run_report.document import write_report
from rtbench.cli import report, verdicts
from tests.command_line import call
from tests.reports.synthetic import Plan, write

COMMANDS = {
    "report": ("{run}",),
    "report --only": ("--only", "failed", "{run}"),
    "compare": ("{run}",),
    "check": ("{run}", "--thresholds", "ttfa: p(50)<9000", "--write", "junit={folder}/junit.xml"),
    "trend": ("{folder}",),
}
DOCUMENTS = {
    "report": ("run/report.html", "run/report.md", "run/summary.json"),
    "report --only": ("run/report-failed.html", "run/report-failed.md"),
    "compare": ("run/compare.html", "run/compare.json"),
    "check": ("run/check.json", "run/check.md", "junit.xml"),
    "trend": ("trend.html",),
}


class NotPrintableError(Exception):
    """An error of a text, or of the terminal."""


def refuse(*_: Any, **__: Any) -> None:
    raise NotPrintableError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    plan = Plan(sessions=40, targets=("west", "east"), paired=True)
    write(tmp_path / "run", plan)
    write_report(load_for_report(write(tmp_path / "reported", plan, run_id="reported")))
    for module in (report, verdicts):
        monkeypatch.setattr(module, "print_page", refuse)
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_the_documents_of_a_command_exist_if_its_result_cannot_be_printed(
    command: str, folder: Path
) -> None:
    words = (word.format(run=folder / "run", folder=folder) for word in COMMANDS[command])
    ended = call(command.split()[0], *words)

    assert isinstance(ended.exception, NotPrintableError)
    assert [name for name in DOCUMENTS[command] if not (folder / name).exists()] == []
