"""The tables of the web UI's tabs."""

from __future__ import annotations

import argparse
import math
import socket
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.base.errors import UsageError
from bench.load.planning.run_options import MAX_USERS, SHAPE, Options
from bench.load.runners.live_totals import LiveLatency, TargetProgress
from bench.load.runners.web_origin import cross_site_reason
from bench.load.runners.web_ui import LOOPBACK_NAMES, live_address, requested_options, stats
from bench.record.recorder import Traffic
from tests.load.options import parsed

WAIT = LiveLatency("sweden", "voice_to_voice", "speech_end", 120, 7, 812.34, math.inf)
LATE = "late: send_delay 14 ms > 10 ms"
SWEDEN = TargetProgress(
    "sweden",
    12,
    113,
    7,
    (WAIT,),
    Traffic(900, 400, 80_000, 9_000),
    1.25,
    0,
    LATE,
    "VALID so far",
    "valid",
)


def test_a_latency_row_has_its_start_instant_and_failed_turns() -> None:
    (row,) = stats([SWEDEN])[0]["data"]

    assert row == {
        "name": "0000",
        "target": "sweden",
        "figure": "voice_to_voice",
        "measured_from": "end of speech",
        "p50": 812.0,
        "p95": "∞",
        "turns": 120,
        "failed": 7,
        "verdict": "✓ VALID so far",
    }


def test_a_target_row_has_its_traffic_cost_and_verdict() -> None:
    (row,) = stats([replace(SWEDEN, usd=None, unpriced=3, health="")])[1]["data"]

    assert (row["turns"], row["failed"], row["eventsin"], row["bytesout"]) == (
        120,
        7,
        900,
        "9 kB/s",
    )
    assert (row["usd"], row["load_generator"]) == ("no price known (3 unpriced)", "no verdict yet")
    assert row["verdict"] == "✓ VALID so far"


def test_an_empty_cell_has_the_number_of_missing_sessions() -> None:
    few = replace(WAIT, p50_ms=12.0, p95_ms=None, lacking=(0, 52))
    (row,) = stats([replace(SWEDEN, latencies=(few,))])[0]["data"]

    assert (row["p50"], row["p95"]) == (12.0, "n/a (needs 52 sessions)")


# The fields of a form of the web UI: each value is accepted or refused with an error.


FIELDS = sorted({"user_count", "spawn_rate", "run_time", *SHAPE})
LENGTHS = st.sampled_from((1, 9, 19, 40, 400, 5_000))
NUMBERS = st.one_of(
    LENGTHS.map(lambda length: "9" * length), st.integers().map(str), st.floats().map(str)
)
VALUES = st.one_of(
    st.text(max_size=12), NUMBERS, NUMBERS.map("{}h".format), NUMBERS.map("{}/s".format)
)


@given(st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=4))
def test_any_form_is_accepted_or_refused(form: dict[str, str]) -> None:
    chosen = vars(parsed()) | {"num_users": None, "spawn_rate": None, "run_time": None}
    with suppress(UsageError):
        asked = requested_options(form, chosen)
        Options.of(asked)
        assert asked.num_users is None or 1 <= asked.num_users <= MAX_USERS


LOAD = "https://load.example.com"


@pytest.mark.parametrize(
    ("origin", "host", "headers"),
    [
        (LOAD, "load.example.com:443", {}),
        (f"{LOAD}:443", "load.example.com", {}),
        ("http://load.example.com", "load.example.com:80", {}),
        (LOAD, "LOAD.Example.com", {}),
        (LOAD, "load.example.com.", {}),
        ("http://[2001:db8::1]:8089", "[2001:DB8::1]:8089", {}),
        ("http://[::1]", "[::1]:80", {}),
        (LOAD, "127.0.0.1:8089", {"X-Forwarded-Host": "load.example.com"}),
        (LOAD, "127.0.0.1:8089", {"X-Forwarded-Host": "load.example.com:443, inner.example"}),
        (LOAD, "127.0.0.1:8089", {"X-Forwarded-Host": "outer.example, load.example.com"}),
        (f"{LOAD}:8443", "127.0.0.1:8089", {"X-Forwarded-Host": "load.example.com:8443"}),
        (
            f"{LOAD}:8443",
            "127.0.0.1:8089",
            {"X-Forwarded-Host": "load.example.com", "X-Forwarded-Port": "8443"},
        ),
        (f"{LOAD}:8443", "load.example.com", {"X-Forwarded-Port": "8443"}),
        (
            f"{LOAD}:8443",
            "127.0.0.1:8089",
            {"X-Forwarded-Host": "load.example.com", "X-Forwarded-Port": "8443, 80"},
        ),
        (LOAD, "127.0.0.1:8089", {"Forwarded": "for=192.0.2.1;host=load.example.com;proto=https"}),
        (LOAD, "127.0.0.1:8089", {"Forwarded": 'for="[::1]", for=x; Host="load.example.com:443"'}),
        (None, "127.0.0.1:8089", {}),
    ],
)
def test_the_same_origin_in_another_spelling_may_use_the_web_ui(
    origin: str | None, host: str, headers: dict[str, str]
) -> None:
    assert cross_site_reason(host, origin, frozenset(), headers) == ""
    if host.startswith("127."):
        assert cross_site_reason(host, origin, LOOPBACK_NAMES, headers) == ""


@pytest.mark.parametrize(
    ("origin", "host", "headers"),
    [
        ("https://evil.example", "load.example.com", {}),
        (f"{LOAD}:8443", "load.example.com", {"X-Forwarded-Port": "443"}),
        ("https://evil.example", "127.0.0.1:8089", {"X-Forwarded-Host": "load.example.com"}),
        ("https://load.example.com.evil.example", "load.example.com", {}),
        ("http://load.example.com", "load.example.com:443", {}),
        (f"{LOAD}:8443", "load.example.com", {}),
        ("null", "null", {"X-Forwarded-Host": "null"}),
        ("https://", "load.example.com", {"X-Forwarded-Host": ""}),
        ("ftp://load.example.com", "load.example.com", {}),
        ("https://evil.example@load.example.com", "load.example.com", {}),
        (LOAD, "evil.example@load.example.com", {}),
        (LOAD, "evil.example", {"Forwarded": "for=load.example.com;by=load.example.com"}),
    ],
)
def test_a_page_of_another_origin_is_refused_with_the_headers_and_a_remedy(
    origin: str, host: str, headers: dict[str, str]
) -> None:
    reason = cross_site_reason(host, origin, frozenset(), headers)

    assert "other origins" in reason
    assert origin in reason
    assert f"Host of the request is {host}" in reason
    assert all(value in reason for value in headers.values())
    assert reason.endswith("proxy_set_header X-Forwarded-Host $http_host;")


def test_forwarded_headers_do_not_permit_a_host_name_that_points_at_loopback() -> None:
    """A page that uses DNS rebinding is of the same origin, so it can send any of these headers."""
    headers = {"X-Forwarded-Host": "localhost", "Forwarded": "host=localhost"}
    reason = cross_site_reason(
        "evil.example:8089", "http://evil.example:8089", LOOPBACK_NAMES, headers
    )
    assert "only the host name localhost" in reason
    assert "evil.example:8089" in reason


@pytest.mark.parametrize("host", ["localhost.:8089", "LOCALHOST:8089", "[::1]:8089", "127.0.0.1"])
def test_a_name_of_loopback_is_accepted_in_any_spelling(host: str) -> None:
    assert cross_site_reason(host, None, LOOPBACK_NAMES) == ""


@pytest.mark.parametrize(
    "measured_from", ["http://[::1", "http://[", "null", "", "//[x]", "http://localhost:80:90"]
)
def test_an_invalid_origin_is_treated_as_another_origin(measured_from: str) -> None:
    assert "other origins" in cross_site_reason("localhost:8089", measured_from, LOOPBACK_NAMES)


@given(st.text(max_size=20), st.none() | st.text(max_size=20))
def test_any_headers_are_accepted_or_refused(host: str, measured_from: str | None) -> None:
    assert isinstance(cross_site_reason(host, measured_from, LOOPBACK_NAMES), str)


def test_the_form_of_locust_s_page_is_accepted() -> None:
    chosen = vars(parsed()) | {"num_users": None, "spawn_rate": None, "run_time": None}
    asked = requested_options(
        {"user_count": "3", "spawn_rate": "1.5", "run_time": "1h20m", "sessions": ""}, chosen
    )

    assert isinstance(asked, argparse.Namespace)
    assert (asked.num_users, Options.of(asked).sessions) == (3, None)


@pytest.mark.parametrize(
    ("host", "tls", "address"),
    [
        ("127.0.0.1", None, "http://127.0.0.1:0"),
        ("*", None, f"http://{socket.gethostname()}:0"),
        ("127.0.0.1", "a.pem", "https://127.0.0.1:0"),
    ],
)
def test_the_address_of_a_live_page_is_that_of_its_server(
    host: str, tls: str | None, address: str
) -> None:
    options = argparse.Namespace(
        headless=True, web_host=host, web_port=0, web_base_path="", tls_cert=tls, tls_key=tls
    )

    assert live_address(options) == address


def test_a_live_page_is_only_for_runs_without_the_web_ui() -> None:
    with pytest.raises(UsageError, match="the web UI, which has the same page: omit it"):
        live_address(argparse.Namespace(headless=False))
