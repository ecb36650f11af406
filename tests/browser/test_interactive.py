"""What a reader does with the page of a run: switches targets off and on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reports import render
from reports.runs import load_for_report
from reports.summary.summary import summarise
from tests.browser.chromium import Browser, Page
from tests.reports import synthetic
from tests.reports.synthetic import Plan

ARMS = Plan(sessions=120, turns=10, targets=("direct", "gateway"), failed=0.01, seconds=600, paired=True, usage=True)
SEEN = "[...document.querySelectorAll('main svg .o{}')].filter(e => getComputedStyle(e).display != 'none').length"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = synthetic.write(tmp_path_factory.mktemp("page") / "run", ARMS, interleaved=True)
    return render.write(summarise(load_for_report(folder))).html


@pytest.fixture
def shown(browser: Browser, file: Path) -> Iterator[Page]:
    with browser.page(file, 1280, 900, "light") as page:
        yield page
        assert page.complaints() == []


def seen(page: Page, target: int) -> Any:
    return page.value(SEEN.format(target))


def test_a_target_is_switched_off_and_on_by_the_keyboard_without_any_script(browser: Browser, file: Path) -> None:
    with browser.page(file, 1280, 900, "light", scripts=False) as shown:
        before = seen(shown, 0), seen(shown, 1)
        shown.value("document.querySelector('[value=o0]').focus()")
        shown.press(" ", 32)
        off = seen(shown, 0), seen(shown, 1)
        shown.press(" ", 32)

        assert min(before) > 5
        assert off == (0, before[1])
        assert (seen(shown, 0), seen(shown, 1)) == before


def test_what_is_printed_has_every_target(shown: Page) -> None:
    before = seen(shown, 0)
    shown.value("document.querySelector('[value=o0]').click()")
    assert seen(shown, 0) == 0
    shown.ask("Emulation.setEmulatedMedia", media="print")

    assert seen(shown, 0) == before
