"""The summary on a terminal: its lines, width and colours, the waterfalls, and the calibration
that a run cites.
"""

from __future__ import annotations

import os
import pty
import re
import sys
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rtbench
from reports.data.runs import RunFrames
from reports.formatting import NBSP
from reports.render.blocks import (
    SIMULATED,
    Badge,
    Block,
    Cell,
    Column,
    Fact,
    Page,
    Paragraph,
    make_row,
    table,
)
from reports.render.html import render_html
from reports.render.markdown import render_markdown
from reports.render.terminal import BETWEEN_BADGES, render_lines, render_page
from reports.render.waterfall import WaterfallRow, folded, message, waterfall
from reports.text.validity import NOT_CALIBRATED, trust
from rtbench.cli.report import wants_colour
from tests.reports.synthetic import Plan, write


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
def test_term_dumb_disables_colour(
    monkeypatch: pytest.MonkeyPatch, term: str, coloured: bool
) -> None:
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
    "date": "2026-11-20",
    "kind": "voice",
    "sessions": 400,
    "events_per_s": 9000.0,
    "exact_sessions": 100,
    "ended": "",
    "tls": True,
    "file": "calibration-here-tls.json",
    "stale": [],
}


LINE = (
    "calibrated on 2026-11-20: error p99 ≤ 1 ms up to 400 voice sessions per process, 9,000"
    " events/s"
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFrames:
    folder = tmp_path_factory.mktemp("run")
    write(folder, Plan(sessions=10))
    loaded = rtbench.load(folder)
    return replace(loaded, seconds=loaded.seconds.assign(events=120))


def citing(run: RunFrames, cited: Any) -> RunFrames:
    return replace(run, metadata=run.metadata | {"calibration": cited})


def test_the_lack_of_a_calibration_is_stated_only_for_a_run_that_is_not_valid(
    run: RunFrames,
) -> None:
    assert trust(citing(run, None)) == []
    assert trust(citing(run, None), is_valid=False) == [NOT_CALIBRATED]


def test_a_run_cites_its_calibration(run: RunFrames) -> None:
    assert trust(citing(run, CITED)) == [LINE]


LONG = "gateway.of_the_north_with_a_long_name"
SEVERAL = table(
    [Column("target"), Column("turns", leave_out=2), Column("p50 (95 %)", shorten=1)],
    [
        [Cell("first audio, ms", columns=3)],
        [Cell("direct", target=0, marked=True), "4,000", Cell("986", "969 – 1,010")],
        make_row(
            [
                Cell(LONG, target=1, marked=True),
                "40",
                Cell("n/a", "needs 5 sessions", style="warn"),
            ],
            more=[Paragraph("too few")],
        ),
    ],
)
NAMED = table(
    [Column("run", inline=True), "p50"],
    [["20261124T041700Z-calls", "986"], ["20261125T041700Z-calls", "991"]],
)
EVERY: dict[str, Block] = {
    "a paragraph": Paragraph(f"Callers wait 986{NBSP}ms for " + "words " * 30, "bold"),
    "a name": Fact("note", ["a text of some words", "another of some more words"] * 4, "bad"),
    "a table": SEVERAL,
    "a table of long names": NAMED,
}


@pytest.mark.parametrize("name", EVERY)
def test_no_line_exceeds_the_terminal_and_colour_changes_no_text(name: str) -> None:
    for width in range(32, 120):
        text = render_lines([[EVERY[name]]], width)

        assert max(map(len, text.splitlines())) <= width
        coloured = render_lines([[EVERY[name]]], width, colour=True)
        assert coloured != text
        assert re.sub(r"\x1b\[\d+m", "", coloured) == text


def test_names_are_never_cut_but_printed_above_their_rows() -> None:
    names = [f"VAD turns {end}" for end in ("with function calls", "after an interruption")]
    uncut = table(
        [Column("turns", inline=True), "p50"], [[name, "391 (372–415)"] for name in names]
    )
    wide, narrow = (render_lines([[uncut]], width).splitlines()[1:] for width in (60, 34))

    assert [line.split("391")[0].strip() for line in wide] == names
    assert [line.strip() for line in narrow] == [
        names[0],
        "391 (372–415)",
        names[1],
        "391 (372–415)",
    ]
    assert names[1] in " ".join(render_lines([[uncut]], 24).split())


def test_a_badge_that_says_who_answered_is_explained() -> None:
    page = Page("", [SIMULATED, Badge("ok", "✓", "VALID", "2 checks")], "It is quick.", [], [])

    assert render_page(page).splitlines()[1].strip() == (
        f"◇ SIMULATED by rtbench simulate{BETWEEN_BADGES}✓ VALID"
    )


def test_the_answer_and_a_second_sentence_are_above_its_badges() -> None:
    badge = Badge("ok", "✓", "VALID", "")
    answer, second = "Callers wait 1.3 s.", "Event deploy: no harm was seen."
    page = Page(
        "title", [badge], notes="the run", headline=answer, lead=[], sections=[], second=[second]
    )

    assert render_page(page).splitlines()[:2] == [answer, second]
    assert render_page(page).splitlines()[2].split() == ["the", "run", "✓", "VALID"]
    for text in (render_html(page), render_markdown(page)):
        assert text.index(answer) < text.index(second) < text.index("VALID")


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
        WaterfallRow(
            31.0, "←", "audio delta", 61.0, since_ms=12.4, count=11, smallest=4_800, largest=28_800
        ),
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
    lines = waterfall(
        [
            message(-2_140.3, "→", "audio"),
            message(0, "·", "end of speech"),
            message(318.2, "←", "x"),
        ],
        60,
    )

    assert [line.split()[0] for line in lines] == ["−2,140", "0", "+318"]


@pytest.mark.parametrize(
    ("sizes", "label"),
    [
        ([0], "delta"),
        ([0, 0], "delta × 2"),
        ([5], "delta, 5 B"),
        ([5, 5], "delta × 2, 5 B"),
        ([1_000, 5], "delta × 2, 5–1,000 B"),
    ],
)
def test_a_waterfall_row_has_the_number_and_the_sizes_of_its_messages(
    sizes: list[int], label: str
) -> None:
    (row,) = folded(
        ("delta", message(number, "←", "delta", size)) for number, size in enumerate(sizes)
    )

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
    (line,) = waterfall(
        [message(1, "←", "conversation.item.input_audio_transcription.segment")], 60
    )

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
def test_every_waterfall_row_fits_on_one_line_and_has_a_bar(
    rows: list[WaterfallRow], width: int
) -> None:
    lines = waterfall(rows, width)

    assert len(lines) == len(rows)
    assert max(map(len, lines)) <= width
    places = [min(line.rindex("●") if "●" in line else line.rindex("█"), width) for line in lines]
    assert all(places)
    first = [next(place for place, sign in enumerate(line) if sign in "●█") for line in lines]
    assert first == sorted(first)
