"""The summary on a terminal: its lines, width and colours, the waterfalls, and the calibration that a run cites."""

from __future__ import annotations

import os
import pty
import re
import sys
from dataclasses import replace
from functools import cache
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rtbench
from reports.analysis.summary.run_validity import busiest
from reports.data.runs import RunFrames
from reports.formatting import NBSP
from reports.pages.run_report.report import run_page
from reports.render.blocks import Badge, Block, Cell, Column, Fact, Page, Paragraph, make_row, table
from reports.render.terminal import coloured, render_lines, render_page
from reports.render.waterfall import WaterfallRow, folded, message, waterfall
from reports.text.validity import trust
from rtbench.cli.report import wants_colour
from tests.reports.shared import summary_of
from tests.reports.synthetic import Plan, write

PLANS = {
    "small": Plan(),
    "two": Plan(sessions=120, turns=10, targets=("direct", "gateway"), failed=0.02, seconds=300),
    "large": Plan(sessions=1000, turns=4, targets=("direct", "gateway"), refused=60, failed=0.01, median_ms=21_000),
    "mixed": Plan(sessions=60, turns=10, kinds=("vad", "typed", "manual"), targets=("sweden.quick_vad_and_more", "b")),
    "failing": Plan(sessions=60, turns=10, failed=0.08),
}


NUMBER = re.compile(r"[\d,.]+")


WIDTHS = range(40, 101)


@cache
def texts(name: str) -> dict[int, str]:
    """Return the summary of the run `name` as text. The key is the width of the terminal."""
    page = run_page(summary_of(PLANS[name]))
    return {width: render_page(page, width) for width in WIDTHS}


@pytest.mark.parametrize("name", PLANS)
def test_no_line_is_wider_than_the_terminal(name: str) -> None:
    for width, text in texts(name).items():
        assert max(map(len, text.splitlines())) <= width


def test_a_narrow_table_shows_fewer_values_and_no_other_ones() -> None:
    rows = {width: _row(text) for width, text in texts("large").items()}

    for width, row in rows.items():
        assert set(NUMBER.findall(row)) <= set(NUMBER.findall(rows[100])), width
    sizes = [len(NUMBER.findall(rows[width])) for width in rows]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]


def test_the_failure_rate_is_shown_at_every_width() -> None:
    for text in texts("failing").values():
        assert re.search(r"%( \(\d+ of \d+\))?$", _row(text))


def _row(text: str) -> str:
    """Return the first row of the table. If the name of the row is on its own line, add the next line."""
    lines = text.splitlines()
    at = next(index for index, line in enumerate(lines) if line.startswith("  ●"))
    return lines[at] if re.search("%", lines[at]) else lines[at] + lines[at + 1]


@pytest.mark.parametrize(
    ("environ", "coloured"),
    [
        ({}, False),
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        ({"FORCE_COLOR": "1", "TERM": "dumb"}, False),
        ({"FORCE_COLOR": "1", "NO_COLOR": ""}, True),
    ],
)
def test_colour_follows_force_color_no_color_and_term(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], coloured: bool
) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)

    assert wants_colour() is coloured


@pytest.mark.parametrize(("term", "coloured"), [("xterm-256color", True), ("dumb", False)])
def test_term_dumb_disables_colour(monkeypatch: pytest.MonkeyPatch, term: str, coloured: bool) -> None:
    master, slave = pty.openpty()
    for name in ("FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", term)
    with os.fdopen(slave, "w") as terminal, os.fdopen(master, "rb", buffering=0):
        monkeypatch.setattr(sys, "stdout", terminal)
        wanted = wants_colour()
        monkeypatch.undo()

    assert wanted is coloured


CITED = {
    "date": "2026-11-20", "kind": "voice", "sessions": 400, "events_per_s": 9000.0, "exact_sessions": 100,
    "ended": "", "tls": True, "file": "calibration-here-tls.json", "stale": [],
}  # fmt: skip


LINE = "calibrated on 2026-11-20: error p99 ≤ 1 ms up to 400 voice sessions per process, 9,000 events/s"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFrames:
    folder = tmp_path_factory.mktemp("run")
    write(folder, Plan(sessions=10))
    loaded = rtbench.load(folder)
    return replace(loaded, seconds=loaded.seconds.assign(events=120))


def citing(run: RunFrames, cited: Any) -> RunFrames:
    return replace(run, metadata=run.metadata | {"calibration": cited})


def test_a_run_cites_its_calibration(run: RunFrames) -> None:
    assert trust(citing(run, CITED)) == [LINE]


def test_differences_from_the_calibration_are_listed(run: RunFrames) -> None:
    (line,) = trust(citing(run, CITED | {"stale": ["with another kernel", "without TLS"]}))

    assert line == LINE.replace("2026-11-20", "2026-11-20, with another kernel and without TLS")


def test_a_run_beyond_its_calibration_names_what_it_exceeded(run: RunFrames) -> None:
    sessions, events_per_s = busiest(run.seconds)
    both = citing(run, CITED | {"sessions": sessions - 1, "events_per_s": events_per_s / 2})
    within = citing(run, CITED | {"sessions": sessions, "events_per_s": events_per_s})

    assert sessions > 1
    assert trust(both)[1].startswith(f"this run exceeded its calibration: {sessions:.0f} sessions and ")
    assert len(trust(within)) == 1


@pytest.mark.parametrize(("above", "lines"), [(1.09, 1), (1.11, 2)])
def test_busy_seconds_may_exceed_the_calibrated_mean_by_a_tenth(run: RunFrames, above: float, lines: int) -> None:
    _, events_per_s = busiest(run.seconds)

    assert len(trust(citing(run, CITED | {"events_per_s": events_per_s / above}))) == lines


def test_the_cause_that_ended_the_calibration_is_named_unless_it_was_the_load_generator(run: RunFrames) -> None:
    ended, beyond = trust(citing(run, CITED | {"ended": "the simulator", "sessions": 1}))

    assert ended == LINE.replace("400", "at least 1")
    assert beyond.startswith("this run exceeded its calibration (ended by the simulator, not by the load generator): ")


def test_each_worker_is_compared_with_the_calibration_separately(run: RunFrames) -> None:
    sessions, events_per_s = busiest(run.seconds)
    seconds = run.seconds.assign(worker=1)
    twice = replace(run, seconds=pd.concat([seconds, run.seconds.assign(worker=0)], ignore_index=True))

    assert busiest(twice.seconds) == (sessions, events_per_s)
    assert events_per_s > 0
    assert busiest(run.seconds.iloc[:0]) == (0.0, 0.0)


LONG = "gateway.of_the_north_with_a_long_name"
SEVERAL = table(
    [Column("target"), Column("turns", leave_out=2), Column("p50 (95 %)", shorten=1)],
    [
        [Cell("first audio, ms", columns=3)],
        [Cell("direct", target=0, marked=True), "4,000", Cell("986", "969 – 1,010")],
        make_row(
            [Cell(LONG, target=1, marked=True), "40", Cell("n/a", "needs 5 sessions", style="warn")],
            more=[Paragraph("too few")],
        ),
    ],
)
NAMED = table(
    [Column("run", min_width=8), "p50"], [["20261124T041700Z-calls", "986"], ["20261125T041700Z-calls", "991"]]
)
EVERY: dict[str, Block] = {
    "a paragraph": Paragraph(f"Callers wait 986{NBSP}ms for " + "words " * 30, "bold"),
    "a name": Fact("note", ["a text of some words", "another of some more words"] * 4, "bad"),
    "a table": SEVERAL,
    "a table of shortened names": NAMED,
}


@pytest.mark.parametrize("name", EVERY)
def test_no_line_exceeds_the_terminal_and_colour_changes_no_text(name: str) -> None:
    for width in range(32, 120):
        text = render_lines([[EVERY[name]]], width)

        assert max(map(len, text.splitlines())) <= width
        coloured = render_lines([[EVERY[name]]], width, colour=True)
        assert coloured != text
        assert re.sub(r"\x1b\[\d+m", "", coloured) == text


def test_parts_are_separated_by_one_blank_line_and_empty_parts_by_none() -> None:
    assert render_lines([[Paragraph("a"), Paragraph("b")], [], [Paragraph("")], [Paragraph("c")]]) == "a\nb\n\nc\n"


def test_a_number_and_its_unit_stay_on_one_line() -> None:
    assert render_lines([[Paragraph(f"a wait of some 986{NBSP}ms")]], 20) == "a wait of some\n986 ms\n"


def test_the_text_of_a_fact_continues_below_it_and_short_parts_stay_whole() -> None:
    assert render_lines([[Fact("fair", ["same workload", "run valid", "turns"])]], 40) == (
        "fair            same workload ·\n                run valid · turns\n"
    )


def test_a_text_with_too_many_lines_is_shortened_with_an_ellipsis() -> None:
    text = render_lines([[Fact("incident", ["word " * 40], max_lines=2)]], 40)

    assert len(text.splitlines()) == 2
    assert text.endswith("…\n")


def test_a_fact_without_texts_is_omitted() -> None:
    assert render_lines([[Fact("arms", []), Fact("note", [""]), Paragraph("end")]]) == "end\n"


def test_badges_move_to_their_own_line_if_there_is_no_room() -> None:
    badges = [Badge("ok", "✓", "VALID", ""), Badge("sim", "◇", "SIMULATED", "")]
    page = Page("", badges, "Valid.", (), (), notes="200 pairs")

    assert render_page(page, 40) == "200 pairs        ✓ VALID     ◇ SIMULATED\nValid.\n"
    assert render_page(page, 30) == "200 pairs\n✓ VALID     ◇ SIMULATED\nValid.\n"


def test_a_narrow_table_drops_whole_columns() -> None:
    texts = {width: render_lines([[SEVERAL]], width) for width in (60, 32, 20)}

    assert "986 (969–1,010)" in texts[60]
    assert "986 (" not in texts[32]
    assert "4,000" in texts[32]
    assert "4,000" not in texts[20]


def test_a_first_cell_without_room_is_printed_above_its_row() -> None:
    lines = render_lines([[SEVERAL]], 60).splitlines()

    assert lines[2:] == [
        "  ● direct  4,000         986 (969–1,010)",
        f"  ◆ {LONG}",
        "               40  n/a (needs 5 sessions)",
        "      too few",
    ]


def test_the_first_column_is_shortened_in_the_middle_if_no_layout_fits() -> None:
    lines = render_lines([[table([Column("run", min_width=5), "p50"], [["abcdefghij", "123456"]])]], 16).splitlines()

    assert lines[1] == "  abc…ij  123456"


def test_names_are_shortened_if_rows_remain_different() -> None:
    """All names begin with the same day and end with the same scenario, so they differ only in the middle."""
    names = [f"20261124T0{minute}1700Z-text_turns" for minute in range(4)]
    cut = table([Column("run", min_width=16), "p50"], [[name, "391 (372–415)"] for name in names])
    lines = render_lines([[cut]], 36).splitlines()[1:]

    assert len(lines) == len(set(lines)) == len(names)
    assert all("…" in line for line in lines)


def test_names_that_cannot_be_shortened_uniquely_are_printed_above_their_rows() -> None:
    names = [f"{sort}-20261124T0417-{end}" for sort in ("vad_one", "vad_two") for end in ("of_night", "of_fight")]
    uncut = table([Column("run", min_width=4), "p50"], [[name, "391 (372–415)"] for name in names])
    lines = render_lines([[uncut]], 22).splitlines()[1:]

    assert len(lines) == 2 * len(names)
    assert {line.strip() for line in lines[1::2]} == {"391 (372–415)"}


def test_a_style_may_combine_two_words() -> None:
    assert coloured("x", "bad bold") == "\x1b[1m\x1b[31mx\x1b[0m\x1b[0m"
    assert coloured("x", "") == "x"
    assert coloured("x", "bad", colour=False) == "x"


WATERFALL_ROWS = st.builds(
    lambda at_ms, lasts_ms, since_ms, name, count, size: WaterfallRow(
        at_ms, "←", name, at_ms + lasts_ms * (count > 1), since_ms, count, size, size * 2
    ),
    st.floats(-5_000, 60_000),
    st.floats(0, 5_000),
    st.none() | st.floats(-5_000, 60_000),
    st.text("abc._", min_size=1, max_size=60),
    st.integers(1, 400),
    st.sampled_from([0, 4_800]),
)


def test_waterfall_rows_are_in_order_of_time_with_their_labels() -> None:
    rows = [
        message(12.4, "←", "response.created"),
        WaterfallRow(31.0, "←", "audio delta", 61.0, since_ms=12.4, count=11, smallest=4_800, largest=28_800),
        message(0.0, "→", "response.create"),
        message(50.0, "♪", "first audible sample"),
    ]

    assert waterfall(rows, 70) == [
        "  0.0  → response.create                    ●",
        "+12.4  ← response.created                   │    ●",
        "+31.0  ← audio delta × 11, 4,800–28,800 B   │    ░░░░░░░░█████████████",
        "+50.0  ♪ first audible sample               │                   ●",
    ]


def test_long_spans_are_in_whole_milliseconds() -> None:
    lines = waterfall([message(-2_140.3, "→", "audio"), message(0, "·", "end of speech"), message(318.2, "←", "x")], 60)

    assert [line.split()[0] for line in lines] == ["−2,140", "0", "+318"]


@pytest.mark.parametrize(
    ("sizes", "label"),
    [([0], "delta"), ([0, 0], "delta × 2"), ([5], "delta, 5 B"), ([5, 5], "delta × 2, 5 B"),
     ([1_000, 5], "delta × 2, 5–1,000 B")],
)  # fmt: skip
def test_a_waterfall_row_has_the_number_and_the_sizes_of_its_messages(sizes: list[int], label: str) -> None:
    (row,) = folded(("delta", message(number, "←", "delta", size)) for number, size in enumerate(sizes))

    assert row.label == label


def test_messages_with_one_key_form_one_row_from_first_to_last() -> None:
    rows = folded(
        [
            ("a", message(1, "←", "a")),
            (None, message(2, "←", "x")),
            ("b", message(3, "←", "b")),
            ("a", message(4, "←", "a")),
            (None, message(5, "←", "x")),
        ]
    )

    assert [(row.name, row.at_ms, row.until_ms, row.count) for row in rows] == [
        ("a", 1, 4, 2),
        ("x", 2, 2, 1),
        ("b", 3, 3, 1),
        ("x", 5, 5, 1),
    ]


def test_a_long_name_is_shortened() -> None:
    (line,) = waterfall([message(1, "←", "conversation.item.input_audio_transcription.segment")], 60)

    assert "conversation.item.input_aud" in line
    assert "…" in line
    assert len(line) <= 60


def test_a_waterfall_has_colour_only_on_request() -> None:
    rows = [message(0, "→", "x"), message(1, "←", "error", style="bad")]

    assert "\x1b" not in "".join(waterfall(rows, 60))
    plain, bad = waterfall(rows, 60, colour=True)
    assert "\x1b" not in plain
    assert bad == f"\x1b[31m{waterfall(rows, 60)[1]}\x1b[0m"


@given(rows=st.lists(WATERFALL_ROWS, min_size=1, max_size=30), width=st.integers(60, 100))
def test_every_waterfall_row_fits_on_one_line_and_has_a_bar(rows: list[WaterfallRow], width: int) -> None:
    lines = waterfall(rows, width)

    assert len(lines) == len(rows)
    assert max(map(len, lines)) <= width
    places = [min(line.rindex("●") if "●" in line else line.rindex("█"), width) for line in lines]
    assert all(places)
    first = [next(place for place, sign in enumerate(line) if sign in "●█") for line in lines]
    assert first == sorted(first)
