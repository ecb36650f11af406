"""Which turns got slower: both curves, and the difference by percentile."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.comparisons import forest, measuring
from reports.comparisons.comparison import Comparison
from reports.comparisons.measuring import RatioCurve, Shift
from reports.page.svg import HALF
from reports.sides.side import sample_of
from reports.statistics.arms import Arms
from reports.statistics.differences import Inference, Margin, quantile_differences
from reports.statistics.quantiles import quantile
from tests.reports.comparisons.invented import comparison, findings, ratio

NBSP = "\u00a0"


def shift_in(made: Comparison) -> Shift:
    """The shift of a comparison that has one."""
    assert made.shift is not None
    return made.shift


def test_the_first_gated_quantile_says_what_is_drawn() -> None:
    rate, tail = findings()[2], findings()[4]

    question = measuring.main_question((rate, findings()[0]))
    assert question is not None
    assert (question.metric, question.p) == ("ttfa", 0.95)
    assert measuring.main_question((tail,)) == tail.question
    assert measuring.main_question((rate,)) is None


@given(st.integers(1, 10_000_000))
def test_the_grid_ends_where_fewer_than_twenty_turns_lie_beyond(n: int) -> None:
    ps = measuring.grid(n, (0.5, 0.95))

    assert bool(ps) == (n >= 40)
    assert all(n * (1 - p) >= 20 - 1e-6 for p in ps)
    assert list(ps) == sorted(set(ps))
    assert len(ps) <= 24
    if n >= 400:
        assert {0.5, 0.95} <= set(ps)


def test_the_difference_by_percentile_is_that_of_the_verdicts() -> None:
    made = comparison()
    (drawn,) = shift_in(made).ratios
    base, cand = (sample_of(side, shift_in(made).question) for side in made.sides)

    for p, difference in zip(drawn.ps, drawn.differences, strict=True):
        assert difference.d == pytest.approx(math.log(quantile(cand.values, p) / quantile(base.values, p)))
        assert difference.low <= difference.d <= difference.high
    alone = quantile_differences(
        Arms(base, cand, (60, 60), paired=True), [(0.5, Margin())], "lower", Inference(draws=4000, seed=1)
    )[0]
    middle = drawn.at(0.5)
    assert middle is not None
    assert middle.low == pytest.approx(alone.low, abs=0.03)
    assert middle.high == pytest.approx(alone.high, abs=0.03)


def made_of(*differences: float, low: float = 0.1, candidate: str = "gateway", colour: int = 1) -> RatioCurve:
    ps = tuple(np.linspace(0.5, 0.9, len(differences)))
    found = tuple(replace(ratio(1, 1, 1, 1), d=d, low=d - low, high=d + low) for d in differences)
    return RatioCurve(candidate, colour, tuple(map(float, ps)), found)


@given(found=st.lists(st.floats(-4, 4) | st.sampled_from([math.inf, -math.inf, math.nan]), min_size=2, max_size=24))
def test_any_differences_can_be_drawn(found: list[float]) -> None:
    plot = forest.by_percentile([made_of(*found)], "ttfa")
    figure = ET.fromstring(plot.svg())

    assert not re.search(r"\b(nan|inf)\b", ET.tostring(figure, encoding="unicode"))
    assert plot.stops is not None
    assert len(plot.stops["x"]) == len(found)  # type: ignore[arg-type]
    assert "same" in [mark.text for mark in figure.iter("text")]
    for mark in figure.iter():
        if mark.get("class", "").startswith(("curve", "band")):
            places = [(float(x), float(y)) for x, y in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", mark.get("d") or "")]
            assert all(0 <= x <= HALF and plot.y1 - 0.1 <= y <= plot.y0 + 0.1 for x, y in places)


def test_the_readout_names_ends_that_have_no_number() -> None:
    endless = replace(ratio(1, 1, 1, 1), d=math.inf, low=0.2, high=math.inf)

    assert forest.spoken(endless).replace(NBSP, " ") == "failed (from +22 %, no upper bound)"
    assert forest.spoken(replace(endless, d=math.nan)) == "failed in both"
