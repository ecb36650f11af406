"""Responses that wait for one of so many servers."""

from __future__ import annotations

from typing import Any

import pytest

from bench.simulator.profile import Slowdown
from bench.simulator.quota import Quota, QuotaLimits, Servers
from tests.simulator.builders import AT_NS, CREATE, answers, build_behaviour, one

Span = tuple[int, int]


def span_ns(seed: int, **shared: Any) -> Span:
    """When the response of a session is created that asks for it AT_NS, and when it is done."""
    events = answers(build_behaviour(seed=seed, **shared), CREATE)
    return one(events, "response.created")["due_ns"], one(events, "response.done")["due_ns"]


def test_a_response_waits_until_the_one_before_it_is_done() -> None:
    servers = Servers(1)
    first, second, third = (span_ns(seed, servers=servers) for seed in range(3))

    assert first == span_ns(0)
    assert second[0] - first[1] == span_ns(1)[0] - AT_NS
    assert third[0] - second[1] == span_ns(2)[0] - AT_NS


def test_open_sessions_make_responses_slower_beyond_so_many_and_no_more_once_they_have_ended() -> None:
    """Their paces stay as they are."""
    alone, servers = span_ns(3), Servers()
    slow: dict[str, Any] = {"servers": servers, "slowdown": Slowdown(sessions=2, per_session=0.5)}
    others = [build_behaviour(seed=seed, **slow) for seed in range(2)]
    third = span_ns(3, **slow)
    for behaviour in others:
        behaviour.end()

    assert third[0] - AT_NS == pytest.approx(1.5 * (alone[0] - AT_NS), abs=1)
    assert servers.sessions == 1
    assert span_ns(3, **slow) == alone


def test_so_many_responses_as_there_are_servers_are_made_at_a_time() -> None:
    servers = Servers(2)
    shared = [span_ns(seed, servers=servers) for seed in range(3)]

    assert shared[:2] == [span_ns(seed) for seed in range(2)]
    assert shared[2][0] - min(done_ns for _, done_ns in shared[:2]) == span_ns(2)[0] - AT_NS


def test_a_response_that_a_limit_refuses_keeps_no_server() -> None:
    servers, quota = Servers(1), Quota(QuotaLimits(requests_per_minute=1))
    whole = span_ns(0, servers=servers, quota=quota)
    span_ns(1, servers=servers, quota=quota)

    after = span_ns(2, servers=servers)

    assert after[0] - whole[1] == span_ns(2)[0] - AT_NS


def test_who_asks_while_a_server_is_free_does_not_wait() -> None:
    servers, begins = Servers(2), []
    for at_ns in (5, 6, 7, 30):
        begins.append(servers.begin_ns(at_ns))
        servers.occupy(begins[-1] + 10)

    assert begins == [5, 6, 15, 30]
