"""The tables of the web UI's tabs."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace

import pytest

from bench.load.leading.tally import TargetStanding, Wait
from bench.load.leading.terminal import board_lines, sparkline
from bench.load.leading.web_ui import COLUMNS, live_page, stats
from bench.run.recorder import Traffic

WAIT = Wait("sweden", "voice_to_voice", "speech_end", 120, 7, 812.34, math.inf, (400.0, 800.0, math.inf))
LATE = "late: send_delay 14 ms > 10 ms"
SWEDEN = TargetStanding(
    "sweden", 12, 113, 7, (WAIT,), Traffic(900, 400, 80_000, 9_000), 1.25, 0, LATE, "VALID so far", "valid"
)


def test_a_wait_is_told_with_its_origin_and_its_failed_turns() -> None:
    (row,) = stats([SWEDEN])[0]["data"]

    assert row == {
        "name": "0000",
        "target": "sweden", "figure": "voice_to_voice", "measured_from": "end of speech",
        "p50": 812.0, "p95": "∞", "turns": 120, "failed": 7,
    }  # fmt: skip


def test_a_target_is_told_with_its_traffic_its_cost_and_its_verdict() -> None:
    (row,) = stats([replace(SWEDEN, usd=None, unpriced=3, health="")])[1]["data"]

    assert (row["turns"], row["failed"], row["eventsin"], row["bytesout"]) == (120, 7, 900, "9 kB/s")
    assert (row["usd"], row["harness"]) == ("no price known (3 unpriced)", "no verdict yet")
    assert row["verdict"] == "✓ VALID so far"


def test_an_empty_cell_says_what_it_lacks() -> None:
    few = replace(WAIT, p50_ms=12.0, p95_ms=None, lacking=(0, 52))
    (row,) = stats([replace(SWEDEN, waits=(few,))])[0]["data"]

    assert (row["p50"], row["p95"]) == (12.0, "n/a (needs 52 sessions)")


def test_each_metric_is_drawn_over_time_below_a_verdict_in_its_colour() -> None:
    course = ((400.0, 900.0), (420.0, math.inf), (410.0, 800.0), (400.0, 700.0))
    wait = replace(WAIT, arm="<east>", course_ms=course)
    bad = replace(
        SWEDEN, waits=(wait,), verdict="INVALID: send_delay 14 ms > 10 ms", validity="invalid", simulated=True
    )
    page = live_page([replace(bad, remedy="end other programs")])

    assert "class='no'>✕ INVALID: send_delay 14 ms &gt; 10 ms" in page
    assert "What to do:</strong> end other programs." in page
    assert "What to do" not in live_page([SWEDEN])
    assert "◇ SIMULATED" in page
    assert "voice_to_voice from end of speech" in page
    assert re.findall(r"<path d='([^']*)'", page)[1].count("M") == 1  # of p95 two values are left that are neighbours
    assert "<east>" not in page
    assert "No run has started" in live_page([])


@pytest.mark.parametrize(
    ("lacking", "told"),
    [((0, 0), "p50 (solid) and p95 (dashed)"), ((0, 46), "p50 (solid)"), ((6, 46), None)],
)
def test_a_chart_draws_what_the_table_tells(lacking: tuple[int, int], told: str | None) -> None:
    """The table said that p95 needs 46 sessions, and the chart below it drew a p95."""
    course = ((400.0, 900.0), (420.0, 800.0))
    values = [None if lacks else 400.0 for lacks in lacking]
    wait = replace(WAIT, course_ms=course, lacking=lacking, p50_ms=values[0], p95_ms=values[1])
    other = replace(wait, arm="west", lacking=(6, 46), p50_ms=None, p95_ms=None)
    page = live_page([replace(SWEDEN, waits=(wait, other))])

    assert len(re.findall(r"<path d='M", page)) == sum(not lacks for lacks in lacking)
    assert (f"{told} of the last" in page) if told else "<h2>" not in page
    assert ("class='tail'" in page) == (told is not None and "p95" in told)


def test_the_trend_of_a_terminal_is_of_a_p95_that_the_row_tells() -> None:
    first = replace(WAIT, metric="ttfa", p95_ms=800.0)
    lacks = replace(first, p95_ms=None, lacking=(0, 46))

    assert any("█" in line for line in board_lines([replace(SWEDEN, waits=(first,))], 140, colour=False))
    assert not any("█" in line for line in board_lines([replace(SWEDEN, waits=(lacks,))], 140, colour=False))


def test_rows_stand_in_the_order_in_which_they_are_given_and_charts_too() -> None:
    """Locust's page sorts rows by their names."""
    course = ((400.0, 900.0), (420.0, 800.0))
    first, second = replace(WAIT, metric="ttfa", course_ms=course), replace(WAIT, course_ms=course)
    targets = [replace(SWEDEN, target="old", waits=(first, second)), replace(SWEDEN, target="new", waits=(first,))]
    rows = sorted(stats(targets)[0]["data"], key=lambda row: row["name"])

    assert [row["figure"] for row in rows] == ["ttfa", "voice_to_voice", "ttfa"]
    assert re.findall(r"<h2>(\w+)", live_page(targets)) == ["ttfa", "voice_to_voice"]


def test_the_page_is_dark_where_locusts_is() -> None:
    assert "class='dark'" in live_page([SWEDEN], dark=True)
    assert "class='dark'" not in live_page([SWEDEN])


def test_the_harness_of_a_target_is_told_as_in_the_line() -> None:
    (row,) = stats([SWEDEN])[1]["data"]

    assert row["harness"] == LATE


def test_every_column_has_its_value_and_goes_through_json() -> None:
    for table in json.loads(json.dumps(stats([SWEDEN]), allow_nan=False)):
        assert all(COLUMNS[table["key"]].keys() <= row.keys() for row in table["data"])


@pytest.mark.parametrize(
    ("values", "bars"),
    [((), ""), ((0.0, 0.0), "▁▁"), ((0.0, 50.0, 100.0), "▁▅█"), ((math.inf, 10.0), "∞█"), ((math.inf,), "∞")],
)
def test_a_sparkline_has_a_bar_for_each_value(values: tuple[float, ...], bars: str) -> None:
    assert sparkline(values) == bars
