"""`rtbench check` and `rtbench baseline`: exit statuses, files, and what is said where."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bench.errors import UsageError
from tests.command_line import call, call_or_raise
from tests.reports.gate.made import ENOUGH, PAIRED, run, stored
from tests.reports.synthetic import Plan

pytestmark = pytest.mark.usefixtures("no_ci")


def limits(folder: Path, text: str) -> Path:
    path = folder / "ci.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("plan", "text", "status"),
    [
        (ENOUGH, "ttfa: med<5s", 0),
        (ENOUGH, "ttfa: med<5ms", 1),
        (Plan(sessions=10), "ttfa: med<5s", 3),
        (replace(ENOUGH, valid=False), "ttfa: med<5s", 4),
        (Plan(sessions=0), "ttfa: med<5s", 4),
    ],
)
def test_the_exit_status_is_the_verdict(tmp_path: Path, plan: Plan, text: str, status: int) -> None:
    folder = run(tmp_path / "run", plan)
    got, output = call_or_raise("check", folder, "--thresholds", limits(tmp_path, text))

    assert got == status
    assert json.loads((folder / "check.json").read_text(encoding="utf-8"))["exit_status"] == status
    assert output.splitlines()[-2].startswith(f"exit status {status}: ")
    assert output.splitlines()[-1] == str(folder / "check.md")


def test_github_gets_annotations_and_the_comment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    folder = run(tmp_path / "run")
    _, output = call_or_raise("check", folder, "--thresholds", limits(tmp_path, "ttfa: med<5ms"))

    assert "\n::error title=ttfa p50 fail::" in output
    assert "##vso" not in output
    assert (tmp_path / "summary.md").read_text(encoding="utf-8").strip() == (
        (folder / "check.md").read_text(encoding="utf-8").strip()
    )


def test_azure_gets_issues_and_the_comment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_BUILD", "True")
    folder = run(tmp_path / "run", Plan(sessions=10))
    path = limits(tmp_path, "ttfa: med<5s")
    _, output = call_or_raise("check", folder, "--thresholds", path, "--on-inconclusive", "warn")

    assert "\n##vso[task.logissue type=warning;]" in output
    assert f"\n##vso[task.uploadsummary]{folder / 'check.md'}\n" in output
    assert "\n##vso[task.complete result=SucceededWithIssues;]" in output
    assert "::error" not in output


def test_what_cannot_be_asked_is_told_to_ci_and_leaves_no_earlier_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("TF_BUILD", "True")
    folder, junit = run(tmp_path / "run"), tmp_path / "junit.xml"
    call_or_raise("check", folder, "--thresholds", limits(tmp_path, "ttfa: med<5s"))
    output = call("check", folder, "--thresholds", limits(tmp_path, "ttfa: p95<1"), "--junit", junit).output

    assert output.startswith("::error title=rtbench check::")
    assert "\n##vso[task.logissue type=error;]" in output
    assert junit.read_text(encoding="utf-8").count("<error ") == 1
    assert not (folder / "check.json").exists()
    assert not (folder / "check.md").exists()


def test_junit_is_written_where_it_is_asked_for(tmp_path: Path) -> None:
    call_or_raise("check", run(tmp_path / "run", PAIRED), "--junit", tmp_path / "junit.xml")

    assert (tmp_path / "junit.xml").read_text(encoding="utf-8").count("<testcase ") == 3


def test_baselines_are_saved_listed_shown_and_checked_against(tmp_path: Path) -> None:
    folder = stored(tmp_path / "baselines", "r0", PAIRED)
    status, output = call_or_raise("baseline", "save", run(tmp_path / "r1", PAIRED), "--baselines-dir", folder)
    assert status == 0
    now = run(tmp_path / "now", replace(PAIRED, seed=9))

    assert output.split() == [str(folder / "voice_turns" / name / "r1.json") for name in ("before", "after")]
    assert "voice_turns/after   2 runs" in call_or_raise("baseline", "list", "--baselines-dir", folder)[1]
    assert "r1  20 Nov 2026" in call_or_raise("baseline", "show", "voice_turns/after", "--baselines-dir", folder)[1]
    assert "against 2 stored runs of before and 2 stored runs of after" in " ".join(
        call_or_raise("check", now, "--baseline", folder)[1].split()
    )


def test_what_is_no_baseline_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "baselines"
    call_or_raise("baseline", "save", run(tmp_path / "good"), "--baselines-dir", folder)

    with pytest.raises(UsageError, match="the run is INVALID"):
        call_or_raise(
            "baseline", "save", run(tmp_path / "bad", replace(ENOUGH, valid=False)), "--baselines-dir", folder
        )
    with pytest.raises(UsageError, match="has no baseline of text_turns/sim; it has voice_turns/sim"):
        call_or_raise("baseline", "show", "text_turns/sim", "--baselines-dir", folder)
    with pytest.raises(UsageError, match="save one by"):
        call_or_raise("baseline", "list", "--baselines-dir", tmp_path / "nowhere")
