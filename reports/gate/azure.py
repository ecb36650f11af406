"""What Azure Pipelines shows of a check: issues, the comment as a summary, and a stage with issues for warnings.

A command's message is escaped as `%AZP25`, `%0D`, `%0A`; a property also as `%5D` and `%3B` (learn.microsoft.com,
"Logging commands"; azure-pipelines-task-lib, `taskcommand.ts`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from bench.plain import printable
from reports.gate.items import Checked
from reports.gate.sentences import headline, said
from reports.numbers import NBSP


def commands(checked: Checked, comment: Path) -> Iterable[str]:
    """Lines for the step's output; `comment`: check.md, which is shown under the run."""
    if checked.status == 4:
        yield command("task.logissue", {"type": "error"}, headline(checked))
    else:
        for item in checked.of("failed"):
            yield command("task.logissue", {"type": "error"}, said(item))
        kind = "error" if checked.status == 3 else "warning"
        for item in checked.of("unsure") if checked.on_inconclusive != "pass" else ():
            yield command("task.logissue", {"type": kind}, said(item))
    yield from (command("task.logissue", {"type": "warning"}, warning) for warning in checked.warnings)
    yield command("task.uploadsummary", {}, str(comment.resolve()))
    if checked.warns:
        yield command("task.complete", {"result": "SucceededWithIssues"}, headline(checked))


def refusal(error: str) -> str:
    """Of what cannot be asked so."""
    return command("task.logissue", {"type": "error"}, error)


def command(name: str, properties: Mapping[str, str], message: str) -> str:
    """##vso[task.logissue type=error;]…"""
    told = "".join(f"{key}={_property(value)};" for key, value in properties.items())
    return f"##vso[{name}{' ' if told else ''}{told}]{_data(message)}"


def _data(text: str) -> str:
    return printable(text.replace(NBSP, " ").replace("%", "%AZP25").replace("\r", "%0D").replace("\n", "%0A"))


def _property(text: str) -> str:
    return _data(text).replace("]", "%5D").replace(";", "%3B")
