"""Every figure of one invented run, as it was drawn last: a change that nobody wanted shows, and which.

    RTBENCH_SNAPSHOTS=renew pytest tests/reports/test_snapshots.py

draws them anew; look at them in a browser, and at what differs, before they are committed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from reports.runs import load_for_report
from reports.summary.summary import summarise
from tests.reports import synthetic
from tests.reports.forms import run_html
from tests.reports.synthetic import Plan

FOLDER = Path(__file__).parent / "snapshots"
PLAN = Plan(
    sessions=60,
    turns=6,
    targets=("direct", "gateway"),
    paired=True,
    usage=True,
    limited=True,
    failed=0.03,
    seconds=200,
    warmup_s=20.0,
)
RISING = Plan(
    turns=6,
    targets=("direct", "gateway"),
    paired=True,
    failed=0.02,
    refused=3,
    seconds=240,
    stages=((60, 5), (60, 15), (60, 25), (60, 40)),
    slower=0.03,
)
"""A run whose load changes; of its figures only that section is kept."""
MOST_BYTES = 300_000
NUMBER = re.compile(r"-?\d+\.\d+")
ATTRIBUTE = re.compile(r' (?:d|x|y|x1|x2|y1|y2|cx|cy|r|width|height|points)="[^"]*"')


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Name → the figure in words that another machine would write as well."""
    found: dict[str, str] = {}
    for plan, section in ((PLAN, ""), (RISING, "load-")):
        folder = synthetic.write(tmp_path_factory.mktemp("drawn"), plan)
        page = run_html(summarise(load_for_report(folder)))
        found |= {name: normal(svg) for name, svg in drawn(page) if name.startswith(section)}
    return found


def drawn(page: str) -> Iterator[tuple[str, str]]:
    """All figures of a page, named by the section that they stand in and their place there."""
    section, place = "answer", 0
    for entered, svg in re.findall(r'<section id="(\w+)">|(<svg.*?</svg>)', page, re.DOTALL):
        section, place = (entered, 0) if entered else (section, place + 1)
        if svg:
            yield f"{section}-{place}", svg


def normal(svg: str) -> str:
    """A line for each element, lengths in whole pixels: the last digits are the processor's."""
    whole = ATTRIBUTE.sub(lambda found: NUMBER.sub(lambda n: f"{float(n[0]):.0f}".replace("-0", "0"), found[0]), svg)
    return whole.replace("><", ">\n<") + "\n"


def test_every_figure_is_drawn_as_it_was(figures: dict[str, str]) -> None:
    if os.environ.get("RTBENCH_SNAPSHOTS") == "renew":
        for file in FOLDER.glob("*.svg"):
            file.unlink()
        for name, text in figures.items():
            (FOLDER / f"{name}.svg").write_text(text, encoding="utf-8")
    kept = {file.stem: file.read_text(encoding="utf-8") for file in FOLDER.glob("*.svg")}

    assert sorted(figures) == sorted(kept)
    for name, text in figures.items():
        assert text.splitlines() == kept[name].splitlines(), f"{name}: RTBENCH_SNAPSHOTS=renew draws it anew"


def test_they_are_all_there_and_small(figures: dict[str, str]) -> None:
    kinds = {name.partition("-")[0] for name in figures}

    assert kinds >= {"answer", "spread", "time", "segments", "heard", "steps", "along", "limits"}
    assert "load" in kinds
    assert sum(len(text.encode()) for text in figures.values()) < MOST_BYTES
