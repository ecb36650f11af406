"""The command `rtbench compare`: its files, its last lines of output, its exit statuses, and its
errors.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer

from bench.base.errors import UsageError
from rtbench.cli.verdicts import compare
from tests.reports.comparisons.build import PAIRED, RUN, run
from tests.reports.synthetic import Plan


def test_a_comparison_of_targets_is_written_next_to_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compare([run(tmp_path, PAIRED)])
    lines = capsys.readouterr().out.splitlines()

    assert lines[-1] == str(tmp_path / "compare.html")
    assert "◇ SIMULATED · east against west" in lines[-2]
    assert all((tmp_path / f"compare.{ending}").stat().st_size for ending in ("html", "md", "json"))
    assert "\x1b[" not in "".join(lines)


def test_a_comparison_of_two_runs_is_written_to_the_last_run_s_folder(tmp_path: Path) -> None:
    compare([run(tmp_path / "a"), run(tmp_path / "b")])

    assert not (tmp_path / "a" / "compare.json").exists()
    data = json.loads((tmp_path / "b" / "compare.json").read_text())
    assert [side["title"] for side in data["compared"]] == ["sim (a)", "sim (b)"]


@pytest.mark.parametrize("explain", [False, True])
def test_an_unfair_comparison_prints_only_why_and_what_to_do(
    explain: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    invalid = run(tmp_path / "b", Plan(valid=False))
    with pytest.raises(typer.Exit):
        compare([run(tmp_path / "a"), invalid], explain=explain)
    printed = capsys.readouterr().out

    assert ("not evaluated" in printed) == explain
    if not explain:
        *reason, what_to_do, verdict, path = printed.splitlines()
        assert len(reason) < 3
        assert reason[0].startswith("Do not use these results: the run of sim (b) is INVALID: ")
        assert what_to_do.startswith("What to do: Run with --processes 2.")
        assert verdict.startswith("✕ INVALID · ◇ SIMULATED")
        assert path == str(tmp_path / "b" / "compare.html")


def test_confidence_applies_to_each_end_of_an_interval(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compare([run(tmp_path, PAIRED)], confidence=0.99)

    assert "98 % interval" in capsys.readouterr().out
    data = json.loads((tmp_path / "compare.json").read_text())
    assert data["method"]["confidence"] == 0.99
    assert {one["confidence"] for one in data["comparisons"] if "difference" in one} == {0.99}


@pytest.mark.parametrize("confidence", [0.05, 0.5, 1.0, -1.0, 5.0])
def test_an_invalid_confidence_is_refused(tmp_path: Path, confidence: float) -> None:
    with pytest.raises(
        UsageError, match=r"confidence must be between 0\.5 and 1, such as 0\.95, not"
    ):
        compare([str(tmp_path)], confidence=confidence)


REGRESSED, ALIKE, SHORT = Plan(60, 10, median_ms=1500), Plan(60, 10), Plan(60, 10, seed=5)


@pytest.mark.parametrize(
    ("other", "options", "status"),
    [
        (REGRESSED, {}, 0),
        (REGRESSED, {"fail_on_regression": True}, 1),
        (SHORT, {"fail_on_regression": True}, 0),
        (SHORT, {"fail_on_regression": True, "on_inconclusive": "warn"}, 0),
        (SHORT, {"fail_on_regression": True, "on_inconclusive": "fail"}, 3),
        (Plan(sessions=0), {"fail_on_regression": True, "on_inconclusive": "pass"}, 4),
    ],
)
def test_fail_on_regression_sets_the_exit_status(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    other: Plan,
    options: dict[str, Any],
    status: int,
) -> None:
    runs = [run(tmp_path / "a", ALIKE), run(tmp_path / "b", other)]
    if status:
        with pytest.raises(typer.Exit) as left:
            compare(runs, **options)
        assert left.value.exit_code == status
    else:
        compare(runs, **options)

    warned = options.get("on_inconclusive") == "warn"
    assert (
        "inconclusive; passes because of --on-inconclusive warn" in capsys.readouterr().err
    ) is warned


def test_on_inconclusive_needs_fail_on_regression(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--on-inconclusive needs --fail-on-regression"):
        compare([str(tmp_path)], on_inconclusive="fail")


@pytest.mark.parametrize(
    ("other", "mark"),
    [
        (Plan(sessions=0), "✕ INVALID COMPARISON · "),
        (Plan(sessions=40, turns=5, valid=False), "✕ INVALID · "),
    ],
)
def test_an_invalid_comparison_has_its_own_exit_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], other: Plan, mark: str
) -> None:
    with pytest.raises(typer.Exit) as left:
        compare([run(tmp_path / "a", RUN), run(tmp_path / "b", other)])

    assert left.value.exit_code == 4
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].startswith(mark)
    assert lines[-1] == str(tmp_path / "b" / "compare.html")
