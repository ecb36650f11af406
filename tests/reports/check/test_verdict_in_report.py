"""The verdict of a check in the report of the run: shown at the top of a report that is written
after the check.
"""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from msgspec import structs

from reports.analysis.check.check import check_of
from reports.analysis.check.results import WITHOUT_KINDS
from reports.data.runs import load_for_report
from reports.formatting import NBSP
from reports.pages.check.junit import junit_xml
from reports.pages.check.report import check_page
from reports.pages.thresholds import stored_check
from reports.render.terminal import render_page
from reports.results.value import Reason
from reports.text.check_sentences import distance_text, explanations
from tests.command_line import call, call_or_raise
from tests.reports.check.examples import ENOUGH, FAILED, PASSED, check, read, run, thresholds
from tests.reports.synthetic import Plan

pytestmark = pytest.mark.usefixtures("no_ci")


def limits(folder: Path, text: str) -> Path:
    path = folder / "ci.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def badges(folder: Path) -> str:
    return (
        (folder / "report.html")
        .read_text(encoding="utf-8")
        .partition("<h1>")[2]
        .partition("</div>")[0]
    )


def checked(folder: Path, tmp_path: Path, text: str) -> None:
    call_or_raise("check", folder, "--thresholds", limits(tmp_path, text))


def test_the_report_of_a_checked_run_has_its_verdict(tmp_path: Path) -> None:
    folder = run(tmp_path / "run", ENOUGH)
    checked(folder, tmp_path, "ttfa: med<5ms")
    _, printed = call_or_raise("report", folder)

    assert "✕ FAIL" in badges(folder)
    assert "✕ FAIL" in printed.splitlines()[-2]


def test_a_check_does_not_change_the_report_of_the_run(tmp_path: Path) -> None:
    folder = run(tmp_path / "run", ENOUGH)
    call_or_raise("report", folder)
    before = (folder / "report.html").read_bytes()
    checked(folder, tmp_path, "ttfa: med<5ms")

    assert (folder / "report.html").read_bytes() == before


def test_a_check_names_the_command_that_renews_a_report_with_an_earlier_check(
    tmp_path: Path,
) -> None:
    folder = run(tmp_path / "run", ENOUGH)
    call_or_raise("report", folder)

    def notice(text: str) -> str:
        return call("check", folder, "--thresholds", limits(tmp_path, text)).stderr

    unchecked = notice("ttfa: med<5ms")
    call_or_raise("report", folder)
    same, refused = notice("ttfa: med<5ms"), notice("ttfa: med<5parsecs")
    notice("ttfa: med<5ms")
    other = notice("ttfa: med<5s")
    call_or_raise("report", folder)

    assert f"report.html shows an earlier check: rtbench report {folder} renews it" in other
    assert "earlier check" not in refused
    assert (unchecked, same) == ("", "")
    assert "✓ PASS" in badges(folder)


def test_a_check_writes_no_report_of_a_run_without_one(tmp_path: Path) -> None:
    folder = run(tmp_path / "run", ENOUGH)
    checked(folder, tmp_path, "ttfa: med<5s")

    assert not (folder / "report.html").exists()


def test_a_check_of_other_rows_or_of_another_version_is_not_shown(tmp_path: Path) -> None:
    folder = run(tmp_path / "run", ENOUGH)
    checked(folder, tmp_path, "ttfa: med<5ms")
    frames, path = load_for_report(folder), folder / "check.json"
    written = json.loads(path.read_bytes())
    assert stored_check(frames) is not None

    for change in ({"rows": 1}, {"schema": 1}, {"result": "maybe"}):
        path.write_text(json.dumps(written | change), encoding="utf-8")
        assert stored_check(frames) is None, change


def test_the_stored_check_is_the_written_one(tmp_path: Path) -> None:
    folder = run(tmp_path / "run", ENOUGH)
    checked(folder, tmp_path, "{ttfa: [med<5ms, p(95)<5s], failure_rate: rate<0.5}")
    stored = stored_check(load_for_report(folder))

    assert stored is not None
    assert (stored.result, stored.exit_status) == ("fail", 1)
    assert [result.result for result in stored.findings] == ["fail", "pass", "pass"]


def test_a_check_of_the_schema_before_is_shown_too(tmp_path: Path) -> None:
    folder = run(tmp_path / "run", ENOUGH)
    checked(folder, tmp_path, "{ttfa: [med<5ms, p(95)<5s], failure_rate: rate<0.5}")
    frames, path = load_for_report(folder), folder / "check.json"
    stored = stored_check(frames)
    written = json.loads(path.read_bytes())
    kinds = [finding.pop("kind") for finding in written["findings"]]
    path.write_text(json.dumps(written | {"schema": WITHOUT_KINDS}), encoding="utf-8")

    assert kinds == ["limit"] * 3
    assert stored is not None
    assert repr(stored_check(frames)) == repr(structs.replace(stored, schema=WITHOUT_KINDS))
    for findings in ("none", [3], [{"limit": "none"}]):
        damaged = written | {"schema": WITHOUT_KINDS, "findings": findings}
        path.write_text(json.dumps(damaged), encoding="utf-8")
        assert stored_check(frames) is None, findings


@pytest.mark.parametrize(
    ("limit", "distance"), [("med<{}", "below"), ("med<1", "above"), ("rate<0.5", "points below")]
)
def test_the_distance_to_the_limit_is_that_of_the_value(limit: str, distance: str) -> None:
    metric = "failure_rate" if limit.startswith("rate") else "ttfa"
    at = check_of(read(ENOUGH), thresholds("ttfa: med<1")).thresholds[0].measured[0] + 100
    (result,) = check_of(read(ENOUGH), thresholds(f"{metric}: {limit.format(at)}")).thresholds
    text = distance_text(result)
    assert text.endswith(distance)
    if "{}" in limit:
        assert text.startswith("100")


def test_no_text_of_the_terminal_explains_error_rates_unless_asked_for() -> None:
    found = check_of(read(Plan(sessions=60, turns=10)), thresholds("ttfa: med<1", "ttfa: p(90)<1"))
    brief, long = (
        render_page(check_page(found), 10_000, explain=explain) for explain in (False, True)
    )

    assert len(explanations(found)) > 1
    for text in explanations(found):
        assert text.replace(NBSP, " ") not in brief
        assert text.replace(NBSP, " ") in long


def test_junit_has_each_shared_text_once_and_no_time_of_a_test_case() -> None:
    found = check(
        PASSED, FAILED, FAILED, causes=(Reason("aborted", {"because": "the machine was on fire"}),)
    )
    root = ElementTree.fromstring(junit_xml(found))

    assert [
        entry.get("value") for entry in root.iter("property") if entry.get("name") == "reason"
    ] == ["the machine was on fire."]
    assert not [error for error in root.iter("error") if "on fire" in str(error.get("message"))]
    assert all(case.get("time") is None for case in root.iter("testcase"))


def test_quiet_prints_nothing_without_a_ci_system(tmp_path: Path) -> None:
    folder = run(tmp_path / "run", ENOUGH)
    found = call("check", folder, "--quiet", "--thresholds", limits(tmp_path, "ttfa: med<5ms"))

    assert (found.exit_code, found.stdout) == (1, "")
