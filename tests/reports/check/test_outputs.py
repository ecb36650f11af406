"""The files that `check` and `baseline` write (JSON, Markdown, JUnit XML, CI commands), and the
messages about them.
"""

from __future__ import annotations

import errno
import json
import os
import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from junitparser import JUnitXml

from bench.base.errors import UsageError
from bench.files import safe_io
from bench.files.sanitize import escape_control
from reports.analysis.check.results import CheckResult
from reports.metrics.strata import Stratum
from reports.pages.check import ci
from reports.pages.check.document import append_summary, check_data, write_check
from reports.pages.check.junit import junit_xml
from reports.pages.check.report import check_page, with_sentences
from reports.render import files as render_files
from reports.render.markdown import render_markdown
from reports.render.terminal import render_page
from reports.results.value import Reason
from reports.text.check_sentences import result_line
from tests.command_line import call, call_or_raise
from tests.reports.check.examples import (
    ENOUGH,
    FAILED,
    INCONCLUSIVE,
    NO_DATA,
    PAIRED,
    PASSED,
    REGRESSED,
    check,
    run,
    stored,
)
from tests.reports.synthetic import Plan

pytestmark = pytest.mark.usefixtures("no_ci")


INVALID = check(
    PASSED,
    FAILED,
    causes=(Reason("aborted", {"because": "the run was not evaluated: it was killed"}),),
)


def text(found: CheckResult) -> str:
    return render_page(check_page(found))


def markdown(found: CheckResult) -> str:
    return render_markdown(check_page(found))


def test_the_comment_begins_with_the_verdict_and_ten_thresholds_worst_first() -> None:
    lines = markdown(check(*[PASSED] * 12, REGRESSED, INCONCLUSIVE)).splitlines()
    rows = [
        line
        for line in lines[: lines.index("<details><summary>4 more rows</summary>")]
        if line.startswith("| ttfa")
    ]

    assert (
        lines[0]
        == "### ✕ after regressed: one turn in twenty now takes longer than 2.64 s, 1.04 s (65 %)"
        " more than on before (ttfa p95)"
    )
    assert lines[1].startswith(
        "**✕ FAIL** 1 of 14 thresholds failed · **✓ VALID** · **◇ SIMULATED**"
    )
    assert "exit status 1: a threshold failed or a metric regressed" in lines
    assert [row.split("|")[-2].strip() for row in rows][:3] == [
        "✕ **regressed**",
        "? inconclusive (too few turns)",
        "✓ pass",
    ]
    assert len(rows) == 10
    assert "<details><summary>4 more rows</summary>" in lines


@pytest.mark.parametrize(
    ("found", "results"),
    [
        (check(PASSED, FAILED, INCONCLUSIVE, NO_DATA), ["", "", "", "Error"]),
        (check(PASSED, FAILED, INCONCLUSIVE), ["", "Failure", "Failure"]),
        (check(PASSED, INCONCLUSIVE, on_inconclusive="warn"), ["", "Skipped"]),
        (check(PASSED, INCONCLUSIVE, on_inconclusive="pass"), ["", "Skipped"]),
        (INVALID, ["Error", "Error"]),
        (check(causes=(Reason("no_turns_and_sessions"),)), ["Error"]),
    ],
)
def test_junit_has_a_test_case_for_each_threshold(found: CheckResult, results: list[str]) -> None:
    cases = [case for suite in JUnitXml.fromstring(junit_xml(found).encode()) for case in suite]
    got = [type(case.result[0]).__name__ if case.result else "" for case in cases]

    if "not_evaluated" in {item.result for item in found.thresholds}:
        assert got[-1] == results[-1]
    else:
        assert got == results


def test_junit_reports_the_failed_threshold_with_its_value_and_limit() -> None:
    root = ElementTree.fromstring(junit_xml(check(FAILED, PASSED)))
    failure = root.find(".//failure")

    assert failure is not None
    assert (
        failure.get("message")
        == "ttfa p95 of sim is over its limit: 940 ms (880 to 1,010 ms), limit < 800 ms"
    )
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("2", "1", "0")


@given(st.text())
def test_any_label_gives_valid_xml(label: str) -> None:
    ElementTree.fromstring(
        junit_xml(
            check(replace(FAILED, target=label, threshold=f"ttfa{{step:{label}}}: p(95)<800"))
        )
    )


def test_warnings_are_on_every_output() -> None:
    found = check(PASSED, warnings=("33 % failed",))

    assert "\n! 33 % failed\n" in text(found)
    assert "\n\n**! 33 % failed**\n" in markdown(found)
    assert "::warning title=rtbench check::33 %25 failed" in list(ci.github_commands(found))
    assert any(
        "type=warning;]33 %AZP25 failed" in line
        for line in ci.azure_commands(found, Path("check.md"))
    )
    assert check_data(found)["warnings"] == ["33 % failed"]


def test_github_receives_errors_and_warnings() -> None:
    assert list(ci.github_commands(check(PASSED, FAILED, INCONCLUSIVE))) == [
        (
            "::error title=ttfa p95 fail::ttfa p95 of sim is over its limit: 940 ms (880 to 1,010"
            " ms), limit < 800 ms"
        ),
        (
            "::warning title=ttfa p50 inconclusive::ttfa p50 of sim inconclusive (too few turns): "
            "640 ms (590 to 690 ms), limit < 500 ms"
        ),
    ]
    assert [line.split()[0] for line in ci.github_commands(check(INCONCLUSIVE))] == ["::error"]
    assert [
        line.split()[0] for line in ci.github_commands(check(INCONCLUSIVE, on_inconclusive="warn"))
    ] == ["::warning"]
    assert list(ci.github_commands(check(INCONCLUSIVE, on_inconclusive="pass"))) == []
    assert "ttfa p95 of sim has no data: nothing was measured" in next(
        iter(ci.github_commands(check(NO_DATA)))
    )
    assert list(ci.github_commands(INVALID)) == [
        "::error title=rtbench check::Do not use these results: the run was not evaluated: it was"
        " killed"
    ]


def test_azure_receives_issues_the_summary_and_the_result_succeeded_with_issues(
    tmp_path: Path,
) -> None:
    comment = tmp_path / "check.md"
    failed, warned = (
        list(ci.azure_commands(found, comment))
        for found in (check(PASSED, FAILED), check(PASSED, INCONCLUSIVE, on_inconclusive="warn"))
    )

    assert failed[0].startswith(
        "##vso[task.logissue type=error;]ttfa p95 of sim is over its limit: 940 ms"
    )
    assert failed[1:] == [f"##vso[task.uploadsummary]{comment}"]
    assert warned[0].startswith("##vso[task.logissue type=warning;]ttfa p50 of sim inconclusive")
    assert warned[-1].startswith(
        "##vso[task.complete result=SucceededWithIssues;]inconclusive: ttfa p50"
    )
    assert list(ci.azure_commands(check(PASSED), comment)) == [
        f"##vso[task.uploadsummary]{comment}"
    ]


def test_azure_messages_and_properties_are_escaped() -> None:
    assert (
        ci.azure_command("task.logissue", {"type": "a;b]c%\n"}, "50 %; [x]\r\n")
        == "##vso[task.logissue type=a%3Bb%5Dc%AZP25%0A;]50 %AZP25; [x]%0D%0A"
    )


@given(st.text(), st.text())
def test_a_ci_command_is_one_line_and_decodes_to_the_escaped_text(title: str, message: str) -> None:
    whole = ci.github_command("error", message, title)
    head, text_of_command = whole.removeprefix("::error title=").split("::", 1)
    plain = [
        "".join(
            part if part in "\r\n" else escape_control(part)
            for part in re.split("([\r\n])", text.replace("\u00a0", " "))
        )
        for text in (title, message)
    ]

    assert "\n" not in whole
    assert "\r" not in whole
    assert [unquote(head), unquote(text_of_command)] == plain
    other = ci.azure_command("task.logissue", {"type": title}, message)
    inside, _, rest = other.removeprefix("##vso[task.logissue type=").partition("]")
    assert "\n" not in other
    assert unquote(inside.removesuffix(";").replace("%AZP25", "%25")) == plain[0]
    assert unquote(rest.replace("%AZP25", "%25")) == plain[1]


def test_a_file_that_cannot_be_written_is_reported_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")

    with pytest.raises(UsageError, match=r"check\.json cannot be written"):
        write_check(check(PASSED), check_page(check(PASSED)), tmp_path / "file")
    with pytest.raises(UsageError, match="GITHUB_STEP_SUMMARY"):
        append_summary(check_page(check(PASSED)), tmp_path)


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the folder of a run in which no file can be written. The superuser ignores the
    permissions of a folder.
    """
    folder = run(tmp_path / "run", ENOUGH)
    write = safe_io.replace_text

    def refuse(path: Path, text: str) -> None:
        if path.is_relative_to(folder):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        write(path, text)

    monkeypatch.setattr(safe_io, "replace_text", refuse)
    monkeypatch.setattr(render_files, "replace_text", refuse)
    return folder


@pytest.mark.parametrize(("limit", "status"), [("5s", 0), ("5ms", 1)])
def test_a_read_only_run_is_checked(
    read_only: Path, tmp_path: Path, limit: str, status: int
) -> None:
    (tmp_path / "ci.yaml").write_text(f"ttfa: med<{limit}", encoding="utf-8")
    found = call(
        "check", read_only, "--thresholds", tmp_path / "ci.yaml", "--junit", tmp_path / "junit.xml"
    )

    assert found.exit_code == status
    assert f"exit status {status}" in found.stdout
    assert "check.md" not in found.stdout
    assert (
        found.stderr
        == f"rtbench: warning: {read_only}/check.json cannot be written: Read-only file system\n"
    )
    assert JUnitXml.fromfile(str(tmp_path / "junit.xml")).tests == 1


def test_a_read_only_run_is_compared_and_reported(read_only: Path, tmp_path: Path) -> None:
    other = run(tmp_path / "other", ENOUGH)
    compared = call("compare", other, read_only)
    reported = call("report", read_only)

    assert compared.exit_code == 0
    assert "cannot be written" in compared.stderr
    assert isinstance(reported.exception, UsageError)
    assert "VALID" in reported.stdout


@pytest.mark.parametrize("summary", ["a-folder", "missing/summary.md", "/dev/full"])
def test_a_step_summary_that_cannot_be_written_changes_no_exit_status(
    tmp_path: Path, summary: str
) -> None:
    (tmp_path / "a-folder").mkdir()
    (tmp_path / "ci.yaml").write_text("ttfa: med<5ms", encoding="utf-8")
    environment = {"GITHUB_STEP_SUMMARY": str(tmp_path / summary), "TF_BUILD": "True"}
    found = call(
        "check",
        run(tmp_path / "run", ENOUGH),
        "--thresholds",
        tmp_path / "ci.yaml",
        env=environment,
    )

    assert found.exit_code == 1
    assert found.stderr.startswith("rtbench: warning: GITHUB_STEP_SUMMARY")
    assert found.stderr.count("\n") == 1
    assert found.stdout.endswith("check.md\n")


def test_a_refused_check_of_a_read_only_run_writes_its_junit_file(
    read_only: Path, tmp_path: Path
) -> None:
    (read_only / "check.md").mkdir()  # which cannot be removed as a file
    found = call(
        "check",
        read_only,
        "--thresholds",
        tmp_path / "missing.yaml",
        "--junit",
        tmp_path / "junit.xml",
    )

    assert "missing.yaml" in str(found.exception)
    assert "check.md, written by an earlier check, cannot be removed" in found.stderr
    assert JUnitXml.fromfile(str(tmp_path / "junit.xml")).errors == 1


def test_a_check_is_written_in_each_requested_format(tmp_path: Path) -> None:
    folder, other = run(tmp_path / "run", ENOUGH), tmp_path / "other.json"
    files = [
        f"json={other}",
        f"markdown={tmp_path / 'other.md'}",
        f"junit={tmp_path / 'other.xml'}",
    ]
    options = [word for file in files for word in ("--write", file)]
    call_or_raise("check", folder, "--thresholds", limits(tmp_path, "ttfa: med<5s"), *options)

    assert other.read_bytes() == (folder / "check.json").read_bytes()
    assert (tmp_path / "other.md").read_bytes() == (folder / "check.md").read_bytes()
    assert JUnitXml.fromfile(str(tmp_path / "other.xml")).tests == 1
    call("check", folder, "--thresholds", tmp_path / "missing.yaml", *options)
    assert not other.exists()


@pytest.mark.parametrize("option", ["yaml=check.yaml", "json", "junit="])
def test_a_format_that_does_not_exist_is_refused_with_the_formats(
    tmp_path: Path, option: str
) -> None:
    with pytest.raises(
        UsageError, match=f'--write "{option}" is not FORMAT=FILE.* formats: json, junit, markdown'
    ):
        call_or_raise("check", tmp_path, "--write", option)


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
def test_the_exit_status_follows_from_the_verdict(
    tmp_path: Path, plan: Plan, text: str, status: int
) -> None:
    folder = run(tmp_path / "run", plan)
    got, output = call_or_raise("check", folder, "--thresholds", limits(tmp_path, text))

    assert got == status
    assert json.loads((folder / "check.json").read_text(encoding="utf-8"))["exit_status"] == status
    assert output.splitlines()[-2].startswith(f"exit status {status}: ")
    assert output.splitlines()[-1] == str(folder / "check.md")


def test_github_receives_annotations_and_the_comment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    folder = run(tmp_path / "run")
    _, output = call_or_raise("check", folder, "--thresholds", limits(tmp_path, "ttfa: med<5ms"))

    assert "\n::error title=ttfa p50 fail::" in output
    assert "##vso" not in output
    assert (tmp_path / "summary.md").read_text(encoding="utf-8").strip() == (
        (folder / "check.md").read_text(encoding="utf-8").strip()
    )


def test_azure_receives_issues_and_the_comment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TF_BUILD", "True")
    folder = run(tmp_path / "run", Plan(sessions=10))
    path = limits(tmp_path, "ttfa: med<5s")
    _, output = call_or_raise("check", folder, "--thresholds", path, "--on-inconclusive", "warn")

    assert "\n##vso[task.logissue type=warning;]" in output
    assert f"\n##vso[task.uploadsummary]{folder / 'check.md'}\n" in output
    assert "\n##vso[task.complete result=SucceededWithIssues;]" in output
    assert "::error" not in output


def test_a_refused_check_is_reported_to_ci_and_removes_an_earlier_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("TF_BUILD", "True")
    folder, junit = run(tmp_path / "run"), tmp_path / "junit.xml"
    call_or_raise("check", folder, "--thresholds", limits(tmp_path, "ttfa: med<5s"))
    output = call(
        "check", folder, "--thresholds", limits(tmp_path, "ttfa: p95<1"), "--junit", junit
    ).output

    assert output.startswith("::error title=rtbench check::")
    assert "\n##vso[task.logissue type=error;]" in output
    assert junit.read_text(encoding="utf-8").count("<error ") == 1
    assert not (folder / "check.json").exists()
    assert not (folder / "check.md").exists()


def test_baselines_are_saved_listed_shown_and_checked_against(tmp_path: Path) -> None:
    folder = stored(tmp_path / "baselines", "r0", PAIRED)
    status, output = call_or_raise(
        "baseline", "save", run(tmp_path / "r1", PAIRED), "--baselines-dir", folder
    )
    assert status == 0
    now = run(tmp_path / "now", replace(PAIRED, seed=9))

    assert output.split() == [
        str(folder / "voice_turns" / name / "r1.json") for name in ("before", "after")
    ]
    assert (
        "voice_turns/after   2 runs"
        in call_or_raise("baseline", "list", "--baselines-dir", folder)[1]
    )
    shown = call_or_raise("baseline", "show", "voice_turns/after", "--baselines-dir", folder)[1]
    assert "r1 20 Nov 2026" in " ".join(shown.split())
    assert "against 2 stored runs of before and 2 stored runs of after" in " ".join(
        call_or_raise("check", now, "--baseline", folder)[1].split()
    )


def test_a_refused_or_missing_baseline_is_reported(tmp_path: Path) -> None:
    folder = tmp_path / "baselines"
    call_or_raise("baseline", "save", run(tmp_path / "good"), "--baselines-dir", folder)

    with pytest.raises(UsageError, match="the run is INVALID"):
        call_or_raise(
            "baseline",
            "save",
            run(tmp_path / "bad", replace(ENOUGH, valid=False)),
            "--baselines-dir",
            folder,
        )
    with pytest.raises(
        UsageError, match="has no baseline of text_turns/sim; it has voice_turns/sim"
    ):
        call_or_raise("baseline", "show", "text_turns/sim", "--baselines-dir", folder)
    with pytest.raises(UsageError, match="save one with"):
        call_or_raise("baseline", "list", "--baselines-dir", tmp_path / "nowhere")


def test_a_threshold_is_one_row_with_its_types_of_turns_below() -> None:
    stated, spoken = (
        replace(result, spec=replace(result.spec, stratum=Stratum(measured_from)))
        for result, measured_from in ((PASSED, "request_sent"), (FAILED, "speech_end"))
    )
    found = check(stated, spoken, INCONCLUSIVE)
    first, *parts, other = [
        line.split("  ") for line in text(found).splitlines() if line.startswith("  ")
    ][1:-1]
    printed = [[cell.strip() for cell in cells if cell.strip()] for cells in (first, *parts, other)]

    assert printed[0] == ["ttfa p95", "2 types of turns", "< 800 ms", "✕ fail"]
    assert [cells[0] for cells in printed[1:3]] == ["· from end of speech", "· from request sent"]
    assert [cells[-1] for cells in printed[1:]] == ["✕ fail", "✓ pass", "? inconclusive"]
    assert "more threshold" not in text(check(spoken, spoken, stated))
    assert result_line(with_sentences(found)).replace("\u00a0", " ") == (
        "✕ FAIL: 1 of 2 thresholds failed"
    )
