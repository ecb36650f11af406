"""The path of an estimate over the looks: from decision.json to one figure for each gate."""

from __future__ import annotations

import copy
import math
import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.comparisons import path

NBSP = "\u00a0"
LOOKS = (50, 100, 150, 200, 250)


def gate(name: str, **changes: Any) -> dict[str, Any]:
    margin = {"ratio": 0.2, "points": 0.0, "plus": 0.0}
    measure = "failures" if changes.get("scale") == "points" else "ttfa"
    made = {
        "name": name,
        "measure": measure,
        "scale": "ratio",
        "margin": margin,
        "verdict": "regressed",
        "reason": None,
        "pairs": 150,
    }
    return made | {"corrected": math.log(1.45)} | changes


def seen(d: float | None, margin: float, se: float | None = 0.05, **changes: Any) -> dict[str, Any]:
    excess = None if d is None else d - margin
    return {"d": d, "excess": excess, "se": se, "df": 49.0, "untested": None} | changes


def decision(**changes: Any) -> dict[str, Any]:
    """A run that was stopped at its third look: a quantile and a rate."""
    rate = gate(
        "failure rate", scale="points", margin={"ratio": 0.0, "points": 0.01, "plus": 0.0},
        verdict="not regressed", pairs=100, corrected=0.001,
    )  # fmt: skip
    looks = []
    for k, pairs in enumerate(LOOKS[:3]):
        both = [seen(math.log(1.4 + k / 30), math.log(1.2)), seen(0.001, 0.01, 0.003)]
        looks.append({"pairs": pairs, "critical": 2.5 - k / 4, "gates": both})
    made = {
        "sentence": "gateway regressed: ttfa p95 +47 %; stopped at look 3 of 5, 150 pairs",
        "plan": {"pairs": 250, "looks": list(LOOKS)},
        "reason": "regressed",
        "status": 1,
        "pairs": 150,
        "pairs_after": 7,
        "looks": looks,
        "gates": [gate("ttfa p95"), rate],
    }
    return copy.deepcopy(made | changes)


def test_each_gate_has_a_path_of_the_looks_that_were_held() -> None:
    first, second = path.paths(decision())

    assert [step.pairs for step in first.steps] == [50, 100, 150]
    assert first.margin == pytest.approx(math.log(1.2))
    assert second.margin == pytest.approx(1.0)
    assert (second.rate, second.steps[0].d) == (True, pytest.approx(0.1))


def test_the_bounds_are_those_that_decide() -> None:
    """At c = 1.645 and many degrees of freedom they are those of one test at 5 %."""
    made = decision()
    made["looks"][0] |= {"critical": 1.6449, "gates": [seen(0.3, 0.1, 0.1, df=1e9), seen(0, 0.01)]}
    step = path.paths(made)[0].steps[0]

    assert (step.low, step.high) == (pytest.approx(0.3 - 0.16449, abs=1e-4), pytest.approx(0.3 + 0.16449, abs=1e-4))


def test_few_pairs_widen_the_bounds() -> None:
    made = decision()
    made["looks"][0]["gates"][0]["df"] = 5.0
    few, many = (path.paths(one)[0].steps[0] for one in (made, decision()))

    assert few.high > many.high


def test_the_line_says_verdict_estimate_and_its_correction() -> None:
    first, second = path.paths(decision())

    assert first.line.replace(NBSP, " ") == (
        "✕ regressed at 150 pairs: +47 %, corrected for the early stop +45 %; the margin is 20 %."
    )
    assert second.line.replace(NBSP, " ") == (
        "✓ not regressed at 100 pairs: +0.10 points, corrected for the early stop +0.10 points; the margin is 1 point."
    )


def test_an_undecided_gate_has_no_correction() -> None:
    made = decision(gates=[gate("ttfa p95", verdict="inconclusive", reason="over the margin, not after Holm")])

    assert path.paths(made)[0].line.startswith("? inconclusive (over the margin, not after Holm) at 150")
    assert "corrected" not in path.paths(made)[0].line


def test_looks_without_an_estimate_are_left_out() -> None:
    made = decision()
    made["looks"][0]["gates"][0] = seen(None, 0.2, None)
    made["looks"][1]["gates"][0]["untested"] = "too few turns"

    assert [step.pairs for step in path.paths(made)[0].steps] == [150]
    assert path.paths(decision(looks=[])) == []


def test_why_it_ended_is_a_sentence() -> None:
    assert path.reason(decision()).replace(NBSP, " ") == (
        "Stopped at look 3 of 5, at 150 pairs. It was sure that a gated figure is worse than its margin allows. "
        "7 whole pairs beyond that look are not in the verdict."
    )
    assert path.reason(decision(reason="waiting", pairs_after=0)) == "The run goes on."


def test_the_look_that_decided_stands_out() -> None:
    plot = path.path(path.paths(decision())[0])
    figure = ET.fromstring(plot.svg())
    dots = [mark.get("class") for mark in figure.iter("circle")]

    assert dots == ["dotv v-equivalent", "dotv v-equivalent", "dotv v-regressed"]
    assert "margin" in [mark.text for mark in figure.iter("text")]
    assert plot.stops is not None
    assert "look 3, 150 pairs" in str(plot.stops["t"])


@given(
    st.lists(st.tuples(st.floats(-3, 3), st.floats(0, 5) | st.none()), min_size=1, max_size=5),
    st.sampled_from(["ratio", "points"]),
)
def test_any_course_can_be_drawn(course: list[tuple[float, float | None]], scale: str) -> None:
    looks = [
        {"pairs": pairs, "critical": 2.0, "gates": [seen(d, 0.1, se)]}
        for pairs, (d, se) in zip(LOOKS, course, strict=False)
    ]
    made = decision(looks=looks, gates=[gate("x", scale=scale, corrected=None)])
    plot = path.path(path.paths(made)[0])
    text = plot.svg()

    assert not re.search(r"\b(nan|inf)\b", text)
    for mark in ET.fromstring(text).iter("circle"):
        assert plot.x0 <= float(mark.get("cx", 0)) <= plot.x1
        assert plot.y1 <= float(mark.get("cy", 0)) <= plot.y0
