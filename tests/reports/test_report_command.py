"""`rtbench report`: the files it writes, the last lines it prints, what it says when it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.cli.report import report
from bench.errors import UsageError
from reports.runs import load_for_report
from reports.summary.summary import summarise
from reports.text.terminal import report_text
from tests.reports import synthetic
from tests.reports.synthetic import Plan


def test_an_invalid_run_says_so_before_the_last_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report([str(synthetic.write(tmp_path, Plan(valid=False)))])
    lines = capsys.readouterr().out.splitlines()

    assert lines[-2].startswith(
        "✕ INVALID · ◇ SIMULATED · do not use these results: the load generator could not keep up"
    )
    assert lines[-1] == str(tmp_path / "report.html")


def test_several_runs_stand_side_by_side_and_each_has_its_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [
        synthetic.write(tmp_path / "20261120T091400Z-first", Plan(sessions=60, turns=1, targets=("direct", "gateway"))),
        synthetic.write(tmp_path / "20261121T091400Z-second", Plan(sessions=40, valid=False)),
        synthetic.write(tmp_path / "20261122T091400Z-empty", Plan(sessions=0)),
    ]
    report([*map(str, runs)])
    out = capsys.readouterr().out
    lines = out.splitlines()

    assert lines[-3:] == [str(run / "report.html") for run in runs]
    assert all((run / name).stat().st_size for run in runs for name in ("report.html", "report.md", "summary.json"))
    shown = [line.split() for line in lines if "-first  " in line]
    assert [cells[1] for cells in shown] == ["direct", "gateway"] * 3
    assert all(cells[-4:] == ["✓", "VALID", "◇", "SIMULATED"] for cells in shown)
    assert "✕ INVALID" in next(line for line in lines if "-second  " in line)
    assert next(line for line in lines if "-empty  " in line).split()[2:6] == ["0", "n/a", "n/a", "n/a"]
    assert all(len(line) <= 100 for line in lines[:-3])


def test_the_figures_side_by_side_are_those_of_each_run_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is pooled: two runs of one target keep a row each."""
    runs = [synthetic.write(tmp_path / str(seed), Plan(sessions=60, turns=1, seed=seed)) for seed in (1, 2)]
    report([*map(str, runs)])
    together = capsys.readouterr().out.splitlines()
    for run in runs:
        alone = report_text(summarise(load_for_report(run)))
        row = next(line for line in together if line.startswith(f"{run.name} ")).split()
        assert all(figure in alone for figure in row[2:5])
    assert together[0] == "voice_to_voice, ms"


def test_of_several_folders_one_that_is_no_run_is_said_before_anything_is_written(tmp_path: Path) -> None:
    run = synthetic.write(tmp_path / "run", Plan())
    (tmp_path / "nothing").mkdir()
    with pytest.raises(UsageError, match="nothing is not a run folder"):
        report([str(run), str(tmp_path / "nothing")])

    assert not (run / "report.html").exists()
