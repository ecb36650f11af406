"""The tables of the web UI's tabs."""

from __future__ import annotations

import json
import math
from dataclasses import replace

from bench.load.leading.tally import TargetStanding, Wait
from bench.load.leading.web_ui import COLUMNS, stats
from bench.run.recorder import Traffic

WAIT = Wait("sweden", "voice_to_voice", "speech_end", 120, 7, 812.34, math.inf)
LATE = "late: send_delay 14 ms > 10 ms"
SWEDEN = TargetStanding(
    "sweden", 12, 113, 7, (WAIT,), Traffic(900, 400, 80_000, 9_000), 1.25, 0, LATE, "VALID so far", "valid"
)


def test_a_wait_is_told_with_its_origin_and_its_failed_turns() -> None:
    (row,) = stats([SWEDEN])[0]["data"]

    assert row == {
        "name": "0000",
        "target": "sweden", "figure": "voice_to_voice", "measured_from": "end of speech",
        "p50": 812.0, "p95": "∞", "turns": 120, "failed": 7, "verdict": "✓ VALID so far",
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


def test_an_invalid_run_says_what_to_do_on_both_tabs() -> None:
    bad = replace(SWEDEN, verdict="INVALID: send_delay 14 ms > 10 ms", validity="invalid", simulated=True)
    tables = stats([replace(bad, remedy="end other programs")])

    assert {row["verdict"] for table in tables for row in table["data"]} == {
        "✕ INVALID: send_delay 14 ms > 10 ms · SIMULATED. What to do: end other programs"
    }


def test_rows_stand_in_the_order_in_which_they_are_given() -> None:
    """Locust's page sorts rows by their names."""
    first, second = replace(WAIT, metric="ttfa"), WAIT
    targets = [replace(SWEDEN, target="old", waits=(first, second)), replace(SWEDEN, target="new", waits=(first,))]
    rows = sorted(stats(targets)[0]["data"], key=lambda row: row["name"])

    assert [row["figure"] for row in rows] == ["ttfa", "voice_to_voice", "ttfa"]


def test_the_harness_of_a_target_is_told_as_in_the_line() -> None:
    (row,) = stats([SWEDEN])[1]["data"]

    assert row["harness"] == LATE


def test_every_column_has_its_value_and_goes_through_json() -> None:
    for table in json.loads(json.dumps(stats([SWEDEN]), allow_nan=False)):
        assert all(COLUMNS[table["key"]].keys() <= row.keys() for row in table["data"])
