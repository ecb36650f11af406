"""The files of a report.

Times in summary.json are in ms, rates in B/s, sums of segments in ns, and costs in USD.
"""

from typing import Any

from msgspec import structs

from reports.analysis.summary.run_validity import RunValidity
from reports.analysis.summary.summary import RunResults, Summary, summarise
from reports.data.runs import RunFrames
from reports.pages.run_report.report import run_page
from reports.pages.thresholds import stored_check
from reports.render.blocks import Page
from reports.render.files import PagePaths, write_page
from reports.results.json_entries import narrowed, text_of
from reports.text.notices import notices
from reports.text.reasons import document_data
from reports.text.settings import packetisation
from reports.text.validity import verdict_reason

REPORT_FILE = "report.html"


def validity_with_message(summary: Summary) -> RunValidity:
    return structs.replace(summary.validity, message=verdict_reason(summary.validity))


def summary_json(summary: Summary) -> str:
    return text_of(summary_data(summary))


def summary_data(summary: Summary) -> dict[str, Any]:
    """Return the results as data for JSON: dictionaries, lists, strings, and numbers. Add the
    texts for people.
    """
    texts = {
        "validity": validity_with_message(summary),
        "playback": structs.replace(
            summary.playback, packetisation=packetisation(summary.playback)
        ),
        "notices": tuple(notices(summary)),
    }
    return document_data(narrowed(RunResults, summary, **texts))


def write_report(run: RunFrames | Summary, page: Page | None = None) -> PagePaths:
    """Write report.html, report.md and summary.json into the run's folder. Raise UsageError if a
    file cannot be written. `page` is the page to write; if it is None, it is made from the run.
    """
    summary = run if isinstance(run, Summary) else summarise(run)
    return write_page(
        page or run_page(summary, stored_check(summary.run)),
        summary_json(summary),
        summary.run.folder / REPORT_FILE,
        "the report",
        "summary.json",
    )
