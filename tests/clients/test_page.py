"""docs/clients.md says what tests and the benchmark play."""

from __future__ import annotations

from tests.clients.page import PAGE, SECTION, sections, written


def test_the_page_is_up_to_date() -> None:
    page = PAGE.read_text(encoding="utf-8")

    assert written(page) == page, "run `make schema`"
    assert all(SECTION.format(name, text) in page for name, text in sections().items())
