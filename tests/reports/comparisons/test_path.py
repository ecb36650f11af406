"""The path of an estimate over the looks: from a decision to one figure for each gate."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.comparisons import path
from reports.looks.sequence import by_se, untestable
from reports.statistics.verdicts import BECAUSE_OF, NOT_AFTER_HOLM
from tests.reports.comparisons.invented import GATES, RULINGS, decision, look

NBSP = "\u00a0"


def test_each_gate_has_a_path_of_the_looks_that_were_held() -> None:
    first, second = path.paths(decision())

    assert [step.pairs for step in first.steps] == [50, 100, 150]
    assert first.margin == pytest.approx(math.log(1.2))
    assert second.margin == pytest.approx(1.0)
    assert (second.rate, second.steps[0].d) == (True, pytest.approx(0.1))


def test_the_bounds_are_those_that_decide() -> None:
    """At c = 1.645 and many degrees of freedom they are those of one test at 5 %."""
    seen = by_se(0.3, 0.2, 0.1, 1e9), by_se(0.0, -0.01, 0.01, 49.0)
    step = path.paths(decision(looks=(look(0, *seen, c=1.6449), look(1), look(2))))[0].steps[0]

    assert (step.low, step.high) == (pytest.approx(0.3 - 0.16449, abs=1e-4), pytest.approx(0.3 + 0.16449, abs=1e-4))


def test_few_pairs_widen_the_bounds() -> None:
    first, second = look(0).seen
    fewer = decision(looks=(look(0, replace(first, df=5.0), second), look(1), look(2)))
    few, many = (path.paths(one)[0].steps[0] for one in (fewer, decision()))

    assert few.high > many.high


def test_the_line_says_verdict_estimate_and_its_correction() -> None:
    first, second = path.paths(decision())

    assert first.line.replace(NBSP, " ") == (
        "✕ slower at 150 pairs: +47 %, corrected for the early stop +45 %; the margin is 20 %."
    )
    assert second.line.replace(NBSP, " ") == (
        "✓ not worse at 100 pairs: +0.10 points, corrected for the early stop +0.10 points; the margin is 1 point."
    )


def test_an_undecided_gate_has_no_correction() -> None:
    undecided = replace(RULINGS[0], word="inconclusive", reason=NOT_AFTER_HOLM)
    made = decision(rulings=(undecided, RULINGS[1]))

    assert path.paths(made)[0].line.startswith(
        "? inconclusive (beyond the margin on its own, not after Holm’s correction) at 150"
    )
    assert "corrected" not in path.paths(made)[0].line


def test_looks_without_an_estimate_are_left_out() -> None:
    absent, untested = untestable(BECAUSE_OF["drift"]), untestable(BECAUSE_OF["drift"], 0.3)
    made = decision(looks=(look(0, absent, look(0).seen[1]), look(1, untested, look(1).seen[1]), look(2)))

    assert [step.pairs for step in path.paths(made)[0].steps] == [150]
    assert path.paths(decision(looks=())) == []


def test_why_it_ended_is_a_sentence() -> None:
    assert path.end_reason(decision()).replace(NBSP, " ") == (
        "Stopped at analysis 3 of 5, at 150 pairs. A primary metric is worse than its margin allows. "
        "7 whole pairs after that analysis are not in the verdict."
    )
    assert path.end_reason(decision(reason="pending", pairs=150)) == "The run goes on."


def test_the_look_that_decided_stands_out() -> None:
    plot = path.path(path.paths(decision())[0])
    figure = ET.fromstring(plot.svg())
    dots = [mark.get("class") for mark in figure.iter("circle")]

    assert dots == ["dotv v-equivalent", "dotv v-equivalent", "dotv v-regressed"]
    assert "margin" in [mark.text for mark in figure.iter("text")]
    assert plot.stops is not None
    assert "analysis 3, 150 pairs" in str(plot.stops["t"])


@given(
    st.lists(st.tuples(st.floats(-3, 3), st.floats(0, 5) | st.none()), min_size=1, max_size=5),
    st.sampled_from(["ratio", "points"]),
)
def test_any_course_can_be_drawn(course: list[tuple[float, float | None]], scale: str) -> None:
    looks = tuple(
        look(k, by_se(d, d - 0.1, math.nan if se is None else se, 49.0), c=2.0) for k, (d, se) in enumerate(course)
    )
    gate = GATES[1] if scale == "points" else GATES[0]
    ruling = replace(RULINGS[0], look=len(looks) - 1, corrected=math.nan)
    made = decision(looks=looks, gates=(gate,), rulings=(ruling,))
    plot = path.path(path.paths(made)[0])
    text = plot.svg()

    assert not re.search(r"\b(nan|inf)\b", text)
    for mark in ET.fromstring(text).iter("circle"):
        assert plot.x0 <= float(mark.get("cx", 0)) <= plot.x1
        assert plot.y1 <= float(mark.get("cy", 0)) <= plot.y0
