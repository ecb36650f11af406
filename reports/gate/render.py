"""A check into its files: check.json and check.md in the run's folder, JUnit XML and a CI's summary where wanted."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from bench.errors import UsageError
from bench.run.disk import write_text
from reports.gate.comment import markdown
from reports.gate.document import as_json
from reports.gate.items import Checked
from reports.gate.junit import refusal, xml


class CheckPaths(NamedTuple):
    """Where a check was written."""

    json: Path
    markdown: Path


def write(checked: Checked, folder: Path, junit: Path | None = None) -> CheckPaths:
    """Write the files, each in one step. Raises UsageError for one that cannot be written."""
    paths = paths_in(folder)
    texts = [(paths.json, as_json(checked)), (paths.markdown, markdown(checked))]
    for path, text in [*texts, *([(junit, xml(checked))] if junit else [])]:
        _write(path, text)
    return paths


def refuse(error: str, folder: Path, junit: Path | None = None) -> None:
    """Nothing was checked: an earlier check's files are removed, which would be taken for this one's; JUnit says why.

    Raises UsageError for a file that cannot be removed or written.
    """
    if (folder / "run.json").is_file():
        for path in paths_in(folder):
            try:
                path.unlink(missing_ok=True)
            except OSError as cause:
                raise UsageError(f"{path} is of an earlier check and cannot be removed: {cause.strerror}") from None
    if junit:
        _write(junit, refusal(error))


def paths_in(folder: Path) -> CheckPaths:
    """Where a run's check is written."""
    return CheckPaths(folder / "check.json", folder / "check.md")


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None


def append_summary(checked: Checked, path: Path) -> None:
    """Add the comment to the summary of a GitHub step, after what other steps wrote there."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(markdown(checked) + "\n")
    except OSError as error:
        raise UsageError(f"GITHUB_STEP_SUMMARY {path} cannot be written: {error.strerror}") from None
