"""Intervals without an end: told as a bound, whatever the figure, and drawn up to an arrow at the edge."""

from __future__ import annotations

import math

from reports.page import bars
from reports.question import NO_STRATUM
from reports.statistics.quantiles import QuantileEstimate
from reports.summary.figures import Figures
from reports.text.document import summary_data
from reports.wording.sentences import run_essentials, run_headline
from reports.wording.words import estimate_cell
from tests.reports.shared import summary_of
from tests.reports.synthetic import Plan

OPEN = QuantileEstimate(0.95, 1450.0, 1210.0, math.inf, 3.0, "unbounded", 60, 40, 40.0)
INTO_FAILURES = QuantileEstimate(0.95, 1450.0, 1210.0, math.inf, 3.0, "unbounded", 0, 40, 40.0)
P50 = QuantileEstimate(0.5, 620.0, 590.0, 660.0, 2.0, "reported", 0, 40, 40.0)


def figures(tail: QuantileEstimate) -> Figures:
    quantiles = P50, QuantileEstimate(0.9, math.nan, -math.inf, math.inf, 3.0, "too_few_sessions", 9), tail, tail
    return Figures(
        "ttfa", "ms", "sim", NO_STRATUM, "sim", "all", 400, 7, 0, 0, 400, 0.98, quantiles, (0.0,) * 4, 300.0, 1900.0
    )


def test_a_quantile_without_an_upper_end_is_told_by_its_lower_one_and_why() -> None:
    assert estimate_cell(OPEN, 400, 0) == ("≥\u00a01,210", "no upper bound; needs 60\u00a0sessions")
    assert estimate_cell(INTO_FAILURES, 400, 7) == ("≥\u00a01,210", "no upper bound: 7 of 400 failed")
    below = QuantileEstimate(0.05, 1.1, -math.inf, 1.3, 1.0, "unbounded", 60, 40, 40.0)
    assert estimate_cell(below, 400, 0).figure == "≤\u00a01.3"


def test_an_open_interval_is_drawn_from_its_end_to_an_arrow_at_the_edge() -> None:
    ends = bars.strip_scale([figures(OPEN)])
    closed = QuantileEstimate(0.95, 1450.0, 1210.0, 1600.0, 3.0, "reported", 0, 40, 40.0)

    assert ends[1] < math.inf
    assert bars.strip(figures(OPEN), 0, ends).count("<path") == 2 + bars.strip(figures(closed), 0, ends).count("<path")
    assert "inf" not in bars.strip(figures(OPEN), 0, ends)
    steps = bars.step_bars([("greeting", [(0, figures(OPEN))])], "ttfa").svg()
    assert "p95: ≥\u00a01.21\u00a0s" in steps
    assert "inf" not in steps


def test_a_median_of_six_sessions_that_are_alike_inside_is_told_everywhere() -> None:
    """Few sessions and some failures: its interval has no upper end."""
    summary = summary_of(Plan(sessions=6, turns=10, failed=0.3))
    (answer,) = summary.answers
    p50 = answer.figures.at(0.5)
    told = summary_data(summary)["results"][0]["p50"]

    assert p50.status == "unbounded"
    assert "≥\u00a0" in run_headline(summary)
    assert "p50 ≥\u00a0" in run_essentials(summary)
    assert (told["status"], told["reported"], told["low"], told["high"]) == (
        "unbounded",
        False,
        round(p50.low, 3),
        None,
    )
