"""A run's report as files: report.html, report.md and summary.json in its folder."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from bench.errors import UsageError
from bench.run.disk import write_text
from reports.page.html import poured
from reports.page.markdown import markdown_text
from reports.page.page import run_page
from reports.runs import RunFrames
from reports.summary.summary import Summary, summarise
from reports.text.document import summary_json


class Paths(NamedTuple):
    """Where a run's reports were written."""

    html: Path
    markdown: Path
    json: Path


def write_report(run: RunFrames | Summary) -> Paths:
    """Write the three files into the run's folder, each in one step.

    A run is summarised first; hand in the summary where it is there already. Raises UsageError where its folder cannot
    be written.
    """
    summary = run if isinstance(run, Summary) else summarise(run)
    folder = summary.run.folder
    paths = Paths(folder / "report.html", folder / "report.md", folder / "summary.json")
    page = run_page(summary)
    texts = poured(page), markdown_text(page), summary_json(summary)
    try:
        for path, content in zip(paths, texts, strict=True):
            write_text(path, content)
    except OSError as error:
        raise UsageError(f"the report cannot be written to {folder}: {error.strerror}") from None
    return paths
