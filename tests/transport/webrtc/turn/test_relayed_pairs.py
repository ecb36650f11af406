"""ICE with a relay: it is the second way to a peer."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from bench.base.units import NS_PER_MS, NS_PER_S
from bench.protocols.ice.ice import (
    RELAY_WAIT_NS,
    Candidate,
    ControllingAgent,
    LiteAgent,
    RelayedAddress,
)
from bench.protocols.ice.stun import parse_message
from bench.protocols.webrtc.description import write_offer
from bench.wire.addresses import HostPort
from tests.transport.webrtc.pair import CALLER, CALLER_LOGIN, SERVICE, SERVICE_LOGIN, local_peer


def test_a_relay_is_checked_only_after_the_direct_way_had_time_to_answer() -> None:
    for is_blocked, selected in ((False, SERVICE), (True, RelayedAddress(*SERVICE))):
        agent = ControllingAgent(
            CALLER_LOGIN,
            SERVICE_LOGIN,
            [Candidate(SERVICE, 1)],
            0,
            Random(3).randbytes,
            has_relay=True,
        )
        lite, now_ns, relayed_ns = LiteAgent(SERVICE_LOGIN, 0), 0, []
        while agent.selected is None and now_ns < 3 * NS_PER_S:
            agent.expire(now_ns)
            for data, destination in agent.pop_packets():
                is_relayed = isinstance(destination, RelayedAddress)
                relayed_ns += [now_ns] * is_relayed
                message = parse_message(data)
                if message is None or (is_blocked and not is_relayed):
                    continue
                lite.received(message, CALLER, now_ns)
                for response, _ in lite.pop_packets():
                    answer = parse_message(response)
                    assert answer is not None
                    agent.received(answer, destination, now_ns)
            now_ns += 10 * NS_PER_MS

        assert agent.selected == selected
        assert type(agent.selected) is type(selected)
        assert relayed_ns == [] or min(relayed_ns) >= RELAY_WAIT_NS
        assert bool(relayed_ns) == is_blocked
        assert agent.round_trip_ns == 0


def test_an_address_through_the_relay_is_another_one() -> None:
    relayed = RelayedAddress(*SERVICE)

    assert relayed != SERVICE
    assert not relayed == SERVICE  # noqa: SIM201 - the reflected comparison
    assert relayed == RelayedAddress(*SERVICE)
    assert len({relayed, SERVICE, RelayedAddress(*SERVICE)}) == 2


def test_an_offer_names_the_relayed_address_and_no_address_behind_it() -> None:
    offer = write_offer(
        replace(local_peer(CALLER), relayed=HostPort("198.51.100.1", 49_152))
    ).decode()

    assert (
        "a=candidate:relay 1 udp 16777215 198.51.100.1 49152 typ relay raddr 0.0.0.0 rport 9\r\n"
        in offer
    )
