"""Output of a check for CI systems: GitHub's annotations, Azure's issues and summary, JUnit XML for all of them.

Workflow commands of GitHub Actions escape a message as `%25`, `%0D`, `%0A`; a property such as its title also as `%3A`
and `%2C` (docs.github.com, "Workflow commands"; actions/toolkit, `command.ts`). Logging commands of Azure Pipelines
escape it as `%AZP25`, `%0D`, `%0A`; a property also as `%5D` and `%3B` (learn.microsoft.com, "Logging commands";
azure-pipelines-task-lib, `taskcommand.ts`).
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite
from junitparser.junitparser import FinalResult

from bench.untrusted.sanitize import escape_control
from reports.check.results import INCONCLUSIVE, INVALID, CheckResult, ThresholdResult
from reports.check.sentences import check_headline, displayed_result, remarks, result_sentence
from reports.formatting import NBSP

MAX_ANNOTATIONS = 10
"""The maximum number of annotations of one type that a step shows."""


def _annotations(checked: CheckResult) -> Iterable[tuple[str, Sequence[ThresholdResult]]]:
    """Yield results by the type of their annotations; there are none for a pass by `--on-inconclusive=pass`."""
    yield "error", checked.of("fail")
    if checked.on_inconclusive != "pass":
        yield "error" if checked.exit_status == INCONCLUSIVE else "warning", checked.of("inconclusive")


def github_commands(checked: CheckResult) -> Iterable[str]:
    """Yield lines for the step's output."""
    if checked.exit_status == INVALID:
        yield github_command("error", check_headline(checked))
        return
    yield from (github_command("warning", warning) for warning in checked.warnings)
    for kind, items in _annotations(checked):
        for item in items[:MAX_ANNOTATIONS]:
            yield github_command(kind, result_sentence(item), f"{item.title} {displayed_result(item)}")


def github_command(kind: str, message: str, title: str = "rtbench check") -> str:
    """Return a workflow command of GitHub: `::error title=…::…`."""
    title = _escaped(title, "%25").replace(":", "%3A").replace(",", "%2C")
    return f"::{kind} title={title}::{_escaped(message, '%25')}"


def azure_commands(checked: CheckResult, comment: Path) -> Iterable[str]:
    """Yield lines for the step's output. `comment`: check.md, which Azure shows below the run."""
    if checked.exit_status == INVALID:
        issues = [("error", check_headline(checked))]
    else:
        issues = [(kind, result_sentence(item)) for kind, items in _annotations(checked) for item in items]
    issues += [("warning", warning) for warning in checked.warnings]
    yield from (azure_command("task.logissue", {"type": kind}, text) for kind, text in issues)
    yield azure_command("task.uploadsummary", {}, str(comment.resolve()))
    if checked.warns:
        yield azure_command("task.complete", {"result": "SucceededWithIssues"}, check_headline(checked))


def azure_command(name: str, properties: Mapping[str, str], message: str) -> str:
    """Return a logging command of Azure Pipelines: `##vso[task.logissue type=error;]…`."""
    escaped = {
        key: _escaped(text, "%AZP25").replace("]", "%5D").replace(";", "%3B") for key, text in properties.items()
    }
    properties_text = "".join(f"{key}={value};" for key, value in escaped.items())
    return f"##vso[{name}{' ' if properties_text else ''}{properties_text}]{_escaped(message, '%AZP25')}"


def _escaped(text: str, percent: str) -> str:
    return escape_control(text.replace(NBSP, " ").replace("%", percent).replace("\r", "%0D").replace("\n", "%0A"))


_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 does not allow."""


def junit_xml(checked: CheckResult) -> str:
    """Return the text of the JUnit XML file.

    Failed thresholds are failures, inconclusive ones failures or skipped, invalid ones errors.
    """
    suite = TestSuite("rtbench check")
    suite.add_property("run", _plain(checked.run_id))
    suite.add_property("simulated", "yes" if checked.simulated else "no")
    invalid = " ".join(remarks(checked)) if checked.causes or checked.differs else ""
    if not checked.thresholds:
        _add(suite, "run", checked.scenario, [Error(_plain(invalid or "nothing was checked"), "invalid")])
    for item in checked.thresholds:
        name = f"{item.threshold} [{item.target}, {item.title}]"
        _add(suite, name, checked.scenario, _results(item, checked, invalid))
    return _text(suite)


def junit_refusal(error: str) -> str:
    """Return the text of the JUnit XML file if there was no check because of a user error."""
    suite = TestSuite("rtbench check")
    _add(suite, "run", "check", [Error(_plain(error), "usage")])
    return _text(suite)


def _text(suite: TestSuite) -> str:
    document = JUnitXml("rtbench")
    document.add_testsuite(suite)
    document.update_statistics()  # type: ignore[no-untyped-call]
    buffer = io.BytesIO()
    document.write(buffer, pretty=True)
    return buffer.getvalue().decode()


def _add(suite: TestSuite, name: str, scenario: str, results: list[FinalResult]) -> None:
    case = TestCase(_plain(name), classname=f"rtbench.{_plain(scenario)}", time=0.0)
    case.result = results
    suite.add_testcase(case)


def _results(item: ThresholdResult, checked: CheckResult, invalid: str) -> list[FinalResult]:
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
