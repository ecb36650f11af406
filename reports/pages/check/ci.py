"""The output of a check for CI systems: annotations of GitHub, issues and summary of Azure.

In a workflow command of GitHub Actions, a message is escaped with `%25`, `%0D`, `%0A`. A property,
such as the title, is also escaped with `%3A` and `%2C` (docs.github.com, "Workflow commands";
actions/toolkit, `command.ts`). In a logging command of Azure Pipelines, a message is escaped with
`%AZP25`, `%0D`, `%0A`, and a property also with `%5D` and `%3B` (learn.microsoft.com, "Logging
commands"; azure-pipelines-task-lib, `taskcommand.ts`).
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from bench.base.errors import INCONCLUSIVE_STATUS, INVALID_STATUS
from bench.files.sanitize import escape_control
from reports.analysis.check.results import CheckResult
from reports.engine.judge import Judged
from reports.formatting import breakable
from reports.pages.check.ci_systems import CiSystem
from reports.text.check_sentences import (
    check_headline,
    displayed_result,
    result_sentence,
    warnings,
)

MAX_ANNOTATIONS = 10
"""The maximum number of annotations of one type that GitHub shows for a step."""


def refusal_lines(error: str, systems: Collection[CiSystem]) -> Iterable[str]:
    """Yield the line that reports a user error, which prevented the check, to CI systems."""
    if "github" in systems:
        yield github_command("error", error)
    if "azure" in systems:
        yield azure_command("task.logissue", {"type": "error"}, error)


def result_lines(
    checked: CheckResult, comment: Path | None, systems: Collection[CiSystem]
) -> Iterable[str]:
    """Yield the lines that report a check to CI systems. `comment` is as in `azure_commands`."""
    if "github" in systems:
        yield from github_commands(checked)
    if "azure" in systems:
        yield from azure_commands(checked, comment)


def _annotations(checked: CheckResult) -> Iterable[tuple[str, Sequence[Judged]]]:
    """Yield each type of annotation with its results. Inconclusive results have none with
    `--on-inconclusive=pass`.
    """
    yield "error", checked.of("fail")
    if checked.on_inconclusive != "pass":
        yield (
            "error" if checked.exit_status == INCONCLUSIVE_STATUS else "warning",
            checked.of("inconclusive"),
        )


def github_commands(checked: CheckResult) -> Iterable[str]:
    """Yield the workflow commands of GitHub for a check. They are lines of the step's output."""
    if checked.exit_status == INVALID_STATUS:
        yield github_command("error", check_headline(checked))
        return
    yield from (github_command("warning", warning) for warning in warnings(checked))
    for kind, items in _annotations(checked):
        for item in items[:MAX_ANNOTATIONS]:
            yield github_command(
                kind, result_sentence(item), f"{item.title} {displayed_result(item)}"
            )


def github_command(kind: str, message: str, title: str = "rtbench check") -> str:
    """Return a workflow command of GitHub: `::error title=…::…`."""
    title = _escaped(title, "%25").replace(":", "%3A").replace(",", "%2C")
    return f"::{kind} title={title}::{_escaped(message, '%25')}"


def azure_commands(checked: CheckResult, comment: Path | None) -> Iterable[str]:
    """Yield the logging commands of Azure for a check. They are lines of the step's output.

    `comment` is the path of check.md, which Azure shows below the run; None if it was not written.
    """
    if checked.exit_status == INVALID_STATUS:
        issues = [("error", check_headline(checked))]
    else:
        issues = [
            (kind, result_sentence(item)) for kind, items in _annotations(checked) for item in items
        ]
    issues += [("warning", warning) for warning in warnings(checked)]
    yield from (azure_command("task.logissue", {"type": kind}, text) for kind, text in issues)
    if comment:
        yield azure_command("task.uploadsummary", {}, str(comment.resolve()))
    if checked.warns:
        yield azure_command(
            "task.complete", {"result": "SucceededWithIssues"}, check_headline(checked)
        )


def azure_command(name: str, properties: Mapping[str, str], message: str) -> str:
    """Return a logging command of Azure Pipelines: `##vso[task.logissue type=error;]…`."""
    escaped = {
        key: _escaped(text, "%AZP25").replace("]", "%5D").replace(";", "%3B")
        for key, text in properties.items()
    }
    properties_text = "".join(f"{key}={value};" for key, value in escaped.items())
    return (
        f"##vso[{name}{' ' if properties_text else ''}{properties_text}]"
        f"{_escaped(message, '%AZP25')}"
    )


def _escaped(text: str, percent: str) -> str:
    return escape_control(
        breakable(text).replace("%", percent).replace("\r", "%0D").replace("\n", "%0A")
    )
