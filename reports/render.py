"""Pages as files: HTML, Markdown and, beside them, what programs read; a run's report in its folder."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from bench.errors import UsageError
from bench.foreign import write_text
from reports.blocks import Page
from reports.page.page import run_page
from reports.page.poured import markdown_text, poured
from reports.runs import RunFrames
from reports.summary.summary import Summary, summarise
from reports.text.document import summary_json


class Paths(NamedTuple):
    """Where a page was written."""

    html: Path
    markdown: Path
    json: Path


def write_page(page: Page, json: str, paths: Paths, what: str) -> Paths:
    """Write the three files, each in one step. Raises UsageError, of `what`, where their folder cannot be written."""
    texts = poured(page), markdown_text(page), json
    try:
        paths.html.parent.mkdir(parents=True, exist_ok=True)
        for path, content in zip(paths, texts, strict=True):
            write_text(path, content)
    except OSError as error:
        raise UsageError(f"{what} cannot be written to {paths.html.parent}: {error.strerror}") from None
    return paths


def write_report(run: RunFrames | Summary) -> Paths:
    """Write report.html, report.md and summary.json into the run's folder.

    A run is summarised first; hand in the summary where it is there already. Raises UsageError where its folder cannot
    be written.
    """
    summary = run if isinstance(run, Summary) else summarise(run)
    paths = Paths(*(summary.run.folder / name for name in ("report.html", "report.md", "summary.json")))
    return write_page(run_page(summary), summary_json(summary), paths, "the report")
