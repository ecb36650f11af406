"""Runs and stored baselines as points of a trend; the command `rtbench trend`: its inputs, its
output and its files.
"""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from jsonschema import Draft202012Validator

from bench.base.errors import UsageError
from bench.record.document import SCHEMA_VERSION
from reports.analysis.check import baselines
from reports.analysis.summary.summary import SUMMARY_VERSION, ValuesOfTargets
from reports.analysis.targets.compared_target import ComparedTarget
from reports.analysis.targets.conditions import conditions_of
from reports.analysis.targets.named import targets_of
from reports.analysis.trends.trend import trend_of
from reports.analysis.trends.trend_point import (
    MetricKey,
    point_of_baseline,
    points_of_run,
    stored_points,
)
from reports.data import runs
from reports.metrics.strata import NO_STRATUM
from reports.results.value import LEVELS
from reports.text.reasons import reasons_text
from reports.text.trend_sentences import marker, notice_texts
from rtbench.cli.verdicts import trend
from tests.reports.synthetic import Plan
from tests.reports.trends.examples import folder_of, many, shared_run
from tools.schemas import schemas

PLAN = Plan(sessions=60, turns=10, targets=("direct", "gateway"), failed=0.01)
TTFA = MetricKey("ttfa", NO_STRATUM)


@cache
def targets_of_plan() -> tuple[ComparedTarget, ...]:
    """Return the targets of PLAN, which are read once for all tests."""
    return targets_of(runs.load_for_report(shared_run(PLAN)))


def test_a_point_has_the_values_of_the_report(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "run", plan=PLAN, labels={"commit": "1a2b"})
    summary = json.loads((folder / "summary.json").read_text())
    direct, gateway = points_of_run(folder)
    p50 = direct.quantiles[TTFA][0.5]
    row = next(
        row
        for row in summary["turn_metrics"]
        if (row["metric"], row["target"]) == ("ttfa", "direct")
    )

    assert (direct.target, gateway.target) == ("direct", "gateway")
    assert [p50.value, p50.low, p50.high] == [row["p50"][key] for key in ("value", "low", "high")]
    assert direct.rates["failure_rate"].value == summary["outcomes"]["direct"]["failure_rate"]
    assert (
        direct.rates["failure_rate"].low
        < direct.rates["failure_rate"].value
        < direct.rates["failure_rate"].high
    )
    assert direct.labels == {"commit": "1a2b"}
    assert direct.report == folder / "report.html"
    assert (marker(direct), direct.excluded, direct.simulated) == ("✓\u00a0VALID", (), True)


@pytest.mark.parametrize(
    ("sessions", "simulated"),
    [
        ({"connect_failed:tcp": 9, "timeout:dns": 1}, ""),
        ({"connect_failed:tcp": 9, "connect_failed:404": 1}, "no"),
        ({"connect_failed:tcp": 9, "ok": 1}, "no"),
    ],
)
def test_a_run_that_got_no_response_is_neither_simulated_nor_a_real_service(
    sessions: dict[str, int], simulated: str, tmp_path: Path
) -> None:
    folder = folder_of(tmp_path / "run", plan=Plan(simulated=False))
    summary = json.loads((folder / "summary.json").read_text())
    (outcomes,) = summary["outcomes"].values()
    outcomes["sessions"] = sessions
    (folder / "summary.json").write_text(json.dumps(summary))
    (point,) = points_of_run(folder)

    assert (point.conditions["simulated"], point.simulated) == (simulated, False)


def test_the_conditions_of_a_point_are_those_of_a_check_against_stored_runs() -> None:
    assert [entry.conditions for entry in points_of_run(shared_run(PLAN))] == [
        conditions_of(side) for side in targets_of_plan()
    ]


def test_a_stored_baseline_gives_nearly_the_same_point() -> None:
    for side, entry in zip(targets_of_plan(), points_of_run(shared_run(PLAN)), strict=True):
        stored = point_of_baseline(baselines.baseline_of(side))
        assert (stored.run_id, stored.target, stored.scenario) == (
            entry.run_id,
            entry.target,
            entry.scenario,
        )
        assert stored.conditions == entry.conditions
        assert stored.rates["failure_rate"].value == pytest.approx(
            entry.rates["failure_rate"].value, rel=1e-4
        )
        for p in LEVELS:
            one, other = entry.quantiles[TTFA][p], stored.quantiles[TTFA][p]
            assert math.isnan(one.value) == math.isnan(other.value)
            if math.isfinite(one.value):
                assert other.value == pytest.approx(one.value, rel=1e-4)
                assert other.low == pytest.approx(one.low, rel=0.15)
                assert other.high == pytest.approx(one.high, rel=0.15)


def test_invalid_and_throttled_runs_have_a_reason_why_they_are_excluded(tmp_path: Path) -> None:
    (invalid,) = points_of_run(folder_of(tmp_path / "invalid", plan=Plan(valid=False)))
    (throttled,) = points_of_run(
        folder_of(tmp_path / "throttled", plan=Plan(sessions=40, failed=0.5))
    )
    (unjudged,) = points_of_run(folder_of(tmp_path / "unjudged", plan=Plan(valid=None)))

    assert reasons_text(invalid.excluded).startswith("the run is INVALID: audio was sent late (")
    assert "of turns or sessions were throttled (limit 1" in reasons_text(throttled.excluded)
    assert (marker(throttled), marker(unjudged)) == (
        "?\u00a0INVALID (throttled)",
        "?\u00a0NO VERDICT",
    )
    assert unjudged.excluded


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"scenario": 3}', b"\xff\xfe"])
def test_an_unreadable_run_is_named_and_the_others_are_shown(
    tmp_path: Path, content: bytes
) -> None:
    found = many(tmp_path, range(3))
    (found[1] / "summary.json").write_bytes(content)
    (found[2] / "summary.json").unlink()
    trend = trend_of(found, [])

    assert [entry.run_id for entry in trend.points] == ["run-000"]
    notices = notice_texts(trend)
    assert [str(found[1]) in notices[0], str(found[2]) in notices[1]] == [True, True]
    assert all("rtbench report" in notice for notice in notices)


def test_a_summary_of_an_older_format_is_named_with_the_command_that_rewrites_it(
    tmp_path: Path,
) -> None:
    (run,) = many(tmp_path, [1])
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    (run / "summary.json").write_text(json.dumps({**summary, "schema": 6}), encoding="utf-8")

    with pytest.raises(UsageError) as raised:
        trend_of([run], [])
    path = run / "summary.json"
    assert (
        str(raised.value)
        == f"there is no run to show in {tmp_path}: {path} has format 6, not {SUMMARY_VERSION}: "
        f"run `rtbench report {run}` to rewrite it"
    )


def test_a_trend_reads_the_summaries_of_the_version_before(tmp_path: Path) -> None:
    (run,) = many(tmp_path, [1])
    points = points_of_run(run)
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    known = {key: summary[key] for key in ValuesOfTargets.__struct_fields__}
    (run / "summary.json").write_text(json.dumps({**known, "schema": 8}), encoding="utf-8")

    assert repr(points_of_run(run)) == repr(points)


def test_if_no_run_can_be_read_the_error_names_the_first(tmp_path: Path) -> None:
    (run,) = many(tmp_path, [1])
    (run / "run.json").write_text(f'{{"schema": {SCHEMA_VERSION}, "state": 7}}')

    with pytest.raises(UsageError, match=r"there is no run to show in .*run\.json is damaged"):
        trend_of([run], [])


def test_if_the_only_baseline_is_in_the_folder_of_another_target_the_error_names_it(
    tmp_path: Path,
) -> None:
    stored = baselines.save(baselines.baseline_of(targets_of_plan()[0]), tmp_path / "baselines")
    moved = stored.parent.with_name("other") / stored.name
    moved.parent.mkdir()
    stored.rename(moved)

    with pytest.raises(UsageError) as raised:
        trend_of([], [tmp_path / "baselines"])
    assert str(moved) in str(raised.value)


def test_a_damaged_stored_baseline_is_named_and_the_others_are_shown(tmp_path: Path) -> None:
    stored = baselines.save(baselines.baseline_of(targets_of_plan()[0]), tmp_path / "baselines")
    (stored.parent / "other.json").write_text("{}")
    entries, notices = stored_points(tmp_path / "baselines")

    assert [entry.run_id for entry in entries] == ["run"]
    assert "other.json is not a stored baseline" in str(notices[0])


def test_a_run_and_its_stored_baseline_are_one_point(tmp_path: Path) -> None:
    for side in targets_of_plan():
        baselines.save(baselines.baseline_of(side), tmp_path / "baselines")
    trend = trend_of([shared_run(PLAN)], [tmp_path / "baselines"])

    assert [entry.report is not None for entry in trend.points] == [True, True]


def shown(capsys: pytest.CaptureFixture[str], *folders: Path, **options: Any) -> list[str]:
    trend([*folders], **options)
    return capsys.readouterr().out.splitlines()


def test_the_page_is_written_to_the_runs_folder_and_its_path_is_the_last_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    many(tmp_path / "runs", range(3))
    lines = shown(capsys, tmp_path / "runs")

    assert any(line.startswith("Too few runs to find a change") for line in lines)
    assert lines[-1] == str(tmp_path / "runs" / "trend.html")
    assert (
        (tmp_path / "runs" / "trend.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    )
    assert sum("run-00" in line for line in lines) == 3


def test_runs_can_be_named_individually_and_the_page_can_be_written_elsewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = many(tmp_path / "runs", range(3))[:2]
    lines = shown(capsys, *named, out=tmp_path / "new" / "weeks.html")

    assert lines[-1] == str(tmp_path / "new" / "weeks.html")
    assert sum("run-00" in line for line in lines) == 2
    assert shown(capsys, *named)[-1].endswith("/runs/trend.html")


def test_stored_baselines_have_a_trend(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (side,) = targets_of(runs.load_for_report(shared_run()))
    baselines.save(baselines.baseline_of(side), tmp_path / "baselines")

    assert any(
        "run " in line and "✓ VALID" in line for line in shown(capsys, tmp_path / "baselines")
    )


def test_the_document_of_a_trend_matches_its_schema(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
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

    Draft202012Validator(schemas()["trend"]).validate(found)
    assert [
        (one["last_run"], one["first_run"], one["difference"]) for one in figure["changes"]
    ] == [("run-006", "run-007", pytest.approx(1.0))]


def test_a_trend_of_invalid_runs_is_shown_with_exit_status_4(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    many(tmp_path / "runs", range(2), Plan(sessions=40, turns=5, valid=False))
    with pytest.raises(typer.Exit) as ended:
        trend([tmp_path / "runs"])

    assert ended.value.exit_code == 4
    assert "✕ INVALID" in capsys.readouterr().out


def test_an_unreadable_run_is_named_in_the_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (many(tmp_path / "runs", range(3))[1] / "summary.json").unlink()

    lines = shown(capsys, tmp_path / "runs")
    (at,) = [place for place, line in enumerate(lines) if line.startswith("excluded")]

    assert "run-001" in "".join(lines[at : at + 3])
