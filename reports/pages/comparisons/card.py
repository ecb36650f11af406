"""A comparison as a picture to show to others: the answer, its interval, and what differs."""

from collections.abc import Iterator

from reports.analysis.comparisons.comparison import Comparison
from reports.formatting import join_present
from reports.pages.comparisons.forest import forest, panels, panels_of
from reports.pages.comparisons.page import design, runs
from reports.render.picture import Text, sheet
from reports.text import comparison_sentences as sentences


def card(comparison: Comparison) -> str:
    """Return the card as an SVG document: the answer, the primary metrics with their intervals,
    what differs between the targets, and the runs. If the comparison is invalid, it says so.
    """
    primary = panels_of(panels(comparison), primary=True)
    return sheet(
        [
            Text(sentences.comparison_headline(comparison), "answer"),
            Text(sentences.comparison_second(comparison), "more"),
            *(forest(panel).svg() for panel in primary),
            *(Text(text, "about") for text in _about(comparison)),
        ]
    )


def _about(comparison: Comparison) -> Iterator[str]:
    """Yield what differs between the targets, then the runs, and whether they were simulated."""
    for check in comparison.checks:
        written = sentences.written_check(check)
        if check.result == "informational" and len(set(written.texts)) > 1:
            yield f"{written.name}: {' → '.join(written.texts)}"
    titles, began = runs(comparison)
    simulated = "SIMULATED, no real service" if comparison.simulated else ""
    about = [titles, design(comparison), began, simulated]
    yield join_present(" · ", *about)
