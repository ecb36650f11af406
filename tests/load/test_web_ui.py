"""What a form of the web UI may ask for: whatever it says, it is taken or refused."""

from __future__ import annotations

import argparse
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import UsageError
from bench.load.leading.web_ui import LOOPBACK_NAMES, as_asked, stranger
from bench.load.planning.run_options import MOST_USERS, SHAPE, Options
from tests.load.test_run_options import parsed

FIELDS = sorted({"user_count", "spawn_rate", "run_time", *SHAPE})
LENGTHS = st.sampled_from((1, 9, 19, 40, 400, 5_000))
NUMBERS = st.one_of(LENGTHS.map(lambda length: "9" * length), st.integers().map(str), st.floats().map(str))
VALUES = st.one_of(st.text(max_size=12), NUMBERS, NUMBERS.map("{}h".format), NUMBERS.map("{}/s".format))


@given(st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=4))
def test_whatever_a_form_holds_it_is_taken_or_refused(form: dict[str, str]) -> None:
    chosen = vars(parsed()) | {"num_users": None, "spawn_rate": None, "run_time": None}
    with suppress(UsageError):
        asked = as_asked(form, chosen)
        Options.of(asked)
        assert asked.num_users is None or 1 <= asked.num_users <= MOST_USERS


@pytest.mark.parametrize("measured_from", ["http://[::1", "http://[", "null", "", "//[x]", "http://localhost:80:90"])
def test_an_origin_that_is_no_address_is_a_strangers(measured_from: str) -> None:
    assert "other origins" in stranger("localhost:8089", measured_from, LOOPBACK_NAMES)


@given(st.text(max_size=20), st.none() | st.text(max_size=20))
def test_whatever_the_headers_hold_a_request_is_taken_or_refused(host: str, measured_from: str | None) -> None:
    assert isinstance(stranger(host, measured_from, LOOPBACK_NAMES), str)


def test_the_form_of_locusts_page_is_taken() -> None:
    chosen = vars(parsed()) | {"num_users": None, "spawn_rate": None, "run_time": None}
    asked = as_asked({"user_count": "3", "spawn_rate": "1.5", "run_time": "1h20m", "sessions": ""}, chosen)

    assert isinstance(asked, argparse.Namespace)
    assert (asked.num_users, Options.of(asked).sessions) == (3, None)
