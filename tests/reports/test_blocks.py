"""Blocks that are rendered on a page and in Markdown, scales, ticks, and the format of numbers."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from reports import formatting
from reports.formatting import NBSP, nice, time_step
from reports.render.blocks import (
    Badge,
    Banner,
    Block,
    Bullets,
    Cell,
    Code,
    Column,
    Definitions,
    Details,
    Drawing,
    Figure,
    Heading,
    Page,
    Paragraph,
    ReadingGuide,
    Section,
    Strong,
    Term,
    TextColumn,
    VerdictText,
    coded,
    make_row,
    table,
)
from reports.render.html import environment
from reports.render.html import render_html as page_html
from reports.render.markdown import markdown_blocks, render_markdown
from reports.render.markers import SHAPES
from reports.render.svg import (
    Plot,
    log_scale,
)

EVIL = "<i>&"
PAGE = '{% from "blocks.html.j2" import section with context %}{{ section(s) }}'


def render_html(*blocks: Block) -> str:
    made = Section("here", "Here", "What is it?", blocks)
    return environment().from_string(PAGE).render(s=made, defs={"ttfa": "Time to first audio."})


@pytest.mark.parametrize(
    "block",
    [
        Paragraph(EVIL),
        Paragraph((EVIL, Term(EVIL), Code(EVIL), Strong(EVIL), VerdictText(EVIL, "regressed"))),
        Heading(EVIL),
        Bullets([EVIL, (EVIL, Strong(EVIL))]),
        Banner([EVIL, (Strong(EVIL), EVIL)]),
        Definitions([(EVIL, EVIL)]),
        Definitions([(EVIL, EVIL)], linked=False),
        Details(EVIL, [Paragraph(EVIL)]),
        Figure("", EVIL, [[EVIL]], [Paragraph(EVIL)]),
        Details(EVIL, [Heading(EVIL), Figure("<svg>", narrow="<svg>")]),
        table(
            [EVIL, Column(EVIL)],
            [[EVIL, Cell(EVIL, EVIL)], make_row([EVIL, EVIL], ids=[(EVIL, EVIL)])],
            stacked=True,
        ),
        table([Column(EVIL, below=EVIL)], [[EVIL]], caption=EVIL),
    ],
    ids=lambda block: type(block).__name__,
)
def test_text_is_escaped_in_every_html_block(block: Block) -> None:
    page = render_html(block)

    assert "&lt;i&gt;&amp;" in page
    assert EVIL not in page


def test_text_is_escaped_in_every_part_of_a_page() -> None:
    section = Section("here", EVIL, EVIL, [Paragraph(EVIL)])
    page = page_html(
        Page(
            EVIL,
            [Badge("ok", EVIL, EVIL, EVIL)],
            EVIL,
            [Paragraph(EVIL)],
            [section],
            notes=EVIL,
            footer=EVIL,
        )
    )

    assert page.count("&lt;i&gt;&amp;") == 11
    assert EVIL not in page


MARKUP_EVIL = "<i>&*a*|[b](c)\n`"


@pytest.mark.parametrize(
    "block",
    [
        Heading(MARKUP_EVIL),
        Paragraph((MARKUP_EVIL, Term(MARKUP_EVIL), Code(MARKUP_EVIL), Strong(MARKUP_EVIL))),
        Bullets([MARKUP_EVIL, (MARKUP_EVIL, Strong(MARKUP_EVIL))]),
        table([MARKUP_EVIL], [[MARKUP_EVIL], [Cell(MARKUP_EVIL, style="struck")]]),
        Details("title", [Paragraph(MARKUP_EVIL)]),
    ],
    ids=lambda block: type(block).__name__,
)
def test_text_is_escaped_in_every_markdown_block(block: Block) -> None:
    text = markdown_blocks([block, Paragraph("below")])

    assert re.search(r"(?<!\\)\\\*a\\\*\\\|\\\[b\](?!\n)", text)
    assert "&lt;i&gt;&amp;" in text
    assert "<i>" not in text
    assert not re.search(
        r"(?<!\\)[`|]", re.sub(r"^\| | \|$|^\|--:\|$|^\|---\|$", "", text, flags=re.M)
    )


EMPTY: list[Block] = [
    Paragraph(""),
    Bullets([]),
    table(["a"], []),
    Details("b", [Bullets([]), table(["c"], [])]),
]
PRICED: list[list[Any]] = [
    ["direct", "4,000", Cell(f"986{NBSP}ms", style="struck"), ("✕ ", Strong("broken"))]
]
NUMBERS = [table(["p", Column("drawn", plotted=True)], [["p50", "<svg>"]])]
GROWING = Figure(
    "<svg>",
    "Lines.",
    [["1 s"]],
    [Paragraph("They grow."), ReadingGuide("Red: bad.")],
    NUMBERS,
)
SPANNED = [
    make_row(["a", Cell("b", columns=2)], ids=[("session", Code("s1"))]),
    make_row(["c", "d", "e"]),
]
POURED: dict[str, tuple[list[Block], str]] = {
    "the title of a fold is escaped": (
        [Details("<i>& voice_to_voice", [Paragraph("a")])],
        "<details><summary>&lt;i&gt;&amp; voice_to_voice</summary>\n\na\n\n</details>\n",
    ),
    "parts are separated by a blank line unless they belong together": (
        [Heading("a"), Paragraph("b"), Paragraph("c"), Bullets(["d", "e"]), Paragraph("f")],
        "### a\nb\n\nc\n- d\n- e\n\nf\n",
    ),
    "folds are not separated by a blank line": (
        [Details("a", [Paragraph("b")]), Details("c", [Paragraph("d")])],
        "<details><summary>a</summary>\n\nb\n\n</details>\n<details><summary>c</"
        "summary>\n\nd\n\n</details>\n",
    ),
    "empty blocks are omitted": ([Paragraph("a"), *EMPTY, Paragraph("b")], "a\n\nb\n"),
    "figures stand on the right and texts on the left": (
        [table([TextColumn("target"), "turns", "p50", TextColumn("verdict")], PRICED)],
        (
            "| target | turns | p50 | verdict |\n|---|--:|--:|---|\n| direct | 4,000 | ~~986 ms~~ |"
            " ✕ **broken** |\n"
        ),
    ),
    "code is a code span": ([Paragraph(Code("p(95)<800_ms"))], "`p(95)<800_ms`\n"),
    "code in a table is escaped": ([Paragraph(Code("a|b"))], "a\\|b\n"),
    "code is safe for a terminal": ([Paragraph(Code("a\x1bb"))], "`a\\x1bb`\n"),
    "code in a text": (
        [Paragraph(coded("Ask `rtbench check` of_it."))],
        "Ask `rtbench check` of\\_it.\n",
    ),
    "a figure is replaced by its data table": (
        [GROWING],
        "They grow.\n\n| p |\n|---|\n| p50 |\n",
    ),
    "a heading precedes the text after a figure without words": (
        [Heading("Above nothing"), Figure("<svg>"), Drawing("<svg>"), Paragraph("a")],
        "### Above nothing\na\n",
    ),
    "a reading guide is omitted without its figure": (
        [
            Paragraph("a"),
            Heading("Above nothing"),
            Figure("<svg>", "Lines."),
            ReadingGuide("b"),
        ],
        "a\n",
    ),
    "repeated content appears once": (
        [Paragraph("a"), Details("again", [Paragraph("b")], again=True)],
        "a\n",
    ),
    "names and ids of a row are a column and a wide cell takes its columns": (
        [table(["x", "y", "z"], SPANNED, caption="What it is of")],
        (
            "What it is of\n\n| x | y | z | ids |\n|---|--:|--:|---|\n| a | b |  | session `s1`"
            " |\n| c | d | e |  |\n"
        ),
    ),
    "an invalid table strikes through its values but not its names": (
        [table(["x", "y"], [["a", Cell("b", "c")]], "struck")],
        "| x | y |\n|---|--:|\n| a | ~~b (c)~~ |\n",
    ),
}


@pytest.mark.parametrize(("blocks", "text"), POURED.values(), ids=POURED)
def test_blocks_are_rendered_as_markdown(blocks: list[Block], text: str) -> None:
    assert markdown_blocks(blocks) == text


def test_the_name_of_a_variant_is_kept_when_a_label_is_shortened() -> None:
    assert formatting.excerpt("sweden.quick_vad", 12) == "s….quick_vad"
    assert formatting.excerpt("my-resource.openai.azure.com", 12) == "my-resource…"
    assert formatting.excerpt("127.0.0.1 (03:12:19)") == "127.0.… (03:12:19)"
    assert formatting.excerpt("order_status", 12) == "order_status"


@pytest.mark.parametrize(
    ("length", "most", "step"), [(30, 12, 5), (20, 10, 2), (1380, 60, 30), (86400, 60, 1800)]
)
def test_time_axes_have_round_steps(length: float, most: int, step: float) -> None:
    assert time_step(length, most) == step


def test_nice_numbers_are_not_below_the_value() -> None:
    assert [nice(value) for value in (0.9, 1, 1.1, 2.2, 30, 51)] == [1, 1, 2, 2.5, 50, 100]


@pytest.mark.parametrize("shape", SHAPES)
def test_text_in_a_drawing_is_escaped(shape: str) -> None:
    plot = Plot(100, 50, left=0, right=0, top=0, bottom=0, title="<a & 'b'>", desc="\x00\x1b")
    plot.text(1, 1, "</svg><script>")
    plot.dot(1, 1, shape, "x", tip="<b>")
    plot.readout([1.0], ['"quoted" <i>'])
    element = ET.fromstring(plot.svg())

    assert element.get("aria-label", "").startswith("<a & 'b'>")
    assert '"quoted\\" <i>' in element.get("data-stops", "") or "quoted" in element.get(
        "data-stops", ""
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1962.4, "1,960"),
        (0.8, "0.8"),
        (0.0416, "0.0416"),
        (-12.34, "−12.3"),
        (999.6, "1,000"),
        (0, "0"),
        (12.0, "12"),
        (None, "–"),
        (math.nan, "–"),
        (math.inf, "∞"),
        (-0.004, "−0.004"),
    ],
)
def test_numbers_have_at_most_three_significant_digits(value: float | None, text: str) -> None:
    assert formatting.format_number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (42.3, "42 s"),
        (100, "1 min 40 s"),
        (120, "2 min"),
        (1200, "20 min"),
        (5400, "90 min"),
        (6600, "1 h 50 min"),
        (2.34, "2.3 s"),
    ],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert formatting.format_duration(seconds).replace(NBSP, " ") == text


def test_markdown_shows_the_answer_and_folds_the_other_sections() -> None:
    sections = [
        Section("answer", "Differences", "What changed?", [Paragraph("All.")]),
        Section(
            "cost",
            "Cost",
            "What did it cost?",
            [Paragraph("Nothing."), Details("Prices", [Paragraph("None.")])],
        ),
        Section(
            "how", "Definitions", "What do words mean?", [Definitions([("p50", "The median.")])]
        ),
    ]
    badges = [Badge("ok", "✓", "VALID", "2 checks passed"), Badge("sim", "◇", "SIMULATED", "")]
    page = Page(
        "",
        badges,
        "It is quick.",
        [Banner(["First.", "Second."])],
        sections,
        notes="voice",
        footer="The end.",
    )

    assert (
        render_markdown(page)
        == "### ✓ It is quick.\n**✓ VALID** 2 checks passed · **◇ SIMULATED** · "
        "voice\n\nFirst.\n\nSecond.\n\nAll.\n\n<details><summary>Cost</"
        "summary>\n\nNothing.\n\n<details open><summary>Prices</summary>\n\nNone.\n\n</"
        "details>\n\n</details>\n\nThe end.\n"
    )


def long_page(answer: int, section: int) -> Page:
    """Return a page whose answer and section have this number of rows, with a note for each row
    of the section.
    """
    tables = [
        table(["x", "y"], [[f"{name} {row}", "y" * 80] for row in range(rows)])
        for name, rows in (("worst", answer), ("size", section))
    ]
    notes = Bullets([f"note {row} " + "n" * 80 for row in range(section)])
    sections = [
        Section("sizes", "Sizes", "", [Details("More", [tables[1]])]),
        Section("notes", "Notes", "", [notes]),
    ]
    return Page(
        "",
        [Badge("ok", "✓", "PASS", "")],
        "It is quick.",
        [],
        sections,
        answer=[tables[0]],
        footer="The end.",
    )


@pytest.mark.parametrize(
    ("answer", "section", "left_out"),
    [
        (300, 300, (None, True)),
        (300, 0, (None, False)),
        (2_000, 10, (True, True)),
        (2_000, 0, (True, False)),
    ],
    ids=["sections", "nothing", "answer and sections", "answer"],
)
def test_a_page_that_is_too_long_for_a_comment_loses_the_last_rows_first_of_its_sections(
    answer: int, section: int, left_out: tuple[bool | None, bool]
) -> None:
    text = render_markdown(long_page(answer, section))
    rows = {
        name: len(re.findall(rf"^(?:\| |- ){name} \d+ ", text, re.M))
        for name in ("worst", "size", "note")
    }

    assert len(text) <= 65_000
    assert text.endswith("The end.\n")
    assert rows["size"] == rows["note"]
    assert (rows["worst"] < answer, rows["size"] < section) == (bool(left_out[0]), left_out[1])
    missing = [count for count in (answer - rows["worst"], *[section - rows["size"]] * 2) if count]
    assert re.findall(r"^(\d+) more rows are left out here", text, re.M) == [
        str(count) for count in missing
    ]
    # not more than needed
    assert len(text) > 64_000 or not left_out[0]
    assert not rows["worst"] or "| worst 0 |" in text, "the worst result is the first"


def test_an_empty_cell_is_not_struck_through() -> None:
    text = markdown_blocks(
        [table(["x", "y", "z"], [["a", Cell("", style="struck"), Cell("1", style="struck")]])]
    )

    assert text.endswith("| a |  | ~~1~~ |\n")


def test_a_readout_lists_only_lines_with_a_value() -> None:
    plot = Plot(100, 100, left=0, right=0, top=0, bottom=0, title="Waits")
    plot.read_lines(
        [(1, 10.0, "first"), (2, 20.0, "second")],
        [("direct", {1: "5 ms"}), ("gateway", {1: "6 ms"})],
    )

    assert plot.stops is not None
    assert plot.stops["t"] == ["first · direct 5 ms · gateway 6 ms", "second"]


def test_heads_and_cells_that_are_none_are_left_out() -> None:
    heads = ["step", None, "p50"]
    rows = [["greeting", None, "640"]]
    assert markdown_blocks([table(heads, rows)]) == (
        "| step | p50 |\n|---|--:|\n| greeting | 640 |\n"
    )


def test_labels_of_an_axis_do_not_overlap() -> None:
    plot = Plot(400, 100, left=20, right=20, top=10, bottom=30, title="Delays")

    plot.x_axis(log_scale(890, 5_000, plot.x0, plot.x1), [900, 1_000, 2_000], formatting.ms)

    labels = re.findall(r'class="tick"[^>]*>([^<]+)<', plot.svg())
    assert labels == [f"900{NBSP}ms", f"2{NBSP}s"]
