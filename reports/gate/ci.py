"""What CI systems show of a check: GitHub's annotations, Azure's issues and summary, JUnit XML for all of them.

Workflow commands of GitHub Actions escape a message as `%25`, `%0D`, `%0A`; a property such as its title also as `%3A`
and `%2C` (docs.github.com, "Workflow commands"; actions/toolkit, `command.ts`). Logging commands of Azure Pipelines
escape it as `%AZP25`, `%0D`, `%0A`; a property also as `%5D` and `%3B` (learn.microsoft.com, "Logging commands";
azure-pipelines-task-lib, `taskcommand.ts`).
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite
from junitparser.junitparser import FinalResult

from bench.untrusted.sanitize import escape_control
from reports.gate.results import Checked, ThresholdResult
from reports.gate.sentences import check_headline, remarks, result_sentence, shown_result
from reports.numbers import NBSP

MOST = 10
"""Annotations of one kind that a step shows."""


def github_commands(checked: Checked) -> Iterable[str]:
    """Lines for the step's output. What passes by `--on-inconclusive=pass` is not annotated."""
    if checked.exit_status == 4:
        yield github_command("error", "rtbench check", check_headline(checked))
        return
    yield from (github_command("warning", "rtbench check", warning) for warning in checked.warnings)
    for item in checked.of("fail")[:MOST]:
        yield github_command("error", f"{item.title} {shown_result(item)}", result_sentence(item))
    if checked.on_inconclusive != "pass":
        kind = "error" if checked.exit_status == 3 else "warning"
        for item in checked.of("inconclusive")[:MOST]:
            yield github_command(kind, f"{item.title} {shown_result(item)}", result_sentence(item))


def github_refusal(error: str) -> str:
    """Of what cannot be asked so."""
    return github_command("error", "rtbench check", error)


def github_command(kind: str, title: str, message: str) -> str:
    """::error title=…::…"""
    title = _github_data(title).replace(":", "%3A").replace(",", "%2C")
    return f"::{kind} title={title}::{_github_data(message)}"


def _github_data(text: str) -> str:
    return escape_control(text.replace(NBSP, " ").replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A"))


def azure_commands(checked: Checked, comment: Path) -> Iterable[str]:
    """Lines for the step's output; `comment`: check.md, which is shown under the run."""
    if checked.exit_status == 4:
        yield azure_command("task.logissue", {"type": "error"}, check_headline(checked))
    else:
        for item in checked.of("fail"):
            yield azure_command("task.logissue", {"type": "error"}, result_sentence(item))
        kind = "error" if checked.exit_status == 3 else "warning"
        for item in checked.of("inconclusive") if checked.on_inconclusive != "pass" else ():
            yield azure_command("task.logissue", {"type": kind}, result_sentence(item))
    yield from (azure_command("task.logissue", {"type": "warning"}, warning) for warning in checked.warnings)
    yield azure_command("task.uploadsummary", {}, str(comment.resolve()))
    if checked.warns:
        yield azure_command("task.complete", {"result": "SucceededWithIssues"}, check_headline(checked))


def azure_refusal(error: str) -> str:
    """Of what cannot be asked so."""
    return azure_command("task.logissue", {"type": "error"}, error)


def azure_command(name: str, properties: Mapping[str, str], message: str) -> str:
    """##vso[task.logissue type=error;]…"""
    escaped = {key: _azure_data(value).replace("]", "%5D").replace(";", "%3B") for key, value in properties.items()}
    told = "".join(f"{key}={value};" for key, value in escaped.items())
    return f"##vso[{name}{' ' if told else ''}{told}]{_azure_data(message)}"


def _azure_data(text: str) -> str:
    return escape_control(text.replace(NBSP, " ").replace("%", "%AZP25").replace("\r", "%0D").replace("\n", "%0A"))


_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 has no way to write; labels are anyone's."""


def junit_xml(checked: Checked) -> str:
    """Return the file's text. Failed thresholds are failures, inconclusive ones too or skipped, invalid ones errors."""
    suite = TestSuite("rtbench check")
    suite.add_property("run", _plain(checked.run_id))
    suite.add_property("simulated", "yes" if checked.simulated else "no")
    invalid = " ".join(remarks(checked)) if checked.causes or checked.differs else ""
    if not checked.thresholds:
        suite.add_testcase(_case("run", checked, [Error(_plain(invalid or "nothing was checked"), "invalid")]))
    for item in checked.thresholds:
        suite.add_testcase(
            _case(f"{item.threshold} [{item.target}, {item.title}]", checked, _results(item, checked, invalid))
        )
    return _text(suite)


def junit_refusal(error: str) -> str:
    """The file's text where nothing was checked, for it cannot be asked so: one error."""
    suite, case = TestSuite("rtbench check"), TestCase("run", classname="rtbench.check", time=0.0)
    case.result = [Error(_plain(error), "usage")]
    suite.add_testcase(case)
    return _text(suite)


def _text(suite: TestSuite) -> str:
    whole = JUnitXml("rtbench")
    whole.add_testsuite(suite)
    whole.update_statistics()  # type: ignore[no-untyped-call]
    found = io.BytesIO()
    whole.write(found, pretty=True)
    return found.getvalue().decode()


def _case(name: str, checked: Checked, results: list[FinalResult]) -> TestCase:
    case = TestCase(_plain(name), classname=f"rtbench.{_plain(checked.scenario)}", time=0.0)
    case.result = results
    return case


def _results(item: ThresholdResult, checked: Checked, invalid: str) -> list[FinalResult]:
    text = _plain(result_sentence(item))
    if invalid or item.result == "not_evaluated":
        return [Error(_plain(invalid) or text, "invalid")]
    if item.result == "fail":
        return [Failure(text, item.finding.verdict.name if item.finding else item.result)]
    if item.result == "inconclusive":
        return [Failure(text, item.result) if checked.on_inconclusive == "fail" else Skipped(text, item.result)]
    return []


def _plain(text: str) -> str:
    return _NO_XML.sub("�", text.replace(NBSP, " "))
