"""The texts of a report on metrics with too little data, and on intervals without a bound."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.analysis.summary.summary import Summary
from reports.formatting import NBSP
from reports.metrics.thresholds import parse
from reports.statistics.quantiles import quantiles, sample
from reports.text.sentences import longer_runs, next_commands, next_step, run_headline
from tests.examples import few
from tests.reports.forms import run_forms, run_text
from tests.reports.shared import summary_of
from tests.reports.synthetic import Plan

THERE_AND_NEEDED = (
    r"in (?P<there>[\d,]+) sessions?; it takes (?P<needs>[\d,]+)",
    r"(?P<there>[\d,]+) (?:turn|session|word|repl)\w*; needs (?P<needs>[\d,]+)",
    r"has (?P<there>[\d,]+) sessions? and needs (?P<needs>[\d,]+)",
    (
        r"of (?P<there>[\d,]+) sessions? (?:is|are) too few for a median, which takes"
        r" (?P<needs>[\d,]+)"
    ),
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


@given(
    st.lists(st.tuples(st.integers(1, 12), st.integers(0, 3)), min_size=1, max_size=40),
    st.integers(0, 99),
)
def test_a_quantile_with_too_few_sessions_requires_more_of_them(
    of_session: list[tuple[int, int]], seed: int
) -> None:
    """`of_session` contains, for each session, the number of succeeded turns and the number of
    failed turns.
    """
    rng = np.random.default_rng(seed)
    sessions = np.repeat(np.arange(len(of_session)), [good + bad for good, bad in of_session])
    values = np.concatenate(
        [[*rng.lognormal(size=good), *[np.inf] * bad] for good, bad in of_session]
    )

    for found in quantiles(sample(values, sessions), (0.05, 0.5, 0.9, 0.95, 0.99)):
        if found.status == "too_few_sessions":
            assert found.required > found.sessions
        elif found.status == "too_few_turns":
            assert found.required > values.size
        elif found.status == "unbounded" and found.required:
            assert found.required > found.sessions


def advice(plan: Plan, **given: Any) -> str:
    """Return the advice to run longer. `given` contains the options with which the run was
    started.
    """
    return next_step(summary_of(plan, settings=given)).partition(". ")[0]


@pytest.mark.parametrize(
    ("command", "longer"),
    [
        (
            "locust -f mine.py --headless --users 4",
            "locust -f mine.py --headless --users 4 --sessions 45",
        ),
        (
            "rtbench run mine.yaml --sessions 12 --name x",
            "rtbench run mine.yaml --sessions 45 --name x",
        ),
        (
            ".venv/bin/rtbench quickstart --sessions=12",
            ".venv/bin/rtbench quickstart --sessions 45",
        ),
    ],
)
def test_the_advice_is_a_command_that_can_be_pasted(command: str, longer: str) -> None:
    """On a terminal of any width, each command is on its own line."""
    summary = summary_of(Plan(sessions=12, turns=4), command=command.split())
    commands = [text for _, text in next_commands(summary)]

    assert [run.command for run in longer_runs(summary)] == [longer]
    assert commands[0] == longer
    assert len(commands) == 3
    assert set(commands) <= set(run_text(summary, width=40).splitlines())
    if "rtbench" in longer:
        assert {text.split()[0] for text in commands} == {command.split()[0]}


@pytest.mark.parametrize(("failed", "stays"), [(0.1, False), (0.25, True)])
def test_a_quantile_that_failures_keep_infinite_is_offered_no_longer_run(
    failed: float, stays: bool
) -> None:
    summary = summary_of(Plan(sessions=30, turns=3, failed=failed), command=["rtbench", "run"])
    text = " ".join(run_text(summary).replace(NBSP, " ").split())

    assert ("p95 stays ∞ while more than 5 % of turns fail" in text) == stays
    assert ("--sessions 48" in text) != stays


def test_the_suggested_limit_leaves_out_turns_that_are_measured_from_another_instant() -> None:
    summary = summary_of(Plan(sessions=60, kinds=("typed", "vad")))
    suggested = re.search(r'--thresholds "(.*?): (.*?)"', str(next_commands(summary)))
    assert suggested is not None
    threshold = parse(suggested[1], suggested[2])

    (tested,) = [
        result
        for result in summary.results
        if result.stratum.labels["measured_from"] == threshold.measured_from
    ]
    assert threshold.limit is not None
    assert tested.at(0.5).high < threshold.limit
    assert len({result.stratum for result in summary.results}) == 2


def test_a_suggested_command_against_a_service_has_the_option_yes() -> None:
    summary = summary_of(
        Plan(sessions=12, turns=4, simulated=False), command=["locust", "-f", "my calls.py"]
    )

    assert [run.command for run in longer_runs(summary)] == [
        "locust -f 'my calls.py' --sessions 45 --yes"
    ]


def test_a_run_that_its_run_time_ended_is_advised_a_longer_run_time() -> None:
    plan = Plan(sessions=12, turns=4)

    assert advice(plan, run_time=20) == "For p95, use `--run-time 2m` or more"
    assert advice(plan, run_time=300) == "For p95, use `--run-time 19m` or more"
    assert (
        advice(plan, run_time=300, sessions="12")
        == "For p95, use `--run-time 19m --sessions 45` or more"
    )


def test_the_advice_states_what_the_longer_run_takes() -> None:
    plan = Plan(sessions=12, turns=4)
    minutes = round(summary_of(plan).measured_s * 45 / 12 / 60)

    assert advice(plan) == f"For p95, use `--sessions 45` or more (about {minutes} min)"


def test_a_run_ended_by_a_file_of_stages_is_advised_a_number_of_sessions() -> None:
    assert (
        advice(Plan(sessions=12, turns=4), stages="ramp.yaml") == "For p95, use 45 sessions or more"
    )
