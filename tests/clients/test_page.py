"""docs/simulator.md says what tests and the benchmark play."""

from __future__ import annotations

from benchmarks.frameworks import FRAMEWORKS
from tests.clients.cells import BENCHMARK, ROWS
from tests.clients.page import PAGE, sections, written
from tests.made_page import SECTION


def test_the_page_is_up_to_date() -> None:
    page = PAGE.read_text(encoding="utf-8")

    assert written(page) == page, "run `make schema`"
    assert all(SECTION.format(name, text) in page for name, text in sections().items())


def test_what_the_page_says_that_the_benchmark_tries_is_tried_by_it() -> None:
    assert {row.client for row in ROWS if row.where == BENCHMARK} == set(FRAMEWORKS)
