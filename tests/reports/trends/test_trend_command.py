"""`rtbench trend`: what it reads, prints and writes, and its exit statuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from jsonschema import Draft202012Validator

import reports
from bench.cli.verdicts import trend
from reports import runs
from reports.gate import baselines
from reports.sides.side import targets_of
from tests.reports.synthetic import Plan
from tests.reports.trends.made import kept, many

SCHEMA = json.loads((Path(reports.__file__).parent / "trends" / "trend.schema.json").read_text(encoding="utf-8"))


def shown(capsys: pytest.CaptureFixture[str], *folders: Path, **options: Any) -> list[str]:
    trend([*folders], **options)
    return capsys.readouterr().out.splitlines()


def test_the_page_lies_beside_the_runs_and_its_path_is_the_last_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    many(tmp_path / "runs", range(3))
    lines = shown(capsys, tmp_path / "runs")

    assert lines[0].startswith("Too few runs to tell a change")
    assert lines[-1] == str(tmp_path / "runs" / "trend.html")
    assert (tmp_path / "runs" / "trend.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert sum("run-00" in line for line in lines) == 3


def test_runs_can_be_named_themselves_and_the_page_can_stand_elsewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = many(tmp_path / "runs", range(3))[:2]
    lines = shown(capsys, *named, out=tmp_path / "new" / "weeks.html")

    assert lines[-1] == str(tmp_path / "new" / "weeks.html")
    assert sum("run-00" in line for line in lines) == 2
    assert shown(capsys, *named)[-1].endswith("/runs/trend.html")


def test_stored_baselines_have_a_trend_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (side,) = targets_of(runs.load_for_report(kept()))
    baselines.save(baselines.baseline_of(side), tmp_path / "baselines")

    assert any("run " in line and "✓ VALID" in line for line in shown(capsys, tmp_path / "baselines"))


def test_json_is_as_its_schema_says_and_no_page_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    many(tmp_path / "runs", range(12))
    trend([tmp_path / "runs"], metric=["ttfa:p50", "failure_rate"], as_json=True)
    found = json.loads(capsys.readouterr().out)

    Draft202012Validator(SCHEMA).validate(found)
    assert [one["title"] for one in found["series"][0]["metrics"]] == ["ttfa p50", "failure_rate"]
    assert len(found["series"][0]["runs"]) == 12
    assert not (tmp_path / "runs" / "trend.html").exists()


def test_a_trend_with_changes_is_as_its_schema_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = many(tmp_path / "runs", range(14))
    for run in made[7:]:
        summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
        for row in summary["turn_metrics"]:
            for key in ("value", "low", "high"):
                row["p50"][key] = row["p50"][key] and 2 * row["p50"][key]
        (run / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    trend([tmp_path / "runs"], metric=["ttfa:p50"], as_json=True)
    found = json.loads(capsys.readouterr().out)
    (figure,) = found["series"][0]["metrics"]

    Draft202012Validator(SCHEMA).validate(found)
    assert [(one["last_run"], one["first_run"], one["change"]) for one in figure["changes"]] == [
        ("run-006", "run-007", pytest.approx(1.0))
    ]


def test_runs_that_may_not_be_used_are_shown_and_the_exit_status_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    many(tmp_path / "runs", range(2), Plan(sessions=40, turns=5, valid=False))
    with pytest.raises(typer.Exit) as ended:
        trend([tmp_path / "runs"])

    assert ended.value.exit_code == 4
    assert "✕ INVALID" in capsys.readouterr().out


def test_what_cannot_be_read_is_named_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (many(tmp_path / "runs", range(3))[1] / "summary.json").unlink()

    lines = shown(capsys, tmp_path / "runs")
    (at,) = [place for place, line in enumerate(lines) if line.startswith("left out")]

    assert "run-001" in "".join(lines[at : at + 3])
