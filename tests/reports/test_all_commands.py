"""The behaviour that all commands share that read runs, and the output of `report` and `replay`."""

from __future__ import annotations

import re
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.base.errors import UsageError
from bench.catalogue.timeouts import Timeouts
from bench.observe import inputs
from bench.observe.inputs import SessionStart
from bench.record import finalize, writers
from bench.record.event_log import EventLog, LoggedTimeline
from bench.record.replay import ReplayedSession, replay_log
from bench.services.openai.dialect import GA
from rtbench.cli.report import report, without_other_folders
from rtbench.cli.session_text import session_text
from tests.command_line import call_or_raise
from tests.reports import synthetic
from tests.reports.planned import TIGHT, planned
from tests.reports.shared import write_summary
from tests.reports.synthetic import Plan

pytestmark = pytest.mark.usefixtures("no_ci")

PLAN = Plan(sessions=20, turns=1, targets=("east", "west"), paired=True)
COMMANDS = {
    "report": "report.html",
    "report --only failed": "report-failed.html",
    "compare": "compare.json",
    "check --thresholds {folder}/ci.yaml": "check.json",
    "trend {folder}": "../trend.html",
    "runs export --format csv": "export",
    "baseline save --baselines-dir {folder}/run/kept": "kept",
    "sample-size --detect 40% --pilot": "",
}
"""The output of each command. The key is the command without the run folder.

The value is the path of the file or folder that the command writes, relative to the run folder.
"""
CLOSING = (
    "report",
    "compare",
    "check --thresholds {folder}/ci.yaml",
    "baseline save --baselines-dir {folder}/run/kept",
)


def ask(command: str, run: Path) -> str:
    (run.parent / "ci.yaml").write_text("ttfa: p(50)<9s\n", encoding="utf-8")
    return call_or_raise(*command.format(folder=run.parent).split(), run)[1]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("there", [True, False])
def test_a_folder_that_is_no_run_is_refused_in_one_line(
    command: str, there: bool, tmp_path: Path
) -> None:
    folder = tmp_path / "nothing"
    if there:
        folder.mkdir()
        (folder / "check.md").write_text("mine", encoding="utf-8")
    with pytest.raises(
        UsageError, match=r"nothing is not a run folder|no run[^\n]*nothing"
    ) as raised:
        ask(command, folder)

    assert "\n" not in str(raised.value)
    assert [path.read_text(encoding="utf-8") for path in folder.rglob("*")] == ["mine"] * there


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run that has a summary. Tests copy this folder."""
    plan = planned(TIGHT, [10])
    run = synthetic.write(
        tmp_path_factory.mktemp("reported"), PLAN, sequential_plan=plan, interleaved=True
    )
    write_summary(run)
    return run


@pytest.mark.parametrize("command", [command for command, name in COMMANDS.items() if name])
def test_an_unwritable_output_is_reported_in_one_line(
    command: str, reported: Path, tmp_path: Path
) -> None:
    """The path of the output file is an existing folder, or the path of the output folder is an
    existing file.

    The status of `check` and `compare` is a verdict, so they print a warning.
    """
    run = shutil.copytree(reported, tmp_path / "run")
    place = run / COMMANDS[command]
    if place.suffix:
        (place / "mine").mkdir(parents=True)
    else:
        place.write_text("mine", encoding="utf-8")
    try:
        (problem,) = [line for line in ask(command, run).splitlines() if "warning" in line]
    except UsageError as error:
        problem = str(error)

    assert re.search(r"cannot be written.*: (Is a directory|Not a directory|File exists)", problem)
    assert "\n" not in problem


@pytest.mark.parametrize("command", CLOSING)
@pytest.mark.parametrize("gone", [True, False])
def test_a_run_whose_writer_is_gone_is_finalized_first(
    command: str, gone: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = synthetic.write_killed(tmp_path / "run", replace(PLAN, sessions=2, turns=1), cut_bytes=0)
    closed: list[Path] = []
    monkeypatch.setattr(writers, "writer_is_gone", lambda folder, document: gone)
    monkeypatch.setattr(finalize, "finalize", closed.append)
    # A run that did not end is no baseline, even if it is finalized now.
    with suppress(UsageError):
        ask(command, run)

    assert closed == ([run] if gone else [])


def test_an_invalid_run_is_marked_before_the_last_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report([str(synthetic.write(tmp_path, Plan(valid=False)))])
    lines = capsys.readouterr().out.splitlines()

    headline = "Do not use these results: the load generator could not keep up"
    assert lines[-2].startswith(f"✕ INVALID · ◇ SIMULATED · {headline}")
    assert lines[-1] == str(tmp_path / "report.html")


def test_a_report_of_several_runs_names_the_commands_for_several(tmp_path: Path) -> None:
    runs = [synthetic.write(tmp_path / name, Plan()) for name in ("a", "b")]
    with pytest.raises(UsageError, match=r"`rtbench compare \S+a \S+b` .* `rtbench trend`"):
        report([*map(str, runs)])

    assert not any((run / "report.html").exists() for run in runs)


def test_a_trend_of_one_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"a trend is about several runs: .* run `rtbench report "):
        call_or_raise("trend", synthetic.write(tmp_path / "a", Plan()))


def test_the_list_of_runs_refuses_a_run(tmp_path: Path) -> None:
    run = synthetic.write(tmp_path / "a", Plan())
    with pytest.raises(UsageError, match="is one run, not a folder of runs: run `rtbench report "):
        call_or_raise("runs", run)


def test_folders_of_searches_are_left_out_of_a_pattern_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = synthetic.write(tmp_path / "a-text", Plan())
    (search := tmp_path / "b-capacity-text").mkdir()
    (search / "capacity.html").touch()

    assert without_other_folders([str(run), str(search)]) == [str(run)]
    assert f"`rtbench report --open {search}` opens" in capsys.readouterr().err
    assert without_other_folders([str(search)]) == [str(search)], "the command refuses it"
    assert without_other_folders([""]) == [""]
    (tmp_path / "trend.html").touch()
    assert without_other_folders([str(run), str(tmp_path)]) == [
        str(run),
        str(tmp_path),
    ], "it contains runs"


def test_a_page_is_opened_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    run = synthetic.write(tmp_path / "a", Plan())
    (run / "compare.html").touch()
    call_or_raise("report", "--open", run / "compare.html")

    assert opened == [(run / "compare.html").as_uri()]


def logged(path: Path, about: dict[str, Any]) -> ReplayedSession:
    """Write the log of a session that has no turns, and return its replay."""
    log = EventLog(path, hide=str, record_audio=False)
    facts = {"dialect": "ga", "script": "voice_turns"} | about
    timeline = LoggedTimeline(
        SessionStart(5_000_000_000, 1, Timeouts(), service_responds=True), GA, log=log, about=facts
    )
    timeline.apply(inputs.ScriptFinished(6_000_000_000))
    log.close()
    return replay_log(path)


def test_a_log_of_a_run_names_its_session_and_its_run(tmp_path: Path) -> None:
    about = {"session_id": "w0-000007", "run_id": "20261120T091400Z-voice_turns"}
    lines = list(session_text(logged(tmp_path / "log.jsonl", about), 100, colour=False))

    assert lines[1] == "log of     session w0-000007 · run 20261120T091400Z-voice_turns"


@pytest.mark.parametrize("about", [{"session_id": "probe", "run_id": "probe"}, {}])
def test_a_probe_is_not_shown_as_a_session_of_a_run(tmp_path: Path, about: dict[str, Any]) -> None:
    lines = list(session_text(logged(tmp_path / "log.jsonl", about), 100, colour=False))

    assert not any(line.startswith("log of") for line in lines)


def test_a_replay_is_labelled_as_a_replay(tmp_path: Path) -> None:
    replayed = logged(tmp_path / "log.jsonl", {})
    live, again = (
        next(session_text(replayed, 100, colour=False, again=again)) for again in (False, True)
    )

    assert live == "voice_turns  ga dialect"
    assert again == f"replay of {live}"
