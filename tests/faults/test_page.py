"""The pages of the simulator agree with the simulator, and with the test of all faults."""

from __future__ import annotations

from tools.fault_tables import PAGES, tables, written
from tools.made_page import SECTION


def test_the_tables_of_the_pages_are_up_to_date() -> None:
    pages = [page.read_text(encoding="utf-8") for page in PAGES]

    assert [written(page) for page in pages] == pages, "run `make schema`"
    assert all(
        any(SECTION.format(name, table) in page for page in pages)
        for name, table in tables().items()
    )
