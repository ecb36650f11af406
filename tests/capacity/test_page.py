"""The page of a search: its text and its plots."""

from __future__ import annotations

import math
import re

from msgspec.structs import replace

from reports.render.html import render_html
from reports.results.value import Reason, too_few_to_print
from rtbench.capacity.page import capacity_page, failure_chart, latency_chart
from tests.capacity.searched import CROSSED, CURVE, LEVELS, level, searched

EVERY = [*CURVE, *LEVELS]


def test_the_page_has_the_conclusion_and_each_load() -> None:
    page = render_html(capacity_page(searched(LEVELS)))

    assert "Passes at 7 and fails at 16 concurrent calls (ttfa: p(95)&lt;800)." in page
    assert "P95 of ttfa crosses 800 ms" in page
    assert "SIMULATED" in page
    assert "&lt;west&gt;" in page
    assert "<west>" not in page
    assert all(f">{name}<" in page for name in ("4", "5–8", "9–16", "7 (level)", "16 (level)"))


def test_a_search_without_levels_has_a_page_with_its_range_and_no_verdict() -> None:
    page = render_html(capacity_page(searched([])))

    assert "P95 of ttfa crosses 800 ms" in page
    assert "(level)" not in page
    assert "probability of error" not in page


def test_only_levels_that_passed_have_filled_marks() -> None:
    plot = latency_chart(searched(LEVELS), EVERY)
    marks = re.findall(r'class="mark( open)?', "".join(plot.parts))

    assert marks.count("") == 2  # p50 and p95 of a level
    assert len(marks) == 2 * len(EVERY)
    assert ">limit 800" in "".join(plot.parts), "the line of the limit has a label"


def test_the_curve_is_that_of_the_ramps() -> None:
    drawn = [
        part
        for part in latency_chart(searched(LEVELS), EVERY).parts
        if part.startswith("<path") and "curve" in part
    ]

    assert drawn[0].count("L") == len(CURVE) - 1


def test_the_labels_of_close_loads_do_not_overlap() -> None:
    few = [level(load, None, 300) for load in (2, 4, 8)]
    close = [level(load, None, 300) for load in range(100, 130)]
    unknown = Reason("no_turns")
    crossed = Reason("crossed", {"low": 8, "high": 16})
    ticks, of_close, above = (
        re.findall(r">(\d+)</text>", "".join(failure_chart(searched([], at, why), at).parts))
        for at, why in ((few, unknown), (close, unknown), (few, crossed))
    )

    assert ticks == ["2", "4", "8"]
    assert above == ["2", "4", "8", "16"]
    assert 1 < len(of_close) < len(close)


def test_the_band_is_what_levels_showed_else_the_range_of_the_ramps_if_it_has_two_ends() -> None:
    def bands(low: int, high: int | None, levels: list) -> list[str]:  # type: ignore[type-arg]
        estimate = Reason("crossed", CROSSED.numbers | {"low": low, "high": high})
        parts = latency_chart(searched(levels, CURVE, estimate), EVERY).parts
        return [part for part in parts if 'class="band' in part]

    (verified,) = bands(11, 16, LEVELS)
    (estimated,) = bands(11, 16, [])
    assert verified != estimated
    assert bands(11, 16, LEVELS[:2]) == [estimated], "no level failed"
    assert bands(0, 8, []) == bands(4, None, []) == []


def test_a_search_without_turns_has_a_page() -> None:
    page = render_html(capacity_page(searched([], [], Reason("no_turns"))))

    assert "No turn with a value of the threshold ended" in page
    assert "<svg" not in page


def test_a_column_without_values_is_left_out_and_a_missing_percentile_has_its_reason() -> None:
    few = replace(LEVELS[0].latency_p95, value=math.nan, reason=too_few_to_print("session", 45, 9))
    page = render_html(capacity_page(searched([replace(LEVELS[0], latency_p95=few)])))

    assert "failed, %" in page
    assert "rate limits left" not in page
    assert "n/a (needs 45" in page
