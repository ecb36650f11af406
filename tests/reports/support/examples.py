"""Synthetic runs with failures, and all outputs of their failed and slow turns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from reports.analysis.summary.summary import Summary, summarise
from reports.data.runs import load_for_report
from reports.pages.run_report.support import support_page
from reports.render.html import render_html
from reports.render.markdown import render_markdown
from reports.render.terminal import render_page
from tests.reports import synthetic
from tests.reports.edited import Row, edit
from tests.reports.synthetic import Plan

PLAN = Plan(
    sessions=40, turns=6, targets=("east", "west"), paired=True, failed=0.2, refused=3, abandoned=2
)
HEADERS = {
    "x-request-id": "req-1",
    "apim-request-id": "apim-1",
    "x-ms-region": "Sweden Central",
    "cf-ray": "9a1b-FRA",
}
Change = Callable[[int, Row], Row | None]


def built(
    folder: Path,
    plan: Plan = PLAN,
    turns: Change | None = None,
    sessions: Change | None = None,
    **changes: Any,
) -> Summary:
    """Return the summary of a synthetic run with changed rows."""
    synthetic.write(folder, plan, **changes)
    for table, change in (("turns", turns), ("sessions", sessions)):
        if change is not None:
            edit(folder, table, change)
    return summarise(load_for_report(folder))


def outputs(summary: Summary) -> dict[str, str]:
    """Return all outputs of the pages for the service's support as texts."""
    pages = support_page(summary, "failed"), support_page(summary, "slow")
    return {
        "html": "".join(map(render_html, pages)),
        "markdown": "".join(map(render_markdown, pages)),
        "terminal": "".join(map(render_page, pages)),
    }
