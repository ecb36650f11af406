"""Responses that a server's quota has no room for."""

from __future__ import annotations

import pytest

from bench.simulator.quota import Quota, QuotaLimits
from bench.simulator.wire import AZURE_GA, AZURE_PREVIEW, WireDialect
from tests.simulator.builders import AT_NS, CREATE, SECOND, answers, build_behaviour, done, drain, one, types, user_text


@pytest.mark.parametrize("dialect", [AZURE_GA, AZURE_PREVIEW])
def test_a_response_beyond_the_quota_is_created_and_fails_at_once(dialect: WireDialect) -> None:
    behaviour = build_behaviour(dialect, quota=Quota(QuotaLimits(tokens_per_minute=60)))
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


def test_a_session_that_was_throttled_goes_on() -> None:
    behaviour = build_behaviour(quota=Quota(QuotaLimits(requests_per_minute=1)))

    statuses = [done(answers(behaviour, CREATE))["status"] for _ in range(2)]
    behaviour.receive(CREATE, AT_NS + 60 * SECOND)

    assert statuses == ["completed", "failed"]
    assert done(drain(behaviour))["status"] == "completed"


def test_the_sessions_of_a_server_share_its_quota() -> None:
    quota = Quota(QuotaLimits(requests_per_minute=3))

    statuses = [done(answers(build_behaviour(quota=quota), CREATE))["status"] for _ in range(5)]

    assert statuses == ["completed"] * 3 + ["failed"] * 2


def test_rate_limits_show_input_and_output_as_usage_counts_them_less_what_came_back() -> None:
    events = answers(build_behaviour(quota=Quota(QuotaLimits(tokens_per_minute=200))), CREATE)

    usage = done(events)["usage"]
    limits = one(events, "rate_limits.updated")
    (entry,) = limits["rate_limits"]
    regained = (limits["due_ns"] - AT_NS) * 200 / (60 * SECOND)
    assert (entry["name"], entry["limit"]) == ("tokens", 200)
    assert usage["output_tokens"] > 50
    assert entry["remaining"] == pytest.approx(200 - usage["total_tokens"] + regained, abs=1)
    assert entry["reset_seconds"] == pytest.approx((200 - entry["remaining"]) * 60 / 200, abs=0.31)


def test_what_was_said_is_charged_when_it_is_done() -> None:
    quota = Quota(QuotaLimits(tokens_per_minute=1_000_000))
    behaviour = build_behaviour(quota=quota)
    drain(behaviour)
    behaviour.receive(CREATE, AT_NS)
    charged_before = quota.entries(AT_NS)[0]["remaining"]

    usage = done(drain(behaviour))["usage"]

    assert charged_before == 1_000_000 - usage["input_tokens"]
    assert quota.entries(AT_NS)[0]["remaining"] < charged_before


def test_a_failed_response_lets_the_next_one_find_the_same_cache() -> None:
    quota = Quota(QuotaLimits(requests_per_minute=2))
    behaviour = build_behaviour(quota=quota)
    answers(behaviour, user_text("x" * 4000), CREATE)

    answers(behaviour, CREATE)
    failed = done(answers(behaviour, CREATE))
    behaviour.receive(CREATE, AT_NS + 60 * SECOND)

    assert failed["status"] == "failed"
    usage = done(drain(behaviour))["usage"]
    assert usage["input_token_details"]["cached_tokens"] >= 960


def test_limits_with_room_change_no_event_but_the_one_that_tells_of_them() -> None:
    free = answers(build_behaviour(), user_text(), CREATE)
    limited = answers(build_behaviour(quota=Quota(QuotaLimits(1000, 1000, 10**6))), user_text(), CREATE)

    assert limited[:-1] == free[:-1]
    assert limited[-1]["rate_limits"] != free[-1]["rate_limits"]
