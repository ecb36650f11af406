"""Scales, ticks and how numbers are written."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports import numbers
from reports.numbers import log_range, nice, time_step
from reports.page.svg import (
    SHAPES,
    PixelScale,
    Plot,
    even_ticks,
    frame,
    identity,
    linear_ticks,
    log_scale,
    log_ticks,
    plot_figure,
)

NBSP = "\u00a0"


def test_a_variants_own_name_outlives_the_cut() -> None:
    assert numbers.shortened("sweden.quick_vad", 12) == "s….quick_vad"
    assert numbers.shortened("my-resource.openai.azure.com", 12) == "my-resource…"
    assert numbers.shortened("order_status", 12) == "order_status"


@given(st.text("ab._-", max_size=40), st.integers(2, 30))
def test_a_label_is_cut_to_the_room_it_has(label: str, length: int) -> None:
    assert len(numbers.shortened(label, length)) == min(len(label), length)


@pytest.mark.parametrize(("ratio", "text"), [(1.3, "+30 %"), (0.96, "−4 %"), (1.004, "0 %"), (12, "+1,100 %")])
def test_a_change_has_its_sign(ratio: float, text: str) -> None:
    assert numbers.change(ratio).replace(NBSP, " ") == text


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


def test_a_scale_keeps_what_is_outside_at_its_edge() -> None:
    scale = log_scale(1, 100, 200, 0)

    assert (scale(10), scale.clip(0.1), scale.clip(math.inf)) == (100, 200, 0)


@pytest.mark.parametrize(("length", "most", "step"), [(30, 12, 5), (20, 10, 2), (1380, 60, 30), (86400, 60, 1800)])
def test_time_is_cut_into_round_pieces(length: float, most: int, step: float) -> None:
    assert time_step(length, most) == step


def test_nice_numbers_are_not_below() -> None:
    assert [nice(value) for value in (0.9, 1, 1.1, 2.2, 30, 51)] == [1, 1, 2, 2.5, 50, 100]


def test_the_first_label_of_an_axis_keeps_off_those_of_the_other_one() -> None:
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
def test_numbers_have_three_digits_at_most(value: float | None, text: str) -> None:
    assert numbers.three(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(42.3, "42 s"), (1200, "20 min"), (5400, "90 min"), (6600, "1 h 50 min"), (2.34, "2.3 s")]
)
def test_spans_are_short(seconds: float, text: str) -> None:
    assert numbers.span(seconds).replace(NBSP, " ") == text


def test_ticks_of_an_axis_of_time_are_told_apart() -> None:
    for length, most in ((30, 5), (150, 5), (300, 10), (600, 10), (5400, 10)):
        step = time_step(length, most)
        ticks = [numbers.instant(second, step) for second in even_ticks(length, step)]
        assert len(set(ticks)) == len(ticks)
    assert [numbers.instant(s, 30).replace(NBSP, " ") for s in (0, 30, 60, 150)] == ["0", "30 s", "1:00", "2:30"]


@pytest.mark.parametrize("shape", SHAPES)
def test_many_marks_are_one_element(shape: str) -> None:
    plot = Plot(100, 50, left=0, right=0, top=0, bottom=0, title="marks")
    plot.dots([(10, 20), (30, 40)], shape, "specks s0", 2.6)
    (mark,) = ET.fromstring(plot.svg())

    assert mark.get("d", "").count("M") == mark.get("d", "").count("Z") == 2


def test_no_marks_are_no_element() -> None:
    plot = Plot(100, 50, left=0, right=0, top=0, bottom=0, title="marks")
    plot.dots([], "circle", "specks s0", 2.6)

    assert plot.parts == []


@pytest.mark.parametrize(("names", "rows"), [([], 0), (["direct"], 1), (["a", "b"], 1), (["long " * 6] * 4, 4)])
def test_a_frame_grows_by_the_rows_of_its_legend_and_its_axes_stay_as_large(names: list[str], rows: int) -> None:
    plot = frame(400, 200, list(enumerate(names)), left=50, right=10, title="Waits", desc="")

    assert plot.h == 200 + 16 * rows
    assert (plot.y0 - plot.y1, plot.svg().count("<text")) == (200 - 10 - 42, len(names))


def test_a_line_is_read_where_it_says_something() -> None:
    plot = Plot(100, 100, left=0, right=0, top=0, bottom=0, title="Waits")
    plot.read_lines([(1, 10.0, "first"), (2, 20.0, "second")], [("direct", {1: "5 ms"}), ("gateway", {1: "6 ms"})])

    assert plot.stops is not None
    assert plot.stops["t"] == ["first · direct 5 ms · gateway 6 ms", "second"]


def test_a_line_is_one_cell_of_the_numbers_whatever_its_label() -> None:
    """Of two strata of a target the label has a dot, at which cells were parted."""
    plot = Plot(100, 50, left=0, right=0, top=0, bottom=0, title="waits")
    plot.read_lines([(0, 1.0, "from 0 s")], [("eastus2 · from request sent", {0: "p50 387 ms"}), ("b", {0: "n/a"})])

    assert plot_figure(plot).stops == [["from 0 s", "eastus2, from request sent p50 387 ms", "b n/a"]]
