"""Blocks, as they are poured into a page and into Markdown."""

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
    Judged,
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
from reports.page.poured import environment, markdown_blocks, markdown_text
from reports.page.poured import poured as page_html

EVIL = "<i>&"
PAGE = '{% from "blocks.html.j2" import section with context %}{{ section(s) }}'


def poured(*blocks: Block) -> str:
    made = Section("here", "Here", "What is it?", blocks)
    return environment().from_string(PAGE).render(s=made, defs={"ttfa": "Time to first audio."})


@pytest.mark.parametrize(
    "block",
    [
        Paragraph(EVIL),
        Paragraph((EVIL, Term(EVIL), Code(EVIL), Strong(EVIL), Judged(EVIL, "regressed"))),
        Heading(EVIL),
        Bullets([EVIL, (EVIL, Strong(EVIL))]),
        Alarm([EVIL, (Strong(EVIL), EVIL)]),
        Definitions([(EVIL, EVIL)]),
        Definitions([(EVIL, EVIL)], linked=False),
        Fold(EVIL, [Paragraph(EVIL)]),
        Figure("", EVIL, EVIL, [[EVIL]], [Paragraph(EVIL)]),
        Beside([Figure("", EVIL), Figure("", EVIL)]),
        Panes(EVIL, [("a", EVIL, Figure("")), ("b", EVIL, Figure(""))]),
        table([EVIL, Column(EVIL)], [[EVIL, Cell(EVIL, EVIL)], row_of([EVIL, EVIL], ids=[(EVIL, EVIL)])], stacked=True),
        table([Column(EVIL, below=EVIL)], [[EVIL]], caption=EVIL),
    ],
    ids=lambda block: type(block).__name__,
)
def test_a_text_stays_a_text_wherever_it_stands(block: Block) -> None:
    page = poured(block)

    assert "&lt;i&gt;&amp;" in page
    assert EVIL not in page


def test_a_text_stays_a_text_in_every_part_of_a_page() -> None:
    section = Section("here", EVIL, EVIL, [Paragraph(EVIL)])
    page = page_html(
        Page(EVIL, [Badge("ok", EVIL, EVIL, EVIL)], EVIL, [Paragraph(EVIL)], [section], beside=EVIL, footer=EVIL)
    )

    assert page.count("&lt;i&gt;&amp;") == 11
    assert EVIL not in page


def test_a_page_of_several_sections_lists_their_headings_and_shows_the_panes_of_all() -> None:
    panes = Panes("", [("a", "A", Figure("")), ("b", "B", Figure(""))])
    page = Page("", [], "", [], [Section("one", "One", "First?", [panes]), Section("two", "Two", "")])

    assert page.tabs == ["a", "b"]
    assert re.findall(r"<nav.*?</nav>", page_html(page)) == [
        '<nav aria-label="Sections"><a href="#one">One</a><a href="#two">Two</a></nav>'
    ]
    assert "<nav" not in page_html(Page("", [], "", [], [Section("two", "Two", "Second?")]))


def test_a_word_with_a_definition_leads_to_it_and_another_does_not() -> None:
    page = poured(Paragraph((Term("ttfa"), Term("unknown"))))

    assert re.findall(r'<a class="d" href="([^"]+)">', page) == ["#def-ttfa"]
    assert "unknown" in page


def test_the_heads_of_a_table_are_said_with_each_cell_where_rows_become_cards() -> None:
    lines = table(["step", "p50"], [["greeting", "480"]])
    cards = table(["step", "p50"], [["greeting", "480"]], stacked=True)

    assert 'data-l="p50"' not in poured(lines)
    assert 'role="cell" data-l="p50">480' in poured(cards)
    assert poured(lines).count('<th scope="col"') == poured(cards).count('<th scope="col"') == 2


def test_a_cell_has_the_colour_and_the_mark_of_its_target_and_what_belongs_below_it() -> None:
    page = poured(table(["", "p50"], [[Cell("gateway", target=1, marked=True), Cell("480", "470 – 490")]]))

    assert '<th scope="row" class="t1"><span class="key" aria-hidden="true">◆</span>gateway</th>' in page
    assert "<td>480<small>470 – 490</small></td>" in page


def test_a_figure_that_is_not_drawn_leaves_its_words_and_no_frame() -> None:
    page = poured(Figure("", "too few turns"))

    assert "too few turns" in page
    assert 'class="pan"' not in page


def test_the_numbers_of_a_figure_are_folded_away_unless_they_are_all_that_there_is() -> None:
    numbers = [table(["p50"], [["480 ms"]])]

    assert "<details><summary>Data table</summary>" in poured(Figure("<svg>", numbers=numbers))
    assert "<details><summary>Data table</summary>" in poured(Figure("", below=[Drawing("<svg>")], numbers=numbers))
    assert "<details open><summary>Data table</summary>" in poured(Figure("", "Too few.", numbers=numbers))


MARKUP_EVIL = "<i>&*a*|[b](c)\n`"


@pytest.mark.parametrize(
    "block",
    [
        Heading(MARKUP_EVIL),
        Paragraph((MARKUP_EVIL, Term(MARKUP_EVIL), Code(MARKUP_EVIL), Strong(MARKUP_EVIL))),
        Bullets([MARKUP_EVIL, (MARKUP_EVIL, Strong(MARKUP_EVIL))]),
        table([MARKUP_EVIL], [[MARKUP_EVIL], [Cell(MARKUP_EVIL, style="struck")]]),
        Fold("title", [Paragraph(MARKUP_EVIL)]),
    ],
    ids=lambda block: type(block).__name__,
)
def test_a_text_stays_a_text_wherever_it_stands_of_markup(block: Block) -> None:
    text = markdown_blocks([block, Paragraph("below")])

    assert re.search(r"(?<!\\)\\\*a\\\*\\\|\\\[b\](?!\n)", text)
    assert "&lt;i&gt;&amp;" in text
    assert "<i>" not in text
    assert not re.search(r"(?<!\\)[`|]", re.sub(r"^\| | \|$|^\|--:\|$|^\|---\|$", "", text, flags=re.M))


EMPTY: list[Block] = [Paragraph(""), Bullets([]), table(["a"], []), Fold("b", [Bullets([]), table(["c"], [])])]
PRICED: list[list[Any]] = [["direct", "4,000", Cell(f"986{NBSP}ms", style="struck"), ("✕ ", Strong("broken"))]]
NUMBERS = [table(["p", Column("drawn", drawn=True)], [["p50", "<svg>"]])]
GROWING = Figure("<svg>", "Lines.", "Waits", [["1 s"]], [Paragraph("They grow."), Reading("Red: bad.")], NUMBERS)
SPANNED = [row_of(["a", Cell("b", columns=2)], ids=[("session", Code("s1"))]), row_of(["c", "d", "e"])]
POURED: dict[str, tuple[list[Block], str]] = {
    "the title of a fold is no HTML":
        ([Fold("<i>& voice_to_voice", [Paragraph("a")])],
         "<details><summary>&lt;i&gt;&amp; voice_to_voice</summary>\n\na\n\n</details>\n"),
    "parts have a blank line between them unless they belong together":
        ([Heading("a"), Paragraph("b"), Paragraph("c"), Bullets(["d", "e"]), Paragraph("f")],
         "### a\nb\n\nc\n- d\n- e\n\nf\n"),
    "folds have none":
        ([Fold("a", [Paragraph("b")]), Fold("c", [Paragraph("d")])],
         "<details><summary>a</summary>\n\nb\n\n</details>\n<details><summary>c</summary>\n\nd\n\n</details>\n"),
    "what has nothing in it is left out": ([Paragraph("a"), *EMPTY, Paragraph("b")], "a\n\nb\n"),
    "figures stand on the right and texts on the left":
        ([table(["target", "turns", "p50", "verdict"], PRICED, left=(0, -1))],
         "| target | turns | p50 | verdict |\n|---|--:|--:|---|\n| direct | 4,000 | ~~986 ms~~ | ✕ **broken** |\n"),
    "code is code": ([Paragraph(Code("p(95)<800_ms"))], "`p(95)<800_ms`\n"),
    "unless it would break out of a table": ([Paragraph(Code("a|b"))], "a\\|b\n"),
    "or of a terminal": ([Paragraph(Code("a\x1bb"))], "`a\\x1bb`\n"),
    "code in a text": ([Paragraph(coded("Ask `rtbench check` of_it."))], "Ask `rtbench check` of\\_it.\n"),
    "in the place of a figure stand its numbers":
        ([GROWING], "### Waits\nThey grow.\n\n| p |\n|---|\n| p50 |\n"),
    "and of several the first one's":
        ([Panes("Which?", [("a", "A", GROWING), ("b", "B", Figure("<svg>", below=[Paragraph("Not seen.")]))])],
         "### Waits\nThey grow.\n\n| p |\n|---|\n| p50 |\n"),
    "a heading stands above what follows a figure of no words":
        ([Heading("Above nothing"), Figure("<svg>"), Drawing("<svg>"), Paragraph("a")], "### Above nothing\na\n"),
    "what is read off a figure alone is left out":
        ([Paragraph("a"), Heading("Above nothing"), Beside([Figure("<svg>", "Lines.")]), Reading("b")], "a\n"),
    "what a page shows twice stands once": ([Paragraph("a"), Fold("again", [Paragraph("b")], again=True)], "a\n"),
    "names and ids of a row are a column and a wide cell takes its columns":
        ([table(["x", "y", "z"], SPANNED, caption="What it is of")],
         "What it is of\n\n| x | y | z | ids |\n|---|--:|--:|---|\n| a | b |  | session `s1` |\n| c | d | e |  |\n"),
    "an invalid table strikes its figures and no names":
        ([table(["x", "y"], [["a", Cell("b", "c")]], "struck")], "| x | y |\n|---|--:|\n| a | ~~b (c)~~ |\n"),
}  # fmt: skip


@pytest.mark.parametrize(("blocks", "text"), POURED.values(), ids=POURED)
def test_blocks_are_poured(blocks: list[Block], text: str) -> None:
    assert markdown_blocks(blocks) == text


def test_a_page_is_poured_with_its_answer_open_and_its_sections_folded() -> None:
    sections = [
        Section("answer", "Differences", "What changed?", [Paragraph("All.")]),
        Section("cost", "Cost", "What did it cost?", [Paragraph("Nothing."), Fold("Prices", [Paragraph("None.")])]),
        Section("how", "Definitions", "What do words mean?", [Definitions([("p50", "The median.")])]),
    ]
    badges = [Badge("ok", "✓", "VALID", "2 checks passed"), Badge("sim", "◇", "SIMULATED", "")]
    page = Page("", badges, "It is quick.", [Alarm(["First.", "Second."])], sections, beside="voice", footer="The end.")

    assert markdown_text(page) == (
        "### ✓ It is quick.\n**✓ VALID** 2 checks passed · **◇ SIMULATED** · voice\n\nFirst.\n\nSecond.\n\nAll.\n\n"
        "<details><summary>Cost</summary>\n\nNothing.\n\n"
        "<details open><summary>Prices</summary>\n\nNone.\n\n</details>\n\n</details>\n\nThe end.\n"
    )
