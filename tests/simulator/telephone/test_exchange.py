"""Calls that the simulator receives and that no log of `calls` describes."""

from __future__ import annotations

from dataclasses import replace

from bench.base.units import NS_PER_S
from bench.protocols.sip.exchange import TelephoneExchange
from tests.simulator.telephone.call_log import exchange_of, short
from tests.simulator.telephone.virtual_network import CALLER, VirtualNetwork, plan
from tests.transport.sip.scripted_peer import ScriptedPeer


def codes(exchange: TelephoneExchange) -> list[bytes]:
    return [message.data.split()[1] for message in exchange.pop_messages()]


def test_an_answer_in_a_lost_ack_is_repeated_over_tcp_too() -> None:
    peer = ScriptedPeer(transport="TCP")
    exchange = exchange_of(plan(trying_ns=None))
    exchange.received(peer.outgoing[0].data, 0, CALLER)
    exchange.expire(0)
    exchange.expire(NS_PER_S)

    assert codes(exchange) == [b"200", b"200"]


def test_an_offer_without_usable_audio_gets_488() -> None:
    peer = ScriptedPeer()
    exchange = exchange_of(plan())
    exchange.received(peer.outgoing[0].data.replace(b"RTP/AVP 0", b"RTP/SAP 0"), 0, CALLER)

    assert codes(exchange) == [b"488"]


def test_hang_up_before_the_ack_waits_for_it() -> None:
    peer = ScriptedPeer()
    exchange = exchange_of(plan(trying_ns=None))
    exchange.received(peer.outgoing[0].data, 0, CALLER)
    exchange.expire(0)
    exchange.hang_up(peer.call.call_id, 1)
    (answer,) = exchange.pop_messages()
    peer.call.received(answer.data, 2)
    exchange.received(peer.call.pop_messages()[0].data, 3, CALLER)
    exchange.expire(3)

    assert [message.data[:3] for message in exchange.pop_messages()] == [b"BYE"]


def test_a_plan_may_redirect_a_call() -> None:
    first = plan(code=302, headers=(("Contact", "<sip:other@biloxi.example>"),))
    network = VirtualNetwork(
        lambda invite: first if "bob" in invite.uri else replace(first, code=200, headers=())
    )
    network.run(NS_PER_S)

    log = [each[0] + short(each) for each in network.log]
    assert log == [">INVITE", "<100", "<302", ">ACK", ">INVITE", "<100", "<200", ">ACK"]
