"""What a service says of its limits."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.protocol.events import Kind
from bench.protocol.openai_ga import GA
from bench.protocol.openai_preview import PREVIEW
from bench.protocol.rate_limits import LONGEST_S, RateLimit, limits_in, rate_limits, wait_in, wait_of
from tests.examples import thorough
from tests.helpers import MS, S, event_of, message

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=9,
)
COUNTS = st.none() | st.integers(-(2**53), 2**53)

# The wait that a message asks for.

LIMIT_REACHED = (
    "Rate limit reached for gpt-realtime in organization org-1 on tokens per min (TPM): Limit 40000, Used 39669, "
    "Requested 800. Please try again in {}. Visit the page of your limits to learn more."
)


@pytest.mark.parametrize(
    ("length", "wait_ns"),
    [
        ("250ms", 250 * MS),
        ("6.232s", 6_232 * MS),
        ("20s", 20 * S),
        ("1m26.4s", 86_400 * MS),
        ("1h2m3s", 3_723 * S),
        ("7m0s", 420 * S),
        ("2d1h", 49 * 3600 * S),
        ("1 minute 3 seconds", 63 * S),
        ("0s", 0),
    ],
)
def test_the_wait_is_in_the_words_of_the_message(length: str, wait_ns: int) -> None:
    assert wait_in(LIMIT_REACHED.format(length)) == wait_ns


def test_azure_says_it_in_other_words() -> None:
    assert wait_in("Requests have exceeded the call rate limit. Please retry after 6 seconds.") == 6 * S


@pytest.mark.parametrize(
    "words",
    [
        "", "You exceeded your current quota, please check your plan and billing details.",
        "Limit 40000, Used 39669, Requested 800.", "Please try again in a moment.", "Please try again in 6",
        "Please try again in 6 sheep.", "Please try again in -6s.", "Try again.",
        "Please try again in 999999999999d.", "try again in 99999999999999999999s",
    ],
)  # fmt: skip
def test_a_message_without_a_length_asks_for_no_wait(words: str) -> None:
    assert wait_in(words) is None


@thorough
@given(
    hours=st.integers(0, 99),
    minutes=st.integers(0, 59),
    ms=st.integers(0, 59_999),
    spelling=st.sampled_from(["ms", "s"]),
)
def test_any_length_is_read_as_it_is_written(hours: int, minutes: int, ms: int, spelling: str) -> None:
    last = f"{ms}ms" if spelling == "ms" else f"{ms / 1000:.3f}s"
    text = "".join(f"{number}{unit}" for number, unit in ((hours, "h"), (minutes, "m")) if number) + last

    assert wait_in(f"Please try again in {text}.") == ((hours * 60 + minutes) * 60_000 + ms) * MS


@thorough
@given(text=st.text(max_size=40) | st.from_regex(r"(try again|retry) (in|after) [0-9a-z .]{0,30}"))
def test_no_words_make_it_raise_or_ask_for_ever(text: str) -> None:
    wait_ns = wait_in(text)

    assert wait_ns is None or 0 <= wait_ns <= LONGEST_S * S


# The wait that headers ask for.

NOW = "Fri, 20 Nov 2026 14:00:00 GMT"
LATER = "Fri, 20 Nov 2026 14:00:30 GMT"


@pytest.mark.parametrize(
    ("headers", "wait_ns"),
    [
        ({"retry-after": "7"}, 7 * S),
        ({"retry-after": " 7 "}, 7 * S),
        ({"retry-after": "1.5"}, 1_500 * MS),
        ({"retry-after-ms": "250"}, 250 * MS),
        ({"retry-after": "1", "retry-after-ms": "250"}, 250 * MS),
        ({"retry-after": "1", "retry-after-ms": "soon"}, 1 * S),
        ({"retry-after": LATER, "date": NOW}, 30 * S),
        ({"retry-after": NOW, "date": LATER}, 0),
        ({"retry-after": LATER}, None),
        ({"retry-after": LATER, "date": "yesterday"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1e300"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "soon", "date": NOW}, None),
        ({}, None),
    ],
)
def test_the_wait_is_in_the_headers_of_a_refusal(headers: dict[str, str], wait_ns: int | None) -> None:
    assert wait_of(headers) == wait_ns


@thorough
@given(
    headers=st.dictionaries(
        st.sampled_from(["retry-after", "retry-after-ms", "date"]), st.text(max_size=30) | st.just(NOW) | st.just(LATER)
    )
)
def test_no_headers_make_it_raise_or_ask_for_ever(headers: dict[str, str]) -> None:
    wait_ns = wait_of(headers)

    assert wait_ns is None or 0 <= wait_ns <= LONGEST_S * S


# What remains.


def told(entries: Any) -> tuple[RateLimit, ...]:
    event = event_of(message("rate_limits.updated", rate_limits=entries), GA)
    assert (event.kind, event.name) == (Kind.RATE_LIMITS, "rate_limits.updated")
    return event.limits


def test_an_event_tells_what_remains_of_each_limit() -> None:
    entries = [
        {"name": "requests", "limit": 1000, "remaining": 999, "reset_seconds": 60},
        {"name": "tokens", "limit": 50000, "remaining": 49950, "reset_seconds": 0.06},
    ]

    assert told(entries) == (RateLimit("requests", 1000, 999, 60.0), RateLimit("tokens", 50000, 49950, 0.06))


@pytest.mark.parametrize(
    ("entry", "limit"),
    [
        ({"name": "tokens"}, RateLimit("tokens")),
        ({"name": "tokens", "limit": None, "remaining": None, "reset_seconds": None}, RateLimit("tokens")),
        ({"name": "tokens", "limit": "40000", "remaining": "12.0"}, RateLimit("tokens", 40000, 12)),
        ({"name": "tokens", "limit": 4e4, "remaining": -3.5}, RateLimit("tokens", 40000, -3)),
        ({"name": "tokens", "limit": [1], "remaining": True}, RateLimit("tokens")),
        ({"name": "tokens", "reset_seconds": "6m0s"}, RateLimit("tokens", reset_s=360.0)),
        ({"name": "tokens", "limit": "many", "remaining": 10**40}, RateLimit("tokens")),
    ],
)  # fmt: skip
def test_what_an_entry_does_not_tell_is_not_known(entry: dict[str, Any], limit: RateLimit) -> None:
    assert told([entry]) == (limit,)


@pytest.mark.parametrize("entries", [None, [], {}, "none", 7, [None, 3, {"limit": 5}, {"name": 5}]])
def test_an_event_that_tells_nothing_is_an_event_too(entries: Any) -> None:
    assert told(entries) == ()


def test_an_event_of_limits_belongs_to_nothing_whatever_ids_it_has() -> None:
    event = event_of(message("rate_limits.updated", response_id="r1", item_id="i1"), PREVIEW)

    assert (event.response_id, event.item_id) == ("", "")


@thorough
@given(value=JSON_VALUES | st.lists(st.dictionaries(st.sampled_from(["name", "limit", "remaining"]), JSON_VALUES)))
def test_no_json_makes_it_raise_and_every_count_fits_its_column(value: Any) -> None:
    event = event_of(json.dumps({"type": "rate_limits.updated", "rate_limits": value}).encode(), GA)

    counts = [count for limit in (*event.limits, *rate_limits(value)) for count in (limit.limit, limit.remaining)]
    assert all(count is None or abs(count) < 2**63 for count in counts)


@thorough
@given(limit=COUNTS, remaining=COUNTS)
def test_whole_numbers_are_told_as_they_are_whether_as_numbers_or_as_strings(
    limit: int | None, remaining: int | None
) -> None:
    def text(count: int | None) -> str | None:
        return None if count is None else str(count)

    numbers = rate_limits([{"name": "tokens", "limit": limit, "remaining": remaining}])
    strings = rate_limits([{"name": "tokens", "limit": text(limit), "remaining": text(remaining)}])

    assert numbers == strings == (RateLimit("tokens", limit, remaining),)


def test_a_handshake_tells_it_in_its_headers() -> None:
    headers = {
        "x-ratelimit-limit-requests": "36", "x-ratelimit-remaining-requests": "35",
        "x-ratelimit-reset-requests": "1.6s", "x-ratelimit-remaining-tokens": "5,000?", "date": NOW,
    }  # fmt: skip

    assert limits_in(headers) == (RateLimit("requests", 36, 35, 1.6), RateLimit("tokens"))
    assert limits_in({"date": NOW}) == ()
