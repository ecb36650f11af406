"""Markdown, as any blocks are poured into it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from reports.blocks import Block, Bullets, Cell, Code, Fold, Heading, Paragraph, Strong, Term
from reports.numbers import NBSP
from reports.text.markup import coded, pour, table

EVIL = "<i>&*a*|[b](c)\n`"


@pytest.mark.parametrize(
    "block",
    [
        Heading(EVIL),
        Paragraph((EVIL, Term(EVIL), Code(EVIL), Strong(EVIL))),
        Bullets([EVIL, (EVIL, Strong(EVIL))]),
        table([EVIL], [[EVIL], [Cell(EVIL, style="struck")]]),
        Fold("title", [Paragraph(EVIL)]),
    ],
    ids=lambda block: type(block).__name__,
)
def test_a_text_stays_a_text_wherever_it_stands(block: Block) -> None:
    text = pour([block])

    assert re.search(r"(?<!\\)\\\*a\\\*\\\|\\\[b\](?!\n)", text)
    assert "&lt;i&gt;&amp;" in text
    assert "<i>" not in text
    assert not re.search(r"(?<!\\)[`|]", re.sub(r"^\| | \|$|^\|--:\|$|^\|---\|$", "", text, flags=re.M))


def test_the_title_of_a_fold_is_no_html() -> None:
    assert "<summary>&lt;i&gt;&amp; voice_to_voice</summary>" in pour([Fold("<i>& voice_to_voice", [Paragraph("a")])])


def test_parts_have_a_blank_line_between_them_unless_they_belong_together() -> None:
    assert pour([Heading("a"), Paragraph("b"), Paragraph("c"), Bullets(["d", "e"]), Paragraph("f")]) == (
        "### a\nb\n\nc\n- d\n- e\n\nf\n"
    )
    assert pour([Fold("a", [Paragraph("b")]), Fold("c", [Paragraph("d")])]) == (
        "<details><summary>a</summary>\n\nb\n\n</details>\n<details><summary>c</summary>\n\nd\n\n</details>\n"
    )


def test_what_has_nothing_in_it_is_left_out() -> None:
    empty: list[Block] = [Paragraph(""), Bullets([]), table(["a"], []), Fold("b", [Bullets([]), table(["c"], [])])]

    assert pour([Paragraph("a"), *empty, Paragraph("b")]) == "a\n\nb\n"


def test_figures_stand_on_the_right_and_texts_on_the_left() -> None:
    rows: list[list[Any]] = [["direct", "4,000", Cell(f"986{NBSP}ms", style="struck"), ("✕ ", Strong("broken"))]]

    assert pour([table(["target", "turns", "p50", "verdict"], rows, left=(0, -1))]) == (
        "| target | turns | p50 | verdict |\n|---|--:|--:|---|\n| direct | 4,000 | ~~986 ms~~ | ✕ **broken** |\n"
    )


def test_code_is_code_unless_it_would_break_out() -> None:
    assert pour([Paragraph(Code("p(95)<800_ms"))]) == "`p(95)<800_ms`\n"
    assert pour([Paragraph(Code("a|b"))]) == "a\\|b\n"
    assert pour([Paragraph(Code("a\x1bb"))]) == "`a\\x1bb`\n"
    assert pour([Paragraph(coded("Ask `rtbench check` of_it."))]) == "Ask `rtbench check` of\\_it.\n"
