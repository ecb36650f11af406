"""Quotas are used up; a refusal reports the time until the quota has room again."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.simulator.behaviour import WireDialect
from bench.simulator.profile import Slowdown
from bench.simulator.quota import MINUTE_NS, MinuteQuota, QuotaLimits, ResponseSlots, ServiceQuota, duration
from bench.simulator.services.azure import AZURE_GA, AZURE_PREVIEW
from tests.simulator.builders import AT_NS, CREATE, SECOND, answers, build_behaviour, done, drain, one, types, user_text

requests = st.lists(st.tuples(st.integers(0, 20 * SECOND), st.integers(1, 50)), max_size=60)


def test_a_quota_starts_full_and_refills_evenly() -> None:
    allowance = MinuteQuota(6)
    for _ in range(6):
        assert allowance.wait_ns(1, AT_NS) == 0
        allowance.spend(1, AT_NS)

    assert allowance.wait_ns(1, AT_NS) == 10 * SECOND
    assert allowance.wait_ns(2, AT_NS) == 20 * SECOND
    assert allowance.wait_ns(1, AT_NS + 10 * SECOND) == 0
    assert allowance.reset_ns(AT_NS) == MINUTE_NS
    assert [allowance.remaining(AT_NS + seconds * SECOND) for seconds in (0, 9, 10, 60, 3600)] == [0, 0, 1, 6, 6]


@given(limit=st.integers(1, 200), asked=requests)
def test_the_returned_wait_is_minimal_and_usage_never_exceeds_the_limit(
    limit: int, asked: list[tuple[int, int]]
) -> None:
    allowance, now_ns, taken = MinuteQuota(limit), AT_NS, 0
    for pause_ns, units in asked:
        units = min(units, limit)
        now_ns += pause_ns
        if wait_ns := allowance.wait_ns(units, now_ns):
            assert allowance.wait_ns(units, now_ns + wait_ns - 1) > 0
        now_ns += wait_ns
        assert allowance.wait_ns(units, now_ns) == 0
        allowance.spend(units, now_ns)
        taken += units
        assert 0 <= allowance.remaining(now_ns) <= limit - units
        assert taken <= limit + (now_ns - AT_NS) * limit / MINUTE_NS + 0.001


def test_a_request_above_the_limit_uses_the_whole_quota() -> None:
    allowance = MinuteQuota(10)

    assert allowance.wait_ns(25, AT_NS) == 0
    allowance.spend(25, AT_NS)
    assert allowance.wait_ns(1, AT_NS) == 96 * SECOND
    assert allowance.used(AT_NS) == 25
    assert allowance.remaining(AT_NS) == 0


def test_connections_beyond_the_limit_wait_and_use_no_quota() -> None:
    quota = ServiceQuota(QuotaLimits(connections_per_minute=2))

    waits = [quota.connect(AT_NS) for _ in range(4)]

    assert waits == [0, 0, 30 * SECOND, 30 * SECOND]
    assert quota.connect(AT_NS + 30 * SECOND) == 0


def test_a_throttled_response_reports_the_quota_and_uses_none() -> None:
    quota = ServiceQuota(QuotaLimits(requests_per_minute=10, tokens_per_minute=40_000))
    assert quota.respond(39_669, "gpt-realtime", AT_NS) is None

    refused = [quota.respond(800, "gpt-realtime", AT_NS) for _ in range(20)]

    assert refused[0] == refused[-1] == {
        "type": "tokens",
        "code": "rate_limit_exceeded",
        "message": "Rate limit reached for gpt-realtime on tokens per min (TPM): "
        "Limit 40000, Used 39669, Requested 800. Please try again in 704ms.",
    }  # fmt: skip
    assert quota.entries(AT_NS)[0] == {"name": "requests", "limit": 10, "remaining": 9, "reset_seconds": 6.0}
    assert quota.respond(800, "gpt-realtime", AT_NS + 704_000_000) is None


def test_requests_are_limited_in_addition_to_tokens() -> None:
    quota = ServiceQuota(QuotaLimits(requests_per_minute=1, tokens_per_minute=1000))
    quota.respond(10, "m", AT_NS)

    refused = quota.respond(10, "m", AT_NS + SECOND)

    assert refused is not None
    assert refused["type"] == "requests"
    assert refused["message"].endswith("requests per min (RPM): Limit 1, Used 1, Requested 1. Please try again in 59s.")


def test_output_tokens_are_charged_and_may_exceed_the_quota() -> None:
    quota = ServiceQuota(QuotaLimits(tokens_per_minute=100))
    quota.respond(50, "m", AT_NS)

    quota.spend(100, AT_NS)

    assert quota.entries(AT_NS) == [{"name": "tokens", "limit": 100, "remaining": 0, "reset_seconds": 90.0}]
    refused = quota.respond(1, "m", AT_NS)
    assert refused is not None
    assert refused["message"].endswith("Used 150, Requested 1. Please try again in 30.6s.")


def test_upgrade_headers_have_the_remaining_quota() -> None:
    quota = ServiceQuota(QuotaLimits(connections_per_minute=4, tokens_per_minute=6000))
    quota.connect(AT_NS)

    assert quota.headers(AT_NS) == {
        "x-ratelimit-limit-requests": "4",
        "x-ratelimit-remaining-requests": "3",
        "x-ratelimit-reset-requests": "15s",
        "x-ratelimit-limit-tokens": "6000",
        "x-ratelimit-remaining-tokens": "6000",
        "x-ratelimit-reset-tokens": "0ms",
    }


def test_without_limits_no_quota_is_counted() -> None:
    quota = ServiceQuota(QuotaLimits())
    quota.spend(10**9, AT_NS)

    assert {quota.connect(AT_NS) for _ in range(1000)} == {0}
    assert quota.respond(10**9, "m", AT_NS) is None
    assert (quota.entries(AT_NS), quota.headers(AT_NS)) == ([], {})


@pytest.mark.parametrize(
    ("span_ns", "words"),
    [(250_000_000, "250ms"), (6_231_000_001, "6.232s"), (86_400_000_000, "1m26.4s"), (60_000_000_000, "1m0s"),
     (999_000_001, "1s"), (1, "1ms"), (0, "0ms")],
)  # fmt: skip
def test_a_wait_is_formatted_like_the_service(span_ns: int, words: str) -> None:
    assert duration(span_ns) == words


@given(span_ns=st.integers(0, 10**13))
def test_a_formatted_wait_is_never_too_short(span_ns: int) -> None:
    match = re.fullmatch(r"(?:(\d+)m(?!s))?(?:([\d.]+)s)?(?:(\d+)ms)?", duration(span_ns))

    assert match is not None
    minutes, seconds, milliseconds = (float(part or 0) for part in match.groups())
    formatted_ns = round((minutes * 60_000 + seconds * 1000 + milliseconds) * 1_000_000)
    assert 0 <= formatted_ns - span_ns < 1_000_000


# Responses for which a server's quota has no room.


@pytest.mark.parametrize("dialect", [AZURE_GA, AZURE_PREVIEW])
def test_a_response_beyond_the_quota_is_created_and_fails_immediately(dialect: WireDialect) -> None:
    behaviour = build_behaviour(dialect, quota=ServiceQuota(QuotaLimits(tokens_per_minute=60)))
    answers(behaviour, CREATE)

    created, response, limits = answers(behaviour, CREATE)

    assert types([created, response, limits]) == ["response.created", "response.done", "rate_limits.updated"]
    response = response["response"]
    assert (response["status"], response["output"]) == ("failed", [])
    assert response["id"] == created["response"]["id"]
    assert response["usage"]["total_tokens"] == 0
    assert response["status_details"]["type"] == "failed"
    error = response["status_details"]["error"]
    assert (error["type"], error["code"]) == ("tokens", "rate_limit_exceeded")
    assert error["message"].startswith("Rate limit reached for gpt-realtime on tokens per min (TPM): Limit 60, ")
    assert error["message"].endswith("s.")


def test_the_sessions_of_a_server_share_its_quota() -> None:
    quota = ServiceQuota(QuotaLimits(requests_per_minute=3))

    statuses = [done(answers(build_behaviour(quota=quota), CREATE))["status"] for _ in range(5)]

    assert statuses == ["completed"] * 3 + ["failed"] * 2


def test_rate_limits_show_the_usage_minus_the_refill() -> None:
    events = answers(build_behaviour(quota=ServiceQuota(QuotaLimits(tokens_per_minute=200))), CREATE)

    usage = done(events)["usage"]
    limits = one(events, "rate_limits.updated")
    (entry,) = limits["rate_limits"]
    regained = (limits["due_ns"] - AT_NS) * 200 / (60 * SECOND)
    assert (entry["name"], entry["limit"]) == ("tokens", 200)
    assert usage["output_tokens"] > 50
    assert entry["remaining"] == pytest.approx(200 - usage["total_tokens"] + regained, abs=1)
    assert entry["reset_seconds"] == pytest.approx((200 - entry["remaining"]) * 60 / 200, abs=0.31)


def test_output_tokens_are_charged_at_the_end_of_a_response() -> None:
    quota = ServiceQuota(QuotaLimits(tokens_per_minute=1_000_000))
    behaviour = build_behaviour(quota=quota)
    drain(behaviour)
    behaviour.receive(CREATE, AT_NS)
    charged_before = quota.entries(AT_NS)[0]["remaining"]

    usage = done(drain(behaviour))["usage"]

    assert charged_before == 1_000_000 - usage["input_tokens"]
    assert quota.entries(AT_NS)[0]["remaining"] < charged_before


def test_a_failed_response_does_not_change_the_cache() -> None:
    quota = ServiceQuota(QuotaLimits(requests_per_minute=2))
    behaviour = build_behaviour(quota=quota)
    answers(behaviour, user_text("x" * 4000), CREATE)

    answers(behaviour, CREATE)
    failed = done(answers(behaviour, CREATE))
    behaviour.receive(CREATE, AT_NS + 60 * SECOND)

    assert failed["status"] == "failed"
    usage = done(drain(behaviour))["usage"]
    assert usage["input_token_details"]["cached_tokens"] >= 960


# Responses that wait for a free response slot.


Span = tuple[int, int]


def span_ns(seed: int, **shared: Any) -> Span:
    """Return the instants at which a session's response is created and done. The client requests it at AT_NS."""
    events = answers(build_behaviour(seed=seed, **shared), CREATE)
    return one(events, "response.created")["due_ns"], one(events, "response.done")["due_ns"]


def test_with_one_slot_a_response_waits_for_the_one_before() -> None:
    servers = ResponseSlots(1)
    first, second, third = (span_ns(seed, servers=servers) for seed in range(3))

    assert first == span_ns(0)
    assert second[0] - first[1] == span_ns(1)[0] - AT_NS
    assert third[0] - second[1] == span_ns(2)[0] - AT_NS


def test_open_sessions_above_the_limit_slow_down_responses() -> None:
    """The response begins later. After its beginning, the pace of its events is unchanged."""
    alone, servers = span_ns(3), ResponseSlots()
    slow: dict[str, Any] = {"servers": servers, "slowdown": Slowdown(sessions=2, per_session=0.5)}
    others = [build_behaviour(seed=seed, **slow) for seed in range(2)]
    third = span_ns(3, **slow)
    for behaviour in others:
        behaviour.end()

    assert third[0] - AT_NS == pytest.approx(1.5 * (alone[0] - AT_NS), abs=1)
    assert servers.sessions == 1
    assert span_ns(3, **slow) == alone


def test_a_throttled_response_uses_no_slot() -> None:
    servers, quota = ResponseSlots(1), ServiceQuota(QuotaLimits(requests_per_minute=1))
    whole = span_ns(0, servers=servers, quota=quota)
    span_ns(1, servers=servers, quota=quota)

    after = span_ns(2, servers=servers)

    assert after[0] - whole[1] == span_ns(2)[0] - AT_NS


def test_a_response_does_not_wait_while_a_slot_is_free() -> None:
    servers, begins = ResponseSlots(2), []
    for at_ns in (5, 6, 7, 30):
        begins.append(servers.begin_ns(at_ns))
        servers.occupy(begins[-1] + 10)

    assert begins == [5, 6, 15, 30]
