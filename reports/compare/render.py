"""A comparison into its files: compare.html, compare.md and compare.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from bench.errors import UsageError
from bench.run.folder import write_text
from reports.compare.comment import markdown
from reports.compare.comparison import Comparison
from reports.compare.document import as_json
from reports.compare.page import html


class Paths(NamedTuple):
    """Where a comparison was written."""

    html: Path
    markdown: Path
    json: Path


def write(comparison: Comparison, folder: Path) -> Paths:
    """Write the three files, each in one step. Raises UsageError where the folder cannot be written.

    A run that was judged while it went on is shown with its decision.
    """
    paths = Paths(*(folder / f"compare.{ending}" for ending in ("html", "md", "json")))
    texts = html(comparison, _decision(comparison)), markdown(comparison), as_json(comparison)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, content in zip(paths, texts, strict=True):
            write_text(path, content)
    except OSError as error:
        raise UsageError(f"the comparison cannot be written to {folder}: {error.strerror}") from None
    return paths


def _decision(comparison: Comparison) -> dict[str, Any] | None:
    """decision.json of the one run whose sides these are; None where it has none."""
    (run,) = {side.run.folder for side in comparison.sides} if comparison.method.design == "pairs" else (None,)
    path = run / "decision.json" if run else None
    return json.loads(path.read_text(encoding="utf-8")) if path and path.exists() else None
