"""The tables of the web UI's tabs."""

from __future__ import annotations

import argparse
import json
import math
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import UsageError
from bench.load.planning.run_options import MAX_USERS, SHAPE, Options
from bench.load.runners.live_totals import LiveLatency, TargetProgress
from bench.load.runners.web_ui import LOOPBACK_NAMES, cross_site_reason, requested_options, stats
from bench.run.recorder import Traffic
from tests.load.options import parsed

WAIT = LiveLatency("sweden", "voice_to_voice", "speech_end", 120, 7, 812.34, math.inf)
LATE = "late: send_delay 14 ms > 10 ms"
SWEDEN = TargetProgress(
    "sweden", 12, 113, 7, (WAIT,), Traffic(900, 400, 80_000, 9_000), 1.25, 0, LATE, "VALID so far", "valid"
)


def test_a_latency_row_has_its_start_instant_and_failed_turns() -> None:
    (row,) = stats([SWEDEN])[0]["data"]

    assert row == {
        "name": "0000",
        "target": "sweden", "figure": "voice_to_voice", "measured_from": "end of speech",
        "p50": 812.0, "p95": "∞", "turns": 120, "failed": 7, "verdict": "✓ VALID so far",
    }  # fmt: skip


def test_a_target_row_has_its_traffic_cost_and_verdict() -> None:
    (row,) = stats([replace(SWEDEN, usd=None, unpriced=3, health="")])[1]["data"]

    assert (row["turns"], row["failed"], row["eventsin"], row["bytesout"]) == (120, 7, 900, "9 kB/s")
    assert (row["usd"], row["load_generator"]) == ("no price known (3 unpriced)", "no verdict yet")
    assert row["verdict"] == "✓ VALID so far"


def test_an_empty_cell_has_the_number_of_missing_sessions() -> None:
    few = replace(WAIT, p50_ms=12.0, p95_ms=None, lacking=(0, 52))
    (row,) = stats([replace(SWEDEN, latencies=(few,))])[0]["data"]

    assert (row["p50"], row["p95"]) == (12.0, "n/a (needs 52 sessions)")


def test_an_invalid_run_shows_its_remedy_on_both_tabs() -> None:
    bad = replace(SWEDEN, verdict="INVALID: send_delay 14 ms > 10 ms", validity="invalid", simulated=True)
    tables = stats([replace(bad, remedy="end other programs")])

    assert {row["verdict"] for table in tables for row in table["data"]} == {
        "✕ INVALID: send_delay 14 ms > 10 ms · SIMULATED. What to do: end other programs"
    }


def test_rows_sorted_by_name_keep_their_order() -> None:
    """The rows have names that keep their order, because Locust's page sorts rows by name."""
    first, second = replace(WAIT, metric="ttfa"), WAIT
    targets = [
        replace(SWEDEN, target="old", latencies=(first, second)),
        replace(SWEDEN, target="new", latencies=(first,)),
    ]
    rows = sorted(stats(targets)[0]["data"], key=lambda row: row["name"])

    assert [row["figure"] for row in rows] == ["ttfa", "voice_to_voice", "ttfa"]


def test_the_rows_are_valid_json() -> None:
    json.loads(json.dumps(stats([SWEDEN]), allow_nan=False))


# The fields of a form of the web UI: each value is accepted or refused with an error.


FIELDS = sorted({"user_count", "spawn_rate", "run_time", *SHAPE})
LENGTHS = st.sampled_from((1, 9, 19, 40, 400, 5_000))
NUMBERS = st.one_of(LENGTHS.map(lambda length: "9" * length), st.integers().map(str), st.floats().map(str))
VALUES = st.one_of(st.text(max_size=12), NUMBERS, NUMBERS.map("{}h".format), NUMBERS.map("{}/s".format))


@given(st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=4))
def test_any_form_is_accepted_or_refused(form: dict[str, str]) -> None:
    chosen = vars(parsed()) | {"num_users": None, "spawn_rate": None, "run_time": None}
    with suppress(UsageError):
        asked = requested_options(form, chosen)
        Options.of(asked)
        assert asked.num_users is None or 1 <= asked.num_users <= MAX_USERS


@pytest.mark.parametrize("measured_from", ["http://[::1", "http://[", "null", "", "//[x]", "http://localhost:80:90"])
def test_an_invalid_origin_is_treated_as_another_origin(measured_from: str) -> None:
    assert "other origins" in cross_site_reason("localhost:8089", measured_from, LOOPBACK_NAMES)


@given(st.text(max_size=20), st.none() | st.text(max_size=20))
def test_any_headers_are_accepted_or_refused(host: str, measured_from: str | None) -> None:
    assert isinstance(cross_site_reason(host, measured_from, LOOPBACK_NAMES), str)


def test_the_form_of_locust_s_page_is_accepted() -> None:
    chosen = vars(parsed()) | {"num_users": None, "spawn_rate": None, "run_time": None}
    asked = requested_options({"user_count": "3", "spawn_rate": "1.5", "run_time": "1h20m", "sessions": ""}, chosen)

    assert isinstance(asked, argparse.Namespace)
    assert (asked.num_users, Options.of(asked).sessions) == (3, None)
