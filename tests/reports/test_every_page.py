"""What holds of the pages of runs, comparisons, histories and searches alike."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from bench.capacity.page import capacity_page
from bench.capacity.search import LevelOutcome
from reports.page.page import run_page
from reports.page.poured import markdown_text, poured
from reports.sides.side import sides_of
from reports.trends.entry import Entry
from reports.trends.page import trend_html as trend_html
from reports.trends.trend import told_by
from tests.capacity.test_page import LEVELS, searched
from tests.reports import synthetic
from tests.reports.comparisons.build import quick
from tests.reports.comparisons.invented import CHECKS, comparison, sides
from tests.reports.comparisons.test_page import MADE
from tests.reports.forms import comparison_html
from tests.reports.shared import folder, page_of, summary_of
from tests.reports.synthetic import Plan
from tests.reports.test_page import PLANS
from tests.reports.trends.made import entry, invalid, stepped

HERE = Path("/somewhere/runs")
IN_PAIRS = Plan(sessions=60, turns=4, targets=("a", "b", "c"), paired=True, failed=0.02, seconds=600)
EVIL = "<script>alert(1)</script>"


def compared(**changes: Any) -> str:
    return comparison_html(comparison(**changes))


def trend(entries: list[Entry]) -> str:
    return trend_html(told_by(entries), HERE)


def capacity(levels: list[LevelOutcome]) -> str:
    return poured(capacity_page(searched(levels)))


PAGES: dict[str, Callable[[], str]] = {
    **{f"run, {name}": partial(page_of, plan) for name, plan in PLANS.items()},
    **{f"comparison, {name}": partial(compared, **changes) for name, changes in MADE.items()},
    "comparison of pairs": lambda: comparison_html(
        quick(sides_of([synthetic.write(folder(), IN_PAIRS, interleaved=True)]))
    ),
    "trend": lambda: trend(stepped(12, 12)),
    "history of nothing valid": lambda: trend([invalid(0)]),
    "search": lambda: capacity(LEVELS),
    "search without a level": lambda: capacity([]),
}


@cache
def page(name: str) -> str:
    return PAGES[name]()


class Outline(HTMLParser):
    """Ids, links and the balance of elements."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        self.ids += [known["id"] or ""] if "id" in known else []
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "srcset", "action", "data")]
        if tag not in ("meta", "br", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_whole_and_needs_nothing_else(name: str) -> None:
    outline = Outline()
    outline.feed(page(name))

    assert not outline.open
    assert len(outline.ids) == len(set(outline.ids))
    assert {link[1:] for link in outline.links if link.startswith("#")} <= set(outline.ids)
    elsewhere = [link for link in outline.links if not link.startswith("#")]
    assert all(re.fullmatch(r"events/s\d+\.jsonl|run-\d+/report\.html", link) for link in elsewhere), elsewhere
    assert "default-src 'none'" in page(name)
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", page(name))
    assert "nan" not in re.sub(r"<[^>]*>", " ", page(name)).lower().split()
    assert len(page(name)) < 620_000


@pytest.mark.parametrize("name", PAGES)
def test_every_figure_is_valid_and_labelled_and_drawn_once(name: str) -> None:
    drawn = [ET.fromstring(text) for text in re.findall(r"<svg.*?</svg>", page(name), re.S)]
    labels = [figure.get("aria-label") for figure in drawn if figure.get("class") == "figure"]

    assert len(set(labels)) == len(labels) or name == "run, mixed"  # of which each origin has its curves
    for figure in drawn:
        assert figure.get("aria-label") or figure.get("aria-hidden") == "true"
        assert not re.search(r"\b(nan|inf)\b", ET.tostring(figure, encoding="unicode"))
        assert len(figure)


def run_of(label: str) -> str:
    """Its page and its Markdown."""
    plan = Plan(sessions=4, turns=2, targets=(label, 'a"b\x07'))
    told = run_page(summary_of(plan, scenario=label, notices=[label], settings={label: label}))
    return poured(told) + markdown_text(told)


def comparison_of(label: str) -> str:
    checks = (replace(CHECKS[0], name=label, texts=(label, label)),)
    return compared(sides=sides(label, "gateway"), notices=(label,), checks=checks)


@pytest.mark.parametrize(
    "made",
    [run_of, comparison_of, lambda evil: trend([entry(n, target=evil, labels={evil: evil}) for n in range(3)])],
    ids=["run", "comparison", "trend"],
)
def test_labels_are_text_and_nothing_else(made: Callable[[str], str]) -> None:
    text = made(EVIL)

    assert text.count("<script>") == made("east").count("<script>")
    assert [ET.fromstring(found) for found in re.findall(r"<svg.*?</svg>", text, re.S)]


@pytest.mark.parametrize(
    ("simulated", "real"),
    [
        ("run, small", lambda: page_of(Plan(simulated=False))),
        ("comparison, verdicts", lambda: compared(simulated=False)),
    ],
)
def test_what_is_simulated_says_so_wherever_it_is_seen(simulated: str, real: Callable[[], str]) -> None:
    title = re.search(r"<title>(.*?)</title>", page(simulated))

    assert title is not None
    assert "SIMULATED" in title[1]
    assert page(simulated).count("SIMULATED") == 3
    assert "rtbench simulate, no real service" in page(simulated)
    assert "SIMULATED" not in real()
