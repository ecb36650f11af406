"""The page of a search: its text and its plots."""

from __future__ import annotations

import math
import re

from reports.render.html import render_html
from reports.results.verdict import Result
from rtbench.capacity.conclusion import conclude
from rtbench.capacity.page import capacity_page, failure_chart, latency_chart
from rtbench.capacity.search import CapacityDocument, LevelEntry, ViolationShare
from tests.capacity.models import build_latency, build_level, build_plan, build_share


def level(load: int, answer: Result, p50: float, *, hold: bool = False) -> LevelEntry:
    wait = build_latency(p50, 0.9 * p50, 1.1 * p50)
    tail = build_latency(1.5 * p50, 1.3 * p50, math.inf)
    failures = ViolationShare(value=0.01, low=0.002, high=0.03, turns=900, sessions=180)
    return build_level(load, answer, hold=hold, turns=900, sessions=180, latency_p50=wait, latency_p95=tail,
                       failure_rate=failures, slo_violations=[build_share()], run=f"run-{load}",
                       simulated=True)  # fmt: skip


LEVELS = [level(8, "pass", 400), level(16, "fail", 1200), level(11, "inconclusive", 700),
          level(8, "pass", 410, hold=True)]  # fmt: skip


def searched(levels: list[LevelEntry]) -> CapacityDocument:
    return conclude(build_plan(), levels, date_utc="2026-11-21", target="<west>", scenario="calls")


def test_the_page_has_the_conclusion_and_each_level() -> None:
    page = render_html(capacity_page(searched(LEVELS)))

    assert "Passes at 8 and fails at 16 concurrent calls (ttfa p(95)&lt;800)." in page
    assert "A longer run confirmed 8." in page
    assert "SIMULATED" in page
    assert "&lt;west&gt;" in page
    assert "<west>" not in page
    assert all(f"run-{load}" in page for load in (8, 11, 16))


def test_levels_that_did_not_pass_have_open_marks() -> None:
    plot = latency_chart(searched(LEVELS), LEVELS)
    marks = re.findall(r'class="mark( open)?', "".join(plot.parts))

    assert marks.count(" open") == 4  # p50 and p95 of two levels
    assert marks.count("") == 4


def test_a_curve_has_one_point_for_a_load_that_was_run_twice() -> None:
    twice = [level(2, "pass", 300), level(4, "inconclusive", 400), level(4, "inconclusive", 500), level(8, "fail", 900)]
    drawn = [
        part for part in latency_chart(searched(twice), twice).parts if part.startswith("<path") and "curve" in part
    ]

    assert drawn[0].count("L") == 2


def test_the_load_axis_has_a_tick_at_each_measured_load() -> None:
    few = [level(load, "pass", 300) for load in (2, 4, 8)]
    ticks = re.findall(r">(\d+)</text>", "".join(failure_chart(searched(few), few).parts))

    assert sorted(ticks) == ["2", "4", "8"]


def test_the_labels_of_close_loads_do_not_overlap() -> None:
    close = [level(load, "pass", 300) for load in range(100, 130)]
    ticks = re.findall(r">(\d+)</text>", "".join(failure_chart(searched(close), close).parts))

    assert 1 < len(ticks) < len(close)


def test_the_breaking_point_is_a_band_between_the_highest_pass_and_the_lowest_fail() -> None:
    known, unknown = searched(LEVELS), searched(LEVELS[:1])

    assert 'class="band' in "".join(latency_chart(known, LEVELS).parts)
    assert 'class="band' in "".join(failure_chart(known, LEVELS).parts)
    assert 'class="band' not in "".join(latency_chart(unknown, LEVELS[:1]).parts)


def test_a_search_without_levels_has_a_page() -> None:
    page = render_html(capacity_page(searched([])))

    assert "No level of concurrent calls passed or failed" in page
    assert "<svg" not in page
