"""Gives the texts of a page as it is written, without a folder: one HTML file, and Markdown."""

from __future__ import annotations

from reports.blocks import Page, Section
from reports.comparisons.comparison import Comparison
from reports.comparisons.page import comparison_page
from reports.page.page import run_page
from reports.page.poured import markdown_blocks, markdown_text, poured
from reports.summary.summary import Summary


def run_html(summary: Summary) -> str:
    return poured(run_page(summary))


def run_forms(summary: Summary) -> tuple[str, str]:
    """Both, of one page: to make it takes longer than to write either."""
    page = run_page(summary)
    return poured(page), markdown_text(page)


def section_html(section: Section | None) -> str:
    """One section alone, where a test asks what it says: some thirtieth of a page. No text where the run has none."""
    return poured(Page("", (), "", (), (section,))) if section else ""


def section_markdown(section: Section | None) -> str:
    return markdown_blocks(section.blocks) if section else ""


def comparison_html(comparison: Comparison) -> str:
    return poured(comparison_page(comparison))


def comparison_markdown(comparison: Comparison) -> str:
    return markdown_text(comparison_page(comparison))
