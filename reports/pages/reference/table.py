"""The table of the reference workload: it is made from run folders, and written as HTML, Markdown and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from reports.analysis.reference.listing import ListedTarget, UnlistedTarget, listing_of
from reports.analysis.targets.named import known_targets, refuse_same_target, refuse_unknown
from reports.data import runs
from reports.pages.reference.document import ReferenceDocument, document_of, link_of, reference_json, row_of
from reports.pages.reference.page import reference_page
from reports.render.blocks import Page
from reports.render.files import PagePaths, write_page


class ReferenceTable(NamedTuple):
    """The table as a document and as a page."""

    document: ReferenceDocument
    page: Page


def reference_table(
    chosen: Sequence[tuple[Path, str | None]], page_folder: Path, base_url: str | None = None
) -> ReferenceTable:
    """Return the table of the chosen targets. A target of None stands for all targets of the run.

    Links are below `base_url`, or relative to `page_folder`. Raise UsageError if a folder is no run or cannot be read,
    if a target is unknown or named twice, or if `base_url` is not an address.
    """
    rows, unlisted, named = [], list[UnlistedTarget](), []
    for folder, target in chosen:
        link, run = link_of(folder, page_folder, base_url), runs.load_for_report(folder)
        if target is not None:
            refuse_unknown(run, target)
        named += [(run, name) for name in ([target] if target is not None else known_targets(run) or [""])]
        refuse_same_target(named)
        for each in listing_of(run, target):
            if isinstance(each, ListedTarget):
                rows.append(row_of(each, link))
            else:
                unlisted.append(each)
    document = document_of(rows, unlisted)
    return ReferenceTable(document, reference_page(document))


def write_table(table: ReferenceTable, folder: Path) -> PagePaths:
    """Write reference.html, reference.md and reference.json. Raise UsageError if the folder is not writable."""
    paths = PagePaths(*(folder / f"reference.{ending}" for ending in ("html", "md", "json")))
    return write_page(table.page, reference_json(table.document), paths, "the table")
