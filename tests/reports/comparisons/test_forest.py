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

from reports.analysis.comparisons import measurements
from reports.analysis.comparisons.comparison import Comparison
from reports.analysis.comparisons.measurements import RatioCurve, Shift
from reports.analysis.metric_comparison import MetricComparison
from reports.analysis.sequential.decision import Decision
from reports.metrics.strata import Stratum
from reports.pages.comparisons import forest
from reports.pages.comparisons.forest import ForestPanel, panels
from reports.pages.comparisons.interim import interim_analyses
from reports.render.svg import HALF, WIDE
from reports.statistics.arms import TwoSamples
from reports.statistics.differences import Inference, Margin, quantile_differences
from reports.statistics.group_sequential import by_se, untestable
from reports.statistics.quantiles import quantile
from reports.statistics.target_counts import of_equal_sessions
from reports.statistics.verdicts import BECAUSE_OF
from reports.text import comparison_rows
from reports.text.comparison_rows import ComparisonRow
from tests.reports.comparisons.invented import all_compared, analysis_at, compared, comparison, decision, points, ratio

NBSP = "\u00a0"


def rows(*found: MetricComparison) -> list[ComparisonRow]:
    return [comparison_rows.row(one) for one in found]


def panel(*found: MetricComparison) -> ForestPanel:
    return ForestPanel(forest.axis_of(found[0].spec), tuple(rows(*found)))


def drawn(found: ForestPanel) -> ET.Element:
    return ET.fromstring(forest.forest(found).svg())


def marks(figure: ET.Element, cls: str) -> list[ET.Element]:
    return [mark for mark in figure.iter() if cls in (mark.get("class") or "").split()]


def texts(figure: ET.Element) -> list[str]:
    return [(mark.text or "").replace(NBSP, " ") for mark in figure.iter("text")]


def xs(mark: ET.Element) -> list[float]:
    return [float(x) for x in re.findall(r"[ML](-?[\d.]+) ", mark.get("d") or "")]


def test_the_narrow_plot_has_the_difference_and_the_verdict_of_each_row_within_its_width() -> None:
    (found,) = [each for each in panels(comparison()) if each.axis == "lower"]
    narrow = ET.fromstring(forest.forest(found, narrow=True).svg())
    written, width = texts(narrow), float(narrow.get("width") or 0)

    assert width <= 390 - 2 * 14
    for row in found.rows:
        assert {text.replace(NBSP, " ") for text in (row.short, row.verdict, f"margin {row.margin_text}")} <= {
            text.partition(",")[0] if text.startswith("margin") else text for text in written
        }
    assert all(0 <= float(text.get("x") or -1) <= width for text in narrow.iter("text"))
    assert len(marks(narrow, "margin")) == len(found.rows)


NEAR = ratio(100, 101, 0.98, 1.02)


SURE = compared("audio_received", 0.5, "equivalent", NEAR)


GONE = replace(ratio(100, 100, 1, 1), baseline=math.inf, d=-math.inf, low=-math.inf, high=math.inf)


FEW = replace(compared("ttfa", 0.99, "inconclusive", ratio(1180, 6330, 0.5, 30)),
              targets=(of_equal_sessions(3000, 300, 22), of_equal_sessions(440, 44, 11)))  # fmt: skip


NAMED = {one.spec.name: one for one in all_compared()}


def within(baseline: float, candidate: float, low: float, high: float, margin: Margin) -> MetricComparison:
    return compared("ttfa", 0.5, "equivalent", ratio(baseline, candidate, low, high, margin.ratio), margin=margin)


def few_turns(base: int, candidate: int) -> MetricComparison:
    counts = of_equal_sessions(base, base, 0), of_equal_sessions(candidate, candidate, 0)
    return replace(compared("cut_off_rate", None, "inconclusive", points(0, 0, -0.1, 0.1)), targets=counts)


ROWS: dict[str, tuple[MetricComparison, dict[str, Any]]] = {
    # (a comparison, the texts and positions in its row)
    "an informational metric of one instant has a note":
        (compared("ttfa", 0.5, "equivalent", ratio(600, 610, 0.98, 1.05), stratum=Stratum("speech_end")),
         {"note": "from end of speech, secondary"}),
    "sessions": (replace(all_compared()[3], unit="session"),
                 {"reason": "slower; needs about 460 sessions per target"}),
    "a drifting target has a note": (replace(SURE, difference=replace(NEAR, order="drift"),
                                     verdict=replace(SURE.verdict, provisional=True)),
                             {"verdict": "≈ equivalent (provisional)"}),
    "a baseline among failed turns has a note":
        (compared("ttfa", 0.99, "inconclusive", GONE),
         {"measured": "∞ → 100 ms", "change_text": "was ∞ (unbounded)"}),
    "a ratio to a baseline of 0 is not shown":
        (compared("audio_sent", 0.5, "inconclusive", replace(ratio(1, 47_500, 0.91, math.inf), baseline=0, d=math.inf)),
         {"change_text": "n/a (baseline is 0)", "interval": ""}),
    "a quantile of too few turns is not shown":
        (FEW, {"change_text": "n/a (needs 198 sessions)", "measured": "1,180 ms → n/a", "d": math.nan}),
    "a rate of few turns is shown by its counts, without a percent sign":
        (few_turns(6, 600), {"values": ("0 of 6", "0 %"), "measured": "0 of 6 → 0 %"}),
    "a candidate of few turns has no percent sign": (few_turns(600, 6), {"measured": "0 % → 0 of 6"}),
    "two targets of few turns have no percent sign": (few_turns(4, 6), {"values": ("0 of 4", "0 of 6")}),
    "an equivalent result far from zero shows its margin":
        (within(500, 645, 1.2, 1.35, Margin(0.4)), {"verdict_text": "≈ equivalent (slower, within 40 %)"}),
    "an equivalent result near zero does not show its margin":
        (within(500, 510, 0.98, 1.05, Margin(0.4)), {"verdict_text": "≈ equivalent"}),
    "a margin in ms counts if it is the wider one":
        (within(100, 101, 0.9, 1.1, Margin(0.1, plus=30)),
         {"margin": math.log(1.3), "margin_text": "10 % and 30 ms"}),
    "a margin in ms does not count if it is the narrower one":
        (within(1000, 1010, 0.9, 1.1, Margin(0.1, plus=30)), {"margin": math.log(1.1)}),
}  # fmt: skip


@pytest.mark.parametrize(("one", "expected"), ROWS.values(), ids=ROWS)
def test_a_row_has_its_texts_and_positions(one: MetricComparison, expected: dict[str, Any]) -> None:
    (found,) = rows(one)
    shown = {name: getattr(found, name) for name in expected}
    if "values" in expected:
        assert tuple(text.replace(NBSP, " ") for text in found.values) == expected["values"]

    assert {name: text.replace(NBSP, " ") for name, text in shown.items() if isinstance(text, str)} == {
        name: text for name, text in expected.items() if isinstance(text, str)
    }
    places = [name for name, place in expected.items() if isinstance(place, float)]
    assert [shown[name] for name in places] == pytest.approx([expected[name] for name in places], nan_ok=True)


def test_another_confidence_level_changes_all_texts_about_it() -> None:
    made = comparison()
    found = panels(replace(made, method=structs.replace(made.method, confidence=0.99)))

    assert "difference (98 % interval)" in texts(drawn(found[0]))
    assert "98 % interval of the difference, so each end is a one-sided 99 % bound" in forest.reading_guide(
        found
    ).replace(NBSP, " ")


bounds = st.floats(-3, 3) | st.sampled_from([-math.inf, math.inf])


@given(st.lists(st.tuples(bounds, bounds, bounds, st.floats(0, 1)), min_size=1, max_size=5))
def test_nothing_is_drawn_outside_the_plot_for_any_interval(made: list[tuple[float, ...]]) -> None:
    found = []
    for *ends, margin in made:
        low, d, high = sorted(ends)
        difference = replace(ratio(100, 100, 1, 1), d=d, low=low, high=high)
        found.append(compared("ttfa", 0.5, "inconclusive", difference, primary=True, margin=Margin(margin)))
    figure = drawn(panel(*found))

    assert not re.search(r"\b(nan|inf)\b", ET.tostring(figure, encoding="unicode"))
    for cls in ("ci", "margin", "marginline", "dotv"):
        for mark in marks(figure, cls):
            places = xs(mark) or [float(mark.get("cx") or mark.get("x") or 0)]
            assert all(0 <= x <= WIDE for x in places)


@given(st.floats(-0.5, 0.5), st.floats(0, 0.5), st.floats(0, 0.5))
def test_rates_of_any_size_have_an_axis(d: float, down: float, up: float) -> None:
    figure = drawn(
        panel(compared("failure_rate", None, "inconclusive", points(0.5, 0.5 + d, d - down, d + up), primary=True))
    )

    assert "same" in texts(figure)
    assert len(marks(figure, "tick")) >= 2


def shift_in(made: Comparison) -> Shift:
    """Return the `shift` of a comparison. Fail if it is None."""
    assert made.shift is not None
    return made.shift


def test_the_first_gated_quantile_is_the_main_question() -> None:
    rate, tail = all_compared()[2], all_compared()[4]

    question = measurements.main_spec((rate, all_compared()[0]))
    assert question is not None
    assert (question.metric, question.p) == ("ttfa", 0.95)
    assert measurements.main_spec((tail,)) == tail.spec
    assert measurements.main_spec((rate,)) is None


@given(st.integers(1, 10_000_000))
def test_the_percentile_grid_ends_with_at_least_twenty_turns_beyond(n: int) -> None:
    ps = measurements.grid(n, (0.5, 0.95))

    assert bool(ps) == (n >= 40)
    assert all(n * (1 - p) >= 20 - 1e-6 for p in ps)
    assert list(ps) == sorted(set(ps))
    assert len(ps) <= 24
    if n >= 400:
        assert {0.5, 0.95} <= set(ps)


def test_the_plotted_differences_equal_those_of_the_verdicts() -> None:
    made = comparison()
    (drawn,) = shift_in(made).ratios
    base, cand = (side.sample(shift_in(made).spec) for side in made.targets)

    for p, difference in zip(drawn.ps, drawn.differences, strict=True):
        assert difference.d == pytest.approx(math.log(quantile(cand.values, p) / quantile(base.values, p)))
        assert difference.low <= difference.d <= difference.high
    alone = quantile_differences(
        TwoSamples(base, cand, (60, 60), paired=True), [(0.5, Margin())], "lower", Inference(resamples=4000, seed=1)
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


def test_the_spoken_text_names_intervals_without_a_bound() -> None:
    endless = replace(ratio(1, 1, 1, 1), d=math.inf, low=0.2, high=math.inf)

    assert forest.in_words(endless).replace(NBSP, " ") == "failed (from +22 %, no upper bound)"
    assert forest.in_words(replace(endless, d=math.nan)) == "failed in both"


def cells(made: Decision) -> list[list[str]]:
    """Return the texts of all cells of the table, which has a row for each interim analysis."""
    table = interim_analyses(made)
    assert table is not None
    return [[f"{cell.text} {cell.below}".strip().replace(NBSP, " ") for cell in row.cells] for row in table.rows]


def test_interim_bounds_are_the_decision_bounds_and_are_wider_with_few_pairs() -> None:
    """For c = 1.645 and many degrees of freedom, the bounds are those of one test at 5 %: ln 1.35 ∓ 0.164."""
    rate = by_se(0.0, -0.01, 0.01, 49.0)
    many, few = (
        cells(
            decision(
                analyses=(analysis_at(0, by_se(0.3, 0.2, 0.1, df), rate, c=1.6449), analysis_at(1), analysis_at(2))
            )
        )[0][3]
        for df in (1e9, 5.0)
    )

    assert many == "+35 % (+15 to +59 %)"
    assert few == "+35 % (+10 to +65 %)"


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
