"""What all commands that read runs do alike, one table of them for each claim."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from bench.errors import UsageError
from bench.run import close
from tests.command_line import call_or_raise
from tests.reports import synthetic
from tests.reports.planned import TIGHT, planned
from tests.reports.shared import write_summary
from tests.reports.synthetic import Plan

pytestmark = pytest.mark.usefixtures("few_draws", "no_ci")

PLAN = Plan(sessions=20, turns=1, targets=("east", "west"), paired=True)
COMMANDS = {
    "report": "report.html",
    "compare": "compare.json",
    "check --thresholds {folder}/ci.yaml": "check.json",
    "trend": "../trend.html",
    "export --format csv": "export",
    "baseline save --baselines-dir {folder}/run/kept": "kept",
    "sample-size --detect 40% --pilot": "",
}
"""What stands before the folder of a run, and where from there is the file or folder that the command writes."""
CLOSING = (
    "report",
    "compare",
    "check --thresholds {folder}/ci.yaml",
    "baseline save --baselines-dir {folder}/run/kept",
)


def ask(command: str, run: Path) -> None:
    (run.parent / "ci.yaml").write_text("ttfa: p(50)<9s\n", encoding="utf-8")
    call_or_raise(*command.format(folder=run.parent).split(), run)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("there", [True, False])
def test_a_folder_that_is_no_run_is_said_in_a_line(command: str, there: bool, tmp_path: Path) -> None:
    folder = tmp_path / "nothing"
    if there:
        folder.mkdir()
        (folder / "check.md").write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match=r"nothing is not a run folder|no run[^\n]*nothing") as raised:
        ask(command, folder)

    assert "\n" not in str(raised.value)
    assert [path.read_text(encoding="utf-8") for path in folder.rglob("*")] == ["mine"] * there


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with its summary, to be copied."""
    plan = planned(TIGHT, [10])
    run = synthetic.write(tmp_path_factory.mktemp("reported"), PLAN, sequential_plan=plan, interleaved=True)
    write_summary(run)
    return run


@pytest.mark.parametrize("command", [command for command, name in COMMANDS.items() if name])
def test_what_cannot_be_written_is_said_in_a_line(command: str, reported: Path, tmp_path: Path) -> None:
    """There is a folder of the file's name, or a file of the folder's."""
    run = shutil.copytree(reported, tmp_path / "run")
    place = run / COMMANDS[command]
    if place.suffix:
        (place / "mine").mkdir(parents=True)
    else:
        place.write_text("mine", encoding="utf-8")
    with pytest.raises(
        UsageError, match=r"cannot be written.*: (Is a directory|Not a directory|File exists)"
    ) as raised:
        ask(command, run)

    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("command", CLOSING)
@pytest.mark.parametrize("gone", [True, False])
def test_a_run_whose_writer_is_gone_is_closed_first(
    command: str, gone: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = synthetic.write_killed(tmp_path / "run", replace(PLAN, sessions=2, turns=1), cut_bytes=0)
    closed: list[Path] = []
    monkeypatch.setattr(close, "writer_is_gone", lambda folder, document: gone)
    monkeypatch.setattr(close, "close", closed.append)
    with suppress(UsageError):  # what was not ended is no baseline, closed or not
        ask(command, run)

    assert closed == ([run] if gone else [])
