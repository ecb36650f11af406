"""Quotas are used up; a refusal reports the time until the quota has room again."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.services.foundry import OPT_IN
from rtbench_simulator.overload import OverloadedSlots, OverloadRules
from rtbench_simulator.profile import Slowdown
from rtbench_simulator.quota import (
    MINUTE_NS,
    MinuteQuota,
    QuotaLimits,
    ResponseSlots,
    ServiceQuota,
    duration,
)
from rtbench_simulator.ready import urls_at
from rtbench_simulator.services.nova_sonic.wire import MEDIA_TYPE
from rtbench_simulator.services.registry import SERVICES
from rtbench_simulator.serving.service import AcceptedUpgrade, UpgradeRequest
from tests.simulator.builders import (
    AT_NS,
    CREATE,
    SECOND,
    answers,
    build_behaviour,
    build_profile,
    done,
    drain,
    one,
    session_parts,
)

requests = st.lists(st.tuples(st.integers(0, 20 * SECOND), st.integers(1, 50)), max_size=60)


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


def test_connections_beyond_the_limit_wait_and_use_no_quota() -> None:
    quota = ServiceQuota(QuotaLimits(connections_per_minute=2))

    waits = [quota.connect(AT_NS) for _ in range(4)]

    assert waits == [0, 0, 30 * SECOND, 30 * SECOND]
    assert quota.connect(AT_NS + 30 * SECOND) == 0


def test_output_tokens_are_charged_and_may_exceed_the_quota() -> None:
    quota = ServiceQuota(QuotaLimits(tokens_per_minute=100))
    quota.respond(50, "m", AT_NS)

    quota.spend(100, AT_NS)

    assert quota.entries(AT_NS) == [
        {"name": "tokens", "limit": 100, "remaining": 0, "reset_seconds": 90.0}
    ]
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


@given(span_ns=st.integers(0, 10**13))
def test_a_formatted_wait_is_never_too_short(span_ns: int) -> None:
    match = re.fullmatch(r"(?:(\d+)m(?!s))?(?:([\d.]+)s)?(?:(\d+)ms)?", duration(span_ns))

    assert match is not None
    minutes, seconds, milliseconds = (float(part or 0) for part in match.groups())
    formatted_ns = round((minutes * 60_000 + seconds * 1000 + milliseconds) * 1_000_000)
    assert 0 <= formatted_ns - span_ns < 1_000_000


# Responses for which a server's quota has no room.


def test_the_sessions_of_a_server_share_its_quota() -> None:
    quota = ServiceQuota(QuotaLimits(requests_per_minute=3))

    statuses = [done(answers(build_behaviour(quota=quota), CREATE))["status"] for _ in range(5)]

    assert statuses == ["completed"] * 3 + ["failed"] * 2


def test_output_tokens_are_charged_at_the_end_of_a_response() -> None:
    quota = ServiceQuota(QuotaLimits(tokens_per_minute=1_000_000))
    behaviour = build_behaviour(quota=quota)
    drain(behaviour)
    behaviour.receive(CREATE, AT_NS)
    charged_before = quota.entries(AT_NS)[0]["remaining"]

    usage = done(drain(behaviour))["usage"]

    assert charged_before == 1_000_000 - usage["input_tokens"]
    assert quota.entries(AT_NS)[0]["remaining"] < charged_before


# Responses that wait for a free response slot.


Span = tuple[int, int]


def span_ns(seed: int, **shared: Any) -> Span:
    """Return the instants at which a session's response is created and done. The client requests
    it at AT_NS.
    """
    events = answers(build_behaviour(seed=seed, **shared), CREATE)
    return one(events, "response.created")["due_ns"], one(events, "response.done")["due_ns"]


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


OF_UPGRADES = [name for name in urls_at("") if name not in ("agent_sip", "agent_webrtc")]


@pytest.mark.parametrize("name", OF_UPGRADES)
def test_a_session_of_any_service_counts_as_open_until_its_end(name: str) -> None:
    url = urlsplit(urls_at("simulator.test")[name])
    headers = {"content-type": MEDIA_TYPE, OPT_IN[0].lower(): OPT_IN[1]}
    request = UpgradeRequest.of(f"{url.path}?{url.query}", headers)
    accepted = next(filter(None, (service.answer(request) for service in SERVICES)))
    assert isinstance(accepted, AcceptedUpgrade)
    servers = ResponseSlots()
    session = accepted.dialect(accepted.model, session_parts(build_profile(), servers=servers))

    assert servers.sessions == 1
    session.end()
    assert servers.sessions == 0


def test_a_session_answers_more_slowly_in_overload() -> None:
    alone = span_ns(3)
    rules = OverloadRules("degrade", slower=1)
    servers = OverloadedSlots(1, rules, lambda period: None)
    span_ns(1, servers=servers)
    slow = span_ns(3, servers=servers)

    assert slow[0] - AT_NS == pytest.approx(2 * (alone[0] - AT_NS), abs=2)


def test_a_response_does_not_wait_while_a_slot_is_free() -> None:
    servers, begins = ResponseSlots(2), []
    for at_ns in (5, 6, 7, 30):
        begins.append(servers.begin_ns(at_ns))
        servers.occupy(begins[-1] + 10)

    assert begins == [5, 6, 15, 30]
