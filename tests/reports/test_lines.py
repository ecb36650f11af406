"""Lines of a terminal, as any text is poured into them."""

from __future__ import annotations

import re

import pytest

from reports.blocks import Cell, Paragraph, row_of
from reports.numbers import NBSP
from reports.text.lines import Badges, Grid, Named, Part, inked, lines_of

LONG = "gateway.of_the_north_with_a_long_name"
ROWS = [
    row_of(["", "turns", "p50 (95 %)", "p50"], "soft"),
    row_of([Cell("first audio, ms", style="soft")]),
    row_of([Cell("direct", target=0, marked=True), "4,000", "986 (969–1,010)", "986"]),
    row_of([Cell(LONG, target=1, marked=True), "40", "n/a (needs 5 sessions)", Cell("n/a", "too few", style="warn")]),
]
LAYOUTS = ((0, 1, 2), (0, 1, 3), (1, 3))
EVERY: dict[str, Part] = {
    "a paragraph": Paragraph(f"Callers wait 986{NBSP}ms for " + "words " * 30, "bold"),
    "a name": Named("note", ["a text of some words", "another of some more words"] * 4, "bad"),
    "badges": Badges([("✓ VALID", "good"), ("◇ SIMULATED", "sim")], "200 pairs, interleaved in one run"),
    "last badges": Badges([("✓ VALID", "good")], "a run of the first of May, an hour and a half", last=True),
    "a grid": Grid(ROWS, (0,), LAYOUTS, indent="  ", most=16),
    "a grid of cut names": Grid(ROWS, (0,), LAYOUTS[:2], least=8, ending=4),
    "a stacked grid": Grid(ROWS, (0,), LAYOUTS[:1], indent="  ", stacked=((1, 3), (2,))),
}


@pytest.mark.parametrize("name", EVERY)
def test_no_line_is_wider_than_the_terminal_and_colour_changes_no_letter(name: str) -> None:
    for width in range(32, 120):
        text = lines_of([[EVERY[name]]], width)

        assert max(map(len, text.splitlines())) <= width
        coloured = lines_of([[EVERY[name]]], width, colour=True)
        assert coloured != text
        assert re.sub(r"\x1b\[\d+m", "", coloured) == text


def test_a_blank_line_stands_between_parts_and_none_for_an_empty_one() -> None:
    assert lines_of([[Paragraph("a"), Paragraph("b")], [], [Paragraph("")], [Paragraph("c")]]) == "a\nb\n\nc\n"


def test_a_number_stays_with_its_unit() -> None:
    assert lines_of([[Paragraph(f"a wait of some 986{NBSP}ms")]], 20) == "a wait of some\n986 ms\n"


def test_a_text_beside_a_name_goes_on_below_it_and_a_short_one_is_kept_whole() -> None:
    assert lines_of([[Named("fair", ["same workload", "run valid", "turns"])]], 40) == (
        "fair            same workload ·\n                run valid · turns\n"
    )


def test_a_text_of_too_many_lines_is_cut_and_says_so() -> None:
    text = lines_of([[Named("incident", ["word " * 40], most=2)]], 40)

    assert len(text.splitlines()) == 2
    assert text.endswith("…\n")


def test_a_name_without_texts_is_left_out() -> None:
    assert lines_of([[Named("arms", []), Named("note", [""]), Paragraph("end")]]) == "end\n"


def test_badges_have_a_line_of_their_own_where_there_is_no_room() -> None:
    badges = Badges([("✓ VALID", "good"), ("◇ SIMULATED", "sim")], "200 pairs")

    assert lines_of([[badges]], 40) == "✓ VALID     ◇ SIMULATED        200 pairs\n"
    assert lines_of([[badges]], 30) == "✓ VALID     ◇ SIMULATED\n200 pairs\n"


def test_a_table_gives_way_by_whole_columns() -> None:
    texts = {width: lines_of([[Grid(ROWS, (0,), LAYOUTS, indent="  ", most=16)]], width) for width in (60, 30, 20)}

    assert "986 (969–1,010)" in texts[60]
    assert "986 (" not in texts[30]
    assert "4,000" in texts[30]
    assert all(line.endswith(("p50", "986", "n/a")) for line in texts[30].splitlines() if "  " in line.strip())


def test_a_first_cell_without_room_stands_above_its_row() -> None:
    lines = lines_of([[Grid(ROWS, (0,), LAYOUTS, indent="  ", most=16)]], 60).splitlines()

    assert lines[2:] == [
        "  ● direct  4,000         986 (969–1,010)",
        f"  ◆ {LONG}",
        "               40  n/a (needs 5 sessions)",
        "      too few",
    ]


def test_a_first_column_is_cut_where_no_layout_fits_and_keeps_its_end() -> None:
    def first(ending: int | None) -> str:
        return lines_of([[Grid([row_of(["abcdefghij", "123456"])], (0,), least=5, ending=ending)]], 14)

    assert first(2) == "abc…ij  123456\n"
    assert first(None) == "…fghij  123456\n"


@pytest.mark.parametrize("ending", [4, 0, None])
def test_names_are_cut_where_rows_remain_different(ending: int | None) -> None:
    """Their beginnings are one day, their ends one scenario; what differs is between."""
    names = [f"20261124T0{minute}1700Z-text_turns" for minute in range(4)]
    grid = Grid([row_of([name, "391 (372–415)"]) for name in names], (0,), least=16, ending=ending)
    lines = lines_of([[grid]], 34).splitlines()

    assert len(lines) == len(set(lines)) == len(names)
    assert all("…" in line for line in lines)


def test_names_that_no_cut_tells_from_one_another_stand_above_their_rows() -> None:
    names = [f"{sort}-20261124T0417-{end}" for sort in ("vad_one", "vad_two") for end in ("of_night", "of_fight")]
    grid = Grid([row_of([name, "391 (372–415)"]) for name in names], (0,), least=4, ending=0)
    lines = lines_of([[grid]], 20).splitlines()

    assert len(lines) == 2 * len(names)
    assert {line.strip() for line in lines[1::2]} == {"391 (372–415)"}


def test_a_table_without_room_is_stacked_and_loses_no_column() -> None:
    grid = Grid(ROWS, (0,), LAYOUTS[:1], indent="  ", stacked=((1, 3), (2,)))

    assert lines_of([[grid]], 40).splitlines()[3:7] == [
        "  ● direct",
        "    4,000  986",
        "           986 (969–1,010)",
        "  ◆ gatew….of_the_north_with_a_long_name",
    ]
    assert len(lines_of([[grid]], 100).splitlines()) == len(ROWS) + 1  # one of them has a text below


def test_a_style_of_two_words_is_both() -> None:
    assert inked("x", "bad bold") == "\x1b[1m\x1b[31mx\x1b[0m\x1b[0m"
    assert inked("x", "") == "x"
    assert inked("x", "bad", colour=False) == "x"
