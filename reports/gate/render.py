"""A check into its files: check.json and check.md in the run's folder, JUnit XML and a CI's summary where wanted."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from bench.errors import UsageError
from bench.run.folder import write_text
from reports.gate.comment import markdown
from reports.gate.document import as_json
from reports.gate.items import Checked
from reports.gate.junit import xml


class Paths(NamedTuple):
    """Where a check was written."""

    json: Path
    markdown: Path


def write(checked: Checked, folder: Path, junit: Path | None = None) -> Paths:
    """Write the files, each in one step. Raises UsageError for one that cannot be written."""
    paths = Paths(folder / "check.json", folder / "check.md")
    texts = [(paths.json, as_json(checked)), (paths.markdown, markdown(checked))]
    for path, text in [*texts, *([(junit, xml(checked))] if junit else [])]:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, text)
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror}") from None
    return paths


def append_summary(checked: Checked, path: Path) -> None:
    """Add the comment to the summary of a GitHub step, after what other steps wrote there."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(markdown(checked) + "\n")
    except OSError as error:
        raise UsageError(f"GITHUB_STEP_SUMMARY {path} cannot be written: {error.strerror}") from None
