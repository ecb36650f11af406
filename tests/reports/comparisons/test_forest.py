"""The figures and tables of a comparison: the forest plot, the curves, and the interim analyses."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from reports.analysis.comparisons.measurements import RatioCurve
from reports.analysis.sequential.decide import Decision
from reports.engine.judge import Judged
from reports.metrics.strata import Stratum
from reports.pages.comparisons import forest
from reports.pages.comparisons.forest import ForestPanel, panels
from reports.pages.comparisons.interim import interim_analyses
from reports.render.svg import WIDE
from reports.statistics.differences import Margin
from reports.statistics.group_sequential import untestable
from reports.statistics.threshold_estimate import of_equal_sessions
from reports.statistics.verdicts import BECAUSE_OF, Verdict
from reports.text.comparison_rows import ComparisonRow, interval_text, values_of
from tests.reports.comparisons.invented import (
    all_compared,
    analysis_at,
    compared,
    comparison,
    decision,
    points,
    ratio,
)

NBSP = "\u00a0"


def rows(*found: Judged) -> list[ComparisonRow]:
    return [ComparisonRow(one) for one in found]


def panel(*found: Judged) -> ForestPanel:
    return ForestPanel(forest.axis_of(found[0].spec), tuple(rows(*found)))


def drawn(found: ForestPanel) -> ET.Element:
    return ET.fromstring(forest.forest(found).svg())


def marks(figure: ET.Element, cls: str) -> list[ET.Element]:
    return [mark for mark in figure.iter() if cls in (mark.get("class") or "").split()]


def texts(figure: ET.Element) -> list[str]:
    return [(mark.text or "").replace(NBSP, " ") for mark in figure.iter("text")]


NEAR = ratio(100, 101, 0.98, 1.02)


SURE = compared("audio_received", 0.5, "equivalent", NEAR)


GONE = replace(ratio(100, 100, 1, 1), baseline=math.inf, d=-math.inf, low=-math.inf, high=math.inf)


FEW = replace(
    compared("ttfa", 0.99, "inconclusive", ratio(1180, 6330, 0.5, 30)),
    targets=(of_equal_sessions(3000, 300, 22), of_equal_sessions(440, 44, 11)),
)


def within(baseline: float, candidate: float, low: float, high: float, margin: Margin) -> Judged:
    return compared(
        "ttfa",
        0.5,
        "equivalent",
        ratio(baseline, candidate, low, high, margin.ratio),
        margin=margin,
    )


def few_turns(base: int, candidate: int) -> Judged:
    counts = of_equal_sessions(base, base, 0), of_equal_sessions(candidate, candidate, 0)
    return replace(
        compared("cut_off_rate", None, "inconclusive", points(0, 0, -0.1, 0.1)), targets=counts
    )


ROWS: dict[str, tuple[Judged, dict[str, Any]]] = {
    # (a comparison, the texts and positions in its row)
    "an informational metric of one instant has a note": (
        compared(
            "ttfa", 0.5, "equivalent", ratio(600, 610, 0.98, 1.05), stratum=Stratum("speech_end")
        ),
        {"note": "from end of speech, secondary"},
    ),
    "sessions": (
        replace(all_compared()[3], cluster="session"),
        {"reason": "slower; needs about 460 sessions per target"},
    ),
    "runs of one service differ": (
        replace(
            compared("ttfa", 0.5, "inconclusive", ratio(600, 636, 0.93, 1.19)),
            verdict=Verdict("inconclusive", provisional=True),
        ),
        {"reason": "two runs differ by chance"},
    ),
    "a drifting target has a note": (
        replace(
            SURE,
            difference=replace(NEAR, order="drift"),
            verdict=replace(SURE.verdict, provisional=True),
        ),
        {"verdict": "≈ equivalent (provisional)"},
    ),
    "a baseline among failed turns has a note": (
        compared("ttfa", 0.99, "inconclusive", GONE),
        {"measured": "∞ → 100 ms", "change_text": "was ∞ (unbounded)"},
    ),
    "a ratio to a baseline of 0 is not shown": (
        compared(
            "audio_sent",
            0.5,
            "inconclusive",
            replace(ratio(1, 47_500, 0.91, math.inf), baseline=0, d=math.inf),
        ),
        {"change_text": "n/a (baseline is 0)", "interval": ""},
    ),
    "a quantile of too few turns is not shown": (
        FEW,
        {"change_text": "n/a (needs 198 sessions)", "measured": "1,180 ms → n/a", "d": math.nan},
    ),
    "a rate of few turns is shown by its counts, without a percent sign": (
        few_turns(6, 600),
        {"values": ("0 of 6", "0 %"), "measured": "0 of 6 → 0 %"},
    ),
    "a candidate of few turns has no percent sign": (
        few_turns(600, 6),
        {"measured": "0 % → 0 of 6"},
    ),
    "two targets of few turns have no percent sign": (
        few_turns(4, 6),
        {"values": ("0 of 4", "0 of 6")},
    ),
    "an equivalent result far from zero shows its margin": (
        within(500, 645, 1.2, 1.35, Margin(0.4)),
        {"verdict_text": "≈ equivalent (slower, within 40 %)"},
    ),
    "an equivalent result near zero does not show its margin": (
        within(500, 510, 0.98, 1.05, Margin(0.4)),
        {"verdict_text": "≈ equivalent"},
    ),
    "a margin in ms counts if it is the wider one": (
        within(100, 101, 0.9, 1.1, Margin(0.1, plus=30)),
        {"margin": math.log(1.3), "margin_text": "10 % and 30 ms"},
    ),
    "a margin in ms does not count if it is the narrower one": (
        within(1000, 1010, 0.9, 1.1, Margin(0.1, plus=30)),
        {"margin": math.log(1.1)},
    ),
}


@pytest.mark.parametrize(("one", "expected"), ROWS.values(), ids=ROWS)
def test_a_row_has_its_texts_and_positions(one: Judged, expected: dict[str, Any]) -> None:
    (found,) = rows(one)
    written = {"values": values_of(one), "interval": interval_text(one), "d": found.ends[0]}
    shown = {name: written.get(name, getattr(found, name, None)) for name in expected}
    if "values" in expected:
        assert tuple(text.replace(NBSP, " ") for text in values_of(one)) == expected["values"]

    assert {
        name: text.replace(NBSP, " ") for name, text in shown.items() if isinstance(text, str)
    } == {name: text for name, text in expected.items() if isinstance(text, str)}
    places = [name for name, place in expected.items() if isinstance(place, float)]
    assert [shown[name] for name in places] == pytest.approx(
        [expected[name] for name in places], nan_ok=True
    )


def test_another_confidence_level_changes_all_texts_about_it() -> None:
    made = comparison()
    found = panels(replace(made, method=structs.replace(made.method, confidence=0.99)))

    assert "difference (98 % interval)" in texts(drawn(found[0]))
    assert (
        "98 % interval of the difference, so each end is a one-sided 99 % bound"
        in forest.reading_guide(found).replace(NBSP, " ")
    )


@given(st.floats(-0.5, 0.5), st.floats(0, 0.5), st.floats(0, 0.5))
def test_rates_of_any_size_have_an_axis(d: float, down: float, up: float) -> None:
    figure = drawn(
        panel(
            compared(
                "failure_rate",
                None,
                "inconclusive",
                points(0.5, 0.5 + d, d - down, d + up),
                primary=True,
            )
        )
    )

    assert "same" in texts(figure)
    assert len(marks(figure, "tick")) >= 2


def made_of(
    *differences: float, low: float = 0.1, candidate: str = "gateway", colour: int = 1
) -> RatioCurve:
    ps = tuple(np.linspace(0.5, 0.9, len(differences)))
    found = tuple(replace(ratio(1, 1, 1, 1), d=d, low=d - low, high=d + low) for d in differences)
    return RatioCurve(candidate, colour, tuple(map(float, ps)), found)


@given(
    found=st.lists(
        st.floats(-4, 4) | st.sampled_from([math.inf, -math.inf, math.nan]), min_size=2, max_size=24
    )
)
def test_any_differences_can_be_drawn(found: list[float]) -> None:
    plot = forest.by_percentile([made_of(*found)], "ttfa")
    figure = ET.fromstring(plot.svg())

    assert not re.search(r"\b(nan|inf)\b", ET.tostring(figure, encoding="unicode"))
    assert plot.stops is not None
    assert len(plot.stops["x"]) == len(found)  # type: ignore[arg-type]
    assert "same" in [mark.text for mark in figure.iter("text")]
    for mark in figure.iter():
        if mark.get("class", "").startswith(("curve", "band")):
            places = [
                (float(x), float(y))
                for x, y in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", mark.get("d") or "")
            ]
            assert all(0 <= x <= WIDE and plot.y1 - 0.1 <= y <= plot.y0 + 0.1 for x, y in places)


def test_the_spoken_text_names_intervals_without_a_bound() -> None:
    endless = replace(ratio(1, 1, 1, 1), d=math.inf, low=0.2, high=math.inf)

    assert forest.in_words(endless).replace(NBSP, " ") == "failed (from +22 %, no upper bound)"
    assert forest.in_words(replace(endless, d=math.nan)) == "failed in both"


def cells(made: Decision) -> list[list[str]]:
    """Return the texts of all cells of the table, which has a row for each interim analysis."""
    table = interim_analyses(made)
    assert table is not None
    return [
        [f"{cell.text} {cell.below}".strip().replace(NBSP, " ") for cell in row.cells]
        for row in table.rows
    ]


def test_an_analysis_without_an_estimate_has_a_dash() -> None:
    absent, untested = untestable(BECAUSE_OF["drift"]), untestable(BECAUSE_OF["drift"], 0.3)
    made = decision(
        analyses=(
            analysis_at(0, absent, analysis_at(0).primary_metrics[1]),
            analysis_at(1, untested, analysis_at(1).primary_metrics[1]),
            analysis_at(2),
        )
    )

    assert [row[3] for row in cells(made)][:2] == ["–", "–"]
    assert interim_analyses(decision(analyses=())) is None
