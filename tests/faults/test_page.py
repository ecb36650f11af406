"""docs/simulator.md says what the simulator has and what the test of all faults plays."""

from __future__ import annotations

from tests.faults.page import PAGE, tables, written
from tests.made_page import SECTION


def test_the_tables_of_the_page_are_up_to_date() -> None:
    page = PAGE.read_text(encoding="utf-8")

    assert written(page) == page, "run `make schema`"
    assert all(SECTION.format(name, table) in page for name, table in tables().items())
