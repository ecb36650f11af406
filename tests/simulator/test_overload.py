"""The simulator above its capacity, and its recovery."""

from __future__ import annotations

from typing import Any

import pytest

from bench.base.errors import UsageError
from rtbench_simulator.overload import OverloadedSlots, OverloadPeriod, OverloadRules
from tests.simulator.builders import SECOND, build_profile

LONG_NS = 10 * SECOND


def slots(count: int = 1, **rules: Any) -> tuple[OverloadedSlots, list[OverloadPeriod]]:
    periods: list[OverloadPeriod] = []
    return OverloadedSlots(count, OverloadRules(**rules), periods.append), periods


def reply(servers: OverloadedSlots, at_ns: int, for_ns: int = LONG_NS) -> int:
    """Request a reply, and return when it begins."""
    begin_ns = servers.begin_ns(at_ns)
    servers.occupy(begin_ns + for_ns)
    return begin_ns


def test_a_request_above_the_capacity_waits_in_the_queue() -> None:
    servers, _ = slots(2, above="queue", slower=0)
    begins = [reply(servers, at_ns) for at_ns in (0, 1, 2, 3)]

    assert begins == [0, 1, LONG_NS, LONG_NS + 1]
    assert servers.refusal_ns(4) == servers.dropped == 0


@pytest.mark.parametrize("above", ["refuse", "drop", "degrade"])
def test_without_a_queue_no_request_waits(above: str) -> None:
    servers, _ = slots(above=above)

    assert [reply(servers, at_ns) for at_ns in (0, 1)] == [0, 1]


def test_connections_are_refused_only_while_the_service_is_full() -> None:
    servers, _ = slots(above="refuse", retry_after_s=3)
    before = servers.refusal_ns(0)
    reply(servers, 1)

    assert (before, servers.refusal_ns(2)) == (0, 3 * SECOND)
    assert servers.refusal_ns(1 + LONG_NS) == 0


def test_a_dropped_request_takes_no_capacity() -> None:
    servers, _ = slots(above="drop")
    for at_ns in (0, 1, 2, LONG_NS):
        reply(servers, at_ns)

    assert servers.dropped == 2


@pytest.mark.parametrize("recovery_s", [0, 30, 120])
def test_delays_are_longer_until_the_end_of_the_recovery(recovery_s: int) -> None:
    servers, periods = slots(above="degrade", slower=0.5, recovery_s=recovery_s)
    before = servers.slowness(0)
    reply(servers, 0)
    reply(servers, 1)  # the first reply ends at LONG_NS, and with it the overload
    recovered_ns = LONG_NS + recovery_s * SECOND
    servers.end()

    assert before == 1
    assert servers.slowness(LONG_NS) == servers.slowness(recovered_ns - 1) == 1.5
    assert servers.slowness(recovered_ns + 1) == 1
    assert periods == [OverloadPeriod("overload", 1, LONG_NS, recovered_ns, 1)]


def test_an_exponential_recovery_ends_at_ten_percent() -> None:
    servers, _ = slots(above="degrade", slower=1, recovery_s=30, recovery="exponential")
    reply(servers, 0)
    reply(servers, 1)
    halfway, at_end = (servers.slowness(LONG_NS + second * SECOND) for second in (15, 30))

    assert halfway == pytest.approx(1 + 0.1**0.5)
    assert at_end == pytest.approx(1.1)


def test_an_overload_during_the_recovery_continues_the_period() -> None:
    servers, periods = slots(above="degrade", recovery_s=30)
    for at_ns in (0, 1, 20 * SECOND, 21 * SECOND, 200 * SECOND, 201 * SECOND):
        reply(servers, at_ns)
    servers.end()
    servers.end()

    assert [(period.began_ns, period.requests) for period in periods] == [
        (1, 2),
        (201 * SECOND, 1),
    ]


def test_rules_of_an_overload_need_a_capacity() -> None:
    with pytest.raises(UsageError, match="needs `max_concurrent_responses`"):
        build_profile(overload=OverloadRules())
