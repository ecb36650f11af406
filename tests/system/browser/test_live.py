"""The figures of the web UI's tab in a real browser, in both of Locust's themes, at a desk and on a phone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.load.leading.web_ui import live_page
from tests.load.test_web_tab import SWEDEN, WAIT
from tests.system.browser.chromium import Browser
from tests.system.browser.test_pages import CONTRAST

SMALLEST_PX = 10
WAITS = (replace(WAIT, course_ms=((400.0, 900.0), (420.0, 800.0))),)
STANDING = replace(
    SWEDEN, waits=WAITS, verdict="INVALID: timestamp_uncertainty 11.1 ms > 4.2 ms", validity="invalid", simulated=True
)
BADGES = "[...document.querySelectorAll('b')].map(e => e.getClientRects().length)"
SIZES = """[...document.querySelectorAll('svg')].map(e => parseFloat(getComputedStyle(e.querySelector('text')).fontSize)
  * e.getBoundingClientRect().width / e.viewBox.baseVal.width)"""
LEFTMOST = "Math.min(...[...document.querySelectorAll('svg text')].map(e => e.getBBox().x))"


@pytest.mark.parametrize(("dark", "width"), [(False, 1400), (True, 1400), (False, 342), (True, 342)])
def test_the_tab_is_read_in_either_theme_and_on_a_phone(
    browser: Browser, tmp_path: Path, dark: bool, width: int
) -> None:
    file = tmp_path / "live.html"
    file.write_text(live_page([STANDING], dark=dark))
    with browser.page(file, width, 620, "light") as shown:
        assert shown.value(BADGES) == [1, 1]
        assert min(shown.value(SIZES)) >= SMALLEST_PX
        assert shown.value(LEFTMOST) >= 0
        assert shown.value(CONTRAST) == []
        assert shown.value("document.documentElement.scrollWidth") <= width
