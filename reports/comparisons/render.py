"""A comparison into its files: compare.html, compare.md and compare.json."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from bench.errors import UsageError
from bench.run.disk import write_text
from reports.comparisons.comment import markdown
from reports.comparisons.comparison import Comparison
from reports.comparisons.document import as_json
from reports.comparisons.page import html


class ComparePaths(NamedTuple):
    """Where a comparison was written."""

    html: Path
    markdown: Path
    json: Path


def write(comparison: Comparison, folder: Path) -> ComparePaths:
    """Write the three files, each in one step. Raises UsageError where the folder cannot be written."""
    paths = ComparePaths(*(folder / f"compare.{ending}" for ending in ("html", "md", "json")))
    texts = html(comparison), markdown(comparison), as_json(comparison)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, content in zip(paths, texts, strict=True):
            write_text(path, content)
    except OSError as error:
        raise UsageError(f"the comparison cannot be written to {folder}: {error.strerror}") from None
    return paths
