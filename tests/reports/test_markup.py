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
from reports.page.poured import markdown_blocks, markdown_text

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
