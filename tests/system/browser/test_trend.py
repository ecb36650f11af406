"""The page of a history in a real browser: both themes, a desktop and a phone, the crosshair,
pictures.

RTBENCH_SCREENSHOTS names a folder in which the pictures are stored.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from reports.analysis.trends.trend import trend_of_points
from reports.pages.trends.page import trend_page, write_trend
from tests.reports.trends.examples import invalid, nights, stepped
from tests.system.browser.chromium import CONTRAST, Browser, Page

WIDER = "document.documentElement.scrollWidth - innerWidth"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    old, new = {"model": "gpt-realtime"}, {"model": "gpt-realtime-2"}
    made = enumerate(stepped(20, 20))
    runs = [
        replace(one, conditions={**one.conditions, **(new if at >= 20 else old)})
        for at, one in made
    ]
    runs += [
        *nights([700.0] * 40, seed=2, target="other", labels={"ring": "canary"}),
        invalid(50, 900.0),
    ]
    folder = tmp_path_factory.mktemp("page")
    return write_trend(trend_page(trend_of_points(runs), folder), folder / "trend.html")


@pytest.fixture(params=[("light", 1280), ("dark", 1280), ("light", 380), ("dark", 380)], ids=str)
def shown(browser: Browser, file: Path, request: pytest.FixtureRequest) -> Iterator[Page]:
    theme, width = request.param
    with browser.page(file, width, 900, theme) as page:
        yield page
        if folder := os.environ.get("RTBENCH_SCREENSHOTS"):
            Path(folder, f"history-{theme}-{width}.png").write_bytes(page.picture())
        assert page.browser_errors() == []


def test_the_trend_page_fits_its_window_and_has_sufficient_contrast(shown: Page) -> None:
    assert shown.value(WIDER) <= 0
    assert shown.value(CONTRAST) == []


def test_long_target_names_fit_the_width_of_a_phone(browser: Browser, tmp_path: Path) -> None:
    places = ("swedencentral", "eastus2", "germanywestcentral")
    named = [
        replace(one, target=f"my-own-resource-{place}.openai.azure.com")
        for place in places
        for one in stepped(9, 9)
    ]
    page = write_trend(trend_page(trend_of_points(named), tmp_path), tmp_path / "trend.html")
    ends = (
        "[...document.querySelectorAll('h1, svg .dl')].map(e => { const r ="
        " document.createRange(); "
    )
    ends += "r.selectNodeContents(e); return r.getBoundingClientRect().right })"
    with browser.page(page, 390, 844, "light") as shown:
        rights = shown.value(ends)

    assert len(rights) > len(places)
    assert max(rights) <= 390


def test_the_crosshair_lists_each_run_of_a_date(browser: Browser, file: Path) -> None:
    with browser.page(file, 1280, 900, "light") as shown:
        shown.value("document.querySelector('main svg[data-stops]').focus()")
        shown.press("Home", 36)
        announced = shown.value("document.getElementById('say').textContent").split(" · ")

        assert announced[0].startswith("20 Nov 2026")
        assert [text.split(" ")[0] for text in announced[1:]] == ["gateway", "other"]


def test_runs_are_sorted_by_their_start_date(browser: Browser, file: Path) -> None:
    with browser.page(file, 1280, 900, "light") as shown:
        shown.value(
            "[...document.querySelectorAll('.sort')].find(b =>"
            " b.innerText.startsWith('began')).click()"
        )
        rows = "[...document.querySelector('#scenario-1 tbody').rows]"
        days = shown.value(f"{rows}.map(r => r.cells[1].innerText)")

        assert days == sorted(days)
        assert len(days) == 41
