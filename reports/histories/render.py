"""A history into its page."""

from __future__ import annotations

from pathlib import Path

from bench.errors import UsageError
from bench.run.disk import write_text
from reports.histories.history import History
from reports.histories.page import html


def write(history: History, path: Path) -> Path:
    """Write the page in one step. Raises UsageError where it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, html(history, path.parent))
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
    return path
