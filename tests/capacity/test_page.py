"""The page of a search: its text and its plots."""

from __future__ import annotations

import math
import re

from msgspec.structs import replace

from reports.formatting import NBSP
from reports.render.html import render_html
from reports.results.value import Reason, too_few_to_print
from rtbench.capacity.page import capacity_page, failure_chart, latency_chart
from tests.capacity.searched import LEVELS, level, searched


def test_the_page_has_the_conclusion_and_each_level() -> None:
    page = render_html(capacity_page(searched(LEVELS)))

    assert "Passes at 8 and fails at 16 concurrent calls (ttfa: p(95)&lt;800)." in page
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
    assert ">limit 800" in "".join(plot.parts), "the line of the limit has a label"


def test_a_curve_has_one_point_for_a_load_that_was_run_twice() -> None:
    twice = [
        level(2, "pass", 300),
        level(4, "inconclusive", 400),
        level(4, "inconclusive", 500),
        level(8, "fail", 900),
    ]
    drawn = [
        part
        for part in latency_chart(searched(twice), twice).parts
        if part.startswith("<path") and "curve" in part
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


def estimated(low: int, high: int | None) -> Reason:
    return Reason("crossed", {"low": low, "high": high})


def test_the_range_of_a_quick_search_is_a_band_if_it_has_two_ends() -> None:
    quick, open_below, open_above = (
        replace(searched(LEVELS[:1]), estimate=estimated(low, high))
        for low, high in ((4, 8), (0, 8), (4, None))
    )

    assert 'class="band' in "".join(latency_chart(quick, LEVELS).parts)
    assert 'class="band' not in "".join(latency_chart(open_below, LEVELS).parts)
    assert 'class="band' not in "".join(latency_chart(open_above, LEVELS).parts)


def test_the_breaking_point_is_a_band_between_the_highest_pass_and_the_lowest_fail() -> None:
    known, unknown = searched(LEVELS), searched(LEVELS[:1])

    assert 'class="band' in "".join(latency_chart(known, LEVELS).parts)
    assert 'class="band' in "".join(failure_chart(known, LEVELS).parts)
    assert 'class="band' not in "".join(latency_chart(unknown, LEVELS[:1]).parts)


def test_a_search_without_levels_has_a_page() -> None:
    page = render_html(capacity_page(searched([])))

    assert "No level of concurrent calls passed or failed" in page
    assert "<svg" not in page


def test_a_column_without_values_is_left_out_and_a_missing_percentile_has_its_reason() -> None:
    few = replace(LEVELS[0].latency_p95, value=math.nan, reason=too_few_to_print("session", 45, 9))
    page = render_html(capacity_page(searched([replace(LEVELS[0], latency_p95=few)])))

    assert "failed, %" in page
    assert "rate limits left" not in page
    assert "n/a (needs 45" in page


def test_a_note_with_a_command_has_the_command() -> None:
    verify = Reason("verify", {"time_s": 1800.0, "cost": "", "command": "rtbench capacity x.py"})
    page = render_html(capacity_page(replace(searched(LEVELS), notes=[verify])))

    assert f"about 30{NBSP}min: <code>rtbench capacity x.py</code>" in page
