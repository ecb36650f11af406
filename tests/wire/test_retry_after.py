"""Dates in `Retry-After`, in a response with or without a `Date`."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime

import pytest

from bench.wire.events import wait_of, with_arrival

S = 10**9
NOW, LATER = "Fri, 20 Nov 2026 14:00:00 GMT", "Fri, 20 Nov 2026 14:00:30 GMT"


@pytest.mark.parametrize(
    "date",
    ["Fri, 20 Nov 2026 14:00:30 GMT", "Friday, 20-Nov-26 14:00:30 GMT", "Fri Nov 20 14:00:30 2026"],
)
@pytest.mark.parametrize("own", [{}, {"date": "yesterday"}])
def test_a_date_without_the_date_of_the_response_counts_from_its_arrival(
    date: str, own: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        now_s = parsedate_to_datetime(NOW).timestamp()
        assert wait_of(with_arrival({"retry-after": date} | own, now_s)) == 30 * S
        assert wait_of(with_arrival({"retry-after": date, "date": LATER}, now_s)) == 0
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    "headers",
    [{}, {"retry-after": "7"}, {"retry-after": "soon"}, {"retry-after": NOW, "date": NOW}],
)
def test_other_headers_do_not_get_an_arrival(headers: dict[str, str]) -> None:
    assert with_arrival(headers, 0) == headers
