"""Refusals say how long to stay away, and never too short."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bench.simulator.refusals import AZURE, OPENAI, throttled


@given(wait_ns=st.integers(1, 10**12))
def test_the_wait_is_rounded_up_in_seconds_and_in_milliseconds(wait_ns: int) -> None:
    headers = throttled(wait_ns).headers

    assert 0 <= int(headers["retry-after"]) * 10**9 - wait_ns < 10**9
    assert 0 <= int(headers["retry-after-ms"]) * 10**6 - wait_ns < 10**6


def test_no_name_is_of_both_services() -> None:
    assert not set(AZURE) & set(OPENAI)
