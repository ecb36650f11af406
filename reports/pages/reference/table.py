"""The table of the reference workload: it is made from run folders, and written as HTML, Markdown and JSON."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from msgspec import structs

from bench.base.errors import UsageError
from bench.catalogue.reference_workload import VERSION
from bench.files.sanitize import escape_control
from reports.analysis.reference.listing import (
    REFERENCE_VERSION,
    ListedTarget,
    ReferenceDocument,
    ReferenceRow,
    UnlistedTarget,
    listing_of,
)
from reports.analysis.reference.run_digest import run_digest
from reports.analysis.targets.named import known_targets, refuse_same_target, refuse_unknown
from reports.data import runs
from reports.data.runs import run_id_of
from reports.formatting import NBSP
from reports.pages.reference.page import reference_page
from reports.render.blocks import Page
from reports.render.files import PagePaths, write_page
from reports.results.json_entries import entry_from, text_of
from reports.text.reasons import document_data, remedies
from reports.text.sentences import offered_load


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
                unlisted.append(structs.replace(each, remedies=tuple(remedies(each.reasons))))
    document = ReferenceDocument(REFERENCE_VERSION, VERSION, rows, unlisted)
    return ReferenceTable(document, reference_page(document))


def row_of(listed: ListedTarget, link: str) -> ReferenceRow:
    """Return the row of a target. `link` is the URL of the folder of its run."""
    summary, run = listed.summary, listed.summary.run
    facts, outcomes = summary.target_settings[listed.index], summary.outcomes[listed.target]
    return entry_from(
        ReferenceRow,
        *(facts, outcomes, summary),
        form=listed.form,
        workload_version=VERSION,
        settings=facts.variant_settings or "",
        tool_version=str((run.metadata.get("tool") or {}).get("version") or "unknown"),
        definitions_version=int(run.metadata.get("definitions_version") or 1),
        load=offered_load(summary).replace(NBSP, " "),
        sessions=outcomes.sessions_started,
        turns_failed=outcomes.failed_or_not_started,
        metrics=listed.metrics,
        validity=summary.validity.status,
        run_id=run_id_of(run),
        link=link,
        digest=run_digest(run.folder),
    )


def link_of(folder: Path, page_folder: Path, base_url: str | None) -> str:
    """Return the URL of a run's folder: below `base_url` if that is given, else relative to the folder of the page.

    Raise UsageError if `base_url` is not an address of the web.
    """
    name = folder.resolve().name
    if base_url is None:
        return quote(os.fsencode(os.path.relpath(folder.resolve(), page_folder.resolve())))
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.username or parts.query or parts.fragment:
        raise UsageError(
            f"--link {escape_control(base_url)} must be the address of the folder that contains the runs, such as "
            "https://example.com/runs"
        )
    return f"{quote(base_url.rstrip('/'), safe='/:%[]@')}/{quote(os.fsencode(name))}"


def write_table(table: ReferenceTable, folder: Path) -> PagePaths:
    """Write reference.html, reference.md and reference.json. Raise UsageError if the folder is not writable."""
    paths = PagePaths(*(folder / f"reference.{ending}" for ending in ("html", "md", "json")))
    return write_page(table.page, text_of(document_data(table.document)), paths, "the table")
