"""Markdown, as any blocks are poured into it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from reports.blocks import (
    Alarm,
    Badge,
    Beside,
    Block,
    Bullets,
    Cell,
    Code,
    Column,
    Definitions,
    Drawing,
    Figure,
    Fold,
    Heading,
    Page,
    Panes,
    Paragraph,
    Reading,
    Section,
    Strong,
    Term,
    coded,
    row_of,
    table,
)
from reports.numbers import NBSP
from reports.page.markdown import markdown_blocks, markdown_text

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
    text = markdown_blocks([block, Paragraph("below")])

    assert re.search(r"(?<!\\)\\\*a\\\*\\\|\\\[b\](?!\n)", text)
    assert "&lt;i&gt;&amp;" in text
    assert "<i>" not in text
    assert not re.search(r"(?<!\\)[`|]", re.sub(r"^\| | \|$|^\|--:\|$|^\|---\|$", "", text, flags=re.M))


def test_the_title_of_a_fold_is_no_html() -> None:
    assert "<summary>&lt;i&gt;&amp; voice_to_voice</summary>" in markdown_blocks(
        [Fold("<i>& voice_to_voice", [Paragraph("a")])]
    )


def test_parts_have_a_blank_line_between_them_unless_they_belong_together() -> None:
    assert markdown_blocks([Heading("a"), Paragraph("b"), Paragraph("c"), Bullets(["d", "e"]), Paragraph("f")]) == (
        "### a\nb\n\nc\n- d\n- e\n\nf\n"
    )
    assert markdown_blocks([Fold("a", [Paragraph("b")]), Fold("c", [Paragraph("d")])]) == (
        "<details><summary>a</summary>\n\nb\n\n</details>\n<details><summary>c</summary>\n\nd\n\n</details>\n"
    )


def test_what_has_nothing_in_it_is_left_out() -> None:
    empty: list[Block] = [Paragraph(""), Bullets([]), table(["a"], []), Fold("b", [Bullets([]), table(["c"], [])])]

    assert markdown_blocks([Paragraph("a"), *empty, Paragraph("b")]) == "a\n\nb\n"


def test_figures_stand_on_the_right_and_texts_on_the_left() -> None:
    rows: list[list[Any]] = [["direct", "4,000", Cell(f"986{NBSP}ms", style="struck"), ("✕ ", Strong("broken"))]]

    assert markdown_blocks([table(["target", "turns", "p50", "verdict"], rows, left=(0, -1))]) == (
        "| target | turns | p50 | verdict |\n|---|--:|--:|---|\n| direct | 4,000 | ~~986 ms~~ | ✕ **broken** |\n"
    )


def test_code_is_code_unless_it_would_break_out() -> None:
    assert markdown_blocks([Paragraph(Code("p(95)<800_ms"))]) == "`p(95)<800_ms`\n"
    assert markdown_blocks([Paragraph(Code("a|b"))]) == "a\\|b\n"
    assert markdown_blocks([Paragraph(Code("a\x1bb"))]) == "`a\\x1bb`\n"
    assert markdown_blocks([Paragraph(coded("Ask `rtbench check` of_it."))]) == "Ask `rtbench check` of\\_it.\n"


def test_a_page_is_poured_with_its_answer_open_and_its_sections_folded() -> None:
    sections = [
        Section("answer", "", "What changed?", [Paragraph("All.")]),
        Section("cost", "Cost", "What did it cost?", [Paragraph("Nothing."), Fold("Prices", [Paragraph("None.")])]),
        Section("how", "Definitions", "What do words mean?", [Definitions([("p50", "The median.")])]),
    ]
    badges = [Badge("ok", "✓", "VALID", "2 checks passed"), Badge("sim", "◇", "SIMULATED", "")]
    page = Page("", badges, "It is quick.", [Alarm(["First.", "Second."])], sections, beside="voice", footer="The end.")

    assert markdown_text(page) == (
        "### ✓ It is quick.\n**✓ VALID** 2 checks passed · **◇ SIMULATED** · voice\n\nFirst.\n\nSecond.\n\nAll.\n\n"
        "<details><summary>What did it cost?</summary>\n\nNothing.\n\n"
        "<details open><summary>Prices</summary>\n\nNone.\n\n</details>\n\n</details>\n\nThe end.\n"
    )


def test_in_the_place_of_a_figure_stand_its_numbers_and_what_is_read_off_it_alone_is_left_out() -> None:
    numbers = [table(["p", Column("drawn", drawn=True)], [["p50", "<svg>"]])]
    figure = Figure("<svg>", "Lines.", "Waits", [["1 s"]], [Paragraph("They grow."), Reading("Red: bad.")], numbers)
    other = Figure("<svg>", below=[Paragraph("Not seen.")])

    assert markdown_blocks([figure]) == "### Waits\nThey grow.\n\n| p |\n|---|\n| p50 |\n"
    assert markdown_blocks([Panes("Which?", [("a", "A", figure), ("b", "B", other)])]) == markdown_blocks([figure])
    assert (
        markdown_blocks([Heading("Above nothing"), Figure("<svg>"), Drawing("<svg>"), Paragraph("a")])
        == "### Above nothing\na\n"
    )
    assert (
        markdown_blocks([Paragraph("a"), Heading("Above nothing"), Beside([Figure("<svg>", "Lines.")]), Reading("b")])
        == "a\n"
    )


def test_what_a_page_shows_twice_stands_once() -> None:
    assert markdown_blocks([Paragraph("a"), Fold("again", [Paragraph("b")], again=True)]) == "a\n"


def test_names_and_ids_of_a_row_are_a_column_and_a_wide_cell_takes_its_columns() -> None:
    rows = [row_of(["a", Cell("b", columns=2)], ids=[("session", Code("s1"))]), row_of(["c", "d", "e"])]

    assert markdown_blocks([table(["x", "y", "z"], rows, caption="What it is of")]) == (
        "What it is of\n\n| x | y | z | ids |\n|---|--:|--:|---|\n| a | b |  | session `s1` |\n| c | d | e |  |\n"
    )


def test_an_invalid_table_strikes_its_figures_and_no_names() -> None:
    assert (
        markdown_blocks([table(["x", "y"], [["a", Cell("b", "c")]], "struck")])
        == "| x | y |\n|---|--:|\n| a | ~~b (c)~~ |\n"
    )
