"""Gives the texts of a page as it is written, without a folder: one HTML file, and Markdown."""

from __future__ import annotations

from reports.comparisons.comparison import Comparison
from reports.comparisons.page import comparison_page
from reports.page.page import run_page
from reports.page.poured import markdown_text, poured
from reports.summary.summary import Summary


def run_html(summary: Summary) -> str:
    return poured(run_page(summary))


def run_markdown(summary: Summary) -> str:
    return markdown_text(run_page(summary))


def comparison_html(comparison: Comparison) -> str:
    return poured(comparison_page(comparison))


def comparison_markdown(comparison: Comparison) -> str:
    return markdown_text(comparison_page(comparison))
