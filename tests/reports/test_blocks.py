"""Blocks that are rendered on a page and in Markdown, scales, ticks, and the format of numbers."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports import formatting
from reports.formatting import NBSP, log_range, nice, time_step
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
    SideBySide,
    Strong,
    Tabs,
    Term,
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
    PixelScale,
    Plot,
    even_ticks,
    identity,
    linear_ticks,
    log_scale,
    log_ticks,
    plot_figure,
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
        Figure("", EVIL, EVIL, [[EVIL]], [Paragraph(EVIL)]),
        SideBySide([Figure("", EVIL), Figure("", EVIL)]),
        Tabs(EVIL, [("a", EVIL, Figure("")), ("b", EVIL, Figure(""))]),
        table(
            [EVIL, Column(EVIL)], [[EVIL, Cell(EVIL, EVIL)], make_row([EVIL, EVIL], ids=[(EVIL, EVIL)])], stacked=True
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
        Page(EVIL, [Badge("ok", EVIL, EVIL, EVIL)], EVIL, [Paragraph(EVIL)], [section], notes=EVIL, footer=EVIL)
    )

    assert page.count("&lt;i&gt;&amp;") == 11
    assert EVIL not in page


def test_a_page_with_several_sections_has_navigation_and_lists_all_tabs() -> None:
    panes = Tabs("", [("a", "A", Figure("")), ("b", "B", Figure(""))])
    page = Page("", [], "", [], [Section("one", "One", "First?", [panes]), Section("two", "Two", "")])

    assert page.tabs == ["a", "b"]
    assert re.findall(r"<nav.*?</nav>", page_html(page)) == [
        '<nav aria-label="Sections"><a href="#one">One</a><a href="#two">Two</a></nav>'
    ]
    assert "<nav" not in page_html(Page("", [], "", [], [Section("two", "Two", "Second?")]))


def test_only_a_term_with_a_definition_links_to_it() -> None:
    page = render_html(Paragraph((Term("ttfa"), Term("unknown"))))

    assert re.findall(r'<a class="d" href="([^"]+)">', page) == ["#def-ttfa"]
    assert "unknown" in page


def test_cells_of_a_stacked_table_repeat_their_column_s_heading() -> None:
    lines = table(["step", "p50"], [["greeting", "480"]])
    cards = table(["step", "p50"], [["greeting", "480"]], stacked=True)

    assert 'data-l="p50"' not in render_html(lines)
    assert 'role="cell" data-l="p50">480' in render_html(cards)
    assert render_html(lines).count('<th scope="col"') == render_html(cards).count('<th scope="col"') == 2


def test_a_cell_has_the_colour_and_the_mark_of_its_target_and_its_subtext() -> None:
    page = render_html(table(["", "p50"], [[Cell("gateway", target=1, marked=True), Cell("480", "470 – 490")]]))

    assert '<th scope="row" class="t1"><span class="key" aria-hidden="true">◆</span>gateway</th>' in page
    assert "<td>480<small>470 – 490</small></td>" in page


def test_a_figure_without_a_drawing_shows_its_text_without_a_frame() -> None:
    page = render_html(Figure("", "too few turns"))

    assert "too few turns" in page
    assert 'class="pan"' not in page


def test_the_data_table_of_a_figure_is_folded_unless_there_is_no_drawing() -> None:
    numbers = [table(["p50"], [["480 ms"]])]

    assert "<details><summary>Data table</summary>" in render_html(Figure("<svg>", numbers=numbers))
    assert "<details><summary>Data table</summary>" in render_html(
        Figure("", below=[Drawing("<svg>")], numbers=numbers)
    )
    assert "<details open><summary>Data table</summary>" in render_html(Figure("", "Too few.", numbers=numbers))


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
    assert not re.search(r"(?<!\\)[`|]", re.sub(r"^\| | \|$|^\|--:\|$|^\|---\|$", "", text, flags=re.M))


EMPTY: list[Block] = [Paragraph(""), Bullets([]), table(["a"], []), Details("b", [Bullets([]), table(["c"], [])])]
PRICED: list[list[Any]] = [["direct", "4,000", Cell(f"986{NBSP}ms", style="struck"), ("✕ ", Strong("broken"))]]
NUMBERS = [table(["p", Column("drawn", plotted=True)], [["p50", "<svg>"]])]
GROWING = Figure("<svg>", "Lines.", "Waits", [["1 s"]], [Paragraph("They grow."), ReadingGuide("Red: bad.")], NUMBERS)
SPANNED = [make_row(["a", Cell("b", columns=2)], ids=[("session", Code("s1"))]), make_row(["c", "d", "e"])]
POURED: dict[str, tuple[list[Block], str]] = {
    "the title of a fold is escaped":
        ([Details("<i>& voice_to_voice", [Paragraph("a")])],
         "<details><summary>&lt;i&gt;&amp; voice_to_voice</summary>\n\na\n\n</details>\n"),
    "parts are separated by a blank line unless they belong together":
        ([Heading("a"), Paragraph("b"), Paragraph("c"), Bullets(["d", "e"]), Paragraph("f")],
         "### a\nb\n\nc\n- d\n- e\n\nf\n"),
    "folds are not separated by a blank line":
        ([Details("a", [Paragraph("b")]), Details("c", [Paragraph("d")])],
         "<details><summary>a</summary>\n\nb\n\n</details>\n<details><summary>c</summary>\n\nd\n\n</details>\n"),
    "empty blocks are omitted": ([Paragraph("a"), *EMPTY, Paragraph("b")], "a\n\nb\n"),
    "figures stand on the right and texts on the left":
        ([table(["target", "turns", "p50", "verdict"], PRICED, left=(0, -1))],
         "| target | turns | p50 | verdict |\n|---|--:|--:|---|\n| direct | 4,000 | ~~986 ms~~ | ✕ **broken** |\n"),
    "code is a code span": ([Paragraph(Code("p(95)<800_ms"))], "`p(95)<800_ms`\n"),
    "code in a table is escaped": ([Paragraph(Code("a|b"))], "a\\|b\n"),
    "code is safe for a terminal": ([Paragraph(Code("a\x1bb"))], "`a\\x1bb`\n"),
    "code in a text": ([Paragraph(coded("Ask `rtbench check` of_it."))], "Ask `rtbench check` of\\_it.\n"),
    "a figure is replaced by its data table":
        ([GROWING], "### Waits\nThey grow.\n\n| p |\n|---|\n| p50 |\n"),
    "several figures are replaced by the first data table":
        ([Tabs("Which?", [("a", "A", GROWING), ("b", "B", Figure("<svg>", below=[Paragraph("Not seen.")]))])],
         "### Waits\nThey grow.\n\n| p |\n|---|\n| p50 |\n"),
    "a heading precedes the text after a figure without words":
        ([Heading("Above nothing"), Figure("<svg>"), Drawing("<svg>"), Paragraph("a")], "### Above nothing\na\n"),
    "a reading guide is omitted without its figure":
        ([Paragraph("a"), Heading("Above nothing"), SideBySide([Figure("<svg>", "Lines.")]), ReadingGuide("b")], "a\n"),
    "repeated content appears once": ([Paragraph("a"), Details("again", [Paragraph("b")], again=True)], "a\n"),
    "names and ids of a row are a column and a wide cell takes its columns":
        ([table(["x", "y", "z"], SPANNED, caption="What it is of")],
         "What it is of\n\n| x | y | z | ids |\n|---|--:|--:|---|\n| a | b |  | session `s1` |\n| c | d | e |  |\n"),
    "an invalid table strikes through its values but not its names":
        ([table(["x", "y"], [["a", Cell("b", "c")]], "struck")], "| x | y |\n|---|--:|\n| a | ~~b (c)~~ |\n"),
}  # fmt: skip


@pytest.mark.parametrize(("blocks", "text"), POURED.values(), ids=POURED)
def test_blocks_are_rendered_as_markdown(blocks: list[Block], text: str) -> None:
    assert markdown_blocks(blocks) == text


def test_markdown_shows_the_answer_and_folds_the_other_sections() -> None:
    sections = [
        Section("answer", "Differences", "What changed?", [Paragraph("All.")]),
        Section("cost", "Cost", "What did it cost?", [Paragraph("Nothing."), Details("Prices", [Paragraph("None.")])]),
        Section("how", "Definitions", "What do words mean?", [Definitions([("p50", "The median.")])]),
    ]
    badges = [Badge("ok", "✓", "VALID", "2 checks passed"), Badge("sim", "◇", "SIMULATED", "")]
    page = Page("", badges, "It is quick.", [Banner(["First.", "Second."])], sections, notes="voice", footer="The end.")

    assert render_markdown(page) == (
        "### ✓ It is quick.\n**✓ VALID** 2 checks passed · **◇ SIMULATED** · voice\n\nFirst.\n\nSecond.\n\nAll.\n\n"
        "<details><summary>Cost</summary>\n\nNothing.\n\n"
        "<details open><summary>Prices</summary>\n\nNone.\n\n</details>\n\n</details>\n\nThe end.\n"
    )


def test_the_name_of_a_variant_is_kept_when_a_label_is_shortened() -> None:
    assert formatting.excerpt("sweden.quick_vad", 12) == "s….quick_vad"
    assert formatting.excerpt("my-resource.openai.azure.com", 12) == "my-resource…"
    assert formatting.excerpt("127.0.0.1 (03:12:19)") == "127.0.… (03:12:19)"
    assert formatting.excerpt("order_status", 12) == "order_status"


@given(st.text("ab._-", max_size=40), st.integers(2, 30))
def test_a_label_is_shortened_to_the_given_length(label: str, length: int) -> None:
    assert len(formatting.excerpt(label, length)) == min(len(label), length)


def test_no_option_is_divided_over_two_lines_of_a_page() -> None:
    unbroken = '<span class="nowrap">{}</span>'.format
    found = render_html(Paragraph(("fewer calls (-u), a well-known -5 %; ", Code("run x --sessions 11"))))

    assert f"fewer calls ({unbroken('-u')}), a well-known -5 %; " in found
    assert f"<code>run x {unbroken('--sessions')} 11</code>" in found


@pytest.mark.parametrize(("ratio", "text"), [(1.3, "+30 %"), (0.96, "−4 %"), (1.004, "0 %"), (12, "+1,100 %")])
def test_a_change_has_its_sign(ratio: float, text: str) -> None:
    assert formatting.change(ratio).replace(NBSP, " ") == text


@given(st.floats(1e-3, 1e6), st.floats(1.0, 1e4))
def test_logarithmic_axes_have_a_few_round_ticks(low: float, factor: float) -> None:
    ends = log_range([low, low * factor])
    ticks = log_ticks(*ends)

    assert ends[1] >= 1.9 * ends[0]
    assert 1 <= len(ticks) <= 7
    assert all(ends[0] <= tick <= ends[1] for tick in ticks)


@given(st.floats(0.5, 1e9))
def test_linear_axes_have_a_few_round_ticks(high: float) -> None:
    ticks = linear_ticks(0.0, high)

    assert ticks[0] == 0
    assert 2 <= len(ticks) <= 7
    assert ticks[-1] <= high * (1 + 1e-9)


def test_a_scale_clips_values_outside_to_its_edge() -> None:
    scale = log_scale(1, 100, 200, 0)

    assert (scale(10), scale.clip(0.1), scale.clip(math.inf)) == (100, 200, 0)


@pytest.mark.parametrize(("length", "most", "step"), [(30, 12, 5), (20, 10, 2), (1380, 60, 30), (86400, 60, 1800)])
def test_time_axes_have_round_steps(length: float, most: int, step: float) -> None:
    assert time_step(length, most) == step


def test_nice_numbers_are_not_below_the_value() -> None:
    assert [nice(value) for value in (0.9, 1, 1.1, 2.2, 30, 51)] == [1, 1, 2, 2.5, 50, 100]


def test_the_first_x_label_does_not_overlap_the_y_labels() -> None:
    plot = Plot(500, 50, left=60, right=0, top=0, bottom=20, title="ticks")
    plot.x_axis(
        PixelScale(identity, 0.0, 1.0, 60, 500),
        [0.0, 0.02, 0.5],
        lambda at: {0.0: "min", 0.02: "08:15", 0.5: "p50"}[at],
    )
    labels = ET.fromstring(plot.svg()).iter("text")

    assert [label.get("text-anchor") for label in labels] == ["start", "start", "middle"]


@pytest.mark.parametrize("shape", SHAPES)
def test_text_in_a_drawing_is_escaped(shape: str) -> None:
    plot = Plot(100, 50, left=0, right=0, top=0, bottom=0, title="<a & 'b'>", desc="\x00\x1b")
    plot.text(1, 1, "</svg><script>")
    plot.dot(1, 1, shape, "x", tip="<b>")
    plot.readout([1.0], ['"quoted" <i>'])
    element = ET.fromstring(plot.svg())

    assert element.get("aria-label", "").startswith("<a & 'b'>")
    assert '"quoted\\" <i>' in element.get("data-stops", "") or "quoted" in element.get("data-stops", "")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((1962.4, "1,960"), (0.8, "0.8"), (0.0416, "0.0416"), (-12.34, "−12.3"), (999.6, "1,000"), (0, "0")),
        *((12.0, "12"), (None, "–"), (math.nan, "–"), (math.inf, "∞"), (-0.004, "−0.004")),
    ],
)
def test_numbers_have_at_most_three_significant_digits(value: float | None, text: str) -> None:
    assert formatting.format_number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(42.3, "42 s"), (1200, "20 min"), (5400, "90 min"), (6600, "1 h 50 min"), (2.34, "2.3 s")]
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert formatting.format_duration(seconds).replace(NBSP, " ") == text


def test_ticks_of_a_time_axis_are_distinct() -> None:
    for length, most in ((30, 5), (150, 5), (300, 10), (600, 10), (5400, 10)):
        step = time_step(length, most)
        ticks = [formatting.instant(second, step) for second in even_ticks(length, step)]
        assert len(set(ticks)) == len(ticks)
    assert [formatting.instant(s, 30).replace(NBSP, " ") for s in (0, 30, 60, 150)] == ["0", "30 s", "1:00", "2:30"]


@pytest.mark.parametrize(("names", "rows"), [([], 0), (["direct"], 1), (["a", "b"], 1), (["long " * 6] * 4, 4)])
def test_a_plot_grows_by_the_rows_of_its_legend_and_keeps_its_axes(names: list[str], rows: int) -> None:
    plot = Plot(400, 200, list(enumerate(names)), left=50, right=10, title="Waits", desc="")

    assert plot.h == 200 + 16 * rows
    assert (plot.y0 - plot.y1, plot.svg().count("<text")) == (200 - 10 - 42, len(names))


def test_a_readout_lists_only_lines_with_a_value() -> None:
    plot = Plot(100, 100, left=0, right=0, top=0, bottom=0, title="Waits")
    plot.read_lines([(1, 10.0, "first"), (2, 20.0, "second")], [("direct", {1: "5 ms"}), ("gateway", {1: "6 ms"})])

    assert plot.stops is not None
    assert plot.stops["t"] == ["first · direct 5 ms · gateway 6 ms", "second"]


def test_a_line_is_one_cell_of_the_readout_whatever_its_label() -> None:
    """One label contains a dot, because it is the name of one of two strata of a target.

    An earlier version split such a label at the dot, and so made two cells.
    """
    plot = Plot(100, 50, left=0, right=0, top=0, bottom=0, title="waits")
    plot.read_lines([(0, 1.0, "from 0 s")], [("eastus2 · from request sent", {0: "p50 387 ms"}), ("b", {0: "n/a"})])

    assert plot_figure(plot).stops == [["from 0 s", "eastus2, from request sent p50 387 ms", "b n/a"]]
