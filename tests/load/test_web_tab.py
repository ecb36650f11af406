"""The tables of the web UI's tabs."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from bench.load.leading.tally import TargetStanding, Wait
from bench.load.leading.terminal import sparkline
from bench.load.leading.web_ui import COLUMNS, stats
from bench.run.recorder import Traffic

WAIT = Wait("sweden", "voice_to_voice", "speech_end", 120, 7, 812.34, math.inf, (400.0, 800.0, math.inf))
LATE = "late: send_lag 14 ms > 10 ms"
SWEDEN = TargetStanding("sweden", 12, 113, 7, (WAIT,), Traffic(900, 400, 80_000, 9_000), 1.25, 0, LATE, "valid so far")


def test_a_wait_is_told_with_its_origin_and_its_failed_turns() -> None:
    (row,) = stats([SWEDEN])[0]["data"]

    assert row == {
        "name": "sweden voice_to_voice after speech",
        "target": "sweden", "figure": "voice_to_voice", "origin": "speech_end",
        "p50": 812.3, "p95": "failed", "turns": 120, "failed": 7, "trend": "▅█×",
    }  # fmt: skip


def test_a_target_is_told_with_its_traffic_its_cost_and_its_verdict() -> None:
    (row,) = stats([replace(SWEDEN, usd=None, unpriced=3, health="")])[1]["data"]

    assert (row["turns"], row["failed"], row["eventsin"], row["bytesout"]) == (120, 7, 900, 9_000)
    assert (row["usd"], row["harness"], row["verdict"]) == ("– (3 unpriced)", "–", "valid so far")


def test_the_harness_of_a_target_is_told_as_in_the_line() -> None:
    (row,) = stats([SWEDEN])[1]["data"]

    assert row["harness"] == f"harness {LATE}"


def test_every_column_has_its_value_and_goes_through_json() -> None:
    for table in json.loads(json.dumps(stats([SWEDEN]), allow_nan=False)):
        assert all(COLUMNS[table["key"]].keys() <= row.keys() for row in table["data"])


@pytest.mark.parametrize(
    ("values", "bars"),
    [((), ""), ((0.0, 0.0), "▁▁"), ((0.0, 50.0, 100.0), "▁▅█"), ((math.inf, 10.0), "×█"), ((math.inf,), "×")],
)
def test_a_sparkline_has_a_bar_for_each_value(values: tuple[float, ...], bars: str) -> None:
    assert sparkline(values) == bars
