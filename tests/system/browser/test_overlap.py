"""Texts of figures, in Chromium: none lies over another or beyond its figure, on a desk, a small window and a phone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from reports.comparisons.comparison import compared
from reports.question import Question, Stratum
from reports.runs import load_for_report
from reports.sides.side import sides_of
from reports.statistics.differences import Margin
from reports.text.document import write_report
from tests.reports import synthetic
from tests.reports.comparisons import invented
from tests.reports.edited import edited
from tests.reports.forms import comparison_html
from tests.reports.synthetic import Plan
from tests.system.browser.chromium import Browser

WIDTHS = (1280, 800, 390)
MIXED = Plan(
    sessions=120,
    turns=10,
    targets=("swedencentral", "eastus2"),
    kinds=("typed", "vad"),
    seconds=600,
    paired=True,
    usage=True,
)
FOUND = """(() => {
  const found = [];
  for (const svg of [...document.querySelectorAll('svg.figure')].filter(e => e.checkVisibility())) {
    const frame = svg.getBoundingClientRect();
    const texts = [...svg.querySelectorAll('text')]
      .filter(e => e.textContent.trim() && e.checkVisibility())
      .map(e => [e.textContent, e.getBoundingClientRect()]);
    for (const [k, [one, a]] of texts.entries()) {
      if (a.left < frame.left - 2 || a.right > frame.right + 2) found.push([one, "beyond its figure"]);
      for (const [other, b] of texts.slice(k + 1)) {
        const down = Math.max(a.top, b.top) - Math.min(a.bottom, b.bottom);
        const across = Math.max(a.left, b.left) - Math.min(a.right, b.right);
        if (down < -3 && across < -1) found.push([one, other]);
      }
    }
  }
  return found;
})()"""
"""Texts that lie over others by more than 3 pixels in height and 1 across, or leave their figure."""
DECIDED_BY_BOTH = (
    Question("ttfa", "quantile", Margin(0.02), 0.5, True, Stratum("request_sent", "")),
    Question("ttfa", "quantile", Margin(0.2), 0.5, True, Stratum("speech_end", "")),
)


def _report(folder: Path, plan: Plan) -> Path:
    return write_report(load_for_report(synthetic.write(folder / "run", plan, interleaved=plan.paired))).html


def _comparison(folder: Path, plan: Plan) -> Path:
    run = synthetic.write(folder / "run", plan, interleaved=True)
    page = folder / "compare.html"
    page.write_text(comparison_html(compared(sides_of([run]))))
    return page


def _decided(folder: Path) -> Path:
    """Two gates that only the instant tells apart from which they count; a margin close to no change."""
    made = invented.decision(gates=DECIDED_BY_BOTH, rulings=(invented.RULINGS[0], invented.RULINGS[0]))
    drifting = tuple(
        replace(one, verdict=replace(one.verdict, provisional=True), difference=replace(one.difference, order="drift"))
        if one.difference
        else one
        for one in invented.findings()
    )
    page = folder / "compare.html"
    page.write_text(comparison_html(invented.comparison(decision=made, findings=drifting)))
    return page


def _agent(folder: Path) -> Path:
    """Calls in which nothing tells of turns, the longest reply of which is interrupted near its end."""
    untold = dict.fromkeys(("measured_from", "first_audio_at_ns", "first_transcript_at_ns", "response_created_at_ns"))
    untold |= dict.fromkeys(("speech_stopped_at_ns", "committed_at_ns"))
    synthetic.write(folder / "run", Plan(sessions=20))
    return write_report(edited(folder / "run", lambda _, row: row | untold)).html


PAGES: dict[str, Callable[[Path], Path]] = {
    "report": lambda folder: _report(folder, Plan(sessions=60, turns=6, usage=True, limited=True)),
    "report of two targets and both origins": lambda folder: _report(folder, MIXED),
    "comparison of both origins": lambda folder: _comparison(folder, MIXED),
    "decided comparison": _decided,
    "report of an agent": _agent,
}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: write(tmp_path_factory.mktemp("pages")) for name, write in PAGES.items()}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_texts_of_figures_lie_beside_each_other_and_the_page_is_no_wider_than_its_window(
    browser: Browser, pages: dict[str, Path], name: str, width: int
) -> None:
    with browser.page(pages[name], width, 900, "light") as shown:
        shown.value("document.querySelectorAll('details').forEach(fold => fold.open = true)")

        assert shown.value(FOUND) == []
        assert shown.value("document.documentElement.scrollWidth") <= width


def test_each_plot_and_metric_of_a_decision_has_a_title_of_its_own(browser: Browser, pages: dict[str, Path]) -> None:
    with browser.page(pages["decided comparison"], 1280, 900, "light") as shown:
        titles = shown.value("[...document.querySelectorAll('svg.figure')].map(e => e.getAttribute('aria-label'))")
        heads = shown.value("[...document.querySelectorAll('#analyses th')].map(e => e.textContent)")

    assert len(set(titles)) == len(titles)
    assert {"ttfa p50 from request sent", "ttfa p50 from end of speech"} <= set(heads)
    assert len(set(heads)) == len(heads)
