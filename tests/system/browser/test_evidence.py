"""The evidence for a service's support in a real browser: both themes, a desktop and a phone,
pictures.

RTBENCH_SCREENSHOTS names a folder in which the pictures are stored.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from reports.analysis.summary.summary import summarise
from reports.data.runs import load_for_report
from reports.pages.evidence.document import evidence_of, write_evidence
from reports.pages.evidence.page import MUST_NOT, evidence_page
from tests.reports import synthetic
from tests.reports.edited import edit
from tests.reports.synthetic import Plan
from tests.system.browser.chromium import CONTRAST, Browser, Page

PLAN = Plan(
    sessions=60,
    turns=10,
    targets=("direct", "gateway"),
    failed=0.2,
    refused=3,
    paired=True,
    seconds=600,
)
DETAIL = "inference_service_unavailable_error: the model did not answer, x" + "y" * 200
OPEN_ALL = "document.querySelectorAll('details').forEach(fold => fold.open = true)"
WIDER = "document.documentElement.scrollWidth - innerWidth"
END_OF_HEADLINE = "document.querySelector('h1').getBoundingClientRect().bottom"


def written(folder: Path, *, valid: bool) -> Path:
    """Write the evidence of a run whose failures have a long message without spaces."""
    plan = Plan(**{**vars(PLAN), "valid": valid})
    edit(synthetic.write(folder, plan), "turns", lambda _, row: row | {"cause": DETAIL})
    evidence = evidence_of(summarise(load_for_report(folder)))
    return write_evidence(evidence, evidence_page(evidence)).html


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    folder = tmp_path_factory.mktemp("evidence")
    return {valid: written(folder / str(valid), valid=valid) for valid in (True, False)}


CASES = [
    (theme, width, valid)
    for theme in ("light", "dark")
    for width in (1280, 400)
    for valid in (True, False)
]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: "-".join(map(str, case)))
def case(request: pytest.FixtureRequest) -> tuple[str, int, bool]:
    found: tuple[str, int, bool] = request.param
    return found


@pytest.fixture(scope="module")
def shown(browser: Browser, pages: dict[bool, Path], case: tuple[str, int, bool]) -> Iterator[Page]:
    theme, width, valid = case
    with browser.page(pages[valid], width, 900, theme) as page:
        if folder := os.environ.get("RTBENCH_SCREENSHOTS"):
            Path(folder, f"evidence-{theme}-{width}-{valid}.png").write_bytes(page.picture())
        yield page


def test_the_verdict_is_on_the_first_screen(shown: Page, case: tuple[str, int, bool]) -> None:
    assert 0 < shown.value(END_OF_HEADLINE) < 900
    assert (MUST_NOT in shown.value("document.querySelector('h1').textContent")) == (not case[2])


def test_the_page_fits_its_window_with_sufficient_contrast_and_without_errors(shown: Page) -> None:
    shown.value(OPEN_ALL)

    assert shown.value(WIDER) <= 0
    assert shown.value(CONTRAST) == []
    assert shown.browser_errors() == []
