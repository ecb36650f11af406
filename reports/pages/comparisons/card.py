"""A comparison as a picture to show to others: the answer, its interval, and what differs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from reports.analysis.comparisons.comparison import Comparison
from reports.data.runs import titles_of
from reports.formatting import format_utc, join_words
from reports.pages.comparisons.forest import forest, panels, panels_of
from reports.pages.comparisons.page import design
from reports.render.picture import style
from reports.render.svg import WIDE, clean
from reports.text import comparison_sentences as sentences

MARGIN = 60
ANSWER_LETTERS, TEXT_LETTERS = 62, 118
"""The letters of a line of the answer, and of other texts."""
ANSWER_LINE, TEXT_LINE = 44, 26
"""The heights of these lines, in units of the drawing."""
GAP = 12
OWN = (
    "svg .answer{font-size:33px;font-weight:600}svg .more{font-size:18px}"
    "svg .about{font-size:16px;fill:#5a646e}"
)
"""The style of the texts of a card."""


def card(comparison: Comparison) -> str:
    """Return the card as an SVG document: the answer, the primary metrics with their intervals,
    what differs between the targets, and the runs. If the comparison is invalid, it says so.
    """
    y = MARGIN - ANSWER_LINE // 2
    parts = list[str]()
    for text, cls, letters, line in _texts(comparison):
        for part in textwrap.wrap(text, letters):
            y += line
            parts.append(f'<text x="{MARGIN}" y="{y}" class="{cls}">{clean(part)}</text>')
        y += GAP
    for panel in panels_of(panels(comparison), primary=True):
        y += GAP
        plot = forest(panel)
        parts.append(f'<g transform="translate({MARGIN} {y})">{plot.svg()}</g>')
        y += plot.h
    for text in _about(comparison):
        for part in textwrap.wrap(text, TEXT_LETTERS):
            y += TEXT_LINE
            parts.append(f'<text x="{MARGIN}" y="{y}" class="about">{clean(part)}</text>')
    width, height = WIDE + 2 * MARGIN, y + MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}"'
        f' height="{height}"><style>{style()}{OWN}</style>'
        f'<rect width="{width}" height="{height}" fill="#fff"/>{"".join(parts)}</svg>'
    )


def _texts(comparison: Comparison) -> Iterator[tuple[str, str, int, int]]:
    """Yield the answer and its confidence, each with its class, letters and height of a line."""
    yield sentences.comparison_headline(comparison), "answer", ANSWER_LETTERS, ANSWER_LINE
    yield sentences.comparison_second(comparison), "more", TEXT_LETTERS, TEXT_LINE


def _about(comparison: Comparison) -> Iterator[str]:
    """Yield what differs between the targets, then the runs, and whether they were simulated."""
    for check in comparison.checks:
        written = sentences.written_check(check)
        if check.result == "informational" and len(set(written.texts)) > 1:
            yield f"{written.name}: {' → '.join(written.texts)}"
    documents = [target.run.metadata for target in comparison.targets]
    began = dict.fromkeys(
        format_utc(int(document["started_utc_ns"]))
        for document in documents
        if document.get("started_utc_ns")
    )
    simulated = "SIMULATED, no real service" if comparison.simulated else ""
    about = [join_words(titles_of(documents)), design(comparison), " and ".join(began), simulated]
    yield " · ".join(filter(None, about))
