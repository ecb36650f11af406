"""What readers do on the page of a run: they switch targets, sort tables, and follow and copy
links.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reports.analysis.summary.summary import summarise
from reports.data.runs import load_for_report
from reports.pages.run_report.document import write_report
from tests.reports import synthetic
from tests.reports.synthetic import Plan
from tests.system.browser.chromium import Browser, Page

ARMS = Plan(
    sessions=120,
    turns=10,
    targets=("direct", "gateway"),
    failed=0.01,
    seconds=600,
    paired=True,
    usage=True,
)
SEEN = (
    "[...document.querySelectorAll('main svg .o{}')].filter(e => getComputedStyle(e).display !="
    " 'none').length"
)


UNFOLDED = "for (const fold of document.querySelectorAll('details.more')) fold.open = true"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = synthetic.write(tmp_path_factory.mktemp("page") / "run", ARMS, interleaved=True)
    return write_report(summarise(load_for_report(folder))).html


@pytest.fixture
def shown(browser: Browser, file: Path) -> Iterator[Page]:
    with browser.page(file, 1280, 900, "light") as page:
        yield page
        assert page.browser_errors() == []


def visible_marks(page: Page, target: int) -> Any:
    return page.value(SEEN.format(target))


def test_a_target_is_hidden_and_shown_by_the_keyboard_without_scripts(
    browser: Browser, file: Path
) -> None:
    with browser.page(file, 1280, 900, "light", scripts=False) as shown:
        before = visible_marks(shown, 0), visible_marks(shown, 1)
        shown.value("document.querySelector('[value=o0]').focus()")
        shown.press(" ", 32)
        off = visible_marks(shown, 0), visible_marks(shown, 1)
        shown.press(" ", 32)

        assert min(before) > 5
        assert off == (0, before[1])
        assert (visible_marks(shown, 0), visible_marks(shown, 1)) == before


def test_a_printed_page_shows_hidden_targets(shown: Page) -> None:
    before = visible_marks(shown, 0)
    shown.value("document.querySelector('[value=o0]').click()")
    assert visible_marks(shown, 0) == 0
    shown.ask("Emulation.setEmulatedMedia", media="print")

    assert visible_marks(shown, 0) == before


COLUMN = (
    "[...document.querySelectorAll('#steps thead + tbody tr')].map(r =>"
    " r.cells[{}].firstChild.textContent)"
)
SORTED = (
    "[...document.querySelectorAll('#steps th[aria-sort]')].map(h => [h.textContent,"
    " h.getAttribute('aria-sort')])"
)


def test_the_keyboard_sorts_a_table_both_ways_and_restores_it(shown: Page) -> None:
    shown.value("for (const fold of document.querySelectorAll('#steps details')) fold.open = true")
    steps, first = shown.value(COLUMN.format(0)), shown.value(COLUMN.format(2))
    shown.value("document.querySelectorAll('#steps .sort')[2].focus()")
    falling: list[str] = []
    rising: list[str] = []
    for column in (falling, rising):
        shown.press(" ", 32)
        column += shown.value(COLUMN.format(2))
        announced = shown.value("document.getElementById('say').textContent")
        assert shown.value(SORTED) == [["p50", announced.removeprefix("sorted by p50, ")]]
    shown.press(" ", 32)

    as_number = [float(text.replace(",", "")) for text in falling]
    assert as_number == sorted(as_number, reverse=True)
    assert rising == falling[::-1]
    assert shown.value(SORTED) == []
    assert (shown.value(COLUMN.format(0)), shown.value(COLUMN.format(2))) == (steps, first)


KEYS = {
    "1,960": 1960,
    "\u22124.2": -4.2,
    "0.8\u00a0%": 0.8,
    "640\u00a0ms": 640,
    "2\u00a0min": 120_000,
    "7:05": 425_000,
    "8 of 1,192": 8,
    "n/a": None,
    "order_status, 3": "order_status, 3",
}


def test_cells_are_sorted_by_their_values(shown: Page) -> None:
    key = (
        "(t => {{ const c = document.createElement('td'); c.append(t); c.innerHTML +="
        " '<small>5</small>'; return {} }})"
    )
    of = key.format("sortKey(c)")

    assert {text: shown.value(f"{of}({json.dumps(text)})") for text in KEYS} == KEYS
    assert shown.value(key.format("sortKey(c) == Infinity") + "('∞')") is True


def test_id_rows_stay_below_their_turn_and_total_rows_at_the_end(shown: Page) -> None:
    ids = "[...document.querySelectorAll('#slow tbody tr:has(.ids)')]"
    pairs = f"{ids}.map(r => r.previousElementSibling.textContent + r.textContent)"
    before = shown.value(pairs)
    shown.value("document.querySelector('#slow .sort').click()")
    shown.value("document.querySelectorAll('#outcomes .sort')[1].click()")
    outcomes = shown.value("document.querySelector('#outcomes tbody').innerText")

    assert shown.value(pairs) != before
    assert sorted(shown.value(pairs)) == sorted(before)
    assert (
        outcomes.index("ok")
        < outcomes.index("started, total")
        < outcomes.index("sessions with any failure")
    )


def test_slow_turns_are_shown_by_step_and_filtered_by_target_without_scripts(
    browser: Browser, file: Path
) -> None:
    turns = (
        "[...document.querySelectorAll('#slow tbody th')].filter(h => h.checkVisibility()).map(h =>"
        " h.textContent)"
    )
    targets = (
        "[...document.querySelectorAll('#slow td.t{}')].filter(h => h.checkVisibility()).length"
    )
    with browser.page(file, 1280, 900, "light", scripts=False) as shown:
        shown.value(UNFOLDED.replace("details.more", "details"))
        steps = shown.value(
            "[...document.querySelectorAll('#slow h3.gap')].filter(h => h.checkVisibility()).map(h =>"
            " h.textContent)"
        )
        everything, both = (
            shown.value(turns),
            [shown.value(targets.format(place)) for place in (0, 1)],
        )
        shown.value("document.querySelector('[value=o0]').click()")

        assert len(steps) > 1
        assert {text.split(",")[0] for text in everything} >= {*steps}
        assert all(both)
        assert [shown.value(targets.format(place)) for place in (0, 1)] == [0, both[1]]


def test_pressing_an_anchor_copies_its_link(shown: Page) -> None:
    shown.value(
        "navigator.clipboard.writeText = text => { window.copied = text; return Promise.resolve() }"
    )
    shown.value("document.querySelector('#time figure .anchor').focus()")
    shown.press("Enter", 13)

    assert shown.value("window.copied") == shown.value("location.href.split('#')[0] + '#time-1'")
    assert shown.value("document.getElementById('say').textContent") == "link copied"


RUNS = "[...document.querySelectorAll('svg[data-run]')]"
TICKS = (
    "[...document.querySelectorAll('#time .tick')].filter(t => t.checkVisibility()).map(t =>"
    " t.textContent)"
)
MOVED = f"{RUNS}.map(s => s.querySelector('.stretch > g').getAttribute('transform'))"


def drag(page: Page, begin: float, end: float) -> None:
    """Drag across the figure over time, from one share of its width to another."""
    page.value(
        "document.querySelector('#time svg').scrollIntoView({behavior: 'instant', block: 'center'})"
    )
    box = page.value("document.querySelector('#time svg').getBoundingClientRect().toJSON()")
    for kind, share in (
        ("mousePressed", begin),
        ("mouseMoved", (begin + end) / 2),
        ("mouseReleased", end),
    ):
        at = {"x": box["x"] + box["width"] * share, "y": box["y"] + 80}
        page.ask(
            "Input.dispatchMouseEvent", type=kind, button="left", buttons=1, clickCount=1, **at
        )


def announced(page: Page) -> Any:
    return page.value("document.getElementById('say').textContent")


def test_dragging_over_an_interval_zooms_each_chart_over_time(shown: Page) -> None:
    whole = shown.value(TICKS)
    drag(shown, 0.3, 0.5)
    moved, ticks = shown.value(MOVED), shown.value(TICKS)
    x0, x1, length, _ = map(
        float, shown.value("document.querySelector('#time svg').dataset.run").split()
    )
    from_s, to_s = ((1080 * share - x0) / (x1 - x0) * length for share in (0.3, 0.5))

    assert announced(shown) == f"from {clock(from_s)} to {clock(to_s)}"
    assert len(moved) >= 2
    scales = [float(transform.split("scale(")[1].split()[0]) for transform in moved]
    assert scales == pytest.approx([length / (to_s - from_s)] * len(moved), rel=0.01)
    assert ticks != whole
    assert shown.value(f"{RUNS}.every(s => s.querySelector('.stretch').style.clipPath)")
    shown.value("document.querySelector('#time .zoom button').click()")
    assert shown.value(TICKS) == whole
    assert set(shown.value(MOVED)) == {"translate(0 0) scale(1 1)"}


def clock(seconds: float) -> str:
    return f"{int(seconds // 60)}:{round(seconds % 60):02d}"


def test_the_keyboard_zooms_in_and_out(shown: Page) -> None:
    shown.value("document.querySelector('#time svg').focus()")
    shown.press("+", 187)
    closer = announced(shown)
    shown.press("+", 187)
    closest = announced(shown)
    shown.press("-", 189)
    back = announced(shown)
    shown.press("0", 48)

    assert len({closer, closest}) == 2
    assert all(text.startswith("from ") for text in (closer, closest, back))
    assert announced(shown) == "the whole run"
