"""The formats in which a page is rendered, as texts: one HTML file, and Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from reports.analysis.comparisons.comparison import Comparison
from reports.analysis.summary.summary import Summary
from reports.analysis.targets.compared_target import ComparedTarget
from reports.analysis.targets.fairness import FairnessCheck, notices_on
from reports.analysis.trends.trend import Trend
from reports.pages.comparisons.page import comparison_page
from reports.pages.run_report.report import run_page
from reports.pages.trends.page import trend_page
from reports.render.blocks import Page, Section
from reports.render.html import render_html
from reports.render.markdown import markdown_blocks, render_markdown
from reports.render.terminal import render_page
from reports.text.comparison_sentences import all_notices, run_reasons, written_check
from reports.text.reasons import reason_text


def run_html(summary: Summary) -> str:
    return render_html(run_page(summary))


def run_text(summary: Summary, width: int = 100) -> str:
    return render_page(run_page(summary), width)


def run_forms(summary: Summary) -> tuple[str, str]:
    """Return the page of a run as HTML and as Markdown.

    The page is built only once, because to build a page takes longer than to render it.
    """
    page = run_page(summary)
    return render_html(page), render_markdown(page)


def section_html(section: Section | None) -> str:
    """Return the HTML of one section, which is about a thirtieth of a page.

    Return "" if `section` is None, because the run has no such section.
    """
    return render_html(Page("", (), "", (), (section,))) if section else ""


def section_markdown(section: Section | None) -> str:
    return markdown_blocks(section.blocks) if section else ""


def trend_html(trend: Trend, folder: Path) -> str:
    return render_html(trend_page(trend, folder))


def comparison_html(comparison: Comparison) -> str:
    return render_html(comparison_page(comparison))


def comparison_text(comparison: Comparison, width: int = 100) -> str:
    return render_page(comparison_page(comparison), width)


def comparison_notices(comparison: Comparison) -> list[str]:
    return [*map(reason_text, all_notices(comparison))]


def target_notices(targets: Sequence[ComparedTarget]) -> list[str]:
    """Return the notices on targets and on their runs, without those on metrics."""
    return [*map(reason_text, (*notices_on(targets), *run_reasons(targets, ())))]


def written(checks: Iterable[FairnessCheck]) -> list[FairnessCheck]:
    """Return the checks with their names, texts, and remedies."""
    return [*map(written_check, checks)]


def comparison_markdown(comparison: Comparison) -> str:
    return render_markdown(comparison_page(comparison))
