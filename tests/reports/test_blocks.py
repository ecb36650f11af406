"""Blocks, as they are poured into a page."""

from __future__ import annotations

import re

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
    Section,
    Strong,
    Term,
    row_of,
    table,
)
from reports.page.poured import environment
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
