"""The run page and the comparison page in a real browser: both themes, a desktop and a phone, the
keyboard, pictures.

RTBENCH_SCREENSHOTS names a folder in which the pictures are stored.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import rtbench
from reports.analysis.comparisons.comparison import Comparison, compare_targets
from reports.analysis.summary.summary import summarise
from reports.analysis.targets.named import parse_targets
from reports.data.runs import load_for_report
from reports.metrics.metric_spec import MetricSpec
from reports.metrics.statistic_types.quantile import Quantile
from reports.metrics.strata import Stratum
from reports.pages.comparisons.forest import panels
from reports.pages.run_report.document import write_report
from reports.pages.run_report.support import support_page, write_support_page
from reports.statistics.differences import Margin
from reports.text.cells import quantile_cell
from tests.reports import synthetic
from tests.reports.comparisons import invented
from tests.reports.edited import edited
from tests.reports.forms import comparison_html
from tests.reports.synthetic import Plan
from tests.system.browser.chromium import CONTRAST, Browser, Page

ARMS = Plan(
    sessions=120,
    turns=10,
    targets=("direct", "gateway"),
    failed=0.01,
    seconds=600,
    paired=True,
    usage=True,
    limited=True,
)
FOLDS = {1280: 900, 400: 1688}
"""The height of the first screen, on a phone of the first two, in pixels, by the width of the window.
"""
MANY_BYTES = 30_000
"""The minimum size of a picture with content. A picture of a single colour has fewer bytes."""

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
"""A script that returns the texts that overlap other texts or extend beyond their figure.

An overlap counts from 3 pixels in height and 1 pixel in width.
"""
DECIDED_BY_BOTH = (
    MetricSpec("ttfa", Quantile(0.5), Margin(0.02), True, Stratum("request_sent", "")),
    MetricSpec("ttfa", Quantile(0.5), Margin(0.2), True, Stratum("speech_end", "")),
)

BOTTOM = """(text => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
  while (walker.nextNode()) if (walker.currentNode.data.includes(text)) {
    const range = document.createRange(); range.selectNodeContents(walker.currentNode);
    const box = range.getBoundingClientRect();
    if (box.width && box.height) found.push(box.bottom + scrollY);
  }
  return found.length ? Math.min(...found) : null;
})"""
"""A JavaScript function that finds the first visible text that contains its argument, and returns
the lower end of that text in pixels, or null.
"""
FOCUSED = "document.activeElement.matches('svg[data-stops]')"
COLOUR = "getComputedStyle(document.body).{}"
MOST_TABS = 60
SPOKEN = "document.getElementById('say').textContent"


class Shown(NamedTuple):
    """A page, and the texts that must be visible on its first screen: the validity, *simulated*,
    the p95.
    """

    file: Path
    first: tuple[str, ...]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Shown]:
    """Write every tested page once for all tests."""
    folder = tmp_path_factory.mktemp("pages")
    run = synthetic.write(folder / "run", ARMS, interleaved=True)
    # with another seed, a drift may be found by chance
    calm = synthetic.write(folder / "calm", replace(ARMS, seed=8), interleaved=True)
    rising = Plan(
        turns=10, valid=False, seconds=120, stages=((60, 10), (60, 30)), slower=0.03, refused=2
    )
    broken = synthetic.write(folder / "broken", rising)
    both = replace(ARMS, kinds=("typed", "vad"))
    mixed = synthetic.write(folder / "mixed", both, interleaved=True)
    unfair = (invented.UNFAIR, *invented.CHECKS[1:])
    return {
        "run": _run(run, "VALID RUN"),
        "run-invalid": _run(broken, "INVALID RUN"),
        "compare": _compare(
            folder / "1.html", compare_targets(parse_targets([calm])), "VALID COMPARISON"
        ),
        "compare-decided": _compare(folder / "5.html", _decided(), "VALID COMPARISON"),
        "compare-invalid": _compare(
            folder / "4.html", invented.comparison(checks=unfair), "INVALID COMPARISON"
        ),
        "agent": _agent(folder / "agent"),
        "failed": _failed(folder / "failed"),
        "run-mixed": Shown(_run(mixed, "").file, ("VALID RUN",)),
        "compare-mixed": Shown(
            _compare(folder / "2.html", compare_targets(parse_targets([mixed])), "").file,
            ("VALID COMPARISON",),
        ),
    }


def _decided() -> Comparison:
    """Return a comparison with two gates, which differ in `measured_from` and in the margin."""
    made = invented.decision(
        rulings=tuple(replace(invented.RULINGS[0], spec=spec) for spec in DECIDED_BY_BOTH)
    )
    drifting = tuple(
        (
            replace(
                one,
                verdict=replace(one.verdict, provisional=True),
                difference=replace(one.difference, order="drift"),
            )
            if one.difference
            else one
        )
        for one in invented.all_compared()
    )
    return invented.comparison(decision=made, comparisons=drifting)


def _agent(folder: Path) -> Shown:
    """Write the report of calls to a service that reports no turns."""
    untold = dict.fromkeys(
        ("measured_from", "first_audio_at_ns", "first_transcript_at_ns", "response_created_at_ns")
    )
    untold |= dict.fromkeys(("speech_stopped_at_ns", "committed_at_ns"))
    synthetic.write(folder, Plan(sessions=20))
    return Shown(write_report(edited(folder, lambda _, row: row | untold)).html, ("SIMULATED",))


def _failed(folder: Path) -> Shown:
    """Write the failed turns of a run, whose errors have a long word."""
    synthetic.write(folder, replace(ARMS, sessions=40, failed=0.2, refused=3))
    run = edited(folder, lambda _, row: row | {"cause": f"unavailable_error: x{'y' * 200}"})
    page = support_page(run, "failed")
    return Shown(write_support_page(run, page, "failed").html, ("SIMULATED", "failed"))


def _run(folder: Path, valid: str) -> Shown:
    summary = summarise(rtbench.load(folder, all_columns=False))
    p95 = str(quantile_cell(summary.results[0], 0.95, "").text)
    return Shown(write_report(summary).html, (valid, "SIMULATED", p95))


def _compare(file: Path, comparison: Comparison, valid: str) -> Shown:
    file.write_text(comparison_html(comparison))
    rows = [row for panel in panels(comparison) for row in panel.rows]
    p95 = next(row.measured for row in rows if row.comparison.spec.p == 0.95)
    return Shown(file, (valid, "SIMULATED", p95))


NAMES = (
    "run",
    "run-invalid",
    "compare",
    "compare-decided",
    "compare-invalid",
    "agent",
    "failed",
    "run-mixed",
    "compare-mixed",
)
CASES = [(name, theme, width) for name in NAMES for theme in ("light", "dark") for width in FOLDS]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: "-".join(map(str, case)))
def case(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(scope="module")
def shown(browser: Browser, pages: dict[str, Shown], case: tuple[str, str, int]) -> Iterator[Page]:
    name, theme, width = case
    with browser.page(pages[name].file, width, FOLDS[width], theme) as opened:
        yield opened


def test_a_page_is_drawn_without_browser_errors(
    shown: Page, case: tuple[str, str, int], tmp_path: Path
) -> None:
    picture = shown.picture()
    folder = Path(os.environ.get("RTBENCH_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{'-'.join(map(str, case))}.png").write_bytes(picture)

    assert shown.browser_errors() == []
    assert len(picture) > MANY_BYTES


def test_a_chart_fits_a_desktop_window_and_scrolls_on_a_phone(
    shown: Page, case: tuple[str, str, int]
) -> None:
    """On a phone the chart scrolls within its own frame."""
    sizes = shown.value(
        "[...document.querySelectorAll('.pan > svg')].filter(e => e.checkVisibility()).map(e =>"
        " [e.getBoundingClientRect().width, e.viewBox.baseVal.width, e.parentElement.scrollWidth])"
    )

    assert sizes or case[0] == "failed"
    for width, drawn, scrolled in sizes:
        if case[2] < 700:
            assert width == drawn <= scrolled
        else:
            assert width <= case[2]


def test_the_most_important_content_is_on_the_first_screen(
    shown: Page, case: tuple[str, str, int], pages: dict[str, Shown]
) -> None:
    name, _, width = case
    for text in pages[name].first:
        assert 0 < shown.value(f"{BOTTOM}({json.dumps(text)})") < FOLDS[width], text


def test_each_text_has_sufficient_contrast(shown: Page) -> None:
    assert shown.value(CONTRAST) == []


def test_texts_of_charts_do_not_overlap_and_the_page_fits_its_window(
    shown: Page, case: tuple[str, str, int]
) -> None:
    shown.value("document.querySelectorAll('details').forEach(fold => fold.open = true)")

    assert shown.value(FOUND) == []
    assert shown.value("document.documentElement.scrollWidth") <= case[2]


def test_text_instead_of_a_number_fits_its_cell_on_a_phone(
    browser: Browser, tmp_path: Path
) -> None:
    run = synthetic.write(tmp_path / "run", Plan(failed=1.0))
    over = """[...document.querySelectorAll('.answer td.big')].map(e => {
      const range = document.createRange(); range.selectNodeContents(e);
      return [e.innerText, range.getBoundingClientRect().right - e.getBoundingClientRect().right] })"""
    with browser.page(write_report(load_for_report(run)).html, 390, 844, "light") as shown:
        cells = shown.value(over)

    assert any("∞" in text for text, _ in cells)
    assert [text for text, beyond in cells if beyond > 4] == []


@pytest.mark.parametrize("name", ["run", "compare"])
def test_a_page_is_printed_on_white_paper(
    browser: Browser, pages: dict[str, Shown], name: str
) -> None:
    with browser.page(pages[name].file, 1280, 900, "dark") as shown:
        dark = [{"name": "prefers-color-scheme", "value": "dark"}]
        shown.ask("Emulation.setEmulatedMedia", media="print", features=dark)

        assert shown.value(COLOUR.format("backgroundColor")) == "rgb(255, 255, 255)"
        assert shown.value(COLOUR.format("color")) == "rgb(0, 0, 0)"


@pytest.mark.parametrize("width", FOLDS)
@pytest.mark.parametrize("name", ["run", "compare"])
def test_the_keyboard_reaches_a_chart_and_its_values_are_announced(
    browser: Browser, pages: dict[str, Shown], name: str, width: int
) -> None:
    with browser.page(pages[name].file, width, FOLDS[width], "light") as shown:
        for _ in range(MOST_TABS):
            shown.press("Tab", 9)
            if shown.value(FOCUSED):
                break
        spoken = [shown.value(SPOKEN)]
        for key, code in (("ArrowRight", 39), ("End", 35), ("Home", 36)):
            shown.press(key, code)
            spoken.append(shown.value(SPOKEN))

        assert all(spoken)
        assert len(set(spoken)) == len(spoken)
        assert shown.value("tip.textContent").replace("\n", " · ") == spoken[-1]
        shown.press("Escape", 27)
        assert shown.value("tip.hidden") is True
        assert shown.browser_errors() == []


@pytest.mark.parametrize("name", ["run", "compare"])
def test_focusing_a_term_shows_its_definition(
    browser: Browser, pages: dict[str, Shown], name: str
) -> None:
    with browser.page(pages[name].file, 1280, 900, "light") as shown:
        shown.value("document.querySelector('a.d').focus()")

        assert shown.value("tip.hidden") is False
        assert len(shown.value("tip.textContent")) > 20


def test_each_chart_and_metric_of_a_decision_has_a_unique_title(
    browser: Browser, pages: dict[str, Shown]
) -> None:
    with browser.page(pages["compare-decided"].file, 1280, 900, "light") as shown:
        titles = shown.value(
            "[...document.querySelectorAll('svg.figure')].map(e => e.getAttribute('aria-label'))"
        )
        heads = shown.value(
            "[...document.querySelectorAll('#analyses th')].map(e => e.textContent)"
        )

    assert len(set(titles)) == len(titles)
    assert {"ttfa p50 from request sent", "ttfa p50 from end of speech"} <= set(heads)
    assert len(set(heads)) == len(heads)
