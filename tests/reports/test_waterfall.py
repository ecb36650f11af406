"""The waterfall of a session: rows in, lines out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.text.lines import WaterfallRow, folded, message, waterfall

ROWS = st.builds(
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


def test_rows_stand_in_the_order_of_time_with_what_they_are() -> None:
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


def test_long_spans_are_told_in_whole_milliseconds() -> None:
    lines = waterfall([message(-2_140.3, "→", "audio"), message(0, "·", "end of speech"), message(318.2, "←", "x")], 60)

    assert [line.split()[0] for line in lines] == ["−2,140", "0", "+318"]


@pytest.mark.parametrize(
    ("sizes", "label"),
    [([0], "delta"), ([0, 0], "delta × 2"), ([5], "delta, 5 B"), ([5, 5], "delta × 2, 5 B"),
     ([1_000, 5], "delta × 2, 5–1,000 B")],
)  # fmt: skip
def test_a_row_says_how_many_messages_it_is_and_how_large_they_are(sizes: list[int], label: str) -> None:
    (row,) = folded(("delta", message(number, "←", "delta", size)) for number, size in enumerate(sizes))

    assert row.label == label


def test_messages_of_one_kind_are_one_row_from_the_first_to_the_last() -> None:
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


def test_a_name_that_is_too_long_is_cut() -> None:
    (line,) = waterfall([message(1, "←", "conversation.item.input_audio_transcription.segment")], 60)

    assert "conversation.item.input_aud" in line
    assert "…" in line
    assert len(line) <= 60


def test_colour_is_there_only_where_it_is_wanted() -> None:
    rows = [message(0, "→", "x"), message(1, "←", "error", style="bad")]

    assert "\x1b" not in "".join(waterfall(rows, 60))
    plain, bad = waterfall(rows, 60, colour=True)
    assert "\x1b" not in plain
    assert bad == f"\x1b[31m{waterfall(rows, 60)[1]}\x1b[0m"


@given(rows=st.lists(ROWS, min_size=1, max_size=30), width=st.integers(60, 100))
def test_every_row_has_one_line_that_fits_and_a_bar(rows: list[WaterfallRow], width: int) -> None:
    lines = waterfall(rows, width)

    assert len(lines) == len(rows)
    assert max(map(len, lines)) <= width
    places = [min(line.rindex("●") if "●" in line else line.rindex("█"), width) for line in lines]
    assert all(places)
    first = [next(place for place, sign in enumerate(line) if sign in "●█") for line in lines]
    assert first == sorted(first)
