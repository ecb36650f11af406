"""The texts of a report on metrics with too little data, and on intervals without a bound."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.catalogue.metrics import sessions_to_publish
from reports.analysis.summary.distributions import PUBLISHED, curves
from reports.analysis.summary.metrics import MetricSummary
from reports.analysis.summary.summary import Summary
from reports.formatting import NBSP
from reports.metrics.strata import NO_STRATUM
from reports.pages.run_report import bar_charts
from reports.render.blocks import Cell
from reports.results.levels import by_level
from reports.results.reason import Reason, too_few_to_print
from reports.statistics.quantiles import QuantileEstimate, quantiles, sample, shortfall
from reports.text.cells import estimate_cell
from reports.text.sentences import longer_runs, next_step, run_essentials, run_headline
from tests.examples import few
from tests.reports.forms import run_forms, run_text
from tests.reports.shared import summary_of
from tests.reports.synthetic import Plan

THERE_AND_NEEDED = (
    r"in (?P<there>[\d,]+) sessions?; it takes (?P<needs>[\d,]+)",
    r"(?P<there>[\d,]+) (?:turn|session|word|repl)\w*; needs (?P<needs>[\d,]+)",
    r"has (?P<there>[\d,]+) sessions? and needs (?P<needs>[\d,]+)",
    r"of (?P<there>[\d,]+) sessions? (?:is|are) too few for a median, which takes (?P<needs>[\d,]+)",
    r"needs (?P<needs>[\d,]+), this run has (?P<there>[\d,]+)",
)


def shortfalls_in(text: str) -> list[tuple[int, int]]:
    """Return (present number, required number) from every sentence that contains both of them."""
    plain = text.replace(NBSP, " ")
    return [
        (int(found["there"].replace(",", "")), int(found["needs"].replace(",", "")))
        for pattern in THERE_AND_NEEDED
        for found in re.finditer(pattern, plain)
    ]


def rendered_forms(summary: Summary) -> Iterable[str]:
    """Yield the report in all formats. The tags are removed from the HTML page."""
    html, markdown = run_forms(summary)
    yield re.sub(r"<[^>]*>", " ", html)
    yield markdown
    yield run_text(summary)
    yield run_headline(summary)


@st.composite
def small_plans(draw: st.DrawFn) -> Plan:
    """Draw the plan of a run with one or several targets. The run is too small for some metrics."""
    sessions, turns = draw(st.integers(1, 16)), draw(st.integers(1, 6))
    return Plan(
        sessions=sessions,
        turns=turns,
        targets=draw(st.sampled_from([("a",), ("a", "b"), ("a", "b", "c", "d")])),
        kinds=draw(st.sampled_from([("vad",), ("typed",), ("vad", "typed")])),
        abandoned=draw(st.integers(0, sessions * turns // 2)),
        refused=draw(st.sampled_from([0, 0, 3])),
        failed=draw(st.sampled_from([0.0, 0.0, 0.2])),
        seed=draw(st.integers(0, 1000)),
    )


@few
@given(small_plans())
def test_every_stated_requirement_exceeds_what_is_present(plan: Plan) -> None:
    for text in rendered_forms(summary_of(plan)):
        assert [pair for pair in shortfalls_in(text) if pair[0] >= pair[1]] == []


@few
@given(small_plans())
def test_the_suggested_sessions_exceed_those_already_run(plan: Plan) -> None:
    summary = summary_of(plan)
    played = min((summary.run.sessions["target"] == target).sum() for target in summary.targets)

    for asked in re.findall(r"--sessions (\d+)", next_step(summary)):
        assert int(asked) > played


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(0, 3)), min_size=1, max_size=40), st.integers(0, 99))
def test_a_quantile_with_too_few_sessions_requires_more_of_them(of_session: list[tuple[int, int]], seed: int) -> None:
    """`of_session` contains, for each session, the number of succeeded turns and the number of failed turns."""
    rng = np.random.default_rng(seed)
    sessions = np.repeat(np.arange(len(of_session)), [good + bad for good, bad in of_session])
    values = np.concatenate([[*rng.lognormal(size=good), *[np.inf] * bad] for good, bad in of_session])

    for found in quantiles(sample(values, sessions), (0.05, 0.5, 0.9, 0.95, 0.99)):
        if found.status == "too_few_sessions":
            assert found.required > found.sessions
        elif found.status == "too_few_turns":
            assert found.required > values.size
        elif found.status == "unbounded" and found.required:
            assert found.required > found.sessions


@given(st.sampled_from((0.05, 0.5, 0.9, 0.95, 0.99)), st.integers(0, 700), st.integers(0, 300))
def test_a_shortfall_requires_more_than_is_present(p: float, turns: int, sessions: int) -> None:
    lacking = shortfall(p, turns, sessions)

    if lacking is not None:
        assert lacking.there < lacking.needed
        assert lacking.unit == "turn" or lacking.needed == sessions_to_publish(p, turns, sessions, sessions)


def advice(plan: Plan, **given: Any) -> str:
    """Return the advice to run longer. `given` contains the options with which the run was started."""
    return next_step(summary_of(plan, settings=given)).partition(". ")[0]


def test_the_advice_is_an_option_that_makes_the_run_longer() -> None:
    plan = Plan(sessions=12, turns=4)

    assert advice(plan) == "For p95, use `--sessions 45` or more"
    assert advice(plan, sessions="12") == "For p95, use `--sessions 45` or more"


@pytest.mark.parametrize(
    ("command", "longer"),
    [
        ("locust -f mine.py --headless --users 4", "locust -f mine.py --headless --users 4 --sessions 45"),
        ("rtbench run mine.yaml --sessions 12 --name x", "rtbench run mine.yaml --sessions 45 --name x"),
        ("rtbench quickstart --sessions=12", "rtbench quickstart --sessions 45"),
    ],
)
def test_the_advice_is_a_command_that_can_be_pasted(command: str, longer: str) -> None:
    """On a terminal of any width, the command is on its own line."""
    summary = summary_of(Plan(sessions=12, turns=4), command=command.split())

    assert [run.command for run in longer_runs(summary)] == [longer]
    assert longer in run_text(summary, width=40).splitlines()


def test_a_suggested_command_against_a_service_has_the_option_yes() -> None:
    summary = summary_of(Plan(sessions=12, turns=4, simulated=False), command=["locust", "-f", "my calls.py"])

    assert [run.command for run in longer_runs(summary)] == ["locust -f 'my calls.py' --sessions 45 --yes"]


def test_a_run_that_its_run_time_ended_is_advised_a_longer_run_time() -> None:
    plan = Plan(sessions=12, turns=4)

    assert advice(plan, run_time=20) == "For p95, use `--run-time 2m` or more"
    assert advice(plan, run_time=300) == "For p95, use `--run-time 19m` or more"
    assert advice(plan, run_time=300, sessions="12") == "For p95, use `--run-time 19m --sessions 45` or more"


def test_a_run_ended_by_a_file_of_stages_is_advised_a_number_of_sessions() -> None:
    assert advice(Plan(sessions=12, turns=4), stages="ramp.yaml") == "For p95, use 45 sessions or more"


@pytest.mark.parametrize(("sessions", "turns"), [(4, 4), (12, 4), (21, 10), (43, 4), (43, 10), (120, 1), (250, 4)])
def test_a_curve_is_solid_up_to_the_last_percentile_the_table_reports(sessions: int, turns: int) -> None:
    """In an earlier version, a curve continued beyond p95, although the table required more sessions for p95."""
    summary = summary_of(Plan(sessions=sessions, turns=turns))
    for name in summary.plotted:
        for curve in curves(summary.samples[name], list(summary.samples[name].pools())):
            published = [point for point in curve.points if point.p in PUBLISHED and point.p >= 0.5]
            assert all((point.p <= curve.solid_to) == (not point.has_too_few) for point in published)


MORE = Reason("unbounded", {"unit": "session", "needed": 60, "there": [40]})
OPEN = QuantileEstimate(0.95, 1450.0, 1210.0, math.inf, 3.0, MORE, 40, 40.0)


INTO_FAILURES = QuantileEstimate(0.95, 1450.0, 1210.0, math.inf, 3.0, Reason("unbounded"), 40, 40.0)


P50 = QuantileEstimate(0.5, 620.0, 590.0, 660.0, 2.0, None, 40, 40.0, reported=True)
P90 = QuantileEstimate(0.9, math.nan, math.nan, math.nan, 3.0, too_few_to_print("session", 9, 6))


def figures(tail: QuantileEstimate) -> MetricSummary:
    return MetricSummary(
        "ttfa",
        *NO_STRATUM,
        target="sim",
        title="sim",
        unit="ms",
        step="all",
        n=400,
        failed=7,
        not_started=0,
        unfinished=0,
        planned=400,
        completed_share=0.98,
        **by_level([P50, P90, tail, tail]),
        low=300.0,
        high=1900.0,
    )


def test_a_quantile_without_an_upper_bound_is_printed_by_its_lower_bound_and_the_cause() -> None:
    text, brief = "≥\u00a01,210", "no upper bound"
    assert estimate_cell(OPEN, 400, 0) == Cell(text, "no upper bound; needs 60\u00a0sessions", brief)
    assert estimate_cell(INTO_FAILURES, 400, 7) == Cell(text, "no upper bound: 7 of 400 failed", brief)
    below = QuantileEstimate(0.05, 1.1, -math.inf, 1.3, 1.0, MORE, 40, 40.0)
    assert estimate_cell(below, 400, 0).text == "≤\u00a01.3"


def test_an_unbounded_interval_is_drawn_with_an_arrow_at_the_edge() -> None:
    ends = bar_charts.interval_scale([figures(OPEN)])
    closed = QuantileEstimate(0.95, 1450.0, 1210.0, 1600.0, 3.0, None, 40, 40.0, reported=True)

    assert ends[1] < math.inf
    assert bar_charts.interval_plot(figures(OPEN), 0, ends).count("<path") == 2 + bar_charts.interval_plot(
        figures(closed), 0, ends
    ).count("<path")
    assert "inf" not in bar_charts.interval_plot(figures(OPEN), 0, ends)
    steps = bar_charts.step_bars([("greeting", [(0, figures(OPEN))])], "ttfa").svg()
    assert "p95: ≥\u00a01.21\u00a0s" in steps
    assert "inf" not in steps


def test_an_unbounded_median_is_printed_with_its_lower_bound_everywhere() -> None:
    """If there are few sessions and some failures, the interval of the median has no upper bound."""
    summary = summary_of(Plan(sessions=6, turns=10, failed=0.3))
    (answer,) = summary.results
    p50 = answer.at(0.5)

    assert p50.status == "unbounded"
    assert "≥\u00a0" in run_headline(summary)
    assert "p50 ≥\u00a0" in run_essentials(summary)
