"""The manual page is that of the commands, and every word of it is printed as it stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.cli.man import _text, manual

PAGE = Path(__file__).parents[1] / "docs" / "man" / "rtbench.1"
MACROS = {".TH", ".SH", ".SS", ".TP", ".PP", ".B", ".BR"}


def test_the_page_that_is_shipped_is_made_of_the_help() -> None:
    assert PAGE.read_text(encoding="utf-8") == manual(), "run `make schema`"


def test_a_line_is_a_macro_of_manual_pages_or_text() -> None:
    used = {line.split()[0] for line in manual().splitlines() if line.startswith((".", "'"))}

    assert used <= MACROS
    assert ".SS rtbench baseline save" in manual()


@pytest.mark.parametrize(
    ("words", "written"),
    [("a\n  b", "a b"), (".5 s", "\\&.5 s"), ("'x'", "\\&'x'"), ("--yes", "\\-\\-yes"), ("a\\b", "a\\eb")],
)
def test_no_word_is_taken_for_a_request_or_an_escape(words: str, written: str) -> None:
    assert _text(words) == written
