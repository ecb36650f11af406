"""The page of the reference workload in a real browser: both themes, a desktop and a phone.

RTBENCH_SCREENSHOTS names a folder in which the pictures are stored.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.catalogue.reference_workload import TYPED
from reports.pages.reference.table import reference_table, write_table
from tests.reports.reference.builders import reference_plan, write_reference
from tests.system.browser.chromium import CONTRAST, Browser

WIDER = "document.documentElement.scrollWidth - innerWidth"
CUT = "[...document.querySelectorAll('main .scroll')].filter(e => e.scrollWidth > e.clientWidth).length"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    names = ("swedencentral-gpt-realtime-2-low", "eastus2")
    spoken = write_reference(folder / "spoken", plan=reference_plan(sessions=460, targets=names), run_id="spoken")
    typed = write_reference(folder / "typed", TYPED, run_id="typed")
    small = write_reference(folder / "small", plan=reference_plan(sessions=10), run_id="small")
    return write_table(reference_table([(run, None) for run in (spoken, typed, small)], folder), folder).html


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 1280), ("light", 380), ("dark", 380)])
def test_the_reference_page_fits_its_window_and_has_sufficient_contrast(
    browser: Browser, file: Path, theme: str, width: int
) -> None:
    with browser.page(file, width, 900, theme) as shown:
        if folder := os.environ.get("RTBENCH_SCREENSHOTS"):
            Path(folder, f"reference-{theme}-{width}.png").write_bytes(shown.picture())
        assert shown.value(WIDER) <= 0
        assert shown.value(CUT) == 0
        assert shown.value(CONTRAST) == []
        assert shown.browser_errors() == []
